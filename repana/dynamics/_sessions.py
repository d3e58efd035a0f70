"""Sessions of a continual training: how much is forgotten, and whether the head or the body forgot it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._numbers import percent
from repana._typing import FeatureArray, LabelArray
from repana.dynamics import _refusals
from repana.dynamics._running_heads import HEADS, Head
from repana.dynamics._session_rows import SessionRows
from repana.statistics.intervals import from_replicates

BOOTSTRAP = 200


@shown
@dataclass(frozen=True)
class HeadSessions:
    """Accuracies of one head, a[t, u] on the held-out rows of session u after session t; see `sessions`."""

    final: Estimate
    incremental: Estimate
    learning: Estimate
    forgetting: Estimate
    backward: Estimate
    forward: Estimate
    harmonic: Estimate
    competition: Estimate
    intransigence: Estimate
    head_loss: Estimate
    body_loss: Estimate
    accuracy: Float[Tensor, "t t"] = field(default_factory=lambda: torch.empty(0, 0))
    aware: Float[Tensor, "t t"] = field(default_factory=lambda: torch.empty(0, 0))
    refit: Float[Tensor, "t t"] = field(default_factory=lambda: torch.empty(0, 0))
    joint: Float[Tensor, "t t"] = field(default_factory=lambda: torch.empty(0, 0))


@dataclass(frozen=True)
class MeanDrift:
    """How far the mean of one class moved between the body of its session and the last one; see `sessions`."""

    squared: float
    unbiased: float
    relative: float
    residual: float
    session: int
    n: int


@dataclass(frozen=True, repr=False)
class Sessions:
    """What sessions of a continual training cost, by head; see `sessions`."""

    heads: Mapping[str, HeadSessions]
    drift: Mapping[int, MeanDrift]
    chance: Float[Tensor, " t"]
    classes: tuple[tuple[int, ...], ...]
    settings: Mapping[str, Any]

    def __getitem__(self, head: str) -> HeadSessions:
        _check.choice(head, "head", list(self.heads))
        return self.heads[head]

    def says(self, head: str | None = None) -> str:
        """How much of what was lost is competition, head and body, in a sentence."""
        name = head or next(iter(self.heads))
        found = self[name]
        if not math.isfinite(found.forgetting.value):
            return "One session: nothing can be forgotten."
        lost, shared = 100 * found.forgetting.value, 100 * found.competition.value
        text = f"{name}: {shared:.1f} of the {lost:.1f} points of accuracy lost on earlier sessions are competition"
        text += " of more classes, which a head fitted on all rows and a frozen body lose too"
        if self.settings["bodies"] > 1:
            head_loss, body_loss = 100 * found.head_loss.value, 100 * found.body_loss.value
            text += f"; over all sessions a head fitted anew would gain {head_loss:.1f} points, and the first body "
            text += f"is {abs(body_loss):.1f} points {'better' if body_loss >= 0 else 'worse'} than the last"
        return f"{text}."

    def __repr__(self) -> str:
        lines = [f"Sessions({len(self.classes)} sessions, {sum(map(len, self.classes))} classes)"]
        for name, found in self.heads.items():
            lines.append(
                f"  {name:<6} final {percent(found.final.value, 3)}, forgetting {percent(found.forgetting.value, 3)}, "
                f"of it competition {percent(found.competition.value, 3)}"
            )
        return "\n".join(lines)


@settled()
def sessions(
    features: FeatureArray | None,
    labels: LabelArray,
    session: LabelArray,
    *,
    held_out: Sequence[Any] | None = None,
    bodies: Sequence[Any] | None = None,
    heads: Sequence[str] = ("nmc", "lda", "ridge"),
    alpha: float = 0.01,
    priors: str = "equal",
    base: Sequence[float] | None = None,
    bootstrap: int = BOOTSTRAP,
    level: float = 0.95,
    seed: int = 0,
) -> Sessions:
    """What a network forgets over the sessions of a continual training, from its features (n, d).

    After each session t a head is fitted from the sums of all sessions so far, without their rows (class counts and
    means, one scatter): the same as the joint fit on all rows seen, in any order and split. a[t, u] is its accuracy on
    the held-out rows of session u, in [0, 1]; all classes seen so far answer (`accuracy`), or those of u alone
    (`aware`). NaN for sessions that have not come.

    - `session`: the number or name of each row's session, in the order in which they come. `held_out`: features and
      labels of the rows to test on, and their sessions where classes come in more than one; by default half of the rows
      of every class of a session, drawn by `seed`.
    - `heads`: "nmc", nearest class mean; "lda", Mahalanobis distance by the within-class scatter/n, shrunk (oracle
      approximating) where rows less classes are no more than features, with `priors` "equal" or by "counts"; "ridge",
      least squares of centred one-hot targets with penalty alpha tr(S)/d, S the scatter of all rows seen.
    - `final` mean_u a[T, u]; `incremental` mean_t mean_{u<=t} a[t, u]; `learning` mean a[u, u];
      `forgetting` mean_{u<T} (max_{u<=t<T} a[t, u] - a[T, u]), below 0 where accuracy grew;
      `backward` mean_{u<T} (a[T, u] - a[u, u]); `harmonic` 2bn/(b + n), b = a[T, 0], n the mean of the others.
      `forward` mean_{u>0} (a[u-1, u] - base_u), `base` an accuracy for each session, such as that of a network with
      random weights, by default chance; NaN where a session brings classes, which no head can name before.
    - `competition`: the forgetting of the joint head on the first body, frozen: more classes compete, and no method
      avoids it. `intransigence`: mean_t of its a[t, t] less that of the head, what the newest session lacks; 0 with one
      body. `joint` (T, T): its accuracies.
    - `bodies`: the features of the same rows after every session, one entry a session, each an array or, with
      `held_out`, a pair (features, held-out features); `features` are then not read and may be None. A head then keeps
      the means and scatters of the body of each class's session. `head_loss` = refit(last body) - stale: what a head
      fitted anew on rows of all classes, an oracle with replay, would have; `body_loss` = refit(first body) -
      refit(last body); both in accuracy over all sessions. 0 and NaN-free without `bodies`.
    - `drift` by class, without `bodies` empty: |delta|^2, delta the mean over its rows of last less own body;
      `unbiased` less tr Cov(differences)/n, at least 0; `relative` sqrt(unbiased/pooled within-class trace in the last
      body); `residual` 1 - sim^2 of the rows of the class's session after the best translation, rotation and scale.
    - `chance` (T,): one over the classes seen.

    Intervals: bootstrap of the held-out rows within their session, all t and u on one resample; the rows that were
    fitted on and the sessions, which are few, are as they are.

    Raises InputError for NaN or infinite features, rows that do not match, fewer than two classes, an unknown head, or
    a session without held-out rows.

    Sources: Chen et al. 2010, doi:10.1109/TSP.2010.2053029 (shrinkage); Chaudhry et al. 2018, arXiv:1801.10112
    (forgetting); Lopez-Paz & Ranzato 2017, arXiv:1706.08840 (backward, forward); Rebuffi et al. 2017, arXiv:1611.07725
    (incremental accuracy).

    >>> import torch
    >>> from repana.dynamics import sessions
    >>> y = torch.arange(120) % 4
    >>> x = 3 * torch.eye(4)[y] + torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    >>> found = sessions(x, y, y // 2)
    >>> [round(float(a), 2) for a in found["nmc"].accuracy[1]]
    [0.93, 0.9]
    """
    _check.level_of(level)
    _check.choice(priors, "priors", ("equal", "counts"))
    _check.positive(alpha, "alpha")
    _check.at_least(bootstrap, "bootstrap", 0)
    heads = heads if isinstance(heads, Sequence) and not isinstance(heads, str) else [heads]
    for name in heads or ("",):
        _check.choice(name, "heads", HEADS)
    seed = _check.whole(seed, "seed")
    rows = SessionRows.of(features, labels, session, held_out, bodies, seed)
    if base is not None:
        base = _base(base, rows.sessions)
    resample = _resamples(rows, bootstrap, seed)
    found = {name: _of_head(Head(name, alpha, priors), rows, base, resample, level) for name in heads}
    seen = np.cumsum([len(c) for c in rows.new])
    settings = {
        "heads": list(heads), "alpha": alpha, "priors": priors, "bootstrap": bootstrap, "level": level, "seed": seed,
        "sessions": rows.names, "bodies": len(rows.fit), "fitted": len(rows.y), "held_out": len(rows.test_y),
    }  # fmt: skip
    return Sessions(found, _drift(rows), torch.from_numpy(1.0 / seen), tuple(map(tuple, rows.new)), settings)


def _base(base: Any, sessions: int) -> list[float]:
    """An accuracy for each session."""
    try:
        given = [float(b) for b in base]
    except (TypeError, ValueError):
        raise _refusals.no_base(base) from None
    if len(given) != sessions:
        raise _refusals.base_count(len(given), sessions)
    if not all(0 <= b <= 1 for b in given):
        raise _refusals.no_base(base)
    return given


def _of_head(
    head: Head, rows: SessionRows, base: Sequence[float] | None, resample: list[Int[Tensor, " m"]], level: float
) -> HeadSessions:
    """All accuracies of one head, from which held-out rows are right, and what is read of them."""
    last, n = len(rows.fit) - 1, len(rows.test_y)
    stale, aware = _hits(head, rows, lambda t: min(t, last))
    frozen = refit = stale
    if last:
        frozen, refit = (_hits(head, rows, lambda t, at=at: at)[0] for at in (0, last))

    def values(chosen: Int[Tensor, " m"] | None) -> dict[str, float]:
        at = rows.test_at if chosen is None else rows.test_at[chosen]
        a, joint, anew = (
            _matrix(hits if chosen is None else hits[:, chosen], at, rows) for hits in (stale, frozen, refit)
        )
        found = summary(a, base if base is not None else [1 / len(rows.classes)] * rows.sessions)
        ends = [float(np.nanmean(m[-1])) for m in (a, anew, joint)]
        losses = {"head_loss": ends[1] - ends[0], "body_loss": ends[2] - ends[1]}
        newest = float(np.mean(np.diagonal(joint) - np.diagonal(a)))
        return {**found, "competition": summary(joint)["forgetting"], "intransigence": newest, **losses}

    here = values(None)
    drawn = [values(order) for order in resample]
    estimates = {name: _estimate(name, v, [d[name] for d in drawn], n, level, rows) for name, v in here.items()}
    if not last:
        same = Flag.NOT_APPLICABLE.note("one body, which did not change")
        estimates |= {name: Estimate(0.0, n=n, note=same) for name in ("intransigence", "head_loss", "body_loss")}
    accuracy, limited, anew, joint = (
        torch.from_numpy(_matrix(h, rows.test_at, rows)) for h in (stale, aware, refit, frozen)
    )
    return HeadSessions(**estimates, accuracy=accuracy, aware=limited, refit=anew, joint=joint)


def _estimate(name: str, value: float, drawn: list[float], n: int, level: float, rows: SessionRows) -> Estimate:
    if not math.isfinite(value):
        reason = "one session" if rows.sessions < 2 else "sessions bring classes that no head can name before"
        return Estimate(NAN, n=n, note=Flag.UNDEFINED.note(reason))
    if not drawn:
        return Estimate(value, n=n)
    bounds = (0.0, 1.0) if name in ("final", "incremental", "learning", "harmonic") else (-1.0, 1.0)
    return from_replicates(value, drawn, n=n, level=level, bounds=bounds)


def _resamples(rows: SessionRows, bootstrap: int, seed: int) -> list[Int[Tensor, " m"]]:
    """Held-out rows drawn with replacement within their session."""
    generator = torch.Generator().manual_seed(seed)
    within = [(rows.test_at == t).nonzero()[:, 0] for t in range(rows.sessions)]
    return [
        torch.cat([at[torch.randint(len(at), (len(at),), generator=generator)] for at in within])
        for _ in range(bootstrap)
    ]


def summary(a: Float[np.ndarray, "t t"], base: Sequence[float] | None = None) -> dict[str, float]:
    """Final, incremental and learning accuracy, forgetting, backward and forward transfer, and the harmonic mean of the
    first session and the others, of a matrix of accuracies a[t, u] after session t on session u.

    >>> import numpy as np
    >>> from repana.dynamics._sessions import summary
    >>> round(summary(np.array([[0.8, np.nan], [0.6, 0.9]]))["forgetting"], 3)
    0.2
    """
    a = np.asarray(a, float)
    count = len(a)
    last, own = a[-1], np.diagonal(a)
    found = {
        "final": float(last.mean()),
        "incremental": float(np.mean([a[t, : t + 1].mean() for t in range(count)])),
        "learning": float(own.mean()),
    }
    found |= dict.fromkeys(("forgetting", "backward", "forward", "harmonic"), NAN)
    if count > 1:
        best = np.array([a[u : count - 1, u].max() for u in range(count - 1)])
        found["forgetting"] = float(np.mean(best - last[:-1]))
        found["backward"] = float(np.mean(last[:-1] - own[:-1]))
        if base is not None:
            found["forward"] = float(np.mean([a[u - 1, u] - base[u] for u in range(1, count)]))
        b, n = float(last[0]), float(last[1:].mean())
        found["harmonic"] = 2 * b * n / (b + n) if b + n > 0 else 0.0
    return found


def _hits(head: Head, rows: SessionRows, body: Callable[[int], int]) -> tuple[Bool[Tensor, "t m"], Bool[Tensor, "t m"]]:
    """Whether every held-out row is right after every session, among all classes seen and among those of its session;
    body(t) is the body that the rows of session t are fitted in, and that answers after it."""
    right, aware = [], []
    classes: list[int] = []
    for t in range(rows.sessions):
        here = rows.at == t
        head = head.plus(rows.fit[body(t)][here], rows.y[here])
        classes = classes + rows.new[t]
        scores, answers = head.scores(rows.test[body(t)], classes).cpu(), torch.tensor(classes)
        right.append(answers[scores.argmax(1)] == rows.test_y)
        among = torch.tensor([[c in own for c in classes] for own in rows.own])[rows.test_at]
        limited = scores.masked_fill(~among, -math.inf)
        aware.append((answers[limited.argmax(1)] == rows.test_y) & among.any(1))
    return torch.stack(right), torch.stack(aware)


def _matrix(hits: Bool[Tensor, "t m"], at: Int[Tensor, " m"], rows: SessionRows) -> Float[np.ndarray, "t t"]:
    """Shares of hits by session; NaN where a class of the session has not come."""
    many = torch.bincount(at, minlength=rows.sessions)
    found = np.stack([(torch.bincount(at, weights=h.double(), minlength=rows.sessions) / many).numpy() for h in hits])
    seen: set[int] = set()
    for t in range(rows.sessions):
        seen |= set(rows.new[t])
        for u in range(t + 1, rows.sessions):
            if not set(rows.own[u]) <= seen:
                found[t, u] = NAN
    return found


def _drift(rows: SessionRows) -> dict[int, MeanDrift]:
    """Of every class, from the body of the session that brought it to the last one, on the same rows."""
    found: dict[int, MeanDrift] = {}
    last = len(rows.fit) - 1
    if not last:
        return found
    end = rows.fit[last]
    within, degrees = 0.0, 0
    for c in rows.classes:
        x = end[rows.y == c]
        within += float((x - x.mean(0)).square().sum())
        degrees += len(x)
    for t in range(last):
        for c in rows.new[t]:
            at = (rows.y == c) & (rows.at == t)
            before, after = rows.fit[t][at], end[at]
            n = len(before)
            if before.shape[1] != after.shape[1]:
                continue
            moved = after - before
            squared = float(moved.mean(0).square().sum())
            spread = float((moved - moved.mean(0)).square().sum()) / max(n - 1, 1)
            unbiased = max(squared - spread / n, 0.0)
            session = rows.at == t
            relative = math.sqrt(unbiased / (within / degrees)) if within > 0 else NAN
            residual = _residual(rows.fit[t][session], end[session])
            found[c] = MeanDrift(squared, unbiased, relative, residual, t, n)
    return found


def _residual(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> float:
    """1 - sim^2 after the best translation, rotation and scale."""
    x, y = x - x.mean(0), y - y.mean(0)
    size = float(x.norm() * y.norm())
    return 1 - min(float(torch.linalg.svdvals(x.T @ y).sum()) / size, 1.0) ** 2 if size > 0 else NAN
