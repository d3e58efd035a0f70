"""Erasing a concept: taking out of the features what a linear probe could decode, and what that does to the network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._renamed import renamed
from repana._typing import IGNORED, FeatureArray, Features, LabelArray, TargetArray
from repana.errors import InputError
from repana.probes import _refusals, _scores
from repana.probes._classifiers import head_named
from repana.probes._data import Labelled, Rows
from repana.probes._protocol import probed
from repana.statistics import resampling
from repana.statistics.splits import Split, split_of
from repana.summaries.folds import FoldMoments, Normal, one_hot

METHODS = ("leace", "mean_projection", "random")
ROUNDINGS = 1e3  # of a feature's largest value
TOLERANCE = 1e-9  # of the largest singular value: directions below are rounding


@shown
@dataclass(frozen=True)
class Erasure:
    """A concept erased, and what is left; see `erase`. Called with features, it erases them."""

    read_before: Estimate
    read_after: Estimate
    read_random: Estimate
    neighbours_after: Estimate
    head_before: Estimate
    head_after: Estimate
    head_random: Estimate
    moved: Estimate
    left: Float[Tensor, "d r"]
    right: Float[Tensor, "r d"]
    mean: Float[Tensor, " d"]
    rank: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, features: Features) -> Features:
        """x - left right (x - mean), in the precision of x."""
        return erased(features, self.left, self.right, self.mean)

    @property
    def matrix(self) -> Float[Tensor, "d d"]:
        """I - left right: what x - mean is multiplied by."""
        return torch.eye(len(self.left), dtype=self.left.dtype, device=self.left.device) - self.left @ self.right


@renamed(draws="repeats")
def erase(
    features: FeatureArray,
    labels: LabelArray,
    *,
    method: str = "leace",
    weight: Any = None,
    bias: Any = None,
    targets: TargetArray | None = None,
    groups: LabelArray | None = None,
    split: Split | None = None,
    shrinkage: float | str = 0.0,
    repeats: int = 3,
    level: float = 0.95,
    seed: int = 0,
) -> Erasure:
    """Erase the classes from the features so that no linear probe finds them, moving the features as little as can be.

    x -> x - W^+ U U' W (x - m): with `method="leace"`, W = Sxx^(-1/2), U the left singular vectors of W Sxy, of at most
    rank c - 1: afterwards all class means are equal, so that on the rows it was fitted on no linear probe beats the
    class shares, and of all such affine maps this moves x least in the mean square. "mean_projection" takes
    W = I: the orthogonal projection away from the span of the class means. "random" projects away from as many random
    directions. Classes are one-hot inside: numbers of classes are no quantity.

    Fitted on the training and validation splits (`fit`), measured on the test split:

    - `read_before`, `read_after`: accuracy of a linear probe, fitted again to erased features; `read_random` after
      erasing as many random directions, the mean of `repeats`. The guarantee is for the rows fitted on and for linear
      probes: on new rows `read_after` can fall below the most frequent class (the means are over-corrected), and
      `neighbours_after`, a kNN probe, shows what stays for other probes.
    - With `weight` (k, d), `bias` (k,) of the network's own head, and its `targets` (n,) where they are not the labels:
      `head_before`, `head_after`, `head_random`, its accuracy on the test split. What the network loses beyond the
      random control is what it used (amnesic probing).
    - `moved`: mean |x - x'|^2/mean |x - m|^2 on the test split.

    `shrinkage`: a share of the mean variance that is added to Sxx, for n near d. The result is called with features to
    erase them: `erasure(x)`.

    Raises InputError as `linear_probe`, and for a head of another width.

    Sources: Belrose et al. 2023, arXiv:2306.03819 (LEACE); Haghighatkhah et al. 2022, arXiv:2212.04273 (mean
    projection); Elazar et al. 2021, arXiv:2006.00995 (amnesic probing and its control).

    >>> import torch
    >>> from repana import erase
    >>> x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    >>> found = erase(x, x[:, 0] > 0)
    >>> float(found.read_before) > 0.9 > 0.7 > float(found.read_after)
    True
    """
    _check.choice(method, "method", METHODS)
    _check.level_of(level)
    _check.at_least(repeats, "repeats", 1)
    shrunk = _check.shrinkage_of(shrinkage)
    if isinstance(shrunk, str):
        raise _refusals.shrinkage_number(shrunk)
    given = Labelled.of(features, labels, "erase")
    x, y, values, names = given.x.double(), given.codes.to(given.x.device), given.values, given.names
    split = split_of(given.codes, len(x), groups=given.kept(groups), seed=seed, split=split)
    at = split.train_and_validation.to(x.device)
    known, c = x[at], len(values)
    mean = known.mean(0)
    directions = random_directions if method == "random" else leace if method == "leace" else mean_projection
    generator = torch.Generator().manual_seed(seed)
    left, right = directions(known, y[at], c, shrunk, generator)
    still = (known == known[0]).all(0)  # constant features have nothing to erase; rounding would give them something
    left[still], right[:, still] = 0.0, 0.0
    rank = left.shape[1]
    controls = [random_directions(known, y[at], c, 0.0, generator, rank) for _ in range(repeats)]
    versions = [x, *(_without_rounding(erased(x, a, b, mean), x, at) for a, b in ((left, right), *controls))]
    scales = {"linear": "standard", "knn": "centre"}

    def read(features: Features, name: str) -> Estimate:
        rows = Rows.prepared(features, y.cpu(), values, (), split, scales[name])
        return probed(head_named(name), rows, permutations=0, level=level, seed=seed).accuracy

    after = [read(v, "linear") for v in versions]
    heads = [Estimate(NAN, note=Flag.MISSING_INPUT.note("no `weight` of a head"))] * len(versions)
    if weight is not None:
        if targets is None and names:
            raise _check.names_without_numbers(names, "weight")
        heads = _heads(versions, weight, bias, targets, given, split, level, seed)
    report = split.test.to(x.device)
    shift = (versions[0][report] - versions[1][report]).square().sum(1)
    spread = float((versions[0][report] - mean).square().sum(1).mean())
    moved = resampling.resampled(
        (shift / (spread or 1.0))[:, None], y[report].cpu(), split.test_group, level=level, seed=seed
    )
    return Erasure(
        read_before=after[0],
        read_after=after[1],
        read_random=_mean(after[2:]),
        neighbours_after=_or_none(lambda: read(versions[1], "knn")),
        head_before=heads[0],
        head_after=heads[1],
        head_random=_mean(heads[2:]),
        moved=moved,
        left=left,
        right=right,
        mean=mean,
        rank=rank,
        settings={
            "method": method,
            "rank": rank,
            "shrinkage": shrunk,
            "repeats": repeats,
            "split": split.fingerprint,
            "level": level,
            "seed": seed,
        },
    )


def erased(x: Features, left: Float[Tensor, "d r"], right: Float[Tensor, "r d"], mean: Float[Tensor, " d"]) -> Features:
    """x - left right (x - mean)."""
    wide = x.double()
    return (wide - ((wide - mean) @ right.T) @ left.T).to(x.dtype)


def _or_none(function: Callable[[], Estimate]) -> Estimate:
    try:
        return function()
    except InputError as error:  # rows at the centre have no direction
        return Estimate(NAN, note=str(error))


def _without_rounding(after: Features, before: Features, at: Int[Tensor, " t"]) -> Features:
    """Columns of which only rounding is left are constant: a probe that standardises would read the rounding."""
    noise = ROUNDINGS * torch.finfo(torch.float64).eps * before.abs().amax(0)
    return torch.where(after[at].std(0) <= noise, after[at].mean(0), after)


def _normal(x: Features, y: Int[Tensor, " n"], c: int) -> Normal:
    """The normal equations of the class indicators over all rows."""
    return FoldMoments.of(x, one_hot(y, c).double(), torch.zeros_like(y), 1).normal()


def leace(
    x: Features, y: Int[Tensor, " n"], c: int, shrinkage: float, generator: torch.Generator
) -> tuple[Float[Tensor, "d r"], Float[Tensor, "r d"]]:
    """W^+ U and U'W."""
    normal = _normal(x, y, c)
    covariance, cross = normal.gram / normal.n, normal.cross / normal.n
    if shrinkage:
        level = float(covariance.diagonal().mean())
        covariance = (1 - shrinkage) * covariance
        covariance.diagonal().add_(shrinkage * level)
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    root, v = values[kept].sqrt(), vectors[:, kept]
    u = _directions((v.T @ cross) / root[:, None])
    return v @ (root[:, None] * u), (u / root[:, None]).T @ v.T


def mean_projection(
    x: Features, y: Int[Tensor, " n"], c: int, shrinkage: float, generator: torch.Generator
) -> tuple[Float[Tensor, "d r"], Float[Tensor, "r d"]]:
    """The orthogonal projection onto the span of the differences of class means."""
    normal = _normal(x, y, c)
    u = _directions(normal.cross / normal.n)
    return u, u.T.clone()


def random_directions(
    x: Features, y: Int[Tensor, " n"], c: int, shrinkage: float, generator: torch.Generator, rank: int | None = None
) -> tuple[Float[Tensor, "d r"], Float[Tensor, "r d"]]:
    """As many random orthonormal directions as there are classes less one."""
    d = x.shape[1]
    r = min(c - 1, d) if rank is None else rank
    u = torch.linalg.qr(torch.randn(d, r, generator=generator, dtype=torch.float64))[0].to(x.device)
    return u, u.T.clone()


def _directions(cross: Float[Tensor, "d c"]) -> Float[Tensor, "d r"]:
    """Left singular vectors above rounding."""
    u, s, _ = torch.linalg.svd(cross, full_matrices=False)
    return u[:, s > TOLERANCE * s.amax().clamp_min(1e-300)] if s.numel() else u


def _heads(
    versions: list[Features],
    weight: Any,
    bias: Any,
    targets: Any,
    given: Labelled,
    split: Split,
    level: float,
    seed: int,
) -> list[Estimate]:
    """The accuracy of the network's own head on every version."""
    w = _check.matrix(weight, "weight", None, versions[0].shape[1], "one row per class of the head").double()
    w = w.to(versions[0].device)
    b = w.new_zeros(len(w)) if bias is None else torch.as_tensor(_check.column(bias, "bias", len(w))).to(w)
    requested = given.given if targets is None else _check.labels_of(targets, len(given.given), "targets")[0]
    requested = requested[given.keep]
    _check.class_columns(requested[requested != IGNORED], len(w), "weight")
    at = split.test[requested[split.test] != IGNORED]
    truth, group = requested[at], None if split.group is None else split.group[at]
    found = []
    for version in versions:
        guess = (version[at.to(version.device)] @ w.T + b).argmax(1).cpu()
        found.append(_scores.accuracy(guess == truth, group, level=level, seed=seed))
    return found


def _mean(estimates: list[Estimate]) -> Estimate:
    """The mean of several controls, with the mean of their intervals: they share their rows."""
    k = len(estimates)
    value, low, high = (sum(getattr(e, name) for e in estimates) / k for name in ("value", "low", "high"))
    return Estimate(value, low, high, estimates[0].n, estimates[0].note)
