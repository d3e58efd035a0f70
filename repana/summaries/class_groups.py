"""Groups of samples of every class, to be left out one by one."""

from collections.abc import Iterator

import torch
from torch import Tensor

from repana._typing import Features, Labels
from repana.summaries.moments import Moments
from repana.summaries.resampling import (
    by_first_row,
)


def leave_out(features: Features, labels: Labels, total: Moments, groups: int, seed: int) -> Iterator[Moments]:
    """The moments without each of `groups` random parts, drawn within classes; single samples always stay."""
    group = within_class_groups(labels, groups, seed)
    for g in range(groups):
        rows = (group == g).nonzero()[:, 0]
        if len(rows):
            at = rows.to(features.device)
            yield total - Moments.of(features[at], labels[rows.to(labels.device)], scatter=total.scatter is not None)


def within_class_groups(labels: Labels, groups: int, seed: int) -> Tensor:
    """A group number for each sample, as even as possible inside every class; -1 for a class with one sample."""
    generator = torch.Generator().manual_seed(seed)
    host = by_first_row(labels.detach())
    shuffled = torch.randperm(len(host), generator=generator)
    order = shuffled[torch.argsort(host[shuffled], stable=True)]
    group = torch.empty(len(host), dtype=torch.int64)
    group[order] = torch.arange(len(host)) % groups
    values, inverse, counts = torch.unique(host, return_inverse=True, return_counts=True)
    group[counts[inverse] == 1] = -1
    return group
