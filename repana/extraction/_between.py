"""One layer of a live model as a function of an earlier one: points, answers under edits, and the Jacobian between."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana.errors import ModelError
from repana.extraction import _attribution_refusals
from repana.extraction._answers import one_position, real_rows
from repana.extraction._attribution import Places, Reader, differentiable
from repana.extraction._batches import Batch
from repana.extraction._patterns import matches
from repana.extraction._plan import Planned

At = str | int | Tensor  # "last", "first", "mean", a number of real positions, or one of these for each sample
BYTES = 2**27  # of gradients at a time
CHUNK = 256  # components of the later layer that are differentiated at a time


@dataclass(frozen=True)
class Point:
    """A layer, and which of its positions is read of every sample. Positions that stand in no line are averaged."""

    planned: Planned
    places: Places
    at: At

    @classmethod
    def of(cls, reader: Reader, layer: str, at: At) -> "Point":
        found = [p for p in reader.layers if matches(layer, p.site)]
        if len(found) != 1:
            raise _check.one_layer(layer, [p.address for p in found])
        return cls(found[0], Places.of(found[0]), at)

    def weights(self, batch: Batch, rows: Float[Tensor, "b p c"], numbers: Int[Tensor, " b"]) -> Float[Tensor, "b p"]:
        """How much each position counts in what is read: 1 at one position, or equal shares of all real ones."""
        real = real_rows(self.planned, batch, rows)
        if rows.shape[1] == 1:
            return torch.ones_like(real, dtype=rows.dtype)
        if self.at == "mean" or len(self.planned.pooling.layout.positions) != 1:
            return real.to(rows.dtype) / real.sum(1, keepdim=True).to(rows.dtype)
        return self.position(real, numbers).to(rows.dtype)

    def position(self, real: Bool[Tensor, "b p"], numbers: Int[Tensor, " b"]) -> Bool[Tensor, "b p"]:
        """The one that is read of each sample; the last where all are averaged."""
        if isinstance(self.at, Tensor):
            return one_position(real, self.at[numbers])
        return one_position(real, "last" if self.at == "mean" else self.at)


@dataclass(frozen=True)
class Points:
    """Of all samples the earlier layer `s`, the later one `o`, and the column that the model answers."""

    s: Float[Tensor, "n a"]
    o: Float[Tensor, "n b"]
    answers: Int[Tensor, " n"]


def numbered(batches: Iterable[Batch]) -> list[tuple[Batch, Int[Tensor, " b"]]]:
    """Batches with the numbers of their samples."""
    held: list[tuple[Batch, Tensor]] = []
    start = 0
    for batch in batches:
        held.append((batch, torch.arange(start, start + batch.size)))
        start += batch.size
    return held


@dataclass
class Between:
    """`batches` with the numbers of their samples."""

    reader: Reader
    batches: list[tuple[Batch, Tensor]]
    subject: Point
    object: Point

    def parts(self, chosen: Int[Tensor, " k"]) -> Iterator[tuple[Batch, Int[Tensor, " b"]]]:
        """Batches of these samples alone, ascending."""
        for batch, numbers in self.batches:
            at = torch.isin(numbers, chosen).nonzero()[:, 0]
            if len(at) == len(numbers):
                yield batch, numbers
            elif len(at):
                part = batch.permuted(at, list(batch.inputs()))
                y = batch.labels
                yield replace(part, size=len(at), labels=None if y is None else y[at.to(y.device)]), numbers[at]

    def points(self) -> Points:
        """Of all samples, without gradients."""
        found = []
        with torch.no_grad():
            for batch, numbers in self.batches:
                seen: dict[str, Tensor] = {}
                z = self._run(batch, numbers, seen)
                found.append((seen["s"].cpu(), seen["o"].cpu(), z.argmax(1).cpu()))
        return Points(*(torch.cat(parts) for parts in zip(*found)))

    def labels(self) -> Tensor | None:
        known = [batch.labels for batch, _ in self.batches]
        return torch.cat([y for y in known if y is not None]).cpu() if all(y is not None for y in known) else None

    def answers(self, point: Point, moved: Float[Tensor, "k c"], chosen: Int[Tensor, " k"]) -> tuple[Tensor, Tensor]:
        """What the model answers (k,), and the later layer (k, b), where what is read at the point moves by these."""
        place = {int(i): k for k, i in enumerate(chosen.tolist())}
        answers, later = [], []
        with torch.no_grad():
            for batch, numbers in self.parts(chosen):
                delta = moved[[place[int(i)] for i in numbers.tolist()]]
                seen: dict[str, Tensor] = {}
                z = self._run(batch, numbers, seen, move=(point, delta))
                answers.append(z.argmax(1).cpu())
                later.append(seen["o"].cpu())
        return torch.cat(answers), torch.cat(later)

    def jacobian_rows(self, chosen: Int[Tensor, " k"]) -> Iterator[tuple[slice, Float[Tensor, "k r a"]]]:
        """do/ds of these samples, some components of the later layer at a time. The rest of each sample is held."""
        graphs = []
        for batch, numbers in self.parts(chosen):
            seen: dict[str, Tensor] = {}
            with torch.enable_grad():
                self._run(batch, numbers, seen, leaf=True)
            if not seen["o"].requires_grad:
                raise self.no_path()
            graphs.append((seen["leaf"], seen["o"], seen["weights"]))
        d = graphs[0][1].shape[1]
        size = max(leaf[0].numel() * len(o) for leaf, o, _ in graphs) * graphs[0][0].element_size()
        step = max(1, min(CHUNK, d, BYTES // max(size, 1)))
        for start in range(0, d, step):
            part = slice(start, min(start + step, d))
            rows = [self._rows(leaf, o, w, part) for leaf, o, w in graphs]
            yield part, torch.cat(rows)

    def _rows(self, leaf: Tensor, o: Tensor, weights: Tensor, part: slice) -> Float[Tensor, "b r a"]:
        directions = torch.zeros(part.stop - part.start, *o.shape, dtype=o.dtype, device=o.device)
        directions[torch.arange(len(directions)), :, torch.arange(part.start, part.stop)] = 1
        with differentiable(self.subject.planned.address):
            try:
                (slopes,) = torch.autograd.grad(
                    o, leaf, directions, retain_graph=True, is_grads_batched=True, allow_unused=True
                )
            except RuntimeError as error:
                if "vmap" not in str(error) and "batch" not in str(error).lower():
                    raise
                each = [torch.autograd.grad(o, leaf, v, retain_graph=True, allow_unused=True)[0] for v in directions]
                slopes = None if each[0] is None else torch.stack([one for one in each if one is not None])
        if slopes is None:
            raise self.no_path()
        found = [self.subject.places.rows(slope) for slope in slopes]
        moving = (weights > 0).to(o.dtype)  # a mean moves by v where every position does
        return torch.stack([(rows * moving[:, :, None]).sum(1) for rows in found], 1).detach().cpu()

    def no_path(self) -> ModelError:
        return _attribution_refusals.no_path(
            self.subject.planned.address, f"{self.object.planned.address!r} does not depend on it"
        )

    def _run(
        self,
        batch: Batch,
        numbers: Int[Tensor, " b"],
        seen: dict[str, Tensor],
        *,
        leaf: bool = False,
        move: tuple[Point, Tensor] | None = None,
    ) -> Tensor:
        """One pass: what is read at both layers goes into `seen`; the logits."""

        def at(point: Point, name: str) -> Any:
            def function(tensor: Tensor) -> Tensor:
                if leaf and point is self.subject:
                    tensor = tensor.detach().requires_grad_()
                    seen["leaf"] = tensor
                rows = point.places.rows(tensor)
                weights = point.weights(batch, rows, numbers)
                if move is not None and move[0] is point:
                    rows = rows + (weights > 0).to(rows.dtype)[:, :, None] * move[1].to(rows)[:, None]
                    tensor = point.places.back(rows, tensor)
                seen[name] = (rows * weights[:, :, None]).sum(1)
                if leaf and point is self.subject:
                    seen["weights"] = weights.detach()
                return tensor.clone()

            return function

        swaps = {
            self.subject.planned.address: at(self.subject, "s"),
            self.object.planned.address: at(self.object, "o"),
        }
        with self.reader.swapped(swaps):
            answered = self.reader.answers(batch)
        if "o" not in seen or "s" not in seen:
            raise self.no_path()
        return self._logits(answered, numbers)

    def _logits(self, answered: Any, numbers: Int[Tensor, " b"]) -> Tensor:
        """The answer of each sample; of several positions that at which the later layer is read."""
        z = answered.logits
        if z.shape[1] == 1:
            return z[:, 0]
        return z[self.object.position(answered.real, numbers)]
