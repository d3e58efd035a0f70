"""All networks of the zoo."""

from zoo import _language, _others, _timm, _torchvision, _traps, _vision

ENTRIES = [
    *_traps.ENTRIES,
    *_torchvision.ENTRIES,
    *_timm.ENTRIES,
    *_language.ENTRIES,
    *_vision.ENTRIES,
    *_others.ENTRIES,
]
