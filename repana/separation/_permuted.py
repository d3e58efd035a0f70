"""Class separability under shuffled labels: what does not depend on labels once, what does from sums over classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.separation import _formulas as f
from repana.separation._dsi import BinnedDistances
from repana.summaries.pairwise_distances import BLOCK, PairwiseDistances
from repana.summaries.resampling import ONE_HOT, class_sums

FEWEST = 19  # permutations, however many samples and classes there are
ADDITIONS, PAIRS = 4e9, 2e7  # operations: of sums of distances, of counted pairs
NEAR = 1e-4  # of |m|^2 + |l|^2: the squared distance of two means below which it is taken by differences


def permuted_separability(
    pairs: PairwiseDistances,
    labels: Int[Tensor, "p n"],
    binned: BinnedDistances,
    *,
    normalize: str,
    tolerance_over: str,
    unbiased: bool,
    drop_constant: bool,
) -> dict[str, Float[Tensor, " q"]]:
    """Every quantity of `separability` that reads labels, for the first permutations as far as they are affordable."""
    n, c = pairs.n, len(pairs.counts)
    few = labels[: max(FEWEST, int(ADDITIONS / (n * n)))]
    x = (pairs.x - pairs.x.mean(0)).float()
    found = _neighbours(pairs, labels) | _moments(pairs, x, labels, normalize, tolerance_over, unbiased)
    found |= _silhouettes(pairs, few)
    found["gdv"] = f.gdv(pairs.x, few, pairs.counts, single=True, drop_constant=drop_constant)
    found["dsi"] = binned.dsi(labels[: max(FEWEST, int(PAIRS * c / (n * n)))], c)
    return found


def _neighbours(pairs: PairwiseDistances, labels: Int[Tensor, "p n"]) -> dict[str, Tensor]:
    """Thornton's index and purity, from the places of the nearest samples, which are the same for all labels."""
    nearest, near = pairs.nearest, pairs.near[:, : pairs.k]
    parts = labels.split(max(1, f.AT_ONCE // near.numel()))
    own = torch.cat([(some[:, nearest] == some).double().mean(1) for some in parts])
    share = torch.cat([(some[:, near] == some[:, :, None]).double().mean((1, 2)) for some in parts])
    return {"thornton": own.cpu(), "knn_purity": f.purity(share, pairs.counts).cpu()}


def _moments(
    pairs: PairwiseDistances,
    x: Float[Tensor, "n d"],
    labels: Int[Tensor, "p n"],
    normalize: str,
    tolerance_over: str,
    unbiased: bool,
) -> dict[str, Tensor]:
    """What class sums tell, of features and of directions."""
    counts, (n, c) = pairs.counts, (pairs.n, len(pairs.counts))
    squares = x.square().sum(1, dtype=torch.float64)
    whole, kernel = float(squares.sum()), f.LinearKernel.of(pairs.x)
    unit = f.directions(pairs.x, normalize).float()
    lengths = unit.square().sum(1, dtype=torch.float64)
    parts: list[dict[str, Tensor]] = []
    for some in labels.split(max(1, BLOCK // (64 * max(c * x.shape[1], n, c * c)))):
        totals, directions = (class_sums(rows, some, c).double() for rows in (x, unit))
        means = totals / counts.clamp_min(1)[:, None]
        between = (counts[:, None] * means.square()).sum((1, 2)).tolist()
        to_own = _to_own_mean(x, squares, means, some)
        spread = to_own.new_zeros(len(some), c).scatter_add_(1, some, to_own)
        alignment, dots, share = f.of_directions(directions, lengths, some, counts)
        parts.append({
            "calinski_harabasz": torch.tensor([f.variance_ratio(b, whole - b, n, counts) for b in between]),
            "davies_bouldin": _davies_bouldin(means.to(x.dtype), spread / counts, n),
            "alignment": alignment,
            "tolerance": dots * share if tolerance_over == "all" else dots,
            "label_cka": kernel.alignment(totals, some, counts, unbiased=unbiased),
        })  # fmt: skip
    return {name: torch.cat([part[name].double().cpu() for part in parts]) for name in parts[0]}


def _davies_bouldin(means: Float[Tensor, "p c d"], spread: Float[Tensor, "p c"], n: int) -> Float[Tensor, " p"]:
    if not n > spread.shape[1] > 1:
        return torch.full_like(spread[:, 0], torch.nan)
    squares = means.square().sum(2)
    both = squares[:, :, None] + squares[:, None]
    apart = torch.baddbmm(both, means, means.mT, alpha=-2.0).clamp_min_(0)
    close = apart < NEAR * both
    close.diagonal(dim1=1, dim2=2).fill_(False)
    order, i, j = close.nonzero().unbind(1)
    apart[order, i, j] = (means[order, i] - means[order, j]).square().sum(1)
    return f.worst_ratios(apart.sqrt_(), spread.to(apart))


def _to_own_mean(
    x: Float[Tensor, "n d"], squares: Float[Tensor, " n"], means: Float[Tensor, "p c d"], labels: Int[Tensor, "p n"]
) -> Float[Tensor, "p n"]:
    """Distances to the mean of the own class; under shuffled labels none of them is small."""
    if means.shape[1] <= ONE_HOT:
        along = (means.to(x.dtype) @ x.T).gather(1, labels[:, None])[:, 0]
    else:
        along = torch.stack([(x * own[codes].to(x.dtype)).sum(1) for own, codes in zip(means, labels)])
    return (squares - 2 * along.double() + means.square().sum(2).gather(1, labels)).clamp_min(0).sqrt()


def _silhouettes(pairs: PairwiseDistances, labels: Int[Tensor, "p n"]) -> dict[str, Tensor]:
    """Means over samples and over classes."""
    counts, c = pairs.counts, len(pairs.counts)
    total = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    of_class = torch.zeros(len(labels), c, dtype=torch.float64, device=labels.device)
    for part, block in pairs.distances.columns():
        block = block.float()
        step = max(1, f.AT_ONCE // (c * block.shape[1]))
        for at in torch.arange(len(labels), device=labels.device).split(step):
            sums = class_sums(block, labels[at], c)
            values = f.silhouettes(sums, labels[at][:, part], counts).double()
            total[at] += values.sum(1)
            of_class[at] += of_class.new_zeros(len(at), c).scatter_add_(1, labels[at][:, part], values)
    balanced = (of_class / counts)[:, counts > 0].mean(1)
    return {"silhouette": (total / pairs.n).cpu(), "silhouette_balanced": balanced.cpu()}
