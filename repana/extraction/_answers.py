"""What a model answers, sample by sample or position by position: logits, the labels they are held against, and which
of them stand at real positions."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._typing import IGNORED
from repana.extraction import _attribution_refusals
from repana.extraction._batches import Batch
from repana.extraction._plan import Planned
from repana.extraction._tree import mapped

CAUSAL = 1e-3  # of the spread of logits, that a later token may move earlier ones by rounding
NOT_IDS = ("attention_mask", "decoder_attention_mask", "token_type_ids", "position_ids", "mask", "labels")
Position = int | str


@dataclass(frozen=True)
class Answers:
    """Logits (b, t, classes), with t = 1 where a sample has one answer; which are real; and labels, IGNORED where there
    is none; None where the data have no labels at all."""

    logits: Float[Tensor, "b t classes"]
    real: Bool[Tensor, "b t"]
    labels: Int[Tensor, "b t"] | None = None

    def at(self, position: Position) -> Int[Tensor, " b"]:
        """Where in each sample a position is: "first", "last", or a number of real positions from the start, or, when
        negative, from the end. Raises InputError where a sample has too few."""
        return one_position(self.real, position).long().argmax(1)

    def picked(self, position: Position) -> "Answers":
        """One position of each sample."""
        at = self.at(position)[:, None]
        labels = None if self.labels is None else self.labels.gather(1, at)
        rows = torch.arange(len(at), device=at.device)
        return Answers(self.logits[rows, at[:, 0]][:, None], torch.ones_like(at, dtype=torch.bool), labels)

    def losses(self) -> Float[Tensor, "b t"]:
        """Cross-entropy where there is a label, 0 elsewhere."""
        if self.labels is None:
            raise _check.no_labels("the loss")
        y, classes = self.labels, self.logits.shape[2]
        known = y[y != IGNORED]
        if len(known) and not 0 <= int(known.min()) <= int(known.max()) < classes:
            raise _attribution_refusals.labels_to_explain(int(known.min()), int(known.max()), classes)
        flat = torch.nn.functional.cross_entropy(
            self.logits.flatten(0, 1), y.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return flat.view(y.shape)

    def loss(self) -> Float[Tensor, " b"]:
        """Mean cross-entropy of each sample over its labelled positions. Raises InputError for a sample with none."""
        each = self.losses()
        assert self.labels is not None
        count = (self.labels != IGNORED).sum(1)
        if bool((count == 0).any()):
            raise _attribution_refusals.sample_without_labels(int((count == 0).nonzero()[0, 0]))
        return each.sum(1) / count


def one_position(real: Bool[Tensor, "b t"], position: Position | Tensor) -> Bool[Tensor, "b t"]:
    """One real position of each sample: "first", "last", a number, from the end when negative, or a number for each.

    Raises InputError where a sample has too few."""
    count = real.sum(1)
    if isinstance(position, Tensor):
        place, said = position.to(real.device), "of a sample"
    else:
        number = {"first": 0, "last": -1}.get(position, position) if isinstance(position, str) else position
        if isinstance(number, bool) or not isinstance(number, int):
            raise _attribution_refusals.no_position(position)
        place, said = torch.full_like(count, number), position
    requested = torch.where(place >= 0, place, count + place)
    if bool(((requested < 0) | (requested >= count)).any()):
        raise _attribution_refusals.position_beyond(said, int(count.min()))
    return real & (real.long().cumsum(1) - 1 == requested[:, None])


def real_positions(planned: Planned, batch: Batch, length: int, device: torch.device) -> Bool[Tensor, "b t"]:
    """Which positions of token logits are no padding."""
    p = planned.pooling
    keys = [p.masks[axis] for axis in p.layout.positions if axis in p.masks]
    if not keys:
        return torch.ones(batch.size, length, dtype=torch.bool, device=device)
    return batch.masks[keys[0]].to(device).bool()


def real_rows(planned: Planned, batch: Batch, rows: Tensor) -> Bool[Tensor, "b p"]:
    """Which of a layer's rows (b, positions, channels) are no padding; all, where positions stand in no single line."""
    if len(planned.pooling.layout.positions) != 1:
        return torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    return real_positions(planned, batch, rows.shape[1], rows.device)


def token_ids(batch: Batch, length: int) -> Tensor | None:
    """The token ids that a stream of this length reads; None where none, or several, could be meant."""
    shape = (batch.size, length)
    whole = {n: t for n, t in batch.inputs().items() if tuple(t.shape) == shape and t.dtype == torch.int64}
    named = {n: t for n, t in whole.items() if n.rpartition(".")[2] not in NOT_IDS}
    chosen = named.get("decoder_input_ids", named.get("input_ids"))
    return chosen if chosen is not None else (next(iter(named.values())) if len(named) == 1 else None)


def token_labels(batch: Batch, real: Bool[Tensor, "b t"], ids: Tensor | None) -> Tensor | None:
    """Labels of each position of token logits, those of the batch, or None where it has none of this shape.

    Labels that repeat the token ids are what a causal model is trained with: position t answers for label t + 1, as
    the models of transformers shift them. Others stand at the positions that they are for.
    """
    y = batch.labels
    if y is None or tuple(y.shape) != tuple(real.shape) or y.is_floating_point():
        return None
    y = y.long().to(real.device)
    known = y != IGNORED
    if ids is not None and bool(known.any()) and bool((y == ids.to(y.device))[known & real].all()):
        return shifted(torch.where(known, y, IGNORED), real)
    return torch.where(known & real, y, IGNORED)


def shifted(ids: Int[Tensor, "b t"], real: Bool[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """The token that follows each position, IGNORED at the last real one."""
    following = torch.full_like(ids, IGNORED)
    following[:, :-1] = torch.where(real[:, 1:] & real[:, :-1], ids[:, 1:], IGNORED)
    return following


def with_last_token_changed(batch: Batch, ids: Tensor, real: Bool[Tensor, "b t"], vocabulary: int) -> Batch:
    """The batch with another token at the last real position of each sample."""
    last = real.shape[1] - 1 - real.flip(1).long().argmax(1)
    rows = torch.arange(len(ids), device=ids.device)
    other = ids.clone()
    other[rows, last.to(ids.device)] = (ids[rows, last.to(ids.device)] + 1) % max(vocabulary, 2)

    def change(t: Tensor) -> Tensor:
        return other if t is ids else t

    raw, args, kwargs = mapped((batch.raw, batch.args, dict(batch.kwargs)), change)
    return replace(batch, raw=raw, args=args, kwargs=kwargs)


def is_unmoved(before: Answers, after: Answers) -> bool:
    """Whether logits in front of the last real position are the same."""
    order = before.real.long().cumsum(1)
    earlier = before.real & (order < before.real.sum(1, keepdim=True))
    if not bool(earlier.any()):
        return False
    moved = (before.logits - after.logits).abs().amax(2)[earlier]
    return float(moved.max()) <= CAUSAL * float(before.logits.std())
