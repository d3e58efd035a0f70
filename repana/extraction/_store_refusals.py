"""Refusals of recordings to a store: what was found, and what to do."""

from typing import Any

from repana.errors import InputError, RepanaError


def sampler(name: str) -> InputError:
    return InputError(
        "RA324",
        f"the loader has a {name}, and a store is cut by the places of the samples in the data: every process records "
        "lanes of its own, in the order of the data and without duplicates. Give a loader without shuffling, or the "
        "data set itself.",
    )


def share(lanes_of: Any) -> InputError:
    return InputError("RA324", f"`lanes_of` is {lanes_of!r}; expected such as '2/4', the second of four processes.")


def fewer_lanes(lanes: int, processes: int) -> InputError:
    return InputError("RA324", f"`lanes` is {lanes} for {processes} processes; expected at least one for each.")


def one_lane(lanes: int) -> InputError:
    return InputError(
        "RA324",
        f"`lanes` is {lanes} for a one-shot iterable; expected a Dataset, arrays, one lane, or `shards=`.",
    )


def shards_choice(both: bool, found: Any) -> InputError:
    if both:
        return InputError("RA324", "got `data` and `shards`; give the one or the other.")
    return InputError(
        "RA324", f"`shards` is {type(found).__name__}; expected a list of data, at least one, a lane each."
    )


def lanes_of_shards(lanes: int | None, shards: int) -> InputError:
    return InputError("RA324", f"`lanes` is {lanes} for {shards} shards, of which each is a lane; leave it out.")


def store_dtype(found: Any) -> InputError:
    return InputError("RA324", f"`store_dtype` is {found!r}; expected float32, bfloat16 or float16.")


def needs_store(name: str) -> InputError:
    return InputError("RA324", f"`{name}` says how a store is recorded; give `store=` too.")


def overflow(layer: str, dtype: str) -> InputError:
    return InputError(
        "RA324",
        f"layer {layer!r} has values beyond {dtype}; give store_dtype='bfloat16', which has the range of float32.",
    )


def batch_failed(lane: int, first: int, last: int, error: Exception) -> InputError:
    return InputError(
        "RA325",
        f"the data raised {type(error).__name__} at samples {first} to {last} (lane {lane}): {error}. Lanes that are "
        "done are kept; mend the data and record again.",
    )


def stream_failed(lane: int, number: int, error: Exception) -> InputError:
    return InputError(
        "RA325",
        f"the data raised {type(error).__name__} in batch {number} (counted from 0) of lane {lane}: {error}. Lanes "
        "that are done are kept; mend the data and record again.",
    )


def with_place(error: RepanaError, lane: int, first: int, last: int) -> RepanaError:
    """The same error, which says where in the data it came from."""
    error.add_note(f"in lane {lane}, samples {first} to {last}; lanes that are done are kept")
    return error
