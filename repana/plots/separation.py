"""Figures of the separation of classes: the distances between classes as a grid."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from repana import _check
from repana._numbers import short
from repana.plots import _style
from repana.plots._class_grids import PAIRS, grid_of_pairs
from repana.separation._class_divergences import MATRICES, ClassDivergences


def class_distances(
    found: ClassDivergences,
    kind: str = "bhattacharyya",
    *,
    names: Sequence[str] = (),
    ax: Axes | None = None,
    pairs: int = PAIRS,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw a divergence between every pair of classes, the closest pairs framed and named.

    `kind`: a matrix of `class_divergences`; of "kl" the smaller of both directions. `names` of the classes, by default
    their labels. Darker pairs are closer; the title has the divergence that two halves of one class have, which is
    noise. From 21 classes on the ten closest pairs are bars beside the grid. Returns the Axes, with the lower triangle
    of the grid, less its empty first row and last column, in its image. Raises InputError for two classes.
    """
    _check.choice(kind, "kind", MATRICES)
    grid = getattr(found, kind).numpy().astype(float)
    grid = np.minimum(grid, grid.T)
    called = [str(name) for name in names or found.classes]
    if len(called) != len(grid):
        raise _check.lengths_differ([len(called), len(grid)])
    noise = f"\nhalves of one class: {short(found.noise.value)}" if kind == "bhattacharyya" else ""
    title = f"{kind.replace('_', ' ').capitalize() if kind != 'kl' else 'KL'} between classes{noise}"
    return grid_of_pairs(grid, called, (title, ""), title.partition(" between")[0], ax, pairs, width, overlap=False)
