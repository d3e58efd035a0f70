"""Inside transformers: what attention heads attend to and write, and how routers distribute tokens to experts."""

import lazy_loader as _lazy

EXPORTS = {
    "_attention": ["Attention", "attention"],
    "_routing": ["RouterUse", "Routing", "routing"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
