"""The engines: what is computed once of a layer and read by every quantity that needs it."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
