"""
Sedimentation
=============

Complexity of all features, and of the most important ones, over training.
"""

from _digits import features_over_training

from repana import plots, sedimentation

found = features_over_training()
complexities = {step: reading.complexity for step, reading in found.items()}
importances = {step: reading.importance for step, reading in found.items()}
figure = plots.figure_of(plots.sedimentation_curve(sedimentation(complexities, importances, top=0.25)))
