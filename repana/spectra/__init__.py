"""Spectra of covariance: how the variance of a layer is spread over directions."""

import lazy_loader as _lazy

EXPORTS = {
    "_coding_rate": ["CodingRate", "coding_rate"],
    "_spectrum": ["Spectrum", "spectrum"],
    "_w_pca": ["WeightedPCA", "w_pca"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
