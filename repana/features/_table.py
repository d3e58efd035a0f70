"""The table of the features family: what it measures, in which unit, which way is better, by whose formula."""

from typing import Any

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Across, Family

_across_layers = deferred("repana.features._across_layers")
_dictionaries = deferred("repana.features._dictionaries")
_findings = deferred("repana.features._findings")
_dictionary_findings = deferred("repana.features._dictionary_findings")
complexity = deferred("repana.features._complexity").complexity
layer_readings = deferred("repana.features._complexity").layer_readings
complexity_vs_importance = deferred("repana.features._complexity_importance").complexity_vs_importance
dictionary_quality = deferred("repana.features._dictionary_quality").dictionary_quality
splice = deferred("repana.features._splice").splice

# Targets are units, so that other axes of the layer are other features; folds are drawn by place.
_FOLDS: dict[str, Any] = {"invariant": ("scale", "translation"), "drawn": True, "counts": True}
_WORDS: dict[str, Any] = {"invariant": (), "counts": True}  # of a dictionary, which has axes and a scale of its own
_PLANE: dict[str, Any] = _FOLDS | {"invariant": ("scale",)}  # of contributions to logits, which depend on the origin


def _cost(size: Size) -> Cost:
    """Of a layer: its moments by fold, and a ridge regression from it on every unit that the classifier reads."""
    n, d = size.n, min(size.d, 4_096)  # wider layers are projected
    return Cost(
        flop=40.0 * n * d**2 + 60.0 * min(n, d) * d**2,
        bytes=110 * 8.0 * n * d,
        calls=4000,
        peak=8 * (12.5 * n * d + 10 * d**2) + min(240.0 * d**2, 8e7) + 3e6,
    )


ACROSS_LAYERS = (
    Across(
        complexity,
        _across_layers.complexity,
        needs=(),
        cost=_cost,
        quantities=(
            Quantity(
                "mean_complexity",
                "mean over features of 1 - mean_l R^2_l",
                title="Complexity of features",
                source="Fel et al. 2024",
                **_FOLDS,
            ),
            Quantity(
                "mean_hidden",
                "mean over features of 1 - mean_l R^2_l without the input",
                title="Complexity, hidden layers",
                source="Fel et al. 2024",
                **_FOLDS,
            ),
            Quantity(
                "mean_onset",
                "first layer with R^2 >= threshold",
                unit="layers",
                title="Onset of features",
                source="Fel et al. 2024",
                **_FOLDS,
            ),
            Quantity(
                "never",
                "share of features without onset",
                "lower",
                "share",
                "Never decodable",
                "by definition",
                **_FOLDS,
            ),
            Quantity(
                "noise_floor",
                "R^2 of features drawn at random",
                "lower",
                title="Noise floor of R²",
                source="by definition",
                **_FOLDS,
            ),
        ),
    ),
    Across(
        layer_readings,
        _across_layers.layer_readings,
        of_layer=deferred("repana.features._complexity").LayerReading,
        needs=("complexity",),
        quantities=(
            Quantity(
                "readable",
                "mean over penultimate features of their held-out R^2",
                unit="share",
                title="Decodability (R²)",
                source="Fel et al. 2024; Xu et al. 2020",
                **_FOLDS,
            ),
            Quantity(
                "decoded",
                "share of features with R^2 >= threshold",
                unit="share",
                title="Decodable features",
                source="Fel et al. 2024",
                **_FOLDS,
            ),
        ),
    ),
    Across(
        complexity_vs_importance,
        _across_layers.complexity_vs_importance,
        needs=("complexity",),
        quantities=(
            Quantity(
                "rank_correlation",
                "Spearman's rho of K and importance",
                title="Complexity and importance (\u03c1)",
                source="Fel et al. 2024; Spearman 1904",
                **_PLANE,
            ),
            Quantity(
                "p_value",
                "p of rho by permutation",
                title="p of rho",
                source="by definition",
                **_PLANE,
            ),
            Quantity(
                "top_complexity",
                "mean K of the tenth of features with most importance - mean K",
                title="Complexity of important features",
                source="Fel et al. 2024",
                **_PLANE,
            ),
            Quantity(
                "support",
                "share of importance in features with K above the median",
                unit="share",
                title="Importance of complex features",
                source="Fel et al. 2024",
                **_PLANE,
            ),
        ),
    ),
    Across(
        dictionary_quality,
        _dictionaries.dictionary_quality,
        of_layer=deferred("repana.features._dictionary_quality").DictionaryQuality,
        default=False,
        quantities=(
            Quantity("l0", "mean number of codes that are not 0", unit="features", title="Active features (L0)",
                     source="by definition", **_WORDS),
            Quantity("explained", "1 - sum |x - x^|^2/sum |x - m|^2", "higher", "share", "Explained by the dictionary",
                     "by definition", headline=True, **_WORDS),
            Quantity("explained_centred", "1 - sum_j Var(r_j)/sum_j Var(x_j)", "higher", "share",
                     "Explained, offset aside", "by definition", **_WORDS),
            Quantity("pca", "share of variance in as many principal components", "", "share", "Ceiling of PCA",
                     "by definition", **_WORDS),
            Quantity("units", "share held by as many largest units of each row", "", "share", "Largest units alone",
                     "by definition", **_WORDS),
            Quantity("bias_gamma", "E|x^|^2/E<x, x^>", title="Shrinkage (gamma)",
                     source="Rajamanoharan et al. 2024", **_WORDS),
            Quantity("cosine", "mean cos(x, x^)", "higher", title="Cosine of rows and reconstructions",
                     source="by definition", **_WORDS),
            Quantity("norm_ratio", "mean |x^|/|x|", title="Length of reconstructions",
                     source="by definition", **_WORDS),
            Quantity("dead", "share of features that are 0 in every row", "lower", "share", "Dead features",
                     "by definition", **_WORDS),
            Quantity("dense", "share of features active in more than a tenth of rows", "lower", "share",
                     "Dense features", "by definition", **_WORDS),
            Quantity("twins", "share of features with another at a cosine above .9", "lower", "share",
                     "Twin features", "by definition", **_WORDS),
            Quantity("coherence", "largest absolute cosine of two features", "lower", title="Coherence",
                     source="Donoho & Elad 2003", **_WORDS),
            Quantity("welch", "sqrt((t - d)/(d (t - 1)))", title="Least coherence", source="Welch 1974", **_WORDS),
            Quantity("unique_below", "(1 + 1/mu)/2", unit="features", title="Codes are unique below",
                     source="Donoho & Elad 2003", **_WORDS),
        ),
    ),
    Across(
        splice,
        _dictionaries.splice,
        of_layer=deferred("repana.features._splice").Splice,
        default=False,
        quantities=(
            Quantity("recovered", "(L_mean - L_spliced)/(L_mean - L_clean)", "higher", "share", "Loss recovered",
                     "Karvonen et al. 2025", headline=True, **_WORDS),
            Quantity("recovered_zero", "(L_zero - L_spliced)/(L_zero - L_clean)", "higher", "share",
                     "Loss recovered, against zero", "Karvonen et al. 2025", **_WORDS),
            Quantity("kl", "mean KL(clean || spliced)", "lower", "nats", "KL of spliced answers", "by definition",
                     **_WORDS),
            Quantity("kl_score", "1 - KL(clean || spliced)/KL(clean || mean)", "higher", "share", "KL recovered",
                     "by definition", **_WORDS),
            Quantity("agreement", "share of answers with the clean one's largest logit", "higher", "share",
                     "Answers kept", "by definition", **_WORDS),
            Quantity("clean", "loss of the network", "lower", "nats", "Loss, clean", "by definition", **_WORDS),
            Quantity("spliced", "loss with x^ in place of x", "lower", "nats", "Loss, spliced", "by definition",
                     **_WORDS),
            Quantity("mean", "loss with the layer at its mean row", "", "nats", "Loss, layer at its mean",
                     "by definition", **_WORDS),
            Quantity("zero", "loss with the layer at zero", "", "nats", "Loss, layer at zero", "by definition",
                     **_WORDS),
        ),
    ),
)  # fmt: skip

FINDINGS = {
    "RF601": Rule("Where units become decodable", _findings.early, RESULT, 28, "layer_readings.decoded"),
    "RF602": Rule(
        "Complexity and importance", _findings.relation, RESULT, 26, "complexity_vs_importance.rank_correlation"
    ),
    "RF603": Rule("Dead and repeated features", _findings.duplicates, RESULT, 15, "complexity.mean_complexity"),
    "RF605": Rule(
        "Dictionary against the units themselves",
        _dictionary_findings.ceiling,
        CHECK,
        40,
        "dictionary_quality.explained",
        reads=("dictionary_quality",),
    ),
    "RF606": Rule("Dead dictionary features", _dictionary_findings.dead, CHECK, 30, reads=("dictionary_quality",)),
    "RF607": Rule("Shrunk reconstructions", _dictionary_findings.shrunk, CHECK, 25, reads=("dictionary_quality",)),
    "RF608": Rule("Loss recovered by a dictionary", _dictionary_findings.recovered, RESULT, 38, reads=("splice",)),
    "RF609": Rule("Layer of the dictionary", _dictionary_findings.hook, CHECK, 50, reads=("dictionary_quality",)),
    "RF604": Rule("Samples for feature complexity", _findings.rows, CHECK, 35, "complexity.mean_complexity"),
}

SOURCES = {
    "Karvonen et al. 2025": """@inproceedings{karvonen2025saebench,
  author = {Karvonen, Adam and Rager, Can and Lin, Johnny and others},
  title = {{SAEBench}: A Comprehensive Benchmark for Sparse Autoencoders in Language Model Interpretability},
  booktitle = {International Conference on Machine Learning}, year = {2025},
  eprint = {2503.09532}, archivePrefix = {arXiv}
}""",
    "Rajamanoharan et al. 2024": """@inproceedings{rajamanoharan2024improving,
  author = {Rajamanoharan, Senthooran and Conmy, Arthur and Smith, Lewis and others},
  title = {Improving Sparse Decomposition of Language Model Activations with Gated Sparse Autoencoders},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2024},
  eprint = {2404.16014}, archivePrefix = {arXiv}
}""",
    "Donoho & Elad 2003": """@article{donoho2003optimally,
  author = {Donoho, David L. and Elad, Michael},
  title = {Optimally Sparse Representation in General (Nonorthogonal) Dictionaries via {l1} Minimization},
  journal = {Proceedings of the National Academy of Sciences}, volume = {100}, number = {5}, year = {2003},
  pages = {2197--2202}, doi = {10.1073/pnas.0437847100}
}""",
    "Welch 1974": """@article{welch1974lower,
  author = {Welch, Lloyd R.},
  title = {Lower Bounds on the Maximum Cross Correlation of Signals},
  journal = {IEEE Transactions on Information Theory}, volume = {20}, number = {3}, year = {1974}, pages = {397--399},
  doi = {10.1109/TIT.1974.1055219}
}""",
    "Xu et al. 2020": """@inproceedings{xu2020theory,
  author = {Xu, Yilun and Zhao, Shengjia and Song, Jiaming and Stewart, Russell and Ermon, Stefano},
  title = {A Theory of Usable Information under Computational Constraints},
  booktitle = {International Conference on Learning Representations}, year = {2020},
  eprint = {2002.10689}, archivePrefix = {arXiv}
}""",
    "Fel et al. 2024": """@inproceedings{fel2024understanding,
  author = {Fel, Thomas and B{\\'e}thune, Louis and Lampinen, Andrew Kyle and Serre, Thomas and Hermann, Katherine},
  title = {Understanding Visual Feature Reliance through the Lens of Complexity},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2024},
  eprint = {2407.06076}, archivePrefix = {arXiv}
}""",
    "Spearman 1904": """@article{spearman1904proof,
  author = {Spearman, Charles},
  title = {The Proof and Measurement of Association between Two Things},
  journal = {The American Journal of Psychology}, volume = {15}, number = {1}, pages = {72--101}, year = {1904},
  doi = {10.2307/1412159}
}""",
}

FAMILY = Family(
    "features",
    (),
    across=ACROSS_LAYERS,
    findings=FINDINGS,
    sources=SOURCES,
)
