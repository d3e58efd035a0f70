"""What one batch shows of a recording: the layers that can be read, and all that would go wrong later."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from repana import _check
from repana.extraction import _part_refusals, _refusals
from repana.extraction._addresses import Site
from repana.extraction._auto import Head, find_head, logits_leaf, token_logits_leaf
from repana.extraction._batch_masks import check_rows
from repana.extraction._batches import Batch
from repana.extraction._guards import memory_errors
from repana.extraction._layers import select
from repana.extraction._left_padding import left_padding
from repana.extraction._options import Options
from repana.extraction._order import LOGITS, at_stake, check_order
from repana.extraction._parts import open_parts, places_of, requested_parts
from repana.extraction._patterns import unused
from repana.extraction._plan import Plan, Planned, masks_used, resolve
from repana.extraction._polarity import check_masks
from repana.extraction._probe import Leaf, Trace, probe
from repana.extraction._session import Session
from repana.extraction._sharded import is_sharded, with_shards
from repana.extraction._steps import stepwise, watch_generation
from repana.extraction._taps import Taps


def planned_of(
    live: Session, raw: Any, options: Options, taken: list[str], samples: int | None
) -> tuple[Plan, Options]:
    """The plan, and the options with what the probe found of how batches are read."""
    with memory_errors(0, None):
        places = places_of(live, options.intake, raw, requested_parts(options.layers, dict(live.model.named_modules())))
        if places and is_sharded(live.model):
            raise _part_refusals.parts_of_shards([place.name for place in places])
        open_parts(live, places)
        if stepwise(options.layers, options.reading.pool):
            watch_generation(live, options.seed)
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
        "places": places,
        "seed": options.seed,
        "labelled": batch.labels is not None,
        "labels": "positions" if batch.position_labels or _of_tokens(planned, batch) else "samples",
    }
    taps = Taps(live, Plan(planned, samples, facts=facts), intake.forward)
    masked = check_masks(taps, planned, trace, lambda: _everywhere(live, trace, options, facts))
    masked += left_padding(taps, planned, trace, intake.forward)
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
    notes = [f"RA401: {name} was unwrapped; the eager model is read" for name in taken]
    notes += [*batch.notes, *trace.notes, *left_out, *_labels_notes(planned, batch)]
    beyond = _labels_beyond(leaf, trace)
    facts["labels_beyond"] = beyond
    notes += [beyond] if beyond else []
    facts["logits"] = leaf.path if leaf is not None and found else None
    facts["token_logits"] = _token_logits(trace, options) if leaf is None and options.logits else None
    read = None if head is None else _head_input(head, trace, planned)
    if found and head is not None and read is None:
        notes.append(f"the input of the classifier ({head.module}:in) is not among the layers")
    facts["head_layer"] = read
    notes += masked
    made = Plan(planned, samples, tuple(notes), head, facts)
    if is_sharded(live.model):
        made = with_shards(made, Taps(live, made, intake.forward).read(batch, 0)[0], live.model)
    return made, options


def _token_logits(trace: Trace, options: Options) -> Planned | None:
    """Logits of every position, as a layer that keeps them all; None where the output is no such tensor. Raises where
    its axes or its mask are doubtful."""
    leaf = token_logits_leaf(trace)
    if leaf is None:
        return None
    site, mask = Site("", "out", leaf.path), options.reading.mask
    if isinstance(mask, Mapping):  # of layers by name, the logits among them or not
        mask = {key: value for key, value in mask.items() if key == "*" or not unused({key: 0}, [site])}
    reading = replace(options.reading, pool="last", layout=None, mask=mask)
    found = resolve([site], trace, reading)[0][0]
    return found if len(found.pooling.layout.positions) == 1 and len(found.pooling.layout.features) == 1 else None


def _everywhere(
    live: Session, trace: Trace, options: Options, facts: Mapping[str, Any]
) -> tuple[Taps, tuple[Planned, ...]]:
    """Every layer that can be read, for what the layers asked for do not show."""
    every = select(["*", "output"], trace)  # of an output of several tensors each
    sites = [replace(site, offered=True, loose=site.loose or not site.module) for site in every]
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
