"""Who runs the tasks of a sweep: child processes here, Ray, or Slurm through submitit. Each runs the same commands."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repana.sweeps import _refusals

SAID = 4000  # characters of a process's last words
GRACE = 10.0  # seconds to end in


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, None where its time was up."""

    index: int
    code: int | None
    said: str = ""


@dataclass(frozen=True)
class Command:
    """A command line, run in the folder of the driver. Of Slurm: an interrupted job is the same command again."""

    line: tuple[str, ...]
    folder: str
    timeout: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def started(self, **more: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, **self.environment, **more}
        return subprocess.Popen(
            self.line, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def __call__(self) -> tuple[int | None, str]:
        child = self.started()
        said = _Drained(child)
        try:
            code: int | None = child.wait(self.timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _stop(child)
        return code, said.text()

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def local(commands: Sequence[Command], workers: int, gpus: int, options: Mapping[str, Any]) -> Iterator[Ended]:
    """So many child processes at a time, each with `gpus` GPUs of its own where there are any."""
    for name in options:
        raise _refusals.unknown_engine_option(name, ["none"])
    waiting, slots = list(enumerate(commands)), list(range(workers))
    running: dict[int, tuple[subprocess.Popen[str], int, float]] = {}
    files: dict[int, Any] = {}
    try:
        while waiting or running:
            while waiting and slots:
                index, command = waiting.pop(0)
                slot = slots.pop(0)
                own = {}
                if gpus:
                    own = {"CUDA_VISIBLE_DEVICES": ",".join(str(slot * gpus + k) for k in range(gpus))}
                running[index] = command.started(**own), slot, time.monotonic()
                files[index] = _Drained(running[index][0])
            for index, (child, slot, began) in list(running.items()):
                late = commands[index].timeout is not None and time.monotonic() - began > commands[index].timeout  # type: ignore[operator]
                if child.poll() is None and not late:
                    continue
                code = child.poll()
                _stop(child)
                del running[index]
                slots.append(slot)
                yield Ended(index, code, files.pop(index).text())
            time.sleep(0.02)
    finally:
        for index, (child, _, _) in running.items():
            _stop(child)
            files[index].text()


class _Drained:
    """The last words of a process, read while it speaks, so that it never waits for a reader."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        import threading

        self._child, self._said = child, ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._said = (self._said + line)[-SAID:]

    def text(self) -> str:
        """Of a process that has ended."""
        self._thread.join(GRACE)
        assert self._child.stderr is not None
        self._child.stderr.close()
        return self._said


def _stop(child: "subprocess.Popen[str]") -> None:
    """End a process that still runs, and those that it began."""
    if child.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        try:
            child.wait(GRACE)
            return
        except subprocess.TimeoutExpired:
            continue


def ray(commands: Sequence[Command], workers: int, gpus: int, options: Mapping[str, Any]) -> Iterator[Ended]:
    """Ray on this machine, or on the cluster that RAY_ADDRESS or `address` names."""
    try:
        import ray as engine
        from ray.exceptions import RayError
    except ImportError:
        raise _refusals.engine_missing("ray", "ray") from None
    known = ("address", "num_cpus", "max_retries")
    for name in options:
        if name not in known:
            raise _refusals.unknown_engine_option(name, known)
    address = options.get("address") or os.environ.get("RAY_ADDRESS")
    begun = not engine.is_initialized()
    if begun:
        here: dict[str, Any] = {"address": address} if address else {"num_cpus": workers}
        engine.init(**here, include_dashboard=False, log_to_driver=False, configure_logging=False)
    run = engine.remote(_called).options(
        num_cpus=int(options.get("num_cpus", 1)), num_gpus=gpus, max_retries=int(options.get("max_retries", 3))
    )
    try:
        futures = {run.remote(command): index for index, command in enumerate(commands)}
        while futures:
            ready, _ = engine.wait(list(futures), num_returns=1)
            for future in ready:
                index = futures.pop(future)
                try:
                    code, said = engine.get(future)
                except RayError as error:  # the worker died, and so did those that took its place
                    code, said = -signal.SIGKILL, str(error)[-SAID:]
                yield Ended(index, code, said)
    finally:
        if begun:
            engine.shutdown()


def _called(command: Command) -> tuple[int | None, str]:
    return command()


def slurm(commands: Sequence[Command], workers: int, gpus: int, options: Mapping[str, Any]) -> Iterator[Ended]:
    """A job array of Slurm through submitit; `cluster=local` runs the same jobs on this machine."""
    try:
        import submitit
    except ImportError:
        raise _refusals.engine_missing("slurm", "submitit") from None
    chosen = dict(options)
    executor = submitit.AutoExecutor(folder=chosen.pop("folder"), cluster=chosen.pop("cluster", None))
    here = executor.cluster in ("local", "debug")
    settings: dict[str, Any] = {"name": "repana"} if here else {"name": "repana", "slurm_array_parallelism": workers}
    if gpus:
        settings["gpus_per_node"] = gpus
    executor.update_parameters(**{**settings, **chosen})
    jobs = executor.map_array(_called, commands)
    waiting = dict(enumerate(jobs))
    try:
        while waiting:
            for index, job in list(waiting.items()):
                if not job.done():
                    continue
                del waiting[index]
                try:
                    code, said = job.result()
                except Exception as error:  # of submitit, of the job, or of the cluster
                    code, said = -signal.SIGKILL, str(error)[-SAID:]
                yield Ended(index, code, said)
            time.sleep(0.2)
    finally:
        for job in waiting.values():
            with contextlib.suppress(Exception):
                job.cancel()


ENGINES: Mapping[str, Callable[..., Iterator[Ended]]] = {"local": local, "ray": ray, "slurm": slurm}


def command_of(folder: Path, ids: Sequence[str], timeout: float | None, *more: str) -> Command:
    """What every engine starts for some tasks, and a person may by hand."""
    line = (sys.executable, "-m", "repana", "task", str(folder.resolve()), *ids, *more)
    return Command(line, os.getcwd(), timeout)
