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


def is_due(every: int | str, step: int, before: int) -> bool:
    """Whether a step of the schedule lies behind the step `before` and not behind `step`, as steps may come in strides.
    Every so many steps; "log": 1, 2, 4, ... up to 1024, then every 1000."""
    if every == "log":
        power = 1 << max(min(step, 1024).bit_length() - 1, 0)
        return (step >= 1 and power > before) or (step >= 2 * LOG and step // LOG > max(before, LOG) // LOG)
    assert isinstance(every, int)
    return step // every > before // every
