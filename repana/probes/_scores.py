"""Scores of predictions with their intervals, and the one place where nats become bits."""

import math
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._estimate import Estimate, Flag, noted
from repana.statistics.intervals import proportion
from repana.statistics.resampling import FEWEST_GROUPS, resampled
from repana.summaries.resampling import permuted_orders

Nats = TypeVar("Nats", float, Tensor)
AT_ONCE = 64  # permutations of the labels that are scored at a time
HOTTEST, COLDEST = 1e-4, 1e4  # temperatures tried are their inverses
NUMBERS = 2**20  # scores whose factor is looked for at a time
STEPS, SETTLED = 60, 1e-8  # towards the best factor, and its relative change at which they end


def bits(nats: Estimate | float) -> Estimate:
    """In bits: nats over log 2."""
    if not isinstance(nats, Estimate):
        return Estimate(in_bits(nats))
    numbers = ("value", "low", "high", "null", "null_low", "null_high")
    known = {name: value for name in numbers if not math.isnan(value := getattr(nats, name))}
    return replace(nats, **{name: in_bits(value) for name, value in known.items()})


def in_bits(nats: Nats) -> Nats:
    """Nats over log 2, of a number or of every entry."""
    return nats / math.log(2)


def log_probabilities(scores: Float[Tensor, "m c *p"], fitted_on: int) -> Float[Tensor, "m c *p"]:
    """log((1 - e) softmax + e/c), e = 1/(n + c): what was never seen is unlikely, not impossible."""
    c = scores.shape[1]
    e = 1 / (fitted_on + c)
    uniform = torch.full_like(scores, math.log(e / c), dtype=torch.float64)
    return torch.logaddexp(torch.log_softmax(scores.double(), 1) + math.log1p(-e), uniform)


def temperature(scores: Float[Tensor, "m c p"], codes: Int[Tensor, " m"]) -> Float[Tensor, " p"]:
    """The factor of the scores with the smallest log-loss, by Newton's steps on its derivative, which rises; by
    bisection on a logarithmic scale where such a step would leave the bracket.

    One row more than there are, of every class alike, keeps it finite where all rows are right.
    """
    m, c, p = scores.shape
    size = max(1, NUMBERS // (m * c))
    found = torch.empty(p, dtype=torch.float64, device=scores.device)
    for at in torch.arange(p, device=scores.device).split(size):
        found[at] = _temperature(scores[:, :, at], codes)
    return found


def _temperature(scores: Float[Tensor, "m c p"], codes: Int[Tensor, " m"]) -> Float[Tensor, " p"]:
    z = scores.double()
    z = z.masked_fill(torch.isinf(z), -1e6)
    m, c, p = z.shape
    own = z.gather(1, codes[:, None, None].expand(m, 1, p))[:, 0]
    e = 1 / (m + 1)
    present = (z > -1e5).double()
    even = (z * present).sum(1) / present.sum(1).clamp_min(1)
    requested = ((1 - e) * own + e * even).mean(0)
    low, high = z.new_full((p,), HOTTEST), z.new_full((p,), COLDEST)
    factor = low
    for _ in range(STEPS):
        share = torch.softmax(z * factor, 1)
        first = (share * z).sum(1)
        slope = first.mean(0) - requested
        bend = (share * (z - first[:, None]).square()).sum(1).mean(0)
        low, high = torch.where(slope < 0, factor, low), torch.where(slope < 0, high, factor)
        near = factor - slope / bend
        inside = (near > low) & (near < high)  # NaN is not
        following = torch.where(inside, near, (low * high).sqrt())
        settled = (following - factor).abs() <= SETTLED * factor
        factor = following
        if bool(settled.all()):
            break
    return factor


def losses(log_p: Float[Tensor, "m c"], codes: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """-log p(y|x) of every row, in nats."""
    return -log_p.gather(1, codes[:, None])[:, 0]


def permuted_scores(
    log_p: Float[Tensor, "m c"],
    codes: Int[Tensor, " m"],
    classes: int,
    group: Int[Tensor, " m"] | None,
    permutations: int,
    seed: int,
) -> dict[str, list[float]]:
    """Accuracy, balanced accuracy and mean loss of the same predictions under shuffled labels of the test split, which
    no fit has seen; nothing where rows of a group depend on each other.
    """
    if group is not None or not permutations:
        return {}
    guess, count = log_p.argmax(1), torch.bincount(codes, minlength=classes)
    others = codes[permuted_orders(len(codes), permutations, seed).to(codes.device)]
    hit = (guess == others).double()
    hits = hit.new_zeros(permutations, classes).scatter_add_(1, others, hit)
    loss = -torch.cat([log_p.gather(1, some.T).mean(0) for some in others.split(AT_ONCE)])
    return {
        "accuracy": hit.mean(1).tolist(),
        "balanced_accuracy": (hits / count)[:, count > 0].mean(1).tolist(),
        "log_loss": loss.tolist(),
    }


def outcomes(log_p: Float[Tensor, "m c"], codes: Int[Tensor, " m"]) -> dict[str, Tensor]:
    """What a `Probe` keeps of each row that it reports, and of each class."""
    classes, guess = log_p.shape[1], log_p.argmax(1)
    count = torch.bincount(codes, minlength=classes)
    confusion = torch.bincount(codes * classes + guess, minlength=classes**2).view(classes, classes)
    hits = confusion.diagonal().double()
    return {
        "log_probabilities": log_p,
        "targets": codes,
        "correct": guess == codes,
        "losses": losses(log_p, codes),
        "recall": torch.where(count > 0, hits / count.clamp_min(1), torch.nan),
        "counts": count,
        "confusion": confusion,
    }


def accuracy(correct: Tensor, group: Int[Tensor, " m"] | None, *, level: float, seed: int, note: str = "") -> Estimate:
    """The share of right rows, with Wilson's interval, or that of resampled groups."""
    hits, m = int(correct.sum()), len(correct)
    wilson = proportion(hits, m, level=level, note=note)
    if group is None or (hits in (0, m) and int(group.unique().numel()) >= FEWEST_GROUPS):
        return wilson
    return resampled(correct.double()[:, None], None, group, level=level, seed=seed, note=note)


def balanced_accuracy(
    correct: Tensor,
    codes: Int[Tensor, " m"],
    classes: int,
    group: Int[Tensor, " m"] | None,
    *,
    level: float,
    seed: int,
    note: str = "",
) -> Estimate:
    """The mean over the classes that have rows of the share of right ones."""
    hit = correct.new_zeros((len(codes), classes), dtype=torch.float64).scatter_(
        1, codes[:, None], correct.double()[:, None]
    )
    there = torch.zeros_like(hit).scatter_(1, codes[:, None], 1.0)
    present = there.sum(0) > 0
    absent = classes - int(present.sum())
    if absent:
        note = noted(
            note, Flag.MISSING_CLASSES.note(f"of {classes - absent} of {classes} classes; the others have no row")
        )
    columns = torch.cat([hit[:, present], there[:, present]], 1)

    def share(sums: Tensor) -> Tensor:
        a, b = sums.chunk(2, -1)
        return (a / b.clamp_min(1e-300)).where(b > 0, torch.nan).nanmean(-1)

    found = resampled(columns, codes, group, level=level, seed=seed, note=note, statistic=share)
    if int(correct.sum()) in (0, len(correct)):  # all alike: no spread to resample
        wilson = proportion(int(correct.sum()), len(correct), level=level)
        found = replace(found, low=wilson.low, high=wilson.high)
    return found
