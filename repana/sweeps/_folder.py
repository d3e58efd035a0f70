"""The folder of a sweep: its tasks, and what each has left; the only thing that a driver has to remember."""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repana import _saved
from repana._files import put, read_bytes
from repana._results import Report
from repana.sweeps import _refusals
from repana.sweeps._tasks import Task, distinct

TASKS, FAILED, RUNNING, REPORT = "tasks.jsonl", "failed.json", "running.json", "report"
AGAIN = ("memory", "crashed", "timeout", "error")  # kinds of failures that are tried once more


@dataclass(frozen=True)
class Failure:
    """Why a task has no report. `kind`: refused, damaged checkpoint, memory, crashed, timeout or error."""

    id: str
    kind: str
    error: str
    attempts: int = 1
    traceback: str = ""


@dataclass(frozen=True)
class Status:
    """Tasks by what the folder holds of them."""

    done: tuple[Task, ...]
    failed: tuple[tuple[Task, Failure], ...]
    running: tuple[Task, ...]
    waiting: tuple[Task, ...]

    @property
    def total(self) -> int:
        return len(self.done) + len(self.failed) + len(self.running) + len(self.waiting)

    def __str__(self) -> str:
        counts = {"done": self.done, "failed": self.failed, "running": self.running, "waiting": self.waiting}
        head = f"{self.total} tasks: " + ", ".join(f"{len(v)} {k}" for k, v in counts.items() if v or k == "done")
        return "\n".join([head, *(f"  {task.name}: {f.kind}: {f.error}" for task, f in self.failed)])

    def numbers(self) -> dict[str, Any]:
        """For other programs."""
        failures = [{"name": t.name, "id": t.id, "kind": f.kind, "error": f.error} for t, f in self.failed]
        names = {k: [t.name for t in getattr(self, k)] for k in ("done", "running", "waiting")}
        return {"total": self.total, **names, "failed": failures}


@dataclass(frozen=True)
class SweepFolder:
    """A sweep on disk."""

    path: Path

    def tasks(self) -> list[Task]:
        try:
            lines = read_bytes(self.path / TASKS).decode().splitlines()
        except OSError:
            raise _refusals.no_sweep(self.path) from None
        try:
            found = [json.loads(line) for line in lines]
            return [Task(t["id"], t["name"], t["options"], t.get("bytes", 0)) for t in found]
        except (ValueError, KeyError, TypeError) as error:
            raise _refusals.unreadable(self.path / TASKS, str(error)) from None

    def add(self, tasks: Sequence[Task]) -> list[Task]:
        """All tasks of the folder, with those that it did not have behind the others. A task that is not done gives way
        to the same one of a checkpoint that has changed."""
        before = self.tasks() if (self.path / TASKS).is_file() else []
        gone = [k for k in before if not self.done(k) and any(k.options == t.options and k.id != t.id for t in tasks)]
        for task in gone:
            self.forget(task)
        known = [task for task in before if task not in gone]
        new = distinct(tasks, known)
        if new or not known:
            put(self.path / TASKS, "".join(f"{task.line()}\n" for task in [*known, *new]).encode())
        return [*known, *new]

    def task(self, id_: str) -> Task:
        tasks = self.tasks()
        found = next((task for task in tasks if task.id == id_), None)
        if found is None:
            raise _refusals.no_task(self.path, id_, [task.id for task in tasks])
        return found

    def at(self, task: Task) -> Path:
        return self.path / task.name

    def done(self, task: Task) -> bool:
        """Whether the report of this very task is there."""
        try:
            return json.loads(read_bytes(self.at(task) / REPORT / _saved.PROVENANCE)).get("task") == task.id
        except (OSError, ValueError, AttributeError):
            return False

    def failure(self, task: Task) -> Failure | None:
        try:
            known: Mapping[str, Any] = json.loads(read_bytes(self.at(task) / FAILED))
            found = Failure(*(known[k] for k in ("id", "kind", "error", "attempts", "traceback")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.id == task.id else None

    def begin(self, task: Task) -> None:
        about = {"id": task.id, "host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
        put(self.at(task) / RUNNING, json.dumps(about).encode())

    def commit(self, task: Task, report: Report) -> None:
        """The report, whose last rename is the commit."""
        report.save(self.at(task) / REPORT)
        self._remove(task, RUNNING, FAILED)

    def fail(self, task: Task, failure: Failure) -> None:
        put(self.at(task) / FAILED, json.dumps(vars(failure), indent=2).encode() + b"\n")
        self._remove(task, RUNNING)

    def forget(self, task: Task) -> None:
        """Its failure, so that it is tried again."""
        self._remove(task, FAILED, RUNNING)

    def _remove(self, task: Task, *names: str) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                (self.at(task) / name).unlink()

    def running(self, task: Task) -> bool:
        return (self.at(task) / RUNNING).is_file()

    def status(self) -> Status:
        done, failed, running, waiting = [], [], [], []
        for task in self.tasks():
            failure = None
            if self.done(task):
                done.append(task)
            elif (failure := self.failure(task)) is not None:
                failed.append((task, failure))
            else:
                (running if self.running(task) else waiting).append(task)
        return Status(tuple(done), tuple(failed), tuple(running), tuple(waiting))

    def check_trust(self) -> None:
        """Tasks name code: nobody else may be able to write them."""
        for path in (self.path, self.path / TASKS):
            status = path.stat()
            if os.name == "posix" and (status.st_mode & 0o002 or status.st_uid not in (os.getuid(), 0)):
                raise _refusals.untrusted(self.path)
