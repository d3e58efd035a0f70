"""Iterative feature merging: how many channels of each layer say something of their own."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana.extraction._auto import logits_leaf
from repana.extraction._batches import Forward, Intake, run
from repana.extraction._channels import Channels, called_with, channels
from repana.extraction._data import stream
from repana.extraction._probe import probe
from repana.extraction._session import requested_device, session, unwrap
from repana.extraction._tree import Path, at, is_empty
from repana.features import _refusals
from repana.statistics.intervals import columns, proportion
from repana.summaries.merging import Merging
from repana.summaries.merging import balance as balance_channels

BETAS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.13, 0.16, 0.2, 0.3)
DISTANCES = ("both", "in")


@shown
@dataclass(frozen=True)
class FeatureMerging:
    """The model with its channels merged, and how many are left at every threshold; see `feature_merging`."""

    remaining: Estimate
    parameters: Estimate
    accuracy: Estimate
    accuracy_before: Estimate
    agreement: Estimate
    model: nn.Module
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    betas: tuple[float, ...]
    curve: Float[Tensor, "b g"]
    parameter_curve: Float[Tensor, " b"]
    accuracy_curve: Float[Tensor, "b three"]
    agreement_curve: Float[Tensor, "b three"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def feature_merging(
    model: nn.Module,
    data: Any,
    *,
    beta: float = 0.1,
    betas: Sequence[float] = BETAS,
    reference: bool = False,
    fold: bool = True,
    balance: bool = True,
    distance: str = "both",
    max_ratio: float = 1.0,
    forward: Forward | None = None,
    device: torch.device | str | None = None,
    batch_size: int = 64,
    level: float = 0.95,
) -> FeatureMerging:
    """Merge the channels of every layer that are nearly the same, and measure what is left.

    Channels that are summed with one another (residual connections) form one group. In each sweep, every group merges
    its closest pair while the least squared distance is at most `beta` times the largest; sweeps end when no group
    merges. A channel is its incoming weights (with bias) beside its outgoing ones. `data` gives one batch for the
    graph, and with labels the accuracy.

    By default, of channels that stand for a and b: incoming weights become their mean weighted by a and b, outgoing
    ones their sum; distances compare incoming weights and outgoing ones divided by the count; batch normalisation is
    folded into the weights before (`fold`); and where all between the weights is positively homogeneous (ReLU), each
    channel's incoming and outgoing norms are made equal before (`balance`), so that scaling a channel changes nothing.
    Copies of a channel then merge into one, whatever their number, without changing the output, for any activation.
    `distance="in"` compares incoming weights alone, as they are: channels of equal values merge, whatever reads them.

    `reference=True` is the published rule: incoming weights (with biases and all of batch normalisation) are summed,
    outgoing ones averaged, distances are of the weights as they are, without biases. Three copies end as two there, and
    m copies under batch normalisation come out sqrt(m) too large.

    - `remaining`, `parameters`: shares left at `beta` (of parameters with batch normalisation folded); `curve` (betas,
      groups): channels left of `channels`, at each of `betas`; `layers` names the groups by the modules that make their
      channels.
    - `accuracy` of the merged model at `beta` and `accuracy_before` with binomial intervals (NaN without labels);
      `agreement`: share of samples whose predicted class stays. Their curves have columns value, low, high.
    - `model`: the merged one, of the same class; the user's own is left as it is.
    - `max_ratio`: at most so large a share of a group's channels is merged.

    At `beta` = 0 copies merge, up to rounding. Groups of one channel, inputs, outputs, and what layers of unknown kinds
    touch (grouped convolutions, attention, layer normalisation, concatenation, weights that two modules share, views of
    a fixed size) stay as they are.

    Raises ModelError for a model that torch.fx cannot trace (the layer is named) or without any group.

    Source: "Going Beyond Neural Network Feature Similarity: The Network Feature Complexity and Its Interpretation Using
    Category Theory", Chen, Zhou & Yan 2024, arXiv:2310.06756 (rule; repository of the authors for its details).
    """
    _check.level_of(level)
    _check.choice(distance, "distance", DISTANCES)
    _check.in_range(max_ratio, "max_ratio", 0.0, 1.0)
    requested = sorted({float(b) for b in betas} | {float(beta)})
    for b in requested:
        _check.in_range(b, "beta", 0.0, 1.0)
    inner, _ = unwrap(model)
    place = requested_device(inner, device)
    first, raws, _ = stream(data, batch_size)
    batch = Intake(inner, forward).unpack(first)
    few = batch.first(2) or batch
    with session(inner, torch.device("cpu"), None) as live:
        found = channels(inner, called_with(live, few, forward), fold=fold and not reference)
    with session(inner, place, None) as live:
        trace, intake = probe(live, Intake(inner, forward), first)
        leaf = logits_leaf(trace, batch.labels)
    if leaf is None:
        raise _check.no_classes("no (n, classes) tensor")
    if not found.sizes:
        raise _refusals.nothing_to_merge(type(inner).__name__)
    start = found.merging("sum_in" if reference else "mean_in", "both" if reference else distance)
    if balance and distance == "both" and not reference:
        balance_channels(start, [g for g in found.sizes if g not in found.uneven])
    made = [_at(found, start, b, max_ratio) for b in requested]
    before = sum(p.numel() for p in found.model.parameters())  # with batch normalisation folded
    nets = {b: net for b, (net, _) in zip(requested, made)}
    outputs = _outputs([inner, *nets.values()], raws, intake, place, leaf.path)
    labels, original, rest = outputs[0], outputs[1][0], outputs[1][1:]
    n = len(original)
    agreement = [proportion(int((guess == original).sum()), n, level=level) for guess in rest]
    known = None if labels is None else labels >= 0
    missing = Estimate(NAN, note=Flag.MISSING_INPUT.note("no labels"))

    def accuracy(guess: Tensor) -> Estimate:
        if labels is None or known is None:
            return missing
        return proportion(int((guess == labels)[known].sum()), int(known.sum()), level=level)

    at = requested.index(float(beta))
    curve = torch.tensor([[left[g] for g in found.sizes] for _, left in made]).double()
    share = [sum(p.numel() for p in net.parameters()) / before for net in nets.values()]
    sizes = tuple(found.sizes.values())
    return FeatureMerging(
        remaining=Estimate(float(curve[at].sum()) / sum(sizes), n=sum(sizes)),
        parameters=Estimate(share[at], n=before),
        accuracy=accuracy(rest[at]),
        accuracy_before=accuracy(original),
        agreement=agreement[at],
        model=nets[float(beta)].to(place).train(inner.training),
        layers=tuple(" = ".join(names) for names in found.layers.values()),
        channels=sizes,
        betas=tuple(requested),
        curve=curve,
        parameter_curve=torch.tensor(share, dtype=torch.float64),
        accuracy_curve=columns([accuracy(guess) for guess in rest]),
        agreement_curve=columns(agreement),
        settings={
            "beta": beta,
            "reference": reference,
            "fold": fold and not reference,
            "balance": balance and distance == "both" and not reference,
            "distance": "both" if reference else distance,
            "max_ratio": max_ratio,
            "level": level,
        },
    )


def _at(found: Channels, start: Merging, beta: float, max_ratio: float) -> tuple[nn.Module, dict[int, int]]:
    merging = copy.deepcopy(start)
    merging.run(beta, {g: int(max_ratio * size) for g, size in found.sizes.items()})
    return found.merged(merging), merging.remaining()


def _outputs(
    models: Sequence[nn.Module], raws: Iterable[Any], intake: Intake, place: torch.device, path: Path
) -> tuple[Tensor | None, list[Tensor]]:
    """Labels, where there are some, and the predicted class of every sample by every model."""
    guesses: list[list[Tensor]] = [[] for _ in models]
    labels: list[Tensor | None] = []
    for raw in raws:
        if is_empty(raw):
            continue
        batch = intake.unpack(raw).to(place)
        labels.append(batch.labels)
        for k, model in enumerate(models):
            with session(model, place, None):
                output = run(model, batch, intake.forward)
            z = at(output, path)
            assert z is not None
            guesses[k].append(z.argmax(1).cpu())
    known = [y for y in labels if y is not None and y.ndim == 1 and not y.is_floating_point()]
    return torch.cat(known) if len(known) == len(labels) else None, [torch.cat(g) for g in guesses]
