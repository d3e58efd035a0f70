"""The table of the collapse family: what it measures, in which unit, which way is better, by whose formula."""

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import RESULT, Rule
from repana._table import Across, Analyzer, Family

_across_layers = deferred("repana.collapse._across_layers")
_findings = deferred("repana.collapse._findings")
neural_collapse = deferred("repana.collapse._neural_collapse").neural_collapse
of_layer = deferred("repana.collapse._neural_collapse").of_layer
separation_law = deferred("repana.collapse._separation_law").separation_law

_NOT_SHIFT = ("rotation", "scale")
_LINEAR = ("rotation", "scale", "translation", "linear")
_PAPYAN, _ZHU = "Papyan, Han & Donoho 2020", "Zhu et al. 2021"


def _cost(size: Size) -> Cost:
    """Of the moments of every permutation and replicate, and what is read from their means."""
    n, d, c, draws = size.n, size.d, size.classes, size.permutations + size.bootstrap
    side = d if d <= 4_096 else 0  # of the scatter, where it is kept
    means = 8.0 * draws * c * d
    return Cost(
        flop=4.0 * n * side**2 + 0.5 * draws * n * c * d,
        bytes=135 * means + 175 * 8 * draws * n + 1.9 * 8 * size.bootstrap * n * d,
        calls=3400 + 5.5 * draws,
        peak=8 * (2.0 * n * d + 2 * side**2 + 4 * draws * n + 8 * c**2) + 3 * min(2 * means, 2**26) + 2e7,
    )


ANALYZERS = (
    Analyzer(
        neural_collapse,
        cost=_cost,
        on_layer=of_layer,
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
            Quantity(
                "uniformity_variance", "variance of -log |u_i - u_j| over pairs", "lower", source="Liu et al. 2023"
            ),
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
            Quantity("duality_variation", "std/mean over c of cos(w_c, m_c - g)", "lower", source="Wu & Papyan 2024"),
            Quantity("bias_collapse", "|W g + b|", "lower", unit="logits", source=_ZHU, invariant=()),
            Quantity(
                "nc4",
                "share of samples with argmax logits = nearest class mean",
                "higher",
                "share",
                "NC4 agreement",
                _PAPYAN,
                ("rotation",),
            ),
            Quantity("nc4_mismatch", "1 - nc4", "lower", "share", source=_PAPYAN, invariant=("rotation",)),
            Quantity(
                "ncc_accuracy",
                "share of samples with nearest class mean = label",
                "higher",
                "share",
                "Nearest-mean accuracy",
                _PAPYAN,
                headline=True,
                counts=True,  # each sample is left out of its own mean
            ),
            Quantity(
                "accuracy",
                "share of samples with argmax logits = label",
                "higher",
                "share",
                source="by definition",
                invariant=("rotation",),
            ),
        ),
    ),
)

ACROSS_LAYERS = (
    Across(
        separation_law,
        _across_layers.separation_law,
        needs=("neural_collapse",),
        quantities=(
            Quantity(
                "rho", "exp(slope of log D_l over l)", "lower", "per layer", "Decay of fuzziness", source="He & Su 2023"
            ),
            Quantity(
                "correlation",
                "Pearson r of log D_l and l",
                "lower",
                title="Log fuzziness and depth (r)",
                source="He & Su 2023",
            ),
            Quantity("half_life", "-log 2 / slope", "lower", "layers", "Half-life of fuzziness", source="He & Su 2023"),
        ),
    ),
)

FINDINGS = {
    "RF201": Rule("Variability collapse (NC1)", _findings.variability, RESULT, 90, "neural_collapse.nc1"),
    "RF202": Rule("Simplex geometry (NC2)", _findings.simplex, RESULT, 60, "neural_collapse.etf_error"),
    "RF203": Rule("Self-duality (NC3)", _findings.duality, RESULT, 50, "neural_collapse.self_duality"),
    "RF204": Rule("Nearest-mean decisions (NC4)", _findings.nearest_mean, RESULT, 40, "neural_collapse.nc4"),
    "RF205": Rule("Closest classes", _findings.closest, RESULT, 55, "neural_collapse.cdnv"),
    "RF206": Rule("Collapse on held-out data", _findings.held_out, RESULT, 85, "neural_collapse.nc1"),
}

SOURCES = {
    "Papyan, Han & Donoho 2020": """@article{papyan2020prevalence,
  author = {Papyan, Vardan and Han, X. Y. and Donoho, David L.},
  title = {Prevalence of Neural Collapse during the Terminal Phase of Deep Learning Training},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {117}, number = {40}, pages = {24652--24663}, year = {2020},
  doi = {10.1073/pnas.2015509117}
}""",
    "Zhu et al. 2021": """@inproceedings{zhu2021geometric,
  author = {Zhu, Zhihui and Ding, Tianyu and Zhou, Jinxin and Li, Xiao and You, Chong and Sulam, Jeremias and Qu, Qing},
  title = {A Geometric Analysis of Neural Collapse with Unconstrained Features},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2021},
  eprint = {2105.02375}, archivePrefix = {arXiv}
}""",
    "Galanti et al. 2022": """@inproceedings{galanti2022role,
  author = {Galanti, Tomer and Gy{\\"o}rgy, Andr{\\'a}s and Hutter, Marcus},
  title = {On the Role of Neural Collapse in Transfer Learning},
  booktitle = {International Conference on Learning Representations}, year = {2022},
  eprint = {2112.15121}, archivePrefix = {arXiv}
}""",
    "Xu & Liu 2023": """@inproceedings{xu2023quantifying,
  author = {Xu, Jing and Liu, Haoxiong},
  title = {Quantifying the Variability Collapse of Neural Networks},
  booktitle = {International Conference on Machine Learning}, year = {2023},
  eprint = {2306.03440}, archivePrefix = {arXiv}
}""",
    "Tirer et al. 2023": """@inproceedings{tirer2023perturbation,
  author = {Tirer, Tom and Huang, Haoxiang and Niles-Weed, Jonathan},
  title = {Perturbation Analysis of Neural Collapse},
  booktitle = {International Conference on Machine Learning}, pages = {34301--34329}, year = {2023},
  eprint = {2210.16658}, archivePrefix = {arXiv}
}""",
    "He & Su 2023": """@article{he2023law,
  author = {He, Hangfeng and Su, Weijie J.},
  title = {A Law of Data Separation in Deep Learning},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {120}, number = {36}, pages = {e2221704120}, year = {2023},
  doi = {10.1073/pnas.2221704120}
}""",
    "Dang et al. 2023": """@inproceedings{dang2023neural,
  author = {Dang, Hien and Tran, Tho and Osher, Stanley and Tran-The, Hung and Ho, Nhat and Nguyen, Tan},
  title = {Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data},
  booktitle = {International Conference on Machine Learning}, year = {2023},
  eprint = {2301.00437}, archivePrefix = {arXiv}
}""",
    "Liu et al. 2023": """@inproceedings{liu2023generalizing,
  author = {Liu, Weiyang and Yu, Longhui and Weller, Adrian and Sch{\\"o}lkopf, Bernhard},
  title = {Generalizing and Decoupling Neural Collapse via Hyperspherical Uniformity Gap},
  booktitle = {International Conference on Learning Representations}, year = {2023},
  eprint = {2303.06484}, archivePrefix = {arXiv}
}""",
    "Jiang et al. 2023": """@misc{jiang2023generalized,
  author = {Jiang, Jiachen and Zhou, Jinxin and Wang, Peng and Qu, Qing and Mixon, Dustin
            and You, Chong and Zhu, Zhihui},
  title = {Generalized Neural Collapse for a Large Number of Classes}, year = {2023},
  eprint = {2310.05351}, archivePrefix = {arXiv}
}""",
    "Wu & Papyan 2024": """@inproceedings{wu2024linguistic,
  author = {Wu, Robert and Papyan, Vardan},
  title = {Linguistic Collapse: Neural Collapse in (Large) Language Models},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2024},
  eprint = {2405.17767}, archivePrefix = {arXiv}
}""",
}

FAMILY = Family(
    "collapse",
    ANALYZERS,
    across=ACROSS_LAYERS,
    findings=FINDINGS,
    sources=SOURCES,
)
