"""Refusals of files: what cannot be written or read, what is there instead, and what to do."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repana._check import listed
from repana.errors import FileError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def not_written(path: Path, error: OSError, needed: int, free: int | None, there: bool) -> FileError:
    """`there`: whether an earlier file of the name is still in its place."""
    intact = "; the earlier file is as it was" if there and os.path.isfile(path) else ""
    if error.errno in FULL:
        room = "" if free is None or free > needed else f", of which {free:,} are free"
        why = (
            "the file would be larger than this process may write" if error.errno == errno.EFBIG else "no room is left"
        )
        return FileError(
            "RA310", f"{str(path)!r} needs {needed:,} bytes{room}: {why}{intact}. Make room and run it again."
        )
    if error.errno == errno.ENAMETOOLONG:
        return FileError("RA310", f"{str(path)!r} cannot be written: the name is too long; choose a shorter one.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        what = "a folder is in its place" if os.path.isdir(path) else "a file is in the place of one of its folders"
        return FileError("RA310", f"{str(path)!r} cannot be written: {what}; choose another path.")
    reason = f" ({error.strerror})" if error.strerror and error.errno not in (errno.EACCES, errno.EPERM) else ""
    return FileError(
        "RA310", f"{str(path)!r} cannot be written{reason}; choose a folder that you may write to{intact}."
    )


def unknown_export(path: Path, endings: Sequence[str]) -> FileError:
    return FileError("RA331", f"{str(path)!r} ends in {path.suffix!r}; expected one of {listed(endings)}.")


def zarr_missing() -> FileError:
    return FileError("RA331", "a .zarr group needs the package zarr: pip install 'repana[zarr]'.")


def in_the_way(path: Path) -> FileError:
    return FileError(
        "RA331", f"{str(path)!r} exists, and a folder cannot be replaced in one step; choose another name."
    )


def name_taken(names: Sequence[str]) -> FileError:
    return FileError(
        "RA331", f"layer(s) {listed(names)} have the names of other arrays of an export; leave them out by `select`."
    )


def damaged(folder: Path, name: str, reason: str) -> FileError:
    return FileError(
        "RA309", f"{str(folder)!r}: {name} was cut or changed after it was saved: {reason}. Save the report again."
    )


def not_a_report(folder: Path, missing: Sequence[str]) -> FileError:
    return FileError("RA307", f"{str(folder)!r} is not a saved report: {listed(missing)} not found in it.")


def other_format(folder: Path, found: Any, requested: int) -> FileError:
    return FileError(
        "RA308",
        f"{str(folder)!r} has format {found!r} and this version of repana reads {requested}; "
        "read it with the version that wrote it (see its provenance.json).",
    )


def not_a_folder(path: Path, what: str = "a report") -> FileError:
    return FileError("RA307", f"{str(path)!r} is a file; {what} is saved as a folder.")


def not_activations(folder: Path, missing: Sequence[str]) -> FileError:
    return FileError("RA307", f"{str(folder)!r} does not hold saved activations: {listed(missing)} not found in it.")


def damaged_store(folder: Path, name: str, reason: str) -> FileError:
    return FileError(
        "RA309",
        f"{str(folder)!r}: {name} was cut or changed after it was saved: {reason}. `repana verify` lists what is "
        "damaged; record again, which repeats the damaged lanes alone, or save again.",
    )


def other_recording(folder: Path, field: str, known: Any, found: Any) -> FileError:
    return FileError(
        "RA323",
        f"{str(folder)!r} holds another recording: its {field} is {known!r}, and that of this one {found!r}. Choose "
        "another folder, or delete it.",
    )


def holds_recording(folder: Path) -> FileError:
    return FileError("RA323", f"{str(folder)!r} holds a recording in lanes; save to another folder.")


def saved_activations(folder: Path) -> FileError:
    return FileError("RA323", f"{str(folder)!r} holds saved activations; record into another folder, or delete it.")


def no_finished_lane(folder: Path) -> FileError:
    return FileError("RA307", f"{str(folder)!r} has no finished lane yet; go on recording.")


def unfinished(folder: Path, done: int, lanes: int) -> FileError:
    return FileError(
        "RA307",
        f"{str(folder)!r} is not recorded to the end: {done} of {lanes} lanes are done. Run the same command again, or "
        "read what is there with `partial=True`.",
    )


def too_large_to_read(layer: str, needed: int, room: int) -> FileError:
    return FileError(
        "RA208",
        f"layer {layer!r} needs {needed:,} bytes in memory and the host has {room:,} free. Walk it with `.batches()`, "
        "take some rows by their indices, or record with `max_samples=`.",
    )


def lane_twice(folder: Path, lane: str, source: Path) -> FileError:
    return FileError(
        "RA323", f"{lane} of {str(source)!r} differs from that of {str(folder)!r}; one of them is damaged."
    )
