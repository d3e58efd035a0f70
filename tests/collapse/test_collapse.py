"""Neural collapse: against the slow reference, closed forms of optimal networks, populations, and degenerate cases."""

import math

import numpy as np
import pytest
import torch
from clouds import clouds, simplex
from reference import collapse as slow
from torch import nn

from repana import Discriminant, InputError, Moments, fisher, neural_collapse, profile
from repana import separation_law as law
from repana._estimate import Estimate, estimates
from repana._results import Report, row
from repana.collapse import _formulas as formulas


@pytest.mark.parametrize("convention", ["papyan", "zhu", "he_su", "galanti"])
@pytest.mark.parametrize("counts", [None, [200, 100, 50, 20, 5, 2]])
@pytest.mark.parametrize("d", [3, 12, 60])
def test_equals_the_reference(convention, counts, d):
    x, y = clouds(d=d, counts=counts)
    c = int(y.max()) + 1
    w, b = torch.randn(c, d, dtype=torch.float64), torch.randn(c, dtype=torch.float64)
    got = neural_collapse(x, y, weight=w, bias=b, convention=convention, bootstrap=0)
    a, t = x.numpy(), y.numpy()
    assert float(got.nc1) == pytest.approx(slow.nc1(a, t, convention), rel=1e-8)
    assert float(got.fuzziness) == pytest.approx(slow.nc1(a, t, "he_su"), rel=1e-8)
    np.testing.assert_allclose(got.cdnv_grid.numpy(), slow.cdnv_grid(a, t), rtol=1e-8)
    pairs = slow.cdnv_grid(a, t)[np.triu_indices(c, 1)]
    assert float(got.cdnv) == pytest.approx(pairs.mean(), rel=1e-9)
    assert float(got.cdnv_max) == pytest.approx(pairs.max(), rel=1e-9)
    assert float(got.vci) == pytest.approx(slow.vci(a, t), rel=1e-7)
    if convention == "papyan":
        assert float(got.quotient) == pytest.approx(slow.quotient(a, t), rel=1e-9)
        wanted = slow.geometry(a, t) | slow.duality(a, t, w.numpy(), b.numpy())
        for name, value in wanted.items():
            assert float(getattr(got, name)) == pytest.approx(value, rel=1e-8), name


def test_conventions_differ_and_are_named():
    """On unbalanced data the published forms differ by large factors, so the result says which it is."""
    x, y = clouds(counts=[200, 100, 50, 20, 5, 1], d=20)
    values = {c: neural_collapse(x, y, convention=c, bootstrap=0) for c in formulas.CONVENTIONS}
    numbers = sorted(float(v.nc1) for v in values.values())
    assert numbers[-1] / numbers[0] > 5
    assert {v.settings["convention"] for v in values.values()} == set(formulas.CONVENTIONS)
    assert values["he_su"].settings["between"] == "sample"
    assert values["papyan"].settings["per_class"] is True


@pytest.mark.parametrize(("c", "d", "sd"), [(4, 10, 0.1), (10, 30, 0.3), (3, 50, 0.02)])
def test_simplex_with_noise_has_the_population_values(c, d, sd):
    """NC1 = sd^2 (c-1)^2/c, quotient d sd^2, CDNV d sd^2 (c-1)/(2c), VCI sd^2/(sd^2 + 1/(c-1)); intervals cover."""
    n = 2000
    y = torch.arange(c).repeat(n)
    generator = torch.Generator().manual_seed(1)
    x = simplex(c, d)[y] + sd * torch.randn(len(y), d, generator=generator, dtype=torch.float64)
    got = neural_collapse(x, y)
    wanted = {
        "nc1": sd**2 * (c - 1) ** 2 / c,
        "quotient": d * sd**2,
        "cdnv": d * sd**2 * (c - 1) / (2 * c),
        "vci": sd**2 / (sd**2 + 1 / (c - 1)),
    }
    for name, value in wanted.items():
        estimate = getattr(got, name)
        assert float(estimate) == pytest.approx(value, rel=0.03), name
        slack = 0.25 * (estimate.high - estimate.low)  # five intervals per case: let one miss by a little
        assert estimate.low - slack <= value <= estimate.high + slack, name
    assert float(got.etf_error) < 0.05
    assert float(got.equinorm) < 0.02


def test_perfect_collapse():
    y = torch.arange(6).repeat_interleave(4)
    got = neural_collapse(simplex(6, 9)[y], y, weight=simplex(6, 9), bias=torch.zeros(6))
    for name in ("nc1", "quotient", "cdnv", "etf_error", "equinorm", "equiangularity", "self_duality", "duality_zhu"):
        assert float(getattr(got, name)) == pytest.approx(0, abs=1e-7), name
    for name in ("nc4", "ncc_accuracy", "accuracy", "duality_cosine"):
        assert float(getattr(got, name)) == pytest.approx(1), name


@pytest.mark.parametrize("c", [3, 10])
def test_geometry_of_known_configurations(c):
    ident = torch.eye(c, dtype=torch.float64)
    etf = simplex(c, c)
    pairs = formulas.off_diagonal(formulas.cosines(etf @ etf.T))
    assert formulas.uniformity(pairs, "log", 1.0)[0] == pytest.approx(-0.5 * math.log(2 * c / (c - 1)))
    assert formulas.uniformity(pairs, "distance", 1.0)[0] == pytest.approx(math.sqrt(2 * c / (c - 1)))
    assert formulas.uniformity(pairs, "riesz", 2.0)[0] == pytest.approx((c - 1) / (2 * c))
    assert formulas.uniformity(pairs, "riesz", 510.0)[0] == pytest.approx((2 * c / (c - 1)) ** -255)
    assert formulas.one_vs_rest(etf) == pytest.approx(c / (c - 1), abs=1e-9)
    # an uncentred orthonormal set against the simplex
    expected = math.sqrt(2 - 2 * math.sqrt((c - 1) / c))
    assert formulas.gram_distance(ident, formulas.simplex(c, ident)) == pytest.approx(expected)


@pytest.mark.parametrize("c", [5, 8, 13])
def test_one_vs_rest_of_a_polygon_and_a_cross_polytope(c):
    angles = 2 * math.pi * torch.arange(c, dtype=torch.float64) / c
    polygon = torch.stack([angles.cos(), angles.sin()], 1)
    assert formulas.one_vs_rest(polygon) == pytest.approx(1 - math.cos(2 * math.pi / c), abs=1e-9)
    cross = torch.cat([torch.eye(c), -torch.eye(c)]).double()
    assert formulas.one_vs_rest(cross) == pytest.approx(1, abs=1e-9)


def test_equiangularity_sees_a_square():
    """The signed mean of cosines is -1/(c-1) for any centred equinorm set; the mean absolute deviation is not blind."""
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64).repeat(2, 1)
    got = neural_collapse(square, [0, 1, 2, 3] * 2, bootstrap=0)
    assert float(got.equiangularity) == pytest.approx(4 / 9)
    assert float(got.cosine_std) == pytest.approx(math.sqrt(2) / 3)
    assert float(got.one_vs_rest) == pytest.approx(1)


# --- nulls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("c", "n", "d"), [(10, 50, 64), (10, 50, 400), (30, 40, 8)])
def test_null_of_nc1_and_vci_has_its_closed_form(c, n, d):
    """Without class structure E[NC1] = (n-1)(c-1)/(d-c) for d > c, (n-1)d/(c-d-2) for c > d + 2; VCI 1 - d/(N-1)."""
    expected = (n - 1) * (c - 1) / (d - c) if d > c else (n - 1) * d / (c - d - 2)
    y = torch.arange(c).repeat(n)
    found = [neural_collapse(torch.randn(c * n, d, dtype=torch.float64), y, bootstrap=0) for _ in range(20)]
    assert np.mean([float(f.nc1) for f in found]) == pytest.approx(expected, rel=0.1)
    if c - 1 <= d < c * n - 1:
        assert np.mean([float(f.vci) for f in found]) == pytest.approx(1 - d / (c * n - 1), rel=0.02)
        assert found[0].vci.null == pytest.approx(1 - d / (c * n - 1))
    structured = torch.randn(c, d, dtype=torch.float64)[y] * 3 + torch.randn(c * n, d, dtype=torch.float64)
    shuffled = neural_collapse(structured, y, bootstrap=0, permutations=39).nc1
    assert shuffled.null_low <= shuffled.null <= shuffled.null_high
    assert float(shuffled) < 0.2 * shuffled.null


# --- degenerate cases (section 1.6 of the contract) -------------------------------------------------------------------


def test_two_classes_are_trivial_and_say_so():
    x, y = clouds(c=2)
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.etf_error) == pytest.approx(0, abs=1e-7)
    assert got.etf_error.note == "trivial: any two centred means are a simplex frame"


def test_absent_classes_are_left_out_and_counted():
    x, y = clouds(c=5)
    keep = y != 3
    w = torch.randn(5, x.shape[1], dtype=torch.float64)
    got = neural_collapse(x[keep], y[keep], weight=w, bootstrap=0)
    assert got.settings["empty_classes"] == 1
    assert got.classes == (0, 1, 2, 4)
    assert got.etf_error.note == "1 class(es) of the classifier have no samples and are left out"
    four = neural_collapse(x[keep], torch.unique(y[keep], return_inverse=True)[1], weight=w[[0, 1, 2, 4]], bootstrap=0)
    for name, value in estimates(got).items():
        if not math.isnan(float(value)):
            assert float(value) == pytest.approx(float(getattr(four, name))), name


def test_a_class_with_one_sample():
    x, y = clouds(counts=[20, 20, 1])
    got = neural_collapse(x, y, bootstrap=10)
    assert math.isfinite(float(got.nc1))
    assert got.settings["single_sample_classes"] == 1
    assert got.cdnv.note == "1 class(es) with one sample have no spread"
    without = neural_collapse(x, y, min_count=2, bootstrap=0)
    assert without.classes == (0, 1)
    assert without.settings["ignored"] == 1


def test_two_equal_class_means():
    """The rank-revealing inverse drops the lost direction; CDNV is infinite for the pair, and its median is kept."""
    x, y = clouds(n=60, c=4, sd=0.1)
    copy = x[y == 0]
    x = torch.cat([x, copy])
    y = torch.cat([y, torch.full((len(copy),), 4)])
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.nc1) == pytest.approx(slow.nc1(x.numpy(), y.numpy()), rel=1e-6)
    assert got.nc1.note == "Sb has rank 3, below min(c - 1, d) = 4: class means are linearly dependent"
    assert float(got.cdnv) == float(got.cdnv_max) == math.inf
    assert math.isfinite(float(got.cdnv_median))


def test_all_class_means_equal():
    block = torch.randn(10, 3, dtype=torch.float64)
    got = neural_collapse(block.repeat(3, 1), torch.arange(3).repeat_interleave(10), bootstrap=5)
    assert float(got.nc1) == float(got.quotient) == math.inf
    assert got.nc1.note == "the class means coincide (Sb = 0)"
    assert math.isnan(float(got.vci))
    assert got.vci.note == "the class means coincide: rank(Sb) = 0"
    assert math.isnan(float(got.etf_error))


def test_more_classes_than_dimensions():
    x, y = clouds(c=8, d=3)
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.nc1) == pytest.approx(slow.nc1(x.numpy(), y.numpy()), rel=1e-8)
    assert got.etf_error.note == "no simplex frame exists for c = 8 > d + 1 = 4: see one_vs_rest"
    assert math.isfinite(float(got.one_vs_rest))


@pytest.mark.parametrize("names", [["a", "b", "c"], [3, 7, 9], [-1, 0, 1], [10**6, 5, -4]])
def test_labels_of_any_kind(names):
    x, y = clouds(c=3)
    labels = np.array([names[i] for i in y.tolist()])
    got, want = neural_collapse(x, labels, bootstrap=0), neural_collapse(x, y, bootstrap=0)
    assert float(got.nc1) == pytest.approx(float(want.nc1))
    assert set(got.classes) == set(names)


def test_ignored_labels():
    x, y = clouds(c=3)
    marked = y.clone()
    marked[::3] = -100
    kept = marked != -100
    got = neural_collapse(x, marked, bootstrap=0)
    assert float(got.nc1) == pytest.approx(float(neural_collapse(x[kept], y[kept], bootstrap=0).nc1))
    assert got.settings["ignored"] == int((~kept).sum())


def test_float32_with_an_offset():
    x, y = clouds(n=600, d=40, sd=1e-3, dtype=torch.float64)
    shifted = (x + 30).float()
    got, want = neural_collapse(shifted, y, bootstrap=0), neural_collapse(shifted.double(), y, bootstrap=0)
    for name in ("nc1", "quotient", "cdnv", "vci", "etf_error", "fuzziness"):
        assert float(getattr(got, name)) == pytest.approx(float(getattr(want, name)), rel=1e-4), name
    assert float(got.nc1) == pytest.approx(float(want.nc1), rel=1e-5)
    assert float(got.ncc_accuracy) == 1


@pytest.mark.parametrize("ratio", [3e-3, 1e-3, 1e-4])
def test_ill_conditioned_class_means_in_float32(ratio):
    """Where a float32 pseudo-inverse of Sb cuts directions and returns 15 % or 1.5 % of the value."""
    c, d, n = 20, 512, 40
    basis = torch.linalg.qr(torch.randn(d, c, dtype=torch.float64))[0].T
    means = torch.logspace(0, math.log10(ratio), c, dtype=torch.float64)[:, None] * basis
    y = torch.arange(c).repeat(n)
    x = (means[y] + 1e-6 * torch.randn(c * n, d, dtype=torch.float64)).float()
    got, want = neural_collapse(x, y, bootstrap=0), neural_collapse(x.double(), y, bootstrap=0)
    assert float(got.nc1) == pytest.approx(float(want.nc1), rel=1e-3)


def test_nc4_uses_the_bias_and_the_training_means():
    x, y = clouds(c=3, sd=0.1)
    w = Moments.of(x, y).mean
    plain = neural_collapse(x, y, weight=w, bias=-0.5 * w.square().sum(1), bootstrap=0)
    assert float(plain.nc4) == 1
    bias = torch.tensor([1000.0, 0, 0], dtype=torch.float64)
    assert float(neural_collapse(x, y, weight=w, bias=bias, bootstrap=0).nc4) == pytest.approx(1 / 3)
    assert float(neural_collapse(x, y, logits=x @ w.T + bias, bootstrap=0).nc4_mismatch) == pytest.approx(2 / 3)
    swapped = (y + 1) % 3
    reference = Moments.of(x, swapped)
    assert float(neural_collapse(x, y, reference=reference, bootstrap=0).ncc_accuracy) == 0


def test_fuzziness_from_moments_with_scatter_equals_that_from_features():
    x, y = clouds(n=300)
    moments = Moments.of(x, y, scatter=True)
    got, want = neural_collapse(x, y, moments=moments, bootstrap=0), neural_collapse(x, y, bootstrap=0)
    for name in ("nc1", "fuzziness", "quotient", "cdnv"):
        assert float(getattr(got, name)) == pytest.approx(float(getattr(want, name)), rel=1e-9)


def test_exact_moments_of_all_with_features_of_some():
    x, y = clouds(n=3000)
    part = slice(0, 300)
    got = neural_collapse(x[part], y[part], moments=Moments.of(x, y, scatter=True))
    want = neural_collapse(x, y)
    assert float(got.nc1) == pytest.approx(float(want.nc1), rel=1e-9)
    assert got.nc1.low < float(want.nc1) < got.nc1.high
    assert got.nc1.high - got.nc1.low > want.nc1.high - want.nc1.low  # from fewer samples


# --- refusals ---------------------------------------------------------------------------------------------------------

X, Y = torch.randn(12, 4), torch.arange(12) % 3
NAN = X.clone()
NAN[5, 2] = math.nan


@pytest.mark.parametrize(
    ("features", "labels", "options", "text"),
    [
        (X, Y[:7], {}, "RA201: `labels` has shape (7,) and `features` has 12 rows; expected one label per row."),
        (
            X,
            torch.nn.functional.one_hot(Y),
            {},
            "RA201: `labels` has shape (12, 3) and looks one-hot (or multi-label); expected one class per row: "
            "`labels.argmax(1)` for one-hot rows; for several labels a row use `repana.probes.multilabel_probe`.",
        ),
        (
            X,
            torch.zeros(12, 4, 5).long(),
            {},
            "RA201: `labels` has shape (12, 4, 5), one class per position (a segmentation map?), and `features` has "
            "12 rows; expected one label per row: keep every position as a row, or give one label per sample.",
        ),
        (
            torch.full_like(X, torch.nan),
            Y,
            {"nan_policy": "omit"},
            "RA204: `features` has NaN or infinite values in all of its 12 samples; none is left.",
        ),
        (X, Y, {"nan_policy": "drop"}, "RA212: `nan_policy` is 'drop'; expected one of 'raise', 'omit'."),
        (X, Y, {"around": "theirs"}, "RA212: `around` is 'theirs'; expected one of 'own', 'reference'."),
        (
            X,
            Y,
            {"around": "reference"},
            "RA212: `around` is 'reference' and no `reference` came; give the Moments of the training split.",
        ),
        (
            X,
            Y,
            {"around": "reference", "reference": Moments.of(X, Y % 2)},
            "RA203: `labels` has class(es) 2 that `reference` has no mean of; leave their samples out.",
        ),
        (
            X,
            Y * 0,
            {},
            "RA202: `labels` has one class (0) in 12 samples; neural_collapse compares classes and needs at least 2.",
        ),
        (
            NAN,
            Y,
            {},
            "RA204: `features` has 1 NaN or infinite value(s) in 1 of 12 samples, the first in row 5. Drop those rows, "
            "or find the layer that overflows.",
        ),
        (X[0], Y, {}, "RA206: `features` has shape (4,); expected (n, d). Pool or flatten each sample."),
        (X[:0], Y[:0], {}, "RA205: `features` is empty, shape (0, 4); expected at least one sample."),
        (X, None, {}, "RA213: this quantity compares classes and needs `labels`; none came."),
        (
            X,
            Y + 0.5,
            {},
            "RA203: `labels` has non-integer values such as 0.5; expected classes (integers or strings); for "
            "real-valued targets use `repana.probes.regression_probe`.",
        ),
        (
            X,
            Y,
            {"weight": torch.randn(3, 5)},
            "RA211: `weight` has shape (3, 5); expected (any, 4): one row per class, one column per feature.",
        ),
        (
            X,
            Y + 1,
            {"weight": torch.randn(3, 4)},
            "RA203: `labels` has the value 3 but `weight` has 3 classes (0 to 2). Remap the labels, or pass "
            "`ignore_index=` for samples to leave out.",
        ),
        (
            X,
            Y - 1,
            {"logits": torch.randn(12, 3)},
            "RA203: `labels` has the value -1 but `logits` has 3 classes (0 to 2). Remap the labels, or pass "
            "`ignore_index=` for samples to leave out.",
        ),
        (
            X,
            Y,
            {"convention": "papian"},
            "RA212: `convention` is 'papian'; expected one of 'papyan', 'zhu', 'he_su', 'galanti'.",
        ),
        (X, Y, {"level": 95.0}, "RA212: `level` is 95.0; expected a number between 0 and 1, such as 0.95."),
        ("text", Y, {}, None),
    ],
)
def test_refusals(features, labels, options, text):
    with pytest.raises(InputError) as error:
        neural_collapse(features, labels, **options)
    if text is not None:
        assert str(error.value) == text
    else:
        assert error.value.code == "RA206"


def test_fisher_refuses_one_class():
    with pytest.raises(InputError, match="RA202: `labels` has one class"):
        fisher(X, Y * 0)


def test_omits_what_is_not_finite():
    """The values are those of the rows that are left, and the result says how many were not."""
    x, y = clouds(n=100, d=8)
    w = torch.randn(5, 8, dtype=torch.float64)
    broken = x.clone()
    broken[3, 2], broken[50, 0] = torch.nan, torch.inf
    rest = torch.tensor([i for i in range(100) if i not in (3, 50)])
    logits = x @ w.T
    got = neural_collapse(broken, y, logits=logits, nan_policy="omit", bootstrap=20)
    want = neural_collapse(x[rest], y[rest], logits=logits[rest], bootstrap=20)
    assert estimates(got) == estimates(want)
    assert (got.settings["omitted"], want.settings["omitted"]) == (2, 0)
    assert estimates(fisher(broken, y, nan_policy="omit")) == estimates(fisher(x[rest], y[rest]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [0.0, 30.0])
def test_scatter_around_the_training_means(dtype, far):
    """Held-out samples around the training means: every definition written out with those means."""
    x, y = clouds(n=200, d=8, dtype=torch.float64)
    test, labels = clouds(n=90, d=8, sd=0.7, seed=0, dtype=torch.float64)
    x, test = (x + far).to(dtype), (test + far + 0.05).to(dtype)
    train = Moments.of(x, y)
    got = neural_collapse(test, labels, reference=train, around="reference", bootstrap=30, permutations=5)
    m = torch.stack([x.double()[y == k].mean(0) for k in range(5)])
    e = test.double() - m[labels]
    mc = m - m.mean(0)
    sw, sb = e.T @ e / len(e), mc.T @ mc / 5
    nc1 = float(torch.trace(sw @ torch.linalg.pinv(sb, rcond=1e-9, hermitian=True))) / 5
    assert float(got.nc1) == pytest.approx(nc1, rel=2e-4 if dtype == torch.float32 else 1e-8)
    assert float(got.quotient) == pytest.approx(float(sw.trace() / sb.trace()), rel=1e-5)
    v = torch.stack([e[labels == k].square().sum(1).mean() for k in range(5)])
    assert float(got.cdnv_grid[0, 1]) == pytest.approx(
        float((v[0] + v[1]) / 2 / (m[0] - m[1]).square().sum()), rel=1e-5
    )
    assert float(got.etf_error) == pytest.approx(float(neural_collapse(x, y, bootstrap=0).etf_error), rel=1e-5)
    assert got.nc1.low < got.nc1.value < got.nc1.high < got.nc1.null
    own = neural_collapse(test, labels, reference=train, bootstrap=0)
    assert float(got.quotient) > float(own.quotient) * 0.9
    assert got.settings["around"] == "reference"


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("convention", ["papyan", "zhu", "he_su", "galanti"])
def test_without_the_law_nothing_else_changes(far, convention):
    """NC1 alone needs the diagonal of the projected scatter only, in both ways of forming it."""
    x, y = clouds(counts=[60, 40, 30, 9], d=12)
    x = x + far
    every = neural_collapse(x, y, convention=convention, bootstrap=10)
    some = neural_collapse(x, y, convention=convention, bootstrap=10, families=("nc1", "nc2"))
    assert math.isnan(some.fuzziness.value)
    for name in ("nc1", "quotient", "cdnv", "etf_error"):
        a, b = getattr(every, name), getattr(some, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9)


def test_a_dead_layer_has_values_or_reasons_and_stops_nothing():
    x, y = torch.ones(60, 4), torch.arange(60) % 3
    got = fisher(x, y)
    assert math.isnan(float(got.trace_ratio))
    assert got.trace_ratio.note == got.quotient.note == "every feature is constant"
    assert float(neural_collapse(x, y).nc1) == math.inf

    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.c(torch.relu(self.b(self.a(x) * 0)) + self.a(x))

    report = profile(Dead(), (torch.randn(60, 6), y), "?", permutations=2, bootstrap=5)
    assert {r.layer for r in report.select("trace_ratio")} == {"a@1", "a@2", "b", "c"}


def test_nulls_of_a_subset_are_on_the_scale_of_its_values():
    y = torch.arange(8000) % 5
    x = torch.randn(8000, 20, dtype=torch.float64)
    part = torch.randperm(8000)[:800]
    whole = neural_collapse(x, y, permutations=10, bootstrap=0)
    some = neural_collapse(x[part], y[part], moments=Moments.of(x, y, scatter=True), permutations=10, bootstrap=5)
    for name in ("nc1", "cdnv", "quotient", "fuzziness"):
        assert getattr(some, name).null == pytest.approx(getattr(whole, name).null, rel=0.25), name


def test_nearest_means_of_a_subset_are_those_of_all_samples():
    y = torch.arange(8000) % 10
    x = torch.randn(8000, 40, dtype=torch.float64)
    part = slice(0, 100)
    got = neural_collapse(x[part], y[part], moments=Moments.of(x, y, scatter=True), bootstrap=0)
    assert float(got.ncc_accuracy) < 0.5


@pytest.mark.parametrize(("c", "live", "dead", "n"), [(30, 8, 0, 1200), (4, 10, 90, 400), (4, 10, 290, 300)])
def test_nulls_count_the_rank_not_the_columns(c, live, dead, n):
    y = torch.arange(n) % c
    found = []
    for _ in range(15):
        x = torch.cat([torch.randn(n, live, dtype=torch.float64), torch.zeros(n, dead, dtype=torch.float64)], 1)
        found.append((neural_collapse(x, y, families=("vci",), bootstrap=0), fisher(x, y, jackknife=0)))
    assert Discriminant.of(x, y, jackknife=0).rank == live
    vci, bounded = ([float(getattr(f[i], q)) for f in found] for i, q in ((0, "vci"), (1, "bounded")))
    assert found[0][0].vci.null == pytest.approx(np.mean(vci), rel=0.02)
    assert found[0][1].bounded.null == pytest.approx(np.mean(bounded), rel=0.1)
    assert found[0][0].vci.note == ""


def test_all_rows_of_the_classifier_decide():
    x, y = clouds(c=4, sd=0.1)
    w = Moments.of(x, y).mean
    b = -0.5 * w.square().sum(1)
    three = y != 3
    got = neural_collapse(x[three], y[three], weight=w, bias=b, reference=Moments.of(x, y), bootstrap=0)
    assert float(got.accuracy) == float(got.nc4) == 1
    lifted = b.clone()
    lifted[3] = 1000
    assert float(neural_collapse(x[three], y[three], weight=w, bias=lifted, bootstrap=0).accuracy) == 0


@pytest.mark.parametrize(("offset", "sd", "others"), [(30.0, 1e-3, 10.0), (60.0, 0.05, 1.0)])
def test_one_narrow_feature_far_from_the_origin(offset, sd, others):
    """Sums around the origin would lose it in float32; where features are kept apart each counts for itself."""
    n, d, c = 2000, 64, 4
    y = torch.arange(n) % c
    x = others * torch.randn(n, d, dtype=torch.float64)
    x[:, 0] = offset + sd * (torch.randn(n, dtype=torch.float64) + y)
    x = x.float()
    got, want = fisher(x, y, jackknife=0), fisher(x.double(), y, jackknife=0)
    assert float(got.per_feature[0]) == pytest.approx(float(want.per_feature[0]), rel=1e-5)
    assert float(got.quotient) == pytest.approx(float(want.quotient), rel=1e-4)


def test_vci_of_collapsed_classes_with_a_duplicate_feature():
    x, y = clouds(n=400, d=8, c=4, sd=1e-3)
    plain = float(neural_collapse(x, y, bootstrap=0).vci)
    twice = float(neural_collapse(torch.cat([x, x[:, :1]], 1), y, bootstrap=0).vci)
    assert twice == pytest.approx(plain, rel=1e-4)


def test_equal_means_in_float32():
    block = torch.randn(200, 6)
    orders = [torch.randperm(200) for _ in range(3)]
    x, y = torch.cat([block[o] for o in orders]), torch.arange(3).repeat_interleave(200)
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.nc1) == float(got.cdnv) == math.inf
    assert math.isnan(float(got.etf_error))
    fourth = torch.cat([x, torch.randn(200, 6) + 3])
    two = neural_collapse(fourth, torch.cat([y, torch.full((200,), 3)]), bootstrap=0)
    assert float(two.nc1) < 100
    assert "linearly dependent" in two.nc1.note


def test_samples_between_two_equal_means_are_left_out():
    x, y = clouds(n=60, c=3, sd=0.1)
    x, y = torch.cat([x, x[y == 0]]), torch.cat([y, torch.full((20,), 3)])
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.ncc_accuracy) == 1
    assert got.ncc_accuracy.n == 40
    assert got.ncc_accuracy.note == "40 samples left out: their nearest class mean is that of two classes"


def test_one_vs_rest_of_a_zero_row():
    x, y = clouds(c=8, d=3)
    assert math.isnan(float(neural_collapse(x, y, weight=torch.zeros(8, 3), bootstrap=0).one_vs_rest))


def test_the_law_keeps_its_layers_in_place():
    values = [8.0, math.inf, 2.0, 1.0, 0.5]
    rows = [row("r", "s", f"l{i}", i, "neural_collapse", "fuzziness", Estimate(v)) for i, v in enumerate(values)]
    assert float(law(Report(tuple(rows))).rho) == pytest.approx(0.5)


def test_trivial_geometry_is_said_only_where_it_is_trivial():
    x, y = clouds(counts=[50, 10])
    assert "trivial" in neural_collapse(x, y, bootstrap=0).uniformity.note
    got = neural_collapse(x, y, convention="he_su", bootstrap=0)
    assert float(got.etf_error) > 0.1
    assert got.etf_error.note == ""


def test_class_weighted_scatter_reads_the_rows_beside_a_pooled_scatter():
    x, y = clouds(counts=[60, 30, 10])
    got = neural_collapse(x, y, convention="galanti", moments=Moments.of(x, y, scatter=True), bootstrap=0)
    assert float(got.nc1) == pytest.approx(slow.nc1(x.numpy(), y.numpy(), "galanti"), rel=1e-8)


def test_median_of_an_even_number_of_pairs():
    x, y = clouds(c=4)
    grid = slow.cdnv_grid(x.numpy(), y.numpy())
    assert float(neural_collapse(x, y, bootstrap=0).cdnv_median) == pytest.approx(
        np.median(grid[np.triu_indices(4, 1)])
    )


def test_a_huge_value_late_in_the_data():
    x, y = clouds(n=400, c=4)
    x[300] = 1e25
    single = x.float()
    got, want = neural_collapse(single, y, bootstrap=0), neural_collapse(single.double(), y, bootstrap=0)
    assert float(got.nc1) == pytest.approx(float(want.nc1), rel=1e-4)


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e15, 1e20])
def test_scales_at_the_edges_of_float32(scale):
    x, y = clouds(n=200, c=4)
    w = Moments.of(x, y).mean
    want = neural_collapse(x, y, weight=w, bootstrap=0)
    got = neural_collapse((x * scale).float(), y, weight=w, bootstrap=0)
    for name in ("nc1", "quotient", "cdnv", "etf_error", "vci", "fuzziness", "self_duality", "ncc_accuracy"):
        assert float(getattr(got, name)) == pytest.approx(float(getattr(want, name)), rel=1e-4), name
