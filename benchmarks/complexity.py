"""Ridge of many targets against scikit-learn and himalaya, the streaming pass, conductance of all layers.

512 features, 1000 targets, 9 strengths. What a peer would take for all targets is extrapolated from a few of them.
"""

import time

import numpy as np
import torch
from torch import nn

from benchmarks._measure import Line, alternate, beside, ratio, show, steady_memory
from benchmarks.probing import gemm_rate, once
from benchmarks.recording import raw_hooks, resnet
from repana import conductance, fold_moments
from repana.summaries.folds import FoldMoments, RidgePath
from repana.summaries.held_out import held_out_rows, solved

D, T, FOLDS = 512, 1000, 5
STRENGTHS = np.logspace(-2, 6, 9)
FEW = 4  # targets of a peer that is called by target


def planted(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, D, generator=g) * torch.arange(1, D + 1).float() ** -0.5
    z = x @ torch.randn(D, T, generator=g) / D**0.5 + 0.5 * torch.randn(n, T, generator=g)
    return x.contiguous(), z.contiguous(), torch.randperm(n, generator=g) % FOLDS


def ridges(n: int, rounds: int) -> list[Line]:
    from himalaya.ridge import RidgeCV as Himalaya
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    x, z, fold = planted(n)
    wide, many = x.double().numpy(), z.double().numpy()
    strengths = torch.tensor(STRENGTHS)
    one = torch.zeros(n, dtype=torch.int64)
    cv = PredefinedSplit(fold.numpy())

    def single() -> object:
        return solved(FoldMoments.of(x, z, one, 1).normal(), 1.0)

    def folds() -> object:
        return held_out_rows(x, z, fold, FOLDS, strengths).explained()

    def left_out() -> object:
        return RidgePath.of(FoldMoments.of(x, z, one, 1).normal(), strengths).left_out_error(x, z)

    times = alternate(
        {
            "single": single,
            "folds": folds,
            "peer": lambda: [Ridge(alpha=1.0).fit(wide, many[:, j]) for j in range(FEW)],
            "himalaya": lambda: Himalaya(alphas=STRENGTHS, cv=cv, fit_intercept=True).fit(wide, many),
        },
        rounds,
    )
    cross = once(lambda: RidgeCV(alphas=STRENGTHS).fit(wide, many[:, 0]))[0] * T
    exact = once(left_out)[0]
    naive = [seconds / FEW * T for seconds in times["peer"]]
    flops = 2 * n * D * (D / 2 + T) + FOLDS * 2 * D * D * T * (2 + len(STRENGTHS) * 0.625)
    share = f"{flops / min(times['folds']) / gemm_rate():.0%} of the measured single-precision product rate"
    guess = cross_val_predict(Ridge(alpha=100.0, solver="svd"), wide, many[:, :20], cv=cv)
    want = np.stack([((many[:, :20] - guess)[fold.numpy() == f] ** 2).sum(0) for f in range(FOLDS)])
    mine = held_out_rows(x.double(), z.double()[:, :20], fold, FOLDS, torch.tensor([100.0], dtype=torch.float64))
    gap = float(np.abs(mine.error[:, :, 0].numpy() / want - 1).max())
    quick = held_out_rows(x, z[:, :20], fold, FOLDS, torch.tensor([100.0], dtype=torch.float64))
    loose = float(np.abs(quick.error[:, :, 0].numpy() / want - 1).max())
    of = f"n = {n}"
    return [
        ratio(f"{of}: a Ridge for each of {T} targets / ours", naive, times["single"], least=200,
              note=f"peer extrapolated from {FEW} targets"),
        ratio(f"{of}: a RidgeCV for each target, 9 strengths / fold moments", [cross] * rounds, times["folds"],
              least=300, note=f"peer extrapolated from 1 target; {share}"),
        ratio(f"{of}: a RidgeCV for each target / our leave-one-out", [cross], [exact], note="the same error"),
        ratio(f"{of}: himalaya RidgeCV, 5 folds / fold moments", times["himalaya"], times["folds"],
              least=1 if n < 5000 else 10),
        Line(f"{of}: held-out errors of scikit-learn's Ridge, largest difference", gap, gap, gap, "at most 1e-10",
             gap <= 1e-10, f"features in float64; {loose:.0e} in float32"),
    ]  # fmt: skip


def streaming(rounds: int) -> list[Line]:
    """256 targets from all blocks of the small ResNet while the data pass, against its hooked pass alone."""
    net, data, blocks, _ = resnet()
    targets = torch.randn(sum(len(x) for x, _ in data), 256, generator=torch.Generator().manual_seed(0))
    functions = {
        "hooks": lambda: raw_hooks(net, data, blocks),
        "ours": lambda: fold_moments(net, data, targets, blocks),
    }
    times, base = beside(functions, "hooks", rounds)
    return [ratio("fold moments of 256 targets from all blocks / hooked pass", times["ours"], base["ours"], most=1.15)]


def conductances(rounds: int) -> list[Line]:
    """12 layers of a ReLU network: one path for all, against captum's LayerConductance layer by layer."""
    from captum.attr import LayerConductance

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(12):
        layers += [nn.Linear(256, 256), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(256, 10)).eval()
    x, steps = torch.randn(64, 256), 50
    names = [str(2 * k + 1) for k in range(12)]

    def theirs() -> list[torch.Tensor]:
        return [LayerConductance(net, net[int(k)]).attribute(x, target=0, n_steps=steps) for k in names]

    found = conductance(net, x, names, target=0, steps=steps)
    with torch.no_grad():
        change = (net(x) - net(torch.zeros_like(x)))[:, 0]
    gaps = [float((t.sum(1) - change).abs().mean() / change.abs().mean()) for t in (t.detach() for t in theirs())]
    ours = [float(e) for e in found.gap.values()]
    times = alternate({"ours": lambda: conductance(net, x, names, target=0, steps=steps), "captum": theirs}, rounds)
    note = f"largest completeness gap {max(ours):.2g} of the change, captum {max(gaps):.2g}"
    return [ratio("conductance of 12 layers: captum / ours", times["captum"], times["ours"], note=note)]


def main() -> None:
    """Print every bar and record it."""
    began = time.time()
    torch.set_num_threads(1)
    steady_memory()
    lines = [*ridges(2000, rounds=5), *ridges(10_000, rounds=3), *streaming(rounds=5), *conductances(rounds=3)]
    show("Complexity of features (CPU time, one thread)", lines)
    print(f"  ({time.time() - began:.0f} s)")


__all__ = ["main"]
