"""Findings on intrinsic dimension: where it peaks, and whether it is one number."""

import math
from collections.abc import Mapping

from repana._estimate import Estimate
from repana._finding import ABSENT, PASSED, TIP, Finding, View, counted, listed, split_name, value
from repana._numbers import number
from repana._results import Row
from repana.dimension._calibration import calibrated
from repana.dimension._distance_ratios import gride

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
        return Finding(ABSENT, "Intrinsic dimension is known at fewer than three layers.")
    top, last = max(rows, key=lambda r: r.value), rows[-1]
    text = f"Intrinsic dimension (TwoNN) peaks at {view.place(top.layer)}: {value(top)}"
    text += "." if top is last else f"; {value(last)} at {view.place(last.layer)}."
    return Finding(PASSED, text, (top.layer,))


def scales(view: View) -> Finding:
    """Whether the estimate of the two nearest neighbours and that of neighbours 16 and 32 agree: a caution names the
    layers whose intervals lie apart, both as they are and calibrated by balls of each scale. There the dimension
    depends on the scale, and no single number describes the layer; curvature and noise do this (Schulte & Ruegamer
    2026). Layers whose calibrated dimension is more than 8% above the raw one are left out: there samples are too few
    for the dimension, and coarse scales fall short for that alone.
    """
    fine = {r.layer: r for r in view.rows(PREFIX + "two_nn_calibrated")}
    raw = {r.layer: r for r in view.rows(PREFIX + FINE) if math.isfinite(r.low)}
    coarse = [r for r in view.rows(PREFIX + COARSE) if r.layer in raw and math.isfinite(r.low)]
    if not coarse:
        return Finding(ABSENT, "No layer has estimates with intervals at two scales.")
    pairs = [(raw[r.layer], r) for r in coarse if not _value(fine, r.layer) > EVEN * raw[r.layer].value]
    if not pairs:
        return Finding(ABSENT, "Samples are too few for the dimension of every layer to compare scales.")
    level = view.report.level(view.run)
    apart = [(a, b) for a, b in pairs if _apart(a, b) and _apart(fine.get(a.layer, a), _calibrated(b, level))]
    if not apart:
        return Finding(
            PASSED, f"Intrinsic dimension does not depend on scale: estimates agree at {counted(len(pairs), len(raw))}."
        )
    a, b = max(apart, key=lambda pair: abs(pair[0].value - pair[1].value))
    names = [a.layer for a, _ in apart]
    where = f"all {len(names)} layers" if len(names) == len(raw) > 1 else listed(names)
    text = f"Intrinsic dimension is scale-dependent at {where} ({a.layer}: {number(a.value, 2)} at the 2nd neighbour, "
    return Finding(TIP, text + f"{number(b.value, 2)} at the 32nd).", tuple(names), "State the scale.")


def _value(rows: Mapping[str, Row], layer: str) -> float:
    return rows[layer].value if layer in rows else math.nan


def _apart(a: Row | Estimate, b: Row | Estimate) -> bool:
    return a.low > b.high or b.low > a.high


def _calibrated(r: Row, level: float) -> Row | Estimate:
    """A coarse estimate calibrated by balls, or as it is where there is no curve for so many samples."""
    found = calibrated(Estimate(r.value, r.low, r.high, r.n), gride, level, n1=16, n2=32)
    return found if math.isfinite(found.low) else r


def shortfall(view: View) -> Finding:
    """Whether there are samples enough for the dimension found: a caution names the layers where the calibrated TwoNN
    is more than 15% above the raw one. There differences between layers are partly differences of bias, which grows
    with the dimension; more samples make it smaller, slowly.
    """
    raw = {r.layer: r for r in view.rows(PREFIX + FINE) if r.value > 0}
    pairs = [(raw[r.layer], r) for r in view.rows(PREFIX + "two_nn_calibrated") if r.layer in raw and r.value > 0]
    if not pairs:
        return Finding(ABSENT, "No layer has a calibrated dimension.")
    short = [(a, b) for a, b in pairs if b.value > SHORT * a.value]
    if not short:
        return Finding(
            PASSED, f"Samples suffice: calibrated and raw dimension agree within 15% at {counted(len(pairs))}."
        )
    a, b = max(short, key=lambda pair: pair[1].value / pair[0].value)
    names = [a.layer for a, _ in short]
    text = f"Intrinsic dimension is underestimated at {listed(names)} with so few samples ({a.layer}: raw "
    text += f"{number(a.value, 2)}, calibrated {number(b.value, 2)})."
    return Finding(TIP, text, tuple(names), "Report raw and calibrated values with n.")


def sizes(view: View) -> Finding:
    """Whether the splits have like numbers of samples. Estimates of dimension grow with the number of samples and look
    at a coarser scale with fewer, so that those of a large and a small split differ for that alone: a caution where one
    has more than 1.5 times the samples of another.
    """
    counts = {split: max((r.n for r in view.rows(PREFIX + FINE, split)), default=0) for split in view.splits}
    counts = {split: n for split, n in counts.items() if n}
    if len(counts) < 2:
        return Finding(ABSENT, "Intrinsic dimension is known for one split.")
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    numbers = f"{counts[most]:,} {split_name(most)} and {counts[least]:,} {split_name(least)} samples"
    if counts[most] <= UNLIKE * counts[least]:
        return Finding(PASSED, f"Splits are of like size ({numbers}).")
    text = f"Splits differ in size ({numbers}), and dimension estimates grow with n."
    return Finding(TIP, text, action=f"Compare dimensions at equal n (`max_samples={counts[least]}`).")
