"""Neural collapse: how far the classes have fallen onto their means, and the means onto a simplex."""

import lazy_loader as _lazy

EXPORTS = {
    "_neural_collapse": ["NeuralCollapse", "neural_collapse"],
    "_separation_law": ["SeparationLaw", "separation_law"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
