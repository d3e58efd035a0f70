"""The table of the separation family: what it measures, in which unit, which way is better, by whose formula."""

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Analyzer, Family

_findings = deferred("repana.separation._findings")
fisher = deferred("repana.separation._fisher").fisher
data_complexity = deferred("repana.separation._separability").data_complexity
separability = deferred("repana.separation._separability").separability

_NOT_SHIFT = ("rotation", "scale")
_LINEAR = ("rotation", "scale", "translation", "linear")
_AXES = ("scale", "translation")  # of single features
_RIGID = ("rotation", "scale", "translation")


def _separability_cost(size: Size) -> Cost:
    """Of indices of a subset under every permutation of the labels, and of their jackknife."""
    d, c, m = size.d, size.classes, min(size.n, 5_000)
    labellings = size.permutations + 1
    return Cost(
        flop=30.0 * m * d * min(m, d) + 0.1 * labellings * m * c * d,
        bytes=29 * 8.0 * labellings * m * c + 3640 * 8.0 * labellings * m + 960 * 8.0 * m * 600,
        calls=2e4,
        peak=8 * (2.2 * m**2 + 1.1 * min(m, 2_000) ** 2 + (21 if m <= 1_024 else 0) * m**2 + 3.5 * m * d + 3 * m * c)
        + 3.5e7
        + 2.5e4 * min(m, 2_000),
    )


def _complexity_cost(size: Size) -> Cost:
    """Of measures of a subset under every permutation of the labels."""
    d, c, m = size.d, size.classes, min(size.n, 5_000)
    drawn = 8.0 * (size.permutations + 1) * m
    return Cost(
        bytes=drawn * (22 * d + 350 * c + 1100), calls=5e4, peak=8 * (1.1 * m**2 + 16 * m * d + 200 * c * d) + 3e7
    )


ANALYZERS = (
    Analyzer(
        fisher,
        cost=lambda size: Cost(calls=1500, peak=1e5),
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
                "mean_f between_f/within_f",
                "higher",
                source="Fisher 1936",
                invariant=("scale", "translation"),
            ),
            Quantity(
                "feature_max",
                "max_f between_f/within_f",
                "higher",
                source="Fisher 1936",
                invariant=("scale", "translation"),
            ),
        ),
    ),
    Analyzer(
        separability,
        cost=_separability_cost,
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
                "silhouette_balanced",
                "mean over classes of the mean silhouette of a class",
                "higher",
                source="Rousseeuw 1987",
                counts=True,
            ),
            Quantity(
                "calinski_harabasz",
                "(tr Sb / (c - 1)) / (tr Sw / (n - c))",
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
                "share of samples whose nearest neighbour has their label",
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
        data_complexity,
        cost=_complexity_cost,
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
                    ("n1", "share of samples on tree edges between classes", "N1", _RIGID),
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
)

FINDINGS = {
    "RF301": Rule("Earliest separating layer", _findings.earliest, RESULT, 45, "neural_collapse.ncc_accuracy"),
    "RF302": Rule("Law of data separation", _findings.law, RESULT, 30, "neural_collapse.fuzziness"),
    "RF303": Rule("Held-out accuracy", _findings.gap, RESULT, 80, "neural_collapse.accuracy"),
    "RF304": Rule("Layers that lose separation", _findings.losses, RESULT, 35, "fisher.trace_ratio"),
    "RF305": Rule("Fisher's quotient and its null", _findings.quotient, CHECK, 40, "fisher.quotient"),
    "RF306": Rule("Neighbours and clusters", _findings.neighbours, RESULT, 25, "separability.thornton"),
}

SOURCES = {
    "Fukunaga 1990": """@book{fukunaga1990introduction,
  author = {Fukunaga, Keinosuke},
  title = {Introduction to Statistical Pattern Recognition}, edition = {2}, publisher = {Academic Press}, year = {1990}
}""",
    "Lawley 1938": """@article{lawley1938generalization,
  author = {Lawley, D. N.},
  title = {A Generalization of {Fisher's} z Test},
  journal = {Biometrika}, volume = {30}, pages = {180--187}, year = {1938}
}""",
    "Hotelling 1951": """@inproceedings{hotelling1951generalized,
  author = {Hotelling, Harold},
  title = {A Generalized {T} Test and Measure of Multivariate Dispersion},
  booktitle = {Proceedings of the Second Berkeley Symposium on Mathematical Statistics and Probability},
  pages = {23--41}, year = {1951}
}""",
    "Roy 1953": """@article{roy1953heuristic,
  author = {Roy, S. N.},
  title = {On a Heuristic Method of Test Construction and its Use in Multivariate Analysis},
  journal = {The Annals of Mathematical Statistics}, volume = {24}, pages = {220--238}, year = {1953}
}""",
    "Pillai 1955": """@article{pillai1955some,
  author = {Pillai, K. C. S.},
  title = {Some New Test Criteria in Multivariate Analysis},
  journal = {The Annals of Mathematical Statistics}, volume = {26}, pages = {117--121}, year = {1955}
}""",
    "Fisher 1925": """@book{fisher1925statistical,
  author = {Fisher, R. A.},
  title = {Statistical Methods for Research Workers}, publisher = {Oliver and Boyd}, year = {1925}
}""",
    "Fisher 1936": """@article{fisher1936use,
  author = {Fisher, R. A.},
  title = {The Use of Multiple Measurements in Taxonomic Problems},
  journal = {Annals of Eugenics}, volume = {7}, pages = {179--188}, year = {1936},
  doi = {10.1111/j.1469-1809.1936.tb02137.x}
}""",
    "Rousseeuw 1987": """@article{rousseeuw1987silhouettes,
  author = {Rousseeuw, Peter J.},
  title = {Silhouettes: A Graphical Aid to the Interpretation and Validation of Cluster Analysis},
  journal = {Journal of Computational and Applied Mathematics}, volume = {20}, pages = {53--65}, year = {1987},
  doi = {10.1016/0377-0427(87)90125-7}
}""",
    "Calinski & Harabasz 1974": """@article{calinski1974dendrite,
  author = {Cali{\\'n}ski, Tadeusz and Harabasz, Jerzy},
  title = {A Dendrite Method for Cluster Analysis},
  journal = {Communications in Statistics}, volume = {3}, number = {1}, pages = {1--27}, year = {1974},
  doi = {10.1080/03610927408827101}
}""",
    "Davies & Bouldin 1979": """@article{davies1979cluster,
  author = {Davies, David L. and Bouldin, Donald W.},
  title = {A Cluster Separation Measure},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume = {PAMI-1}, number = {2},
  pages = {224--227}, year = {1979}, doi = {10.1109/TPAMI.1979.4766909}
}""",
    "Schilling et al. 2021": """@article{schilling2021quantifying,
  author = {Schilling, Achim and Maier, Andreas and Gerum, Richard and Metzner, Claus and Krauss, Patrick},
  title = {Quantifying the Separability of Data Classes in Neural Networks},
  journal = {Neural Networks}, volume = {139}, pages = {278--293}, year = {2021},
  doi = {10.1016/j.neunet.2021.03.035}
}""",
    "Guan & Loew 2022": """@article{guan2022distance,
  author = {Guan, Shuyue and Loew, Murray},
  title = {A Novel Intrinsic Measure of Data Separability},
  journal = {Applied Intelligence}, year = {2022}, eprint = {2109.05180}, archivePrefix = {arXiv}
}""",
    "Thornton 1998": """@inproceedings{thornton1998separability,
  author = {Thornton, Chris},
  title = {Separability is a Learner's Best Friend},
  booktitle = {4th Neural Computation and Psychology Workshop}, pages = {40--46}, year = {1998},
  doi = {10.1007/978-1-4471-1546-5_4}
}""",
    "Wang & Isola 2020": """@inproceedings{wang2020understanding,
  author = {Wang, Tongzhou and Isola, Phillip},
  title = {Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere},
  booktitle = {International Conference on Machine Learning}, year = {2020},
  eprint = {2005.10242}, archivePrefix = {arXiv}
}""",
    "Wang & Liu 2021": """@inproceedings{wang2021understanding,
  author = {Wang, Feng and Liu, Huaping},
  title = {Understanding the Behaviour of Contrastive Loss},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year = {2021},
  eprint = {2012.09740}, archivePrefix = {arXiv}
}""",
    "Cortes et al. 2012": """@article{cortes2012algorithms,
  author = {Cortes, Corinna and Mohri, Mehryar and Rostamizadeh, Afshin},
  title = {Algorithms for Learning Kernels Based on Centered Alignment},
  journal = {Journal of Machine Learning Research}, volume = {13}, pages = {795--828}, year = {2012}
}""",
    "Song et al. 2012": """@article{song2012feature,
  author = {Song, Le and Smola, Alex and Gretton, Arthur and Bedo, Justin and Borgwardt, Karsten},
  title = {Feature Selection via Dependence Maximization},
  journal = {Journal of Machine Learning Research}, volume = {13}, pages = {1393--1434}, year = {2012}
}""",
    "Ho & Basu 2002": """@article{ho2002complexity,
  author = {Ho, Tin Kam and Basu, Mitra},
  title = {Complexity Measures of Supervised Classification Problems},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume = {24}, number = {3},
  pages = {289--300}, year = {2002}, doi = {10.1109/34.990132}
}""",
    "Lorena et al. 2019": """@article{lorena2019how,
  author = {Lorena, Ana C. and Garcia, Lu{\\'i}s P. F. and Lehmann, Jens and Souto, Marcilio C. P. and Ho, Tin Kam},
  title = {How Complex Is Your Classification Problem? A Survey on Measuring Classification Complexity},
  journal = {ACM Computing Surveys}, volume = {52}, number = {5}, pages = {107:1--107:34}, year = {2019},
  doi = {10.1145/3347711}
}""",
    "Leyva et al. 2015": """@article{leyva2015set,
  author = {Leyva, Enrique and Gonz{\\'a}lez, Antonio and P{\\'e}rez, Ra{\\'u}l},
  title = {A Set of Complexity Measures Designed for Applying Meta-Learning to Instance Selection},
  journal = {IEEE Transactions on Knowledge and Data Engineering}, volume = {27}, number = {2}, pages = {354--367},
  year = {2015}, doi = {10.1109/TKDE.2014.2327034}
}""",
}

FAMILY = Family(
    "separation",
    ANALYZERS,
    findings=FINDINGS,
    sources=SOURCES,
)
