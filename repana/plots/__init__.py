"""Figures: each reads a report, draws on Axes and returns them. Nothing is shown, saved or styled globally."""

from repana.plots._style import figure_of, style
from repana.plots.depth import depth_profile

__all__ = ["depth_profile", "figure_of", "style"]
