"""Which classes single features of a dictionary stand for, by whether they are active."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._numbers import number
from repana._typing import IGNORED, FeatureArray, LabelArray
from repana.statistics.resampling import percentiles, resampled
from repana.statistics.splits import Split, split_of

UNION = 10  # classes of a union, at most
ROUNDS = 30


@shown
@dataclass(frozen=True)
class LatentClasses:
    """The feature that stands for each class, and the classes that each feature stands for; see `latent_classes`.

    `f1` (t, c): of every feature and class, on all rows. `unions` (t): the classes of each feature's best union, and
    `union_f1` (t,).
    """

    best: Mapping[Any, Estimate]
    auroc: Mapping[Any, float]
    latent: Mapping[Any, int]
    best_of_all: Mapping[Any, Estimate]
    f1: Float[Tensor, "t c"]
    union_f1: Float[Tensor, " t"]
    unions: tuple[tuple[Any, ...], ...] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"LatentClasses({len(self.f1)} features, {len(self.best)} classes)"]
        for c, e in self.best.items():
            of_all = self.best_of_all[c]
            lines.append(
                f"  {c}: feature {self.latent[c]}, F1 {number(e.value)} on held-out rows (always on "
                f"{number(e.null)}), AUROC {number(self.auroc[c])}; best of all {number(of_all.value)}, permuted "
                f"labels up to {number(of_all.null_high)}"
            )
        return "\n".join(lines)


@settled()
def latent_classes(
    codes: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    permutations: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> LatentClasses:
    """Which feature of a dictionary stands for which class: F1 of "the code z_j is not 0" as a detector of the class,
    for codes (n, t). F1 = 2tp/(2tp + fp + fn) in [0, 1], 0 where it is 0/0.

    - `best` by class: F1 on the test rows of the feature that is best on the training and validation rows (`latent`),
      with its `auroc` there by the size of the code. Its `null` is the F1 of a feature that is always on, 2p/(1 + p)
      for a class of share p: for common classes that is high.
    - `best_of_all`: the largest F1 over features on all rows, which picks the winner on the rows that it reports; its
      `null`, `null_low` and `null_high` are those of the same largest F1 over `permutations` of the labels, and `p`.
    - `unions`, `union_f1`: for each feature the set of up to 10 classes that it detects best, on all rows.

    Interval of `best`: percentiles of bootstrap samples of test rows (whole groups).

    Raises InputError for codes that are not finite or fewer than two classes.

    Source: Makelov, Lange & Nanda 2024, arXiv:2405.08366.

    >>> import torch
    >>> from repana.features import latent_classes
    >>> y = torch.arange(60) % 3
    >>> found = latent_classes(torch.nn.functional.one_hot(y, 5).float(), y, permutations=10)
    >>> found.latent[1], found.best[1].value
    (1, 1.0)
    """
    _check.level_of(level)
    permutations = _check.at_least(permutations, "permutations", 0)
    z = _check.features_of(codes, name="codes")
    y, names = _check.labels_of(labels, len(z))
    keep = y != IGNORED
    if not bool(keep.all()):
        z, y = z[keep.to(z.device)], y[keep]
        groups = None if groups is None else np.asarray(groups)[keep.numpy()]
    _check.two_classes(y, names, "latent_classes")
    parts = split_of(y, len(z), groups=groups, seed=seed, split=split)
    values = [int(c) for c in y.unique()]
    keys: list[Any] = [names[c] if names else c for c in values]
    active, truth = (z != 0), torch.stack([y == c for c in values], 1).to(z.device)
    both = parts.train_and_validation.to(z.device)
    chosen = f1_table(active[both], truth[both]).argmax(0)
    table = f1_table(active, truth)
    best, auroc = {}, {}
    test = parts.test.to(z.device)
    for c, key in enumerate(keys):
        absent = missing(truth[:, c].cpu(), parts)
        if absent is not None:
            best[key], auroc[key] = absent, NAN
            continue
        on, member = active[test, chosen[c]].cpu(), truth[test, c].cpu()
        columns = torch.stack([on & member, on, member], 1).double()
        found = resampled(columns, None, parts.test_group, level=level, seed=seed, statistic=f1_of_sums)
        share = float(member.double().mean())
        best[key] = Estimate(found.value, found.low, found.high, found.n, found.note, null=2 * share / (1 + share))
        auroc[key] = _auroc(z[test, chosen[c]].double().cpu().numpy(), member.numpy())
    union_f1, unions = _unions(active, truth)
    settings = {"permutations": permutations, "level": level, "seed": seed, "test": len(test)}
    return LatentClasses(
        best,
        auroc,
        {key: int(chosen[c]) for c, key in enumerate(keys)},
        _against_permutations(active, truth, table, keys, permutations, level, seed),
        table.cpu(),
        union_f1.cpu(),
        tuple(tuple(keys[c] for c in row.nonzero()[:, 0].tolist()) for row in unions.cpu()),
        settings,
    )


def missing(truth: Bool[Tensor, " n"], split: Split) -> Estimate | None:
    """No value for a class without rows to fit on or to test on."""
    for part, rows in (("train", split.train_and_validation), ("test", split.test)):
        if not bool(truth[rows].any()):
            note = Flag.MISSING_CLASSES.note(f"the class has no {part} row")
            return Estimate(NAN, n=len(split.test), note=note)
    return None


def f1_table(active: Bool[Tensor, "n t"], truth: Bool[Tensor, "n c"]) -> Float[Tensor, "t c"]:
    """F1 of every feature as a detector of every class."""
    hits = active.double().T @ truth.double()
    both = active.sum(0).double()[:, None] + truth.sum(0).double()
    return torch.where(both > 0, 2 * hits / both.clamp_min(1), 0.0)


def f1_of_sums(sums: Float[Tensor, "*b three"]) -> Float[Tensor, "*b"]:
    """Of sums of hits, of detections and of members; 0 where there are none."""
    both = sums[..., 1] + sums[..., 2]
    return torch.where(both > 0, 2 * sums[..., 0] / both.clamp_min(1), torch.zeros_like(both))


def _auroc(scores: np.ndarray, member: np.ndarray) -> float:
    p, q = int(member.sum()), int((~member).sum())
    if not p or not q:
        return float("nan")
    return float((rankdata(scores)[member].sum() - p * (p + 1) / 2) / (p * q))


def _against_permutations(
    active: Tensor, truth: Tensor, table: Tensor, keys: list[Any], permutations: int, level: float, seed: int
) -> dict[Any, Estimate]:
    """The largest F1 over features of each class, and the same with permuted labels."""
    largest = table.amax(0)
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        f1_table(active, truth[torch.randperm(len(truth), generator=generator).to(truth.device)]).amax(0)
        for _ in range(permutations)
    ]
    found = {}
    for c, key in enumerate(keys):
        value, n = float(largest[c]), len(truth)
        if not drawn:
            found[key] = Estimate(value, n=n)
            continue
        null = np.array([float(d[c]) for d in drawn])
        low, high = percentiles(null, level)
        p = (1 + int((null >= value).sum())) / (1 + permutations)
        found[key] = Estimate(
            value, n=n, null=float(null.mean()), null_low=low, null_high=high, p=p,
            permutations=permutations,
        )  # fmt: skip
    return found


def _unions(active: Bool[Tensor, "n t"], truth: Bool[Tensor, "n c"]) -> tuple[Float[Tensor, " t"], Bool[Tensor, "t c"]]:
    """The set of up to ten classes that each feature detects with the largest F1: Dinkelbach's iterations, each of
    which takes the classes with 2 hits - F1 members above 0, the ten largest."""
    hits, size = active.double().T @ truth.double(), truth.sum(0).double()
    on = active.sum(0).double()[:, None]
    most = min(UNION, truth.shape[1])
    best = torch.zeros(len(hits), 1, dtype=torch.float64, device=hits.device)
    chosen = torch.zeros_like(hits, dtype=torch.bool)
    for _ in range(ROUNDS):
        gain = 2 * hits - best * size
        top = gain.topk(most, dim=1)
        new = torch.zeros_like(chosen).scatter_(1, top.indices, top.values > 0)
        total = (2 * hits * new).sum(1, keepdim=True) / (on + (size * new).sum(1, keepdim=True)).clamp_min(1)
        if bool((total <= best + 1e-15).all()):
            break
        chosen, best = torch.where(total > best, new, chosen), torch.maximum(total, best)
    return best[:, 0], chosen
