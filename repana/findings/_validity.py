"""Whether the numbers of a report can be read at all."""

import math

from repana._estimate import Flag
from repana._finding import ABSENT, ALPHA, ISSUE, PASSED, TIP, Finding, View, listed

FEW = 10  # samples of a class below which intervals are rough
UNEVEN = 1.5  # largest class over smallest, above which the conventions of neural collapse differ visibly


def measured(view: View) -> Finding:
    """Whether every analyzer worked on every layer. An issue lists what failed and why; the other values stand."""
    about = view.report.about(view.run)
    failures = about.get("failures", ())
    beyond = about.get("labels_beyond", "")
    if beyond:
        return Finding(
            ISSUE, f"{beyond[0].upper()}{beyond[1:]}. What reads the classifier was left out; renumber them."
        )
    if failures:
        more = f"; and {len(failures) - 2} more" if len(failures) > 2 else ""
        return Finding(ISSUE, f"{len(failures)} could not be measured: {'; '.join(failures[:2])}{more}")
    rows = [r for r in view.report.rows if r.run == view.run]
    known = sum(math.isfinite(r.value) for r in rows)
    left = f"; {len(rows) - known} more have none, for the reason in their note" if known < len(rows) else ""
    return Finding(PASSED, f"{known} values of {len({r.layer for r in rows if r.layer})} layers{left}.")


def clear_of_null(view: View) -> Finding:
    """Whether the headline values are better than what the same features give under permuted labels: a tip names those
    whose one-sided p, after Holm over the layers, is 0.05 or more. They show no class structure.
    """
    of = [(r, view.p(name)) for name in view.report.headline for r in view.rows(name)]
    rows = [(r, p[r.layer]) for r, p in of if r.layer in p]
    if not rows:
        return Finding(ABSENT, "No p-values were computed (no labels, or permutations=0).")
    inside = [r for r, p in rows if p >= ALPHA]
    if not inside:
        return Finding(PASSED, f"All {len(rows)} headline values are better than under permuted labels (p < 0.05).")
    by_title: dict[str, list[str]] = {}
    for r in inside:
        by_title.setdefault(view.title(r), []).append(r.layer)
    text = "; ".join(f"{name} at {listed(layers)}" for name, layers in by_title.items())
    text = f"Not distinguishable from permuted labels: {text}."
    if len(inside) == len(rows):
        text = f"No class structure is found: none of {len(rows)} headline values is better than under permuted labels."
    return Finding(TIP, text, tuple(dict.fromkeys(r.layer for r in inside)))


def samples(view: View) -> Finding:
    """Whether every class has samples enough. One sample has no spread (an issue); below ten, intervals are rough (a
    tip).
    """
    counts = view.report.about(view.run).get("classes", {}).get(view.splits[0], {})
    if not counts:
        return Finding(ABSENT, "The report does not say how many samples each class has.")
    name, least = min(counts.items(), key=lambda pair: pair[1])
    single = [str(k) for k, n in counts.items() if n == 1]
    if single:
        return Finding(ISSUE, f"{len(single)} class(es) have one sample and no spread: {listed(single)}.")
    text = f"{len(counts)} classes; the smallest, {name}, has {least} samples."
    return Finding(PASSED if least >= FEW else TIP, text + ("" if least >= FEW else " Intervals are rough below 10."))


def same_classes(view: View) -> Finding:
    """Whether the splits have the same classes. Where one lacks some, values of the two are means over different
    classes, and samples of a class without a training mean are always wrong by the nearest-mean rule.
    """
    classes = view.report.about(view.run).get("classes", {})
    if len(classes) < 2:
        return Finding(ABSENT, "There is one split." if len(view.splits) < 2 else "The splits have no labels.")
    (first, here), *others = classes.items()
    odd = [
        f"{name.replace('_', ' ')} lacks {listed(sorted(a.keys() - b.keys()))}"
        for split, there in others
        for name, a, b in ((split, here, there), (first, there, here))
        if a.keys() - b.keys()
    ]
    if odd:
        return Finding(TIP, f"{'; '.join(odd)}. Do not compare values over different classes.")
    return Finding(PASSED, f"All splits have the same {len(here)} classes.")


def balance(view: View) -> Finding:
    """Whether the largest class is at most 1.5 times the smallest. Beyond that the published conventions of NC1, which
    weigh classes by size or alike, give visibly different numbers, so the one used must be named.
    """
    about = view.report.about(view.run)
    counts = about.get("classes", {}).get(view.splits[0], {})
    if not counts:
        return Finding(ABSENT, "The report does not say how many samples each class has.")
    most, least = max(counts.values()), min(counts.values())
    text = f"The largest class has {most} samples and the smallest {least}."
    if most <= UNEVEN * least:
        return Finding(PASSED, text)
    used = about.get("settings", {}).get("neural_collapse", {}).get("convention")
    named = f" NC1 is in the convention of {used}." if used else ""
    return Finding(TIP, f"{text} Published conventions weigh classes differently and give different values.{named}")


def subset(view: View) -> Finding:
    """Whether intervals and nulls come from all samples. With `max_samples=` values stay exact over everything that was
    seen, but the bootstrap and the permutations read the kept rows alone.
    """
    splits = view.report.about(view.run).get("splits", {})
    if not splits:
        return Finding(ABSENT, "The report does not say how many samples were seen.")
    part = [f"{name}: {s['kept']} of {s['samples']}" for name, s in splits.items() if s["kept"] < s["samples"]]
    if part:
        return Finding(TIP, f"Values are of all samples, intervals and nulls of those kept ({listed(part)}).")
    return Finding(PASSED, ", ".join(f"{name}: {s['samples']}" for name, s in splits.items()) + " samples.")


def width(view: View) -> Finding:
    """Whether samples outnumber features. Where they do not, the within-class scatter has no inverse: Fisher's quotient
    is left undefined, and VCI is 0 for any labels.
    """
    quotient, vci = view.rows("fisher.quotient"), view.rows("neural_collapse.vci")
    if not quotient and not vci:
        return Finding(ABSENT, "Neither Fisher's quotient nor VCI was measured.")
    wide = [r.layer for r in quotient if math.isnan(r.value)]
    trivial = [r.layer for r in vci if Flag.TRIVIAL in r.flags]
    if not wide and not trivial:
        return Finding(PASSED, "The within-class scatter can be inverted at every layer.")
    n, ranks = max(r.n for r in (*quotient, *vci)), {r.layer: r.value for r in view.rows("spectrum.components_99")}
    few = [r.layer for r in (*quotient, *vci) if r.layer in wide and ranks.get(r.layer, n) < n / 4]
    remedy = "Use more samples, or pool."
    if few:
        where = listed(list(dict.fromkeys(few)))
        remedy = f"At {where} features depend on each other, so more samples do not help; elsewhere they do."
    parts = (
        [f"Fisher's quotient is undefined at {listed(wide)}: the within-class scatter has no inverse."] if wide else []
    )
    if trivial:
        parts.append(f"VCI is 0 whatever the labels at {listed(trivial)}: features span as many dimensions as samples.")
    return Finding(TIP, " ".join([*parts, remedy]), tuple(dict.fromkeys((*wide, *trivial))))
