"""Results with measures at several places: how they show themselves, and their bootstrap over units."""

import html
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag, noted, span
from repana._numbers import number
from repana.statistics.resampling import bootstrap_weights, with_percentiles

FEWEST = 10  # units below which no interval is given


class Estimates:
    """A result whose fields are Estimates, or mappings from a place (k, a rate) to them."""

    replicates: Mapping[str, Float[Tensor, " b"]]

    def estimates(self) -> dict[str, Estimate]:
        """By name, such as "mrr" and "recall@5"."""
        found: dict[str, Estimate] = {}
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if isinstance(value, Estimate):
                found[one.name] = value
            elif isinstance(value, Mapping) and value and all(isinstance(v, Estimate) for v in value.values()):
                found |= {f"{one.name}@{at:g}": estimate for at, estimate in value.items()}
        return found

    def _lines(self) -> list[tuple[str, Estimate]]:
        return [(name, e) for name, e in self.estimates().items() if Flag.NOT_APPLICABLE not in e.flags]

    def __repr__(self) -> str:
        lines = self._lines()
        wide = max((len(name) for name, _ in lines), default=0)
        notes = dict.fromkeys(e.note for _, e in lines if e.note)
        text = [type(self).__name__]
        for name, e in lines:
            null = "" if np.isnan(e.null) else f"  null {number(e.null)}"
            text.append(f"  {name:<{wide}}  {number(e.value)} {span(e.low, e.high)}{null}".rstrip())
        return "\n".join([*text, *(f"  ({note})" for note in notes)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{number(e.value)}</td><td>{span(e.low, e.high)}</td>"
            f"<td>{number(e.null)}</td><td>{html.escape(e.note)}</td></tr>"
            for name, e in self._lines()
        )
        head = "<tr><th></th><th>value</th><th>interval</th><th>null</th><th>note</th></tr>"
        return f"<table><caption>{type(self).__name__}</caption>{head}{rows}</table>"


def means_of(
    values: Mapping[str, Float[np.ndarray, " m"]],
    null: Mapping[str, Float[np.ndarray, " m"]],
    level: float,
    seed: int,
    note: str = "",
) -> tuple[dict[str, Estimate], dict[str, Float[Tensor, " b"]]]:
    """The mean of every measure over units, with its bootstrap interval and the mean of its null, and the bootstrap's
    means."""
    drawn = means(torch.from_numpy(np.stack(list(values.values()), 1)), seed)
    found, replicates = {}, {}
    for column, (name, of_units) in enumerate(values.items()):
        replicates[name] = drawn[:, column]
        estimate = interval_of(float(of_units.mean()), drawn[:, column], len(of_units), level, note)
        found[name] = replace(estimate, null=float(null[name].mean())) if name in null else estimate
    return found, replicates


def means(values: Float[Tensor, "m q"], seed: int, group: Any = None) -> Float[Tensor, "b q"]:
    """Means of columns over bootstrap samples of rows (of whole groups); the same seed draws the same rows."""
    with_count = torch.cat([values.double().cpu(), torch.ones(len(values), 1, dtype=torch.float64)], 1)
    sums = torch.cat([w @ with_count for w in bootstrap_weights(len(values), None, group, seed)])
    return sums[:, :-1] / sums[:, -1:]


def interval_of(value: float, drawn: Float[Tensor, " b"], units: int, level: float, note: str = "") -> Estimate:
    """A value with the percentiles of its replicates; without them for fewer than ten units."""
    if units < FEWEST:
        few = Flag.NO_INTERVAL.note(f"no interval: {units} units, and {FEWEST} are needed")
        return Estimate(value, n=units, note=noted(note, few))
    kept = drawn[torch.isfinite(drawn)]
    if not np.isfinite(value) or not len(kept):
        return Estimate(value if np.isfinite(value) else NAN, n=units, note=note)
    return with_percentiles(value, kept.numpy(), units, level, note)
