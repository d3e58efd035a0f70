"""The format of a store: names of files, their descriptions, and what is checked before any of them is believed.

store.json                             identity of a recording, written once
lane-0007/part-00003.safetensors       rows: features/<layer>, labels, logits, sample
lane-0007/sums.safetensors             moments/<layer>/<field>, head/weight, head/bias
lane-0007/done.json                    the lane's commit: its files with bytes and digests
manifest.json                          the commit of the store: lanes, digest of each done.json, provenance
log.jsonl                              times and hosts: all that may differ between two equal recordings
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repana import _file_refusals
from repana._files import read_bytes

FORMAT = 2
STORE, MANIFEST, DONE, SUMS, LOG = "store.json", "manifest.json", "done.json", "sums.safetensors", "log.jsonl"
LANE, PART = re.compile(r"lane-\d{4,6}"), re.compile(r"part-\d{5}\.safetensors")
SHA256 = re.compile(r"[0-9a-f]{64}")


def lane_name(lane: int) -> str:
    return f"lane-{lane:04d}"


def committed(folder: Path) -> list[str]:
    """Folders of lanes that have a commit, whole or not."""
    found = [path.parent for path in folder.glob(f"lane-*/{DONE}")]
    return sorted(lane.name for lane in found if LANE.fullmatch(lane.name) and not lane.is_symlink())


def part_name(part: int) -> str:
    return f"part-{part:05d}.safetensors"


@dataclass(frozen=True)
class Part:
    """A file of rows: which samples of the data, [first, last), and how many rows it holds of them."""

    name: str
    bytes: int
    sha256: str
    first: int
    last: int
    rows: int


@dataclass(frozen=True)
class Lane:
    """What a lane has committed: `seen` samples in some parts. `sums` is a file without rows, or None."""

    identity: str
    lane: int
    seen: int
    parts: tuple[Part, ...]
    sums: Part | None

    @property
    def files(self) -> tuple[Part, ...]:
        """Parts and sums."""
        return self.parts if self.sums is None else (*self.parts, self.sums)

    def content(self) -> bytes:
        return canonical(asdict(self)) + b"\n"


@dataclass(frozen=True)
class Manifest:
    """What makes the lanes one recording. `about` is the identity's content, `lanes` maps folders to digests of their
    done.json."""

    identity: str
    about: Mapping[str, Any]
    lanes: Mapping[str, str]
    totals: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def content(self) -> str:
        """One digest for everything that was recorded."""
        return digest_of_json([self.identity, sorted(self.lanes.items())])

    def text(self) -> bytes:
        fields = {"format": FORMAT, **asdict(self), "content": self.content}
        return json.dumps(fields, indent=2, default=str, sort_keys=True).encode() + b"\n"


def canonical(value: Any) -> bytes:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def digest_of_json(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON mapping of a store."""
    try:
        found = json.loads(read_bytes(folder / name))
    except FileNotFoundError:
        raise _file_refusals.not_activations(folder, [name]) from None
    except (OSError, ValueError) as error:
        raise _file_refusals.damaged_store(folder, name, str(error)) from None
    if not isinstance(found, dict):
        raise _file_refusals.damaged_store(folder, name, "it is not a mapping")
    return found


def read_lane(folder: Path, lane: str, identity: str, digest: str | None = None) -> Lane:
    """The commit of a lane; refused where it is of another recording or not what the manifest names."""
    place = f"{lane}/{DONE}"
    try:
        content = read_bytes(folder / lane / DONE)
        found = json.loads(content)
    except (OSError, ValueError) as error:
        raise _file_refusals.damaged_store(folder, place, str(error)) from None
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise _file_refusals.damaged_store(folder, place, f"its SHA-256 is not the one in {MANIFEST}")
    try:
        parts = tuple(_part(p) for p in found["parts"])
        sums = None if found["sums"] is None else _part(found["sums"])
        made = Lane(str(found["identity"]), int(found["lane"]), int(found["seen"]), parts, sums)
        for part in parts:
            _require(PART.fullmatch(part.name), f"{part.name!r} is no name of a part")
        _require(sums is None or sums.name == SUMS, "another name of sums than expected")
        _require(digest is not None or lane_name(made.lane) == lane, "it is of another lane")
    except (KeyError, TypeError, ValueError) as error:
        raise _file_refusals.damaged_store(folder, place, f"it is not the commit of a lane ({error})") from None
    if made.identity != identity:
        raise _file_refusals.damaged_store(folder, place, "it is of another recording")
    return made


def read_manifest(folder: Path) -> Manifest:
    """The commit of a store, its types and names checked."""
    found = read_json(folder, MANIFEST)
    if found.get("format") != FORMAT:
        raise _file_refusals.other_format(folder, found.get("format"), FORMAT)
    try:
        made = Manifest(
            str(found["identity"]),
            {**found["about"]},
            {str(k): str(v) for k, v in found["lanes"].items()},
            {**found["totals"]},
            {**found["provenance"]},
        )
        _require(all(LANE.fullmatch(k) and SHA256.fullmatch(v) for k, v in made.lanes.items()), "names of lanes")
        _layers(made.about)
        _require(isinstance(made.totals["seen"], int) and made.totals["seen"] >= 0, "`seen` is no number")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _file_refusals.damaged_store(folder, MANIFEST, f"it is no manifest ({error})") from None
    if found.get("content") != made.content:
        raise _file_refusals.damaged_store(folder, MANIFEST, "its lanes are not those that were committed")
    return made


def layers_of(about: Mapping[str, Any]) -> dict[str, tuple[int, str | None]]:
    """Width and type of the features of every layer, in forward order; no type where it is as it was recorded."""
    return {layer: (width, dtype) for layer, width, dtype in about["layers"]}


def _layers(about: Mapping[str, Any]) -> None:
    for layer, width, dtype in about["layers"]:
        _require(isinstance(layer, str) and isinstance(dtype, (str, type(None))), "names of layers")
        _require(isinstance(width, int) and width > 0, f"the width of {layer!r}")


def _part(found: Mapping[str, Any]) -> Part:
    made = Part(**{name: found[name] for name in ("name", "bytes", "sha256", "first", "last", "rows")})
    _require(SHA256.fullmatch(made.sha256), "a digest")
    numbers = (made.bytes, made.first, made.last, made.rows)
    _require(all(isinstance(n, int) and n >= 0 for n in numbers) and made.first <= made.last, "numbers of a part")
    return made


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(what)
