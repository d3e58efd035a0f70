"""What comes out: an estimate with its interval, and the report of many of them."""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repana import _check

if TYPE_CHECKING:  # pandas and matplotlib are loaded by the functions that give their objects
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAN = float("nan")
FORMAT = 1  # of a saved report; a reader refuses a newer one


@dataclass(frozen=True, repr=False)
class Estimate:
    """A value with its interval. NaN where there is none; `note` says why, or what to beware of.

    `null` is the value expected without any relation between features and labels, with its own range.
    """

    value: float
    low: float = NAN
    high: float = NAN
    n: int = 0
    note: str = ""
    null: float = NAN
    null_low: float = NAN
    null_high: float = NAN

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return f"Estimate({self})" if not self.n else f"Estimate({self}, n={self.n})"

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.value:.4g}{interval}" + (f" ({self.note})" if self.note else "")


def estimates(result: object) -> dict[str, Estimate]:
    """The scalar quantities of a result by name."""
    found = {f.name: getattr(result, f.name) for f in fields(result)}  # type: ignore[arg-type]
    return {name: value for name, value in found.items() if isinstance(value, Estimate)}


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

    @property
    def runs(self) -> tuple[str, ...]:
        return _unique(row.run for row in self.rows)

    @property
    def splits(self) -> tuple[str, ...]:
        return _unique(row.split for row in self.rows)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in forward order, those of several runs merged; what is of the whole network has the layer ''."""
        merged: list[str] = []
        for run in self.runs:
            rows = sorted((r for r in self.rows if r.run == run and r.layer), key=lambda r: r.depth)
            at = 0
            for layer in _unique(r.layer for r in rows):
                if layer in merged:
                    at = merged.index(layer) + 1
                else:
                    merged.insert(at, layer)
                    at += 1
        return tuple(merged)

    @property
    def quantities(self) -> tuple[str, ...]:
        return _unique(row.quantity for row in self.rows)

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be measured: one line each, empty when all went well."""
        return tuple(self.provenance.get("failures", ()))

    def frame(self) -> "pd.DataFrame":
        """All rows as a pandas frame, one line per run, split, layer and quantity."""
        import pandas as pd

        return pd.DataFrame({name: [getattr(row, name) for row in self.rows] for name in COLUMNS}, columns=COLUMNS)

    def select(self, quantity: str, *, run: str | None = None, split: str | None = None) -> tuple[Row, ...]:
        """The rows of one quantity, by layer in forward order. `nc1` or, where ambiguous, `neural_collapse.nc1`."""
        name = quantity.rpartition(".")[2]
        analyzer = quantity.rpartition(".")[0]
        named = [r for r in self.rows if r.quantity == name and analyzer in ("", r.analyzer)]
        if not named:
            raise _check.unknown_quantity(quantity, self.quantities)
        owners = _unique(r.analyzer for r in named)
        if len(owners) > 1:
            raise _check.ambiguous_quantity(quantity, owners)
        run = self.runs[0] if run is None else run
        rows = [r for r in named if r.run == run]
        present = _unique(r.split for r in rows)
        split = (present[0] if present else "") if split is None else split
        found = [r for r in rows if r.split == split]
        if not found:
            raise _check.nothing_selected(quantity, run, split, self.runs, self.splits)
        return tuple(sorted(found, key=lambda r: r.depth))

    def series(self, quantity: str, *, run: str | None = None, split: str | None = None) -> "pd.DataFrame":
        """One quantity by layer: columns value, low, high, null, null_low, null_high, n, note."""
        import pandas as pd

        rows = self.select(quantity, run=run, split=split)
        names = ("value", "low", "high", "null", "null_low", "null_high", "n", "note")
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
        """The depth profile of some quantities, small multiples; see `repana.plots.depth_profile`."""
        from repana import plots

        axes = plots.depth_profile(self, *quantities, ax=ax, **options)
        return plots.figure_of(axes)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page: one file that needs nothing else."""
        from repana import report

        return report.write_html(self, path)

    def to_markdown(self, *quantities: str, **options: Any) -> str:
        """The table with intervals, as Markdown."""
        from repana import report

        return report.markdown(self, *quantities, **options)

    def _repr_html_(self) -> str:
        from repana import report

        return report.fragment(self)

    def __repr__(self) -> str:
        return (
            f"Report({len(self.rows)} rows: {len(self.runs)} run(s), {len(self.layers)} layers, "
            f"{len(self.quantities)} quantities, splits {', '.join(self.splits)})"
        )

    def __add__(self, other: "Report") -> "Report":
        """Rows of both; use it, or `sum`, to put many checkpoints into one report."""
        if not isinstance(other, Report):
            return NotImplemented
        clash = set(self.runs) & set(other.runs)
        if clash:
            raise _check.same_run(sorted(clash))
        provenance = {"runs": [*_runs_of(self), *_runs_of(other)], "failures": [*self.failures, *other.failures]}
        arrays = {**_named(self), **_named(other)}
        return Report(self.rows + other.rows, arrays, provenance)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a folder: rows.parquet, arrays.safetensors, provenance.json. An existing report is replaced."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        from safetensors.numpy import save_file

        folder = Path(path)
        if folder.is_file():
            raise _check.not_a_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({name: [getattr(row, name) for row in self.rows] for name in COLUMNS}, schema=_schema())
        pq.write_table(table, folder / "rows.parquet")
        save_file(
            {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}, folder / "arrays.safetensors"
        )
        text = json.dumps({"format": FORMAT, **self.provenance}, indent=2, sort_keys=True, default=str)
        (folder / "provenance.json").write_text(text + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Read what `save` wrote."""
        import pyarrow.parquet as pq
        from safetensors.numpy import load_file

        folder = Path(path)
        missing = [n for n in ("rows.parquet", "arrays.safetensors", "provenance.json") if not (folder / n).is_file()]
        if missing:
            raise _check.not_a_report(folder, missing)
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        found = provenance.pop("format", None)
        if found != FORMAT:
            raise _check.other_format(folder, found, FORMAT)
        columns = pq.read_table(folder / "rows.parquet").to_pydict()
        rows = tuple(Row(*values) for values in zip(*(columns[name] for name in COLUMNS)))
        return cls(rows, load_file(folder / "arrays.safetensors"), provenance)


def _schema():
    import pyarrow as pa

    kinds: dict[Any, Callable[[], Any]] = {str: pa.string, int: pa.int64, float: pa.float64}
    return pa.schema([(f.name, kinds[f.type]()) for f in fields(Row)])


def row(run: str, split: str, layer: str, depth: int, analyzer: str, quantity: str, estimate: Estimate) -> Row:
    """A line of the report from an estimate."""
    values = asdict(estimate)
    return Row(run=run, split=split, layer=layer, depth=depth, analyzer=analyzer, quantity=quantity, index=0, **values)


def _runs_of(report: Report) -> list[Any]:
    return list(report.provenance.get("runs", [dict(report.provenance, run=report.runs[0] if report.runs else "")]))


def _named(report: Report) -> dict[str, np.ndarray]:
    if "runs" in report.provenance or not report.runs:
        return dict(report.arrays)
    return {f"{report.runs[0]}/{name}": array for name, array in report.arrays.items()}


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
