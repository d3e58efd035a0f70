"""What a network would answer at every layer: by its own head, by a fitted affine map, or by a probe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate, shown
from repana._numbers import number
from repana.extraction._batches import Forward
from repana.extraction._reinitialised import iter_once
from repana.probes import _refusals
from repana.probes._exit_rows import QUANTITIES, AnswerRows, Measured, PatiencePoint
from repana.probes._exit_walks import Drawn, by_probe, fitted, walked
from repana.probes._lenses import blocks_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LENSES = ("logit", "tuned", "probe")
ALPHAS = tuple(10.0**k for k in range(-4, 3))


@shown
@dataclass(frozen=True, repr=False)
class Exits:
    """What a network would answer at every layer; see `exits`. Mappings from layers to Estimates, in forward order;
    the last layer is the network's own answer.

    `lens_kl`: with a tuned lens KL of the logit lens, of the shift alone and of the fitted map, by layer. `rows`: the
    answer and the divergences of every row.
    """

    agreement: Mapping[str, Estimate]
    kl: Mapping[str, Estimate]
    reverse_kl: Mapping[str, Estimate]
    entropy: Mapping[str, Estimate]
    accuracy: Mapping[str, Estimate]
    cross_entropy: Mapping[str, Estimate]
    echo: Mapping[str, Estimate]
    settled: Estimate
    overthinking: Estimate
    late: Estimate
    oracle: Estimate
    settle_counts: Int[Tensor, " k"]
    patience: tuple[PatiencePoint, ...]
    lens_kl: Mapping[str, Mapping[str, Estimate]]
    rows: AnswerRows = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.agreement)

    def frame(self) -> "pd.DataFrame":
        """A line for each layer and quantity: value, low, high, null, n, note."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "n", "note")
        rows = [
            (layer, name, *(getattr(e, c) for c in columns))
            for name in QUANTITIES
            for layer, e in getattr(self, name).items()
        ]
        rows += [("", name, *(getattr(getattr(self, name), c) for c in columns)) for name in WHOLE]
        return pd.DataFrame(rows, columns=["layer", "quantity", *columns])

    def difference(self, first: str, second: str, quantity: str = "agreement") -> Estimate:
        """A quantity at the second layer less that at the first, on the same bootstrap samples of texts."""
        for layer in (first, second):
            if layer not in self.agreement:
                raise _check.not_recorded(layer, self.layers)
        _check.choice(quantity, "quantity", QUANTITIES[:6])
        values = [self._of_row(quantity, self.layers.index(layer)) for layer in (first, second)]
        measured = Measured(self.rows, self.settings["level"], self.settings["seed"])
        of = measured.of_labelled if quantity in ("accuracy", "cross_entropy") else measured.mean
        return of(values[1] - values[0])

    def _of_row(self, quantity: str, k: int) -> Float[Tensor, " n"]:
        rows = self.rows
        return {
            "agreement": rows.answer[k] == rows.answer[-1], "kl": rows.kl[k], "reverse_kl": rows.reverse[k],
            "entropy": rows.entropy[k], "accuracy": rows.answer[k] == rows.label, "cross_entropy": rows.loss[k],
        }[quantity].double()  # fmt: skip

    def says(self) -> str:
        """Where answers settle, and how many were right before the end and are wrong there, in sentences."""
        count, n, last = self.settle_counts.double(), self.rows.n, len(self.layers) - 1
        half = int((count.cumsum(0) >= 0.5 * n).long().argmax())
        text = f"Half of the answers are settled at layer {half} of {last} ({self.layers[half]})."
        wrong = self.overthinking
        if wrong.value == wrong.value:
            interval = f" [{100 * wrong.low:.2g}, {100 * wrong.high:.2g}]" if wrong.low == wrong.low else ""
            text += f" Right at an earlier layer and wrong at the end: {100 * wrong.value:.2g}%{interval}."
        worse = [x for x, of in self.lens_kl.items() if x in self.layers[:-1] and of["lens"].value > of["logit"].value]
        if worse:
            text += f" The fitted map is worse than the logit lens: {_check.listed(worse)}."
        above = [x for x in self.layers[:-1] if self.kl[x].low > self.kl[x].null]
        if above:
            text += f" Worse than the best constant answer (KL): {_check.listed(above)}."
        return text

    def plot(self, **options: Any) -> "Figure":
        """Agreement, KL, entropy and accuracy by depth, where answers settle, and patience; see
        `repana.plots.exit_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.exit_depth(self, **options))

    def __repr__(self) -> str:
        wide = max(map(len, self.layers))
        lines = [f"Exits({self.settings['lens']} lens, {len(self.layers)} layers, {self.rows.n} answers)"]
        lines.append(f"  {'':<{wide}}  agreement  KL to the end  entropy  accuracy")
        for layer in self.layers:
            cells = (self.agreement[layer], self.kl[layer], self.entropy[layer], self.accuracy[layer])
            lines.append(f"  {layer:<{wide}}  " + "  ".join(number(e.value).rjust(9) for e in cells))
        first = self.layers[0]
        null = (self.agreement[first], self.kl[first], None, self.accuracy[first])
        shown = "  ".join((number(e.null) if e else "").rjust(9) for e in null)
        lines.append(f"  {'constant':<{wide}}  {shown}".rstrip())
        return "\n".join([*lines, f"  {self.says()}"])


WHOLE = ("settled", "overthinking", "late", "oracle")


@settled()
def exits(
    model: nn.Module,
    data: Any,
    *,
    lens: str = "logit",
    layers: Any = "auto",
    fit: Any = None,
    alphas: Sequence[float] = ALPHAS,
    weights: str | None = None,
    skip_first: bool | None = None,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 32,
    level: float = 0.95,
    seed: int = 0,
) -> Exits:
    """What a network would answer at every layer, beside what it answers at the end, over all real positions of `data`.

    - `lens="logit"`: everything that stands behind the last block (norm, head, soft cap, scale), with another layer's
      output in the place of the last block's; the norm takes the statistics of that layer. Where a norm and the head
      alone give the model's own logits (relative 1e-5, tried on the first batch) these are called; else the model runs
      again for every layer. Layer 0 is the input of the first block.
    - "tuned": behind an affine map of each layer, h + (h - mean) W + mean(h_L - h), W the ridge regression of h_L - h
      on h with penalty alpha tr(C)/d, C the centred scatter, the alpha of `alphas` by KL on folds of samples: without
      end it is the logit lens and a shift. It minimises squares, not KL: a ridge lens. `lens_kl` has the logit lens and
      the shift beside it. `weights="norm"` weighs rows by d/|h_L|^2.
    - "probe": a ridge probe of every layer's features, by labels, or without any by the network's answers; for networks
      whose layers differ in width, such as CNNs. The last "layer" is the network itself.

    Fitted lenses need samples apart: `fit` gives them, else half of the samples, drawn by `seed`, are fitted on and the
    others reported (the probe: 80 and 20%). `skip_first` leaves out the first position of each text, whose activations
    are often huge: by default with the tuned lens. `layers`: the blocks in forward order, by default those of the depth
    profile that are of one class.

    By layer: `agreement` of the largest logit with the final answer's (ties to the lowest index), null: the share of
    the commonest final answer; `kl`, mean KL(final || layer) in nats, null: that of the best constant answer, the mean
    final distribution, above which a layer reads nothing; `reverse_kl`; `entropy`; `accuracy` and `cross_entropy` where
    there are labels (next tokens of a causal model, as in `importance`); `echo`, the share of answers that repeat the
    input token.

    - `settled`: the first layer from which the answer stays that of the end, from 0; `settle_counts`; null: with
      agreement at different layers independent.
    - `overthinking`: share right at an earlier layer and wrong at the end; `late`: right at the end alone; `oracle`:
      right at any layer, an upper bound that grows with depth; its null has layers independent.
    - `patience`: leaving after p equal answers in a row, row by row, beside a fixed layer at that depth and the same
      exits dealt to other rows. Layers are not FLOPs: each exit costs a head.

    Intervals: bootstrap of whole texts, all layers on the same. The other options are as `record` takes them. The model
    is left as it was, also after an error.

    Raises ModelError (RA133) for a network without blocks, or whose blocks differ in shape with `lens` "logit" or
    "tuned"; InputError for data that can be iterated only once where they are walked twice.

    Sources: nostalgebraist 2020, "interpreting GPT: the logit lens"; Belrose et al. 2023, arXiv:2303.08112 (tuned
    lens, there trained on KL); Zhou et al. 2020, arXiv:2006.04152 (patience); Kaya et al. 2019, arXiv:1810.07052
    (overthinking).
    """
    _check.level_of(level)
    _check.choice(lens, "lens", LENSES)
    if weights is not None:
        _check.choice(weights, "weights", ("norm",))
    penalties = [float(a) for a in alphas]
    if not penalties or not all(a > 0 for a in penalties):
        raise _refusals.alphas_above_zero(alphas)
    options: dict[str, Any] = {"pool": pool, "device": device, "forward": forward, "labels": labels, "mask": mask}
    options |= {"layout": layout, "batch_size": batch_size}
    settings = {"lens": lens, "level": level, "seed": seed}
    if lens == "probe":
        if fit is not None:
            raise _refusals.fit_of_a_probe()
        names, rows = by_probe(model, data, layers, options, seed)
        return _exits(names, rows, {}, settings, level, seed)
    if iter_once(data) and (lens == "tuned" or isinstance(layers, str)):
        raise _check.walked_once(type(data).__name__, "finding the blocks and fitting a lens need")
    skip = lens == "tuned" if skip_first is None else skip_first
    blocks = blocks_of(model, data, layers, options)
    settings |= {"skip_first": skip, "blocks": list(blocks.blocks)}
    if lens == "logit":
        names, rows, _, why = walked(model, data, blocks, options, None, skip, lambda i: True)
        return _exits(names, rows, {}, settings | {"labels": why}, level, seed)
    drawn = Drawn(seed)
    fitting = (lambda i: True) if fit is not None else drawn.is_fit
    reporting = (lambda i: True) if fit is not None else (lambda i: not drawn.is_fit(i))
    source = data if fit is None else fit
    maps, chosen = fitted(model, source, blocks, options, penalties, weights, skip, fitting)
    names, rows, beside, why = walked(model, data, blocks, options, maps, skip, reporting)
    settings |= {"alphas": chosen, "weights": weights or "", "labels": why}
    measured = {name: Measured(found, level, seed) for name, found in beside.items()}
    lens_kl = {
        layer: {name: m.mean(m.rows.kl[k].clamp_min(0)) for name, m in measured.items()}
        for k, layer in enumerate(names)
    }
    return _exits(names, rows, lens_kl, settings, level, seed)


def _exits(
    names: Sequence[str],
    rows: AnswerRows,
    lens_kl: Mapping[str, Mapping[str, Estimate]],
    settings: Mapping[str, Any],
    level: float,
    seed: int,
) -> Exits:
    measured = Measured(rows, level, seed)
    settled_at, counts = measured.settled()
    fields: dict[str, Any] = {**measured.by_layer(names), **measured.right_where()}
    blocks = len(names) if settings["lens"] == "probe" else len(names) - 1
    return Exits(
        **fields,
        settled=settled_at,
        settle_counts=counts,
        patience=measured.patience(blocks),
        lens_kl=lens_kl,
        rows=rows,
        settings=settings,
    )
