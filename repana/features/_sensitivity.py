"""How much features move when noise is added to the input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate, shown
from repana._renamed import renamed
from repana.extraction._attribution import reading
from repana.extraction._batches import Forward
from repana.features import _refusals
from repana.features._recorded import made_of
from repana.statistics.intervals import mean_of

SIGMAS = (0.01, 0.1, 0.5)
DRAWS = 100


@shown
@dataclass(frozen=True)
class Sensitivity:
    """See `sensitivity`."""

    mean_sensitivity: Estimate
    variance: Float[Tensor, "s t"]
    low: Float[Tensor, "s t"]
    high: Float[Tensor, "s t"]
    sigmas: tuple[float, ...]
    features: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(draws="repeats")
@settled()
def sensitivity(
    model: nn.Module,
    data: Any,
    layer: str,
    dictionary: Any = None,
    *,
    sigmas: Any = SIGMAS,
    repeats: int = DRAWS,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    level: float = 0.95,
    seed: int = 0,
) -> Sensitivity:
    """Var of a feature under noise N(0, sigma^2) on every entry of the input, mean over samples.

    Of the pooled features of `layer`, or of their codes in `dictionary` (as in `importance`); `repeats` of noise a
    sample, the unbiased variance over them. For z linear in the input, z = w . x, it is sigma^2 |w|^2.

    `variance` (sigmas, t), in squared units of the feature, with the interval of the mean over samples;
    `mean_sensitivity`: over features, at the middle sigma.

    Raises as `importance`, and InputError for a sigma that is not positive, or an input that is no real numbers.

    Source: Fel et al. 2024, arXiv:2407.06076 (100 draws; sigma .01, .1 and .5).
    """
    _check.level_of(level)
    _check.at_least(repeats, "repeats", 2)
    sigmas = [sigmas] if isinstance(sigmas, (int, float)) else list(sigmas)
    if not sigmas:
        raise _refusals.no_sigmas()
    for sigma in sigmas:
        _check.positive(sigma, "sigmas")
    if layer == "input":
        raise _refusals.noise_itself()
    options: dict[str, Any] = {"pool": pool, "device": device, "forward": forward, "labels": labels, "mask": mask}
    options |= {"layout": layout, "batch_size": batch_size}
    words = None if dictionary is None else made_of(model, data, layer, dictionary, seed, options)
    parts: list[Tensor] = []
    with reading(model, data, ["input", layer], tokens=True, **options) as (reader, batches), torch.no_grad():
        planned = reader.only(layer)
        generator = torch.Generator(device=reader.device).manual_seed(seed)
        for batch in batches:

            def codes() -> Tensor:
                x = reader.values(batch)[0][planned.address]  # noqa: B023
                x = planned.pooling(x, batch.masks, batch.size, planned.address)  # noqa: B023
                return (x if words is None else words.codes(x)).double()

            still = codes()
            found = []
            for sigma in sigmas:
                first, second = torch.zeros_like(still), torch.zeros_like(still)
                for _ in range(repeats):

                    def shaken(x: Tensor, sigma: float = sigma) -> Tensor:
                        return x + sigma * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

                    with reader.swapped({"input": shaken}):
                        moved = codes() - still
                    first += moved
                    second += moved.square()
                found.append((second - first.square() / repeats) / (repeats - 1))
            parts.append(torch.stack(found, 1).cpu())
    values = torch.cat(parts)
    variance, low, high = mean_of(values, level)
    units = tuple(f"{planned.address} {k}" for k in range(values.shape[2]))
    middle = len(sigmas) // 2
    mean, bottom, top = (float(v) for v in mean_of(values[:, middle].mean(1), level))
    return Sensitivity(
        mean_sensitivity=Estimate(mean, max(bottom, 0.0), top, len(values)),
        variance=variance,
        low=low.clamp_min(0),
        high=high,
        sigmas=tuple(float(s) for s in sigmas),
        features=units if words is None else words.names,
        settings={"layer": layer, "repeats": repeats, "level": level, "seed": seed},
    )
