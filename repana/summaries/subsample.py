"""A fixed subset of a layer's samples, the same for every layer and checkpoint: what topology is read from."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._cost import Cost, Size, reading
from repana._typing import Features, Labels
from repana.summaries._linalg import power_of_two, scaled
from repana.summaries._summary import Layer, Summary
from repana.summaries.neighbour_graph import some

MOST = 2_000
NORMALIZE = ("center+l2", "center", "l2", "none")


@dataclass(frozen=True)
class Subsample(Summary):
    """`x` in float64, of at most `most` of `seen` samples at `rows`, divided by `scale`, a power of two."""

    labelled: ClassVar[bool] = False

    x: Float[Tensor, "m d"]
    rows: Int[Tensor, " m"]
    seen: int
    scale: float
    seed: int = 0

    @property
    def n(self) -> int:
        return len(self.rows)

    @classmethod
    def cost(cls, size: Size) -> Cost:
        some = 8.0 * min(size.n, MOST) * size.d
        return Cost(
            bytes=18 * some, calls=350, peak=2.2 * some + 1e6, kept=some, reads=reading(size.n, MOST, "a subset of {}")
        )

    @classmethod
    def of_layer(cls, layer: Layer) -> "Subsample":
        return cls.of(layer.features, seed=layer.settings.get("seed", 0))

    @classmethod
    def of(
        cls, features: Features, labels: Labels | None = None, *, max_samples: int = MOST, seed: int = 0
    ) -> "Subsample":
        """Drawn by `seed` from the number of samples alone: labels and features change nothing."""
        n, max_samples = len(features), _check.at_least(max_samples, "max_samples", 3)
        if n < 3:
            raise _check.too_few_samples("topology", n, 3)
        rows = some(n, max_samples, seed).to(features.device)
        x = features[rows].double()
        scale = power_of_two(x)
        return cls(scaled(x, scale), rows, n, scale, seed)

    def normalized(self, how: str) -> tuple[Float[Tensor, "m d"], int]:
        """Features less their mean, or of length 1, or both; and how many rows of zeros have no direction."""
        _check.choice(how, "normalize", NORMALIZE)
        x = self.x
        if how.startswith("center"):
            x = x - x.mean(0)
        if not how.endswith("l2"):
            return x, 0
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        dead = norms <= 1e-14 * float(norms.max())
        return torch.where(dead, 0.0, x / torch.where(dead, 1.0, norms)), int(dead.sum())
