"""Kernels of networks: how outputs move with parameters, layer by layer."""

import lazy_loader as _lazy

EXPORTS = {
    "_inductive_bias": ["InductiveBias", "inductive_bias"],
    "_layer_kernels": ["KernelMotion", "LayerKernels"],
    "_measures": ["Kernel"],
    "_ntk": ["ntk"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
