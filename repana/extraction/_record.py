"""`record` and `plan`: every wanted layer of a model over a dataset, in one forward pass."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana import _check
from repana._activations import Activations, Classifier
from repana._ambient import settled
from repana._typing import IGNORED
from repana.extraction import _data_refusals, _refusals
from repana.extraction._auto import Head, find_head, logits_leaf
from repana.extraction._batch_masks import check_rows
from repana.extraction._batches import Batch, Intake
from repana.extraction._data import rows_known, samples_of, stream
from repana.extraction._guards import FiniteCheck, memory_errors, with_progress
from repana.extraction._layers import select
from repana.extraction._order import LOGITS, at_stake, check_order
from repana.extraction._plan import Plan, Planned, Reading, check_mask, masks_used, resolve
from repana.extraction._polarity import check_masks
from repana.extraction._probe import SAMPLES, Leaf, Trace, probe, samples_choice
from repana.extraction._provenance import provenance_of
from repana.extraction._session import Session, session, unwrap, wanted_device
from repana.extraction._store import FeatureStore, host_memory
from repana.extraction._taps import Taps
from repana.extraction._tree import is_empty
from repana.extraction._weights import weight_and_bias
from repana.summaries.discriminant import WIDEST
from repana.summaries.moments import MomentSums


@dataclass(frozen=True)
class Options:
    """What everything that records shares: where, which layers, how batches and layers are read."""

    layers: Any
    intake: Intake
    device: torch.device
    dtype: torch.dtype | None = None
    reading: Reading = field(default_factory=Reading)
    head: str | bool = "auto"
    logits: bool | None = None
    probe: int | str = SAMPLES

    @classmethod
    def of(
        cls,
        model: nn.Module,
        layers: Any,
        *,
        pool: str | Mapping[str, str] = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        forward: Any = None,
        labels: Any = None,
        mask: Any = None,
        layout: str | Mapping[str, str] | None = None,
        groups: str | None = None,
        batch_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        head: str | bool = "auto",
        logits: bool | None = None,
        probe: int | str | None = None,
    ) -> "Options":
        if (
            not (labels is None or labels is False or isinstance(labels, (str, int)) or callable(labels))
            or labels is True
        ):
            raise _refusals.labels_choice(labels)
        if not (forward is None or isinstance(forward, str) or callable(forward)):
            raise _refusals.forward_choice(forward)
        check_mask(mask)
        if not isinstance(pool, (str, Mapping)):
            raise _refusals.option_type("pool", pool, "a pooling, or a mapping from layers to poolings")
        if not isinstance(head, (str, bool)):
            raise _refusals.option_type("head", head, "the name of a module, 'auto' or False")
        if groups is not None and not isinstance(groups, str):
            raise _refusals.option_type("groups", groups, "the name of an input")
        if batch_dim is not None and _check.whole(batch_dim, "batch_dim") < 0:
            raise _refusals.option_type("batch_dim", batch_dim, "an axis of the first input, counted from 0")
        return cls(
            layers,
            Intake(model, forward, mask, labels, class_names, batch_dim),
            wanted_device(model, device),
            wanted_dtype(dtype),
            Reading(pool, mask, layout, groups, batch_dim),
            head,
            logits,
            samples_choice(probe),
        )


@settled()
def plan(
    model: nn.Module,
    data: Any,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Any = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    groups: str | None = None,
    head: str | bool = "auto",
    logits: bool | None = None,
    batch_size: int = 64,
    batch_dim: int | None = None,
    class_names: Sequence[str] | None = None,
    probe: int | str | None = None,
    max_samples: int | None = None,
    scatter: bool = False,
    memory: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Plan:
    """What `record` with the same arguments will keep: layers, shapes, axes, calls, pooling, widths, bytes.

    From one batch, which an iterator gives again to the next `record`. Raises everything that `record` would raise
    before its long run. See `record` for the arguments; `scatter`, `memory`, `seed` and `progress` change nothing here.
    """
    inner, taken = unwrap(model)
    options = Options.of(
        inner, layers, pool=pool, device=device, dtype=dtype, forward=forward, labels=labels, mask=mask, layout=layout,
        groups=groups, batch_dim=batch_dim, class_names=class_names, head=head, logits=logits, probe=probe,
    )  # fmt: skip
    first, _, _ = stream(data, batch_size, give_back=True)
    with session(inner, options.device, options.dtype) as live:
        planned = planned_of(live, first, options, taken, samples_of(data))[0]
    _check_room(planned, max_samples)
    return planned


@settled()
def record(
    model: nn.Module,
    data: Any,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    max_samples: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Any = None,
    *,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    groups: str | None = None,
    head: str | bool = "auto",
    logits: bool | None = None,
    batch_size: int = 64,
    batch_dim: int | None = None,
    class_names: Sequence[str] | None = None,
    probe: int | str | None = None,
    scatter: bool = False,
    memory: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Activations:
    """Features of many layers over a dataset, in one forward pass.

    - `data`: a DataLoader, a Dataset, tensors, or any iterable of batches `x`, `(x, y)`, mappings, `(mapping, y)`,
      batches of graphs. `forward(model, batch)` runs anything else, or `forward="encode_image"` names a method of the
      model.
    - `labels`: by default the second entry, or "labels", "label", "y", "target". Else a key, a place in the batch, a
      function of it, or False. Labels of tokens (b, t) or pixels (b, h, w) are kept with `pool="tokens"` alone.
    - `layers`: "auto" (the depth profile), names, patterns, `re:`..., module classes, predicates, or a list of those;
      `name:in`, `name[0]`, `name.logits`, `name@2`, `name|mean` as in the documentation of layer addresses.
    - `pool`: "auto" takes the mean over positions, masked where padding is known, and keeps vectors; or "avg" (which is
      "mean"), "max", "flatten", "grid" (4 x 4 averages), "cls", "last" (real token), "tokens", "none"; a mapping gives
      it by layer. With "tokens" every token is a row, and layers that were not named are left out where they have no
      tokens.
    - `mask`: which positions are real, (b, t) with 1 at real ones. By default every layer takes the mask of its own
      stream (encoder, decoder, text), as the operations of the probe show. Else a key of the batch, a function of the
      batch, "content" (without the tokens of "special_tokens_mask" too), False where nothing is padded, or a mapping
      from patterns of layers to these, of which the first that matches counts.
    - `layout`: which axis is which, where the probe cannot tell: letters for all layers with so many axes, or by layer,
      `{"stages.*": "b h w c", "rnn": "t b c", "attn": "(b w) t c"}`: b samples, c features, (b w) merged, n rows that
      belong to samples by `groups`, 1 an axis of size one, any other letter a position. Checked against sizes.
    - `groups`: the input that says of every row to which sample it belongs, as `batch` does of the nodes of graphs.
    - `max_samples`: keep features of so many samples, as many of each class as equal shares allow, chosen by `seed`;
      `Activations.moments` stay exact over all. 0 keeps moments only, with memory independent of the data's size.
      `scatter=True` adds their (d, d) pooled scatter.
    - `logits`: by default they are kept when the forward pass gets there anyway; True runs it to the end, False stops
      after the deepest wanted layer. `head` names the classifier; False for none.
    - `class_names`: in the order of the model's outputs, for figures and pages; labels may then be those names.
    - `dtype`: autocast to it. `device`: the model is moved there and back. Features stay on the device up to `memory`
      bytes (half of what is free there), then go to the host.
    - `batch_dim`: the axis of the samples in the first input. `probe`: samples in the pass that looks at the network
      (4), or "batch".

    Which axis holds what is found by following labelled axes through the operations of one small pass, and confirmed
    by a second with fewer samples; nothing is decided by shape. A layer that stays unclear is refused where it was
    named, and left out of patterns and "auto" with a note in `provenance["notes"]`.

    `Activations.sample` numbers samples by their place in the data set, also under a shuffling sampler; for an
    iterable, which has no places, by their position in the stream.

    The model is left as it was: hooks, train/eval mode, device and random state are restored, also after an error.
    Everything that one batch can show is refused before the long run.

    Raises ModelError (layers, layouts, poolings, masks, memory) or InputError (data, NaN or infinite activations).
    """
    for name, value in (("max_samples", max_samples), ("memory", memory)):
        if value is not None and _check.whole(value, name) < 0:
            raise _check.negative(name, value)
    inner, taken = unwrap(model)
    options = Options.of(
        inner, layers, pool=pool, device=device, dtype=dtype, forward=forward, labels=labels, mask=mask, layout=layout,
        groups=groups, batch_dim=batch_dim, class_names=class_names, head=head, logits=logits, probe=probe,
    )  # fmt: skip
    order: list[Any] = []
    first, raws, count = stream(data, batch_size, order=order)
    with session(inner, options.device, options.dtype) as live:
        planned, options = planned_of(live, first, options, taken, samples_of(data))
    _check_room(planned, max_samples)
    expected = None if any(p.rows > 1 for p in planned.layers) else planned.samples
    store = FeatureStore(
        [p.address for p in planned.layers],
        options.device,
        max_samples=max_samples,
        memory=memory,
        seed=seed,
        expected=expected,
    )
    sums: dict[str, MomentSums] = {}
    if max_samples is not None:
        sums = {p.address: MomentSums(scatter=scatter and p.width <= WIDEST) for p in planned.layers}
    finite = FiniteCheck(options.device)
    with closing(passes(inner, planned, options, with_progress(raws, count, progress), store)) as read:
        for number, (batch, features, z, rows) in enumerate(read):
            with memory_errors(number, store):
                finite.add(number, features)
                for address, x in features.items() if sums else ():
                    _add(sums[address], x, rows.labels)
                store.add(features, z, rows.labels, rows.sample, batch.size, _numbers(order, batch))
    finite.close()
    kept = store.close()
    return Activations(
        features=kept.features,
        labels=kept.labels,
        logits=kept.logits,
        head=_classifier(inner, planned),
        sample=kept.sample,
        seen=store.seen,
        exact={address: s.value() for address, s in sums.items()},
        provenance=provenance_of(model, inner, planned, options.device, options.dtype, data, store.seen, seed, taken)
        | ({} if class_names is None else {"class_names": [str(name) for name in class_names]})
        | ({} if rows_known(data) else {"sample_numbers": "positions in the stream"}),
    )


# --- planning ---------------------------------------------------------------------------------------------------------


def planned_of(
    live: Session, raw: Any, options: Options, taken: list[str], samples: int | None
) -> tuple[Plan, Options]:
    """The plan, and the options with what the probe found of how batches are read."""
    with memory_errors(0, None):
        trace, intake = probe(live, options.intake, raw, samples=options.probe)
    options = replace(options, intake=intake)
    batch = trace.batch
    leaf = logits_leaf(trace, trace.labels)
    head = None if options.head is False else find_head(trace, leaf)
    if isinstance(options.head, str) and options.head != "auto":
        head = Head(_one_module(options.head, trace.modules), None, leaf.path if leaf else ())
    planned, left_out = resolve(select(options.layers, trace), trace, options.reading)
    groups = options.reading.groups
    if groups is not None and all(p.pooling.layout.groups != groups for p in planned):
        raise _refusals.groups_not_understood(groups, trace.samples, None, list(batch.inputs()))
    of_root = bool(trace.root and trace.outputs is trace.root.outputs)
    facts: dict[str, Any] = {
        "logits": None if leaf is None else leaf.path,
        "calls": _expected(planned),
        "of_root": of_root,
        "labels": "positions" if batch.position_labels or _of_tokens(planned, batch) else "samples",
    }
    taps = Taps(live, Plan(planned, samples, facts=facts), intake.forward)
    masked = check_masks(taps, planned, trace, lambda: _everywhere(live, trace, options, facts))
    check_rows(trace.masks, masks_used(planned), 0)
    if at_stake(planned, trace):
        planned, more, leaf = _in_order(planned, check_order(taps, planned, trace), trace, leaf)
        left_out, facts = [*left_out, *more], {**facts, "calls": _expected(planned)}
        head = head if leaf is not None else None
    wants = options.logits
    if wants is None:
        last = max(p.event for p in planned)
        wants = head is None or last >= trace.calls[head.module][-1].start - 1
    found = leaf is not None and bool(wants)
    notes = [f"RA401: {name} was taken off; the eager model is read" for name in taken]
    notes += [*batch.notes, *trace.notes, *left_out, *_labels_notes(planned, batch)]
    beyond = _labels_beyond(leaf, trace)
    facts["labels_beyond"] = beyond
    notes += [beyond] if beyond else []
    facts["logits"] = leaf.path if leaf is not None and found else None
    read = None if head is None else _head_input(head, trace, planned)
    if found and head is not None and read is None:
        notes.append(f"the input of the classifier ({head.module}:in) is not among the layers")
    facts["head_layer"] = read
    notes += masked
    return Plan(planned, samples, tuple(notes), head, facts), options


def _everywhere(
    live: Session, trace: Trace, options: Options, facts: Mapping[str, Any]
) -> tuple[Taps, tuple[Planned, ...]]:
    """Every layer that can be read, for what the layers asked for do not show."""
    sites = [replace(site, offered=True) for site in select(["*", "output"], trace)]
    planned, _ = resolve(sites, trace, replace(options.reading, pool="auto"))
    to_the_end = {**facts, "calls": _expected(planned)}
    return Taps(live, Plan(planned, None, facts=to_the_end), options.intake.forward), planned


def _expected(planned: tuple[Planned, ...]) -> dict[str, int]:
    return {p.site.module: p.calls for p in planned if p.site.module or p.site.side == "in"}


def _in_order(
    planned: tuple[Planned, ...], moved: frozenset[str], trace: Trace, leaf: Leaf | None
) -> tuple[tuple[Planned, ...], list[str], Leaf | None]:
    """The layers whose rows are the samples in their order, notes on the others, and the logits if theirs are."""
    broken = [p for p in planned if p.address in moved]
    errors = [_refusals.other_order(p.address, (trace.samples, *p.shape), trace.samples) for p in broken]
    kept = tuple(p for p in planned if p.address not in moved)
    named = [error for p, error in zip(broken, errors) if not p.site.offered]
    if named or not kept:
        raise named[0] if named else errors[0]
    notes = []
    if broken:
        names = _check.listed([p.address for p in broken])
        notes.append(f"RA106: left out {names}; rows are not in the order of the samples")
    if LOGITS in moved:
        notes.append("RA106: the logits are not in the order of the samples and were dropped")
    return kept, notes, None if LOGITS in moved else leaf


def _of_tokens(planned: Sequence[Planned], batch: Batch) -> bool:
    """Whether labels of two axes have one entry for each token that becomes a row."""
    tokens = [p for p in planned if p.rows > 1]
    y = batch.labels
    return bool(tokens) and y is not None and y.ndim == 2 and y.shape[1] == tokens[0].rows


def _labels_notes(planned: Sequence[Planned], batch: Batch) -> list[str]:
    """What becomes of labels that are not one for each sample."""
    if not batch.position_labels or batch.labels is None:
        return []
    shape = tuple(batch.labels.shape[1:])
    tokens = [p for p in planned if p.rows > 1]
    if not tokens:
        return [f"labels are for each of {shape} positions and were dropped; keep them with pool='tokens'"]
    for p in tokens:
        inside = tuple(p.shape[i - (i > (p.pooling.layout.sample or 0))] for i in p.pooling.layout.positions)
        if inside != shape:
            raise _refusals.rows_of_positions(p.address, inside, shape)
    return []


def _labels_beyond(leaf: Any, trace: Trace) -> str:
    """What is said where labels number more classes than any output has columns."""
    labels = trace.labels
    if leaf is not None or labels is None or labels.ndim != 1 or labels.is_floating_point():
        return ""
    columns = [out.shape[1] for out in trace.outputs if len(out.shape) == 2 and trace.layout(out).sample == 0]
    top = int(labels.max()) if len(labels) else -1
    if columns and max(columns) <= top:
        return f"labels reach {top} but no output has more than {max(columns)} columns: there are no logits"
    return ""


def _one_module(name: str, modules: Mapping[str, nn.Module]) -> str:
    if name not in modules or not name:
        raise _refusals.no_layer(name, [n for n in modules if n])
    return name


def _head_input(head: Head, trace: Any, planned: tuple[Planned, ...]) -> str | None:
    """The address whose features the classifier reads."""
    for p in planned:
        same_call = p.site.call in (None, head.call)
        if p.site.module == head.module and p.site.side == "in" and same_call and p.pooling.kind == "vector":
            return p.address
    return None


def _check_room(planned: Plan, max_samples: int | None) -> None:
    rows = planned.samples if max_samples is None else min(2 * max_samples, planned.samples or 2 * max_samples)
    if rows is None:
        return
    needed, room = rows * planned.bytes_per_sample, host_memory()
    if needed > room:
        sizes = sorted(((p.address, rows * 4 * p.width * p.rows) for p in planned.layers), key=lambda pair: -pair[1])
        raise _refusals.too_large(needed, room, sizes)


def wanted_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating-point type, also by its name."""
    found = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if found is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        _check.choice(str(dtype), "dtype", ("float16", "bfloat16", "float32"))
    return found  # type: ignore[return-value]


# --- the long run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    labels: Tensor | None
    sample: Tensor


def _numbers(order: Sequence[Any], batch: Batch) -> Tensor | None:
    """The places of a batch's samples in the data set, where a sampler gave them."""
    indices = order[batch.number] if batch.number < len(order) else None
    if not isinstance(indices, (list, tuple)) or len(indices) != batch.size:
        return None
    return torch.tensor(indices) if all(isinstance(i, (int, np.integer)) for i in indices) else None


def _row_labels(batch: Batch, planned: Plan, features: Mapping[str, Tensor]) -> Rows:
    """Labels and sample numbers of the rows: one a sample, or one a token."""
    index, labels = torch.arange(batch.size, device="cpu"), batch.labels
    tokens = [p for p in planned.layers if p.rows > 1]
    positions = planned.facts["labels"] == "positions"
    if not tokens:
        return Rows(None if positions else labels, index)
    key = next(iter(tokens[0].pooling.masks.values()), None)
    n = len(features[tokens[0].address])
    keep = (
        torch.ones(batch.size, n // batch.size, dtype=torch.bool, device="cpu")
        if key is None
        else batch.masks[key].cpu()
    )
    index = index[:, None].expand(keep.shape)[keep]
    if labels is None:
        return Rows(None, index)
    wide = labels.flatten(1) if positions else labels[:, None].expand(*keep.shape) if labels.ndim == 1 else labels
    return Rows(wide[keep] if positions or labels.ndim == 1 else wide[index], index)


def _add(sums: MomentSums, x: Tensor, labels: Tensor | None) -> None:
    """Into the class of each row; rows marked to be ignored stay out, and without classes all rows are one."""
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        sums.add(x)
    elif bool((labels == IGNORED).any()):
        keep = (labels != IGNORED).nonzero()[:, 0]
        sums.add(x[keep.to(x.device)], labels[keep].long())
    else:
        sums.add(x, labels.long())


def passes(
    model: nn.Module, planned: Plan, options: Options, raws: Iterable[Any], store: FeatureStore | None
) -> Generator[tuple[Batch, dict[str, Tensor], Tensor | None, Rows], None, None]:
    """Each batch with its pooled features, its logits and what its rows are of."""
    with session(model, options.device, options.dtype) as live:
        taps = Taps(live, planned, options.intake.forward)
        number, used, labelled = -1, masks_used(planned.layers), None
        for place, raw in enumerate(raws):
            if is_empty(raw):
                continue
            number += 1
            batch = replace(options.intake.unpack(raw), number=place)
            labelled = batch.labels is not None if labelled is None else labelled
            if labelled != (batch.labels is not None):
                raise _data_refusals.labels_in_some(number, labelled)
            check_rows(batch.masks, used, number)  # on the host, where it makes nothing wait
            with memory_errors(number, store):
                features, z = taps.read(batch.to(options.device), number)
            yield batch, features, z, _row_labels(batch, planned, features)


# --- what came of it --------------------------------------------------------------------------------------------------


def _classifier(model: nn.Module, planned: Plan) -> Classifier | None:
    layer = planned.facts["head_layer"]
    if planned.head is None or layer is None:
        return None
    found = weight_and_bias(model.get_submodule(planned.head.module))
    return None if found is None else Classifier(*found, layer)
