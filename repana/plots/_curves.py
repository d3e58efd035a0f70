"""Figures with one curve a layer: which layers, the axes with room below, and the legend there."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes

from repana._results import Report, penultimate
from repana.plots import _layers, _style

MOST_CURVES = 10
MOST_MARKERS = 40  # layers; a line of more has no markers
LETTERS = 20  # of a layer in the legend


def axes_of(ax: Axes | None, width: float, height: float | None = None) -> tuple[Axes, bool]:
    """The given Axes, or those of a new figure, and whether the figure is ours."""
    height = height or (0.64 * width if width <= _style.COLUMN else 2.4)
    return _style.axes_or_new(ax, width, height), ax is None


def layered(ax: Axes, layers: Sequence[str], kinds: Mapping[str, str] | None = None) -> None:
    """An axis of layers at 0, 1, 2, ..., with the blocks of the network marked."""
    ax.set_xlim(-0.4, len(layers) - 0.6)
    what = _layers.name_layers(ax, layers, kinds=kinds)
    ax.set_xlabel(f"{what}, input to output")
    _layers.mark_blocks(ax, layers)


def finished(ax: Axes, own: bool, width: float, *, beside: bool = False, order: Sequence[str] = ()) -> None:
    """Faint lines across, and the legend: below, or `beside` the axes where the figure is wide, in this order."""
    _style.guides(ax)
    below(ax, own, width, order, right=beside and width > _style.COLUMN + 1)


def below(ax: Axes, own: bool, width: float, order: Sequence[str] = (), *, right: bool = False) -> None:
    """The legend, below the axes where the figure is ours, which grows by its rows, or at the right.

    `order`: labels that come first.
    """
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    pairs = sorted(zip(labels, handles), key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
    labels, handles = [label for label, _ in pairs], [handle for _, handle in pairs]
    if own and right:
        _style.figure_of(ax).legend(handles, labels, loc="outside right upper", frameon=False)
        return
    if own:
        columns = max(1, min(len(labels), int(width / (max(map(len, labels)) * 0.055 + 0.4))))
        figure, rows = _style.figure_of(ax), -(-len(labels) // columns)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
        figure.set_figheight(figure.get_figheight() + rows * 1.45 * mpl.rcParams["legend.fontsize"] / 72)
    else:
        ax.legend(frameon=False, ncols=1 + (len(labels) > 5))


def layers_with_array(
    report: Report, name: str, run: str | None, split: str | None, most: int = MOST_CURVES
) -> Sequence[str]:
    """Up to `most` layers of the run that have the array, evenly over the depth, the classifier's input among them."""
    _style.check_report(report)
    start = f"{run or report.runs[0]}/" if "runs" in report.provenance else ""
    start += split or report.splits[0]
    all_layers = [layer for layer in report.layers if len(report.arrays.get(f"{start}/{layer}/{name}", ()))]
    if not all_layers:
        return report.layers[-1:]
    chosen, last = _layers.spread(all_layers, most), penultimate(report, run)
    if last in all_layers and last not in chosen:
        nearest = min(chosen, key=lambda layer: abs(all_layers.index(layer) - all_layers.index(last)))
        chosen[chosen.index(nearest)] = last
    return tuple(chosen)
