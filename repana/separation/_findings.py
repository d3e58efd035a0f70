"""What separability says: where in the network, by which law, and whether it holds on held-out data."""

import math

from repana._finding import ABSENT, ALPHA, PASSED, TIP, Finding, View, counted, listed, share, split_name, value
from repana._numbers import number

POINT = 0.01  # of accuracy
STRAIGHT = -0.9  # correlation of log fuzziness and depth, at or below which the law counts as holding


def earliest(view: View) -> Finding:
    """The first layer whose nearest-mean accuracy, on the last split, is within one point of the best of all layers;
    not applicable where no layer's is above that of shuffled labels (p < 0.05 after Holm over the layers).
    """
    split = view.splits[-1]
    rows = [r for r in view.rows("neural_collapse.ncc_accuracy", split) if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "The accuracy of the nearest class mean was not measured.")
    if _at_chance(view, "neural_collapse.ncc_accuracy", split):
        return Finding(ABSENT, "No layer's nearest-mean accuracy is above the shuffled-label null.")
    best = max(rows, key=lambda r: r.value)
    first = next(r for r in rows if r.value >= best.value - POINT)
    name = split_name(split)
    if first.layer == best.layer:
        text = f"Nearest-mean accuracy ({name}) peaks at {view.place(best.layer)}: {share(best)}."
    else:
        text = f"Nearest-mean accuracy ({name}) is within 1 point of its best from {view.place(first.layer)} on: "
        text += f"{share(first)}; best {share(best)} at {view.place(best.layer)}."
    return Finding(PASSED, text, (first.layer,))


def law(view: View) -> Finding:
    """Whether separation improves by a constant factor per layer (He & Su 2023): passed where log fuzziness and depth
    correlate at -0.9 or below and the factor's interval lies below 1; not applicable where fuzziness is at no layer
    less than under shuffled labels (p < 0.05 after Holm over the layers).
    """
    rho, r = (view.at(f"separation_law.{name}", "") for name in ("rho", "correlation"))
    if rho is None or r is None:
        return Finding(ABSENT, "The law needs the separation fuzziness of three layers or more.")
    if _at_chance(view, "neural_collapse.fuzziness"):
        return Finding(ABSENT, "Fuzziness is at no layer smaller than with shuffled labels.")
    holds = r.value <= STRAIGHT and rho.high < 1
    way = "falls to" if rho.value <= 1 else "grows to"
    line = "geometrically" if holds else "not geometrically"
    text = f"Fuzziness {way} {share(rho)} per layer, {line} (r = {r.value:.2f}; law of separation: {STRAIGHT} or less)."
    return Finding(PASSED if holds else TIP, text)


def quotient(view: View) -> Finding:
    """Whether Fisher's quotient tr(Sw^-1 Sb) says anything: with few samples for the features it is large without any
    class structure. A caution names the layers where it is not above what shuffled labels give (p < 0.05 after Holm
    over the layers).
    """
    rows = [r for r in view.rows("fisher.quotient") if math.isfinite(r.null) and math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "Fisher's quotient with its shuffled-label null was not measured.")
    p = view.p("fisher.quotient")
    if not p:
        return Finding(ABSENT, "Fisher's quotient has no p-value (permutations=0).")
    inside = [r for r in rows if p.get(r.layer, 0.0) >= ALPHA]
    if not inside:
        return Finding(PASSED, f"Fisher's quotient exceeds its shuffled-label null at {counted(len(rows))}.")
    r = inside[0]
    text = f"Fisher's quotient does not exceed its shuffled-label null at {listed([r.layer for r in inside])} "
    text += f"({r.layer}: {value(r)}, null {number(r.null, 2)})."
    return Finding(TIP, text, tuple(r.layer for r in inside), "Do not read it there; read the trace ratio.")


def neighbours(view: View) -> Finding:
    """Where the nearest other sample is of the same class most often (Thornton's index), and whether the label-free H0
    score peaks there too. A caution where the two peak more than a quarter of the depth apart: then clusters are not
    the classes, or classes are told apart without gaps between them. Not applicable where Thornton's index is at no
    layer above that of shuffled labels (p < 0.05 after Holm over the layers).
    """
    known = [r for r in view.rows("separability.thornton") if math.isfinite(r.value)]
    scores = [r for r in view.rows("topology.h0_entropy") if math.isfinite(r.value)]
    if not known:
        return Finding(ABSENT, "Thornton's index was not measured.")
    if _at_chance(view, "separability.thornton"):
        return Finding(ABSENT, "Thornton's index is at no layer above the shuffled-label null.")
    best = max(known, key=lambda r: (r.value, r.depth))
    text = f"Nearest neighbours share their class most often at {view.place(best.layer)} ({share(best)})"
    if len(scores) < 4:
        return Finding(PASSED, f"{text}.", (best.layer,))
    top = max(scores, key=lambda r: r.value)
    places = [r.layer for r in known]
    apart = abs(places.index(best.layer) - places.index(top.layer)) if top.layer in places else 0
    far = apart > len(known) / 4
    text += f"; label-free clustering (H0) peaks {'elsewhere' if far else 'nearby'}, at {view.place(top.layer)}."
    return Finding(TIP if far else PASSED, text, tuple(dict.fromkeys((best.layer, top.layer))))


def gap(view: View) -> Finding:
    """Whether the network is as often right on held-out data: a caution where the Wilson intervals do not touch."""
    if len(view.splits) < 2:
        return Finding(ABSENT, "There is no held-out split (`held_out=`).")
    train, other = (view.at("neural_collapse.accuracy", split=split) for split in view.splits[:2])
    if train is None or other is None:
        return Finding(ABSENT, "No decisions of the network were recorded.")
    names = [split_name(s) for s in view.splits[:2]]
    text = f"Accuracy {share(train)} in {names[0]}, {share(other)} {names[1]}."
    return Finding(TIP if other.high < train.low else PASSED, text)


def losses(view: View) -> Finding:
    """Layers after which the Fisher trace ratio is lower than before by more than both intervals, of those where it was
    above that of shuffled labels (p < 0.05 after Holm over the layers): separation is lost there. The first
    convolutions of a network, averaged over space, often show it.
    """
    rows = [r for r in view.rows("fisher.trace_ratio") if math.isfinite(r.low) and math.isfinite(r.value)]
    if len(rows) < 2:
        return Finding(ABSENT, "The Fisher trace ratio with intervals was not measured at two layers.")
    p = view.p("fisher.trace_ratio")
    if _at_chance(view, "fisher.trace_ratio"):
        return Finding(ABSENT, "The Fisher trace ratio is at no layer above the shuffled-label null.")
    worse = [(a, b) for a, b in zip(rows, rows[1:]) if b.high < a.low and p.get(a.layer, 0.0) < ALPHA]
    if not worse:
        return Finding(PASSED, "Class separation (Fisher trace ratio) drops at no layer by more than its interval.")
    a, b = max(worse, key=lambda pair: pair[0].value - pair[1].value)
    text = f"Class separation drops from {a.layer} to {b.layer} (Fisher trace ratio {number(a.value, 2)} to "
    text += f"{number(b.value, 2)})"
    others = [second.layer for first, second in worse if first is not a]
    text += f", and at {listed(others)}" if others else ""
    return Finding(TIP, f"{text}.", tuple(b.layer for _, b in worse))


def _at_chance(view: View, name: str, split: str | None = None) -> bool:
    """Whether a quantity has p-values and is at no layer distinguishable from shuffled labels."""
    p = view.p(name, split).values()
    return bool(p) and min(p) >= ALPHA
