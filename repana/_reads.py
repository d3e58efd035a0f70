"""`reads`: a quantity is written on its summaries and can be called on arrays."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from repana import _check
from repana._ambient import settled
from repana._measure import is_summary, reads_of
from repana._renamed import refuse_renamed
from repana._typing import IGNORED, FeatureArray, LabelArray
from repana.summaries._summary import Summary

R = TypeVar("R")
COUNTS = (
    "jackknife", "permutations", "bootstrap", "k", "k1", "k2", "k_max", "n1", "n2", "max_samples", "memory", "seed",
    "steps", "repeats", "smallest", "largest",
)  # fmt: skip
RENAMED = {"groups": "jackknife", "null": "permutations", "most": "max_samples", "subsamples": "repeats"}


def reads(function: Callable[..., R]) -> Callable[..., R]:
    """The function is written on summaries, its first parameters; called with `(features, labels)`, it builds them.

    Where no summary needs labels it is called with features alone. It can also be called with the summaries themselves.
    Samples labelled -100 are left out; `nan_policy="omit"` leaves out those with NaN or infinite features too. The
    keywords of its summaries (`seed`, `max_samples`, ...) are keywords of the function; its signature shows them.
    """
    own = inspect.signature(function).parameters
    summaries: dict[str, type[Summary]] = {name: kind for name, kind in reads_of(function).items() if is_summary(kind)}
    labelled = any(kind.labelled for kind in summaries.values())
    first = next(iter(summaries.values()))
    alone = {"searched": getattr(function, "searched", None)}
    defaults = {name: p.default for name, p in own.items() if p.default is not p.empty}
    shared = {name: p for kind in summaries.values() for name, p in kind.options().items() if name not in own}

    @wraps(function)
    @settled()
    def quantity(features: Any, labels: Any = None, *more: Any, **options: Any) -> R:
        refuse_renamed(function.__name__, options, RENAMED, {*own, *shared})
        options = checked(options)
        if isinstance(features, first):
            given = (features, *((labels,) if labels is not None else ()), *more)
            return function(*given, **options)
        if more or (labels is not None and not labelled):
            raise TypeError(f"{function.__name__}() takes {'features and labels' if labelled else 'features'} alone")
        rows = _check.finite_rows(features, options.pop("nan_policy", "raise"))
        x = _check.features_of(features, finite=rows is None)
        codes = None
        if labelled:
            codes, names = _check.labels_of(labels, len(x))
            if rows is not None:
                x, codes = x[rows], codes[rows.cpu()]
            keep = codes != IGNORED
            if not bool(keep.all()):
                at = keep.nonzero()[:, 0]
                x, codes = x[at.to(x.device)], codes[at]
            _check.two_classes(codes, names, function.__name__)
        elif rows is not None:
            x = x[rows]
        built = {
            name: kind.of(x, *(() if codes is None else (codes,)), **kind.asked(defaults | options | alone))
            for name, kind in summaries.items()
        }
        return function(**built, **{k: v for k, v in options.items() if k in own or k not in shared})

    quantity.on_summaries = function  # type: ignore[attr-defined]
    quantity.__signature__ = _signature(function, summaries, shared, labelled)  # type: ignore[attr-defined]
    return quantity


def searches(neighbours: int) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Below `reads`: of the nearest neighbours the function reads so many alone, so that no more are searched for it
    when it is called with arrays."""

    def marked(function: Callable[..., R]) -> Callable[..., R]:
        function.searched = neighbours  # type: ignore[attr-defined]
        return function

    return marked


def _signature(
    function: Callable[..., Any],
    summaries: dict[str, type[Summary]],
    shared: dict[str, inspect.Parameter],
    labelled: bool,
) -> inspect.Signature:
    """(features, labels, *, the function's own options, those of its summaries, nan_policy)."""
    of = inspect.signature(function)
    word, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    arrays = {"features": FeatureArray} | ({"labels": LabelArray} if labelled else {})
    first = [inspect.Parameter(name, word, annotation=annotation) for name, annotation in arrays.items()]
    own = [p.replace(kind=keyword) for name, p in of.parameters.items() if name not in summaries]
    policy = inspect.Parameter("nan_policy", keyword, default="raise", annotation=str)
    return of.replace(parameters=[*first, *own, *shared.values(), policy])


def checked(options: dict[str, Any]) -> dict[str, Any]:
    """Options that many quantities share: the level lies between 0 and 1, counts are whole numbers."""
    if "level" in options:
        _check.level_of(options["level"])
    return {k: _check.whole(v, k) if k in COUNTS and v is not None else v for k, v in options.items()}
