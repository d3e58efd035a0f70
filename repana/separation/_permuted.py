"""Class separability under shuffled labels: what does not depend on labels once, what does from sums over classes."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.separation import _formulas as f
from repana.separation._dsi import BinnedDistances
from repana.summaries.forest import squared
from repana.summaries.pairwise_distances import BLOCK, PairwiseDistances
from repana.summaries.resampling import ONE_HOT, class_sums

FEWEST = 19  # permutations, however many samples and classes there are
PRODUCT, ADDITIONS, PAIRS = 1e11, 2e9, 2e7  # operations: of sums by a product or row by row, of counted pairs


def permuted_separability(
    pairs: PairwiseDistances,
    labels: Int[Tensor, "p n"],
    *,
    normalize: str,
    tolerance_over: str,
    unbiased: bool,
    drop_constant: bool,
) -> dict[str, Float[Tensor, " q"]]:
    """Every quantity of `separability` that reads labels, for the first permutations as far as they are affordable."""
    n, c = pairs.n, len(pairs.counts)
    affordable = max(PRODUCT / (2 * n * n * c) if c <= ONE_HOT else 0, ADDITIONS / (n * n))
    few = labels[: max(FEWEST, int(affordable))]
    x = (pairs.x - pairs.x.mean(0)).float()
    found = _neighbours(pairs, labels) | _moments(pairs, x, labels, normalize, tolerance_over, unbiased)
    sums = _sums_by_class(x, few, c)
    step = max(1, BLOCK // (32 * n * c))
    parts = zip(sums.transpose(0, 1).split(step), few.split(step))
    values = torch.cat([f.silhouettes(s.double(), codes, pairs.counts) for s, codes in parts])
    found["silhouette"] = values.mean(1).cpu()
    found["silhouette_balanced"] = f.by_class(values, few, pairs.counts).mean(1).cpu()
    found["gdv"] = _gdv(pairs.x, few, pairs.counts, drop_constant=drop_constant)
    binned = BinnedDistances.of(pairs.x, pairs.seed)
    found["dsi"] = binned.dsi(labels[: max(FEWEST, int(PAIRS * c / (n * n)))], c)
    return found


def _neighbours(pairs: PairwiseDistances, labels: Int[Tensor, "p n"]) -> dict[str, Tensor]:
    """Thornton's index and purity, from the places of the nearest samples, which are the same for all labels."""
    nearest, near = pairs.nearest, pairs.near[:, : pairs.k]
    own = torch.stack([(codes[nearest] == codes).double().mean() for codes in labels])
    share = torch.stack([(codes[near] == codes[:, None]).double().mean() for codes in labels])
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
    squares = x.double().square().sum(1)
    whole = float(squares.sum())
    u = f.directions(pairs.x, normalize)
    lengths, unit = u.square().sum(1), u.float()
    kernel = f.LinearKernel.of(pairs.x)
    parts: list[dict[str, Tensor]] = []
    for some in labels.split(max(1, BLOCK // (16 * max(c * x.shape[1], c * n, c * c)))):
        totals, directions = (class_sums(rows, some, c).double() for rows in (x, unit))
        means = totals / counts.clamp_min(1)[:, None]
        between = (counts[:, None] * means.square()).sum((1, 2)).tolist()
        to_own = _to_own_mean(x, squares, means, some)
        spread = to_own.new_zeros(len(some), c).scatter_add_(1, some, to_own)
        alignment, dots, share = f.of_directions(directions, lengths, some, counts)
        parts.append({
            "calinski_harabasz": torch.tensor([f.variance_ratio(b, whole - b, n, counts) for b in between]),
            "davies_bouldin": f.worst_ratios(means, spread / counts, counts),
            "alignment": alignment,
            "tolerance": dots * share if tolerance_over == "all" else dots,
            "label_cka": kernel.alignment(totals, some, counts, unbiased=unbiased),
        })  # fmt: skip
    return {name: torch.cat([part[name].double().cpu() for part in parts]) for name in parts[0]}


def _to_own_mean(
    x: Float[Tensor, "n d"], squares: Float[Tensor, " n"], means: Float[Tensor, "p c d"], labels: Int[Tensor, "p n"]
) -> Float[Tensor, "p n"]:
    """Distances to the mean of the own class; under shuffled labels none of them is small."""
    if means.shape[1] <= ONE_HOT:
        along = (means.to(x.dtype) @ x.T).gather(1, labels[:, None])[:, 0]
    else:
        along = torch.stack([(x * own[codes].to(x.dtype)).sum(1) for own, codes in zip(means, labels)])
    return (squares - 2 * along.double() + means.square().sum(2).gather(1, labels)).clamp_min(0).sqrt()


def _sums_by_class(x: Float[Tensor, "n d"], labels: Int[Tensor, "p n"], classes: int) -> Float[Tensor, "n p c"]:
    """Of every sample the sums of its distances to the classes of every labelling."""
    found = torch.empty(len(x), len(labels), classes, device=x.device)
    _over_distances(x, labels, classes, lambda part, sums: found.__setitem__(part, sums))
    return found


def _over_distances(
    x: Float[Tensor, "n d"],
    labels: Int[Tensor, "p n"],
    classes: int,
    use: Callable[[Tensor, Float[Tensor, "b p c"]], None],
) -> None:
    """Give some rows at a time with their sums of distances by labelling and class."""
    member = None
    if classes <= ONE_HOT:
        member = torch.zeros(len(x), len(labels), classes, device=x.device)
        member.scatter_(2, labels.T[..., None], 1.0)
    for part in torch.arange(len(x), device=x.device).split(max(16, BLOCK // (8 * len(x)))):
        block = squared(x, part)[0].sqrt_()
        if member is not None:
            use(part, (block @ member.flatten(1)).view(len(part), len(labels), classes))
            continue
        sums = block.new_zeros(len(part), len(labels), classes)
        for k, codes in enumerate(labels):
            sums[:, k].index_add_(1, codes, block)
        use(part, sums)


def _gdv(
    x: Float[Tensor, "n d"], labels: Int[Tensor, "p n"], counts: Int[Tensor, " c"], *, drop_constant: bool
) -> Float[Tensor, " p"]:
    """As `gdv`, from sums of distances by class: of the own class, and of all with weights 1/n_k."""
    z, d = f.scaled_for_gdv(x, drop_constant=drop_constant)
    if z is None:
        return torch.full((len(labels),), math.nan, dtype=torch.float64)
    own = torch.zeros(len(labels), len(counts), dtype=torch.float64, device=x.device)
    across = torch.zeros(len(labels), dtype=torch.float64, device=x.device)
    weight = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0).double()

    def add(part: Tensor, sums: Tensor) -> None:
        codes = labels[:, part]
        mine = sums.gather(2, codes.T[..., None])[..., 0].T.double()
        own.scatter_add_(1, codes, mine)
        across.add_((weight[codes] * (sums.double() @ weight).T).sum(1))

    _over_distances(z.float(), labels, len(counts), add)
    here, many = int((counts > 0).sum()), counts > 1
    inter = (across - (own * weight.square()).sum(1)) / (here * (here - 1))
    pairs = counts * (counts - 1)
    intra = (own[:, many] / pairs[many]).mean(1)
    return ((intra - inter) / math.sqrt(d)).cpu()
