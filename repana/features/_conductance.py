"""How a change of the output flows through the units of all layers."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate
from repana.extraction._attribution import Places, Reader, along_path, reading, target_of
from repana.extraction._batches import Batch, Forward
from repana.extraction._plan import Planned
from repana.statistics.intervals import mean_of


@dataclass(frozen=True)
class Conductance:
    """How much of a change of the output flows through each unit of each layer; see `conductance`."""

    signed: Mapping[str, Float[Tensor, " d"]]
    absolute: Mapping[str, Float[Tensor, " d"]]
    gap: Mapping[str, Estimate]
    change: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def conductance(
    model: nn.Module,
    data: Any,
    layers: Any = "auto",
    *,
    start: str = "input",
    baseline: float | Tensor = 0.0,
    target: Any = "predicted",
    position: int | str = "last",
    steps: int = 32,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    level: float = 0.95,
) -> Conductance:
    """How much of f(x) - f(baseline) flows through each unit of each layer, as the input grows from the baseline to x.

        cond_j = integral of df/dh_j dh_j along the path,

    summed over positions, by the trapezoidal rule on `steps` equal steps. One forward and one backward pass a step give
    the derivatives of all layers. `start` is where the path runs: the model's input, or a layer (the embedding of token
    ids). `target` and `position` as in `importance`.

    `signed` and `absolute` (d,) by layer, means over samples; `change` the mean of f(x) - f(baseline). `gap` by layer:
    mean |sum_j cond_j - change| as a share of mean |change|. It goes to 0 with the steps where the layer is all that
    the output hears of the input; it does not where a path leads around it.

    Options and errors are those of `importance`.

    Sources: Dhamdhere, Sundararajan & Yan 2018, arXiv:1805.12233.
    """
    _check.level_of(level)
    _check.at_least(steps, "steps", 1)
    target = target_of(target)
    requested = [layers] if isinstance(layers, str) or not isinstance(layers, (list, tuple)) else list(layers)
    with reading(
        model,
        data,
        [start, *(w for w in requested if w != start)],
        pool=pool,
        device=device,
        forward=forward,
        labels=labels,
        mask=mask,
        layout=layout,
        batch_size=batch_size,
        target=target,
        position=position,
        tokens=True,
    ) as (reader, batches):
        first = reader.only(start)
        auto = "auto" in requested  # then what comes before the start is no layer of the path
        behind = [p for p in reader.layers if not auto or p.event > first.event or p.address == first.address]
        places = {p.address: Places.of(p) for p in behind}
        sums: dict[str, list[Tensor]] = {p.address: [] for p in behind}
        changes: list[Tensor] = []
        for batch in batches:
            found, change = _conducted(reader, batch, first, places, baseline, steps)
            changes.append(change.double().cpu())
            for name, value in found.items():
                sums[name].append(value.double().cpu())
    change = torch.cat(changes)
    each = {name: torch.cat(parts) for name, parts in sums.items()}
    if start not in requested and not (auto and start == "input"):
        del each[first.address]
    size = float(change.abs().mean())
    mean, low, high = (float(v) for v in mean_of(change, level))
    return Conductance(
        signed={name: value.mean(0) for name, value in each.items()},
        absolute={name: value.abs().mean(0) for name, value in each.items()},
        gap={
            name: Estimate(float((value.sum(1) - change).abs().mean()) / size if size else NAN, n=len(change))
            for name, value in each.items()
        },
        change=Estimate(mean, low, high, len(change)),
        settings={"start": start, "target": target, "position": position, "steps": steps, "level": level},
    )


def _conducted(
    reader: Reader,
    batch: Batch,
    start: Planned,
    places: Mapping[str, Places],
    baseline: float | Tensor,
    steps: int,
) -> tuple[dict[str, Tensor], Tensor]:
    total: dict[str, Tensor] = {}
    with torch.no_grad():
        tensors, logits = reader.values(batch)
    columns = reader.columns(logits, batch)
    behind = [p for p in reader.layers if p.address in places]
    path = along_path(reader, batch, start, tensors[start.address], baseline, steps, columns, behind)
    for (h0, g0, z0), (h1, g1, z1) in itertools.pairwise(path):
        for name in h1:
            step = places[name].rows((g0[name] + g1[name]) / 2 * (h1[name] - h0[name])).sum(1)
            total[name] = total[name] + step if name in total else step
        total["#"] = total["#"] + z1 - z0 if "#" in total else z1 - z0
    return total, total.pop("#")
