"""The figures of features draw the numbers of their results, and say what they lack."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import mlp

import repana
from repana import InputError, plots
from repana.extraction._samples import digits


@pytest.fixture(scope="module")
def reading():
    torch.manual_seed(0)
    return repana.read_features(mlp(12), digits()[1], folds=3)


@pytest.fixture(scope="module")
def report():
    return repana.profile(mlp(12), digits()[0], analyzers="complexity", held_out=digits()[1])


def test_fan(reading, report):
    found = reading.complexity
    alive = np.flatnonzero(np.isfinite(found.complexity.numpy()))
    ax = plots.feature_fan(reading, int(alive[0]), found.features[alive[1]])
    lines = [line.get_ydata() for line in ax.lines]
    for j in alive:
        assert any(np.array_equal(found.curve[:, j].numpy(), y) for y in lines)
    named = [text for text in ax.get_legend_handles_labels()[1] if "K = " in text]
    assert named == [f"{found.features[j]}, K = {found.complexity[j]:.2f}" for j in alive[:2]]
    assert [t.get_text() for t in ax.get_xticklabels()] == list(found.layers)
    assert len([t for t in plots.feature_fan(found).get_legend_handles_labels()[1] if "K = " in t]) == 4
    other = plots.feature_fan(report, split="held_out")
    curve = report.array("complexity.curve", found.layers[-1], split="held_out")
    assert any(np.allclose(curve[:, alive[0]], line.get_ydata()) for line in other.lines)
    assert any("held-out" in text.get_text() for text in other.texts)
    with pytest.raises(InputError):
        plots.feature_fan(reading, "no such feature")
    with pytest.raises(InputError):
        plots.feature_fan(reading, 99)


def test_fan_over_checkpoints(reading):
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    ax = plots.feature_fan(repana.time_to_decode({1: x, 2: x}, x))
    assert ax.get_xlabel() == "checkpoint"
    assert "decodable" in ax.get_title(loc="left")


def test_plane(reading, report):
    ax = plots.complexity_plane(reading)
    points = ax.collections[0].get_offsets()
    alive = torch.isfinite(reading.complexity.complexity)
    np.testing.assert_allclose(points[:, 0], reading.complexity.complexity[alive])
    np.testing.assert_allclose(points[:, 1], reading.importance.absolute[alive])
    assert len(ax.child_axes) == 2
    rho = f"{float(reading.plane.rank_correlation):.2f}".replace("-", "\u2212")
    assert rho in ax.texts[0].get_text()
    alone = plots.complexity_plane(reading.plane).collections[0].get_offsets()
    np.testing.assert_allclose(alone, points)
    of_report = plots.complexity_plane(report, split="held_out").collections[0].get_offsets()
    assert len(of_report) <= 12
    with pytest.raises(InputError, match="RA205"):
        plots.complexity_plane(repana.profile(mlp(), digits()[1], ["1"], analyzers="spectrum"))


def test_onsets(reading):
    ax = plots.onset_histogram(reading)
    heights = [bar.get_height() for bar in ax.patches]
    found = reading.complexity
    alive = torch.isfinite(found.complexity)
    assert heights == [int((found.onset[alive] == k).sum()) for k in (*range(len(found.layers)), -1)]
    assert sum(heights) == int(alive.sum())


def test_flow_merging_and_sedimentation(reading):
    from networks import ResNet

    torch.manual_seed(0)
    net, x = ResNet(blocks=4, width=8), torch.randn(60, 3, 8, 8)
    paths = repana.residual_paths(net, x)
    kept = repana.record(net, x, [*(a for p in paths for a in (p.skip, p.branch)), "fc:in"])
    found = repana.flow(kept, kept["fc:in"], paths)
    ax = plots.flow_paths(found)
    means = [line.get_ydata() for line in ax.lines if line.get_label().endswith("mean")]
    np.testing.assert_allclose(means, [found.skip.mean(1), found.branch.mean(1)])
    merging = repana.feature_merging(net, x, betas=[0.0, 0.5])
    ax = plots.merging_curve(merging)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), merging.curve[:, 0] / merging.channels[0])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), merging.agreement_curve[:, 0])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), merging.betas)
    k = dict.fromkeys((1, 2), reading.complexity)
    over = repana.sedimentation(k, dict.fromkeys((1, 2), reading.importance), bootstrap=20)
    ax = plots.sedimentation_curve(over)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), over.mean[:, 0])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), over.mean[:, 0] + over.top[:, 0])


def test_inputs_that_excite(reading):
    axes = plots.exciting_inputs(reading, digits()[1][0], features=2, inputs=3)
    assert len(axes) == 12
    k = reading.complexity.complexity.numpy()
    simplest = int(np.nanargmin(k))
    codes = reading.dictionary.codes(reading.activations[reading.importance.settings["layer"]])
    best = int(codes[:, simplest].argmax())
    image = digits()[1][0][best, 0].numpy()
    np.testing.assert_allclose(axes[0].images[0].get_array(), image / image.max())
    assert f"K = {k[simplest]:.2f}" in axes[0].get_ylabel()
    coloured = torch.rand(450, 3, 5, 5)
    assert plots.exciting_inputs(reading, coloured, features=1, inputs=1)[0].images[0].get_array().shape == (5, 5, 3)
    with pytest.raises(InputError, match="RA206"):
        plots.exciting_inputs(reading, torch.rand(450, 7))
    streamed = copy(reading.activations)
    object.__setattr__(streamed, "provenance", {"sample_numbers": "positions in the stream"})
    with pytest.raises(InputError, match="RA322: the features were recorded from an iterable"):
        plots.exciting_inputs(replace(reading, activations=streamed), digits()[1][0])
