"""Variability collapse index: by the canonical correlations of features and classes."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag
from repana.statistics.intervals import from_jackknife
from repana.statistics.permutation import against
from repana.summaries.discriminant import Discriminant
from repana.summaries.moments import Moments


def vci(
    x: Tensor,
    codes: Tensor,
    moments: Moments,
    discriminant: Discriminant | None,
    interval: bool,
    permutations: int,
    level: float,
    seed: int,
) -> tuple[Estimate, list[float]]:
    """1 - tr(St^+ Sb)/rank(Sb), by the canonical correlations of features and classes, and its jackknife values."""
    if discriminant is None:
        groups = 20 if interval else 0
        discriminant = Discriminant.of(x, codes, jackknife=groups, permutations=permutations, seed=seed)
    n, c = discriminant.n, len(moments.classes)

    def index(canonical: Tensor) -> Tensor:
        kept = canonical > 1e-12
        return 1 - torch.where(kept, canonical, 0.0).sum(-1) / torch.where(kept.any(-1), kept.sum(-1), torch.nan)

    value = float(index(discriminant.canonical))
    note = ""
    if math.isnan(value):
        note = discriminant.reason or Flag.COINCIDING_MEANS.note("the class means coincide: rank(Sb) = 0")
    elif n - 1 <= discriminant.rank:
        note = Flag.TRIVIAL.note(f"trivial: the features span n - 1 = {n - 1} dimensions, so any labels give 0")
    null = 1 - max(c - 1, discriminant.rank) / (n - 1) if 0 < discriminant.rank < n - 1 else NAN
    deleted = [float(index(part.canonical)) for part in discriminant.deleted]
    e = from_jackknife(value, deleted, n=n, level=level, bounds=(0.0, 1.0), note=note, corrected=False)
    e = replace(e, null=null)
    if discriminant.permuted is not None:
        own = None if discriminant.kept is None else float(index(discriminant.kept.canonical))
        permuted = index(discriminant.permuted.canonical).tolist()
        e = against(e, permuted, better="lower", level=level, value=own, null=own is None)
    return e, deleted
