"""The batches of a recording, each with its pooled features, its logits and what its rows are of."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from repana.extraction import _data_refusals
from repana.extraction._batch_masks import check_rows
from repana.extraction._batches import Batch
from repana.extraction._guards import memory_errors
from repana.extraction._options import Options
from repana.extraction._parts import open_parts
from repana.extraction._plan import Plan, masks_used
from repana.extraction._session import Session, session
from repana.extraction._store import FeatureStore
from repana.extraction._taps import Taps
from repana.extraction._tree import is_empty


@dataclass(frozen=True)
class Rows:
    labels: Tensor | None
    sample: Tensor
    generated: Tensor | None = None  # tokens of the prompt and behind it, where steps of a generation are recorded


def _row_labels(batch: Batch, planned: Plan, features: Mapping[str, Tensor]) -> Rows:
    """Labels and sample numbers of the rows: one a sample, or one a token."""
    index, labels = torch.arange(batch.size, device="cpu"), batch.labels
    tokens = [p for p in planned.layers if p.rows > 1]
    positions = planned.facts["labels"] == "positions"
    if not tokens:
        return Rows(None if positions else labels, index)
    key = next(iter(tokens[0].pooling.masks.values()), None)
    n = len(features[tokens[0].address])
    keep = (
        torch.ones(batch.size, n // batch.size, dtype=torch.bool, device="cpu")
        if key is None
        else batch.masks[key].cpu()
    )
    index = index[:, None].expand(keep.shape)[keep]
    if labels is None:
        return Rows(None, index)
    wide = labels.flatten(1) if positions else labels[:, None].expand(*keep.shape) if labels.ndim == 1 else labels
    return Rows(wide[keep] if positions or labels.ndim == 1 else wide[index], index)


def passes(
    model: nn.Module,
    planned: Plan,
    options: Options,
    raws: Iterable[Any],
    store: FeatureStore | None,
    open_session: Session | None = None,
) -> Generator[tuple[Batch, dict[str, Tensor], Tensor | None, Rows], None, None]:
    """Each batch with its pooled features, its logits and what its rows are of; in a session that is open already,
    where one is given."""
    own = session(model, options.device, options.dtype) if open_session is None else nullcontext(open_session)
    with own as live:
        open_parts(live, planned.facts.get("places", ()))
        taps = Taps(live, planned, options.intake.forward)
        number, used, labelled = -1, masks_used(planned.layers), None
        for place, raw in enumerate(raws):
            if is_empty(raw):
                continue
            number += 1
            batch = replace(options.intake.unpack(raw), number=place)
            labelled = batch.labels is not None if labelled is None else labelled
            if labelled != (batch.labels is not None):
                raise _data_refusals.labels_in_some(number, labelled)
            check_rows(batch.masks, used, number)  # on the host, where it makes nothing wait
            with memory_errors(number, store):
                features, z = taps.read(batch.to(options.device), number)
            batch = replace(batch, masks=taps.masks(batch, planned.layers))
            rows = _row_labels(batch, planned, features)
            if taps.generation is not None:
                rows = replace(rows, generated=taps.generation.tokens)
            yield batch, features, z, rows
