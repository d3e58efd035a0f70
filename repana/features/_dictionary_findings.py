"""Findings on dictionaries: whether one is better than the units, what is dead or shrunk, what the network loses."""

import math
import re
from collections.abc import Mapping
from typing import Any

from repana._finding import ABSENT, ISSUE, PASSED, TIP, Finding, View, listed
from repana._numbers import number, percent

DEAD, GAMMA = 0.1, 0.95
MUCH, POOR = 0.95, 0.5
NONE = "No dictionary was measured."


def _values(view: View, quantity: str) -> dict[str, Any]:
    return {r.layer: r for r in view.rows(f"dictionary_quality.{quantity}") if math.isfinite(r.value)}


def ceiling(view: View) -> Finding:
    """Whether a dictionary explains more of its layer than as many of the layer's own largest units in each row. An
    issue where its interval lies below them: it compresses worse than the units themselves.
    """
    explained, units, pca = (_values(view, name) for name in ("explained", "units", "pca"))
    if not explained:
        return Finding(ABSENT, NONE)
    below = [x for x, r in explained.items() if x in units and r.high < units[x].value]
    said = [
        f"{percent(explained[x].value, 2)} at {x} (units {percent(units[x].value, 2)}, PCA {percent(pca[x].value, 2)})"
        for x in explained
        if x in units and x in pca
    ]
    text = f"The dictionary explains {'; '.join(said[:3])}, each with as many numbers a row."
    if below:
        return Finding(ISSUE, text, tuple(below), "It compresses worse than the units: check layer and normalisation.")
    return Finding(PASSED, text, tuple(explained))


def dead(view: View) -> Finding:
    """Whether more than a tenth of the features of a dictionary are never active in these rows."""
    found = _values(view, "dead")
    if not found:
        return Finding(ABSENT, NONE)
    many = {x: r for x, r in found.items() if r.value > DEAD}
    if not many:
        return Finding(PASSED, f"No more than {percent(DEAD, 2)} of the features of a dictionary are dead.")
    rows = _settings(view)
    said = [f"{percent(r.value, 2)} at {x} (in {rows.get(x, {}).get('rows', 0):,} rows)" for x, r in many.items()]
    return Finding(
        TIP, f"Features that are never active: {'; '.join(said[:3])}.", tuple(many), "Use more rows to tell."
    )


def shrunk(view: View) -> Finding:
    """Whether reconstructions are too short: the best scale of x^ is 1/gamma, and gamma lies below .95 with its whole
    interval."""
    found = _values(view, "bias_gamma")
    if not found:
        return Finding(ABSENT, NONE)
    short = {x: r for x, r in found.items() if (r.high if math.isfinite(r.high) else r.value) < GAMMA}
    if not short:
        return Finding(PASSED, "Reconstructions are not shrunk (gamma at least .95 within its interval).")
    said = [f"gamma {number(r.value)} at {x}" for x, r in short.items()]
    text = f"Reconstructions are shrunk: {'; '.join(said[:3])}."
    return Finding(TIP, text, tuple(short), "Multiply them by 1/gamma, or train the encoder's scale again.")


def recovered(view: View) -> Finding:
    """What the network keeps when a layer is replaced by what a dictionary makes of it; a tip where nearly all of the
    loss is recovered and less than half of the layer explained, which the loss against the mean row must be read with.
    """
    found = {r.layer: r for r in view.rows("splice.recovered") if math.isfinite(r.value)}
    if not found:
        return Finding(ABSENT, "No dictionary was put in the place of its layer, or the mean row does not hurt.")
    explained = _values(view, "explained")
    said = [f"{percent(r.value, 3)} [{percent(r.low, 3)}, {percent(r.high, 3)}] at {x}" for x, r in found.items()]
    text = f"Loss recovered, against the mean row: {'; '.join(said[:3])}."
    odd = [x for x, r in found.items() if r.value > MUCH and x in explained and explained[x].value < POOR]
    if odd:
        return Finding(TIP, f"{text} Less than half of {listed(odd)} is explained all the same.", tuple(odd))
    return Finding(PASSED, text, tuple(found))


def hook(view: View) -> Finding:
    """Whether a dictionary is read at the layer that its files name, by the number of the block. An output of block l
    is the input of block l + 1. Not applicable where the files name none.
    """
    settings = _settings(view)
    named = {x: s["hook"] for x, s in settings.items() if s.get("hook")}
    if not named:
        return Finding(ABSENT, "The files of the dictionary name no layer.")
    wrong = {x: h for x, h in named.items() if differs(x, h)}
    if wrong:
        said = "; ".join(f"{x} for {h}" for x, h in wrong.items())
        text = f"The dictionary is read at another layer than its files name: {said}."
        return Finding(ISSUE, text, tuple(wrong), "Read it at the layer of its training.")
    return Finding(PASSED, f"The dictionary is read where its files say ({listed(list(named.values()))}).")


def differs(layer: str, hook: str) -> bool:
    """Whether the block numbers of an address and of a hook's name tell different places; False where one has none."""
    ours, theirs = _block(layer), _block(hook)
    if ours is None or theirs is None:
        return False
    ours += not (layer.endswith(":in") or ":in[" in layer)  # blocks that the stream has passed
    theirs += not any(word in hook for word in ("resid_pre", "hook_in", ".input"))
    inside = any(word in hook for word in ("mlp", "attn", "ln"))
    return ours != theirs and not (inside and abs(ours - theirs) == 1)


def _block(name: str) -> int | None:
    found = re.findall(r"(?:^|[._])(\d+)(?=$|[._:@\[])", name)
    return int(found[0]) if found else None


def _settings(view: View) -> Mapping[str, Any]:
    return view.report.about(view.run).get("settings", {}).get("dictionary_quality", {}).get("dictionaries", {})
