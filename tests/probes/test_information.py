"""Description length, usable information, control tasks and complexity, against closed forms."""

import math

import numpy as np
import pytest
import torch

from repana import InputError, mdl, pareto, selectivity, usable_information


def noise(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("probe", ["linear", "lda", "ridge"])
def test_labels_without_meaning_are_not_compressed(probe):
    y = torch.randint(10, (3000,), generator=torch.Generator().manual_seed(1))
    found = mdl(noise(3000, 40), y, probe=probe)
    assert 0.9 < found.compression.value <= 1.02
    assert found.compression_entropy.value <= 1.02


def test_the_code_in_bits():
    """The first block costs t log2 c, in the unit of all others; uniform and entropy codes are as defined."""
    y = torch.arange(1000) % 4
    found = mdl(noise(1000, 5), y, repeats=1)
    first = found.settings["first_block"]
    ends = [*found.curve[:, 0].tolist(), 1000]
    blocks = sum(bits * (stop - start) for bits, start, stop in zip(found.curve[:, 1].tolist(), ends, ends[1:]))
    assert found.codelength.value == pytest.approx(first * 2 + blocks)
    assert found.uniform == 2000.0
    assert found.entropy == pytest.approx(2000.0)
    assert found.compression.value == found.uniform / found.codelength.value


def test_skewed_labels_are_compressed_by_their_shares_alone():
    y = (torch.rand(4000, generator=torch.Generator().manual_seed(2)) < 0.05).long()
    found = mdl(noise(4000, 10), y, classes=10)
    assert found.compression.value > 8
    assert 0.85 < found.compression_entropy.value <= 1.02


def test_a_constant_label_has_a_finite_code():
    found = mdl(noise(2000, 10), torch.zeros(2000, dtype=torch.int64), classes=10, repeats=1)
    assert 50 < found.compression.value <= 2000 / found.settings["first_block"]
    with pytest.raises(InputError, match="one class"):
        mdl(noise(2000, 10), torch.zeros(2000, dtype=torch.int64))


def test_a_class_that_comes_late_has_a_code():
    y = torch.zeros(400, dtype=torch.int64)
    y[7] = 1
    assert math.isfinite(mdl(noise(400, 3), y).codelength.value)


@pytest.mark.parametrize(("delta", "nats"), [(1, 0.1114), (2, 0.3368), (3, 0.5268)])
def test_usable_information_of_two_gaussians(delta, nats):
    y = torch.arange(20_000) % 2
    x = noise(20_000, 5)
    x[:, 0] += delta * y
    found = usable_information(x, y)
    assert found.nats.value == pytest.approx(nats, abs=0.012)
    assert found.bits.value == found.nats.value / math.log(2)
    assert float(found.pointwise.mean()) == pytest.approx(found.bits.value)
    assert found.share.value == pytest.approx(found.nats.value / math.log(2), abs=1e-3)


def test_a_linear_family_sees_no_exclusive_or():
    x = noise(4000, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    assert abs(usable_information(x, y).nats.value) < 0.003
    assert usable_information(torch.cat([x, x[:, :1] * x[:, 1:]], 1), y).nats.value > 0.66


def test_conditional_information_is_what_is_new():
    x = noise(3000, 6)
    y = (x[:, 0] + x[:, 3] > 0).long()
    old, new = x[:, :3], x[:, 3:]
    added = usable_information(new, y, baseline=old)
    assert added.nats.value == pytest.approx(
        usable_information(x, y).nats.value - usable_information(old, y).nats.value, abs=0.02
    )
    assert abs(usable_information(old, y, baseline=old).nats.value) < 0.01


def test_pointwise_information_marks_what_is_mislabelled():
    x = noise(1000, 4)
    y = (x[:, 0] > 0).long()
    wrong = torch.arange(0, 1000, 100)
    y[wrong] = 1 - y[wrong]
    y[5] = -100
    found = usable_information(x, y)
    assert math.isnan(found.pointwise[5])
    assert float(found.pointwise[wrong].median()) < 0 < float(found.pointwise.nanmedian())


def test_usable_information_is_paid_by_the_family_that_overfits():
    y = torch.randint(2, (200,), generator=torch.Generator().manual_seed(0))
    found = usable_information(noise(200, 100), y, probe="lda")
    assert found.nats.low < 0.05


# --- control tasks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("types", [50, 100])
def test_a_probe_remembers_as_many_types_as_it_has_dimensions(types):
    kind = torch.randint(types, (4000,), generator=torch.Generator().manual_seed(3))
    y = torch.randint(10, (types,), generator=torch.Generator().manual_seed(4))[kind]
    found = selectivity(noise(types, 100)[kind], y, kind, distribution="uniform")
    assert found.control.value == pytest.approx(1.0, abs=0.005)
    assert abs(found.selectivity.value) < 0.01
    assert found.unseen.low < 0.1 < found.unseen.high
    assert found.memorization.value == pytest.approx(1.0, abs=0.005)


def test_more_types_than_dimensions_are_not_remembered():
    kind = torch.randint(2000, (4000,), generator=torch.Generator().manual_seed(3))
    y = torch.randint(10, (4000,), generator=torch.Generator().manual_seed(4))
    found = selectivity(noise(2000, 100)[kind], y, kind, distribution="uniform", probe="ridge", C=1e-6)
    assert 0.1 < found.control.value < 0.35
    assert 0.06 < found.unseen.value < 0.14


def test_a_task_that_generalises_is_selective():
    g = torch.Generator().manual_seed(0)
    kind = torch.randint(300, (3000,), generator=g)
    means = noise(300, 20)
    y = (means[:, 0] > 0).long()[kind]
    found = selectivity(means[kind] + 0.3 * noise(3000, 20, 1), y, kind)
    assert found.selectivity.low > 0.15
    assert found.task_unseen.value > 0.85
    assert found.selectivity_bits.value > 0.2


def test_refusals_of_control_tasks():
    y = torch.arange(60) % 2
    with pytest.raises(InputError, match="RA249: `types` has 60 types in 60 rows, one a row"):
        selectivity(noise(60, 3), y, torch.arange(60))
    with pytest.raises(InputError, match="expected at least 6"):
        selectivity(noise(60, 3), y, torch.arange(60) % 3)
    with pytest.raises(InputError, match="RA247: `types` has shape"):
        selectivity(noise(60, 3), y, torch.arange(10))


# --- complexity -------------------------------------------------------------------------------------------------------


def test_the_path_of_strengths_is_a_front():
    x = noise(1500, 20)
    simple, spread = (x[:, 0] > 0).long(), (x[:, :15].sum(1) > 0).long()
    scaled = x * torch.logspace(0, -2, 20)  # the first directions are cheap for a ridge
    a, b = (pareto(scaled, y, scale="centre") for y in (simple, spread))
    assert a.half.value < b.half.value
    assert a.hypervolume.value > b.hypervolume.value
    effective, memorization, accuracy, loss = a.curve.T
    assert bool((effective.diff() > 0).all())
    assert bool((accuracy[a.front].diff() > 0).all())
    assert float(effective[-1]) == pytest.approx(20, abs=0.2)
    assert float(memorization[-1]) > 0.5
    assert bool((loss > 0).all())
    assert a.best.value == pytest.approx(float(accuracy.max()))


def test_the_effective_dimension_is_the_trace_of_the_hat_matrix():
    x, y = noise(200, 6), torch.arange(200) % 2
    found = pareto(x, y, scale="centre", permutations=0)
    from repana import Split

    at = Split.of(y, 200).train_and_validation
    z = (x[at] - x[at].mean(0)).double().numpy()
    gram = z.T @ z
    unit = np.trace(gram) / 6
    strengths = unit * np.logspace(2, -6, 25)
    want = [np.trace(z @ np.linalg.inv(gram + s * np.eye(6)) @ z.T) for s in strengths]
    np.testing.assert_allclose(found.curve[:, 0], want, rtol=1e-4)
