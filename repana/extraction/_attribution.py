"""A live model as a function of one of its layers, and the values and derivatives of all layers along one path."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana._typing import IGNORED
from repana.errors import InputError
from repana.extraction import _attribution_refusals, _part_refusals, _refusals
from repana.extraction._answers import (
    Answers,
    Position,
    is_unmoved,
    real_positions,
    shifted,
    token_ids,
    token_labels,
    with_last_token_changed,
)
from repana.extraction._batches import Batch, Forward, run
from repana.extraction._data import samples_of, stream
from repana.extraction._first_batch import planned_of
from repana.extraction._options import Options
from repana.extraction._plan import Plan, Planned
from repana.extraction._pooling import MEANS
from repana.extraction._session import Session, no_fast_path, session, unwrap
from repana.extraction._tree import arguments, at, is_empty, leaves, mapped

TARGETS = ("predicted", "label", "loss")


@dataclass(frozen=True)
class Places:
    """A layer's tensor as rows (b, positions, channels) and back."""

    axis: int
    positions: tuple[int, ...] = ()  # axes; none where the whole sample is one row

    @classmethod
    def of(cls, planned: Planned) -> "Places":
        p = planned.pooling
        axis = p.layout.sample or 0
        if p.kind == "vector" or p.method == "flatten":
            return cls(axis)
        if p.method == "grid":
            raise _attribution_refusals.no_path(
                planned.address, "a grid of averages is no sum over positions; record it with 'avg'"
            )
        if len(p.layout.merged) > 1 or p.layout.groups is not None:
            raise _attribution_refusals.no_path(planned.address, "its samples share an axis with something else")
        return cls(axis, p.layout.positions)

    def rows(self, tensor: Tensor) -> Tensor:
        if not self.positions:
            return tensor.movedim(self.axis, 0).flatten(1)[:, None]
        return tensor.permute(self._order(tensor)).flatten(1 + len(self.positions)).flatten(1, len(self.positions))

    def back(self, rows: Tensor, like: Tensor) -> Tensor:
        order = self._order(like)
        shaped = rows.reshape(len(rows), *(like.shape[d] for d in order[1:]))
        return shaped.permute([order.index(d) for d in range(like.ndim)])

    def _order(self, tensor: Tensor) -> tuple[int, ...]:
        first = (self.axis, *self.positions)
        return (*first, *(d for d in range(tensor.ndim) if d not in first))


@dataclass(frozen=True)
class Reader:
    """Everything that a batch is run with: the model, what was planned of it, and how its logits are found."""

    live: Session
    plan: Plan
    forward: Forward | None
    device: torch.device
    swaps: dict[str, Callable[[Tensor], Tensor]]  # by address; what is absent passes unchanged
    target: str | int = "predicted"
    position: Position = "last"
    verdicts: list[bool] = field(default_factory=list)  # whether the model is causal, once it was tried

    @property
    def layers(self) -> tuple[Planned, ...]:
        return self.plan.layers

    def only(self, layer: str) -> Planned:
        """The one layer that a name stands for."""
        found = [p for p in self.layers if p.address == layer]
        if not found:
            found = [p for p in self.layers if p.address != "input"]
        if len(found) != 1:
            raise _check.one_layer(layer, [p.address for p in found])
        return found[0]

    def output(self, batch: Batch) -> Any:
        """What the model gives."""
        return run(self.live.model, batch, self.forward)

    def answers(self, batch: Batch, output: Any = None) -> Answers:
        """What the model answers: one row of logits a sample, or one a position."""
        output = self.output(batch) if output is None else output
        planned = self.plan.facts["token_logits"]
        if planned is None:
            z = at(output, self.plan.facts["logits"] or ())
            if z is None or z.ndim != 2:
                raise _check.no_classes("no tensor" if z is None else tuple(z.shape))
            y = batch.labels
            named = y is not None and y.ndim == 1 and not y.is_floating_point()
            labels = y.long().to(z.device)[:, None] if named and y is not None else None
            return Answers(z[:, None], torch.ones(len(z), 1, dtype=torch.bool, device=z.device), labels)
        z = at(output, planned.site.part) if planned.site.part else next(t for _, t in leaves(output))
        if z is None:
            raise _check.no_classes("no tensor")
        z = Places.of(planned).rows(z)
        real = real_positions(planned, batch, z.shape[1], z.device)
        return Answers(z, real, token_labels(batch, real, token_ids(batch, z.shape[1])))

    def held_against(self, found: Answers, batch: Batch) -> Answers:
        """With labels: those of the data, or of a model whose answers do not see later tokens the tokens that follow.

        Raises InputError where there are none, and the next tokens do not stand for them.
        """
        if found.labels is not None:
            return found
        if self.plan.facts["token_logits"] is None:
            raise _check.no_labels("the loss, and importance of the labels' logits")
        ids = token_ids(batch, found.logits.shape[1])
        if ids is None:
            raise _attribution_refusals.no_next_token("no input holds token ids of this length")
        if not self.verdicts:
            changed = with_last_token_changed(batch, ids, found.real, found.logits.shape[2])
            with torch.no_grad(), self.as_it_is():
                self.verdicts.append(is_unmoved(self.answers(batch), self.answers(changed)))
        if not self.verdicts[0]:
            raise _attribution_refusals.no_next_token(
                "a later token changes earlier answers, so the model is not causal"
            )
        return replace(found, labels=shifted(ids.to(found.real.device), found.real))

    def labels_or_reason(self, found: Answers, batch: Batch) -> Tensor | str:
        """The labels that answers are held against, or why there are none."""
        try:
            labels = self.held_against(found, batch).labels
        except InputError as error:
            return str(error).partition(": ")[2]
        assert labels is not None
        return labels

    def logits(self, batch: Batch) -> Tensor:
        """(b, columns) whose chosen one is explained: logits of each sample, or at `position`; the loss alone."""
        found = self.answers(batch)
        if self.target == "loss":
            return self.held_against(found, batch).loss()[:, None]
        return found.logits[:, 0] if found.logits.shape[1] == 1 else found.picked(self.position).logits[:, 0]

    def columns(self, z: Tensor, batch: Batch) -> Tensor:
        """Of logits (b, columns), the column that is explained of each sample."""
        if self.target == "loss":
            return torch.zeros(len(z), dtype=torch.int64, device=z.device)
        if self.target == "predicted":
            return z.argmax(1)
        if isinstance(self.target, int):
            _check.output_of(self.target, z.shape[1])
            return torch.full((len(z),), self.target, device=z.device)
        if self.plan.facts["token_logits"] is None:
            y = batch.labels
            if y is None or y.ndim != 1 or y.is_floating_point():
                raise _check.no_labels("importance of the labels' logits")
        else:
            with torch.no_grad(), self.as_it_is():
                found = self.held_against(self.answers(batch), batch).picked(self.position)
            assert found.labels is not None
            y = found.labels[:, 0]
            if bool((y == IGNORED).any()):
                raise _attribution_refusals.position_without_label(self.position)
        if int(y.min()) < 0 or int(y.max()) >= z.shape[1]:
            raise _attribution_refusals.labels_to_explain(int(y.min()), int(y.max()), z.shape[1])
        return y.long().to(z.device)

    def values(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """The tensor of every layer, and the logits. Later changes in place do not reach the tensors."""
        found: dict[str, Tensor] = {}

        def keep(address: str) -> Callable[[Tensor], Tensor]:
            def function(tensor: Tensor) -> Tensor:
                if torch.is_grad_enabled() and tensor.is_floating_point() and not tensor.requires_grad:
                    tensor = tensor.detach().requires_grad_()  # no parameter that trains stands in front of it
                found[address] = tensor
                return tensor.clone()

            return function

        with self.swapped({p.address: keep(p.address) for p in self.layers if p.address not in self.swaps}):
            z = self.logits(batch)
        return found, z

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """With no layer's tensor put through a function."""
        before = dict(self.swaps)
        self.swaps.clear()
        try:
            yield
        finally:
            self.swaps.update(before)

    @contextmanager
    def swapped(self, swaps: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
        """With some layers' tensors put through functions."""
        before = dict(self.swaps)
        self.swaps.update(swaps)
        try:
            yield
        finally:
            self.swaps.clear()
            self.swaps.update(before)


@contextmanager
def reading(
    model: nn.Module,
    data: Any,
    layers: Any,
    *,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    target: str | int = "predicted",
    position: Position = "last",
    tokens: bool = False,
    swapping: bool = True,
) -> Iterator[tuple[Reader, Iterator[Batch]]]:
    """The model ready to be differentiated at these layers, and its batches. All is put back at the end.

    `tokens`: logits of every position (b, t, classes) are taken too, at `position` or as a loss over all of them.
    Without `swapping` no layer is put through a function, and modules may run several times.

    Refuses layers that are called more than once, and models whose logits are not found.
    """
    inner, taken = unwrap(model)
    options = Options.of(
        inner, layers, pool=pool, device=device, forward=forward, labels=labels, mask=mask, layout=layout, logits=True
    )
    first, raws, _ = stream(data, batch_size)
    with session(inner, options.device, None) as live:
        planned, options = planned_of(live, first, options, taken, samples_of(data))
    if planned.facts["logits"] is None and not (tokens and planned.facts["token_logits"] is not None):
        beyond = planned.facts["labels_beyond"]
        raise _attribution_refusals.labels_beyond(beyond) if beyond else _check.no_classes("no (n, classes) tensor")
    if places := planned.facts.get("places", ()):
        raise _part_refusals.no_gradient([place.name for place in places])
    for p in planned.layers:
        if swapping and p.calls > 1:
            raise _attribution_refusals.used_again(p.address, p.calls)
    plain = torch.backends.cudnn.flags(enabled=False)
    with session(inner, options.device, None) as live, no_fast_path(), plain, torch.enable_grad():
        swaps: dict[str, Callable[[Tensor], Tensor]] = {}
        for p in planned.layers if swapping else ():
            live.swap(live.model.get_submodule(p.site.module), p.site.side, _through(p, swaps))
        yield (
            Reader(live, planned, forward, options.device, swaps, target, position),
            (options.intake.unpack(raw).to(options.device) for raw in raws if not is_empty(raw)),
        )


def repeated(batch: Batch, times: int) -> Batch:
    """The batch so many times in a row: all its samples, then all again."""
    if times == 1:
        return batch

    def repeat(t: Tensor) -> Tensor:
        if t.ndim <= batch.axis or t.shape[batch.axis] != batch.size:
            return t
        counts = [1] * t.ndim
        counts[batch.axis] = times
        return t.repeat(counts)

    raw, args, kwargs = mapped((batch.raw, batch.args, dict(batch.kwargs)), repeat)
    masks = {key: mask.repeat(times, 1) for key, mask in batch.masks.items()}
    y = batch.labels
    labels = None if y is None else y.repeat(times, *[1] * (y.ndim - 1))
    return replace(batch, raw=raw, args=args, kwargs=kwargs, labels=labels, masks=masks, size=batch.size * times)


def along_path(
    reader: Reader,
    batch: Batch,
    start: Planned,
    goal: Tensor,
    baseline: float | Tensor,
    steps: int,
    columns: Tensor,
    layers: Sequence[Planned],
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor], Tensor]]:
    """Values and derivatives of these layers, and the chosen logits (b,), at steps + 1 points from the baseline to the
    `goal`, what the batch has at `start`: one forward and one backward pass each.
    """
    goal = goal.detach()
    origin = torch.as_tensor(baseline, device=goal.device, dtype=goal.dtype).expand_as(goal)
    names = [p.address for p in layers]
    for k in range(steps + 1):
        here = torch.lerp(origin, goal, k / steps).requires_grad_()
        with reader.swapped({start.address: lambda _, here=here: here.clone()}):
            found, logits = reader.values(batch)
        found[start.address] = here
        z = logits.gather(1, columns[:, None])[:, 0]
        slopes = derivatives(z.sum(), [found[name] for name in names], names)
        yield {name: found[name].detach() for name in names}, dict(zip(names, slopes)), z.detach()


def derivatives(value: Tensor, tensors: Sequence[Tensor], names: Sequence[str]) -> tuple[Tensor, ...]:
    """Of one number in several tensors, by one backward pass."""
    if not value.requires_grad:
        raise _attribution_refusals.no_path(names[0], "the model detaches its output, or runs without gradients inside")
    with differentiable(names[0]):
        found = torch.autograd.grad(value, list(tensors), allow_unused=True)
    for name, slope in zip(names, found):
        if slope is None:
            raise _attribution_refusals.no_path(name, "the logits do not depend on it")
    return tuple(slope for slope in found if slope is not None)


def along_features(planned: Planned, slope: Tensor, batch: Batch) -> Tensor:
    """Derivatives (b, d) as the pooled features move, from those of the layer's tensor.

    Pooling is linear, features = A x, and x moves by A'(AA')^-1 v where the features move by v: under a mean every
    position by v, under one token that token. Refuses poolings that have no such move.
    """
    p, address = planned.pooling, planned.address
    if p.kind != "vector" and p.method in ("max", "tokens", "grid"):
        raise _attribution_refusals.no_path(address, f"its features are pooled by {p.method!r}; record it with 'mean'")
    pooled = p(slope, batch.masks, batch.size, address)
    if p.kind == "vector" or p.method not in MEANS:
        return pooled
    count = torch.ones(batch.size, device=pooled.device, dtype=pooled.dtype)
    for axis in p.layout.positions:
        mask = batch.masks[p.masks[axis]] if axis in p.masks else None
        count = count * (slope.shape[axis] if mask is None else mask.sum(1).to(count))
    return pooled * count[:, None]


@contextmanager
def differentiable(address: str) -> Iterator[None]:
    """What torch says of a model that has no derivative, in our words."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "inplace operation" in text:
            reason = "a module behind it writes in place into a tensor that its derivative needs"
            raise _attribution_refusals.no_path(address, reason) from error
        if "does not require grad" in text or "not have been used" in text:
            raise _attribution_refusals.no_path(
                address, "the logits do not depend on it, or the model detaches them"
            ) from error
        raise


def target_of(target: Any) -> str | int:
    if isinstance(target, str):
        _check.choice(target, "target", TARGETS)
        return target
    return target if isinstance(target, bool) else _check.whole(target, "target")


def _through(planned: Planned, swaps: Mapping[str, Callable[[Tensor], Tensor]]) -> Callable[[Any], Any]:
    site, address = planned.site, planned.address

    def function(tree: Any) -> Any:
        swap = swaps.get(address)
        if swap is None:
            return tree
        inside = arguments(*tree) if site.side == "in" else tree
        old = at(inside, site.part) if site.part else next((tensor for _, tensor in leaves(inside)), None)
        if old is None:
            raise _refusals.no_part(address, [])
        new = swap(old)
        return mapped(tree, lambda t: new if t is old else t)

    return function
