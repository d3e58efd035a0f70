"""Comparison: what changed between two networks, two checkpoints, two layers."""

import lazy_loader as _lazy

EXPORTS = {
    "_barrier": ["Barrier", "barrier"],
    "_cca": ["CCA", "cca"],
    "_cka": ["cka", "distance_correlation"],
    "_drift": ["Drift", "LayerDrift", "drift"],
    "_gulp": ["gulp"],
    "_layer_matrix": ["LayerMatrix"],
    "_measures": ["COMPARISONS", "Measure"],
    "_neighbourhoods": ["Neighbourhoods", "neighbourhoods"],
    "_network_sets": [
        "GroupSeparation",
        "LayerMonotonicity",
        "group_separation",
        "identification",
        "layer_monotonicity",
        "output_correlation",
    ],
    "_output_agreement": ["OutputAgreement", "output_agreement"],
    "_predictivity": ["Predictivity", "predictivity"],
    "_procrustes": ["Procrustes", "procrustes", "shape_distance"],
    "_robustness": ["HeadGeometry", "Robustness", "head_geometry", "robustness"],
    "_rsa": ["rdm_distortion", "rsa"],
    "_similarity": ["Similarity", "similarity"],
    "_stitching": ["Stitching", "stitching"],
    "_unit_matching": ["UnitGroups", "UnitMatching", "unit_groups", "unit_matching"],
    "_unlearning": ["LayerUnlearning", "Unlearning", "unlearning"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
