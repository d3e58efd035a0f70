"""`sweep`: the tasks of a folder that are not done, run by an engine, with what failed tried once more."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from repana import _check
from repana._compare import load_runs
from repana._results import Report
from repana.sweeps._engines import ENGINES, Command, Ended, command_of
from repana.sweeps._folder import AGAIN, REPORT, Failure, Status, SweepFolder
from repana.sweeps._tasks import Task, tasks_of

OVERVIEW = "overview.html"
EVERY, SHARE = 60.0, 20.0  # seconds between overviews, and how often their own time at least


def sweep(
    tasks: Any,
    folder: str | os.PathLike[str],
    *,
    on: str = "local",
    workers: int = 1,
    gpus_per_task: int = 0,
    tasks_per_process: int = 1,
    task_timeout: float | None = None,
    retry: str = "none",
    options: Mapping[str, Any] | None = None,
    overview: bool = True,
    progress: bool | None = None,
    **defaults: Any,
) -> Report:
    """Profile many checkpoints, each in a process of its own, and return the report of all that are done.

    - `tasks`: a `.toml`, `.csv`, `.jsonl` or `.parquet` file, mappings with the options of `repana profile` (`model`,
      `checkpoint`, `data`, `held_out`, `metrics`, ...), or a model, with `checkpoint="ckpt/*.safetensors"` and
      `data=` among the `defaults`. A pattern of checkpoints is a task a file.
    - `folder`: tasks.jsonl, and for each task its report or why there is none. What is there is not done again; a
      checkpoint whose content changed is another task.
    - `on`: "local" child processes, `workers` at a time; "ray"; or "slurm", through submitit. `options` are those of
      the engine: `address`, `num_cpus`, `max_retries` of Ray; of submitit all of its parameters, such as
      `slurm_partition`. `gpus_per_task` GPUs are given to each task.
    - `tasks_per_process`: tasks that one process takes in turn, so that imports are paid once.
    - `task_timeout`: seconds for the tasks of one process. `retry="failed"` takes the failed tasks again.

    Failures are isolated and stand in `Report.failures`: refused and damaged checkpoints are not tried again; what ran
    out of memory is, with half the batch, and what crashed, timed out or raised is once more.

    Raises InputError for tasks without a model or data, FileError for a folder that is none.
    """
    _check.choice(on, "on", tuple(ENGINES))
    _check.choice(retry, "retry", ("none", "failed"))
    for name, value in (("workers", workers), ("tasks_per_process", tasks_per_process)):
        _check.at_least(value, name, 1)
    _check.at_least(gpus_per_task, "gpus_per_task", 0)
    place = SweepFolder(Path(folder))
    place.add(tasks_of(tasks, **defaults))
    run = _Sweep(place, on, workers, gpus_per_task, tasks_per_process, task_timeout, dict(options or {}), overview)
    if retry == "failed":
        for task, _ in place.status().failed:
            place.forget(task)
    status = place.status()
    with _bar(status, progress) as ended:
        run.all([*status.waiting, *status.running], ended)
    return run.result()


@dataclass
class _Sweep:
    folder: SweepFolder
    on: str
    workers: int
    gpus: int
    at_once: int
    timeout: float | None
    options: dict[str, Any]
    overview: bool
    last: float = field(default_factory=time.monotonic)
    took: float = 0.0

    def all(self, tasks: Sequence[Task], ended: Callable[[], None]) -> None:
        """The largest checkpoints first; then once more what may succeed then."""
        todo = sorted(tasks, key=lambda task: -task.bytes)
        for attempt in (1, 2):
            again: list[Task] = []
            groups = self._groups(todo, attempt)
            for end in ENGINES[self.on](self._commands(groups), self.workers, self.gpus, self._engine_options()):
                for task in groups[end.index]:
                    failure = self._failure(task, end, attempt)
                    if failure is not None and failure.kind in AGAIN and attempt == 1:
                        again.append(task)
                    else:
                        ended()
                self._show()
            todo = again
            if not todo:
                return

    def _groups(self, todo: Sequence[Task], attempt: int) -> list[list[Task]]:
        size = self.at_once if attempt == 1 else 1
        return [list(todo[k : k + size]) for k in range(0, len(todo), size)]

    def _commands(self, groups: Sequence[Sequence[Task]]) -> list[Command]:
        found = []
        for group in groups:
            more = []
            for task in group:
                failure = self.folder.failure(task)
                more += ["--half"] if failure is not None and failure.kind == "memory" else []
                self.folder.forget(task)
            found.append(command_of(self.folder.path, [t.id for t in group], self.timeout, *more[:1]))
        return found

    def _engine_options(self) -> dict[str, Any]:
        return {"folder": str(self.folder.path / "slurm"), **self.options} if self.on == "slurm" else self.options

    def _failure(self, task: Task, end: Ended, attempt: int) -> Failure | None:
        """Why a task has no report, from what it left, or from how its process ended."""
        if self.folder.done(task):
            return None
        left = self.folder.failure(task)
        if left is None:
            lines = end.said.strip().splitlines()
            last = lines[-1] if lines else ""
            if end.code is None:
                left = Failure(task.id, "timeout", f"not done after {self.timeout:g} s")
            elif end.code < 0 or end.code > 128:
                number = -end.code if end.code < 0 else end.code - 128
                left = Failure(task.id, "crashed", f"ended by signal {number}", traceback=end.said)
            else:
                left = Failure(task.id, "error", f"exit code {end.code}: {last}", traceback=end.said)
        left = replace(left, attempts=attempt)
        self.folder.fail(task, left)
        return left

    def _show(self) -> None:
        """The page of what is done so far, from time to time."""
        if self.overview and time.monotonic() - self.last > max(EVERY, SHARE * self.took):
            self._page()

    def _page(self) -> Report | None:
        began = time.monotonic()
        made = loaded(self.folder)
        if made is not None and self.overview:
            made.to_html(self.folder.path / OVERVIEW)
        self.last = time.monotonic()
        self.took = self.last - began
        return made

    def result(self) -> Report:
        made = self._page()
        return Report((), {}, {"failures": failures(self.folder.status())}) if made is None else made


def loaded(folder: SweepFolder) -> Report | None:
    """The report of all tasks that are done, with a line for each that is not; None while none is."""
    status = folder.status()
    if not status.done:
        return None
    made = load_runs([folder.at(task) / REPORT for task in status.done])
    lines = [*made.failures, *failures(status)]
    missing = [*made.provenance.get("missing_runs", ()), *(task.name for task, _ in status.failed)]
    return replace(made, provenance={**made.provenance, "failures": lines, "missing_runs": missing})


def failures(status: Status) -> list[str]:
    return [f"{task.name}: {failure.kind}: {failure.error}" for task, failure in status.failed]


@contextmanager
def _bar(status: Status, progress: bool | None) -> Iterator[Callable[[], None]]:
    """A bar over all tasks, with those that were done before."""
    from tqdm import tqdm

    off = None if progress is None else not progress
    with tqdm(total=status.total, initial=len(status.done) + len(status.failed), unit="task", disable=off) as bar:

        def ended() -> None:
            bar.update(1)

        yield ended


def folder_of(path: str | os.PathLike[str]) -> SweepFolder:
    """An existing sweep."""
    found = SweepFolder(Path(path))
    found.tasks()
    return found
