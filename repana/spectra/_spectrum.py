"""The spectrum of a layer: how many directions its variance fills, by every definition in use."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._reads import reads
from repana.spectra import _refusals
from repana.statistics.intervals import from_error, from_jackknife, quantile_of, without_groups
from repana.summaries.covariance import Covariance

UNKNOWN = "no interval: single samples are not known"
RANKME_EPSILON = 1e-7
WINDOW = (11, 500)  # ranks of the power-law fit of Stringer et al. 2019
SHORT = "a sample's value falls short; the interval is of the population's"
DISAGREE = 5  # of two corrections for bias, how many errors their distance counts as
FEWEST = 10  # eigenvalues in a fit; where the window holds fewer, all ranks are taken
ROWS = 1024  # samples worked on at a time
SHARES = {"components_90": 0.90, "components_95": 0.95, "components_99": 0.99}


@shown
@dataclass(frozen=True)
class Spectrum:
    """The spectrum of one layer; see `spectrum`."""

    participation_ratio: Estimate
    participation_ratio_unbiased: Estimate
    effective_rank: Estimate
    entropy_rank: Estimate
    rankme: Estimate
    stable_rank: Estimate
    top_share: Estimate
    alpha: Estimate
    components_90: Estimate
    components_95: Estimate
    components_99: Estimate
    eigenvalues: Float[Tensor, " d"] = field(default_factory=lambda: torch.empty(0))
    power_law: Float[Tensor, "4"] = field(default_factory=lambda: torch.full((4,), torch.nan))
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


NAMES = tuple(f.name for f in fields(Spectrum) if f.type in (Estimate, "Estimate"))


@reads
def spectrum(covariance: Covariance, *, window: tuple[int, int] | None = None, level: float = 0.95) -> Spectrum:
    """Linear dimensions of a layer, from the eigenvalues of its covariance. Call as `spectrum(features)`.

    With lambda_1 >= lambda_2 >= ... the eigenvalues of S = 1/n sum_i (x_i - m)(x_i - m)', sigma = sqrt(lambda) and
    H(p) = -sum p log p:

    - `participation_ratio` (sum lambda)^2 / sum lambda^2, of the sample: falls short where n is no multiple of the
      dimension, 1/E[PR] ~ 1/PR + 1/n.
    - `participation_ratio_unbiased` A/B with A and B unbiased for (tr C)^2 and tr C^2 of the population C: with
      S1 = n S/(n - 1), t1 = tr S1, t2 = tr S1^2, q = sum_i |x_i - m|^4/(n - 1), k = (n - 1)/(n (n - 2)(n - 3)),
      A = k (2 t2 + (n^2 - 3n + 1) t1^2 - n q), B = k ((n - 1)(n - 2) t2 + t1^2 - n q). Needs n >= 4.
    - `effective_rank` exp H(sigma / sum sigma) (Roy & Vetterli: on singular values), of centred features.
    - `entropy_rank` exp H(lambda / sum lambda), the same on eigenvalues.
    - `rankme` exp H(p) with p = s / sum s + 1e-7 over the singular values s of the features as they are, uncentred.
    - `stable_rank` sum lambda / lambda_1, that is |X|_F^2 / |X|_2^2 of centred features.
    - `top_share` lambda_1 / sum lambda.
    - `alpha` minus the least-squares slope of log lambda_i on log i over the ranks `window` = (first, last); by default
      11 to 500 (Stringer et al.), or all ranks where fewer than 10 of those have an eigenvalue.
    - `components_90`, `components_95`, `components_99`: the fewest components that hold this much of the variance.
    - `eigenvalues` (d,), descending, zeros behind the rank; `power_law` first rank, last rank, alpha, log-intercept.

    stable_rank <= participation_ratio <= entropy_rank <= rank. Unit: dimensions, in [1, d] (`top_share`: a share;
    `alpha`: no unit). Intervals: both participation ratios from the exact delete-one jackknife, components from
    Woodruff's inversion of the share's interval, the others from the infinitesimal jackknife of spectral functions,
    whose influence of sample i on lambda_j is (u_j'(x_i - m))^2 - lambda_j, around the value less its bias. That bias
    (a sample spectrum is wider than the population's) is read from two halves of the samples, as of order 1/n; where n
    is not several times d it is of higher order too, and only `participation_ratio_unbiased` is to be believed. From
    n = 4 d on the three entropies (`effective_rank`, `entropy_rank`, `rankme`) are corrected to the order 1/n^2 by
    quarters of the samples; their interval is then of the population's value and need not hold the sample's.
    Intervals are NaN for a `Covariance.from_moments`.

    Constant features change nothing but `d`. Where every feature is constant, or min(n, d) > 4096, all are NaN with the
    reason.

    Raises InputError for NaN or infinite features, fewer than 2 samples, or a window of fewer than 3 ranks.

    Sources: Gao et al. 2017, doi:10.1101/214262 (participation ratio); Himeno & Yamada 2014,
    doi:10.1016/j.jmva.2014.05.012 (unbiased traces); Chun et al. 2025, arXiv:2509.26560 (the ratio corrected); Roy &
    Vetterli 2007 (effective rank); Garrido et al. 2023, arXiv:2210.02885 (RankMe); Rudelson & Vershynin 2007,
    doi:10.1145/1255443.1255449 (stable rank); Stringer et al. 2019, doi:10.1038/s41586-019-1346-5 and Agrawal et al.
    2022 (alpha); Jaeckel 1972 (infinitesimal jackknife); Woodruff 1952, doi:10.1080/01621459.1952.10483443.

    >>> from repana import spectrum
    >>> float(spectrum([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]).participation_ratio)
    2.0
    """
    v, n = covariance.eigenvalues, covariance.n
    if n < 2:
        raise _check.too_few_samples("spectrum", n, 2)
    first, last, note = _window(window, len(v))
    settings = {"window": f"{first} to {last}", "level": level}
    if not len(v):
        nothing: dict[str, Any] = dict.fromkeys(NAMES, Estimate(NAN, n=n, note=covariance.reason))
        return Spectrum(**nothing, eigenvalues=torch.zeros(covariance.d), settings=settings)
    centred = _Side(v, covariance.coordinates, covariance.halves, n, level, covariance.quarters)
    raw = _Side(
        covariance.uncentred, covariance.uncentred_coordinates, covariance.uncentred_halves, n, level,
        covariance.uncentred_quarters,
    )  # fmt: skip
    fit = _line(v, first, last)
    ratios, deleted = _participation(covariance, level)
    return Spectrum(
        **ratios,
        effective_rank=centred.estimate("effective_rank", lambda x: _perplexity(x.sqrt()), twice=True),
        entropy_rank=centred.estimate("entropy_rank", _perplexity, twice=True),
        rankme=raw.estimate("rankme", lambda x: _perplexity(x.sqrt(), RANKME_EPSILON), twice=True),
        stable_rank=centred.estimate("stable_rank", lambda x: x.sum() / x[0]),
        top_share=centred.estimate("top_share", lambda x: x[0] / x.sum(), top=1.0),
        alpha=centred.estimate("alpha", lambda x: -_line(x, first, last)[0], lowest=-math.inf, note=note),
        **{name: centred.components(share) for name, share in SHARES.items()},
        eigenvalues=torch.nn.functional.pad(v, (0, covariance.d - len(v))).cpu(),
        power_law=torch.stack([v.new_tensor(first), v.new_tensor(last), -fit[0], fit[1]]).cpu(),
        jackknife=centred.deleted | raw.deleted | deleted,
        settings=settings,
    )


def _perplexity(x: Float[Tensor, " r"], epsilon: float = 0.0) -> Float[Tensor, ""]:
    """exp H(x / sum x), epsilon added to every share."""
    p = x / x.sum() + epsilon
    return (-(p * p.log()).sum()).exp()


def _window(window: tuple[int, int] | None, rank: int) -> tuple[int, int, str]:
    """First and last rank of the power-law fit, and what to say of them."""
    if window is not None:
        first, last = window
        if first < 1 or last - first < 2:
            raise _refusals.narrow_window(window)
        return first, min(last, rank), ""
    first, last = WINDOW[0], min(WINDOW[1], rank)
    if last - first + 1 >= FEWEST:
        return first, last, ""
    return 1, rank, f"fit over all {rank} eigenvalues"


def _line(v: Float[Tensor, " r"], first: int, last: int) -> Float[Tensor, "2"]:
    """Slope and intercept of log lambda on log rank; NaN with fewer than three eigenvalues."""
    if last - first < 2 or last > len(v):
        return v.new_full((2,), torch.nan)
    x = torch.arange(first, last + 1, dtype=v.dtype, device=v.device).log()
    y = v[first - 1 : last].log()
    slope = ((x - x.mean()) * y).sum() / (x - x.mean()).square().sum()
    return torch.stack([slope, y.mean() - slope * x.mean()])


def _shares(v: Float[Tensor, " r"], ranks: int) -> Float[Tensor, " ranks"]:
    """The share of the variance in the first 1, 2, ... components."""
    shares = v.cumsum(0)[:ranks] / v.sum()
    return torch.nn.functional.pad(shares, (0, ranks - len(shares)), value=1.0)


@dataclass(frozen=True)
class _Side:
    """Eigenvalues with the samples behind them, from which functions of the eigenvalues get their errors."""

    values: Float[Tensor, " r"]
    coordinates: Float[Tensor, "n r"] | None
    halves: tuple[Tensor, ...]
    n: int
    level: float
    quarters: tuple[Tensor, ...] = ()
    deleted: dict[str, Tensor] = field(default_factory=dict)  # values without groups of samples, by quantity

    def estimate(
        self,
        name: str,
        function: Callable[[Tensor], Tensor],
        *,
        lowest: float = 1.0,
        top: float = math.inf,
        note: str = "",
        twice: bool = False,
    ) -> Estimate:
        """f(lambda) with the error sqrt(sum_i I_i^2)/n, I_i = sum_j df/dlambda_j ((u_j'x_i)^2 - lambda_j).

        Its bias, of order 1/n, is the mean of f over two halves of the samples less f. `twice`: where quarters have as
        many samples as there are eigenvalues they give the bias to the order 1/n^2 as well; the interval is around the
        middle of the two, the distance of which counts as an error, and need not hold the value.
        """
        with torch.enable_grad():
            at = self.values.clone().requires_grad_()
            value = function(at)
            gradient = torch.autograd.grad(value, at)[0] if bool(value.isfinite()) else torch.zeros_like(at)
        found = float(value.detach())
        if self.coordinates is None:
            return Estimate(found, n=self.n, note=note or UNKNOWN)
        if math.isnan(found):
            return Estimate(found, n=self.n, note=Flag.FEW_SAMPLES.note("fewer than three eigenvalues in the window"))
        bounds = (0.0, top) if top < math.inf else (lowest, math.inf)
        half = [float(function(v)) if len(v) else math.nan for v in self.halves]
        bias = sum(half) / len(half) - found if half else 0.0
        if math.isnan(bias):
            return Estimate(
                found, n=self.n, note=noted(note, Flag.NO_INTERVAL.note("no interval: half the samples lack ranks"))
            )
        influence = _over_rows(self.coordinates, lambda x: x.square() @ gradient) - self.values @ gradient
        error = float(influence.square().sum().sqrt()) / self.n
        self.deleted[name] = without_groups(found, influence)
        settled = twice and bool(self.quarters) and self.n >= 4 * len(self.values)
        if settled:
            quarter = sum(float(function(v)) for v in self.quarters) / 4
            further = found - (8 * found - 6 * (found + bias) + quarter) / 3
            bias, error = (bias + further) / 2, math.hypot(error, (bias - further) / DISAGREE)
        e = from_error(
            found, error, bias=bias, n=self.n, level=self.level, bounds=bounds, note=note, holding=not settled
        )
        outside = settled and not e.low <= e.value <= e.high
        return replace(e, note=noted(note, SHORT)) if outside else e

    @cached_property
    def _cumulated(self) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
        """The shares of the first 1, 2, ... components less their bias, and their errors.

        With the shares of halves and of quarters a bias b/n + c/n^2 is taken off, and how far that is from b/n alone
        counts as an error too: so many small eigenvalues leave more behind.
        """
        total, shares = self.values.sum(), _shares(self.values, len(self.values))
        half, quarter = (
            torch.stack([_shares(v, len(shares)) for v in parts]).mean(0) if parts and all(map(len, parts)) else None
            for parts in (self.halves, self.quarters)
        )
        first = shares if half is None else 2 * shares - half
        # d share_k / d lambda_j = (1[j <= k] - share_k) / total
        assert self.coordinates is not None
        square = torch.zeros_like(shares)
        for part in self.coordinates.split(ROWS):
            x = part.double().square_()
            square += (x.cumsum(1) - shares * x.sum(1, keepdim=True)).square_().sum(0)
        error = square.sqrt() / total / self.n
        if half is None or quarter is None:
            return first.cpu(), error.cpu()
        second = (8 * shares - 6 * half + quarter) / 3
        z = NormalDist().inv_cdf(0.5 + self.level / 2)
        return second.cpu(), torch.hypot(error, (second - first) / z).cpu()

    def components(self, share: float) -> Estimate:
        """The fewest components whose share of the variance reaches `share`; its interval inverts that of the share."""
        shares = _shares(self.values, len(self.values))
        count = float(min(int((shares < share - 1e-12).sum()) + 1, len(shares)))
        if self.coordinates is None:
            return Estimate(count, n=self.n, note=UNKNOWN)
        low, high = quantile_of(*self._cumulated, share, self.level)
        return Estimate(count, min(low, count), max(high, count), self.n)


def _participation(covariance: Covariance, level: float) -> tuple[dict[str, Estimate], dict[str, Tensor]]:
    """Both participation ratios with their exact delete-one jackknife, from traces that a sample's loss changes; and
    values without groups of samples.
    """
    v, z, n = covariance.eigenvalues, covariance.coordinates, covariance.n
    naive = float(v.sum().square() / v.square().sum())
    if z is None:
        return {
            "participation_ratio": Estimate(naive, n=n, note=UNKNOWN),
            "participation_ratio_unbiased": Estimate(
                NAN, n=n, note=Flag.MISSING_INPUT.note("needs the features of all samples")
            ),
        }, {}
    s = _over_rows(z, lambda x: x.square().sum(1))  # |x_i - m|^2
    t1, t2, fourth = v.sum() * n / (n - 1), v.square().sum() * (n / (n - 1)) ** 2, s.square().sum()
    others, others_unbiased = s[:0], s[:0]
    if n >= 6:
        # without sample i: S1_(i) = ((n-1) S1 - n/(n-1) x x')/(n-2), and every other sample moves by x_i/(n-1)
        e, a = 1 / (n - 1), n / (n - 1)
        along = _over_rows(z, lambda x: x.square() @ v) * a  # x_i' S1 x_i
        t1_i = ((n - 1) * t1 - a * s) / (n - 2)
        t2_i = ((n - 1) ** 2 * t2 - 2 * (n - 1) * a * along + (a * s) ** 2) / (n - 2) ** 2
        weighted = sum(w @ x.double() for w, x in zip(s.split(ROWS), z.split(ROWS)))
        third = _over_rows(z, lambda x: x @ weighted)  # x_i . sum_j |x_j|^2 x_j
        moved = fourth + 4 * e * third + 2 * e**2 * s * s.sum() + 4 * e**2 * (n - 1) * along + n * (e**2 * s) ** 2
        others = t1_i**2 / t2_i
        others_unbiased = _unbiased(t1_i, t2_i, moved - s.square() * (1 + e) ** 4, n - 1)
    value, note = NAN, Flag.FEW_SAMPLES.note("needs 4 samples")
    if n >= 4:
        value, note = float(_unbiased(t1, t2, fourth, n)), ""
        if not 0 < value < math.inf:
            value, note = NAN, Flag.FEW_SAMPLES.note(f"n = {n} is too few to tell it from infinity")
    found = {
        "participation_ratio": from_jackknife(naive, others.tolist(), n=n, level=level),
        "participation_ratio_unbiased": from_jackknife(value, others_unbiased.tolist(), n=n, level=level, note=note),
    }
    several = zip(found, (naive, value), (others, others_unbiased))
    deleted = {name: without_groups(at, (n - 1) * (one.mean() - one)) for name, at, one in several if len(one)}
    return found, deleted


def _over_rows(z: Float[Tensor, "n r"], function: Callable[[Tensor], Tensor]) -> Float[Tensor, " n"]:
    """A function of some rows at a time, in float64."""
    return torch.cat([function(part.double()) for part in z.split(ROWS)])


def _unbiased(t1: Tensor, t2: Tensor, fourth: Tensor, n: int) -> Tensor:
    """(tr C)^2 / tr C^2 with both parts free of bias (Himeno & Yamada 2014)."""
    q = fourth / (n - 1)
    above = 2 * t2 + (n * n - 3 * n + 1) * t1**2 - n * q
    below = (n - 1) * (n - 2) * t2 + t1**2 - n * q
    return above / below
