"""The error classes. Every error carries a stable code, explained in the documentation (docs/errors.md)."""


class RepanaError(Exception):
    """Anything that repana refuses. `code` is stable; the text says what was found, where, and what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    def __reduce__(self):
        return _rebuild, (type(self), self.code, str(self))


class InputError(RepanaError, ValueError):
    """The data, the labels or an argument cannot be used."""


class ModelError(RepanaError, RuntimeError):
    """The model does not have, or does not run, what was asked for."""


class FileError(RepanaError, OSError):
    """A file cannot be read, is not what it should be, or is not safe to read."""

    __str__ = Exception.__str__


def _rebuild(kind: type[RepanaError], code: str, text: str) -> RepanaError:
    return kind(code, text.removeprefix(f"{code}: "))
