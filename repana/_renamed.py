"""Arguments that have a new name: the old one is refused by a message that gives the new one."""

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from repana import _check

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function of which these arguments have a new name: `@renamed(null="permutations")`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            refuse_renamed(function.__name__, options, names, names.values())
            return function(*args, **options)

        return checked

    return decorate


def refuse_renamed(function: str, options: Collection[str], names: Mapping[str, str], taken: Collection[str]) -> None:
    """Raises InputError for an old name among the options, where the new one is taken."""
    for old in options:
        if old in names and names[old] in taken and old not in taken:
            raise _check.renamed_argument(function, old, names[old])
