"""Features and their complexity: what a layer encodes, how early it can be read, and what it contributes."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
