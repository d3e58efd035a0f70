"""Figures: each reads a report or activations, draws on Axes and returns them; nothing is shown or set globally."""

from repana.plots import collapse, comparison, dimension, features, probes, spectra, topology, training
from repana.plots._data import drawn_data
from repana.plots._panels import Panel, Section
from repana.plots._style import FONTS, figure_of, style
from repana.plots.classifier_plane import Mixed, classifier_plane
from repana.plots.collapse import cdnv_grid, class_gram, mean_spectrum
from repana.plots.comparison import (
    barrier_curve,
    default_figure,
    drift_depth,
    head_plane,
    layer_similarity,
    robustness_depth,
    unlearning_depth,
)
from repana.plots.depth import OVERVIEW, depth_profile, overview
from repana.plots.dictionaries import dictionary, matching
from repana.plots.dimension import dimension_depth, dimension_scale
from repana.plots.exits import exit_depth
from repana.plots.experts import expert_load
from repana.plots.features import (
    complexity_plane,
    exciting_inputs,
    feature_fan,
    flow_paths,
    merging_curve,
    onset_histogram,
    sedimentation_curve,
)
from repana.plots.heads import head_maps
from repana.plots.heat import heat_map
from repana.plots.kernels import kernel_depth, kernel_spectrum
from repana.plots.local_dimension import local_dimension_histogram, local_dimension_map
from repana.plots.maps import layer_map, layer_maps
from repana.plots.objective import subspace_curve
from repana.plots.probe_studies import mdl_curve, ood_scatter, pareto_front, sample_efficiency_curve
from repana.plots.probes import confusion, layer_strip, probe_depth, selectivity_depth
from repana.plots.ranking import ranking_depth
from repana.plots.relations import relation_depth
from repana.plots.runs import run_summary
from repana.plots.separation import class_distances
from repana.plots.sessions import session_accuracy
from repana.plots.spectra import spectrum
from repana.plots.topology import barcode, betti_curves, density_surface, edge_lengths, persistence_diagram
from repana.plots.training import settling, step_map
from repana.plots.trajectory import is_training, trajectory
from repana.plots.weights import weight_probe_depth

SECTIONS = (
    Section(
        "Class separation and collapse",
        "How far apart are the classes, and have features collapsed onto the class means?",
        ("neural_collapse", "fisher", "separability", "data_complexity", "separation_law"),
        collapse.PANELS,
    ),
    Section(
        "Class pairs",
        "Which classes overlap, and which does a linear probe take for one another?",
        ("class_divergences",),
        (*collapse.PAIRS_PANELS, *probes.CONFUSED),
    ),
    Section(
        "Probing",
        "From which layer on can classes be decoded, and by which probe?",
        ("probing", "layer_choice", "layer_differences", "probe_baselines"),
        probes.PANELS,
    ),
    Section(
        "Dimension and spectrum",
        "How many dimensions do features fill, and at which scale?",
        ("dimension", "dimension_estimators", "spectrum"),
        (*dimension.PANELS, *spectra.PANELS),
    ),
    Section("Topology", "Do samples form clusters, labels aside?", ("topology",), topology.PANELS),
    Section(
        "Features",
        "When do penultimate units become decodable, and which of them does the decision use?",
        ("complexity", "layer_readings", "complexity_vs_importance"),
        features.PANELS,
    ),
    Section(
        "Comparison",
        "How similar are layers of the two networks, beyond chance and architecture?",
        ("similarity", "drift", "unlearning"),
        comparison.PANELS,
    ),
)  # of the page, in its order
PANELS = tuple(panel for section in SECTIONS for panel in section.panels)
OF_TRAINING = training.PANELS  # beside the trajectory of a training

__all__ = [
    "FONTS",
    "OF_TRAINING",
    "OVERVIEW",
    "PANELS",
    "SECTIONS",
    "Mixed",
    "Panel",
    "Section",
    "barcode",
    "barrier_curve",
    "betti_curves",
    "cdnv_grid",
    "class_distances",
    "class_gram",
    "classifier_plane",
    "complexity_plane",
    "confusion",
    "default_figure",
    "depth_profile",
    "density_surface",
    "dictionary",
    "dimension_depth",
    "dimension_scale",
    "drawn_data",
    "drift_depth",
    "edge_lengths",
    "exciting_inputs",
    "exit_depth",
    "expert_load",
    "feature_fan",
    "figure_of",
    "flow_paths",
    "head_maps",
    "kernel_depth",
    "kernel_spectrum",
    "head_plane",
    "heat_map",
    "is_training",
    "layer_map",
    "layer_maps",
    "layer_similarity",
    "layer_strip",
    "local_dimension_histogram",
    "local_dimension_map",
    "matching",
    "mdl_curve",
    "mean_spectrum",
    "merging_curve",
    "onset_histogram",
    "overview",
    "ood_scatter",
    "pareto_front",
    "persistence_diagram",
    "probe_depth",
    "robustness_depth",
    "ranking_depth",
    "run_summary",
    "sample_efficiency_curve",
    "relation_depth",
    "sedimentation_curve",
    "selectivity_depth",
    "session_accuracy",
    "settling",
    "spectrum",
    "step_map",
    "style",
    "subspace_curve",
    "trajectory",
    "weight_probe_depth",
    "unlearning_depth",
]
