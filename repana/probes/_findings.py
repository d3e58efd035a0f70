"""What the probes say: where the labels can be read first, and what that is worth beside its controls."""

import math

from repana._finding import ABSENT, ALPHA, ISSUE, PASSED, TIP, Finding, View, listed, share
from repana._numbers import number, percent
from repana._results import Row
from repana.statistics.permutation import adjusted

POINT = 0.01  # of accuracy
MEMORY = 0.5  # of the way from the share of the most frequent class to 1
FEW_MODELS = 30  # of a zoo, below which they are few
ERRORS = 3  # standard errors of that share, beyond which training accuracy on shuffled labels is memorisation
SPREAD = 0.1  # of training less test accuracy
NO_SIGNAL = "No layer's linear probe is above the shuffled-label null."
INPUT = "input"
BASELINES = {"reinitialised": "re-initialised network", "random_projection": "random projection of the input"}


def earliest(view: View) -> Finding:
    """The first layer whose linear probe, on the validation split, is within one point of the best there and above
    shuffled labels (p < 0.05 after Holm over the layers), and how the selected layer does on the test split, which no
    selection has seen. The raw input is left out. Not applicable if no layer qualifies.
    """
    shown = [r for r in _layers(view, "validation_accuracy") if math.isfinite(r.value)]
    chosen = view.at("layer_choice.chosen_accuracy", "")
    if not shown or chosen is None:
        return Finding(ABSENT, "Linear probes of two layers were not measured.")
    signal, best = _read(view), max(r.value for r in shown)
    first = next((r for r in shown if r.value >= best - POINT and r.layer in signal), None)
    if first is None:
        return Finding(ABSENT, NO_SIGNAL)
    text = f"{first.layer} is the earliest layer within 1 point of the best linear probe (validation); "
    if first.layer == chosen.label:
        text += f"it reaches {share(chosen)} on the test split."
    else:
        text += f"the selected layer, {view.place(chosen.label)}, reaches {share(chosen)} on the test split."
    return Finding(PASSED, text, tuple(dict.fromkeys((first.layer, chosen.label))))


def memory(view: View) -> Finding:
    """Whether linear probes memorise. A caution where the training accuracy of a probe on shuffled labels is beyond
    halfway from the share of the most frequent class to 1, and more than three of its standard errors above it: with so
    few rows for its features training accuracy says nothing, and test accuracy must be read against its null.
    """
    rows = [r for r in _layers(view, "memorization") if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "No probe was fitted to shuffled labels.")
    chance = {r.layer: r.value for r in view.rows("probing.chance")}
    full = [r for r in rows if r.value > _memorised(chance.get(r.layer, 0.0), r.n)]
    worst = max(rows, key=lambda r: r.value)
    most = percent(worst.value, 2)
    if full:
        text = f"Linear probes memorise: {most} of shuffled training labels at {view.place(worst.layer)}"
        others = [r.layer for r in full if r is not worst]
        text += f"; also at {listed(others)}." if others else "."
        advice = "Read test accuracy against its null; use more samples or fewer features."
        return Finding(TIP, text, tuple(r.layer for r in full), advice)
    guess = f"; chance {percent(chance[worst.layer], 2)}" if worst.layer in chance else ""
    text = f"Probes memorise little: at most {most} of shuffled training labels ({view.place(worst.layer)}{guess})."
    return Finding(PASSED, text, (worst.layer,))


def untrained(view: View) -> Finding:
    """Whether training put there what the probes read: a caution names the layers at which a re-initialised copy of the
    network, or a random projection of the input, is read as well, within the interval of the trained layer.
    """
    rows = {r.layer: r for r in _layers(view, "linear_probe")}
    random = [*view.rows("probe_baselines.reinitialised"), *view.rows("probe_baselines.random_projection")]
    known = [r for r in random if math.isfinite(r.value) and r.layer in rows]
    if not known:
        return Finding(ABSENT, "No untrained baselines were measured (`baselines=3`).")
    if not _read(view):
        return Finding(ABSENT, NO_SIGNAL)
    equal = [r.layer for r in known if r.value >= rows[r.layer].low]
    equal = list(dict.fromkeys(equal))
    if not equal:
        text = (
            f"Training made classes more decodable than random weights and projections do, at all {len(rows)} layers."
        )
        return Finding(PASSED, text)
    layer = equal[-1]
    others = {r.quantity: r.value for r in known if r.layer == layer}
    text = f"Random weights or projections do as well at {listed(equal)} ({layer}: {share(rows[layer])}; "
    text += "; ".join(f"{BASELINES.get(name, name)} {percent(number, 3)}" for name, number in others.items())
    return Finding(TIP, f"{text}).", tuple(equal))


def raw(view: View) -> Finding:
    """Whether the network makes the labels easier to read than its input is: a caution where the linear probe of the
    raw input reaches into the interval of the selected layer's.
    """
    given = view.at("probing.linear_probe", INPUT)
    chosen = view.at("layer_choice.chosen_accuracy", "")
    if given is None or chosen is None:
        return Finding(ABSENT, "The raw input was not among the layers.")
    if not _read(view) and view.p("probing.linear_probe").get(INPUT, 0.0) >= ALPHA:
        return Finding(ABSENT, NO_SIGNAL)
    text = f"Raw input: {share(given)} by a linear probe; selected layer ({view.place(chosen.label)}): {share(chosen)}."
    if given.value > chosen.high:
        text += " The network loses class information."
    return Finding(TIP if given.value >= chosen.low else PASSED, text, (chosen.label,))


def neighbours(view: View) -> Finding:
    """Whether neighbours decode what a linear map does not: a caution where the kNN probe's interval lies above the
    linear one's, as where classes are several clusters or curved.
    """
    linear = {r.layer: r for r in _layers(view, "linear_probe") if math.isfinite(r.low)}
    knn = [r for r in _layers(view, "knn_probe") if math.isfinite(r.low) and r.layer in linear]
    if not knn:
        return Finding(ABSENT, "Linear and kNN probes of one layer were not measured.")
    above = [r for r in knn if r.low > linear[r.layer].high]
    if not above:
        return Finding(PASSED, "kNN does not beat the linear probe at any layer.")
    r = above[0]
    text = f"kNN beats the linear probe at {listed([r.layer for r in above])} ({r.layer}: {share(r)} against "
    return Finding(TIP, f"{text}{share(linear[r.layer])}).", tuple(r.layer for r in above))


def gap(view: View) -> Finding:
    """Whether linear probes do as well on new rows: a caution where test accuracy is more than 10 points below training
    accuracy, which more rows, or fewer features, would mend. Of the layers whose probe is above shuffled labels
    (p < 0.05 after Holm over the layers): where nothing is read, more rows would not help.
    """
    known = [r for r in _layers(view, "gap") if math.isfinite(r.value)]
    if not known:
        return Finding(ABSENT, "No linear probe was measured.")
    signal = _read(view)
    rows = [r for r in known if r.layer in signal]
    if not rows:
        return Finding(ABSENT, NO_SIGNAL)
    worst = max(rows, key=lambda r: r.value)
    wide = [r.layer for r in rows if r.value > SPREAD]
    most = f"{100 * worst.value:.1f} points at {view.place(worst.layer)}"
    if wide:
        text = f"Probes overfit at {listed(wide)}: the train-test gap reaches {most}."
        return Finding(TIP, text, tuple(wide), "Use more samples, or fewer features (`pool=`).")
    return Finding(PASSED, f"Probe overfitting is small: train-test gap at most {most}.", (worst.layer,))


def _layers(view: View, name: str) -> list[Row]:
    """Of the network, without its input."""
    return [r for r in view.rows(f"probing.{name}") if r.layer != INPUT]


def _read(view: View) -> set[str]:
    """Layers whose linear probe is above shuffled labels; all where there are no p-values."""
    p = view.p("probing.linear_probe")
    layers = {r.layer for r in _layers(view, "linear_probe")}
    return {layer for layer in layers if p.get(layer, 0.0) < ALPHA}


def _memorised(chance: float, n: int) -> float:
    error = math.sqrt(max(chance * (1 - chance), 0.0) / n) if n else 0.0
    return max(chance + MEMORY * (1 - chance), chance + ERRORS * error)


def trees(view: View) -> Finding:
    """Whether a probe of weights holds for models of another ancestor. An issue where a tensor is above its null with
    one model left out (p < 0.05 after Holm over the tensors) and none is with whole trees left out: the probe then
    reads what siblings share. Not applicable without trees, or where nothing is read.
    """
    inside, across = view.rows("weight_probe.leave_one_out"), view.rows("weight_probe.leave_tree_out")
    known = [r for r in across if math.isfinite(r.value)]
    if not known:
        return Finding(ABSENT, "No trees of models are known; a random split may have siblings on both sides.")
    read, held = ([r for r in rows if adjusted(rows).get(r.layer, 1.0) < ALPHA] for rows in (inside, known))
    if not read and not held:
        return Finding(ABSENT, "No tensor's probe is above its null.")
    best = max(held or read, key=lambda r: r.value)
    other = next(r for r in (inside if held else known) if r.layer == best.layer)
    if held:
        text = f"Across trees {best.layer} reaches {number(best.value)}, one model left out {number(other.value)}."
        return Finding(PASSED, text, tuple(r.layer for r in held))
    text = (
        f"One model left out, {best.layer} reaches {number(best.value)}; whole trees left out, {number(other.value)}, "
        "and no tensor is above its null: the probe reads the tree."
    )
    return Finding(ISSUE, text, (best.layer,), "Report leave-tree-out scores, or probe within one tree.")


def models(view: View) -> Finding:
    """Whether there are enough models: a tip below 30, where intervals are wide, however many weights they have."""
    count = max((r.n for r in view.rows("weight_probe.leave_one_out")), default=0)
    if not count:
        return Finding(ABSENT, "No weights were probed.")
    if count < FEW_MODELS:
        return Finding(TIP, f"{count} models are the whole sample, whatever the number of weights.", (), "Add models.")
    return Finding(PASSED, f"{count} models are the sample.")


def directions(view: View) -> Finding:
    """Whether directions from the inverse of a relation's linear map classify better than the difference of class means
    does, at the layer where they classify best: a tip where the interval of their accuracy does not lie above it, since
    the simpler directions then do as well.
    """
    rows = [r for r in view.rows("relation.accuracy") if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "No directions of a relation were measured (`relation=`).")
    best = max(rows, key=lambda r: r.value)
    simple = next((r for r in view.rows("relation.mean_difference") if r.layer == best.layer), None)
    if simple is None or not math.isfinite(simple.value):
        return Finding(ABSENT, "No difference of means stands beside the directions of the relation.")
    text = f"Directions of the relation at {best.layer} classify {share(best)}, differences of means {share(simple)}"
    if best.low > simple.value:
        return Finding(PASSED, f"{text}.", (best.layer,))
    return Finding(TIP, f"{text}: no better.", (best.layer,), "Use the difference of means, or report both.")
