"""How often 95 % intervals hold the truth: 40 data sets always, 200 (60 of those that take long) marked slow."""

import pytest
from generators import CASES, PROFILED, Case, covered

SETS = [pytest.param(case, 40, id=f"40, {case.name}") for case in CASES if case.many == 200] + [
    pytest.param(case, case.many, id=f"{case.many}, {case.name}", marks=pytest.mark.slow) for case in CASES
]


@pytest.mark.parametrize(("case", "sets"), SETS)
def test_intervals_hold_the_truth(case: Case, sets: int):
    held, widths = covered(case, sets)
    least = case.least - (0.0 if sets == 200 else 0.08 if sets == 40 else 0.02)  # room for the error of the share
    assert {name: share for name, share in held.items() if share < least} == {}, held
    assert {name: width for name, width in widths.items() if width > case.widest * (1.2 if sets == 40 else 1)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", PROFILED, ids=lambda case: case.analyzer)
def test_intervals_of_a_profile_hold_the_mean(case: Case):
    held, _ = covered(case, 30)
    assert {name: share for name, share in held.items() if share < case.least - 0.1} == {}, held
