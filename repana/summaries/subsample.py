"""A fixed subset of a layer's samples, the same for every layer and checkpoint: what topology is read from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._typing import Features, Labels
from repana.summaries.neighbour_graph import some
from repana.summaries.neighbours import power_of_two, scaled

MOST = 2_000
NORMALIZE = ("center+l2", "center", "l2", "none")


@dataclass(frozen=True)
class Sketch:
    """`x` in float64, of at most `most` of `seen` samples at `rows`, divided by `scale`, a power of two."""

    x: Float[Tensor, "m d"]
    rows: Int[Tensor, " m"]
    seen: int
    scale: float
    seed: int = 0

    @property
    def n(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, features: Features, labels: Labels | None = None, *, most: int = MOST, seed: int = 0) -> "Sketch":
        """Drawn by `seed` from the number of samples alone: labels and features change nothing."""
        n, most = len(features), _check.at_least(most, "most", 3)
        if n < 3:
            raise _check.too_few_samples("topology", n, 3)
        rows = some(n, most, seed).to(features.device)
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
