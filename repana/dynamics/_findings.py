"""Findings on a training: collapse past zero error, the order in which layers settle, what a stopping rule found."""

import math
from typing import Any

from repana._finding import ABSENT, PASSED, TIP, Finding, View, listed
from repana._numbers import number, percent
from repana._results import penultimate
from repana.dynamics._stopping import LABEL_FREE

FOLLOWS = 0.5  # rank correlation from which a score is said to follow the accuracy
LOST = 0.05  # of accuracy, from which a rule is said to have failed
FEW = 5  # records below which nothing is said of a training


def _settings(view: View) -> Any:
    return view.report.about(view.run).get("settings", {}).get("dynamics", {})


def _network(view: View, quantity: str) -> Any:
    return next(iter(view.rows(f"dynamics.{quantity}")), None)


def past_zero_error(view: View) -> Finding:
    """Whether within-class variability goes on falling after the first record without training error, the terminal
    phase of training: a result gives the slope of ln NC1 over the step at the input of the classifier, and whether its
    interval leaves out 0. Needs a `train_probe` with labels.
    """
    zero = _network(view, "zero_error_step")
    if zero is None:
        why = (
            "no record has zero training error" if _settings(view).get("train_probe") else "no `train_probe` was given"
        )
        return Finding(ABSENT, f"The terminal phase of training was not seen: {why}.")
    bound = _network(view, "zero_error_bound")
    text = f"Training error is zero from step {zero.value:.0f} on"
    text += f" (on {zero.n} samples: below {percent(bound.value, 2)} in truth)" if bound is not None else ""
    rows = {r.layer: r for r in view.rows("dynamics.nc1_slope_after")}
    r = rows.get(_last_layer(view)) or next(reversed(rows.values()), None)
    if r is None or not math.isfinite(r.value):
        return Finding(PASSED, f"{text}; too few records follow to tell whether NC1 goes on falling.")
    factor = f"by a factor of {number(math.exp(1000 * r.value), 2)} per 1000 steps"
    if not math.isfinite(r.low):
        why = r.note or "no interval"
        return Finding(PASSED, f"{text}; NC1 at {r.layer} changes {factor} after it ({why}).", (r.layer,))
    if r.high < 0:
        return Finding(PASSED, f"{text}; NC1 at {r.layer} goes on falling, {factor}.", (r.layer,))
    if r.low > 0:
        return Finding(PASSED, f"{text}; NC1 at {r.layer} rises after it, {factor}.", (r.layer,))
    return Finding(PASSED, f"{text}; no trend of NC1 at {r.layer} is told apart from 0 after it.", (r.layer,))


def settling(view: View) -> Finding:
    """In which order layers reach their final representation: a result names the layers whose debiased CKA with the
    last record is at least 0.95 for good first and last. Of five records or more.
    """
    rows = [r for r in view.rows("dynamics.settled_step") if math.isfinite(r.value) and r.layer != "input"]
    if len(rows) < 2 or rows[0].n < FEW:
        return Finding(ABSENT, "Too few records with features to say in which order layers settle.")
    first, last = min(rows, key=lambda r: r.value), max(rows, key=lambda r: r.value)
    if first.value == last.value:
        return Finding(PASSED, f"All {len(rows)} layers settle at the same record, step {first.value:.0f}.")
    ranks = [r.value for r in rows]
    upward = all(a <= b for a, b in zip(ranks, ranks[1:]))
    order = "Layers settle from the input upwards" if upward else "Layers settle at different times"
    early = [r.layer for r in rows if r.value == first.value]
    late = [r.layer for r in rows if r.value == last.value]
    text = f"{order}: {listed(early)} from step {first.value:.0f} on, {listed(late)} from step {last.value:.0f} on."
    return Finding(PASSED, text, tuple(early + late))


def stopping(view: View) -> Finding:
    """What the stopping rule found: the step with the best smoothed score, the step at which the rule stops, and, where
    the probe set has labels, how much accuracy that record lacks to the best one.
    """
    rule = _settings(view).get("rule")
    best, stop, lost = (_network(view, q) for q in ("best_step", "stop_step", "regret"))
    if rule is None or best is None:
        return Finding(ABSENT, "No stopping rule was asked for (`stop_on=`).")
    where = f" at {best.label}" if best.label else ""
    analyzer, _, name = rule["quantity"].rpartition(".")
    text = f"{view.report.quantity(analyzer, name).label}{where} is best at step {best.value:.0f}"
    if stop is not None and math.isfinite(stop.value):
        text += f"; the rule (patience {rule['patience']}) stops at step {stop.value:.0f}"
    else:
        text += f"; the rule (patience {rule['patience']}) does not stop"
    if lost is not None and math.isfinite(lost.value):
        text += f"; the best record there has {percent(lost.value, 2)} less accuracy than the best of all"
        text = text.replace("has 0% less accuracy than", "is as accurate as")
    return Finding(PASSED, f"{text}.", (best.label,) if best.label else ())


def follows(view: View) -> Finding:
    """Whether the score without labels follows the accuracy in this training: a caution where the rank correlation over
    records is below 0.5, where the record that the rule names lacks more than 0.05 of accuracy, and where the probe set
    has no labels. H0 separability follows the accuracy in networks with LayerNorm more often (rank correlations of .60
    to .80 over 600 steps in six trained from scratch on digits) than without (-.53 to .56), and may peak in the first
    steps, before classes form: give the rule a `burn_in`.
    """
    rule = _settings(view).get("rule")
    rows = {r.layer: r for r in view.rows("dynamics.score_correlation")}
    best = _network(view, "best_step")
    if rule is None or rule["quantity"] not in LABEL_FREE:
        return Finding(ABSENT, "No rule without labels was asked for.")
    if not _settings(view).get("labels"):
        text = "No evidence that the score follows the accuracy: the probe set has no labels."
        return Finding(TIP, text, action="Label a few hundred samples, or do not stop by it.")
    layer = best.label if best is not None and best.label in rows else _last_layer(view)
    r = rows.get(layer)
    if r is None or not math.isfinite(r.value):
        text = "Too few records to tell whether the score follows the accuracy."
        return Finding(TIP, text, action="Record more often.")
    analyzer, _, name = rule["quantity"].rpartition(".")
    score = f"{view.report.quantity(analyzer, name).label} at {layer}"
    with_it, lost = f"rank correlation {number(r.value, 2)}", _network(view, "regret")
    if r.value < FOLLOWS:
        text = f"{score} does not follow the accuracy in this training: {with_it} over {r.n} records."
        return Finding(TIP, text, (layer,), "Do not stop by it; it fails in networks without LayerNorm.")
    if best is not None and lost is not None and lost.value > LOST:
        text = f"The record that {score} names, step {best.value:.0f}, has {percent(lost.value, 2)} less accuracy than "
        text += f"the best, although the two go together ({with_it})."
        return Finding(TIP, text, (layer,), "Give the rule a `burn_in`: early peaks come before classes form.")
    return Finding(PASSED, f"{score} follows the accuracy in this training ({with_it} over {r.n} records).", (layer,))


def records(view: View) -> Finding:
    """Whether the monitor recorded what it was asked for: a caution where records failed, or where it switched itself
    off; and how many were skipped to stay within the budget.
    """
    about = _settings(view)
    overhead = _network(view, "overhead")
    took = f", in {percent(overhead.value, 2)} of the time" if overhead is not None else ""
    failed, skipped = about.get("failed", ()), about.get("skipped", 0)
    many = counted_records(about.get("records", 0))
    if failed:
        text = f"{len(failed)} of {len(failed) + about.get('records', 0)} records failed; the last at step "
        text += f"{failed[-1]['step']}: {failed[-1]['error']}"
        off = " The monitor switched itself off." if about.get("off") else ""
        return Finding(TIP, f"{text.removesuffix('.')}.{off}", action="Read the errors in `monitor.failures`.")
    left = f"; {skipped} were skipped to stay within the budget" if skipped else ""
    return Finding(PASSED, f"{many} made{took}{left}.")


def counted_records(count: int) -> str:
    return "One record was" if count == 1 else f"{count} records were"


def _last_layer(view: View) -> str:
    """The input of the classifier of the last record."""
    steps = [run for run in view.report.runs if not math.isnan(view.report.step(run))]
    return penultimate(view.report, steps[-1]) if steps else ""
