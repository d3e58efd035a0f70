"""Clusters by density and scale beside the exact Hilbert function of two-parameter persistence of multipers, where it
is installed."""

import numpy as np
from scipy.spatial.distance import pdist, squareform

from benchmarks._measure import alternate, ratio, show
from repana.topology._density import codensity, components, median_distance, merges

LEVELS = np.linspace(0.1, 1, 10)
SCALES = np.linspace(0, 1.5, 31)
SIZES = (100, 200, 400)


def ours(between: np.ndarray) -> np.ndarray:
    """The surface of ten levels."""
    density = codensity(between, 10)
    unit = median_distance(between)
    return components(merges(between, density, np.quantile(density, LEVELS)), SCALES * unit)


def by_multipers(between: np.ndarray) -> np.ndarray:
    """The same surface, summed up from the Hilbert signed measure of the Rips filtration by scale and codensity."""
    import multipers
    from multipers.filtrations import RipsLowerstar

    density = codensity(between, 10)
    unit = float(np.median(between[np.triu_indices(len(between), 1)]))
    tree = RipsLowerstar(distance_matrix=between, function=density)
    ((points, weights),) = multipers.signed_measure(tree, degree=0, invariant="hilbert")
    at = np.quantile(density, LEVELS)
    inside = (points[:, 1] <= at[:, None] * (1 + 1e-12))[:, None] & (points[:, 0] <= (SCALES * unit)[:, None])
    return (inside * weights).sum(2)


def main() -> None:
    try:
        import multipers  # noqa: F401
    except ImportError:
        print("multipers is not installed: nothing to compare with")
        return
    lines = []
    for n in SIZES:
        between = squareform(pdist(np.random.default_rng(n).standard_normal((n, 8))))
        if not np.array_equal(ours(between), by_multipers(between)):
            raise SystemExit(f"the surfaces of {n} samples differ")
        times = alternate({"ours": lambda: ours(between), "multipers": lambda: by_multipers(between)}, rounds=3)  # noqa: B023
        lines.append(ratio(f"n = {n}: multipers / ours", times["multipers"], times["ours"], least=50))
    show("Clusters by density and scale, equal surfaces", lines)
