"""What a line of text such as `pkg.module:factory(width=8)` makes, and packages that need not be installed."""

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from repana import _check
from repana.errors import FileError
from repana.extraction.sources import _weights_refusals


def imported(package: str, extra: str) -> ModuleType:
    """An optional package, or the refusal that says how to install it."""
    try:
        return importlib.import_module(package)
    except Exception as error:  # a broken optional package raises all sorts of things
        raise _check.extra_missing(package, extra, reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """The class of an error and the first line of its text."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip().rstrip('.') if lines else 'no reason given'}"


def from_factory(spec: str, what: str, forms: tuple[str, ...]) -> Any:
    """What a factory gives; anything that is not callable is given as it is."""
    from torch import nn

    where, name, call = called(spec, what, forms)
    target: Any = _module(where, what, spec, forms)
    for part in name.split("."):
        if not hasattr(target, part):
            public = [n for n in vars(target) if not n.startswith("_")] if hasattr(target, "__dict__") else []
            raise _weights_refusals.no_factory(spec, part, public)
        target = getattr(target, part)
    if isinstance(target, nn.Module) or not callable(target):
        return target
    keywords = keywords_of(call, spec, what, forms)
    _check_arguments(target, keywords, f"{where}:{name}")
    return target(**keywords)


def called(spec: str, what: str, forms: tuple[str, ...]) -> tuple[str, str, str | None]:
    """The module, the name in it and the call of `pkg.module:factory(key=value)`."""
    found = re.fullmatch(r"(?P<where>.+?):(?P<name>[A-Za-z_][\w.]*)(?P<call>\(.*\))?", spec)
    if not found:
        raise _weights_refusals.spec_not_understood(spec, what, forms)
    return found["where"], found["name"], found["call"]


def keywords_of(call: str | None, spec: str, what: str, forms: tuple[str, ...]) -> dict[str, Any]:
    """Literal keyword arguments; nothing is evaluated."""
    if not call:
        return {}
    try:
        node = ast.parse(f"f{call}", mode="eval").body
        assert isinstance(node, ast.Call)
        if node.args or any(k.arg is None for k in node.keywords):
            raise _weights_refusals.positional_arguments(spec)
        return {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError, AssertionError) as error:
        if isinstance(error, FileError):
            raise
        raise _weights_refusals.spec_not_understood(spec, what, forms) from None


def _check_arguments(target: Callable[..., Any], keywords: dict[str, Any], name: str) -> None:
    """Refuse a call that Python would refuse, before the factory runs: what it raises inside is its own."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return
    usable = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in usable if p.default is p.empty and p.name not in keywords]
    needed += [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = [] if takes_any else [key for key in keywords if key not in {p.name for p in usable}]
    if needed or unknown:
        raise _weights_refusals.factory_arguments(name, keywords, needed, unknown, [p.name for p in usable])


def _module(where: str, what: str, spec: str, forms: tuple[str, ...]) -> ModuleType:
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise _weights_refusals.file_missing(where, f"{what} file")
        return _module_of_file(path)
    if not re.fullmatch(r"[\w.]+", where):
        raise _weights_refusals.spec_not_understood(spec, what, forms)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise _weights_refusals.module_missing(spec, str(error)) from error


def _module_of_file(path: Path) -> ModuleType:
    name = f"_repana_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        sys.path.insert(0, beside)
    found.loader.exec_module(module)
    return module
