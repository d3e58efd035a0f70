"""Layers at the edge of what has a value: no NaN or infinite value without a note that says why, and no traceback."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repana import profile

N = 48
LABELS = {
    "three classes": torch.arange(N) % 3,
    "two classes": torch.arange(N) % 2,
    "a class of one": torch.cat([torch.zeros(N - 1), torch.ones(1)]).long(),
    "many classes": torch.arange(N) // 2,
}


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LAYERS = {
    "constant": lambda y: torch.ones(N, 4).double(),
    "zero": lambda y: torch.zeros(N, 4).double(),
    "one constant feature": lambda y: torch.cat([normal(N, 3), torch.ones(N, 1)], 1),
    "duplicates": lambda y: normal(6, 4).repeat(N // 6, 1),
    "two points": lambda y: (torch.arange(N) % 2)[:, None].repeat(1, 3).double(),
    "collapsed": lambda y: torch.eye(64)[y, :30].double(),
    "shared means": lambda y: torch.tensor([[1.0, 0.0], [0.0, 1.0]])[y % 2].double(),
    "one feature": lambda y: normal(N, 1),
    "wide": lambda y: normal(N, 80),
    "a far point": lambda y: torch.cat([normal(N - 1, 4), torch.full((1, 4), 1e30)]),
    "binary": lambda y: (normal(N, 4) > 0).double(),
}
SCALES = {"1": 1.0, "1e150": 1e150, "1e-150": 1e-150}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    layer=st.sampled_from(sorted(LAYERS)),
    labels=st.sampled_from(sorted(LABELS)),
    scale=st.sampled_from(sorted(SCALES)),
)
def test_what_is_not_finite_says_why(layer, labels, scale):
    y = LABELS[labels]
    x = LAYERS[layer](y)
    x = x * SCALES[scale] if layer != "a far point" else x.float()
    report = profile({"a": x}, y, analyzers=["all", "data_complexity"], permutations=3, bootstrap=5)
    silent = [
        f"{r.analyzer}.{r.quantity} = {r.value}" for r in report.rows if not math.isfinite(r.value) and not r.note
    ]
    assert silent == []
    assert [line for line in report.failures if ": RA" not in line] == []
