"""What a network loses when a layer is replaced by what a dictionary keeps of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import IGNORED
from repana.extraction._answers import Answers, real_rows
from repana.extraction._attribution import Places, Reader, reading
from repana.extraction._batches import Batch, Forward
from repana.extraction._plan import Planned
from repana.extraction._reinitialised import iter_once
from repana.features import _refusals
from repana.features._dictionary import Dictionary
from repana.features._recorded import made_of
from repana.statistics.resampling import resampled

REFERENCES = ("mean", "zero")
# Columns of what is summed by sample: losses and labelled positions, divergences, equal answers and positions.
CLEAN, SPLICED, MEAN, ZERO, LABELLED, KL_SPLICED, KL_MEAN, KL_ZERO, EQUAL, POSITIONS = range(10)
HURTS_NOT = Flag.UNDEFINED.note("the reference does not hurt: its loss is no higher than the clean one")
Loss = Callable[[Any, Any], Tensor]


@shown
@dataclass(frozen=True)
class Splice:
    """Losses of a network with a layer as it is, as a dictionary writes it, at its mean and at zero; see `splice`."""

    recovered: Estimate
    recovered_zero: Estimate
    kl: Estimate
    kl_score: Estimate
    agreement: Estimate
    clean: Estimate
    spliced: Estimate
    mean: Estimate
    zero: Estimate
    losses: Float[Tensor, "n four"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def splice(
    model: nn.Module,
    data: Any,
    layer: str,
    words: Any,
    *,
    loss: Loss | None = None,
    reference: str = "mean",
    keep_error: bool = False,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    level: float = 0.95,
    seed: int = 0,
) -> Splice:
    """What a network loses when every real position of a layer is replaced by what a dictionary keeps of it.

    The network runs four times: as it is (clean), with x^ in the place of x (spliced), with the layer at the mean of
    its rows over these data, and at zero. `words` is a `Dictionary` such as a `SparseAutoencoder`, or what `dictionary`
    takes; x^ is what its codes decode to.

    - `clean`, `spliced`, `mean`, `zero`: the losses L. By default cross-entropy (nats): of the labels, or of a language
      model over all labelled positions, for which next tokens stand in as in `importance`. `loss(output, batch)` gives
      another, a number for each sample; `batch` maps names of inputs, and "labels", to tensors.
    - `recovered` = (L_ref - L_spliced)/(L_ref - L_clean): 1 where nothing is lost, 0 where as much as by the
      `reference`, "mean" or "zero". Zero is often far from all that a layer ever gives, and flatters: `recovered_zero`
      stands beside. NaN where the reference does not hurt.
    - `kl`: mean KL(clean || spliced) of the answers in nats; `kl_score` = 1 - kl/KL(clean || reference).
    - `agreement`: share of answers whose largest logit is the clean one's.
    - `losses` (n, 4): by sample in that order, NaN without labels.

    `keep_error` puts x^ + (x - x^) in place: all numbers are then the clean ones up to rounding. Intervals: bootstrap
    of whole samples, paired over the four runs. The other options are as `record` takes them. The model is left as it
    was, also after an error.

    Raises as `importance`; InputError for data that can be iterated only once.

    Sources: Karvonen et al. 2025, arXiv:2503.09532 (loss recovered); Makelov, Lange & Nanda 2024, arXiv:2405.08366.

    >>> import torch
    >>> from repana.features import sparse_autoencoder, splice
    >>> both = torch.cat([torch.eye(4), -torch.eye(4)])
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)).eval()
    >>> data = torch.randn(20, 4), torch.arange(20) % 3
    >>> float(splice(model, data, "0", sparse_autoencoder(both, both.T)).agreement)
    1.0
    """
    _check.level_of(level)
    _check.choice(reference, "reference", REFERENCES)
    if iter_once(data):
        raise _check.walked_once(type(data).__name__, "the mean of the layer needs")
    options: dict[str, Any] = {"pool": pool, "device": device, "forward": forward, "labels": labels, "mask": mask}
    options |= {"layout": layout, "batch_size": batch_size}
    known = words if isinstance(words, Dictionary) else made_of(model, data, layer, words, seed, options)
    middle = _mean_row(model, data, layer, options)
    if known.atoms.shape[1] != len(middle):
        raise _refusals.dictionary_width(tuple(known.atoms.shape), len(middle))
    rows: list[Tensor] = []
    unlabelled = ""
    with reading(model, data, [layer], tokens=True, **options) as (reader, batches), torch.no_grad():
        planned = reader.only(layer)
        places = Places.of(planned)
        for batch in batches:
            values = [_with(reader, batch, planned, places, change) for change in (
                None, lambda x: _rebuilt(known, x, keep_error), lambda x: middle.to(x).expand_as(x), torch.zeros_like,
            )]  # fmt: skip
            found, unlabelled = _compared(reader, batch, values, loss)
            rows.append(found)
    columns = torch.cat(rows)
    return _splice(columns, reference, unlabelled, planned.address, keep_error, level, seed)


def _splice(
    columns: Float[Tensor, "n ten"],
    reference: str,
    unlabelled: str,
    layer: str,
    keep_error: bool,
    level: float,
    seed: int,
) -> Splice:
    """Ratios of sums of the columns, on one resample of the samples."""

    def estimate(statistic: Callable[[Tensor], Tensor]) -> Estimate:
        return resampled(columns, None, None, level=level, seed=seed, statistic=statistic)

    def mean_loss(k: int) -> Estimate:
        return estimate(lambda s: s[..., k] / s[..., LABELLED]) if not unlabelled else nothing

    def recovered(k: int) -> Estimate:
        if unlabelled:
            return nothing
        whole = columns.sum(0)
        if not float(whole[k]) > float(whole[CLEAN]):
            return Estimate(NAN, n=len(columns), note=HURTS_NOT)
        return estimate(lambda s: (s[..., k] - s[..., SPLICED]) / (s[..., k] - s[..., CLEAN]))

    nothing = Estimate(NAN, n=len(columns), note=Flag.MISSING_INPUT.note(unlabelled) if unlabelled else "")
    loss, kl = {"mean": (MEAN, KL_MEAN), "zero": (ZERO, KL_ZERO)}[reference]
    return Splice(
        recovered=recovered(loss),
        recovered_zero=recovered(ZERO),
        kl=estimate(lambda s: s[..., KL_SPLICED] / s[..., POSITIONS]),
        kl_score=estimate(lambda s: 1 - s[..., KL_SPLICED] / s[..., kl]),
        agreement=estimate(lambda s: s[..., EQUAL] / s[..., POSITIONS]),
        clean=mean_loss(CLEAN),
        spliced=mean_loss(SPLICED),
        mean=mean_loss(MEAN),
        zero=mean_loss(ZERO),
        losses=torch.where(columns[:, [LABELLED]] > 0, columns[:, :LABELLED] / columns[:, [LABELLED]], NAN),
        settings={"layer": layer, "reference": reference, "keep_error": keep_error, "level": level, "seed": seed},
    )


def _mean_row(model: nn.Module, data: Any, layer: str, options: Mapping[str, Any]) -> Float[Tensor, " d"]:
    """Over the real positions of all samples."""
    total: Tensor | float = 0.0
    count = 0
    with reading(model, data, [layer], tokens=True, **options) as (reader, batches), torch.no_grad():
        planned = reader.only(layer)
        places = Places.of(planned)
        for batch in batches:
            rows = places.rows(reader.values(batch)[0][planned.address])
            real = real_rows(planned, batch, rows)
            total = total + rows[real].double().sum(0).cpu()
            count += int(real.sum())
    assert isinstance(total, Tensor)
    return total / count


def _with(
    reader: Reader, batch: Batch, planned: Planned, places: Places, change: Callable[[Tensor], Tensor] | None
) -> tuple[Any, Answers]:
    """The output and the answers with real positions put through a function of rows (r, d)."""

    def swap(tensor: Tensor) -> Tensor:
        assert change is not None
        rows = places.rows(tensor)
        real = real_rows(planned, batch, rows)
        new = rows.clone()
        new[real] = change(rows[real]).to(rows)
        return places.back(new, tensor)

    with reader.swapped({} if change is None else {planned.address: swap}):
        output = reader.output(batch)
    return output, reader.answers(batch, output)


def _rebuilt(words: Dictionary, x: Tensor, keep_error: bool) -> Tensor:
    found = words.reconstruct(x).to(x)
    return found + (x - found) if keep_error else found


def _compared(
    reader: Reader, batch: Batch, runs: list[tuple[Any, Answers]], loss: Loss | None
) -> tuple[Float[Tensor, "b ten"], str]:
    """Sums by sample, in the order of the columns; and why there is no loss."""
    clean = runs[0][1]
    real, why = clean.real, ""
    b = len(real)
    if loss is not None:
        given = {**batch.inputs(), "labels": batch.labels}
        each = [_refusals.loss_of(loss(output, given), b) for output, _ in runs]
        losses, count = torch.stack(each, 1), torch.ones(b, dtype=torch.float64)
    else:
        held = reader.labels_or_reason(clean, batch)
        if isinstance(held, str):
            losses, count, why = torch.full((b, 4), NAN, dtype=torch.float64), torch.zeros(b, dtype=torch.float64), held
        else:
            each = [Answers(found.logits.double(), real, held).losses().sum(1) for _, found in runs]
            losses, count = torch.stack(each, 1).double().cpu(), (held != IGNORED).sum(1).double().cpu()
    base = clean.logits.double().log_softmax(2)
    parts = []
    for _, found in runs[1:]:
        divergence = (base.exp() * (base - found.logits.double().log_softmax(2))).sum(2)
        parts.append(torch.where(real, divergence, 0.0).sum(1))
    same = ((clean.logits.argmax(2) == runs[1][1].logits.argmax(2)) & real).sum(1)
    beside = torch.stack([*parts, same.double(), real.sum(1).double()], 1).cpu()
    return torch.cat([losses, count[:, None], beside], 1), why
