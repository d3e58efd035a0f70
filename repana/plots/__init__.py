"""Figures: each reads a report, draws on Axes and returns them. Nothing is shown, saved or styled globally."""

from repana.plots._style import style
from repana.plots.depth import depth_profile

__all__ = ["depth_profile", "style"]
