"""Intrinsic dimension: how many directions the samples of a layer vary in, at every scale."""

import lazy_loader as _lazy

EXPORTS = {
    "_angles": ["abid", "danco", "mind_ml", "tle"],
    "_binary": ["binary_dimension"],
    "_distance_ratios": ["gride", "mle", "two_nn"],
    "_estimators": ["DimensionEstimators", "dimension_estimators"],
    "_linear": ["fisher_s", "local_pca", "spectral_rank"],
    "_local": ["correlation_dimension", "ess", "local_dimension", "mada", "mom"],
    "_objective": ["ObjectiveDimension", "objective_dimension"],
    "_ph_dimension": ["PHDimensions", "ph_dimension", "ph_dimensions"],
    "_profile": ["DimensionProfile", "dimension_profile"],
    "_subspace": ["Subspace"],
    "_texts": ["TextDimension", "text_dimension"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
