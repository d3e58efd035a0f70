"""Heads: what reads classes from rows. Each is fitted for several label sets and strengths and scores any part."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.probes._data import Rows, class_sums
from repana.summaries.folds import Normal, RidgePath
from repana.summaries.logistic import LogisticFits, logistic
from repana.summaries.neighbours import Neighbours
from repana.summaries.shrinkage import ledoit_wolf

AFFINE = ("linear", "ridge", "lda", "nearest_mean", "naive_bayes")  # heads whose scores are affine in x
KS = (1, 2, 5, 10, 20, 50, 100, 200)
COLLAPSED = 1e-10  # of the mean variance: the least variance inside classes, where they are points
TEMPERATURE = 0.07  # of a neighbour's vote, as in DINO

Scores = Callable[[tuple[int, ...]], Float[Tensor, "m c p"]]


@dataclass(frozen=True)
class Fitted:
    """Scores of the rows of some parts, a column a problem (label sets, each with every strength), and what is known
    of the fit: tensors (p,) by name. Where scores are affine in x, their weights.
    """

    scores: Scores
    known: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Float[Tensor, "d c p"] | None = None
    bias: Float[Tensor, "c p"] | None = None


Fit = Callable[[Rows, Int[Tensor, "n s"], tuple[int, ...], Tensor], Fitted]


@dataclass(frozen=True)
class Head:
    """`fit(rows, codes (n, s), parts, strengths)`. `strengths` from strong to weak regularisation, extended by factors
    of `factor` within `limits` while the best is the last one. `calibrated` heads give log-probabilities; the scores
    of others are given a temperature. `fit_for_accuracy` is for label sets of which the accuracy alone is read.
    """

    name: str
    fit: Fit
    strengths: tuple[float, ...] = (1.0,)
    strength_name: str = ""
    factor: float = 0.0
    limits: tuple[float, float] = (0.0, 0.0)
    calibrated: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    fit_for_accuracy: Fit | None = None


# --- multinomial logistic regression ----------------------------------------------------------------------------------


def logistic_head(tolerance: float = 1e-3) -> Head:
    """C from 1e-6 to 1 in steps of half a decade; the penalty is 1/(C n). Fits of one label set begin where those of
    the nearest strength ended.
    """
    walked: list[_Walk] = []

    def solved(
        rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor, accuracy: bool
    ) -> Fitted:
        at, several = rows.at(parts), codes.shape[1] > 1
        sets = codes[at].repeat_interleave(len(strengths), 1) if several else codes[at, 0]
        penalty = (1 / (strengths * len(at))).repeat(codes.shape[1])
        walk = None if several or accuracy else _walk_over(walked, rows)
        fits = logistic(
            rows.z[at], sets, penalty, rows.classes, tolerance=tolerance, of_explained=accuracy,
            start=None if walk is None else walk.start(strengths), axes=lambda: rows.axes(parts),
        )  # fmt: skip
        if walk is not None:
            walk.add(strengths, fits)
        known = {"gap": fits.gap, "certified": fits.certified, "iterations": fits.iterations}
        return Fitted(
            lambda requested: fits.scores(rows.z[rows.at(requested)]), known, rows.widened(fits.weight), fits.bias
        )

    def fit(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        return solved(rows, codes, parts, strengths, False)

    def fit_for_accuracy(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        return solved(rows, codes, parts, strengths, True)

    strengths = tuple(10.0 ** (k / 2) for k in range(-12, 1))
    return Head("linear", fit, strengths, "C", 10**0.5, (1e-9, 1e4), True, {"tolerance": tolerance}, fit_for_accuracy)


@dataclass
class _Walk:
    """Fits of the labels of some rows, by strength: the next ones begin at the nearest."""

    rows: Rows
    fits: dict[float, LogisticFits] = field(default_factory=dict)

    def start(self, strengths: Tensor) -> LogisticFits | None:
        if not self.fits:
            return None
        first = float(strengths[0])
        nearest = min(self.fits, key=lambda known: abs(math.log(known / first)))
        return self.fits[nearest].repeated(len(strengths))

    def add(self, strengths: Tensor, fits: LogisticFits) -> None:
        self.fits |= {float(strength): fits.of(k) for k, strength in enumerate(strengths)}


def _walk_over(walked: list[_Walk], rows: Rows) -> _Walk:
    """The walk over the strengths of these rows, of which one is kept at a time."""
    if not walked or walked[0].rows is not rows:
        walked[:] = [_Walk(rows)]
    return walked[0]


# --- closed forms -----------------------------------------------------------------------------------------------------


def ridge_head() -> Head:
    """Least squares on +1 for the class and -1 for the others; strengths in units of the mean eigenvalue of X'X."""

    def fit(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        normal = rows.normal(parts, codes)
        path = RidgePath.of(normal, strengths.to(normal.gram) * unit_of(normal, rows.d), lambda: rows.basis(parts))

        def scores(requested: tuple[int, ...]) -> Tensor:
            found = path.scores(rows.z[rows.at(requested)]).mul_(2).sub_(1)  # of indicators, so of +1 and -1
            m, _, r = found.shape
            return found.view(m, codes.shape[1], rows.classes, r).transpose(1, 2).reshape(m, rows.classes, -1)

        weight = 2 * path.weight.view(rows.z.shape[1], codes.shape[1], rows.classes, -1).transpose(1, 2)
        bias = 2 * path.bias.view(codes.shape[1], rows.classes, -1).transpose(0, 1) - 1
        return Fitted(
            scores,
            {"effective": path.effective.repeat(codes.shape[1])},
            rows.widened(weight.reshape(len(weight), rows.classes, -1)),
            bias.reshape(rows.classes, -1),
        )

    strengths = tuple(10.0 ** (-k / 2) for k in range(-4, 13))
    return Head("ridge", fit, strengths, "strength", 10**-0.5, (1e-12, 1e6))


def unit_of(normal: Normal, d: int) -> float:
    """tr(X'X)/d of d features, in which strengths of a ridge are counted, however few coordinates hold the rows."""
    return float(normal.gram.diagonal().sum()) / d or 1.0


def lda_head() -> Head:
    """Equal Gaussians with the pooled covariance, shrunk to a multiple of the identity by Ledoit & Wolf's share."""

    def fit(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        at, normal = rows.at(parts), rows.normal(parts, codes)
        z, weights, biases, shares = rows.z[at], [], [], []
        for s in range(codes.shape[1]):
            y = codes[at, s]
            count = torch.bincount(y, minlength=rows.classes).double()
            cross = normal.cross[:, s * rows.classes : (s + 1) * rows.classes].T
            means = cross / count.clamp_min(1)[:, None]  # less the mean of all
            within = (normal.gram - means.T @ (count[:, None] * means)) / normal.n
            share = ledoit_wolf(z, y, means + normal.mean, within, rows.d)
            level = float(within.diagonal().sum()) / rows.d
            total = float(normal.gram.diagonal().sum()) / normal.n / rows.d
            mixed = (1 - share) * within
            mixed.diagonal().add_(max(share * level, COLLAPSED * total) or 1.0)
            w = _solved(mixed, means.T)
            weights.append(w)
            prior = torch.where(count > 0, (count / normal.n).clamp_min(1e-300).log(), -torch.inf)
            biases.append(prior - (means.T * w).sum(0) / 2 - normal.mean @ w)
            shares.append(share)
        shrunk = torch.tensor(shares, dtype=torch.float64)
        return _affine(rows, weights, biases, {"shrinkage": shrunk})

    return Head("lda", fit)


def _solved(matrix: Float[Tensor, "d d"], right: Float[Tensor, "d c"]) -> Float[Tensor, "d c"]:
    """By the Cholesky factor of a covariance, or where it has none by elimination."""
    factor, wrong = torch.linalg.cholesky_ex(matrix)
    return torch.linalg.solve(matrix, right) if int(wrong) else torch.cholesky_solve(right, factor)


def nearest_mean_head() -> Head:
    """The class of the nearest class mean."""

    def fit(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        at = rows.at(parts)
        z, weights, biases = rows.z[at], [], []
        for s in range(codes.shape[1]):
            count = torch.bincount(codes[at, s], minlength=rows.classes).double()[:, None]
            means = class_sums(z, codes[at, s], rows.classes) / count.clamp_min(1)
            weights.append(means.T)
            biases.append(torch.where(count[:, 0] > 0, -means.square().sum(1) / 2, -torch.inf))
        return _affine(rows, weights, biases)

    return Head("nearest_mean", fit)


def naive_bayes_head(smoothing: float = 1e-9, variance: str = "pooled") -> Head:
    """Gaussian features, independent inside a class, with one variance for all classes (a diagonal LDA) or one each."""

    def of_class(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        at, fits = rows.at(parts), []
        x = rows.x[at].double()
        least = smoothing * float(x.var(0, correction=0).max())
        for s in range(codes.shape[1]):
            y = codes[at, s]
            count = torch.bincount(y, minlength=rows.classes).double()
            means = class_sums(x, y, rows.classes) / count.clamp_min(1)[:, None]
            spread = class_sums((x - means[y]).square(), y, rows.classes) / count.clamp_min(1)[:, None] + least
            prior = torch.where(count > 0, (count / len(at)).clamp_min(1e-300).log(), -torch.inf)
            fits.append((means, torch.where(spread > 0, spread, torch.inf), prior))

        def scores(of: tuple[int, ...]) -> Tensor:
            z, found = rows.x[rows.at(of)].double(), []
            for means, spread, prior in fits:
                constant = torch.where(spread.isinf(), 0.0, spread.log()).sum(1)
                apart = (z.square() @ (1 / spread).T) - 2 * z @ (means / spread).T + (means.square() / spread).sum(1)
                found.append(prior - (apart + constant) / 2)
            return torch.stack(found, 2)

        return Fitted(scores)

    def fit(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        at = rows.at(parts)
        x, weights, biases = rows.x[at], [], []
        for s in range(codes.shape[1]):
            y = codes[at, s]
            count = torch.bincount(y, minlength=rows.classes).double()
            means = class_sums(x, y, rows.classes) / count.clamp_min(1)[:, None]
            spread = (x.double() - means[y]).square().mean(0)
            spread = spread + smoothing * float(x.double().var(0, correction=0).max())
            spread = torch.where(spread > 0, spread, torch.inf)
            w = (means / spread).T
            prior = torch.where(count > 0, (count / len(at)).clamp_min(1e-300).log(), -torch.inf)
            weights.append(w)
            biases.append(prior - (means.T * w).sum(0) / 2)
        return _affine(rows, weights, biases, wide=True)

    if variance == "class":
        return Head("naive_bayes", of_class, options={"smoothing": smoothing, "variance": variance})
    return Head("naive_bayes", fit, options={"smoothing": smoothing, "variance": variance})


def _affine(
    rows: Rows,
    weights: list[Tensor],
    biases: list[Tensor],
    known: Mapping[str, Tensor] | None = None,
    *,
    wide: bool = False,
) -> Fitted:
    """Scores x W + b, of the features as standardised (`wide`) or of their coordinates."""
    weight, bias = torch.stack(weights, 2), torch.stack(biases, 1)

    def scores(requested: tuple[int, ...]) -> Tensor:
        x = (rows.x if wide else rows.z)[rows.at(requested)].double()
        return torch.einsum("nd,dcp->ncp", x, weight).add_(bias)

    return Fitted(scores, known or {}, weight if wide else rows.widened(weight), bias)


# --- nearest neighbours -----------------------------------------------------------------------------------------------


def knn_head(ks: tuple[int, ...], metric: str = "cosine", weights: str = "softmax") -> Head:
    """Votes of the k nearest training samples, each exp((s - s_1)/0.07) of its similarity, or alike; a row never votes
    for itself. The strength is k.
    """

    def fit(rows: Rows, codes: Int[Tensor, "n s"], parts: tuple[int, ...], strengths: Tensor) -> Fitted:
        at, asked_k = rows.at(parts), [int(k) for k in strengths]
        x, precise = rows.x, torch.float64 if metric == "cosine" else rows.x.dtype
        led = torch.ones(rows.n, dtype=torch.bool, device=x.device)
        if metric == "cosine":
            led = x.abs().amax(1) > 0  # a row at the centre has no direction: it is read by the class shares
        bank = at[led[at]]
        share = torch.stack(
            [torch.bincount(codes[at, s], minlength=rows.classes) / len(at) for s in range(codes.shape[1])], 1
        ).double()

        def scores(requested: tuple[int, ...]) -> Tensor:
            rest = rows.at(requested)
            queries, own = rest[led[rest]], requested == parts
            each, sets = len(asked_k), codes.shape[1]
            log_shares = share.new_zeros(len(rest), rows.classes, each * sets)
            counts = log_shares.split(each, dim=2)
            most = min(max(asked_k), len(bank) - int(own))
            if len(queries) and most > 0:
                among = None if own else x[bank].to(precise)
                found = Neighbours.of(x[queries].to(precise), k=most, bank=among, metric=metric)
                power = found.distances.new_zeros(found.distances.shape)
                if weights == "softmax":
                    power = (found.distances[:, :1] - found.distances) / TEMPERATURE
                for s, column in enumerate(counts):
                    column[led[rest]] = votes(codes[bank, s][found.indices], power.exp(), rows.classes, asked_k)
            for s, column in enumerate(counts):
                smooth(column, share[:, s])
            return log_shares

        return Fitted(scores)

    strengths = tuple(float(k) for k in sorted(ks, reverse=True))
    return Head("knn", fit, strengths, "k", calibrated=True, options={"metric": metric, "weights": weights})


def usable_neighbours(ks: Iterable[int], rows: Rows) -> tuple[int, ...]:
    """Numbers of neighbours that the training split has."""
    most = len(rows.split.train) - 1
    return tuple(sorted({min(k, most) for k in ks}))


def votes(
    labels: Int[Tensor, "m k"], weight: Float[Tensor, "m k"], classes: int, ks: list[int]
) -> Float[Tensor, "m c r"]:
    """Votes of the first k neighbours for every class, for several k read from one list."""
    out = weight.new_zeros(len(labels), classes, len(ks))
    total, before = weight.new_zeros(len(labels), classes), 0
    for place in sorted(range(len(ks)), key=lambda i: ks[i]):
        upto = min(ks[place], labels.shape[1])
        if upto > before:
            total.scatter_add_(1, labels[:, before:upto], weight[:, before:upto])
            before = upto
        out[:, :, place] = total
    return out


def smooth(counts: Float[Tensor, "m c r"], prior: Float[Tensor, " c"]) -> None:
    """Put log of (votes + prior)/(all votes + 1) in the place of votes: one more, spread as the classes are."""
    total = counts.sum(1, keepdim=True) + 1
    counts.add_(prior[:, None]).div_(total).clamp_min_(1e-300).log_()


def head_named(name: str) -> Head:
    """A head with its default options."""
    made: dict[str, Callable[[], Head]] = {
        "linear": logistic_head,
        "ridge": ridge_head,
        "lda": lda_head,
        "nearest_mean": nearest_mean_head,
        "naive_bayes": naive_bayes_head,
        "knn": lambda: knn_head(KS),
    }
    return made[name]()
