"""Findings on comparisons: what two networks share beyond chance and architecture, where a change begins, what is left
of what was to be forgotten; and what to beware of."""

import math
from typing import Any

from repana._estimate import Flag
from repana._finding import ABSENT, ISSUE, PASSED, TIP, Finding, View, counted, listed, value
from repana._numbers import number

SIMILAR, NEAR_NULL = 0.5, 0.1  # CKA from which, and excess of shared neighbours below which, measures disagree
FLAT = 0.05  # spread of a whole layer matrix below which layers are not told apart
SIGNIFICANT = 0.05
CHANGED = 0.95
WIDE = 5  # samples per feature


def _settings(view: View, analyzer: str) -> Any:
    return view.report.about(view.run).get("settings", {}).get(analyzer, {})


def _first(view: View) -> str:
    """The first measure of a similarity."""
    return next(iter(_settings(view, "similarity").get("measures", ["cka"])))


def beyond_floor(view: View) -> Finding:
    """Whether the layers of two networks are more similar than the second one's copies with random weights are to the
    first: a result names the layers whose interval lies above that of the untrained copies. Similarity that random
    weights reach too comes from the inputs and the architecture.
    """
    name = _first(view)
    rows = [r for r in view.rows(f"similarity.{name}") if math.isfinite(r.low)]
    floor = {r.layer: r for r in view.rows(f"similarity.{name}_untrained")}
    known = [r for r in rows if r.layer in floor and math.isfinite(floor[r.layer].value)]
    if not known:
        return Finding(ABSENT, "No untrained copies were compared (`untrained=`).")
    above = [r for r in known if r.low > floor[r.layer].high]
    if not above:
        text = f"No layer is more similar ({view.title(known[0])}) than to a network with random weights, of "
        text += f"{counted(len(known))}."
        return Finding(PASSED, text)
    best = max(above, key=lambda r: r.value - floor[r.layer].value)
    text = (
        f"Similarity ({view.title(best)}) exceeds that of random weights at {counted(len(above), len(known))}; most at "
    )
    text += f"{best.layer}: {value(best)} against {number(floor[best.layer].value, 2)}."
    return Finding(PASSED, text, tuple(r.layer for r in above))


def inside_null(view: View) -> Finding:
    """Whether layers of like place are more similar than under a random pairing of the samples: a caution names those
    whose p is 0.05 or more.
    """
    names = _settings(view, "similarity").get("measures", ())
    rows = [r for q in names for r in view.rows(f"similarity.{q}") if math.isfinite(r.null_high)]
    if not rows:
        return Finding(ABSENT, "No measure with a null was taken.")
    inside = [r for r in rows if not r.p < SIGNIFICANT]
    if not inside:
        what = f"All {len(rows)} similarities exceed" if len(rows) > 1 else "The similarity exceeds"
        return Finding(PASSED, f"{what} a random pairing of the samples (p below {SIGNIFICANT}).")
    where = [f"{r.layer} ({view.title(r)})" for r in inside]
    text = f"Similarity is not distinguishable from a random pairing of the samples at {listed(where)}."
    return Finding(TIP, text, tuple(dict.fromkeys(r.layer for r in inside)), "Read these values as no similarity.")


def measures_disagree(view: View) -> Finding:
    """Whether measures tell one story: a caution names layers with a CKA above 0.5 whose samples share no more
    neighbours than 10% beyond chance. CKA follows the few directions of largest variance, neighbours the local order
    (Davari et al. 2023).
    """
    cka = {r.layer: r for r in view.rows("similarity.cka")}
    near = [r for r in view.rows("similarity.knn") if r.layer in cka and math.isfinite(r.value - r.null)]
    near = [r for r in near if math.isfinite(cka[r.layer].value) and r.null < 1]
    if not near:
        return Finding(ABSENT, "CKA and neighbours were not both measured.")
    apart = [r for r in near if cka[r.layer].value > SIMILAR and (r.value - r.null) / (1 - r.null) < NEAR_NULL]
    if not apart:
        return Finding(PASSED, f"CKA and shared neighbours agree at {counted(len(near))}.")
    worst = max(apart, key=lambda r: cka[r.layer].value)
    text = f"CKA and neighbours disagree at {listed([r.layer for r in apart])} ({worst.layer}: CKA "
    text += f"{number(cka[worst.layer].value, 2)}, shared neighbours {number(worst.value, 2)}, by chance "
    text += f"{number(worst.null, 2)})."
    return Finding(
        TIP, text, tuple(r.layer for r in apart), "Report both; a few directions of large variance carry the CKA."
    )


def constant_matrix(view: View) -> Finding:
    """Whether the matrix of similarities tells layers apart: a caution where all pairs of layers lie within 0.05 of one
    another, as in networks whose layers hardly change their input.
    """
    if not view.rows(f"similarity.{_first(view)}"):
        return Finding(ABSENT, "No similarity was measured.")
    matrix = view.report.array(f"similarity.{_first(view)}", "", run=view.run, split=view.splits[0])
    known = matrix[~(matrix != matrix)]
    if known.size < 4:
        return Finding(ABSENT, "Too few layers for a matrix.")
    spread = float(known.max() - known.min())
    if spread > FLAT:
        return Finding(PASSED, f"Pairs of layers differ in similarity by up to {number(spread, 2)}.")
    text = (
        f"All pairs of layers are equally similar (within {number(spread, 2)}): the matrix does not tell layers apart."
    )
    return Finding(TIP, text, action="Do not read an order of layers from it; try `measures='knn'`.")


def dead_units(view: View) -> Finding:
    """Whether units vary: a caution names the layers in which a tenth of the units or more are constant. They take no
    part in any measure, and lower the dimension that is compared.
    """
    about = _settings(view, "similarity")
    constant, widths, sides = about.get("constant"), about.get("widths"), ("layers_a", "layers_b")
    if not constant:
        return Finding(ABSENT, "The report does not say how many units are constant.")
    many = []
    for side, known, wide in zip(sides, constant, widths):
        many += [x for x, w in zip(about[side], wide) if known.get(x, 0) * 10 >= w]
    if not many:
        return Finding(PASSED, "Nearly all units vary.")
    names = list(dict.fromkeys(many))
    return Finding(
        TIP, f"A tenth of the units or more are constant at {listed(names)}.", tuple(names), "Check for dead units."
    )


def one_sample(view: View) -> Finding:
    """Whether the similarity of a layer hangs on one sample: a caution names the layers of which the note says so
    (without that sample the value moves by more than 0.05, or by ten times what all others move it).
    """
    rows = [r for q in ("similarity.cka", "drift.cka") for r in view.rows(q)]
    if not rows:
        return Finding(ABSENT, "CKA was not measured.")
    decided = [r for r in rows if Flag.INFLUENTIAL in r.flags]
    if not decided:
        return Finding(PASSED, "No single sample decides a similarity.")
    text = (
        f"One sample decides the CKA at {listed([r.layer for r in decided])} ({decided[0].layer}: {decided[0].note})."
    )
    return Finding(TIP, text, tuple(r.layer for r in decided), "Look at that sample; compare with `knn` and `rsa`.")


def first_changed(view: View) -> Finding:
    """Where in depth a change begins: the first layer whose debiased CKA with the layer before the change lies below
    0.95 with its interval, or that is constant in one of the two, and the layer that changed most. A layer that
    became constant is a caution.
    """
    every = [r for r in view.rows("drift.cka") if r.layer != "input"] or view.rows("drift.cka")
    if not every:
        return Finding(ABSENT, "No drift was measured.")
    moved = {r.layer for r in view.rows("drift.total") if r.value != 0}
    dead = [r for r in every if math.isnan(r.value) and r.layer in moved]
    changed = [r for r in every if r.high < CHANGED or r in dead]
    if not changed:
        return Finding(PASSED, f"No layer changed: debiased CKA is not below {CHANGED} at {counted(len(every))}.")
    first, least = changed[0], min(changed, key=lambda r: -1.0 if r in dead else r.value)
    shown = {r.layer: "constant before or after" if r in dead else f"CKA {value(r)}" for r in (first, least)}
    text = f"The change begins at {first.layer} ({shown[first.layer]})"
    text += "." if least is first else f" and is largest at {least.layer} ({shown[least.layer]})."
    if not dead:
        return Finding(PASSED, text, tuple(r.layer for r in changed))
    text += f" Constant before or after: {listed([r.layer for r in dead])}."
    return Finding(TIP, text, tuple(r.layer for r in changed), "Check for dead units in these layers.")


def unchanged(view: View) -> Finding:
    """Which layers are equal before and after, to the last digit: those that were frozen must be, and all must be where
    both recordings are of the same weights and inputs. Where the input
    itself differs the two were not given the same data. A caution names layers that only one of the two has.
    """
    rows = view.rows("drift.total")
    if not rows:
        return Finding(ABSENT, "No drift was measured.")
    about = _settings(view, "drift")
    apart = [*about.get("only_before", ()), *about.get("only_after", ())]
    if apart:
        text = f"Layers of one of the two alone were not compared: {listed(apart)}."
        return Finding(TIP, text, tuple(apart), "Compare layers of other names with `similarity`.")
    same = [r.layer for r in rows if r.value == 0]
    made = list(view.report.about(view.run).get("recordings", {}).values())
    known = [(p.get("weights_sha256"), p.get("fingerprint")) for p in made]
    moved = [r.layer for r in rows if r.value != 0]
    if len(known) == 2 and known[0] == known[1] and None not in known[0] and moved:
        text = f"Both recordings are of the same weights and inputs, and differ at {listed(moved)}."
        action = "Look for dropout in evaluation mode, or for operations that are not deterministic."
        return Finding(ISSUE, text, tuple(moved), action)
    where = listed(same) if same else "no layer"
    if rows[0].layer == "input" and rows[0].value != 0:
        return Finding(PASSED, f"The input differs between the two, by design or not; equal: {where}.", ("input",))
    return Finding(PASSED, f"Equal before and after, to the last digit: {where}.", tuple(same))


def forgotten(view: View) -> Finding:
    """What an unlearned network still knows of what it was to forget, beyond intervals: forgotten in the head only,
    knowledge left in a layer, a degraded representation, or as retrained.
    """
    said = _settings(view, "unlearning").get("verdicts", ())
    if not said:
        return Finding(ABSENT, "No verdict lies beyond the intervals.")
    return Finding(PASSED, " ".join(said))


def reference(view: View) -> Finding:
    """Whether a network retrained without the forgotten data was compared. Without it nothing tells what an unseen
    class would show: a network that never saw a class often separates it.
    """
    about = _settings(view, "unlearning")
    if not about:
        return Finding(ABSENT, "No unlearning was measured.")
    if about.get("reference") == "retrained":
        return Finding(PASSED, "Compared with a network that was retrained without the forgotten samples.")
    text = "No retrained network was compared: what is left cannot be told from what an unseen class shows."
    return Finding(ISSUE, text, action="Give `retrained=`.")


def width(view: View) -> Finding:
    """Whether samples are enough for in-sample measures: a caution where in-sample Procrustes, CCA or SVCCA was
    measured with fewer than five samples per feature. They then come out high for layers that have nothing in common.
    """
    about = _settings(view, "similarity")
    biased = [q for q in about.get("measures", ()) if q.endswith("_biased")]
    if not biased:
        return Finding(ABSENT, "No in-sample measure was taken.")
    widest = max(max(w) for w in about["widths"])
    n = int(about["samples"])
    if n >= WIDE * widest:
        return Finding(PASSED, f"Samples are {n // widest} times the widest layer's features.")
    text = f"{listed(biased)} are in sample, with {n} samples and up to {widest} features: biased upwards."
    return Finding(TIP, text, action="Read the debiased CKA or held-out measures.")
