"""Intrinsic dimension: how many directions the samples of a layer vary in, at every scale."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
