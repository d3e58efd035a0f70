"""Features and their complexity: what a layer encodes, how early it can be read, and what it contributes."""

import lazy_loader as _lazy

EXPORTS = {
    "_absorption": ["Absorption", "absorption"],
    "_complexity": ["Complexity", "LayerReading", "LayerReadings", "complexity", "layer_readings"],
    "_complexity_importance": ["ComplexityImportance", "complexity_vs_importance"],
    "_conductance": ["Conductance", "conductance"],
    "_dictionary": ["Dictionary", "dictionary"],
    "_dictionary_quality": ["DictionaryQuality", "dictionary_quality"],
    "_flow": ["Flow", "flow"],
    "_head_importance": ["head_importance"],
    "_importance": ["Importance", "importance"],
    "_latent_classes": ["LatentClasses", "latent_classes"],
    "_load_sae": ["load_sae"],
    "_match_dictionaries": ["DictionaryMatch", "match_dictionaries"],
    "_merging": ["FeatureMerging", "feature_merging"],
    "_read_features": ["FeatureReading", "read_features"],
    "_redundancy": ["Redundancy", "redundancy"],
    "_sedimentation": ["Sedimentation", "sedimentation", "time_to_decode"],
    "_sensitivity": ["Sensitivity", "sensitivity"],
    "_sparse_autoencoder": ["SparseAutoencoder", "sparse_autoencoder"],
    "_sparse_probe": ["SparseProbe", "sparse_probe"],
    "_splice": ["Splice", "splice"],
    "_superposition": ["Superposition", "hoyer", "superposition"],
    "_variance_explained": ["VarianceExplained", "variance_explained"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
