"""The table of analyzers: what can be measured, what each reads, in which unit, which way is better, by whose formula.

The loop, the command line, the report, the documentation and the shared tests read this table and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from repana.collapse._neural_collapse import NeuralCollapse, neural_collapse
from repana.dimension._estimators import DimensionEstimators, dimension_estimators
from repana.dimension._profile import DimensionProfile, dimension_profile
from repana.features._complexity import Complexity, LayerReading, complexity, layer_readings
from repana.features._complexity_importance import ComplexityImportance, complexity_vs_importance
from repana.probes._controls import ProbeBaselines, probe_baselines
from repana.probes._layer_selection import LayerChoice, LayerDifference, best_layer, layer_differences
from repana.probes._protocol import Probe
from repana.probes._suite import Probing, probing
from repana.separation._class_divergences import ClassDivergences, class_divergences
from repana.separation._fisher import Fisher, SeparationLaw, fisher, separation_law
from repana.separation._separability import DataComplexity, Separability, data_complexity, separability
from repana.spectra._spectrum import Spectrum, spectrum
from repana.summaries.covariance import Covariance
from repana.summaries.discriminant import Discriminant
from repana.summaries.moments import Moments
from repana.summaries.neighbour_graph import Cloud
from repana.summaries.pairwise_distances import Pairs
from repana.summaries.subsample import Sketch
from repana.topology._persistence import H0Separability, h0_separability

ACRONYMS = (
    "cdnv",
    "nc4",
    "etf",
    "of",
    "gof",
    "tle",
    "abid",
    "ess",
    "mom",
    "mada",
    "ph",
    "gdv",
    "dsi",
    "cka",
    "f1v",
    "lsc",
    "h0",
    "lda",
    "knn",
)


@dataclass(frozen=True)
class Quantity:
    """One number of an analyzer. `better` is "lower", "higher" or ""; `invariant` lists what must not change it."""

    name: str
    formula: str
    better: str = ""
    unit: str = ""
    title: str = ""
    source: str = ""
    invariant: tuple[str, ...] = ("rotation", "scale", "translation")
    headline: bool = False
    drawn: bool = False  # of subsets drawn by place, so that the order of samples moves it within its interval
    counts: bool = False  # reads n itself, so that taking every sample twice changes it

    @property
    def label(self) -> str:
        """What figures and tables call it."""
        words = self.name.split("_")
        written = " ".join(word.upper() if word in ACRONYMS else word for word in words)
        return self.title or written[0].upper() + written[1:]


@dataclass(frozen=True)
class Analyzer:
    """A function over one layer, the summaries that it reads, and its quantities."""

    name: str
    function: Callable[..., Any]
    result: type
    reads: tuple[type, ...]
    quantities: tuple[Quantity, ...]
    arrays: bool = False  # also reads the features themselves
    head: bool = False  # also reads the logits, and the classifier at its input
    labels: bool = True
    sample: bool = False  # also takes `groups`, the sample of each row, where samples have several
    default: bool = True  # part of "all"; the others are measured where they are named


_NOT_SHIFT = ("rotation", "scale")
_LINEAR = ("rotation", "scale", "translation", "linear")
_AXES = ("scale", "translation")  # of single features
_RIGID = ("rotation", "scale", "translation")
_FACCO = "Facco et al. 2017"
_PAPYAN, _ZHU = "Papyan, Han & Donoho 2020", "Zhu et al. 2021"

ANALYZERS: dict[str, Analyzer] = {
    a.name: a
    for a in (
        Analyzer(
            name="neural_collapse",
            function=neural_collapse,
            result=NeuralCollapse,
            reads=(Moments, Discriminant),
            arrays=True,
            head=True,
            quantities=(
                Quantity("nc1", "tr(Sw Sb^+)/c", "lower", title="NC1", source=_PAPYAN, headline=True),
                Quantity("quotient", "tr Sw / tr Sb", "lower", title="Scatter quotient", source="Tirer et al. 2023"),
                Quantity(
                    "cdnv",
                    "mean_{i<j} (v_i + v_j)/(2 |m_i - m_j|^2)",
                    "lower",
                    title="CDNV",
                    source="Galanti et al. 2022",
                    headline=True,
                ),
                Quantity("cdnv_median", "median over pairs of CDNV", "lower", source="Galanti et al. 2022"),
                Quantity("cdnv_max", "maximum over pairs of CDNV", "lower", source="Galanti et al. 2022"),
                Quantity(
                    "vci",
                    "1 - tr(St^+ Sb)/rank(Sb), Sb weighted by class size",
                    "lower",
                    title="VCI",
                    source="Xu & Liu 2023",
                    invariant=_LINEAR,
                    headline=True,
                ),
                Quantity("fuzziness", "tr(Sw Sb^+), Sb by samples", "lower", source="He & Su 2023"),
                Quantity("equinorm", "std_c |m_c - g| / mean_c |m_c - g|", "lower", title="Equinorm", source=_PAPYAN),
                Quantity(
                    "equiangularity", "mean_{i<j} |cos_ij + 1/(c-1)|", "lower", title="Equiangularity", source=_PAPYAN
                ),
                Quantity("cosine_std", "std_{i<j} cos_ij", "lower", source=_PAPYAN),
                Quantity(
                    "etf_error",
                    "|McMc'/|McMc'|_F - J/|J|_F|_F",
                    "lower",
                    title="ETF error",
                    source=_ZHU,
                    headline=True,
                ),
                Quantity(
                    "of_error", "|MM'/|MM'|_F - I/sqrt(c)|_F", "lower", source="Dang et al. 2023", invariant=_NOT_SHIFT
                ),
                Quantity(
                    "gof_error",
                    "|MM'/|MM'|_F - D/|D|_F|_F, D diagonal",
                    "lower",
                    source="Dang et al. 2023",
                    invariant=_NOT_SHIFT,
                ),
                Quantity("uniformity", "mean_{i<j} -log |u_i - u_j|, u = Mc/|Mc|", "lower", source="Liu et al. 2023"),
                Quantity("uniformity_variance", "variance over pairs of the same", "lower", source="Liu et al. 2023"),
                Quantity(
                    "one_vs_rest",
                    "min_k dist(u_k, conv{u_j})",
                    "higher",
                    source="Jiang et al. 2023",
                    invariant=_NOT_SHIFT,
                ),
                Quantity("classifier_equinorm", "std_c |w_c| / mean_c |w_c|", "lower", source=_PAPYAN),
                Quantity("classifier_etf_error", "|WW'/|WW'|_F - J/|J|_F|_F", "lower", source=_ZHU),
                Quantity("self_duality", "|W/|W|_F - Mc/|Mc|_F|_F^2", "lower", title="Self-duality", source=_PAPYAN),
                Quantity("duality_zhu", "|WMc'/|WMc'|_F - J/|J|_F|_F", "lower", source=_ZHU),
                Quantity("duality_cosine", "mean_c cos(w_c, m_c - g)", "higher", source="Liu et al. 2023"),
                Quantity(
                    "duality_variation", "std/mean over c of cos(w_c, m_c - g)", "lower", source="Wu & Papyan 2024"
                ),
                Quantity("bias_collapse", "|Wg + b|", "lower", unit="logits", source=_ZHU, invariant=()),
                Quantity(
                    "nc4",
                    "share argmax logits = nearest class mean",
                    "higher",
                    "share",
                    "NC4 agreement",
                    _PAPYAN,
                    ("rotation",),
                ),
                Quantity("nc4_mismatch", "1 - nc4", "lower", "share", source=_PAPYAN, invariant=("rotation",)),
                Quantity(
                    "ncc_accuracy",
                    "share nearest class mean = label",
                    "higher",
                    "share",
                    "Nearest-mean accuracy",
                    _PAPYAN,
                    headline=True,
                ),
                Quantity(
                    "accuracy",
                    "share argmax logits = label",
                    "higher",
                    "share",
                    source="by definition",
                    invariant=("rotation",),
                ),
            ),
        ),
        Analyzer(
            name="fisher",
            function=fisher,
            result=Fisher,
            reads=(Discriminant,),
            quantities=(
                Quantity(
                    "trace_ratio",
                    "tr Sb / tr Sw",
                    "higher",
                    title="Fisher trace ratio",
                    source="Fukunaga 1990",
                    headline=True,
                ),
                Quantity("quotient", "tr(Sw^-1 Sb)", "higher", source="Lawley 1938; Hotelling 1951", invariant=_LINEAR),
                Quantity("max_eigenvalue", "max lambda(Sw^-1 Sb)", "higher", source="Roy 1953", invariant=_LINEAR),
                Quantity("bounded", "tr(St^+ Sb)", "higher", source="Pillai 1955", invariant=_LINEAR),
                Quantity("explained", "tr Sb / tr St", "higher", "share", source="Fisher 1925 (eta squared)"),
                Quantity(
                    "feature_mean",
                    "mean_f between_f / within_f",
                    "higher",
                    source="Fisher 1936",
                    invariant=("scale", "translation"),
                ),
                Quantity(
                    "feature_max",
                    "max_f between_f / within_f",
                    "higher",
                    source="Fisher 1936",
                    invariant=("scale", "translation"),
                ),
            ),
        ),
        Analyzer(
            name="separability",
            function=separability,
            result=Separability,
            reads=(Pairs,),
            quantities=(
                Quantity(
                    "silhouette",
                    "mean (b - a)/max(a, b)",
                    "higher",
                    source="Rousseeuw 1987",
                    headline=True,
                    counts=True,
                ),
                Quantity(
                    "silhouette_balanced", "mean over classes of it", "higher", source="Rousseeuw 1987", counts=True
                ),
                Quantity(
                    "calinski_harabasz",
                    "(tr Sb/(c - 1))/(tr Sw/(n - c))",
                    "higher",
                    title="Calinski-Harabasz",
                    source="Calinski & Harabasz 1974",
                    counts=True,
                ),
                Quantity(
                    "davies_bouldin",
                    "mean_k max_l (s_k + s_l)/|m_k - m_l|",
                    "lower",
                    title="Davies-Bouldin",
                    source="Davies & Bouldin 1979",
                ),
                Quantity(
                    "gdv",
                    "(mean intra - mean inter)/sqrt(d), z-scored",
                    "lower",
                    title="GDV",
                    source="Schilling et al. 2021",
                    invariant=("scale", "translation"),
                    headline=True,
                    counts=True,
                ),
                Quantity(
                    "dsi",
                    "mean over classes of KS(inner, outer distances)",
                    "higher",
                    title="DSI",
                    source="Guan & Loew 2022",
                    counts=True,
                ),
                Quantity(
                    "thornton",
                    "share nearest sample = label",
                    "higher",
                    "share",
                    "Thornton index",
                    "Thornton 1998",
                    headline=True,
                    counts=True,
                ),
                Quantity(
                    "knn_purity",
                    "(p - p0)/(1 - p0), p of 10 neighbours",
                    "higher",
                    title="kNN purity over chance",
                    source="Thornton 1998 (k = 1)",
                    counts=True,
                ),
                Quantity(
                    "alignment",
                    "mean |u_i - u_j|^2 in classes",
                    "lower",
                    source="Wang & Isola 2020",
                    invariant=_NOT_SHIFT,
                    counts=True,
                ),
                Quantity(
                    "sample_uniformity",
                    "log mean exp(-2 |u_i - u_j|^2)",
                    source="Wang & Isola 2020",
                    title="Uniformity of samples",
                    invariant=_NOT_SHIFT,
                    counts=True,
                ),
                Quantity(
                    "tolerance", "mean u_i.u_j in classes", source="Wang & Liu 2021", invariant=_NOT_SHIFT, counts=True
                ),
                Quantity(
                    "label_cka",
                    "CKA(x_i.x_j, 1[y_i = y_j]), unbiased",
                    "higher",
                    title="CKA with labels",
                    source="Cortes et al. 2012; Song et al. 2012",
                    counts=True,
                ),
            ),
        ),
        Analyzer(
            name="data_complexity",
            function=data_complexity,
            result=DataComplexity,
            reads=(Pairs,),
            default=False,
            quantities=(
                *(
                    Quantity(
                        name,
                        formula,
                        "lower",
                        title=title,
                        source="Ho & Basu 2002; Lorena et al. 2019",
                        invariant=invariant,
                        counts=name not in ("f1", "f1_mean", "f2", "f3"),
                    )
                    for name, formula, title, invariant in (
                        ("f1", "1/(1 + max_f r_f)", "F1", _AXES),
                        ("f1_mean", "mean_f 1/(1 + r_f)", "F1, mean", _AXES),
                        ("f1v", "mean over pairs of 1/(1 + D^2)", "F1v", _LINEAR),
                        ("f2", "mean over pairs of prod overlap/range", "F2", _AXES),
                        ("f3", "mean over pairs of min_f share in overlap", "F3", _AXES),
                        ("n1", "share of samples on cross edges of the tree", "N1", _RIGID),
                        ("n2", "mean own/(own + enemy)", "N2", _RIGID),
                        ("n3", "1 - Thornton index", "N3", _RIGID),
                    )
                ),
                Quantity(
                    "lsc",
                    "1 - 1/n^2 sum #{d_ij < enemy_i}",
                    "lower",
                    title="LSC",
                    source="Leyva et al. 2015",
                    counts=True,
                ),
            ),
        ),
        Analyzer(
            name="class_divergences",
            function=class_divergences,
            result=ClassDivergences,
            reads=(),
            default=False,
            quantities=(
                Quantity(
                    "closest_mahalanobis",
                    "min over pairs sqrt(D'Sw^-1 D)",
                    "higher",
                    source="Mahalanobis 1936",
                    invariant=_AXES,
                    counts=True,
                ),
                Quantity(
                    "mean_mahalanobis",
                    "mean over pairs of it",
                    "higher",
                    source="Mahalanobis 1936",
                    invariant=_AXES,
                    counts=True,
                ),
                Quantity(
                    "closest_bhattacharyya",
                    "min over pairs B",
                    "higher",
                    "nats",
                    source="Bhattacharyya 1943",
                    invariant=_AXES,
                    counts=True,
                ),
                Quantity(
                    "mean_bhattacharyya",
                    "mean over pairs B",
                    "higher",
                    "nats",
                    source="Bhattacharyya 1943",
                    invariant=_AXES,
                    counts=True,
                ),
                Quantity(
                    "noise",
                    "mean over classes B of two halves",
                    "lower",
                    "nats",
                    source="Bhattacharyya 1943",
                    invariant=_AXES,
                    counts=True,
                    drawn=True,
                ),
            ),
        ),
        Analyzer(
            name="probing",
            function=probing,
            result=Probing,
            reads=(),
            sample=True,
            quantities=(
                *(
                    Quantity(
                        name,
                        formula,
                        "higher",
                        "share",
                        title,
                        source,
                        invariant=invariant,
                        headline=name in ("linear_probe", "knn_probe"),
                        counts=True,
                        drawn=True,
                    )
                    for name, formula, title, source, invariant in (
                        (
                            "linear_probe",
                            "accuracy of logistic regression, C chosen",
                            "Linear probe",
                            "Alain & Bengio 2017; Belinkov 2022",
                            _AXES,
                        ),
                        ("ridge_probe", "accuracy of least squares, ridge chosen", "", "Hoerl & Kennard 1970", _AXES),
                        ("lda_probe", "accuracy of LDA, shrunk", "", "Ledoit & Wolf 2004", _AXES),
                        ("nearest_mean", "accuracy of the nearest class mean", "", "Mensink et al. 2013", _AXES),
                        ("naive_bayes", "accuracy of Gaussian naive Bayes", "Naive Bayes", "Ng & Jordan 2001", _AXES),
                        ("knn_probe", "accuracy of the k nearest, k chosen", "kNN probe", "Caron et al. 2021", _RIGID),
                        (
                            "balanced_accuracy",
                            "mean recall of the linear probe",
                            "Balanced accuracy",
                            "by definition",
                            _AXES,
                        ),
                    )
                ),
                Quantity(
                    "log_loss",
                    "mean -log2 p(y|x), linear",
                    "lower",
                    "bits",
                    "Log-loss",
                    "by definition",
                    _AXES,
                    drawn=True,
                    counts=True,
                ),
                Quantity(
                    "usable_information",
                    "H(y|0) - H(y|x), linear",
                    "higher",
                    "bits",
                    source="Xu et al. 2020",
                    invariant=_AXES,
                    drawn=True,
                    counts=True,
                ),
                Quantity(
                    "compression",
                    "n log2 c/online codelength, LDA",
                    "higher",
                    title="MDL compression",
                    source="Voita & Titov 2020",
                    invariant=_AXES,
                    drawn=True,
                    counts=True,
                ),
                *(
                    Quantity(
                        name,
                        formula,
                        better,
                        "share",
                        title,
                        source,
                        invariant=_AXES,
                        drawn=True,
                        counts=True,
                    )
                    for name, formula, better, title, source in (
                        ("chance", "share of the most frequent class", "", "", "by definition"),
                        ("capacity", "accuracy on permuted labels fitted on", "", "", "Hewitt & Liang 2019"),
                        ("gap", "accuracy on rows fitted on less reported", "lower", "Fit-report gap", "by definition"),
                        ("select_accuracy", "accuracy on select rows", "higher", "", "by definition"),
                    )
                ),
            ),
        ),
        Analyzer(
            name="topology",
            function=h0_separability,
            result=H0Separability,
            reads=(Sketch,),
            labels=False,
            quantities=(
                Quantity(
                    "h0_entropy",
                    "1 + sum w log w/log(n - 1), w of tree edges",
                    title="H0 separability",
                    source="Ghalyan et al. 2023; Gourgoulias et al. 2024",
                    headline=True,
                    counts=True,
                ),
                Quantity("h0_mean", "1 - mean p/max p", source="Gourgoulias et al. 2024", counts=True),
                Quantity("h0_quantile", "1 - mean min(1, p/p_99%)", source="Gourgoulias et al. 2024", counts=True),
                Quantity("clusters", "1 + #{p > max p/2}", source="Gourgoulias et al. 2024", counts=True),
                Quantity("gap_ratio", "p_(n-1)/p_(n-2)", source="Gourgoulias et al. 2024", counts=True),
            ),
        ),
        Analyzer(
            name="dimension",
            function=dimension_profile,
            result=DimensionProfile,
            reads=(Cloud,),
            labels=False,
            quantities=(
                Quantity(
                    "two_nn",
                    "slope of -log(1 - i/N) on log(r_2/r_1), 90 %",
                    unit="dimensions",
                    title="TwoNN dimension",
                    source=_FACCO,
                    headline=True,
                ),
                Quantity("two_nn_ml", "(N - 1)/sum log(r_2/r_1)", unit="dimensions", title="TwoNN (ML)", source=_FACCO),
                Quantity(
                    "two_nn_calibrated",
                    "d of the ball whose samples give two_nn_ml",
                    unit="dimensions",
                    title="TwoNN, calibrated",
                    source=_FACCO,
                    counts=True,
                ),
                Quantity(
                    "mle",
                    "19/mean_i sum_{j<20} log(r_20/r_j)",
                    unit="dimensions",
                    title="MLE dimension (k = 20)",
                    source="Levina & Bickel 2004; MacKay & Ghahramani 2005",
                ),
                *(
                    Quantity(
                        f"gride_{n1}",
                        f"root of the likelihood of r_{2 * n1}/r_{n1}",
                        unit="dimensions",
                        title=f"GRIDE dimension ({n1}, {2 * n1})",
                        source="Denti et al. 2022",
                    )
                    for n1 in (2, 4, 8, 16, 32)
                ),
                Quantity(
                    "gride_plateau",
                    "mean of GRIDE over scales within 10 %",
                    unit="dimensions",
                    title="GRIDE plateau",
                    source="Denti et al. 2022",
                ),
            ),
        ),
        Analyzer(
            name="dimension_estimators",
            function=dimension_estimators,
            result=DimensionEstimators,
            reads=(Cloud,),
            labels=False,
            default=False,
            quantities=tuple(
                Quantity(name, formula, unit="dimensions", title=title, source=source, drawn=name == "ph")
                for name, formula, title, source in (
                    ("mind_ml", "root of the likelihood of r_1/r_21", "MiND-ML dimension", "Rozza et al. 2012"),
                    ("tle", "tight local estimate, k = 20", "TLE dimension", "Amsaleg et al. 2019"),
                    ("danco", "ball nearest in angles and norms, k = 10", "DANCo dimension", "Ceruti et al. 2014"),
                    ("abid", "1/mean cos^2 between neighbours", "ABID dimension", "Thordsen & Schubert 2022"),
                    ("ess", "expected simplex skewness, inverted", "ESS dimension", "Johnsson et al. 2015"),
                    (
                        "local_pca",
                        "mean count of local eigenvalues above 5 % of the first",
                        "Local PCA dimension",
                        "Fukunaga & Olsen 1971",
                    ),
                    ("mom", "1/mean_i (r_k - m_i)/m_i", "MOM dimension", "Amsaleg et al. 2018"),
                    ("mada", "log 2/mean_i log(r_20/r_10)", "MADA dimension", "Farahmand et al. 2007"),
                    (
                        "correlation",
                        "slope of log C(r) between two radii",
                        "Correlation dimension",
                        "Grassberger & Procaccia 1983",
                    ),
                    ("ph", "1/(1 - slope of log tree length on log n)", "PH dimension", "Schweinhart 2020"),
                )
            ),
        ),
        Analyzer(
            name="spectrum",
            function=spectrum,
            result=Spectrum,
            reads=(Covariance,),
            labels=False,
            quantities=(
                Quantity(
                    "participation_ratio",
                    "(sum lambda)^2 / sum lambda^2",
                    unit="dimensions",
                    title="Participation ratio",
                    source="Gao et al. 2017",
                ),
                Quantity(
                    "participation_ratio_unbiased",
                    "unbiased (tr C)^2 / unbiased tr C^2",
                    unit="dimensions",
                    title="Participation ratio, corrected",
                    source="Himeno & Yamada 2014; Chun et al. 2025",
                    headline=True,
                    counts=True,
                ),
                Quantity(
                    "effective_rank",
                    "exp H(sigma / sum sigma)",
                    unit="dimensions",
                    title="Effective rank",
                    source="Roy & Vetterli 2007",
                ),
                Quantity(
                    "entropy_rank",
                    "exp H(lambda / sum lambda)",
                    unit="dimensions",
                    source="Roy & Vetterli 2007 (on eigenvalues)",
                ),
                Quantity(
                    "rankme",
                    "exp H(s / sum s + 1e-7), uncentred",
                    unit="dimensions",
                    title="RankMe",
                    source="Garrido et al. 2023",
                    invariant=("rotation", "scale"),
                ),
                Quantity(
                    "stable_rank", "|X|_F^2 / |X|_2^2, centred", unit="dimensions", source="Rudelson & Vershynin 2007"
                ),
                Quantity("top_share", "lambda_1 / sum lambda", unit="share", source="by definition"),
                Quantity(
                    "alpha",
                    "-slope of log lambda_i on log i",
                    title="Power-law exponent",
                    source="Stringer et al. 2019; Agrawal et al. 2022",
                ),
                *(
                    Quantity(
                        f"components_{p}",
                        f"fewest components with {p} % of the variance",
                        unit="dimensions",
                        source="by definition",
                    )
                    for p in (90, 95, 99)
                ),
            ),
        ),
    )
}

ACROSS_LAYERS: dict[str, Analyzer] = {
    "separation_law": Analyzer(
        name="separation_law",
        function=separation_law,
        result=SeparationLaw,
        reads=(),
        quantities=(
            Quantity("rho", "exp(slope of log D_l over l)", "lower", "per layer", source="He & Su 2023"),
            Quantity("correlation", "Pearson r of log D_l and l", "lower", source="He & Su 2023"),
            Quantity("half_life", "log 2 / -slope", "lower", "layers", source="He & Su 2023"),
        ),
    ),
    "layer_choice": Analyzer(
        name="layer_choice",
        function=best_layer,
        result=LayerChoice,
        reads=(Probe,),
        quantities=(
            Quantity(
                "chosen_accuracy", "of the layer chosen on select rows", "higher", "share", source="by definition"
            ),
            Quantity("oracle_accuracy", "the largest on report rows", "higher", "share", source="by definition"),
            Quantity(
                "oracle_bias",
                "oracle less out-of-draw accuracy",
                "lower",
                "share",
                "Bias of the oracle",
                "Tsamardinos et al. 2018",
            ),
        ),
    ),
    "layer_differences": Analyzer(
        name="layer_differences",
        function=layer_differences,
        result=LayerDifference,
        reads=(Probe,),
        quantities=(
            Quantity("difference", "accuracy less the chosen layer's", "higher", "share", source="by definition"),
            Quantity("p_adjusted", "exact McNemar p, Holm", title="p (Holm)", source="McNemar 1947; Holm 1979"),
        ),
    ),
    "probe_baselines": Analyzer(
        name="probe_baselines",
        function=probe_baselines,
        result=ProbeBaselines,
        reads=(),
        quantities=(
            Quantity(
                "reinitialised",
                "linear accuracy, random weights",
                unit="share",
                title="Re-initialised network",
                source="Belinkov 2022",
            ),
            Quantity(
                "random_projection",
                "linear accuracy, relu(xR + b) of the input",
                unit="share",
                source="Saxe et al. 2011",
            ),
        ),
    ),
    "complexity": Analyzer(
        name="complexity",
        function=complexity,
        result=Complexity,
        reads=(),
        quantities=(
            Quantity(
                "mean_complexity",
                "mean over features of 1 - mean_l R^2_l",
                title="Complexity of features",
                source="Fel et al. 2024",
            ),
            Quantity(
                "mean_hidden", "the same without the input", title="Complexity, hidden layers", source="Fel et al. 2024"
            ),
            Quantity(
                "mean_onset",
                "first layer with R^2 >= threshold",
                unit="layers",
                title="Onset of features",
                source="Fel et al. 2024",
            ),
            Quantity("never", "share of features without onset", "lower", "share", "Never readable", "by definition"),
            Quantity(
                "noise_floor", "R^2 of features of nothing", "lower", title="Noise floor of R²", source="by definition"
            ),
        ),
    ),
    "layer_readings": Analyzer(
        name="layer_readings",
        function=layer_readings,
        result=LayerReading,
        reads=(Complexity,),
        quantities=(
            Quantity(
                "readable",
                "mean held-out R^2 of the last features",
                unit="share",
                title="Features read (R²)",
                source="Fel et al. 2024; Xu et al. 2020",
            ),
            Quantity(
                "decoded",
                "share of features with R^2 >= threshold",
                unit="share",
                title="Features decoded",
                source="Fel et al. 2024",
            ),
        ),
    ),
    "complexity_vs_importance": Analyzer(
        name="complexity_vs_importance",
        function=complexity_vs_importance,
        result=ComplexityImportance,
        reads=(),
        quantities=(
            Quantity(
                "rank_correlation",
                "Spearman's rho of K and importance",
                title="Complexity and importance (\u03c1)",
                source="Fel et al. 2024; Spearman 1904",
            ),
            Quantity("p_value", "permutation p of rho", title="p of rho", source="by definition"),
            Quantity(
                "top_complexity",
                "mean K of the top tenth by importance less that of all",
                title="Complexity of important features",
                source="Fel et al. 2024",
            ),
            Quantity(
                "support",
                "share of importance in features of more than median K",
                unit="share",
                title="Importance of complex features",
                source="Fel et al. 2024",
            ),
        ),
    ),
}


def quantity(analyzer: str, name: str) -> Quantity:
    """The line of the table for a quantity."""
    owner = ANALYZERS.get(analyzer) or ACROSS_LAYERS[analyzer]
    return next(q for q in owner.quantities if q.name == name)
