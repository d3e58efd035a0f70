"""The neural tangent kernel over depth: which parameters hold it, and how each lies to the labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from repana.kernels import LayerKernels, _refusals
from repana.plots import _style
from repana.plots._curves import axes_of, finished

KINDS = ("weight", "bias")  # of parameters, stacked apart
ROUNDING = 1e-6  # of the largest eigenvalue of products in single precision


def kernel_depth(
    found: LayerKernels, *, ax: Axes | Sequence[Axes] | np.ndarray | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw `repana.kernels.ntk`: the share of every module in the trace of the kernel, in the order of the network, its
    parameters stacked; and below it the alignment of each with the labels, dashed the mean over permuted labels and
    shaded their range, dotted that of untrained copies. Where single kernels were not kept (`keep="scalars"`),
    parameters stand in place of modules; without labels or matrices (`keep="trace"`) there are shares alone.

    `ax`: two Axes, or one for shares alone. Returns them.
    """
    width = _style.in_inches(width)
    modules = found.grouped(spectra=False) if found.matrices else found
    given = [] if ax is None else list(np.ravel(np.array(ax, dtype=object)))
    names, parts = list(modules.layers), list(modules.layers.values())
    count = 2 if any(np.isfinite(k.alignment.value) for k in parts) else 1
    with _style.drawing():
        if given and len(given) < count:
            raise _refusals.two_axes(len(given))
        own = (given or _style.grid(count, width, 1.5, columns=1))[:count]
        _shares(own[0], found, modules)
        if count == 2:
            _alignments(own[1], modules)
        for axes in own:
            axes.set_xticks(np.arange(len(names)), names, rotation=30, ha="right")
            axes.set_xlim(-0.6, len(parts) - 0.4)
            _style.guides(axes)
    return own


def _shares(ax: Axes, found: LayerKernels, modules: LayerKernels) -> None:
    """Bars of modules, the shares of their parameters above each other."""
    names = list(modules.layers)
    x, below = np.arange(len(names)), np.zeros(len(names))
    for i, (kind, heights) in enumerate(_by_kind(found, modules).items()):
        ax.bar(x, 100 * heights, bottom=100 * below, color=_style.colour(i, len(KINDS) + 1), width=0.7, label=kind)
        below = below + heights
    shares = [k.share for k in modules.layers.values()]
    reach = np.array([[e.value - e.low, e.high - e.value] for e in shares]).T * 100
    if np.isfinite(reach).any():
        ax.errorbar(
            x, [100 * e.value for e in shares], np.nan_to_num(reach).clip(0), fmt="none",
            ecolor=_style.GREY, elinewidth=_style.thin(),
        )  # fmt: skip
    if len(ax.containers) > 1 and found is not modules:
        ax.legend(frameon=False)
    _style.title(ax, "Share of the kernel, %")


def _by_kind(found: LayerKernels, modules: LayerKernels) -> dict[str, Any]:
    """Shares of the parameters of every module: its weight, its bias, all others."""
    own = {name: k.share.value for name, k in found.layers.items()}
    if found is modules:
        return {"": np.nan_to_num(list(own.values()))}
    places = {name: i for i, name in enumerate(modules.layers)}
    stacked = {kind: np.zeros(len(places)) for kind in (*KINDS, "other")}
    for parameter, share in own.items():
        module, _, kind = parameter.rpartition(".")
        stacked[kind if kind in KINDS else "other"][places[module or parameter]] += np.nan_to_num(share)
    return {kind: heights for kind, heights in stacked.items() if heights.any()}


def _alignments(ax: Axes, modules: LayerKernels) -> None:
    """The alignment of every module, beside permuted labels and untrained copies."""
    parts = list(modules.layers.values())
    x = np.arange(len(parts))
    values = np.array([k.alignment.value for k in parts])
    thin = _style.thin()
    ax.plot(x, values, "o-", color=_style.COLOURS[0])
    nulls = [k.alignment.null for k in parts]
    ax.plot(x, nulls, "--", color=_style.GREY, linewidth=thin, label="permuted labels")
    low, high = (np.array([getattr(k.alignment, name) for k in parts]) for name in ("null_low", "null_high"))
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=_style.GREY, alpha=0.2, linewidth=0)
    if modules.untrained:
        copies = [[c.layers[name].alignment.value for name in modules.layers] for c in modules.untrained]
        ax.plot(x, np.mean(copies, 0), ":", color=_style.COLOURS[1], linewidth=thin, label="untrained copies")
    _style.title(ax, "Alignment with the labels")
    ax.legend(frameon=False)


def kernel_spectrum(
    found: LayerKernels, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN, most: int = 6
) -> Axes:
    """Draw the eigenvalues of `repana.kernels.ntk` by their rank: black those of the sum, and beside it those of the
    `most` parameters with the largest share, dark for the first of the network. Eigenvalues below 1e-6 of the largest
    are rounding, and left out.

    Returns the Axes. Raises InputError (RA297) where no kernel was kept (`keep="trace"`).
    """
    if found.matrix is None:
        raise _refusals.no_matrix()
    width = _style.in_inches(width)
    top = sorted(found.matrices, key=lambda name: -found.layers[name].share.value)[:most]
    order = [name for name in found.matrices if name in top]
    with _style.drawing():
        ax, own = axes_of(ax, width)
        for i, name in enumerate(order):
            colour = _style.depth_colour(i, len(order))
            _eigenvalues(ax, found.matrices[name].double(), color=colour, label=_style.legend_name(name))
        _eigenvalues(ax, found.matrix, color=_style.ink(), linewidth=2 * _style.thin(), label="sum")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("rank")
        ax.set_ylabel("eigenvalue / n")
        ax.set_title("Spectrum of the kernel")
        finished(ax, own, width)
    return ax


def _eigenvalues(ax: Axes, kernel: Tensor, **style: Any) -> None:
    values = torch.linalg.eigvalsh(kernel).flip(0) / len(kernel)
    values = values[values > ROUNDING * float(values[0])]
    ax.plot(np.arange(1, len(values) + 1), values.numpy(), **style)
