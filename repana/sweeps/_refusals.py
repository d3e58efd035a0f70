"""Refusals of sweeps: what was found, and what to do."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from repana._check import listed, nearest
from repana.errors import FileError, InputError


def no_manifest(path: Any) -> FileError:
    return FileError(
        "RA326",
        f"{str(path)!r} is no list of tasks; expected a .toml, .csv, .jsonl or .parquet file, or a model with -c.",
    )


def unreadable(path: Any, reason: str) -> FileError:
    return FileError("RA326", f"{str(path)!r} cannot be read as a list of tasks: {reason}.")


def unknown_option(name: str, known: Iterable[str]) -> InputError:
    return InputError("RA327", f"a task has no option {name!r}; nearest: {listed(nearest(name, list(known)))}.")


def missing(name: str) -> InputError:
    return InputError("RA327", f"a task needs {name!r}; give it in [defaults], in its run, or on the command line.")


def no_checkpoints(pattern: str) -> FileError:
    return FileError(
        "RA326", f"no checkpoint matches {pattern!r}; expected files, or a pattern in quotes: -c 'ckpt/*.pt'."
    )


def no_tasks() -> InputError:
    return InputError("RA327", "there are no tasks; give checkpoints with -c, or runs in a file.")


def no_sweep(folder: Path) -> FileError:
    return FileError("RA326", f"{str(folder)!r} is no sweep: it has no tasks.jsonl.")


def no_task(folder: Path, task: str, known: Sequence[str]) -> InputError:
    return InputError("RA327", f"{str(folder)!r} has no task {task!r}; it has {listed(known, 5)}.")


def untrusted(folder: Path) -> FileError:
    return FileError(
        "RA328",
        f"{str(folder)!r} may be written by others, and its tasks name code that would run as you. Give "
        "--trust-folder if you know who writes there.",
    )


def engine_missing(name: str, package: str) -> InputError:
    return InputError("RA329", f"--on {name} needs {package}: pip install 'repana[{name}]'.")


def unknown_engine_option(name: str, known: Sequence[str]) -> InputError:
    return InputError("RA327", f"no option {name!r} of this engine; expected {listed(known)}.")
