"""Separation of classes: scatter ratios, distances between samples, divergences between classes."""

import lazy_loader as _lazy

EXPORTS = {
    "_class_divergences": ["ClassDivergences", "class_divergences"],
    "_fisher": ["Fisher", "fisher"],
    "_separability": ["DataComplexity", "Separability", "data_complexity", "separability"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
