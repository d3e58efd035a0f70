"""A report on disk: a folder with rows in Parquet, arrays in safetensors, and provenance in JSON that names both.

The names of the two carry their digests, so a new report never writes over an old one, and the provenance, which is
put in its place last, is what makes it the report of the folder.
"""

import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from repana import _file_refusals
from repana._files import put, read_bytes, tidy

# 1 had no digests, 1 and 2 no flags, labels and quantities, 1 to 3 no p, 1 to 4 no floor, 1 to 5 two files of fixed
# names; they are read and completed
FORMAT = 6
# Columns that came with a format, and what older reports have there.
ADDED: tuple[tuple[int, str, float | int], ...] = (
    (4, "p", math.nan), (4, "permutations", 0), (5, "floor", math.nan), (5, "floor_high", math.nan),
)  # fmt: skip
PROVENANCE = "provenance.json"
ABANDONED = "abandoned"  # of what a training left behind when it went on from an earlier step
NAMED = {  # the files that a provenance of format 6 names, and their names before
    "rows": (re.compile(r"rows-[0-9a-f]{8}\.parquet"), "rows.parquet"),
    "arrays": (re.compile(r"arrays-[0-9a-f]{8}\.safetensors"), "arrays.safetensors"),
}
REPLACED = ("rows*.parquet", "arrays*.safetensors")
KINDS: dict[Any, str] = {str: "string", int: "int64", float: "float64", tuple[str, ...]: "list"}


def write(
    path: str | os.PathLike[str],
    columns: Mapping[str, tuple[type, Sequence[Any]]],
    arrays: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
) -> Path:
    """Write rows and arrays under names of their own, then the provenance that names them: one rename replaces a
    report. Raises FileError where the folder cannot be written to or has no room; the earlier report is then whole.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save

    folder = Path(path)
    if os.path.isfile(folder):
        raise _file_refusals.not_a_folder(folder)
    kinds = {name: KINDS[kind] for name, (kind, _) in columns.items()}
    types = [
        (name, pa.list_(pa.string()) if kind == "list" else pa.type_for_alias(kind)) for name, kind in kinds.items()
    ]
    table = pa.table({name: list(values) for name, (_, values) in columns.items()}, schema=pa.schema(types))
    rows = io.BytesIO()
    pq.write_table(table, rows)
    stored = {
        "rows": rows.getvalue(),
        "arrays": save({name: np.ascontiguousarray(array) for name, array in arrays.items()}),
    }
    digests = {}
    for kind, content in stored.items():
        digest = sha256(content).hexdigest()
        name = f"{kind}-{digest[:8]}.{NAMED[kind][1].rpartition('.')[2]}"
        put(folder / name, content)
        digests[name] = digest
    text = json.dumps({"format": FORMAT, "sha256": digests, **provenance}, indent=2, default=str)
    put(folder / PROVENANCE, text.encode() + b"\n")
    tidy(folder, REPLACED, keep=tuple(digests))
    return folder


def read(
    path: str | os.PathLike[str], names: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[str, np.ndarray], dict[str, Any]]:
    """The columns, arrays and provenance that `write` wrote; refused when a file was cut or changed since."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import load

    folder = Path(path)
    provenance, stored = _contents(folder)
    found, columns, arrays = provenance.pop("format"), {}, {}
    digests = provenance.pop("sha256", {})
    for kind, (name, content) in stored.items():
        if (name in digests or found > 2) and sha256(content).hexdigest() != digests.get(name):
            raise _file_refusals.damaged(folder, name, "its SHA-256 is not the one written in provenance.json")
        try:
            if kind == "rows":
                columns = pq.read_table(pa.BufferReader(content)).to_pydict()
            else:
                arrays = load(content)
        except Exception as error:  # of pyarrow or safetensors, each with classes of its own
            raise _file_refusals.damaged(folder, name, str(error)) from None
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
        raise _file_refusals.damaged(folder, stored["rows"][0], f"it has no column {lacking[0]!r}")
    return columns, arrays, provenance


def _contents(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]]]:
    """The provenance of a report, and name and bytes of the files that it names.

    A writer may put another report in its place in between, so a file that is gone is looked for once more under the
    name that the provenance gives then.
    """
    for again in (True, False):
        if not (folder / PROVENANCE).is_file():
            raise _file_refusals.not_a_report(folder, [PROVENANCE])
        provenance = _provenance(folder)
        names = _names(folder, provenance)
        try:
            return provenance, {kind: (name, read_bytes(folder / name)) for kind, name in names.items()}
        except FileNotFoundError:
            if not again:
                missing = [name for name in names.values() if not (folder / name).is_file()]
                raise _file_refusals.not_a_report(folder, missing) from None
        except OSError as error:
            raise _file_refusals.damaged(folder, Path(error.filename or PROVENANCE).name, str(error)) from None
    raise AssertionError


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        provenance = json.loads(read_bytes(folder / PROVENANCE))
    except (ValueError, OSError) as error:
        raise _file_refusals.damaged(folder, PROVENANCE, f"it is not JSON ({error})") from None
    if not isinstance(provenance, dict):
        raise _file_refusals.damaged(folder, PROVENANCE, "it is not a mapping")
    found = provenance.get("format")
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= FORMAT:
        raise _file_refusals.other_format(folder, found, FORMAT)
    digests = provenance.get("sha256", {})
    if not isinstance(digests, dict) or not all(isinstance(d, str) for d in digests.values()):
        raise _file_refusals.damaged(folder, PROVENANCE, "`sha256` is not a mapping from files to digests")
    return provenance


def _names(folder: Path, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The names of rows and arrays; from format 6 on those that the provenance gives, which are checked before a path
    is made of them."""
    if provenance["format"] < 6:
        return {kind: name for kind, (_, name) in NAMED.items()}
    names = {}
    for kind, (pattern, _) in NAMED.items():
        here = [name for name in provenance.get("sha256", {}) if pattern.fullmatch(name)]
        if len(here) != 1:
            raise _file_refusals.damaged(folder, PROVENANCE, f"it names {len(here)} files of {kind}; expected one")
        names[kind] = here[0]
    return names


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
WITH_LAYER = (("layer_choice", "chosen_accuracy"), ("layer_choice", "oracle_accuracy"))  # whose note was a layer


def _complete(columns: dict[str, list[Any]]) -> None:
    """Flags and labels of formats 1 and 2, which had them in their notes, and the names that quantities have now."""
    if "note" not in columns or not {"analyzer", "quantity"} <= columns.keys():
        return
    notes, pairs = columns["note"], list(zip(columns["analyzer"], columns["quantity"]))
    columns["quantity"] = [RENAMED.get(pair, pair[1]) for pair in pairs]
    named = [pair in WITH_LAYER for pair in pairs]
    columns.setdefault("label", [note if name else "" for note, name in zip(notes, named)])
    said = [[flag for words, flag in FLAGS.items() if re.search(words, note)] for note in notes]
    columns.setdefault("flags", [[] if name else flags for flags, name in zip(said, named)])


def is_report(path: Path) -> bool:
    """Whether a folder holds a saved report, whole or not."""
    return (path / PROVENANCE).is_file()


def begun(path: Path) -> bool:
    """Whether a folder holds files of a report without the provenance that makes it one."""
    return not is_report(path) and any(any(path.glob(pattern)) for pattern in REPLACED)
