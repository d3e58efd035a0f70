"""The table of the features family: what it measures, in which unit, which way is better, by whose formula."""

from typing import Any

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Across, Family

_across_layers = deferred("repana.features._across_layers")
_findings = deferred("repana.features._findings")
complexity = deferred("repana.features._complexity").complexity
layer_readings = deferred("repana.features._complexity").layer_readings
complexity_vs_importance = deferred("repana.features._complexity_importance").complexity_vs_importance

# Targets are units, so that other axes of the layer are other features; folds are drawn by place.
_FOLDS: dict[str, Any] = {"invariant": ("scale", "translation"), "drawn": True, "counts": True}
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
)

FINDINGS = {
    "RF601": Rule("Where units become decodable", _findings.early, RESULT, 28, "layer_readings.decoded"),
    "RF602": Rule(
        "Complexity and importance", _findings.relation, RESULT, 26, "complexity_vs_importance.rank_correlation"
    ),
    "RF603": Rule("Dead and repeated features", _findings.duplicates, RESULT, 15, "complexity.mean_complexity"),
    "RF604": Rule("Samples for feature complexity", _findings.rows, CHECK, 35, "complexity.mean_complexity"),
}

SOURCES = {
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
