"""The protocol of every probe: fit on the training split, select on validation, fit again on both, test once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._numbers import number
from repana.probes import _scores
from repana.probes._classifiers import Fitted, Head, ridge_head, unit_of
from repana.probes._data import TEST, TRAIN, TRAIN_AND_VALIDATION, VALIDATION, Rows
from repana.statistics import resampling
from repana.statistics.permutation import against
from repana.statistics.splits import Split
from repana.summaries.folds import RidgePath, one_hot
from repana.summaries.logistic import WIDTH

PERMUTATIONS = 199  # of the labels of the test split
REFITS = 3  # probes fitted to shuffled labels
LEFT_OUT = "leave_one_out"
BESIDE = 2  # strengths tried beyond a best one that is the last
ROUNDS = 6  # of such extensions
RISE = 1e-3  # relative, of a log-loss above the least that counts as one
EQUAL = 1e-5  # relative differences of log-losses up to which the stronger strength is taken
FLAT = 1e-4  # share of the log-loss that an extension must win to go on
RISES = 2  # of the log-loss on the validation split after which weaker strengths are not tried


@shown
@dataclass(frozen=True, repr=False)
class Probe:
    """What a probe reads, on the test split; see `linear_probe`.

    `predictions` (m,) are labels as they came (their codes for names), `targets` (m,) the columns of the true ones,
    `log_probabilities` (m, c) in nats, `correct` (m,), `recall`, `counts` (c,), `confusion` (c, c) rows true; `curve`
    (r, 3): strength, log-loss and accuracy on the validation split. `classes` names the columns. Where scores are
    affine, x `weight` + `bias` (d, c), (c,), of the features as they came; log-probabilities are the softmax of these
    times `settings["temperature"]`.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    log_loss: Estimate
    log_loss_bits: Estimate
    chance: Estimate
    memorization: Estimate
    gap: Estimate
    predictions: Int[Tensor, " m"]
    log_probabilities: Float[Tensor, "m c"]
    targets: Int[Tensor, " m"]
    correct: Tensor
    losses: Float[Tensor, " m"]
    recall: Float[Tensor, " c"]
    counts: Int[Tensor, " c"]
    confusion: Int[Tensor, "c c"]
    curve: Float[Tensor, "r 3"]
    classes: tuple[str, ...]
    split: Split
    weight: Float[Tensor, "d c"] | None = None
    bias: Float[Tensor, " c"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def selected(self) -> Float[Tensor, " 3"]:
        """Strength, log-loss and accuracy on the validation split, where their log-loss is least."""
        return self.curve[int(self.curve[:, 1].argmin())]

    def __repr__(self) -> str:
        kind, chance = str(self.settings.get("probe", "")).replace("_", " "), self.chance.value
        return (
            f"Probe({kind}: accuracy {self.accuracy}, chance {chance:.4g}, log-loss {self.log_loss} nats, "
            f"{len(self.targets)} rows reported)"
        )


@dataclass(frozen=True)
class Choice:
    """The strength chosen on the validation split, its temperature, and what was tried."""

    strength: float
    temperature: float
    at_edge: bool
    curve: Float[Tensor, "r 3"]


def probed(
    head: Head,
    rows: Rows,
    *,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
    select: str = "log_loss",
) -> Probe:
    """A head on rows by the whole protocol."""
    choice = left_out(rows) if select == LEFT_OUT else chosen(head, rows, select)
    codes = torch.stack([rows.codes, *permuted(rows, min(permutations, REFITS), seed)], 1)
    strength = torch.tensor([choice.strength], dtype=torch.float64)
    apart = head.fit_for_accuracy is not None and codes.shape[1] > 1
    fitted = head.fit(rows, codes[:, :1] if apart else codes, TRAIN_AND_VALIDATION, strength)
    fits = [fitted]
    if head.fit_for_accuracy is not None and apart:
        fits.append(head.fit_for_accuracy(rows, codes[:, 1:], TRAIN_AND_VALIDATION, strength))
    report = torch.cat([fit.scores(TEST) for fit in fits], 2)
    guessed = torch.cat([fit.scores(TRAIN_AND_VALIDATION).argmax(1) for fit in fits], 1)
    at, seen = rows.at(TEST), rows.at(TRAIN_AND_VALIDATION)
    y, known = rows.codes[at].cpu(), rows.codes[seen]
    log_p = _scores.log_probabilities(report[:, :, 0] * choice.temperature, len(seen)).cpu()
    outcomes, group = _scores.outcomes(log_p, y), rows.split.test_group
    correct, losses = outcomes["correct"], outcomes["losses"]
    note = noted(
        *(n for n in rows.notes if Flag.CONSTANT not in getattr(n, "flags", ())), *_warnings(head, choice, fitted)
    )
    refitted = _shares(report[:, :, 1:].argmax(1), rows.codes[at])
    chances = _scores.permuted_scores(log_p, y, rows.classes, group, permutations, seed)
    trained = (guessed == codes[seen]).double().mean(0).tolist()
    accuracy = _scores.accuracy(correct, group, level=level, seed=seed, note=note)
    accuracy = against(accuracy, chances.get("accuracy", refitted), better="higher", level=level)
    prior = torch.bincount(known.cpu(), minlength=rows.classes).double()
    base = _scores.losses(_scores.log_probabilities(prior.log()[None].expand(len(y), -1), len(seen)), y)
    log_loss = resampling.resampled(losses[:, None], y, group, level=level, seed=seed, note=note)
    log_loss = against(log_loss, chances.get("log_loss", []), better="lower", level=level)
    log_loss = replace(log_loss, null=float(base.mean()), null_low=NAN, null_high=NAN)
    most = int(prior.argmax())
    chance = _scores.accuracy(y == most, group, level=level, seed=seed)
    weight = bias = None
    if fitted.weight is not None and fitted.bias is not None and rows.scale != "unit":
        weight, bias = rows.original(fitted.weight[:, :, 0], fitted.bias[:, 0])
    return Probe(
        accuracy=accuracy,
        balanced_accuracy=against(
            _scores.balanced_accuracy(correct, y, rows.classes, group, level=level, seed=seed, note=note),
            chances.get("balanced_accuracy", []),
            better="higher",
            level=level,
        ),
        log_loss=log_loss,
        log_loss_bits=_scores.bits(log_loss),
        chance=chance,
        memorization=resampling.range_of(trained[1:], "permutations", "no permutations", len(seen)),
        gap=Estimate(trained[0] - accuracy.value, trained[0] - accuracy.high, trained[0] - accuracy.low, len(y)),
        predictions=rows.values.cpu()[log_p.argmax(1)],
        **outcomes,
        curve=choice.curve,
        classes=rows.names,
        split=rows.split,
        weight=weight,
        bias=bias,
        settings=_settings(head, rows, choice, fitted, permutations, level, select),
    )


def chosen(head: Head, rows: Rows, select: str = "log_loss") -> Choice:
    """The strength with the smallest log-loss (or largest accuracy) on the validation split, the stronger of equals.

    The grid is walked from strong to weak, a block at a time, until the log-loss has risen twice; it is extended while
    the best is its last. A head without strengths is only given its temperature.
    """
    y = rows.codes[rows.at(VALIDATION)]
    tried: dict[float, tuple[float, float, float]] = {}

    def attempt(strengths: list[float]) -> None:
        fitted = head.fit(rows, rows.codes[:, None], TRAIN, torch.tensor(strengths, dtype=torch.float64))
        z = fitted.scores(VALIDATION)
        t = z.new_ones(len(strengths)).double() if head.calibrated else _scores.temperature(z, y)
        for k, strength in enumerate(strengths):
            log_p = _scores.log_probabilities(z[:, :, k] * t[k], len(rows.split.train))
            hit = float((log_p.argmax(1) == y).double().mean())
            tried[strength] = (float(_scores.losses(log_p, y).mean()), hit, float(t[k]))

    def lowest() -> float:
        by = (lambda k: (-tried[k][1], tried[k][0])) if select == "accuracy" else (lambda k: tried[k][0])
        return min(sorted(tried, key=grid_place(head)), key=by)

    def best() -> float:
        order = sorted(tried, key=grid_place(head))
        if select == "accuracy":
            return lowest()
        least = min(loss for loss, _, _ in tried.values())
        return next(k for k in order if tried[k][0] <= least * (1 + EQUAL))

    grid, block = list(head.strengths), _block(head, rows)
    for start in range(0, len(grid), block):
        attempt(grid[start : start + block])
        if head.factor and _has_risen([loss for loss, _, _ in tried.values()]):
            break
    at_edge = False
    for _ in range(ROUNDS * bool(head.factor)):
        order = sorted(tried, key=grid_place(head))
        place, before = order.index(lowest()), tried[lowest()][0]
        if 0 < place < len(order) - 1:
            break
        end, factor = (order[-1], head.factor) if place else (order[0], 1 / head.factor)
        more = [end * factor**k for k in range(1, BESIDE + 1)]
        more = [m for m in more if head.limits[0] <= m <= head.limits[1]]
        at_edge = not more
        if not more:
            break
        attempt(more)
        at_edge = tried[lowest()][0] < (1 - FLAT) * before
        if not at_edge:  # flat: further strengths are as good
            break
    order = sorted(tried, key=grid_place(head))
    strength = best()
    at_edge = (at_edge or not head.factor) and len(order) > 1 and order.index(strength) in (0, len(order) - 1)
    curve = torch.tensor([[k, *tried[k][:2]] for k in order], dtype=torch.float64)
    return Choice(strength, tried[strength][2], at_edge, curve)


def left_out(rows: Rows) -> Choice:
    """The strength of a ridge with the smallest leave-one-out squared error on the training and validation splits,
    exact and from one X'X; the temperature is that of the probe of the training split on the validation split. The
    curve's second column is the error.
    """
    head, at = ridge_head(), rows.at(TRAIN_AND_VALIDATION)
    normal = rows.normal(TRAIN_AND_VALIDATION, rows.codes[:, None])
    strengths = torch.tensor(head.strengths, dtype=torch.float64)
    path = RidgePath.of(
        normal, strengths.to(normal.gram) * unit_of(normal, rows.d), lambda: rows.basis(TRAIN_AND_VALIDATION)
    )
    z, targets = rows.z[at], one_hot(rows.codes[at], rows.classes)
    error = 4 * path.left_out_error(z, targets).mean(0).cpu()  # of +1 and -1
    hits = torch.zeros(len(strengths), dtype=torch.float64)
    for part, found in path.left_out(z, targets):
        hits += (found.argmax(1) == rows.codes[at][part][:, None]).sum(0).double().cpu()
    best = int(error.nan_to_num(torch.inf).argmin())
    first = head.fit(rows, rows.codes[:, None], TRAIN, strengths[best : best + 1])
    heat = _scores.temperature(first.scores(VALIDATION), rows.codes[rows.at(VALIDATION)])
    curve = torch.stack([strengths, error, hits / len(at)], 1)
    return Choice(float(strengths[best]), float(heat[0]), best in (0, len(strengths) - 1), curve)


def _has_risen(losses: list[float]) -> bool:
    """Whether the last ones lie clearly above the least, and keep rising: where all are alike, the walk goes on."""
    least, last = min(losses), losses[-RISES:]
    return len(losses) > RISES and all(x > least * (1 + RISE) for x in last) and last == sorted(last)


def grid_place(head: Head) -> Any:
    """Sorts strengths from strong to weak regularisation."""
    sign = 1.0 if head.factor > 1 else -1.0
    return lambda strength: sign * strength


def _block(head: Head, rows: Rows) -> int:
    """As many strengths at a time as the products are wide for."""
    return max(1, min(5, WIDTH // rows.classes)) if head.name == "linear" else len(head.strengths)


def permuted(rows: Rows, count: int, seed: int) -> list[Int[Tensor, " n"]]:
    """Labels in random order inside the rows that are fitted on; those of the test split stay."""
    return [rows.codes[order.to(rows.codes.device)] for order in rows.split.shuffled(count, seed)]


def _shares(guesses: Int[Tensor, "m r"], codes: Int[Tensor, " m"]) -> list[float]:
    return (guesses == codes[:, None]).double().mean(0).tolist()


def _warnings(head: Head, choice: Choice, fitted: Fitted) -> list[str]:
    """What must be known about the fit."""
    found = []
    if head.factor and choice.at_edge:
        text = f"regularisation search ended at its bound ({head.strength_name} = {number(choice.strength, 1)})"
        found.append(Flag.AT_BOUND.note(text))
    if "certified" in fitted.known and not bool(fitted.known["certified"][0]):
        text = f"not converged: the objective may be {float(fitted.known['gap'][0]):.1g} of the part explained off"
        found.append(Flag.NOT_CONVERGED.note(text))
    return found


def _settings(
    head: Head, rows: Rows, choice: Choice, fitted: Fitted, permutations: int, level: float, select: str
) -> dict[str, Any]:
    known = {name: value[0].item() for name, value in fitted.known.items()}
    strength = {head.strength_name: choice.strength, "at_edge": choice.at_edge} if head.strength_name else {}
    heat = {} if head.calibrated else {"temperature": choice.temperature}
    return {
        "probe": head.name,
        **strength,
        **heat,
        **known,
        **head.options,
        "select": select,
        "scale": rows.scale,
        "features": rows.d,
        "constant": rows.dead,
        "train": len(rows.split.train),
        "validation": len(rows.split.validation),
        "test": len(rows.split.test),
        "rows_per_feature": len(rows.split.train_and_validation) / max(rows.d - rows.dead, 1),
        "groups": rows.split.group is not None,
        "split": rows.split.fingerprint,
        "seed": rows.split.seed,
        "permutations": permutations,
        "level": level,
    }
