"""Probes: how well classifiers of several kinds read the labels from a layer, on test samples."""

from collections.abc import Iterable

from repana import _check
from repana._typing import FeatureArray, LabelArray
from repana.probes import _refusals
from repana.probes._classifiers import (
    KS,
    knn_head,
    lda_head,
    logistic_head,
    naive_bayes_head,
    nearest_mean_head,
    ridge_head,
    usable_neighbours,
)
from repana.probes._cross import crossed
from repana.probes._data import Rows
from repana.probes._protocol import LEFT_OUT, PERMUTATIONS, Probe, probed
from repana.statistics.splits import Split

SELECT = ("log_loss", "accuracy")


def linear_probe(
    features: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    select: str = "log_loss",
    permutations: int = PERMUTATIONS,
    tolerance: float = 1e-3,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Multinomial logistic regression: how well classes are read by a linear map.

    min over W (d, c), b (c):  1/n sum_i CE(x_i W + b, y_i) + 1/(2 C n) |W|^2, the intercept free: scikit-learn's
    objective, for two classes too (two columns under softmax; as a sigmoid of one column, half the penalty).

    The protocol, of every probe here:

    - Rows are split 60/20/20 into fit, select and report, in each class by its share, or by whole `groups` (sentences,
      images): rows of one group never stand on both sides. `split=` gives another, or the same one again.
    - Mean and deviation come from the training split (`scale`: "standard", "centre", "unit" length after centring,
      "none").
    - C runs over 1e-6 to 1 in half decades, further while the best is the last; the one with the smallest log-loss on
      the validation split is kept (`select="accuracy"` for the largest accuracy), and refitted on the training and
      validation splits.
    - The test samples are read once: `accuracy` (Wilson's interval, or of resampled groups), `balanced_accuracy`,
      `log_loss` in nats and `log_loss_bits` (bootstrap of 2000 draws inside classes, or of groups), `recall` by class.
      All are conditional on the fitted probe.
    - Controls: `chance` is the share of the most frequent class; `accuracy.null` and `accuracy.p` are of the same
      predictions under `permutations` of the test labels (where rows come in groups, of three probes fitted to permuted
      labels); `memorization` is the training accuracy of those three probes: what the probe can memorise.
      `log_loss.null` is that of the class shares alone. `gap`: training accuracy less test accuracy.

    `settings`: C, whether it is at the edge of what is tried, the certified gap of the objective relative to the part
    explained, whether it is below `tolerance`, rows per feature, the fingerprint of the split. Probabilities are mixed
    with 1/(n + c) of the uniform distribution, so that no loss is infinite. A class without training samples is never
    predicted, and counts as wrong.

    Accuracies are shares in [0, 1], losses nats or bits per row, at least 0.

    Raises InputError for one class, fewer than 6 rows, fewer than 3 groups, NaN or infinite features, wrong shapes.

    Sources: Alain & Bengio 2017, arXiv:1610.01644 (probes); Belinkov 2022, doi:10.1162/coli_a_00422 (their protocol
    and controls); Wilson 1927.

    >>> import torch
    >>> from repana import linear_probe
    >>> x = torch.arange(200.0)[:, None]
    >>> round(float(linear_probe(x, x[:, 0] >= 100).accuracy), 1)
    1.0
    """
    _options(select, permutations, level)
    _check.positive(tolerance, "tolerance")
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="linear_probe")
    head = logistic_head(tolerance)
    return probed(head, rows, permutations=permutations, level=level, seed=seed, select=select)


def ridge_probe(
    features: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    cross: str | None = None,
    scale: str = "standard",
    select: str = "log_loss",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Least squares on +1 for a class and -1 for the others, all strengths from one product X'X.

    min over W, b:  |Y - XW - b|^2 + a |W|^2, a = strength tr(X'X)/d; the class is that of the largest output. The
    strengths run from 100 to 1e-6 and further while the best is the last. `select="leave_one_out"` takes the one with
    the smallest exact leave-one-out squared error on the training and validation splits, y - (y - fit)/(1 - leverage),
    as scikit-learn's RidgeClassifierCV does (`curve` then has that error); it is refused with groups, whose rows depend
    on each other. Outputs times one temperature, fitted on the validation split, are the logits of `log_loss`.
    `settings["effective"]` is the trace of the hat matrix, sum_j s_j/(s_j + a). Protocol, units and what is raised: as
    `linear_probe`.

    `cross`, for few rows: "leave-one-out" predicts every row by a probe of all others, "leave-group-out" every group by
    one of all other `groups` (at least 2), so that all rows are reported. The probe of each fold is fitted without it,
    the mean and deviation too; its penalty, of 100 to 1e-4 tr K/n, K the products of the rows, has the smallest error
    of the same kind inside; the temperature is fitted on the left-out scores of the other folds. Class shares, for
    the intercept of `ridge_probe`, are those of all rows. Interval: Wilson's, or over 3 groups or more (jackknife,
    within Student's t; covers 91 to 97 of 100 simulated sets of 3 to 20 groups). Null and p: the whole again for
    `permutations` of the labels, inside groups where there are some. `weight` is of a probe of all rows. Each fold is
    an eigendecomposition of (n, n): for up to some hundreds of rows.

    Sources: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; Guo et al. 2017, arXiv:1706.04599 (temperature).

    >>> import torch
    >>> from repana import ridge_probe
    >>> x = torch.arange(200.0)[:, None]
    >>> round(float(ridge_probe(x, x[:, 0] >= 100).accuracy), 1)
    1.0
    """
    _options("log_loss" if select == LEFT_OUT else select, permutations, level)
    if cross is not None:
        return crossed(
            ridge_head(), features, labels, cross=cross, groups=groups, split=split, scale=scale,
            permutations=permutations, level=level, seed=seed,
        )  # fmt: skip
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="ridge_probe")
    if select == LEFT_OUT and rows.split.group is not None:
        raise _refusals.left_out_of_groups()
    return probed(ridge_head(), rows, permutations=permutations, level=level, seed=seed, select=select)


def knn_probe(
    features: FeatureArray,
    labels: LabelArray,
    *,
    k: int | Iterable[int] | None = None,
    metric: str = "cosine",
    weights: str = "softmax",
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "centre",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Votes of the k nearest rows, each exp((s - s_1)/0.07) of its similarity s, s_1 that of the nearest.

    By default k is chosen on the validation split among 1, 2, 5, 10, 20, 50, 100, 200 (`curve` has the log-loss and
    accuracy of all, read from one list of neighbours); a number fixes it. More neighbours than there are rows are all
    of them. `metric`: "cosine", after centring by the training split, or "euclidean" (s = -distance); `weights`:
    "softmax", or "uniform" for one vote each. Probabilities are (votes + class shares)/(all votes + 1). Equal votes go
    to the more frequent class, then to the first. A row at the centre itself has no direction, and is read by the class
    shares. For training accuracies (`gap`, `memorization`) a row never votes for itself: it is left out by its
    index, so that duplicates stay. Protocol, units and what is raised: as `linear_probe`.

    Sources: Fix & Hodges 1951; Wu et al. 2018, arXiv:1805.01978, and Caron et al. 2021, arXiv:2104.14294 (weights and
    temperature).

    >>> import torch
    >>> from repana import knn_probe
    >>> x = torch.arange(200.0)[:, None]
    >>> round(float(knn_probe(x, x[:, 0] >= 100, k=1, metric="euclidean").accuracy), 1)
    1.0
    """
    _options("log_loss", permutations, level)
    _check.choice(metric, "metric", ("cosine", "euclidean"))
    _check.choice(weights, "weights", ("softmax", "uniform"))
    requested = KS if k is None else tuple(k) if isinstance(k, Iterable) else (k,)
    for one in requested:
        _check.at_least(one, "k", 1)
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="knn_probe")
    kept = usable_neighbours(map(int, requested), rows)
    return probed(knn_head(kept, metric, weights), rows, permutations=permutations, level=level, seed=seed)


def nearest_mean(
    features: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    cross: str | None = None,
    scale: str = "standard",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """The class whose mean is nearest: argmin_k |x - m_k|. The best there is with few labels a class.

    Squared distances times one temperature, fitted on the validation split, are the logits of `log_loss`. With
    `scale="unit"` directions are compared. Protocol, units and what is raised: as `linear_probe`; `cross`: as
    `ridge_probe`.

    Source: Mensink et al. 2013, doi:10.1109/TPAMI.2013.83.

    >>> import torch
    >>> from repana import nearest_mean
    >>> x = torch.arange(200.0)[:, None]
    >>> round(float(nearest_mean(x, x[:, 0] >= 100).accuracy), 1)
    1.0
    """
    _options("log_loss", permutations, level)
    if cross is not None:
        return crossed(
            nearest_mean_head(), features, labels, cross=cross, groups=groups, split=split, scale=scale,
            permutations=permutations, level=level, seed=seed,
        )  # fmt: skip
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="nearest_mean")
    return probed(nearest_mean_head(), rows, permutations=permutations, level=level, seed=seed)


def lda_probe(
    features: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    cross: str | None = None,
    scale: str = "standard",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Linear discriminant analysis: equal Gaussians around the class means, with class shares.

    score_k = x' S^-1 m_k - m_k' S^-1 m_k/2 + log pi_k,  S = (1 - a) Sw + a tr(Sw)/d I, with Ledoit & Wolf's share a of
    the pooled covariance (scikit-learn's "auto" averages one share a class): without it S has no useful inverse from n
    = d on, and none below. One temperature is fitted on the validation split for `log_loss`. Protocol, units and what
    is raised: as `linear_probe`; `cross`: as `ridge_probe`.

    Sources: Fisher 1936; Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4; Panos et al. 2023, arXiv:2303.13199
    (as the head of pretrained features).

    >>> import torch
    >>> from repana import lda_probe
    >>> x = torch.arange(200.0)[:, None]
    >>> round(float(lda_probe(x, x[:, 0] >= 100).accuracy), 1)
    1.0
    """
    _options("log_loss", permutations, level)
    if cross is not None:
        return crossed(
            lda_head(), features, labels, cross=cross, groups=groups, split=split, scale=scale,
            permutations=permutations, level=level, seed=seed,
        )  # fmt: skip
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="lda_probe")
    return probed(lda_head(), rows, permutations=permutations, level=level, seed=seed)


def gaussian_naive_bayes(
    features: FeatureArray,
    labels: LabelArray,
    *,
    variance: str = "pooled",
    smoothing: float = 1e-9,
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Gaussian naive Bayes; with one variance a feature for all classes the generative twin of logistic regression.

    score_k = log pi_k - sum_j [(x_j - m_kj)^2/v_kj + log v_kj]/2. With `variance` "pooled" v_kj = v_j is the variance
    inside all classes together, with "class" that of each (as scikit-learn's GaussianNB); plus `smoothing` of the
    largest variance of a feature. With O(log d) rows it is near its best, where logistic regression needs O(d). One
    temperature is fitted on the validation split for `log_loss` (features that depend on each other make it too sure).
    Protocol, units and what is raised: as `linear_probe`.

    Sources: Ng & Jordan 2001; Zheng et al. 2023, arXiv:2302.02334 (for pretrained features).

    >>> import torch
    >>> from repana import gaussian_naive_bayes
    >>> x = torch.arange(200.0)[:, None]
    >>> round(float(gaussian_naive_bayes(x, x[:, 0] >= 100).accuracy), 1)
    1.0
    """
    _options("log_loss", permutations, level)
    _check.positive(smoothing, "smoothing")
    _check.choice(variance, "variance", ("pooled", "class"))
    rows = Rows.of(
        features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="gaussian_naive_bayes"
    )
    return probed(naive_bayes_head(smoothing, variance), rows, permutations=permutations, level=level, seed=seed)


def _options(select: str, permutations: int, level: float) -> None:
    _check.choice(select, "select", SELECT)
    _check.at_least(permutations, "permutations", 0)
    _check.level_of(level)
