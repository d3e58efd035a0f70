"""What the network decides against what the nearest class mean does: NC4, and the accuracies of both."""

from repana._estimate import Estimate, Flag
from repana.collapse._inputs import Inputs
from repana.collapse._nearest_mean import equal_means, nearest_mean
from repana.statistics.intervals import proportion
from repana.statistics.permutation import against
from repana.summaries.moments import Moments
from repana.summaries.resampling import permuted_orders


def decisions(
    given: Inputs,
    reference: Moments | None,
    permuted_shares: list[float],
    permutations: int,
    level: float,
    seed: int,
) -> dict[str, Estimate]:
    """What the network says against what the nearest class mean says; the accuracy of the latter without the sample
    that is read, or by the means of the reference.

    Classes without a mean are no candidates, and samples whose nearest mean two classes share are left out.
    """
    x, truth = given.x, given.codes.to(given.x.device)
    moments = (reference or given.moments).to(x.device)
    at = nearest_mean(x, moments.mean)
    tied = equal_means(moments.mean)
    nearest, clear = moments.classes[at], ~tied[at]
    n, decided = len(truth), int(clear.sum())
    note = ""
    if decided < n:
        note = Flag.TIES.note(f"{n - decided} samples left out: their nearest class mean is that of two classes")
    if reference is None:
        place = nearest_mean(x, moments.mean, given.slot, moments.count)
        known = ~tied[place]
        right = (moments.classes[place] == truth)[known]
        found = {"ncc_accuracy": proportion(int(right.sum()), int(known.sum()), level=level, note=note)}
        shares, value = permuted_shares, None
        if given.moments.n != len(x) and permuted_shares:
            own = Moments.of(x, given.codes).to(x.device)
            value = float((nearest_mean(x, own.mean, given.slot, own.count) == given.slot).double().mean())
    else:
        guess, right = nearest[clear], truth[clear]
        orders = permuted_orders(decided, permutations, seed).to(x.device)
        shares, value = [float((guess == right[order]).double().mean()) for order in orders], None
        found = {"ncc_accuracy": proportion(int((guess == right).sum()), decided, level=level, note=note)}
    found["ncc_accuracy"] = against(found["ncc_accuracy"], shares, better="higher", level=level, value=value)
    if given.decision is None:
        return found
    agree = int((given.decision == nearest)[clear].sum())
    return found | {
        "nc4": proportion(agree, decided, level=level, note=note),
        "nc4_mismatch": proportion(decided - agree, decided, level=level, note=note),
        "accuracy": proportion(int((given.decision == truth).sum()), n, level=level),
    }
