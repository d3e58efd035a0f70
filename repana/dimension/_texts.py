"""The intrinsic dimension of single texts, from the tokens of each under every recorded layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._estimate import NAN, Estimate, Flag
from repana._measure import parameters_of
from repana._reads import checked
from repana._typing import Array
from repana.dimension import _refusals
from repana.dimension._calibration import with_lower_bound_note
from repana.dimension._distance_ratios import mle, two_nn
from repana.dimension._ph_dimension import FEWEST, Forest, forest, from_slopes, grown, ph_dimension
from repana.summaries.neighbour_graph import NeighbourGraph, distinct

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("ph", "mle", "two_nn")
AVERAGES = ("geometric", "mean", "median")
TOGETHER = 2**22  # elements of the working buffers of trees that grow at a time


@dataclass(frozen=True)
class TextDimension:
    """The dimension of every text at every layer; see `text_dimension`.

    `estimates[layer][i]` is of the text `texts[i]`, its number among the samples (or its name), of `tokens[i]` tokens;
    `labels[i]` is its class where the data have labels.
    """

    estimates: Mapping[str, tuple[Estimate, ...]]
    texts: tuple[int | str, ...]
    tokens: tuple[int, ...]
    labels: tuple[int, ...] | None
    settings: Mapping[str, Any]

    def frame(self) -> "pd.DataFrame":
        """One row a text and layer: text, label, tokens, layer, value, low, high, note."""
        import pandas as pd

        rows = [
            {
                "text": text,
                "label": None if self.labels is None else self.labels[i],
                "tokens": self.tokens[i],
                "layer": layer,
                "value": e.value,
                "low": e.low,
                "high": e.high,
                "note": e.note,
            }
            for layer, found in self.estimates.items()
            for i, (text, e) in enumerate(zip(self.texts, found))
        ]
        return pd.DataFrame(rows)

    def means(self, groups: Sequence[Any] | None = None, *, average: str = "geometric") -> "pd.DataFrame":
        """The average over texts by layer and group (one entry a text; by default all are one), with its interval.

        `average`: "geometric", with Student's interval on the log scale; "mean", which one text can carry off;
        "median", with the interval from order statistics. Columns layer, group, texts (those with an estimate),
        left_out (those without), value, low, high. Those left out had too few tokens, or grew too fast for a
        dimension, which is more frequent where it is high: with many of them the average is too low.
        """
        import pandas as pd

        _check.choice(average, "average", AVERAGES)
        level, rows = float(self.settings["level"]), []
        named = ["all"] * len(self.texts) if groups is None else list(groups)
        if len(named) != len(self.texts):
            raise _check.lengths_differ([len(named), len(self.texts)])
        for layer, found in self.estimates.items():
            for group in dict.fromkeys(named):
                mine = [e.value for e, g in zip(found, named) if g == group]
                x = np.array([v for v in mine if v > 0])
                rows.append((layer, group, len(x), len(mine) - len(x), *_average(x, average, level)))
        return pd.DataFrame(rows, columns=["layer", "group", "texts", "left_out", "value", "low", "high"])

    def __repr__(self) -> str:
        known = sum(e.value > 0 for found in self.estimates.values() for e in found)
        return f"TextDimension({len(self.texts)} texts, {len(self.estimates)} layers, {known} estimates)"

    def _repr_html_(self) -> str:
        return self.means().to_html(index=False, float_format=lambda v: f"{v:.3g}")


def _average(x: np.ndarray, average: str, level: float) -> tuple[float, float, float]:
    """The average of positive values, and its interval."""
    n = len(x)
    if n == 0:
        return NAN, NAN, NAN
    if average == "median":
        low, high = stats.binom.interval(level, n, 0.5)
        x = np.sort(x)
        inside = low >= 1 and high <= n - 1
        return float(np.median(x)), *((float(x[int(low) - 1]), float(x[int(high)])) if inside else (NAN, NAN))
    y = np.log(x) if average == "geometric" else x
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * y.std(ddof=1) / np.sqrt(n)) if n > 1 else NAN
    ends = (float(y.mean()), float(y.mean()) - half, float(y.mean()) + half)
    return tuple(float(np.exp(end)) for end in ends) if average == "geometric" else ends  # type: ignore[return-value]


def text_dimension(
    activations: Activations | Mapping[str, Array] | Array,
    *layers: str,
    method: str = "ph",
    sample: Array | None = None,
    seed: int = 0,
    level: float = 0.95,
    **options: Any,
) -> TextDimension:
    """Intrinsic dimension of single texts, each the graph of its tokens. Call on what `record(pool="tokens")` gives.

    Record with `mask="content"`, so that special tokens (the batch's "special_tokens_mask") and padding are no points:

        activations = repana.record(model, batches, pool="tokens", mask="content")
        repana.text_dimension(activations).means()

    - `activations`: recorded ones, a mapping of layers to features, or the features of one layer.
    - `layers`: all that were recorded, unless named.
    - `method`: "ph" is `ph_dimension`, as for texts in Tulchinskii et al. 2023, trees of all texts growing together;
      "mle" and "two_nn" are those functions. `options` go to it (`alpha`, `k`, ...).
    - `sample`: for features that were not recorded here, the number or name of every row's text.

    Every estimate carries its interval; a text of few tokens has NaN and the reason, and a note where the interval
    spans more than tenfold, as is common below some 150 tokens. "mle" is the steadiest on short texts. Dimension grows
    with the number of tokens in a text: compare texts of like length, or put `tokens` beside. Unit: dimensions.

    Raises InputError where every sample has one row, for NaN or infinite features, for options that the method does not
    have, and ModelError for layers that were not recorded.

    Sources: Tulchinskii et al. 2023, arXiv:2306.04723; Pedashenko et al. 2025, arXiv:2511.15210.

    >>> import torch
    >>> from repana import text_dimension
    >>> clouds = {"layer": torch.rand(600, 3, generator=torch.Generator().manual_seed(0))}
    >>> found = text_dimension(clouds, sample=torch.arange(600) // 200)
    >>> [round(float(e)) for e in found.estimates["layer"]]
    [3, 3, 3]
    """
    _check.choice(method, "method", METHODS)
    _check.level_of(level)
    options = checked(options)
    _refuse_unknown_options(method, options)
    recorded = isinstance(activations, Activations)
    layered: Mapping[str, Any] = activations if isinstance(activations, Mapping) else {"features": activations}
    given = activations.sample if recorded and sample is None else sample
    if given is None:
        raise _refusals.no_texts()
    number, names = _check.text_numbers(given)
    texts, counts = torch.unique(number, return_counts=True)
    if len(texts) == 0 or int(counts.max()) < 2:
        raise _refusals.no_texts()
    rows = number.argsort(stable=True).split(counts.tolist())
    labels = activations.labels if recorded else None
    one = None if labels is None or labels.ndim != 1 else tuple(int(labels[r[0]]) for r in rows)
    found = {}
    for layer in layers or tuple(layered):
        if layer not in layered:
            raise _check.not_recorded(layer, list(layered))
        x = _check.features_of(layered[layer])
        if len(x) != len(number):
            raise _check.lengths_differ([len(x), len(number)])
        clouds = (x[r.to(x.device)] for r in rows)
        grow = (
            _by_trees(clouds, seed, level, **options)
            if method == "ph"
            else _dimension_of_each(clouds, method, level, options)
        )
        found[layer] = tuple(grow)
    settings = {"method": method, "seed": seed, "level": level, **options}
    called = [names[i] for i in texts.tolist()] if names else texts.tolist()
    return TextDimension(found, tuple(called), tuple(counts.tolist()), one, settings)


def _refuse_unknown_options(method: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the estimator does not have."""
    own = set(parameters_of({"ph": ph_dimension, "mle": mle, "two_nn": two_nn}[method]))
    own -= {"graph", "seed", "level", "calibrate", "boundary"}
    if not own >= options.keys():
        raise _check.unknown_options(f"the method {method!r}", sorted(options.keys() - own), sorted(own))


def _dimension_of_each(
    clouds: Iterator[Tensor], method: str, level: float, options: Mapping[str, Any]
) -> Iterator[Estimate]:
    """One text after the other by an estimator from neighbours."""
    function = {"mle": mle, "two_nn": two_nn}[method]
    needed = NeighbourGraph.needed({"k": 20, **options}) if method == "mle" else 2
    least = max(int(options.get("k_max") or options.get("k") or 20), 10) if method == "mle" else 10
    for x in clouds:
        if len(x) <= least:
            yield Estimate(NAN, n=len(x), note=Flag.FEW_SAMPLES.note(f"{len(x)} tokens; {least + 1} are needed"))
            continue
        graph = NeighbourGraph.of(x, k=needed)
        short = graph.n <= least
        note = Flag.FEW_SAMPLES.note(f"{graph.n} tokens that differ; {least + 1} are needed")
        yield Estimate(NAN, n=graph.n, note=note) if short else function(graph, level=level, **options)


def _by_trees(
    clouds: Iterator[Tensor], seed: int, level: float, alpha: float = 1.0, **sizes: Any
) -> Iterator[Estimate]:
    """All texts by trees that grow together, as many at a time as the buffers hold."""
    waiting: list[tuple[Tensor, Forest | None, int]] = []
    work, needed = 0, max(FEWEST, sizes.get("largest") or 0)
    for x in clouds:
        rows = distinct(x)
        plan = forest(len(rows), **sizes) if len(rows) >= needed else None
        waiting.append((x[rows], plan, len(x) - len(rows)))
        work += 0 if plan is None else plan.work
        if work > TOGETHER:
            yield from _felled(waiting, needed, seed, level, alpha)
            waiting, work = [], 0
    yield from _felled(waiting, needed, seed, level, alpha)


def _felled(
    waiting: list[tuple[Tensor, Forest | None, int]], needed: int, seed: int, level: float, alpha: float
) -> Iterator[Estimate]:
    grows = [(x, plan) for x, plan, _ in waiting if plan is not None]
    slopes = iter(grown([x for x, _ in grows], [plan for _, plan in grows], [alpha], seed) if grows else [])
    for x, plan, dropped in waiting:
        note = Flag.DUPLICATES.note(f"{dropped} duplicates dropped") if dropped else ""
        if plan is None:
            yield Estimate(NAN, n=len(x), note=Flag.FEW_SAMPLES.note(f"{len(x)} tokens; {needed} are needed"))
        else:
            yield with_lower_bound_note(
                from_slopes(next(slopes)[:, 0].tolist(), alpha, n=len(x), level=level, note=note)
            )
