"""Training dynamics: when to stop, what goes on past zero training error, and what sessions of a continual training
cost."""

import lazy_loader as _lazy

EXPORTS = {
    "_sessions": ["HeadSessions", "MeanDrift", "Sessions", "sessions"],
    "_stopping": ["StoppingPoint", "StoppingRule", "stopping_point"],
    "_trends": ["log_slope"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=EXPORTS)
