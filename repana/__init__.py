"""Representation analysis for trained networks: what every layer knows, and in what shape.

    report = repana.profile(model, loader)

Importing this package loads nothing else; every name below is loaded when it is first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
