"""Components by density and scale: reference values, brute force, invariances, clusters that outliers bridge."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import repana
from repana import InputError, plots
from repana.findings import find
from repana.topology import density_persistence
from repana.topology._density import codensity, components, merges, signed


def between(x):
    return np.linalg.norm(x[:, None] - x[None], axis=2)


def m0():
    """frontier.md 5.3."""
    r = np.random.default_rng(0)
    i = np.arange(40) % 3
    centres, widths = np.array([[0, 0, 0], [4, 0, 0], [0, 5, 0]], float), np.array([0.4, 0.6, 1])
    return centres[i] + r.standard_normal((40, 3)) * widths[i][:, None]


def test_reference_values():
    d = between(m0())
    density = codensity(d, 5)
    assert density[0] == pytest.approx(0.475169859475, abs=1e-12)
    levels = np.quantile(density, [0.25, 0.5, 0.75, 1])
    assert levels == pytest.approx([0.63928706, 0.83125226, 1.3991671, 2.05897699], abs=1e-8)
    scales = np.quantile(d[np.triu_indices(40, 1)], [0, 0.05, 0.1, 0.2, 0.3, 0.5])
    surface = components(merges(d, density, levels), scales * (1 + 1e-12))
    assert surface.tolist() == [
        [9, 1, 1, 1, 1, 1], [19, 4, 2, 2, 1, 1], [29, 12, 6, 4, 2, 1], [39, 22, 15, 4, 2, 1]
    ]  # fmt: skip
    assert signed(surface).tolist() == [
        [9, -8, 0, 0, 0, 0], [10, -7, -2, 0, -1, 0], [10, -2, -4, -2, -1, -1], [10, 0, -1, -9, 0, 0]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("points", "entries"),
    [
        ([0, 1, 3], {(0, 0): 1, (1, 0): 1, (1, 1): -1, (2, 0): 1, (2, 2): -1}),
        ([0, 2, 1], {(0, 0): 1, (1, 0): 1, (1, 2): -1, (2, 0): 1, (2, 1): -2, (2, 2): 1}),  # the third is a bridge
    ],
)
def test_by_hand(points, entries):
    """Points on a line that enter in order; signed entries may be positive again."""
    d = np.abs(np.subtract.outer(np.array(points, float), np.array(points, float)))
    found = signed(components(merges(d, np.arange(3.0), np.arange(3.0)), np.arange(4.0)))
    assert {(i, j): v for (i, j), v in np.ndenumerate(found) if v} == entries


def brute(d, density, a, r):
    inside = np.flatnonzero(density <= a)
    left, count = set(inside.tolist()), 0
    while left:
        count, stack = count + 1, [left.pop()]
        while stack:
            near = {j for j in left if d[stack[-1], j] <= r}
            stack.pop()
            left -= near
            stack += near
    return count


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(12, 60))
def test_brute_force(seed, n):
    x = np.random.default_rng(seed).integers(0, 6, (n, 2)).astype(float)  # ties and copies
    d = between(x)
    density = codensity(d, 3)
    levels, scales = np.quantile(density, [0.3, 0.6, 1]), np.array([0, 1.0, 1.5, 2.5])
    surface = components(merges(d, density, levels), scales)
    for i, a in enumerate(levels):
        assert surface[i].tolist() == [brute(d, density, a * (1 + 1e-12), r) for r in scales]
    assert (np.diff(surface, axis=1) <= 0).all()


def test_what_does_not_change_it():
    x = torch.from_numpy(m0())
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())
    found, moved = (density_persistence(z, k=5, normalize="none") for z in (x, 7 * x @ q + 100))
    assert torch.equal(found.surface, moved.surface)
    assert found.distance(moved) == 0
    shuffled = density_persistence(x[torch.randperm(40)], k=5, normalize="none")
    assert torch.equal(found.surface, shuffled.surface)


def test_outliers_bridge_what_dense_samples_keep_apart(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(120, 2, generator=generator)
    x[40:80, 0] += 6
    x[80:, 1] += 6
    bridge = torch.linspace(0.8, 5.2, 9)
    x = torch.cat([x, torch.stack([bridge, torch.zeros(9)], 1), torch.stack([torch.zeros(9), bridge], 1)])
    found = density_persistence(x, normalize="none")
    assert found.dense_clusters.value == 3
    assert found.dense_entropy.p == 1 / 21
    assert found.stable_clusters.value == 3
    assert found.says().startswith("The denser half of the samples falls into 3 clusters")
    apart = density_persistence(x[:120], normalize="none")
    assert apart.clusters.value == 3
    assert apart.says() == "The denser half of the samples falls into 3 clusters, all of them into 3."
    ax = plots.density_surface(found)
    assert ax.get_images()[0].get_array().tolist() == found.surface.tolist()
    stairs = ax.lines[0].get_xdata()[::2]
    for step, row, count in zip(stairs, found.surface, found.clusters_by_level):
        assert step == len(row) or (row[step] <= count and (step == 0 or row[step - 1] > count))
    found.plot().savefig(tmp_path / "density.pdf")
    cloud = density_persistence(torch.randn(150, 4, generator=generator), normalize="none")
    assert cloud.dense_entropy.p > 0.05
    assert cloud.says() == "The denser half of the samples is not more clustered than a Gaussian cloud."


def test_bad_input():
    x = torch.from_numpy(m0())
    with pytest.raises(InputError, match="RA212: `k` is 40"):
        density_persistence(x, k=40)
    with pytest.raises(InputError, match="RA212: `levels` is"):
        density_persistence(x, levels=[0.5, 0.2])
    with pytest.raises(InputError, match="RA212: `scales` is"):
        density_persistence(x, scales=[-1.0, 0.5])
    with pytest.raises(InputError):
        density_persistence(x, tau=1.0)
    with pytest.raises(InputError, match="RA246"):
        density_persistence(x, loops=True, memory=1000)
    with pytest.raises(InputError):
        density_persistence(torch.full((20, 3), float("nan")))
    with pytest.raises(InputError, match="RA212: surfaces of 40 and 30 samples"):
        density_persistence(x).distance(density_persistence(x[:30]))
    copies = density_persistence(torch.ones(30, 3), normalize="none")
    assert copies.clusters.value == 1


@pytest.mark.parametrize("d", [2, 3, 16])
@pytest.mark.parametrize("normalize", ["center+l2", "none"])
def test_gaussian_clouds_are_within_their_null(d, normalize):
    low = 0
    for seed in range(10):
        x = torch.randn(120, d, generator=torch.Generator().manual_seed(seed)) / torch.arange(1, d + 1) ** 1.5
        found = density_persistence(x, normalize=normalize)
        low += found.entropy.p <= 0.05
    assert low <= 3  # of 10 at 1/21: more with a chance of 1 in 1000


def test_levels_are_nested_and_surfaces_fall_with_scale():
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(3))
    found = density_persistence(x)
    assert bool((found.surface.diff(dim=1) <= 0).all())
    assert bool((found.surface[:, 0].diff() >= 0).all())  # at scale 0 every level adds its samples
    assert torch.equal(found.signed.cumsum(0).cumsum(1), found.surface)


def test_clusters_that_outliers_bridge_are_a_finding():
    draw = torch.Generator().manual_seed(0)
    centres = 5 * torch.eye(3)
    blobs = [centre + 0.5 * torch.randn(40, 3, generator=draw) for centre in centres]
    along = torch.linspace(0.12, 0.88, 20)[:, None]
    bridges = [centres[k] + (centres[k + 1] - centres[k]) * along for k in (0, 1)]
    cloud = torch.randn(160, 3, generator=draw)
    layers = {"cloud": cloud, "bridged": torch.cat([*blobs, *bridges])}
    report = repana.profile(layers, analyzers=["density_persistence", "spectrum"])
    said = {f.code: f for f in find(report)}["RF310"]
    assert said.severity == "tip"
    assert said.layers == ("bridged",)
    assert said.text.startswith("bridged has 3 clusters at density quantile .5; all samples are no more clustered")
    alone = repana.profile({"cloud": cloud}, analyzers=["density_persistence", "spectrum"])
    assert {f.code: f for f in find(alone)}["RF310"].severity == "passed"
    apart = repana.profile({"blobs": torch.cat(blobs)}, analyzers=["density_persistence", "spectrum"])
    assert {f.code: f for f in find(apart)}["RF310"].severity == "passed"
    assert not [r for r in repana.profile({"cloud": cloud}).rows if r.analyzer == "density_persistence"]


def test_loops_of_every_level_are_those_of_its_samples():
    """A ring that sparse samples fill: its hole outlasts all others in the denser half alone."""
    draw = torch.Generator().manual_seed(0)
    turn = 2 * torch.pi * torch.arange(80) / 80
    ring = torch.stack([turn.cos(), turn.sin()], 1) + 0.02 * torch.randn(80, 2, generator=draw)
    grid = torch.cartesian_prod(*(2 * [torch.arange(-3, 4) * 0.27]))
    x = torch.cat([ring, grid[grid.norm(dim=1) < 0.9]]).double()
    levels = [0.3, 0.6, 1.0]
    found = density_persistence(x, k=5, levels=levels, normalize="none", loops=True)
    d = between(x.numpy())
    density, unit = codensity(d, 5), np.median(d[np.triu_indices(len(x), 1)])
    for share, bars in zip(levels, found.loops):
        inside = np.flatnonzero(density <= np.quantile(density, share))
        expected = repana.persistence(x[inside]).diagram(1) / unit
        assert np.allclose(bars.numpy(), expected, atol=1e-6)
    longest = [float(bars[0, 1] - bars[0, 0]) for bars in found.loops[1:]]
    assert longest[0] > 2 * longest[1]
    assert density_persistence(x, k=5).loops == ()
