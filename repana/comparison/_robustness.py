"""How far a corruption, a pruning or any other graded change reaches: drift by layer and severity; and what it does to
the sample in front of the classifier."""

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._activations import Activations
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown, span
from repana._numbers import number
from repana._results import Report
from repana._typing import IGNORED
from repana.comparison import _refusals
from repana.comparison._drift import SAMPLES, Drift, drift
from repana.comparison._inputs import JACKKNIFE
from repana.comparison._output_agreement import share
from repana.comparison._paired import check_paired
from repana.extraction._record import record
from repana.statistics.intervals import mean_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Robustness:
    """Drift from clean samples by severity; see `robustness`."""

    drifts: Mapping[str, Drift]  # by severity, in the order given
    accuracy: Mapping[str, Estimate]  # of the network's own outputs, "clean" first
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, severity: Any) -> Drift:
        name = str(severity)
        if name not in self.drifts:
            raise _refusals.no_severity(name, self.drifts)
        return self.drifts[name]

    @property
    def first_broken(self) -> dict[str, str | None]:
        """By severity the first layer, after the input, whose debiased CKA with the clean one lies below 0.95 with its
        interval."""
        return {name: d.first_changed for name, d in self.drifts.items()}

    def frame(self) -> "pd.DataFrame":
        """One line per severity, layer and quantity."""
        import pandas as pd

        parts = [d.frame().assign(severity=name) for name, d in self.drifts.items()]
        return pd.concat(parts, ignore_index=True)

    def plot(self, quantity: str = "cka", **options: Any) -> "Figure":
        """A quantity over depth, a line a severity; `repana.plots.robustness_depth` draws them dark for the first."""
        return self.report().plot(f"drift.{quantity}", **options)

    def report(self) -> Report:
        """As a report, a run a severity: drawn, tabulated, saved, and shown as a page."""
        from repana._results import concat
        from repana.comparison._reported import of_drift

        return concat([of_drift(d, name) for name, d in self.drifts.items()])

    def __repr__(self) -> str:
        layers = next(iter(self.drifts.values())).layers
        lines = [
            f"Robustness({len(self.drifts)} severities, {len(layers)} layers): debiased CKA with the clean samples"
        ]
        wide = max(len(x) for x in self.drifts)
        for name, d in self.drifts.items():
            last = list(d.layers.values())[-1].cka
            broken = d.first_changed
            where = f"first changed {broken}" if broken else "no layer changed"
            accuracy = self.accuracy.get(name)
            own = "" if accuracy is None or accuracy.value != accuracy.value else f"; accuracy {number(accuracy.value)}"
            lines.append(f"  {name:<{wide}}  last layer {number(last.value)} {span(last.low, last.high)}; {where}{own}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@shown
@dataclass(frozen=True)
class HeadGeometry:
    """What a change does to samples in front of the classifier; see `head_geometry`, and `repana.plots.head_plane`.
    Arrays (n,) before and after."""

    NULL: ClassVar[str] = "no change"
    SIMILAR: ClassVar[str] = "after less before"

    norm: Estimate
    angle: Estimate
    margin: Estimate
    sparsity: Estimate
    norm_before: Float[Tensor, " n"]
    norm_after: Float[Tensor, " n"]
    angle_before: Float[Tensor, " n"]
    angle_after: Float[Tensor, " n"]
    margin_before: Float[Tensor, " n"]
    margin_after: Float[Tensor, " n"]
    labels: Tensor
    by_class: Mapping[int, Mapping[str, Estimate]]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def robustness(
    clean: Any,
    changed: Mapping[Any, Any],
    model: nn.Module | None = None,
    *,
    layers: Any = "auto",
    k: int = 10,
    max_samples: int = SAMPLES,
    jackknife: int = JACKKNIFE,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    **recording: Any,
) -> Robustness:
    """Drift of every layer by severity: the same samples clean and corrupted, or one set through a network and its
    pruned copies.

    `clean` is `Activations` and `changed` maps each severity, in rising order, to Activations of the same samples in
    the same order; or, with `model`, `clean` is data and `changed` maps to the corrupted versions of it. Inputs differ
    by design, so that rows are compared by their number, sample numbers and labels. See `drift` for the quantities by
    layer; `first_broken` names for each severity the first layer whose debiased CKA lies below 0.95 with its interval;
    `accuracy` is that of the network's own outputs, where there are labels and logits.

    Raises InputError for no severity, or rows that are not the same samples.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (severities of corruptions).

    >>> import torch, repana
    >>> g = torch.Generator().manual_seed(0)
    >>> x, noise = torch.randn(100, 5, generator=g), torch.randn(100, 5, generator=g)
    >>> shaken = {s: repana.Activations({"one": x + s * noise}) for s in (0.1, 1.0)}
    >>> repana.comparison.robustness(repana.Activations({"one": x}), shaken).first_broken
    {'0.1': None, '1.0': 'one'}
    """
    if not isinstance(changed, Mapping) or not changed or isinstance(changed, Activations):
        raise _refusals.no_severities(changed)
    if model is not None:
        options = {"batch_size": batch_size, "seed": seed, **recording}
        clean = record(model, clean, layers, **options)
        changed = {name: record(model, data, layers, **options) for name, data in changed.items()}
    for x in (clean, *changed.values()):
        if not isinstance(x, Activations):
            raise _refusals.not_recorded_here(type(x).__name__)
    found, accuracy = {}, {"clean": _accuracy(clean, level)}
    for name, after in changed.items():
        check_paired(clean, after, "check", inputs=False)
        found[str(name)] = drift(
            clean, after, layers=layers, k=k, paired=True, names=("clean", str(name)), max_samples=max_samples,
            jackknife=jackknife, level=level, seed=seed,
        )  # fmt: skip
        accuracy[str(name)] = _accuracy(after, level)
    return Robustness(found, accuracy, {"k": k, "jackknife": jackknife, "level": level, "seed": seed})


def _accuracy(activations: Activations, level: float) -> Estimate:
    z, y = activations.logits, activations.labels
    if z is None or y is None or y.ndim != 1 or y.is_floating_point():
        return Estimate(NAN, note=Flag.MISSING_INPUT.note("no logits or no labels"))
    known = y != IGNORED
    return share((z.argmax(1).cpu() == y.cpu())[known.cpu()], None, level)


@settled()
def head_geometry(before: Activations, after: Activations, *, level: float = 0.95) -> HeadGeometry:
    """What a change (pruning, a corruption) does to every sample in front of the linear classifier.

    With h the input of the classifier, w_y and b its weights and biases, each from its own network: `norm` |h|; `angle`
    between h and w_y in degrees; `margin` = logit of the own class less the largest other. The estimates are the means
    of after less before over samples, paired, with Student's interval; `by_class` the same within each class; arrays
    have both values of every sample. `sparsity`: share of weights of the classifier that are 0 after less before.

    Both recordings must hold the input of the classifier (`head`) and labels, of the same samples in the same order.

    Raises InputError for recordings without a classifier's input or labels, or of other rows.

    >>> import torch, repana
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> x, y = torch.randn(60, 4), torch.arange(60) % 3
    >>> made = repana.record(net, (x, y))
    >>> float(repana.comparison.head_geometry(made, made).angle)
    0.0
    """
    _check.level_of(level)
    check_paired(before, after, "check", inputs=False)
    sides = [_in_front(a, place) for place, a in enumerate((before, after))]
    labels = _check.labels_of(before.labels, len(before.sample))[0]
    known = labels != IGNORED
    y = labels[known]
    read = [_geometry(h[known], w, b, y) for h, w, b in sides]
    made = {name: _paired(read[0][name], read[1][name], level) for name in ("norm", "angle", "margin")}
    zero = [float((w == 0).double().mean()) for _, w, _ in sides]
    by_class = {
        int(c): {n: _paired(read[0][n][y == c], read[1][n][y == c], level) for n in ("norm", "angle", "margin")}
        for c in y.unique()
    }
    return HeadGeometry(
        norm=made["norm"],
        angle=made["angle"],
        margin=made["margin"],
        sparsity=Estimate(zero[1] - zero[0], n=len(y)),
        norm_before=read[0]["norm"],
        norm_after=read[1]["norm"],
        angle_before=read[0]["angle"],
        angle_after=read[1]["angle"],
        margin_before=read[0]["margin"],
        margin_after=read[1]["margin"],
        labels=y,
        by_class=by_class,
        settings={"level": level},
    )


def _in_front(activations: Activations, place: int) -> tuple[Tensor, Tensor, Tensor]:
    head = activations.head
    if head is None or head.layer not in activations or activations.labels is None:
        raise _refusals.no_head(place, head is None or head.layer not in activations)
    h = _check.features_of(activations[head.layer]).double().cpu()
    w = head.weight.detach().double().cpu()
    b = torch.zeros(len(w), dtype=torch.float64) if head.bias is None else head.bias.detach().double().cpu()
    return h, w, b


def _geometry(h: Tensor, w: Tensor, b: Tensor, y: Tensor) -> dict[str, Tensor]:
    _check.class_columns(y, len(w), "the classifier")
    norm, own = h.norm(dim=1), w[y]
    cosine = (h * own).sum(1) / (norm * own.norm(dim=1)).clamp_min(1e-300)
    z = h @ w.T + b
    at = z.gather(1, y[:, None])[:, 0]
    others = z.scatter(1, y[:, None], -math.inf).amax(1)
    return {"norm": norm, "angle": cosine.clamp(-1, 1).arccos() * (180 / math.pi), "margin": at - others}


def _paired(before: Tensor, after: Tensor, level: float) -> Estimate:
    mean, low, high = (float(v) for v in mean_of(after - before, level))
    return Estimate(mean, low, high, len(before), null=0.0)
