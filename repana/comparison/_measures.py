"""The table of measures that compare two layers, or the outputs of two networks: range, direction, what each is
unchanged by, its null, its source. Tests read it: what is declared holds, and what is not declared fails on some
data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repana._deferred import deferred


@dataclass(frozen=True)
class Measure:
    """One number that compares two layers. `call(a, b)` gives it; `function` with `options` is what gives it, as
    `attribute` of its result where that has several.

    `similar` says which way is more similar, "higher" or "lower"; `extreme` is the value of a layer with itself.
    `metric`: the triangle inequality holds. `invariant`: transformations of either layer that do not change it; of one
    that treats the two layers in different ways, `invariant_b` those of the second. `null`: "exact" (all pairings of
    the samples in closed form), "permuted" (drawn), "none".
    """

    name: str
    function: Any
    attribute: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    formula: str = ""
    range: tuple[float, float] = (0.0, 1.0)
    similar: str = "higher"
    extreme: float = 1.0
    symmetric: bool = True
    metric: bool = False
    invariant: tuple[str, ...] = ("rotation", "scale", "translation", "permutation")
    invariant_b: tuple[str, ...] | None = None
    null: str = "exact"
    source: str = ""
    reads: str = "features"  # or "logits"

    def estimate(self, a: Any, b: Any, **options: Any) -> Any:
        """The value with its interval and its null."""
        found = self.function(a, b, **{**self.options, **options})
        return getattr(found, self.attribute) if self.attribute else found

    def call(self, a: Any, b: Any) -> float:
        """The value alone."""
        return float(self.estimate(a, b))


_ALL = ("rotation", "scale", "translation", "permutation", "linear", "unit_scale")
_COSINE = ("rotation", "scale", "permutation")
_UNITS = ("scale", "translation", "permutation", "unit_scale")
_of = deferred
_cka = _of("repana.comparison._cka")
_cca, _procrustes = _of("repana.comparison._cca").cca, _of("repana.comparison._procrustes")
_near = _of("repana.comparison._neighbourhoods").neighbourhoods
_rsa, _gulp = _of("repana.comparison._rsa"), _of("repana.comparison._gulp").gulp
_predict = _of("repana.comparison._predictivity").predictivity
_match = _of("repana.comparison._unit_matching").unit_matching
_agree = _of("repana.comparison._output_agreement").output_agreement
_QUICK = {"jackknife": 0, "permutations": 0}
_INF = float("inf")

_LIST = (
    Measure(
        "cka",
        _cka.cka,
        formula="<U(K), U(L)>/(|U(K)| |U(L)|), linear",
        range=(-1.0, 1.0),
        source="Kornblith et al. 2019",
    ),
    Measure(
        "cka_biased",
        _cka.cka,
        options={"debiased": False},
        formula="<H(K), H(L)>/(|H(K)| |H(L)|), linear",
        source="Kornblith et al. 2019",
    ),
    Measure(
        "cka_rbf",
        _cka.cka,
        options={"kernel": "rbf"},
        formula="<U(K), U(L)>/(|U(K)| |U(L)|), exp(-D^2/(2 median D^2))",
        range=(-1.0, 1.0),
        source="Kornblith et al. 2019",
    ),
    Measure(
        "distance_correlation",
        _cka.distance_correlation,
        formula="<U(D), U(E)>/(|U(D)| |U(E)|)",
        range=(-1.0, 1.0),
        source="Szekely & Rizzo 2013",
    ),
    Measure(
        "distance_correlation_biased",
        _cka.distance_correlation,
        options={"debiased": False},
        formula="sqrt(<H(D), H(E)>/(|H(D)| |H(E)|))",
        source="Szekely, Rizzo & Bakirov 2007",
    ),
    Measure("cca_mean", _cca, "mean", _QUICK, "mean rho", invariant=_ALL, null="permuted", source="Raghu et al. 2017"),
    Measure(
        "cca_mean_square",
        _cca,
        "mean_square",
        _QUICK,
        "mean rho^2",
        invariant=_ALL,
        null="permuted",
        source="Raghu et al. 2017",
    ),
    Measure(
        "svcca",
        _cca,
        "svcca",
        _QUICK,
        "mean rho of components with 99% of the variance",
        null="permuted",
        source="Raghu et al. 2017",
    ),
    Measure(
        "pwcca_forward",
        _cca,
        "pwcca_forward",
        _QUICK,
        "sum alpha rho/sum alpha, alpha_i = sum_j |h_i . x_j|",
        symmetric=False,
        invariant=("scale", "translation", "permutation"),
        invariant_b=_ALL,
        null="permuted",
        source="Morcos et al. 2018",
    ),
    Measure(
        "pwcca_backward",
        _cca,
        "pwcca_backward",
        _QUICK,
        "sum alpha rho/sum alpha, alpha_i = sum_j |h_i . y_j|",
        symmetric=False,
        invariant=_ALL,
        invariant_b=("scale", "translation", "permutation"),
        null="permuted",
        source="Morcos et al. 2018",
    ),
    Measure(
        "cca_held_out",
        _cca,
        "held_out",
        _QUICK,
        "mean correlation of variates on other samples",
        range=(-1.0, 1.0),
        invariant=_ALL,
        null="permuted",
        source="Hotelling 1936",
    ),
    Measure(
        "procrustes",
        _procrustes.procrustes,
        "similarity",
        _QUICK,
        "|X'Y|_*/(|X| |Y|)",
        null="permuted",
        source="Ding et al. 2021",
    ),
    Measure(
        "procrustes_distance",
        _procrustes.procrustes,
        "distance",
        _QUICK,
        "sqrt(2 - 2 |X'Y|_*/(|X| |Y|))",
        (0.0, 2**0.5),
        "lower",
        0.0,
        metric=True,
        null="permuted",
        source="Ding et al. 2021",
    ),
    Measure(
        "procrustes_angular_distance",
        _procrustes.procrustes,
        "angular",
        _QUICK,
        "arccos |X'Y|_*/(|X| |Y|)",
        (0.0, 1.5708),
        "lower",
        0.0,
        metric=True,
        null="permuted",
        source="Williams et al. 2021",
    ),
    Measure(
        "size_and_shape_distance",
        _procrustes.procrustes,
        "size_and_shape",
        _QUICK,
        "min_R |X R - Y|",
        (0.0, _INF),
        "lower",
        0.0,
        metric=True,
        invariant=("rotation", "translation", "permutation"),
        null="permuted",
        source="Williams et al. 2021",
    ),
    Measure(
        "procrustes_held_out",
        _procrustes.procrustes,
        "held_out",
        _QUICK,
        "cosine of X R and Y on other samples",
        (-1.0, 1.0),
        null="permuted",
        source="Williams et al. 2021",
    ),
    Measure(
        "shape_distance_half",
        _procrustes.shape_distance,
        options={"alpha": 0.5, **_QUICK},
        formula="arccos |X'Y|_*/(|X| |Y|) of half-whitened layers",
        range=(0.0, 1.5708),
        similar="lower",
        extreme=0.0,
        metric=True,
        null="permuted",
        source="Williams et al. 2021",
    ),
    Measure(
        "shape_distance_permutation",
        _procrustes.shape_distance,
        options={"group": "permutation", **_QUICK},
        formula="arccos max_P tr P'X'Y/(|X| |Y|)",
        range=(0.0, 3.1416),
        similar="lower",
        extreme=0.0,
        metric=True,
        invariant=("scale", "translation", "permutation"),
        null="permuted",
        source="Williams et al. 2021",
    ),
    Measure(
        "gulp_distance",
        _gulp,
        options=_QUICK,
        formula="tr(R_x S_x)^2 + tr(R_y S_y)^2 - 2 tr R_x S_xy R_y S_yx",
        range=(0.0, _INF),
        similar="lower",
        extreme=0.0,
        null="permuted",
        source="Boix-Adsera et al. 2022",
    ),
    Measure(
        "rsa",
        _rsa.rsa,
        options={"jackknife": 0},
        formula="Spearman's correlation of Euclidean distances",
        range=(-1.0, 1.0),
        source="Kriegeskorte et al. 2008",
    ),
    Measure(
        "rsa_pearson",
        _rsa.rsa,
        options={"jackknife": 0, "compare": "pearson"},
        formula="correlation of Euclidean distances",
        range=(-1.0, 1.0),
        source="Kriegeskorte et al. 2008",
    ),
    Measure(
        "rsa_correlation",
        _rsa.rsa,
        options={"jackknife": 0, "distance": "correlation"},
        formula="Spearman's correlation of 1 - correlation over features",
        range=(-1.0, 1.0),
        invariant=("scale", "permutation"),
        source="Kriegeskorte et al. 2008",
    ),
    Measure(
        "rsa_tau_a",
        _rsa.rsa,
        options={"compare": "tau_a", **_QUICK},
        formula="tau-a of Euclidean distances",
        range=(-1.0, 1.0),
        null="permuted",
        source="Nili et al. 2014",
    ),
    Measure(
        "rsa_whitened",
        _rsa.rsa,
        options={"jackknife": 0, "distance": "sqeuclidean", "compare": "whitened"},
        formula="cosine of double-centred squared distances",
        source="Diedrichsen et al. 2020",
    ),
    Measure(
        "rdm_distortion_distance",
        _rsa.rdm_distortion,
        formula="mean (D/mean D - E/mean E)^2",
        range=(0.0, _INF),
        similar="lower",
        extreme=0.0,
        source="Memoli 2011",
    ),
    Measure(
        "knn", _near, "overlap", _QUICK, "mean |N_a & N_b|/k, by cosine", invariant=_COSINE, source="Huh et al. 2024"
    ),
    Measure(
        "knn_euclidean",
        _near,
        "overlap",
        {"metric": "euclidean", **_QUICK},
        "mean |N_a & N_b|/k, by distance",
        source="Huh et al. 2024",
    ),
    Measure(
        "knn_jaccard",
        _near,
        "jaccard",
        _QUICK,
        "mean |N_a & N_b|/|N_a | N_b|",
        invariant=_COSINE,
        null="permuted",
        source="Wang et al. 2022",
    ),
    Measure(
        "knn_rank",
        _near,
        "rank",
        _QUICK,
        "mean sum 2/((1 + |p - q|)(p + q))/H_m",
        invariant=_COSINE,
        null="permuted",
        source="Wang et al. 2022",
    ),
    Measure(
        "knn_second_order",
        _near,
        "second_order",
        _QUICK,
        "mean cosine of cosine distances to N_a | N_b",
        invariant=_COSINE,
        null="permuted",
        source="Wang et al. 2022",
    ),
    Measure(
        "r2_forward",
        _predict,
        "forward",
        {},
        "1 - SSE/SST, held out, ridge",
        (-_INF, 1.0),
        symmetric=False,
        invariant_b=("rotation", "scale", "translation", "permutation"),
        null="permuted",
        source="Yamins et al. 2014",
    ),
    Measure(
        "r2_in_sample",
        _predict,
        "in_sample_forward",
        {},
        "|Q_x'Y|^2/|Y|^2",
        symmetric=False,
        invariant=_ALL,
        invariant_b=("rotation", "scale", "translation", "permutation"),
        source="Kornblith et al. 2019",
    ),
    Measure(
        "unit_matching",
        _match,
        "bipartite",
        _QUICK,
        "mean correlation of the best one-to-one matching",
        (-1.0, 1.0),
        invariant=_UNITS,
        null="permuted",
        source="Li et al. 2016",
    ),
    Measure(
        "unit_matching_forward",
        _match,
        "forward",
        _QUICK,
        "mean best correlation of each unit of a",
        (-1.0, 1.0),
        symmetric=False,
        invariant=_UNITS,
        null="permuted",
        source="Li et al. 2016",
    ),
    Measure(
        "unit_matching_backward",
        _match,
        "backward",
        _QUICK,
        "mean best correlation of each unit of b",
        (-1.0, 1.0),
        symmetric=False,
        invariant=_UNITS,
        null="permuted",
        source="Li et al. 2016",
    ),
    Measure(
        "disagreement",
        _agree,
        "disagreement",
        {},
        "share of samples with different predictions",
        (0.0, 1.0),
        "lower",
        0.0,
        metric=True,
        invariant=("scale", "row_shift"),
        reads="logits",
        source="Fort et al. 2019",
    ),
    Measure(
        "jsd",
        _agree,
        "jsd",
        {},
        "mean Jensen-Shannon divergence in bits",
        (0.0, 1.0),
        "lower",
        0.0,
        null="none",
        invariant=("row_shift",),
        reads="logits",
        source="Lin 1991",
    ),
    Measure(
        "kl_forward",
        _agree,
        "kl_forward",
        {},
        "mean KL(p|q) in nats",
        (0.0, _INF),
        "lower",
        0.0,
        symmetric=False,
        null="none",
        invariant=("row_shift",),
        reads="logits",
        source="by definition",
    ),
    Measure(
        "kl_backward",
        _agree,
        "kl_backward",
        {},
        "mean KL(q|p) in nats",
        (0.0, _INF),
        "lower",
        0.0,
        symmetric=False,
        null="none",
        invariant=("row_shift",),
        reads="logits",
        source="by definition",
    ),
    Measure(
        "total_variation",
        _agree,
        "total_variation",
        {},
        "mean sum |p - q|/2",
        (0.0, 1.0),
        "lower",
        0.0,
        null="none",
        metric=True,
        invariant=("row_shift",),
        reads="logits",
        source="by definition",
    ),
    Measure(
        "kappa",
        _agree,
        "kappa",
        {},
        "(agreement - chance)/(1 - chance)",
        (-1.0, 1.0),
        invariant=("scale", "row_shift"),
        reads="logits",
        source="Cohen 1960",
    ),
)

COMPARISONS: Mapping[str, Measure] = {m.name: m for m in _LIST}
