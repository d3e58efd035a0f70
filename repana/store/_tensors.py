"""Tensors as the bytes of a safetensors file, one tensor at a time: a file needs no second copy of its tensors."""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from repana._files import Buffer

NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}  # as the format spells them: https://huggingface.co/docs/safetensors
ALIGNED = 8


def size_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """Bytes of the file."""
    return len(_header(tensors, metadata)) + sum(t.numel() * t.itemsize for t in tensors.values())


def pieces_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[Buffer]:
    """The file, piece by piece: its header, then each tensor."""
    yield _header(tensors, metadata)
    for name in _order(tensors):
        t = tensors[name].detach().cpu().contiguous()
        if t.numel():
            yield t.flatten().view(torch.uint8).numpy().data


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    """The largest items first, so that every tensor lies at a multiple of its item's size."""
    return sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    start = 0
    for name in _order(tensors):
        t = tensors[name]
        stop = start + t.numel() * t.itemsize
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text
