"""Rows of one sample, such as the tokens of a text: nulls pair whole samples."""

import math

import numpy as np
import pytest
import torch

from repana import Activations, similarity
from repana.comparison import cca, cka, distance_correlation, gulp, neighbourhoods, procrustes, rsa, unit_matching
from repana.comparison._inputs import group_orders, paired_groups

TEXTS, LENGTH, WIDTH = 20, 8, 12


def texts(seed, sizes=None):
    """Tokens near the mean of their text, which has nothing to do with that of another network."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.full((TEXTS,), LENGTH) if sizes is None else sizes
    of_text = torch.arange(TEXTS).repeat_interleave(sizes)
    means = torch.randn(TEXTS, WIDTH, generator=g)
    return means[of_text] + 0.3 * torch.randn(len(of_text), WIDTH, generator=g), of_text


MEASURES = {
    "cka": lambda a, b, group: cka(a, b, groups=group),
    "cka, RBF": lambda a, b, group: cka(a, b, kernel="rbf", groups=group),
    "distance correlation": lambda a, b, group: distance_correlation(a, b, groups=group),
    "neighbourhoods": lambda a, b, group: neighbourhoods(a, b, groups=group, permutations=0).overlap,
    "jaccard": lambda a, b, group: neighbourhoods(a, b, groups=group).jaccard,
    "rsa": lambda a, b, group: rsa(a, b, groups=group),
    "procrustes": lambda a, b, group: procrustes(a, b, groups=group, jackknife=0).held_out,
    "cca": lambda a, b, group: cca(a, b, groups=group, jackknife=0).mean,
    "gulp": lambda a, b, group: gulp(a, b, groups=group, jackknife=0),
    "unit matching": lambda a, b, group: unit_matching(a, b, groups=group, jackknife=0).bipartite,
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("sizes", [None, torch.arange(TEXTS) // 3 + 4], ids=["equal", "unequal"])
def test_unrelated_networks_lie_within_their_null(name, sizes):
    """Rows paired at random gave p = 0 for each of these pairs."""
    small = []
    for seed in range(8):
        (a, group), (b, _) = texts(2 * seed, sizes), texts(2 * seed + 1, sizes)
        found = MEASURES[name](a, b, group)
        assert math.isfinite(found.null)
        small.append(found.p)
    assert sum(p <= 0.05 for p in small) <= 2
    assert np.mean(small) > 0.25


@pytest.mark.parametrize("name", MEASURES)
def test_related_networks_do_not(name):
    a, group = texts(0)
    b = a.flip(1) + 0.5 * torch.randn(a.shape, generator=torch.Generator().manual_seed(9))
    assert MEASURES[name](a, b, group).p <= 0.05


def test_the_matrix_has_the_same_nulls():
    (a, group), (b, _) = texts(0), texts(1)
    one, other = Activations({"l": a}, sample=group), Activations({"l": b}, sample=group)
    found = similarity(
        one, other, measures=("cka", "cka_rbf", "distance_correlation", "knn", "rsa", "procrustes", "r2")
    )
    single = {
        "cka": cka(a, b, groups=group),
        "cka_rbf": cka(a, b, kernel="rbf", groups=group),
        "distance_correlation": distance_correlation(a, b, groups=group),
        "knn": neighbourhoods(a, b, groups=group, permutations=0).overlap,
        "rsa": rsa(a, b, groups=group, jackknife=0),
        "procrustes": procrustes(a, b, groups=group, jackknife=0, permutations=0).held_out,
    }
    for name, expected in single.items():
        made = found.estimate("l", "l", name)
        assert made.value == pytest.approx(expected.value, abs=1e-9), name
        if name != "procrustes":
            assert made.null == pytest.approx(expected.null, abs=1e-9), name
            assert made.p == pytest.approx(expected.p, rel=1e-6), name
            assert made.p > 0.05
            assert (made.null_low, made.null_high) == pytest.approx((expected.null_low, expected.null_high)), name
    assert "exceed" not in next(f.text for f in found.report().findings() if f.code == "RF702")


def test_pairs_of_groups():
    sizes = torch.tensor([3, 5, 3, 4, 9, 3, 4, 5, 3, 3, 7, 8, 8, 9, 9, 9, 8, 8, 7, 7])
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    for first, second in paired_groups(group, 5):
        assert len(first) == len(second) == len(first.unique()) == len(second.unique())
        met = torch.stack([group[first], group[second]]).unique(dim=1)
        assert met.shape[1] == len(sizes)  # each group with one other
        assert met[1].unique().numel() == len(sizes)
        assert len(first) > 0.8 * len(group)  # of like size
    equal = torch.arange(6).repeat_interleave(4)
    for order in group_orders(equal, 3, 0):
        assert order.sort().values.tolist() == list(range(24))
        assert bool((order.reshape(6, 4) % 4 == torch.arange(4)).all())  # in their order
    assert paired_groups(torch.arange(3).repeat_interleave(4), 5) == []
