"""Fold moments of every layer while the data pass: nothing of a sample is kept."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana.extraction import _attribution_refusals
from repana.extraction._data import samples_of, stream
from repana.extraction._first_batch import planned_of
from repana.extraction._guards import FiniteCheck, with_progress
from repana.extraction._options import Options
from repana.extraction._passes import passes
from repana.extraction._session import session, unwrap
from repana.summaries.folds import LayerFoldMoments
from repana.summaries.held_out import FoldSums

Targets = Callable[[Mapping[str, Tensor], Tensor | None], Tensor]


@settled()
def fold_moments(
    model: nn.Module,
    data: Any,
    targets: Any,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    *,
    folds: int = 5,
    groups: Any = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Any = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool | None = None,
) -> LayerFoldMoments:
    """The sums that ridge regressions of many targets need, for every layer, in one forward pass.

    `targets`: (n, t) values in the order of the data, or `targets(features, logits)` that gives (b, t) for a batch from
    its features by layer, such as codes of a dictionary: `lambda features, _: dictionary.codes(features["fc:in"])`.
    Rows are put into `folds` by the seed, as many samples in each, those of a sample (its tokens) together; with
    `groups` (n,) as many groups. `complexity` reads the result, a mapping by layer, which adds: `a + b` of two
    shards are the sums of both.

    Memory is `folds` (d^2 + dt) numbers a layer, whatever the data's size.

    The other arguments are those of `record`. Raises what `record` raises, and InputError for targets of other length.
    """
    _check.at_least(folds, "folds", 2)
    inner, taken = unwrap(model)
    options = Options.of(
        inner, layers, pool=pool, device=device, dtype=dtype, forward=forward, labels=labels, mask=mask, layout=layout,
    )  # fmt: skip
    values = None if callable(targets) else _check.values_of(targets, "targets", len(targets))
    group = None if groups is None else torch.from_numpy(_check.groups_of(groups, len(groups)))
    first, raws, count = stream(data, batch_size)
    with session(inner, options.device, options.dtype) as live:
        planned, options = planned_of(live, first, options, taken, samples_of(data))
    generator = torch.Generator().manual_seed(seed)
    of_group = None if group is None else _balanced_folds(int(group.max()) + 1, folds, generator)
    sums = {p.address: FoldSums(folds) for p in planned.layers}
    finite, seen, dealt = FiniteCheck(options.device), 0, torch.empty(0, dtype=torch.int64)
    with closing(passes(inner, planned, options, with_progress(raws, count, progress), None)) as read:
        for number, (batch, features, z, rows) in enumerate(read):
            finite.add(number, features)
            at = rows.sample + seen
            seen += batch.size
            if values is not None and seen > len(values):
                raise _attribution_refusals.target_rows(len(values), seen)
            if of_group is not None and group is not None:
                if seen > len(group):
                    raise _attribution_refusals.target_rows(len(group), seen, "groups")
                fold = of_group[group[at]]
            else:
                while len(dealt) < seen:
                    dealt = torch.cat([dealt, _balanced_folds(folds * 64, folds, generator)])
                fold = dealt[at]
            aim: Any = values[at] if values is not None else _check.values_of(targets(features, z), "targets", len(at))
            for address, x in features.items():
                sums[address].add(x, aim.to(x.device), fold.to(x.device))
    finite.close()
    if values is not None and seen != len(values):
        raise _attribution_refusals.target_rows(len(values), seen)
    if group is not None and int(group.max()) + 1 < folds:
        raise _check.too_few_groups(int(group.max()) + 1, folds)
    if seen < 2 * folds:
        raise _check.too_few_samples(f"{folds} folds", seen, 2 * folds)
    return LayerFoldMoments({address: s.value() for address, s in sums.items()})


def _balanced_folds(count: int, folds: int, generator: torch.Generator) -> Tensor:
    """Folds of so many samples, each fold as often as the others in every run of `folds` samples."""
    rounds = -(-count // folds)
    return torch.cat([torch.randperm(folds, generator=generator) for _ in range(rounds)])[:count]
