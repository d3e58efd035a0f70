"""The only place that creates a file of ours: whole or not at all, and durable once it has its name."""

import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from repana import _file_refusals

Buffer = bytes | bytearray | memoryview
PREFIX = ".put-"  # of a file that is being written
ABANDONED = 3600.0  # seconds after which such a file belongs to nobody
IN_USE = 60.0  # seconds for which a reader may still open a file that was replaced
FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True)
class Written:
    """A file as it was written."""

    name: str
    bytes: int
    sha256: str


def put(path: str | os.PathLike[str], content: bytes | Iterable[Buffer], size: int | None = None) -> Written:
    """Write a file under a temporary name in its folder, make it durable, and give it its name.

    What stood there before stays until then; a reader sees the one or the other, whole. Many pieces of content are
    written one after the other, `size` bytes in all. The mode is that of the umask, and a link in the way is replaced,
    not followed.

    Raises FileError where the folder cannot be made or written to, or has no room.
    """
    target = Path(path)
    if isinstance(content, bytes):
        content, size = [content], len(content)
    digest, written = hashlib.sha256(), 0
    beside = target.with_name(f"{PREFIX}{os.getpid()}-{token_hex(8)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FOLLOW, 0o666)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                for piece in content:
                    view = memoryview(piece).cast("B")
                    digest.update(view)
                    at = 0
                    while at < len(view):
                        at += file.write(view[at:]) or 0
                    written += len(view)
                os.fsync(file.fileno())
            os.replace(beside, target)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        _make_durable(target.parent)
    except OSError as error:
        raise _file_refusals.not_written(
            target, error, size or written, _free(target.parent), os.path.exists(target)
        ) from None
    return Written(target.name, written, digest.hexdigest())


@contextmanager
def put_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder, whole or not at all: what is written into the folder that this gives stands under `path` after the
    block, by one rename. After an error, or where the process dies, nothing stands there.

    Raises FileError where `path` is there already, or cannot be made.
    """
    target = Path(path)
    beside = target.with_name(f"{PREFIX}{os.getpid()}-{token_hex(8)}")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise _file_refusals.not_written(target, error, 0, _free(target.parent), target.exists()) from None
    try:
        yield beside
        try:
            for folder in (beside, *(p for p in beside.rglob("*") if p.is_dir())):
                _make_durable(folder)
            if target.exists():  # an empty folder would be replaced without a word
                raise FileExistsError(17, "a folder of this name is there", str(target))
            os.replace(beside, target)
            _make_durable(target.parent)
        except OSError as error:
            raise _file_refusals.not_written(target, error, 0, _free(target.parent), target.exists()) from None
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove files and folders that writers who died left, where nobody else may write."""
    for path in folder.glob(f"{PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All of a file, which is no link."""
    with os.fdopen(os.open(path, os.O_RDONLY | FOLLOW), "rb") as file:
        return file.read()


def digest_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, which is no link."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | FOLLOW), "rb", buffering=0) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def tidy(folder: Path, replaced: Sequence[str] = (), keep: Collection[str] = ()) -> None:
    """Remove what killed writers left in a folder, and files of these patterns, but those to keep, that are so old that
    nobody reads them any more."""
    now = time.time()
    with suppress(OSError):
        for path in [*folder.glob(f"{PREFIX}*"), *(p for pattern in replaced for p in folder.glob(pattern))]:
            if path.name in keep:
                continue
            most = ABANDONED if path.name.startswith(PREFIX) else IN_USE
            with suppress(OSError):
                if now - path.lstat().st_mtime > most:
                    path.unlink()


def _make_durable(folder: Path) -> None:
    """Write the names of a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it
            os.fsync(handle)
    finally:
        os.close(handle)


def _free(folder: Path) -> int | None:
    """Bytes left where a folder is, or would be."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None
