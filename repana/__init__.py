"""Representation analysis for trained networks: how representations change from layer to layer.

    report = repana.profile(model, loader)

The verbs, the data types and the best-known measures are here; each family has its own package with all of its
functions: `collapse`, `separation`, `dimension`, `topology`, `spectra`, `probes`, `features`, `comparison`, `dynamics`,
`ranking`, `heads`, `kernels`. Importing this package loads nothing else; every name is loaded when it is first used.
"""

from importlib import import_module as _import
from typing import Any as _Any

import lazy_loader as _lazy

_attached, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
_PACKAGES = (
    "collapse",
    "separation",
    "dimension",
    "topology",
    "spectra",
    "probes",
    "features",
    "summaries",
    "analyzers",
)
_RENAMED = {"Cloud": "NeighbourGraph", "naive_bayes": "gaussian_naive_bayes"}


def __getattr__(name: str) -> _Any:
    """A name of the stub; or one that version 0.1 had here and that now is in a package of its own."""
    try:
        return _attached(name)
    except AttributeError:
        if name.startswith("_"):
            raise
        for package in _PACKAGES:
            module = _import(f"{__name__}.{package}")
            if _RENAMED.get(name, name) in getattr(module, "__all__", ()):
                return getattr(module, _RENAMED.get(name, name))
        raise
