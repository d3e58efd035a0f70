"""The intrinsic dimension of the objective: how few random directions in parameter space training needs."""

import copy
import hashlib
import inspect
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call

from repana import _check
from repana._estimate import NAN, Estimate, Flag
from repana.dimension import _refusals

if TYPE_CHECKING:
    import pandas as pd

PROJECTIONS = ("dense", "sparse", "fastfood")
WIDEST = 2**31  # bytes of a dense projection
ROWS = 2**14  # parameters of a dense projection drawn at a time
MEASURED = 2**28  # dimensions times length, up to which the norms of Fastfood's columns are measured
RUNS = "runs.jsonl"


class Subspace(nn.Module):
    """A model whose parameters are theta_0 + P v, v the only one that is trained: (d,), zero at first.

    P has `dimension` columns of norm 1 over all parameters together. "dense": Gaussian, columns scaled to norm 1.
    "sparse": in a tensor of m parameters every entry is -1 or 1 over the square root of its chance 1/sqrt(m), else 0, a
    column of zeros getting one entry, then scaled likewise. "fastfood": the first D rows of H G Pi H B, H the Hadamard
    matrix of size L = 2^ceil(log2 D), B signs, Pi a permutation, G Gaussian, over sqrt(L sum G^2) sqrt(D/L), then
    scaled likewise where dimension x L is at most 2^28; beyond, norms are 1 up to about 1/sqrt(D), which is below
    0.2 % there. Its memory is of the order of D. P follows from `seed` and the shapes, so that `checkpoint` holds the
    seed and v alone.

    The model is copied; buffers, `.to()`, train and eval mode and tied parameters work as in the model itself.
    Parameters that do not require gradients stay what they are.

    Raises InputError for a dimension below 1 or above the number of parameters, or a dense P above 2 GB.

    Source: Li, Farkhoor, Liu & Yosinski 2018, arXiv:1804.08838; Fastfood: Le, Sarlos & Smola 2013, arXiv:1408.3060.
    """

    v: nn.Parameter
    _p: Tensor
    _signs: Tensor
    _order: Tensor
    _gauss: Tensor

    def __init__(self, model: nn.Module, dimension: int, *, projection: str = "fastfood", seed: int = 0) -> None:
        super().__init__()
        _check.choice(projection, "projection", PROJECTIONS)
        self.model = copy.deepcopy(model)
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        total = sum(p.numel() for _, p in trained)
        dimension, seed = _check.whole(dimension, "dimension"), _check.whole(seed, "seed")
        if not 1 <= dimension <= total:
            raise _refusals.subspace_size(dimension, total)
        if projection == "dense" and 4 * total * dimension > WIDEST:
            raise _refusals.dense_projection(total, dimension, 4 * total * dimension)
        for _, p in trained:
            p.requires_grad_(False)
        self.dimension, self.projection, self.seed, self.total = dimension, projection, seed, total
        self._names, self._shapes = [name for name, _ in trained], [p.shape for _, p in trained]
        device = trained[0][1].device
        self.v = nn.Parameter(torch.zeros(dimension, device=device))
        drawn = {"dense": _dense, "sparse": _sparse, "fastfood": _fastfood}[projection]
        for name, value in drawn([math.prod(shape) for shape in self._shapes], dimension, seed).items():
            self.register_buffer(f"_{name}", value.to(device), persistent=False)

    def offset(self) -> Float[Tensor, " D"]:
        """P v."""
        if self.projection == "dense":
            return self._p @ self.v
        if self.projection == "sparse":
            return torch.sparse.mm(self._p, self.v[:, None])[:, 0]
        x = torch.nn.functional.pad(self.v, (0, len(self._signs) - self.dimension)) * self._signs
        return _hadamard(self._gauss * _hadamard(x)[self._order])[: self.total]

    def parameters_at(self) -> dict[str, Tensor]:
        """The model's parameters theta_0 + P v by name."""
        found, start, offset = {}, 0, self.offset()
        for name, shape in zip(self._names, self._shapes):
            base, size = self.model.get_parameter(name), math.prod(shape)
            found[name] = base + offset[start : start + size].view(shape).to(base.dtype)
            start += size
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self.model, self.parameters_at(), args, kwargs)

    def checkpoint(self) -> dict[str, Any]:
        """What the trained model needs beside its initial parameters: seed, projection and v."""
        return {"seed": self.seed, "projection": self.projection, "v": self.v.detach().cpu().clone()}

    @classmethod
    def restore(cls, model: nn.Module, checkpoint: dict[str, Any]) -> "Subspace":
        """The trained model from the initial one and a checkpoint."""
        v = checkpoint["v"]
        made = cls(model, len(v), projection=checkpoint["projection"], seed=checkpoint["seed"])
        with torch.no_grad():
            made.v.copy_(v)
        return made


class _Hadamard(torch.autograd.Function):
    """The Walsh-Hadamard transform of the last axis, its own transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        h, shape = 1, x.shape
        while h < shape[-1]:
            pairs = x.view(-1, 2, h)
            x = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1)
            h *= 2
        return x.view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Hadamard.apply(gradients[0].contiguous())


def _hadamard(x: Float[Tensor, "*b L"]) -> Float[Tensor, "*b L"]:
    return _Hadamard.apply(x.contiguous())


def _dense(sizes: list[int], d: int, seed: int) -> dict[str, Tensor]:
    p = torch.empty(sum(sizes), d)
    generator = torch.Generator().manual_seed(seed)
    for part in p.split(ROWS):
        part.normal_(generator=generator)
    return {"p": p / torch.linalg.vector_norm(p, dim=0)}


def _sparse(sizes: list[int], d: int, seed: int) -> dict[str, Tensor]:
    rng, start = np.random.default_rng(seed), 0
    places, values = [], []
    for m in sizes:
        chance = 1 / math.sqrt(m)
        count = rng.binomial(m * d, chance)
        where = np.unique(rng.integers(0, m * d, int(count * 1.5) + 8)) if chance < 0.5 else np.arange(m * d)
        where = np.sort(rng.permutation(where)[:count])
        places.append(np.stack([where // d + start, where % d]))
        values.append(rng.choice([-1.0, 1.0], len(where)) / math.sqrt(chance))
        start += m
    at, x = np.concatenate(places, 1), np.concatenate(values)
    empty = np.setdiff1d(np.arange(d), at[1])
    at = np.concatenate([at, np.stack([rng.integers(0, start, len(empty)), empty])], 1)
    x = np.concatenate([x, np.ones(len(empty))])
    norms = np.sqrt(np.bincount(at[1], x**2, minlength=d))
    x = x / norms[at[1]]
    p = torch.sparse_coo_tensor(
        torch.from_numpy(at), torch.from_numpy(x).float(), (start, d), check_invariants=True
    ).coalesce()
    return {"p": p}


def _fastfood(sizes: list[int], d: int, seed: int) -> dict[str, Tensor]:
    total = sum(sizes)
    length = 2 ** math.ceil(math.log2(max(total, 2)))
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (length,), generator=generator).float() * 2 - 1
    order = torch.randperm(length, generator=generator)
    gauss = torch.randn(length, generator=generator)
    norm = math.sqrt(length * float(gauss.square().sum())) * math.sqrt(total / length)
    gauss = gauss / norm
    if d * length <= MEASURED:
        for part in torch.arange(d).split(max(1, ROWS * 64 // length)):
            columns = torch.zeros(len(part), length)
            columns[torch.arange(len(part)), part] = signs[part]
            made = _hadamard(gauss * _hadamard(columns)[:, order])[:, :total]
            signs[part] /= torch.linalg.vector_norm(made, dim=1)
    return {"signs": signs, "order": order, "gauss": gauss}


@dataclass(frozen=True)
class Trained:
    """One training: in `dimension` directions (0: all parameters), from `seed`, at a learning rate."""

    dimension: int
    seed: int
    metric: float
    rate: float | None = None


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
    search = _Search(make, train, evaluate, projection, tuple(rates), None if store is None else Path(store))
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


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


class _Search:
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
        _write(path, json.dumps(known, indent=1) + "\n")
        if lines.exists():
            whole, _, _ = lines.read_text(encoding="utf-8").rpartition("\n")  # a line may have been cut off
            try:
                self.runs = [Trained(**json.loads(line)) for line in whole.splitlines()]
            except (ValueError, TypeError) as error:
                raise _check.unreadable(lines, str(error)) from None
            _write(lines, whole + "\n" if whole else "")
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
