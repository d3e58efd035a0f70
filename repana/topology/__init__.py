"""Topology: connected components, loops and voids of the samples of a layer."""

import lazy_loader as _lazy

EXPORTS = {
    "_density": ["DensityPersistence", "density_persistence"],
    "_persistence": ["H0Separability", "Persistence", "diagram_distance", "h0_separability", "persistence", "rtd"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
