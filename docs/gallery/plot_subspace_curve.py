"""
Dimension of an objective
=========================

In how many random directions a small network learns the handwritten digits.
"""

from _digits import accuracy, mlp, train_mlp

from repana import objective_dimension, plots

found = objective_dimension(mlp, train_mlp, accuracy, precision=0.2)
figure = plots.figure_of(plots.subspace_curve(found, metric="accuracy"))
