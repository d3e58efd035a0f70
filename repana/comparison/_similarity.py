"""All pairs of layers of two networks, or of one, by several measures, with nulls, intervals and floors."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._ambient import settled
from repana._estimate import Estimate, span
from repana._numbers import number, percent
from repana._results import Report
from repana.comparison import _refusals
from repana.comparison._cka import jackknife_error
from repana.comparison._inputs import JACKKNIFE, dealt_out, groups_of
from repana.comparison._layer_matrix import LayerMatrix, Options
from repana.comparison._layer_measures import MEASURES
from repana.comparison._layer_pairs import identified, like_places, monotone_path
from repana.comparison._paired import draws_of
from repana.comparison._recorded_networks import named_as, names_of, outputs_of, recorded, same_layers
from repana.summaries.neighbour_graph import some

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SAMPLES = 5_000  # that are compared, unless more are asked for
K = 10
SHOWN = 8  # layers that a similarity lists of itself


@dataclass(frozen=True, repr=False)
class Similarity:
    """Similarity of all pairs of layers; see `similarity`. `matrices` by measure; `floors` by what stands in for the
    second network ("untrained", "other_seed"), then by measure.
    """

    a: str
    b: str
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    n: int
    matrices: Mapping[str, LayerMatrix]
    floors: Mapping[str, Mapping[str, LayerMatrix]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()  # layers that are the logits
    settings: Mapping[str, Any] = field(default_factory=dict)
    recordings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # where each network's features came from

    @property
    def level(self) -> float:
        return self.settings["level"]

    @property
    def itself(self) -> bool:
        """Whether the layers of one network are compared with each other."""
        return bool(self.settings["itself"])

    def matrix(self, measure: str | None = None) -> LayerMatrix:
        """The matrix of a measure, by default of the first."""
        name = next(iter(self.matrices)) if measure is None else measure
        if name not in self.matrices:
            raise _refusals.measured_not(name, self.matrices)
        return self.matrices[name]

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Layers of like place; of one network each layer with the one behind it. Of two: of one name, or of names of
        which one ends with the other; where these are fewer than the layers, input, classifier's input and logits go
        together, and the others by relative depth."""
        if self.itself:
            return tuple((i, i + 1) for i in range(len(self.layers_a) - 1)) or ((0, 0),)
        outputs = (*self.outputs, *self.settings.get("outputs_b", ()))
        return like_places(self.layers_a, self.layers_b, outputs)

    def pair_name(self, i: int, j: int) -> str:
        """What a pair of layers is called: by one name where both have it."""
        one, other = self.layers_a[i], self.layers_b[j]
        return one if one == other or self.itself else f"{one} ~ {other}"

    def floor_place(self, floor: str, i: int, j: int) -> tuple[int, int]:
        """Where the floor of a pair of layers stands: "other_seed" compares layer j of the second network with itself
        in a network that was trained alike."""
        return (j, j) if floor == "other_seed" and not self.itself else (i, j)

    def estimate(self, layer_a: str, layer_b: str | None = None, measure: str | None = None) -> Estimate:
        """One pair of layers, with interval and null."""
        i = _place(layer_a, self.layers_a)
        j = _place(layer_a if layer_b is None else layer_b, self.layers_b)
        return self.matrix(measure).estimate(i, j, self.n, self.level)

    def best(self, measure: str | None = None) -> "pd.DataFrame":
        """Of each layer of the first network its most similar layer in the second (of one network, among the others):
        layer, best, value, low, high, p, and `agreement`, the share of jackknife replicates with the same choice."""
        import pandas as pd

        found = self.matrix(measure)
        rows = []
        for i, layer in enumerate(self.layers_a):
            values = np.where(np.isnan(found.value[i]), -np.inf, found.value[i])
            if self.itself:
                values[i] = -np.inf
            if not np.isfinite(values).any():
                continue
            j = int(values.argmax())
            rows.append(
                {
                    "layer": layer, "best": self.layers_b[j], "value": found.value[i, j], "low": found.low[i, j],
                    "high": found.high[i, j], "p": found.p[i, j], "agreement": self._agreement(found, i, j),
                }
            )  # fmt: skip
        return pd.DataFrame(rows, columns=["layer", "best", "value", "low", "high", "p", "agreement"])

    def _agreement(self, found: LayerMatrix, i: int, j: int) -> float:
        if found.deleted is None:
            return math.nan
        rows = np.nan_to_num(found.deleted[:, i], nan=-np.inf)
        if self.itself:
            rows = rows.copy()
            rows[:, i] = -np.inf
        return float((rows.argmax(1) == j).mean())

    def identification(self, measure: str | None = None) -> Estimate:
        """The share of layers whose most similar layer in the other network has the same index, both ways, input and
        logits aside: for two networks of one architecture. Its null is chance, 1/L; Wilson's interval. A property of
        the networks as much as of the measure: equal layers in a row cannot be told apart by any.

        Raises InputError for networks of different numbers of layers.

        Source: Kornblith et al. 2019, arXiv:1905.00414.
        """
        return identified([(self.matrix(measure).value, self.inner)], self.level)

    @property
    def inner(self) -> list[int]:
        """The places of layers that are neither the input nor the logits."""
        if len(self.layers_a) != len(self.layers_b) or self.itself:
            raise _refusals.no_identification(len(self.layers_a), len(self.layers_b), self.itself)
        return [i for i, x in enumerate(self.layers_a) if x not in self.outputs and x != "input"]

    def alignment(self, measure: str | None = None) -> "pd.DataFrame":
        """The monotone path through the layers of both networks with the largest sum of similarities, a step in both
        counted twice so that all paths weigh alike, from the first pair to the last: layer_a, layer_b, value. Layers of
        networks of different depth that stand for one another."""
        import pandas as pd

        found = np.nan_to_num(self.matrix(measure).value, nan=-1.0)
        path = monotone_path(found)
        rows = [(self.layers_a[i], self.layers_b[j], self.matrix(measure).value[i, j]) for i, j in path]
        return pd.DataFrame(rows, columns=["layer_a", "layer_b", "value"])

    def difference(self, first: Sequence[str], second: Sequence[str], measure: str | None = None) -> Estimate:
        """The similarity of one pair of layers less that of another, with the interval of paired jackknife
        replicates."""
        from scipy import stats

        found = self.matrix(measure)
        for given in (first, second):
            if isinstance(given, str) or len(given) != 2:
                raise _refusals.pair_of_layers(given)
        (i, j), (k, m) = ((_place(p, self.layers_a), _place(q, self.layers_b)) for p, q in (first, second))
        value = float(found.value[i, j] - found.value[k, m])
        if found.deleted is None:
            return Estimate(value, n=self.n, note="no interval: samples were not left out")
        gap = found.deleted[:, i, j] - found.deleted[:, k, m]
        half = float(stats.t.ppf(0.5 + self.level / 2, len(gap) - 1)) * jackknife_error(torch.from_numpy(gap))
        return Estimate(value, value - half, value + half, self.n, null=0.0)

    def frame(self) -> "pd.DataFrame":
        """One line per measure and pair of layers: measure, against, layer_a, layer_b, value, low, high, null, null_sd,
        p. Of "other_seed" both are layers of the second network."""
        import pandas as pd

        rows = []
        for against, matrices in {"": self.matrices, **self.floors}.items():
            for name, found in matrices.items():
                rows_of = self.layers_b if against == "other_seed" and not self.itself else self.layers_a
                for i, layer in enumerate(rows_of):
                    for j, other in enumerate(self.layers_b):
                        at = [t[i, j] for t in (found.value, found.low, found.high, found.null, found.null_sd, found.p)]
                        rows.append((name, against or self.b, layer, other, *at))
        columns = ["measure", "against", "layer_a", "layer_b", "value", "low", "high", "null", "null_sd", "p"]
        return pd.DataFrame(rows, columns=columns)

    def plot(self, measure: str | None = None, **options: Any) -> "Figure":
        """The matrix, and beside it layers of like place with their intervals, null and floors; see
        `repana.plots.layer_similarity`."""
        return self.report().plot(*([] if measure is None else [measure]), **options)

    def report(self, run: str | None = None) -> Report:
        """As a report, with a row for each pair of layers of like place: to be drawn, tabulated, saved, and shown as a
        page (`to_html`)."""
        from repana.comparison._reported import of_similarity

        return of_similarity(self, run)

    def __repr__(self) -> str:
        who = f"{self.a} with itself" if self.itself else f"{self.a} and {self.b}"
        lines = [f"Similarity({who}: {len(self.layers_a)} x {len(self.layers_b)} layers, {self.n} samples)"]
        for name, found in self.matrices.items():
            lines.append(f"  {name} (1 is most similar), {percent(self.level)} intervals")
            for i, j in self.pairs[:SHOWN]:
                pair = f"{self.layers_a[i]} ~ {self.layers_b[j]}" if self.itself else self.pair_name(i, j)
                ends = span(float(found.low[i, j]), float(found.high[i, j]))
                null = "" if math.isnan(found.null[i, j]) else f"  null {number(float(found.null[i, j]), 2)}"
                floors = [
                    f"  {title.replace('_', ' ')} {number(float(m[name].value[self.floor_place(title, i, j)]))}"
                    for title, m in self.floors.items()
                    if name in m
                ]
                lines.append(f"    {pair:<24} {number(float(found.value[i, j]))} {ends}{null}{''.join(floors)}")
                if math.isnan(found.value[i, j]):
                    lines[-1] += f"  ({found.estimate(i, j, self.n, self.level).note})"
            if len(self.pairs) > SHOWN:
                lines.append(f"    ... and {len(self.pairs) - SHOWN} more: .frame()")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@settled()
def similarity(
    a: Any,
    b: Any = None,
    data: Any = None,
    *,
    measures: Sequence[str] | str = ("cka", "knn"),
    layers: Any = "auto",
    layers_b: Any = None,
    k: int = K,
    metric: str = "cosine",
    untrained: Any = None,
    other_seed: Any = None,
    paired: str | bool = "check",
    names: Sequence[str] | None = None,
    max_samples: int = SAMPLES,
    jackknife: int = JACKKNIFE,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    memory: int = 2**32,
    **recording: Any,
) -> Similarity:
    """Similarity of all pairs of layers of two networks on the same samples, or of one network's own layers.

    `a` and `b` are `Activations`, of one recording each, or two models with the `data` that both run on: every batch
    goes through both, so that a loader that shuffles does no harm. With `a` alone, its layers are compared with each
    other. Rows must be the same samples in the same order. That is checked by the number of rows, by what was recorded
    of the inputs, by sample numbers and labels, and refused otherwise; `paired=True` is your word for samples that were
    prepared for each network in its own way.

    `measures`, 1 is most similar in all:

    - "cka" (debiased, linear), "cka_rbf", "distance_correlation" (bias-corrected): one (n, n) matrix a layer and one
      product for all pairs, or sums over features where that is cheaper (`settings["form"]`); exact jackknife and null.
      See `cka`.
    - "knn": mutual `k` nearest neighbours by `metric`; null exact. See `neighbourhoods`.
    - "rsa": Spearman's correlation of Euclidean distances; null exact. See `rsa`.
    - "procrustes", "cca": held out, a map fitted on one half of the samples and read on the other, without a null;
      "procrustes_biased", "cca_biased", "svcca_biased" the same in sample, which few samples raise. See `procrustes`,
      `cca`.
    - "r2": held-out R^2 of ridge regressions from the layers of a to those of b. See `predictivity`.

    A similarity means nothing alone. Beside each stand its null, under a random pairing of the samples, and what you
    ask for: `untrained`, the same with copies of the second network that have new random weights (`Activations`, a
    model, or, with models, `True`, drawn by a seed apart from yours), what the architecture and the inputs give by
    themselves; and `other_seed`, a network that was trained as the second one from another seed or data order: how
    much the layers of two such networks agree, the most that can be asked for.

    At most `max_samples` samples, drawn by `seed`, are compared; `memory` bounds the (n, n) matrices. Intervals: exact
    jackknife for the first three, `jackknife` groups of samples for "knn", "rsa" and the decompositions (0 for none),
    none for "r2". Rows of one sample (tokens) are left out together, and nulls pair whole samples. Options of `record`
    (`pool`, `mask`, `forward`, ...) go to both models.

    Raises InputError for rows that are not the same samples, a measure that does not exist, or matrices above `memory`.

    Sources: those of the measures; Klabunde et al. 2023, arXiv:2305.06329 (survey).

    >>> import torch, repana
    >>> x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    >>> found = repana.similarity(repana.Activations({"one": x}), repana.Activations({"two": x.flip(1)}))
    >>> round(float(found.estimate("one", "two")), 6)
    1.0
    """
    _check.level_of(level)
    chosen = [measures] if isinstance(measures, str) else list(measures)
    for name in chosen:
        if name not in MEASURES:
            raise _refusals.no_such_measure(name, MEASURES)
    k = _check.at_least(k, "k", 1)
    max_samples = _check.at_least(max_samples, "max_samples", 4)
    jackknife = _check.at_least(jackknife, "jackknife", 0)
    given = {"untrained": untrained, "other_seed": other_seed}
    named = named_as(names) or names_of(a, b)
    first, second, others = recorded(
        a, b, data, given, layers, layers_b, paired, {"batch_size": batch_size, "seed": seed}, recording
    )
    for name, other in others.items():
        same_layers(name, second or first, other)
    n = len(first.sample)
    if n < 4:
        raise _check.too_few_samples("similarity", n, 4)
    if "knn" in chosen and k > min(n, max_samples) - 1:
        raise _check.too_many_neighbours(k, min(n, max_samples) - 1)
    rows = some(n, max_samples, seed)
    repeated = int(first.sample.unique().numel()) < n
    group = groups_of(first.sample[rows], len(rows)) if repeated else None
    part = dealt_out(len(rows), jackknife, group, seed) if jackknife else None
    options = Options(level, seed, group, part, k, metric, memory)
    left, right = _features(first, rows), None if second is None else _features(second, rows)
    floors: dict[str, dict[str, LayerMatrix]] = {name: {} for name in others}
    matrices = {}
    for name in chosen:
        matrices[name] = MEASURES[name](left, right, options)
        for title, other in others.items():
            against = right if title == "other_seed" and right is not None else left
            floors[title][name] = MEASURES[name](against, _features(other, rows), options)
    settings = {
        "measures": chosen,
        "k": k,
        "metric": metric,
        "samples": len(rows),
        "of": n,
        "jackknife": jackknife,
        "level": level,
        "seed": seed,
        "itself": second is None,
        "outputs_b": list(outputs_of(second or first)),
        "draws": draws_of(first, rows, jackknife, seed),
        "form": {name: m.form for name, m in matrices.items() if m.form},
        "notes": [note for m in matrices.values() for note in m.notes],
        "widths": [[int(x.shape[1]) for x in left], [int(x.shape[1]) for x in right or left]],
        "constant": [_constant(left, first.layers), _constant(right or left, (second or first).layers)],
    }
    return Similarity(
        *named,
        first.layers,
        (second or first).layers,
        len(rows),
        matrices,
        floors,
        outputs_of(first),
        settings,
        dict(zip(named, (first.provenance, *([] if second is None else [second.provenance])))),
    )


def _features(activations: Activations, rows: Tensor) -> list[Tensor]:
    features = [_check.features_of(activations[x], name=x) for x in activations.layers]
    return [x[rows.to(x.device)] for x in features]


def _constant(layers: Sequence[Tensor], names: Sequence[str]) -> dict[str, int]:
    """How many features of each layer do not vary, where some do not."""
    counts = {name: int((x.amax(0) == x.amin(0)).sum()) for name, x in zip(names, layers)}
    return {name: count for name, count in counts.items() if count}


def _place(layer: str, layers: Sequence[str]) -> int:
    if layer not in layers:
        raise _check.not_recorded(layer, list(layers))
    return list(layers).index(layer)
