"""The mean map between two layers, and everything that `relation` measures of it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag
from repana.extraction._between import Between, Points
from repana.probes import _refusals
from repana.statistics import resampling
from repana.statistics.intervals import proportion
from repana.statistics.permutation import against
from repana.summaries.left_out import PENALTIES, dual, products_of

NUMERICAL = 1e-6  # of the largest singular value: smaller ones have no inverse
RANDOM = 20  # directions of the null of causality
GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
OF_CLASSES = (
    "rank", "accuracy", "mean_difference", "linear_probe", "causality", "edit_causality", "edit_distance"
)  # fmt: skip


@dataclass(frozen=True)
class Map:
    """The mean map, those of both halves of the samples, and how far each sample's own lies from the mean."""

    weight: Float[Tensor, "b a"]
    bias: Float[Tensor, " b"]
    halves: tuple[tuple[Tensor, Tensor], ...]
    half: Int[Tensor, " k"]
    apart: Float[Tensor, " k"]


def halves_of(codes: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """0 and 1 in turn inside every class; the class that comes second begins with 1, so that both are of one size."""
    half = torch.empty_like(codes)
    count = 0
    for c in codes.unique().tolist():
        own = (codes == c).nonzero()[:, 0]
        half[own] = (torch.arange(len(own)) + count) % 2
        count += len(own)
    return half


def mean_map(between: Between, chosen: Int[Tensor, " k"], points: Points, codes: Int[Tensor, " k"]) -> Map:
    s, o = points.s[chosen].double(), points.o[chosen].double()
    k = len(chosen)
    half = halves_of(codes)
    rows, halves, apart, along = [], ([], []), torch.zeros(k, dtype=torch.float64), []
    for _, part in between.jacobian_rows(chosen):
        wide = part.double()
        middle = wide.mean(0)
        rows.append(middle)
        apart += (wide - middle).square().sum((1, 2))
        along.append(torch.einsum("kra,ka->kr", wide, s))
        for h in (0, 1):
            halves[h].append(wide[half == h].mean(0))
    weight, rest = torch.cat(rows), o - torch.cat(along, 1)
    if not float(weight.norm()) > 0:
        raise between.no_path()
    both = tuple((torch.cat(halves[h]), rest[half == h].mean(0)) for h in (0, 1))
    return Map(weight, rest.mean(0), both, half, apart.sqrt() / weight.norm())


def inverse_of(weight: Float[Tensor, "b a"], rank: int) -> Float[Tensor, "a b"]:
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    numerical = int((s >= NUMERICAL * s[0]).sum())
    if rank > numerical:
        raise _refusals.rank_above(rank, numerical, float(s[0]))
    return (v[:rank].T / s[:rank]) @ u[:, :rank].T


def directions_of(
    inverse: Float[Tensor, "a b"], rest: Float[Tensor, "k b"], codes: Int[Tensor, " k"], classes: int
) -> Float[Tensor, "c a"]:
    """Of every class, of length 1; 0 of one without samples."""
    back = rest.double() @ inverse.T
    sums = torch.zeros(classes, back.shape[1], dtype=torch.float64).index_add_(0, codes, back)
    return sums / sums.norm(dim=1, keepdim=True).clamp_min(1e-300)


class Measured:
    """Everything that is measured of a map."""

    def __init__(
        self, between: Between, points: Points, used: Tensor, codes: Tensor, fitted: Tensor, map_: Map, classes: int
    ) -> None:
        self._between, self._map, self._classes, self._used = between, map_, classes, used
        self._s, self._o, self._answers = points.s[used].double(), points.o[used].double(), points.answers[used]
        self._codes, self._fit = codes, fitted
        self._test = (~torch.isin(torch.arange(len(used)), fitted)).nonzero()[:, 0]

    def quantities(
        self, rank: int | str, beta: float, edit_size: float, permutations: int, level: float, seed: int
    ) -> dict[str, Any]:
        fit, test, n = self._fit, self._test, len(self._test)
        s, o, w, b = self._s, self._o, self._map.weight, self._map.bias
        predicted = beta * s @ w.T + b
        found: dict[str, Any] = {
            "r2": self._r2(predicted[test], level, seed),
            "r2_least_squares": self._r2(self._least_squares(), level, seed),
            "spread": resampling.resampled(self._map.apart[:, None], None, None, level=level, seed=seed),
        }
        answers, _ = self._between.answers(self._between.object, (predicted - o)[test], self._used[test])
        constant = int(torch.bincount(self._answers[fit]).argmax())
        same = proportion(int((answers == self._answers[test]).sum()), n, level=level)
        found["faithfulness"] = replace(same, null=float((self._answers[test] == constant).double().mean()))
        if self._classes < 2 or len(self._codes[fit].unique()) < 2:
            absent = Estimate(NAN, n=n, note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
            return found | dict.fromkeys(OF_CLASSES, absent) | {"accuracy_by_rank": torch.empty(0, 2).double()}
        chosen, curve = self._rank(rank)
        inverse = inverse_of(w, chosen)
        v = directions_of(inverse, o[fit] - b, self._codes[fit], self._classes)
        counts = torch.bincount(self._codes[fit], minlength=self._classes)
        unseen = counts == 0  # no score stands for a class that was not fitted
        guesses = (s[test] @ v.T).masked_fill(unseen, -torch.inf).argmax(1)
        sums = torch.zeros(self._classes, s.shape[1], dtype=torch.float64).index_add_(0, self._codes[fit], s[fit])
        middle = sums / counts.clamp_min(1)[:, None]
        missing = int(unseen.sum())
        note = Flag.MISSING_CLASSES.note(f"{missing} classes have no fitted sample") if missing else ""
        y = self._codes[test]
        found["rank"] = Estimate(float(chosen), n=len(fit))
        found["accuracy"] = self._share(guesses == y, guesses, permutations, level, seed, note)
        simple = (s[test] @ (middle - s[fit].mean(0)).T).masked_fill(unseen, -torch.inf).argmax(1)
        found["mean_difference"] = self._share(simple == y, simple, permutations, level, seed, note)
        probe = self._ridge().masked_fill(unseen, -torch.inf).argmax(1)
        found["linear_probe"] = self._share(probe == y, probe, permutations, level, seed, note)
        return found | self._edits(v, inverse, edit_size, level, seed) | {"accuracy_by_rank": curve}

    def _r2(self, predicted: Float[Tensor, "m b"], level: float, seed: int) -> Estimate:
        o = self._o[self._test]
        columns = torch.stack([(o - predicted).square().sum(1), (o - o.mean(0)).square().sum(1)], 1)
        if not float(columns[:, 1].sum()) > 0:
            return Estimate(NAN, n=len(o), note=Flag.CONSTANT.note("the later layer does not vary"))
        ratio = lambda sums: 1 - sums[..., 0] / sums[..., 1]  # noqa: E731
        return resampling.resampled(columns, None, None, level=level, seed=seed, statistic=ratio)

    def _solved(self, targets: Float[Tensor, "k t"]) -> Float[Tensor, "m t"]:
        """Ridge of the fitted samples, for the others; the penalty by leave-one-out."""
        fit, test = self._fit, self._test
        kernel = products_of(self._s, "centre")(fit)
        _, weights = dual(kernel[fit][:, fit], targets[:, None], torch.arange(len(fit)), PENALTIES)
        return kernel[test][:, fit] @ weights[:, 0] + targets.mean(0)

    def _least_squares(self) -> Float[Tensor, "m b"]:
        return self._solved(self._o[self._fit])

    def _ridge(self) -> Float[Tensor, "m c"]:
        return self._solved(torch.nn.functional.one_hot(self._codes[self._fit], self._classes).double())

    def _share(self, right: Tensor, guesses: Tensor, permutations: int, level: float, seed: int, note: str) -> Estimate:
        found = proportion(int(right.sum()), len(right), level=level, note=note)
        generator = torch.Generator().manual_seed(seed)
        y = self._codes[self._test]
        orders = [torch.randperm(len(y), generator=generator) for _ in range(permutations)]
        return against(found, [float((guesses == y[o]).double().mean()) for o in orders], better="higher", level=level)

    def _rank(self, rank: int | str) -> tuple[int, Tensor]:
        """A rank that was given, or the smallest of the best when each half of the samples makes directions for the
        other."""
        w, s, o, y = self._map.weight, self._s[self._fit], self._o[self._fit], self._codes[self._fit]
        values = torch.linalg.svdvals(w)
        most = int((values >= NUMERICAL * values[0]).sum())
        if not isinstance(rank, str):
            return _check.at_least(rank, "rank", 1), torch.empty(0, 2, dtype=torch.float64)
        rows = []
        for r in [r for r in GRID if r < most] + [most]:
            hits = count = 0
            for h, (weight, bias) in enumerate(self._map.halves):
                inside, outside = self._map.half == h, self._map.half != h
                small = torch.linalg.svdvals(weight)
                if r > int((small >= NUMERICAL * small[0]).sum()):
                    continue
                v = directions_of(inverse_of(weight, r), o[inside] - bias, y[inside], self._classes)
                unseen = torch.bincount(y[inside], minlength=self._classes) == 0
                guess = (s[outside] @ v.T).masked_fill(unseen, -torch.inf).argmax(1)
                hits += int((guess == y[outside]).sum())
                count += int(outside.sum())
            if count == len(y):
                rows.append((float(r), hits / count))
        curve = torch.tensor(rows or [(float(most), NAN)], dtype=torch.float64)
        return int(curve[int(curve[:, 1].nan_to_num(-1).argmax()), 0]), curve

    def _edits(
        self, v: Float[Tensor, "c a"], inverse: Float[Tensor, "a b"], edit_size: float, level: float, seed: int
    ) -> dict[str, Estimate]:
        """What the model answers when the earlier layer is moved towards the next class."""
        fit, test = self._fit, self._test
        known = self._codes[fit].unique()
        following = {int(c): int(known[(i + 1) % len(known)]) for i, c in enumerate(known)}
        y = self._codes[test]
        test, y = test[torch.isin(y, known)], y[torch.isin(y, known)]
        if not len(test):
            none = Estimate(NAN, n=0, note=Flag.NOT_APPLICABLE.note("no test sample is of a class that was fitted"))
            return dict.fromkeys(("causality", "edit_causality", "edit_distance"), none)
        goal = torch.tensor([following[int(c)] for c in y])
        s, o = self._s[test], self._o[test]
        answer = torch.stack([_commonest(self._answers[fit][self._codes[fit] == c]) for c in known.tolist()])
        aim = answer[torch.searchsorted(known, goal)]
        middle = torch.stack([self._o[fit][self._codes[fit] == c].mean(0) for c in known.tolist()])
        target = middle[torch.searchsorted(known, goal)]
        moves = {
            "causality": edit_size * s.norm(dim=1, keepdim=True) * (v[goal] - v[y]),
            "edit_causality": (target - o) @ inverse.T,
        }
        others = self._answers[test] != aim  # those that do not answer so already
        generator = torch.Generator().manual_seed(seed)
        found: dict[str, Estimate] = {}
        for name, move in moves.items():
            hit = self._hits(move[others], test[others], aim[others])
            if not len(hit):
                note = Flag.NOT_APPLICABLE.note("all samples answer as the next class does before they are moved")
                found[name] = Estimate(NAN, n=0, note=note)
                continue
            drawn = []
            for _ in range(RANDOM):
                z = torch.randn(move[others].shape, generator=generator, dtype=torch.float64)
                z *= move[others].norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True)
                drawn.append(float(self._hits(z, test[others], aim[others]).double().mean()))
            found[name] = against(
                proportion(int(hit.sum()), len(hit), level=level), drawn, better="higher", level=level
            )
        _, later = self._between.answers(self._between.subject, moves["edit_causality"], self._used[test])
        columns = torch.stack([(later.double() - target).square().sum(1), (target - o).square().sum(1)], 1)
        found["edit_distance"] = resampling.resampled(
            columns, None, None, level=level, seed=seed, statistic=lambda sums: sums[..., 0] / sums[..., 1]
        )
        return found

    def _hits(self, move: Tensor, test: Tensor, aim: Tensor) -> Tensor:
        if not len(test):
            return torch.empty(0, dtype=torch.bool)
        return self._between.answers(self._between.subject, move, self._used[test])[0] == aim


def _commonest(answers: Int[Tensor, " k"]) -> Int[Tensor, ""]:
    return torch.bincount(answers).argmax()
