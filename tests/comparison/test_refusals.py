"""What a measure of two layers refuses, in whole sentences."""

import numpy as np
import pytest
import torch
from comparison.recipes import gaussians

from repana import Activations, InputError
from repana.comparison import (
    cca,
    cka,
    distance_correlation,
    gulp,
    neighbourhoods,
    output_agreement,
    predictivity,
    procrustes,
    rdm_distortion,
    rsa,
    shape_distance,
    unit_groups,
    unit_matching,
)
from repana.summaries.cross_moments import CrossMoments

X, Y = gaussians(40, 4, 5, 0, 0.5)
PAIRS = (
    cca,
    cka,
    distance_correlation,
    gulp,
    neighbourhoods,
    predictivity,
    procrustes,
    rdm_distortion,
    rsa,
    shape_distance,
    unit_groups,
    unit_matching,
)


@pytest.mark.parametrize("measure", PAIRS)
def test_rows_that_do_not_fit(measure):
    with pytest.raises(InputError) as error:
        measure(X, Y[:30])
    assert (
        str(error.value) == "RA201: the two layers have 40 and 30 samples; expected the same samples in the same order."
    )
    with pytest.raises(InputError, match="RA204"):
        measure(torch.where(X > 2, torch.nan, X), Y)
    with pytest.raises(InputError, match="RA227: .* needs at least [34] samples; 2 came."):
        measure(X[:2], Y[:2])
    with pytest.raises(InputError, match="RA277: `b` is Activations"):
        measure(X, Activations({"one": Y}))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: cka(X, Y, kernel=lambda t: torch.arange(1600.0).view(40, 40)),
            "RA270: `kernel` gave a matrix that is not symmetric; expected K[i, j] = K[j, i].",
        ),
        (
            lambda: cka(X, Y, kernel=lambda t: t),
            "RA211: `kernel` has shape (40, 4); expected (40, 40): one row and one column per sample.",
        ),
        (
            lambda: cka(X, Y, kernel="poly"),
            "RA212: `kernel` is 'poly'; expected one of 'linear', 'rbf', or a function that gives (n, n).",
        ),
        (
            lambda: cka(X, Y, kernel="rbf", bandwidth="mean"),
            "RA212: `bandwidth` is 'mean'; expected one of 'median', 'google'.",
        ),
        (
            lambda: cka(X, Y, kernel="rbf", memory=10_000),
            "RA271: 40 samples make matrices of 51.2 kB, more than `memory`, 10 kB; take 17 samples or fewer, or "
            "raise `memory`.",
        ),
        (
            lambda: CrossMoments.of(X, Y) + CrossMoments.of(X + 1, Y),
            "RA272: the two sums run around different shifts; give `shift_x=` and `shift_y=` of the first batch to "
            "the others.",
        ),
        (
            lambda: unit_matching(torch.randn(5, 9000), Y[:5]),
            "RA273: a layer has 9000 units, and one-to-one matching takes time that grows as their cube; expected at "
            "most 8192: "
            "choose units with `most=` or by hand.",
        ),
        (
            lambda: rsa(X[:, :2], Y, distance="correlation"),
            "RA274: a layer has 2 features, of which correlations are +1 or -1 only; expected 3 or more, or "
            "`distance='euclidean'` or 'cosine'.",
        ),
        (
            lambda: rsa(torch.where(torch.arange(40)[:, None] < 3, 0.0, X), Y, distance="cosine"),
            "RA274: 3 of 40 samples are zero in every feature and have no cosine distance; expected none: leave them "
            "out, or take "
            "`distance='euclidean'`.",
        ),
        (
            lambda: output_agreement(X, Y),
            "RA275: the outputs have 4 and 5 columns; expected the same classes, 2 or more, in the same order.",
        ),
        (
            lambda: output_agreement(Activations({"a": X}), Activations({"a": X}, logits=X)),
            "RA275: the first Activations have no logits; record with `logits=True`, or give the outputs.",
        ),
        (
            lambda: output_agreement(named("cat", "dog"), named("dog", "cat")),
            "RA275: the outputs are of different classes: the same names in another order; expected the same, in the "
            "same order.",
        ),
        (
            lambda: output_agreement(named("cat", "dog"), named("cat", "cow")),
            "RA275: the outputs are of different classes: 'dog', 'cow' in one of the two only; expected the same, in "
            "the same "
            "order.",
        ),
        (lambda: gulp(X, Y, lam=0.0), "RA212: `lam` is 0.0; expected a number above 0."),
        (
            lambda: shape_distance(X, Y, group="permutation", alpha=0.5),
            "RA212: `alpha` is 0.5 with `group='permutation'`, which compares features as they are; expected 1.",
        ),
        (
            lambda: unit_groups(X, Y, groups=5),
            "RA212: `groups` is 5 and a layer has 4 units that vary; expected 2 to 4.",
        ),
        (
            lambda: predictivity(X, Y, folds=torch.zeros(40)),
            "RA212: `folds` puts every row in one fold; expected two or more.",
        ),
        (
            lambda: predictivity(X, Y, groups=torch.arange(40) % 3),
            "RA247: `groups` has 3 group(s) and rows are split into 5 parts; a group stays whole, so expected at "
            "least 5.",
        ),
        (lambda: neighbourhoods(X, Y, k=40), "RA233: `k` is 40; there are 39 other samples, so expected 1 to 39."),
        (lambda: cka(X, Y, level=1.5), "RA212: `level` is 1.5; expected a number between 0 and 1, such as 0.95."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text


def named(*classes):
    return Activations({"a": X}, logits=X[:, :2], provenance={"class_names": list(classes)})


def test_too_few_groups_have_no_interval():
    found = cka(X, Y, groups=torch.arange(40) % 2)
    assert np.isnan(found.low)
    assert (
        found.note == "no interval: rows are of 2 groups, and 3 are needed; no null: too few groups to pair at random"
    )
    assert np.isnan(found.p)


def test_constant_units_are_counted():
    x = torch.cat([X, torch.ones(40, 2)], 1)
    found = procrustes(x, Y, jackknife=0, permutations=0)
    assert found.similarity.note.startswith("constant features: 2 of 6 in the first")
    matched = unit_matching(x, Y, jackknife=0, permutations=0)
    assert matched.dropped_a == (4, 5)
    assert matched.best_forward[4:].tolist() == [-1, -1]
    assert len(matched.assignment) == 4


def test_groups_of_units_are_found():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(300, 3, generator=g)
    x = z.repeat(1, 4) + 0.1 * torch.randn(300, 12, generator=g)
    y = z[:, [2, 0, 1]].repeat(1, 2) + 0.1 * torch.randn(300, 6, generator=g)
    found = unit_groups(x, y, groups=3)
    for k in range(3):
        assert len(found.group_a[k::3].unique()) == 1
        assert found.group_a[k] == found.group_b[[1, 2, 0][k]]
    assert found.inside.low > 0.9
    assert found.outside.high < 0.2


def test_units_of_largest_variance_are_taken():
    x = X * torch.tensor([1.0, 5.0, 2.0, 9.0])
    found = unit_matching(x, x.flip(1), most=2, jackknife=0, permutations=0)
    assert found.assignment.tolist() == [[1, 2], [3, 0]]


def test_ties_are_broken_apart_in_both():
    """Copies share a place; by index both layers would choose the same ones."""
    x = torch.zeros(60, 2)
    x[:, 0] = torch.arange(60) // 20
    found = neighbourhoods(x + 1, x + 2, k=5, metric="euclidean", jackknife=0, permutations=0)
    assert 0.15 < found.overlap.value < 0.4  # 5 of 19 copies
    assert "lists end in a tie, broken at random" in found.overlap.note
    assert float(neighbourhoods(x, x, k=5, metric="euclidean", jackknife=0, permutations=0).overlap) == 1
