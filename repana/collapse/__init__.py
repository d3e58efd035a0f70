"""Neural collapse: how far the classes have fallen onto their means, and the means onto a simplex."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
