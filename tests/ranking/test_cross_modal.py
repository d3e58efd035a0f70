"""Images and texts, and zero-shot classification: reference values, closed forms, coverage, and what is refused."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from repana.errors import InputError
from repana.ranking import cross_modal, retrieval, zero_shot


def x0():
    r = np.random.default_rng(2)
    z = r.standard_normal((20, 6))
    image = z + 0.6 * r.standard_normal((20, 6))
    text = np.repeat(z, 3, 0) + 0.9 * r.standard_normal((60, 6))
    image[:, 0] += 0.7
    text[:, 0] -= 0.7
    return image, text, np.repeat(np.arange(20), 3)


IMAGE, TEXT, OWNER = x0()


def test_reference_values():
    found = cross_modal(IMAGE, TEXT, OWNER)
    assert (found.i2t[1].value, found.i2t[5].value) == pytest.approx((0.4, 0.8))
    assert (found.i2t_share[1].value, found.i2t_share[5].value) == pytest.approx((0.1333333333, 0.4833333333))
    assert (found.t2i[1].value, found.t2i[5].value) == pytest.approx((0.3166666667, 0.7666666667))
    assert found.gap.value == pytest.approx(0.5375825061, abs=1e-10)
    assert found.gap.null**2 == pytest.approx(0.0654580974, abs=1e-10)
    assert found.alignment.value == pytest.approx(1.0784914268, abs=1e-10)
    assert found.uniformity_image.value == pytest.approx(-2.5540034844, abs=1e-10)
    assert found.uniformity_text.value == pytest.approx(-2.6595397703, abs=1e-10)
    assert found.i2t_centered[1].value == pytest.approx(0.5)
    assert found.t2i_centered[1].value == pytest.approx(0.4666666667)
    assert found.gap.p == 1 / 200
    assert all(e.low <= e.value <= e.high for e in found.estimates().values())


def test_the_null_of_the_gap_is_the_mean_over_permutations():
    found = cross_modal(IMAGE, TEXT, OWNER, permutations=0).gap
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (IMAGE, TEXT)]
    both, r = np.concatenate(units), np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        rows = r.permutation(80)
        drawn.append(((both[rows[:20]].mean(0) - both[rows[20:]].mean(0)) ** 2).sum())
    assert found.null**2 == pytest.approx(np.mean(drawn), rel=0.02)
    assert np.isnan(found.p)


def test_recall_is_that_of_a_retrieval_and_order_changes_nothing():
    order = np.random.default_rng(0).permutation(60)
    found, other = cross_modal(IMAGE, TEXT, OWNER), cross_modal(IMAGE, TEXT[order], OWNER[order])
    assert found.t2i[5].value == retrieval(TEXT, IMAGE, (OWNER, np.arange(20))).hit[5].value
    for name, e in found.estimates().items():
        assert other.estimates()[name].value == pytest.approx(e.value, abs=1e-12), name


def test_one_text_an_image_needs_no_owner():
    found = cross_modal(IMAGE, TEXT[::3])
    assert found.i2t[1].value == found.i2t_share[1].value
    assert found.t2i[1].null == pytest.approx(1 / 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_far_from_the_origin(dtype):
    image, text = (torch.tensor(x + 1e4).to(dtype) for x in (IMAGE, TEXT))
    found, exact = cross_modal(image, text, OWNER), cross_modal(image.double().numpy(), text.double().numpy(), OWNER)
    for name, e in exact.estimates().items():
        assert found.estimates()[name].value == pytest.approx(e.value, abs=1e-4), name


@pytest.mark.slow
def test_intervals_of_geometry_cover():
    """A population of 3000 images with two texts each, 60 images at a time."""
    r = np.random.default_rng(0)
    z = r.standard_normal((3000, 8))
    image, text = z + 0.5, np.repeat(z, 2, 0) + r.standard_normal((6000, 8)) - 0.3
    truth = cross_modal(image, text, np.repeat(np.arange(3000), 2), k=1, permutations=0)
    names = ("gap", "alignment", "uniformity_image", "uniformity_text")
    held = dict.fromkeys(names, 0)
    for draw in range(100):
        at = r.choice(3000, 60, replace=False)
        rows = (2 * at[:, None] + np.arange(2)).ravel()
        found = cross_modal(
            image[at], text[rows], np.repeat(np.arange(60), 2), k=1, permutations=0, seed=draw
        ).estimates()
        for name in names:
            held[name] += found[name].low <= truth.estimates()[name].value <= found[name].high
    assert all(count >= 87 for count in held.values()), held


def z0():
    r = np.random.default_rng(3)
    m = r.standard_normal((5, 8))
    prompts = (m[:, None] + 1.2 * r.standard_normal((5, 4, 8))) * np.array([1, 2, 3, 4])[None, :, None]
    y = np.arange(100) % 5
    return m[y] + 1.5 * r.standard_normal((100, 8)), prompts, y


@pytest.mark.parametrize(
    ("combine", "value"),
    [("unit_mean", 0.68), ("raw_mean", 0.65), ("mean_cosine", 0.67), ("max_cosine", 0.66), ("first", 0.61)],
)
def test_zero_shot_reference_values(combine, value):
    x, prompts, y = z0()
    found = zero_shot(x, prompts, y, combine=combine)
    assert found.accuracy.value == pytest.approx(value)
    assert found.accuracy.null == pytest.approx(0.2)
    assert found.balanced_accuracy.value == pytest.approx(value)


def test_two_layers_on_the_same_images():
    x, prompts, y = z0()
    first, second = zero_shot(x, prompts, y), zero_shot(x, prompts[:, 0], y)
    found = first.mcnemar(second)
    ours, theirs = (first.right & ~second.right).sum(), (~first.right & second.right).sum()
    assert found.value == pytest.approx(0.07)
    assert found.p == pytest.approx(binomtest(int(ours), int(ours + theirs)).pvalue)
    assert first.mcnemar(first).p == 1


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: cross_modal(IMAGE, TEXT), "RA292: 20 images and 60 texts: give `owner`"),
        (lambda: cross_modal(IMAGE, TEXT, OWNER[:5]), "RA292: `owner` has 5 entries"),
        (lambda: cross_modal(IMAGE, TEXT, OWNER + 1), "RA292: `owner` numbers images from 0 to 19"),
        (lambda: cross_modal(IMAGE, TEXT, np.minimum(OWNER, 18)), "RA292: 1 images have no text, the first image 19"),
        (lambda: cross_modal(IMAGE, TEXT[:, :3], OWNER), "RA293: `image` has 6 features and `text` 3"),
        (lambda: cross_modal(0 * IMAGE, TEXT, OWNER), "RA293: 20 rows of `image` are zero vectors"),
        (lambda: zero_shot(IMAGE, TEXT[None, None], OWNER[:20]), "RA293: `prompts` has shape"),
        (lambda: zero_shot(IMAGE, TEXT[:5], np.arange(20)), "RA203: Label 19 has no prompts"),
        (lambda: zero_shot(IMAGE, TEXT[:5], ["a", "b"] * 10), "RA203: "),
        (lambda: zero_shot(IMAGE, TEXT[:5, :2], np.arange(20) % 5), "RA293: `features` has 6 features"),
    ],
)
def test_what_does_not_fit_is_refused(call, code):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(code)
