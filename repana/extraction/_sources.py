"""Models, checkpoints and data from a line of text, as the command line takes them."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repana import _check
from repana.extraction import _model_refusals
from repana.extraction._checkpoints import load_checkpoint
from repana.extraction.sources import _refusals
from repana.extraction.sources._arrays import array_pair, read_arrays
from repana.extraction.sources._classes import ClassNames, Coded, Coder
from repana.extraction.sources._described import Described
from repana.extraction.sources._factories import from_factory
from repana.extraction.sources._images import Images, Sizes, class_folders, image_cell, image_loader
from repana.extraction.sources._models import hf_model, timm_model
from repana.extraction.sources._tables import IDS, LABELS, TABLES, TEXTS, Table, open_dataset, open_table
from repana.extraction.sources._texts import Texts, id_rows, text_loader, text_rows

MODELS = ("pkg.module:factory", "file.py:factory", "hf:PATH", "timm:NAME")
DATA = (
    "digits",
    "digits:held_out",
    "docstrings:PACKAGE,PACKAGE",
    "npz:FILE",
    "FILE.npz",
    "TABLE",
    "imagefolder:DIR",
    "dataset:DIR",
    "dataset:DIR:SPLIT",
    "pkg.module:factory",
)
PICTURES = ("image", "img", "pixel_values")


def load_model(
    spec: str,
    *,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    weights: str | None = None,
    prefix: str | None = None,
    ignore: str | Iterable[str] = (),
    allow_pickle: bool = False,
) -> nn.Module:
    """A model from a line of text, in evaluation mode where a library made it, with the weights of a file.

    - `spec`: "hf:PATH" (a folder or a name that transformers reads; the class that its configuration names),
      "timm:NAME", "pkg.module:factory" or "file.py:factory"; the last three take literal keyword arguments, as in
      "timm:resnet18(num_classes=10)".
    - `pretrained`: the trained weights of a timm model; without it they are random, which a warning says.
    - `checkpoint`: a file of weights (safetensors, or a state dict or training checkpoint of PyTorch), that must fill
      the whole model. `weights` chooses among several sets in it, such as "ema" and "model"; `prefix` is what stands
      before the model's names in its keys, found by itself where one alone fits; `ignore` are patterns of keys that
      the model has no place for, such as "fc.*".
    - `allow_pickle`: run the code in a pickled checkpoint; only if you trust whoever made it.

    What was chosen, left out or is random is said by a UserWarning. No code from a model's folder is run.

    Raises FileError where the model or the file cannot be had or does not fit, and ModelError where the factory gives
    something else than a module.

    >>> import repana
    >>> repana.load_model("torch.nn:Linear(in_features=3, out_features=2)")
    Linear(in_features=3, out_features=2, bias=True)
    """
    options = {"weights": weights, "prefix": prefix, "ignore": ignore, "allow_pickle": allow_pickle}
    notes: list[str] = []
    network = model_from(spec, checkpoint=checkpoint, pretrained=pretrained, say=notes.append, **options)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return network


def load_data(
    spec: str,
    *,
    model: str | nn.Module | None = None,
    text_column: str | None = None,
    image_column: str | None = None,
    label_column: str | bool | None = None,
    class_names: ClassNames = None,
    like: Any = None,
    batch_size: int = 64,
    max_length: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
) -> Any:
    """Data from a line of text, as `profile` and `record` take them: tensors, or a DataLoader.

    - `spec`: "digits", "docstrings:PACKAGE,PACKAGE", an npz file, a table (Parquet, CSV, JSON lines), "dataset:DIR" or
      "dataset:DIR:SPLIT" (a folder that `datasets` saved), "imagefolder:DIR" (a folder of class folders), or
      "pkg.module:factory", which is called and may give anything that `record` takes.
    - `model`: the model or its line of text, for the tokenizer, the image processor and the numbers of its classes.
    - `text_column`, `image_column`, `label_column` of a table; `label_column=False` where it has no labels.
    - `class_names`: in the order of the model's outputs. By default labels that are names get the numbers that the
      model's `label2id` gives them; a classifier that does not know them is refused, as are numbers beyond its
      outputs. False says that the labels are not what the model decides: they are numbered in order of their names,
      and `profile` should get `head=False, logits=False`.
    - `like`: data loaded before, such as those to train on, whose class numbers held-out data are to share.
    - `max_length`: tokens of a text, 128 by default or as many as the model takes.
    - `image_size` (one number, or height and width), `image_mean`, `image_std`: where the model does not say how it
      wants images: shorter side to size, centre crop, values from 0 to 1, less mean, by deviation; one mean is grey.

    A DataLoader's `dataset.classes` are the names of the labels. What was chosen or left out is said by a UserWarning.

    Raises FileError where something cannot be found or read, and InputError where labels, columns or images leave a
    choice that these options decide.

    >>> import repana
    >>> x, y = repana.load_data("digits:held_out")
    >>> x.shape
    torch.Size([450, 1, 8, 8])
    """
    options = {"text_column": text_column, "image_column": image_column, "label_column": label_column}
    options |= {"class_names": class_names, "like": like, "batch_size": batch_size, "max_length": max_length}
    options |= {"image_size": image_size, "image_mean": image_mean, "image_std": image_std}
    notes: list[str] = []
    data = data_from(spec, model=model, say=notes.append, **options)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return data


def _ignored(note: str) -> None:
    """Nobody asked."""


def model_from(
    spec: str,
    *,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    say: Callable[[str], None] = _ignored,
    **weights: Any,
) -> nn.Module:
    """See `load_model`; `say` is called with every note."""
    kind, _, rest = spec.partition(":")
    filled = checkpoint is not None
    if filled and pretrained:
        raise _refusals.two_sources_of_weights()
    chosen = [f"`{name}`" for name in ("weights", "prefix", "ignore") if weights.get(name)]
    if chosen and not filled:
        raise _refusals.no_checkpoint_given(chosen)
    if kind == "hf":
        network = hf_model(rest, filled=filled, say=say)
    elif kind == "timm":
        network = timm_model(spec, pretrained=pretrained, filled=filled, say=say)
    else:
        network = from_factory(spec, "model", MODELS)
        if not isinstance(network, nn.Module):
            raise _model_refusals.not_a_module(network)
        if pretrained:
            raise _refusals.not_pretrained_here(spec)
    if checkpoint is not None:
        load_checkpoint(network, checkpoint, say=say, **weights)
    return network


@dataclass(frozen=True)
class Reading:
    """How data are read: the options of `load_data`, once looked at."""

    model: Described
    coder: Coder
    say: Callable[[str], None]
    text: str | None
    image: str | None
    label: str | bool | None
    batch_size: int
    max_length: int | None
    sizes: Sizes


def data_from(
    spec: str,
    *,
    model: str | nn.Module | None = "",
    network: nn.Module | None = None,
    text_column: str | None = None,
    image_column: str | None = None,
    label_column: str | bool | None = None,
    class_names: ClassNames = None,
    like: Any = None,
    batch_size: int = 64,
    max_length: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    say: Callable[[str], None] = _ignored,
) -> Any:
    """See `load_data`; `network` is what the line of text in `model` made; `say` is called with every note."""
    described = Described.of(model, network)
    listed = class_names is None or class_names is False or (not isinstance(class_names, str) and len(class_names))
    if not listed:
        raise _refusals.names_in_one_text(class_names)
    how = Reading(
        described, _coder(described, class_names, like, say), say, text_column, image_column, label_column,
        _check.at_least(batch_size, "batch_size", 1),
        None if max_length is None else _check.at_least(max_length, "max_length", 1),
        _sizes(image_size, image_mean, image_std),
    )  # fmt: skip
    if spec in ("digits", "digits:held_out"):
        from repana.extraction._samples import digits

        return digits()[spec.endswith("held_out")]
    kind, _, rest = spec.partition(":")
    if kind == "docstrings":
        from repana.extraction._samples import docstrings

        packages = tuple(rest.split(",")) if rest else ("numpy", "torch")
        texts, labels = docstrings(packages)
        loaded = Texts(texts, labels, packages)
        return text_loader(loaded, described, spec, how.batch_size, how.max_length, say)
    path = rest if kind == "npz" else spec
    if kind == "npz" or Path(path).suffix == ".npz":
        return _of_arrays(path, how)
    if kind == "imagefolder":
        return _of_folder(rest, how)
    if kind == "dataset":
        return _of_table(open_dataset(rest), how)
    if Path(path).suffix in TABLES:
        return _of_table(open_table(path), how)
    return from_factory(spec, "data", DATA)


def _coder(model: Described, names: ClassNames, like: Any, say: Callable[[str], None]) -> Coder:
    """Numbers by the names that were given, or as in the data that these are like."""
    shared = classes_of(like)
    return Coder(model, names, say) if shared is None else Coder(model, shared, say, counted=False)


def _sizes(size: Any, mean: Sequence[float] | None, std: Sequence[float] | None) -> Sizes:
    if isinstance(size, int):
        size = (size, size)
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise _refusals.image_size_of(size)
    if mean is not None and std is not None and (len(mean) != len(std) or len(mean) not in (1, 3) or 0 in std):
        raise _refusals.image_moments(list(mean), list(std))
    return Sizes(size, None if mean is None else tuple(mean), None if std is None else tuple(std))


def _of_arrays(path: str, how: Reading) -> Any:
    x, y = array_pair(read_arrays(path), path)
    if y is None or how.label is False:
        return x
    if y.ndim != 1:
        return x, _check.tensor_of(y, "labels")
    return x, torch.tensor(how.coder.of_values(y, f"`labels` of {path!r}").codes)


def _of_folder(place: str, how: Reading) -> Any:
    found = class_folders(place)
    where = f"imagefolder:{place}"
    coded = how.coder.of_folders(found.names, found.codes, where) if how.label is not False else Coded([])
    if found.empty:
        how.say(_refusals.empty_folders(where, found.empty))
    if found.others:
        how.say(_refusals.files_left_out(where, len(found.others), str(found.others[0])))
    labels = None if how.label is False else coded.codes
    images = Images(len(found.files), partial(_file, found.files), labels, classes=coded.names)
    return image_loader(images, how.model, how.sizes, where, how.batch_size)


def _file(files: list[Path], index: int) -> tuple[Any, str]:
    return files[index], str(files[index])


def _of_table(table: Table, how: Reading) -> Any:
    """Texts, images or token ids of a table, whichever it holds or the user names."""
    holds_text = how.text is not None or any(name in table.names for name in TEXTS)
    holds_image = how.image is not None or bool(table.images)
    if how.text is None and how.image is None and holds_text and holds_image:
        raise _refusals.text_or_image(table.where, [n for n in table.names if n in TEXTS], list(table.images))
    if how.text is not None and how.image is not None:
        raise _refusals.text_or_image(table.where, [how.text], [how.image])
    coded = _labels_of(table, how)
    labels = None if how.label is False else coded.codes
    if holds_image and how.text is None:
        usual = table.images if len(table.images) == 1 else PICTURES
        column = table.chosen(how.image, usual)
        images = Images(table.rows, partial(image_cell, table, column), labels, classes=coded.names)
        return image_loader(images, how.model, how.sizes, table.where, how.batch_size)
    if not holds_text and IDS in table.names:
        rows: Sequence[Any] = id_rows(table)
    else:
        rows = text_rows(table, table.chosen(how.text, TEXTS))
    texts = Texts(rows, labels, coded.names)
    return text_loader(texts, how.model, table.where, how.batch_size, how.max_length, how.say)


def _labels_of(table: Table, how: Reading) -> Coded:
    if how.label is False:
        return Coded([])
    column = table.chosen(how.label if isinstance(how.label, str) else None, LABELS)
    return how.coder.of_values(table.column(column), table.described(column), table.classes.get(column))


def classes_of(data: Any) -> tuple[str, ...] | None:
    """The names of the labels, where the data were read with names."""
    found = getattr(getattr(data, "dataset", None), "classes", None)
    return found if isinstance(getattr(data, "dataset", None), (Texts, Images)) else None


def example_input(model: nn.Module, shape: str | None) -> Any:
    """Something to show the model when no data are given: `--input 3x224x224`, or what the model says of itself."""
    if shape:
        sizes = re.split(r"[x,]", shape)
        if not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise _refusals.shape_not_understood(shape)
        return torch.randn(2, *map(int, sizes))
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
