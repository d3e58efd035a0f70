"""What neural collapse says: variability, simplex, duality, decisions, the closest classes, held-out data."""

import math

import numpy as np

from repana._estimate import Flag
from repana._finding import ABSENT, ALPHA, PASSED, TIP, Finding, View, fraction, listed, share, split_name, value
from repana._numbers import number
from repana._results import closest_pairs
from repana.errors import RepanaError

COLLAPSED = 0.001  # NC1 over its shuffled-label null, at or below which a layer counts as collapsed
CLOSE = 0.1  # distance of normalised Gram matrices, or of W and M, at or below which they count as equal
AGREES = 0.99  # share of decisions
WORSE = 2.0  # held-out NC1 over training NC1, above which collapse does not carry over
PREFIX = "neural_collapse."
NO_GEOMETRY = {Flag.TRIVIAL, Flag.NO_SIMPLEX, Flag.COINCIDING_MEANS}


def variability(view: View) -> Finding:
    """Whether features have shrunk to their class means at the input of the classifier: passed where the upper end of
    NC1's interval is at most 0.1% of the value that shuffled labels give there. Layers of different width are
    compared by that share, since NC1 alone falls with width (Papyan, Han & Donoho 2020).
    """
    rows = [r for r in view.rows(PREFIX + "nc1") if math.isfinite(r.null)]
    if not rows:
        alone = "NC1 has no shuffled-label null to compare with (permutations=0)."
        return Finding(ABSENT, alone if view.rows(PREFIX + "nc1") else "NC1 was not measured.")
    done = tuple(r.layer for r in rows if _upper_end(r) <= COLLAPSED * r.null)
    last = next((r for r in rows if r.layer == view.last), rows[-1])
    part = f", {fraction(last.value / last.null)} of the shuffled-label null" if last.null > 0 else ""
    numbers = f"NC1 at {view.place(last.layer)} is {value(last)}{part}"
    if last.layer in done:
        others = [layer for layer in done if layer != last.layer]
        also = f"; so have those of {listed(others)}" if others else ""
        return Finding(PASSED, f"Features have collapsed onto their class means: {numbers}{also}.", done)
    where = f" Collapsed layers: {listed(done)}." if done else ""
    return Finding(TIP, f"Features have not collapsed: {numbers} (collapse: 0.1% or less).{where}", done)


def simplex(view: View) -> Finding:
    """Whether class means form a simplex equiangular tight frame at the input of the classifier: passed where the ETF
    error is at most 0.1, or no more than an exact simplex gives on as many samples (its floor), and less than under
    shuffled labels (p < 0.05 after Holm over the layers): the means of random classes are close to a simplex in many
    dimensions too. It ranges from 0 to 2 (Zhu et al. 2021), and is trivially 0 for two classes.
    """
    row = view.at(PREFIX + "etf_error")
    if row is None:
        return Finding(ABSENT, "The geometry of class means was not measured.")
    if not NO_GEOMETRY.isdisjoint(row.flags):
        return Finding(ABSENT, f"At {view.place(row.layer)}: {row.note}.")
    exact = math.isfinite(row.floor_high) and row.value <= row.floor_high
    near, p = row.value <= CLOSE or exact, view.p(PREFIX + "etf_error").get(row.layer)
    numbers = [f"ETF error {value(row)}"]
    numbers += [f"shuffled labels {number(row.null, 2)}"] if math.isfinite(row.null) else []
    numbers += [f"an exact simplex at this n {number(row.floor, 2)}"] if math.isfinite(row.floor) else []
    detail = "; ".join([*numbers, f"threshold {CLOSE:.2f}"])
    if p is not None and p >= ALPHA:
        text = f"No evidence of a simplex at {view.place(row.layer)}: with shuffled labels class means are as close to "
        return Finding(TIP, f"{text}one ({detail}).", (row.layer,))
    if near:
        what = "as close to a simplex as an exact one" if exact and row.value > CLOSE else "close to a simplex"
        return Finding(PASSED, f"Class means are {what}: {detail}.", (row.layer,))
    kind = "closer to a simplex than with shuffled labels, but not at one" if p is not None else "not at a simplex"
    return Finding(TIP, f"Class means are {kind}: {detail}.", (row.layer,))


def duality(view: View) -> Finding:
    """Whether the classifier's rows are proportional to the centred class means: passed where the self-duality distance
    is at most 0.1 (Papyan, Han & Donoho 2020).
    """
    row = view.at(PREFIX + "self_duality")
    if row is None:
        return Finding(ABSENT, "No classifier that reads a recorded layer is known.")
    used = view.report.about(view.run).get("settings", {}).get("neural_collapse", {}).get("convention")
    ends = "products form a simplex" if used == "zhu" else "aligned"
    scale = f"NC3 distance {value(row)} on a scale from 0 ({ends}) to {2 if used == 'zhu' else 4} (opposite)"
    if row.value <= CLOSE:
        return Finding(PASSED, f"Classifier weights align with class means ({scale}).", (row.layer,))
    return Finding(TIP, f"Classifier weights do not align with class means ({scale}).", (row.layer,))


def nearest_mean(view: View) -> Finding:
    """Whether the network decides as the nearest class mean does: passed at 99% of the samples or more."""
    row = view.at(PREFIX + "nc4")
    if row is None:
        return Finding(ABSENT, "No decisions of the network were recorded.")
    text = f"Nearest-class-mean decisions agree with the network's on {share(row)} of samples."
    return Finding(PASSED if row.value >= AGREES else TIP, text, (row.layer,))


def closest(view: View) -> Finding:
    """The pair of classes with the largest class-distance normalised variance at the input of the classifier (Galanti
    et al. 2022): where confusions are to be expected first.
    """
    try:
        grid = view.report.array(PREFIX + "cdnv_grid", view.last, run=view.run, split=view.splits[0])
    except RepanaError:
        return Finding(ABSENT, f"The CDNV of class pairs at {view.last} is not in the report.")
    i, j = closest_pairs(grid, 1)[0]
    values = grid[np.tril_indices(len(grid), -1)]
    known = view.report.classes(view.run, view.splits[0])
    names = known if len(known) == len(grid) else tuple(map(str, range(len(grid))))
    pair = f"{names[j]} and {names[i]}"
    if math.isinf(grid[i, j]):
        where = view.place(view.last)
        return Finding(TIP, f"Closest classes: {pair} have the same mean at {where} (infinite CDNV).", (view.last,))
    numbers = f"CDNV {number(grid[i, j], 2)}"
    if len(values) == 1:
        return Finding(TIP, f"Classes {pair}: {numbers} at {view.place(view.last)} (0: no overlap).", (view.last,))
    numbers += f", {number(grid[i, j] / np.median(values), 2)}x the median pair"
    return Finding(TIP, f"Closest classes: {pair} ({numbers}).", (view.last,))


def held_out(view: View) -> Finding:
    """Whether collapse is seen on held-out data: passed where held-out NC1 is at most twice the training NC1, and
    both are less than under shuffled labels (p < 0.05 after Holm over the layers). Collapse is known to be weaker there
    (Hui, Belkin & Nakkiran 2022).
    """
    if len(view.splits) < 2:
        return Finding(ABSENT, "There is no held-out split (`held_out=`).")
    train, other = (view.at(PREFIX + "nc1", split=split) for split in view.splits[:2])
    if train is None or other is None or not (train.value > 0 and math.isfinite(other.value)):
        return Finding(ABSENT, "NC1 of both splits is not in the report.")
    for split in view.splits[:2]:
        if view.p(PREFIX + "nc1", split).get(view.last, 0.0) >= ALPHA:
            where = f"{view.place(view.last)} of the {split_name(split)} split"
            return Finding(ABSENT, f"NC1 at {where} is no smaller than with shuffled labels.")
    times = other.value / train.value
    names = [split_name(split) for split in view.splits[:2]]
    numbers = f"NC1 {value(other)} against {number(train.value, 2)} in {names[0]} ({number(times, 2)}x)"
    if times <= WORSE:
        return Finding(PASSED, f"Collapse carries over to {names[1]} data: {numbers}.", (view.last,))
    return Finding(TIP, f"Collapse is weaker on {names[1]} data: {numbers}.", (view.last,))


def _upper_end(row) -> float:
    return row.high if math.isfinite(row.high) else row.value
