"""At which steps of a training a record is due."""

from typing import Any

from repana.training import _refusals

LOG = 1000  # step from which on "log" goes on evenly


def check_every(every: Any) -> int | str:
    if every == "log":
        return "log"
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise _refusals.every_choice(every)
    return every


def is_due(every: int | str, step: int) -> bool:
    """Every so many steps; "log": at 1, 2, 4, ... up to 1024, then every 1000."""
    if every == "log":
        return step % LOG == 0 if step > 1024 else step & (step - 1) == 0
    assert isinstance(every, int)
    return step % every == 0
