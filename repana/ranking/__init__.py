"""Rankings by similarity: retrieval, scored pairs, images and texts, layer by layer."""

import lazy_loader as _lazy

EXPORTS = {
    "_by_layer": ["ByLayer", "by_layer"],
    "_cross_modal": ["CrossModal", "cross_modal"],
    "_pair_scores": ["PairScores", "pair_scores"],
    "_retrieval": ["Retrieval", "retrieval"],
    "_whitening": ["Whitening", "whitening"],
    "_zero_shot": ["ZeroShot", "zero_shot"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
