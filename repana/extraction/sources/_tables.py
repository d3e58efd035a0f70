"""Tables as columns: Parquet, CSV, JSON lines, and folders that `datasets` saved."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repana import _check
from repana.extraction.sources import _refusals, _weights_refusals
from repana.extraction.sources._factories import imported, reason_of

TABLES = (".parquet", ".csv", ".jsonl", ".json")
TEXTS = ("text", "sentence")
LABELS = ("label", "labels", "y", "target")
IDS = "input_ids"


@dataclass(frozen=True)
class Table:
    """Columns by name, read when they are asked for; `classes` are the names that a column's numbers stand for."""

    where: str
    names: tuple[str, ...]
    rows: int
    column: Callable[[str], Any]
    cell: Callable[[str, int], Any]
    images: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folder: Path = Path()

    def chosen(self, name: str | None, usual: Sequence[str]) -> str:
        """The column of that name, else the first of the usual ones."""
        name = name or next((u for u in usual if u in self.names), usual[0])
        if name not in self.names:
            raise _check.column_missing(self.where, name, list(self.names))
        return name

    def described(self, name: str) -> str:
        return f"column {name!r} of {self.where!r}"


def open_table(path: str | Path) -> Table:
    """A Parquet, CSV or JSON-lines table."""
    file = Path(path)
    if not file.is_file():
        raise _weights_refusals.file_missing(path, "table")
    try:
        return _parquet(file) if file.suffix == ".parquet" else _frame(file)
    except Exception as error:
        raise _check.unreadable(path, reason_of(error)) from error


def _frame(file: Path) -> Table:
    import pandas as pd

    if file.suffix == ".csv":  # only an empty cell is a hole: "NA" and "None" are words and names of classes
        frame = pd.read_csv(file, keep_default_na=False, na_values=[""])
    else:
        frame = pd.DataFrame(_json_rows(file))
    return Table(
        str(file), tuple(map(str, frame.columns)), len(frame), frame.__getitem__,
        lambda name, row: frame[name].iloc[row], folder=file.parent,
    )  # fmt: skip


def _json_rows(file: Path) -> list[Any]:
    text = file.read_text(encoding="utf-8")
    return (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    )


def _parquet(file: Path) -> Table:
    """Columns of a Parquet file; what `datasets` wrote into its schema says which are classes and images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file, memory_map=True)
    schema = table.schema
    said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    classes = {n: tuple(f["names"]) for n, f in said.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"}
    images = [n for n, f in said.items() if isinstance(f, dict) and f.get("_type") == "Image"]
    for f in schema:  # the layout of an image column, also where nobody says so
        if f.name not in images and pa.types.is_struct(f.type) and {x.name for x in f.type} == {"bytes", "path"}:
            images.append(f.name)
    return Table(
        str(file), tuple(schema.names), table.num_rows, lambda name: table[name].to_pandas(),
        lambda name, row: table[name][row].as_py(), tuple(images), classes, file.parent,
    )  # fmt: skip


def open_dataset(place: str) -> Table:
    """A folder that `datasets` saved: `DIR`, or `DIR:SPLIT` where it holds several splits."""
    datasets = imported("datasets", "hf")
    path, split = Path(place).expanduser(), ""
    if not path.exists() and ":" in place:
        before, _, split = place.rpartition(":")
        path = Path(before).expanduser()
    if not path.is_dir():
        raise _weights_refusals.file_missing(place, "dataset folder")
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise _check.unreadable(path, reason_of(error)) from error
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded and not (len(loaded) == 1 and not split):
            raise _refusals.choose_split(f"dataset:{path}", split, list(loaded))
        split = split or next(iter(loaded))
        loaded = loaded[split]
    elif split:
        raise _refusals.choose_split(f"dataset:{path}", split, [])
    return _of_dataset(datasets, loaded.with_format(None), f"{path}:{split}" if split else str(path))


def _of_dataset(datasets: Any, loaded: Any, where: str) -> Table:
    images = [n for n, f in loaded.features.items() if isinstance(f, datasets.Image)]
    classes = {n: tuple(f.names) for n, f in loaded.features.items() if isinstance(f, datasets.ClassLabel)}
    for name in images:  # bytes and paths: images are decoded by one reader, whatever they came in
        loaded = loaded.cast_column(name, datasets.Image(decode=False))
    return Table(
        where, tuple(loaded.column_names), len(loaded), lambda name: loaded[name][:],
        lambda name, row: loaded.select_columns([name])[row][name], tuple(images), classes, Path(where.split(":")[0]),
    )  # fmt: skip
