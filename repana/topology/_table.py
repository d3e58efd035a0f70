"""The table of the topology family: what it measures, in which unit, which way is better, by whose formula."""

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, Rule
from repana._table import Analyzer, Family

_findings = deferred("repana.topology._findings")
density_persistence = deferred("repana.topology._density").density_persistence
h0_separability = deferred("repana.topology._persistence").h0_separability


def _cost(size: Size) -> Cost:
    """Of the spanning tree and all distances of a subset."""
    u = min(size.n, 2_000)
    return Cost(
        flop=10.0 * u**2 * size.d, bytes=156 * 8.0 * u**2, calls=6300, peak=8 * (5 * u * size.d + 9 * u**2) + 1e6
    )


def _density_cost(size: Size) -> Cost:
    """Of ten spanning trees of a subset, of 20 halves and of 20 clouds."""
    u = min(size.n, 2_000)
    return Cost(
        flop=45.0 * u**2 * size.d, bytes=8 * 900.0 * u**2, calls=2e4, peak=8 * (4 * u * size.d + 9 * u**2) + 1e7
    )


ANALYZERS = (
    Analyzer(
        h0_separability,
        name="topology",
        cost=_cost,
        quantities=(
            Quantity(
                "h0_entropy",
                "1 + sum w log w / log(n - 1), w of tree edges",
                title="H0 separability",
                source="Ghalyan et al. 2023; Gourgoulias et al. 2024",
                headline=True,
                counts=True,
            ),
            Quantity("h0_mean", "1 - mean p / max p", source="Gourgoulias et al. 2024", counts=True),
            Quantity("h0_quantile", "1 - mean min(1, p/p_99%)", source="Gourgoulias et al. 2024", counts=True),
            Quantity("clusters", "1 + #{p > max p / 2}", source="Gourgoulias et al. 2024", counts=True),
            Quantity("gap_ratio", "p_(n-1)/p_(n-2)", source="Gourgoulias et al. 2024", counts=True),
        ),
    ),
    Analyzer(
        density_persistence,
        cost=_density_cost,
        default=False,
        quantities=tuple(
            Quantity(name, formula, unit=unit, title=title, source="Chazal et al. 2011", counts=True, drawn=True)
            for name, formula, unit, title in (
                ("clusters", "components of all samples that outlast half of the longest edge", "", ""),
                ("dense_clusters", "the same of the denser half", "", "Clusters of the denser half"),
                ("stable_clusters", "the count that holds over the most levels of density", "", ""),
                ("stable_levels", "levels over which it holds", "share", ""),
                ("entropy", "H0 entropy of all samples", "", ""),
                ("dense_entropy", "H0 entropy of the denser half", "", "H0 entropy of the denser half"),
            )
        ),
    ),
)

FINDINGS = {
    "RF310": Rule(
        "Clusters by density", _findings.bridged, CHECK, 24, "density_persistence.dense_clusters",
        ("density_persistence",),
    ),
}  # fmt: skip

SOURCES = {
    "Chazal et al. 2011": """@article{chazal2011geometric,
  author = {Chazal, Fr{\\'e}d{\\'e}ric and Cohen-Steiner, David and M{\\'e}rigot, Quentin},
  title = {Geometric Inference for Probability Measures},
  journal = {Foundations of Computational Mathematics}, volume = {11}, pages = {733--751}, year = {2011},
  doi = {10.1007/s10208-011-9098-0}
}""",
    "Ghalyan et al. 2023": """@misc{ghalyan2023learning,
  author = {Ghalyan, Najah and Gourgoulias, Kostis and Satsangi, Yash and Labonne, Maxime and Moran, Sean and
            Sabelja, Joseph},
  title = {Estimating Class Separability of Datasets Using Persistent Homology with Application to {LLM} Fine-Tuning},
  year = {2023}, eprint = {2305.15016}, archivePrefix = {arXiv}, note = {Version 3}
}""",
    "Gourgoulias et al. 2024": """@article{gourgoulias2024estimating,
  author = {Gourgoulias, Kostis and Ghalyan, Najah and Labonne, Maxime and Satsangi, Yash and Moran, Sean and
            Sabelja, Joseph},
  title = {Estimating Class Separability of Text Embeddings with Persistent Homology},
  journal = {Transactions on Machine Learning Research}, year = {2024},
  eprint = {2305.15016}, archivePrefix = {arXiv}
}""",
}

FAMILY = Family(
    "topology",
    ANALYZERS,
    findings=FINDINGS,
    sources=SOURCES,
)
