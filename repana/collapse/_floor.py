"""The floor of simplex geometry: what class means that form an exact simplex frame give, read from as many samples.

A distance from a simplex is never 0 on samples: every class mean is off by the error of a mean. The floor is what is
left of the distance when that error is all there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from repana._typing import PerClass
from repana.collapse import _formulas as formulas
from repana.collapse._measures import Setting, frame_values
from repana.summaries.moments import Moments

FLOOR = "floor "  # before the names of quantities of an exact frame
FLOORED = ("equinorm", "equiangularity", "cosine_std", "etf_error", "uniformity_variance")  # 0 for a simplex frame


@dataclass(frozen=True)
class ExactFrame:
    """An exact simplex frame in the place of the class means.

    It is the one nearest to the centred class means (orthogonal Procrustes), of their mean squared length less what
    the error of means adds to it. `means` are those of the samples at hand, and `scale` takes the errors of their
    bootstrap means to unbiased ones, of all samples.
    """

    frame: Float[Tensor, "c d"]
    means: Float[Tensor, "c d"]
    scale: Float[Tensor, "c 1"]
    count: PerClass

    @classmethod
    def of(cls, moments: Moments, own: Moments) -> "ExactFrame | None":
        """None where there is no frame to speak of: two classes, more classes than d + 1, classes of one sample, means
        that depend linearly on each other, or are no further apart than their errors."""
        c, d = moments.mean.shape
        if c < 3 or c > d + 1 or int(own.count.min()) < 2:
            return None
        centred = moments.mean - moments.mean.mean(0)
        error = moments.trace / (moments.count - 1) / moments.count
        square = (centred.square().sum() - error.sum() * (1 - 1 / c)) / c
        u, values, v = torch.linalg.svd(centred, full_matrices=False)
        if square <= 0 or values[c - 2] <= 1e-9 * values[0]:
            return None
        frame = u[:, : c - 1] @ v[: c - 1] * (square * c / (c - 1)).sqrt()
        count = own.count.double()
        scale = (count / (count - 1)).sqrt() * (count / moments.count).sqrt()
        return cls(frame, own.mean, scale[:, None], moments.count)

    def values(self, resampled: Float[Tensor, "b c d"], setting: Setting) -> Mapping[str, Float[Tensor, " b"]]:
        """The quantities of the frame with the errors that bootstrap samples of the class means have."""
        mean = self.frame + (resampled - self.means) * self.scale
        centred = mean - formulas.global_mean(mean, self.count, setting.convention)[..., None, :]
        found = frame_values(centred @ centred.mT, setting)
        return {FLOOR + name: found[name].cpu() for name in FLOORED}
