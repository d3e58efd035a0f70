"""The nearest class mean: of all samples, or of all but the sample that is read."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana._typing import Features, Labels, Means
from repana.summaries.resampling import FEWEST, Permuted, working

ROWS = 4096  # read at a time
SMALL, LARGE = 1e-12, 1e12  # spreads of means whose products would leave float32
SCORES = 2**22  # bytes of a block of scores, which stays in cache
SEARCHED = 4e10  # floating-point operations for the nearest means of all permutations


def equal_means(mean: Means) -> Bool[Tensor, " c"]:
    """Which classes share their mean exactly with another class."""
    _, inverse, count = torch.unique(mean, dim=0, return_inverse=True, return_counts=True)
    return count[inverse] > 1


def nearest_mean(
    features: Features, mean: Means, slot: Labels | None = None, count: Int[Tensor, " c"] | None = None
) -> Int[Tensor, " n"]:
    """The index of the nearest class mean, argmax of (x - g).m - |m|^2/2 with m = mean - g.

    With `slot`, the class of every row, and `count`, the sizes that the means were made of, each row is left out of the
    mean of its own class: that moves to m - (x - m)/(count - 1), so its distance grows by count/(count - 1). A class
    of one sample has no mean without it.
    Centring first keeps float32 features exact enough when they sit far from the origin.
    """
    g = mean.mean(0)
    work = working(features)
    if not SMALL < float((mean - g).abs().max()) < LARGE:
        work = torch.float64
    centred = (mean - g).to(work)
    bias = -0.5 * (mean - g).square().sum(1).to(work)
    out = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for start in range(0, len(features), ROWS):
        rows = features[start : start + ROWS].to(work) - g.to(work)
        scores = torch.addmm(bias, rows, centred.T)
        if slot is not None and count is not None:
            own = slot[start : start + ROWS]
            apart = (rows - centred[own]).square().sum(1)
            _leave_out(scores[:, None], rows.square().sum(1), apart[:, None], own[:, None], count)
        out[start : start + ROWS] = scores.argmax(1)
    return out


def affordable_accuracies(n: int, d: int, c: int) -> int:
    """Of how many permutations the nearest means are searched."""
    return max(FEWEST - 1, int(SEARCHED / (2.0 * n * d * c)))


def permuted_accuracies(permuted: Permuted) -> list[float]:
    """The share of rows whose nearest mean, made without them, is that of their permuted label; of each permutation."""
    rows, count, (p, c) = permuted.rows, permuted.count, permuted.traces.shape
    means = permuted.means.to(rows.dtype).flatten(0, 1)
    bias = -0.5 * permuted.means.square().sum(2).flatten().to(rows.dtype)
    length = rows.square().sum(1)
    hits = torch.zeros(p, dtype=torch.float64, device=rows.device)
    for part in torch.arange(len(rows), device=rows.device).split(max(16, SCORES // (4 * p * c))):
        scores = torch.addmm(bias, rows[part], means.T).view(len(part), p, c)
        own = permuted.labels[:, part].T
        found = scores.gather(2, own[..., None])[..., 0]
        _leave_out(scores, length[part], (length[part, None] - 2 * found).clamp_min(0), own, count)
        hits += (scores.argmax(2) == own).sum(0)
    return (hits / len(rows)).tolist()


def _leave_out(
    scores: Float[Tensor, "m p c"],
    length: Float[Tensor, " m"],
    apart: Float[Tensor, "m p"],
    own: Int[Tensor, "m p"],
    count: Int[Tensor, " c"],
) -> None:
    """Put in place of every row's score for its own class that for the mean without the row.

    With squared lengths |x|^2 and squared distances to the own mean, a score is (|x|^2 - distance)/2.
    """
    size = count[own].to(scores.dtype)
    further = apart * (size / (size - 1)).square()
    without = torch.where(size > 1, (length[:, None] - further) / 2, -torch.inf)
    scores.scatter_(2, own[..., None], without[..., None])
