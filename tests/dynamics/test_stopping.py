"""The stopping rule against a slow one, and what is said of a score."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repana.dynamics import StoppingRule, stopping_point
from repana.dynamics._stopping import rank_correlation, regret
from repana.errors import InputError


def slow_stop(scores, patience, min_delta, burn_in, smooth):
    """By its definition: the first t at which none of the last `patience` smoothed scores raised the reference."""
    found = [(t, s) for t, s in enumerate(scores) if t >= burn_in and math.isfinite(s)]
    smoothed = {}
    for k in range(smooth - 1, len(found)):
        smoothed[found[k][0]] = np.mean([s for _, s in found[k - smooth + 1 : k + 1]])
    improved, reference = None, -math.inf
    for count, (t, s) in enumerate(smoothed.items()):
        if s > reference + min_delta:
            improved, reference = count, s
        elif count - improved >= patience:
            return t
    return None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-5, 5).map(float), st.just(math.nan)), max_size=25),
    st.integers(1, 4), st.sampled_from([0.0, 1.0]), st.integers(0, 5), st.integers(1, 3),
)  # fmt: skip
def test_the_rule_against_its_definition(scores, patience, min_delta, burn_in, smooth):
    rule = StoppingRule("training.loss", "", patience, min_delta, burn_in, smooth, "higher")
    got = stopping_point(scores, rule)
    assert got.stop == slow_stop(scores, patience, min_delta, burn_in, smooth)
    turned = stopping_point(
        [-s for s in scores], StoppingRule("x.y", "", patience, min_delta, burn_in, smooth, "lower")
    )
    assert (turned.stop, turned.best) == (got.stop, got.best)
    if got.best is not None:
        up_to = got.smoothed if got.stop is None else got.smoothed[: got.stop + 1]
        assert got.smoothed[got.best] == np.nanmax(up_to)


def test_a_series_goes_on_as_it_began():
    """What was said of a record stays when more follow: a rule that looks ahead could not be used."""
    scores = np.random.default_rng(0).standard_normal(40).tolist()
    rule = StoppingRule(patience=4, smooth=2)
    at = stopping_point(scores, rule).stop
    for t in range(len(scores)):
        assert stopping_point(scores[: t + 1], rule).stop == (at if t >= at else None)


def test_names_and_refusals():
    assert StoppingRule("h0_separability").quantity == "training.h0_entropy"
    assert not StoppingRule().needs_labels
    assert StoppingRule("training.loss").needs_labels
    for options in ({"patience": 0}, {"smooth": 0}, {"burn_in": -1}, {"min_delta": -1.0}, {"min_delta": math.nan}):
        with pytest.raises(InputError, match="RA212"):
            StoppingRule(**options)


def test_regret_and_rank_correlation():
    point = stopping_point([0.1, 0.5, 0.4, 0.3], StoppingRule(patience=2))
    assert (point.best, point.stop) == (1, 3)
    assert regret(point, [0.2, 0.6, 0.9, 0.8]) == pytest.approx(0.3)
    assert math.isnan(regret(stopping_point([]), [0.5]))
    assert float(rank_correlation([1.0, 2.0, 3.0, 9.0], [0.1, 0.4, 0.5, 0.6])) == pytest.approx(1.0)
    assert float(rank_correlation([1.0, 2.0, 2.0, 4.0], [4.0, 3.0, 2.0, 1.0])) == pytest.approx(-0.948683298)
    assert math.isnan(float(rank_correlation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])))
    assert "never changes" in rank_correlation([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]).note
