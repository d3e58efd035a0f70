"""Findings: each says the right thing where it is true, the opposite where it is not, and nothing where unknown."""

import math

import numpy as np
import pytest
from planted import classes, planted

from repana import Report
from repana._estimate import Estimate, Flag
from repana.findings import FINDINGS, SEVERITIES, explanations

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
    " is the earliest layer within one point of the best linear probe on the validation rows; the one chosen there, "
    "fc, reads 0.950 [0.920, 0.980] of the test rows."
)
MEMORY = "The training accuracy of a linear probe on permuted labels is {} at {}"
LOSES = "Test accuracy of the linear probe is {} points below training accuracy at {}"
CASES = [
    ("RF601", featured(), "passed", READ.format("0.600", "conv")),
    ("RF601", featured((0.5, 0.6, 1.0)), "tip", READ.format("0.500", "input")),
    ("RF601", featured((0.1, 0.2, 0.3)), "passed", READ.format("0.300", "fc")),
    ("RF601", planted(["a"], [1.0]), "not applicable", UNMEASURED),
    (
        "RF602",
        featured(),
        "passed",
        RHO.format("−0.500 [−0.700, −0.300]") + ": the decision rests on the simple features.",
    ),
    (
        "RF602",
        featured(rho=Estimate(0.5, 0.3, 0.7, 24, "", 0.0, -0.4, 0.4, label="re-initialised")),
        "tip",
        RHO.format("0.500 [0.300, 0.700]")
        + ", above what re-initialised networks give: the decision rests on the complex features.",
    ),
    (
        "RF602",
        featured(rho=Estimate(0.0, -0.5, 0.5, 24, "", -0.6, -0.9, -0.3, label="re-initialised")),
        "tip",
        RHO.format("0 [−0.500, 0.500]")
        + ", above what re-initialised networks give: the decision rests less on simple features than theirs.",
    ),
    (
        "RF602",
        featured(rho=Estimate(0.1, -0.3, 0.5, 24, "", 0.0, -0.4, 0.4, label="re-initialised")),
        "tip",
        RHO.format("0.100 [−0.300, 0.500]")
        + ", within what re-initialised networks give: training prefers neither kind.",
    ),
    (
        "RF602",
        featured(rho=Estimate(-0.5, -0.7, -0.3, 24, "", 0.0, -0.4, 0.4)),
        "not applicable",
        RHO.format("−0.500 [−0.700, −0.300]") + "; compare it with re-initialised networks (baselines=3).",
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
        "At the classifier's input 2 of 9 units never vary.",
    ),
    ("RF603", featured(), "passed", "No unit of the classifier's input is constant or repeats another."),
    ("RF603", planted(["a"], [1.0]), "not applicable", UNMEASURED),
    (
        "RF604",
        featured(flags=(Flag.FEW_SAMPLES,)),
        "tip",
        "Fewer than 5 rows a unit at conv, fc: complexity is overestimated there.",
    ),
    ("RF604", featured(), "passed", "500 rows are at least five for each unit of every layer."),
    ("RF604", planted(["a"], [1.0]), "not applicable", UNMEASURED),
    ("RF501", probed(), "passed", "fc" + EARLIEST),
    ("RF501", probed((0.3, 0.945, 0.95)), "passed", "conv" + EARLIEST),
    ("RF501", planted(["a"], [1.0]), "not applicable", "Linear probes of two layers were not measured."),
    ("RF502", probed(memorization=[0.9, 0.2, 0.7]), "tip", MEMORY.format(0.7, "fc") + ": it memorises rows (fc)."),
    (
        "RF502",
        probed(memorization=[0.9, 0.2, 0.7], chance=[0.5, 0.5, 0.5]),
        "passed",
        MEMORY.format(0.7, "fc") + ", at most.",
    ),
    ("RF502", probed(memorization=[0.9, 0.2, 0.1]), "passed", MEMORY.format(0.2, "conv") + ", at most."),
    ("RF502", planted(["a"], [1.0]), "not applicable", "No probe was fitted to permuted labels."),
    (
        "RF503",
        probed(reinitialised=[0.3, 0.89, 0.5]),
        "tip",
        "Random weights or projections are read as well at conv; at conv 0.900 [0.870, 0.930], reinitialised 0.89.",
    ),
    (
        "RF503",
        probed(reinitialised=[0.3, 0.5, 0.5]),
        "passed",
        "Every layer is read better than random weights and projections (2 layers).",
    ),
    ("RF503", probed(), "not applicable", "No baselines were measured; `probe_layers` does, or `baselines=`."),
    (
        "RF504",
        probed((0.94, 0.9, 0.95)),
        "tip",
        "A linear probe reads 0.940 [0.910, 0.970] from the raw input and 0.950 [0.920, 0.980] from fc.",
    ),
    (
        "RF504",
        probed(),
        "passed",
        "A linear probe reads 0.300 [0.270, 0.330] from the raw input and 0.950 [0.920, 0.980] from fc.",
    ),
    ("RF504", planted(["a"], [1.0]), "not applicable", "The raw input was not among the layers."),
    (
        "RF505",
        probed(knn_probe=[Estimate(0.99, 0.98, 1.0)] * 3),
        "tip",
        "Neighbours read more than a linear map at conv: at conv 0.990 [0.980, 1.00], linear 0.900 [0.870, 0.930].",
    ),
    (
        "RF505",
        probed(knn_probe=[Estimate(0.9, 0.8, 1.0)] * 3),
        "passed",
        "Neighbours read no more than a linear map at any of 2 layers.",
    ),
    ("RF505", planted(["a"], [1.0]), "not applicable", "Linear and kNN probes of one layer were not measured."),
    ("RF506", probed(gap=[0.5, 0.2, 0.01]), "tip", LOSES.format("20.0", "conv, more than 10 at conv.")),
    ("RF506", probed(gap=[0.5, 0.02, 0.01]), "passed", LOSES.format("2.0", "conv, at most.")),
    ("RF506", planted(["a"], [1.0]), "not applicable", "No linear probe was measured."),
    ("RF101", planted(["a"], [1.0]), "passed", "1 values of 1 layers."),
    ("RF101", planted(["a"], [1.0], failures=["train, b: no"]), "issue", "1 could not be measured: train, b: no"),
    (
        "RF102",
        planted(["a", "b"], [Estimate(1.0, 0.9, 1.2, null=1.1, p=0.03), Estimate(0.1, 0.09, 0.11, null=1.1, p=0.03)]),
        "tip",
        "No class structure is found: none of 2 headline values is better than under permuted labels.",
    ),
    (
        "RF102",
        planted(["a", "b"], [Estimate(1.0, 0.9, 1.2, null=1.1, p=0.3), Estimate(0.1, 0.09, 0.11, null=1.1, p=0.005)]),
        "tip",
        "Not distinguishable from permuted labels: NC1 at a.",
    ),
    (
        "RF102",
        planted(["a"], [Estimate(0.1, 0.09, 0.11, null=1.1, null_low=1.0, null_high=1.2, p=0.005)]),
        "passed",
        "All 1 headline values are better than under permuted labels (p < 0.05).",
    ),
    (
        "RF102",
        planted(["a"], [1.0]),
        "not applicable",
        "No p-values were computed (no labels, or permutations=0).",
    ),
    ("RF103", planted(["a"], [1.0], classes=COUNTS), "passed", "2 classes; the smallest, a, has 40 samples."),
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
        "2 classes; the smallest, a, has 9 samples. Intervals are rough below 10.",
    ),
    ("RF401", planted(["a"], [1.0]), "not applicable", "The dimension of fewer than three layers is known."),
    (
        "RF401",
        planted(["a", "b", "c"], [2.0, Estimate(7.0, 6.0, 8.0), 3.0], name="two_nn", analyzer="dimension"),
        "passed",
        "Estimated dimension is largest at b, 7.00 [6.00, 8.00], and 3.00 at c.",
    ),
    ("RF402", planted(["a"], [1.0]), "not applicable", "No layer has estimates with intervals at two scales."),
    (
        "RF402",
        scaled(Estimate(5.0, 4.0, 6.0), Estimate(5.5, 5.0, 6.0)),
        "passed",
        "Estimates at neighbours 2 and 32 agree at all 1 layers.",
    ),
    (
        "RF402",
        scaled(Estimate(5.0, 4.0, 6.0), Estimate(8.0, 7.0, 9.0)),
        "tip",
        "The estimate depends on scale at a; most at a: 5.00 [4.00, 6.00] at the second neighbour, 8.00 [7.00, 9.00] "
        "at the 32nd. Report it with its scale.",
    ),
    ("RF403", planted(["a"], [1.0]), "not applicable", "No layer has a calibrated dimension."),
    (
        "RF403",
        scaled(Estimate(5.0), Estimate(5.5), "two_nn_calibrated"),
        "passed",
        "The calibrated dimension is within 15 % of the raw one at all 1 layers.",
    ),
    (
        "RF403",
        scaled(Estimate(20.0), Estimate(31.0), "two_nn_calibrated"),
        "tip",
        "Samples are few for the dimension of a; most at a: raw 20, calibrated 31. Give both, with n.",
    ),
    (
        "RF101",
        planted(["a", "b"], [1.0, math.nan]),
        "passed",
        "1 values of 2 layers; 1 more have none, for the reason in their note.",
    ),
    (
        "RF305",
        planted(["a"], [1.0]),
        "not applicable",
        "Fisher's quotient with its value without class structure was not measured.",
    ),
    (
        "RF305",
        planted(["a", "b"], [Estimate(3.0, 2.8, 3.2, null=3.1, p=0.6), Estimate(9.0, null=3.1, p=0.005)], **QUOTIENT),
        "tip",
        "Fisher's quotient is within its null at a: do not read it there; at a 3.00 [2.80, 3.20], without class "
        "structure 3.1.",
    ),
    (
        "RF305",
        planted(["a"], [Estimate(9.0, 8.0, 10.0, null=3.1, p=0.005)], **QUOTIENT),
        "passed",
        "Fisher's quotient is above its null at all 1 layers that have one.",
    ),
    ("RF306", planted(["a"], [1.0]), "not applicable", "Thornton's index was not measured."),
    (
        "RF306",
        planted(["a", "b"], [0.5, 0.9], name="thornton", analyzer="separability"),
        "passed",
        "Thornton's index is largest at b, 0.900.",
    ),
    (
        "RF306",
        clustered([0.5, 0.6, 0.8, 0.9], [0.1, 0.2, 0.3, 0.4]),
        "passed",
        "Thornton's index is largest at d, 0.900; the label-free H0 score at d, 0.400.",
    ),
    (
        "RF306",
        clustered([0.5, 0.6, 0.8, 0.9], [0.4, 0.3, 0.2, 0.1]),
        "tip",
        "Thornton's index is largest at d, 0.900; the label-free H0 score at a, 0.400.",
    ),
    ("RF404", planted(["a"], [1.0]), "not applicable", "The dimension of one split is known."),
    ("RF404", sized(900, 700), "passed", "train has 900 samples, held out 700."),
    (
        "RF404",
        sized(900, 300),
        "tip",
        "train has 900 samples, held out 300. Compare their dimensions only after taking as many samples of each "
        "(max_samples=).",
    ),
    ("RF107", sized(9, 9), "not applicable", "The splits have no labels."),
    ("RF107", planted(["a"], [1.0], classes=COUNTS), "not applicable", "There is one split."),
    (
        "RF107",
        planted(["a"], [1.0], classes={"train": {"a": 9, "b": 50}, "held_out": {"a": 3, "c": 2}}),
        "tip",
        "held out lacks b; train lacks c. Do not compare values over different classes.",
    ),
    (
        "RF107",
        planted(["a"], [1.0], classes={"train": {"a": 9, "b": 50}, "held_out": {"a": 3, "b": 2}}),
        "passed",
        "All splits have the same 2 classes.",
    ),
    ("RF104", planted(["a"], [1.0], classes=COUNTS), "passed", "The largest class has 50 samples and the smallest 40."),
    (
        "RF104",
        planted(
            ["a"],
            [1.0],
            classes={"train": {"a": 10, "b": 50}},
            settings={"neural_collapse": {"convention": "zhu"}},
        ),
        "tip",
        "The largest class has 50 samples and the smallest 10. Published conventions weigh classes differently and "
        "give different values. NC1 is in the convention of zhu.",
    ),
    (
        "RF105",
        planted(["a"], [1.0], splits={"train": {"samples": 90, "kept": 30}}),
        "tip",
        "Values are of all samples, intervals and nulls of those kept (train: 30 of 90).",
    ),
    ("RF105", planted(["a"], [1.0], splits={"train": {"samples": 90, "kept": 90}}), "passed", "train: 90 samples."),
    (
        "RF106",
        planted(["a", "b"], [math.nan, 2.0], name="quotient", analyzer="fisher"),
        "tip",
        "Fisher's quotient is undefined at a: the within-class scatter has no inverse. Use more samples, or pool.",
    ),
    (
        "RF106",
        Report(
            planted(["a"], [Estimate(math.nan, n=500)], name="quotient", analyzer="fisher").rows
            + planted(["a"], [8.0], name="components_99", analyzer="spectrum").rows
        ),
        "tip",
        "Fisher's quotient is undefined at a: the within-class scatter has no inverse. At a features depend on each "
        "other, so more samples do not help; elsewhere they do.",
    ),
    (
        "RF201",
        planted(["a", "h", "fc"], [Estimate(5.0, 4.0, 6.0, null=9.0), Estimate(0.001, 0.0009, 0.002, null=9.0), 1.0]),
        "passed",
        "NC1 at h is 0.00100 [9.00\u00d710\u207b\u2074, 0.00200] against 9.00 without class structure, 0.011 % of it. "
        "Collapsed (at most 0.1 % of the null): h.",
    ),
    (
        "RF201",
        planted(["a", "h", "fc"], [Estimate(5.0, 4.0, 6.0, null=9.0)] * 3),
        "tip",
        "NC1 at h is 5.00 [4.00, 6.00] against 9.00 without class structure, 56 % of it. No layer is at or below 0.1 % "
        "of its null.",
    ),
    (
        "RF201",
        planted(["a"], [1.0]),
        "not applicable",
        "NC1 has no value without class structure to stand against (permutations=0).",
    ),
    (
        "RF202",
        planted(["h", "fc"], [Estimate(0.2, floor=0.15, floor_high=0.25, p=0.005), 0.3], name="etf_error"),
        "passed",
        "The ETF error of class means at h is 0.200 (0: a simplex, 2: opposite). That is no more than an exact simplex "
        "gives on as many samples (0.150).",
    ),
    (
        "RF202",
        planted(["h", "fc"], [Estimate(0.2, floor=0.05, floor_high=0.1, p=0.005), 0.3], name="etf_error"),
        "tip",
        "The ETF error of class means at h is 0.200 (0: a simplex, 2: opposite). That is more than an exact simplex "
        "gives on as many samples (0.0500).",
    ),
    (
        "RF202",
        planted(["h", "fc"], [0.05, 0.3], name="etf_error"),
        "passed",
        "The ETF error of class means at h is 0.0500 (0: a simplex, 2: opposite).",
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
        "Self-duality at h is 0.500 (0: rows and means are proportional, 4: opposite).",
    ),
    ("RF203", planted(["h"], [0.5]), "not applicable", "No classifier that reads a recorded layer is known."),
    (
        "RF204",
        planted(["h"], [0.995], name="nc4"),
        "passed",
        "Network and nearest class mean agree on 0.995 of the samples at h.",
    ),
    (
        "RF206",
        both(0.1, 0.5, "nc1"),
        "tip",
        "NC1 at h is 0.100 [0.0900, 0.110] on train and 0.500 [0.490, 0.510] on held out: 5.0 times.",
    ),
    (
        "RF206",
        both(0.1, 0.15, "nc1"),
        "passed",
        "NC1 at h is 0.100 [0.0900, 0.110] on train and 0.150 [0.140, 0.160] on held out: 1.5 times.",
    ),
    (
        "RF301",
        planted(["x", "h", "fc"], [0.5, 0.985, 0.99], name="ncc_accuracy"),
        "passed",
        "h is the earliest layer within one point of the best nearest-mean accuracy on train: 0.985; the best, fc, has "
        "0.990.",
    ),
    (
        "RF303",
        both(1.0, 0.9, "accuracy"),
        "tip",
        "The network is right on 1.00 [0.990, 1.01] of train and on 0.900 [0.890, 0.910] of held out samples.",
    ),
    (
        "RF304",
        planted(["a", "b"], [Estimate(2.0, 1.9, 2.1), Estimate(1.0, 0.9, 1.1)], name="trace_ratio", analyzer="fisher"),
        "tip",
        "The Fisher trace ratio falls at b: b 1.00 [0.900, 1.10] after a 2.00 [1.90, 2.10].",
    ),
]


@pytest.mark.parametrize(("code", "report", "severity", "evidence"), CASES)
def test_findings(code, report, severity, evidence):
    found = one(report, code)
    assert (found.severity, found.evidence) == (severity, evidence)
    assert str(found) == f"{code} {severity}: {FINDINGS[code][0]}. {evidence}"


def test_the_closest_classes_are_named():
    report = classes(5)
    grid = report.array("cdnv_grid", "fc:in").copy()
    grid[3, 1] = grid[1, 3] = 99.0
    spiked = Report(report.rows, {"train/fc:in/neural_collapse.cdnv_grid": grid}, report.provenance)
    assert one(spiked, "RF205").evidence.startswith("Classes class1 and class3 overlap most at fc:in: CDNV 99.0, ")
    grid[3, 1] = grid[1, 3] = np.inf
    assert one(spiked, "RF205").evidence == "Classes class1 and class3 have the same mean at fc:in: CDNV is infinite."


def test_every_code_has_an_explanation_and_a_test():
    tested = {code for code, *_ in CASES} | {"RF205", "RF302"}
    assert set(FINDINGS) == tested
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
    assert {f.code for f in found} == set(FINDINGS)
    places = [SEVERITIES.index(f.severity) for f in found]
    assert places == sorted(places)
