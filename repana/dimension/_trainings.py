"""The trainings of a search for the objective's dimension: those that were done, kept in a store, and those to do."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repana import _check
from repana._files import put
from repana.dimension import _refusals
from repana.dimension._subspace import Subspace

RUNS = "runs.jsonl"


@dataclass(frozen=True)
class Trained:
    """One training: in `dimension` directions (0: all parameters), from `seed`, at a learning rate."""

    dimension: int
    seed: int
    metric: float
    rate: float | None = None


class Trainings:
    """Trainings that were done, in memory and in the store, and those that are still to do."""

    def __init__(
        self,
        make: Callable[[int], nn.Module],
        train: Callable[..., None],
        evaluate: Callable[[nn.Module], float],
        projection: str,
        rates: tuple[float, ...],
        store: Path | None,
    ) -> None:
        self._make, self._train, self._evaluate = make, train, evaluate
        self._projection, self._rates, self._store = projection, rates, store
        self.runs: list[Trained] = []

    def same_experiment(self, seeds: Sequence[int], experiment: str) -> int:
        """The number of parameters. Opens the store, or refuses one of another experiment."""
        about: dict[str, Any] = {"experiment": experiment, "projection": self._projection}
        total, initial = 0, {}
        for seed in seeds:
            trained = [(name, p) for name, p in self._make(seed).named_parameters() if p.requires_grad]
            total = sum(p.numel() for _, p in trained)
            about |= {"parameters": total, "shapes": _digest(f"{name} {tuple(p.shape)}" for name, p in trained)}
            initial[str(seed)] = _digest(p.detach().double().cpu().numpy().tobytes() for _, p in trained)
        if self._store is None:
            return total
        self._store.mkdir(parents=True, exist_ok=True)
        path, lines = self._store / "experiment.json", self._store / RUNS
        known = _read(path) if path.exists() else {**about, "initial": {}}
        for name, value in about.items():
            if known.get(name) != value:
                raise _refusals.other_experiment(self._store, name, known.get(name), value)
        for seed, weights in initial.items():
            if known["initial"].setdefault(seed, weights) != weights:
                raise _refusals.other_experiment(
                    self._store, f"seed {seed}, initial weights", known["initial"][seed], weights
                )
        put(path, json.dumps(known, indent=1).encode() + b"\n")
        if lines.exists():
            whole, _, _ = lines.read_text(encoding="utf-8").rpartition("\n")  # a line may have been cut off
            try:
                self.runs = [Trained(**json.loads(line)) for line in whole.splitlines()]
            except (ValueError, TypeError) as error:
                raise _check.unreadable(lines, str(error)) from None
            put(lines, whole.encode() + b"\n" if whole else b"")
        return total

    def metric(self, d: int, seed: int) -> float:
        """The best over learning rates in d directions; 0 trains all parameters."""
        return max(self._one(d, seed, rate) for rate in (self._rates or (None,)))

    def _one(self, d: int, seed: int, rate: float | None) -> float:
        for run in self.runs:
            if (run.dimension, run.seed, run.rate) == (d, seed, rate):
                return run.metric
        model = self._make(seed)
        made = model if d == 0 else Subspace(model, d, projection=self._projection, seed=seed)
        trained = [p for p in made.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in trained]
        self._train(made) if rate is None else self._train(made, rate)
        if all(torch.equal(a, b) for a, b in zip(before, trained)):
            raise _refusals.nothing_trained(d)
        found = self._evaluate(made)
        try:
            metric = float(found)
        except (TypeError, ValueError, RuntimeError):
            raise _refusals.metric_not_a_number(found) from None
        if not math.isfinite(metric):
            metric = -math.inf  # the training came apart: it does not count, but it was done
        self._keep(Trained(d, seed, metric, rate), made)
        return metric

    def _keep(self, run: Trained, made: nn.Module) -> None:
        self.runs.append(run)
        if self._store is None:
            return
        if isinstance(made, Subspace):
            from safetensors.torch import save_file

            rate = "" if run.rate is None else f"_rate{run.rate:g}"
            v = made.checkpoint()["v"]
            save_file({"v": v}, self._store / f"v_d{run.dimension}_seed{run.seed}{rate}.safetensors")
        with (self._store / RUNS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")

    def smallest(self, seed: int, target: float, start: int, total: int, precision: float) -> tuple[int, int | None]:
        """The largest dimension known to miss the target and the least known to reach it; None where none does."""
        high: int | None = None
        low, d = 0, start
        while True:
            if self.metric(d, seed) >= target:
                high = d
                if low or d == 1:
                    break
                d = max(1, d // 2)
            else:
                low = d
                if high is not None or d == total:
                    break
                d = min(total, 2 * d)
        if high is None:
            return low, None
        while high - low > 1 and high > low * (1 + precision) and low:
            middle = min(high - 1, max(low + 1, round(math.sqrt(low * high))))
            if self.metric(middle, seed) >= target:
                high = middle
            else:
                low = middle
        return low, high


def _digest(parts: Iterable[str | bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _check.unreadable(path, str(error)) from None
    if not isinstance(known, dict) or not isinstance(known.get("initial"), dict):
        raise _check.unreadable(path, "it is not the description of an experiment")
    return known
