"""Walks over data: fitting the maps of a tuned lens, and the answers of every layer, by lens or by probe."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from repana._typing import IGNORED
from repana.extraction import _attribution_refusals
from repana.extraction._answers import Answers, real_rows
from repana.extraction._attribution import Places
from repana.extraction._batches import Batch
from repana.extraction._record import record
from repana.probes import _refusals
from repana.probes._classifiers import ridge_head
from repana.probes._data import Rows
from repana.probes._exit_rows import AnswerRows
from repana.probes._lenses import (
    Affine,
    BlockNames,
    Lens,
    RidgeSums,
    Where,
    applied,
    lens_of,
    picked,
    weights_of,
)
from repana.probes._protocol import probed
from repana.statistics.splits import Split

FOLDS = 3  # of fit samples, on which the penalty is chosen
FIT_SHARE = 0.5
UNLIKELY = -1e4  # the logit of a class that no probe was fitted on
Chosen = Callable[[int], bool]  # of the number of a sample


class Drawn:
    """Which samples are fitted on, by number, the same at every walk."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._known: list[bool] = []

    def is_fit(self, sample: int) -> bool:
        while len(self._known) <= sample:
            self._known.append(bool(torch.rand(1, generator=self._generator) < FIT_SHARE))
        return self._known[sample]


def walked(
    model: nn.Module,
    data: Any,
    blocks: BlockNames,
    options: dict[str, Any],
    maps: Sequence[Affine | None] | None,
    skip: bool,
    reported: Chosen,
) -> tuple[tuple[str, ...], AnswerRows, dict[str, AnswerRows], str]:
    """The answers of every layer on the samples that are reported; with maps also without and by the shift alone."""
    parts: dict[str, list[AnswerRows]] = {"lens": [], "logit": [], "shift": []}
    why = ""
    with lens_of(model, data, blocks, options) as (lens, batches):
        start = 0
        for batch in batches:
            samples = torch.tensor([bool(reported(start + i)) for i in range(batch.size)])
            start += batch.size
            if not bool(samples.any()):
                continue
            streams, answers = lens.streams(batch)
            where = Where.of(lens, batch, answers, samples, skip)
            why = where.why
            numbers = torch.arange(start - batch.size, start)[:, None].expand(where.chosen.shape)[where.chosen.cpu()]
            if not bool(where.chosen.any()):
                continue
            final, label, token = (x[where.chosen] for x in (answers.logits, where.label, where.token))
            for kind in parts if maps is not None else ("lens",):
                layers = _logits(lens, batch, streams[:-1], maps, kind, where)
                parts[kind].append(AnswerRows.of(layers, final, label, token.cpu(), numbers))
        names = lens.names
    if not parts["lens"]:
        raise _refusals.no_samples_left()
    joined = {kind: AnswerRows.joined(found) for kind, found in parts.items() if found}
    rows = joined.pop("lens")
    return names, rows, {**joined, "lens": rows} if maps is not None else {}, why


def _logits(
    lens: Lens, batch: Batch, streams: Sequence[Tensor], maps: Sequence[Affine | None] | None, kind: str, where: Where
) -> Iterator[Tensor]:
    """Of each layer in turn, at the answers that are read: as it is, behind the shift alone, or behind its map."""
    places = Places.of(lens.last)
    for k, stream in enumerate(streams):
        map_ = None if maps is None or kind == "logit" else maps[k]
        map_ = map_.shift_alone if map_ is not None and kind == "shift" else map_
        moved = stream if map_ is None else applied(map_, places, stream)
        yield lens.logits(batch, moved)[where.chosen]


def fitted(
    model: nn.Module,
    data: Any,
    blocks: BlockNames,
    options: dict[str, Any],
    alphas: Sequence[float],
    weights: str | None,
    skip: bool,
    chosen: Chosen,
) -> tuple[list[Affine], list[float]]:
    """The map of every layer but the last, and its penalty, chosen by KL on folds of samples."""
    folds = FOLDS if len(alphas) > 1 else 1
    sums: list[list[RidgeSums]] = []
    for lens, batch, streams, _, where, of_fold in _fit_batches(model, data, blocks, options, skip, chosen, folds):
        places = Places.of(lens.last)
        if not sums:
            shifts = [places.rows(h).double().flatten(0, 1).mean(0) for h in streams[:-1]]
            sums = [[RidgeSums(shift) for _ in range(folds)] for shift in shifts]
        real = real_rows(lens.last, batch, places.rows(streams[-1]))
        for f in range(folds):
            here = where.chosen & (of_fold == f).to(where.chosen.device)[:, None]
            if not bool(here.any()):
                continue
            last = picked(places, streams[-1], here, real)
            weight = weights_of(weights, last)
            for k, stream in enumerate(streams[:-1]):
                sums[k][f].add(picked(places, stream, here, real), last, weight)
    if not sums or any(not one.weight for one in sums[0]):
        raise _refusals.too_few_to_fit(FOLDS)
    whole = [RidgeSums.total(of_folds) for of_folds in sums]
    if folds == 1:
        return [w.solved(alphas[0]) for w in whole], [alphas[0]] * len(whole)
    maps = [[[whole[k].less(sums[k][f]).solved(a) for a in alphas] for f in range(folds)] for k in range(len(whole))]
    loss = torch.zeros(len(whole), len(alphas), dtype=torch.float64)
    for lens, batch, streams, answers, where, of_fold in _fit_batches(
        model, data, blocks, options, skip, chosen, folds
    ):
        places = Places.of(lens.last)
        for f in of_fold.unique().tolist():
            here = where.chosen & (of_fold == f).to(where.chosen.device)[:, None]
            if not bool(here.any()):
                continue
            for k, stream in enumerate(streams[:-1]):
                for a, _ in enumerate(alphas):
                    z = lens.logits(batch, applied(maps[k][f][a], places, stream))[here]
                    loss[k, a] += float(AnswerRows.of([z], answers.logits[here]).kl[0].sum())
    best = [alphas[int(row.argmin())] for row in loss]
    return [w.solved(a) for w, a in zip(whole, best)], best


def _fit_batches(
    model: nn.Module, data: Any, blocks: BlockNames, options: dict[str, Any], skip: bool, chosen: Chosen, folds: int
) -> Iterator[tuple[Lens, Batch, list[Tensor], Answers, Where, Int[Tensor, " b"]]]:
    """Batches that are fitted on, with the fold of each sample."""
    with lens_of(model, data, blocks, options) as (lens, batches):
        start, fitted = 0, 0
        for batch in batches:
            samples = torch.tensor([bool(chosen(start + i)) for i in range(batch.size)])
            start += batch.size
            if not bool(samples.any()):
                continue
            of_fold = (fitted + samples.long().cumsum(0) - 1) % folds
            fitted += int(samples.sum())
            streams, answers = lens.streams(batch)
            yield lens, batch, streams, answers, Where.of(lens, batch, answers, samples, skip), of_fold


def by_probe(
    model: nn.Module, data: Any, layers: Any, options: dict[str, Any], seed: int
) -> tuple[tuple[str, ...], AnswerRows]:
    """The answers of a ridge probe of every layer on its test split, and the network's own."""
    kept = record(model, data, layers, logits=True, seed=seed, **options)
    if kept.logits is None and kept.provenance.get("labels_beyond"):
        raise _attribution_refusals.labels_beyond(kept.provenance["labels_beyond"])
    if kept.logits is None:
        raise _refusals.no_logits_recorded()
    final = kept.logits.double().cpu()
    known = kept.labels is not None and kept.labels.ndim == 1 and not kept.labels.is_floating_point()
    y = kept.labels.cpu().long() if known and kept.labels is not None else final.argmax(1)
    of_class = y[y != IGNORED]
    if len(of_class) and not 0 <= int(of_class.min()) <= int(of_class.max()) < final.shape[1]:
        raise _attribution_refusals.labels_to_explain(int(of_class.min()), int(of_class.max()), final.shape[1])
    keep = (y != IGNORED).nonzero()[:, 0]
    y, final = y[keep], final[keep]
    split = Split.of(y, len(y), seed=seed)
    last = kept.head.layer.removesuffix(":in") if kept.head is not None else ""
    names = [layer for layer in kept.layers if layer != last]
    columns, logits = final.shape[1], []
    for layer in names:
        rows = Rows.of(kept[layer][keep.to(kept[layer].device)], y, split=split)
        found = probed(ridge_head(), rows, permutations=0, seed=seed)
        z = torch.full((len(split.test), columns), UNLIKELY, dtype=torch.float64)
        z[:, y.unique()] = found.log_probabilities.double()
        logits.append(z)
    test = split.test
    answers = AnswerRows.of(logits, final[test], y[test] if known else None, None, kept.sample[keep][test])
    return (*names, "output"), answers
