"""A relation between two layers of a network as one linear map, and its inverse as directions of concepts."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from repana.extraction._between import At, Between, Point, numbered
from repana.extraction._reinitialised import iter_once
from repana.probes import _refusals, _scores
from repana.probes._protocol import Probe
from repana.probes._relation_measures import OF_CLASSES, Measured, directions_of, inverse_of, mean_map
from repana.statistics import resampling
from repana.statistics.intervals import proportion
from repana.statistics.splits import Split

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PERMUTATIONS = 199
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
        return inverse_of(self.weight, chosen)

    def vectors(self, rank: int | None = None) -> Float[Tensor, "c a"]:
        """The direction of every class, of length 1: the mean of W_r^+ (o - b) over its fitted samples."""
        if len(self.classes) < 2:
            raise _refusals.no_directions()
        fitted = self.fitted
        return directions_of(
            self.inverse(rank), self.objects[fitted] - self.bias, self.codes[fitted], len(self.classes)
        )

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
        map_ = mean_map(between, used[fitted], points, codes[fitted])
        measured = Measured(between, points, used, codes, fitted, map_, len(values))
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


def _as_probe(found: Relation, v: Float[Tensor, "c a"], rank: int) -> Probe:
    """Directions with their scores on the samples that were not fitted; the temperature is that of the fitted ones."""
    fit, test, y = found.fitted.nonzero()[:, 0], (~found.fitted).nonzero()[:, 0], found.codes
    level, seed = found.settings["level"], found.settings["seed"]
    unseen = torch.bincount(y[fit], minlength=len(found.classes)) == 0
    scores = (found.subjects.double() @ v.T).masked_fill(unseen, -torch.inf)
    heat = _scores.temperature(scores[fit][:, :, None], y[fit])
    log_p = _scores.log_probabilities(scores[test] * heat[0], len(fit))
    truth, classes = y[test], len(found.classes)
    outcomes = _scores.outcomes(log_p, truth)
    correct, losses = outcomes["correct"], outcomes["losses"]
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
        predictions=found.values[log_p.argmax(1)],
        **outcomes,
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
