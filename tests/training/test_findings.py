"""What a report says of a training: from planted rows, each finding in each of its outcomes."""

import math
from dataclasses import replace

import pytest

from repana import Estimate, Report, concat
from repana._results import row
from repana.findings import FINDINGS, explanations, summarise


def record(step, values):
    """A record of two layers; `values` are (split, layer, analyzer, quantity, value)."""
    rows = tuple(
        row(f"step {step}", split, layer, ["", "a", "b"].index(layer), analyzer, name, Estimate(value, n=100))
        for split, layer, analyzer, name, value in values
    )
    known = {"training.h0_entropy": {"title": "H0 separability", "better": "higher"}}
    splits = {"probe": {"samples": 100, "kept": 100}}
    return Report(rows, {}, {"run": f"step {step}", "step": step, "splits": splits, "quantities": known})


def whole(*values, **settings):
    """A report of six records with what is read of all of them."""
    records = [
        record(s, [("probe", layer, "training", "h0_entropy", 0.1 * s) for layer in "ab"]) for s in range(0, 60, 10)
    ]
    rows = tuple(
        row("training", "all", layer, ["", "a", "b"].index(layer), "dynamics", name, estimate)
        for layer, name, estimate in (*values, ("", "records", Estimate(6.0)))
    )
    about = {"records": 6, "skipped": 0, "failed": [], "off": False, "rule": None, "train_probe": True, "labels": True}
    provenance = {"run": "training", "compared": "dynamics", "settings": {"dynamics": {**about, **settings}}}
    return concat([*records, Report(rows, {}, provenance)])


def one(report, code):
    return next(f for f in report.findings("training") if f.code == code)


ZERO = ("", "zero_error_step", Estimate(30.0, n=100))
BOUND = ("", "zero_error_bound", Estimate(0.037, n=100))


@pytest.mark.parametrize(
    ("values", "settings", "severity", "words"),
    [
        ((), {"train_probe": False}, "not applicable", "no `train_probe` was given"),
        ((), {}, "not applicable", "no record has zero training error"),
        ((ZERO, BOUND), {}, "passed", "from step 30 on (on 100 samples: below 3.7% in truth); too few records"),
        ((ZERO, BOUND, ("a", "nc1_slope_after", Estimate(-0.001, -0.002, -0.0005))), {}, "passed",
         "NC1 at a goes on falling, by a factor of 0.37 per 1000 steps"),
        ((ZERO, BOUND, ("a", "nc1_slope_after", Estimate(0.001, 0.0005, 0.002))), {}, "passed", "rises after it"),
        ((ZERO, BOUND, ("a", "nc1_slope_after", Estimate(0.001, -0.0005, 0.002))), {}, "passed", "no trend of NC1"),
        ((ZERO, BOUND, ("a", "nc1_slope_after", Estimate(-0.001, note="no interval: 3 records"))), {}, "passed",
         "(no interval: 3 records)"),
    ],
)  # fmt: skip
def test_past_zero_error(values, settings, severity, words):
    found = one(whole(*values, **settings), "RF801")
    assert found.severity == severity
    assert words in found.text


def settled(a, b, n=6):
    return (("a", "settled_step", Estimate(a, n=n)), ("b", "settled_step", Estimate(b, n=n)))


@pytest.mark.parametrize(
    ("values", "severity", "words"),
    [
        ((), "not applicable", "Too few records"),
        (settled(10.0, 40.0, 4), "not applicable", "Too few records"),
        (settled(10.0, 40.0), "passed", "from the input upwards: a from step 10 on, b from step 40 on"),
        (settled(40.0, 10.0), "passed", "at different times: b from step 10 on, a from step 40 on"),
        (settled(20.0, 20.0), "passed", "All 2 layers settle at the same record, step 20"),
        (settled(20.0, math.nan), "not applicable", "Too few records"),
    ],
)
def test_settling(values, severity, words):
    found = one(whole(*values), "RF802")
    assert found.severity == severity
    assert words in found.text


RULE = {"quantity": "training.h0_entropy", "layer": None, "patience": 3}
BEST = ("", "best_step", Estimate(20.0, n=6, label="b"))


@pytest.mark.parametrize(
    ("values", "settings", "severity", "words"),
    [
        ((), {}, "not applicable", "No stopping rule"),
        ((BEST, ("", "stop_step", Estimate(50.0)), ("", "regret", Estimate(0.02))), {"rule": RULE}, "passed",
         "H0 separability at b is best at step 20; the rule (patience 3) stops at step 50; the best record there has "
         "2% less accuracy"),
        ((BEST, ("", "stop_step", Estimate(math.nan))), {"rule": RULE}, "passed", "does not stop."),
        ((BEST, ("", "regret", Estimate(0.0))), {"rule": RULE}, "passed", "is as accurate as the best of all"),
    ],
)  # fmt: skip
def test_stopping(values, settings, severity, words):
    found = one(whole(*values, **settings), "RF803")
    assert found.severity == severity
    assert words in found.text


@pytest.mark.parametrize(
    ("values", "settings", "severity", "words"),
    [
        ((), {}, "not applicable", "No rule without labels"),
        ((BEST,), {"rule": {**RULE, "quantity": "training.loss"}}, "not applicable", "No rule without labels"),
        ((BEST,), {"rule": RULE, "labels": False}, "tip", "No evidence that the score follows the accuracy"),
        ((BEST, ("b", "score_correlation", Estimate(math.nan, n=3))), {"rule": RULE}, "tip", "Too few records"),
        ((BEST, ("b", "score_correlation", Estimate(0.9, n=6))), {"rule": RULE}, "passed",
         "follows the accuracy in this training (rank correlation 0.90 over 6 records)"),
        ((BEST, ("b", "score_correlation", Estimate(-0.2, n=6))), {"rule": RULE}, "tip", "does not follow"),
        ((BEST, ("b", "score_correlation", Estimate(0.9, n=6)), ("", "regret", Estimate(0.4))), {"rule": RULE}, "tip",
         "names, step 20, has 40% less accuracy than the best"),
    ],
)  # fmt: skip
def test_the_score_follows_the_accuracy(values, settings, severity, words):
    found = one(whole(*values, **settings), "RF804")
    assert found.severity == severity
    assert words in found.text
    assert bool(found.action) == (severity == "tip")


def test_records_of_the_monitor():
    told = one(whole(("", "overhead", Estimate(0.043)), skipped=4), "RF805")
    assert told.severity == "passed"
    assert told.text == "6 records were made, in 4.3% of the time; 4 were skipped to stay within the budget."
    failed = one(whole(failed=[{"step": 20, "error": "boom"}], off=True), "RF805")
    assert failed.kind == "caution"
    assert failed.text == "1 of 7 records failed; the last at step 20: boom. The monitor switched itself off."


def test_the_summary_of_a_training_begins_with_it():
    report = whole(BEST, ZERO, BOUND, ("b", "score_correlation", Estimate(-0.2, n=6)), rule=RULE)
    first, second, third, *_ = summarise(report)
    assert first.startswith("H0 separability at b is best")
    assert second.startswith("Training error is zero from step 30 on")
    assert third.startswith("One caution: H0 separability at b does not follow")
    assert report.profiles == tuple(f"step {s}" for s in range(0, 60, 10))
    plain = replace(report, rows=tuple(r for r in report.rows if r.run != "training"))
    assert "zero" not in " ".join(summarise(plain))


def test_every_finding_of_a_training_is_tested_and_explained():
    assert {code for code, rule in FINDINGS.items() if "dynamics" in rule.reads} == {f"RF80{k}" for k in range(1, 6)}
    assert all(len(explanations()[f"RF80{k}"][1].split()) > 15 for k in range(1, 6))
