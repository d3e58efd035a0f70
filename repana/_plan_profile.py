"""`plan_profile`: what `profile` will take, pass and analyzers, before it is run."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from repana import _check, _profile_refusals
from repana._activations import Activations
from repana._ambient import settled
from repana._cost import Cost, Size
from repana._costs import FLOAT, PlannedCost, planned_of
from repana._machine import MEASURE, Machine, machine_named
from repana._numbers import lasting, printable, readable
from repana._profile import PERMUTATIONS, check_recording, of_arrays
from repana._selection import selected
from repana._typing import IGNORED
from repana.extraction._options import Options
from repana.extraction._pass_cost import PassCost, planned_with_pass
from repana.extraction._plan import Plan

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class ProfilePlan:
    """What a profile of one split will take; see `plan_profile`.

    `recording` is the plan of the pass, with what a sample takes of it in `one_sample`; both None where features are
    at hand. `lines` are the analyzers, `size.n` the samples that are kept, `seen` those that go through the model.
    """

    lines: tuple[PlannedCost, ...]
    machine: Machine
    size: Size
    seen: int
    feature_bytes: float
    recording: Plan | None = None
    one_sample: PassCost | None = None

    @property
    def pass_seconds(self) -> float:
        """Of the model over all samples, shared out over the machine's devices; 0 where nothing is recorded."""
        if self.one_sample is None:
            return 0.0
        if self.machine.timed:
            return self.seen * self.one_sample.seconds
        return self.seen * self.one_sample.flop / (self.machine.flops * self.machine.devices)

    def seconds_of(self, line: PlannedCost) -> float:
        """Of all layers of a line; NaN where its cost is not known."""
        if line.refused:
            return 0.0
        return math.nan if line.cost is None else len(line.layers) * self.machine.seconds(line.cost)

    @property
    def analysis_seconds(self) -> float:
        """Of all lines whose cost is known."""
        return sum(s for s in map(self.seconds_of, self.lines) if not math.isnan(s))

    @property
    def seconds(self) -> float:
        """Of the pass and the analysis."""
        return self.pass_seconds + self.analysis_seconds

    @property
    def peak_bytes(self) -> float:
        """At the most, beside the model: features of all layers, and what the largest line needs beside them."""
        return self.feature_bytes + max((x.cost.peak for x in self.lines if x.cost and not x.refused), default=0.0)

    def frame(self) -> "pd.DataFrame":
        """A row for each analyzer and width: layers, width, samples that are read, passes over the features of a layer;
        TFLOP, GB and seconds of all these layers; MB at the peak beside the features; why it is refused, or nothing."""
        import pandas as pd

        rows = []
        for line in self.lines:
            cost, count = line.cost or Cost(*[math.nan] * 4, reads="not known"), len(line.layers)
            rows.append(
                {
                    "analyzer": line.analyzer,
                    "layers": count,
                    "width": line.size.d,
                    "samples": self._read(cost),
                    "passes": line.passes if line.cost else math.nan,
                    "TFLOP": count * cost.flop / 1e12,
                    "GB": count * cost.bytes / 1e9,
                    "peak MB": cost.peak / 1e6,
                    "seconds": self.seconds_of(line),
                    "refused": line.refused,
                }
            )
        return pd.DataFrame(rows)

    def described(self) -> dict[str, Any]:
        """All of it in plain numbers and words, for JSON: the totals, and the rows of `frame` with their layers."""
        rows = self.frame().to_dict(orient="records")
        lines = [{**row, "names": list(line.layers)} for row, line in zip(rows, self.lines)]
        return {
            "machine": self.machine.name,
            "samples": self.seen,
            "kept": self.size.n,
            "classes": self.size.classes,
            "feature_bytes": self.feature_bytes,
            "peak_bytes": self.peak_bytes,
            "pass_seconds": self.pass_seconds,
            "analysis_seconds": self.analysis_seconds,
            "lines": lines,
        }

    def _by_analyzer(self) -> "pd.DataFrame":
        """The widths of an analyzer in one row, those that are refused in another."""
        import pandas as pd

        groups: dict[tuple[str, str], list[PlannedCost]] = {}
        for line in self.lines:
            groups.setdefault((line.analyzer, line.refused), []).append(line)
        rows = []
        for (name, refused), lines in groups.items():
            widths = sorted({line.size.d for line in lines})
            costs = [(len(line.layers), line.cost or Cost(*[math.nan] * 4, reads="not known")) for line in lines]
            rows.append(
                {
                    "": name,
                    "layers": sum(count for count, _ in costs),
                    "width": str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}",
                    "samples": f"refused: {refused}" if refused else self._read(costs[0][1]),
                    "TFLOP": _digits(sum(count * cost.flop for count, cost in costs) / 1e12),
                    "GB": _digits(sum(count * cost.bytes for count, cost in costs) / 1e9),
                    "peak MB": _digits(max(cost.peak for _, cost in costs) / 1e6),
                    "seconds": _digits(sum(map(self.seconds_of, lines))),
                }
            )
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        table = self._by_analyzer().to_string(index=False)
        return printable("\n".join([self._heading(), "", table, "", self._total()]))

    def _repr_html_(self) -> str:
        import html

        table = self._by_analyzer().to_html(index=False, border=0)
        return f"<p>{html.escape(self._heading())}</p>{table}<p>{html.escape(self._total())}</p>"

    def _read(self, cost: Cost) -> str:
        """Which samples; all of those that are kept, where that are not all."""
        return "all kept" if cost.reads == Cost().reads and self.size.n != self.seen else cost.reads

    def _heading(self) -> str:
        layers = len({name for line in self.lines for name in line.layers})
        classes = f", {self.size.classes} classes" if self.size.classes else ", no labels"
        kept = f" ({self.size.n:,} kept)" if self.size.n != self.seen else ""
        names = f"{layers} layer" + ("" if layers == 1 else "s")
        text = f"{names}, {self.seen:,} samples{kept}{classes}; on {self.machine.name}."
        if self.one_sample is None:
            return text
        flop = self.seen * self.one_sample.flop
        how = "as timed" if self.machine.timed else "at the rate of float32 products"
        counted = "" if math.isnan(flop) else f"{flop / 1e12:.3g} TFLOP, "
        took = f"{counted}{lasting(self.pass_seconds)} {how}"
        return f"{text}\nThe pass: {took}; features take {readable(self.feature_bytes)}."

    def _total(self) -> str:
        unknown = list(dict.fromkeys(x.analyzer for x in self.lines if x.cost is None))
        beside = f" The cost of {', '.join(unknown)} is not known." if unknown else ""
        device = " The analysis runs on one device." if self.machine.devices > 1 else ""
        parts = f"{lasting(self.pass_seconds)} for the pass and " if self.one_sample is not None else ""
        text = f"In all {lasting(self.seconds)}: {parts}{lasting(self.analysis_seconds)} for the analysis; "
        return f"{text}at most {readable(self.peak_bytes)} of memory, features included.{beside}{device}"


@settled()
def plan_profile(
    model: nn.Module | Activations | Mapping[str, Any],
    data: Any = None,
    layers: Any = "auto",
    analyzers: Any = "all",
    *,
    on: str = MEASURE,
    samples: int | None = None,
    classes: int | None = None,
    permutations: int = PERMUTATIONS,
    bootstrap: int = 100,
    analysis_memory: int | None = None,
    **recording: Any,
) -> ProfilePlan:
    """What `profile` with the same arguments will take, from one batch: passes, operations, bytes, memory, seconds.

    - `model`, `data`, `layers`, `analyzers`, `permutations`, `bootstrap`, `analysis_memory`, `recording`: as `profile`
      takes them.
    - `on`: "measure" times this machine for a second (products, copies, small operations) and the model on the first
      batch; "H100", "H200", or so many as in "8xH100", take the rates of their data sheets. The pass is shared out over
      the devices (`torchrun`), the analysis runs on one.
    - `samples`: where the data do not tell their number. `classes`: by default the width of the
      classifier, or the classes of the labels that are at hand.

    Seconds come from counts of each algorithm, with factors from timings of it, and the machine's rates: within a
    factor of two for nearly all analyzers on the machines that they were timed on. Memory is meant as an upper bound.
    Of what is read across layers `complexity` is listed; the rest takes little, but for re-initialised copies
    (`baselines`), of which each is a pass.
    What has a bound above `analysis_memory`, or above what the machine has left beside the features, is refused, here
    and by `profile`. Of one split; a held-out one takes as much for its samples.

    Raises InputError for an unknown machine, or where the number of samples is not known; and all that `record` raises
    before its long run.

    >>> import torch
    >>> from repana import plan_profile
    >>> x, y = torch.randn(300, 16), torch.arange(300) % 3
    >>> found = plan_profile({"layer": x}, y, analyzers=["fisher", "spectrum"])
    >>> found.frame()["analyzer"].tolist()
    ['fisher', 'spectrum']
    """
    for name, value, least in (
        ("samples", samples, 1), ("classes", classes, 0), ("permutations", permutations, 0),
        ("bootstrap", bootstrap, 0), ("analysis_memory", analysis_memory, 0),
        ("max_samples", recording.get("max_samples"), 0),
    ):  # fmt: skip
        if value is not None:
            _check.at_least(value, name, least)
    selection = selected(analyzers)
    machine = machine_named(on)
    if isinstance(model, Mapping) and not isinstance(model, Activations):
        model, data = of_arrays(model, data, None, layers)[0], None
    if isinstance(model, Activations):
        if recording:
            raise _profile_refusals.no_recording(list(recording))
        found = _of_activations(model, samples, classes)
    else:
        found = _of_model(model, data, layers, samples, classes, recording)
    draws = replace(found.size, permutations=permutations, bootstrap=bootstrap)
    if not draws.classes:
        selection = selection.without_labels("given")
    there = machine.timed and found.recording is None  # the features are in memory, and not in what is free
    room = machine.memory - (0 if there else found.feature_bytes) if analysis_memory is None else analysis_memory
    lines = planned_of(selection, found.widths, draws, room)
    return ProfilePlan(tuple(lines), machine, draws, found.seen, found.feature_bytes, found.recording, found.one_sample)


@dataclass(frozen=True)
class _Found:
    widths: Mapping[str, int]
    size: Size
    seen: int
    recording: Plan | None = None
    one_sample: PassCost | None = None

    @property
    def feature_bytes(self) -> float:
        return float(FLOAT * self.size.n * sum(self.widths.values()))


def _of_activations(given: Activations, samples: int | None, classes: int | None) -> _Found:
    labels = given.labels
    if classes is None:
        kept = None if labels is None or labels.is_floating_point() else labels[labels != IGNORED]
        classes = 0 if kept is None else int(torch.unique(kept).numel())
    widths = {layer: int(given[layer].shape[1]) for layer in given.layers}
    n = len(given.sample) if samples is None else samples
    return _Found(widths, Size(n, max(widths.values()), classes), n)


def _of_model(
    model: Any, data: Any, layers: Any, samples: int | None, classes: int | None, recording: Mapping[str, Any]
) -> _Found:
    check_recording(recording, also=())
    known = {*inspect.signature(Options.of).parameters} - {"model", "layers"}
    reading = {name: value for name, value in recording.items() if name in known}
    most = recording.get("max_samples")
    planned, one = planned_with_pass(
        model, data, layers, batch_size=recording.get("batch_size", 64), max_samples=most, **reading
    )
    seen = planned.samples if samples is None else samples
    if seen is None:
        raise _profile_refusals.samples_not_known()
    rows = max(layer.rows for layer in planned.layers)
    kept = seen * rows if most is None else min(seen * rows, most)
    widths = {layer.address: layer.width for layer in planned.layers}
    if classes is None:
        classes = one.classes
    return _Found(widths, Size(kept, max(widths.values()), classes), seen, planned, one)


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}" if value >= 100 else f"{value:.2g}"
