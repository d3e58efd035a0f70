"""The rows that probes read: standardised by the training split, in no more coordinates than there are rows."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Flag
from repana._typing import IGNORED, FeatureArray, Features, LabelArray
from repana.statistics.splits import Split, split_of
from repana.summaries._linalg import power_of_two, scaled
from repana.summaries.folds import FoldMoments, Normal, one_hot
from repana.summaries.logistic import Axes

TRAIN, VALIDATION, TEST = (0,), (1,), (2,)  # parts of a split
TRAIN_AND_VALIDATION = (0, 1)
SCALES = ("standard", "centre", "none", "unit")
LARGE = 1e15  # standardised features of rows beyond the training split, whose squares would leave float32
REDUCED = 1.5  # features for each row, above which rows are taken in coordinates
CONSTANT = 64.0  # roundings of the largest value: a feature that varies less is constant


@dataclass(frozen=True)
class Labelled:
    """Features and classes as a user gives them, without the rows labelled -100.

    `codes` count from 0 the classes `values`, which stand for `names` where there are some; `keep` are the rows that
    stay, of the labels `given`.
    """

    x: Float[Tensor, "k d"]
    codes: Int[Tensor, " k"]
    values: Int[Tensor, " c"]
    names: tuple[str, ...]
    keep: Int[Tensor, " k"]
    given: Int[Tensor, " n"]

    @classmethod
    def of(cls, features: FeatureArray, labels: LabelArray, quantity: str, *, several: bool = True) -> "Labelled":
        """Refuses one class alone, unless `several` is False."""
        x = _check.features_of(features)
        given, names = _check.labels_of(labels, len(x))
        keep = (given != IGNORED).nonzero()[:, 0]
        if several:
            _check.two_classes(given[keep], names, quantity)
        values, codes = torch.unique(given[keep], return_inverse=True)
        x = x if len(keep) == len(x) else x[keep.to(x.device)]
        return cls(x, codes, values, names, keep, given)

    def kept(self, groups: Any, name: str = "groups") -> Any:
        """The group of every row that stays, or None where rows have none."""
        return None if groups is None else _check.groups_of(groups, len(self.given), name)[self.keep.numpy()]


@dataclass(frozen=True)
class Rows:
    """`x` (n, d), moved and scaled by the training split; `codes` (n,) of the classes `values` (c,), named `names` or
    not.

    Features that are constant in the training split are zero (`dead` of them). `notes` say what to beware of.
    """

    x: Features
    codes: Int[Tensor, " n"]
    values: Int[Tensor, " c"]
    names: tuple[str, ...]
    split: Split
    scale: str
    mean: Float[Tensor, " d"]
    spread: Float[Tensor, " d"]
    dead: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        features: FeatureArray,
        labels: LabelArray,
        *,
        groups: LabelArray | None = None,
        seed: int = 0,
        split: Split | None = None,
        scale: str = "standard",
        quantity: str = "a probe",
    ) -> "Rows":
        """From what a user gives. Rows labelled -100 are in no part."""
        _check.choice(scale, "scale", SCALES)
        given = Labelled.of(features, labels, quantity)
        split = split_of(given.codes, len(given.codes), groups=given.kept(groups), seed=seed, split=split)
        return cls.prepared(given.x, given.codes, given.values, given.names, split, scale)

    @classmethod
    def prepared(
        cls, x: Features, codes: Int[Tensor, " n"], values: Tensor, names: tuple[str, ...], split: Split, scale: str
    ) -> "Rows":
        """From checked features and codes."""
        moved, mean, spread, dead = standardised(x, split.train.to(x.device), scale)
        notes = list(split.notes)
        doubles = split.straddling(moved, codes)
        if doubles:
            notes.append(
                Flag.DUPLICATES.note(f"{doubles} test samples have a near-duplicate among the others: give `groups=`")
            )
        if dead:
            notes.append(Flag.CONSTANT.note(f"{dead} of {x.shape[1]} features are constant in the training split"))
        shown = tuple(names[int(v)] for v in values) if names else tuple(str(int(v)) for v in values)
        return cls(moved, codes.to(x.device), values, shown, split, scale, mean, spread, dead, tuple(notes))

    def rescaled(self, scale: str) -> "Rows":
        """The same rows, scaled otherwise; dead features stay dead."""
        if self.scale != "standard":
            raise ValueError(scale)
        spread = torch.where(torch.isfinite(self.spread), 1.0, self.spread)
        finite = torch.where(torch.isfinite(self.spread), self.spread, 0.0).to(self.x.dtype)
        return replace(self, x=self.x * finite, scale=scale, spread=spread)

    @classmethod
    def few(cls, x: Features, codes: Int[Tensor, " n"], values: Tensor, split: Split, scale: str) -> "Rows":
        """The same without notes, which cost a search for neighbours."""
        moved, mean, spread, dead = standardised(x, split.train.to(x.device), scale)
        return cls(moved, codes, values, (), split, scale, mean, spread, dead)

    @property
    def n(self) -> int:
        return len(self.codes)

    @property
    def d(self) -> int:
        return self.x.shape[1]

    @property
    def classes(self) -> int:
        return len(self.values)

    @cached_property
    def _coordinates(self) -> tuple[Float[Tensor, "n r"], Float[Tensor, "d r"] | None]:
        return reduced(self.x)

    @property
    def z(self) -> Float[Tensor, "n r"]:
        """The same rows in an orthonormal basis of a space that holds them all: distances, inner products and whatever
        is penalised by |W|^2 stay what they are.
        """
        return self._coordinates[0]

    def widened(self, weight: Float[Tensor, "r c p"]) -> Float[Tensor, "d c p"]:
        """Weights of the coordinates `z`, as weights of `x`."""
        basis = self._coordinates[1]
        return weight if basis is None else torch.einsum("dr,rcp->dcp", basis.to(weight.dtype), weight)

    def original(self, weight: Float[Tensor, "d c"], bias: Float[Tensor, " c"]) -> tuple[Tensor, Tensor]:
        """Weights of `x` and their bias, as those of the features as they came; rows of length 1 have none."""
        weight = weight.double() / self.spread[:, None]
        return weight, bias.double() - self.mean @ weight

    @cached_property
    def moments(self) -> FoldMoments:
        """Of `z` and the indicators of classes, of the training and the validation split."""
        part = torch.where(self.split.part < 2, self.split.part, -1).to(self.x.device)
        return FoldMoments.of(self.z, one_hot(self.codes, self.classes), part, 2)

    def normal(self, parts: tuple[int, ...], codes: Int[Tensor, "n s"]) -> Normal:
        """The normal equations of the indicators of one or several label sets over some parts."""
        own = self.moments.normal(parts)
        if codes.shape[1] == 1 and torch.equal(codes[:, 0], self.codes):
            return own
        at = self.at(parts)
        z = self.z[at]
        sums = [class_sums(z, codes[at, s], self.classes) for s in range(codes.shape[1])]
        counts = torch.stack([torch.bincount(codes[at, s], minlength=self.classes) for s in range(codes.shape[1])])
        share = counts.double().flatten() / own.n
        cross = torch.cat(sums).T - own.n * own.mean[:, None] * share
        return Normal(own.n, own.mean, share, own.gram, cross, own.n * share * (1 - share))

    @cached_property
    def _bases(self) -> dict[tuple[int, ...], tuple[Tensor, Tensor]]:
        return {}

    def basis(self, parts: tuple[int, ...]) -> tuple[Float[Tensor, " r"], Float[Tensor, "r r"]]:
        """Eigenvalues and vectors of X'X of `z` around its mean over some parts."""
        if parts not in self._bases:
            values, vectors = torch.linalg.eigh(self.moments.normal(parts).gram)
            self._bases[parts] = values.clamp_min(0), vectors
        return self._bases[parts]

    @cached_property
    def _axes(self) -> dict[tuple[int, ...], Axes]:
        return {}

    def axes(self, parts: tuple[int, ...]) -> Axes:
        """For logistic regressions on some parts of `z`: along eigenvectors that a ridge needs too, or of float32."""
        if parts not in self._axes:
            z = self.z[self.at(parts)]
            if parts in self._bases or parts == TRAIN:
                values, vectors = self.basis(parts)
                self._axes[parts] = Axes.known(values / len(z), vectors, z)
            else:
                self._axes[parts] = Axes.of(z)
        return self._axes[parts]

    def at(self, parts: tuple[int, ...]) -> Int[Tensor, " m"]:
        """The rows of some parts, ascending."""
        part = self.split.part
        inside = torch.isin(part, torch.tensor(parts))
        return inside.nonzero()[:, 0].to(self.x.device)


def standardised(
    x: Features, fit: Int[Tensor, " a"], scale: str
) -> tuple[Features, Float[Tensor, " d"], Float[Tensor, " d"], int]:
    """(x - mean)/spread of the training split ("standard"), without the latter ("centre"), with each row of length 1
    after that ("unit"), or as they are ("none"); the mean and the spread; and how many features are constant in the
    training samples. Those are zero afterwards.
    """
    unit = power_of_two(x)
    unit = unit if not 2.0**-256 < unit < 2.0**256 else 1.0  # squares of such features leave the range of float64
    wide = x.double() if unit == 1.0 else scaled(x.double(), unit)
    known = wide[fit]
    mean = known.mean(0)
    deviation = (known - mean).square().mean(0).sqrt()
    precision = torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps
    alive = deviation > CONSTANT * precision * known.abs().amax(0)
    dead, one = int((~alive).sum()), torch.ones_like(mean)
    if scale == "none":
        return (x if x.dtype == torch.float64 else x.float()), torch.zeros_like(mean), one, dead
    spread = torch.where(alive, deviation if scale == "standard" else one, torch.inf)
    moved = (wide - mean) / spread
    mean, spread = mean * unit, spread * unit
    if scale == "unit":
        moved = moved / moved.norm(dim=1, keepdim=True).clamp_min(1e-300)
    wide_enough = x.dtype == torch.float64 or float(moved.abs().amax()) > LARGE
    return (moved if wide_enough else moved.float()), mean, spread, dead


def reduced(x: Features) -> tuple[Float[Tensor, "n r"], Float[Tensor, "d r"] | None]:
    """Rows in n coordinates, X = ZQ' with orthonormal columns of Q, where there are so many more features that they
    pay."""
    if x.shape[1] <= REDUCED * len(x):
        return x, None
    q, r = torch.linalg.qr(x.T)
    return r.T.contiguous(), q


def class_sums(x: Features, codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, "c d"]:
    """Sums of rows by class, in float64."""
    total = torch.zeros(classes, x.shape[1], dtype=torch.float64, device=x.device)
    for part in torch.arange(len(x), device=x.device).split(4096):
        total += (one_hot(codes[part], classes).to(x.dtype).T @ x[part]).double()
    return total
