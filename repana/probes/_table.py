"""The table of the probes family: what it measures, in which unit, which way is better, by whose formula."""

from typing import Any

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Across, Analyzer, Family

_across_layers = deferred("repana.probes._across_layers")
_findings = deferred("repana.probes._findings")
probe_baselines = deferred("repana.probes._controls").probe_baselines
best_layer = deferred("repana.probes._layer_selection").best_layer
layer_differences = deferred("repana.probes._layer_selection").layer_differences
probing = deferred("repana.probes._suite").probing
weight_probe = deferred("repana.probes._weight_probe").weight_probe
relation = deferred("repana.probes._relation").relation

_AXES = ("scale", "translation")  # of single features
_RELATIONS, _INVERSES = "Hernandez et al. 2024", "Chanin et al. 2024"
_SPLIT: dict[str, Any] = {"invariant": _AXES, "drawn": True, "counts": True}  # of rows split by place
_RIGID = ("rotation", "scale", "translation")


def _cost(size: Size) -> Cost:
    """Of six probes with their selection, nulls and intervals: steps of the logistic ones multiply the rows."""
    n, d, c = size.n, size.d, size.classes
    return Cost(
        flop=490.0 * n * d * c + 4.0 * n**2 * d + 80.0 * n * d * min(n, d) + 2900.0 * d**2 * c + 9.0 * d**3,
        bytes=8 * (850.0 * n * d + 12_600 * n * c + 40 * n * c * size.bootstrap + 350 * n * size.bootstrap),
        calls=1e5,
        peak=8 * (8.5 * n * d + 5 * min(n, d) * d + 6 * n * size.bootstrap + 3 * n * c + 40 * d * c) + 2.8e7,
    )


ANALYZERS = (
    Analyzer(
        probing,
        cost=_cost,
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
                        "accuracy of logistic regression, C by validation",
                        "Linear probe",
                        "Alain & Bengio 2017; Belinkov 2022",
                        _AXES,
                    ),
                    (
                        "ridge_probe",
                        "accuracy of ridge regression on one-hot labels",
                        "",
                        "Hoerl & Kennard 1970",
                        _AXES,
                    ),
                    ("lda_probe", "accuracy of LDA with Ledoit-Wolf shrinkage", "", "Ledoit & Wolf 2004", _AXES),
                    ("nearest_mean", "accuracy of the nearest class mean", "", "Mensink et al. 2013", _AXES),
                    ("naive_bayes", "accuracy of Gaussian naive Bayes", "Naive Bayes", "Ng & Jordan 2001", _AXES),
                    (
                        "knn_probe",
                        "accuracy of k nearest neighbours, k by validation",
                        "kNN probe",
                        "Caron et al. 2021",
                        _RIGID,
                    ),
                    (
                        "balanced_accuracy",
                        "mean over classes of the recall of the linear probe",
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
                "n log2 c / online codelength, LDA",
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
                    ("memorization", "training accuracy on shuffled labels", "", "", "Hewitt & Liang 2019"),
                    ("gap", "training accuracy - test accuracy", "lower", "Train-test gap", "by definition"),
                    ("validation_accuracy", "accuracy on the validation split", "higher", "", "by definition"),
                )
            ),
        ),
    ),
)

ACROSS_LAYERS = (
    Across(
        best_layer,
        _across_layers.layer_choice,
        name="layer_choice",
        needs=("probing",),
        quantities=(
            Quantity(
                "chosen_accuracy",
                "test accuracy of the layer with the best validation accuracy",
                "higher",
                "share",
                "Accuracy of the selected layer",
                source="by definition",
                **_SPLIT,
            ),
            Quantity(
                "oracle_accuracy",
                "largest test accuracy of any layer",
                "higher",
                "share",
                "Accuracy of the best layer",
                source="by definition",
                **_SPLIT,
            ),
            Quantity(
                "oracle_bias",
                "test accuracy of the best layer - its accuracy outside the bootstrap draw",
                "lower",
                "share",
                "Optimism of the best layer",
                "Tsamardinos et al. 2018",
                **_SPLIT,
            ),
        ),
    ),
    Across(
        layer_differences,
        _across_layers.layer_differences,
        of_layer=deferred("repana.probes._layer_selection").LayerDifference,
        needs=("layer_choice",),
        quantities=(
            Quantity(
                "difference",
                "accuracy - accuracy of the selected layer",
                "higher",
                "share",
                "Difference from the selected layer",
                source="by definition",
                **_SPLIT,
            ),
            Quantity(
                "p_adjusted",
                "exact p of McNemar's test, Holm over layers",
                title="p (Holm)",
                source="McNemar 1947; Holm 1979",
                **_SPLIT,
            ),
        ),
    ),
    Across(
        probe_baselines,
        _across_layers.baselines,
        needs=("probing",),
        quantities=(
            Quantity(
                "reinitialised",
                "accuracy of the linear probe with re-initialised weights",
                unit="share",
                title="Re-initialised network",
                source="Belinkov 2022",
                **_SPLIT,
            ),
            Quantity(
                "random_projection",
                "accuracy of the linear probe on relu(x R + b), x the input",
                unit="share",
                source="Saxe et al. 2011",
                **_SPLIT,
            ),
        ),
    ),
    Across(
        weight_probe,
        _across_layers.weights,
        of_layer=deferred("repana.probes._weight_probe").TensorProbe,
        quantities=(
            Quantity(
                "leave_one_out",
                "accuracy (or R2) of a ridge probe of all other models",
                "higher",
                "share",
                "Leave-one-out score of weights",
                "Horwitz et al. 2024",
                counts=True,
                drawn=True,
            ),
            Quantity(
                "leave_tree_out",
                "accuracy (or R2) of a ridge probe of all other trees of models",
                "higher",
                "share",
                "Leave-tree-out score of weights",
                "Horwitz et al. 2024",
                counts=True,
                drawn=True,
            ),
            Quantity(
                "chance",
                "share of the most frequent class (0 for R2)",
                unit="share",
                source="by definition",
                counts=True,
            ),
        ),
    ),
    Across(
        relation,
        _across_layers.relation,
        of_layer=deferred("repana.probes._relation").Relation,
        default=False,
        quantities=tuple(
            Quantity(name, formula, better, unit, title, source, counts=True, drawn=True)
            for name, formula, better, unit, title, source in (
                ("r2", "1 - sum |o - Ws - b|^2/sum |o - mean|^2", "higher", "", "R2 of one linear map", _RELATIONS),
                ("r2_least_squares", "the same of least squares", "higher", "", "", "by definition"),
                ("spread", "mean |J_i - W|/|W|", "lower", "", "Spread of the Jacobians", _RELATIONS),
                ("faithfulness", "answers that stay with Ws + b", "higher", "share", "", _RELATIONS),
                ("rank", "singular values that the inverse takes", "", "", "", _INVERSES),
                ("accuracy", "argmax_k v_k . s", "higher", "share", "Accuracy of the directions", _INVERSES),
                ("mean_difference", "the same of class means", "higher", "share", "", _INVERSES),
                ("linear_probe", "the same of a linear probe", "higher", "share", "", "by definition"),
                ("causality", "edits s + c|s|(v_new - v_old) that bring the new answer", "higher", "share", "",
                 _INVERSES),
                ("edit_causality", "edits s + W^+(o_new - o) that bring the new answer", "higher", "share", "",
                 _RELATIONS),
                ("edit_distance", "distance from o_new left by them", "lower", "", "", _RELATIONS),
            )
        ),
    ),
)  # fmt: skip

FINDINGS = {
    "RF501": Rule("Earliest decodable layer", _findings.earliest, RESULT, 100, "probing.linear_probe"),
    "RF502": Rule("Memorisation by the probes", _findings.memory, CHECK, 55, "probing.memorization"),
    "RF503": Rule("Untrained baselines", _findings.untrained, RESULT, 95, "probing.linear_probe"),
    "RF504": Rule("Probe of the raw input", _findings.raw, RESULT, 70, "probing.linear_probe"),
    "RF505": Rule("kNN against the linear probe", _findings.neighbours, RESULT, 20, "probing.knn_probe"),
    "RF506": Rule("Overfitting of the probes", _findings.gap, CHECK, 52, "probing.gap"),
    "RF507": Rule(
        "Probes of weights across trees", _findings.trees, RESULT, 96, "weight_probe.leave_tree_out", ("weight_probe",)
    ),
    "RF508": Rule("Number of models", _findings.models, CHECK, 60, reads=("weight_probe",)),
    "RF509": Rule("Directions of a relation", _findings.directions, CHECK, 46, "relation.accuracy", ("relation",)),
}

SOURCES = {
    "Hernandez et al. 2024": """@inproceedings{hernandez2024linearity,
  author = {Hernandez, Evan and {Sen Sharma}, Arnab and Haklay, Tal and Meng, Kevin and Wattenberg, Martin and
            Andreas, Jacob and Belinkov, Yonatan and Bau, David},
  title = {Linearity of Relation Decoding in Transformer Language Models},
  booktitle = {International Conference on Learning Representations}, year = {2024},
  eprint = {2308.09124}, archivePrefix = {arXiv}
}""",
    "Chanin et al. 2024": """@inproceedings{chanin2024identifying,
  author = {Chanin, David and Hunter, Anthony and Camburu, Oana-Maria},
  title = {Identifying Linear Relational Concepts in Large Language Models},
  booktitle = {Conference of the North American Chapter of the Association for Computational Linguistics},
  year = {2024}, eprint = {2311.08968}, archivePrefix = {arXiv}
}""",
    "Horwitz et al. 2024": """@misc{horwitz2024representing,
  author = {Horwitz, Eliahu and Cavia, Bar and Kahana, Jonathan and Hoshen, Yedid},
  title = {Representing Model Weights with Language using Tree Experts},
  year = {2024}, eprint = {2410.13569}, archivePrefix = {arXiv}
}""",
    "Alain & Bengio 2017": """@misc{alain2017understanding,
  author = {Alain, Guillaume and Bengio, Yoshua},
  title = {Understanding Intermediate Layers Using Linear Classifier Probes},
  year = {2017}, eprint = {1610.01644}, archivePrefix = {arXiv}
}""",
    "Belinkov 2022": """@article{belinkov2022probing,
  author = {Belinkov, Yonatan},
  title = {Probing Classifiers: Promises, Shortcomings, and Advances},
  journal = {Computational Linguistics}, volume = {48}, number = {1}, pages = {207--219}, year = {2022},
  doi = {10.1162/coli_a_00422}
}""",
    "Hoerl & Kennard 1970": """@article{hoerl1970ridge,
  author = {Hoerl, Arthur E. and Kennard, Robert W.},
  title = {Ridge Regression: Biased Estimation for Nonorthogonal Problems},
  journal = {Technometrics}, volume = {12}, number = {1}, pages = {55--67}, year = {1970},
  doi = {10.1080/00401706.1970.10488634}
}""",
    "Ledoit & Wolf 2004": """@article{ledoit2004well,
  author = {Ledoit, Olivier and Wolf, Michael},
  title = {A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices},
  journal = {Journal of Multivariate Analysis}, volume = {88}, number = {2}, pages = {365--411}, year = {2004},
  doi = {10.1016/S0047-259X(03)00096-4}
}""",
    "Mensink et al. 2013": """@article{mensink2013distance,
  author = {Mensink, Thomas and Verbeek, Jakob and Perronnin, Florent and Csurka, Gabriela},
  title = {Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {35}, number = {11}, pages = {2624--2637}, year = {2013}, doi = {10.1109/TPAMI.2013.83}
}""",
    "Ng & Jordan 2001": """@inproceedings{ng2001discriminative,
  author = {Ng, Andrew Y. and Jordan, Michael I.},
  title = {On Discriminative vs. Generative Classifiers: A Comparison of Logistic Regression and Naive {Bayes}},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2001}
}""",
    "Caron et al. 2021": """@inproceedings{caron2021emerging,
  author = {Caron, Mathilde and Touvron, Hugo and Misra, Ishan and J{\\'e}gou, Herv{\\'e} and Mairal, Julien and
            Bojanowski, Piotr and Joulin, Armand},
  title = {Emerging Properties in Self-Supervised Vision Transformers},
  booktitle = {International Conference on Computer Vision}, year = {2021},
  eprint = {2104.14294}, archivePrefix = {arXiv}
}""",
    "Xu et al. 2020": """@inproceedings{xu2020theory,
  author = {Xu, Yilun and Zhao, Shengjia and Song, Jiaming and Stewart, Russell and Ermon, Stefano},
  title = {A Theory of Usable Information under Computational Constraints},
  booktitle = {International Conference on Learning Representations}, year = {2020},
  eprint = {2002.10689}, archivePrefix = {arXiv}
}""",
    "Voita & Titov 2020": """@inproceedings{voita2020information,
  author = {Voita, Elena and Titov, Ivan},
  title = {Information-Theoretic Probing with Minimum Description Length},
  booktitle = {Empirical Methods in Natural Language Processing}, year = {2020},
  eprint = {2003.12298}, archivePrefix = {arXiv}
}""",
    "Hewitt & Liang 2019": """@inproceedings{hewitt2019designing,
  author = {Hewitt, John and Liang, Percy},
  title = {Designing and Interpreting Probes with Control Tasks},
  booktitle = {Empirical Methods in Natural Language Processing}, year = {2019},
  eprint = {1909.03368}, archivePrefix = {arXiv}
}""",
    "Tsamardinos et al. 2018": """@article{tsamardinos2018bootstrapping,
  author = {Tsamardinos, Ioannis and Greasidou, Elissavet and Borboudakis, Giorgos},
  title = {Bootstrapping the Out-of-Sample Predictions for Efficient and Accurate Cross-Validation},
  journal = {Machine Learning}, volume = {107}, pages = {1895--1922}, year = {2018},
  doi = {10.1007/s10994-018-5714-4}
}""",
    "McNemar 1947": """@article{mcnemar1947note,
  author = {McNemar, Quinn},
  title = {Note on the Sampling Error of the Difference between Correlated Proportions or Percentages},
  journal = {Psychometrika}, volume = {12}, number = {2}, pages = {153--157}, year = {1947},
  doi = {10.1007/BF02295996}
}""",
    "Holm 1979": """@article{holm1979simple,
  author = {Holm, Sture},
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2}, pages = {65--70}, year = {1979}
}""",
    "Saxe et al. 2011": """@inproceedings{saxe2011random,
  author = {Saxe, Andrew M. and Koh, Pang Wei and Chen, Zhenghao and Bhand, Maneesh and Suresh, Bipin and
            Ng, Andrew Y.},
  title = {On Random Weights and Unsupervised Feature Learning},
  booktitle = {International Conference on Machine Learning}, year = {2011}
}""",
}

FAMILY = Family(
    "probes",
    ANALYZERS,
    across=ACROSS_LAYERS,
    findings=FINDINGS,
    sources=SOURCES,
)
