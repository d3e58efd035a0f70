"""The records of a training from its saved checkpoints, in any order, each once."""

import glob
import inspect
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from repana._numbers import naturally
from repana._results import STEP, Report
from repana.dynamics import stopping_point
from repana.extraction._checkpoints import load_checkpoint
from repana.extraction._guards import steps as progress_of
from repana.training import _refusals
from repana.training._measured import related
from repana.training._monitor import Monitor
from repana.training._records import Records
from repana.training._scores import probe_split, scores_of

OF_THE_FOLDER = ("RA286", "RA287", "RA332", "RA333")  # which no other checkpoint would change
Checkpoints = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[int, Any]


def trajectory(
    checkpoints: Checkpoints,
    make_model: Callable[..., nn.Module],
    probe: Any,
    *,
    store: str | os.PathLike[str] | None = None,
    later: bool | Sequence[str] = False,
    progress: bool | None = None,
    **options: Any,
) -> Report:
    """What a `Monitor` would have recorded, from the checkpoints that a training left.

    - `checkpoints`: a mapping from steps to files, or files (a list, or a pattern such as `runs/a/*.pt`) whose names
      end with their step: "epoch10.pt", "step_2000.safetensors", "checkpoint-500".
    - `make_model`: a function without arguments that makes the network, into which the weights of each file are put
      (all of them and nothing else, as `load_model(checkpoint=)` does it, without running code of the file); or a
      function of the path that gives the network with its weights, as for folders of transformers.
    - `probe`, and `options`: as of `Monitor` (`train_probe`, `layers`, `max_samples`, `stop_on`, `seed`, ...).
    - `store`: the folder of the records. What is there is not measured again, unless its file has changed: an
      interrupted call goes on, and checkpoints that come later, or in between, are added. Without it nothing is kept.
    - `later`: as of `Monitor.finish`.

    A checkpoint that cannot be read or measured does not cost the others; `report.failures` says which and why.

    Raises InputError for checkpoints without steps or with the same step twice, and where none could be measured.

    >>> import tempfile, torch, repana
    >>> def make():
    ...     return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for epoch in (1, 2, 10):
    ...         torch.save(make().state_dict(), f"{folder}/epoch{epoch}.pt")
    ...     report = repana.trajectory(f"{folder}/*.pt", make, (x, (x[:, 0] > 0).long()))
    >>> report.runs
    ('step 1', 'step 2', 'step 10', 'training')
    """
    sources = _by_step(checkpoints)
    options = {"budget": None, "page": store is not None, **options}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if store is None else store
        monitor = stack.enter_context(Monitor(probe, store=folder, **options))
        failures: list[str] = []
        begin = stack.enter_context(progress_of(len(sources), progress))
        for step, source in sources.items():
            begin(f"step {step}")
            try:
                _record(monitor._records, step, source, make_model)
            except Exception as error:  # of a user's function too
                if getattr(error, "code", "") in OF_THE_FOLDER:
                    raise
                failures.append(f"step {step}, {source}: {error}")
        if not monitor.steps:
            raise _refusals.no_checkpoint_measured(failures)
        if monitor._records.begun:
            _relate(monitor._records)
        report = monitor.finish(later=later)
    return Report(report.rows, report.arrays, {**report.provenance, "failures": [*report.failures, *failures]})


def _record(records: Records, step: int, source: Any, make_model: Callable[..., nn.Module]) -> None:
    """Of one checkpoint, unless it is recorded as it is."""
    known = _identity(source)
    report = records.reports.get(step)
    if report is None and step in records.steps:
        report = records.folder.report(step)
    if report is not None and report.provenance.get("checkpoint") == known:
        if not records.begun:
            records.attach(_made(make_model, source))  # says so where settings differ
        return
    model = _made(make_model, source)
    records.attach(model)
    splits = records.read(model)
    if step in records.reports:
        records.leave([step])
    records.put(step, splits, {}, {}, checkpoint=known)


def _made(make_model: Callable[..., nn.Module], source: Any) -> nn.Module:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(make_model).parameters.values()
        required = [p for p in parameters if p.default is p.empty and p.kind in kinds]
    except (TypeError, ValueError):
        required = []
    if required:
        return make_model(source)
    model = make_model()
    load_checkpoint(model, source)
    return model


def _relate(records: Records) -> None:
    """Similarities to the first, the previous and the best record, in the order of the steps, whatever that in which
    they were recorded."""
    first = previous = best = None
    done: dict[int, Report] = {}
    held: dict[int, Any] = {}
    for step in records.steps:
        report = records.folder.report(step)
        probe = held[step] = records.folder.activations(step, probe_split(report))
        done[step] = report
        if probe is None:
            continue
        names = {"cka_first": first, "cka_previous": previous, "cka_best": best}
        records.replace(step, related(report, probe, names, records.level))
        first, previous = first or probe, probe
        at = stopping_point(scores_of(done, records.rule), records.rule).best
        best = None if at is None else held[sorted(done)[at]]


def _by_step(checkpoints: Checkpoints) -> dict[int, Any]:
    """Files by step, ascending."""
    if isinstance(checkpoints, Mapping):
        pairs = [(step, source) for step, source in checkpoints.items()]
    else:
        given = [checkpoints] if isinstance(checkpoints, (str, os.PathLike)) else list(checkpoints)
        paths: list[str] = []
        for path in [str(p) for p in given]:
            found = sorted(glob.glob(path, recursive=True), key=naturally) if glob.has_magic(path) else [path]
            paths += found
        pairs = [(_step_of(path), path) for path in paths]
    unknown = [str(source) for step, source in pairs if step is None]
    if unknown or not pairs:
        raise _refusals.checkpoints_without_step(unknown)
    known: dict[int, Any] = {}
    for step, source in pairs:
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise _refusals.no_step(step)
        if step in known:
            raise _refusals.same_step(step, [str(known[step]), str(source)])
        known[step] = source
    return dict(sorted(known.items()))


def _step_of(path: str) -> int | None:
    name = Path(path).name
    name = name if Path(path).is_dir() else re.sub(r"(\.[A-Za-z]\w*)+$", "", name)
    found = STEP.search(name)
    return int(float(found[1])) if found and float(found[1]).is_integer() else None


def _identity(source: Any) -> dict[str, Any]:
    """What tells whether a checkpoint is the one that was recorded: its name, size and time of writing."""
    path = Path(os.fspath(source))
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    sizes = [p.stat() for p in files]
    written = max((s.st_mtime_ns for s in sizes), default=0)
    return {"name": path.name, "bytes": sum(s.st_size for s in sizes), "written": written}
