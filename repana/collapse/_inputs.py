"""What neural collapse is measured on: checked arrays, the samples that count, their moments, the classifier's rows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repana import _check
from repana._typing import Array, FeatureArray, LabelArray
from repana.collapse import _refusals
from repana.summaries._linalg import power_of_two, scaled
from repana.summaries.moments import Moments

SMALL = 2.0**-256  # of features, below which the squares of their differences underflow


@dataclass(frozen=True)
class Inputs:
    """Samples after those left out. `moments` may be of more of them; `slot` numbers each row's class in it.

    `rows` counts the samples that came, `ignored` those left out by label, `omitted` those that were not finite.
    `decision` are the network's, where logits or a classifier tell; `empty` counts its classes without samples.
    """

    x: Tensor
    codes: Tensor
    names: tuple[Any, ...]
    moments: Moments
    slot: Tensor
    weight: Tensor | None
    bias: Tensor | None
    decision: Tensor | None
    empty: int
    rows: int
    ignored: int
    omitted: int


def prepare(
    features: FeatureArray,
    labels: LabelArray,
    weight: Array | None,
    bias: Array | None,
    logits: Array | None,
    moments: Moments | None,
    *,
    ignore_index: int | None,
    min_count: int,
    nan_policy: str,
) -> Inputs:
    """Check everything, and leave out what is to be left out."""
    sound = _check.finite_rows(features, nan_policy)
    x = _check.features_of(features, finite=moments is not None and sound is None)
    codes, names = _check.labels_of(labels, len(x))
    for what, given in (("logits", logits), ("weight", weight)):
        if names and given is not None:
            raise _check.names_without_numbers(names, what)
    z = None if logits is None else _check.matrix(logits, "logits", len(x), None, "one row per sample")
    rows = len(x)
    if sound is not None:
        x, codes, z = _rows_of(sound, x, codes, z)
    finite = len(x)
    keep = _kept_samples(codes, ignore_index, min_count)
    if not bool(keep.all()):
        x, codes, z = _rows_of(keep.nonzero()[:, 0], x, codes, z)
    if moments is not None and not torch.equal(moments.classes.cpu(), torch.unique(codes)):
        moments = None  # of other classes than these samples have
    _check.two_classes(codes, names, "neural_collapse")
    unit = power_of_two(x) if x.dtype == torch.float64 else 1.0
    if not SMALL < unit < 1 / SMALL and (moments is None or moments.n == len(x)):  # squares leave float64
        x, moments = scaled(x, unit), None
        weight = None if weight is None else torch.as_tensor(weight).double() * unit
    if moments is None or sound is not None:
        moments = Moments.of(x, codes, spread=False)
        if not bool(torch.isfinite(moments.trace).all()):
            _check.features_of(x)
    moments = moments.to(x.device)
    slot = torch.searchsorted(moments.classes.cpu(), codes).to(x.device)
    w, b, empty, decision = _classifier(weight, bias, moments, x)
    if z is not None:
        _check.class_columns(codes, z.shape[1], "logits")
        decision = z.argmax(1).to(x.device)
    return Inputs(x, codes, names, moments, slot, w, b, decision, empty, rows, finite - len(x), rows - finite)


def centres_of(reference: Moments | None, around: str, given: Inputs) -> Tensor | None:
    """The class means of the reference, for the classes at hand, where scatter is to be taken around them."""
    _check.choice(around, "around", ("own", "reference"))
    if around == "own":
        return None
    if reference is None:
        raise _refusals.reference_missing()
    place = {value: i for i, value in enumerate(reference.classes.tolist())}
    classes = given.moments.classes.tolist()
    missing = [value for value in classes if value not in place]
    if missing:
        raise _refusals.reference_classes(missing)
    return reference.mean[[place[value] for value in classes]].to(given.x.device)


def per_class(value: Array, name: str, classes: int, device: torch.device) -> Tensor:
    """One float64 number for each class."""
    column = torch.as_tensor(value).reshape(-1, 1)
    return _check.matrix(column, name, classes, 1, "one value per class")[:, 0].double().to(device)


def _rows_of(at: Tensor, x: Tensor, codes: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    return x[at.to(x.device)], codes[at.cpu()], None if z is None else z[at.to(z.device)]


def _kept_samples(codes: Tensor, ignore_index: int | None, min_count: int) -> Tensor:
    keep = torch.ones(len(codes), dtype=torch.bool) if ignore_index is None else codes != ignore_index
    if min_count <= 1:
        return keep
    _, inverse = torch.unique(codes, return_inverse=True)
    counts = torch.zeros(int(inverse.max()) + 1, dtype=torch.int64).index_add_(0, inverse, keep.long())
    return keep & (counts[inverse] >= min_count)


def _classifier(
    weight: Array | None, bias: Array | None, moments: Moments, x: Tensor
) -> tuple[Tensor | None, Tensor | None, int, Tensor | None]:
    """The rows of W and b for the classes at hand, how many rows have no samples, and the decisions of all rows."""
    if weight is None:
        return None, None, 0, None
    w = _check.matrix(weight, "weight", None, moments.d, "one row per class, one column per feature")
    w = w.double().to(x.device)
    rows = moments.classes.to(x.device)
    _check.class_columns(rows, len(w), "weight")
    b = None if bias is None else per_class(bias, "bias", len(w), x.device)
    decision = torch.empty(len(x), dtype=torch.int64, device=x.device)
    for start in range(0, len(x), 4096):
        z = x[start : start + 4096].double() @ w.T
        decision[start : start + 4096] = (z if b is None else z + b).argmax(1)
    return w[rows], None if b is None else b[rows], len(w) - len(rows), decision
