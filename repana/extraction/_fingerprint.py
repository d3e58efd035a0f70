"""What went into a recording, as two short numbers: one of the samples in their order, one of the samples alone.

Of every input of real numbers up to 256 places of each sample are read; integers (tokens) are read whole, as two texts
may differ in one of them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from repana.extraction._batches import Batch

PLACES = 256  # of each input of real numbers of a sample that are read
ODD, MIXED = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
MASK = 2**64 - 1


class Fingerprint:
    """Sums over the samples of a hash of each; `add` takes batches in the order of the rows."""

    def __init__(self) -> None:
        self._ordered, self._content, self._seen, self._known = 0, 0, 0, True

    def add(self, batch: Batch) -> None:
        hashes = _hashes(batch)
        if hashes is None:
            self._known = False
            return
        places = torch.arange(self._seen, self._seen + len(hashes), dtype=torch.int64) * 2 + 1
        self._content = (self._content + int(hashes.sum())) & MASK
        self._ordered = (self._ordered + int(_mixed(hashes * places).sum())) & MASK
        self._seen += len(hashes)

    def value(self) -> dict[str, str] | None:
        """`ordered` is the same for the same samples in the same order, `content` in any; None where inputs are no
        tensors with an axis of samples."""
        if not self._known or not self._seen:
            return None
        return {"ordered": f"{self._ordered:016x}", "content": f"{self._content:016x}"}


def _hashes(batch: Batch) -> Tensor | None:
    """One number per sample, or None where no input has an axis of samples."""
    late = set(batch.late())
    total, found = torch.zeros(batch.size, dtype=torch.int64), False
    inputs: Mapping[str, Tensor] = batch.inputs()
    for number, name in enumerate(sorted(inputs)):
        t = inputs[name]
        if name in late or t.is_nested or t.layout != torch.strided or t.ndim <= batch.axis or t.is_quantized:
            continue
        if t.shape[batch.axis] != batch.size or not t.numel():
            continue
        found = True
        rows = _read(t.detach().movedim(batch.axis, 0).reshape(batch.size, -1))
        weights = _weights(rows.shape[1], number)
        total += _mixed((rows * weights).sum(1))
    return _mixed(total) if found else None


def _read(rows: Tensor) -> Tensor:
    """The bits of some places of every row, as whole numbers on the host."""
    if rows.is_complex():
        rows = torch.view_as_real(rows.resolve_conj()).flatten(1)
    width = rows.shape[1]
    if rows.is_floating_point():
        if width > PLACES:
            rows = rows[:, torch.linspace(0, width - 1, PLACES, device=rows.device).long()]
        return (rows.float() + 0.0).cpu().contiguous().view(torch.int32).long()
    return rows.long().cpu()


def _weights(width: int, number: int) -> Tensor:
    """Odd numbers, others for each place and each input."""
    generator = torch.Generator().manual_seed(number)
    return torch.randint(-(2**61), 2**61, (width,), generator=generator) * 2 + 1


def _mixed(values: Tensor) -> Tensor:
    """Bits stirred, so that equal sums of different numbers are as rare as chance (Steele, Lea & Flood 2014)."""
    values = values * _signed(ODD)
    values = values ^ (values >> 29)
    values = values * _signed(MIXED)
    return values ^ (values >> 32)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
