"""Neural collapse against the formulation of a public library, written anew from its description.

The peer: three passes (means by a dense one-hot product; class variances and the pooled d x d covariance around the
means), then tr(Sw pinv(Sb))/c by a d x d pseudo-inverse, CDNV over all pairs in tiles, and pair statistics of cosines.
"""

import time
from collections.abc import Callable

import torch

from benchmarks._measure import Line, alternate, ratio, show
from repana import Moments, fisher, neural_collapse
from repana.summaries.resampling import permuted_orders

BATCH, TILE = 256, 64


def peer_means(x: torch.Tensor, y: torch.Tensor, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    total, count = torch.zeros(c, x.shape[1]), torch.zeros(c)
    for a, b in zip(x.split(BATCH), y.split(BATCH)):
        one_hot = torch.nn.functional.one_hot(b, c).float()
        total += one_hot.T @ a
        count += one_hot.sum(0)
    return total / count[:, None], count


def peer_variances(x: torch.Tensor, y: torch.Tensor, means: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(len(means))
    for a, b in zip(x.split(BATCH), y.split(BATCH)):
        one_hot = torch.nn.functional.one_hot(b, len(means)).float()
        total += one_hot.T @ (a - means[b]).square().sum(1)
    return total / count


def peer_covariance(x: torch.Tensor, y: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(x.shape[1], x.shape[1])
    for a, b in zip(x.split(BATCH), y.split(BATCH)):
        e = a - means[b]
        total += e.T @ e
    return total / len(x)


def peer(x: torch.Tensor, y: torch.Tensor, c: int) -> dict[str, float]:
    means, count = peer_means(x, y, c)
    variances, within = peer_variances(x, y, means, count), peer_covariance(x, y, means)
    centred = means - means.mean(0)
    between = centred.T @ centred / c
    nc1 = float(torch.trace(within @ torch.linalg.pinv(between))) / c
    grid = torch.zeros(c, c)
    for i in range(0, c, TILE):
        for j in range(0, c, TILE):
            gap = means[i : i + TILE, None] - means[None, j : j + TILE]
            grid[i : i + TILE, j : j + TILE] = (
                (variances[i : i + TILE, None] + variances[j : j + TILE]) / 2 / gap.square().sum(2)
            )
    upper = grid[tuple(torch.triu_indices(c, c, 1))]
    gram = centred @ centred.T
    simplex = torch.eye(c) - 1 / c
    etf = float((gram / gram.norm() - simplex / simplex.norm()).norm())
    norms = centred.norm(dim=1)
    return {
        "nc1": nc1,
        "cdnv": float(upper.mean()),
        "etf_error": etf,
        "equinorm": float(norms.std(correction=0) / norms.mean()),
    }


def clouds(n: int, d: int, c: int, sd: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, c, (n,), generator=generator)
    return torch.randn(c, d, generator=generator)[y] + sd * torch.randn(n, d, generator=generator), y


def run(n: int = 50_000, d: int = 2048, rounds: int = 3) -> list[Line]:
    torch.set_num_threads(1)
    lines: list[Line] = []
    for c, sd, bar in ((10, 1.0, 40.0), (1000, 1.0, 4.0), (10, 1e-2, None)):
        x, y = clouds(n, d, c, sd)
        ones = torch.ones(1, n)

        def ours(x: torch.Tensor = x, y: torch.Tensor = y) -> dict[str, float]:
            got = neural_collapse(x, y, families=("nc1", "nc2"), bootstrap=0)
            return {name: float(getattr(got, name)) for name in ("nc1", "cdnv", "etf_error", "equinorm")}

        theirs = peer(x, y, c)
        for name, value in ours().items():
            assert abs(value / theirs[name] - 1) < 2e-3, (name, value, theirs[name])  # theirs is float32 throughout
        functions: dict[str, Callable[[], object]] = {
            "read": lambda ones=ones, x=x: ones @ x,
            "moments": lambda x=x, y=y: Moments.of(x, y),
            "ours": ours,
            "peer": lambda x=x, y=y, c=c: peer(x, y, c),
        }
        times = alternate(functions, rounds)
        shape = f"N = {n}, d = {d}, K = {c}" + ("" if sd == 1 else f", collapsed (sd {sd:g})")
        most = 5.0 if c == 10 and sd == 1 else None
        lines += [
            ratio(f"{shape}: peer / ours (NC1 + NC2 + CDNV)", times["peer"], times["ours"], least=bar),
            ratio(f"{shape}: ours in reads of X", times["ours"], times["read"]),
            ratio(f"{shape}: peer in reads of X", times["peer"], times["read"]),
            ratio(f"{shape}: moments in reads of X", times["moments"], times["read"], most=most),
        ]
    lines += [permutations(), *precision()]
    return lines


def permutations(n: int = 4000, d: int = 512, c: int = 10, rounds: int = 3) -> Line:
    """199 label permutations of `neural_collapse` and `fisher` together against 20 that are read one by one."""
    x, y = clouds(n, d, c)
    orders = permuted_orders(n, 20, 0)

    def both(labels: torch.Tensor, count: int) -> object:
        return (
            neural_collapse(x, labels, permutations=count, bootstrap=0),
            fisher(x, labels, permutations=count, jackknife=0),
        )

    times = alternate(
        {"together": lambda: both(y, 199), "one by one": lambda: [both(y[order], 0) for order in orders]}, rounds
    )
    name = f"N = {n}, d = {d}, K = {c}: 199 permutations together / 20 one by one"
    return ratio(name, times["together"], times["one by one"], most=1.0)


def precision() -> list[Line]:
    """float32 against float64 at mean norm 30, within-class spread from 1 to 1e-4."""
    lines = []
    for sd in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
        n, d, c = 20_000, 256, 10
        generator = torch.Generator().manual_seed(1)
        means = torch.randn(c, d, generator=generator, dtype=torch.float64)
        means = 30 * means / means.norm(dim=1, keepdim=True)
        y = torch.arange(n) % c
        noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
        x = (means[y] + sd / d**0.5 * noise).float()
        errors = []
        got = neural_collapse(x, y, families=("nc1", "law", "nc2"), bootstrap=0)
        want = neural_collapse(x.double(), y, families=("nc1", "law", "nc2"), bootstrap=0)
        for name in ("nc1", "quotient", "cdnv", "etf_error", "equinorm", "fuzziness"):
            errors.append(abs(float(getattr(got, name)) / float(getattr(want, name)) - 1))
        worst = max(errors)
        lines.append(
            Line(f"float32 error, mean norm 30, sd {sd:g}", worst, min(errors), worst, "at most 1e-05", worst <= 1e-5)
        )
    return lines


def main() -> None:
    began = time.time()
    show("Neural collapse (CPU time, one thread)", run())
    print(f"  ({time.time() - began:.0f} s)")
