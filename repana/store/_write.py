"""Writing a store: parts, then the commit of their lane, then the manifest that makes all lanes one recording."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from repana import _file_refusals
from repana._files import ABANDONED, IN_USE, Written, put, tidy
from repana.store import _format as f
from repana.store._tensors import pieces_of, size_of

BYTES = 2**28  # of a part, nearly
COPIED = 2**24  # bytes at a time
REPLACED = ("activations.safetensors",)  # of format 1


@dataclass
class LaneWriter:
    """The files of one lane, as they are written."""

    folder: Path
    name: str
    identity: str
    lane: int
    parts: list[f.Part] = field(default_factory=list)
    sums: f.Part | None = None

    def add(self, tensors: Mapping[str, Tensor], first: int, last: int) -> None:
        """Write the rows of the samples [first, last) as the next part."""
        name, rows = f.part_name(len(self.parts)), len(next(iter(tensors.values())))
        written = self._put(name, tensors, first, last)
        self.parts.append(f.Part(name, written.bytes, written.sha256, first, last, rows))

    def add_sums(self, tensors: Mapping[str, Tensor], first: int, last: int) -> None:
        if tensors:
            written = self._put(f.SUMS, tensors, first, last)
            self.sums = f.Part(f.SUMS, written.bytes, written.sha256, first, last, 0)

    def _put(self, name: str, tensors: Mapping[str, Tensor], first: int, last: int) -> Written:
        about = {"identity": self.identity, "lane": str(self.lane), "first": str(first), "last": str(last)}
        return put(self.folder / self.name / name, pieces_of(tensors, about), size_of(tensors, about))

    def commit(self, seen: int) -> f.Lane:
        """From here on the lane is done."""
        made = f.Lane(self.identity, self.lane, seen, tuple(self.parts), self.sums)
        put(self.folder / self.name / f.DONE, made.content())
        return made


def open_store(folder: Path, about: Mapping[str, Any], provenance: Mapping[str, Any], head: str | None) -> str:
    """Begin a recording in a folder, or go on with the same one; its identity. Another one is refused.

    `provenance` and the layer of the classifier, `head`, wait there for the manifest.
    """
    if os.path.isfile(folder):
        raise _file_refusals.not_a_folder(folder, "a recording")
    identity = f.digest_of_json(about)
    if os.path.exists(folder / f.STORE):
        known = f.read_json(folder, f.STORE)
        if known.get("identity") != identity:
            raise _file_refusals.other_recording(folder, *_differing(known.get("about", {}), about))
    elif os.path.exists(folder / f.MANIFEST):
        raise _file_refusals.saved_activations(folder)
    else:
        known = {"identity": identity, "about": about, "provenance": provenance, "head": head}
        text = json.dumps({"format": f.FORMAT, **known}, indent=2, default=str)
        put(folder / f.STORE, text.encode() + b"\n")
    tidy(folder)
    return identity


def _differing(known: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """The first field in which two recordings differ, and both values."""
    plain = json.loads(json.dumps(about, default=str))
    for name in (*plain, *known):
        if known.get(name) != plain.get(name):
            return name, known.get(name), plain.get(name)
    return "identity", "", ""


def begin_lane(folder: Path, identity: str, lane: int) -> LaneWriter:
    """A lane from its beginning: what a killed writer left of it goes."""
    place = folder / f.lane_name(lane)
    if place.is_symlink():
        raise _file_refusals.damaged_store(folder, place.name, "it is a link")
    with suppress(FileNotFoundError):
        shutil.rmtree(place)
    return LaneWriter(folder, place.name, identity, lane)


def commit_store(folder: Path, manifest: f.Manifest) -> None:
    put(folder / f.MANIFEST, manifest.text())
    tidy(folder, REPLACED)


def finish(folder: Path, done: Mapping[str, f.Lane]) -> bool:
    """Make the lanes one recording, if all of them are done. Whoever ends last does it; all would write the same."""
    known = f.read_json(folder, f.STORE)
    try:
        identity, about, provenance = known["identity"], known["about"], known["provenance"]
        if len(done) < about["lanes"]:
            return False
        head = known["head"]
    except (KeyError, TypeError) as error:
        raise _file_refusals.damaged_store(folder, f.STORE, str(error)) from None
    seen = sum(lane.seen for lane in done.values())
    totals = {"seen": seen, "rows": sum(p.rows for lane in done.values() for p in lane.parts), "head": head}
    digests = {name: done_digest(lane) for name, lane in sorted(done.items())}
    commit_store(folder, f.Manifest(identity, about, digests, totals, {**provenance, "samples": seen}))
    return True


def merge(sources: Sequence[Path], folder: Path) -> list[str]:
    """Put lanes of one recording that were recorded in several folders together; the names of the lanes.

    Raises FileError where the folders hold different recordings, or a lane twice with different content.
    """
    from repana.store._read import done_lanes

    identity = ""
    for source in sources:
        known = f.read_json(source, f.STORE)
        identity = open_store(folder, known.get("about", {}), known.get("provenance", {}), known.get("head"))
        here = done_lanes(folder, identity)
        for name, lane in done_lanes(source, str(known.get("identity"))).items():
            if name in here:
                if here[name] != lane:
                    raise _file_refusals.lane_twice(folder, name, source)
                continue
            _copied(source / name, folder / name, lane)
    done = done_lanes(folder, identity)
    finish(folder, done)
    return sorted(done)


def _copied(source: Path, target: Path, lane: f.Lane) -> None:
    """A lane, its commit last."""
    for part in lane.files:
        with open(source / part.name, "rb") as file:
            put(target / part.name, iter(lambda file=file: file.read(COPIED), b""), part.bytes)
    put(target / f.DONE, lane.content())


def done_digest(lane: f.Lane) -> str:
    return sha256(lane.content()).hexdigest()


def log(folder: Path, **facts: Any) -> None:
    """A line of what may differ between two equal recordings."""
    line = json.dumps({"time": round(time.time(), 3), "host": socket.gethostname(), "pid": os.getpid(), **facts})
    handle = os.open(folder / f.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        os.write(handle, line.encode() + b"\n")
    finally:
        os.close(handle)


def save(
    folder: Path,
    about: Mapping[str, Any],
    rows: Mapping[str, Any],
    sums: Mapping[str, Tensor],
    totals: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write a store of one lane, in the place of what was saved there before: its manifest makes the difference.

    `rows` have as many rows each; they are written part by part.
    """
    if os.path.isfile(folder):
        raise _file_refusals.not_a_folder(folder, "activations")
    if os.path.exists(folder / f.STORE):
        raise _file_refusals.holds_recording(folder)
    identity = f.digest_of_json(about)
    number, name = _own_lane(folder)
    writer = LaneWriter(folder, name, identity, number)
    try:
        for first, last in _steps(rows):
            writer.add({key: values[first:last] for key, values in rows.items()}, first, last)
        writer.add_sums(sums, 0, totals["rows"])
        lane = writer.commit(totals["seen"])
    except BaseException:
        shutil.rmtree(folder / name, ignore_errors=True)
        raise
    commit_store(folder, f.Manifest(identity, about, {name: done_digest(lane)}, totals, provenance))
    _remove_lanes(folder, keep=name)


def _steps(rows: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """First and last row of every part."""
    n = len(next(iter(rows.values()))) if rows else 0
    each = sum(values.nbytes for values in rows.values()) / max(n, 1)
    step = max(1, int(BYTES / max(each, 1)))
    for first in range(0, n, step):
        yield first, min(first + step, n)


def _own_lane(folder: Path) -> tuple[int, str]:
    """A new folder for a lane, which no other writer has."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = [int(p.name.removeprefix("lane-")) for p in folder.glob("lane-*") if f.LANE.fullmatch(p.name)]
        number = max(known, default=-1) + 1
        while True:
            try:
                (folder / f.lane_name(number)).mkdir()
            except FileExistsError:
                number += 1
            else:
                return number, f.lane_name(number)
    except OSError as error:
        raise _file_refusals.not_written(folder, error, 0, None, False) from None


def _remove_lanes(folder: Path, keep: str) -> None:
    """Lanes that no manifest names and nobody reads or writes any more."""
    now = time.time()
    for lane in folder.glob("lane-*"):
        if lane.name == keep or not f.LANE.fullmatch(lane.name) or lane.is_symlink():
            continue
        with suppress(OSError):
            done = lane / f.DONE
            last = done.stat().st_mtime if done.exists() else _newest(list(lane.iterdir()), lane)
            if now - last > (IN_USE if done.exists() else ABANDONED):
                shutil.rmtree(lane)


def _newest(paths: Sequence[Path], folder: Path) -> float:
    return max(p.stat().st_mtime for p in (folder, *paths))
