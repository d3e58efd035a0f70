"""How well a dictionary, such as a sparse autoencoder, writes the rows of a layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, Note, noted, shown
from repana._typing import FeatureArray, LabelArray
from repana.features import _refusals
from repana.features._dictionary import Dictionary
from repana.features._sparse_autoencoder import SparseAutoencoder
from repana.statistics.intervals import from_jackknife, proportion
from repana.summaries._linalg import full_precision

BLOCKS = 50  # of samples, each left out once
CODES = 2**28  # bytes of codes at a time
SEEN = 3.0  # a latent never seen in n rows is active in less than 3/n of all (95%)
DENSE, TWIN = 0.1, 0.9
BINS = np.arange(-6.0, 0.01, 0.25)
ROWS = 1024  # of a block of cosines
QUANTILES = (0.05, 0.5, 0.95)
NO_ROWS = Flag.UNDEFINED.note("no row, or no reconstruction, has a length")


@shown
@dataclass(frozen=True)
class DictionaryQuality:
    """What a dictionary keeps of a layer, and at what price; see `dictionary_quality`."""

    l0: Estimate
    explained: Estimate
    explained_centred: Estimate
    pca: Estimate
    units: Estimate
    bias_gamma: Estimate
    cosine: Estimate
    norm_ratio: Estimate
    dead: Estimate
    dense: Estimate
    twins: Estimate
    coherence: Estimate
    welch: Estimate
    unique_below: Estimate
    l0_quantiles: Float[Tensor, " three"]
    density: Float[Tensor, " t"]
    histogram: Float[Tensor, " b"]
    max_cosine: Float[Tensor, " t"]
    encoder_cosine: Float[Tensor, " t"]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fvu(self) -> float:
        """The fraction of variance that is not explained, 1 - `explained`."""
        return 1 - self.explained.value


def dictionary_quality(
    words: Dictionary,
    features: FeatureArray,
    *,
    groups: LabelArray | None = None,
    level: float = 0.95,
) -> DictionaryQuality:
    """How well a dictionary writes the rows x (n, d) of a layer: z its codes, x^ what they decode to, r = x - x^, m the
    mean row.

    - `l0`: mean number of codes of a row that are not 0; `l0_quantiles` 5, 50 and 95%.
    - `explained` = 1 - sum |r|^2/sum |x - m|^2 over all rows at once, in (-inf, 1]: 0 for the mean row. `fvu` = 1 less
      it. `explained_centred` = 1 - sum_j Var(r_j)/sum_j Var(x_j), which does not see a constant offset of x^.
    - `pca`: the share of variance that as many principal components hold as `l0`, rounded: no linear code of that size
      holds more. `units`: the share held by as many coordinates of each row, the largest around the mean. A dictionary
      below `units` compresses worse than the units themselves.
    - `bias_gamma` = E|x^|^2/E<x, x^>: 1 for the best scale of x^, below 1 where x^ is shrunk.
    - `cosine`, `norm_ratio`: means of cos(x, x^) and |x^|/|x| over rows with a length.
    - `dead`: share of features that are 0 in all of these n rows. Such a feature may still be active in less than 3/n
      of all rows (rule of three, 95%), as the note says. `density` (t,): share of rows in which a feature is active;
      `histogram`: how many features have log10 density in bins of .25 from -6 to 0, the dead ones first. `dense`: share
      of features active in more than a tenth of the rows.
    - `twins`: share of features whose nearest other has a cosine above .9; `max_cosine` (t,) those cosines;
      `encoder_cosine` (t,): of each encoder column with its decoder row (NaN without an encoder matrix).
    - `coherence` mu: the largest absolute cosine of two features, at least `welch` = sqrt((t - d)/(d(t - 1))). A code
      with fewer than `unique_below` = (1 + 1/mu)/2 features is the only one of that size (Donoho & Elad 2003).

    Intervals: delete-a-block jackknife of 50 blocks of rows; `groups` (n,) keep the rows of one text or image in one
    block, without which rows count as independent. Nothing is drawn.

    Raises InputError for rows of another width, fewer than two rows, or values that are not finite.

    Sources: Rajamanoharan et al. 2024, arXiv:2404.16014 (gamma); Donoho & Elad 2003, doi:10.1073/pnas.0437847100;
    Welch 1974, doi:10.1109/TIT.1974.1055219.

    >>> import torch
    >>> from repana.features import dictionary_quality, sparse_autoencoder
    >>> eye = torch.eye(4)
    >>> sae = sparse_autoencoder(torch.cat([eye, -eye]), torch.cat([eye, -eye], 1))
    >>> x = torch.tensor([[1, -2, 0, 0.5], [0, 3, -1, 0], [2, 0, 0, -1], [-0.25, 0.75, 1.5, 0]])
    >>> found = dictionary_quality(sae, x)
    >>> float(found.explained), float(found.l0)
    (1.0, 2.5)
    """
    _check.level_of(level)
    x = _check.features_of(features)
    n, d = x.shape
    if d != words.atoms.shape[1]:
        raise _refusals.dictionary_width(tuple(words.atoms.shape), d)
    if n < 2:
        raise _refusals.rows_for_quality(n)
    block, grouped = _blocks(groups, n)
    sums = _summed(words, x, block)
    without = sums.without()
    t, count = len(words), round(float(sums.l0.sum()) / n)
    bare = "" if grouped or groups is None else Flag.FEW_SAMPLES.note("fewer than two groups")

    def estimate(name: str, bounds: tuple[float, float], note: str = "") -> Estimate:
        value, deleted = _quantity(without, name)
        if not math.isfinite(value):
            reason = (
                NO_ROWS if name in ("bias_gamma", "cosine", "norm_ratio") else Flag.CONSTANT.note("all rows are equal")
            )
            return Estimate(NAN, n=n, note=noted(reason, note))
        return from_jackknife(value, deleted, n=n, level=level, bounds=bounds, note=noted(note, bare), corrected=False)

    density = sums.active / n
    dead = int((sums.active == 0).sum())
    never = Note(f"0 in {n} rows: active in less than {SEEN / n:.2g} of all (95%)") if dead else ""
    nearest, coherence = _crowding(words.atoms)
    welch = math.sqrt(max(t - d, 0) / (d * (t - 1))) if t > 1 else NAN
    alone = "" if t > 1 else Flag.UNDEFINED.note("one feature alone")
    pca, units = _ceilings(x, min(count, d))
    beyond = Flag.TRIVIAL.note("as many as there are units") if count >= d else ""
    spans = Flag.TRIVIAL.note(words.trivial) if words.trivial else ""
    return DictionaryQuality(
        l0=estimate("l0", (0.0, float(t))),
        explained=estimate("explained", (-math.inf, 1.0), spans),
        explained_centred=estimate("explained_centred", (-math.inf, 1.0), spans),
        pca=Estimate(pca, n=n, note=beyond, label=f"{count} components"),
        units=Estimate(units, n=n, note=beyond, label=f"{count} units"),
        bias_gamma=estimate("bias_gamma", (-math.inf, math.inf)),
        cosine=estimate("cosine", (-1.0, 1.0)),
        norm_ratio=estimate("norm_ratio", (0.0, math.inf)),
        dead=Estimate(dead / t, n=t, note=never),
        dense=Estimate(float((density > DENSE).double().mean()), n=t),
        twins=proportion(int((nearest > TWIN).sum()), t, level=level) if t > 1 else Estimate(NAN, n=t, note=alone),
        coherence=Estimate(coherence, n=t, note=alone),
        welch=Estimate(welch, n=t, note=alone),
        unique_below=Estimate((1 + 1 / coherence) / 2 if coherence > 0 else math.inf, n=t, note=alone),
        l0_quantiles=torch.quantile(sums.each, torch.tensor(QUANTILES, dtype=torch.float64)),
        density=density,
        histogram=_histogram(density),
        max_cosine=nearest,
        encoder_cosine=_encoder_cosine(words),
        settings={"level": level, "blocks": int(block.max()) + 1, "grouped": grouped, "pca_components": count},
    )


# --- sums over rows, block by block -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sums:
    """Sums by block of rows x, around a fixed row c: of 1, x - c, |x - c|^2, |x - x^|^2, x - x^, |x^|^2, <x, x^>, the
    cosines, the ratios of lengths, of 1 over rows that have either, and of the codes that are not 0."""

    count: Tensor
    total: Tensor
    square: Tensor
    left: Tensor
    left_total: Tensor
    decoded: Tensor
    product: Tensor
    cosine: Tensor
    ratio: Tensor
    with_cosine: Tensor
    with_length: Tensor
    l0: Tensor
    each: Tensor  # (n,) codes of a row that are not 0
    active: Tensor  # (t,) rows in which a feature is active

    def without(self) -> "_Sums":
        """Of all rows, and behind that of all rows without each block."""

        def leave(v: Tensor) -> Tensor:
            whole = v.sum(0, keepdim=True)
            return torch.cat([whole, whole - v])

        names = [name for name in self.__dataclass_fields__ if name not in ("each", "active")]
        return _Sums(**{name: leave(getattr(self, name)) for name in names}, each=self.each, active=self.active)


def _quantity(s: _Sums, name: str) -> tuple[float, list[float]]:
    """The value of all rows, and those without each block, from `_Sums.without`."""
    variance = s.square - s.total.square().sum(1) / s.count
    varying = variance > 1e-14 * s.square.clamp_min(1e-300)
    if name == "l0":
        found = s.l0 / s.count
    elif name == "explained":
        found = torch.where(varying, 1 - s.left / variance, NAN)
    elif name == "explained_centred":
        found = torch.where(varying, 1 - (s.left - s.left_total.square().sum(1) / s.count) / variance, NAN)
    elif name == "bias_gamma":
        found = torch.where((s.decoded > 0) & (s.product != 0), s.decoded / s.product, NAN)
    elif name == "cosine":
        found = torch.where(s.with_cosine > 0, s.cosine / s.with_cosine, NAN)
    else:
        found = torch.where(s.with_length > 0, s.ratio / s.with_length, NAN)
    return float(found[0]), found[1:].tolist()


def _blocks(groups: LabelArray | None, n: int) -> tuple[Tensor, bool]:
    """A block for each row, whole groups in one, rows in their order; and whether groups were used."""
    if groups is None:
        return torch.arange(n) * min(BLOCKS, n) // n, False
    _, code = np.unique(_check.groups_of(groups, n), return_inverse=True)
    many = int(code.max()) + 1
    if many < 2:
        return torch.zeros(n, dtype=torch.int64), False
    return torch.from_numpy(code) * min(BLOCKS, many) // many, True


def _summed(words: Dictionary, x: Float[Tensor, "n d"], block: Tensor) -> _Sums:
    n, d = x.shape
    t, blocks = len(words), int(block.max()) + 1
    vector = torch.zeros(blocks, dtype=torch.float64)
    sums = {name: vector.clone() for name in _Sums.__dataclass_fields__ if name not in ("each", "active")}
    sums["total"], sums["left_total"] = (torch.zeros(blocks, d, dtype=torch.float64) for _ in range(2))
    step = max(1, CODES // (8 * max(t, d)))
    centre = x[: min(n, step)].double().mean(0)
    each, active = torch.zeros(n, dtype=torch.float64), torch.zeros(t, dtype=torch.float64)
    for start in range(0, n, step):
        rows = x[start : start + step]
        here = block[start : start + step]
        codes = words.codes(rows)
        on = codes != 0
        each[start : start + step] = on.sum(1).double().cpu()
        active += on.sum(0).double().cpu()
        inside, decoded = rows.double(), words.decode_beside(codes, rows).double()
        moved, left = inside - centre, inside - decoded
        length, other, product = inside.norm(dim=1), decoded.norm(dim=1), (inside * decoded).sum(1)
        long, both = length > 0, (length > 0) & (other > 0)
        values = {
            "count": torch.ones_like(length),
            "total": moved,
            "square": moved.square().sum(1),
            "left": left.square().sum(1),
            "left_total": left,
            "decoded": other.square(),
            "product": product,
            "cosine": torch.where(both, product / (length * other).clamp_min(1e-300), 0.0),
            "ratio": torch.where(long, other / length.clamp_min(1e-300), 0.0),
            "with_cosine": both.double(),
            "with_length": long.double(),
            "l0": on.sum(1).double(),
        }
        for name, value in values.items():
            sums[name].index_add_(0, here, value.double().cpu())
    return _Sums(**sums, each=each, active=active)


# --- beside the values ------------------------------------------------------------------------------------------------


def _ceilings(x: Float[Tensor, "n d"], count: int) -> tuple[float, float]:
    """Shares of the variance that `count` principal components, and that many coordinates of each row, hold."""
    n, d = x.shape
    centre = x.double().mean(0)
    scatter = torch.zeros(d, d, dtype=torch.float64, device=x.device)
    kept = whole = 0.0
    step = max(1, CODES // (8 * d))
    for start in range(0, n, step):
        moved = x[start : start + step].double() - centre
        scatter += moved.T @ moved
        square = moved.square()
        kept += float(square.topk(count, dim=1, sorted=False).values.sum()) if count else 0.0
        whole += float(square.sum())
    if not whole > 0:
        return NAN, NAN
    values = torch.linalg.eigvalsh(scatter).clamp_min(0)
    return (float(values[len(values) - count :].sum() / values.sum()) if count else 0.0), kept / whole


def _crowding(atoms: Float[Tensor, "t d"]) -> tuple[Float[Tensor, " t"], float]:
    """The largest cosine of each feature with another, and the largest absolute one of all pairs; zero rows in none."""
    length = atoms.norm(dim=1, keepdim=True)
    unit = atoms / torch.where(length > 0, length, 1.0)
    t = len(unit)
    if t < 2:
        return torch.full((t,), NAN, dtype=torch.float64), NAN
    nearest, largest = torch.empty(t, dtype=torch.float64), 0.0
    with full_precision():
        for start in range(0, t, ROWS):
            cosines = unit[start : start + ROWS] @ unit.T
            at = torch.arange(len(cosines))
            cosines[at, at + start] = 0.0
            largest = max(largest, float(cosines.abs().amax()))
            cosines[at, at + start] = -math.inf
            nearest[start : start + ROWS] = cosines.amax(1).double().cpu()
    return nearest, largest


def _encoder_cosine(words: Dictionary) -> Float[Tensor, " t"]:
    weight = words.encoder_weight if isinstance(words, SparseAutoencoder) else None
    if weight is None:
        return torch.full((len(words),), NAN, dtype=torch.float64)
    return torch.nn.functional.cosine_similarity(weight.T.double(), words.atoms.double(), dim=1)


def _histogram(density: Float[Tensor, " t"]) -> Float[Tensor, " b"]:
    """How many features are dead, and how many have log10 density in each bin; below 1e-6 counts in the first."""
    alive = density[density > 0].log10().clamp(BINS[0], BINS[-1]).numpy()
    counts = np.histogram(alive, BINS)[0]
    return torch.from_numpy(np.concatenate([[int((density == 0).sum())], counts]).astype(float))
