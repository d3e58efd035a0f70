"""From addresses and the probe to a plan: which tensor, how pooled, how wide, how large. Every refusal is made here."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from repana import _check
from repana.errors import ModelError
from repana.extraction._addresses import Site
from repana.extraction._auto import Head, call_of
from repana.extraction._pooling import GRID, MAPS, SEQUENCES, Pooling
from repana.extraction._probe import Call, Leaf, Trace

if TYPE_CHECKING:
    import pandas as pd

FLAT_INPUT = 16384  # an input is kept whole up to this width, above as a grid of averages
CHANNELS_FIRST = (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d)


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
        """Columns layer, type, shape, calls, pooling, width, kB per sample, share of the forward pass, notes."""
        import pandas as pd

        rows = [
            {
                "layer": p.address,
                "type": p.kind,
                "shape": "x".join(map(str, p.shape)),
                "calls": p.calls,
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
        return self.frame().to_string(index=False) + "\n" + self._summary()

    def _summary(self) -> str:
        size = f"{self.bytes_per_sample / 1024:.1f} kB of float32 features per sample"
        if self.total_bytes is not None:
            size += f", {self.total_bytes / 2**20:.1f} MB for {self.samples} samples"
        return ". ".join([f"{len(self.layers)} layers, {size}", *self.notes]) + "."


def resolve(
    sites: list[Site],
    trace: Trace,
    *,
    pool: str | Mapping[str, str] = "auto",
    mask: Any = None,
    batch_dim: int | None = None,
) -> tuple[Planned, ...]:
    """Plan every site, in forward order."""
    planned: dict[str, Planned] = {}
    skipped: list[ModelError] = []
    for site in sites:
        for one, note in _calls(site, trace):
            for layer in _planned(one, trace, pool, mask, batch_dim, skipped):
                layer = replace(layer, notes=(*note, *layer.notes))
                planned.setdefault(layer.address, layer)
    if not planned:
        raise skipped[0]
    if not isinstance(pool, str):
        unused = [key for key in pool if not any(_named(key, p.site) for p in planned.values())]
        if unused:
            raise _check.pool_without_layer(unused, list(planned))
    if pool == "tokens" and any(p.rows > 1 for p in planned.values()):  # of layers that were not named, those of tokens
        planned = {a: p for a, p in planned.items() if p.rows > 1 or not p.site.offered}
    rows = {p.address: p.rows for p in planned.values()}
    if len({r > 1 for r in rows.values()}) > 1:
        raise _check.mixed_rows(rows)
    return tuple(sorted(planned.values(), key=lambda p: p.event))


def _calls(site: Site, trace: Trace) -> list[tuple[Site, tuple[str, ...]]]:
    """A module called several times stands for all its calls, unless one is chosen."""
    calls = trace.calls[site.module]
    if not calls:
        ran = [name for name in _ancestors(site.module) if trace.calls.get(name)]
        raise _check.never_ran(site.module, [site.module], ran or [n for n in trace.modules if n and trace.calls[n]])
    if site.call is not None:
        if not 1 <= site.call <= len(calls):
            raise _check.no_such_call(str(site), site.module, len(calls))
        return [(site, ())]
    if len(calls) == 1 or not site.module:
        return [(site, ())]
    note = f"RA104: ran {len(calls)} times per forward"
    return [(replace(site, call=k + 1), (note,)) for k in range(len(calls))]


def _planned(
    site: Site,
    trace: Trace,
    pool: str | Mapping[str, str],
    mask: Any,
    batch_dim: int | None,
    skipped: list[ModelError],
) -> list[Planned]:
    """One layer, or, for what a pattern found, one for each tensor that holds numbers by sample."""
    if not site.loose:
        return [_plan(site, trace, pool, mask, batch_dim)]
    call = call_of(site, trace)
    side = call.inputs if site.side == "in" else call.outputs
    found = []
    for part in [leaf.path for leaf in side]:
        try:
            found.append(_plan(replace(site, part=part, loose=False), trace, pool, mask, batch_dim))
        except ModelError as error:
            if error.code not in ("RA106", "RA115"):
                raise
            skipped.append(error)
    return found


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]


def _plan(site: Site, trace: Trace, pool: str | Mapping[str, str], mask: Any, batch_dim: int | None) -> Planned:
    call, module = call_of(site, trace), trace.modules[site.module]
    side = call.inputs if site.side == "in" else call.outputs
    leaf = _leaf(site, side, trace)
    site = replace(site, part=leaf.path if len(side) > 1 or site.part else site.part)
    if not leaf.dtype.is_floating_point and not leaf.dtype.is_complex:
        raise _check.not_numbers(str(site), str(leaf.dtype).removeprefix("torch."))
    axis = leaf.axis if batch_dim is None else batch_dim
    if leaf.nested:
        axis = 0
    if axis is None or leaf.per_sample != 1:
        raise _check.no_sample_axis(str(site), leaf.shape, trace.batch.size)
    notes = []
    if axis and not leaf.nested:
        notes.append(f"RA106: samples are on axis {axis}")
    if leaf.changed:
        notes.append("RA105: changed in place later; value taken before the change")
    shape = tuple(s for i, s in enumerate(leaf.shape) if i != axis)
    kind, channels_last = _kind(shape, module, leaf, trace)
    method = site.pool or _option(pool, site) or "auto"
    if isinstance(pool, str) and site.pool is None and kind == "vector":
        method = "auto"  # a pooling for all layers is one for all that have something to pool
    method = _default(kind, shape, site) if method == "auto" else method
    _check_pooling(str(site), method, kind, leaf.shape)
    has_mask = trace.batch.mask is not None
    if kind == "sequence" and not leaf.nested:
        _check_mask(site, method, shape, mask, trace)
    pooling = Pooling(method, kind, 0 if leaf.nested else axis, channels_last, has_mask and kind == "sequence")
    rows = shape[0] if method == "tokens" else 1
    return Planned(
        site=site,
        kind=type(module).__name__ if site.module else "model",
        shape=shape,
        pooling=pooling,
        width=_width(method, kind, shape, channels_last),
        calls=len(trace.calls[site.module]),
        event=call.start if site.side == "in" else call.end,
        share=_share(site, call, trace),
        rows=rows,
        notes=tuple(notes),
    )


def _leaf(site: Site, side: list[Leaf], trace: Trace) -> Leaf:
    if not side:
        raise _check.no_tensor(str(site))
    inside = [leaf for leaf in side if _same(leaf.path[: len(site.part)], site.part)]
    if not inside and isinstance(site.part[0], str) and not any(leaf.path for leaf in side):
        raise _check.no_layer(str(site), [name for name in trace.modules if name and trace.calls[name]])
    if not inside:
        raise _check.no_part(str(site), _parts(site, side))
    if len(inside) > 1:
        raise _check.several_parts(str(site), _parts(site, inside))
    return inside[0]


def _same(path: tuple[Any, ...], part: tuple[Any, ...]) -> bool:
    return tuple(map(str, path)) == tuple(map(str, part))


def _parts(site: Site, side: list[Leaf]) -> list[str]:
    base = replace(site, part=(), pool=None)
    return [f"{replace(base, part=leaf.path)} {'x'.join(map(str, leaf.shape))}" for leaf in side]


def _option(pool: str | Mapping[str, str], site: Site) -> str | None:
    """The pooling that an argument names: one for all, or by address or module."""
    if isinstance(pool, str):
        return pool
    exact = pool.get(str(site)) or pool.get(site.module)
    return exact or next((method for key, method in pool.items() if _named(key, site)), None)


def _named(key: str, site: Site) -> bool:
    """Whether a key of the poolings names the site, by address, by module or by a pattern with * and ?."""
    names = (str(replace(site, pool=None)), site.module)
    pattern = re.compile("".join({"*": ".*", "?": "."}.get(ch, re.escape(ch)) for ch in key) + r"\Z")
    return any(key == name or pattern.match(name) for name in (str(site), *names))


def _kind(shape: tuple[int, ...], module: nn.Module, leaf: Leaf, trace: Trace) -> tuple[str, bool]:
    """ "vector", "map" or "sequence", and whether channels come last in a map."""
    if len(shape) <= 1:
        return "vector", False
    if leaf.nested:
        return "sequence", False
    if len(shape) == 2:
        mask = trace.batch.mask
        if mask is not None and mask.shape[1] == shape[0]:
            return "sequence", False
        return ("map" if any(isinstance(m, CHANNELS_FIRST) for m in module.modules()) else "sequence"), False
    norms = [m.normalized_shape for m in module.modules() if isinstance(m, nn.LayerNorm)]
    last = any(tuple(n) == (shape[-1],) for n in norms) and not any(tuple(n) == (shape[0],) for n in norms)
    return "map", last and not any(isinstance(m, nn.Conv2d) and m.out_channels == shape[0] for m in module.modules())


def _default(kind: str, shape: tuple[int, ...], site: Site) -> str:
    if kind == "vector":
        return "none"
    if not site.module and site.side == "in" and kind == "map":
        return "flatten" if math.prod(shape) <= FLAT_INPUT else "grid"
    return "avg" if kind == "map" else "mean"


def _check_pooling(address: str, method: str, kind: str, shape: tuple[int, ...]) -> None:
    allowed = {"vector": ("none", "flatten"), "map": MAPS, "sequence": SEQUENCES}[kind]
    if method not in allowed:
        raise _check.pooling_does_not_fit(address, method, kind, shape, allowed)


def _check_mask(site: Site, method: str, shape: tuple[int, ...], mask: Any, trace: Trace) -> None:
    found = trace.batch.mask
    if found is not None:
        if found.shape[1] != shape[0] and method != "flatten":
            raise _check.mask_shape(str(site), tuple(found.shape), (trace.batch.size, *shape))
        return
    inputs = trace.root.inputs
    image = bool(inputs) and len(inputs[0].shape) >= 4
    if method in ("mean", "last", "tokens") and mask is not False and not image:
        raise _check.no_mask(str(site), (trace.batch.size, *shape), method)


def _width(method: str, kind: str, shape: tuple[int, ...], channels_last: bool) -> int:
    if method == "flatten" or kind == "vector":
        return math.prod(shape)
    if kind == "sequence":
        return shape[-1]
    channels = shape[-1] if channels_last else shape[0]
    return channels * GRID ** (len(shape) - 1) if method == "grid" else channels


def _share(site: Site, call: Call, trace: Trace) -> float:
    if site.side == "out":
        return call.share
    done = [c.share for calls in trace.calls.values() for c in calls if c.end < call.start]
    return max(done, default=0.0)
