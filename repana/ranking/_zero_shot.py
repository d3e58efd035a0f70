"""Zero-shot classification: images by the nearest class of prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate
from repana._typing import FeatureArray, LabelArray
from repana.ranking import _refusals
from repana.ranking._estimates import Estimates, means_of
from repana.ranking._scores import unit

COMBINE = ("unit_mean", "raw_mean", "mean_cosine", "max_cosine", "first")


@dataclass(frozen=True, repr=False)
class ZeroShot(Estimates):
    """Zero-shot classification; see `zero_shot`. `right` (n,): which rows are right; `predicted` (n,)."""

    accuracy: Estimate
    balanced_accuracy: Estimate
    right: Bool[Tensor, " n"] = field(repr=False)
    predicted: Int[Tensor, " n"] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replicates: Mapping[str, Float[Tensor, " b"]] = field(default_factory=dict, repr=False)

    def mcnemar(self, other: "ZeroShot") -> Estimate:
        """The difference in accuracy to another layer on the same rows, with the two-sided p of McNemar's exact test.

        Source: McNemar 1947, doi:10.1007/BF02295996.
        """
        if len(self.right) != len(other.right):
            raise _check.unlike_samples(len(self.right), len(other.right))
        ours, theirs = int((self.right & ~other.right).sum()), int((~self.right & other.right).sum())
        p = float(binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0
        return Estimate((ours - theirs) / len(self.right), n=len(self.right), null=0.0, p=p)


@settled()
def zero_shot(
    features: FeatureArray,
    prompts: FeatureArray,
    labels: LabelArray,
    *,
    combine: str = "unit_mean",
    level: float = 0.95,
    seed: int = 0,
) -> ZeroShot:
    """Accuracy of images (n, d) whose class is that of the nearest prompts (c, p, d), or (c, d) with one a class.

    `combine` says how the p prompts of a class score an image: "unit_mean", cosine with unit(mean of unit prompts), the
    convention of CLIP; "raw_mean", with the mean of prompts as they are, where long ones rule; "mean_cosine" and
    "max_cosine" of the cosines; "first", of the first prompt. Ties go to the lowest class. `labels` (n,) from 0.

    `balanced_accuracy`: mean over classes of the share that is right. Null: 1/c. Interval: percentiles of up to 2000
    bootstrap samples of rows. In [0, 1], higher is better.

    Raises InputError for zero vectors (RA293), and labels without prompts (RA203).

    Source: Radford et al. 2021, arXiv:2103.00020.

    >>> import torch
    >>> from repana.ranking import zero_shot
    >>> zero_shot(torch.eye(3).repeat(4, 1), torch.eye(3), torch.arange(12) % 3).accuracy.value
    1.0
    """
    _check.level_of(level)
    _check.choice(combine, "combine", COMBINE)
    x = _check.features_of(features)
    t = _check.tensor_of(prompts, "prompts")
    t = t[:, None] if t.ndim == 2 else t
    if t.ndim != 3 or not t.shape[0] or not t.shape[1]:
        raise _refusals.prompts_shape(t.shape)
    classes, each, width = t.shape
    flat = _check.features_of(t.reshape(classes * each, width), name="prompts").to(x.device)
    if x.shape[1] != width:
        raise _refusals.widths_differ("features", x.shape[1], "prompts", width)
    codes, names = _check.labels_of(labels, len(x))
    if names:
        raise _check.names_without_numbers(names, "prompts")
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < classes:
        bad = int(codes.max()) if int(codes.max()) >= classes else int(codes.min())
        raise _refusals.class_of_prompts(bad, classes)
    scores = _scores(unit(x, "features"), flat, classes, each, combine)
    predicted = scores.argmax(1).cpu()
    right = predicted == codes
    values = {"accuracy": right.double().numpy()}
    found, replicates = means_of(values, {}, level, seed)
    shares = [float(right[codes == c].double().mean()) for c in codes.unique().tolist()]
    balanced = Estimate(float(np.mean(shares)), n=len(x), null=1 / classes)
    accuracy = found["accuracy"]
    accuracy = Estimate(accuracy.value, accuracy.low, accuracy.high, accuracy.n, accuracy.note, null=1 / classes)
    settings = {"combine": combine, "classes": classes, "prompts": each, "level": level, "seed": seed}
    return ZeroShot(accuracy, balanced, right, predicted, settings, replicates)


def _scores(
    x: Float[Tensor, "n d"], prompts: Float[Tensor, "p d"], classes: int, each: int, combine: str
) -> Float[Tensor, "n c"]:
    if combine == "raw_mean":
        return x @ unit(prompts.double().reshape(classes, each, -1).mean(1), "prompts").T
    units = unit(prompts, "prompts").reshape(classes, each, -1)
    if combine == "unit_mean":
        return x @ unit(units.mean(1), "prompts").T
    if combine == "first":
        return x @ units[:, 0].T
    cosines = torch.einsum("nd,cpd->ncp", x, units)
    return cosines.amax(2) if combine == "max_cosine" else cosines.mean(2)
