"""Reports made by hand, for the tests of figures, pages and tables."""

import numpy as np

from repana import Report
from repana._estimate import Estimate
from repana._results import row


def planted(layers, values, name="nc1", run="run", split="train", analyzer="neural_collapse", **about) -> Report:
    """One quantity over layers; values are numbers or Estimates."""
    estimates = [v if isinstance(v, Estimate) else Estimate(v) for v in values]
    rows = [row(run, split, layer, i, analyzer, name, e) for i, (layer, e) in enumerate(zip(layers, estimates))]
    return Report(tuple(rows), {}, {"run": run, **about})


def classes(c: int, layer: str = "fc:in", seed: int = 0) -> Report:
    """A report with the class arrays of one layer."""
    random = np.random.default_rng(seed)
    means = random.normal(size=(c, 2 * c))
    means -= means.mean(0)
    gram = means @ means.T
    norms = np.sqrt(np.diag(gram))
    squares = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    grid = 1 / np.where(squares > 0, squares, np.nan)
    np.fill_diagonal(grid, np.nan)
    arrays = {
        f"train/{layer}/neural_collapse.class_cosines": gram / norms / norms[:, None],
        f"train/{layer}/neural_collapse.cdnv_grid": grid,
        f"train/{layer}/neural_collapse.mean_spectrum": np.linalg.svd(means, compute_uv=False)[: c - 1],
    }
    one = planted([layer], [0.5], classes={"train": {f"class{i}": 3 for i in range(c)}})
    return Report(one.rows, arrays, one.provenance)
