"""Images and texts in one space: recall both ways, the gap between the modalities, alignment and uniformity."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate, Flag, noted
from repana._typing import FeatureArray
from repana.ranking import _refusals
from repana.ranking._estimates import Estimates, interval_of, means
from repana.ranking._relevance import Relevance
from repana.ranking._retrieval import KS, measured
from repana.ranking._scores import unit
from repana.statistics.resampling import bootstrap_weights, percentiles

BLOCK = 2**25  # pairs of rows at a time
RECALLS = ("i2t", "i2t_share", "t2i", "i2t_centered", "t2i_centered")


@dataclass(frozen=True, repr=False)
class CrossModal(Estimates):
    """Images and texts in one space; see `cross_modal`. Recalls are mappings from k to an Estimate."""

    i2t: Mapping[int, Estimate]
    i2t_share: Mapping[int, Estimate]
    t2i: Mapping[int, Estimate]
    i2t_centered: Mapping[int, Estimate]
    t2i_centered: Mapping[int, Estimate]
    gap: Estimate
    alignment: Estimate
    uniformity_image: Estimate
    uniformity_text: Estimate
    images: int
    texts: int
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replicates: Mapping[str, Float[Tensor, " b"]] = field(default_factory=dict, repr=False)


@settled()
def cross_modal(
    image: FeatureArray,
    text: FeatureArray,
    owner: Any = None,
    *,
    k: int | Sequence[int] = KS,
    permutations: int = 199,
    level: float = 0.95,
    seed: int = 0,
) -> CrossModal:
    """Images (n, d) and their texts (m, d) in one space, all rows scaled to norm 1.

    `owner` (m,): the image that each text describes, from 0; by default text i is of image i. With u an image and v one
    of its texts:

    - `i2t` by k: share of images with any of their texts among the k nearest (the convention of COCO); `i2t_share`:
      mean share of an image's texts among them. `t2i` by k: share of texts whose image is among the k nearest. Ties in
      expectation; null: the same on constant scores. They depend on how many items there are, n and m.
    - `i2t_centered`, `t2i_centered`: the same after each modality's mean is taken off, the recall that a gap hides. A
      gap that costs no recall harms nothing.
    - `gap`: |mean u - mean v| over images and texts, in [0, 2]. Null: sqrt(tr(S)(1/n + 1/m)), S the pooled covariance
      (ddof 1), the root of the expected square where modalities are dealt at random; range and p from `permutations`.
    - `alignment`: mean |u - v|^2 over texts, = 2 - 2 cos, in [0, 4], lower is better; null: 2 - 2 mean cos
      over all pairs, texts dealt to images at random.
    - `uniformity_image`, `uniformity_text`: ln mean_{i<j} exp(-2 |u_i - u_j|^2), without the diagonal, in [-8, 0],
      lower is more uniform.

    Interval: percentiles of up to 2000 bootstrap samples of images, each with its texts, 10 or more.

    Raises InputError for zero vectors (RA293), owners that do not fit or images without texts (RA292).

    Sources: Liang et al. 2022, arXiv:2203.02053 (gap); Wang & Isola 2020, arXiv:2005.10242 (alignment, uniformity).

    >>> import torch
    >>> from repana.ranking import cross_modal
    >>> x = torch.eye(12)
    >>> found = cross_modal(x, x + 0.1, k=1)
    >>> found.t2i[1].value, round(found.gap.value, 2)
    (1.0, 0.26)
    """
    _check.level_of(level)
    permutations = _check.at_least(permutations, "permutations", 0)
    ks = sorted({_check.at_least(one, "k", 1) for one in (k if isinstance(k, Sequence) else [k])})
    x, y = _check.features_of(image, name="image"), _check.features_of(text, name="text")
    if x.shape[1] != y.shape[1]:
        raise _refusals.widths_differ("image", x.shape[1], "text", y.shape[1])
    of = _owners(owner, len(x), len(y))
    u, v = unit(x, "image"), unit(y.to(x.device), "text")
    at = torch.from_numpy(of)
    counts = np.bincount(of, minlength=len(x)).astype(float)
    rows = _recalls(u, v, of, ks, "") | _recalls(_centered(u), _centered(v), of, ks, "_centered")
    found, drawn = _recall_estimates(rows, counts, level, seed)
    fields: dict[str, Any] = {name: {k: found[f"{name}@{k}"] for k in ks} for name in RECALLS}
    geometry, replicates = _geometry(u, v, at, permutations, level, seed)
    fields.update(geometry)
    return CrossModal(
        **fields,
        images=len(x),
        texts=len(y),
        settings={"k": ks, "permutations": permutations, "level": level, "seed": seed},
        replicates=drawn | replicates,
    )


def _recall_estimates(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray]], counts: Float[np.ndarray, " n"], level: float, seed: int
) -> tuple[dict[str, Estimate], dict[str, Float[Tensor, " b"]]]:
    """Sums of images over images, or over their texts, with the bootstrap of images."""
    found, drawn = {}, {}
    for name, (values, null) in rows.items():
        units = counts if name.startswith("t2i") else np.ones(len(counts))
        sums = means(torch.from_numpy(np.stack([values, units], 1)), seed)
        drawn[name] = sums[:, 0] / sums[:, 1]
        estimate = interval_of(float(values.sum() / units.sum()), drawn[name], len(counts), level)
        found[name] = replace(estimate, null=float(null.sum() / units.sum()))
    return found, drawn


def _owners(owner: Any, images: int, texts: int) -> Int[np.ndarray, " m"]:
    if owner is None:
        if images != texts:
            raise _refusals.owner_needed(images, texts)
        return np.arange(images)
    of = np.asarray(owner.cpu() if isinstance(owner, Tensor) else owner)
    if of.shape != (texts,) or of.dtype.kind not in "iu":
        raise _refusals.owners(len(of) if of.ndim else 1, texts)
    if of.min() < 0 or of.max() >= images:
        raise _refusals.owner_range(images)
    empty = np.bincount(of, minlength=images) == 0
    if empty.any():
        raise _refusals.without_texts(int(empty.sum()), int(empty.argmax()))
    return of.astype(np.int64)


def _centered(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return x - x.mean(0)


def _recalls(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], of: Int[np.ndarray, " m"], ks: Sequence[int], suffix: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By image: whether any text is found, the share of its texts, and how many of its texts find it."""
    numbers = np.arange(len(a))
    forward = measured(a, b, Relevance.of((numbers, of), len(a), len(b), False, False), "cosine", ks, "linear")[:2]
    back = measured(b, a, Relevance.of((of, numbers), len(b), len(a), False, False), "cosine", ks, "linear")[:2]
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for k in ks:
        found[f"i2t{suffix}@{k}"] = (forward[0][f"hit@{k}"], forward[1][f"hit@{k}"])
        found[f"i2t_share{suffix}@{k}"] = (forward[0][f"recall@{k}"], forward[1][f"recall@{k}"])
        value, null = (np.bincount(of, weights=side[f"hit@{k}"], minlength=len(a)) for side in back)
        found[f"t2i{suffix}@{k}"] = (value, null)
    return found


def _geometry(
    u: Float[Tensor, "n d"], v: Float[Tensor, "m d"], of: Int[Tensor, " m"], permutations: int, level: float, seed: int
) -> tuple[dict[str, Estimate], dict[str, Float[Tensor, " b"]]]:
    """Gap, alignment and uniformity, with their replicates over images."""
    u, v = u.cpu(), v.cpu()
    n, m = len(u), len(v)
    texts = torch.zeros_like(u).index_add_(0, of, v)
    counts = torch.bincount(of, minlength=n).double()
    apart = torch.zeros(n, dtype=torch.float64).index_add_(0, of, (u[of] - v).square().sum(1))
    values = {
        "gap": float((u.mean(0) - v.mean(0)).norm()),
        "alignment": float(apart.sum() / m),
        "uniformity_image": uniformity(u),
        "uniformity_text": uniformity(v),
    }
    kernels = [(_kernel_sums(u), torch.arange(n)), (_kernel_sums(v), of)]
    drawn: dict[str, list[Tensor]] = {name: [] for name in values}
    for w in bootstrap_weights(n, None, None, seed):
        total = w @ counts
        drawn["gap"].append(((w @ u) / n - (w @ texts) / total[:, None]).norm(dim=1))
        drawn["alignment"].append((w @ apart) / total)
    replicates = {name: torch.cat(drawn[name]) for name in ("gap", "alignment")}
    found = {name: interval_of(values[name], replicates[name], n, level) for name in ("gap", "alignment")}
    for name, (sums, owner) in zip(("uniformity_image", "uniformity_text"), kernels):
        found[name], replicates[name] = _of_uniformity(values[name], sums, owner, n, level, seed)
    mean_cosine = float(u.mean(0) @ v.mean(0))
    found["alignment"] = replace(found["alignment"], null=2 - 2 * mean_cosine)
    found["gap"] = _gap_null(found["gap"], u, v, permutations, level, seed)
    return found, replicates


def _gap_null(
    gap: Estimate, u: Float[Tensor, "n d"], v: Float[Tensor, "m d"], permutations: int, level: float, seed: int
) -> Estimate:
    """Modalities dealt to rows at random: the root of the expected square, its range, and p."""
    n, m = len(u), len(v)
    both = torch.cat([u, v])
    scatter = float((both - both.mean(0)).square().sum()) / (n + m - 1)
    null = math.sqrt(scatter * (1 / n + 1 / m))
    if not permutations:
        return replace(gap, null=null)
    generator = torch.Generator().manual_seed(seed)
    total = both.sum(0)
    found = []
    for _ in range(permutations):
        first = both[torch.randperm(n + m, generator=generator)[:n]].sum(0)
        found.append(float((first / n - (total - first) / m).norm()))
    low, high = percentiles(np.array(found), level)
    p = (1 + sum(one >= gap.value for one in found)) / (1 + permutations)
    return replace(gap, null=null, null_low=low, null_high=high, p=p, permutations=permutations)


def uniformity(x: Float[Tensor, "n d"]) -> float:
    """ln mean_{i<j} exp(-2 |x_i - x_j|^2) of rows of norm 1.

    >>> import torch
    >>> from repana.ranking._cross_modal import uniformity
    >>> round(uniformity(torch.eye(3, dtype=torch.float64)), 12)
    -4.0
    """
    n = len(x)
    if n < 2:
        return math.nan
    return math.log(float(_kernel_sums(x).sum()) / (n * (n - 1)))


def _kernel_sums(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Sum over the other rows of exp(-2 |x_i - x_j|^2), rows of norm 1."""
    block = max(1, BLOCK // len(x))
    sums = [torch.exp(4 * (x[at : at + block] @ x.T) - 4).sum(1) for at in range(0, len(x), block)]
    return torch.cat(sums) - torch.exp(4 * x.square().sum(1) - 4)


def _of_uniformity(
    value: float, sums: Float[Tensor, " r"], owner: Int[Tensor, " r"], n: int, level: float, seed: int
) -> tuple[Estimate, Float[Tensor, " b"]]:
    """To first order in each row's sum, images with their rows drawn together: a pair of rows depends on both."""
    if not math.isfinite(value):
        note = Flag.FEW_SAMPLES.note("needs two rows")
        return Estimate(value, n=n, note=noted(note)), torch.empty(0)
    many = len(sums)
    by_image = torch.zeros(n, dtype=torch.float64).index_add_(0, owner, sums)
    counts = torch.bincount(owner, minlength=n).double()
    drawn = []
    mean = float(sums.sum()) / many
    for w in bootstrap_weights(n, None, None, seed):
        of_rows = (w @ by_image) / (w @ counts)
        drawn.append(torch.log((2 * of_rows - mean).clamp_min(1e-300) / (many - 1)))
    replicates = torch.cat(drawn)
    return interval_of(value, replicates, n, level), replicates
