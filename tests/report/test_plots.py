"""Figures: what is drawn are the numbers of the report; names never overlap; nothing global changes."""

import io
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from planted import classes, planted
from torch import nn

import repana
from repana import Activations, FileError, InputError, Report, plots
from repana._activations import Classifier
from repana._estimate import Estimate
from repana._results import closest_pairs, penultimate
from repana.plots import _layers, _style, maps
from repana.plots.classifier_plane import plane_of
from repana.plots.trajectory import series_of

DEEP = [f"model.encoder.layers.{i}.feed_forward.output" for i in range(120)]


# --- style ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("medium", "text"), [("paper", 7), ("nature", 7), ("notebook", 9.1), ("slide", 12.25)])
def test_a_medium_sets_sizes_and_is_left_behind(medium, text):
    before = dict(mpl.rcParams)
    with plots.style(medium):
        ax = plots.class_gram(classes(4))
    assert ax.xaxis.label.get_fontsize() == pytest.approx(text)
    assert plots.figure_of(ax).get_figwidth() == pytest.approx(3.25 * text / 7)
    assert dict(mpl.rcParams) == before


def test_unknown_medium():
    with pytest.raises(InputError) as error, plots.style("poster"):
        pass
    assert str(error.value) == "RA212: `medium` is 'poster'; expected one of 'paper', 'nature', 'notebook', 'slide'."


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_same_figure_same_bytes_and_embedded_fonts(kind, tmp_path):
    for name in ("a", "b"):
        planted(["in", "out"], [2.0, 1.0]).plot("nc1").savefig(tmp_path / f"{name}.{kind}")
    a, b = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
    assert a == b
    if kind == "pdf":
        assert b"/CIDFontType2" in a  # TrueType, fonttype 42
        assert b"/Type3" not in a


def test_a_folder_without_permission(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    figure = planted(["a", "b"], [1.0, 2.0]).plot("nc1")
    figure.savefig(tmp_path / "first.pdf")  # fonts are read
    monkeypatch.setattr("repana._files.os.replace", refuse)
    with pytest.raises(FileError) as error:
        figure.savefig("a.pdf")
    assert str(error.value) == "RA310: 'a.pdf' cannot be written; choose a folder that you may write to."


def test_a_figure_works_without_a_display():
    """No pyplot, no backend: figures are made by themselves."""
    import subprocess
    import sys

    code = """
import sys; sys.path.insert(0, 'tests')
from planted import planted
planted(['a', 'b'], [1.0, 2.0]).plot('nc1')
assert 'matplotlib.pyplot' not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "MPLBACKEND": "qtagg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_curves_are_told_apart_in_grey():
    """Two curves of like lightness differ by marker and line."""
    from matplotlib.colors import to_rgb

    grey = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in map(to_rgb, _style.COLOURS)]
    for i in range(6):
        for j in range(i):
            other = _style.MARKERS[i] != _style.MARKERS[j]
            assert abs(grey[i] - grey[j]) > 0.1 or (other and _style.LINES[i % 4] != _style.LINES[j % 4]) or i > 3


# --- the axis of layers -----------------------------------------------------------------------------------------------


def test_long_names_lose_what_they_share():
    assert _layers.short_names(["input", "conv"], 16) == ["input", "conv"]
    names = [f"model.encoder.layers.{i}.attention.output" for i in range(120)]
    got = _layers.short_names(["input", *names], 16)
    assert got[0] == "input"
    assert got[1] == "\u2026layers.0\u2026"
    assert got[120] == "\u2026layers.119\u2026"
    assert len(set(_layers.short_names(DEEP, 16))) == len(DEEP)
    assert max(map(len, _layers.short_names(DEEP, 16))) <= 16


@pytest.mark.parametrize("most", [16, 20, 24])
def test_different_layers_keep_different_names(most):
    """Names that differ where they would be cut."""
    names = [f"backbone.stage_{i}.residual.branch_{j}.projection_out" for i in range(3) for j in range(3)]
    mixed = [*names, "head.classifier_of_the_whole_network", "input"]
    for layers in (names, mixed, [f"{i}{'x' * 60}{i}" for i in range(12)], ["a" * 40 + str(i) for i in range(200)]):
        got = _layers.short_names(layers, most)
        assert len(set(got)) == len(layers)
        assert max(map(len, got)) <= most


@pytest.mark.parametrize("count", [1, 2, 7, 24, 120])
@pytest.mark.parametrize("width", [_style.COLUMN, _style.PAGE])
@pytest.mark.parametrize("figure", ["depth", "heat"])
def test_layer_names_never_overlap(count, width, figure):
    report = planted(DEEP[:count], [1.0 + i for i in range(count)], name="ncc_accuracy")  # a long name beside the map
    draw = plots.depth_profile if figure == "depth" else plots.heat_map
    axes = draw(report, "ncc_accuracy", width=width)
    ax = axes[0] if isinstance(axes, list) else axes
    whole = plots.figure_of(ax)
    whole.canvas.draw()
    labels = [t for t in ax.get_xticklabels() if t.get_text()]
    names = _layers.short_names(DEEP[:count], 16) if count < 3 else [str(i) for i in range(count)]
    assert (labels[0].get_text(), labels[-1].get_text()) == (names[0], names[-1])
    assert len(labels) <= _layers.MOST_NAMES + 1
    if count >= 3:
        said = ax.get_xlabel() if figure == "heat" else whole.get_supxlabel()
        assert said.startswith("model.encoder.layers (block)")
    anchors = np.array([ax.transData.transform((t.get_position()[0], 0))[0] for t in labels])
    angle = math.radians(labels[0].get_rotation())
    if angle:
        assert (np.diff(anchors) * math.sin(angle) > labels[0].get_fontsize() * whole.dpi / 72).all()
    else:
        boxes = [t.get_window_extent() for t in labels]
        assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:]))


@pytest.mark.parametrize(
    ("layers", "places"),
    [
        (["input", "relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc:in", "fc"], [1.5, 3.5, 5.5]),
        (["input", "conv1", "conv2", "fc"], []),
        (["a.0", "b.0", "c.0"], []),
        (["bert.layer.0", "bert.layer.1|mean", "head.out@2"], [1.5]),
    ],
)
def test_blocks_are_parted(layers, places):
    assert _layers.boundaries(layers) == places
    ax = plots.depth_profile(planted(layers, [float(i + 1) for i in range(len(layers))]), "nc1")[0]
    drawn = [line.get_xdata()[0] for line in ax.lines if line.get_label() == "_block"]
    assert drawn == places


# --- depth ------------------------------------------------------------------------------------------------------------


def test_a_panel_without_finite_values_says_so():
    for value, words in ((math.nan, "every value is NaN"), (math.inf, "every value is infinite")):
        report = planted(["a", "b"], [Estimate(value, note="the class means coincide"), value])
        ax = plots.depth_profile(report, "nc1")[0]
        assert [t.get_text() for t in ax.texts] == [f"{words}\nthe class means coincide"]


def test_a_dollar_in_a_name_starts_no_formula():
    figure = planted(["a$b", "c$d_{x}"], [1.0, 2.0], run="r$1$").plot("nc1")
    figure.canvas.draw()
    assert figure.axes[0].get_xticklabels()[0].get_text() == r"a\$b"


def test_many_runs_are_thin_lines_and_their_median():
    reports = [planted(["a", "b"], [float(i), 2.0], run=f"r{i}") for i in range(41)]
    ax = plots.depth_profile(repana.concat(reports), "nc1")[0]
    median = next(line for line in ax.lines if line.get_label() == "median of 41 runs")
    np.testing.assert_allclose(median.get_ydata(), [20.0, 2.0])
    thin = [line for line in ax.lines if len(line.get_xdata()) and line is not median]
    assert len(thin) == 41
    assert max(line.get_linewidth() for line in thin) < median.get_linewidth() / 2
    assert plots.figure_of(ax).legends[0].get_texts()[1].get_text() == "single runs"


def test_few_runs_have_a_colour_each_and_splits_a_line_each():
    """The same look in every panel, also where a run lacks a quantity."""
    rows = []
    for run in ("experiments/wide", "experiments/deep"):
        for split in ("train", "held_out"):
            rows += planted(["a", "b"], [1.0, 2.0], run=run, split=split).rows
            if run.endswith("deep"):
                rows += planted(["a", "b"], [1.0, 2.0], name="etf_error", run=run, split=split).rows
    nc1, etf = plots.depth_profile(Report(tuple(rows)), "nc1", "etf_error")
    looks = [(line.get_color(), line.get_linestyle()) for line in nc1.lines if len(line.get_xdata())]
    assert looks == [("#0072B2", "-"), ("#0072B2", "--"), ("#D55E00", "-"), ("#D55E00", "--")]
    assert [(line.get_color(), line.get_linestyle()) for line in etf.lines if len(line.get_xdata())] == looks[2:]
    texts = [t.get_text() for t in plots.figure_of(nc1).legends[0].get_texts()]
    assert texts == ["\u2026wide", "\u2026deep", "training", "held-out"]


def test_high_accuracies_are_drawn_as_errors():
    values = [Estimate(0.9, 0.85, 0.95, n=50), Estimate(0.99, 0.97, 1.0, n=50), Estimate(1.0, 0.98, 1.0, n=50)]
    ax = plots.depth_profile(planted(["a", "b", "c"], values, name="ncc_accuracy"), "ncc_accuracy")[0]
    assert ax.get_title("left") == "Nearest-mean error"
    assert ax.get_yscale() == "log"
    curve, mark = (line for line in ax.lines if len(line.get_xdata()))
    np.testing.assert_allclose(curve.get_ydata(), [0.1, 0.01, math.nan])
    assert (mark.get_xdata(), mark.get_ydata(), mark.get_marker()) == ([2], [0.01], "v")
    assert "no errors" in ax.get_legend_handles_labels()[1]
    low = plots.depth_profile(planted(["a", "b"], [0.7, 0.99], name="ncc_accuracy"), "ncc_accuracy")[0]
    assert low.get_title("left") == "Nearest-mean accuracy"
    assert low.get_yscale() == "linear"


def test_undefined_and_infinite_values_are_counted_and_marked():
    ax = plots.depth_profile(planted(["a", "b", "c", "d"], [1.0, math.nan, math.inf, 2.0]), "nc1")[0]
    assert [t.get_text() for t in ax.texts] == ["1 of 4 undefined"]
    edge = [line for line in ax.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [tuple(line.get_xdata()) for line in edge] == [(2.0,)]
    assert edge[0].get_markerfacecolor() == "white"


SHORT_NAMES = ["input", "conv1", "conv2", "conv3", "linear1", "classifier:in", "classifier"]
LONG_NAMES = [f"encoder.layer.{i // 2}.{'attention.output' if i % 2 else 'output'}.dense" for i in range(25)]


def many_runs(runs: int, letters: int, layers) -> Report:
    """The six quantities of the default figure for every run on two splits."""
    random, rows = np.random.default_rng(runs), []
    for r in range(runs):
        name = f"{'weight-decay-and-a-rather-long-name-seed'[: letters - 3]}{r:03d}"
        for split, quantity in ((s, q) for s in ("train", "held_out") for q in plots.depth.OVERVIEW):
            analyzer, _, kind = quantity.partition(".")
            values = random.uniform(0.5, 1, len(layers)) if "probe" in kind else random.lognormal(size=len(layers))
            found = [Estimate(v, 0.9 * v, 1.1 * v, null=0.3, null_low=0.2, null_high=0.4, p=0.2) for v in values]
            rows += planted(layers, found, name=kind, run=name, split=split, analyzer=analyzer).rows
    return Report(tuple(rows))


def assert_nothing_clipped(figure) -> None:
    """The box of every text lies inside the figure, but for labels of ticks outside the view, which are not drawn."""
    whole, beyond = figure.bbox, set()
    for ax in figure.findobj(mpl.axes.Axes):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not (ax.axison and low <= tick.get_loc() <= high):
                    beyond |= {tick.label1, tick.label2}
            if not ax.axison:
                beyond |= {axis.label, axis.get_offset_text()}
    for text in figure.findobj(mpl.text.Text):
        if text.get_visible() and text.get_text().strip() and text not in beyond:
            box = text.get_window_extent()
            assert box.x0 >= -1, text
            assert box.y0 >= -1, text
            assert box.x1 <= whole.x1 + 1, text
            assert box.y1 <= whole.y1 + 1, text


@pytest.fixture(scope="module")
def long_named(small):
    """The report of a network whose layers, classes and run have names of 40 letters."""
    report, new = small[-1], {}
    for i, layer in enumerate(report.layers):
        name = f"encoder.stage_{i}.residual_branch.projection_out_"
        new[layer] = name[: 40 - len(str(i))] + str(i) if not layer.endswith(":in") else name[:37] + ":in"
    run = "weight_decay_and_a_rather_long_name_seed"
    rows = tuple(replace(r, layer=new.get(r.layer, r.layer), run=run) for r in report.rows)
    arrays = {}
    for key, value in report.arrays.items():
        split, layer, name = key.split("/")
        arrays[f"{split}/{new.get(layer, layer)}/{name}"] = value
    classes = {s: [f"{name}_of_the_longest_names_of_all_classes" for name in v] for s, v in
               report.provenance["classes"].items()}  # fmt: skip
    settings = {**report.provenance["settings"]}
    said = settings["complexity"]
    settings["complexity"] = {**said, "features": new[said["features"]], "layers": [new[x] for x in said["layers"]]}
    return Report(rows, arrays, {**report.provenance, "run": run, "classes": classes, "settings": settings})


COMPARED = {panel.heading for section in plots.SECTIONS if section.anchor == "comparison" for panel in section.panels}
FIGURES = {panel.heading: panel.drawn for panel in plots.PANELS if panel.heading not in COMPARED} | {
    "heat map": lambda report, layer, run, split, width: plots.heat_map(report, width=width),
    "singular values": lambda report, layer, run, split, width: plots.mean_spectrum(report, width=width),
    "runs": lambda report, layer, run, split, width: plots.run_summary(
        repana.concat([report, *(report.renamed(f"{run}{i}") for i in range(3))]), width=width
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("width", [3.25, 5.5, 6.75])
@pytest.mark.parametrize("figure", FIGURES)
def test_no_text_of_any_figure_is_clipped(figure, width, long_named):
    run, split = long_named.runs[0], long_named.splits[0]
    whole = plots.figure_of(FIGURES[figure](long_named, penultimate(long_named), run, split, width=width))
    whole.draw_without_rendering()
    assert_nothing_clipped(whole)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layers", [SHORT_NAMES, LONG_NAMES], ids=["short", "long"])
@pytest.mark.parametrize("medium", ["paper", "slide"])
@pytest.mark.parametrize("width", [3.25, 5.5, 6.75])
@pytest.mark.parametrize(("runs", "letters"), [(1, 6), (3, 40), (4, 6), (4, 40), (8, 40), (12, 6)])
def test_nothing_is_clipped_and_panels_keep_their_room(runs, letters, width, medium, layers):
    with plots.style(medium):
        axes = plots.depth_profile(many_runs(runs, letters, layers), width=width)
        figure = plots.figure_of(axes)
        figure.draw_without_rendering()
    whole = figure.bbox
    assert_nothing_clipped(figure)
    columns: dict[float, float] = {}
    for ax in axes:
        place = ax.get_position()
        columns[round(place.x0, 2)] = columns.get(round(place.x0, 2), 0) + place.height
    assert min(columns.values()) >= 0.45
    assert figure.legends[0].get_window_extent().height <= 0.25 * whole.height
    scale = {"paper": 1, "slide": 1.75}[medium]
    assert figure.get_figheight() <= scale * _style.TALLEST + 0.01


def test_a_figure_taller_than_a_page_is_refused_or_asked_for():
    names = ("nc1", "etf_error", "ncc_accuracy", "accuracy")
    report = Report(tuple(r for name in names for r in planted(["a", "b"], [1.0, 2.0], name=name).rows))
    with pytest.raises(InputError, match="RA262: 28 panels in 10 rows"):
        plots.depth_profile(report, *names * 7)
    drawn = plots.depth_profile(report, *names * 7, height=16)
    assert plots.figure_of(drawn).get_figheight() == 16


# --- heat -------------------------------------------------------------------------------------------------------------


def test_every_quantity_has_its_own_scale_and_direction():
    lower = planted(["a", "b", "c"], [100.0, 1.0, 10.0])
    higher = planted(["a", "b", "c"], [0.2, 0.4, math.inf], name="accuracy")
    ax = plots.heat_map(Report(lower.rows + higher.rows), "nc1", "accuracy")
    shades = np.asarray(ax.images[0].get_array().filled(np.nan))
    np.testing.assert_allclose(shades, [[0, 1, 0.5], [0, 1, np.nan]])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["NC1 \u2193", "Accuracy \u2191"]
    right = ax.child_axes[0]
    assert [t.get_text() for t in right.get_yticklabels()] == ["100 \u2192 1.0", "0.20 \u2192 0.40"]
    assert [p.get_hatch() for p in ax.patches] == [_style.HATCH]


@pytest.mark.parametrize(
    ("estimate", "inside"),
    [
        (Estimate(1.0, 0.8, 1.2, null=1.1, null_low=1.0, null_high=1.3, p=0.4), True),
        (Estimate(1.0, 0.8, 1.2, null=1.1, null_low=0.7, null_high=1.5, p=0.01), False),
        (Estimate(1.0, 0.8, 1.2, null=1.1), False),
        (Estimate(math.nan, null=1.0), False),
    ],
)
def test_a_dot_marks_what_is_not_distinguishable_from_its_null(estimate, inside):
    """By p, never by an overlap of intervals."""
    report = planted(["a"], [estimate])
    texts = [t.get_text() for t in plots.heat_map(report, "nc1").texts]
    assert any("\u2022" in t for t in texts) is inside


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [3, 10, 45, 1000])
def test_class_grids_draw_their_arrays(c):
    """Less the first row and the last column, which a lower triangle leaves empty."""
    report = classes(c)
    grid = report.array("cdnv_grid", "fc:in")
    ax = plots.cdnv_grid(report)
    drawn = ax.images[0].get_array().filled(np.nan)
    rows, columns = np.tril_indices(c, -1)
    assert drawn.shape == (c - 1, c - 1)
    np.testing.assert_allclose(drawn[rows - 1, columns], grid[rows, columns])
    i, j = np.unravel_index(np.nanargmax(grid), grid.shape)
    pair = f"class{min(i, j)} and class{max(i, j)}"
    assert closest_pairs(grid, 1)[0] == (max(i, j), min(i, j))
    assert len(ax.patches) == min(3, c * (c - 1) // 2)
    figure = plots.figure_of(ax)
    figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:]))
    if c <= 20:
        assert f"{pair}: " in figure.get_supxlabel()
    else:
        bars = figure.axes[1]
        assert bars.get_yticklabels()[0].get_text() == pair
        assert [bar.get_width() for bar in bars.patches] == sorted(grid[rows, columns])[:-11:-1]


@pytest.mark.parametrize("c", [3, 10, 45, 300])
def test_cosines_are_drawn_as_deviations_from_a_simplex(c):
    """In the order of the classes up to 20, by similarity up to 200, then as a histogram."""
    report = classes(c)
    gram = report.array("class_cosines", "fc:in") + 1 / (c - 1)
    ax = plots.class_gram(report)
    if c > 200:
        assert sum(bar.get_height() for bar in ax.patches) == c * (c - 1) / 2
        assert ax.lines[0].get_xdata()[0] == pytest.approx(-1 / (c - 1))
        return
    drawn = ax.images[0].get_array()
    assert np.diag(drawn.mask).all()
    off = ~np.eye(c, dtype=bool)
    if c <= 20:
        np.testing.assert_allclose(drawn[off], gram[off])
    else:
        np.testing.assert_allclose(np.sort(drawn[off]), np.sort(gram[off]))
        assert not ax.get_xticks().size
    assert ax.images[0].get_clim() == pytest.approx((-np.abs(gram[off]).max(), np.abs(gram[off]).max()))


def test_a_single_pair_of_classes_is_a_number_and_no_grid():
    with pytest.raises(InputError, match="RA205: a grid of class pairs needs three classes; the CDNV of the only pair"):
        plots.cdnv_grid(classes(2))


@pytest.mark.parametrize("everything", [False, True])
def test_unknown_pairs_are_hatched_and_never_the_closest(everything):
    report = classes(4)
    grid = report.array("cdnv_grid", "fc:in").copy()
    grid[2, 1] = grid[1, 2] = math.nan
    grid = grid * math.nan if everything else grid
    ax = plots.cdnv_grid(Report(report.rows, {"train/fc:in/neural_collapse.cdnv_grid": grid}, report.provenance))
    assert sum(bool(p.get_hatch()) for p in ax.patches) == (6 if everything else 1)
    assert "class1 and class2" not in plots.figure_of(ax).get_supxlabel()
    assert ("No pair has a value" in plots.figure_of(ax).get_supxlabel()) is everything
    assert len(plots.figure_of(ax).axes) == (1 if everything else 2)  # no colour bar without colours


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.01, 1, [0.01, 0.1, 1]),
        (3e-8, 2e4, [1e-5, 1e-2, 10.0, 1e4]),
        (4.0, 30.0, [5.0, 10.0, 20.0]),
        (60.0, 90.0, [60.0, 70.0, 80.0, 90.0]),
    ],
)
def test_a_logarithmic_axis_has_three_ticks_at_least(low, high, ticks):
    np.testing.assert_allclose(_style.Decades().tick_values(low, high), ticks)


@pytest.mark.parametrize("seed", range(20))
def test_a_logarithmic_axis_has_three_to_six_ticks(seed):
    low, ratio = 10 ** np.random.default_rng(seed).uniform((-9, 0.1), (3, 9))
    found = _style.Decades().tick_values(low, low * ratio)
    assert 3 <= len(found) <= 6


def test_a_width_by_name():
    assert plots.figure_of(plots.class_gram(classes(4), width="nature")).get_figwidth() == pytest.approx(3.5)
    with pytest.raises(InputError, match="RA212: `width` is 'wide'; expected one of 'column', 'neurips'"):
        plots.class_gram(classes(4), width="wide")


def test_nature_wants_neither_grid_lines_nor_hatching():
    report = classes(4)
    grid = report.array("cdnv_grid", "fc:in").copy()
    grid[2, 1] = grid[1, 2] = math.nan
    with plots.style("nature"):
        ax = plots.cdnv_grid(Report(report.rows, {"train/fc:in/neural_collapse.cdnv_grid": grid}, report.provenance))
        depth = planted(["a", "b"], [1.0, 2.0]).plot("nc1").axes[0]
    assert not any(p.get_hatch() for p in ax.patches)
    assert not any(line.get_visible() for line in depth.get_ygridlines())


def test_numbered_modules_have_their_type():
    kinds = {"0": "Conv2d", "1": "ReLU", "2": "Linear"}
    assert _layers.typed(["input", "0", "1", "2"], kinds) == ["input", "0 Conv2d", "1 ReLU", "2 Linear"]
    blocks = {f"encoder.{i}": "Block" for i in range(4)}
    assert _layers.typed(list(blocks), blocks) == list(blocks)


def test_what_names_share_stands_in_the_axis_label():
    names = [f"backbone.stage_one.{part}" for part in ("convolution", "normalisation", "activation", "projection")]
    figure = planted(names, [1.0, 2.0, 3.0, 4.0]).plot("nc1", width=3.25)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == [
        "\u2026convolution", "\u2026normalisation", "\u2026activation", "\u2026projection"
    ]  # fmt: skip
    assert figure.get_supxlabel() == "layer (\u2026 is backbone.stage_one.)"


def test_spectra_of_layers_are_drawn_with_their_power_law():
    values = {name: np.arange(1, 31.0) ** -power for name, power in (("a", 1.0), ("b", 2.0))}
    arrays = {f"train/{k}/spectrum.eigenvalues": np.r_[v, 0.0, 0.0] for k, v in values.items()}
    arrays |= {f"train/{k}/spectrum.power_law": np.array([11, 30, p, 0.0]) for k, p in (("a", 1.0), ("b", 2.0))}
    ax = plots.spectrum(Report(planted(["a", "b"], [1.0, 1.0]).rows, arrays, {}))
    for k, v in values.items():
        line, fit = (next(x for x in ax.lines if kind(x, k)) for kind in (_is_spectrum, _is_fit))
        np.testing.assert_allclose(line.get_ydata(), v / v.sum())
        np.testing.assert_allclose(fit.get_ydata(), [(v / v.sum())[10], (v / v.sum())[29]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("count", [1, 4, 10])
def test_the_legend_below_takes_nothing_from_the_axes(count):
    names = [f"encoder.layer.{i}.output" for i in range(count)]
    arrays = {f"train/{k}/spectrum.eigenvalues": np.arange(1, 31.0) ** -1 for k in names}
    arrays |= {f"train/{k}/spectrum.power_law": np.array([11, 30, 1.0, 0.0]) for k in names}
    ax = plots.spectrum(Report(planted(names, [1.0] * count).rows, arrays, {}))
    figure = plots.figure_of(ax)
    figure.savefig(io.BytesIO(), format="png")  # which lays it out
    box = ax.get_window_extent()
    assert box.height / figure.dpi > 1.1
    assert figure.legends[0].get_window_extent().y1 < box.y0


def _is_spectrum(line, layer):
    return line.get_label() == layer


def _is_fit(line, layer):
    return len(line.get_ydata()) == 2 and (line.get_ydata()[1] < 1e-3) == (layer == "b")


def test_coinciding_classes_are_named_first():
    report = classes(4)
    grid = report.array("cdnv_grid", "fc:in").copy()
    grid[2, 1] = grid[1, 2] = math.inf
    report = Report(report.rows, {"train/fc:in/neural_collapse.cdnv_grid": grid}, report.provenance)
    assert "class1 and class2: \u221e" in plots.figure_of(plots.cdnv_grid(report)).get_supxlabel()


def test_spectrum_of_class_means():
    report = classes(6)
    ax = plots.mean_spectrum(report)
    values = report.array("mean_spectrum", "fc:in")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), values / values[0])
    assert ax.lines[-1].get_label() == "simplex"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda r: plots.class_gram(r, "fc"),
            "RA224: this report has no layer 'fc'; nearest: 'fc:in'.",
        ),
        (
            lambda r: r.array("gram", "fc:in"),
            "RA224: layer 'fc:in' of run 'run', split 'train' has no array 'gram' in this report; it has "
            "'neural_collapse.cdnv_grid', 'neural_collapse.class_cosines', 'neural_collapse.mean_spectrum'.",
        ),
        (
            lambda r: plots.trajectory(r, "nc1"),
            "RA228: a trajectory needs runs with different steps and these have none: 'run'. Profile with `step=`, or "
            "put the step at the end of the run's name.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call(classes(5))
    assert str(error.value) == text


# --- maps of features -------------------------------------------------------------------------------------------------


def collapsed(c=4, d=6, per=5, spread=0.0) -> Activations:
    """Features at the rows of a simplex frame, which is also the classifier."""
    torch.manual_seed(0)
    frame = torch.eye(c, dtype=torch.float64) - 1 / c
    rows = nn.functional.pad(frame / frame.norm(dim=1, keepdim=True), (0, d - c)).float()
    y = torch.arange(c).repeat_interleave(per)
    x = rows[y] + spread * torch.randn(c * per, d)
    return Activations({"h": x}, y, None, Classifier(rows, None, "h"), torch.arange(c * per), c * per)


def test_collapsed_classes_are_corners_of_an_equilateral_triangle():
    ax = plots.classifier_plane(collapsed())
    corners = np.array([c.get_offsets()[0] for c in ax.collections])
    sides = [np.linalg.norm(corners[i] - corners[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(sides, sides[0], rtol=1e-5)
    np.testing.assert_allclose(corners.mean(0), 0, atol=1e-6)
    to_plane, _ = plane_of(collapsed().head.weight[:3].double())
    np.testing.assert_allclose((to_plane @ to_plane.T).numpy(), np.eye(2), atol=1e-6)  # lengths in the plane are kept


def test_mixed_examples_lie_between_and_are_coloured_by_pair_and_weight():
    acts = collapsed()
    rows = acts.head.weight
    share = torch.tensor([0.5, 0.75, 1.0])
    mixed = plots.Mixed(share[:, None] * rows[0] + (1 - share[:, None]) * rows[1], [[0, 1]] * 3, share)
    ax = plots.classifier_plane(acts, mixed=mixed)
    points = next(c for c in ax.collections if c.get_label() == "mix of 0 and 1")
    corners = [c.get_offsets()[0] for c in ax.collections[:2]]
    np.testing.assert_allclose(points.get_offsets()[0], (corners[0] + corners[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(points.get_facecolors()[:, 3], [1.0, 0.575, 0.15])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"classes": [0, 1]}, "RA226: `classes` is [0, 1]; expected three different ones of 0, 1, 2, 3."),
        ({"classes": [0, 1, 7]}, "RA226: `classes` is [0, 1, 7]; expected three different ones of 0, 1, 2, 3."),
        (
            {"layer": "g"},
            "RA225: these activations have no classifier that reads 'g'; record its input (layers='auto'), or give "
            "`weight=`.",
        ),
    ],
)
def test_planes_that_cannot_be(options, text):
    with pytest.raises(InputError) as error:
        plots.classifier_plane(collapsed(), **options)
    assert str(error.value) == text


def test_principal_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    acts = collapsed(spread=0.3)
    at, words = maps.principal(acts["h"].double())
    pca = PCA(2).fit(acts["h"].double().numpy())
    np.testing.assert_allclose(np.abs(at), np.abs(pca.transform(acts["h"].double().numpy())), atol=1e-8)
    assert words[0] == f"component 1 ({100 * pca.explained_variance_ratio_[0]:.0f}% of variance)"
    ax = plots.layer_map(acts)
    drawn = np.concatenate([c.get_offsets() for c in ax.collections])
    np.testing.assert_allclose(drawn, at)  # samples come class by class here
    assert [t.get_text() for t in ax.texts if t.get_weight() == "bold"] == ["0", "1", "2", "3"]


def test_tsne_keeps_collapsed_classes_together():
    ax = plots.layer_map(collapsed(per=30, spread=0.01), method="tsne")
    groups = [np.asarray(c.get_offsets()) for c in ax.collections]
    inner = max(np.linalg.norm(g - g.mean(0), axis=1).max() for g in groups)
    outer = min(np.linalg.norm(a.mean(0) - b.mean(0)) for i, a in enumerate(groups) for b in groups[:i])
    assert inner < outer


@pytest.mark.slow
def test_umap_keeps_collapsed_classes_together():
    """In a process of its own, interpreted: compiling umap takes longer than this map without it."""
    pytest.importorskip("umap")
    code = "from report.test_plots import keeps_together; keeps_together('umap')"
    where = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": where, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


@pytest.mark.slow
def test_phate_keeps_collapsed_classes_together():
    pytest.importorskip("phate")
    keeps_together("phate")


def keeps_together(method):
    ax = plots.layer_map(collapsed(per=16, spread=0.01), method=method)
    groups = [np.asarray(c.get_offsets()) for c in ax.collections]
    inner = max(np.linalg.norm(g - g.mean(0), axis=1).mean() for g in groups)
    outer = min(np.linalg.norm(a.mean(0) - b.mean(0)) for i, a in enumerate(groups) for b in groups[:i])
    assert inner < outer
    assert not ax.get_xticks().size


def test_a_map_without_its_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(FileError, match=r"RA305: UMAP cannot be imported .* `pip install 'repana\[maps\]'`"):
        plots.layer_map(collapsed(), method="umap")


def test_maps_of_layers_show_the_same_samples():
    acts = collapsed(per=30)
    one = repana.Activations({f"layer{i}": acts[acts.layers[0]] for i in range(12)}, acts.labels)
    axes = plots.layer_maps(one)
    assert [ax.get_title(loc="left").split("\n")[0] for ax in axes] == [
        f"layer{i}" for i in (0, 1, 3, 4, 6, 7, 8, 10, 11)
    ]
    first = [np.asarray(c.get_offsets()) for c in axes[0].collections]
    for ax in axes[1:]:
        for a, b in zip(first, ax.collections):
            np.testing.assert_array_equal(a, b.get_offsets())
    assert len(plots.layer_maps(one, "layer3", "layer5", method="tsne", max_samples=40)) == 2


def test_a_map_needs_three_samples():
    acts = Activations({"h": torch.zeros(2, 3)}, None, None, None, torch.arange(2), 2)
    with pytest.raises(InputError) as error:
        plots.layer_map(acts)
    assert str(error.value) == "RA227: a map needs at least 3 samples; 2 came."


# --- many runs --------------------------------------------------------------------------------------------------------


def training(series=("decay", "none"), steps=(1, 5, 10, 40)) -> Report:
    made = [
        planted(["a", "b", "c"], [(k + 1) / s, 10 / s, 1 / s], run=f"{name}/epoch{s:02d}")
        for k, name in enumerate(series)
        for s in steps
    ]
    return repana.concat(made)


def test_trajectory_draws_a_line_a_layer_and_a_column_a_series():
    report = training()
    assert list(series_of(report)) == ["decay", "none"]
    axes = plots.trajectory(report, "nc1")
    assert [ax.get_title(loc="left") for ax in axes] == ["decay", "none"]
    for k, ax in enumerate(axes):
        np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 5, 10, 40])
        np.testing.assert_allclose(ax.lines[0].get_ydata(), [(k + 1) / s for s in (1, 5, 10, 40)])
        assert [line.get_label() for line in ax.lines] == ["a", "b", "c"]
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_steps_are_recorded_or_read_from_names():
    report = repana.concat([planted(["a"], [1.0], run="x", step=7), planted(["a"], [1.0], run="y/epoch12.5")])
    assert [report.step(run) for run in report.runs] == [7.0, 12.5]
    assert math.isnan(planted(["a"], [1.0], run="plain").step("plain"))


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_a_panel_has_the_null_of_its_first_curve(runs):
    report = repana.concat(
        [planted(["a", "b"], [Estimate(1.0, null=7.0 + k)] * 2, run=f"run {k}") for k in range(runs)]
    )
    ax = plots.depth_profile(report, "nc1")[0]
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    nulls = [line for line in drawn if line.get_ydata()[0] >= 7.0]
    assert [line.get_ydata()[0] for line in nulls] == [7.0]
    assert nulls[0].get_color() == "#6e6e6e"
    assert ax.get_legend_handles_labels()[1].count("shuffled labels") == 1


def test_the_default_figure_has_six_panels(small):
    """Names of layers stand under the lowest panels, letters before titles, nothing where there is no unit."""
    figure = small[3].plot()
    axes = figure.axes
    assert [a.texts[-1].get_text() for a in axes] == list("abcdef")
    assert [a.get_title(loc="left") for a in axes][:2] == ["Linear probe", "NC1"]
    assert figure.get_figwidth() == 5.5
    assert 3 <= figure.get_figheight() <= 3.6
    named = [any(t.get_visible() for t in a.get_xticklabels()) for a in axes]
    assert named == [False] * 3 + [True] * 3
    assert [a.get_ylabel() for a in axes] == ["", "", "", "dimensions", "dimensions", ""]
    assert axes[3].get_ylim()[0] == 0
    figure.canvas.draw()
    assert axes[0].get_yticklabels()[-1].get_text().endswith("%")
    unlabelled = repana.profile({k: torch.randn(80, 5) for k in "abc"}, bootstrap=0).plot()
    assert 4 <= len(unlabelled.axes) <= 6


def test_a_heat_map_of_quantities_without_a_better_side_says_higher():
    report = planted(["a", "b"], [1.0, 2.0], name="two_nn", analyzer="dimension")
    assert plots.heat_map(report, "two_nn").get_title(loc="left") == "Darker is higher; at the right, both ends"


def test_a_heat_map_takes_headlines_by_family_and_greys_what_has_no_better_side():
    rows = []
    for analyzer, name in (("dimension", "two_nn"), ("neural_collapse", "nc1"), ("neural_collapse", "nc3")):
        rows += planted(["a", "b"], [1.0, 2.0], name=name, analyzer=analyzer).rows
    rows += planted(["a"], [0.5], name="etf_error").rows  # of one layer
    ax = plots.heat_map(Report(tuple(rows)))
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert [label.rstrip(" \u2193\u2191") for label in labels] == ["TwoNN dimension", "NC1"]
    grey = ax.images[1]
    assert grey.get_cmap().name == "Greys"
    np.testing.assert_array_equal(grey.get_array().mask, [[False, False], [True, True]])
    assert ax.get_title(loc="left").startswith("Blue: darker is better, grey: higher")


def test_summary_of_runs_reads_one_layer():
    values = [Estimate(1.0 + i, 0.9 + i, 1.2 + i, null=9.0) for i in range(3)]
    report = repana.concat([planted(["a", "b", "c"], [5.0, v, 7.0], run=f"run {i}") for i, v in enumerate(values)])
    ax = plots.run_summary(report, "nc1")[0]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3])  # layer b: the last but one
    np.testing.assert_allclose(
        [s[:, 0] for s in ax.collections[0].get_segments()], [[0.9 + i, 1.2 + i] for i in range(3)]
    )
    np.testing.assert_allclose(ax.lines[1].get_xdata(), [9, 9, 9])  # with shuffled labels
    at_c = plots.run_summary(report, "nc1", layer="c")[0]
    np.testing.assert_allclose(at_c.lines[0].get_xdata(), [7, 7, 7])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["run 0", "run 1", "run 2"]


# --- the gallery ------------------------------------------------------------------------------------------------------


def test_every_figure_has_a_short_gallery_script():
    """Executed when the documentation is built."""
    import inspect
    from pathlib import Path

    scripts = {p.name: p.read_text() for p in (Path(__file__).parents[2] / "docs" / "gallery").rglob("plot_*.py")}
    others = {
        "FONTS",
        "OVERVIEW",
        "default_figure",
        "drawn_data",
        "figure_of",
        "style",
        "Mixed",
        "is_training",
        "overview",
        "OF_TRAINING",
        "PANELS",
        "Panel",
        "SECTIONS",
        "Section",
    }
    for name in set(plots.__all__) - others:
        uses = f"plots.{name}("
        assert any(uses in text for text in scripts.values()), name
        assert "ax" in inspect.signature(getattr(plots, name)).parameters
    for name, text in scripts.items():
        code = [line for line in text.split('"""')[2].splitlines() if line.strip()]
        assert len(code) <= 32, name
        assert "repana.example_" in text or "torch.Generator" in text, name  # runs from the download
        assert text.split("\n")[4].startswith("**"), name  # the question


def test_the_title_of_a_heat_map_is_not_cut():
    """With marks for what is within its null and for what is not finite, it takes several lines."""
    rows = [Estimate(1.0, 0.9, 1.2, null=1.1), Estimate(math.nan), Estimate(2.0)]
    ax = plots.heat_map(planted([f"layer{i}" for i in range(3)], rows, name="nc1"), "nc1")
    whole = plots.figure_of(ax)
    whole.canvas.draw()
    titles = [t for t in (ax.title, ax._left_title, ax._right_title) if t.get_text()]
    for title in titles:
        box = title.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= whole.bbox.x1 + 1
