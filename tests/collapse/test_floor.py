"""The floor beside distances from a simplex: what an exact frame gives on as many samples."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from repana import neural_collapse
from repana.collapse._floor import FLOORED, ExactFrame
from repana.plots import depth_profile
from repana.summaries.moments import Moments


def on_a_frame(c, d, n, spread, seed):
    """n samples of each of c classes around an exact simplex frame, with correlated noise."""
    g = np.random.default_rng(seed)
    rotation = np.linalg.qr(g.normal(size=(d, d)))[0]
    _, _, basis = np.linalg.svd(np.eye(c) - 1 / c)
    means = 3 * ((np.eye(c) - 1 / c) @ basis[: c - 1].T) @ rotation[: c - 1]
    y = np.repeat(np.arange(c), n)
    return means[y] + spread * g.normal(size=(len(y), d)) @ (g.normal(size=(d, d)) / d**0.5), y


@pytest.mark.parametrize("permutations", [0, 19])
def test_the_floor_is_none_where_there_is_no_frame(permutations):
    g = np.random.default_rng(0)
    for c, d in ((2, 6), (9, 4)):
        y = np.arange(20 * c) % c
        found = neural_collapse(g.normal(size=(len(y), d)) + 3 * np.eye(c, d)[y], y, permutations=permutations)
        assert np.isnan(found.etf_error.floor)
    x, y = on_a_frame(4, 6, 10, 0.5, 0)
    assert np.isnan(neural_collapse(x, y, bootstrap=0).etf_error.floor)
    assert np.isnan(neural_collapse(x, y).nc1.floor)
    assert neural_collapse(x, y).etf_error.floor > 0


def test_the_frame_is_an_exact_simplex_near_the_means():
    x, y = on_a_frame(5, 12, 40, 0.4, 1)
    moments = Moments.of(torch.from_numpy(x), torch.from_numpy(y))
    frame = ExactFrame.of(moments, moments).frame
    gram = frame @ frame.T
    torch.testing.assert_close(gram / gram.trace() * 4, torch.eye(5, dtype=gram.dtype) - 1 / 5)
    centred = moments.mean - moments.mean.mean(0)
    assert float((frame - centred).norm() / centred.norm()) < 0.1


def test_the_floor_vanishes_with_the_noise():
    floors = [neural_collapse(*on_a_frame(4, 6, 30, spread, 2)).etf_error.floor for spread in (1.0, 0.1, 0.01)]
    assert floors[0] > 5 * floors[1] > 25 * floors[2] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("c", "d", "n", "spread"), [(5, 20, 30, 0.5), (5, 20, 100, 1.0), (4, 3, 50, 0.5)])
def test_values_of_an_exact_frame_lie_under_the_floor(c, d, n, spread):
    """40 data sets: the median of value over floor is near 1, and nine in ten are at most the floor's end."""
    found = [neural_collapse(*on_a_frame(c, d, n, spread, seed)) for seed in range(40)]
    for name in FLOORED:
        estimates = [getattr(f, name) for f in found]
        assert 0.6 < np.median([e.value / e.floor for e in estimates]) < 1.6, name
        assert np.mean([e.value <= e.floor_high for e in estimates]) >= 0.8, name


def test_means_that_form_no_simplex_lie_above_the_floor():
    x, y = on_a_frame(5, 20, 60, 0.5, 3)
    bent = neural_collapse(x + 4 * (y == 0)[:, None] * np.eye(20)[0], y)
    assert bent.etf_error.value > 2 * bent.etf_error.floor_high


def test_the_depth_figure_shows_the_floor():
    import repana

    x, y = on_a_frame(4, 6, 30, 0.5, 4)
    report = repana.profile({"a": x, "b": 2 * x}, y, analyzers=["neural_collapse"], permutations=19)
    row = report.select("etf_error")[0]
    assert 0 < row.floor < row.floor_high
    axes = depth_profile(report, "etf_error", "nc1")
    drawn = [line.get_ydata() for line in axes[0].lines if len(line.get_ydata()) == 2]
    assert any(np.allclose(y, [r.floor for r in report.select("etf_error")]) for y in drawn)
    labels = [t.get_text() for t in axes[0].figure.legends[0].get_texts()]
    assert any("exact simplex" in label for label in labels)
    plt.close(axes[0].figure)
