"""The plan of a reading of parts of modules, each with the mask of its own stream, in the words of this family."""

from collections.abc import Callable
from typing import Any

from repana.errors import ModelError
from repana.extraction._first_batch import planned_of
from repana.extraction._options import Options
from repana.extraction._plan import Plan
from repana.extraction._session import Session
from repana.heads import _refusals


def planned_parts(
    live: Session,
    first: Any,
    options: Options,
    unwrapped: list[str],
    samples: int | None,
    absent: Callable[[], ModelError],
) -> tuple[Plan, Options]:
    """The plan. Where the model has no such part, `absent` is raised."""
    try:
        return planned_of(live, first, options, unwrapped, samples)
    except ModelError as error:
        if error.code == "RA136":
            raise absent() from None
        if error.code == "RA107":
            raise _refusals.padding_unknown() from error
        raise
