"""Statistics of attention maps: sums by text over rows of real queries, for every head, with their nulls."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repana._estimate import NAN

QUANTITIES = (
    "entropy", "entropy_share", "top_mass", "distance", "distance_share", "sink", "sink_parameter", "previous", "rank",
    "stable_rank", "write", "share",
)  # fmt: skip
TOP = 5


@dataclass(frozen=True)
class MapSums:
    """Numerators and denominators (texts, heads) of every quantity, and of its null; `apart` (heads, heads) and
    `rows`: total variation between heads, summed over rows."""

    numerator: Mapping[str, Float[Tensor, "b h"]]
    denominator: Mapping[str, Float[Tensor, "b h"]]
    null: Mapping[str, Float[Tensor, "b h"]]
    apart: Float[Tensor, "h h"]
    rows: float
    single: int  # rows of one allowed key, which are left out


def map_sums(
    a: Float[Tensor, "b h t t"],
    allowed: Bool[Tensor, "b h t t"],
    real: Bool[Tensor, "b t"],
    top: int = TOP,
    line: bool = True,
    grid: tuple[int, int] | None = None,
) -> MapSums:
    """Of maps a_ij, query i and key j; `allowed` keys of each query; `real` positions, which alone are read. `line`:
    positions stand in a line, as tokens do; else they are patches of an image in rows and columns (`grid`) behind class
    token and registers, or distances are NaN."""
    b, h, t, _ = a.shape
    a = a.double()
    pair = real[:, None, :, None] & real[:, None, None, :]
    allowed = allowed & pair
    a = torch.where(allowed, a, 0.0)
    m = allowed.sum(3)  # (b, h, t)
    rows = (m >= 2) & real[:, None, :]
    place = (real.long().cumsum(1) - 1).double()  # among real tokens
    gap = (place[:, None, :, None] - place[:, None, None, :]).abs()
    many = m.clamp_min(1).double()
    of_keys = a / a.sum(3, keepdim=True).clamp_min(1e-300)  # less than all where sinks are parameters
    entropy = -torch.xlogy(of_keys, of_keys).sum(3)
    log_m = many.log()
    distance = (a * gap).sum(3)
    uniform_distance = torch.where(allowed, gap, 0.0).sum(3) / many
    first = real.long().argmax(1)
    sink = a.gather(3, first[:, None, None, None].expand(b, h, t, 1))[..., 0]
    before = _previous(a, place, real)
    has_before = _previous(allowed.double(), place, real) > 0
    wide = rows & (m > top)
    largest = a.topk(min(top, t), dim=3).values.sum(3)

    def summed(values: Tensor, chosen: Tensor) -> Tensor:
        return torch.where(chosen, values.double().expand(chosen.shape), 0.0).sum(2)

    count = summed(torch.ones_like(entropy), rows)
    one, prior = torch.ones_like(many), 1 / many
    on_first = allowed.gather(3, first[:, None, None, None].expand(b, h, t, 1))[..., 0] * prior
    numerator = {
        "entropy": summed(entropy, rows),
        "entropy_share": summed(entropy / log_m.clamp_min(1e-300), rows),
        "top_mass": summed(largest, wide),
        "distance": summed(distance, rows),
        "distance_share": summed(distance, rows),
        "sink": summed(sink, rows),
        "sink_parameter": summed((1 - a.sum(3)).clamp_min(0), rows),
        "previous": summed(before, rows & has_before),
    }
    denominator = {
        **dict.fromkeys(("entropy", "entropy_share", "distance", "sink", "sink_parameter"), count),
        "top_mass": summed(one, wide),
        "distance_share": summed(uniform_distance, rows),
        "previous": summed(one, rows & has_before),
    }
    null = {
        "entropy": summed(log_m, rows),
        "entropy_share": count,
        "top_mass": summed(top * prior, wide),
        "distance": summed(uniform_distance, rows),
        "distance_share": summed(uniform_distance, rows),
        "sink": summed(on_first, rows),
        "sink_parameter": torch.zeros_like(count),
        "previous": summed(prior, rows & has_before),
    }
    ranks, uniform = _ranks(a, real), _ranks(torch.where(allowed, prior[..., None], 0.0), real)
    for name, k in (("rank", 0), ("stable_rank", 1)):
        numerator[name], null[name] = ranks[k], uniform[k]
        denominator[name] = real.any(1)[:, None].double().expand(b, h)
    if not line and grid is not None:
        over_patches = _patch_distance(a, grid)
        for name, k in (("distance", 0), ("distance_share", 0)):
            numerator[name], null[name] = over_patches[k], over_patches[1]
        denominator["distance"], denominator["distance_share"] = over_patches[2], over_patches[1]
        numerator["previous"], null["previous"] = torch.full_like(count, NAN), torch.full_like(count, NAN)
    elif not line:
        for name in ("distance", "distance_share", "previous"):
            numerator[name], null[name] = torch.full_like(count, NAN), torch.full_like(count, NAN)
    apart = _apart(a, rows.all(1) if h else rows[:, 0])
    return MapSums(
        numerator, denominator, null, apart, float(rows.all(1).sum()), int(((m == 1) & real[:, None, :])[:, 0].sum())
    )


def write_sums(
    results: Float[Tensor, "b h t v"], weight: Float[Tensor, "h v d"], real: Bool[Tensor, "b t"]
) -> tuple[dict[str, Float[Tensor, "b h"]], dict[str, Float[Tensor, "b h"]]]:
    """Numerators and denominators of |w_h| and of <w_h, o>/|o|^2 over real positions, w_h what a head writes through
    its rows of the output projection, and o their sum."""
    h = len(weight)
    rows = real.double()
    each = [results[:, k].double() @ weight[k] for k in range(h)]
    total = torch.stack(each).sum(0)
    numerator = {
        "write": torch.stack([(w.norm(dim=2) * rows).sum(1) for w in each], 1),
        "share": torch.stack([((w * total).sum(2) * rows).sum(1) for w in each], 1),
    }
    whole = (total.square().sum(2) * rows).sum(1)
    denominator = {
        "write": rows.sum(1)[:, None].expand(-1, h),
        "share": whole[:, None].expand(-1, h),
    }
    return numerator, denominator


def _patch_distance(a: Float[Tensor, "b h t t"], grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over patches (b, h) of the Euclidean distance between a query's patch and its keys', in patches, over
    attention among patches alone; the same of uniform attention; and how many patches."""
    rows, columns = grid
    n = rows * columns
    among = a[:, :, -n:, -n:]
    among = among / among.sum(3, keepdim=True).clamp_min(1e-300)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double().to(a.device)
    gap = torch.cdist(places, places)
    uniform = torch.full(a.shape[:2], float(gap.mean(1).sum()), dtype=torch.float64, device=a.device)
    return (among * gap).sum((2, 3)), uniform, torch.full_like(uniform, n)


def _previous(a: Float[Tensor, "b h t t"], place: Float[Tensor, "b t"], real: Bool[Tensor, "b t"]) -> Tensor:
    """The entry of the real token in front of each query; 0 for the first."""
    before = (place[:, :, None] - place[:, None, :] == 1) & real[:, :, None] & real[:, None, :]
    return (a * before[:, None]).sum(3)


def _ranks(a: Float[Tensor, "b h t t"], real: Bool[Tensor, "b t"]) -> tuple[Float[Tensor, "b h"], Float[Tensor, "b h"]]:
    """exp of the entropy of the singular values, and sum s^2/s_1^2, of the map of each text's real tokens."""
    effective, stable = [], []
    for one, keep in zip(a, real):
        if not bool(keep.any()):
            effective.append(one.new_zeros(len(one)))
            stable.append(one.new_zeros(len(one)))
            continue
        s = torch.linalg.svdvals(one[:, keep][:, :, keep])
        share = s / s.sum(1, keepdim=True).clamp_min(1e-300)
        effective.append((-torch.xlogy(share, share).sum(1)).exp())
        stable.append(s.square().sum(1) / s[:, 0].square().clamp_min(1e-300))
    return torch.stack(effective), torch.stack(stable)


def _apart(a: Float[Tensor, "b h t t"], rows: Bool[Tensor, "b t"]) -> Float[Tensor, "h h"]:
    """Total variation of every pair of heads, summed over rows."""
    h = a.shape[1]
    kept = a.transpose(1, 2)[rows]  # (r, h, t)
    found = torch.zeros(h, h, dtype=torch.float64, device=a.device)
    for i in range(h):
        found[i] = 0.5 * (kept[:, i : i + 1] - kept).abs().sum((0, 2))
    return found
