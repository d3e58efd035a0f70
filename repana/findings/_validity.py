"""Whether the numbers of a report can be read at all."""

import math

from repana._estimate import Flag
from repana._finding import ABSENT, ALPHA, ISSUE, PASSED, TIP, Finding, View, listed, split_name

FEW = 10  # samples of a class below which intervals are rough
UNEVEN = 1.5  # largest class over smallest, above which the conventions of neural collapse differ visibly


NOTHING_TO_READ = "Do not read differences between layers."


def measured(view: View) -> Finding:
    """Whether every analyzer worked on every layer. A caution lists what failed and why; the other values stand."""
    about = view.report.about(view.run)
    failures = about.get("failures", ())
    beyond = about.get("labels_beyond", "")
    if beyond:
        return Finding(
            ISSUE,
            f"{beyond[0].upper()}{beyond[1:]}: quantities of the classifier were left out.",
            action="Number the labels as the model's outputs.",
        )
    if failures:
        more = f"; and {len(failures) - 2} more" if len(failures) > 2 else ""
        plural = "s" * (len(failures) > 1)
        text = f"{len(failures)} measurement{plural} failed: {'; '.join(failures[:2])}{more}"
        return Finding(ISSUE, text.removesuffix(".") + ".", action="See `report.failures`.")
    rows = view.report.of_run(view.run)
    known = sum(math.isfinite(r.value) for r in rows)
    if known == len(rows):
        return Finding(PASSED, f"Every value was computed ({len(rows):,}).")
    left = f"{len(rows) - known:,} undefined (reasons in the table)"
    return Finding(PASSED, f"{known:,} of {len(rows):,} values computed; {left}.")


def clear_of_null(view: View) -> Finding:
    """Whether the headline values are better than what the same features give under shuffled labels: a caution names
    those whose one-sided p, after Holm over the layers, is 0.05 or more: no evidence of class structure there. Where
    none stays below 0.05 after Holm over the quantities too, there is no class structure. Also where the permutations
    are too few for any p below 0.05.
    """
    of = [(r, view.p(name)) for name in view.report.headline for r in view.rows(name)]
    rows = [(r, p[r.layer]) for r, p in of if r.layer in p and Flag.TRIVIAL not in r.flags]
    left = {name: view.undecided(name) for name in view.report.headline}
    few = [r for name, layers in left.items() for r in view.rows(name) if r.layer in layers]
    if few:
        layers = tuple(dict.fromkeys(r.layer for r in few))
        most = max(r.permutations for r in few)
        text = f"{most} permutations over {len(layers)} layers cannot bring p below 0.05: {len(few)} headline values"
        return Finding(
            TIP, f"{text}, better than all permuted ones, stay undecided.", layers, "Use `permutations=199`."
        )
    if not rows:
        return Finding(ABSENT, "No p-values were computed (no labels, or permutations=0).")
    inside = [r for r, p in rows if p >= ALPHA]
    families = len({r.quantity for r, _ in rows})
    if len(inside) < len(rows) and min(p for _, p in rows) * families >= ALPHA:
        text = f"No class structure was found: {len(rows) - len(inside)} of {len(rows)} headline values have p < 0.05, "
        layers = tuple(dict.fromkeys(r.layer for r in inside))
        return Finding(TIP, f"{text}none after Holm over {families} quantities.", layers, NOTHING_TO_READ)
    if not inside:
        return Finding(PASSED, f"Every headline value is better than with shuffled labels ({len(rows)}; p < 0.05).")
    by_title: dict[str, list[str]] = {}
    for r in inside:
        by_title.setdefault(view.title(r), []).append(r.layer)
    layers = tuple(dict.fromkeys(r.layer for r in inside))
    if len(inside) == len(rows):
        text = f"No class structure was found: none of {len(rows)} headline values is better than with shuffled labels."
        return Finding(TIP, text, layers, NOTHING_TO_READ)
    names = "; ".join(f"{name} at {listed(places)}" for name, places in by_title.items())
    text = f"No evidence of class structure in {len(inside)} of {len(rows)} headline values: {names}."
    return Finding(TIP, text, layers, "Do not read those values as structure.")


def samples(view: View) -> Finding:
    """Whether every class has samples enough. One sample has no spread (a caution); below ten, intervals are rough (a
    caution)."""
    counts = view.report.about(view.run).get("classes", {}).get(view.splits[0], {})
    if not counts:
        return Finding(ABSENT, "The report does not say how many samples each class has.")
    name, least = min(counts.items(), key=lambda pair: pair[1])
    single = [str(k) for k, n in counts.items() if n == 1]
    if single:
        text = f"{len(single)} class(es) have one sample and no spread: {listed(single)}."
        return Finding(ISSUE, text, action="Leave them out or collect more samples.")
    if least >= FEW:
        return Finding(PASSED, f"Every class has at least {least:,} samples ({len(counts)} classes).")
    text = f"Class {name} has {least} samples: intervals are rough below {FEW}."
    return Finding(TIP, text, action="Collect more samples of the small classes.")


def same_classes(view: View) -> Finding:
    """Whether the splits have the same classes. Where one lacks some, values of the two are means over different
    classes, and samples of a class without a training mean are always wrong by the nearest-mean rule.
    """
    classes = view.report.about(view.run).get("classes", {})
    if len(classes) < 2:
        return Finding(ABSENT, "There is one split." if len(view.splits) < 2 else "The splits have no labels.")
    (first, here), *others = classes.items()
    odd = [
        f"{split_name(name)} lacks {listed(sorted(a.keys() - b.keys()))}"
        for split, there in others
        for name, a, b in ((split, here, there), (first, there, here))
        if a.keys() - b.keys()
    ]
    if odd:
        text = f"Splits have different classes: {'; '.join(odd)}."
        return Finding(TIP, text, action="Do not compare values over different classes.")
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
    numbers = f"largest {most:,} samples, smallest {least:,}"
    if most <= UNEVEN * least:
        return Finding(PASSED, f"Classes are balanced ({numbers}).")
    used = about.get("settings", {}).get("neural_collapse", {}).get("convention")
    text = f"Classes are unbalanced ({numbers}), and published conventions of neural collapse weigh them differently."
    return Finding(TIP, text, action=f"State the convention ({used})." if used else "State the convention.")


def subset(view: View) -> Finding:
    """Whether intervals and nulls come from all samples. With `max_samples=` values stay exact over everything that was
    seen, but the bootstrap and the permutations read the kept rows alone.
    """
    splits = view.report.about(view.run).get("splits", {})
    if not splits:
        return Finding(ABSENT, "The report does not say how many samples were seen.")
    part = [
        f"{split_name(name)} {s['kept']:,} of {s['samples']:,}"
        for name, s in splits.items()
        if s["kept"] < s["samples"]
    ]
    if part:
        text = f"Intervals and nulls come from a subset ({listed(part)}); values come from all samples."
        return Finding(TIP, text, action="Raise `max_samples` for narrower intervals.")
    counts = ", ".join(f"{s['samples']:,} {split_name(name)}" for name, s in splits.items())
    return Finding(PASSED, f"Intervals and nulls come from all samples ({counts}).")


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
        return Finding(PASSED, "Samples outnumber features: the within-class scatter is invertible at every layer.")
    n, ranks = max(r.n for r in (*quotient, *vci)), {r.layer: r.value for r in view.rows("spectrum.components_99")}
    few = [r.layer for r in (*quotient, *vci) if r.layer in wide and ranks.get(r.layer, n) < n / 4]
    remedy = "Use more samples, or pool."
    if few:
        where = listed(list(dict.fromkeys(few)))
        remedy = f"Use more samples, or pool; at {where} features are dependent and more samples do not help."
    parts = (
        [f"Fisher's quotient is undefined at {listed(wide)}: the within-class scatter has no inverse."] if wide else []
    )
    if trivial:
        parts.append(f"VCI is 0 for any labels at {listed(trivial)}: features span as many dimensions as samples.")
    return Finding(TIP, " ".join(parts), tuple(dict.fromkeys((*wide, *trivial))), remedy)
