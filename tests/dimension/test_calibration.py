"""Calibration by balls, the benchmark manifolds, plateaus and decimation."""

import math

import numpy as np
import pytest
import torch

import repana
from benchmarks.manifolds import MANIFOLDS
from repana import NeighbourGraph, dimension_profile, gride, mle, two_nn
from repana.dimension import _calibration
from repana.dimension._calibration import DIMENSIONS, SIZES, ball
from repana.dimension._profile import _part

OPTIONS = {
    "two_nn": (two_nn, {}),
    "two_nn ml": (two_nn, {"method": "ml"}),
    "mle": (mle, {}),
    "mle 5": (mle, {"k": 5}),
    "gride": (gride, {"n1": 4}),
    "mom": (repana.mom, {}),
    "mada": (repana.mada, {}),
    "mind_ml": (repana.mind_ml, {}),
    "tle": (repana.tle, {}),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("n", "d"), [(700, 7), (1500, 35)])
def test_balls_are_found_again(name, n, d):
    """Of fresh balls, between the dimensions and sizes of the shipped curves, which the call must not simulate."""
    function, options = OPTIONS[name]
    found = [function(ball(n, d, seed), calibrate=True, **options) for seed in range(6)]
    values = [e.calibrated.value for e in found]
    assert np.mean(values) == pytest.approx(d, rel=0.035)
    assert abs(np.mean([float(e) for e in found]) / d - 1) > abs(np.mean(values) / d - 1)
    assert sum(e.calibrated.low <= d <= e.calibrated.high for e in found) >= 4
    assert not _calibration._SIMULATED


def test_the_raw_value_stands():
    x = ball(800, 12, 0)
    raw, both = two_nn(x), two_nn(x, calibrate=True)
    assert (both.value, both.low, both.high) == (raw.value, raw.low, raw.high)
    assert raw.calibrated is None
    assert str(both) == f"{raw}, calibrated {both.calibrated}"
    assert both.calibrated.low < both.calibrated.value < both.calibrated.high


def test_other_options_are_simulated_once(monkeypatch):
    monkeypatch.setattr(_calibration, "_SIMULATED", {})
    monkeypatch.setattr(_calibration, "draws", lambda n: 4)
    x = ball(300, 9, 0)
    e = mle(x, k=13, calibrate=True).calibrated
    assert float(e) == pytest.approx(9, rel=0.15)
    assert len(_calibration._SIMULATED) == 1
    mle(x * 2, k=13, calibrate=True)
    assert len(_calibration._SIMULATED) == 1


def test_the_ends_of_the_curve_say_so():
    x = ball(300, 3000, 0)
    far = two_nn(x, method="ml", calibrate=True).calibrated
    assert math.isnan(far.value)
    assert far.note == "above what balls of 1000 dimensions give"
    dust = torch.rand(200, 1, generator=torch.Generator().manual_seed(0)).double() ** 12
    low = two_nn(dust, method="ml", calibrate=True)
    assert 0 < low.calibrated.value == pytest.approx(low.value, rel=0.1)
    nothing = two_nn(torch.ones(40, 3), calibrate=True)
    assert nothing.calibrated.note == "no estimate to calibrate"
    many = two_nn(torch.rand(21_000, 2, generator=torch.Generator().manual_seed(0)), calibrate=True, max_samples=21_000)
    assert many.calibrated.note == "by balls of 20000 samples"


def test_the_shipped_curves_rise():
    for name, (mean, error) in _calibration._shipped().items():
        assert mean.shape == (len(SIZES), len(DIMENSIONS), 3 if name.startswith("danco") else 1)
        known = np.isfinite(mean[:, 0, 0])
        assert known[3:].all()
        assert (np.diff(mean[known, :, 0], axis=1) > 0).all(), name
        assert (error[known][:, :, 0] < 0.06).all(), name


@pytest.mark.slow
@pytest.mark.parametrize(("n", "most", "raw_least"), [(2000, 6.5, 10), (500, 9.0, 12)])
def test_the_headline_on_the_benchmark_manifolds(n, most, raw_least):
    """Mean absolute error in percent over 24 manifolds, of the mean over five fresh seeds."""
    calibrated, raw = [], []
    for truth, generate in MANIFOLDS.values():
        drawn = [generate(np.random.default_rng(seed), n) for seed in range(200, 205)]
        found = [two_nn(torch.from_numpy(x), method="ml", calibrate=True) for x in drawn]
        calibrated.append(abs(np.mean([e.calibrated.value for e in found]) / truth - 1))
        raw.append(abs(np.mean([e.value for e in found]) / truth - 1))
    assert 100 * np.mean(calibrated) <= most
    assert 100 * np.mean(raw) >= raw_least


def test_manifolds_have_the_widths_of_their_papers():
    widths = {name: generate(np.random.default_rng(0), 50).shape for name, (_, generate) in MANIFOLDS.items()}
    assert widths["M1 sphere"] == (50, 11)
    assert [widths[name][1] for name in ("M4 curved", "M6 curved", "M8 curved")] == [8, 36, 72]
    assert [widths[name][1] for name in ("Mn1", "Mn2", "Mbeta")] == [72, 96, 40]
    assert [widths[f"Mp{i} paraboloid"][1] for i in (1, 2, 3)] == [12, 21, 30]
    x = MANIFOLDS["M10a cube"][1](np.random.default_rng(0), 4000)
    faces = np.array([((x == side).sum(0)) for side in (0, 1)])
    assert (faces > 4000 / 22 * 0.7).all()  # every face, also the last


# --- scales -----------------------------------------------------------------------------------------------------------


def test_parts_have_the_neighbours_of_a_search():
    x = torch.rand(900, 4, generator=torch.Generator().manual_seed(0))
    whole = NeighbourGraph.of(x)
    for size in (450, 110, 60, 20):
        rows = torch.randperm(900, generator=torch.Generator().manual_seed(size))[:size].sort().values
        got, want = _part(whole, rows), NeighbourGraph.of(x[rows], k=2)
        torch.testing.assert_close(got.neighbours.distances, want.neighbours.distances, rtol=1e-6, atol=0)
        assert torch.equal(got.neighbours.indices, want.neighbours.indices)


def test_decimation_and_gride_agree_at_the_same_scale():
    """The second neighbour of N/m samples is on the scale of the 2m-th of N."""
    x = repana.NeighbourGraph.of(torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)))
    profile = dimension_profile(x)
    assert profile.decimation[:, 0].tolist() == [4000, 2000, 1000, 500, 250, 125, 62]
    assert profile.decimation[0, 2] == pytest.approx(float(profile.two_nn_ml), rel=1e-12)
    for row, scale in zip(profile.decimation[:6], profile.scale):
        assert row[1] == pytest.approx(float(scale[1]), rel=0.15)
        assert row[3] <= row[2] <= row[4]
        assert row[2] == pytest.approx(float(scale[2]), rel=0.1)


def test_noise_falls_away_under_decimation():
    generator = torch.Generator().manual_seed(0)
    sheet = torch.nn.functional.pad(torch.rand(3000, 2, generator=generator), (0, 48))
    profile = dimension_profile(sheet + 2e-3 * torch.randn(3000, 50, generator=generator))
    curve = profile.decimation[:, 2]
    assert curve[0] > 4
    assert curve[5] == pytest.approx(2, abs=0.5)
    assert (curve[:6].diff() < 0).all()
    assert math.isnan(profile.gride_plateau.value)
    assert profile.gride_plateau.note.startswith("no plateau: 9.")
    assert "disagree: the dimension depends on the scale" in profile.gride_plateau.note


def test_a_plateau_is_the_longest_flat_run():
    profile = dimension_profile(torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)))
    got = profile.gride_plateau
    assert got.note == "n1 = 1 to 32"
    assert float(got) == pytest.approx(float(profile.scale[:, 2].log().mean().exp()), rel=1e-12)
    assert got.low == pytest.approx(float(profile.scale[:, 3].min()), rel=1e-2)
    short = dimension_profile(torch.rand(12, 2, generator=torch.Generator().manual_seed(0)))
    assert math.isnan(short.mle.value)
    assert short.decimation.shape == (0, 5)


def flat_torus(n: int, d: int, seed: int) -> np.ndarray:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, (n, d))
    return np.concatenate([np.sin(angle), np.cos(angle)], 1)


def test_closed_sets_are_calibrated_without_a_boundary(monkeypatch):
    """On flat tori of 5 dimensions balls overshoot, since they correct for a surface that is not there."""
    monkeypatch.setattr(_calibration, "_SIMULATED", {})
    monkeypatch.setattr(_calibration, "draws", lambda n: 10)
    found = {
        boundary: [
            two_nn(flat_torus(800, 5, seed), method="ml", calibrate=True, boundary=boundary).calibrated
            for seed in range(12)
        ]
        for boundary in (True, False)
    }
    means = {boundary: np.mean([e.value for e in estimates]) for boundary, estimates in found.items()}
    assert means[True] > 5.4
    assert means[False] == pytest.approx(5, rel=0.03)
    assert sum(e.low <= 5 <= e.high for e in found[False]) >= 10


@pytest.mark.parametrize("d", [2, 10])
def test_tori_are_tori(d):
    """Every pair of coordinates lies on its unit circle, and no angle is preferred."""
    x = _calibration.torus(4000, d, 0)
    assert torch.allclose(x[:, :d].square() + x[:, d:].square(), torch.ones(4000, d), atol=1e-5)
    assert float(x.mean(0).abs().max()) < 0.06
