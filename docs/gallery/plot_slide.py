"""
The same figure for a slide
===========================

Every figure in the sizes of a talk.
"""

from _digits import report

from repana import plots

with plots.style("slide"):
    figure = report().plot("nc1", width=4.5)
