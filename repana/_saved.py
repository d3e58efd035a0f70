"""A report on disk: a folder with rows in Parquet, arrays in safetensors, provenance in JSON with their digests."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repana import _report_refusals

# 1 had no digests, 1 and 2 no flags, labels and quantities, 1 to 3 no p, 1 to 4 no floor; they are read and completed
FORMAT = 5
# Columns that came with a format, and what older reports have there.
ADDED: tuple[tuple[int, str, float | int], ...] = (
    (4, "p", math.nan), (4, "permutations", 0), (5, "floor", math.nan), (5, "floor_high", math.nan),
)  # fmt: skip
ROWS, ARRAYS, PROVENANCE = "rows.parquet", "arrays.safetensors", "provenance.json"
KINDS: dict[Any, str] = {str: "string", int: "int64", float: "float64", tuple[str, ...]: "list"}


def write(
    path: str | os.PathLike[str],
    columns: Mapping[str, tuple[type, Sequence[Any]]],
    arrays: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
) -> Path:
    """Write the three files, each beside its place first, so that a report is replaced whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    folder = Path(path)
    if folder.is_file():
        raise _report_refusals.not_a_folder(folder)
    kinds = {name: KINDS[kind] for name, (kind, _) in columns.items()}
    types = [
        (name, pa.list_(pa.string()) if kind == "list" else pa.type_for_alias(kind)) for name, kind in kinds.items()
    ]
    schema = pa.schema(types)
    table = pa.table({name: list(values) for name, (_, values) in columns.items()}, schema=schema)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"{ROWS}.new")
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / f"{ARRAYS}.new")
        digests = {name: _digest(folder / f"{name}.new") for name in (ROWS, ARRAYS)}
        text = json.dumps({"format": FORMAT, "sha256": digests, **provenance}, indent=2, default=str)
        (folder / f"{PROVENANCE}.new").write_text(text + "\n", encoding="utf-8")
        for name in (ROWS, ARRAYS, PROVENANCE):
            os.replace(folder / f"{name}.new", folder / name)
    except PermissionError as error:
        raise _report_refusals.not_writable(error.filename or folder) from None
    return folder


def read(
    path: str | os.PathLike[str], names: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[str, np.ndarray], dict[str, Any]]:
    """The columns, arrays and provenance that `write` wrote; refused when a file was cut or changed since."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    folder = Path(path)
    missing = [name for name in (ROWS, ARRAYS, PROVENANCE) if not (folder / name).is_file()]
    if missing:
        raise _report_refusals.not_a_report(folder, missing)
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise _report_refusals.damaged(folder, PROVENANCE, f"it is not JSON ({error})") from None
    found = provenance.pop("format", None)
    if not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise _report_refusals.other_format(folder, found, FORMAT)
    for name, digest in provenance.pop("sha256", {}).items():
        if _digest(folder / name) != digest:
            raise _report_refusals.damaged(folder, name, "its SHA-256 is not the one written in provenance.json")
    try:
        columns = pq.read_table(folder / ROWS).to_pydict()
        arrays = load_file(folder / ARRAYS)
    except Exception as error:  # of pyarrow or safetensors, each with classes of its own
        raise _report_refusals.damaged(
            folder, ROWS if "arrow" in type(error).__module__ else ARRAYS, str(error)
        ) from None
    rows = len(next(iter(columns.values()), []))
    for since, name, nothing in ADDED:
        if found < since and columns:
            columns.setdefault(name, [nothing] * rows)
    if found < 3:
        _complete(columns)
        for p in (provenance, *provenance.get("runs", ())):
            beyond = [note for note in p.get("notes", ()) if note.startswith("labels reach")]
            p |= {"labels_beyond": beyond[0]} if beyond else {}
    lacking = [name for name in names if name not in columns]
    if lacking:
        raise _report_refusals.damaged(folder, ROWS, f"it has no column {lacking[0]!r}")
    return columns, arrays, provenance


# The notes of formats 1 and 2 that were read as data, some at the start of a remark, and the flags that say the same.
FLAGS = {
    "(^|; )trivial": "trivial",
    "(^|; )no simplex": "no_simplex",
    "(^|; )the class means": "coinciding_means",
    "fewer than": "few_samples",
    "never vary": "constant",
    "repeat another": "repeated",
}
RENAMED = {
    ("probing", "capacity"): "memorization",
    ("probing", "select_accuracy"): "validation_accuracy",
}
NAMED = (("layer_choice", "chosen_accuracy"), ("layer_choice", "oracle_accuracy"))  # whose note was a layer


def _complete(columns: dict[str, list[Any]]) -> None:
    """Flags and labels of formats 1 and 2, which had them in their notes, and the names that quantities have now."""
    if "note" not in columns or not {"analyzer", "quantity"} <= columns.keys():
        return
    notes, pairs = columns["note"], list(zip(columns["analyzer"], columns["quantity"]))
    columns["quantity"] = [RENAMED.get(pair, pair[1]) for pair in pairs]
    named = [pair in NAMED for pair in pairs]
    columns.setdefault("label", [note if name else "" for note, name in zip(notes, named)])
    said = [[flag for words, flag in FLAGS.items() if re.search(words, note)] for note in notes]
    columns.setdefault("flags", [[] if name else flags for flags, name in zip(said, named)])


def is_report(path: Path) -> bool:
    """Whether a folder holds a saved report."""
    return all((path / name).is_file() for name in (ROWS, ARRAYS, PROVENANCE))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
