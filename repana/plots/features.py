"""Features over depth, and what the decision makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from repana import _check, _report_refusals
from repana._estimate import Estimate
from repana._results import Report
from repana.features._complexity import Complexity
from repana.features._complexity_importance import ComplexityImportance
from repana.features._flow import Flow
from repana.features._merging import FeatureMerging
from repana.features._read_features import FeatureReading
from repana.features._sedimentation import Sedimentation
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, axes_of, finished, layered
from repana.plots._panels import Panel

NAMED = 2  # of the simplest, and of the most complex features
ALPHA = 60  # curves of full strength; of more each is fainter
MARGIN = 3 / 25.4  # inches of each histogram beside the plane
FINEST = 24  # bars of a histogram


@dataclass(frozen=True)
class _Read:
    """What the figures of complexity need, of a result or of a report."""

    curve: np.ndarray
    complexity: np.ndarray
    onset: np.ndarray
    layers: Sequence[str]
    features: Sequence[str]
    threshold: float
    floor: float
    title: str = ""
    over: str = "layers"
    importance: np.ndarray | None = None
    rho: Estimate | None = None


def feature_fan(
    source: Report | Complexity | FeatureReading,
    *features: str | int,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw from which layer on every feature can be read: held-out R^2 over depth, one thin line a feature.

    Named `features` (by name or number) are drawn in colour with their K; by default the two simplest and the two most
    complex. Of `time_to_decode`, over checkpoints. The dashed line is the threshold of onset, the dotted one the noise
    floor. Returns the Axes.
    """
    read = _read(source, run, split)
    chosen = [_place(read, f) for f in features] or _extremes(read)
    alive = np.flatnonzero(np.isfinite(read.complexity))
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width, height=0.8 * width if width <= _style.COLUMN else 2.8)
        x = np.arange(len(read.layers))
        alpha = min(1.0, max(0.08, ALPHA / max(1, len(alive)) ** 1.2))
        for j in alive:
            ax.plot(x, read.curve[:, j], color="#9a9a9a", alpha=alpha, linewidth=_style.thin() / 2, zorder=1)
        for i, j in enumerate(chosen):
            name = _style.shortened(read.features[j], LETTERS)
            ax.plot(
                x,
                read.curve[:, j],
                color=_style.colour(i, len(chosen)),
                linestyle=_style.LINES[i % len(_style.LINES)],
                marker=_style.MARKERS[i % len(_style.MARKERS)],
                label=_style.legend_name(f"{name}, K = {read.complexity[j]:.2f}"),
                zorder=3,
            )
        ax.axhline(read.threshold, color=_style.GREY, linestyle="--", linewidth=_style.thin(), zorder=2, label="onset")
        if np.isfinite(read.floor):
            ax.axhline(
                read.floor, color=_style.GREY, linestyle=":", linewidth=_style.thin(), zorder=2, label="noise floor"
            )
        ax.set_ylim(-0.02, 1.04)
        ax.set_ylabel("held-out R²")
        time = read.over == "checkpoints"
        _style.title(ax, "When features become decodable", read.title)
        layered(ax, list(read.layers))
        if time:
            ax.set_xlabel("checkpoint")
        finished(ax, own, width)
    return ax


def complexity_plane(
    source: Report | FeatureReading | ComplexityImportance,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw importance against complexity, a point a feature, with the histograms of both along the edges.

    Spearman's rho stands in the corner, with its interval. Returns the Axes of the points.
    """
    if isinstance(source, ComplexityImportance):
        k, weight, rho, title = source.complexity.numpy(), source.importance.numpy(), source.rank_correlation, ""
    else:
        read = _read(source, run, split)
        if read.importance is None or read.rho is None:
            raise _report_refusals.nothing_to_draw("complexity_vs_importance")
        alive = np.isfinite(read.complexity)
        k, weight, rho, title = read.complexity[alive], read.importance[alive], read.rho, read.title
    width = _style.in_inches(width)
    with _style.drawing():
        ax, _ = axes_of(ax, width, height=0.95 * width if width <= _style.COLUMN else 3.2)
        ax.scatter(k, weight, s=14, color=_style.COLOURS[0], alpha=0.75, linewidths=0, zorder=3)
        ax.set_xlabel("complexity K")
        ax.set_ylabel("importance (logits)")
        across, up = (MARGIN / max(inch, 0.5) for inch in (_layers.inches(ax), _layers.inches(ax, vertical=True)))
        top = ax.inset_axes((0, 1, 1, up), sharex=ax)
        side = ax.inset_axes((1, 0, across, 1), sharey=ax)
        bins = min(FINEST, max(6, len(k) // 3))
        top.hist(k, bins, color=_style.COLOURS[0], alpha=0.6)
        side.hist(weight, bins, color=_style.COLOURS[0], alpha=0.6, orientation="horizontal")
        for margin in (top, side):
            margin.axis("off")
        _style.guides(ax, "both")
        interval = f" [{rho.low:.2f}, {rho.high:.2f}]" if np.isfinite(rho.low) else ""
        words = f"Spearman's ρ = {rho.value:.2f}{interval}".replace("-", "\u2212")
        _in_the_emptiest_corner(ax, k, weight, words)
        _style.title(top, "Complexity and importance", title)
    return ax


def _in_the_emptiest_corner(ax: Axes, x: np.ndarray, y: np.ndarray, words: str) -> None:
    """Write where the fewest points are, with more room above and below where they are everywhere."""
    ax.margins(y=0.12)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    across, up = (x - left) / (right - left), (y - low) / (high - low)
    corners = {
        (h, v): int(
            ((across < 0.65 if h == "left" else across > 0.35) & (up > 0.85 if v == "top" else up < 0.15)).sum()
        )
        for v in ("top", "bottom")
        for h in ("left", "right")
    }
    h, v = min(corners, key=lambda corner: corners[corner])
    ax.text(0.03 if h == "left" else 0.97, 0.97 if v == "top" else 0.03, words, transform=ax.transAxes, ha=h, va=v)


def onset_histogram(
    source: Report | Complexity | FeatureReading,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw how many features become decodable at each layer, and how many at none. Returns the Axes, a bar a layer."""
    read = _read(source, run, split)
    alive = np.isfinite(read.complexity)
    counts = [int((read.onset[alive] == k).sum()) for k in (*range(len(read.layers)), -1)]
    names = [*read.layers, "never"]
    width = _style.in_inches(width)
    with _style.drawing():
        ax, _ = axes_of(ax, width, height=0.75 * width if width <= _style.COLUMN else 2.4)
        ax.bar(range(len(counts)), counts, color=[*[_style.COLOURS[0]] * len(read.layers), _style.GREY], width=0.75)
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylim(0, max(1.05 * max(counts), 1))
        ax.set_ylabel("features")
        ax.set_xlabel("first layer where the feature is decodable")
        _style.title(ax, f"Onset of features at R² ≥ {read.threshold:g}", read.title)
        _layers.name_layers(ax, names)
        ax.set_xlim(-0.6, len(counts) - 0.4)
    return ax


def flow_paths(found: Flow, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw how much the skip path and the branch of every block carry of the features: thin lines are features, thick
    ones their means. Returns the Axes.
    """
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        x = np.arange(len(found.blocks))
        for i, (name, values) in enumerate((("skip path", found.skip), ("branch", found.branch))):
            some = values.numpy()[:, np.isfinite(values.numpy()).all(0)]
            colour, line = _style.COLOURS[i], _style.LINES[i]
            alpha = min(0.4, max(0.05, 8 / max(1, some.shape[1])))
            ax.plot(x, some, color=colour, alpha=alpha, linewidth=_style.thin() / 2, linestyle=line, zorder=1)
            ax.plot(
                x, some.mean(1), color=colour, linestyle=line, marker=_style.MARKERS[i], label=f"{name}, mean", zorder=3
            )
        ax.set_ylim(-0.02, 1.04)
        ax.set_ylabel("held-out R²" if found.settings.get("measure") == "r2" else "CKA")
        ax.set_title("Where features flow")
        layered(ax, list(found.blocks))
        ax.set_xlabel("residual block, input to output")
        finished(ax, own, width)
    return ax


def merging_curve(found: FeatureMerging, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw the share of channels that remain over the merging threshold, a line a layer, dark for the first, and in
    black the share of predictions that stay. Returns the Axes.
    """
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        x = np.asarray(found.betas, float)
        names = _layers.short_names([name.partition(" = ")[0] for name in found.layers], LETTERS)
        sizes = np.asarray(found.channels, float)
        for i, (name, curve) in enumerate(zip(names, (found.curve.numpy() / sizes).T)):
            more = " and its sums" if " = " in found.layers[i] else ""
            ax.plot(
                x,
                curve,
                color=_style.depth_colour(i, len(names)),
                marker=_style.MARKERS[i % len(_style.MARKERS)],
                linestyle=_style.LINES[i % len(_style.LINES)],
                label=_style.legend_name(f"{name}{more} ({found.channels[i]})"),
                zorder=3,
            )
        same, low, high = found.agreement_curve.numpy().T
        ax.plot(x, same, color=_style.ink(), linewidth=1.5 * _style.thin(), label="predictions that stay", zorder=4)
        ax.fill_between(x, low, high, color=_style.ink(), alpha=0.12, linewidth=0)
        ax.set_ylim(-0.02, 1.04)
        ax.set_xlabel("threshold β")
        ax.set_ylabel("share that remains")
        ax.set_title("Feature merging" + (", published rule" if found.settings.get("reference") else ""))
        finished(ax, own, width)
    return ax


def sedimentation_curve(found: Sedimentation, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw over training the mean complexity of all features, and of the most important ones. Returns the Axes."""
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        x = found.steps.numpy()
        mean, top = found.mean.numpy(), found.top.numpy() + found.mean.numpy()[:, :1]
        share = 100 * float(found.settings.get("top", 0.1))
        for i, (name, (value, low, high)) in enumerate(
            (("all features", mean.T), (f"top {share:g}% by importance", top.T))
        ):
            ax.plot(x, value, color=_style.COLOURS[i], marker=_style.MARKERS[i], linestyle=_style.LINES[i], label=name)
            ax.fill_between(x, low, high, color=_style.COLOURS[i], alpha=0.15, linewidth=0)
        ax.set_xlabel("training step")
        ax.set_ylabel("complexity K")
        ax.set_title("Sedimentation")
        if len(x) > 3 and x[0] > 0 and x[-1] / x[0] > 20:
            ax.set_xscale("log")
            _style.decades(ax.xaxis)
        finished(ax, own, width)
    return ax


def exciting_inputs(
    reading: FeatureReading,
    images: Any,
    *,
    features: int = 3,
    inputs: int = 6,
    ax: Sequence[Axes] | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw the inputs with the largest codes of the simplest features (upper rows) and of the most complex ones.

    `images` (n, h, w), (n, channels, h, w) or (n, h, w, channels), in the order of the data; each picture keeps its own
    range of grey. Rows are labelled with the feature, its K and its importance. `ax`: as many Axes as pictures. Returns
    the Axes, row by row.
    """
    if "sample_numbers" in reading.activations.provenance:
        raise _report_refusals.samples_not_known()
    pictures = _pictures(images, len(reading.activations.sample))
    codes = reading.dictionary.codes(reading.activations[_layer_of(reading)]).cpu().numpy()
    sample = reading.activations.sample.numpy()
    k = reading.complexity.complexity.numpy()
    order = [int(j) for j in np.argsort(k, kind="stable") if np.isfinite(k[j])]
    shown = order if len(order) <= 2 * features else [*order[:features], *order[-features:]]
    weight = reading.importance.absolute.numpy()
    width = _style.in_inches(width)
    with _style.drawing():
        if ax is None:
            figure = _style.plate(width, len(shown) * (width - 1.6) / inputs + 0.35)
            figure.suptitle("Inputs that most excite the simplest (above) and the most complex features")
            axes = figure.subplots(len(shown), inputs, squeeze=False)
        else:
            axes = np.asarray(ax, object)[: len(shown) * inputs].reshape(len(shown), inputs)
        for row, j in zip(axes, shown):
            best = np.argsort(-codes[:, j], kind="stable")[:inputs]
            for place, at in zip(row, best):
                place.imshow(pictures[sample[at]], cmap="gray")
                place.set_xticks([])
                place.set_yticks([])
            name = _style.literal(_style.shortened(reading.complexity.features[j], 16))
            row[0].set_ylabel(
                f"{name}\nK = {k[j]:.2f}\nimp. {weight[j]:.2g}", rotation=0, ha="right", va="center", labelpad=4
            )
    return list(axes.flatten())


# --- what a figure reads ----------------------------------------------------------------------------------------------


def _read(source: Report | Complexity | FeatureReading, run: str | None, split: str | None) -> _Read:
    if isinstance(source, FeatureReading):
        read = _of(source.complexity)
        return _Read(
            **{**vars(read), "importance": source.importance.absolute.numpy(), "rho": source.plane.rank_correlation}
        )
    if isinstance(source, Complexity):
        return _of(source)
    run, split = run or source.runs[0], split or source.splits[0]
    said = source.about(run).get("settings", {}).get("complexity")
    if said is None:
        raise _report_refusals.nothing_to_draw("complexity")
    layer = said["features"]

    def array(name: str) -> np.ndarray:
        return source.array(f"complexity.{name}", layer, run=run, split=split)

    def network(name: str) -> Any:
        rows = [r for r in source.rows if (r.run, r.split, r.quantity, r.layer) == (run, split, name, "")]
        return rows[0] if rows else None

    rho, floor = network("rank_correlation"), network("noise_floor")
    try:
        importance = array("absolute")
    except _check.InputError:
        importance = None
    curve = array("curve")
    return _Read(
        curve,
        array("complexity"),
        array("onset"),
        said["layers"],
        [f"{layer} {j}" for j in range(curve.shape[1])],
        said["threshold"],
        floor.value if floor else np.nan,
        _style.which(source, run, split),
        "layers",
        importance,
        Estimate(rho.value, rho.low, rho.high) if rho else None,
    )


def _of(found: Complexity) -> _Read:
    return _Read(
        found.curve.numpy(),
        found.complexity.numpy(),
        found.onset.numpy(),
        found.layers,
        found.features,
        found.settings["threshold"],
        float(found.noise_floor),
        over=found.settings.get("over", "layers"),
    )


def _place(read: _Read, feature: str | int) -> int:
    if isinstance(feature, int):
        _check.in_range(float(feature), "a feature", 0.0, len(read.features) - 1.0)
        return feature
    _check.choice(feature, "a feature", read.features)
    return list(read.features).index(feature)


def _extremes(read: _Read) -> list[int]:
    order = [int(j) for j in np.argsort(read.complexity, kind="stable") if np.isfinite(read.complexity[j])]
    return order if len(order) <= 2 * NAMED else [*order[:NAMED], *order[-NAMED:]]


def _layer_of(reading: FeatureReading) -> str:
    return str(reading.importance.settings["layer"])


def _pictures(images: Any, n: int) -> np.ndarray:
    """(n, h, w) or (n, h, w, 3), each scaled to its own range."""
    x = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images, float)
    if x.ndim == 4 and x.shape[1] in (1, 3):
        x = np.moveaxis(x, 1, -1)
    if x.ndim == 4 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[-1] != 3):
        raise _report_refusals.not_images(tuple(x.shape))
    flat = x.reshape(len(x), -1)
    low, high = flat.min(1), flat.max(1)
    shape = (-1,) + (1,) * (x.ndim - 1)
    return (x - low.reshape(shape)) / np.where(high > low, high - low, 1.0).reshape(shape)


PANELS = (
    Panel(
        "Readable features",
        feature_fan,
        "From which layer on each penultimate unit is linearly decodable ({run}, {split}): cross-validated R², one "
        "line per unit, the two simplest and the two most complex in colour.",
        analyzer="complexity",
    ),
    Panel(
        "Complexity and importance",
        complexity_plane,
        "Complexity of each penultimate unit against its importance for the logit of the predicted class ({run}, "
        "{split}).",
        analyzer="complexity",
    ),
    Panel(
        "Feature onsets",
        onset_histogram,
        "How many penultimate units become decodable at each layer ({run}, {split}).",
        analyzer="complexity",
    ),
)
