"""Retrieval, pairs and zero-shot classification in every layer, under every pooling, whitened or not."""

import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from repana import _check
from repana._estimate import Estimate, Flag, span
from repana._numbers import number
from repana.ranking import _refusals
from repana.ranking._estimates import FEWEST, Estimates
from repana.ranking._whitening import Whitening, whitening
from repana.statistics.resampling import with_percentiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class System(NamedTuple):
    """Where the vectors of a ranking came from."""

    layer: str
    pooling: str = ""
    whitened: bool = False

    def __str__(self) -> str:
        text = f"{self.pooling}: {self.layer}" if self.pooling else self.layer
        return f"{text}, whitened" if self.whitened else text


@dataclass(frozen=True, repr=False)
class ByLayer(Mapping[System, Any]):
    """Results of one function by layer, pooling and whitening, in forward order; see `by_layer`.

    `found["layer"]` is the result of a layer where it has one alone, else `found["layer", "pooling", whitened]`.
    """

    results: Mapping[System, Any]
    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: Any) -> Any:
        return self.results[self._system(key)]

    def __iter__(self) -> Iterator[System]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __contains__(self, key: object) -> bool:
        return key in self.results

    def _system(self, key: Any) -> System:
        parts = (key,) if isinstance(key, str) else tuple(key)
        fitting = [s for s in self.results if tuple(s)[: len(parts)] == parts]
        if len(fitting) != 1:
            names = [tuple(s) for s in fitting or self.results]
            raise _check.not_recorded(str(key), [str(name) for name in names])
        return fitting[0]

    @property
    def quantities(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in self.results.values() for name in one.estimates()))

    def frame(self) -> "pd.DataFrame":
        """A line for each layer, pooling and quantity: value, low, high, null, p, n, note."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "p", "n", "note")
        rows = [
            (*system, name, *(getattr(e, column) for column in columns))
            for system, one in self.results.items()
            for name, e in one.estimates().items()
            if Flag.NOT_APPLICABLE not in e.flags
        ]
        return pd.DataFrame(rows, columns=[*System._fields, "quantity", *columns])

    def difference(self, first: Any, second: Any, quantity: str, *, level: float = 0.95) -> Estimate:
        """The second less the first, with the interval of both on the same bootstrap samples.

        Raises InputError (RA296) for an unknown quantity, or results of different queries.
        """
        return paired_difference(self[first], self[second], quantity, level=level)

    def best(self, quantity: str) -> System:
        """The system with the largest value, which is optimistic as the best of many."""
        if quantity not in self.quantities:
            raise _refusals.unknown_quantity(quantity, self.quantities)
        values = {s: one.estimates()[quantity].value for s, one in self.results.items()}
        return max(values, key=lambda s: -np.inf if np.isnan(values[s]) else values[s])

    def plot(self, *quantities: str, **options: Any) -> "Figure":
        """Quantities over depth; see `repana.plots.ranking_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.ranking_depth(self, *quantities, **options))

    def headlines(self) -> tuple[str, ...]:
        """The quantities that are shown where none are named."""
        known = [q for q in HEADLINES if q in self.quantities]
        finite = [q for q in known if any(np.isfinite(r.estimates()[q].value) for r in self.results.values())]
        return tuple(finite[:3]) or self.quantities[:3]

    def __repr__(self) -> str:
        shown = self.headlines()
        lines = [f"ByLayer({self.function} of {len(self.results)})"]
        wide = max(len(str(s)) for s in self.results)
        lines.append(f"  {'':<{wide}}  " + "  ".join(f"{q:<22}" for q in shown).rstrip())
        for system, one in self.results.items():
            cells = [one.estimates()[q] for q in shown]
            text = "  ".join(f"{number(e.value)} {span(e.low, e.high)}".ljust(22) for e in cells)
            lines.append(f"  {system!s:<{wide}}  {text}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


HEADLINES = ("ndcg@10", "recall@10", "hit@1", "mrr", "spearman", "auc", "i2t@1", "t2i@1", "gap", "accuracy", "map")


def by_layer(
    function: Callable[..., Estimates],
    first: Mapping[str, Any],
    second: Any = None,
    *more: Any,
    whiten: Mapping[str, Any] | None = None,
    **options: Any,
) -> ByLayer:
    """A ranking in every layer: `by_layer(retrieval, queries, bank, relevant)` with `queries` and `bank` mappings from
    layers to features, such as Activations.

    - `function`: `retrieval`, `pair_scores`, `cross_modal` or `zero_shot`; `more` and `options` are passed on.
    - `first`, `second`: mappings from layers to features, or from a pooling ("mean", "cls", "last") to such mappings.
      `second` may also be one array for all layers, or None for `retrieval` of the queries among themselves.
    - `whiten`: features of other rows in the same layers, on which a whitening of each layer is fitted, or a
      `Whitening` for each (with fewer components, or centring alone). Every layer is then measured twice, as it is and
      whitened.

    All systems are measured on the same rows with the same seed, so that `difference` is paired.

    Raises InputError (RA296) for arrays in the place of mappings, or layers that differ; and what the function raises.

    >>> import torch
    >>> from repana.ranking import by_layer, retrieval
    >>> x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    >>> found = by_layer(retrieval, {"a": x, "b": x + 1}, {"a": x, "b": x}, (range(20), range(20)), k=1)
    >>> [str(system) for system in found]
    ['a', 'b']
    """
    results: dict[System, Any] = {}
    for pooling, layers in _poolings(first).items():
        others = _other(second, pooling)
        fitted = _other(whiten, pooling)
        for layer in layers:
            x = layers[layer]
            y = _layer_of(others, layer)
            results[System(layer, pooling)] = function(x, y, *more, **options)
            if whiten is None:
                continue
            if not isinstance(fitted, Mapping) or layer not in fitted:
                raise _refusals.whitening_layer(layer)
            map_ = fitted[layer] if isinstance(fitted[layer], Whitening) else whitening(fitted[layer])
            both = [map_(side) if side is not None else None for side in (x, y)]
            results[System(layer, pooling, True)] = function(*both, *more, **options)
    return ByLayer(results, getattr(function, "__name__", str(function)), {**options, "whiten": whiten is not None})


def paired_difference(first: Estimates, second: Estimates, quantity: str, *, level: float = 0.95) -> Estimate:
    """The second less the first on the same bootstrap samples."""
    names = [name for name in first.estimates() if name in second.estimates()]
    if quantity not in names:
        raise _refusals.unknown_quantity(quantity, names)
    a, b = first.estimates()[quantity], second.estimates()[quantity]
    if a.n != b.n:
        raise _refusals.unlike_results(str(a.n), str(b.n))
    value = b.value - a.value
    drawn = [one.replicates.get(quantity) for one in (first, second)]
    if a.n < FEWEST or any(d is None or not len(d) for d in drawn) or len(drawn[0]) != len(drawn[1]):  # type: ignore[arg-type]
        return Estimate(value, n=a.n, null=0.0, note=Flag.NO_INTERVAL.note("no paired bootstrap samples"))
    moved = (drawn[1] - drawn[0]).numpy()  # type: ignore[operator]
    found = with_percentiles(value, moved[np.isfinite(moved)], a.n, level)
    return Estimate(value, found.low, found.high, a.n, null=0.0)


def _poolings(first: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(first, Mapping) or not len(first):
        raise _refusals.not_layers(type(first).__name__)
    if all(isinstance(first[key], Mapping) for key in first):
        return dict(first)
    return {"": first}


def _other(second: Any, pooling: str) -> Any:
    """The mapping of the same pooling, where there are several."""
    if pooling and isinstance(second, Mapping) and all(isinstance(second[key], Mapping) for key in second):
        if pooling not in second:
            raise _refusals.keys_differ(pooling)
        return second[pooling]
    return second


def _layer_of(others: Any, layer: str) -> Any:
    if not isinstance(others, Mapping):
        return others
    if layer not in others:
        raise _refusals.keys_differ(layer)
    return others[layer]
