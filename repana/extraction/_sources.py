"""Models, checkpoints and data from a line of text, as the command line takes them."""

import ast
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana import _check

MODELS = ("pkg.module:factory", "file.py:factory", "hf:PATH", "timm:NAME")
DATA = (
    "digits",
    "digits:held_out",
    "docstrings:PACKAGE,PACKAGE",
    "npz:FILE",
    "FILE.npz",
    "TABLE",
    "pkg.module:factory",
)
TABLES = (".parquet", ".csv", ".jsonl", ".json")


# --- models -----------------------------------------------------------------------------------------------------------


def model_from(spec: str) -> nn.Module:
    """`hf:PATH`, `timm:NAME`, `pkg.module:factory` or `file.py:factory`, with `factory(key=value)` for arguments."""
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        return _hugging_face(rest)
    if kind == "timm":
        return _imported("timm", "timm").create_model(rest, pretrained=False).eval()
    made = _made(spec, "model", MODELS)
    if not isinstance(made, nn.Module):
        raise _check.not_a_module(made)
    return made


def _hugging_face(path: str) -> nn.Module:
    """The class that the configuration names, else the bare encoder."""
    transformers = _imported("transformers", "hf")
    folder = Path(path)
    if path.startswith((".", "/", "~")) and not folder.expanduser().exists():
        raise _check.file_missing(path, "model folder")
    try:
        config = transformers.AutoConfig.from_pretrained(path)
        name = (getattr(config, "architectures", None) or ["AutoModel"])[0]
        return getattr(transformers, name, transformers.AutoModel).from_pretrained(path)
    except OSError as error:
        raise _check.unreadable(f"hf:{path}", str(error).splitlines()[0]) from error


def _imported(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except Exception as error:  # a broken optional package raises all sorts of things
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        raise _check.extra_missing(package, extra, reason) from error


def _made(spec: str, what: str, forms: tuple[str, ...]) -> Any:
    """What a factory gives; anything that is not callable is given as it is."""
    found = re.fullmatch(r"(?P<where>.+?):(?P<name>[A-Za-z_][\w.]*)(?P<call>\(.*\))?", spec)
    if not found:
        raise _check.spec_not_understood(spec, what, forms)
    target: Any = _module(found["where"], what, spec, forms)
    for part in found["name"].split("."):
        if not hasattr(target, part):
            public = [n for n in vars(target) if not n.startswith("_")] if hasattr(target, "__dict__") else []
            raise _check.no_factory(spec, part, public)
        target = getattr(target, part)
    if isinstance(target, nn.Module) or not callable(target):
        return target
    return target(**_keywords(found["call"], spec, what, forms))


def _keywords(call: str | None, spec: str, what: str, forms: tuple[str, ...]) -> dict[str, Any]:
    """Literal keyword arguments; nothing is evaluated."""
    if not call:
        return {}
    try:
        node = ast.parse(f"f{call}", mode="eval").body
        assert isinstance(node, ast.Call)
        return {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError):
        raise _check.spec_not_understood(spec, what, forms) from None


def _module(where: str, what: str, spec: str, forms: tuple[str, ...]) -> ModuleType:
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise _check.file_missing(where, f"{what} file")
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
    if not re.fullmatch(r"[\w.]+", where):
        raise _check.spec_not_understood(spec, what, forms)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise _check.module_missing(spec, str(error)) from error


# --- data -------------------------------------------------------------------------------------------------------------


def data_from(
    spec: str, *, model: str = "", text_column: str | None = None, label_column: str | None = None, batch_size: int = 64
) -> Any:
    """Data from a line of text; a table or docstrings need a `hf:` model, whose tokenizer they are read with."""
    if spec in ("digits", "digits:held_out"):
        from repana.extraction._samples import digits

        return digits()[spec.endswith("held_out")]
    kind, _, rest = spec.partition(":")
    if kind == "docstrings":
        from repana.extraction._samples import docstrings

        texts, labels = docstrings(tuple(rest.split(",")) if rest else ("numpy", "torch"))
        return tokenized(texts, labels, _tokenizer(model, spec), batch_size)
    path = rest if kind == "npz" else spec
    suffix = Path(path).suffix
    if kind == "npz" or suffix == ".npz":
        arrays = read_arrays(path)
        x, y = _pair(arrays, path)
        return torch.from_numpy(x).float() if y is None else (torch.from_numpy(x).float(), torch.from_numpy(y))
    if suffix in TABLES:
        texts, labels = read_table(path, text_column, label_column)
        return tokenized(texts, labels, _tokenizer(model, spec), batch_size)
    return _made(spec, "data", DATA)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an npz, npy or safetensors file, by name; nothing is unpickled."""
    file = Path(path)
    if not file.is_file():
        raise _check.file_missing(path, "data file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {name: _numpy(x) for name, x in load_file(file).items()}
        loaded = np.load(file, allow_pickle=False)
        return {"features": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except ValueError as error:
        if "allow_pickle" in str(error) and file.read_bytes()[:2] in (b"PK", b"\x93N"):
            raise _check.unsafe(file, ["pickled objects"]) from error
        raise _check.unreadable(file, str(error)) from error
    except Exception as error:
        raise _check.unreadable(file, str(error)) from error


def _numpy(x: Tensor) -> np.ndarray:
    return x.float().numpy() if x.dtype == torch.bfloat16 else x.numpy()


def _pair(arrays: dict[str, np.ndarray], path: str) -> tuple[np.ndarray, np.ndarray | None]:
    x = next((arrays[k] for k in ("x", "X", "inputs", "features", "data", "images") if k in arrays), None)
    y = next((arrays[k] for k in ("y", "labels", "label", "target", "targets") if k in arrays), None)
    if x is None:
        raise _check.column_missing(path, "x", list(arrays))
    return x, y


def read_table(path: str | Path, text: str | None, label: str | None) -> tuple[list[str], list[int]]:
    """Texts and class numbers from a Parquet, CSV or JSON-lines table; labels that are names are numbered in order."""
    import pandas as pd

    file = Path(path)
    if not file.is_file():
        raise _check.file_missing(path, "table")
    readers: dict[str, Callable[..., Any]] = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    frame = readers[file.suffix](file) if file.suffix in readers else pd.DataFrame(_json_rows(file))
    columns = []
    for name, usual in ((text, ("text", "sentence")), (label, ("label", "labels", "y", "target"))):
        name = name or next((u for u in usual if u in frame.columns), usual[0])
        if name not in frame.columns:
            raise _check.column_missing(path, name, [str(c) for c in frame.columns])
        columns.append(frame[name])
    values = columns[1]
    codes = values.astype(int) if pd.api.types.is_integer_dtype(values) else pd.Categorical(values).codes
    return [str(t) for t in columns[0]], [int(c) for c in codes]


def _json_rows(file: Path) -> list[Any]:
    text = file.read_text(encoding="utf-8")
    return (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    )


def _tokenizer(model: str, spec: str) -> Any:
    kind, _, path = model.partition(":")
    if kind != "hf":
        raise _check.needs_tokenizer(spec, model)
    return _imported("transformers", "hf").AutoTokenizer.from_pretrained(path)


def tokenized(texts: list[str], labels: list[int], tokenizer: Any, batch_size: int, longest: int = 128) -> Any:
    """Batches of padded token ids with mask and labels, padded to the longest of the batch."""

    class Batches:
        def __len__(self) -> int:
            return -(-len(texts) // batch_size)

        @property
        def dataset(self) -> list[str]:
            return texts

        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            for start in range(0, len(texts), batch_size):
                part = texts[start : start + batch_size]
                batch = tokenizer(part, padding=True, truncation=True, max_length=longest, return_tensors="pt")
                yield {**batch, "labels": torch.tensor(labels[start : start + batch_size])}

    return Batches()


def example_input(model: nn.Module, shape: str | None) -> Any:
    """Something to show the model when no data are given: `--input 3x224x224`, or what the model says of itself."""
    if shape:
        return torch.randn(2, *map(int, re.split(r"[x,]", shape)))
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, Mapping):
        ids = next(iter(dummy.values()))
        takes = inspect.signature(model.forward).parameters
        mask = {"attention_mask": torch.ones_like(ids)} if "attention_mask" in takes else {}
        return [{**dummy, **mask}]
    default = getattr(model, "default_cfg", None) or getattr(model, "pretrained_cfg", None)
    if isinstance(default, Mapping) and "input_size" in default:
        return torch.randn(2, *default["input_size"])
    return None
