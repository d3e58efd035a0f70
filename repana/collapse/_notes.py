"""What qualifies a value of neural collapse that is formally right, and why one is undefined."""

import math
from collections.abc import Mapping

from repana._estimate import Flag
from repana.collapse._measures import Setting
from repana.summaries.moments import Moments

REASON = "the class means leave it undefined"
SAME_MEANS = "two classes have the same mean"
REASONS = dict.fromkeys(("cdnv", "cdnv_median", "cdnv_max"), SAME_MEANS) | {
    "of_error": "every class mean is 0",
    "gof_error": "every class mean is 0",
    "uniformity": "two class means lie in one direction",
    "uniformity_variance": "two class means lie in one direction",
}


def notes_of(moments: Moments, values: Mapping[str, float], setting: Setting, rank: int, empty: int) -> dict[str, str]:
    """Notes by quantity."""
    c, d = len(moments.classes), moments.d
    notes: dict[str, str] = {}
    geometry = ("equinorm", "equiangularity", "cosine_std", "etf_error", "uniformity", "uniformity_variance")
    if c == 2 and (setting.convention.centre == "class" or int(moments.count[0]) == int(moments.count[1])):
        notes |= dict.fromkeys(geometry, Flag.TRIVIAL.note("trivial: any two centred means are a simplex frame"))
    if c > d + 1:
        notes |= dict.fromkeys(
            geometry, Flag.NO_SIMPLEX.note(f"no simplex frame exists for c = {c} > d + 1 = {d + 1}: see one_vs_rest")
        )
    if values.get("nc1") == math.inf:
        notes |= dict.fromkeys(
            ("nc1", "quotient", "fuzziness"), Flag.COINCIDING_MEANS.note("the class means coincide (Sb = 0)")
        )
        notes |= dict.fromkeys(geometry, Flag.COINCIDING_MEANS.note("the class means coincide (Sb = 0)"))
    elif values.get("nc1") is not None:
        if rank < min(c - 1, d):
            text = f"Sb has rank {rank}, below min(c - 1, d) = {min(c - 1, d)}: class means are linearly dependent"
            notes |= dict.fromkeys(("nc1", "fuzziness"), text)
        if math.isnan(values["nc1"]):
            notes |= dict.fromkeys(
                ("nc1", "fuzziness"), Flag.MISSING_INPUT.note("needs the features, or moments with scatter")
            )
    singles = int((moments.count == 1).sum())
    if singles:
        text = f"{singles} class(es) with one sample have no spread"
        for name in ("quotient", "cdnv", "cdnv_median", "cdnv_max"):
            notes.setdefault(name, text)
    if empty:
        for name in (*geometry, "nc1"):
            notes.setdefault(
                name, Flag.MISSING_CLASSES.note(f"{empty} class(es) of the classifier have no samples and are left out")
            )
    return notes
