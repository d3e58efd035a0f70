"""Writes the `__init__.pyi` of every family: the names that its `__init__.py` exports, with their signatures.

    python tools/stubs.py          # after a public function is added, renamed, or has new options

A function that is written on summaries has its true signature in the stub, with the options of its summaries, so that
editors complete them. `EXPORTS` in `__init__.py` is the one list of what a family exports. A test compares the
stubs with what this writes.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from repana import _typing

PACKAGE = Path(__file__).parents[1] / "repana"
FAMILIES = (
    "collapse",
    "separation",
    "dimension",
    "topology",
    "spectra",
    "probes",
    "features",
    "comparison",
    "dynamics",
    "ranking",
    "heads",
    "kernels",
    "training",
)
NAMES = re.compile(r"^EXPORTS = (\{.*?\n\})", re.M | re.S)


def exports(family: str) -> dict[str, list[str]]:
    """Module of a family -> the names that it exports, as its `__init__.py` says."""
    found = NAMES.search((PACKAGE / family / "__init__.py").read_text(encoding="utf-8"))
    assert found is not None, family
    return {module: list(names) for module, names in eval(found[1]).items()}


def stub(family: str) -> str:
    """The `__init__.pyi` of a family."""
    imports, functions = [], []
    used: set[str] = set()
    for module, names in sorted(exports(family).items()):
        source = import_module(f"repana.{family}.{module}")
        for name in sorted(names):
            value = getattr(source, name)
            if hasattr(value, "on_summaries"):
                signature = inspect.signature(value)
                functions.append(_function(name, value, signature))
                typed = [p.annotation for p in signature.parameters.values()] + [signature.return_annotation]
                used |= {word for a in typed for word in re.findall(r"\b[A-Z]\w+\b", _annotation(a))}
            else:
                imports.append(f"from .{module} import {name} as {name}")
    outside = [line for word, line in OUTSIDE.items() if word in used]
    inside = "\n".join(imports)
    results = sorted(used - OUTSIDE.keys() - set(re.findall(r"as (\w+)", inside)) - {"None"})
    assert not results, f"{family} does not export {results}"
    parts = ["\n".join(outside), inside, "\n".join(functions)]
    return "\n\n".join(part for part in parts if part) + "\n"


OUTSIDE = {
    "Sequence": "from collections.abc import Sequence",
    "Any": "from typing import Any",
    "Tensor": "from torch import Tensor",
    "Estimate": "from .._estimate import Estimate",
    "FeatureArray": "from .._typing import FeatureArray",
    "LabelArray": "from .._typing import LabelArray",
}


def _function(name: str, function: Any, signature: inspect.Signature) -> str:
    lines = list(_parameters(signature))
    doc = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."
    result = _annotation(signature.return_annotation)
    return "\n".join([f"def {name}(", *(f"    {line}," for line in lines), f") -> {result}:", f'    """{doc}"""', ""])


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    keyword = False
    for name, p in signature.parameters.items():
        if p.kind is p.KEYWORD_ONLY and not keyword:
            keyword = True
            yield "*"
        default = "" if p.default is p.empty else f" = {p.default!r}"
        yield f"{name}: {_annotation(p.annotation)}{default}"


def _annotation(annotation: Any) -> str:
    for name in ("FeatureArray", "LabelArray"):
        if annotation is getattr(_typing, name):
            return name
    if "jaxtyping" in str(annotation):
        return "Tensor"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)


def write() -> None:
    for family in FAMILIES:
        (PACKAGE / family / "__init__.pyi").write_text(stub(family), encoding="utf-8")


if __name__ == "__main__":
    write()
