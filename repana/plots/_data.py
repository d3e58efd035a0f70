"""The numbers that a figure draws, as rows of a table."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.patches import Rectangle, StepPatch

HEAD = ("panel", "series", "x", "y", "value")


def drawn_data(axes: Axes | Sequence[Axes]) -> str:
    """Lines, points, bars, steps and cells of a figure as CSV, to four digits; `value` is that of a cell.

    Where an axis has names, such as those of layers, they stand in the place of 0, 1, 2, ... Intervals are not in it.
    """
    panels = [axes] if isinstance(axes, Axes) else list(axes)
    panels += [child for ax in panels for child in ax.child_axes if isinstance(child, Axes)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for ax in panels:
        title = ax.get_title(loc="left").replace("\n", " ").strip()
        across, down = _names(ax.xaxis), _names(ax.yaxis)
        for series, x, y, value in _series(ax):
            label = "" if series.startswith("_") else series.strip()
            place = [across.get(float(x), _short(float(x))), down.get(float(y), _short(float(y)))]
            writer.writerow([*map(_plain, [title, label, *place]), _short(float(value))])
    return out.getvalue()


def _plain(text: str) -> str:
    """A name that begins as a formula of a spreadsheet does, so that none reads it as one."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _series(ax: Axes) -> Iterator[tuple[str, float, float, float]]:
    """Every point that is drawn in a panel, with the name of what it is a part of."""
    for line in ax.lines:
        for x, y in np.asarray(line.get_xydata(), float):
            if line.get_transform() == ax.transData and np.isfinite(y):
                yield str(line.get_label()), x, y, np.nan
    for found in ax.collections:
        if isinstance(found, PathCollection):
            for x, y in np.asarray(found.get_offsets(), float):
                yield str(found.get_label()), x, y, np.nan
        elif isinstance(found, LineCollection):
            for part in found.get_segments():
                for x, y in np.asarray(part, float):
                    yield str(found.get_label()), x, y, np.nan
    for patch in ax.patches:
        if isinstance(patch, StepPatch):
            values, edges, _ = patch.get_data()
            for x, y in zip((edges[:-1] + edges[1:]) / 2, values):
                yield str(patch.get_label()), float(x), float(y), np.nan
        elif isinstance(patch, Rectangle) and not ax.images:
            middle = patch.get_x() + patch.get_width() / 2
            yield str(patch.get_label()), middle, patch.get_height(), np.nan
    for image in ax.images:
        cells: Any = image.get_array()
        for i, j in np.argwhere(~np.ma.getmaskarray(cells)):
            yield "", float(j), float(i), float(cells[i, j])


def _names(axis: Any) -> dict[float, str]:
    """Places that have a name; of an axis of numbers none."""
    labels = [label.get_text() for label in axis.get_majorticklabels()]
    named = [text for text in labels if any(sign.isalpha() for sign in text) and not text.startswith("$")]
    return {float(at): text for at, text in zip(axis.get_majorticklocs(), labels)} if named else {}


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"
