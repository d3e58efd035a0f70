"""`reads`: a quantity is written on its summaries and can be called on arrays."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from repana import _check
from repana._ambient import settled
from repana._typing import IGNORED
from repana.summaries.covariance import Covariance
from repana.summaries.discriminant import Discriminant
from repana.summaries.moments import Moments
from repana.summaries.neighbour_graph import Cloud
from repana.summaries.pairwise_distances import Pairs
from repana.summaries.subsample import Sketch

R = TypeVar("R")
COUNTS = (
    "groups",
    "null",
    "k",
    "k1",
    "k2",
    "k_max",
    "n1",
    "n2",
    "most",
    "memory",
    "seed",
    "steps",
    "subsamples",
    "smallest",
    "largest",
)
OPTIONS: dict[type, tuple[str, ...]] = {
    Moments: ("scatter",),
    Discriminant: ("groups", "shrinkage", "null", "seed"),
    Covariance: ("seed",),
    Pairs: ("k", "most", "seed"),
    Sketch: ("most", "seed"),
    Cloud: ("duplicates", "most", "seed", "memory"),
}


def checked(options: dict[str, Any]) -> dict[str, Any]:
    """Options that many quantities share: the level lies between 0 and 1, counts are whole numbers."""
    if "level" in options:
        _check.level_of(options["level"])
    return {k: _check.whole(v, k) if k in COUNTS and v is not None else v for k, v in options.items()}


def reads(*summaries: type, labels: bool = True) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The function takes these summaries first; called with `(features, labels)`, it builds them.

    With `labels=False` it is called with features alone, of which one summary is built.

    Samples labelled -100 are left out; `nan_policy="omit"` leaves out those with NaN or infinite features too.
    Keywords that a summary understands (`groups`, `shrinkage`, `seed`) go to the summary.
    """

    def without_labels(function: Callable[..., R]) -> Callable[..., R]:
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}

        @wraps(function)
        @settled()
        def quantity(features: Any, **options: Any) -> R:
            options = checked(options)
            if isinstance(features, summaries[0]):
                return function(features, **options)
            sound = _check.finite_rows(features, options.pop("nan_policy", "raise"))
            x = _check.features_of(features, finite=sound is None)
            wanted = {k: options[k] for k in OPTIONS[summaries[0]] if k in options}
            options = {k: v for k, v in options.items() if k in defaults or k not in wanted}
            if summaries[0] is Cloud:
                wanted["k"] = Cloud.needed(defaults | options)
            built = summaries[0].of(x if sound is None else x[sound], **wanted)  # type: ignore[attr-defined]
            return function(built, **options)

        quantity.summaries = summaries  # type: ignore[attr-defined]
        return quantity

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        own = set(inspect.signature(function).parameters)

        @wraps(function)
        @settled()
        def quantity(features: Any, labels: Any = None, *more: Any, **options: Any) -> R:
            options = checked(options)
            if isinstance(features, summaries[0]):
                given = (features, *((labels,) if labels is not None else ()), *more)
                return function(*given, **options)
            sound = _check.finite_rows(features, options.pop("nan_policy", "raise"))
            x = _check.features_of(features, finite=sound is None)
            codes, names = _check.labels_of(labels, len(x))
            if sound is not None:
                x, codes = x[sound], codes[sound.cpu()]
            keep = codes != IGNORED
            if not bool(keep.all()):
                rows = keep.nonzero()[:, 0]
                x, codes = x[rows.to(x.device)], codes[rows]
            _check.two_classes(codes, names, function.__name__)
            built = []
            for summary in summaries:
                wanted = {k: options[k] for k in OPTIONS[summary] if k in options}
                built.append(summary.of(x, codes, **wanted))  # type: ignore[attr-defined]
            known = {k for summary in summaries for k in OPTIONS[summary]}
            return function(*built, **{k: v for k, v in options.items() if k in own or k not in known})

        quantity.summaries = summaries  # type: ignore[attr-defined]
        return quantity

    return decorate if labels else without_labels
