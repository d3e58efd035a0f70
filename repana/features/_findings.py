"""What the features of the classifier's input say: where they become decodable, and which of them the decision uses."""

import math

from repana._estimate import Flag
from repana._finding import ABSENT, PASSED, TIP, Finding, View, listed, share
from repana.features._across_layers import RANDOM
from repana.features._complexity import ROWS_A_UNIT

MOST = 0.5  # of the features, whose onset is looked for
NONE_MEASURED = "The complexity of features was not measured."


def early(view: View) -> Finding:
    """The first layer from which at least half of the classifier's input units can be read linearly (R^2 at least the
    threshold on held-out rows). A caution where that is the raw input: the network did not need its depth for them.
    """
    rows = view.rows("layer_readings.decoded")
    known = [r for r in rows if math.isfinite(r.value)]
    if not known:
        return Finding(ABSENT, NONE_MEASURED)
    first = next((r for r in known if r.value >= MOST), known[-1])
    if first.layer == known[-1].layer:
        return Finding(ABSENT, "No layer before the penultimate one decodes half of its units.")
    text = f"{share(first)} of penultimate units are linearly decodable by {view.place(first.layer)}."
    return Finding(TIP if first.layer == "input" else PASSED, text, (first.layer,))


def relation(view: View) -> Finding:
    """Whether the decision rests on simple features: the rank correlation of complexity and importance against that of
    the network with new random weights, in which unit scale and sparsity drive both already. Passed where it lies
    below the range in which one more such network would lie, a caution where it lies above: there the complex features
    weigh more than in such networks, and are the important ones if the whole interval is positive. Not applicable
    without `baselines=`.
    """
    row = view.at("complexity_vs_importance.rank_correlation", "")
    if row is None or not math.isfinite(row.value):
        return Finding(ABSENT, "Complexity and importance of features were not measured together.")
    rho = f"rho = {row.value:.2f} [{row.low:.2f}, {row.high:.2f}], {row.n} features"
    if row.label != RANDOM:
        text = f"Complexity and importance ({rho}) need re-initialised networks to compare with (`baselines=3`)."
        return Finding(ABSENT, text)
    random = f"re-initialised networks {row.null_low:.2f} to {row.null_high:.2f}"
    if row.null_low <= row.value <= row.null_high:
        return Finding(TIP, f"No detectable preference for simple or complex features ({rho}; {random}).")
    if row.value > row.null_high:
        more = "rests on the complex features" if row.low > 0 else "rests less on simple features than without training"
        return Finding(TIP, f"The decision {more} ({rho}; {random}).")
    return Finding(PASSED, f"The decision rests on the simple features ({rho}; {random}).")


def duplicates(view: View) -> Finding:
    """Whether units are dead or repeat one another: they add nothing, and twins count several times in every mean."""
    row = view.at("complexity.mean_complexity", "")
    if row is None:
        return Finding(ABSENT, NONE_MEASURED)
    of = view.report.about(view.run).get("settings", {}).get("complexity", {})
    constant, copies = of.get("constant", 0), sum(len(group) - 1 for group in of.get("twins", ()))
    said = [f"{constant} of {of['units']} units never vary"] if Flag.CONSTANT in row.flags else []
    said += [f"{copies} repeat another"] if Flag.REPEATED in row.flags else []
    if said:
        return Finding(TIP, f"Penultimate units: {' and '.join(said)}.")
    return Finding(PASSED, "No penultimate unit is constant or a copy of another.")


def rows(view: View) -> Finding:
    """Whether there were enough rows to read features from every layer: at least five for each unit. With fewer, R^2 of
    wide layers is too low, so that features look more complex than they are.
    """
    row = view.at("complexity.mean_complexity", "")
    if row is None:
        return Finding(ABSENT, NONE_MEASURED)
    if Flag.FEW_SAMPLES in row.flags:
        of = view.report.about(view.run).get("settings", {}).get("complexity", {})
        short = [layer for layer, d in of.get("widths", {}).items() if row.n < ROWS_A_UNIT * d]
        where = f" at {listed(short)}" if short else ""
        text = f"Feature complexity is overestimated{where}: fewer than {ROWS_A_UNIT} samples per unit."
        return Finding(TIP, text, tuple(short), "Use more samples.")
    return Finding(PASSED, f"Samples suffice for feature complexity ({row.n:,}, at least {ROWS_A_UNIT} per unit).")
