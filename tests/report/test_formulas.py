"""Formulas of quantities as MathML: fractions, scripts, norms, names as text, and nothing that is no XML."""

import re
import xml.etree.ElementTree as ET

import pytest

from repana.analyzers import ACROSS_LAYERS, ANALYZERS
from repana.report._formulas import mathml

QUANTITIES = [q for a in (*ANALYZERS.values(), *ACROSS_LAYERS.values()) for q in a.quantities]


def read(node) -> str:
    """MathML as a line that says its structure."""
    inside = [read(child) for child in node if child.tag != "mspace"]
    text = (node.text or "").replace("\u2061", "")
    if node.tag == "mfrac":
        return f"[{inside[0]} / {inside[1]}]"
    if node.tag in ("msub", "msup"):
        return inside[0] + {"msub": "_", "msup": "^"}[node.tag] + inside[1]
    if node.tag == "msubsup":
        return f"{inside[0]}_{inside[1]}^{inside[2]}"
    if node.tag == "msqrt":
        return f"root({''.join(inside)})"
    return text + "".join(inside)


@pytest.mark.parametrize(
    ("formula", "structure"),
    [
        ("tr(Sw Sb^+)/c", "[tr(S_wS_b^+) / c]"),
        ("tr Sw / tr Sb", "[trS_w / trS_b]"),
        ("(v_i + v_j)/(2 |m_i - m_j|^2)", "[v_i+v_j / 2|m_i\u2212m_j|^2]"),
        ("mean_{i<j} |cos_ij + 1/(c-1)|", "mean_i<j|cos_ij+[1 / c\u22121]|"),
        (
            "|McMc'/|McMc'|_F - J/|J|_F|_F",
            "\u2225[M_cM_c^\u22a4 / \u2225M_cM_c^\u22a4\u2225_F]\u2212[J / \u2225J\u2225_F]\u2225_F",
        ),
        ("I/sqrt(c)", "[I / root(c)]"),
        ("1 - 1/n^2 sum #{d_ij < enemy_i}", "1\u2212[1 / n^2]\u2211#{d_ij<enemy_i}"),
        ("H(y|0) - H(y|x), linear", "H(y|0)\u2212H(y|x),linear"),
        ("exp H(s / sum s + 1e-7)", "expH([s / \u2211s]+10^\u22127)"),
        ("19 / mean_i sum_{j<20} log(r_20/r_j)", "[19 / mean_i\u2211_j<20log([r_20 / r_j])]"),
        ("accuracy of the k nearest, k chosen", "accuracy of theknearest,kchosen"),
        ("R^2 >= threshold", "R^2\u2265threshold"),
        ("mean -log2 p(y|x)", "mean\u2212log_2p(y|x)"),
        ("Spearman's rho of held-out K", "Spearman's\u03c1of held-outK"),
    ],
)
def test_structure(formula, structure):
    assert read(ET.fromstring(mathml(formula))) == structure


@pytest.mark.parametrize("formula", [q.formula for q in QUANTITIES])
def test_every_formula_of_the_tables_keeps_its_letters(formula):
    """Nothing is lost: the letters and digits of the text are those of the markup, but for names of symbols."""
    spelled = {"lambda": "\u03bb", "sigma": "\u03c3", "rho": "\u03c1", "beta": "\u03b2"}
    words = re.sub("|".join(spelled), lambda m: spelled[m[0]], re.sub(r"sqrt|sum|prod|1e-7", "", formula))
    shown = "".join(ET.fromstring(mathml(formula)).itertext()).replace("10\u22127", "")
    assert sorted(filter(str.isalnum, words)) == sorted(filter(str.isalnum, shown))


@pytest.mark.parametrize(
    "formula", ["", "(", "a/", "/b", "|x", "x_", "<b>&", "a^", "((a)", "|", "a | b | c", "}", "x'"]
)
def test_what_is_no_formula_is_still_markup(formula):
    assert ET.fromstring(mathml(formula)).tag == "math"
