"""What every attention head of a transformer attends to: entropy, distance, sinks, rank, and what it writes."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag
from repana._numbers import number
from repana.extraction import _attribution_refusals
from repana.extraction._attention_tap import AttentionTap, Heads, attention_tap, weight_by_head
from repana.extraction._batches import Batch, Forward, run
from repana.extraction._data import samples_of, stream
from repana.extraction._first_batch import planned_of
from repana.extraction._options import Options
from repana.extraction._session import session, unwrap
from repana.extraction._tree import is_empty, leaves
from repana.heads import _refusals
from repana.heads._map_statistics import QUANTITIES, TOP, MapSums, map_sums
from repana.statistics.resampling import FEWEST_GROUPS, bootstrap_weights, percentiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CLOSE = {torch.float64: 1e-6, torch.float32: 1e-4}  # of outputs read and not read; other types 1e-2
SINKS, TWINS = 0.5, 0.05
AT_ONCE = 2**26  # entries of the maps of one layer that are worked on at a time


@dataclass(frozen=True, repr=False)
class Attention:
    """What every head attends to; see `attention`. Tensors (layers, heads) by quantity: `values` with the interval
    `low`, `high`, and `null`. `apart` (layers, heads, heads): mean total variation between the maps of two heads.
    `maps`: of the first texts, by layer, (texts, heads, tokens, tokens)."""

    layers: tuple[str, ...]
    values: Mapping[str, Float[Tensor, "l h"]]
    low: Mapping[str, Float[Tensor, "l h"]]
    high: Mapping[str, Float[Tensor, "l h"]]
    null: Mapping[str, Float[Tensor, "l h"]]
    apart: Float[Tensor, "l h h"]
    texts: int
    maps: Mapping[str, Float[Tensor, "b h t t"]] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> int:
        return self.apart.shape[1]

    def head(self, layer: str, head: int) -> dict[str, Estimate]:
        """Every quantity of one head, with its interval and null."""
        if layer not in self.layers:
            raise _check.not_recorded(layer, self.layers)
        _check.at_least(head, "head", 0)
        if head >= self.heads:
            raise _refusals.no_such_head(head, self.heads)
        at = (self.layers.index(layer), head)
        return {name: self._estimate(name, at) for name in QUANTITIES}

    def _estimate(self, name: str, at: tuple[int, int]) -> Estimate:
        value, low, high, null = (float(part[name][at]) for part in (self.values, self.low, self.high, self.null))
        note = "" if value == value else Flag.UNDEFINED.note("no row, or no output projection, to read it from")
        return Estimate(value, low, high, self.texts, note, null=null)

    def frame(self) -> "pd.DataFrame":
        """A line for each layer, head and quantity: value, low, high, null."""
        import pandas as pd

        rows = [
            (layer, h, name, *(float(part[name][k, h]) for part in (self.values, self.low, self.high, self.null)))
            for k, layer in enumerate(self.layers)
            for h in range(self.heads)
            for name in QUANTITIES
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "quantity", "value", "low", "high", "null"])

    def says(self) -> str:
        """How many heads attend to the first token, and which are alike, in sentences."""
        sinks = self.values["sink"] > SINKS
        count, total = int(sinks.sum()), sinks.numel()
        text = f"{count} of {total} heads put more than {SINKS:g} of their attention on the first token"
        text += f" (uniform attention: {number(float(self.null['sink'].mean()))} on average)."
        pairs = [
            f"{self.layers[k]} heads {i} and {j}"
            for k in range(len(self.layers))
            for i in range(self.heads)
            for j in range(i)
            if float(self.apart[k, i, j]) < TWINS
        ]
        if pairs:
            text += f" Equal maps (mean total variation below {TWINS:g}): {_check.listed(pairs, 3)}."
        return text

    def plot(self, *quantities: str, **options: Any) -> "Figure":
        """Layers by heads, and quantities over depth; see `repana.plots.head_maps`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.head_maps(self, *quantities, **options))

    def __repr__(self) -> str:
        lines = [f"Attention({len(self.layers)} layers of {self.heads} heads, {self.texts} texts)"]
        wide = max(map(len, self.layers))
        shown = ("entropy_share", "distance_share", "sink", "rank", "share")
        lines.append(f"  {'mean over heads':<{wide}}  " + "  ".join(f"{q:>14}" for q in shown))
        for k, layer in enumerate(self.layers):
            cells = (number(float(self.values[q][k].nanmean())) for q in shown)
            lines.append(f"  {layer:<{wide}}  " + "  ".join(f"{c:>14}" for c in cells))
        null = (number(float(self.null[q].nanmean())) for q in shown)
        lines.append(f"  {'null':<{wide}}  " + "  ".join(f"{c:>14}" for c in null))
        return "\n".join([*lines, f"  {self.says()}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@settled()
def attention(
    model: nn.Module,
    data: Any,
    *,
    top: int = TOP,
    keep: int = 0,
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    batch_size: int = 16,
    level: float = 0.95,
    seed: int = 0,
) -> Attention:
    """What every self-attention head of a `transformers` model attends to, over the real tokens of `data`.

    Maps a_ij (query i, key j) come from the queries and keys that meet in the product (after rotary embeddings and
    norms), with the mask, scale and soft cap of the model, under any attention implementation: the output of the model
    with its attention read is compared with its own on the first batch. Padding queries and keys are dropped first.
    Rows with one allowed key say nothing and are left out. With m the number of allowed keys of a row:

    - `entropy`: -sum_j a ln a, nats, null ln m; `entropy_share`: over ln m, in [0, 1], null 1.
    - `top_mass`: the `top` largest a, of rows with m > top, null top/m.
    - `distance`: sum_j a_ij |i - j| in real tokens, null the mean distance of allowed keys; `distance_share`: over it.
    - `sink`: a on the first real token, null 1/m. `previous`: a on the token in front, null 1/m.
    - `rank`: exp of the entropy of the singular values of a text's map over their sum; `stable_rank`
      sum s^2/s_1^2; null: the map of uniform rows. Both grow with the length of texts.
    - `write`: mean |w_h| of what a head writes, w_h its output through its columns of the output projection; `share`:
      sum <w_h, o>/sum |o|^2 with o the sum of heads, adds up to 1, may be negative, null 1/h. Where a norm stands
      behind the projection (Gemma 2, OLMo 2) this is what the head writes in front of it.

    - `apart`: mean total variation of every pair of heads of a layer; near 0 the two are one.
    - `keep`: maps of so many first texts are kept (`maps`).

    Null: attention uniform over allowed keys. Interval: bootstrap of texts, of ratios of sums, from 3 texts on. The
    other options are as `record` takes them. The model is left as it was, also after an error.

    Raises ModelError (RA134) for models without transformers' attention interface, or whose outputs change when it is
    read, and what `record` raises.

    Sources: Clark et al. 2019, arXiv:1906.04341 (entropy, distance); Xiao et al. 2024, arXiv:2309.17453 (sinks); Dong
    et al. 2021, arXiv:2103.03404 (rank); Kobayashi et al. 2020, arXiv:2004.10102 (what heads write).
    """
    _check.level_of(level)
    top, keep = _check.at_least(top, "top", 1), _check.at_least(keep, "keep", 0)
    inner, taken = unwrap(model)
    options = Options.of(inner, "auto", device=device, forward=forward, labels=labels, mask=mask)
    first, raws, _ = stream(data, batch_size)
    with session(inner, options.device, None) as live:
        planned, options = planned_of(live, first, options, taken, samples_of(data))
    keys = list(dict.fromkeys(key for p in planned.layers for key in p.pooling.masks.values()))
    found: dict[str, list[MapSums]] = {}
    maps: dict[str, list[Tensor]] = {}
    kept, checked = 0, False
    with session(inner, options.device, None) as live:
        for raw in raws:
            if is_empty(raw):
                continue
            batch = options.intake.unpack(raw).to(options.device)
            own = None if checked else run(inner, batch, options.intake.forward)
            with attention_tap(live) as tap:
                output = run(inner, batch, options.intake.forward)
            if not checked:
                _compare(own, output)
                checked = True
            for heads in _self_attention(tap):
                real = _real(batch, keys, heads)
                found.setdefault(heads.name, []).append(_summed(tap, heads, real, top))
                if kept < keep:
                    maps.setdefault(heads.name, []).append(heads.maps[: keep - kept].float().cpu())
            kept += batch.size
    if not found:
        raise _attribution_refusals.no_self_attention()
    layers = [name for name in found if found[name][0].apart.shape == next(iter(found.values()))[0].apart.shape]
    settings = {"top": top, "level": level, "seed": seed, "left_out": [n for n in found if n not in layers]}
    return _attention(layers, found, {n: torch.cat(m) for n, m in maps.items() if _alike(m)}, level, seed, settings)


def _alike(parts: list[Tensor]) -> bool:
    """Whether batches were padded to one length."""
    return len({p.shape[1:] for p in parts}) == 1


def _self_attention(tap: AttentionTap) -> list[Heads]:
    """Calls of as many queries as keys; the last of a module that ran again."""
    return [h for h in {h.name: h for h in tap.calls}.values() if h.maps.shape[2] == h.maps.shape[3]]


def _real(batch: Batch, keys: list[str], heads: Heads) -> Bool[Tensor, "b t"]:
    """Which positions are no padding: by the mask of the stream of this length."""
    b, _, t, _ = heads.maps.shape
    for key in keys:
        if tuple(batch.masks[key].shape) == (b, t):
            return batch.masks[key].to(heads.maps.device).bool()
    return torch.ones(b, t, dtype=torch.bool, device=heads.maps.device)


def _summed(tap: AttentionTap, heads: Heads, real: Bool[Tensor, "b t"], top: int) -> MapSums:
    """Of one layer on one batch, texts a few at a time."""
    b, h, t, _ = heads.maps.shape
    size = max(1, AT_ONCE // (h * t * t))
    projection = tap.projections.get(heads.name)
    weight = None if projection is None else weight_by_head(projection, h).double()
    parts = []
    for at in range(0, b, size):
        some = slice(at, at + size)
        written = product = whole = None
        if weight is not None:
            results = heads.results[some].double()
            each = [results[:, k] @ weight[k] for k in range(h)]
            total = torch.stack(each).sum(0)
            written = torch.stack([w.norm(dim=2) for w in each], 1)
            product = torch.stack([(w * total).sum(2) for w in each], 1)
            whole = total.square().sum(2)
        parts.append(map_sums(heads.maps[some], heads.allowed[some], real[some], top, written, product, whole))
    return _joined(parts)


def _joined(parts: list[MapSums]) -> MapSums:
    def cat(name: str) -> dict[str, Tensor]:
        return {q: torch.cat([getattr(p, name)[q].cpu() for p in parts]) for q in getattr(parts[0], name)}

    apart = torch.stack([p.apart.cpu() for p in parts]).sum(0)
    rows, single = sum(p.rows for p in parts), sum(p.single for p in parts)
    return MapSums(cat("numerator"), cat("denominator"), cat("null"), apart, rows, single)


def _compare(own: Any, read: Any) -> None:
    """Refuse a model that gives other outputs when its attention is read."""
    for (_, a), (_, b) in zip(leaves(own), leaves(read)):
        if not a.is_floating_point() or a.shape != b.shape:
            continue
        size = float(a.double().abs().nan_to_num().max().clamp_min(1e-12))
        moved = float((a.double() - b.double()).nan_to_num().abs().max()) / size
        if moved > CLOSE.get(a.dtype, 1e-2):
            raise _attribution_refusals.attention_differs(moved)
        return


def _attention(
    layers: list[str],
    found: Mapping[str, list[MapSums]],
    maps: Mapping[str, Tensor],
    level: float,
    seed: int,
    settings: Mapping[str, Any],
) -> Attention:
    whole = {name: _joined(found[name]) for name in layers}
    texts = len(next(iter(next(iter(whole.values())).numerator.values())))
    heads = next(iter(whole.values())).apart.shape[0]
    value, low, high, null = (
        {q: torch.full((len(layers), heads), NAN, dtype=torch.float64) for q in QUANTITIES} for _ in range(4)
    )
    weights = list(bootstrap_weights(texts, None, None, seed)) if texts >= FEWEST_GROUPS else []
    for k, name in enumerate(layers):
        sums = whole[name]
        for q in sums.numerator:
            top, bottom = sums.numerator[q], sums.denominator[q]
            value[q][k] = top.sum(0) / bottom.sum(0)
            null[q][k] = sums.null[q].sum(0) / bottom.sum(0)
            if weights:
                drawn = torch.cat([(w @ top) / (w @ bottom) for w in weights]).numpy()
                for h in range(heads):
                    ends = percentiles(drawn[:, h], level)
                    low[q][k, h], high[q][k, h] = ends
    apart = torch.stack([whole[name].apart / max(whole[name].rows, 1.0) for name in layers])
    single = sum(whole[name].single for name in layers)
    return Attention(tuple(layers), value, low, high, null, apart, texts, maps, {**settings, "single_key_rows": single})
