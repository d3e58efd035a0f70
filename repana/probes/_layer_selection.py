"""Two probes, or the probes of many layers, on the same rows: paired differences, and which layer is best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, as_table, shown
from repana.probes import _refusals
from repana.probes._protocol import Probe
from repana.statistics.permutation import holm
from repana.statistics.resampling import bootstrap_weights, percentiles, resampled


@shown
@dataclass(frozen=True)
class PairedProbes:
    """Probe b less probe a on the same test samples; see `compare_probes`."""

    accuracy: Estimate
    log_loss: Estimate
    p_value: Estimate
    only_a: int
    only_b: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerChoice:
    """The best of several layers; see `best_layer`."""

    layer: str
    chosen_accuracy: Estimate
    oracle: str
    oracle_accuracy: Estimate
    oracle_bias: Estimate
    earliest: str
    p_values: Mapping[str, float]
    adjusted: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return f"<p>Best on the validation split: {self.layer}</p>" + as_table(self)


def compare_probes(a: Probe, b: Probe, *, mid: bool = False, level: float = 0.95, seed: int = 0) -> PairedProbes:
    """How much better b reads the same rows than a. Two intervals that overlap are no test: the rows are the same.

    `accuracy` and `log_loss` (nats): b less a, with the percentile interval of 2000 paired draws, of rows inside
    classes or of groups. `p_value`: the exact test of McNemar, two-sided binomial on the rows that only one of the two
    has right (`only_a`, `only_b`); its mid-p form with `mid`. With groups the rows depend on each other, and the test
    is not given.

    Raises InputError where the two were split otherwise.

    Sources: McNemar 1947, doi:10.1007/BF02295996; Fagerland, Lydersen & Laake 2013, doi:10.1186/1471-2288-13-91
    (mid-p).

    >>> import torch
    >>> from repana import compare_probes, linear_probe
    >>> x = torch.arange(200.0)[:, None]
    >>> good = linear_probe(x, x[:, 0] >= 100)
    >>> compare_probes(good, good).only_a
    0
    """
    _same_rows([a, b])
    _check.level_of(level)
    rows = a.split.test
    y = a.targets
    group = a.split.test_group
    difference = (b.correct.double() - a.correct.double())[:, None]
    loss = (b.losses - a.losses)[:, None]
    only_a, only_b = int((a.correct & ~b.correct).sum()), int((~a.correct & b.correct).sum())
    p = Estimate(mcnemar(only_a, only_b, mid=mid), n=len(rows))
    if group is not None:
        p = Estimate(
            NAN, n=len(rows), note=Flag.DEPENDENT.note("rows of one group depend on each other; read the interval")
        )
    return PairedProbes(
        accuracy=resampled(difference, y, group, level=level, seed=seed),
        log_loss=resampled(loss, y, group, level=level, seed=seed),
        p_value=p,
        only_a=only_a,
        only_b=only_b,
        settings={"mid": mid, "level": level, "seed": seed, "split": a.split.fingerprint},
    )


def best_layer(probes: Mapping[str, Probe], *, within: float = 0.01, level: float = 0.95, seed: int = 0) -> LayerChoice:
    """Which layer is best, selected on the validation split, where the choice costs no bias.

    `layer` has the smallest log-loss on the validation split; `chosen_accuracy` is its own on the test split. `oracle`
    is the best on the test split, `oracle_accuracy` what one would be tempted to print, and `oracle_bias` how much of
    it is luck: that less the accuracy, on the rows left out of a draw with replacement, of the layer that is best on
    the rows drawn, in the mean over 2000 draws. `earliest` is the first layer, in the order given, whose accuracy on
    the validation split is within `within` of that of the best there.
    `p_values` compare every other layer with `layer` by McNemar's exact test, `adjusted` after Holm;
    NaN with groups, whose rows depend on each other.

    Raises InputError for fewer than two layers, or layers that were split otherwise.

    Sources: Holm 1979; Tsamardinos, Greasidou & Borboudakis 2018, doi:10.1007/s10994-018-5714-4 (the bias).

    >>> import torch
    >>> from repana import best_layer, linear_probe
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> y = x[:, 0] > 0
    >>> best_layer({"noise": linear_probe(x[:, 1:], y), "signal": linear_probe(x, y)}).layer
    'signal'
    """
    if len(probes) < 2:
        raise _check.too_few_layers("best_layer", len(probes), 2)
    _check.level_of(level)
    names, found = list(probes), list(probes.values())
    _same_rows(found)
    if any(not len(p.curve) for p in found):
        raise _refusals.crossed_probes()
    shown = [float(p.selected[2]) for p in found]
    at = int(np.argmin([float(p.selected[1]) for p in found]))
    correct = torch.stack([p.correct for p in found], 1).double()
    accuracies = correct.mean(0)
    top = int(accuracies.argmax())
    earliest = next(i for i, a in enumerate(shown) if a >= max(shown) - within)
    against = [i for i in range(len(found)) if i != at]
    grouped = found[at].split.group is not None
    p_values = {names[i]: NAN if grouped else compare_p(found[at], found[i]) for i in against}
    return LayerChoice(
        layer=names[at],
        chosen_accuracy=found[at].accuracy,
        oracle=names[top],
        oracle_accuracy=found[top].accuracy,
        oracle_bias=_bias(correct, found[0].split.test_group, seed, level),
        earliest=names[earliest],
        p_values=p_values,
        adjusted=p_values if grouped else dict(zip(p_values, holm(list(p_values.values())))),
        settings={"within": within, "level": level, "seed": seed, "split": found[0].split.fingerprint},
    )


@dataclass(frozen=True)
class LayerDifference:
    """A layer against the selected one; see `layer_differences`."""

    difference: Estimate
    p_adjusted: Estimate


@dataclass(frozen=True)
class LayerDifferences:
    """Every layer against the selected one, by name; see `layer_differences`."""

    layers: Mapping[str, LayerDifference]


@shown
@dataclass(frozen=True)
class CorrectedDifference:
    """The mean difference over splits that share rows; see `corrected_difference`."""

    difference: Estimate
    p_value: Estimate


def layer_differences(
    probes: Mapping[str, Probe], choice: LayerChoice | None = None, *, level: float = 0.95, seed: int = 0
) -> LayerDifferences:
    """How far every layer is behind the selected one, on the same test samples.

    `layers` holds for each `difference`: accuracy of the layer less that of `best_layer`'s, with the paired interval;
    `p_adjusted`: McNemar's exact p of the two, after Holm over all layers; NaN for the selected layer itself, and with
    groups, whose rows depend on each other.

    Raises InputError as `best_layer`.

    Sources: McNemar 1947; Holm 1979.

    >>> import torch
    >>> from repana import layer_differences, linear_probe
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> y = x[:, 0] > 0
    >>> found = layer_differences({"noise": linear_probe(x[:, 1:], y), "signal": linear_probe(x, y)})
    >>> found.layers["noise"].difference.high < 0
    True
    """
    choice = best_layer(probes, level=level, seed=seed) if choice is None else choice
    found, best = {}, probes[choice.layer]
    for name, probe in probes.items():
        n = len(probe.correct)
        if name == choice.layer:
            found[name] = LayerDifference(Estimate(0.0, 0.0, 0.0, n), Estimate(NAN, n=n, note="the selected layer"))
            continue
        versus = compare_probes(best, probe, level=level, seed=seed)
        p = Estimate(choice.adjusted[name], n=n) if probe.split.group is None else versus.p_value
        found[name] = LayerDifference(versus.accuracy, p)
    return LayerDifferences(found)


def compare_p(a: Probe, b: Probe) -> float:
    """McNemar's exact p of two probes on the same rows."""
    return mcnemar(int((a.correct & ~b.correct).sum()), int((~a.correct & b.correct).sum()))


def mcnemar(only_a: int, only_b: int, *, mid: bool = False) -> float:
    """Two-sided exact binomial p of the discordant rows; 1 where there are none."""
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    p = min(1.0, 2 * float(stats.binom.cdf(k, n, 0.5)))
    return min(1.0, p - float(stats.binom.pmf(k, n, 0.5))) if mid else p


def corrected_difference(
    differences: Sequence[float], train: int, test: int, *, level: float = 0.95
) -> CorrectedDifference:
    """The mean difference over resampled or cross-validated splits, with its interval and its two-sided p-value.

    Splits share rows, so their scores are not independent: the variance of the mean is s^2 (1/J + test/train) in place
    of s^2/J, with J - 1 degrees of freedom.

    Raises InputError for fewer than two splits.

    Source: Nadeau & Bengio 2003, doi:10.1023/A:1024068626366.

    >>> from repana import corrected_difference
    >>> round(corrected_difference([0.02, 0.03, 0.01, 0.02, 0.02], train=800, test=200).p_value.value, 3)
    0.014
    """
    d = np.asarray(differences, float)
    if d.ndim != 1 or len(d) < 2:
        raise _check.too_few_samples("a comparison over splits", len(np.atleast_1d(d)), 2)
    if not np.isfinite(d).all():
        raise _refusals.not_finite_differences(int((~np.isfinite(d)).sum()), len(d))
    for name, count in (("train", train), ("test", test)):
        _check.at_least(count, name, 1)
    mean, j = float(d.mean()), len(d)
    error = math.sqrt(float(d.var(ddof=1)) * (1 / j + test / train))
    if error == 0:
        return CorrectedDifference(Estimate(mean, mean, mean, j), Estimate(1.0 if mean == 0 else 0.0, n=j))
    t = float(stats.t.ppf(0.5 + level / 2, j - 1))
    p = float(2 * stats.t.sf(abs(mean) / error, j - 1))
    return CorrectedDifference(Estimate(mean, mean - t * error, mean + t * error, j), Estimate(p, n=j))


def _bias(correct: Float[Tensor, "m l"], group: Int[Tensor, " m"] | None, seed: int, level: float) -> Estimate:
    """The largest accuracy, less that, on the rows left out of a draw, of the layer that is best on the rows drawn."""
    largest, apart = float(correct.mean(0).max()), []
    for weight in bootstrap_weights(len(correct), None, group, seed):
        weight = weight[(weight == 0).any(1)]
        best = (weight @ correct).argmax(1)
        out = (weight == 0).double()
        share = (out @ correct) / out.sum(1, keepdim=True)
        apart.append(largest - share[torch.arange(len(best)), best])
    drawn = torch.cat(apart).numpy()
    if not len(drawn):
        return Estimate(NAN, n=len(correct), note=Flag.FEW_SAMPLES.note("no draw leaves a row out"))
    return Estimate(float(drawn.mean()), *percentiles(drawn, level), len(correct))


def _same_rows(probes: Sequence[Probe]) -> None:
    prints = {p.split.fingerprint for p in probes}
    if len(prints) > 1:
        raise _refusals.other_splits(len(prints))
