"""Functions that are named in a table and imported when they are first called: what can be measured is listed without
torch."""

from functools import cached_property
from importlib import import_module
from typing import Any


class Deferred:
    # A function of a module. Its signature, its docstring and its other attributes are those of the function.

    def __init__(self, module: str, name: str) -> None:
        self._module, self.__name__ = module, name

    @cached_property
    def __wrapped__(self) -> Any:
        return getattr(import_module(self._module), self.__name__)

    @property
    def __doc__(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.__wrapped__.__doc__

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.__wrapped__(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


class deferred:
    """A module of which every attribute is a function that is imported when it is called."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks an object for
            raise AttributeError(name)
        return Deferred(self._module, name)
