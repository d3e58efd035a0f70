"""What the probes say: where the labels can be read first, and what that is worth beside its controls."""

import math

from repana._finding import ABSENT, PASSED, TIP, Finding, View, listed, value
from repana._results import Row

POINT = 0.01  # of accuracy
MEMORY = 0.5  # accuracy on permuted labels that were fitted on, above which the probe remembers more than it reads
SPREAD = 0.1  # of accuracy on rows fitted on less rows reported
INPUT = "input"


def earliest(view: View) -> Finding:
    """The first layer whose linear probe, on the validation rows, is within one point of the best there, and how the
    chosen layer reads the test rows, which no choice has seen. Without the input, which is no layer of the network.
    """
    shown = [r for r in _layers(view, "validation_accuracy") if math.isfinite(r.value)]
    chosen = view.at("layer_choice.chosen_accuracy", "")
    if not shown or chosen is None:
        return Finding(ABSENT, "Linear probes of two layers were not measured.")
    best = max(r.value for r in shown)
    first = next(r for r in shown if r.value >= best - POINT)
    text = f"{first.layer} is the earliest layer within one point of the best linear probe on the validation rows; "
    text += f"the one chosen there, {chosen.label}, reads {value(chosen)} of the test rows."
    return Finding(PASSED, text, tuple(dict.fromkeys((first.layer, chosen.label))))


def memory(view: View) -> Finding:
    """Whether linear probes read or remember. A tip where a probe fitted to permuted labels gets more than half of them
    right: with so few rows for its features, accuracy on rows that it was fitted on says nothing, and that on others
    must be read against the permuted null.
    """
    rows = [r for r in _layers(view, "memorization") if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "No probe was fitted to permuted labels.")
    full = [r for r in rows if r.value > MEMORY]
    worst = max(rows, key=lambda r: r.value)
    text = f"A linear probe of {worst.layer} gets {worst.value:.2g} of permuted labels right that it was fitted on"
    if full:
        where = listed([r.layer for r in full])
        return Finding(TIP, f"{text}: it remembers rows ({where}).", tuple(r.layer for r in full))
    return Finding(PASSED, f"{text}, at most.", (worst.layer,))


def untrained(view: View) -> Finding:
    """Whether training put there what the probes read: a tip names the layers at which a re-initialised copy of the
    network, or a random projection of the input, is read as well, within the interval of the trained layer.
    """
    rows = {r.layer: r for r in _layers(view, "linear_probe")}
    random = [*view.rows("probe_baselines.reinitialised"), *view.rows("probe_baselines.random_projection")]
    known = [r for r in random if math.isfinite(r.value) and r.layer in rows]
    if not known:
        return Finding(ABSENT, "No baselines were measured; `probe_layers` does, or `baselines=`.")
    equal = [r.layer for r in known if r.value >= rows[r.layer].low]
    equal = list(dict.fromkeys(equal))
    if not equal:
        return Finding(PASSED, f"Every layer is read better than random weights and projections ({len(rows)} layers).")
    layer = equal[-1]
    others = {r.quantity: r.value for r in known if r.layer == layer}
    text = f"Random weights or projections are read as well at {listed(equal)}; at {layer} {value(rows[layer])}, "
    text += ", ".join(f"{name.replace('_', ' ')} {number:.3g}" for name, number in others.items())
    return Finding(TIP, f"{text}.", tuple(equal))


def raw(view: View) -> Finding:
    """Whether the network makes the labels easier to read than its input is: a tip where the linear probe of the raw
    input reaches into the interval of the chosen layer's.
    """
    given = view.at("probing.linear_probe", INPUT)
    chosen = view.at("layer_choice.chosen_accuracy", "")
    if given is None or chosen is None:
        return Finding(ABSENT, "The raw input was not among the layers.")
    text = f"A linear probe reads {value(given)} from the raw input and {value(chosen)} from {chosen.label}."
    return Finding(TIP if given.value >= chosen.low else PASSED, text, (chosen.label,))


def neighbours(view: View) -> Finding:
    """Whether neighbours know what a linear map does not: a tip where the kNN probe's interval lies above the linear
    one's, as where classes are several clusters or curved.
    """
    linear = {r.layer: r for r in _layers(view, "linear_probe") if math.isfinite(r.low)}
    knn = [r for r in _layers(view, "knn_probe") if math.isfinite(r.low) and r.layer in linear]
    if not knn:
        return Finding(ABSENT, "Linear and kNN probes of one layer were not measured.")
    above = [r for r in knn if r.low > linear[r.layer].high]
    if not above:
        return Finding(PASSED, f"Neighbours read no more than a linear map at any of {len(knn)} layers.")
    r = above[0]
    text = f"Neighbours read more than a linear map at {listed([r.layer for r in above])}: at {r.layer} {value(r)}, "
    return Finding(TIP, f"{text}linear {value(linear[r.layer])}.", tuple(r.layer for r in above))


def gap(view: View) -> Finding:
    """Whether linear probes do as well on new rows: a tip where accuracy falls by more than 10 points from the rows
    fitted on to the test rows, which more rows, or fewer features, would mend.
    """
    rows = [r for r in _layers(view, "gap") if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "No linear probe was measured.")
    worst = max(rows, key=lambda r: r.value)
    wide = [r.layer for r in rows if r.value > SPREAD]
    text = (
        f"From rows fitted on to rows reported the linear probe loses {100 * worst.value:.1f} points at {worst.layer}"
    )
    if wide:
        return Finding(TIP, f"{text}, more than {100 * SPREAD:.0f} at {listed(wide)}.", tuple(wide))
    return Finding(PASSED, f"{text}, at most.", (worst.layer,))


def _layers(view: View, name: str) -> list[Row]:
    """Of the network, without its input."""
    return [r for r in view.rows(f"probing.{name}") if r.layer != INPUT]
