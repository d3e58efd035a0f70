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
from repana.extraction import _attribution_refusals, _model_refusals
from repana.extraction._attention_heads import HeadResults, Maps
from repana.extraction._attention_tap import attention_tap
from repana.extraction._batch_masks import check_rows
from repana.extraction._batches import Batch, Forward, run
from repana.extraction._data import samples_of, stream
from repana.extraction._options import Options
from repana.extraction._plan import Planned, masks_used
from repana.extraction._session import Session, no_fast_path, session, unwrap
from repana.extraction._tree import is_empty
from repana.heads import _refusals
from repana.heads._map_statistics import QUANTITIES, TOP, MapSums, map_sums, write_sums
from repana.heads._planned_parts import planned_parts
from repana.statistics.resampling import FEWEST_GROUPS, bootstrap_weights, percentiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

EXTRA_TOKENS = 16  # class token and registers, at most
SINKS, TWINS = 0.5, 0.05
NO_PROJECTION = "no output projection of one matrix was seen"
NO_LINE = "positions stand in no line, and no grid of patches was seen"
UNREAD = {"write": NO_PROJECTION, "share": NO_PROJECTION, "distance": NO_LINE, "distance_share": NO_LINE}


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
        note = "" if value == value else Flag.UNDEFINED.note(UNREAD.get(name, "no row to read it from"))
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
        if missing := self.settings.get("left_out"):
            text += (
                f" Left out, for windows, padding that is not known, or other numbers of heads than the first: "
                f"{_check.listed(missing, 3)}."
            )
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
    batch_size: int = 8,
    level: float = 0.95,
    seed: int = 0,
) -> Attention:
    """What every self-attention head of a network attends to, over the real tokens of `data`.

    Maps a_ij (query i, key j) come from the queries and keys that meet in the product (after rotary embeddings and
    norms), with the mask, scale and soft cap of the model: in models of transformers under any implementation of their
    attention; in all others where they call `scaled_dot_product_attention`, `nn.MultiheadAttention`, or a softmax over
    keys that values are multiplied with. The output of the model with its attention read is compared with its own on
    the first batch. Padding queries and keys are dropped first.
    Rows with one allowed key say nothing and are left out. With m the number of allowed keys of a row:

    - `entropy`: -sum_j a ln a, nats, null ln m; `entropy_share`: over ln m, in [0, 1], null 1.
    - `top_mass`: the `top` largest a, of rows with m > top, null top/m.
    - `distance`: sum_j a_ij |i - j| in real tokens, null the mean distance of allowed keys; `distance_share`: over it.
      Of images the Euclidean distance in patches, class token and registers in front left out of queries and keys;
      NaN where no one convolution without overlap cuts the image into as many patches.
    - `sink`: a on the first real token, null 1/m. `previous`: a on the token in front, null 1/m, NaN for images.
      `sink_parameter`: what goes to sinks that are parameters of the model, null 0.
    - `rank`: exp of the entropy of the singular values of a text's map over their sum; `stable_rank`
      sum s^2/s_1^2; null: the map of uniform rows. Both grow with the length of texts.
    - `write`: mean |w_h| of what a head writes, w_h its output through its columns of the output projection; `share`:
      sum <w_h, o>/sum |o|^2 with o the sum of heads, adds up to 1, may be negative, null 1/h. Where a norm stands
      behind the projection (Gemma 2, OLMo 2) this is what the head writes in front of it.

    Cross-attention is left out (other numbers of queries and keys, or states of an encoder among the arguments). Where
    a part of the attention goes to a sink that is a parameter, entropy is that of the rest, brought to a sum of 1.

    - `apart`: mean total variation of every pair of heads of a layer; near 0 the two are one.
    - `keep`: maps of so many first texts are kept (`maps`).

    Null: attention uniform over allowed keys. Interval: bootstrap of texts, of ratios of sums, from 3 texts on. The
    other options are as `record` takes them. The model is left as it was, also after an error.

    Raises ModelError (RA134) where no self-attention is seen, or where outputs change when it is read, and what
    `record` raises.

    Sources: Clark et al. 2019, arXiv:1906.04341 (entropy, distance); Xiao et al. 2024, arXiv:2309.17453 (sinks); Dong
    et al. 2021, arXiv:2103.03404 (rank); Kobayashi et al. 2020, arXiv:2004.10102 (what heads write).
    """
    _check.level_of(level)
    top, keep = _check.at_least(top, "top", 1), _check.at_least(keep, "keep", 0)
    inner, taken = unwrap(model)
    options = Options.of(inner, "*#h0", pool="mean", device=device, forward=forward, labels=labels, mask=mask)
    first, raws, _ = stream(data, batch_size)
    with session(inner, options.device, None) as live, no_fast_path():
        planned, options = planned_parts(
            live, first, options, taken, samples_of(data), _attribution_refusals.no_self_attention
        )
    walk = _Walk(top, keep, {p.site.module.rpartition("#")[0]: p for p in planned.layers})
    with session(inner, options.device, None) as live, no_fast_path():
        walk.watch_patches(live)
        for number, raw in enumerate(raws):
            if is_empty(raw):
                continue
            batch = options.intake.unpack(raw).to(options.device)
            check_rows(batch.masks, masks_used(planned.layers), number, empty=True)
            walk.begin(batch)
            with attention_tap(live, walk.maps, walk.results):
                run(inner, batch, options.intake.forward)
            walk.end(batch.size)
    if not walk.layers:
        raise _refusals.no_whole_layer(list(walk.sums))
    return _attention(walk, level, seed, {"top": top, "level": level, "seed": seed})


class _Walk:
    """Sums over batches, by layer, and the maps that are kept. A module that runs several times in a pass is a layer
    for each call. `planned` says by which mask the positions of each module are real."""

    def __init__(self, top: int, keep: int, planned: Mapping[str, Planned]) -> None:
        self._top, self._keep, self._planned = top, keep, planned
        self.texts = 0
        self.sums: dict[str, list[MapSums]] = {}
        self.written: dict[str, list[tuple[dict[str, Tensor], dict[str, Tensor]]]] = {}
        self.kept: dict[str, list[Tensor]] = {}
        self._batch: Batch | None = None
        self._calls: dict[str, int] = {}
        self._writes: dict[str, int] = {}
        self._grids: set[tuple[int, int]] = set()

    def begin(self, batch: Batch) -> None:
        self._batch = batch
        self._calls, self._writes = {}, {}

    def end(self, size: int) -> None:
        self.texts += size

    def _real(self, name: str, texts: int, tokens: int) -> Bool[Tensor, "b t"] | None:
        """Which positions are no padding, by the mask of the module's own stream; None where it was not planned."""
        if name not in self._planned or self._batch is None:
            return None
        key = next(iter(self._planned[name].pooling.masks.values()), None)
        if key is None:
            return torch.ones(texts, tokens, dtype=torch.bool)
        real = self._batch.masks[key].bool()
        return real if tuple(real.shape) == (texts, tokens) else None

    def watch_patches(self, live: Session) -> None:
        """Note the rows and columns that convolutions without overlap cut images into."""

        def keep(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                self._grids.add((output.shape[2], output.shape[3]))

        for module in live.model.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride and max(module.kernel_size) > 1:
                live.hook(module, keep)

    def _grid(self, tokens: int) -> tuple[int, int] | None:
        """Of as many patches as tokens, or a few less: those in front are no patches."""
        fit = [(h, w) for h, w in self._grids if 0 <= tokens - h * w <= EXTRA_TOKENS and h * w > 1]
        return fit[0] if len(fit) == 1 else None

    def maps(self, found: Maps) -> None:
        b, _, t, _ = found.maps.shape
        self._calls[found.name] = self._calls.get(found.name, 0) + (found.start == 0)
        name = f"{found.name}@{self._calls[found.name]}"
        real = self._real(found.name, found.texts, t)
        if real is None or found.texts != len(real):
            self.sums.setdefault(name, [])
            return
        real = real.to(found.maps.device)[found.start : found.start + b]
        line = self._planned[found.name].of_tokens
        maps = found.maps
        bad = int((~maps[real[:, None, :, None].expand(maps.shape)].isfinite()).sum())
        if bad:
            raise _model_refusals.not_finite(found.name, self._batch.number if self._batch else 0, bad, maps.numel())
        sums = map_sums(maps, found.allowed, real, self._top, line, None if line else self._grid(t))
        self.sums.setdefault(name, []).append(sums)
        more = self._keep - self.texts - found.start
        if more > 0:
            self.kept.setdefault(name, []).append(maps[:more].float().cpu())

    def results(self, found: HeadResults) -> None:
        b, h, t, _ = found.results.shape
        self._writes[found.name] = self._writes.get(found.name, 0) + 1
        real = self._real(found.name, b, t)
        if found.weight is None or real is None:
            return
        numerator, denominator = write_sums(found.results, found.weight.double(), real.to(found.results.device))
        parts = tuple({q: v.cpu() for q, v in part.items()} for part in (numerator, denominator))
        name = f"{found.name}@{self._writes[found.name]}"
        self.written.setdefault(name, []).append((parts[0], parts[1]))

    def title(self, name: str) -> str:
        """What a layer is called: the number of the call where a module has several."""
        module = name.rpartition("@")[0]
        return name if f"{module}@2" in self.sums else module

    def of_layer(self, name: str) -> MapSums:
        """All batches of a layer together."""
        parts = self.sums[name]

        def cat(of: str) -> dict[str, Tensor]:
            return {q: torch.cat([getattr(p, of)[q].cpu() for p in parts]) for q in getattr(parts[0], of)}

        numerator, denominator, null = cat("numerator"), cat("denominator"), cat("null")
        apart = torch.stack([p.apart.cpu() for p in parts]).sum(0)
        written = self.written.get(name, [])
        if sum(len(n["write"]) for n, _ in written) == self.texts:
            for q in ("write", "share"):
                numerator[q] = torch.cat([n[q] for n, _ in written])
                denominator[q] = torch.cat([d[q] for _, d in written])
            null["write"] = torch.full_like(numerator["write"], NAN)
            null["share"] = denominator["share"] / len(apart)
        rows, single = sum(p.rows for p in parts), sum(p.single for p in parts)
        return MapSums(numerator, denominator, null, apart, rows, single)

    @property
    def layers(self) -> list[str]:
        """Those that saw every text once, with as many heads as the first."""
        whole = [n for n, p in self.sums.items() if p and sum(len(x.numerator["sink"]) for x in p) == self.texts]
        return [n for n in whole if self.sums[n][0].apart.shape == self.sums[whole[0]][0].apart.shape]

    def kept_maps(self, name: str) -> Float[Tensor, "b h t t"]:
        """Of the first texts, filled up with zeros to the longest."""
        parts = self.kept[name]
        longest = max(p.shape[2] for p in parts)
        filled = [nn.functional.pad(p, (0, longest - p.shape[3], 0, longest - p.shape[2])) for p in parts]
        return torch.cat(filled)[: self._keep]


def _attention(walk: _Walk, level: float, seed: int, settings: Mapping[str, Any]) -> Attention:
    layers = walk.layers
    whole = {name: walk.of_layer(name) for name in layers}
    texts, heads = walk.texts, len(whole[layers[0]].apart)
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
            if weights and bool(value[q][k].isfinite().any()):
                drawn = torch.cat([(w @ top) / (w @ bottom) for w in weights])
                for h in range(heads):
                    kept = drawn[:, h][drawn[:, h].isfinite()].numpy()
                    low[q][k, h], high[q][k, h] = percentiles(kept, level)
    apart = torch.stack([whole[name].apart / (whole[name].rows or NAN) for name in layers])
    settings = {
        **settings,
        "left_out": [walk.title(n) for n in walk.sums if n not in layers],
        "single_key_rows": sum(whole[name].single for name in layers),
    }
    maps = {walk.title(name): walk.kept_maps(name) for name in layers if name in walk.kept}
    names = tuple(walk.title(name) for name in layers)
    return Attention(names, value, low, high, null, apart, texts, maps, settings)
