"""The rows of a continual training: those that heads are fitted on and held-out ones, session by session."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from repana import _check
from repana.dynamics import _refusals


@dataclass(frozen=True)
class SessionRows:
    """`fit` and `test` by body; `at` and `test_at` the session of each row; `new[t]` the classes that session t brings,
    `own[t]` those of its held-out rows."""

    fit: list[Tensor]
    test: list[Tensor]
    y: Int[Tensor, " n"]
    test_y: Int[Tensor, " m"]
    at: Int[Tensor, " n"]
    test_at: Int[Tensor, " m"]
    new: list[list[int]]
    own: list[list[int]]
    names: list[Any]

    @property
    def sessions(self) -> int:
        return len(self.new)

    @property
    def classes(self) -> list[int]:
        return [c for new in self.new for c in new]

    @classmethod
    def of(cls, features: Any, labels: Any, session: Any, held_out: Any, bodies: Any, seed: int) -> "SessionRows":
        if held_out is not None and (not isinstance(held_out, (tuple, list)) or not 2 <= len(held_out) <= 3):
            raise _refusals.held_out_form()
        y, test_y = _labels(labels, None if held_out is None else held_out[1])
        names, at = _codes(session, len(y))
        if bodies is not None and (isinstance(bodies, (str, Tensor, np.ndarray)) or not isinstance(bodies, Sequence)):
            raise _refusals.bodies_count(type(bodies).__name__, len(names))
        given = [features if held_out is None else (features, held_out[0])] if bodies is None else list(bodies)
        if bodies is not None and len(given) != len(names):
            raise _refusals.bodies_count(len(given), len(names))
        if held_out is None:
            whole = [_check.features_of(x).double() for x in given]
            _same_rows(whole, len(y))
            kept = _halves(y, at, seed)
            fit, test = [x[kept] for x in whole], [x[~kept] for x in whole]
            test_y, test_at, y, at = y[~kept], at[~kept], y[kept], at[kept]
        else:
            if any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in given):
                raise _refusals.bodies_form()
            fit, test = ([_check.features_of(pair[k]).double() for pair in given] for k in (0, 1))
            _same_rows(fit, len(y))
            _same_rows(test, len(test_y))
            _same_width(fit, test)
            test_at = _sessions_of(held_out, test_y, y, at, names)
        known: set[int] = set()
        new = []
        for t in range(len(names)):
            new.append([int(c) for c in y[at == t].unique() if int(c) not in known])
            known |= set(new[-1])
        if len(known) < 2:
            raise _refusals.too_few_classes(len(known))
        unknown = sorted(set(test_y.tolist()) - known)
        if unknown:
            raise _refusals.unseen_class(unknown[0])
        own = [[int(c) for c in test_y[test_at == t].unique()] for t in range(len(names))]
        empty = [str(names[t]) for t, classes in enumerate(own) if not classes]
        if empty:
            raise _refusals.session_without_rows(empty[0])
        return cls(fit, test, y, test_y, at, test_at, new, own, list(names))


def _labels(labels: Any, others: Any) -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]]:
    """Labels of the rows to fit on and of held-out ones, with one code for each class."""
    first, second = (
        np.asarray(x.detach().cpu() if isinstance(x, Tensor) else [] if x is None else x) for x in (labels, others)
    )
    both = first if others is None else np.concatenate([first, second])
    codes = _check.labels_of(both, len(both))[0].long()
    return codes[: len(first)], codes[len(first) :]


def _codes(session: Any, n: int) -> tuple[list[Any], Int[Tensor, " n"]]:
    """Sessions in the order in which they come: numbers ascending, names as they first appear."""
    given = np.asarray(session.cpu() if isinstance(session, Tensor) else session)
    if given.shape != (n,):
        raise _check.unlike_samples(n, len(given.reshape(-1)))
    if given.dtype.kind == "f" and not bool(np.isfinite(given).all()):
        raise _refusals.session_of_nothing(int((~np.isfinite(given)).sum()))
    if given.dtype.kind in "iuf":
        names, codes = np.unique(given, return_inverse=True)
        return names.tolist(), torch.from_numpy(codes).long()
    names = list(dict.fromkeys(given.tolist()))
    return names, torch.tensor([names.index(value) for value in given.tolist()])


def _sessions_of(
    held_out: Sequence[Any], test_y: Int[Tensor, " m"], y: Int[Tensor, " n"], at: Int[Tensor, " n"], names: list[Any]
) -> Int[Tensor, " m"]:
    """The session of every held-out row: as given, or that of its class, where this comes in one session."""
    if len(held_out) == 3:
        given = held_out[2]
        given = given.tolist() if isinstance(given, (Tensor, np.ndarray)) else list(given)
        unknown = [value for value in given if value not in names]
        if unknown:
            raise _refusals.unknown_session(unknown[0], names)
        if len(given) != len(test_y):
            raise _check.unlike_samples(len(test_y), len(given))
        return torch.tensor([names.index(value) for value in given])
    where = {}
    for c in y.unique().tolist():
        several = at[y == c].unique()
        if len(several) > 1:
            raise _refusals.class_in_sessions(c, [str(names[t]) for t in several.tolist()])
        where[c] = int(several)
    unknown_classes = sorted(set(test_y.tolist()) - set(where))
    if unknown_classes:
        raise _refusals.unseen_class(unknown_classes[0])
    return torch.tensor([where[c] for c in test_y.tolist()])


def _halves(y: Int[Tensor, " n"], at: Int[Tensor, " n"], seed: int) -> Bool[Tensor, " n"]:
    """Half of the rows of every class of a session, the larger half to fit on."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(len(y), dtype=torch.bool)
    for t in at.unique().tolist():
        for c in y[at == t].unique().tolist():
            rows = ((y == c) & (at == t)).nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)]
            kept[rows[: (len(rows) + 1) // 2]] = True
    return kept


def _same_rows(given: Sequence[Tensor], n: int) -> None:
    for x in given:
        if len(x) != n:
            raise _check.unlike_samples(len(x), n)


def _same_width(fit: Sequence[Tensor], test: Sequence[Tensor]) -> None:
    for x, held_out in zip(fit, test):
        if x.shape[1] != held_out.shape[1]:
            raise _refusals.held_out_width(x.shape[1], held_out.shape[1])
