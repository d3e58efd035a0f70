"""Watching a training: monitors for plain loops, Lightning and Hugging Face's Trainer."""

import lazy_loader as _lazy

EXPORTS = {
    "_checkpoint_trajectory": ["trajectory"],
    "_lightning_monitor": ["LightningMonitor"],
    "_load": ["load_features", "load_training"],
    "_monitor": ["Monitor"],
    "_trainer_monitor": ["TrainerMonitor"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
