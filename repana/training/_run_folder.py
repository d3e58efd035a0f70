"""A training on disk: one folder a record, one file that says how it was watched, and a lock."""

import json
import logging
import os
import shutil
import socket
import time
import weakref
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repana import _saved
from repana._activations import Activations
from repana._file_refusals import not_written
from repana._files import PREFIX as UNFINISHED
from repana._files import put, put_folder, read_bytes, remove_unfinished
from repana._results import Report
from repana.errors import FileError
from repana.training import _refusals

logger = logging.getLogger("repana")
FORMAT = 1
ABOUT, LOCK, PREFIX = "monitor.json", "monitor.lock", "step_"
PROTECTED = 3  # of the last records, whose features stay
HALF = 6e4  # up to which float16 holds a number
ROUNDED = 1e-4  # of the spread, that may be lost to half precision


@dataclass(frozen=True)
class RunFolder:
    """Records of one training by step. Only who holds the lock writes."""

    path: Path
    _sizes: dict[int, int] = field(default_factory=dict, compare=False, repr=False)  # of features that were measured

    def at(self, step: int) -> Path:
        return self.path / f"{PREFIX}{step:09d}"

    def steps(self) -> list[int]:
        """The steps that were recorded, ascending."""
        found = []
        for folder in self.path.glob(f"{PREFIX}*"):
            number = folder.name.removeprefix(PREFIX)
            if number.isdigit() and _saved.is_report(folder / "report"):
                found.append(int(number))
        return sorted(found)

    def report(self, step: int) -> Report:
        return Report.load(self.at(step) / "report")

    def reports(self, steps: Iterable[int]) -> dict[int, Report]:
        """Those of these records that can be read; of the others that is logged."""
        found = {}
        for step in steps:
            try:
                found[step] = self.report(step)
            except FileError as error:
                logger.warning("repana: the record of step %d is left out: %s", step, error)
        return found

    def unreadable(self, read: Container[int]) -> list[str]:
        """Records that cannot be read, each with the reason; those that were `read` are not tried again."""
        found = []
        for step in self.steps():
            if step in read:
                continue
            try:
                self.report(step)
            except FileError as error:
                found.append(f"step {step}: {error}")
        return found

    def activations(self, step: int, split: str) -> Activations | None:
        """The features of a record; None where they were thinned out, the split was not recorded, or, which is logged,
        they cannot be read."""
        folder = self.at(step) / "features" / split
        try:
            found = Activations.load(folder) if folder.is_dir() else None
            if found is not None:
                for layer in found.layers:
                    found[layer][:1]
            return found
        except FileError as error:
            if folder.is_dir():  # not thinned out in between
                logger.warning("repana: the features of step %d are left out: %s", step, error)
            return None

    def write(self, step: int, report: Report, splits: Mapping[str, Activations]) -> None:
        """One record, by one rename; features in half precision where their size allows."""
        self._sizes.pop(step, None)
        with put_folder(self.at(step)) as folder:
            report.save(folder / "report")
            for split, found in splits.items():
                _halved(found).save(folder / "features" / split)

    def replace(self, step: int, report: Report) -> None:
        """Another report in the place of the one of a record, by one rename."""
        report.save(self.at(step) / "report")

    def abandon(self, steps: list[int]) -> Path:
        """Move records of a timeline that was left out of the way. Returns where they are."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        target, k = self.path / _saved.ABANDONED / stamp, 1
        while target.exists():
            target, k = self.path / _saved.ABANDONED / f"{stamp}-{k}", k + 1
        target.mkdir(parents=True)
        for step in sorted(steps, reverse=True):  # the last first: what is left is a whole timeline
            self._sizes.pop(step, None)
            os.replace(self.at(step), target / self.at(step).name)
        return target

    def thin(self, most: int) -> list[int]:
        """Remove features, the oldest first, until all together take at most so many bytes. Those of the records
        number 1, 2, 4, 8, ... and of the last three stay. Returns the steps that lost theirs."""
        steps = self.steps()
        for step in steps:
            if step not in self._sizes:
                self._sizes[step] = _size(self.at(step) / "features")
        total, gone = sum(self._sizes[s] for s in steps), []
        for number, step in enumerate(steps[:-PROTECTED], 1):
            if total <= most:
                break
            if number & (number - 1) and self._sizes[step]:
                gone_to = self.path / f"{UNFINISHED}{os.getpid()}-features-{step}"
                os.replace(self.at(step) / "features", gone_to)
                shutil.rmtree(gone_to, ignore_errors=True)
                total -= self._sizes[step]
                self._sizes[step] = 0
                gone.append(step)
        return gone

    def about(self) -> dict[str, Any]:
        """What `monitor.json` says; empty where there is none."""
        try:
            content = read_bytes(self.path / ABOUT)
        except FileNotFoundError:
            return {}
        try:
            found = json.loads(content)
        except ValueError as error:
            raise _refusals.unreadable(self.path / ABOUT, str(error)) from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise _refusals.unreadable(self.path / ABOUT, "it is of another version, or no monitor's")
        return found

    def put_about(self, about: Mapping[str, Any]) -> None:
        put(self.path / ABOUT, json.dumps({"format": FORMAT, **about}, indent=2).encode() + b"\n")

    def lock(self) -> "Lock":
        """Take the folder; what a process that died left half written is removed. Raises FileError where another
        process holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = Lock(self.path / LOCK)
        except FileError:
            raise
        except OSError as error:
            raise not_written(self.path, error, 0, None, there=False) from error
        remove_unfinished(self.path)
        return lock


class Lock:
    """A file that one process holds, until it is released or the process ends."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        owner = os.read(handle, 256).decode(errors="replace").strip()
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # a system without it: the number of the process that wrote it
            if _lives(owner):
                os.close(handle)
                raise _refusals.locked(path.parent, owner) from None
        except BlockingIOError:
            os.close(handle)
            raise _refusals.locked(path.parent, owner) from None
        except OSError:  # a file system without locks
            pass
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._freed = weakref.finalize(self, _free, handle, os.getpid())

    def release(self) -> None:
        self._freed()


def _free(handle: int, owner: int) -> None:
    """A child that was forked has the same lock, which is not its own to release; and the lock ends although a child
    still has the file open."""
    with suppress(OSError, ImportError):
        if os.getpid() == owner:
            os.ftruncate(handle, 0)
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_UN)
    with suppress(OSError):
        os.close(handle)


def _lives(owner: str) -> bool:
    """Whether the process that a lock names is there, on this machine."""
    number, _, host = owner.partition(" on ")
    if not number.isdigit() or host != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)
    except OSError:
        return False
    return int(number) != os.getpid()


def _halved(found: Activations) -> Activations:
    """Features in float16, where its rounding is far below the spread within classes (or of all rows)."""
    features = {}
    for layer in found.features:
        x = found[layer].detach().cpu()
        wide = x.dtype in (torch.float32, torch.float64)
        features[layer] = x.to(torch.float16) if wide and _fits(x, found.labels) else x
    return Activations(
        features, found.labels, found.logits, found.head, found.sample, found.seen, found.exact, found.provenance
    )


def _fits(x: Tensor, labels: Tensor | None) -> bool:
    if not len(x) or float(x.abs().amax()) > HALF:
        return False
    x = x.double()
    lost = float((x - x.to(torch.float16)).square().sum())
    spread = float((x - x.mean(0)).square().sum())
    if labels is not None and labels.ndim == 1 and not labels.is_floating_point():
        _, group = torch.unique(labels.cpu(), return_inverse=True)
        count = torch.bincount(group)
        means = x.new_zeros(len(count), x.shape[1]).index_add_(0, group, x) / count[:, None]
        spread = min(spread, float((x - means[group]).square().sum()))
    return lost <= ROUNDED * spread


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
