"""Processes that end in the middle of something, and what they leave."""

import contextlib
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch


def forked(work: Callable[[], object], kill_after: float | None = None) -> int:
    """The exit status of `work` in a child process, negative where a signal ended it; killed after so many seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dying_at(step: int, before: bool) -> Callable[..., None]:
    """os.replace that kills the process at its `step`-th call, before or after the rename."""
    calls, replace = [0], os.replace

    def call(*args, **options):
        calls[0] += 1
        if before and calls[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args, **options)
        if calls[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return call


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files, but the log, which may differ, and what a killed process was at."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.jsonl" and not path.name.startswith(".put-")
    }


def unfinished_files(folder: Path) -> list[Path]:
    return list(folder.rglob(".put-*"))
