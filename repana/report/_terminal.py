"""A report for a terminal: the summary and a table of key numbers, in at most 24 lines of 100 columns."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from repana import _check
from repana._compare import Comparison, Difference
from repana._estimate import span
from repana._finding import ABSENT, KINDS, PASSED, split_name
from repana._numbers import number, printable
from repana._results import Report, Row, penultimate
from repana.findings import CHECK, find, summarise

WIDTH, LINES = 100, 24
LINES_OF_DIFFERENCES, SMALL = 20, 0.01  # of a comparison, and the share of a value that is no change
FEW = 3  # comparisons that are shown one by one
LONGEST = 34  # characters of a name of a layer or run
GAP = "  "
DOT = " \u00b7 "


@dataclass(frozen=True)
class Column:
    """A quantity in the table: its head, how a row is written, and whether all splits have one or only the first."""

    quantity: str
    head: str
    text: Callable[[Row], str]
    splits: bool = False


def _percent(r: Row) -> str:
    return f"{100 * r.value:.1f}" if math.isfinite(r.value) else "\u2013"


def _of_null(r: Row) -> str:
    known = math.isfinite(r.value) and r.null > 0
    return f"{r.value / r.null:.0e}" if known else "\u2013"


def _number(r: Row) -> str:
    return number(r.value, 2)


LABELLED = (
    Column("probing.linear_probe", "probe acc. %", _percent, splits=True),
    Column("neural_collapse.nc1", "NC1 / shuffled", _of_null, splits=True),
    Column("separability.silhouette", "silhouette", _number),
    Column("dimension.two_nn", "dim. (TwoNN)", _number),
)
UNLABELLED = (
    Column("dimension.two_nn", "dim. (TwoNN)", _number),
    Column("spectrum.participation_ratio", "part. ratio", _number),
    Column("spectrum.effective_rank", "eff. rank", _number),
    Column("topology.h0_entropy", "H0 score", _number),
    Column("spectrum.alpha", "power law", _number),
)


def terminal(report: Report, quantities: Sequence[str] = (), *, every: bool = False, footer: str = "") -> str:
    """The summary and the table. `quantities` are the columns instead of the usual ones; `every` shows all layers."""
    if not report.rows:
        return repr(report)
    head = [_facts(report), ""]
    for sentence in summarise(report):
        head += textwrap.wrap(sentence, WIDTH - 2, initial_indent=GAP, subsequent_indent=GAP, break_on_hyphens=False)
    checks = sum(f.kind == CHECK and f.severity == PASSED for f in find(report)) if len(report.runs) == 1 else 0
    tail = [_footer(footer, checks)] if footer or checks else []
    names, cells, titles = _cells(report, quantities)
    if not names:
        return printable("\n".join([*head, "", *tail]).rstrip())
    used = len(head) + 1 + 2 + (1 + len(tail) if tail else 0)
    room = len(names) if every else max(3, LINES - used)
    shown = _shown(report, names, room)
    table = _table(names, cells, titles, shown, "layer" if len(report.runs) == 1 else "run")
    return printable("\n".join([*head, "", *table, *(["", *tail] if tail else [])]))


def _facts(report: Report) -> str:
    """One line on the model and the data."""
    about, runs = report.about(), report.runs
    title = runs[0] if len(runs) == 1 else f"{len(runs)} runs"
    facts = [f"{about['parameters']:,} parameters"] if "parameters" in about and len(runs) == 1 else []
    facts += [f"{len(report.layers)} layer{'s' * (len(report.layers) != 1)}"]
    facts += [f"{split_name(k)} {v['samples']:,}" for k, v in about.get("splits", {}).items()]
    classes = report.classes()
    facts += [f"{len(classes)} classes"] if classes else []
    return f"{_tail(title, LONGEST)}   {DOT.join(facts)}"[:WIDTH]


def _footer(text: str, checks: int) -> str:
    passed = f"{checks} checks passed" if checks else ""
    room = WIDTH - len(text) - len(passed)
    return f"{text}{' ' * max(2, room)}{passed}" if text and passed else text or passed


def _columns(report: Report, quantities: Sequence[str]) -> list[tuple[Column, str]]:
    """Quantities that were measured, each with its splits."""
    here = {f"{r.analyzer}.{r.quantity}" for r in report.rows if r.layer}
    if quantities:
        chosen = [Column(report.qualified(q), report.named(q).label, _number, splits=True) for q in quantities]
        chosen = [c for c in chosen if c.quantity in here]
    else:
        labelled = [c for c in LABELLED if c.quantity in here]
        fits = len(labelled) > 1 or not any(c.quantity in here for c in UNLABELLED)
        chosen = labelled if fits else [c for c in UNLABELLED if c.quantity in here]
        if not chosen:
            names = [n for n in report.headline if n in here][:5]
            chosen = [Column(n, report.named(n).label, _number) for n in names]
    return [(c, split) for c in chosen for split in (report.splits[:2] if c.splits else report.splits[:1])]


Cells = Mapping[tuple[str, int], str]


def _cells(report: Report, quantities: Sequence[str]) -> tuple[list[str], Cells, list[tuple[str, str]]]:
    """Names of lines, texts by line and column, heads of columns: layers of one run, or runs at their last layer."""
    columns = _columns(report, quantities)
    single = len(report.runs) == 1
    names = list(report.layers) if single else list(report.profiles)
    last = {run: penultimate(report, run) for run in report.profiles}
    rows = {(r.run, r.split, f"{r.analyzer}.{r.quantity}", r.layer): r for r in report.rows}
    cells: dict[tuple[str, int], str] = {}
    for name in names:
        run, layer = (report.runs[0], name) if single else (name, last[name])
        for j, (column, split) in enumerate(columns):
            r = rows.get((run, split, column.quantity, layer))
            cells[name, j] = "" if r is None else column.text(r)
    kept = [name for name in names if any(cells[name, j] for j in range(len(columns)))]
    titles = [(c.head, split_name(split) if len(report.splits) > 1 else "") for c, split in columns]
    return kept, cells, titles


def _shown(report: Report, names: Sequence[str], room: int) -> list[str]:
    """All, or the first, the last and those that findings name."""
    if len(names) <= room:
        return list(names)
    named = [layer for f in find(report) for layer in f.layers] if len(report.runs) == 1 else []
    ordered = [n for n in dict.fromkeys([names[0], names[-1], *named, *names]) if n in set(names)]
    return [n for n in names if n in set(ordered[: room - 1])]


def _table(
    names: Sequence[str], cells: Cells, titles: Sequence[tuple[str, str]], shown: Sequence[str], what: str
) -> list[str]:
    prefix = _shared(names) if what == "layer" else ""
    labels = {name: _tail(name.removeprefix(prefix), LONGEST) for name in shown}
    first = f"{what} ({_tail(prefix, LONGEST)}\u2026)" if prefix else what
    wide = max(len(first), *map(len, labels.values()))
    groups: list[tuple[str, list[int]]] = []
    for j, (head, _) in enumerate(titles):
        if groups and groups[-1][0] == head:
            groups[-1][1].append(j)
        else:
            groups.append((head, [j]))
    widths = {j: max(len(titles[j][1]), *(len(cells[n, j]) for n in shown)) for j in range(len(titles))}
    top, below, kept = [first.ljust(wide)], ["".ljust(wide)], []
    for head, at in groups:
        inner = sum(widths[j] for j in at) + len(GAP) * (len(at) - 1)
        widths[at[0]] += max(0, len(head) - inner)
        inner = max(inner, len(head))
        if wide + sum(len(GAP) + 1 + len(t) for t in top[1:]) + inner + 3 > WIDTH:
            break
        top.append(head.rjust(inner))
        below.append(GAP.join(titles[j][1].rjust(widths[j]) for j in at))
        kept.append(at)
    gap = GAP + " "
    lines = [gap.join(top).rstrip()]
    lines += [gap.join(below).rstrip()] if any(split for _, split in titles) else []
    for name in shown:
        parts = [GAP.join(cells[name, j].rjust(widths[j]) for j in at) for at in kept]
        lines.append(gap.join([labels[name].ljust(wide), *parts]).rstrip())
    if len(shown) < len(names):
        lines.append(f"... {len(names) - len(shown)} more (--all)")
    return lines


def _shared(names: Sequence[str]) -> str:
    """What all names but those of one word begin with, up to a dot."""
    dotted = [n for n in names if "." in n]
    if len(dotted) < 3 or len(dotted) < len(names) - 3:
        return ""
    parts = [n.split(".")[:-1] for n in dotted]
    common = []
    for step in zip(*parts):
        if len(set(step)) > 1:
            break
        common.append(step[0])
    return "".join(f"{p}." for p in common)


def _tail(text: str, most: int) -> str:
    return text if len(text) <= most else f"\u2026{text[-most + 1 :]}"


def of_findings(report: Report) -> str:
    """Every finding of every run, by kind, with what to do."""
    out: list[str] = []
    for run in report.runs:
        found = find(report, run)
        out += [run] if len(report.runs) > 1 else []
        groups = [(kind, [f for f in found if f.kind == kind and f.severity != ABSENT]) for kind in KINDS]
        groups.append(("not measured", [f for f in found if f.severity == ABSENT]))
        for title, members in groups:
            out += ["", f"{title[0].upper()}{title[1:]}s" if title in KINDS else "Not measured"] if members else []
            for f in members:
                text = f"{f.text} {f.action}".strip()
                out += textwrap.wrap(f"{text} [{f.code}]", WIDTH, initial_indent=GAP, subsequent_indent=GAP * 2)
    return printable("\n".join(out).strip())


def of_layer(report: Report, layer: str) -> str:
    """Every value of one layer, a line each."""
    rows = [r for r in report.rows if r.layer == layer]
    if not rows:
        raise _check.not_recorded(layer, list(report.layers))
    out = []
    for r in rows:
        name = f"{r.analyzer}.{r.quantity}"
        where = [r.run] * (len(report.runs) > 1) + [split_name(r.split)] * (len(report.splits) > 1)
        word = "shuffled" if report.null_name(r.run) == "shuffled labels" else "null"
        null = f"  {word} {number(r.null)}" if math.isfinite(r.null) else ""
        out.append(f"{name:<38}{' '.join(where):<12} {number(r.value)} {span(r.low, r.high)}{null}"[:WIDTH].rstrip())
    return printable("\n".join(out))


def of_differences(found: Sequence[Comparison], *, every: bool = False) -> str:
    """Differences of runs, the clearest of each quantity first; of many the first twenty lines.

    Of more than three comparisons a line is a quantity: the first run's value and the range of the others'.
    """
    if len(found) > FEW and not every:
        return _many_differences(found)
    out: list[str] = []
    for c in found:
        clear = [d for d in c.differences if not _unchanged(d)]
        paired = sum(d.paired for d in c.differences)
        out.append(
            f"{c.b} against {c.a}: {len(clear)} of {len(c.differences)} values changed ({paired} paired, marked =)"
        )
        groups: dict[str, list[Difference]] = {}
        for d in sorted(c.differences if every else clear, key=lambda d: d.clearness, reverse=True):
            groups.setdefault(d.quantity, []).append(d)
        shown = [d for members in groups.values() for d in (members if every else members[:1])]
        room = len(shown) if every else max(1, LINES_OF_DIFFERENCES // len(found) - 2)
        out += [_line(d, len(groups[d.quantity]), every) for d in shown[:room]]
        left = len(clear) - min(room, len(shown)) if not every else 0
        out += [f"  {left} further changes (--all)"] if left > 0 else []
    return printable("\n".join(out))


def _many_differences(found: Sequence[Comparison]) -> str:
    """A line a quantity, at the layer where it changes most clearly in most runs."""
    firsts = list(dict.fromkeys(c.a for c in found))
    start = firsts[0] if len(firsts) == 1 else f"{len(firsts)} runs"
    places: dict[str, dict[tuple[str, str], list[tuple[str, Difference]]]] = {}
    for c in found:
        for d in c.differences:
            if not _unchanged(d):
                places.setdefault(d.quantity, {}).setdefault((d.layer, d.split), []).append((c.b, d))
    best = {q: max(at.values(), key=lambda m: (len(m), max(d.clearness for _, d in m))) for q, at in places.items()}
    order = sorted(best, key=lambda q: max(d.clearness for _, d in best[q]), reverse=True)
    out = [f"{len(found)} runs against {start}, a line a quantity: where it changed, and in how many runs"]
    for q in order[: LINES_OF_DIFFERENCES - 2]:
        runs = sorted(best[q], key=lambda pair: pair[1].b)
        first = runs[0][1]
        where = (first.layer or "network") + ("" if first.split == "train" else f" {split_name(first.split)}")
        ends = " to ".join(f"{number(d.b, 2)} ({_tail(run, 17)})" for run, d in dict(runs[:1] + runs[-1:]).items())
        name, place = _tail(q.partition(".")[2], 18), _tail(where, 13)
        line = f"  {name:<19}{place:<14}{len(runs):>3}  {number(first.a, 2)} \u2192 {ends}"
        out.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}\u2026")
    left = len(order) - (LINES_OF_DIFFERENCES - 2)
    return "\n".join([*out, *([f"  {left} further quantities (--all)"] if left > 0 else [])])


def _unchanged(d: Difference) -> bool:
    """Whether a difference is within its interval or below 1% of the value."""
    within = not (d.low > 0 or d.high < 0)
    return within or abs(d.value) < SMALL * max(abs(d.a), abs(d.b))


def _line(d: Difference, layers: int, every: bool) -> str:
    where = d.layer or "network"
    more = f" (+{layers - 1} layers)" if layers > 1 and not every else ""
    split = "" if d.split == "train" else f" {split_name(d.split)}"
    change = "no change" if _unchanged(d) else f"{number(d.value, 2)} {span(d.low, d.high, 2)}".strip()
    name = d.quantity.partition(".")[2]
    numbers = f"{number(d.a, 3)} \u2192 {number(d.b, 3)}"
    end = f"{numbers:<20} {'=' if d.paired else ' '} {change}{more}"
    room = max(12, WIDTH - len(end) - 25)
    return f"  {_tail(name, 21):<22}{_tail(where + split, room):<{room}} {end}"
