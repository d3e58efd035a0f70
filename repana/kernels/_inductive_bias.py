"""How much a kernel must be told to generalise: the information in fitting the test samples too."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, shown
from repana._typing import IGNORED
from repana.kernels import _refusals
from repana.kernels._kernel_statistics import singular
from repana.kernels._layer_kernels import LayerKernels
from repana.statistics.quadratic_forms import log_cdf

LEAST = 1e-12  # of the largest prior variance: smaller ones count as that, so that no loss is out of reach
EVIDENCE = "evidence"


@shown
@dataclass(frozen=True)
class InductiveBias:
    """The information that a loss on the test samples takes; see `inductive_bias`. `predictions` (m, c) of the test
    samples, `variances` (m,) of each."""

    bias: Estimate
    bits: Estimate
    loss: Estimate
    expected_loss: Estimate
    predictions: Float[Tensor, "m c"]
    variances: Float[Tensor, " m"]
    settings: Mapping[str, Any] = field(default_factory=dict)


def inductive_bias(
    kernels: LayerKernels,
    eps: float,
    *,
    train: int | Sequence[bool] | Tensor,
    targets: Any = None,
    noise: float = 1e-6,
    variance: float | str = EVIDENCE,
) -> InductiveBias:
    """-log P(test loss <= eps) of functions that fit the training samples, drawn from a Gaussian process whose
    covariance is the tangent kernel: the information, in nats, that a task takes beyond its training samples.
    Samples labelled -100 are left out.

    With the kernel k of one output (that of `ntk`, over the number of outputs for outputs="trace"), v its prior
    variance and s^2 = noise tr k_tt/n_t (no less than the rounding of the kernel; see `settings["noise"]`), the test
    samples have the mean K_st (K_tt + s^2)^-1 Y and the covariance S = v (K_ss - K_st (K_tt + s^2)^-1 K_ts), alike for
    every output. With e the mean less the targets, m c MSE = |e + S^(1/2) z|^2, whose distribution is exact at any
    probability (a contour integral, in logarithms).

    - `bias`: nats, at least 0; `bits`. Null: the same before any training sample was seen, of the prior alone.
    - `loss`: |e|^2/(m c), of the mean; `expected_loss`: (|e|^2 + c tr S)/(m c), of a draw.

    `eps`: mean squared error per test sample and output. `train`: how many of the first samples, or which. `targets`
    (n,) or (n, c), by default the labels one-hot less the class shares of the training samples. `variance`: v, or
    "evidence": the one under which the training targets are most likely, tr Y'(K_tt + s^2)^-1 Y/(n_t c).

    It grows with the number of test samples, and has no interval: it is of these samples.

    Raises InputError (RA297) for `eps` not above 0, no test or no training sample, or targets of other length.

    Source: Boopathy et al. 2024, arXiv:2406.15941 (there with a fitted distribution in place of the exact one).

    >>> import torch
    >>> from repana.kernels import inductive_bias, ntk
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).eval()
    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    >>> found = inductive_bias(ntk(model, (x, (x[:, 0] > 0).long())), 0.1, train=30)
    >>> float(found.bias) < found.bias.null
    True
    """
    n = len(kernels.outputs)
    if not isinstance(eps, (int, float)) or not 0 < eps < math.inf:
        raise _refusals.loss_bound(eps)
    _check.positive(noise, "noise")
    if isinstance(variance, str):
        _check.choice(variance, "variance", (EVIDENCE,))
    else:
        _check.positive(variance, "variance")
    inside = _inside(train, n)
    k, inside, y = _kept(kernels, inside, targets)
    c = y.shape[1]
    k = k / kernels.outputs.shape[1] if kernels.settings["outputs"] in ("trace", "full") else k
    fitted = k[inside][:, inside]
    values = torch.linalg.eigvalsh(fitted)
    unit = float(fitted.diagonal().mean())
    least = singular(kernels.settings) * float(values[-1])  # what rounding of the kernel cannot be told from
    added = max(noise * unit, least + max(0.0, -float(values[0])))
    factor = torch.linalg.cholesky(fitted + added * torch.eye(len(fitted), dtype=torch.float64))
    across, prior = k[~inside][:, inside], k[~inside][:, ~inside]
    solved = torch.cholesky_solve(y[inside], factor)
    v = float((y[inside] * solved).sum()) / (len(solved) * c) if isinstance(variance, str) else float(variance)
    mean = across @ solved
    half = torch.linalg.solve_triangular(factor, across.T, upper=False)
    spread = v * (prior - half.T @ half)
    floor = LEAST * v * float(torch.linalg.eigvalsh(prior)[-1])
    missed = mean - y[~inside]
    m = len(missed)
    note = Flag.NO_INTERVAL.note("of these test samples")
    nats, before = (_information(e, s, m * c * eps, floor) for e, s in ((missed, spread), (y[~inside], v * prior)))
    loss = float(missed.square().mean())
    return InductiveBias(
        bias=Estimate(nats, n=m, note=note, null=before),
        bits=Estimate(nats / math.log(2), n=m, note=note, null=before / math.log(2)),
        loss=Estimate(loss, n=m, note=note, null=float(y[~inside].square().mean())),
        expected_loss=Estimate(loss + float(spread.diagonal().mean()), n=m, note=note),
        predictions=mean,
        variances=spread.diagonal().clone(),
        settings={
            "eps": eps, "train": int(inside.sum()), "test": m, "outputs": c, "noise": added / unit, "variance": v,
            "kernel": kernels.settings["outputs"],
        },
    )  # fmt: skip


def _information(missed: Float[Tensor, "m c"], spread: Float[Tensor, "m m"], total: float, least: float) -> float:
    values, vectors = torch.linalg.eigh(spread)
    shifts = vectors.T @ missed
    return max(0.0, -log_cdf(total, values.clamp_min(least).numpy(), shifts.numpy()))


def _inside(train: Any, n: int) -> Bool[Tensor, " n"]:
    if isinstance(train, int) and not isinstance(train, bool):
        found = torch.arange(n) < train
    else:
        found = torch.as_tensor(np.asarray(train))
        if found.dtype != torch.bool or found.shape != (n,):
            raise _refusals.training_samples(tuple(found.shape), n)
    if not 1 <= int(found.sum()) < n:
        raise _refusals.no_training_samples(int(found.sum()), n)
    return found


def _kept(
    kernels: LayerKernels, inside: Bool[Tensor, " n"], targets: Any
) -> tuple[Float[Tensor, "k k"], Bool[Tensor, " k"], Float[Tensor, "k c"]]:
    """The kernel, the training samples and the targets, without samples labelled -100."""
    if kernels.matrix is None:
        raise _refusals.no_matrices()
    k, n = kernels.matrix.double(), len(inside)
    if targets is None:
        if kernels.labels is None:
            raise _refusals.no_targets()
        kept = kernels.labels != IGNORED
        inside = inside[kept]
        if not 1 <= int(inside.sum()) < len(inside):
            raise _refusals.no_training_samples(int(inside.sum()), len(inside))
        _, codes = torch.unique(kernels.labels[kept], return_inverse=True)
        one_hot = torch.nn.functional.one_hot(codes).double()
        return k[kept][:, kept], inside, one_hot - one_hot[inside].mean(0)
    return k, inside, _targets(targets, n)


def _targets(targets: Any, n: int) -> Float[Tensor, "n c"]:
    y = torch.as_tensor(np.asarray(targets)).double()
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != n or not bool(torch.isfinite(y).all()):
        raise _refusals.targets_shape(tuple(y.shape), n)
    return y
