"""Signals that end a command: the model is put back, half a file goes, and the same command goes on later."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

RESUMABLE = 5  # the exit code
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # of a person, a system, a scheduler


class Interrupted(BaseException):
    """Not an Exception: nothing that catches errors keeps a command from ending."""


@contextmanager
def interruptible() -> Iterator[None]:
    """The first signal ends a command in order, a second one at once."""
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}

    def end(number: int, frame: Any) -> NoReturn:
        for other in known:
            signal.signal(other, signal.SIG_DFL)
        name = signal.Signals(number).name
        raise Interrupted(f"{name}: what was finished is kept; the same command goes on.")

    for number in known:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
