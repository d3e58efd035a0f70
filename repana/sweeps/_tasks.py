"""What a sweep is made of: a task is a model, a checkpoint, data, and the options of one profile."""

import csv
import glob
import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repana._files import digest_of
from repana._numbers import naturally
from repana.sweeps import _refusals

NEEDED = ("model", "data")
OPTIONS = (  # of `repana profile`, by the names that they have there
    "model", "checkpoint", "data", "held_out", "layers", "metrics", "pool", "max_samples", "device", "permutations",
    "bootstrap", "baselines", "seed", "pretrained", "weights", "prefix", "ignore", "allow_pickle", "text_column",
    "image_column", "label_column", "class_names", "max_length", "image_size", "image_mean", "image_std", "batch_size",
    "mask", "layout", "forward", "labels", "groups",
)  # fmt: skip
LISTS = ("layers", "metrics", "ignore", "class_names", "mask", "layout")
PLAIN = re.compile(r"[^A-Za-z0-9._=,+-]+")


@dataclass(frozen=True)
class Task:
    """One profile. `id` is a digest of everything that decides its result, the content of the checkpoint included."""

    id: str
    name: str
    options: Mapping[str, Any]
    bytes: int = 0  # of the checkpoint, by which the longest task is guessed

    @classmethod
    def of(cls, options: Mapping[str, Any], name: str | None = None) -> "Task":
        given = _checked(options)
        path = str(given.get("checkpoint", ""))
        size = Path(path).stat().st_size if path and Path(path).is_file() else 0
        content = {"size": size, "sha256": digest_of(Path(path).resolve())} if size else None
        text = json.dumps([given, content], sort_keys=True, default=str)
        named = name or (Path(path).stem if path else str(given["model"]).rpartition(":")[2])
        return cls(hashlib.sha256(text.encode()).hexdigest()[:16], plain(named), given, size)

    def line(self) -> str:
        return json.dumps(
            {"id": self.id, "name": self.name, "bytes": self.bytes, "options": self.options},
            sort_keys=True,
            default=str,
        )


def plain(name: str) -> str:
    """A name that is a folder's everywhere."""
    return PLAIN.sub("-", name).strip("-.") or "task"


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name.replace("-", "_"): value for name, value in options.items()}
    given.pop("name", None)
    for name in given:
        if name not in OPTIONS:
            raise _refusals.unknown_option(name, OPTIONS)
    for name in NEEDED:
        if not given.get(name):
            raise _refusals.missing(name)
    found = {}
    for name, value in given.items():
        if value is None or value == "" or value != value:  # empty, or not a number: a hole of a table
            continue
        several = isinstance(value, (list, tuple))
        found[name] = list(value) if several else [value] if name in LISTS else value
    return found


def tasks_of(source: Any, **defaults: Any) -> list[Task]:
    """Tasks of a file, of mappings, or of a model with a pattern of checkpoints; names are made different."""
    if isinstance(source, (list, tuple)) and source and all(isinstance(task, Task) for task in source):
        return distinct(source)
    if isinstance(source, (str, Path)) and Path(source).suffix in READERS:
        runs = READERS[Path(source).suffix](Path(source))
    elif isinstance(source, (str, Path)):
        runs = [{"model": str(source)}]
    else:
        runs = [dict(run) for run in source]
    found: list[Task] = []
    for run in runs:
        matrix: Any = run.pop("matrix", {})
        wide = {name: run.get(name) for name in run if run.get(name) is not None}
        options = {**{k: v for k, v in defaults.items() if v is not None}, **wide}
        name = options.pop("name", None)
        for checkpoint in _matching(options.get("checkpoint")):
            for chosen in _multiplied(matrix):
                made = {**options, **chosen} | ({} if checkpoint is None else {"checkpoint": checkpoint})
                task = Task.of(made, name if name else None)
                marks = [f"{key}={value}" for key, value in chosen.items()]
                many = name is not None and checkpoint is not None and "*" in str(options.get("checkpoint"))
                stem = [task.name, Path(checkpoint).stem] if many and checkpoint else [task.name]
                found.append(replace(task, name=plain("-".join([*stem, *marks]))))
    if not found:
        raise _refusals.no_tasks()
    return distinct(found)


def _matching(pattern: Any) -> list[str | None]:
    """Checkpoints of a pattern, in natural order; one path stays as it is."""
    if pattern is None:
        return [None]
    text = str(pattern)
    if not any(sign in text for sign in "*?["):
        return [text]
    found = sorted(glob.glob(text, recursive=True), key=naturally)
    if not found:
        raise _refusals.no_checkpoints(text)
    return list(found)


def _multiplied(matrix: Mapping[str, Sequence[Any]]) -> Iterable[dict[str, Any]]:
    names = list(matrix)
    for values in itertools.product(*(matrix[name] for name in names)):
        yield dict(zip(names, values))


def distinct(tasks: Sequence[Task], known: Sequence[Task] = ()) -> list[Task]:
    """Tasks with names of their own, no task twice: of equal names with the folder of the checkpoint, or the digest."""
    ids = {task.id for task in known}
    new = list({task.id: task for task in reversed(tasks) if task.id not in ids}.values())[::-1]
    count: dict[str, int] = {}
    for task in new:
        count[task.name] = count.get(task.name, 0) + 1
    taken = {task.name for task in known}
    found = []
    for task in new:
        name = task.name
        parent = Path(str(task.options.get("checkpoint", ""))).parent.name
        if count[name] > 1 and parent:
            name = plain(f"{parent}-{name}")
        if name in taken:
            name = f"{name}-{task.id[:6]}"
        taken.add(name)
        found.append(replace(task, name=name))
    return found


def _toml(path: Path) -> list[dict[str, Any]]:
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refusals.unreadable(path, str(error)) from None
    extra = set(known) - {"defaults", "runs", "matrix"}
    if extra:
        raise _refusals.unreadable(path, f"it has [{sorted(extra)[0]}]; expected [defaults], [[runs]] and [matrix]")
    runs = known.get("runs") or [{}]
    return [{**known.get("defaults", {}), **run, "matrix": known.get("matrix", {})} for run in runs]


def _csv(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            return [{k: _number(v) for k, v in row.items() if k and v} for row in csv.DictReader(lines)]
    except (OSError, ValueError) as error:
        raise _refusals.unreadable(path, str(error)) from None


def _number(text: str) -> Any:
    """A whole number where it is one, several values where a semicolon parts them."""
    if ";" in text:
        return [_number(part.strip()) for part in text.split(";")]
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _jsonl(path: Path) -> list[dict[str, Any]]:
    try:
        return [dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, TypeError) as error:
        raise _refusals.unreadable(path, str(error)) from None


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except Exception as error:  # of pyarrow, with classes of its own
        raise _refusals.unreadable(path, str(error)) from None


READERS = {".toml": _toml, ".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
