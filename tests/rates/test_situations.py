"""Findings in situations with nothing to find, and in planted ones: `tests/situations.py` has them.

One seed of each here; `python tests/situations.py 40` gives the rates that the findings' documentation has.
"""

import pytest
from situations import NOTHING, PLANTED, spoken


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_found_where_there_is_nothing(name):
    assert [code for code, said in spoken(NOTHING[name], 0).items() if said] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name):
    assert [code for code, said in spoken(PLANTED[name], 0).items() if not said] == []
