"""What changed between two states of a network, layer by layer: shift, rotation, scale, and what none of them
explains."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, span
from repana._numbers import number
from repana._results import Report
from repana._typing import IGNORED
from repana.comparison import _refusals
from repana.comparison._cka import with_replicates
from repana.comparison._inputs import JACKKNIFE, dealt_out, groups_of
from repana.comparison._matrices import Centred, matrix_of
from repana.comparison._neighbourhoods import neighbourhoods
from repana.comparison._output_agreement import OutputAgreement, output_agreement
from repana.comparison._paired import draws_of
from repana.comparison._predictivity import predictivity
from repana.comparison._recorded_networks import both_recorded
from repana.comparison._resampled import deleted_values, estimated
from repana.errors import InputError
from repana.summaries.neighbour_graph import some

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SAMPLES = 5_000
CHANGED = 0.95  # a debiased CKA whose interval lies below says that a layer changed
GEOMETRY = ("total", "mean_share", "after_rotation", "best_scale", "residual_share", "row_cosine")
SCALES = {"total": "positive", "after_rotation": "positive", "best_scale": "positive", "residual_share": "plain",
          "mean_share": "plain"}  # fmt: skip
QUANTITIES = (*GEOMETRY, "cka", "knn", "r2_forward", "r2_backward")


@dataclass(frozen=True)
class LayerDrift:
    """What changed in one layer; see `drift`. `by_class` (c,): the residual share within each class.
    `jackknife`: values without each group of samples, for paired differences."""

    total: Estimate
    mean_share: Estimate
    after_rotation: Estimate
    best_scale: Estimate
    residual_share: Estimate
    row_cosine: Estimate
    cka: Estimate
    knn: Estimate
    r2_forward: Estimate
    r2_backward: Estimate
    share_of_total: float = NAN
    by_class: Mapping[int, float] = field(default_factory=dict)
    unchanged: bool = False
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict, repr=False)

    @property
    def changed(self) -> bool:
        """Whether its debiased CKA lies below 0.95 with its whole interval, or cannot be told as the layer is constant
        before or after, and not equal."""
        return self.cka.high < CHANGED or (math.isnan(self.cka.value) and not self.unchanged)


@dataclass(frozen=True, repr=False)
class Drift:
    """What changed between two states of a network; see `drift`. `layers` in forward order."""

    before: str
    after: str
    layers: Mapping[str, LayerDrift]
    outputs: OutputAgreement | None
    n: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    recordings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> LayerDrift:
        if layer not in self.layers:
            raise _check.not_recorded(layer, list(self.layers))
        return self.layers[layer]

    @property
    def first_changed(self) -> str | None:
        """The first layer, after the input, whose debiased CKA lies below 0.95 with its whole interval, or that is
        constant in one of the two alone; None where none is."""
        return next((x for x, d in self.layers.items() if x != "input" and d.changed), None)

    @property
    def unchanged(self) -> tuple[str, ...]:
        """Layers whose features are equal to the last digit."""
        return tuple(x for x, d in self.layers.items() if d.unchanged)

    def frame(self) -> "pd.DataFrame":
        """One line per layer and quantity: layer, quantity, value, low, high, n, note."""
        import pandas as pd

        rows = [
            (layer, name, *(getattr(getattr(d, name), f) for f in ("value", "low", "high", "n", "note")))
            for layer, d in self.layers.items()
            for name in QUANTITIES
        ]
        return pd.DataFrame(rows, columns=["layer", "quantity", "value", "low", "high", "n", "note"])

    def plot(self, *quantities: str, **options: Any) -> "Figure":
        """Quantities over depth, six of them or those named; see `repana.plots.drift_depth`."""
        return self.report().plot(*quantities, **options)

    def report(self, run: str | None = None) -> Report:
        """As a report: drawn, tabulated, saved, and shown as a page."""
        from repana.comparison._reported import of_drift

        return of_drift(self, run)

    def __repr__(self) -> str:
        lines = [f"Drift({self.before} -> {self.after}: {len(self.layers)} layers, {self.n} samples)"]
        wide = max(map(len, self.layers), default=5)
        lines.append(f"  {'layer':<{wide}}  {'total':>8}  {'residual':>8}  debiased CKA (1 is most similar)")
        for layer, d in self.layers.items():
            what = "unchanged" if d.unchanged else f"{number(d.cka.value)} {span(d.cka.low, d.cka.high)}"
            what = "changed: constant before or after" if d.changed and math.isnan(d.cka.value) else what
            lines.append(f"  {layer:<{wide}}  {number(d.total.value):>8}  {number(d.residual_share.value):>8}  {what}")
        lines.append(f"  first changed layer: {self.first_changed or 'none'} (CKA below {CHANGED} with its interval)")
        for name, missing in ((self.before, "only_before"), (self.after, "only_after")):
            if self.settings.get(missing):
                lines.append(f"  not compared, in {name} only: {', '.join(self.settings[missing])}")
        if self.outputs is not None:
            lines.append(f"  outputs: {number(self.outputs.disagreement.value)} of predictions differ")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@settled()
def drift(
    before: Any,
    after: Any,
    data: Any = None,
    *,
    layers: Any = "auto",
    k: int = 10,
    paired: str | bool = "check",
    names: Sequence[str] | None = None,
    max_samples: int = SAMPLES,
    jackknife: int = JACKKNIFE,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    **recording: Any,
) -> Drift:
    """What fine-tuning, pruning, quantisation or a corruption changed, layer by layer, on the same samples.

    `before` and `after` are two `Activations` with layers of the same names, or two models with the `data` that both
    run on. With X before and Y after, c() = less the mean, |.| the Frobenius and |.|_* the nuclear norm, of layers of
    equal width:

    - `total` |Y - X|^2/|X|^2, how much moved; `mean_share` n |mean difference|^2/|Y - X|^2, the part of it that is one
      shift of all samples.
    - `after_rotation` (|c(X)|^2 + |c(Y)|^2 - 2|c(X)'c(Y)|_*)/|c(X)|^2, what is left after the best shift and rotation;
      `best_scale` |c(X)'c(Y)|_*/|c(X)|^2; `residual_share` 1 - (|c(X)'c(Y)|_*/(|c(X)| |c(Y)|))^2, what neither shift,
      rotation nor scale explain, in [0, 1]. `row_cosine`: mean cosine of x_i and y_i. `by_class`: the residual share of
      the samples of each class.

    Of any widths: `cka` (debiased), `knn` (mutual nearest neighbours), held-out R^2 `r2_forward` from before to after
    (what is lost is not predicted backward) and `r2_backward`; new content lowers the first, lost content the second.
    `share_of_total` is a layer's part of the summed `residual_share`; `first_changed` names the first layer after the
    input whose CKA lies below 0.95 with its interval, or that became constant. `outputs` is the `output_agreement` of
    the logits, with flips where there are labels.

    A layer that is equal to the last digit has total 0, CKA 1 and residual 0 [0, 0] (`unchanged`), as the frozen layers
    of a fine-tuned network must. Quantities are unitless. Intervals: `jackknife` groups of samples left out (exact over
    all samples for CKA), paired by construction.

    Raises InputError for rows that are not the same samples (see `similarity`), or networks that share no layer.

    Sources: Ding, Denain & Steinhardt 2021, arXiv:2108.01661 (Procrustes); those of `cka`, `neighbourhoods`,
    `predictivity`.

    >>> import torch, repana
    >>> x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    >>> before, after = repana.Activations({"one": x}), repana.Activations({"one": 2 * x})
    >>> round(float(repana.comparison.drift(before, after)["one"].best_scale), 4)
    2.0
    """
    _check.level_of(level)
    first, second, named = both_recorded(
        before, after, data, layers, paired, names, {"batch_size": batch_size, "seed": seed}, recording
    )
    shared = [x for x in first.layers if x in second.layers]
    apart = [[x for x in one.layers if x not in other.layers] for one, other in ((first, second), (second, first))]
    if not shared or (shared == ["input"] and any(apart)):
        raise _refusals.nothing_shared(first.layers, second.layers)
    n = len(first.sample)
    if n < 4:
        raise _check.too_few_samples("drift", n, 4)
    rows = some(n, _check.at_least(max_samples, "max_samples", 4), seed)
    repeated = int(first.sample.unique().numel()) < n
    group = groups_of(first.sample[rows], len(rows)) if repeated else None
    part = dealt_out(len(rows), jackknife, group, seed) if jackknife else None
    labels = first.labels if first.labels is not None else second.labels
    codes = None if labels is None or labels.ndim != 1 or labels.is_floating_point() else labels[rows]
    found = {
        x: of_layer(
            _check.features_of(first[x], name=x)[rows],
            _check.features_of(second[x], name=x)[rows],
            codes,
            group,
            part,
            k=k,
            level=level,
            seed=seed,
            jackknife=jackknife,
        )
        for x in shared
    }
    whole = sum(d.residual_share.value for d in found.values() if math.isfinite(d.residual_share.value))
    found = {
        x: replace(d, share_of_total=d.residual_share.value / whole if whole > 0 else NAN) for x, d in found.items()
    }
    settings = {"k": k, "samples": len(rows), "of": n, "jackknife": jackknife, "level": level, "seed": seed,
                "draws": draws_of(first, rows, jackknife, seed), "only_before": apart[0],
                "only_after": apart[1]}  # fmt: skip
    return Drift(*named, found, _outputs(first, second, level), len(rows), settings,
                 dict(zip(named, (first.provenance, second.provenance))))  # fmt: skip


def of_layer(
    x: Tensor,
    y: Tensor,
    codes: Tensor | None,
    group: Tensor | None,
    part: Tensor | None,
    *,
    k: int,
    level: float,
    seed: int,
    jackknife: int,
) -> LayerDrift:
    """One layer before and after."""
    y = y.to(x.device)
    n = len(x)
    same = x.shape == y.shape and torch.equal(x, y)
    if x.shape == y.shape:
        values = geometry(x, y)
        deleted = deleted_values(lambda rows: geometry(x[rows.to(x.device)], y[rows.to(x.device)]), part)
        made = estimated(values, deleted, {}, n=n, level=level, better={}, scales=SCALES)
        made = {name: _bounded(e, name) for name, e in made.items()}
    else:
        note = Flag.NOT_APPLICABLE.note(f"the layer has {x.shape[1]} features before and {y.shape[1]} after")
        made, deleted = dict.fromkeys(GEOMETRY, Estimate(NAN, n=n, note=note)), {}
    options: dict[str, Any] = {"groups": group, "level": level}
    near = _shared_neighbours(x, y, min(k, n - 1), jackknife=jackknife, seed=seed, **options)
    constant = any(bool((t == t[0]).all()) for t in (x, y))  # of a constant layer nothing is predicted
    left_out = dict(deleted)
    if constant:
        nothing = Estimate(NAN, n=n, note=Flag.CONSTANT.note("every feature is constant"))
        alike, forward, backward = nothing, nothing, nothing
    else:
        alike, replicates = with_replicates(matrix_of(x), matrix_of(y), group, level)
        left_out["cka"] = replicates
        both = predictivity(x, y, seed=seed, **options)
        forward, backward = both.forward, both.backward
    by_class = {}
    if codes is not None and x.shape == y.shape:
        for value in codes[codes != IGNORED].unique().tolist():
            at = (codes == value).nonzero()[:, 0].to(x.device)
            if len(at) > 1:
                by_class[int(value)] = geometry(x[at], y[at])["residual_share"]
    return LayerDrift(
        *(made[name] for name in GEOMETRY),
        cka=alike,
        knn=near,
        r2_forward=forward,
        r2_backward=backward,
        by_class=by_class,
        unchanged=same,
        jackknife=left_out,
    )


def _shared_neighbours(x: Tensor, y: Tensor, k: int, **options: Any) -> Estimate:
    """Mutual nearest neighbours; NaN, with the reason, where samples have none by cosine."""
    try:
        return neighbourhoods(x, y, k=k, permutations=0, **options).overlap
    except InputError as error:
        if error.code != "RA235":
            raise
        return Estimate(NAN, n=len(x), note=Flag.UNDEFINED.note(str(error).partition(": ")[2]))


def geometry(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> dict[str, float]:
    """Shift, rotation, scale and residual of one layer, in float64."""
    p, q = x.double(), y.double()
    size = max(float(p.abs().max()), float(q.abs().max()), 1e-300)
    p, q = p / size, q / size
    gap = q - p
    moved, own = float(gap.square().sum()), float(p.square().sum())
    one, other = Centred.of(p), Centred.of(q)
    first, second = one.x, other.x
    scale = other.scale / one.scale  # both are over a power of two of their own
    a, b = float(first.square().sum()), float(second.square().sum()) * scale**2
    nuclear = float(torch.linalg.svdvals(first.T @ second).sum()) * scale if a > 0 and b > 0 else 0.0
    equal = moved == 0
    shares = 1 - (nuclear / math.sqrt(a * b)) ** 2 if a > 0 and b > 0 else NAN
    lengths = torch.linalg.vector_norm(p, dim=1) * torch.linalg.vector_norm(q, dim=1)
    cosines = torch.where(lengths > 0, (p * q).sum(1) / lengths, NAN)
    known = cosines[cosines == cosines]
    return {
        "total": moved / own if own > 0 else NAN,
        "mean_share": len(p) * float(gap.mean(0).square().sum()) / moved if moved > 0 else 0.0,
        "after_rotation": 0.0 if equal else max(a + b - 2 * nuclear, 0.0) / a if a > 0 else NAN,
        "best_scale": 1.0 if equal else nuclear / a if a > 0 else NAN,
        "residual_share": (0.0 if a > 0 else NAN) if equal else min(max(shares, 0.0), 1.0) if shares == shares else NAN,
        "row_cosine": 1.0 if equal else float(known.mean()) if len(known) else NAN,
    }


def _bounded(estimate: Estimate, name: str) -> Estimate:
    """Shares stay in [0, 1]."""
    if name not in ("residual_share", "mean_share"):
        return estimate
    return replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0))


def _outputs(first: Activations, second: Activations, level: float) -> OutputAgreement | None:
    z, w = first.logits, second.logits
    if z is None or w is None or z.shape != w.shape or z.ndim != 2 or z.shape[1] < 2:
        return None
    labels = first.labels if first.labels is not None else second.labels
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return output_agreement(z, w, level=level)
    known = bool(((labels >= 0) & (labels < z.shape[1]) | (labels == IGNORED)).all())
    return output_agreement(z, w, labels if known else None, level=level)
