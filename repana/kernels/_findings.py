"""What the tangent kernel says: whether one layer holds it, and whether it is aligned with the labels."""

import math

from repana._finding import ABSENT, ALPHA, PASSED, TIP, Finding, View
from repana._numbers import number, percent
from repana.kernels._kernel_statistics import LAZY

MOST = 0.8  # of the kernel, from which one layer holds nearly all of it


def one_layer(view: View) -> Finding:
    """Whether one layer has more than 80% of the trace of the tangent kernel: a tip, since a small step of training
    then changes outputs through this layer, and the others hardly learn.
    """
    rows = [r for r in view.rows("ntk.share") if math.isfinite(r.value)]
    if not rows:
        return Finding(ABSENT, "The tangent kernel was not measured (`ntk=True`).")
    top = max(rows, key=lambda r: r.value)
    share = f"{percent(top.value, 2)} of the tangent kernel"
    if top.value > MOST:
        advice = "Compare learning rates by layer, or the scale of the weights."
        return Finding(TIP, f"{top.layer} has {share}: other layers hardly learn.", (top.layer,), advice)
    return Finding(PASSED, f"No layer holds the tangent kernel; {top.layer} has most, {share}.", (top.layer,))


def aligned(view: View) -> Finding:
    """Whether the tangent kernel is aligned with the labels beyond what permuted labels give (p < 0.05): a tip where it
    is not, since the directions in which the network learns fast are then not those of its labels.
    """
    row = view.at("ntk.alignment", "")
    if row is None or not math.isfinite(row.value) or not math.isfinite(row.p):
        return Finding(ABSENT, "The tangent kernel was not measured with labels.")
    text = f"alignment with the labels {number(row.value)}, permuted labels {number(row.null)}, p {row.p:.2g}"
    if row.p < ALPHA:
        return Finding(PASSED, f"The tangent kernel is aligned with the labels: {text}.")
    return Finding(TIP, f"The tangent kernel is not aligned with the labels: {text}.")


def lazy(view: View) -> Finding:
    """Whether the tangent kernel moved by 1% or more since an earlier checkpoint: a tip where it did not, since
    features then hardly changed, and the network is near to a fixed kernel machine.
    """
    row = view.at("ntk.velocity", "")
    if row is None or not math.isfinite(row.value):
        return Finding(ABSENT, "No earlier tangent kernel was given (`ntk={'earlier': kernels}`).")
    if row.value < LAZY:
        text = f"The tangent kernel moved by {number(row.value)} since the earlier checkpoint: training is lazy."
        return Finding(TIP, text, (), "Use a larger learning rate or smaller initial outputs to learn features.")
    return Finding(PASSED, f"The tangent kernel moved by {number(row.value)} since the earlier checkpoint.")
