"""Figures of topology and of class distances: what is drawn is what was measured."""

import numpy as np
import pytest
import torch

import repana
from repana import InputError, class_divergences, persistence, plots

X = torch.cat([torch.randn(60, 8, generator=torch.Generator().manual_seed(k)) + 6 * k for k in range(3)])
Y = torch.arange(180) // 60


@pytest.fixture(scope="module")
def report():
    made = repana.Activations({"a": X, "b": X[:, :2] * 9}, Y, sample=torch.arange(180), seen=180)
    return repana.profile(made, permutations=0, bootstrap=0)


def test_betti_curves_are_counts_of_components(report):
    ax = plots.betti_curves(report)
    for line, layer in zip(ax.lines, ("a", "b")):
        np.testing.assert_allclose(line.get_xydata(), report.array("topology.betti", layer))
    assert ax.get_yscale() == "log"


def test_edge_lengths_are_shares_over_the_longest(report):
    ax = plots.edge_lengths(report, "a")
    deaths = report.array("topology.deaths", "a")
    share = np.histogram(deaths / deaths.max(), np.linspace(0, 1, 41))[0] / len(deaths)
    drawn = ax.patches[0].get_data().values
    np.testing.assert_allclose(drawn[share > 0], share[share > 0])
    assert len(plots.edge_lengths(report).patches) == 2


def test_diagrams_and_barcodes_have_every_bar():
    found = persistence(X)
    ax = plots.persistence_diagram(found, title="layer")
    for drawn, diagram in zip(ax.collections, found.diagrams.values()):
        np.testing.assert_allclose(np.asarray(drawn.get_offsets()), diagram)
    assert ax.get_title(loc="left") == "layer, n = 180"
    bars = plots.barcode(found)
    segments = bars.collections[0].get_segments()
    assert len(segments) == 60
    assert segments[0][1][0] == pytest.approx(found.diagram(0)[0, 1])
    labels = [t.get_text() for t in plots.figure_of(bars).legends[0].get_texts()]
    assert labels[0] == "$H_0$, 179 bars, 119 shorter not drawn"


def test_class_distances_name_the_closest_pairs():
    found = class_divergences(X, Y)
    ax = plots.class_distances(found, names=["x", "y", "z"])
    grid = ax.images[0].get_array()
    assert float(grid[0, 0]) == pytest.approx(float(found.bhattacharyya[1, 0]))
    assert np.ma.is_masked(grid[0, 1])
    assert "x and y: " in plots.figure_of(ax).get_supxlabel()
    assert "halves of one class" in ax.get_title(loc="left")
    kl = plots.class_distances(found, "kl")
    assert float(kl.images[0].get_array()[1, 1]) == pytest.approx(float(min(found.kl[2, 1], found.kl[1, 2])))
    with pytest.raises(InputError, match="RA212: `kind` is 'cosine'"):
        plots.class_distances(found, "cosine")
    with pytest.raises(InputError, match="RA201"):
        plots.class_distances(found, names=["x"])


def test_the_page_has_a_section_of_each(report, tmp_path):
    text = report.to_html(tmp_path / "page.html").read_text()
    for heading in ("Betti curves", "Spanning trees"):
        assert f"<h3>{heading}</h3>" in text
