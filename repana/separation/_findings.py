"""What separability says: where in the network, by which law, and whether it holds on held-out data."""

import math

from repana._finding import ABSENT, ALPHA, PASSED, TIP, Finding, View, listed, value

POINT = 0.01  # of accuracy
STRAIGHT = -0.9  # correlation of log fuzziness and depth, at or below which the law counts as holding


def earliest(view: View) -> Finding:
    """The first layer whose nearest-mean accuracy, on the last split, is within one point of the best of all layers;
    not applicable where no layer's is above that of permuted labels (p < 0.05 after Holm over the layers).
    """
    split = view.splits[-1]
    rows = [r for r in view.rows("neural_collapse.ncc_accuracy", split) if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "The accuracy of the nearest class mean was not measured.")
    if _at_chance(view, "neural_collapse.ncc_accuracy", split):
        return Finding(ABSENT, "No layer's nearest-mean accuracy is above that of permuted labels.")
    best = max(rows, key=lambda r: r.value)
    first = next(r for r in rows if r.value >= best.value - POINT)
    text = f"{first.layer} is the earliest layer within one point of the best nearest-mean accuracy on"
    text += f" {split.replace('_', ' ')}: {value(first)}; the best, {best.layer}, has {value(best)}."
    return Finding(PASSED, text, (first.layer,))


def law(view: View) -> Finding:
    """Whether separation improves by a constant factor per layer (He & Su 2023): passed where log fuzziness and depth
    correlate at -0.9 or below and the factor's interval lies below 1; not applicable where fuzziness is at no layer
    less than under permuted labels (p < 0.05 after Holm over the layers).
    """
    rho, r = (view.at(f"separation_law.{name}", "") for name in ("rho", "correlation"))
    if rho is None or r is None:
        return Finding(ABSENT, "The law needs the separation fuzziness of three layers or more.")
    if _at_chance(view, "neural_collapse.fuzziness"):
        return Finding(ABSENT, "Fuzziness is at no layer less than under permuted labels.")
    text = f"Fuzziness changes by a factor {value(rho)} per layer; log fuzziness and depth correlate at {value(r)}."
    return Finding(PASSED if r.value <= STRAIGHT and rho.high < 1 else TIP, text)


def quotient(view: View) -> Finding:
    """Whether Fisher's quotient tr(Sw^-1 Sb) says anything: with few samples for the features it is large without any
    class structure. A tip names the layers where it is not above what permuted labels give (p < 0.05 after Holm over
    the layers).
    """
    rows = [r for r in view.rows("fisher.quotient") if math.isfinite(r.null) and math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "Fisher's quotient with its value without class structure was not measured.")
    p = view.p("fisher.quotient")
    if not p:
        return Finding(ABSENT, "Fisher's quotient has no p-value (permutations=0).")
    inside = [r for r in rows if p.get(r.layer, 0.0) >= ALPHA]
    if not inside:
        return Finding(PASSED, f"Fisher's quotient is above its null at all {len(rows)} layers that have one.")
    r = inside[0]
    text = f"Fisher's quotient is within its null at {listed([r.layer for r in inside])}: do not read it there; "
    text += f"at {r.layer} {value(r)}, without class structure {r.null:.3g}."
    return Finding(TIP, text, tuple(r.layer for r in inside))


def neighbours(view: View) -> Finding:
    """Where the nearest other sample is of the same class most often (Thornton's index), and whether the label-free H0
    score peaks there too. A tip where the two peak more than a quarter of the depth apart: then clusters are not the
    classes, or classes are told apart without gaps between them. Not applicable where Thornton's index is at no layer
    above that of permuted labels (p < 0.05 after Holm over the layers).
    """
    known = [r for r in view.rows("separability.thornton") if math.isfinite(r.value)]
    scores = [r for r in view.rows("topology.h0_entropy") if math.isfinite(r.value)]
    if not known:
        return Finding(ABSENT, "Thornton's index was not measured.")
    if _at_chance(view, "separability.thornton"):
        return Finding(ABSENT, "Thornton's index is at no layer above that of permuted labels.")
    best = max(known, key=lambda r: (r.value, r.depth))
    text = f"Thornton's index is largest at {best.layer}, {value(best)}"
    if len(scores) < 4:
        return Finding(PASSED, f"{text}.", (best.layer,))
    top = max(scores, key=lambda r: r.value)
    places = [r.layer for r in known]
    apart = abs(places.index(best.layer) - places.index(top.layer)) if top.layer in places else 0
    text += f"; the label-free H0 score at {top.layer}, {value(top)}."
    return Finding(TIP if apart > len(known) / 4 else PASSED, text, tuple(dict.fromkeys((best.layer, top.layer))))


def gap(view: View) -> Finding:
    """Whether the network is as often right on held-out data: a tip where the Wilson intervals do not touch."""
    if len(view.splits) < 2:
        return Finding(ABSENT, "There is one split only; give `held_out=`.")
    train, other = (view.at("neural_collapse.accuracy", split=split) for split in view.splits[:2])
    if train is None or other is None:
        return Finding(ABSENT, "No decisions of the network were recorded.")
    names = [s.replace("_", " ") for s in view.splits[:2]]
    text = f"The network is right on {value(train)} of {names[0]} and on {value(other)} of {names[1]} samples."
    return Finding(TIP if other.high < train.low else PASSED, text)


def losses(view: View) -> Finding:
    """Layers after which the Fisher trace ratio is lower than before by more than both intervals, of those where it was
    above that of permuted labels (p < 0.05 after Holm over the layers): separation is lost there. The first
    convolutions of a network, averaged over space, often show it.
    """
    rows = [r for r in view.rows("fisher.trace_ratio") if math.isfinite(r.low) and math.isfinite(r.value)]
    if len(rows) < 2:
        return Finding(ABSENT, "The Fisher trace ratio with intervals was not measured at two layers.")
    p = view.p("fisher.trace_ratio")
    if _at_chance(view, "fisher.trace_ratio"):
        return Finding(ABSENT, "The Fisher trace ratio is at no layer above that of permuted labels.")
    worse = [(a, b) for a, b in zip(rows, rows[1:]) if b.high < a.low and p.get(a.layer, 0.0) < ALPHA]
    if not worse:
        return Finding(PASSED, "The Fisher trace ratio falls at no layer by more than its interval.")
    text = "; ".join(f"{b.layer} {value(b)} after {a.layer} {value(a)}" for a, b in worse[:3])
    return Finding(TIP, f"The Fisher trace ratio falls at {listed([b.layer for _, b in worse])}: {text}.",
                   tuple(b.layer for _, b in worse))  # fmt: skip


def _at_chance(view: View, name: str, split: str | None = None) -> bool:
    """Whether a quantity has p-values and is at no layer distinguishable from permuted labels."""
    p = view.p(name, split).values()
    return bool(p) and min(p) >= ALPHA
