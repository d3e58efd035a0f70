"""Reading a store: its manifest, and the tensors of its files when they are asked for."""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repana import _check, _file_refusals
from repana._files import digest_of
from repana.errors import FileError
from repana.store import _format as f
from repana.store._rows import StoredFeatures
from repana.store._subset import kept_rows

VERIFIED: set[tuple[str, int, int, str]] = set()  # files whose digests this process has compared
VERIFY = ("first", "always", "never")
LARGE = 10 * 2**30  # bytes of a store from which digests are compared only when asked for


@dataclass(frozen=True)
class Store:
    """A store that was opened. Nothing but its JSON was read."""

    folder: Path
    about: Mapping[str, Any]
    lanes: Mapping[str, f.Lane]
    totals: Mapping[str, Any]
    provenance: Mapping[str, Any]
    verify: bool

    @cached_property
    def parts(self) -> list[tuple[str, f.Part]]:
        return [(lane, part) for lane, found in self.lanes.items() for part in found.parts if part.rows]

    def chosen(self) -> Tensor | None:
        """The rows that stay where every lane kept more than its share of a subset; None where all do."""
        most = self.about.get("max_samples")
        priority = None if most is None else self.column("priority")
        if most is None or priority is None or len(priority) <= most:
            return None
        counts: dict[int, int] = defaultdict(int)
        for lane in self.lanes:
            tensors = self.sums(lane)
            for label, n in zip(tensors["counts/class"].tolist(), tensors["counts/samples"].tolist()):
                counts[label] += n
        return kept_rows(self.column("labels"), priority, counts, most)

    def column(self, name: str) -> Tensor | None:
        """A tensor beside the features, of all parts; None where the parts have none."""
        found = [self._tensor(lane, part, name) for lane, part in self.parts]
        known = [t for t in found if t is not None]
        return torch.cat(known) if known and len(known) == len(found) else None

    def features(self, layer: str, chosen: Tensor | None = None) -> Any:
        """Features of a layer: a tensor, mapped into memory, where they lie in one file."""
        width, dtype = f.layers_of(self.about)[layer]
        name = f"features/{layer}"
        if len(self.parts) == 1 and chosen is None:
            lane, part = self.parts[0]
            return self._needed(lane, part, name, width)
        opened = [partial(self._needed, lane, part, name, width) for lane, part in self.parts]
        kind = opened[0]().dtype if dtype is None else getattr(torch, dtype)
        return StoredFeatures(layer, opened, [p.rows for _, p in self.parts], width, kind, chosen)

    def sums(self, lane: str) -> dict[str, Tensor]:
        """All tensors of a lane's sums."""
        part = self.lanes[lane].sums
        return {} if part is None else self._all(lane, part)

    def _needed(self, lane: str, part: f.Part, name: str, width: int) -> Tensor:
        found = self._tensor(lane, part, name)
        if found is None or found.shape != (part.rows, width):
            shape = "no tensor" if found is None else f"shape {tuple(found.shape)}"
            expected = (part.rows, width)
            raise _file_refusals.damaged_store(
                self.folder, f"{lane}/{part.name}", f"{name!r} has {shape}; expected {expected}"
            )
        return found

    def _tensor(self, lane: str, part: f.Part, name: str) -> Tensor | None:
        file = self._open(lane, part)
        return file.get_tensor(name) if name in set(file.keys()) else None

    def _all(self, lane: str, part: f.Part) -> dict[str, Tensor]:
        file = self._open(lane, part)
        return {name: file.get_tensor(name) for name in set(file.keys())}

    def _open(self, lane: str, part: f.Part) -> Any:
        from safetensors import SafetensorError, safe_open

        path, place = self.folder / lane / part.name, f"{lane}/{part.name}"
        problem = problem_of(path, part, digest=self.verify)
        if problem:
            raise _file_refusals.damaged_store(self.folder, place, f"{problem} (samples {part.first} to {part.last})")
        try:
            return safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise _file_refusals.damaged_store(self.folder, place, str(error)) from None


def problem_of(path: Path, part: f.Part, *, digest: bool, again: bool = False) -> str:
    """What is wrong with a file, in words; nothing where it is what was committed. A digest is compared once a process,
    or `again`."""
    if path.is_symlink() or path.parent.is_symlink():
        return "it is a link"
    try:
        status = path.stat()
    except OSError:
        return "it is not there"
    if status.st_size != part.bytes:
        return f"it has {status.st_size:,} bytes; expected {part.bytes:,}"
    key = (str(path.absolute()), status.st_mtime_ns, status.st_ino, part.sha256)
    if not digest or (key in VERIFIED and not again):
        return ""
    if digest_of(path) != part.sha256:
        return "its SHA-256 is not the one that was committed"
    VERIFIED.add(key)
    return ""


def done_lanes(folder: Path, identity: str, *, digests: bool = True) -> dict[str, f.Lane]:
    """Lanes of a recording that are done and whole: names and sizes of their files, and of stores below 10 GB, unless
    told otherwise, digests."""
    found: dict[str, f.Lane] = {}
    for name in f.committed(folder):
        with suppress(FileError):
            found[name] = f.read_lane(folder, name, identity)
    size = sum(part.bytes for lane in found.values() for part in lane.parts)
    digests &= size < LARGE

    def whole(name: str, lane: f.Lane) -> bool:
        return not any(problem_of(folder / name / part.name, part, digest=digests, again=True) for part in lane.files)

    return {name: lane for name, lane in found.items() if whole(name, lane)}


def progress(folder: Path) -> tuple[int, int]:
    """Finished lanes of a recording, and how many it has."""
    lanes = f.read_json(folder, f.STORE).get("about", {}).get("lanes", 0)
    return len(f.committed(folder)), lanes


def opened(folder: Path, *, verify: str = "first", partial: bool = False) -> Store:
    """A committed store; with `partial` one that is still being recorded, of which the finished lanes are there."""
    _check.choice(verify, "verify", VERIFY)
    if partial and not (folder / f.MANIFEST).is_file():
        return _unfinished(folder, verify)
    try:
        manifest, lanes = _committed(folder)
    except FileError:  # a writer may have put another manifest in its place in between
        manifest, lanes = _committed(folder)
    size = sum(part.bytes for lane in lanes.values() for part in lane.parts)
    careful = verify == "always" or (verify == "first" and size < LARGE)
    provenance = _timed(folder) | dict(manifest.provenance)
    return Store(folder, manifest.about, lanes, manifest.totals, provenance, careful)


def _timed(folder: Path) -> dict[str, Any]:
    """What was timed when the recording began, which the log has alone."""
    try:
        with open(folder / f.LOG, encoding="utf-8") as lines:
            shares = json.loads(next(lines)).get("depth_share")
    except (OSError, ValueError, StopIteration, AttributeError):
        return {}
    return {"depth_share": shares} if isinstance(shares, dict) else {}


def _committed(folder: Path) -> tuple[f.Manifest, dict[str, f.Lane]]:
    manifest = f.read_manifest(folder)
    return manifest, {name: f.read_lane(folder, name, manifest.identity, d) for name, d in manifest.lanes.items()}


def _unfinished(folder: Path, verify: str) -> Store:
    known = f.read_json(folder, f.STORE)
    try:
        identity, about = known["identity"], {**known["about"]}
        f.layers_of(about)
    except (KeyError, TypeError, ValueError) as error:
        raise _file_refusals.damaged_store(folder, f.STORE, str(error)) from None
    lanes = {name: f.read_lane(folder, name, identity) for name in f.committed(folder)}
    if not lanes:
        raise _file_refusals.no_finished_lane(folder)
    seen = sum(lane.seen for lane in lanes.values())
    note = f"partial: {len(lanes)} of {about['lanes']} lanes, {seen} of {about['n']} samples"
    written = known.get("provenance", {})
    totals = {"seen": seen, "head": known.get("head")}
    provenance = {**written, "notes": [note, *written.get("notes", ())], "samples": seen}
    return Store(folder, about, lanes, totals, provenance, verify != "never")
