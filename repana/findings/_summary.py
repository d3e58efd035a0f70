"""A report in one to three sentences: where classes become decodable, the state of the last hidden layer, what to
read with care."""

import math
from collections.abc import Sequence

import numpy as np

from repana._finding import (
    ABSENT,
    ALPHA,
    CAUTION,
    PASSED,
    RESULT,
    TIP,
    Finding,
    View,
    fraction,
    listed,
    share,
    split_name,
    value,
    without_shared,
)
from repana._numbers import number, percent
from repana._results import Report

WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
NAMED = 2  # cautions in a summary
PROPER = ("Fisher", "Thornton")  # that begin a sentence and keep their capital inside one
STAYS = 0.03  # of accuracy, that later layers may fall below the best
MUCH = 1.05  # times the training value from which held-out data are said to differ
NC1 = "neural_collapse.nc1"
PROBE = "probing.linear_probe"


def of_run(view: View, found: Sequence[Finding]) -> tuple[str, ...]:
    """The summary of one run, from its findings and rows; a sentence whose rows are missing is left out."""
    known = {f.code: f for f in found if f.severity != ABSENT}
    if view.report.about(view.run).get("compared"):
        results = [f.text for f in found if f.kind == RESULT and f.severity != ABSENT]
        return tuple(s for s in (*results[:2], _care([f for f in found if f.kind == CAUTION])) if s)
    sentences = [_where(view, known), _state(view, known), _care([f for f in found if f.kind == CAUTION])]
    return tuple(s for s in sentences if s)


def of_runs(report: Report, found: Sequence[Finding]) -> tuple[str, ...]:
    """The summary of many runs: the range of the numbers that they share, or that none has class structure."""
    views = [View(report, run) for run in report.profiles]
    first = f"{len(views)} runs, {listed(report.profiles)}." if len(views) <= 4 else f"{len(views)} runs."
    without = {f.run for f in found if f.code == "RF102" and f.text.startswith("No class structure")}
    if len(without) == len(views):
        first = f"No class structure was found in any of {len(views)} runs: no headline value is better than with "
        first += "shuffled labels."
    elif without:
        first = f"{first.removesuffix('.')}; no class structure in {len(without)} of them ({listed(sorted(without))})."
    lines = [_range(views, name, title) for name, title in RANGED]
    lines = [line for line in lines if line][:2]
    whole = [f for f in found if f.run not in report.profiles]  # what is read of all records of a training
    told = [f.text for f in whole if f.kind == RESULT and f.severity != ABSENT][:3]
    told += [_care(cautions)] if (cautions := [f for f in whole if f.kind == CAUTION]) else []
    return (*told, *(lines if lines and not without and len(views) > 4 else (first, *lines)))


RANGED = (("probing.linear_probe", "Linear probe accuracy"), (NC1, "NC1"), ("dimension.two_nn", "Intrinsic dimension"))


def _range(views: Sequence[View], name: str, title: str) -> str:
    rows = [(v.run, r) for v in views if (r := v.at(name)) is not None and math.isfinite(r.value)]
    if len(rows) < 2:
        return ""
    values = [r.value for _, r in rows]
    low, high = min(rows, key=lambda pair: pair[1].value), max(rows, key=lambda pair: pair[1].value)
    text = (lambda v: percent(v, 3)) if name.startswith("probing") else (lambda v: number(v, 3))
    if low[1].value == high[1].value:
        return f"{title} at the penultimate layer: {text(low[1].value)} in all {len(rows)} runs."
    where = f"{title} at the penultimate layer: {text(low[1].value)} to {text(high[1].value)} over {len(rows)} runs"
    names = dict(zip((v.run for v in views), without_shared([v.run for v in views])))
    return f"{where} (median {text(float(np.median(values)))}; lowest {names[low[0]]}, highest {names[high[0]]})."


def _where(view: View, known: dict[str, Finding]) -> str:
    nothing = known.get("RF102")
    if nothing is not None and nothing.text.startswith("No class structure"):
        return nothing.text
    earliest = known.get("RF501")
    if earliest is None:
        other = known.get("RF301") or known.get("RF401")
        return "" if other is None else other.text
    layer, raw, best = earliest.layers[0], view.at(PROBE, "input"), view.at("layer_choice.chosen_accuracy", "")
    if "RF504" in known and raw is not None and best is not None and raw.value > best.high:
        return known["RF504"].text  # the network loses class information
    row, chance, given = (view.at(f"probing.{q}", at) for q, at in
                          (("linear_probe", layer), ("chance", layer), ("linear_probe", "input")))  # fmt: skip
    if row is None:
        return earliest.text
    later = [r for r in view.rows("probing.validation_accuracy") if r.depth >= row.depth and math.isfinite(r.value)]
    stays = all(r.value >= max(x.value for x in later) - STAYS for r in later)
    where = f"From {view.place(layer)} on" if stays else f"At {view.place(layer)}"
    text = f"{where}, a linear probe is within 1 point of its best over layers ({share(row)}"
    text += f"; chance {percent(chance.value, 3)})" if chance is not None else ")"
    if given is not None and math.isfinite(given.value):
        text += f"; the raw input already gives {share(given)}"
    random = known.get("RF503")
    if random is not None and random.severity == TIP:
        text += f"; random weights do as well at {listed(random.layers)}"
    return f"{text}."


def _state(view: View, known: dict[str, Finding]) -> str:
    """Collapse at the penultimate layer, in training and on held-out data."""
    row = view.at(NC1)
    if row is None or not (row.null > 0 and math.isfinite(row.value)):
        return ""
    place = view.place(view.last)
    part = f"NC1 {value(row).partition(' ')[0]}, {fraction(row.value / row.null)} of the shuffled-label value"
    if view.p(NC1).get(row.layer, 0.0) >= ALPHA:
        return f"At {place}, class means explain no more than with shuffled labels ({part})."
    split = split_name(row.split)
    done = "RF201" in known and known["RF201"].severity == PASSED
    text = f"At {place}, {split} features have {'' if done else 'not '}collapsed onto their class means ({part})"
    for second in view.splits[1:2] if "RF206" in known else ():
        other = view.at(NC1, split=second)
        if other is not None and row.value > 0 and other.value / row.value > MUCH:
            text += f"; {split_name(second)} features {number(other.value / row.value, 2)} times less so"
    return f"{text}."


def _care(cautions: Sequence[Finding]) -> str:
    if not cautions:
        return "No cautions."
    count = WORDS[len(cautions)] if len(cautions) < len(WORDS) else str(len(cautions))
    named = "; ".join(map(_clause, cautions[:NAMED]))
    if len(cautions) <= NAMED:
        return f"{count} caution{'s' if len(cautions) > 1 else ''}: {named}."
    return f"{count} cautions, among them: {named}."


def _clause(found: Finding) -> str:
    """The head of a sentence, to stand inside another."""
    head = found.text.removesuffix(".").partition(" (")[0].partition("; ")[0].partition(": ")[0]
    head = head.removesuffix(",").partition(", and")[0]
    return head if head[:2].isupper() or head.startswith(PROPER) else head[0].lower() + head[1:]
