"""`python -m benchmarks.balls`: simulate the shipped curves of calibration anew (some 20 minutes) and write them."""

import math
import sys

import numpy as np
import torch

from repana import NeighbourGraph, gride, mada, mind_ml, mle, mom, tle, two_nn
from repana.dimension._angles import on_ball
from repana.dimension._calibration import DIMENSIONS, SEED, SIZES, TABLE, ball, curve_name, draws

DANCO = 10
MLE = {"average": "inverse", "normalizer": "k-1"}
ESTIMATORS = [
    (two_nn, {"method": "linear", "discard": 0.1}),
    (two_nn, {"method": "ml", "discard": 0.0}),
    (two_nn, {"method": "log_moment", "discard": 0.0}),
    (mle, {"k": 5, "k_max": 5, **MLE}),
    (mle, {"k": 10, "k_max": 10, **MLE}),
    (mle, {"k": 20, "k_max": 20, **MLE}),
    *((gride, {"n1": n1, "n2": 2 * n1}) for n1 in (1, 2, 4, 8, 16, 32)),
    (mom, {"k": 64, "average": "inverse"}),
    (mada, {"k": 20, "average": "inverse"}),
    (mind_ml, {"k": 20, "integer": False}),
    (tle, {"k": 20, "average": "inverse"}),
]


def statistics(n: int, d: int, seed: int) -> dict[str, list[float]]:
    """Every shipped statistic of one ball; those that need more neighbours than there are, NaN."""
    cloud = NeighbourGraph.of(ball(n, d, seed), k=min(65, n - 1))
    found = {}
    for function, options in ESTIMATORS:
        enough = max(options.get(name, 0) for name in ("k", "n2")) <= cloud.neighbours.k
        found[curve_name(function, options)] = [math.log(function(cloud, **options).value) if enough else math.nan]
    found[f"danco k={DANCO}"] = on_ball(cloud, DANCO)
    return found


def main() -> None:
    torch.set_num_threads(1)
    means: dict[str, list] = {}
    errors: dict[str, list] = {}
    for n in SIZES:
        rows: dict[str, list] = {}
        for d in DIMENSIONS:
            drawn = [statistics(n, d, SEED + i) for i in range(draws(n))]
            for name in drawn[0]:
                rows.setdefault(name, []).append([found[name] for found in drawn])
            print(n, d, file=sys.stderr)
        for name, values in rows.items():
            x = np.asarray(values)  # (dimensions, draws, statistics)
            means.setdefault(name, []).append(x.mean(1))
            errors.setdefault(name, []).append(x.std(1, ddof=1) / math.sqrt(x.shape[1]))
    stored = {f"{name}.mean": np.asarray(v, np.float32) for name, v in means.items()}
    stored |= {f"{name}.error": np.asarray(v, np.float32) for name, v in errors.items()}
    np.savez_compressed(TABLE, **stored)


if __name__ == "__main__":
    main()
