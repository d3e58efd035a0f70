"""Several layers, or several tokens, as one input of a probe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, shown
from repana._typing import FeatureArray, Features, LabelArray
from repana.probes import _refusals
from repana.probes._classifiers import AFFINE, head_named, logistic_head
from repana.probes._data import Labelled, Rows
from repana.probes._layer_selection import PairedProbes, compare_probes
from repana.probes._protocol import PERMUTATIONS, Probe, chosen, probed
from repana.statistics.splits import Split
from repana.summaries.logistic import LogisticFits, logistic

HOW = ("concatenate", "first_last", "mean", "max", "weighted")
MOMENTS = ("mean", "mean_std", "second")
ROUNDS = 12  # of weights of layers and weights of the probe in turn


@shown
@dataclass(frozen=True)
class LayerCombination:
    """Several layers read together; see `layer_combination`. `probe` has the rest."""

    accuracy: Estimate
    log_loss: Estimate
    gain: Estimate
    gain_p: Estimate
    weights: Float[Tensor, " l"]
    layers: tuple[str, ...]
    best: str
    probe: Probe
    comparison: PairedProbes
    settings: Mapping[str, Any] = field(default_factory=dict)


def layer_combination(
    layers: Mapping[str, Any],
    labels: LabelArray,
    how: str = "concatenate",
    *,
    whiten: bool = False,
    probe: str = "linear",
    groups: LabelArray | None = None,
    split: Split | None = None,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> LayerCombination:
    """A probe of several layers at once, against the best of them alone.

    `layers` maps names to (n, d) features of the same rows, in order of depth (an `Activations` is such a mapping).
    `how`: "concatenate"; "first_last", the mean of the first and the last; "mean" and "max" over layers; "weighted",
    sum_l w_l x_l with w a softmax, learnt on the training split with the probe, by turns, each turn lowering the same
    loss. All but the first need layers of one width. Every layer is standardised by the training split before, and with
    `whiten` the combination is whitened by their covariance (eigenvalues below 1e-6 of the largest are left out), not
    by that of all rows, which would see the test split.

    `accuracy` and `log_loss` of the combination; `gain`: its accuracy less that of the `best` single layer, which is
    chosen by its log-loss on the validation split, with the paired interval, and `gain_p` McNemar's exact p.
    `weights` (l,) of the layers: learnt, halves of the first and the last, or even.

    Raises InputError as `linear_probe`, for fewer than two layers, or layers of other lengths or widths.

    Sources: Grishina, Hort & Moonen 2023, arXiv:2305.04940 (EarlyBIRD: layers combined); Huang et al. 2021,
    arXiv:2104.01767 (WhiteningBERT: first and last, whitening); Peters et al. 2018, arXiv:1802.05365 (learnt weights).

    >>> import torch
    >>> from repana import layer_combination
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> layer_combination({"a": x[:, :2], "b": x[:, 2:]}, x[:, 0] + x[:, 2] > 0).gain.low > 0
    True
    """
    _check.choice(how, "how", HOW)
    _check.choice(probe, "probe", AFFINE)
    _check.level_of(level)
    names = list(layers)
    if len(names) < 2:
        raise _check.too_few_layers("layer_combination", len(names), 2)
    arrays = [_check.features_of(layers[name]) for name in names]
    lengths, widths = {len(x) for x in arrays}, {x.shape[1] for x in arrays}
    if len(lengths) > 1:
        raise _check.unlike_samples(*sorted(lengths)[:2])
    if how != "concatenate" and len(widths) > 1:
        raise _refusals.widths_differ(how, dict(zip(names, (x.shape[1] for x in arrays))))
    first = Rows.of(arrays[0], labels, groups=groups, seed=seed, split=split, quantity="layer_combination")
    split, head = first.split, head_named(probe)
    keep = Labelled.of(arrays[0], labels, "layer_combination").keep
    rest = [x[keep.to(x.device)] for x in arrays[1:]]
    rows = [first, *(Rows.prepared(x, first.codes, first.values, (), split, "standard") for x in rest)]
    singles = [probed(head, r, permutations=0, level=level, seed=seed) for r in rows]
    best = int(np.argmin([float(p.selected[1]) for p in singles]))
    weights = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    if how == "first_last":
        weights = torch.zeros(len(rows), dtype=torch.float64)
        weights[0] = weights[-1] = 0.5
    xs = [r.x.to(first.x) for r in rows]
    if how == "weighted":
        weights = _learnt(xs, first, weights)
    together = _combined(xs, how, weights)
    if whiten:
        together = _whitened(together, split.train.to(together.device))
    both = Rows.prepared(together, first.codes, first.values, first.names, split, "centre" if whiten else "standard")
    found = probed(head, both, permutations=permutations, level=level, seed=seed)
    versus = compare_probes(singles[best], found, level=level, seed=seed)
    return LayerCombination(
        accuracy=found.accuracy,
        log_loss=found.log_loss,
        gain=versus.accuracy,
        gain_p=versus.p_value,
        weights=weights,
        layers=tuple(names),
        best=names[best],
        probe=found,
        comparison=versus,
        settings={**found.settings, "how": how, "whitened": whiten, "layers": len(names)},
    )


def moment_probe(
    features: FeatureArray,
    labels: LabelArray,
    sample: Any,
    *,
    moments: str = "second",
    rank: int = 16,
    probe: str = "linear",
    groups: LabelArray | None = None,
    split: Split | None = None,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """A probe of how the tokens of a sample are spread, not only of their mean.

    `features` (t, d) has a row a token, `sample` (t,) the sample of each, `labels` one a token (alike inside a sample)
    or, for numbered samples, one a sample, in ascending order of `sample`. What is read of a sample: "mean" of its
    tokens; "mean_std", beside it the deviation of every feature; "second", beside it the covariance of `rank` random
    projections of the tokens (orthonormal, drawn by the seed), its upper triangle: rank (rank + 1)/2 numbers in place
    of d (d + 1)/2. Padding is no token: record with a mask. A sample of one token has no spread, and zeros there.

    Rows of the probe are samples; `groups` one a sample. The rest is as in `linear_probe`.

    Raises InputError as `linear_probe`, where labels differ inside a sample, or for a rank below 1.

    Source: Gao et al. 2024, arXiv:2310.16054 (moment probing, whose second moments are cross-covariances of learnt
    projections; ours are not learnt).

    >>> import torch
    >>> from repana import moment_probe
    >>> g = torch.Generator().manual_seed(0)
    >>> y = torch.arange(200) % 2
    >>> tokens = (1 + y.repeat_interleave(10))[:, None] * torch.randn(2000, 3, generator=g)
    >>> found = [moment_probe(tokens, y, torch.arange(2000) // 10, moments=m) for m in ("mean", "second")]
    >>> float(found[1].accuracy) - float(found[0].accuracy) > 0.2
    True
    """
    _check.choice(moments, "moments", MOMENTS)
    _check.choice(probe, "probe", AFFINE)
    _check.at_least(rank, "rank", 1)
    x = _check.features_of(features)
    codes, called = _check.text_numbers(sample)
    if len(codes) != len(x):
        raise _check.lengths_differ(sorted({len(codes), len(x)}))
    _, at = torch.unique(codes, return_inverse=True)
    count = int(at.max()) + 1
    if called and np.shape(labels)[:1] == (count,) and count != len(codes):
        raise _refusals.named_samples()
    requested = _of_samples(labels, at, count)
    pooled = _moments(x.double(), at.to(x.device), count, moments, rank, seed)
    pooled = pooled if x.dtype == torch.float64 else pooled.float()
    rows = Rows.of(pooled, requested, groups=groups, seed=seed, split=split, quantity="moment_probe")
    return probed(head_named(probe), rows, permutations=permutations, level=level, seed=seed)


def _combined(xs: list[Tensor], how: str, weights: Float[Tensor, " l"]) -> Tensor:
    if how == "concatenate":
        return torch.cat(xs, 1)
    if how == "first_last":
        return (xs[0] + xs[-1]) / 2
    if how == "max":
        return torch.stack(xs).amax(0)
    total = torch.zeros_like(xs[0])
    for w, x in zip(weights.tolist(), xs):
        total += w * x
    return total


def _whitened(x: Features, fit: Int[Tensor, " a"]) -> Float[Tensor, "n r"]:
    """Coordinates of unit covariance on the training split; there are no more than those rows less one."""
    known = x[fit].double()
    mean = known.mean(0)
    _, s, v = torch.linalg.svd(known - mean, full_matrices=False)
    s = s / len(fit) ** 0.5
    kept = s.square() > 1e-6 * s[0].square()
    return ((x.double() - mean) @ v[kept].T / s[kept]).to(x.dtype)


def _learnt(xs: list[Tensor], rows: Rows, weights: Float[Tensor, " l"]) -> Float[Tensor, " l"]:
    """Weights of layers with the smallest loss on the training split: the probe for these weights, then weights for
    this probe; the strength is that of the mean of layers.
    """
    mixed = Rows.few(_combined(xs, "mean", weights), rows.codes, rows.values, rows.split, "standard")
    c = chosen(logistic_head(), mixed).strength
    fit = rows.split.train.to(rows.x.device)
    y, n = rows.codes[fit], len(fit)
    penalty = torch.tensor([1 / (c * n)])
    parts = [x[fit] for x in xs]
    start: LogisticFits | None = None
    logits = torch.zeros(len(xs), dtype=torch.float64, requires_grad=True)
    for _ in range(ROUNDS):
        w = torch.softmax(logits.detach(), 0)
        start = logistic(_combined(parts, "mean", w), y, penalty, rows.classes, start=start)
        each = torch.stack([x @ start.weight[:, :, 0] for x in parts]).double()
        bias = start.bias[:, 0].double()
        search = torch.optim.LBFGS([logits], max_iter=50, line_search_fn="strong_wolfe")

        def loss(each: Tensor = each, bias: Tensor = bias, search: Any = search) -> Tensor:
            search.zero_grad()
            z = torch.einsum("l,lnc->nc", torch.softmax(logits, 0).to(each), each) + bias
            value = torch.nn.functional.cross_entropy(z, y)
            value.backward()
            return value

        search.step(loss)
        if float((torch.softmax(logits.detach(), 0) - w).abs().max()) < 1e-3:
            break
    return torch.softmax(logits.detach(), 0)


def _of_samples(labels: LabelArray, at: Int[Tensor, " t"], count: int) -> Any:
    """One label a sample."""
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim == 1 and len(values) == count:
        return values
    if values.ndim != 1 or len(values) != len(at):
        raise _refusals.labels_of_samples(values.shape, len(at), count)
    first = np.zeros(count, np.int64)
    first[at.numpy()[::-1]] = np.arange(len(at))[::-1]
    odd = values != values[first][at.numpy()]
    if odd.any():
        raise _refusals.labels_differ_inside(int(at[int(odd.argmax())]))
    return values[first]


def _moments(
    x: Float[Tensor, "t d"], at: Int[Tensor, " t"], count: int, moments: str, rank: int, seed: int
) -> Float[Tensor, "s q"]:
    size = torch.bincount(at, minlength=count).double()[:, None]
    mean = x.new_zeros(count, x.shape[1]).index_add_(0, at, x) / size
    if moments == "mean":
        return mean
    e = x - mean[at]
    if moments == "mean_std":
        square = torch.zeros_like(mean).index_add_(0, at, e.square()) / size
        return torch.cat([mean, square.sqrt()], 1)
    r = min(rank, x.shape[1])
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(x.shape[1], r, generator=generator, dtype=torch.float64))[0].to(x.device)
    p = e @ q
    i, j = torch.triu_indices(r, r, device=x.device)
    second = x.new_zeros(count, len(i)).index_add_(0, at, p[:, i] * p[:, j]) / size
    return torch.cat([mean, second], 1)
