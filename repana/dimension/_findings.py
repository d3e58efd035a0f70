"""Findings on intrinsic dimension: where it peaks, and whether it is one number."""

from repana._finding import ABSENT, PASSED, TIP, Finding, View, listed, value

PREFIX = "dimension."
FINE, COARSE = "two_nn_ml", "gride_16"
UNLIKE = 1.5  # samples of one split over those of another, from which estimates of both are not to be compared
EVEN = 1.08  # calibrated over raw, up to which scales are compared: beyond it samples are few, and bias sets them apart
SHORT = 1.15  # calibrated over raw, from which samples are few


def peak(view: View) -> Finding:
    """At which layer the estimated dimension (TwoNN) is largest, and where it ends. In networks trained to classify it
    rises and then falls towards the output (Ansuini et al. 2019).
    """
    rows = [r for r in view.rows(PREFIX + "two_nn") if r.value == r.value]
    if len(rows) < 3:
        return Finding(ABSENT, "The dimension of fewer than three layers is known.")
    top, last = max(rows, key=lambda r: r.value), rows[-1]
    text = f"Estimated dimension is largest at {top.layer}, {value(top)}, and {value(last)} at {last.layer}."
    return Finding(PASSED, text, (top.layer,))


def scales(view: View) -> Finding:
    """Whether the estimate of the two nearest neighbours and that of neighbours 16 and 32 agree: a tip names the layers
    whose intervals lie apart. There the dimension depends on the scale, and no single number describes the layer;
    curvature and noise do this (Schulte & Ruegamer 2026). Layers whose calibrated dimension is more than 8 % above
    the raw one are left out: there the sample is too small for the dimension, and coarse scales fall short for that
    alone.
    """
    coarse = {r.layer: r for r in view.rows(PREFIX + COARSE)}
    pairs = [(r, coarse[r.layer]) for r in view.rows(PREFIX + FINE) if r.layer in coarse]
    pairs = [(a, b) for a, b in pairs if a.low == a.low and b.low == b.low]
    if not pairs:
        return Finding(ABSENT, "No layer has estimates with intervals at two scales.")
    calibrated = {r.layer: r.value for r in view.rows(PREFIX + "two_nn_calibrated")}
    pairs = [(a, b) for a, b in pairs if not calibrated.get(a.layer, a.value) > EVEN * a.value]
    if not pairs:
        return Finding(ABSENT, "Samples are too few for the dimension of every layer to compare scales.")
    apart = [(a, b) for a, b in pairs if a.low > b.high or b.low > a.high]
    if not apart:
        return Finding(PASSED, f"Estimates at neighbours 2 and 32 agree at all {len(pairs)} layers.")
    a, b = max(apart, key=lambda pair: abs(pair[0].value - pair[1].value))
    names = [a.layer for a, _ in apart]
    text = f"The estimate depends on scale at {listed(names)}; most at {a.layer}: {value(a)} at the second neighbour, "
    return Finding(TIP, text + f"{value(b)} at the 32nd. Report it with its scale.", tuple(names))


def shortfall(view: View) -> Finding:
    """Whether there are samples enough for the dimension found: a tip names the layers where the calibrated TwoNN is
    more than 15 % above the raw one. There differences between layers are partly differences of bias, which grows with
    the dimension; more samples make it smaller, slowly.
    """
    raw = {r.layer: r for r in view.rows(PREFIX + FINE) if r.value > 0}
    pairs = [(raw[r.layer], r) for r in view.rows(PREFIX + "two_nn_calibrated") if r.layer in raw and r.value > 0]
    if not pairs:
        return Finding(ABSENT, "No layer has a calibrated dimension.")
    short = [(a, b) for a, b in pairs if b.value > SHORT * a.value]
    if not short:
        return Finding(PASSED, f"The calibrated dimension is within 15 % of the raw one at all {len(pairs)} layers.")
    a, b = max(short, key=lambda pair: pair[1].value / pair[0].value)
    names = [a.layer for a, _ in short]
    text = f"Samples are few for the dimension of {listed(names)}; most at {a.layer}: raw {a.value:.3g}, calibrated "
    return Finding(TIP, text + f"{b.value:.3g}. Give both, with n.", tuple(names))


def sizes(view: View) -> Finding:
    """Whether the splits have like numbers of samples. Estimates of dimension grow with the number of samples and look
    at a coarser scale with fewer, so that those of a large and a small split differ for that alone: a tip where one has
    more than 1.5 times the samples of another.
    """
    counts = {split: max((r.n for r in view.rows(PREFIX + FINE, split)), default=0) for split in view.splits}
    counts = {split: n for split, n in counts.items() if n}
    if len(counts) < 2:
        return Finding(ABSENT, "The dimension of one split is known.")
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    text = f"{most.replace('_', ' ')} has {counts[most]} samples, {least.replace('_', ' ')} {counts[least]}."
    if counts[most] <= UNLIKE * counts[least]:
        return Finding(PASSED, text)
    return Finding(TIP, f"{text} Compare their dimensions only after taking as many samples of each (max_samples=).")
