"""Which classes lie close: divergences of Gaussian class pairs, and how much of them is noise of the covariances."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._reads import checked
from repana._typing import IGNORED, FeatureArray, LabelArray
from repana.separation import _refusals
from repana.statistics.intervals import from_jackknife
from repana.summaries.class_groups import within_class_groups

GROUPS = 10  # of the jackknife
CALL = 3e6  # operations that one pair of small covariances is worth
AFFORDABLE = 3e10  # operations of an interval
LARGEST = 2**32  # bytes of covariances
MATRICES = ("mahalanobis", "bhattacharyya", "hellinger", "jeffries_matusita", "kl", "jeffreys", "transformed")


@shown
@dataclass(frozen=True)
class ClassDivergences:
    """Divergences between the classes of one layer, as Gaussians; see `class_divergences`."""

    closest_mahalanobis: Estimate
    mean_mahalanobis: Estimate
    closest_bhattacharyya: Estimate
    mean_bhattacharyya: Estimate
    noise: Estimate
    mahalanobis: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    bhattacharyya: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    hellinger: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    jeffries_matusita: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    kl: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    jeffreys: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    transformed: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    split_half: Float[Tensor, " c"] = field(default_factory=lambda: torch.empty(0))
    shrinkage: Float[Tensor, " c"] = field(default_factory=lambda: torch.empty(0))
    classes: tuple[Any, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def class_divergences(
    features: FeatureArray,
    labels: LabelArray,
    *,
    shrinkage: str | float = "ledoit_wolf",
    nan_policy: str = "raise",
    seed: int = 0,
    level: float = 0.95,
) -> ClassDivergences:
    """Divergences between all pairs of classes, each a Gaussian N(m_i, S_i). Call as `class_divergences(x, labels)`.

    With D = m_i - m_j, S = (S_i + S_j)/2 and Sw the pooled covariance, matrices (c, c) with zeros on the diagonal:

    - `mahalanobis` sqrt(D'Sw^-1 D).
    - `bhattacharyya` B = D'S^-1 D/8 + log(|S|/sqrt(|S_i||S_j|))/2, `hellinger` sqrt(1 - exp(-B)), in [0, 1],
      `jeffries_matusita` 2(1 - exp(-B)), in [0, 2].
    - `kl` KL(i || j) = (tr(S_j^-1 S_i) + D'S_j^-1 D - d + log(|S_j|/|S_i|))/2, in row i, the only one that is not
      symmetric; `jeffreys` J = KL(i || j) + KL(j || i); `transformed` 2(1 - exp(-J/8)), in [0, 2].

    `closest_mahalanobis`, `mean_mahalanobis`, `closest_bhattacharyya` and `mean_bhattacharyya` are the least and the
    mean over pairs. `shrinkage`: "ledoit_wolf" estimates for every class
    (and for the pooled one) how far its covariance goes towards t I, t its mean variance, in units of each feature's
    within-class deviation; a number in [0, 1] is taken for all. Constant features are left out.

    What the covariances' own error adds is large in many dimensions: `split_half` (c,) is B between two random halves
    of one class, which is 0 for true covariances, and `noise` its mean. Where `noise` is not far below the values, the
    matrices are to be read as an order of pairs at best. B in nats. Intervals: delete one of 10 groups drawn within
    classes, on the log scale; none where that takes more than some seconds.

    NaN with the reason for classes of one sample, or where a covariance is singular (shrinkage=0 with few samples).

    Raises InputError for one class, wrong shapes, NaN or infinite features, or covariances of more than 4 GB.

    Sources: Mahalanobis 1936; Bhattacharyya 1943; Kailath 1967, doi:10.1109/TCOM.1967.1089532; Kullback & Leibler 1951,
    doi:10.1214/aoms/1177729694; Swain & Davis 1978 (transformed divergence); Ledoit & Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4.

    >>> from repana import class_divergences
    >>> x = [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> found = class_divergences(x + [[a + 4, b] for a, b in x], [0] * 4 + [1] * 4, shrinkage=0.0)
    >>> round(float(found.closest_mahalanobis), 3)
    4.899
    """
    checked({"level": level, "seed": seed})
    shrinkage = _check.shrinkage_of(shrinkage)
    sound = _check.finite_rows(features, nan_policy)
    x = _check.features_of(features, finite=sound is None)
    codes, names = _check.labels_of(labels, len(x))
    keep = (codes != IGNORED).nonzero()[:, 0]
    keep = keep if sound is None else keep[torch.isin(keep, sound.cpu())]
    x, codes = x[keep.to(x.device)].double(), codes[keep]
    _check.two_classes(codes, names, "class_divergences")
    values, y = torch.unique(codes, return_inverse=True)
    if 8 * len(values) * x.shape[1] ** 2 > LARGEST:
        raise _refusals.covariances_too_large(len(values), x.shape[1], 8 * len(values) * x.shape[1] ** 2)
    y = y.to(x.device)
    if bool((x.amax(0) == x.amin(0)).all()):
        nothing = Estimate(NAN, n=len(x), note=Flag.CONSTANT.note("every feature is constant"))
        return ClassDivergences(nothing, nothing, nothing, nothing, nothing)
    found = _Gaussians.of(x, y, len(values), shrinkage).divergences()
    halves = _halves(x, y, len(values), shrinkage, seed)
    c, d, n = len(values), x.shape[1], len(x)
    reason = _reason(y, c, found["bhattacharyya"], shrinkage)
    work = GROUPS * (c * c / 2 + 2 * c) * (d**3 / 3 + CALL) + GROUPS * 2 * n * d * d
    deleted = []
    if work <= AFFORDABLE and not reason:
        group = within_class_groups(y.cpu(), GROUPS, seed).to(x.device)
        for g in range(GROUPS):
            part = group != g
            deleted.append(_read(_Gaussians.of(x[part], y[part], c, shrinkage).divergences()))
    note = reason or ("" if deleted else Flag.NO_INTERVAL.note("no interval: too many pairs and features"))
    estimates = {
        name: from_jackknife(value, [one[name] for one in deleted], n=n, level=level, note=note, corrected=False)
        for name, value in _read(found).items()
    }
    known = halves[halves.isfinite()]
    matrices: dict[str, Any] = {name: found[name].cpu() for name in MATRICES}
    return ClassDivergences(
        **estimates,
        noise=Estimate(float(known.mean()), float(known.min()), float(known.max()), n, "range over classes")
        if len(known)
        else Estimate(NAN, n=n, note=Flag.FEW_SAMPLES.note("no class has samples for two halves")),
        **matrices,
        split_half=halves.cpu(),
        shrinkage=found["shrinkage"].cpu(),
        classes=tuple(names[int(v)] for v in values) if names else tuple(values.tolist()),
        settings={"shrinkage": shrinkage, "level": level, "seed": seed},
    )


def _read(found: Mapping[str, Tensor]) -> dict[str, float]:
    """The closest and the mean pair."""
    c = len(found["mahalanobis"])
    low, high = torch.triu_indices(c, c, 1)
    read = {}
    for name in ("mahalanobis", "bhattacharyya"):
        pairs = found[name][low, high]
        pairs = pairs[pairs.isfinite()]
        read[f"closest_{name}"] = float(pairs.min()) if len(pairs) else NAN
        read[f"mean_{name}"] = float(pairs.mean()) if len(pairs) else NAN
    return read


def _reason(y: Int[Tensor, " n"], c: int, b: Float[Tensor, "c c"], shrinkage: str | float) -> str:
    single = int((torch.bincount(y, minlength=c) == 1).sum())
    if single:
        return f"{single} class(es) with one sample have no covariance: of their pairs only the Mahalanobis distance"
    if bool(b.isnan().any()):
        remedy = "classes without spread" if shrinkage == "ledoit_wolf" else "use more samples or 'ledoit_wolf'"
        return f"covariances are singular: {remedy}"
    return ""


@dataclass(frozen=True)
class _Gaussians:
    """Means, covariances and what is read off their Cholesky factors, in units of total standard deviations."""

    means: Float[Tensor, "c d"]
    covariances: Float[Tensor, "c d d"]
    pooled: Float[Tensor, "d d"]
    shrunk: Float[Tensor, " c"]

    @classmethod
    def of(cls, x: Tensor, y: Tensor, classes: int, shrinkage: str | float) -> "_Gaussians":
        centre = x.mean(0)
        total = (x - centre).square().mean(0).sqrt()
        alive = total > 1e-13 * x.abs().amax(0)
        sums = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, y, x)
        residual = x - (sums / torch.bincount(y, minlength=classes).clamp_min(1)[:, None])[y]
        within = residual.square().mean(0).sqrt()
        scale = torch.where(within > 1e-13 * x.abs().amax(0), within, total)
        z = (x[:, alive] - centre[alive]) / scale[alive]
        d = z.shape[1]
        means = z.new_full((classes, d), torch.nan)
        covariances, shrunk = z.new_full((classes, d, d), torch.nan), z.new_full((classes,), torch.nan)
        residuals = torch.empty_like(z)
        for k in range(classes):
            mine = y == k
            part = z[mine]
            if not len(part):
                continue
            means[k] = part.mean(0)
            residuals[mine] = part - means[k]
            if len(part) > 1:
                covariances[k], shrunk[k] = _shrunk(residuals[mine], len(part) - 1, shrinkage)
        pooled, _ = _shrunk(residuals, max(1, len(z) - classes), shrinkage)
        return cls(means, covariances, pooled, shrunk)

    def divergences(self) -> dict[str, Tensor]:
        m, s = self.means, self.covariances
        c, d = m.shape
        gap = m[:, None] - m
        inverses, logs = torch.full_like(s, torch.nan), m.new_full((c,), torch.nan)
        for k in range(c):
            inverses[k], logs[k] = _inverse(s[k])
        whole, _ = _inverse(self.pooled)
        maha = torch.einsum("ijd,de,ije->ij", gap, whole, gap).clamp_min(0).sqrt()
        b = m.new_zeros(c, c)
        for i in range(c):
            for j in range(i + 1, c):
                middle, log = _inverse((s[i] + s[j]) / 2)
                b[i, j] = gap[i, j] @ middle @ gap[i, j] / 8 + (log - (logs[i] + logs[j]) / 2) / 2
        b = (b + b.T).clamp_min(0)
        traces = torch.einsum("jde,ide->ij", inverses, s)
        square = torch.einsum("ijd,jde,ije->ij", gap, inverses, gap)
        kl = ((traces + square - d + logs - logs[:, None]) / 2).clamp_min(0)
        kl = kl.fill_diagonal_(0)
        jeffreys = kl + kl.T
        return {
            "mahalanobis": maha,
            "bhattacharyya": b,
            "hellinger": (-torch.expm1(-b)).clamp_min(0).sqrt(),
            "jeffries_matusita": -2 * torch.expm1(-b),
            "kl": kl,
            "jeffreys": jeffreys,
            "transformed": -2 * torch.expm1(-jeffreys / 8),
            "shrinkage": self.shrunk,
        }


def _shrunk(residuals: Float[Tensor, "n d"], freedom: int, shrinkage: str | float) -> tuple[Tensor, float]:
    """The covariance of centred rows, and how far it went towards a multiple of the identity."""
    share = shrinkage
    if isinstance(share, str):
        from sklearn.covariance import ledoit_wolf_shrinkage

        share = float(ledoit_wolf_shrinkage(residuals.cpu().numpy(), assume_centered=True))
    s = residuals.T @ residuals / freedom
    eye = torch.eye(len(s), dtype=s.dtype, device=s.device)
    return (1 - share) * s + share * s.diagonal().mean() * eye, float(share)


def _inverse(s: Float[Tensor, "d d"]) -> tuple[Float[Tensor, "d d"], float]:
    """The inverse and the log-determinant; NaN where the matrix is singular."""
    factor, wrong = torch.linalg.cholesky_ex(s)
    diagonal = factor.diagonal()
    if int(wrong) or not float(diagonal.min()) > 1e-7 * float(diagonal.max()):
        return torch.full_like(s, torch.nan), NAN
    return torch.cholesky_inverse(factor), 2 * float(diagonal.log().sum())


def _halves(x: Tensor, y: Tensor, classes: int, shrinkage: str | float, seed: int) -> Float[Tensor, " c"]:
    """B between two random halves of every class."""
    half = within_class_groups(y.cpu(), 2, seed).to(y.device)
    once = torch.where(half == 1, y + classes, y)
    found = _Gaussians.of(x, once, 2 * classes, shrinkage)
    out = []
    for k in range(classes):
        pair = _Gaussians(
            found.means[[k, k + classes]], found.covariances[[k, k + classes]], found.pooled, found.shrunk[:2]
        )
        out.append(pair.divergences()["bhattacharyya"][0, 1])
    return torch.stack(out)
