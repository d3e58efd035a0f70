"""The neural tangent kernel over depth: which parameters hold it, and how each lies to the labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from repana.kernels import LayerKernels
from repana.plots import _style


def kernel_depth(
    found: LayerKernels, *, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw `repana.kernels.ntk`: the share of every parameter in the trace of the kernel, in the order of the network,
    and below it the alignment of each with the labels, dashed the mean over permuted labels.

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
            _style.guides(axes)
        if np.isfinite(values).any():
            alignment.legend(frameon=False)
    return [share, alignment]
