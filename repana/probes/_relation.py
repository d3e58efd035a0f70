"""A relation between two layers of a network as one linear map, and its inverse as directions of concepts."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag
from repana._numbers import number
from repana._typing import IGNORED
from repana.extraction._attribution import reading
from repana.extraction._batches import Forward
from repana.extraction._between import At, Between, Point, Points, numbered
from repana.extraction._reinitialised import iter_once
from repana.probes import _refusals, _scores
from repana.probes._protocol import Probe
from repana.statistics import resampling
from repana.statistics.intervals import proportion
from repana.statistics.permutation import against
from repana.statistics.splits import Split
from repana.summaries.left_out import PENALTIES, dual, products_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NUMERICAL = 1e-6  # of the largest singular value: smaller ones have no inverse
RANDOM = 20  # directions of the null of causality
PERMUTATIONS = 199
GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
OF_CLASSES = (
    "rank", "accuracy", "mean_difference", "linear_probe", "causality", "edit_causality", "edit_distance"
)  # fmt: skip
QUANTITIES = ("r2", "r2_least_squares", "spread", "faithfulness", *OF_CLASSES)


@dataclass(frozen=True, repr=False)
class Relation:
    """One linear map between two layers, and its inverse; see `relation`.

    `weight` (b, a) and `bias` (b,) of o = weight s + bias; `singular_values` of the weight; `subjects` (n, a) and
    `objects` (n, b) of all samples used, `answers` (n,) the columns that the model answers, `codes` (n,) of `classes`,
    whose labels are `values` (c,), `fitted` (n,) which samples the map was fitted on; `accuracy_by_rank` (r, 2) on
    samples that were left out.
    """

    r2: Estimate
    r2_least_squares: Estimate
    spread: Estimate
    faithfulness: Estimate
    rank: Estimate
    accuracy: Estimate
    mean_difference: Estimate
    linear_probe: Estimate
    causality: Estimate
    edit_causality: Estimate
    edit_distance: Estimate
    weight: Float[Tensor, "b a"]
    bias: Float[Tensor, " b"]
    singular_values: Float[Tensor, " r"]
    subjects: Float[Tensor, "n a"]
    objects: Float[Tensor, "n b"]
    answers: Int[Tensor, " n"]
    codes: Int[Tensor, " n"]
    fitted: Tensor
    accuracy_by_rank: Float[Tensor, "ranks two"]
    classes: tuple[str, ...]
    values: Int[Tensor, " c"]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def inverse(self, rank: int | None = None) -> Float[Tensor, "a b"]:
        """V_r S_r^-1 U_r', the inverse of the weight on its `rank` largest singular values.

        Raises InputError (RA299) for a rank above the numerical one.
        """
        if rank is None and self.rank.value != self.rank.value:
            raise _refusals.no_directions()
        chosen = int(self.rank.value) if rank is None else _check.at_least(rank, "rank", 1)
        return _inverse(self.weight, chosen)

    def vectors(self, rank: int | None = None) -> Float[Tensor, "c a"]:
        """The direction of every class, of length 1: the mean of W_r^+ (o - b) over its fitted samples."""
        if len(self.classes) < 2:
            raise _refusals.no_directions()
        fitted = self.fitted
        return _directions(self.inverse(rank), self.objects[fitted] - self.bias, self.codes[fitted], len(self.classes))

    def directions(self, rank: int | None = None) -> Probe:
        """The directions as a probe of the earlier layer: scores v_k . s, tested on the samples that were not fitted.
        `concept_use` and `compare_probes` take it."""
        if len(self.classes) < 2:
            raise _refusals.no_directions()
        return _as_probe(self, self.vectors(rank), int(self.rank.value) if rank is None else rank)

    def frame(self) -> "pd.DataFrame":
        """A line for each quantity: value, low, high, null, p, n, note."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "p", "n", "note")
        rows = [(q, *(getattr(getattr(self, q), c) for c in columns)) for q in QUANTITIES]
        return pd.DataFrame(rows, columns=["quantity", *columns])

    def plot(self, **options: Any) -> "Figure":
        """Accuracy, causality and R2 beside their baselines; see `repana.plots.relation_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.relation_depth({self.settings["subject"]: self}, **options))

    def says(self) -> str:
        """Whether one map holds for all samples, and whether its directions are better than simpler ones."""
        a, b = self.settings["subject"], self.settings["object"]
        text = (
            f"One linear map from {a} to {b} explains R2 {number(self.r2.value)} of samples that it was not fitted on"
        )
        text += f"; the map of a sample lies {number(self.spread.value)} of its norm from the mean."
        f = self.faithfulness
        if f.value == f.value and not f.low > f.null:
            text += (
                f" With it the answer stays the same in {number(f.value)} of them; one constant answer is right in "
                f"{number(f.null)}."
            )
        if self.accuracy.value == self.accuracy.value:
            better = self.accuracy.value > self.mean_difference.value
            text += (
                f" At rank {int(self.rank.value)} its directions classify {number(self.accuracy.value)} right, "
                f"{'more' if better else 'no more'} than the difference of means "
                f"({number(self.mean_difference.value)}); a linear probe {number(self.linear_probe.value)}."
            )
            c = self.edit_causality
            if c.value == c.value:
                text += f" Moving {a} through its inverse changes {number(c.value)} of the answers to those of another "
                text += f"class, random directions {number(c.null)}."
        return text

    def __repr__(self) -> str:
        lines = [f"Relation({self.settings['subject']} to {self.settings['object']}, {len(self.codes)} samples)"]
        lines += [f"  {q:<17} {getattr(self, q)}" for q in QUANTITIES]
        return "\n".join([*lines, f"  {self.says()}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@settled()
def relation(
    model: nn.Module,
    data: Any,
    subject: str,
    object: str,
    *,
    subject_at: At | Sequence[int] = "last",
    object_at: At | Sequence[int] = "last",
    rank: int | str = "held out",
    fit: int | Sequence[int] = 20,
    answered: str = "right",
    beta: float = 1.0,
    edit_size: float = 1.0,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Relation:
    """Whether a network maps one layer to a later one linearly, and the directions of concepts that this map gives.

    With s the earlier layer at one position, o the later one at another, and J_i = do/ds at sample i, all else of the
    sample held: W = mean_i J_i, b = mean_i (o_i - J_i s_i) over `fit` samples, and LRE(s) = beta W s + b. Inverse
    W_r^+ = V_r S_r^-1 U_r' of the r largest singular values; direction of class k: v_k = mean of W_r^+ (o_i - b) over
    its fitted samples, of length 1. All others are test samples:

    - `r2` = 1 - sum |o - LRE(s)|^2/sum |o - mean o|^2; `r2_least_squares`: of least squares of o on s (ridge, penalty
      by leave-one-out) from the same samples. `spread`: mean |J_i - W|/|W| of fitted samples, 0 for one linear map.
    - `faithfulness`: share whose answer is the same with LRE(s) in the place of o; null: the answer that most fitted
      samples have. A larger `beta` raises it and ruins the map: never choose it by these samples.
    - `accuracy`: share whose class is argmax_k v_k . s, at `rank`; `mean_difference`: the same with v_k the mean of s
      in class k less the mean of all; `linear_probe`: ridge on the same samples. p of `accuracy`: permuted test labels.
    - `causality`: share whose answer becomes that of the next class (of those that do not answer so already) when s
      moves by `edit_size` |s| (v_new - v_old); `edit_causality`: when s moves by W_r^+ (o_new - o), o_new the mean of o
      in that class. Null of both: 20 random directions of the same length. `edit_distance`:
      sum |o(s moved) - o_new|^2/sum |o_new - o|^2 of the latter.

    - `subject`, `object`: any two layers, the object behind the subject; logits may be the object. Of texts
      `subject_at` and `object_at` say at which real position: "last", "first", a number, or one for each sample;
      "mean" moves all positions alike. Maps are read by their mean, vectors need no position. Of a language model the
      answer is that at `object_at`.
    - `labels`: the object of each sample (a class, a token id, a name): a value each, or where the data have them.
      `answered="right"` drops samples whose answer is not their label; "all" keeps them, as where labels are names.
    - `fit`: so many samples (at most half), balanced over classes, drawn by `seed`; or their numbers. `rank`: a number,
      or "held out": the one with the best accuracy when each half of the fitted samples makes directions for the other.

    Jacobians by reverse mode, 256 components at a time, one pass to the object. Interval: bootstrap of samples, Wilson
    for shares. The model is left as it was.

    Raises ModelError (RA118) where no derivative reaches the subject; InputError (RA299) for a rank above the numerical
    one (singular values below 1e-6 of the largest) or too few samples, (RA212) for positions out of range; without two
    classes everything about directions is NaN.

    Sources: Hernandez et al. 2024, arXiv:2308.09124 (linear relations); Chanin et al. 2024, arXiv:2311.08968 (their
    inverses as concepts).

    >>> import torch
    >>> from repana.probes import relation
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)).eval()
    >>> x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    >>> with torch.no_grad():
    ...     answers = model(x).argmax(1)
    >>> round(float(relation(model, (x, answers), "0", "1").r2), 4)
    1.0
    """
    _check.level_of(level)
    _check.choice(answered, "answered", ("right", "all"))
    permutations = _check.at_least(permutations, "permutations", 0)
    _check.positive(beta, "beta")
    _check.positive(edit_size, "edit_size")
    if subject == object:
        raise _refusals.same_layer(subject)
    if isinstance(rank, str):
        _check.choice(rank, "rank", ("held out",))
    if iter_once(data):
        raise _check.walked_once(type(data).__name__, "a relation needs")
    own = _check.are_values(labels)
    options: dict[str, Any] = {"pool": pool, "device": device, "forward": forward, "mask": mask}
    options |= {"labels": None if own else labels}
    options |= {"layout": layout, "batch_size": batch_size, "tokens": True}
    with reading(model, data, [subject, object], **options) as (reader, batches):
        places = {"subject_at": subject_at, "object_at": object_at}
        held = numbered(batches)
        n = sum(batch.size for batch, _ in held)
        ends = [
            Point.of(reader, layer, _at(name, at, n)) for layer, (name, at) in zip((subject, object), places.items())
        ]
        between = Between(reader, held, *ends)
        points = between.points()
        for layer, rows in ((subject, points.s), (object, points.o)):
            bad = int((~torch.isfinite(rows)).any(1).sum())
            if bad:
                raise _refusals.points_not_finite(layer, bad)
        given, names = _check.row_labels(labels, len(points.s)) if own else (between.labels(), ())
        names = names or reader.plan.facts.get("class_names") or ()
        if given is not None and given.is_floating_point() and bool((given == given.round()).all()):
            given = given.long()  # classes that were written with a point
        used = _used(given, points.answers, "all" if own and names else answered)
        known = given is not None and given.ndim == 1 and not given.is_floating_point()
        y = given[used].long() if known and given is not None else torch.zeros(len(used), dtype=torch.int64)
        values, codes = torch.unique(y, return_inverse=True)
        fitted = _fitted(fit, codes, used, len(points.s), seed)
        map_ = _mean_map(between, used[fitted], points, codes[fitted])
        measured = _Measured(between, points, used, codes, fitted, map_, len(values))
        found = measured.quantities(rank, beta, edit_size, permutations, level, seed)
    return Relation(
        **found,
        weight=map_.weight,
        bias=map_.bias,
        singular_values=torch.linalg.svdvals(map_.weight),
        subjects=points.s[used],
        objects=points.o[used],
        answers=points.answers[used],
        codes=codes,
        fitted=torch.isin(torch.arange(len(used)), fitted),
        values=values,
        classes=tuple(str(names[int(v)]) if names else str(int(v)) for v in values),
        settings={
            "subject": subject, "object": object, "fit": len(fitted), "beta": beta,
            "answered": "all" if own and names else answered,
            "edit_size": edit_size, "level": level, "seed": seed,
        },
    )  # fmt: skip


def _at(name: str, at: Any, n: int) -> At:
    if isinstance(at, str) and at in ("last", "first", "mean"):
        return at
    if isinstance(at, Integral) and not isinstance(at, bool):
        return int(at)
    each = np.asarray(at) if isinstance(at, (Tensor, np.ndarray, list, tuple)) else np.empty(0)
    if each.shape != (n,) or each.dtype.kind not in "iu":
        raise _refusals.position(name, at, n)
    return torch.from_numpy(each.astype(np.int64))


def _used(labels: Tensor | None, answers: Int[Tensor, " n"], answered: str) -> Int[Tensor, " m"]:
    """The samples that count: with a label, and where asked for, answered by it."""
    everything = torch.arange(len(answers))
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return everything
    kept = labels != IGNORED
    if answered == "right":
        kept &= labels.long() == answers
        if not bool(kept.any()):
            raise _refusals.none_answered_right(len(answers))
    return everything[kept]


def _fitted(fit: int | Sequence[int], codes: Int[Tensor, " m"], used: Tensor, n: int, seed: int) -> Int[Tensor, " k"]:
    """Which of the samples that count the map is fitted on: as many of every class, in an order drawn by the seed."""
    m = len(codes)
    if not isinstance(fit, Integral):
        each = np.asarray(fit)
        each = np.flatnonzero(each) if each.dtype == bool and each.shape == (n,) else each
        right = each.ndim == 1 and each.dtype.kind in "iu" and len(each) > 0
        if not right or int(each.min()) < 0 or int(each.max()) >= n:
            raise _refusals.fitted_samples(fit, n)
        asked = torch.from_numpy(each.astype(np.int64))
        found = torch.isin(used, asked).nonzero()[:, 0]
    else:
        order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
        place = torch.empty(m, dtype=torch.int64)
        for c in codes.unique().tolist():
            own = order[codes[order] == c]
            place[own] = torch.arange(len(own))
        turn = order[place[order].argsort(stable=True)]
        found = turn[: min(_check.at_least(int(fit), "fit", 2), max(2, m // 2))].sort().values
    if len(found) < 2 or m - len(found) < 2:
        raise _refusals.few_samples_of_relation(m, len(found))
    return found


@dataclass(frozen=True)
class _Map:
    """The mean map, those of both halves of the samples, and how far each sample's own lies from the mean."""

    weight: Float[Tensor, "b a"]
    bias: Float[Tensor, " b"]
    halves: tuple[tuple[Tensor, Tensor], ...]
    half: Int[Tensor, " k"]
    apart: Float[Tensor, " k"]


def _halves(codes: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """0 and 1 in turn inside every class; the class that comes second begins with 1, so that both are of one size."""
    half = torch.empty_like(codes)
    count = 0
    for c in codes.unique().tolist():
        own = (codes == c).nonzero()[:, 0]
        half[own] = (torch.arange(len(own)) + count) % 2
        count += len(own)
    return half


def _mean_map(between: Between, chosen: Int[Tensor, " k"], points: Points, codes: Int[Tensor, " k"]) -> _Map:
    s, o = points.s[chosen].double(), points.o[chosen].double()
    k = len(chosen)
    half = _halves(codes)
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
    return _Map(weight, rest.mean(0), both, half, apart.sqrt() / weight.norm())


def _inverse(weight: Float[Tensor, "b a"], rank: int) -> Float[Tensor, "a b"]:
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    numerical = int((s >= NUMERICAL * s[0]).sum())
    if rank > numerical:
        raise _refusals.rank_above(rank, numerical, float(s[0]))
    return (v[:rank].T / s[:rank]) @ u[:, :rank].T


def _directions(
    inverse: Float[Tensor, "a b"], rest: Float[Tensor, "k b"], codes: Int[Tensor, " k"], classes: int
) -> Float[Tensor, "c a"]:
    """Of every class, of length 1; 0 of one without samples."""
    back = rest.double() @ inverse.T
    sums = torch.zeros(classes, back.shape[1], dtype=torch.float64).index_add_(0, codes, back)
    return sums / sums.norm(dim=1, keepdim=True).clamp_min(1e-300)


class _Measured:
    """Everything that is measured of a map."""

    def __init__(
        self, between: Between, points: Points, used: Tensor, codes: Tensor, fitted: Tensor, map_: _Map, classes: int
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
        inverse = _inverse(w, chosen)
        v = _directions(inverse, o[fit] - b, self._codes[fit], self._classes)
        counts = torch.bincount(self._codes[fit], minlength=self._classes)
        absent_ = counts == 0  # no score stands for a class that was not fitted
        guesses = (s[test] @ v.T).masked_fill(absent_, -torch.inf).argmax(1)
        sums = torch.zeros(self._classes, s.shape[1], dtype=torch.float64).index_add_(0, self._codes[fit], s[fit])
        middle = sums / counts.clamp_min(1)[:, None]
        missing = int(absent_.sum())
        note = Flag.MISSING_CLASSES.note(f"{missing} classes have no fitted sample") if missing else ""
        y = self._codes[test]
        found["rank"] = Estimate(float(chosen), n=len(fit))
        found["accuracy"] = self._share(guesses == y, guesses, permutations, level, seed, note)
        simple = (s[test] @ (middle - s[fit].mean(0)).T).masked_fill(absent_, -torch.inf).argmax(1)
        found["mean_difference"] = self._share(simple == y, simple, permutations, level, seed, note)
        probe = self._ridge().masked_fill(absent_, -torch.inf).argmax(1)
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
                v = _directions(_inverse(weight, r), o[inside] - bias, y[inside], self._classes)
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
        open_ = self._answers[test] != aim  # the others answer so already
        generator = torch.Generator().manual_seed(seed)
        found: dict[str, Estimate] = {}
        for name, move in moves.items():
            hit = self._hits(move[open_], test[open_], aim[open_])
            if not len(hit):
                note = Flag.NOT_APPLICABLE.note("all samples answer as the next class does before they are moved")
                found[name] = Estimate(NAN, n=0, note=note)
                continue
            drawn = []
            for _ in range(RANDOM):
                z = torch.randn(move[open_].shape, generator=generator, dtype=torch.float64)
                z *= move[open_].norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True)
                drawn.append(float(self._hits(z, test[open_], aim[open_]).double().mean()))
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


def _as_probe(found: Relation, v: Float[Tensor, "c a"], rank: int) -> Probe:
    """Directions with their scores on the samples that were not fitted; the temperature is that of the fitted ones."""
    fit, test, y = found.fitted.nonzero()[:, 0], (~found.fitted).nonzero()[:, 0], found.codes
    level, seed = found.settings["level"], found.settings["seed"]
    unseen = torch.bincount(y[fit], minlength=len(found.classes)) == 0
    scores = (found.subjects.double() @ v.T).masked_fill(unseen, -torch.inf)
    heat = _scores.temperature(scores[fit][:, :, None], y[fit])
    log_p = _scores.log_probabilities(scores[test] * heat[0], len(fit))
    guess, truth, classes = log_p.argmax(1), y[test], len(found.classes)
    correct, losses = guess == truth, _scores.losses(log_p, truth)
    count = torch.bincount(truth, minlength=classes)
    confusion = torch.bincount(truth * classes + guess, minlength=classes**2).view(classes, classes)
    log_loss = resampling.resampled(losses[:, None], truth, None, level=level, seed=seed)
    trained = float((scores[fit].argmax(1) == y[fit]).double().mean())
    accuracy = proportion(int(correct.sum()), len(test), level=level)
    commonest = int(torch.bincount(y[fit]).argmax())
    return Probe(
        accuracy=accuracy,
        balanced_accuracy=_scores.balanced_accuracy(correct, truth, classes, None, level=level, seed=seed),
        log_loss=log_loss,
        log_loss_bits=_scores.bits(log_loss),
        chance=proportion(int((truth == commonest).sum()), len(test), level=level),
        memorization=Estimate(NAN, note=Flag.NOT_APPLICABLE.note("directions are not fitted to labels alone")),
        gap=Estimate(trained - accuracy.value, trained - accuracy.high, trained - accuracy.low, len(test)),
        predictions=found.values[guess],
        log_probabilities=log_p,
        targets=truth,
        correct=correct,
        losses=losses,
        recall=torch.where(count > 0, confusion.diagonal().double() / count.clamp_min(1), torch.nan),
        counts=count,
        confusion=confusion,
        curve=torch.empty(0, 3, dtype=torch.float64),
        classes=found.classes,
        split=Split(fit, torch.empty(0, dtype=torch.int64), test, None, seed),
        weight=v.T,
        bias=torch.zeros(classes, dtype=torch.float64),
        settings={
            "probe": "linear relation", "rank": rank, "temperature": float(heat[0]), "train": len(fit),
            "test": len(test),
        },
    )  # fmt: skip
