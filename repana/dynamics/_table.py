"""The table of the dynamics family: what a monitor measures at every record, what is read of a whole training, findings
and sources."""

from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Family

_findings = deferred("repana.dynamics._findings")

_CKA = "<U(K), U(L)>/(|U(K)| |U(L)|), linear"
RECORD = (
    Quantity(
        "accuracy", "share of right predictions", "higher", unit="share", title="Accuracy", source="by definition"
    ),
    Quantity("loss", "mean -ln p(label)", "lower", unit="nats", title="Cross-entropy", source="by definition"),
    Quantity(
        "h0_entropy", "1 + sum w ln w/ln(n - 1), w = p/sum p, p the edges of the minimum spanning tree", "higher",
        title="H0 separability", source="Ghalyan et al. 2023", headline=True,
    ),
    Quantity(
        "participation_ratio", "(sum lambda)^2/sum lambda^2", unit="dimensions", title="Participation ratio",
        source="Gao et al. 2017", headline=True,
    ),
    Quantity("cka_first", _CKA, title="CKA with the first record", source="Kornblith et al. 2019", headline=True),
    Quantity("cka_previous", _CKA, title="CKA with the previous record", source="Kornblith et al. 2019"),
    Quantity("cka_best", _CKA, title="CKA with the best record", source="Kornblith et al. 2019"),
)  # fmt: skip
WHOLE = (
    Quantity(
        "zero_error_step", "first record with training accuracy 1", unit="steps", title="First zero training error",
        source="Papyan, Han & Donoho 2020",
    ),
    Quantity(
        "zero_error_bound", "upper end of Wilson's interval of 0 errors", "lower", unit="share",
        title="Training error there, at most", source="by definition",
    ),
    Quantity(
        "nc1_slope_before", "slope of ln NC1 over the step, before zero training error", "lower", unit="per step",
        title="ln NC1 per step, before zero error", source="Papyan, Han & Donoho 2020",
    ),
    Quantity(
        "nc1_slope_after", "slope of ln NC1 over the step, from zero training error on", "lower", unit="per step",
        title="ln NC1 per step, after zero error", source="Papyan, Han & Donoho 2020", headline=True,
    ),
    Quantity(
        "settled_step", "first step from which on CKA with the last record is at least 0.95", unit="steps",
        title="Settled from step", source="Raghu et al. 2017", headline=True,
    ),
    Quantity(
        "score_correlation", "Spearman's correlation of the score and the accuracy over records", "higher",
        title="Score against accuracy", source="by definition",
    ),
    Quantity("best_step", "step of the best smoothed score", unit="steps", title="Best score", source="by definition"),
    Quantity("stop_step", "step at which the rule stops", unit="steps", title="Stop", source="Prechelt 1998"),
    Quantity(
        "regret", "best accuracy less that at the best smoothed score", "lower", title="Regret", source="by definition"
    ),
    Quantity("overhead", "S/(T + S)", "lower", unit="share", title="Time of the monitor", source="by definition"),
)  # fmt: skip
REPORTED = {"training": RECORD, "dynamics": WHOLE}

FINDINGS = {
    "RF801": Rule(
        "Collapse past zero training error", _findings.past_zero_error, RESULT, 60, "neural_collapse.nc1",
        reads=("dynamics",),
    ),
    "RF802": Rule("Order in which layers settle", _findings.settling, RESULT, 50, reads=("dynamics",)),
    "RF803": Rule("Score for stopping", _findings.stopping, RESULT, 70, "training.h0_entropy", reads=("dynamics",)),
    "RF804": Rule("Score follows the accuracy", _findings.follows, CHECK, 80, reads=("dynamics",)),
    "RF805": Rule("Records of the monitor", _findings.records, CHECK, 60, reads=("dynamics",)),
}  # fmt: skip

SOURCES = {
    "Prechelt 1998": """@incollection{prechelt1998early,
  author = {Prechelt, Lutz},
  title = {Early Stopping --- But When?},
  booktitle = {Neural Networks: Tricks of the Trade}, year = {1998}, pages = {55--69},
  doi = {10.1007/3-540-49430-8_3}
}""",
}
FAMILY = Family("dynamics", (), (), FINDINGS, SOURCES)
