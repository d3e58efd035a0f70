"""Images from class folders and from tables, read by Pillow, prepared as the model's own files say."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from repana.errors import FileError
from repana.extraction.sources import _refusals, _weights_refusals
from repana.extraction.sources._described import Described
from repana.extraction.sources._factories import imported, reason_of
from repana.extraction.sources._tables import Table

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2")
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval")
DEEP = ("I", "I;16", "I;16B", "I;16L", "F")  # modes of Pillow that a conversion to 8 bits would clip


@dataclass(frozen=True)
class Images(Dataset):
    """Images with labels, decoded when they are read; `source(i)` gives a file or bytes, and how to call it."""

    count: int
    source: Callable[[int], tuple[Any, str]]
    labels: Sequence[int] | None
    mode: str = "RGB"
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int | None]:
        return decoded(*self.source(index), self.mode), None if self.labels is None else self.labels[index]


def decoded(source: Any, name: str, mode: str = "RGB") -> Any:
    """The first frame of an image in 8 bits a channel."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode not in DEEP:
                image = image.convert("RGBA") if "transparency" in image.info else image
                return image.convert(mode)
            deep = image.mode
    except Exception as error:  # decoders raise what they like
        raise _refusals.image_unreadable(name, reason_of(error)) from error
    raise _refusals.image_too_deep(name, deep)


# --- where they are ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassFolders:
    """Files of a folder of class folders, in order, with the place of their class among the sorted names."""

    names: list[str]
    files: list[Path]
    codes: list[int]
    empty: list[str]
    others: list[Path]


def class_folders(place: str) -> ClassFolders:
    root = Path(place).expanduser()
    if not root.is_dir():
        raise _weights_refusals.file_missing(place, "image folder")
    names = sorted(d.name for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    found = {name: _files(root / name) for name in names}
    if names and all(name.lower() in SPLITS for name in names) and any(_has_folders(root / name) for name in names):
        raise _refusals.folder_of_splits(f"imagefolder:{root}", names)
    files = [f for name in names for f in found[name] if f.suffix.lower() in SUFFIXES]
    if not files:
        loose = [f for f in root.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES]
        raise _refusals.no_images(str(root), len(names), len(loose), SUFFIXES)
    codes = [i for i, name in enumerate(names) for f in found[name] if f.suffix.lower() in SUFFIXES]
    others = [f for name in names for f in found[name] if f.suffix.lower() not in SUFFIXES]
    return ClassFolders(names, files, codes, [n for i, n in enumerate(names) if i not in set(codes)], others)


def _files(folder: Path) -> list[Path]:
    """All files below, in the order of their paths; hidden ones are not looked at."""
    found = []
    for at, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        found += [Path(at) / name for name in files if not name.startswith(".")]
    return sorted(found)


def _has_folders(folder: Path) -> bool:
    return any(d.is_dir() for d in folder.iterdir())


def image_cell(table: Table, column: str, row: int) -> tuple[Any, str]:
    """Bytes or a file, as `datasets` keeps images in a cell, and how to call it."""
    cell, name = table.cell(column, row), f"row {row} of {table.described(column)}"
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, (str, Path)):
        return table.folder / cell, f"{cell} ({name})"
    if not isinstance(cell, bytes):
        raise _refusals.image_unreadable(name, f"the cell holds a {type(cell).__name__}, no bytes and no path")
    return cell, name


# --- how they are prepared --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """What the user says of the preparation: all three, or none."""

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def image_loader(images: Images, model: Described, sizes: Sizes, where: str, batch_size: int) -> DataLoader:
    """Batches of prepared images: a mapping for a model of transformers, else (x, y)."""
    prepare, mode = _preparation(model, sizes, where)
    images = Images(images.count, images.source, images.labels, mode, images.classes)
    return DataLoader(images, batch_size=batch_size, collate_fn=partial(_collated, prepare, model.spec))


def _collated(prepare: Callable[[list[Any]], Any], spec: str, rows: list[tuple[Any, int | None]]) -> Any:
    try:
        inputs = prepare([image for image, _ in rows])
    except RuntimeError as error:  # images of different sizes do not stack
        raise _refusals.images_do_not_stack(spec, reason_of(error)) from error
    labels = [label for _, label in rows]
    known = None if None in labels else torch.tensor(labels)
    if isinstance(inputs, Tensor):
        return inputs if known is None else (inputs, known)
    return {**inputs} if known is None else {**inputs, "labels": known}


def _preparation(model: Described, sizes: Sizes, where: str) -> tuple[Callable[[list[Any]], Any], str]:
    """A function from images to the model's input, and the mode that the images are to have."""
    given = {"image_size": sizes.size, "image_mean": sizes.mean, "image_std": sizes.std}
    if sizes != Sizes():
        absent = [name for name, value in given.items() if value is None]
        if absent:
            raise _refusals.preparation_incomplete(absent)
        assert sizes.mean is not None
        return partial(_scaled, sizes), "L" if len(sizes.mean) == 1 else "RGB"
    if model.path is not None:
        return partial(_processed, _processor(model.path)), "RGB"
    if model.timm is not None:
        from timm.data.config import resolve_data_config
        from timm.data.transforms_factory import create_transform

        config = resolve_data_config({}, pretrained_cfg=dict(model.timm))
        prepare = partial(_transformed, create_transform(**config, is_training=False))  # pyright: ignore[reportArgumentType]
        return prepare, "L" if config["input_size"][0] == 1 else "RGB"
    carried = getattr(getattr(model.network, "weights", None), "transforms", None)
    transform = carried() if callable(carried) else getattr(model.network, "transforms", None)
    if not callable(transform):
        raise _refusals.no_preparation(where, model.spec)
    return partial(_transformed, transform), "RGB"


def _processor(path: str) -> Any:
    transformers = imported("transformers", "hf")
    # Pillow's arithmetic whether torchvision is installed or not, so that the same file gives the same numbers.
    with_pillow = {"backend": "pil"} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": False}
    try:
        return transformers.AutoImageProcessor.from_pretrained(path, trust_remote_code=False, **with_pillow)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        if isinstance(error, FileError):
            raise
        raise _refusals.no_processor(f"hf:{path}", reason_of(error)) from error


def _processed(processor: Any, images: list[Any]) -> Mapping[str, Any]:
    return dict(processor(images=images, return_tensors="pt"))


def _transformed(transform: Callable[..., Any], images: list[Any]) -> Tensor:
    return torch.stack([torch.as_tensor(transform(image)) for image in images])


def _scaled(sizes: Sizes, images: list[Any]) -> Tensor:
    """Shorter side to size (bicubic), centre crop, values from 0 to 1, then (x - mean) / std for each channel."""
    assert sizes.size is not None
    height, width = sizes.size
    mean, std = (torch.tensor(v)[:, None, None] for v in (sizes.mean, sizes.std))
    rows = []
    for image in images:
        scale = max(height / image.height, width / image.width)
        shape = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        left, top = (shape[0] - width) // 2, (shape[1] - height) // 2
        cropped = image.resize(shape, resample=3).crop((left, top, left + width, top + height))
        x = torch.from_numpy(np.array(cropped, dtype=np.float32)) / 255
        rows.append(((x[None] if x.ndim == 2 else x.permute(2, 0, 1)) - mean) / std)
    return torch.stack(rows)
