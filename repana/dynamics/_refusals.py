"""Refusals of the dynamics family."""

from collections.abc import Sequence

from repana.errors import InputError


def unlike_series(steps: Sequence[int], values: Sequence[int]) -> InputError:
    return InputError(
        "RA284", f"Expected one value for each step; got steps {tuple(steps)} and values {tuple(values)}."
    )


def not_positive(count: int) -> InputError:
    return InputError("RA285", f"The logarithm needs positive values; {count} of them are 0 or less.")


def bodies_count(got: int | str, sessions: int) -> InputError:
    return InputError("RA291", f"`bodies` has {got} entries; expected one for each of {sessions} sessions.")


def bodies_form() -> InputError:
    return InputError("RA291", "With `held_out` every body is a pair: features to fit on, and held-out features.")


def held_out_form() -> InputError:
    return InputError("RA291", "`held_out` is (features, labels), or (features, labels, sessions).")


def base_count(got: int, sessions: int) -> InputError:
    return InputError("RA291", f"`base` has {got} accuracies; expected one for each of {sessions} sessions.")


def too_few_classes(count: int) -> InputError:
    return InputError("RA291", f"The rows have {count} class; sessions are measured between two or more.")


def unseen_class(code: int) -> InputError:
    return InputError("RA291", f"Class {code} has held-out rows and none to fit on.")


def session_without_rows(name: str) -> InputError:
    return InputError("RA291", f"Session {name!r} has no held-out rows.")


def unknown_session(value: object, names: Sequence[object]) -> InputError:
    return InputError("RA291", f"Held-out rows are of session {value!r}; sessions are {', '.join(map(str, names))}.")


def class_in_sessions(code: int, names: Sequence[str]) -> InputError:
    return InputError(
        "RA291",
        f"Class {code} comes in sessions {', '.join(names)}: say of which each held-out row is, as "
        "`held_out=(features, labels, sessions)`.",
    )


def widths_differ(first: int, second: int) -> InputError:
    return InputError("RA291", f"Bodies have {first} and {second} features; a head keeps sums of one width.")


def session_of_nothing(count: int) -> InputError:
    return InputError("RA291", f"`session` has {count} values that are not finite; every row is of a session.")


def held_out_width(fit: int, held_out: int) -> InputError:
    return InputError("RA291", f"Rows to fit on have {fit} features and held-out rows {held_out}; expected the same.")


def no_base(base: object) -> InputError:
    return InputError("RA291", f"`base` is an accuracy from 0 to 1 for each session; got {base!r}.")
