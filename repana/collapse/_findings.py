"""What neural collapse says: variability, simplex, duality, decisions, the closest classes, held-out data."""

import math

import numpy as np

from repana._estimate import Flag
from repana._finding import ABSENT, ALPHA, PASSED, TIP, Finding, View, listed, null, value
from repana._numbers import number
from repana._results import closest_pairs
from repana.errors import RepanaError

COLLAPSED = 0.001  # NC1 over its value without class structure, at or below which a layer counts as collapsed
CLOSE = 0.1  # distance of normalised Gram matrices, or of W and M, at or below which they count as equal
AGREES = 0.99  # share of decisions
WORSE = 2.0  # held-out NC1 over training NC1, above which collapse does not carry over
PREFIX = "neural_collapse."
NO_GEOMETRY = {Flag.TRIVIAL, Flag.NO_SIMPLEX, Flag.COINCIDING_MEANS}


def variability(view: View) -> Finding:
    """Whether features have shrunk to their class means at the input of the classifier: passed where the upper end of
    NC1's interval is at most 0.1 % of the value that shuffled labels give there. Layers of different width are
    compared by that share, since NC1 alone falls with width (Papyan, Han & Donoho 2020).
    """
    rows = [r for r in view.rows(PREFIX + "nc1") if math.isfinite(r.null)]
    if not rows:
        alone = "NC1 has no value without class structure to stand against (permutations=0)."
        return Finding(ABSENT, alone if view.rows(PREFIX + "nc1") else "NC1 was not measured.")
    done = tuple(r.layer for r in rows if _upper_end(r) <= COLLAPSED * r.null)
    last = next((r for r in rows if r.layer == view.last), rows[-1])
    text = f"NC1 at {last.layer} is {value(last)} against {null(last)} without class structure"
    share = f"{number(100 * last.value / last.null, 2)} % of it" if last.null > 0 else "no null"
    where = (
        f"Collapsed (at most 0.1 % of the null): {listed(done)}."
        if done
        else "No layer is at or below 0.1 % of its null."
    )
    return Finding(PASSED if last.layer in done else TIP, f"{text}, {share}. {where}", done)


def simplex(view: View) -> Finding:
    """Whether class means form a simplex equiangular tight frame at the input of the classifier: passed where the ETF
    error is at most 0.1, or no more than an exact simplex gives on as many samples (its floor), and less than under
    permuted labels (p < 0.05 after Holm over the layers): the means of random classes are close to a simplex in many
    dimensions too. It ranges from 0 to 2 (Zhu et al. 2021), and is trivially 0 for two classes.
    """
    row = view.at(PREFIX + "etf_error")
    if row is None:
        return Finding(ABSENT, "The geometry of class means was not measured.")
    if not NO_GEOMETRY.isdisjoint(row.flags):
        return Finding(ABSENT, f"At {row.layer}: {row.note}.")
    against = f", {null(row)} without class structure" if math.isfinite(row.null) else ""
    text = f"The ETF error of class means at {row.layer} is {value(row)}{against} (0: a simplex, 2: opposite)."
    exact = math.isfinite(row.floor_high) and row.value <= row.floor_high
    if math.isfinite(row.floor):
        much = "no more than" if exact else "more than"
        text += f" That is {much} an exact simplex gives on as many samples ({number(row.floor)})."
    p = view.p(PREFIX + "etf_error").get(row.layer)
    if p is not None and p >= ALPHA:
        text += " Permuted labels give as little."
    near = row.value <= CLOSE or exact
    return Finding(PASSED if near and (p is None or p < ALPHA) else TIP, text, (row.layer,))


def duality(view: View) -> Finding:
    """Whether the classifier's rows are proportional to the centred class means: passed where the self-duality distance
    is at most 0.1 (Papyan, Han & Donoho 2020).
    """
    row = view.at(PREFIX + "self_duality")
    if row is None:
        return Finding(ABSENT, "No classifier that reads a recorded layer is known.")
    used = view.report.about(view.run).get("settings", {}).get("neural_collapse", {}).get("convention")
    ends = "products form a simplex" if used == "zhu" else "rows and means are proportional"
    text = f"Self-duality at {row.layer} is {value(row)} (0: {ends}, {2 if used == 'zhu' else 4}: opposite)."
    return Finding(PASSED if row.value <= CLOSE else TIP, text, (row.layer,))


def nearest_mean(view: View) -> Finding:
    """Whether the network decides as the nearest class mean does: passed at 99 % of the samples or more."""
    row = view.at(PREFIX + "nc4")
    if row is None:
        return Finding(ABSENT, "No decisions of the network were recorded.")
    text = f"Network and nearest class mean agree on {value(row)} of the samples at {row.layer}."
    return Finding(PASSED if row.value >= AGREES else TIP, text, (row.layer,))


def closest(view: View) -> Finding:
    """The pair of classes with the largest class-distance normalised variance at the input of the classifier (Galanti
    et al. 2022): where confusions are to be expected first. Always a tip.
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
        return Finding(TIP, f"Classes {pair} have the same mean at {view.last}: CDNV is infinite.", (view.last,))
    times = grid[i, j] / np.median(values)
    text = f"Classes {pair} overlap most at {view.last}: CDNV {number(grid[i, j])}, {number(times, 2)} times the median"
    return Finding(TIP, f"{text} pair.", (view.last,))


def held_out(view: View) -> Finding:
    """Whether collapse is seen on held-out data: passed where held-out NC1 is at most twice the training NC1, and
    both are less than under permuted labels (p < 0.05 after Holm over the layers). Collapse is known to be weaker there
    (Hui, Belkin & Nakkiran 2022).
    """
    if len(view.splits) < 2:
        return Finding(ABSENT, "There is one split only; give `held_out=`.")
    train, other = (view.at(PREFIX + "nc1", split=split) for split in view.splits[:2])
    if train is None or other is None or not (train.value > 0 and math.isfinite(other.value)):
        return Finding(ABSENT, "NC1 of both splits is not in the report.")
    for split in view.splits[:2]:
        if view.p(PREFIX + "nc1", split).get(view.last, 0.0) >= ALPHA:
            where = split.replace("_", " ")
            return Finding(ABSENT, f"NC1 at {view.last} is not less than under permuted labels on {where}.")
    times = other.value / train.value
    names = [split.replace("_", " ") for split in view.splits[:2]]
    text = f"NC1 at {view.last} is {value(train)} on {names[0]} and {value(other)} on {names[1]}"
    text = f"{text}: {number(times, 2)} times."
    return Finding(PASSED if times <= WORSE else TIP, text, (view.last,))


def _upper_end(row) -> float:
    return row.high if math.isfinite(row.high) else row.value
