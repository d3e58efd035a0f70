"""What counts as a feature of a layer: units, the classifier's rows, principal components, parts, or given vectors."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN
from repana._typing import FeatureArray, Features
from repana.features import _refusals
from repana.summaries._linalg import full_precision, gram
from repana.summaries.nnls import non_negative

KINDS = ("units", "classes", "pca", "nmf")
SPANS = "spans the layer: explained is 1 for any such vectors"
ENCODERS = ("project", "least_squares", "nnls")


@dataclass(frozen=True, repr=False)
class Dictionary:
    """Features of one layer as directions: `atoms` (t, d) with a name each, and how a row is written in them.

    `encoder`: "project" z = (x - mean) D'; "least_squares" min |x - mean - zD|^2 of least norm; "nnls" the same with
    z >= 0.
    """

    atoms: Float[Tensor, "t d"]
    names: tuple[str, ...]
    kind: str
    encoder: str
    mean: Float[Tensor, " d"]

    def __len__(self) -> int:
        return len(self.atoms)

    def __repr__(self) -> str:
        said = f"; {self.trivial}" if self.trivial else ""
        return f"Dictionary({len(self)} features of {self.atoms.shape[1]} units: {self.kind}, {self.encoder}{said})"

    @property
    def trivial(self) -> str:
        """Why the share that it explains says nothing of it: given vectors that span the layer hold every row."""
        return SPANS if self.kind == "given" and self.encoder != "nnls" and self._spans else ""

    @cached_property
    def _spans(self) -> bool:
        t, d = self.atoms.shape
        return t >= d and int(torch.linalg.matrix_rank(self.atoms.double())) == d

    def codes(self, features: FeatureArray) -> Float[Tensor, "n t"]:
        """How strongly each row has each feature. Raises InputError for rows of another width."""
        x = _check.features_of(features)
        if x.shape[1] != self.atoms.shape[1]:
            raise _refusals.dictionary_width(tuple(self.atoms.shape), x.shape[1])
        if self.kind == "units":
            return x.float() if x.dtype != torch.float64 else x
        moved, atoms = x.double() - self.mean.to(x.device), self.atoms.double().to(x.device)
        if self.encoder == "nnls":
            return non_negative(moved, atoms).codes
        with full_precision():
            return moved @ (atoms.T if self.encoder == "project" else self._inverse.to(x.device))

    def decode(self, codes: Float[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        """The rows that codes stand for, zD + mean."""
        with full_precision():
            return codes.double() @ self.atoms.double().to(codes.device) + self.mean.to(codes.device)

    def reconstruct(self, features: FeatureArray) -> Float[Tensor, "n d"]:
        """What the dictionary keeps of rows: what its atoms span of them around the mean with "project", else what
        their codes decode to."""
        x = _check.features_of(features).double()
        if self.encoder == "project":
            return x - self.left(x) + self.mean.to(x.device)
        return self.decode(self.codes(x))

    def decode_beside(self, codes: Float[Tensor, "n t"], features: FeatureArray) -> Float[Tensor, "n d"]:
        """What is kept of these rows, of which the codes are known."""
        return self.reconstruct(features) if self.encoder == "project" else self.decode(codes)

    def factors(self, features: FeatureArray) -> Float[Tensor, "n 1"]:
        """What the atoms are multiplied by at each row."""
        x = _check.features_of(features)
        return x.new_ones(len(x), 1)

    def left(self, features: FeatureArray) -> Float[Tensor, "n d"]:
        """What the dictionary does not hold of rows: x - zD, of "project" encoders less what the atoms span."""
        x = _check.features_of(features).double()
        if self.kind == "units":
            return torch.zeros_like(x)
        if self.encoder == "nnls":
            return x - self.decode(self.codes(x))
        with full_precision():
            return x - (x - self.mean.to(x.device)) @ self._inverse.to(x.device) @ self.atoms.double().to(x.device)

    def explained(self, features: FeatureArray) -> float:
        """Share of the rows' variance that the dictionary holds: 1 - variance of what is left/variance of the rows."""
        x = _check.features_of(features).double()
        left, total = ((v - v.mean(0)).square().sum() for v in (self.left(x), x))
        return float(1 - left / total) if total > 0 else NAN

    @cached_property
    def _inverse(self) -> Float[Tensor, "d t"]:
        return torch.linalg.pinv(self.atoms.double())


def dictionary(
    features: FeatureArray,
    kind: Any = "units",
    *,
    count: int | None = None,
    weight: Any = None,
    names: Sequence[str] | None = None,
    encoder: str | None = None,
    seed: int = 0,
) -> Dictionary:
    """The features of a layer whose rows are `features` (n, d).

    - "units": the layer's own coordinates.
    - "classes": the rows of the classifier `weight` (c, d); codes are the logits without their bias.
    - "pca": the `count` leading principal directions, around the mean (by default those with 99% of the variance).
    - "nmf": `count` parts of which non-negative rows are non-negative sums (by default as many as the components
      above, at most 64), by scikit-learn's coordinate descent; codes of any rows are non-negative least squares, exact
      for up to 512 parts, for more within 1e-6 of the conditions of the minimum.
    - a matrix (t, d): concept directions, what you like. `encoder` says how rows are written in them: "least_squares"
      by default, "project" for directions that are read one by one, "nnls". With as many directions as units, least
      squares write every row, and nothing is sparse: for a sparse autoencoder, whose codes are those of its own
      encoder, see `load_sae` and `SparseAutoencoder`.

    Raises InputError for a matrix of another width, "classes" without `weight`, "nmf" of negative features, or more
    parts than there are rows or units.

    Sources: Fel et al. 2024, arXiv:2407.06076 (features as non-negative parts); Lee & Seung 1999,
    doi:10.1038/44565 (parts).

    >>> import torch
    >>> from repana import dictionary
    >>> x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    >>> float(dictionary(x, "pca", count=4).explained(x)) > 0.999
    True
    """
    x = _check.features_of(features)
    d = x.shape[1]
    zero = torch.zeros(d, dtype=torch.float64)
    if encoder is not None:
        _check.choice(encoder, "encoder", ENCODERS)
    if count is not None and not (isinstance(kind, str) and kind in ("pca", "nmf")):
        raise _refusals.no_count(kind if isinstance(kind, str) else "a matrix")
    if isinstance(kind, str):
        _check.choice(kind, "dictionary", KINDS)
        if kind == "units":
            return units_of(d, names)
        if kind == "classes":
            if weight is None:
                raise _check.no_classifier("the dictionary of classes")
            atoms = _refusals.dictionary_of(weight, d)
            return Dictionary(
                atoms, _refusals.feature_names(names, len(atoms), "class"), kind, encoder or "project", zero
            )
        if kind == "pca":
            atoms, mean = _principal(x, count)
            return Dictionary(
                atoms, _refusals.feature_names(names, len(atoms), "component"), kind, encoder or "project", mean
            )
        atoms = _parts(x, count, seed)
        return Dictionary(atoms, _refusals.feature_names(names, len(atoms), "part"), kind, encoder or "nnls", zero)
    atoms = _refusals.dictionary_of(kind, d)
    encoder = encoder or "least_squares"
    return Dictionary(atoms, _refusals.feature_names(names, len(atoms), "feature"), "given", encoder, zero)


def units_of(d: int, names: Sequence[str] | None = None) -> Dictionary:
    """The coordinates of a layer of d units."""
    zero = torch.zeros(d, dtype=torch.float64)
    return Dictionary(torch.eye(d), _refusals.feature_names(names, d, "unit"), "units", "project", zero)


def _principal(x: Features, count: int | None) -> tuple[Float[Tensor, "t d"], Float[Tensor, " d"]]:
    mean = x.double().mean(0)
    moved = x.double() - mean
    if len(x) < x.shape[1]:
        _, s, v = torch.linalg.svd(moved, full_matrices=False)
        values, vectors = s.square(), v.T
    else:
        values, vectors = torch.linalg.eigh(gram(moved))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if count is None:
        total = values.cumsum(0)
        count = int((total < 0.99 * total[-1]).sum()) + 1
    _refusals.at_most_components(count, min(len(x) - 1, x.shape[1]))
    return vectors[:, :count].T.contiguous().cpu(), mean.cpu()


def _parts(x: Features, count: int | None, seed: int) -> Float[Tensor, "t d"]:
    from sklearn.decomposition import NMF

    lowest = float(x.min())
    if lowest < 0:
        raise _refusals.negative_features(lowest)
    if count is None:
        count = min(64, len(_principal(x, None)[0]))
    _refusals.at_most_components(count, min(x.shape))
    model: Any = NMF(count, init="nndsvda", random_state=seed, max_iter=1000, tol=1e-5)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parts that still move a little are parts: codes are solved for exactly
        model.fit(x.double().cpu().numpy())
    return torch.from_numpy(model.components_)
