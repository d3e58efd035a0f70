"""Whether the feature that should stand for a concept is absorbed into others on some rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._typing import FeatureArray, LabelArray
from repana.features import _refusals
from repana.features._dictionary import Dictionary
from repana.statistics.resampling import resampled

COSINE, FULL_COSINE, SHARE, TOP = 0.1, 0.025, 0.4, 3
LENGTHS = 1e-3  # by which decoder rows may differ from length 1
USABLE = 0.6  # F1 of the direction on held-out rows


@shown
@dataclass(frozen=True)
class Absorption:
    """How far a concept is absorbed; see `absorption`. `rows` (n,): the share absorbed on each row, `whole` (n,)."""

    absorbed: Estimate
    full: Estimate
    rows: Float[Tensor, " n"]
    whole: Bool[Tensor, " n"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def absorption(
    words: Dictionary,
    features: FeatureArray,
    direction: FeatureArray,
    main: Sequence[int],
    *,
    direction_f1: float | None = None,
    groups: LabelArray | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Absorption:
    """How much of a concept the features that should stand for it leave to others, on rows (n, d) that have it.

    `direction` (d,) is that of a probe of the concept, `main` the features that stand for it, as `sparse_probe` finds
    them, and `direction_f1` the probe's F1 on held-out rows. With p the direction at length 1, z the codes,
    cos_j = cos(atom_j, p), c_j = z_j cos_j and a = <x, p>; top = the sum of the 3 largest c_j over the other features
    with cos_j >= .1 and c_j > 0; main = the sum of c_j over `main`:

    - a row is 0 where a <= 0, main >= a or top < .4 a; 1 where main <= 0; else q/(q + main), q = min(top, a - main).
      `absorbed` is the mean, in [0, 1], lower is better (plots of the source show one less it).
    - `full`: share of rows where no main feature is active and the feature with the largest c_j has cos_j >= .025 and
      c_j >= .4 a.

    c_j reads cosines, not lengths, and no decoder bias: for decoder rows that are not of length 1 it is wrong, and the
    note says so; rescale them first. NaN where `direction_f1` is not above .6: the direction is no ground truth.

    Interval: percentiles of bootstrap samples of rows (whole `groups`).

    Raises InputError for a direction of another width or of length 0, or features that the dictionary does not have.

    Source: Karvonen et al. 2025, arXiv:2503.09532; Chanin et al. 2024, arXiv:2409.14507.

    >>> import torch
    >>> from repana.features import absorption, sparse_autoencoder
    >>> words, x = sparse_autoencoder(torch.eye(2), torch.eye(2)), torch.tensor([[2.0, 0.0]] * 12)
    >>> absorption(words, x, torch.tensor([1.0, 0.0]), [0], direction_f1=0.9).absorbed.value
    0.0
    """
    _check.level_of(level)
    x = _check.features_of(features)
    p = _check.tensor_of(direction, "direction").detach().double().cpu().flatten()
    if len(p) != x.shape[1] or words.atoms.shape[1] != x.shape[1]:
        raise _check.other_width_of("direction", len(p), words.atoms.shape[1])
    if not bool(torch.isfinite(p).all()) or float(p.norm()) == 0:
        raise _refusals.no_direction()
    count = len(words)
    chosen = sorted({_check.at_least(j, "main", 0) for j in main})
    if not chosen or chosen[-1] >= count:
        raise _refusals.no_such_features(chosen, count)
    rows, whole = absorbed_rows(words.codes(x).double().cpu(), words.atoms.double().cpu(), x.double().cpu(), p, chosen)
    lengths = words.atoms.double().norm(dim=1)
    note = ""
    if float((lengths - 1).abs().max()) > LENGTHS:
        note = Flag.APPROXIMATED.note("decoder rows are not of length 1, which c_j does not see: rescale them first")
    if direction_f1 is None:
        note = noted(note, Flag.MISSING_INPUT.note("give `direction_f1`: the direction may be no ground truth"))
    group = None if groups is None else torch.from_numpy(_check.groups_of(groups, len(x)))
    found = [resampled(v.double()[:, None], None, group, level=level, seed=seed, note=note) for v in (rows, whole)]
    if direction_f1 is not None and not direction_f1 > USABLE:
        weak = Flag.UNDEFINED.note(f"the direction's F1 is {direction_f1:.2f}, and above {USABLE} is needed")
        found = [replace(e, value=NAN, low=NAN, high=NAN, note=weak) for e in found]
    settings = {"main": chosen, "level": level, "seed": seed, "direction_f1": direction_f1 or math.nan}
    return Absorption(found[0], found[1], rows, whole, settings)


def absorbed_rows(
    codes: Float[Tensor, "n t"],
    atoms: Float[Tensor, "t d"],
    x: Float[Tensor, "n d"],
    direction: Float[Tensor, " d"],
    main: Sequence[int],
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """The share absorbed on every row, and whether it is absorbed in full."""
    p = direction / direction.norm()
    cosine = (atoms @ p) / atoms.norm(dim=1).clamp_min(1e-300)
    c = codes * cosine
    a = x @ p
    own = c[:, main].sum(1)
    others = c.clone()
    others[:, main] = 0
    others[:, cosine < COSINE] = 0
    top = others.clamp_min(0).topk(min(TOP, c.shape[1]), dim=1).values.sum(1)
    q = torch.minimum(top, a - own)
    share = torch.where(own <= 0, torch.ones_like(a), q / (q + own))
    none = (a <= 0) | (own >= a) | (top < SHARE * a)
    largest, at = c.max(1)
    silent = (codes[:, main] == 0).all(1)
    whole = silent & (cosine[at] >= FULL_COSINE) & (a > 0) & (largest >= SHARE * a)
    return torch.where(none, torch.zeros_like(a), share), whole
