"""Whether a store is what was committed: names, sizes, digests."""

from dataclasses import dataclass
from pathlib import Path

from repana import _file_refusals
from repana.errors import FileError
from repana.store import _format as f
from repana.store._read import problem_of


@dataclass(frozen=True)
class Verification:
    """What `repana verify` found: one line a problem, with the file, the lane and the samples."""

    folder: Path
    lanes: int
    parts: int
    bytes: int
    complete: bool
    problems: tuple[str, ...]

    def __str__(self) -> str:
        state = "complete" if self.complete else "unfinished"
        head = f"{self.folder}: {state}, {self.lanes} lanes, {self.parts} parts, {self.bytes:,} bytes"
        return "\n".join([head, *self.problems] if self.problems else [f"{head}: as committed"])


def verified(folder: Path, *, quick: bool = False) -> Verification:
    """Compare every file with its commit; `quick` compares names and sizes, not digests."""
    if folder.is_file():
        raise _file_refusals.not_a_folder(folder, "a store")
    complete = (folder / f.MANIFEST).is_file()
    if complete:
        manifest = f.read_manifest(folder)
        identity = manifest.identity
        names: dict[str, str | None] = dict(manifest.lanes.items())
    else:
        identity = str(f.read_json(folder, f.STORE).get("identity"))
        names = dict.fromkeys(f.committed(folder))
    problems, parts, size = [], 0, 0
    for name, digest in names.items():
        try:
            lane = f.read_lane(folder, name, identity, digest)
        except FileError as error:
            problems.append(f"lane {name}: {error}")
            continue
        for part in lane.files:
            parts, size = parts + 1, size + part.bytes
            problem = problem_of(folder / name / part.name, part, digest=not quick, again=True)
            if problem:
                problems.append(f"{name}/{part.name}, samples {part.first} to {part.last}: {problem}")
    return Verification(folder, len(names), parts, size, complete, tuple(problems))
