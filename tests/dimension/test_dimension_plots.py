"""Figures of dimension: over depth, over scales with decimation, sample by sample, of an objective."""

import math

import numpy as np
import pytest
import torch

import repana
from repana import InputError, ObjectiveDimension, local_dimension, plots
from repana._estimate import Estimate
from repana.dimension._trainings import Trained

X = torch.randn(600, 5, generator=torch.Generator().manual_seed(0)) @ torch.randn(
    5, 30, generator=torch.Generator().manual_seed(1)
)


@pytest.fixture(scope="module")
def report():
    made = repana.Activations({"a": X, "b": X[:, :2], "c": X[:, :1]}, sample=torch.arange(600), seen=600)
    return repana.profile(made)


def test_depth_draws_every_estimator_with_its_band(report):
    ax = plots.dimension_depth(report)
    for line, name in zip(ax.lines, ("two_nn", "two_nn_calibrated", "mle", "gride_16")):
        want = [r.value for r in report.select(f"dimension.{name}")]
        np.testing.assert_allclose(line.get_ydata(), want)
    assert len(ax.collections) == 4
    labels = [t.get_text() for t in plots.figure_of(ax).legends[0].get_texts()]
    assert labels == ["TwoNN dimension", "TwoNN, calibrated", "MLE dimension (k = 20)", "GRIDE dimension (16, 32)"]
    mixed = plots.dimension_depth(report, "two_nn", "spectrum.participation_ratio_unbiased")
    assert len(mixed.lines) == 2
    with pytest.raises(InputError) as error:
        plots.dimension_depth(report, "spectrum.top_share")
    assert str(error.value) == (
        "RA222: 'spectrum.top_share' is in share and the axis in dimensions; `plots.depth_profile` gives every "
        "quantity a panel of its own."
    )


def test_decimation_stands_at_the_scale_of_all_samples(report):
    ax = plots.dimension_scale(report, "a")
    open_marks = [line for line in ax.lines if line.get_fillstyle() == "none" and len(line.get_xdata())]
    assert open_marks[0].get_xdata().tolist() == [2, 4, 8, 16]
    np.testing.assert_allclose(open_marks[0].get_ydata(), report.array("dimension.decimation", "a")[:, 2])
    assert "part of the samples" in [t.get_text() for t in plots.figure_of(ax).legends[0].get_texts()]
    plain = plots.dimension_scale(report, "a", decimation=False)
    assert all(line.get_fillstyle() != "none" for line in plain.lines)
    assert plain.get_title(loc="left") == "Dimension by scale (GRIDE)"
    assert ax.get_title(loc="left") == "Dimension by scale (GRIDE)"


def test_the_histogram_is_a_density_and_counts_what_lies_beyond():
    values = local_dimension(X)
    ax = plots.local_dimension_histogram({"a": values, "b": values * 2})
    first = ax.patches[0].get_data()
    within = float(((values <= first.edges[-1]).double()).mean())
    assert float((first.values * np.diff(first.edges)).sum()) == pytest.approx(within, abs=1e-9)
    beyond = int((values * 2 > first.edges[-1]).sum())
    assert f"b, {beyond} of 600 beyond" in [t.get_text() for t in plots.figure_of(ax).legends[0].get_texts()]
    medians = [line.get_xdata()[0] for line in ax.lines]
    assert medians == pytest.approx([float(values.median()), float(values.median()) * 2], rel=0.01)
    with pytest.raises(InputError, match="RA227: a histogram needs at least 1 samples; 0 came"):
        plots.local_dimension_histogram(torch.full((5,), math.nan))


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_map_has_the_colour_of_every_sample(method):
    values = local_dimension(X[:200])
    values[:3] = math.nan
    ax = plots.local_dimension_map(X[:200], values, method=method)
    drawn = ax.collections[0]
    assert len(drawn.get_offsets()) == 197
    np.testing.assert_allclose(np.sort(drawn.get_array()), np.sort(values[3:].numpy()))
    assert len(plots.figure_of(ax).axes) == 2  # the colour bar
    assert plots.figure_of(ax).axes[1].get_ylabel() == "local dimension"


def test_the_map_draws_a_part_of_many_samples():
    values = local_dimension(X)
    ax = plots.local_dimension_map(X, values, max_samples=50)
    assert len(ax.collections[0].get_offsets()) == 50
    with pytest.raises(InputError) as error:
        plots.local_dimension_map(X, values[:10])
    assert str(error.value) == "RA211: `values` has shape (10,); expected (600,): one number a sample."


def test_the_subspace_curve_draws_every_dimension():
    runs = tuple(Trained(d, s, 0.1 * d + 0.01 * s) for d in (2, 4, 8) for s in (0, 1)) + (Trained(0, 0, 0.95),)
    found = ObjectiveDimension(Estimate(6.0, 4.0, 9.0), (6, 6), Estimate(0.95), 0.855, runs, 500, "dense", 0.9)
    ax = plots.subspace_curve(found, metric="accuracy")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [2, 4, 8])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.205, 0.405, 0.805])
    assert ax.get_ylabel() == "accuracy"
    assert ax.get_title(loc="left") == "Training in a random subspace of 500 parameters"
    labels = [t.get_text() for t in plots.figure_of(ax).legends[0].get_texts()]
    assert labels == ["dense", "dense: $d_{int90}$ = 6", "all parameters"]
    missed = ObjectiveDimension(Estimate(math.nan), (None,), Estimate(0.95), 0.9, runs, 500, "sparse", 0.9)
    assert len(plots.subspace_curve(found, missed, names=("one", "two")).lines) > 4


def test_open_marks_where_some_seeds_are_missing():
    runs = (Trained(0, 0, 1.0), Trained(0, 1, 1.0), Trained(4, 0, 0.5), Trained(8, 0, 0.9), Trained(8, 1, 0.95))
    found = ObjectiveDimension(Estimate(8.0), (8, 8), Estimate(1.0), 0.9, runs, 100, "dense", 0.9)
    ax = plots.subspace_curve(found)
    some = next(line for line in ax.lines if line.get_label() == "_some")
    assert some.get_xdata().tolist() == [4]
    with pytest.raises(InputError, match="RA201"):
        plots.subspace_curve(found, names=("a", "b"))


def test_the_map_takes_layers_by_name():
    values = {name: local_dimension(x) for name, x in (("a", X), ("b", X[:, :9]))}
    ax = plots.local_dimension_map({"a": X, "b": X[:, :9]}, values, "a")
    assert ax.get_title(loc="left").startswith("a")
    assert len(ax.collections[0].get_offsets()) == 600
    with pytest.raises(repana.ModelError, match="RA101: layer 'c' was not recorded; nearest: 'a', 'b'"):
        plots.local_dimension_map({"a": X, "b": X[:, :9]}, values, "c")


def test_power_laws_are_drawn_for_few_layers(report):
    few, asked = plots.spectrum(report), plots.spectrum(report, fits=False)
    assert any(line.get_linestyle() == ":" and len(line.get_xdata()) == 2 for line in few.lines)
    assert not any(len(line.get_xdata()) == 2 and line.get_linestyle() == ":" for line in asked.lines)


def test_more_estimators_on_request(report):
    """Each is that of its function on the same neighbours."""
    assert "danco" not in report.quantities
    made = repana.Activations({"a": X}, sample=torch.arange(600), seen=600)
    more = repana.profile(made, analyzers=["all", "dimension_estimators"])
    whole = {r.quantity for r in report.rows if r.layer}  # of one layer there is no complexity
    assert whole - {"readable", "decoded"} < set(more.quantities)
    cloud = repana.NeighbourGraph.of(X)
    for name, want in (
        ("dimension_estimators.danco", repana.danco(cloud)),
        ("dimension_estimators.ess", repana.ess(cloud, k=64)),
        ("dimension_estimators.correlation", repana.correlation_dimension(cloud)),
        ("dimension_estimators.ph", repana.ph_dimension(cloud)),
    ):
        (row,) = more.select(name)
        assert (row.value, row.low, row.high) == pytest.approx((want.value, want.low, want.high))
    few = repana.dimension_estimators(X[:15])
    assert math.isnan(float(few.tle))
    assert "RA233" in few.tle.note
    assert len(plots.dimension_depth(more, "tle", "danco", "abid").lines) == 3
