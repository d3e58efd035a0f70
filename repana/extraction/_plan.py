"""From addresses and the probe to a plan: which tensor, how pooled, how wide, how large. Every refusal is made here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from repana import _check
from repana._numbers import printable
from repana.errors import ModelError
from repana.extraction import _part_refusals, _refusals
from repana.extraction._addresses import Site
from repana.extraction._auto import Head, call_of
from repana.extraction._batch_masks import FOUND, routed_key
from repana.extraction._layouts import layout_of, refusal
from repana.extraction._mask_choice import Masking, masking, token_like
from repana.extraction._patterns import exact_or_first, unused
from repana.extraction._pooling import GRID, Pooling, allowed, known
from repana.extraction._probe import Call, Leaf, Trace
from repana.extraction._steps import KEY as STEPS_KEY
from repana.extraction._steps import STEPS
from repana.extraction.axes._layout import Layout, positions_of

if TYPE_CHECKING:
    import pandas as pd

FLAT_INPUT = 16384  # an input is kept whole up to this width, above as a grid of averages
LEFT_OUT = ("RA106", "RA109", "RA108", "RA111", "RA113", "RA115", "RA124")  # of layers that were not named
QUANTIZED = (torch.quint8, torch.qint8, torch.qint32)


@dataclass(frozen=True)
class Reading:
    """What the user said of how layers are read."""

    pool: str | Mapping[str, str] = "auto"
    mask: Any = None
    layout: str | Mapping[str, str] | None = None
    groups: str | None = None
    batch_dim: int | None = None


@dataclass(frozen=True)
class Planned:
    """One layer to record."""

    site: Site
    kind: str  # class of the module
    shape: tuple[int, ...]  # of one sample, before pooling
    pooling: Pooling
    width: int
    calls: int
    event: int  # when in the forward pass
    share: float  # of the forward pass done by then
    rows: int = 1  # for each sample of the probe batch; more than 1 for tokens
    notes: tuple[str, ...] = ()
    of_tokens: bool = False  # its positions are those of an input in a line: words, their vectors, a signal
    among: str | None = None  # of the tokens of an expert: the mask of the real ones that they are among, if any

    @cached_property
    def address(self) -> str:
        return str(self.site)


@dataclass(frozen=True, repr=False)
class Plan:
    """What a recording will take: one line a layer. `samples` is None where the data do not tell their number."""

    layers: tuple[Planned, ...]
    samples: int | None
    notes: tuple[str, ...] = ()
    head: Head | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes_per_sample(self) -> int:
        """Of the features of all layers in float32."""
        return sum(4 * p.width * p.rows for p in self.layers)

    @property
    def total_bytes(self) -> int | None:
        return None if self.samples is None else self.samples * self.bytes_per_sample

    def frame(self) -> "pd.DataFrame":
        """Columns layer, type, shape, calls, layout, evidence, pooling, width, kB per sample, share of the pass, notes.

        `layout` names the axes of the tensor: b samples, c features, other letters positions; `evidence` says how they
        were found: by the operations of the probe ("ops"), by sizes with fewer samples, by both, or by your word.
        """
        import pandas as pd

        rows = [
            {
                "layer": p.address,
                "type": p.kind,
                "shape": "x".join(map(str, p.shape)),
                "calls": p.calls,
                "layout": str(p.pooling.layout),
                "evidence": p.pooling.layout.evidence,
                "pooling": p.pooling.method,
                "width": p.width,
                "kB/sample": round(4 * p.width * p.rows / 1024, 3),
                "forward share": round(p.share, 2),
                "notes": "; ".join(p.notes),
            }
            for p in self.layers
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, border=0) + f"<p>{self._summary()}</p>"

    def __repr__(self) -> str:
        return printable(self.frame().to_string(index=False) + "\n" + self._summary())

    def _summary(self) -> str:
        size = f"{self.bytes_per_sample / 1024:.1f} kB of float32 features per sample"
        if self.total_bytes is not None:
            size += f", {self.total_bytes / 2**20:.1f} MB for {self.samples} samples"
        return ". ".join([f"{len(self.layers)} layers, {size}", *self.notes]) + "."


def masks_used(layers: Iterable[Planned]) -> set[str]:
    return {key for p in layers for key in p.pooling.masks.values()}


def resolve(sites: list[Site], trace: Trace, reading: Reading) -> tuple[tuple[Planned, ...], list[str]]:
    """Plan every site, in forward order; notes say which of those that were not named were left out, and why."""
    planned: dict[str, Planned] = {}
    skipped: list[tuple[Site, ModelError]] = []
    for site in sites:
        for one, note in _calls(site, trace, reading):
            for layer in _planned(one, trace, reading, skipped):
                layer = replace(layer, notes=(*note, *layer.notes))
                planned.setdefault(layer.address, layer)
    if not planned:
        raise skipped[0][1]
    _check_options(reading, [p.site for p in planned.values()] + [site for site, _ in skipped], list(planned))
    if reading.pool in ("tokens", STEPS) and any(p.rows > 1 for p in planned.values()):  # of layers that were not named
        planned = {a: p for a, p in planned.items() if p.rows > 1 or not p.site.offered}
    rows = {p.address: p.rows for p in planned.values()}
    if len({r > 1 for r in rows.values()}) > 1:
        raise _refusals.mixed_rows(rows)
    _check_tokens(planned)
    return tuple(sorted(planned.values(), key=lambda p: p.event)), _left_out(skipped, trace)


def check_mask(mask: Any) -> None:
    """Refuse a `mask=` that is none of what it may be."""
    for value in mask.values() if isinstance(mask, Mapping) else [mask]:
        if not (value is None or isinstance(value, (str, int)) or callable(value)):
            raise _refusals.mask_key_type(value)


def _check_options(reading: Reading, sites: Sequence[Site], layers: Sequence[str]) -> None:
    """A name in an option that is no layer's is a mistake."""
    if not isinstance(reading.pool, str) and (keys := unused(reading.pool, sites)):
        raise _refusals.pool_without_layer(keys, layers)
    if isinstance(reading.mask, Mapping) and (keys := unused({k: 0 for k in reading.mask if k != "*"}, sites)):
        raise _refusals.mask_without_layer(keys, layers)
    if isinstance(reading.layout, Mapping) and (keys := unused(reading.layout, sites)):
        raise _refusals.layout_without_layer(keys, layers)


def _check_tokens(planned: Mapping[str, Planned]) -> None:
    """Rows must be the same tokens in every layer."""
    tokens = [p for p in planned.values() if p.rows > 1]
    of_experts = [p.address for p in tokens if p.among is not None or any(key.startswith(FOUND) for key in _keys(p))]
    if len(tokens) > 1 and of_experts and tokens[0].pooling.method != STEPS:
        raise _part_refusals.several_experts([p.address for p in tokens])
    kinds = {(p.rows, tuple(p.pooling.masks.values())): p.address for p in tokens}
    if len(kinds) > 1:
        (rows, _), (others, _) = list(kinds)[:2]
        raise _refusals.tokens_differ(list(kinds.values()), rows, others)


def _keys(p: Planned) -> list[str]:
    return list(p.pooling.masks.values())


def _left_out(skipped: Sequence[tuple[Site, ModelError]], trace: Trace) -> list[str]:
    """One note for each reason, and the operations that have no rule where those were to blame."""
    by_code: dict[str, list[tuple[str, ModelError]]] = {}
    for site, error in skipped:
        by_code.setdefault(error.code, []).append((str(site), error))
    notes = []
    for code, found in by_code.items():
        names = _check.listed(list(dict.fromkeys(name for name, _ in found)))
        first = str(found[0][1]).removeprefix(f"{code}: ")
        notes.append(f"{code}: left out {names}; {first.rstrip('.')}")
    if trace.without_rule and {"RA106", "RA108"} & by_code.keys():
        names = _check.listed([f"aten::{name}" for name in trace.without_rule])
        notes.append(f"no rule for {names}")
    return notes


def _calls(site: Site, trace: Trace, reading: Reading) -> list[tuple[Site, tuple[str, ...]]]:
    """A module called several times stands for all its calls, unless one is chosen."""
    calls = trace.calls[site.module]
    if not site.module:
        if site.side == "in" and not calls:
            raise _refusals.root_not_called(str(site))
        return [(site, ())]
    if not calls:
        if site.module in trace.by_forward:
            inside = [name for name in trace.ran() if name.startswith(site.module + ".")]
            raise _refusals.called_as_forward(site.module, inside)
        ran = [name for name in _ancestors(site.module) if trace.calls.get(name)]
        raise _refusals.never_ran(site.module, [site.module], ran or trace.ran())
    if (site.pool or _option(reading.pool, site)) == STEPS:
        if site.call is not None:
            raise _part_refusals.steps_of_one_call(str(site))
        return [(site, ())]
    if site.call is not None:
        if not 1 <= site.call <= len(calls):
            raise _refusals.no_such_call(str(site), site.module, len(calls))
        return [(site, ())]
    if len(calls) == 1:
        return [(site, ())]
    note = f"RA104: ran {len(calls)} times per forward"
    return [(replace(site, call=k + 1), (note,)) for k in range(len(calls))]


def _planned(site: Site, trace: Trace, reading: Reading, skipped: list[tuple[Site, ModelError]]) -> Iterable[Planned]:
    """One layer, or, for what a pattern found, one for each tensor that holds numbers by sample."""
    parts: list[Site] = [site]
    if site.loose:
        parts = [replace(site, part=leaf.path, loose=False) for leaf in side_of(site, trace)]
        if not parts:
            skipped.append((site, _refusals.no_tensor(str(site))))
    for one in parts:
        leaf = _leaf(one, side_of(one, trace), trace)
        try:
            yield _plan(one, leaf, trace, reading)
        except ModelError as error:
            if not (site.loose or site.offered) or error.code not in LEFT_OUT:
                raise
            if error.code == "RA111" and not (isinstance(reading.pool, str) and reading.pool == "tokens"):
                raise
            skipped.append((one, error))


def side_of(site: Site, trace: Trace) -> list[Leaf]:
    if not site.module:
        return trace.inputs if site.side == "in" else trace.outputs
    call = call_of(site, trace)
    return call.inputs if site.side == "in" else call.outputs


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]


def _plan(site: Site, leaf: Leaf, trace: Trace, reading: Reading) -> Planned:
    part, side = trace.parts.get(site.module), side_of(site, trace)
    if (
        not site.module
        and len(trace.calls[""]) > 1
        and (site.side == "in" or trace.outputs is trace.calls[""][0].outputs)
    ):
        raise _refusals.called_several_times(str(site), len(trace.calls[""]))
    site = replace(site, part=leaf.path if len(side) > 1 or site.part else site.part)
    if leaf.unreadable:
        raise _refusals.not_readable(str(site), leaf.unreadable)
    if not (leaf.dtype.is_floating_point or leaf.dtype.is_complex or leaf.dtype in QUANTIZED):
        raise _refusals.not_numbers(str(site), _refusals.dtype_name(leaf.dtype))
    layout = layout_of(site, leaf, trace, reading.layout, reading.batch_dim, reading.groups)
    method = site.pool or _option(reading.pool, site) or "auto"
    if not known(method, ("auto", *allowed(replace(layout, positions=(0,), merged=(0,))), "none")):
        raise _refusals.unknown_pooling(str(site), method, ("auto", "none", *allowed(replace(layout, positions=(0,)))))
    if layout.problem:
        layout, method = _without_features(site, leaf, trace, layout, method)
    elif isinstance(reading.pool, str) and site.pool is None and layout.kind == "vector" and method != STEPS:
        method = "auto"  # a pooling for all layers is one for all that have something to pool
    method = _default(site, layout, leaf, trace) if method == "auto" else method
    if not known(method, allowed(layout)):
        raise _refusals.pooling_does_not_fit(str(site), method, layout.kind, trace.shown(leaf), allowed(layout))
    found = masking(site, layout, leaf, trace, reading.mask, method)
    among = None
    if part is not None and part.routed:
        if method != "tokens":
            raise _part_refusals.expert_rows(str(site), method)
        axis, among = next(iter(found.keys.items()), (next(iter(layout.positions), layout.ndim), None))
        found = replace(found, keys={axis: routed_key(site.module, among)})
    call = trace.root if not site.module else call_of(site, trace)
    if method == STEPS:
        return _stepwise(site, layout, leaf, trace, found)
    rows = _positions(layout, leaf) if method == "tokens" else 1
    return Planned(
        site=site,
        kind=_kind(site, part, trace),
        shape=tuple(n for i, n in enumerate(leaf.shape) if i != layout.sample),
        pooling=Pooling(method, layout, found.keys),
        width=_width(method, layout, leaf),
        calls=len(trace.calls[site.module]) if site.module else 1,
        event=_event(site, call),
        share=_share(site, call, trace),
        rows=rows,
        notes=(*_notes(layout, leaf), *found.notes),
        of_tokens=_of_tokens(layout, leaf, trace),
        among=among,
    )


def _stepwise(site: Site, layout: Layout, leaf: Leaf, trace: Trace, found: Masking) -> Planned:
    """All calls of a module together, a row for each real position."""
    calls = trace.calls[site.module]
    last = replace(site, call=len(calls))
    first, passes = _positions(layout, leaf), len(trace.calls[""])
    if layout.kind != "vector" and passes > 1 and len(calls) != passes:
        raise _part_refusals.several_calls_a_step(str(site), len(calls), passes)
    axis, among = next(iter(found.keys.items()), (next(iter(layout.positions), layout.ndim), None))
    return Planned(
        site=site,
        kind=_kind(site, trace.parts.get(site.module), trace),
        shape=tuple(n for i, n in enumerate(leaf.shape) if i != layout.sample),
        pooling=Pooling(STEPS, layout, {axis: STEPS_KEY}),
        width=_width(STEPS, layout, leaf),
        calls=len(calls),
        event=_event(site, call_of(last, trace)),
        share=_share(site, call_of(last, trace), trace),
        rows=first + len(calls) - 1,
        notes=(*_notes(layout, leaf), *found.notes, f"{len(calls)} calls on the first samples"),
        among=among,
    )


def _of_tokens(layout: Layout, leaf: Leaf, trace: Trace) -> bool:
    axes = leaf.traced.axes if leaf.traced is not None else []
    places = positions_of(layout, axes) if len(axes) == layout.ndim else {}
    return any(token_like(trace, axis) for axis in places.values())


def _positions(layout: Layout, leaf: Leaf) -> int:
    """Of each sample, in one call."""
    return math.prod([*(leaf.shape[p] for p in layout.positions), *(n for n in layout.merged if n)])


def _kind(site: Site, part: Any, trace: Trace) -> str:
    """What a person calls the place."""
    if part is not None:
        return part.title
    return type(trace.modules[site.module]).__name__ if site.module else "model"


def _without_features(site: Site, leaf: Leaf, trace: Trace, layout: Layout, method: str) -> tuple[Layout, str]:
    """Where the features' axis is not known, the whole of each sample can still be kept."""
    image = not site.module and site.side == "in" and len(leaf.shape) > 3
    whole = image and math.prod(leaf.shape) // leaf.shape[layout.sample or 0] <= FLAT_INPUT
    if method == "flatten" or (method == "auto" and whole):
        rest = tuple(i for i in range(layout.ndim) if i != layout.sample)
        return replace(layout, problem="", features=(), positions=rest, kind_of_problem=None), "flatten"
    raise refusal(site, leaf, trace, layout)


def _notes(layout: Layout, leaf: Leaf) -> list[str]:
    notes = []
    if layout.sample and not leaf.nested:
        notes.append(f"RA106: samples are on axis {layout.sample}")
    if layout.groups is not None:
        notes.append(f"mean over the rows that {layout.groups!r} gives each sample, such as the nodes of a graph")
    if leaf.changed:
        notes.append("RA105: changed in place later; value taken before the change")
    if leaf.dtype.is_complex:
        notes.append("complex: real parts, then imaginary parts")
    return notes


def _leaf(site: Site, side: list[Leaf], trace: Trace) -> Leaf:
    if not side:
        raise _refusals.no_tensor(str(site))
    inside = [leaf for leaf in side if _same(leaf.path[: len(site.part)], site.part)]
    if not inside and isinstance(site.part[0], str) and not any(leaf.path for leaf in side):
        raise _refusals.no_layer(str(site), trace.ran())
    if not inside:
        raise _refusals.no_part(str(site), _parts(site, side, trace))
    if len(inside) > 1:
        raise _refusals.several_parts(str(site), _parts(site, inside, trace))
    return inside[0]


def _same(path: tuple[Any, ...], part: tuple[Any, ...]) -> bool:
    return tuple(map(str, path)) == tuple(map(str, part))


def _parts(site: Site, side: list[Leaf], trace: Trace) -> list[str]:
    base = replace(site, part=(), pool=None)
    return [f"{replace(base, part=leaf.path)} {'x'.join(map(str, trace.shown(leaf)))}" for leaf in side]


def _option(pool: str | Mapping[str, str], site: Site) -> str | None:
    """The pooling that an argument names: one for all, or by address, module or pattern."""
    return pool if isinstance(pool, str) else exact_or_first(pool, site)


def _default(site: Site, layout: Layout, leaf: Leaf, trace: Trace) -> str:
    if layout.kind == "vector" or layout.groups is not None:
        return "none"
    if not site.module and site.side == "in" and not _of_tokens(layout, leaf, trace) and not leaf.nested:
        return "flatten" if math.prod(leaf.shape) // trace.batch.size <= FLAT_INPUT else "grid"
    return "mean" if layout.kind == "sequence" else "avg"


def _width(method: str, layout: Layout, leaf: Leaf) -> int:
    parts = 2 if leaf.dtype.is_complex else 1
    features = math.prod(leaf.shape[i] for i in layout.features)
    if layout.groups is not None:
        return parts * features
    if method == "flatten" or layout.kind == "vector":
        return parts * math.prod(n for i, n in enumerate(leaf.shape) if i != layout.sample)
    return parts * features * (GRID ** len(layout.positions) if method == "grid" else 1)


def _event(site: Site, call: Call | None) -> int:
    if call is None:
        return 10**9
    return call.start if site.side == "in" else call.end


def _share(site: Site, call: Call | None, trace: Trace) -> float:
    if call is None:
        return 1.0
    if site.side == "out":
        return call.share
    done = [c.share for calls in trace.calls.values() for c in calls if c.end < call.start]
    return max(done, default=0.0)
