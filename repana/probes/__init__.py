"""Probes: what can be decoded from a layer by a simple model, with its controls."""

import lazy_loader as _lazy

EXPORTS = {
    "_concept_use": ["ConceptUse", "concept_use"],
    "_controls": ["ProbeBaselines", "Selectivity", "probe_baselines", "selectivity"],
    "_erasure": ["Erasure", "erase"],
    "_exits": ["Exits", "exits"],
    "_information": ["MDL", "Pareto", "UsableInformation", "mdl", "pareto", "usable_information"],
    "_label_complexity": ["LabelComplexity", "label_complexity"],
    "_layer_combination": ["LayerCombination", "layer_combination", "moment_probe"],
    "_layer_selection": [
        "LayerChoice",
        "CorrectedDifference",
        "LayerDifference",
        "LayerDifferences",
        "PairedProbes",
        "best_layer",
        "compare_probes",
        "corrected_difference",
        "layer_differences",
    ],
    "_ood": ["OODProbe", "ood_probe"],
    "_probes": ["knn_probe", "lda_probe", "linear_probe", "gaussian_naive_bayes", "nearest_mean", "ridge_probe"],
    "_protocol": ["Probe"],
    "_relation": ["Relation", "relation"],
    "_sample_efficiency": ["SampleEfficiency", "sample_efficiency"],
    "_suite": ["Probing", "probing"],
    "_targets": ["MultilabelProbe", "RegressionProbe", "multilabel_probe", "regression_probe"],
    "_weight_probe": ["TensorProbe", "WeightProbe", "weight_probe"],
    "_transferability": ["Transferability", "transferability"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
