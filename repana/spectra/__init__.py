"""Spectra of covariance: how the variance of a layer is spread over directions."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
