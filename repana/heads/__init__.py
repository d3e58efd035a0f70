"""Inside attention: what every head of a transformer attends to, and what it writes."""

import lazy_loader as _lazy

EXPORTS = {
    "_attention": ["Attention", "attention"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
