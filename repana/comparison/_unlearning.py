"""Whether a network has forgotten: in its outputs alone, or as if it had never seen what it was to forget."""

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._activations import Activations
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, span
from repana._numbers import number
from repana._results import Report
from repana.comparison import _refusals
from repana.comparison._cka import cka, jackknife_error
from repana.comparison._forgotten_probes import (
    K,
    Rows,
    Sets,
    both_sets,
    nearest_class,
    probed,
    relearned,
)
from repana.comparison._matrices import matrix_of, products
from repana.comparison._membership import attacks
from repana.comparison._output_agreement import output_agreement, share
from repana.comparison._paired import check_paired
from repana.comparison._recorded_networks import chosen_layers, outputs_of
from repana.extraction._together import record_together
from repana.statistics.intervals import mean_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CKA = ("cka_original", "cka_original_forget", "cka_retrained_forget")
MODELS = ("original", "unlearned", "retrained")
SETS = ("forget", "retain", "test")
CHANGED = 0.95  # of debiased CKA
ROUNDING = 1e-6  # a CKA that near to 1 is of an unchanged layer
DEGRADED = 0.05  # accuracy on retained samples that a representation may lose against the reference


@dataclass(frozen=True)
class LayerUnlearning:
    """One layer; see `unlearning`. `recall` and `retained` by model, `recovery` and `utility` against the reference."""

    recall: Mapping[str, Estimate]
    recovery: Estimate
    retained: Mapping[str, Estimate]
    utility: Estimate
    knn: Mapping[str, Estimate]
    knn_utility: Estimate
    cka_original: Estimate
    closeness_forget: Estimate
    closeness_retain: Estimate
    cka_original_forget: Estimate
    cka_retrained_forget: Estimate


@dataclass(frozen=True, repr=False)
class Unlearning:
    """What an unlearned network still knows; see `unlearning`."""

    accuracy: Mapping[str, Mapping[str, Estimate]]  # by model, then by set
    layers: Mapping[str, LayerUnlearning]
    jsd: Mapping[str, Estimate]  # unlearned against the reference, by set
    disagreement: Mapping[str, Estimate]
    attack: Mapping[str, Estimate]  # by model
    attack_difference: Estimate
    relearning: Mapping[str, Float[np.ndarray, "s four"]]  # by model: shots, recall, low, high
    shots_to_original: Mapping[str, float]
    depth: str | None
    head_only: bool
    verdicts: tuple[str, ...]
    reference: str
    n: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    recordings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> LayerUnlearning:
        if layer not in self.layers:
            raise _check.not_recorded(layer, list(self.layers))
        return self.layers[layer]

    @property
    def level(self) -> float:
        return self.settings["level"]

    def frame(self) -> "pd.DataFrame":
        """One line per number: where (a set, or a layer), quantity, model, value, low, high, n, note."""
        import pandas as pd

        rows: list[tuple[Any, ...]] = []

        def add(where: str, quantity: str, model: str, e: Estimate) -> None:
            rows.append((where, quantity, model, e.value, e.low, e.high, e.n, str(e.note)))

        for model, by_set in self.accuracy.items():
            for name, e in by_set.items():
                add(name, "accuracy", model, e)
        for name in self.jsd:
            add(name, "jsd", "unlearned", self.jsd[name])
            add(name, "disagreement", "unlearned", self.disagreement[name])
        for model, e in self.attack.items():
            add("forget", "membership_auc", model, e)
        add("forget", "attack_difference", "unlearned", self.attack_difference)
        for layer, one in self.layers.items():
            for quantity, by_model in (("recall", one.recall), ("retained", one.retained), ("knn", one.knn)):
                for model, e in by_model.items():
                    add(layer, quantity, model, e)
            for quantity in ("recovery", "utility", "knn_utility", *CKA, "closeness_forget", "closeness_retain"):
                add(layer, quantity, "unlearned", getattr(one, quantity))
        return pd.DataFrame(rows, columns=["where", "quantity", "model", "value", "low", "high", "n", "note"])

    def plot(self, *quantities: str, **options: Any) -> "Figure":
        """Recovery and closeness over depth; see `repana.plots.unlearning_depth`."""
        return self.report().plot(*quantities, **options)

    def report(self, run: str | None = None) -> Report:
        """As a report: drawn, tabulated, saved, and shown as a page."""
        from repana.comparison._reported import of_unlearning

        return of_unlearning(self, run)

    def __repr__(self) -> str:
        lines = [
            f"Unlearning({', '.join(f'{n} {name}' for name, n in self.n.items())} samples; reference: {self.reference})"
        ]
        lines += [f"  {v}" for v in self.verdicts]
        for model, by_set in self.accuracy.items():
            shown = ", ".join(f"{name} {number(e.value)}" for name, e in by_set.items() if e.value == e.value)
            lines.append(f"  accuracy, {model:<9} {shown}")
        wide = max(map(len, self.layers), default=5)
        lines.append(f"  {'layer':<{wide}}  recall of forgotten samples by a linear probe; closeness on them")
        for layer, one in self.layers.items():
            shown = ", ".join(f"{m} {number(e.value)}" for m, e in one.recall.items())
            e = one.closeness_forget
            near = "" if e.value != e.value else f"; {number(e.value)} {span(e.low, e.high)}"
            lines.append(f"  {layer:<{wide}}  {shown}{near}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@settled()
def unlearning(
    original: Any,
    unlearned: Any,
    retrained: Any = None,
    *,
    forget: Any = None,
    retain: Any = None,
    test: Any = None,
    layers: Any = "auto",
    level: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    **recording: Any,
) -> Unlearning:
    """Tell "forgotten in the head only" from "as if never seen", with a network retrained without the data as
    reference.

    `original`, `unlearned` and `retrained` are models, with labelled data `forget` and `retain` (and `test`, held-out
    samples of all classes) that all run on; or each is a mapping {"forget": Activations, "retain": ..., "test": ...}.
    Rows of forget and of retain are halved by class: probes are fitted on one half and read on the other, the same
    halves for all networks.

    - `accuracy` on each set by the networks' own outputs, which an edit of the head fools.
    - By layer: `recall`, of forgotten samples by a linear probe trained on all classes, for each network, and
      `recovery`, that of the unlearned less that of the retrained one, paired over rows: above 0 knowledge is left, 0
      is as if never seen. The recall alone proves nothing: a network that never saw a class often separates it.
      `retained` and `utility` are the same on retained samples, `knn` the accuracy of 10 nearest neighbours there and
      `knn_utility` its difference.
    - `closeness_forget` = cka(unlearned, original) - cka(unlearned, retrained) on forgotten samples, debiased, with the
      paired jackknife; above 0 the layer is still the original's. `closeness_retain` the same on retained ones.
      `cka_original` is over all rows, `cka_original_forget` and `cka_retrained_forget` over the forgotten ones; `depth`
      names the first layer where its interval lies below 0.95, and `head_only` says that every layer before the logits
      is the original's to rounding while the outputs are not.
    - `jsd` (bits) and `disagreement` of the unlearned network's outputs with those of the reference, by set.
    - `attack`: area under the ROC curve of -loss, forgotten samples against test samples of the same classes, DeLong's
      interval; `attack_difference`, unlearned less retrained. .5 says that forgotten samples look like unseen ones.
      Needs `test`.
    - `relearning`: recall by a fresh linear head on the last hidden layer against the number of forgotten samples per
      class that it is shown (beside the retained ones); `shots_to_original`, how many it takes to reach the original's
      own accuracy.

    `verdicts` say in a sentence what holds beyond the intervals. Without `retrained` differences are against the
    original, and the verdict says what cannot be decided. The same page serves pruning and distillation: give the
    pruned network as `unlearned`.

    Raises InputError for rows that are not the same samples in all networks, sets without labels, or fewer than 8 rows.

    Sources: Golatkar, Achille & Soatto 2020, arXiv:1911.04933; Fan et al. 2024, arXiv:2310.12508 (reference and
    attacks); Kornblith et al. 2019, arXiv:1905.00414 (CKA); DeLong, DeLong & Clarke-Pearson 1988, doi:10.2307/2531595.

    >>> import torch
    >>> from repana.comparison import unlearning
    >>> g = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(200, 6, generator=g), torch.arange(200) % 2
    >>> net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> found = unlearning(net, net, forget=(x[y == 1], y[y == 1]), retain=(x[y == 0], y[y == 0]))
    >>> round(float(found["2:in"].cka_original), 6)
    1.0
    """
    _check.level_of(level)
    given = {"original": original, "unlearned": unlearned, "retrained": retrained}
    nets = {name: x for name, x in given.items() if x is not None}
    sets = _recorded(nets, {"forget": forget, "retain": retain, "test": test}, layers,
                     {"batch_size": batch_size, "seed": seed}, recording)  # fmt: skip
    for name in ("forget", "retain"):
        if len(sets[name]["original"].sample) < 8:
            raise _check.too_few_samples(f"`{name}`", len(sets[name]["original"].sample), 8)
    rows = Rows.of(sets, seed)
    reference = "retrained" if "retrained" in nets else "original"
    names = [x for x in sets["forget"]["original"].layers if all(x in a for s in sets.values() for a in s.values())]
    accuracy = {m: {s: _own_accuracy(by[m], level) for s, by in sets.items()} for m in nets}
    outputs = {s: _outputs(by["unlearned"], by[reference], level) for s, by in sets.items()}
    found = {x: _layer(sets, rows, x, nets, reference, level) for x in names}
    logits = outputs_of(sets["forget"]["original"])
    hidden = [x for x in names if x not in logits]
    attack, gap = attacks(sets, nets, reference, level)
    last = hidden[-1] if hidden else names[-1]
    relearning = {m: relearned(sets, rows, last, m, seed) for m in nets}
    goal = accuracy["original"]["forget"].value
    shots = {m: next((float(k) for k, v, *_ in curve if v >= goal), NAN) for m, curve in relearning.items()}
    depth = next((x for x in names if found[x].cka_original.high < CHANGED), None)
    same = all(found[x].cka_original.value >= 1 - ROUNDING for x in hidden)
    differs = outputs_differ(sets)
    made = Unlearning(
        accuracy, found, {s: o[0] for s, o in outputs.items()}, {s: o[1] for s, o in outputs.items()}, attack, gap,
        relearning, shots, depth, bool(hidden) and same and differs, (), reference,
        {s: len(by["original"].sample) for s, by in sets.items()},
        {"level": level, "seed": seed, "k": K, "reference": reference, "last_hidden": last},
        {m: a.provenance for m, a in sets["forget"].items()},
    )  # fmt: skip
    object.__setattr__(made, "verdicts", tuple(verdicts_of(made, last)))
    return made


def verdicts_of(found: Unlearning, last: str) -> list[str]:
    """What holds beyond the intervals, in sentences."""
    one, said = found.layers[last], []
    lost = found.accuracy["unlearned"]["forget"].high < found.accuracy["original"]["forget"].low
    if not lost and math.isfinite(found.accuracy["unlearned"]["forget"].value):
        said.append("Not forgotten: the outputs are as accurate on the forgotten samples as before, within intervals.")
    if found.head_only:
        said.append("Forgotten in the head only: every hidden layer is the original's to rounding.")
    if found.reference == "original":
        said.append(
            "Without a retrained network it cannot be decided whether what is left is more than an unseen class shows."
        )
        return said
    if one.utility.high < 0 and one.utility.value < -DEGRADED:
        said.append(
            f"Representation degraded: at {last} a linear probe loses {number(-one.utility.value)} of accuracy on "
            "retained "
            "samples against the retrained network."
        )
    near = one.closeness_forget
    if one.recovery.low > 0:
        said.append(
            f"Knowledge is left at {last}: a linear probe recalls more of the forgotten samples than in the "
            "retrained network, "
            f"by {number(one.recovery.value)} {span(one.recovery.low, one.recovery.high)}."
        )
    if near.low > 0:
        said.append(
            f"{last} is still the original's: on forgotten samples its CKA with it exceeds that with the retrained "
            "network by "
            f"{number(near.value)} {span(near.low, near.high)}."
        )
    known = one.recovery.low > 0 or near.low > 0
    if lost and not known and one.recovery.high >= 0 and one.utility.low <= 0 <= one.utility.high:
        said.append(
            f"As retrained within intervals: at {last} recall and utility do not differ from the retrained "
            "network's, and the "
            "layer is no nearer to the original."
        )
    return said


def _recorded(
    nets: Mapping[str, Any], data: Mapping[str, Any], layers: Any, shared: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, dict[str, Activations]]:
    """Recordings of every set by every network, of the same rows."""
    if all(isinstance(x, nn.Module) for x in nets.values()):
        if data["forget"] is None or data["retain"] is None:
            raise _refusals.sets_missing([name for name in ("forget", "retain") if data[name] is None])
        found = {}
        for name, one in data.items():
            if one is not None:
                made = record_together(list(nets.values()), one, layers, options=options, **shared)
                found[name] = dict(zip(nets, made))
        return found
    if not all(isinstance(x, Mapping) and not isinstance(x, Activations) for x in nets.values()):
        raise _refusals.models_or_sets([type(x).__name__ for x in nets.values()])
    missing = [
        f"{m}: {s}" for m, x in nets.items() for s in ("forget", "retain") if not isinstance(x.get(s), Activations)
    ]
    if missing:
        raise _refusals.sets_missing(missing)
    found = {
        s: {m: chosen_layers(x[s], layers) for m, x in nets.items()} for s in SETS if all(s in x for x in nets.values())
    }
    for by in found.values():
        for other in by.values():
            check_paired(by["original"], other, "check")
    return found


# --- outputs ----------------------------------------------------------------------------------------------------------


def _own_accuracy(activations: Activations, level: float) -> Estimate:
    if activations.logits is None or activations.labels is None:
        return Estimate(NAN, note=Flag.MISSING_INPUT.note("no logits"))
    return share(activations.logits.argmax(1).cpu() == activations.labels.cpu(), None, level)


def _outputs(one: Activations, other: Activations, level: float) -> tuple[Estimate, Estimate]:
    if one.logits is None or other.logits is None:
        nothing = Estimate(NAN, note=Flag.MISSING_INPUT.note("no logits"))
        return nothing, nothing
    found = output_agreement(one.logits, other.logits, level=level)
    return found.jsd, found.disagreement


def outputs_differ(sets: Sets) -> bool:
    """Whether the unlearned network's outputs are not the original's."""
    for by in sets.values():
        z, w = by["original"].logits, by["unlearned"].logits
        if z is not None and w is not None and not torch.allclose(z.cpu(), w.cpu(), rtol=1e-4, atol=1e-5):
            return True
    return False


# --- layers -----------------------------------------------------------------------------------------------------------


def _layer(
    sets: Sets, rows: Rows, layer: str, nets: Mapping[str, Any], reference: str, level: float
) -> LayerUnlearning:
    features = {m: both_sets(sets, layer, m) for m in nets}
    report = ~rows.fit
    lost, kept = rows.forgotten[report], ~rows.forgotten[report]
    right = {m: probed(x, rows)[report] == rows.codes[report] for m, x in features.items()}
    nearest = {m: nearest_class(x, rows)[report] == rows.codes[report] for m, x in features.items()}
    forget = {m: _check.features_of(sets["forget"][m][layer]) for m in nets}
    retain = {m: _check.features_of(sets["retain"][m][layer]) for m in nets}
    close = [closeness(x, reference, level) for x in (forget, retain)]
    nothing = Estimate(NAN, note=Flag.MISSING_INPUT.note("no retrained network"))
    return LayerUnlearning(
        recall={m: share(r[lost], None, level) for m, r in right.items()},
        recovery=_difference(right["unlearned"][lost], right[reference][lost], level),
        retained={m: share(r[kept], None, level) for m, r in right.items()},
        utility=_difference(right["unlearned"][kept], right[reference][kept], level),
        knn={m: share(r[kept], None, level) for m, r in nearest.items()},
        knn_utility=_difference(nearest["unlearned"][kept], nearest[reference][kept], level),
        cka_original=cka(features["unlearned"], features["original"], level=level),
        closeness_forget=close[0],
        closeness_retain=close[1],
        cka_original_forget=cka(forget["unlearned"], forget["original"], level=level),
        cka_retrained_forget=cka(forget["unlearned"], forget["retrained"], level=level)
        if "retrained" in nets
        else nothing,
    )


def closeness(features: Mapping[str, Tensor], reference: str, level: float) -> Estimate:
    """cka(unlearned, original) - cka(unlearned, reference), with the paired jackknife."""
    from statistics import NormalDist

    if reference == "original":
        return Estimate(NAN, note=Flag.MISSING_INPUT.note("no retrained network"))
    made = {m: matrix_of(x.double()) for m, x in features.items()}
    found = products([made["unlearned"]], [made["original"], made["retrained"]])
    value = float(found.values[0, 0] - found.values[0, 1])
    if math.isnan(value):
        return Estimate(NAN, n=found.n, note=Flag.CONSTANT.note("every feature is constant"))
    half = NormalDist().inv_cdf(0.5 + level / 2) * jackknife_error(
        found.without_each[:, 0, 0] - found.without_each[:, 0, 1]
    )
    return Estimate(value, value - half, value + half, found.n, null=0.0)


def _difference(a: Tensor, b: Tensor, level: float) -> Estimate:
    """The mean of paired differences of hits, with Student's interval."""
    gap = a.double() - b.double()
    mean, low, high = (float(v) for v in mean_of(gap, level))
    if float(gap.std()) == 0 and len(gap):  # no row tells the two apart
        low, high = mean - 3 / len(gap), mean + 3 / len(gap)
    return Estimate(mean, max(low, -1.0), min(high, 1.0), len(gap), null=0.0)
