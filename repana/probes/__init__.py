"""Probes: what can be decoded from a layer by a simple model, with its controls."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
