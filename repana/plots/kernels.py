"""The neural tangent kernel over depth: which parameters hold it, and how each lies to the labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from repana.kernels import LayerKernels
from repana.plots import _style
from repana.plots._curves import axes_of, finished

ROUNDING = 1e-6  # of the largest eigenvalue of products in single precision


def kernel_depth(
    found: LayerKernels, *, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw `repana.kernels.ntk`: the share of every parameter in the trace of the kernel, in the order of the network,
    and below it the alignment of each with the labels, dashed the mean over permuted labels and shaded their range.

    `ax`: two Axes. Returns them.
    """
    width = _style.in_inches(width)
    names, parts = list(found.layers), list(found.layers.values())
    with _style.drawing():
        own = ax or _style.grid(2, width, 1.5, columns=1)
        share, alignment = list(own)[:2]
        x = np.arange(len(names))
        share.bar(x, [100 * k.share.value for k in parts], color=_style.COLOURS[0], width=0.7)
        reach = np.array([[k.share.value - k.share.low, k.share.high - k.share.value] for k in parts]).T * 100
        if np.isfinite(reach).any():
            share.errorbar(
                x, [100 * k.share.value for k in parts], np.nan_to_num(reach).clip(0), fmt="none", ecolor=_style.GREY,
                elinewidth=_style.thin(),
            )  # fmt: skip
        _style.title(share, "Share of the kernel, %")
        values = np.array([k.alignment.value for k in parts])
        alignment.plot(x, values, "o-", color=_style.COLOURS[0])
        alignment.plot(
            x,
            [k.alignment.null for k in parts],
            "--",
            color=_style.GREY,
            linewidth=_style.thin(),
            label="permuted labels",
        )
        _style.title(alignment, "Alignment with the labels")
        for axes in (share, alignment):
            axes.set_xticks(x, names, rotation=30, ha="right")
            axes.set_xlim(-0.6, len(names) - 0.4)
            _style.guides(axes)
        low, high = (np.array([getattr(k.alignment, name) for k in parts]) for name in ("null_low", "null_high"))
        if np.isfinite(low).any():
            alignment.fill_between(x, low, high, color=_style.GREY, alpha=0.2, linewidth=0)
        if np.isfinite(values).any():
            alignment.legend(frameon=False)
    return [share, alignment]


def kernel_spectrum(
    found: LayerKernels, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN, most: int = 6
) -> Axes:
    """Draw the eigenvalues of `repana.kernels.ntk` by their rank: black those of the sum, and beside it those of the
    `most` parameters with the largest share, dark for the first of the network. Eigenvalues below 1e-6 of the largest
    are rounding, and left out.

    Returns the Axes.
    """
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
