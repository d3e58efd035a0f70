"""What comes out: an estimate with its interval, and the report of many of them."""

import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from repana import _check, _report_refusals, _saved
from repana._estimate import LEVEL, NAN, Estimate
from repana._numbers import percent
from repana._quantity import Quantity

if TYPE_CHECKING:  # pandas and matplotlib are loaded by the functions that give their objects
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from repana.findings import Finding

K = TypeVar("K", bound=Hashable)
STEP = re.compile(r"(?:^|[/_.\- ])(?:epoch|step|iter|iteration|update|checkpoint|ckpt)?[_.\- =]?(\d+(?:\.\d+)?)$")


@dataclass(frozen=True)
class Row:
    """One line of a report."""

    run: str
    split: str
    layer: str
    depth: int
    analyzer: str
    quantity: str
    index: int
    value: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    n: int
    note: str
    flags: tuple[str, ...] = ()
    label: str = ""
    p: float = NAN
    permutations: int = 0
    floor: float = NAN
    floor_high: float = NAN


COLUMNS = tuple(f.name for f in fields(Row))


@dataclass(frozen=True)
class Report:
    """Tidy rows with provenance, and beside them the arrays that figures need.

    `arrays` are named `split/layer/analyzer.field`. Everything else is derived: `frame()` is the table of all rows,
    `table(...)` a layer-by-quantity table, `series(...)` one curve, `plot(...)` a figure, `to_html(...)` the page.
    """

    rows: tuple[Row, ...]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def runs(self) -> tuple[str, ...]:
        return _unique(row.run for row in self.rows)

    @cached_property
    def profiles(self) -> tuple[str, ...]:
        """The runs that are profiles, and not read of others (as what is said of a whole training); all where none
        is."""
        return tuple(run for run in self.runs if not self.about(run).get("compared")) or self.runs

    @cached_property
    def splits(self) -> tuple[str, ...]:
        return _unique(row.split for row in self.rows)

    @cached_property
    def _by_run(self) -> dict[str, tuple[Row, ...]]:
        return _grouped(self.rows, lambda r: r.run)

    @cached_property
    def _by_quantity(self) -> dict[tuple[str, str], tuple[Row, ...]]:
        return _grouped(self.rows, lambda r: (r.analyzer, r.quantity))

    def of_run(self, run: str) -> tuple[Row, ...]:
        """The rows of one run."""
        return self._by_run.get(run, ())

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The layers in forward order, those of several runs merged; what is of the whole network has the layer ''."""
        merged: list[str] = []
        for run in self.runs:
            rows = sorted((r for r in self.of_run(run) if r.layer), key=lambda r: r.depth)
            at = 0
            for layer in _unique(r.layer for r in rows):
                if layer in merged:
                    at = merged.index(layer) + 1
                else:
                    merged.insert(at, layer)
                    at += 1
        return tuple(merged)

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        return _unique(row.quantity for row in self.rows)

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be measured: one line each, empty when all went well."""
        return tuple(self.provenance.get("failures", ()))

    def frame(self) -> "pd.DataFrame":
        """All rows as a pandas frame, one line per run, split, layer and quantity."""
        import pandas as pd

        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        columns["flags"] = [", ".join(row.flags) for row in self.rows]
        return pd.DataFrame(columns, columns=COLUMNS)

    @cached_property
    def _described(self) -> dict[str, Quantity]:
        """What the runs say of their quantities, by `analyzer.quantity`."""
        found: dict[str, Quantity] = {}
        for provenance in _runs_of(self):
            for name, facts in provenance.get("quantities", {}).items():
                found.setdefault(name, Quantity.of(name.partition(".")[2], facts))
        return found

    def quantity(self, analyzer: str, name: str) -> Quantity:
        """Label, unit, formula and source of a quantity, as the report says; of one it does not describe, its name.

        Reports that were written before they said so ask the registry of this version.
        """
        known = self._described.get(f"{analyzer}.{name}")
        if known is not None:
            return known
        if self._described:
            return Quantity(name)
        from repana import analyzers

        return analyzers.quantity(analyzer, name)

    def named(self, name: str) -> Quantity:
        """The quantity that a name stands for, with its analyzer or without. Refuses what `qualified` does."""
        return self.quantity(*self.qualified(name).split("."))

    @cached_property
    def headline(self) -> tuple[str, ...]:
        """The quantities that tables and figures show first: those that say so, or else the first six."""
        seen = list(dict.fromkeys((r.analyzer, r.quantity) for r in self.rows if r.layer))
        first = [(a, q) for a, q in seen if self.quantity(a, q).headline]
        return tuple(f"{a}.{q}" for a, q in first or seen[:6])

    def sources(self) -> dict[str, str]:
        """BibTeX of the works that the report names, by the name that quantities give them."""
        if not self._described:
            from repana import analyzers

            return analyzers.SOURCES
        return {work: entry for p in _runs_of(self) for work, entry in p.get("sources", {}).items()}

    def qualified(self, quantity: str) -> str:
        """`analyzer.quantity`, also where only the quantity was named. Refuses what no run has, or two analyzers."""
        analyzer, _, name = quantity.rpartition(".")
        owners = _unique(a for a, q in self._by_quantity if q == name and analyzer in ("", a))
        if not owners:
            raise _report_refusals.unknown_quantity(quantity, self.quantities)
        if len(owners) > 1:
            raise _report_refusals.ambiguous_quantity(quantity, owners)
        return f"{next(iter(owners))}.{name}"

    def select(self, quantity: str, *, run: str | None = None, split: str | None = None) -> tuple[Row, ...]:
        """The rows of one quantity, by layer in forward order: `nc1` or, where ambiguous, `neural_collapse.nc1`.
        Without `run`, those of the first run that has it."""
        analyzer, _, name = self.qualified(quantity).partition(".")
        named = self._by_quantity[analyzer, name]
        if run is None:
            having = {r.run for r in named}
            run = next(x for x in self.runs if x in having)
        rows = [r for r in named if r.run == run]
        present = _unique(r.split for r in rows)
        split = (present[0] if present else "") if split is None else split
        found = [r for r in rows if r.split == split]
        if not found:
            raise _report_refusals.nothing_selected(quantity, run, split, self.runs, self.splits)
        return tuple(sorted(found, key=lambda r: r.depth))

    def series(self, quantity: str, *, run: str | None = None, split: str | None = None) -> "pd.DataFrame":
        """One quantity by layer: columns value, low, high, null, null_low, null_high, p, floor, n, note."""
        import pandas as pd

        rows = self.select(quantity, run=run, split=split)
        names = ("value", "low", "high", "null", "null_low", "null_high", "p", "floor", "n", "note")
        index = pd.Index([row.layer for row in rows], name="layer")
        return pd.DataFrame({name: [getattr(row, name) for row in rows] for name in names}, index=index)

    def table(self, *quantities: str, run: str | None = None, split: str | None = None) -> "pd.DataFrame":
        """Layers by quantities, values only; all quantities of the report when none is named."""
        import pandas as pd

        names = quantities or tuple(_unique(f"{r.analyzer}.{r.quantity}" for r in self.rows if r.layer))
        columns = {name: self._column(name, run, split, strict=bool(quantities)) for name in names}
        frame = pd.DataFrame({name: pd.Series(column, dtype=float) for name, column in columns.items()})
        frame = frame.reindex([layer for layer in self.layers if layer in frame.index])
        frame.index.name = "layer"
        short = [name.rpartition(".")[2] for name in frame.columns]
        frame.columns = [s if short.count(s) == 1 else name for s, name in zip(short, frame.columns)]
        return frame

    def _column(self, name: str, run: str | None, split: str | None, *, strict: bool) -> dict[str, float]:
        try:
            return {r.layer: r.value for r in self.select(name, run=run, split=split) if r.layer}
        except _check.InputError:
            if strict:
                raise
            return {}

    def plot(self, *quantities: str, ax: "Axes | Sequence[Axes] | None" = None, **options: Any) -> "Figure":
        """The depth profile: six panels that tell most, or the quantities named; see `repana.plots.depth_profile`. Of a
        comparison its own figure: `layer_similarity`, `drift_depth`, `unlearning_depth`."""
        from repana import plots

        axes = plots.default_figure(self, *quantities, ax=ax, **options)
        return plots.figure_of(axes)

    def summary(self, run: str | None = None) -> tuple[str, ...]:
        """One to three sentences: where classes become decodable, whether the last hidden layer has collapsed, what to
        read with care; of several runs the range of what they share, unless one is named."""
        from repana.findings import summarise

        return summarise(self, run)

    def findings(self, run: str | None = None) -> "tuple[Finding, ...]":
        """What the report says, in sentences: results, cautions, checks, then what is not applicable."""
        from repana.findings import find

        return find(self, run)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page: one file that needs nothing else."""
        from repana import report

        return report.write_html(self, path)

    def to_markdown(self, *quantities: str, **options: Any) -> str:
        """The table with intervals, as Markdown."""
        from repana import report

        return report.markdown(self, *quantities, **options)

    def to_latex(self, *quantities: str, **options: Any) -> str:
        """The table for a paper, with booktabs and siunitx; see `repana.report.latex`."""
        from repana import report

        return report.latex(self, *quantities, **options)

    def log(self, sink: Any, step: int | None = None) -> None:
        """Write scalars, a figure and a table to TensorBoard, W&B or MLflow; see `repana.report.log`."""
        from repana import report

        report.log(self, sink, step)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """All rows as comma-separated values, with full precision; written to `path` where one is given."""
        from repana import report

        text = self.frame().to_csv(index=False, lineterminator="\n")
        if path is not None:
            report.write_text(text, path)
        return text

    def _repr_html_(self) -> str:
        from repana import report

        return report.fragment(self)

    def __str__(self) -> str:
        """The summary and a table of key numbers, as the command line prints them."""
        from repana import report

        return report.terminal(self)

    def __repr__(self) -> str:
        return (
            f"Report({len(self.rows)} rows: {len(self.runs)} run(s), {len(self.layers)} layers, "
            f"{len(self.quantities)} quantities, splits {', '.join(self.splits)})"
        )

    def __add__(self, other: "Report") -> "Report":
        """Rows of both; `repana.concat` takes many."""
        if not isinstance(other, Report):
            return NotImplemented
        return concat([self, other])

    def __radd__(self, other: int) -> "Report":
        """So that `sum(reports)` works, which starts from 0."""
        return self if other == 0 else NotImplemented

    def renamed(self, name: str) -> "Report":
        """The same report under another run name; of several runs, each keeps its own after a slash."""
        single = len(self.runs) == 1
        new = {run: name if single else f"{name}/{run}" for run in self.runs}
        rows = tuple(replace(r, run=new[r.run]) for r in self.rows)
        if "runs" not in self.provenance:
            return Report(rows, self.arrays, {**self.provenance, "run": name})
        runs = [{**p, "run": new[p["run"]]} for p in self.provenance["runs"]]
        arrays = {}
        for key, array in self.arrays.items():
            run = next(run for run in sorted(self.runs, key=len, reverse=True) if key.startswith(f"{run}/"))
            arrays[new[run] + key[len(run) :]] = array
        return Report(rows, arrays, {**self.provenance, "runs": runs})

    def about(self, run: str | None = None) -> Mapping[str, Any]:
        """The provenance of one run; of the first when none is named."""
        run = run or (self.runs[0] if self.runs else "")
        return next((p for p in _runs_of(self) if p.get("run") == run), {})

    def null_name(self, run: str | None = None) -> str:
        """What the null of a run is in words: shuffled labels, or of a comparison samples paired at random."""
        return str(self.about(run).get("null", "shuffled labels"))

    def level(self, run: str | None = None) -> float:
        """The confidence level of the intervals of one run; of the first when none is named."""
        return float(self.about(run).get("arguments", {}).get("level", LEVEL))

    @property
    def confidence(self) -> str:
        """The level of the intervals in words: 95%, or 90% to 95% where runs differ."""
        levels = sorted({self.level(run) for run in self.runs} or {LEVEL})
        return " to ".join(percent(level) for level in (levels[:1] if len(levels) == 1 else (levels[0], levels[-1])))

    def step(self, run: str) -> float:
        """Where in training a run stands: its recorded step, or the number that its name ends with; NaN without one.

        The number stands alone or behind epoch, step, iteration, update or checkpoint: `epoch10` has one, `resnet18`
        has none.
        """
        known = self.about(run).get("step")
        found = STEP.search(run)
        return float(known) if known is not None else float(found[1]) if found else NAN

    def array(self, name: str, layer: str, *, run: str | None = None, split: str | None = None) -> np.ndarray:
        """An array by its name, such as `cdnv_grid` or `neural_collapse.cdnv_grid`."""
        run, split = run or self.runs[0], split or self.splits[0]
        prefix = f"{run}/{split}/{layer}/" if "runs" in self.provenance else f"{split}/{layer}/"
        here = {key[len(prefix) :]: array for key, array in self.arrays.items() if key.startswith(prefix)}
        for key, array in here.items():
            if name in (key, key.rpartition(".")[2]):
                return array
        raise _report_refusals.no_array(name, layer, run, split, sorted(here), list(self.layers))

    def classes(self, run: str | None = None, split: str | None = None) -> tuple[str, ...]:
        """The names of the classes, in the order of the rows of class arrays."""
        found = self.about(run).get("classes", {})
        return tuple(found.get(split or self.splits[0], next(iter(found.values()), {})))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a folder: rows in Parquet, arrays in safetensors, and provenance.json, which names both.

        An existing report is replaced by one rename. Raises FileError where there is no room or no permission; the
        earlier report is then as it was.
        """
        columns = {f.name: (f.type, [getattr(row, f.name) for row in self.rows]) for f in fields(Row)}
        return _saved.write(path, columns, self.arrays, self.provenance)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Read what `save` wrote. Raises FileError for what is no report, of a newer version, cut or changed."""
        columns, arrays, provenance = _saved.read(path, COLUMNS)
        columns["flags"] = [tuple(flags) for flags in columns["flags"]]
        return cls(tuple(Row(*values) for values in zip(*(columns[name] for name in COLUMNS))), arrays, provenance)


def concat(reports: "Iterable[Report] | Mapping[str, Report]") -> Report:
    """One report of many runs. A mapping renames each run: its key for a report of one run, else key/run.

    Raises InputError when two runs have the same name, or when there is no report.
    """
    named: Any = reports  # isinstance cannot narrow an iterable that may be a mapping of something else
    given: list[Report] = [r.renamed(name) for name, r in named.items()] if isinstance(named, Mapping) else list(named)
    if not given:
        raise _report_refusals.no_reports()
    names = [run for report in given for run in report.runs]
    clash = sorted({name for name in names if names.count(name) > 1})
    if clash:
        raise _report_refusals.same_run(clash)
    if len(given) == 1:
        return given[0]
    return Report(
        tuple(row for report in given for row in report.rows),
        {name: array for report in given for name, array in _named(report).items()},
        {
            "runs": [run for report in given for run in _runs_of(report)],
            "failures": [line for report in given for line in report.failures],
        },
    )


def closest_pairs(grid: np.ndarray, pairs: int) -> list[tuple[int, int]]:
    """The pairs (i, j), i > j, with the largest values, the largest first; those without a value stay out."""
    rows, columns = np.tril_indices(len(grid), -1)
    known = ~np.isnan(grid[rows, columns])
    rows, columns = rows[known], columns[known]
    order = np.argsort(-grid[rows, columns], kind="stable")[:pairs]
    return [(int(rows[k]), int(columns[k])) for k in order]


def penultimate(report: Report, run: str | None = None) -> str:
    """The layer that the classifier reads, where it is known; else the last but one, or, of arrays, the last."""
    rows = report.of_run(run or report.runs[0])
    of_run = {r.layer for r in rows if r.layer}
    layers = [layer for layer in report.layers if layer in of_run]
    heads = [r.layer for r in rows if r.quantity in ("self_duality", "classifier_equinorm")]
    known = [layer for layer in heads if layer in layers]
    about = report.about(run)
    arrays = "model" not in about and "splits" in about  # a profile of features that came as arrays
    return known[0] if known else layers[-1] if arrays or len(layers) < 2 else layers[-2]


def row(run: str, split: str, layer: str, depth: int, analyzer: str, quantity: str, estimate: Estimate) -> Row:
    """A line of the report from an estimate."""
    kept = (
        "value", "low", "high", "null", "null_low", "null_high", "n", "note", "label", "p", "permutations", "floor",
        "floor_high",
    )  # fmt: skip
    values = {name: getattr(estimate, name) for name in kept} | {"note": str(estimate.note)}
    where = {"run": run, "split": split, "layer": layer, "depth": depth}
    flags = tuple(map(str, estimate.flags))
    facts: dict[str, Any] = {**where, "analyzer": analyzer, "quantity": quantity, "index": 0, "flags": flags, **values}
    return Row(**facts)


def _runs_of(report: Report) -> list[Any]:
    return list(report.provenance.get("runs", [dict(report.provenance, run=report.runs[0] if report.runs else "")]))


def _named(report: Report) -> dict[str, np.ndarray]:
    if "runs" in report.provenance or not report.runs:
        return dict(report.arrays)
    return {f"{report.runs[0]}/{name}": array for name, array in report.arrays.items()}


def _grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, tuple[Row, ...]]:
    """Rows by what they have in common, in order."""
    found: dict[K, list[Row]] = {}
    for r in rows:
        found.setdefault(key(r), []).append(r)
    return {name: tuple(some) for name, some in found.items()}


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
