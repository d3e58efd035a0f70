"""Findings: each says the right thing where it is true, the opposite where it is not, and nothing where unknown."""

import math
from dataclasses import replace

import numpy as np
import pytest
from planted import classes, planted

import repana
from repana import Report
from repana._estimate import Estimate, Flag
from repana.findings import FINDINGS, KINDS, explanations

COUNTS = {"train": {"a": 40, "b": 50}}


def one(report: Report, code: str):
    found = [f for f in report.findings() if f.code == code]
    assert len(found) == 1
    return found[0]


def both(train: float, held: float, name: str, **intervals) -> Report:
    """Two layers and two splits, the numbers at the input of the classifier."""
    a = planted(["x", "h", "fc"], [Estimate(train, train - 0.01, train + 0.01)] * 3, name=name)
    b = planted(["x", "h", "fc"], [Estimate(held, held - 0.01, held + 0.01)] * 3, name=name, split="held_out")
    return Report(a.rows + b.rows, {}, a.provenance)


def scaled(fine: Estimate, coarse: Estimate, name: str = "gride_16") -> Report:
    """One layer with two estimates of its dimension, at two scales or raw and calibrated."""
    a = planted(["a"], [fine], name="two_nn_ml", analyzer="dimension")
    return Report(a.rows + planted(["a"], [coarse], name=name, analyzer="dimension").rows, {}, a.provenance)


def sized(train: int, held: int) -> Report:
    """The dimension of one layer on two splits of so many samples."""
    a = planted(["a"], [Estimate(5.0, n=train)], name="two_nn_ml", analyzer="dimension")
    b = planted(["a"], [Estimate(5.0, n=held)], name="two_nn_ml", analyzer="dimension", split="held_out")
    return Report(a.rows + b.rows, {}, a.provenance)


def clustered(thornton: list[float], scores: list[float]) -> Report:
    """Thornton's index and the H0 score of four layers."""
    a = planted("abcd", thornton, name="thornton", analyzer="separability")
    return Report(a.rows + planted("abcd", scores, name="h0_entropy", analyzer="topology").rows, {}, a.provenance)


def probed(accuracy=(0.3, 0.9, 0.95), name="linear_probe", **more) -> Report:
    """Linear probes of the input and two layers, the last one chosen, with whatever else was measured."""
    layers = ["input", "conv", "fc"]
    wide = [Estimate(a, a - 0.03, a + 0.03) for a in accuracy]
    made = planted(layers, wide, name=name, analyzer="probing")
    rows = [*made.rows, *planted(layers, accuracy, name="validation_accuracy", analyzer="probing").rows]
    for other, values in more.items():
        analyzer = "probe_baselines" if other in ("reinitialised", "random_projection") else "probing"
        rows += planted(layers, values, name=other, analyzer=analyzer).rows
    best = planted([""], [Estimate(accuracy[2], accuracy[2] - 0.03, accuracy[2] + 0.03, label="fc")],
                   name="chosen_accuracy", analyzer="layer_choice")  # fmt: skip
    return Report((*rows, *best.rows), {}, made.provenance)


def joined(*parts: Report) -> Report:
    return Report(tuple(r for p in parts for r in p.rows), {}, parts[0].provenance)


SIMPLE = Estimate(-0.5, -0.7, -0.3, 24, "", 0.0, -0.4, 0.4, label="re-initialised")


def featured(decoded=(0.1, 0.6, 1.0), rho=SIMPLE, flags=()) -> Report:
    """Features read from the input and two layers, their complexity and what it has to do with importance."""
    made = planted(["input", "conv", "fc"], list(decoded), name="decoded", analyzer="layer_readings")
    rows = [*made.rows, *planted([""], [rho], name="rank_correlation", analyzer="complexity_vs_importance").rows]
    mean = Estimate(0.3, 0.2, 0.4, 500, flags=flags)
    rows += planted([""], [mean], name="mean_complexity", analyzer="complexity").rows
    about = {"complexity": {"constant": 2, "units": 9, "twins": [], "widths": {"input": 8, "conv": 200, "fc": 101}}}
    return Report(tuple(rows), {}, {**made.provenance, "settings": about})


RHO = "Spearman's rho of complexity and importance over 24 features is {}"
READ = "{} of the features that the classifier reads can be read linearly from {} on."
UNMEASURED = "The complexity of features was not measured."
QUOTIENT = {"name": "quotient", "analyzer": "fisher"}
EARLIEST = (
    " is the earliest layer within one point of the best linear probe on the validation split; the one chosen there, "
    "fc, reads 0.950 [0.920, 0.980] of the test split."
)
MEMORY = "The training accuracy of a linear probe on shuffled labels is {} at {}"
LOSES = "Test accuracy of the linear probe is {} points below training accuracy at {}"
CASES = [
    ("RF601", featured(), "passed", "60% of penultimate units are linearly decodable by conv."),
    ("RF601", featured((0.5, 0.6, 1.0)), "tip", "50% of penultimate units are linearly decodable by input."),
    (
        "RF601",
        featured((0.1, 0.2, 0.3)),
        "not applicable",
        "No layer before the penultimate one decodes half of its units.",
    ),
    ("RF601", planted(["a"], [1.0]), "not applicable", UNMEASURED),
    (
        "RF602",
        featured(),
        "passed",
        "The decision rests on the simple features (rho = -0.50 [-0.70, -0.30], 24 features; re-initialised "
        "networks -0.40 to 0.40).",
    ),
    (
        "RF602",
        featured(rho=Estimate(0.5, 0.3, 0.7, 24, "", 0.0, -0.4, 0.4, label="re-initialised")),
        "tip",
        "The decision rests on the complex features (rho = 0.50 [0.30, 0.70], 24 features; re-initialised "
        "networks -0.40 to 0.40).",
    ),
    (
        "RF602",
        featured(rho=Estimate(0.0, -0.5, 0.5, 24, "", -0.6, -0.9, -0.3, label="re-initialised")),
        "tip",
        "The decision rests less on simple features than without training (rho = 0.00 [-0.50, 0.50], 24 "
        "features; re-initialised networks -0.90 to -0.30).",
    ),
    (
        "RF602",
        featured(rho=Estimate(0.1, -0.3, 0.5, 24, "", 0.0, -0.4, 0.4, label="re-initialised")),
        "tip",
        "No detectable preference for simple or complex features (rho = 0.10 [-0.30, 0.50], 24 features; re-"
        "initialised networks -0.40 to 0.40).",
    ),
    (
        "RF602",
        featured(rho=Estimate(-0.5, -0.7, -0.3, 24, "", 0.0, -0.4, 0.4)),
        "not applicable",
        "Complexity and importance (rho = -0.50 [-0.70, -0.30], 24 features) need re-initialised networks to "
        "compare with (`baselines=3`).",
    ),
    (
        "RF602",
        planted(["a"], [1.0]),
        "not applicable",
        "Complexity and importance of features were not measured together.",
    ),
    (
        "RF603",
        featured(flags=(Flag.FEW_SAMPLES, Flag.CONSTANT)),
        "tip",
        "Penultimate units: 2 of 9 units never vary.",
    ),
    ("RF603", featured(), "passed", "No penultimate unit is constant or a copy of another."),
    ("RF603", planted(["a"], [1.0]), "not applicable", UNMEASURED),
    (
        "RF604",
        featured(flags=(Flag.FEW_SAMPLES,)),
        "tip",
        "Feature complexity is overestimated at conv, fc: fewer than 5 samples per unit.",
    ),
    ("RF604", featured(), "passed", "Samples suffice for feature complexity (500, at least 5 per unit)."),
    ("RF604", planted(["a"], [1.0]), "not applicable", UNMEASURED),
    (
        "RF501",
        probed(),
        "passed",
        "fc is the earliest layer within 1 point of the best linear probe (validation); it reaches 95% [92, "
        "98] on the test split.",
    ),
    (
        "RF501",
        probed((0.3, 0.945, 0.95)),
        "passed",
        "conv is the earliest layer within 1 point of the best linear probe (validation); the selected layer,"
        " fc, reaches 95% [92, 98] on the test split.",
    ),
    (
        "RF501",  # within a point of the best, and no better than shuffled labels
        Report(tuple(replace(r, p=0.4, permutations=199) for r in probed().rows), {}, {}),
        "not applicable",
        "No layer's linear probe is above the shuffled-label null.",
    ),
    (
        "RF504",
        probed((0.99, 0.5, 0.6)),
        "tip",
        "Raw input: 99% [96, 102] by a linear probe; selected layer (fc): 60% [57, 63]. The network loses class "
        "information.",
    ),
    (
        "RF102",  # the best of 19 permutations
        planted(["a", "b"], [Estimate(0.1, null=1.0, p=0.05, permutations=19)] * 2),
        "tip",
        "19 permutations over 2 layers cannot bring p below 0.05: 2 headline values, better than all permuted ones, "
        "stay undecided.",
    ),
    (
        "RF102",  # one value of many, as chance gives
        joined(
            planted(["a"], [Estimate(0.9, null=1.0, p=0.03, permutations=199)]),
            planted(["a"], [Estimate(0.9, null=1.0, p=0.6, permutations=199)], name="cdnv"),
        ),
        "tip",
        "No class structure was found: 1 of 2 headline values have p < 0.05, none after Holm over 2 quantities.",
    ),
    ("RF501", planted(["a"], [1.0]), "not applicable", "Linear probes of two layers were not measured."),
    (
        "RF502",
        probed(memorization=[0.9, 0.2, 0.7]),
        "tip",
        "Linear probes memorise: 70% of shuffled training labels at fc.",
    ),
    (
        "RF502",
        probed(memorization=[0.9, 0.2, 0.7], chance=[0.5, 0.5, 0.5]),
        "passed",
        "Probes memorise little: at most 70% of shuffled training labels (fc; chance 50%).",
    ),
    (
        "RF502",
        probed(memorization=[0.9, 0.2, 0.1]),
        "passed",
        "Probes memorise little: at most 20% of shuffled training labels (conv).",
    ),
    ("RF502", planted(["a"], [1.0]), "not applicable", "No probe was fitted to shuffled labels."),
    (
        "RF503",
        probed(reinitialised=[0.3, 0.89, 0.5]),
        "tip",
        "Random weights or projections do as well at conv (conv: 90% [87, 93]; re-initialised network 89%).",
    ),
    (
        "RF503",
        probed(reinitialised=[0.3, 0.5, 0.5]),
        "passed",
        "Training made classes more decodable than random weights and projections do, at all 2 layers.",
    ),
    ("RF503", probed(), "not applicable", "No untrained baselines were measured (`baselines=3`)."),
    (
        "RF504",
        probed((0.94, 0.9, 0.95)),
        "tip",
        "Raw input: 94% [91, 97] by a linear probe; selected layer (fc): 95% [92, 98].",
    ),
    (
        "RF504",
        probed(),
        "passed",
        "Raw input: 30% [27, 33] by a linear probe; selected layer (fc): 95% [92, 98].",
    ),
    ("RF504", planted(["a"], [1.0]), "not applicable", "The raw input was not among the layers."),
    (
        "RF505",
        probed(knn_probe=[Estimate(0.99, 0.98, 1.0)] * 3),
        "tip",
        "kNN beats the linear probe at conv (conv: 99% [98, 100] against 90% [87, 93]).",
    ),
    (
        "RF505",
        probed(knn_probe=[Estimate(0.9, 0.8, 1.0)] * 3),
        "passed",
        "kNN does not beat the linear probe at any layer.",
    ),
    ("RF505", planted(["a"], [1.0]), "not applicable", "Linear and kNN probes of one layer were not measured."),
    (
        "RF506",
        probed(gap=[0.5, 0.2, 0.01]),
        "tip",
        "Probes overfit at conv: the train-test gap reaches 20.0 points at conv.",
    ),
    (
        "RF506",
        probed(gap=[0.5, 0.02, 0.01]),
        "passed",
        "Probe overfitting is small: train-test gap at most 2.0 points at conv.",
    ),
    ("RF506", planted(["a"], [1.0]), "not applicable", "No linear probe was measured."),
    ("RF101", planted(["a"], [1.0]), "passed", "Every value was computed (1)."),
    ("RF101", planted(["a"], [1.0], failures=["train, b: no"]), "issue", "1 measurement failed: train, b: no."),
    (
        "RF102",
        planted(["a", "b"], [Estimate(1.0, 0.9, 1.2, null=1.1, p=0.03), Estimate(0.1, 0.09, 0.11, null=1.1, p=0.03)]),
        "tip",
        "No class structure was found: none of 2 headline values is better than with shuffled labels.",
    ),
    (
        "RF102",
        planted(["a", "b"], [Estimate(1.0, 0.9, 1.2, null=1.1, p=0.3), Estimate(0.1, 0.09, 0.11, null=1.1, p=0.005)]),
        "tip",
        "No evidence of class structure in 1 of 2 headline values: NC1 at a.",
    ),
    (
        "RF102",
        planted(["a"], [Estimate(0.1, 0.09, 0.11, null=1.1, null_low=1.0, null_high=1.2, p=0.005)]),
        "passed",
        "Every headline value is better than with shuffled labels (1; p < 0.05).",
    ),
    (
        "RF102",
        planted(["a"], [1.0]),
        "not applicable",
        "No p-values were computed (no labels, or permutations=0).",
    ),
    ("RF103", planted(["a"], [1.0], classes=COUNTS), "passed", "Every class has at least 40 samples (2 classes)."),
    (
        "RF103",
        planted(["a"], [1.0], classes={"train": {"a": 1, "b": 5}}),
        "issue",
        "1 class(es) have one sample and no spread: a.",
    ),
    (
        "RF103",
        planted(["a"], [1.0], classes={"train": {"a": 9, "b": 50}}),
        "tip",
        "Class a has 9 samples: intervals are rough below 10.",
    ),
    ("RF401", planted(["a"], [1.0]), "not applicable", "Intrinsic dimension is known at fewer than three layers."),
    (
        "RF401",
        planted(["a", "b", "c"], [2.0, Estimate(7.0, 6.0, 8.0), 3.0], name="two_nn", analyzer="dimension"),
        "passed",
        "Intrinsic dimension (TwoNN) peaks at b: 7.0 [6.0, 8.0]; 3.0 at c.",
    ),
    ("RF402", planted(["a"], [1.0]), "not applicable", "No layer has estimates with intervals at two scales."),
    (
        "RF402",
        scaled(Estimate(5.0, 4.0, 6.0), Estimate(5.5, 5.0, 6.0)),
        "passed",
        "Intrinsic dimension does not depend on scale: estimates agree at the only layer.",
    ),
    (
        "RF402",
        scaled(Estimate(5.0, 4.0, 6.0), Estimate(8.0, 7.0, 9.0)),
        "tip",
        "Intrinsic dimension is scale-dependent at a (a: 5.0 at the 2nd neighbour, 8.0 at the 32nd).",
    ),
    ("RF403", planted(["a"], [1.0]), "not applicable", "No layer has a calibrated dimension."),
    (
        "RF403",
        scaled(Estimate(5.0), Estimate(5.5), "two_nn_calibrated"),
        "passed",
        "Samples suffice: calibrated and raw dimension agree within 15% at the only layer.",
    ),
    (
        "RF403",
        scaled(Estimate(20.0), Estimate(31.0), "two_nn_calibrated"),
        "tip",
        "Intrinsic dimension is underestimated at a with so few samples (a: raw 20, calibrated 31).",
    ),
    (
        "RF101",
        planted(["a", "b"], [1.0, math.nan]),
        "passed",
        "1 of 2 values computed; 1 undefined (reasons in the table).",
    ),
    (
        "RF305",
        planted(["a"], [1.0]),
        "not applicable",
        "Fisher's quotient with its shuffled-label null was not measured.",
    ),
    (
        "RF305",
        planted(["a", "b"], [Estimate(3.0, 2.8, 3.2, null=3.1, p=0.6), Estimate(9.0, null=3.1, p=0.005)], **QUOTIENT),
        "tip",
        "Fisher's quotient does not exceed its shuffled-label null at a (a: 3.0 [2.8, 3.2], null 3.1).",
    ),
    (
        "RF305",
        planted(["a"], [Estimate(9.0, 8.0, 10.0, null=3.1, p=0.005)], **QUOTIENT),
        "passed",
        "Fisher's quotient exceeds its shuffled-label null at the only layer.",
    ),
    ("RF306", planted(["a"], [1.0]), "not applicable", "Thornton's index was not measured."),
    (
        "RF306",
        planted(["a", "b"], [0.5, 0.9], name="thornton", analyzer="separability"),
        "passed",
        "Nearest neighbours share their class most often at b (90%).",
    ),
    (
        "RF306",
        clustered([0.5, 0.6, 0.8, 0.9], [0.1, 0.2, 0.3, 0.4]),
        "passed",
        "Nearest neighbours share their class most often at d (90%); label-free clustering (H0) peaks nearby, at d.",
    ),
    (
        "RF306",
        clustered([0.5, 0.6, 0.8, 0.9], [0.4, 0.3, 0.2, 0.1]),
        "tip",
        "Nearest neighbours share their class most often at d (90%); label-free clustering (H0) peaks elsewhere, at a.",
    ),
    ("RF404", planted(["a"], [1.0]), "not applicable", "Intrinsic dimension is known for one split."),
    ("RF404", sized(900, 700), "passed", "Splits are of like size (900 training and 700 held-out samples)."),
    (
        "RF404",
        sized(900, 300),
        "tip",
        "Splits differ in size (900 training and 300 held-out samples), and dimension estimates grow with n.",
    ),
    ("RF107", sized(9, 9), "not applicable", "The splits have no labels."),
    ("RF107", planted(["a"], [1.0], classes=COUNTS), "not applicable", "There is one split."),
    (
        "RF107",
        planted(["a"], [1.0], classes={"train": {"a": 9, "b": 50}, "held_out": {"a": 3, "c": 2}}),
        "tip",
        "Splits have different classes: held-out lacks b; training lacks c.",
    ),
    (
        "RF107",
        planted(["a"], [1.0], classes={"train": {"a": 9, "b": 50}, "held_out": {"a": 3, "b": 2}}),
        "passed",
        "All splits have the same 2 classes.",
    ),
    (
        "RF104",
        planted(["a"], [1.0], classes=COUNTS),
        "passed",
        "Classes are balanced (largest 50 samples, smallest 40).",
    ),
    (
        "RF104",
        planted(
            ["a"],
            [1.0],
            classes={"train": {"a": 10, "b": 50}},
            settings={"neural_collapse": {"convention": "zhu"}},
        ),
        "tip",
        "Classes are unbalanced (largest 50 samples, smallest 10), and published conventions of neural "
        "collapse weigh them differently.",
    ),
    (
        "RF105",
        planted(["a"], [1.0], splits={"train": {"samples": 90, "kept": 30}}),
        "tip",
        "Intervals and nulls come from a subset (training 30 of 90); values come from all samples.",
    ),
    (
        "RF105",
        planted(["a"], [1.0], splits={"train": {"samples": 90, "kept": 90}}),
        "passed",
        "Intervals and nulls come from all samples (90 training).",
    ),
    (
        "RF106",
        planted(["a", "b"], [math.nan, 2.0], name="quotient", analyzer="fisher"),
        "tip",
        "Fisher's quotient is undefined at a: the within-class scatter has no inverse.",
    ),
    (
        "RF106",
        Report(
            planted(["a"], [Estimate(math.nan, n=500)], name="quotient", analyzer="fisher").rows
            + planted(["a"], [8.0], name="components_99", analyzer="spectrum").rows
        ),
        "tip",
        "Fisher's quotient is undefined at a: the within-class scatter has no inverse.",
    ),
    (
        "RF201",
        planted(["a", "h", "fc"], [Estimate(5.0, 4.0, 6.0, null=9.0), Estimate(0.001, 0.0009, 0.002, null=9.0), 1.0]),
        "passed",
        "Features have collapsed onto their class means: NC1 at h is 0.0010 [9.0×10⁻⁴, 0.0020], 1e-4 of the "
        "shuffled-label null.",
    ),
    (
        "RF201",
        planted(["a", "h", "fc"], [Estimate(5.0, 4.0, 6.0, null=9.0)] * 3),
        "tip",
        "Features have not collapsed: NC1 at h is 5.0 [4.0, 6.0], 56% of the shuffled-label null (collapse: "
        "0.1% or less).",
    ),
    (
        "RF201",
        planted(["a"], [1.0]),
        "not applicable",
        "NC1 has no shuffled-label null to compare with (permutations=0).",
    ),
    (
        "RF202",
        planted(["h", "fc"], [Estimate(0.2, floor=0.15, floor_high=0.25, p=0.005), 0.3], name="etf_error"),
        "passed",
        "Class means are as close to a simplex as an exact one: ETF error 0.20; an exact simplex at this n "
        "0.15; threshold 0.10.",
    ),
    (
        "RF202",
        planted(["h", "fc"], [Estimate(0.2, floor=0.05, floor_high=0.1, p=0.005), 0.3], name="etf_error"),
        "tip",
        "Class means are closer to a simplex than with shuffled labels, but not at one: ETF error 0.20; an "
        "exact simplex at this n 0.050; threshold 0.10.",
    ),
    (
        "RF202",
        planted(["h", "fc"], [0.05, 0.3], name="etf_error"),
        "passed",
        "Class means are close to a simplex: ETF error 0.050; threshold 0.10.",
    ),
    (
        "RF202",
        planted(["h", "fc"], [Estimate(0.0, note=Flag.TRIVIAL.note("trivial: any two")), 0.3], name="etf_error"),
        "not applicable",
        "At h: trivial: any two.",
    ),
    (
        "RF203",
        planted(["h"], [0.5], name="self_duality"),
        "tip",
        "Classifier weights do not align with class means (NC3 distance 0.50 on a scale from 0 (aligned) to 4 "
        "(opposite)).",
    ),
    ("RF203", planted(["h"], [0.5]), "not applicable", "No classifier that reads a recorded layer is known."),
    (
        "RF204",
        planted(["h"], [0.995], name="nc4"),
        "passed",
        "Nearest-class-mean decisions agree with the network's on 99.5% of samples.",
    ),
    (
        "RF206",
        both(0.1, 0.5, "nc1"),
        "tip",
        "Collapse is weaker on held-out data: NC1 0.50 [0.49, 0.51] against 0.10 in training (5.0x).",
    ),
    (
        "RF206",
        both(0.1, 0.15, "nc1"),
        "passed",
        "Collapse carries over to held-out data: NC1 0.15 [0.14, 0.16] against 0.10 in training (1.5x).",
    ),
    (
        "RF301",
        planted(["x", "h", "fc"], [0.5, 0.985, 0.99], name="ncc_accuracy"),
        "passed",
        "Nearest-mean accuracy (training) is within 1 point of its best from h on: 98.5%; best 99% at fc.",
    ),
    (
        "RF303",
        both(1.0, 0.9, "accuracy"),
        "tip",
        "Accuracy 100% [99, 101] in training, 90% [89, 91] held-out.",
    ),
    (
        "RF304",
        planted(["a", "b"], [Estimate(2.0, 1.9, 2.1), Estimate(1.0, 0.9, 1.1)], name="trace_ratio", analyzer="fisher"),
        "tip",
        "Class separation drops from a to b (Fisher trace ratio 2.0 to 1.0).",
    ),
]


@pytest.mark.parametrize(("code", "report", "severity", "text"), CASES)
def test_findings(code, report, severity, text):
    found = one(report, code)
    assert (found.severity, found.text) == (severity, text)
    assert str(found).endswith(f"{text} [{code}]")
    assert found.title == FINDINGS[code].title


def test_the_closest_classes_are_named():
    report = classes(5)
    grid = report.array("cdnv_grid", "fc:in").copy()
    grid[3, 1] = grid[1, 3] = 99.0
    spiked = Report(report.rows, {"train/fc:in/neural_collapse.cdnv_grid": grid}, report.provenance)
    assert one(spiked, "RF205").text.startswith("Closest classes: class1 and class3 (CDNV 99, ")
    grid[3, 1] = grid[1, 3] = np.inf
    infinite = "class1 and class3 have the same mean at the penultimate layer (infinite CDNV)"
    assert one(spiked, "RF205").text == f"Closest classes: {infinite}."


def of_comparisons(code: str) -> bool:
    """Whether a finding is made of comparisons alone; those are tested with their family."""
    return bool(FINDINGS[code].reads)


def test_every_code_has_an_explanation_and_a_test():
    tested = {code for code, *_ in CASES} | {"RF205", "RF302"}
    assert {code for code in FINDINGS if not of_comparisons(code)} == tested
    for code, (title, text) in explanations().items():
        assert len(text.split()) >= 15, code
        assert not title.endswith(".")


@pytest.mark.parametrize(("r", "high", "severity"), [(-0.99, 0.5, "passed"), (-0.5, 0.5, "tip"), (-0.99, 1.1, "tip")])
def test_the_law_holds_or_not(r, high, severity):
    rho = planted([""], [Estimate(0.4, 0.3, high)], name="rho", analyzer="separation_law")
    line = planted([""], [Estimate(r, -1.0, 0.0)], name="correlation", analyzer="separation_law")
    layer = planted(["a", "b"], [1.0, 1.0])
    assert one(Report(layer.rows + rho.rows + line.rows, {}, {"run": "run"}), "RF302").severity == severity


def test_a_report_of_one_layer_has_all_findings():
    found = planted(["only"], [math.nan]).findings()
    assert {f.code for f in found} == {code for code in FINDINGS if not of_comparisons(code)}
    places = [(f.severity == "not applicable", KINDS.index(f.kind), -f.weight) for f in found]
    assert places == sorted(places)


@pytest.mark.parametrize("code", FINDINGS)
def test_kinds(code):
    """A check that does not hold is a caution, and says what to do; a result stays one, however it turned out."""
    numbers = (
        *range(201, 207),
        *range(301, 305),
        306,
        401,
        501,
        *range(503, 506),
        507,
        *range(601, 604),
        608,
        701,
        707,
        709,
        801,
        802,
        803,
    )
    results = list(map(str, numbers))
    assert FINDINGS[code].kind == ("result" if code[2:] in results else "check")
    for of, report, severity, _ in CASES:
        if of == code:
            found = one(report, code)
            cautious = severity in ("issue", "tip") and FINDINGS[code].kind == "check"
            assert found.kind == ("caution" if cautious else FINDINGS[code].kind)
            assert bool(found.action) == cautious
            assert found.figure == FINDINGS[code].figure


def test_the_summary_of_runs_without_class_structure_says_so_first():
    def run(name: str, p: float) -> Report:
        found = Estimate(1.0 + p / 10, 0.9, 1.1, null=1.0, p=p)
        return planted(["a", "b:in"], [found] * 2, run=f"sweep/decay-{name}")

    nothing = repana.concat([run("one", 0.4), run("two", 0.6)]).summary()
    assert nothing[0] == (
        "No class structure was found in any of 2 runs: no headline value is better than with shuffled labels."
    )
    assert "lowest \u2026one" in nothing[1]
    some = repana.concat([run("one", 0.4), run("two", 0.001)]).summary()
    assert some[0].endswith("; no class structure in 1 of them (sweep/decay-one).")
