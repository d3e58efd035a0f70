"""The intrinsic dimension of the objective: how few random directions in parameter space training needs."""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from torch import nn

from repana import _check
from repana._estimate import NAN, Estimate, Flag
from repana.dimension import _refusals
from repana.dimension._subspace import PROJECTIONS
from repana.dimension._trainings import Trained, Trainings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ObjectiveDimension:
    """The intrinsic dimension of an objective; see `objective_dimension`.

    `dimension` over seeds; `by_seed` of each; `baseline` of full training, `target` the metric to reach; `runs` all
    trainings, of which `reused` were read from the store; `parameters` their number.
    """

    dimension: Estimate
    by_seed: tuple[int | None, ...]
    baseline: Estimate
    target: float
    runs: tuple[Trained, ...]
    parameters: int
    projection: str
    share: float
    reused: int = 0

    def frame(self) -> "pd.DataFrame":
        """Every training: dimension (0 is full training), seed, rate, metric."""
        import pandas as pd

        return pd.DataFrame([asdict(run) for run in self.runs])

    def curve(self) -> "pd.DataFrame":
        """Over all dimensions that were tried: seeds, and the mean, least and largest metric of their best rate."""
        import pandas as pd

        rows = []
        for d in sorted({run.dimension for run in self.runs} - {0}):
            best: dict[int, float] = {}
            for run in self.runs:
                if run.dimension == d:
                    best[run.seed] = max(run.metric, best.get(run.seed, -math.inf))
            values = list(best.values())
            rows.append((d, len(values), float(np.mean(values)), min(values), max(values)))
        return pd.DataFrame(rows, columns=["dimension", "seeds", "metric", "least", "largest"])

    def __repr__(self) -> str:
        name = f"d_int{100 * self.share:.0f}"
        runs = f"{len(self.runs)} runs" + (f", {self.reused} of them from the store" if self.reused else "")
        return f"ObjectiveDimension({name} = {self.dimension} of {self.parameters} parameters, {runs})"


def objective_dimension(
    make: Callable[[int], nn.Module],
    train: Callable[..., None],
    evaluate: Callable[[nn.Module], float],
    *,
    share: float = 0.9,
    projection: str = "fastfood",
    seeds: int | Iterable[Any] = 3,
    rates: Sequence[float] = (),
    start: int | None = None,
    precision: float = 0.1,
    store: str | os.PathLike[str] | None = None,
    experiment: str = "",
    level: float = 0.95,
) -> ObjectiveDimension:
    """The fewest random directions in which training reaches a share of what full training reaches (d_int90).

    theta = theta_0 + P v (`Subspace`). For every seed the model is made, trained in d directions and evaluated; d is
    doubled or halved from `start` (the square root of the number of parameters) until one d reaches the target and a
    smaller one misses it, then the two are brought together, on a log scale, to within a factor 1 + `precision` or one.

    - `make(seed)`: a newly initialised model. `train(model)`: trains the parameters that require gradients, in place.
      `evaluate(model)`: a metric on held-out data, the higher the better, such as the accuracy (not the loss).
    - `seeds`: how many (from 0 on), or which.
    - The target is `share` times the mean metric of full training over the seeds.
    - `rates`: learning rates; then `train(model, rate)` is called for each and the best metric counts, since the best
      rate depends on d.
    - `store`: a folder. Every training is written there when it ends, its v (with the seed, all that is needed) beside
      it, and a call that was cut off goes on from there. A store is known by its parameters' names and shapes, its
      projection, the initial weights of every seed, and `experiment`: name there what else makes a training another
      one, such as the number of epochs, since `train` and `evaluate` cannot be seen into.

    `dimension` is the geometric mean over seeds, its interval Student's on the log scale, from the mean of the least
    dimensions that the search left open to that of the found ones; NaN with the reason where a
    seed misses the target with every dimension up to the number of parameters. Unit: dimensions, from 1 on.

    Raises InputError for no or repeated seeds, a share, precision or start out of range, a metric that is no number, a
    `train` that changes nothing, full training that reaches no finite metric above 0, or a store of another experiment;
    FileError for a store that was cut or changed.

    Source: Li, Farkhoor, Liu & Yosinski 2018, arXiv:1804.08838.
    """
    _check.in_range(share, "share", 1e-6, 1.0)
    _check.in_range(precision, "precision", 1e-3, 10.0)
    _check.choice(projection, "projection", PROJECTIONS)
    _check.level_of(level)
    chosen = _seeds(seeds)
    if rates and not _takes_two(train):
        raise _refusals.no_rate_taken(rates)
    search = Trainings(make, train, evaluate, projection, tuple(rates), None if store is None else Path(store))
    total = search.same_experiment(chosen, experiment)
    start = start if start is None else _check.whole(start, "start")
    if start is not None and start < 1:
        raise _refusals.subspace_size(start, total)
    reused = len(search.runs)
    full = [search.metric(0, seed) for seed in chosen]
    if not all(0 < metric < math.inf for metric in full):
        raise _refusals.no_baseline(dict(zip(chosen, full)))
    target = share * float(np.mean(full))
    first = min(total, max(1, round(math.sqrt(total))) if start is None else start)
    ends = [search.smallest(seed, target, first, total, precision) for seed in chosen]
    return ObjectiveDimension(
        dimension=_over_seeds(ends, level, total),
        by_seed=tuple(high for _, high in ends),
        baseline=_mean(full, level),
        target=target,
        runs=tuple(search.runs),
        parameters=total,
        projection=projection,
        share=share,
        reused=reused,
    )


def _seeds(seeds: Any) -> tuple[int, ...]:
    """The seeds as whole numbers, all different."""
    count = isinstance(seeds, (int, np.integer))
    found = tuple(range(int(seeds))) if count else tuple(_check.whole(seed, "seeds") for seed in seeds)
    if not found or len(set(found)) < len(found):
        raise _refusals.bad_seeds(seeds)
    return found


def _takes_two(train: Callable[..., None]) -> bool:
    try:
        inspect.signature(train).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not say
        return True
    return True


def _mean(values: Sequence[float], level: float) -> Estimate:
    x = np.asarray(values, float)
    if len(x) < 2:
        return Estimate(float(x.mean()), n=len(x), note=Flag.NO_INTERVAL.note("one seed"))
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return Estimate(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, len(x))


def _over_seeds(ends: Sequence[tuple[int, int | None]], level: float, total: int) -> Estimate:
    """From the largest dimension that missed the target and the least that reached it, of every seed."""
    reached = [(low, high) for low, high in ends if high is not None]
    if len(reached) < len(ends):
        missed = len(ends) - len(reached)
        return Estimate(
            NAN,
            n=len(ends),
            note=Flag.OUT_OF_RANGE.note(f"{missed} of {len(ends)} seeds miss the target up to d = {total}"),
        )
    least, log = (_mean([math.log(d) for d in side], level) for side in zip(*((a + 1, b) for a, b in reached)))
    return Estimate(math.exp(log.value), math.exp(least.low), math.exp(log.high), len(ends), log.note)
