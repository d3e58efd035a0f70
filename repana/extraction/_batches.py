"""A batch as what the model is called with, its labels and its masks; and the call itself."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana._ambient import as_called
from repana.extraction import _batch_labels as labelling
from repana.extraction import _data_refusals
from repana.extraction._batch_masks import SPECIAL, keys_of, masks_of_batch
from repana.extraction._data import with_tensors
from repana.extraction._tree import fields_of, inputs_in, leaves, mapped, to_device

LABELS = "labels"  # an argument of models of transformers
Forward = Callable[[nn.Module, Any], Any] | str


@dataclass(frozen=True)
class Batch:
    """One batch: the call `model(*args, **kwargs)`, or `forward(model, raw)`; labels on the host; masks (b, t) by
    key."""

    raw: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    labels: Tensor | None
    masks: Mapping[str, Tensor]
    size: int
    axis: int = 0  # of the samples, in the inputs
    notes: tuple[str, ...] = ()
    number: int = 0  # in the stream

    def to(self, device: torch.device) -> "Batch":
        """The inputs and the masks on the device; labels stay on the host."""
        masks = {key: mask.to(device, non_blocking=True) for key, mask in self.masks.items()}
        args, kwargs, raw = to_device((self.args, dict(self.kwargs), self.raw), device)
        return replace(self, raw=raw, args=args, kwargs=kwargs, masks=masks)

    def inputs(self) -> dict[str, Tensor]:
        """Tensors that go in, by name: keyword, place or key, joined with dots inside."""
        tree = self.raw if self.raw is not None else {**dict(enumerate(self.args)), **self.kwargs}
        while isinstance(tree, (tuple, list)) and tree and isinstance(tree[0], Mapping):
            tree = {**{str(i): value for i, value in enumerate(tree[1:], 1)}, **tree[0]}
        found = {".".join(map(str, path)) or "0": t for path, t in inputs_in(tree)}
        return {name.removeprefix("0.") if len(self.args) == 1 else name: t for name, t in found.items()}

    def late(self) -> list[str]:
        """Inputs that are not the first: labels that go in with the rest."""
        host = self.labels
        return [
            name
            for name, t in self.inputs().items()
            if name.rpartition(".")[2] in labelling.NAMES
            or (host is not None and not t.is_nested and t.shape == host.shape and bool((t.cpu() == host).all()))
        ]

    @property
    def position_labels(self) -> bool:
        """Whether labels are those of tokens or pixels."""
        return labelling.of_positions(self.labels, _without(self.inputs(), self.late()))

    def single_items(self) -> list[str]:
        """Inputs that stand in a list of their own, as the images of a detector: none of their axes holds samples."""
        tree = self.raw if self.raw is not None else (*self.args, *self.kwargs.values())
        lists = [value for value in tree if isinstance(value, list)] if isinstance(tree, (tuple, list)) else []
        lists += [value for value in tree.values() if isinstance(value, list)] if isinstance(tree, Mapping) else []
        inside = {id(t) for value in lists for _, t in leaves(value)}
        return [name for name, t in self.inputs().items() if id(t) in inside]

    def first(self, count: int, only: Iterable[str] | None = None) -> "Batch | None":
        """The first samples alone, or None where the batch cannot be cut. `only` names the inputs that are."""
        if count >= self.size or count < 1:
            return None
        named = self.inputs()
        whole = set(self.single_items())
        chosen = {id(t) for name, t in named.items() if name not in whole and (only is None or name in only)}
        cut_any = False

        def cut(t: Tensor) -> Tensor:
            nonlocal cut_any
            axis = self._axis_of(t) if id(t) in chosen else None
            if axis is None:
                return t
            cut_any = True
            return t.narrow(axis, 0, count)

        raw, args, kwargs = mapped((self.raw, self.args, dict(self.kwargs)), cut)
        if not cut_any:
            return None
        labels = None if self.labels is None else self.labels[:count]
        masks = {key: mask[:count] for key, mask in self.masks.items()}
        return replace(self, raw=raw, args=args, kwargs=kwargs, labels=labels, masks=masks, size=count)

    def permuted(self, order: Tensor, only: Iterable[str]) -> "Batch":
        """The samples in another order, in the inputs that hold them."""
        named = self.inputs()
        chosen = {id(named[name]) for name in only if name in named}

        def choose(t: Tensor) -> Tensor:
            axis = self._axis_of(t) if id(t) in chosen else None
            return t if axis is None else t.index_select(axis, order.to(t.device))

        raw, args, kwargs = mapped((self.raw, self.args, dict(self.kwargs)), choose)
        masks = {key: mask[order.to(mask.device)] for key, mask in self.masks.items()}
        return replace(self, raw=raw, args=args, kwargs=kwargs, masks=masks)

    def twice(self) -> "Batch":
        """A single sample, repeated: so that the axis of the samples can be told from others of size one."""

        def repeat(t: Tensor) -> Tensor:
            return t.repeat_interleave(2, self.axis) if t.ndim > self.axis and t.shape[self.axis] == 1 else t

        raw, args, kwargs = mapped((self.raw, self.args, dict(self.kwargs)), repeat)
        labels = None if self.labels is None else self.labels.repeat_interleave(2, 0)
        masks = {key: mask.repeat_interleave(2, 0) for key, mask in self.masks.items()}
        return replace(self, raw=raw, args=args, kwargs=kwargs, labels=labels, masks=masks, size=2)

    def shorter(self) -> "Batch | None":
        """One position fewer at the end, or None where no mask or token ids say which axis holds positions."""
        shapes = [tuple(mask.shape) for mask in self.masks.values()]
        whole = [t for t in self.inputs().values() if not t.is_nested]
        shapes += [tuple(t.shape) for t in whole if t.ndim == 2 and t.dtype == torch.int64]
        shapes = [shape for shape in shapes if len(shape) == 2 and shape[0] == self.size and shape[1] > 2]
        if len(set(shapes)) != 1 or self.axis:
            return None
        length = shapes[0][1]

        def cut(t: Tensor) -> Tensor:
            fits = not t.is_nested and t.ndim > 1 and tuple(t.shape[:2]) == (self.size, length)
            return t[:, : length - 1] if fits else t

        raw, args, kwargs = mapped((self.raw, self.args, dict(self.kwargs)), cut)
        masks = {key: cut(mask) for key, mask in self.masks.items()}
        return replace(self, raw=raw, args=args, kwargs=kwargs, masks=masks)

    def _axis_of(self, t: Tensor) -> int | None:
        if t.is_nested or t.layout != torch.strided:
            return None
        for axis in (self.axis, 0):
            if t.ndim > axis and t.shape[axis] == self.size:
                return axis
        return None


@dataclass(frozen=True)
class Intake:
    """How batches are read: the model's signature, and what the user said of labels, masks and the call.

    `names` are those of the classes: labels that are names become their places. `entry` is the key of the one tensor
    that a model without such a parameter takes; the probe finds whether it takes that or the mapping itself, and
    whether a model with `**kwargs` takes `everything` that the mapping holds, and whether it runs only `with_labels`,
    as encoder-decoders that shift them into the words of the decoder.
    """

    model: nn.Module
    forward: Forward | None = None
    mask: Any = None
    labels: labelling.Choice = None
    names: Sequence[str] | None = None
    batch_dim: int | None = None
    entry: str | None = None
    everything: bool = True
    with_labels: bool = False

    def unpack(self, raw: Any) -> Batch:
        """Inputs, labels and masks of a batch: `x`, `(x, y)`, `(x,)`, a mapping, `(mapping, y)`, a batch of graphs."""
        own = callable(self.forward)
        raw = raw if own else with_tensors(raw)
        inputs, labels, notes = self._parts(raw)
        args, kwargs = self._call(raw, inputs)
        notes += self._unused(inputs, kwargs)
        masks = masks_of_batch(raw, inputs, self.mask)
        host = labelling.codes(labels, self.names)
        batch = Batch(raw if own else None, args, kwargs, host, masks, 0, notes=tuple(notes))
        named = batch.inputs()
        if not named and not (own and host is not None):
            raise _data_refusals.batch_not_understood(raw)
        if host is not None and not host.ndim:
            raise _data_refusals.no_batch_axis(next((tuple(t.shape) for t in named.values() if not t.is_nested), None))
        size, axis = self._size(host, _without(named, batch.single_items()), masks, checked=not own)
        first = raw[0] if isinstance(raw, (tuple, list)) and len(raw) else None
        if own and size == 0 and isinstance(first, list):
            size = len(first)
        return replace(batch, size=size, axis=axis)

    def _parts(self, raw: Any) -> tuple[Any, Any, list[str]]:
        """Inputs, labels, notes."""
        if hasattr(raw, "_fields") and set(raw._fields) & set(labelling.NAMES):
            raw = raw._asdict()  # a named tuple of inputs and labels
        inputs, labels, notes = raw, None, []
        own, several = callable(self.forward), isinstance(raw, (tuple, list)) and not hasattr(raw, "_fields")
        entries: list[Any] = list(raw) if several else [raw]
        if not entries:
            raise _data_refusals.batch_not_understood(raw)
        if several and not own and isinstance(self.mask, int) and not isinstance(self.mask, bool):
            if not 0 < self.mask < len(entries):
                raise _data_refusals.no_mask_entry(self.mask, raw)
            whole, raw = raw, tuple(entry for k, entry in enumerate(entries) if k != self.mask)
            if self.labels is not None and self.labels is not False:
                return entries[0], labelling.chosen_labels(whole, entries[0], self.labels), notes
        if self.labels is not None:
            inputs = entries[0] if several and not (own and isinstance(entries[0], list)) else raw
            if self.labels is False or self.labels is True:
                return inputs, None, notes
            return inputs, labelling.chosen_labels(raw, inputs, self.labels), notes
        if several:
            if len(raw) == 2 and labelling.second_is_label(raw[0], raw[1]):
                inputs, labels = raw
            elif len(raw) == 1:
                inputs = raw[0]
            elif own:
                place = labelling.by_place(raw) if len(raw) > 2 else None
                labels = None if place is None else raw[place]
                notes += [] if place is None else [f"labels: entry {place} of the batch"]
                inputs = entries[0] if isinstance(entries[0], Mapping) else raw
            elif isinstance(raw[0], (list, tuple)) and raw[0] and all(isinstance(t, Tensor) for t in raw[0]):
                raise _data_refusals.list_of_inputs(raw[0])
            elif len(raw) > 2 and isinstance(raw[0], (Tensor, Mapping)):
                raise _data_refusals.several_entries(raw)
            else:
                raise _data_refusals.batch_not_understood(raw)
        if labels is None and not isinstance(inputs, (Tensor, tuple, list)):
            labels = labelling.named_labels(inputs)
        if labels is None and own and (len(raw) > 1 if several else len(list(inputs_in(raw))) > 1):
            notes.append("no labels were found in the batch; name them by `labels=` (a key, a place, a function)")
        return inputs, labels, notes

    def _size(
        self, host: Tensor | None, named: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, checked: bool
    ) -> tuple[int, int]:
        """Samples in the batch, and their axis in the first input; vectors, as position numbers, come behind others."""
        wide = [t for t in named.values() if t.is_nested or t.ndim > 1]
        first = next(iter(wide), next((t for t in named.values() if t.is_nested or t.ndim), None))
        if first is None and host is None:
            return 0, 0
        shape = () if first is None or first.is_nested else tuple(first.shape)
        if self.batch_dim is not None and shape and len(shape) <= self.batch_dim:
            raise _data_refusals.no_axis("batch_dim", self.batch_dim, shape)
        if self.batch_dim is not None and len(shape) > self.batch_dim:
            return (len(host) if host is not None else shape[self.batch_dim]), self.batch_dim
        if host is None:
            assert first is not None
            rows = {len(mask) for mask in masks.values()}
            if not first.is_nested and len(rows) == 1 and rows <= {len(t) for t in named.values() if t.ndim}:
                return rows.pop(), 0
            return (len(first.unbind()) if first.is_nested else first.shape[0]), 0
        size = len(host)
        if shape and shape[0] != size:
            if len(shape) > 1 and shape[1] == size:
                return size, 1
            rows = [t for t in named.values() if not t.is_nested and t.shape == shape[:1] and t.dtype == torch.int64]
            if checked and not rows:  # rows of an index may belong to samples: the nodes of graphs
                raise _data_refusals.label_count(size, shape)
        return size, 0

    def _call(self, raw: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if callable(self.forward):
            return (), {}
        function = self._function()
        if isinstance(inputs, Mapping):
            return self._by_signature(inputs, function)
        if isinstance(inputs, Tensor):
            return (inputs,), self._mask_argument(raw, function)
        if hasattr(inputs, "_fields"):
            return (inputs,), {}
        if isinstance(inputs, (tuple, list)) and inputs and all(isinstance(t, Tensor) for t in inputs):
            raise _data_refusals.list_of_inputs(inputs)
        if isinstance(inputs, (tuple, list, str, bytes)) or not fields_of(inputs):
            raise _data_refusals.batch_not_understood(raw)
        return (inputs,), {}

    def _function(self) -> Callable[..., Any]:
        if not isinstance(self.forward, str):
            return self.model.forward
        found = getattr(self.model, self.forward, None)
        if not callable(found):
            names = [n for n in dir(type(self.model)) if not n.startswith("_") and not hasattr(nn.Module, n)]
            raise _data_refusals.no_method(self.forward, type(self.model).__name__, names)
        return found

    def _mask_argument(self, raw: Any, function: Callable[..., Any]) -> dict[str, Any]:
        """A mask that stands in the batch by place goes to the parameter that is called a mask."""
        if isinstance(self.mask, bool) or not isinstance(self.mask, int) or not isinstance(raw, (tuple, list)):
            return {}
        named = [n for n in inspect.signature(function).parameters if "mask" in n]
        return {named[0]: raw[self.mask]} if len(named) == 1 and self.mask < len(raw) else {}

    def _by_signature(
        self, inputs: Mapping[str, Any], function: Callable[..., Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keyword arguments that the function takes; a model of one argument gets the mapping, or its only tensor."""
        parameters = inspect.signature(function).parameters
        named = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        left_out = {*labelling.NAMES, *([self.labels] if isinstance(self.labels, str) else [])}
        left_out -= {LABELS} if self.with_labels else set()
        offered = {key: value for key, value in inputs.items() if key not in left_out}
        taken = {key: value for key, value in offered.items() if key in named}
        if everything and (self.everything or not taken):
            more = {k: v for k, v in offered.items() if isinstance(v, Tensor) and str(k) != SPECIAL}
            taken = {key: value for key, value in offered.items() if key in taken or key in more}
        if taken:
            return (), taken
        if self.entry is not None:
            return (inputs[self.entry],), {}
        if len([p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]) == 1:
            return (dict(inputs),), {}
        raise _data_refusals.no_argument_taken(type(self.model).__name__, list(offered), sorted(named))

    def _unused(self, inputs: Any, kwargs: Mapping[str, Any]) -> list[str]:
        """A note on tensors of a mapping that the call does not take."""
        if callable(self.forward) or not isinstance(inputs, Mapping) or not kwargs:
            return []
        known = {*kwargs, *labelling.NAMES, SPECIAL, *(key for key in keys_of(self.mask) if isinstance(key, str))}
        known |= {self.labels} if isinstance(self.labels, str) else set()
        left = [str(k) for k, v in inputs.items() if isinstance(v, Tensor) and k not in known]
        title = self.forward if isinstance(self.forward, str) else f"{type(self.model).__name__}.forward"
        return [f"{_check.listed(left)}: in the batch, and no argument that {title} takes; not used"] if left else []

    def other(self, raw: Any) -> "Intake | None":
        """Another way to call a model that does not run as this intake calls it, or None: with the only tensor of a
        mapping instead of the mapping, or without what only `**kwargs` would take."""
        raw = raw if callable(self.forward) else with_tensors(raw)
        inputs, _, _ = self._parts(raw)
        if callable(self.forward) or self.entry is not None or not isinstance(inputs, Mapping):
            return None
        if (
            self.everything
            and self._call(raw, inputs)[1].keys() != replace(self, everything=False)._call(raw, inputs)[1].keys()
        ):
            return replace(self, everything=False)
        if not self.with_labels and LABELS in inputs and LABELS in inspect.signature(self._function()).parameters:
            return replace(self, with_labels=True)
        left_out = {*labelling.NAMES, self.labels if isinstance(self.labels, str) else ""}
        fit = [
            key
            for key, t in inputs.items()
            if isinstance(t, Tensor) and key not in left_out and "mask" not in str(key) and t.ndim > 1
        ]
        return replace(self, entry=fit[0]) if len(fit) == 1 else None


def _without(named: Mapping[str, Tensor], left_out: Iterable[str]) -> dict[str, Tensor]:
    names = set(left_out)
    return {name: t for name, t in named.items() if name not in names}


def run(model: nn.Module, batch: Batch, forward: Forward | None) -> Any:
    """One forward pass; an error of the model's own says with what it was called."""
    try:
        with as_called():
            if isinstance(forward, str):
                return getattr(model, forward)(*batch.args, **batch.kwargs)
            if forward is not None:
                return forward(model, batch.raw)
            return model(*batch.args, **batch.kwargs)
    except Exception as error:
        _check_dtypes(model, batch, error)
        given = [f"{_shape(t)} {str(t.dtype).removeprefix('torch.')}" for _, t in leaves((batch.args, batch.kwargs))]
        error.add_note(
            f"repana: {type(model).__name__} was called with {', '.join(given) or 'a batch of its own form'}."
        )
        raise


def _check_dtypes(model: nn.Module, batch: Batch, error: Exception) -> None:
    """Torch's words on inputs of another precision than the weights, as a refusal that says how to convert."""
    words = ("same dtype", "scalar type", "should be the same", "expected m1 and m2", "not implemented for")
    if not isinstance(error, RuntimeError) or not any(word in str(error) for word in words):
        return
    inputs = {t.dtype for t in batch.inputs().values() if t.is_floating_point()}
    inputs = inputs or {t.dtype for t in batch.inputs().values()}  # pictures of whole numbers
    weights = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if len(inputs) == len(weights) == 1 and inputs != weights and not torch.is_autocast_enabled("cpu"):
        raise _data_refusals.dtypes_differ(inputs.pop(), weights.pop()) from error


def _shape(t: Tensor) -> str:
    return "nested" if t.is_nested else str(tuple(t.shape))
