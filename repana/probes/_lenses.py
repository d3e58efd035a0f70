"""The rest of a network behind its last block as a function of any layer, and affine maps from layers to that block."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from repana._typing import IGNORED
from repana.errors import ModelError
from repana.extraction._answers import Answers, token_ids
from repana.extraction._attribution import Places, Reader, reading
from repana.extraction._batches import Batch
from repana.extraction._plan import Planned
from repana.extraction._record import plan
from repana.extraction._session import unwrap
from repana.probes import _refusals
from repana.summaries._linalg import full_precision

SAME = 1e-5  # relative, by which logits of the short way may differ from the model's own
EXACT = 1e-4  # and those of the model run again with its own last block


@dataclass(frozen=True)
class BlockNames:
    """The input of the first block, the blocks in forward order, and norms that may stand between the last one and the
    head."""

    first: str
    blocks: tuple[str, ...]
    norms: tuple[str, ...]


def blocks_of(model: nn.Module, data: Any, layers: Any, options: dict[str, Any]) -> BlockNames:
    """The blocks that were named, or of the depth profile the modules of the class that most of its layers have.

    Raises ModelError where there are fewer than two.
    """
    inner, _ = unwrap(model)
    planned = [p for p in plan(model, data, layers, **options).layers if p.site.module and p.site.side == "out"]
    if isinstance(layers, str) and layers == "auto":
        kinds = Counter(type(inner.get_submodule(p.site.module)) for p in planned)
        kind, count = kinds.most_common(1)[0] if kinds else (None, 0)
        if count < 2:
            raise _refusals.no_blocks([p.address for p in planned])
        names = [p.address for p in planned if type(inner.get_submodule(p.site.module)) is kind]
    else:
        names = [p.address for p in planned]
        if len(names) < 2:
            raise _refusals.no_blocks(names)
    last = max(p.event for p in planned if p.address in names)
    after = plan(model, data, "auto", **options).layers
    norms = [p.site.module for p in after if p.event > last and p.site.side == "out" and p.site.module]
    return BlockNames(_input_of(model, data, names[0], options), tuple(names), tuple(norms))


def _input_of(model: nn.Module, data: Any, block: str, options: dict[str, Any]) -> str:
    """The address of the stream that a block is given: its only tensor, the first, or that of this name."""
    for suffix in ("", "[0]", ".hidden_states"):
        try:
            return plan(model, data, [f"{block}:in{suffix}"], **options).layers[0].address
        except ModelError as error:
            last = error
    raise last


@dataclass(frozen=True)
class Lens:
    """A model and the residual stream at its first block's input and behind every block."""

    reader: Reader
    names: tuple[str, ...]  # the input of the first block, and the blocks
    norms: tuple[str, ...]
    short: list[Callable[[Tensor], Tensor] | None] = field(default_factory=list)  # once it was tried

    @property
    def last(self) -> Planned:
        return self.reader.only(self.names[-1])

    def streams(self, batch: Batch) -> tuple[list[Tensor], Answers]:
        """The tensor of every layer, and what the model answers."""
        found: dict[str, Tensor] = {}

        def keep(address: str) -> Callable[[Tensor], Tensor]:
            def function(tensor: Tensor) -> Tensor:
                found[address] = tensor.clone()
                return tensor

            return function

        with self.reader.swapped({name: keep(name) for name in self.names}):
            answers = self.reader.answers(batch)
        tensors = [found[name] for name in self.names]
        for name, tensor in zip(self.names, tensors):
            if tensor.shape != tensors[-1].shape:
                raise _refusals.stream_changes(name, tuple(tensor.shape), self.names[-1], tuple(tensors[-1].shape))
        if not self.short:
            self._try(batch, tensors[-1], answers)
        return tensors, answers

    def logits(self, batch: Batch, stream: Tensor) -> Float[Tensor, "b t v"]:
        """What the model makes of a stream in the place of its last block's output."""
        if self.short and self.short[0] is not None:
            return self.short[0](stream)
        with self.reader.swapped({self.names[-1]: lambda _: stream}):
            return self.reader.answers(batch).logits

    def _try(self, batch: Batch, stream: Tensor, answers: Answers) -> None:
        """Whether a norm and the head alone give the model's own logits; and whether the model gives them again."""
        self.short.append(None)
        for way in self._short_ways(stream):
            z = _quietly(way, stream)
            if z is not None and z.shape == answers.logits.shape and _near(z, answers.logits, SAME):
                self.short[0] = way
                return
        if not _near(self.logits(batch, stream), answers.logits, EXACT):
            raise _refusals.tail_differs(self.names[-1])

    def _short_ways(self, stream: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        model = self.reader.live.model
        head = getattr(model, "get_output_embeddings", lambda: None)()
        if not isinstance(head, nn.Module) or stream.ndim != 3:
            return
        for name in (*self.norms, ""):
            norm = model.get_submodule(name) if name else nn.Identity()
            yield lambda h, norm=norm, head=head: head(norm(h))


def _quietly(way: Callable[[Tensor], Tensor], stream: Tensor) -> Tensor | None:
    try:
        found = way(stream)
    except (RuntimeError, TypeError, ValueError):
        return None
    return found if isinstance(found, Tensor) else None


def _near(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return float((a.double() - b.double()).abs().max()) <= tolerance * float(b.double().abs().max().clamp_min(1e-12))


@contextmanager
def lens_of(
    model: nn.Module, data: Any, blocks: BlockNames, options: dict[str, Any]
) -> Iterator[tuple[Lens, Iterator[Batch]]]:
    """The model ready to be read at its blocks. All is put back at the end."""
    layers = [blocks.first, *blocks.blocks]
    with reading(model, data, layers, tokens=True, **options) as (reader, batches), torch.no_grad():
        names = tuple(p.address for p in reader.layers)
        yield Lens(reader, names, blocks.norms), batches


@dataclass(frozen=True)
class Where:
    """Which answers of a batch are read: real positions, the first one left out if asked, of chosen samples."""

    chosen: Bool[Tensor, "b t"]
    label: Int[Tensor, "b t"]
    token: Int[Tensor, "b t"]
    why: str = ""

    @classmethod
    def of(cls, lens: Lens, batch: Batch, answers: Answers, samples: Bool[Tensor, " b"], skip_first: bool) -> "Where":
        real = answers.real.clone()
        of_tokens = lens.reader.plan.facts["token_logits"] is not None
        if skip_first and of_tokens:
            real[torch.arange(len(real)), real.long().argmax(1)] = False
        held = lens.reader.labels_or_reason(answers, batch)
        nothing = torch.full(real.shape, IGNORED, device=real.device)
        ids = token_ids(batch, real.shape[1]) if of_tokens else None
        words = torch.full(real.shape, -1, device=real.device) if ids is None else ids.to(real.device)
        why = held if isinstance(held, str) else ""
        label = nothing if isinstance(held, str) else held
        return cls(real & samples.to(real.device)[:, None], label, words, why)


# --- affine maps ------------------------------------------------------------------------------------------------------


@dataclass
class RidgeSums:
    """Sums of rows h (r, d) of a layer and of their distance to the last block's rows, around a shift."""

    shift: Float[Tensor, " d"]
    weight: float = 0.0
    h: Tensor | float = 0.0
    delta: Tensor | float = 0.0
    hh: Tensor | float = 0.0
    hd: Tensor | float = 0.0

    def add(self, h: Float[Tensor, "r d"], last: Float[Tensor, "r d"], weight: Float[Tensor, " r"]) -> None:
        moved, delta = h.double() - self.shift, last.double() - h.double()
        weighted = moved * weight[:, None]
        self.weight += float(weight.sum())
        self.h = self.h + weighted.sum(0)
        self.delta = self.delta + (delta * weight[:, None]).sum(0)
        with full_precision():
            self.hh = self.hh + weighted.T @ moved
            self.hd = self.hd + weighted.T @ delta

    def less(self, other: "RidgeSums") -> "RidgeSums":
        """Without the rows of another."""
        left = (self.h - other.h, self.delta - other.delta, self.hh - other.hh, self.hd - other.hd)
        return RidgeSums(self.shift, self.weight - other.weight, *left)

    @classmethod
    def total(cls, parts: Sequence["RidgeSums"]) -> "RidgeSums":
        """Of all rows of some parts around one shift."""
        sums = ([getattr(part, name) for part in parts] for name in ("weight", "h", "delta", "hh", "hd"))
        return cls(parts[0].shift, *(sum(found[1:], found[0]) for found in sums))

    def solved(self, alpha: float) -> "Affine":
        """h -> h + (h - mean) W + mean delta, W the ridge regression of delta on h with penalty alpha tr(C)/d."""
        assert isinstance(self.h, Tensor)
        assert isinstance(self.delta, Tensor)
        mean, offset = self.h / self.weight, self.delta / self.weight
        c = self.hh - self.weight * mean.outer(mean)
        cross = self.hd - self.weight * mean.outer(offset)
        assert isinstance(c, Tensor)
        penalty = alpha * float(c.trace()) / len(c)
        weight = torch.linalg.solve(c + max(penalty, 1e-300) * torch.eye(len(c), dtype=c.dtype, device=c.device), cross)
        return Affine(weight, mean + self.shift, offset)


@dataclass(frozen=True)
class Affine:
    """h + (h - mean) weight + offset; with `weight` None the shift alone."""

    weight: Float[Tensor, "d d"] | None
    mean: Float[Tensor, " d"]
    offset: Float[Tensor, " d"]

    def __call__(self, rows: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
        x = rows.double()
        moved = x + self.offset if self.weight is None else x + (x - self.mean) @ self.weight + self.offset
        return moved.to(rows.dtype)

    @property
    def shift_alone(self) -> "Affine":
        """What a penalty without end leaves."""
        return Affine(None, self.mean, self.offset)


def applied(map_: Affine, places: Places, stream: Tensor) -> Tensor:
    """A map on every position of a layer's tensor."""
    return places.back(map_(places.rows(stream)), stream)


def picked(
    places: Places, stream: Tensor, chosen: Bool[Tensor, "b t"], real: Bool[Tensor, "b p"]
) -> Float[Tensor, "r d"]:
    """The rows of a stream at the answers that are read; of a model with one answer a sample, all real rows."""
    rows = places.rows(stream)
    if chosen.shape[1] == rows.shape[1]:
        return rows[chosen]
    return rows[chosen.any(1)[:, None] & real]


def weights_of(kind: str | None, last: Float[Tensor, "r d"]) -> Float[Tensor, " r"]:
    """Of the rows of a fit: alike, or d/|h_L|^2, as the final norm undoes their scale."""
    if kind is None:
        return torch.ones(len(last), dtype=torch.float64, device=last.device)
    return last.shape[1] / last.double().square().sum(1).clamp_min(1e-300)
