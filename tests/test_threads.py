"""Threads of torch: a small layer works with one, and the caller's number comes back."""

import pytest
import torch

import repana
from repana import _ambient


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_used(features, labels):
    """Torch's number of threads as a function measured in a profile sees it."""

    def counted(features, labels):
        """Threads."""
        return float(torch.get_num_threads())

    report = repana.profile({"layer": features}, labels, analyzers=[counted])
    return report.select("counted")[0].value


@pytest.mark.usefixtures("two_threads")
def test_small_layers_work_with_one_thread(monkeypatch):
    x, y = torch.randn(60, 8), torch.arange(60) % 3
    assert threads_used(x, y) == 1
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(_ambient, "WORTH_THREADS", 60 * 8)
    assert threads_used(x, y) == 2
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_come_back_after_an_error():
    def fails():
        with _ambient.threads(1):
            assert torch.get_num_threads() == 1
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_values_do_not_depend_on_threads():
    x, y = torch.randn(1200, 40, generator=torch.Generator().manual_seed(0)), torch.arange(1200) % 4
    one = repana.separability(x, y, permutations=19, jackknife=0)
    torch.set_num_threads(1)
    other = repana.separability(x, y, permutations=19, jackknife=0)
    for name in ("silhouette", "gdv", "dsi", "davies_bouldin"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.value == pytest.approx(b.value, rel=1e-6), name
        assert a.p == b.p, name
