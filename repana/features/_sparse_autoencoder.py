"""A sparse autoencoder as a dictionary: features of a layer with the encoder that was trained for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN
from repana._typing import FeatureArray
from repana.features import _refusals
from repana.features._dictionary import Dictionary
from repana.summaries._linalg import full_precision

ARCHITECTURES = ("standard", "jumprelu", "topk", "gated", "callable")
NORMALIZATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")
LEAST = 1e-5  # added to the deviation of a row, as the public packages do


@dataclass(frozen=True, repr=False)
class SparseAutoencoder(Dictionary):
    """A sparse autoencoder: `atoms` (t, d) are its decoder rows, `mean` (d,) its decoder bias, and `codes` its encoder.
    Taken wherever a `Dictionary` is; `load_sae` reads the files of the public packages.

    With x' = N(x) - mean (N(x) alone without `centred`) and a = x' `encoder_weight` + `encoder_bias`, by `encoder`:

    - "standard": z = relu(a).
    - "jumprelu": z = relu(a) where a > `threshold` (one number, or one a feature), else 0.
    - "topk": the `k` largest a of a row where they are positive, the rest 0. With `by_norm` the largest of a times the
      norm of the decoder row (SAELens gives out codes times that norm, for decoder rows of length 1).
    - "gated": z = relu(x' (`encoder_weight` exp(`gain`)) + `encoder_bias`) where x' `encoder_weight` + `gate_bias` > 0.
    - "callable": z = `function(x)`.

    `normalization` N of rows, undone on the way out: "none"; "expected_average_only_in", x times the number `scale`,
    which the files do not hold; "constant_norm_rescale", x sqrt(d)/|x|; "layer_norm", (x - mean)/(std + 1e-5) with
    d - 1 under the root, where std alone is undone. A reconstruction is x^ = N^-1(z `atoms` + `mean`).

    Codes are computed in the precision of the rows, at least float32. `hook` is the layer that the files name.

    Raises InputError for arrays whose shapes do not fit, values that are not finite, an unknown architecture or
    normalization, "topk" without `k`, "jumprelu" without `threshold`, "expected_average_only_in" without `scale`.

    Sources: Cunningham et al. 2024, arXiv:2309.08600 (standard); Rajamanoharan et al. 2024, arXiv:2407.14435
    (JumpReLU), arXiv:2404.16014 (gated); Gao et al. 2025, arXiv:2406.04093 (top k).
    """

    encoder_weight: Float[Tensor, "d t"] | None = None
    encoder_bias: Float[Tensor, " t"] | None = None
    threshold: Float[Tensor, " t"] | None = None
    k: int | None = None
    gate_bias: Float[Tensor, " t"] | None = None
    gain: Float[Tensor, " t"] | None = None
    centred: bool = True
    by_norm: bool = False
    normalization: str = "none"
    scale: float | None = None
    function: Callable[[Tensor], Tensor] | None = None
    hook: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        where = f", {self.hook}" if self.hook else ""
        return f"SparseAutoencoder({len(self)} features of {self.atoms.shape[1]} units: {self.encoder}{where})"

    def codes(self, features: FeatureArray) -> Float[Tensor, "n t"]:
        """How strongly each row has each feature, by the autoencoder's own encoder. Raises InputError for rows of
        another width."""
        x = self._rows(features)
        if self.function is not None:
            return _refusals.codes_of(self.function(x), len(x), len(self))
        inside = self._normalized(x)
        if self.centred:
            inside = inside - self.mean.to(inside)
        weight, bias = self._to("encoder_weight", x), self._to("encoder_bias", x)
        with full_precision():
            before = inside @ weight
        if self.encoder == "gated":
            opened = before + self._to("gate_bias", x) > 0
            gain = self._to("gain", x).exp()
            return torch.where(opened, torch.relu(before * gain + bias), 0.0)
        a = before + bias
        if self.encoder == "jumprelu":
            return torch.where(a > self._to("threshold", x), torch.relu(a), 0.0)
        if self.encoder == "topk":
            assert self.k is not None
            chosen = a * torch.linalg.vector_norm(self.atoms.to(a), dim=1) if self.by_norm else a
            at = chosen.topk(self.k, dim=1, sorted=False).indices
            return torch.zeros_like(a).scatter_(1, at, torch.relu(a.gather(1, at)))
        return torch.relu(a)

    def reconstruct(self, features: FeatureArray) -> Float[Tensor, "n d"]:
        """x^ of rows: what the autoencoder gives out for them."""
        x = self._rows(features)
        return self.decode_beside(self.codes(x), x)

    def decode_beside(self, codes: Float[Tensor, "n t"], features: FeatureArray) -> Float[Tensor, "n d"]:
        """The rows that codes stand for, at the mean and the scale of these rows."""
        x = self._rows(features)
        factor, shift = self.frame(x)
        with full_precision():
            inside = codes.to(x) @ self.atoms.to(x) + self.mean.to(x)
        return inside * factor + shift

    def decode(self, codes: Float[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        """The rows that codes stand for, z atoms + mean. Raises InputError where rows are normalised one by one, so
        that codes alone do not say what they stand for; `decode_beside` takes the rows."""
        if self.normalization not in ("none", "expected_average_only_in"):
            raise _refusals.decoded_alone(self.normalization)
        with full_precision():
            out = codes.double() @ self.atoms.double().to(codes.device) + self.mean.to(codes.device)
        return out / (self.scale or 1.0)

    def left(self, features: FeatureArray) -> Float[Tensor, "n d"]:
        """x - x^, in float64."""
        x = self._rows(features)
        return x.double() - self.reconstruct(x).double()

    def factors(self, features: FeatureArray) -> Float[Tensor, "n 1"]:
        """What the atoms are multiplied by at each row, where rows are normalised."""
        return self.frame(self._rows(features))[0]

    def explained(self, features: FeatureArray) -> float:
        """1 - sum |x - x^|^2 / sum |x - mean row|^2, in (-inf, 1]; NaN for rows that are all equal."""
        x = self._rows(features).double()
        left, total = self.left(features).square().sum(), (x - x.mean(0)).square().sum()
        return float(1 - left / total) if total > 0 else NAN

    def frame(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
        """The factor and the shift of each row between what is decoded and the row: x = decoded * factor + shift."""
        one = x.new_ones(len(x), 1)
        if self.normalization == "expected_average_only_in":
            assert self.scale is not None
            return one / self.scale, torch.zeros_like(one)
        if self.normalization == "constant_norm_rescale":
            return torch.linalg.vector_norm(x, dim=1, keepdim=True) / x.shape[1] ** 0.5, torch.zeros_like(one)
        if self.normalization == "layer_norm":
            return x.std(1, keepdim=True), x.mean(1, keepdim=True)
        return one, torch.zeros_like(one)

    def _normalized(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        if self.normalization == "none":
            return x
        factor, shift = self.frame(x)
        least = LEAST if self.normalization == "layer_norm" else 0.0
        return (x - shift) / (factor + least).clamp_min(torch.finfo(x.dtype).tiny)

    def _rows(self, features: FeatureArray) -> Float[Tensor, "n d"]:
        x = _check.features_of(features)
        if x.shape[1] != self.atoms.shape[1]:
            raise _refusals.dictionary_width(tuple(self.atoms.shape), x.shape[1])
        return x if x.dtype == torch.float64 else x.float()

    def _to(self, name: str, x: Tensor) -> Tensor:
        value = getattr(self, name)
        assert value is not None
        return value.to(x)


def sparse_autoencoder(
    decoder: Any,
    encoder: Any,
    *,
    architecture: str = "standard",
    encoder_bias: Any = None,
    decoder_bias: Any = None,
    threshold: Any = None,
    k: int | None = None,
    gate_bias: Any = None,
    gain: Any = None,
    centred: bool = True,
    by_norm: bool = False,
    normalization: str = "none",
    scale: float | None = None,
    names: Any = None,
    hook: str = "",
    settings: Mapping[str, Any] | None = None,
) -> SparseAutoencoder:
    """A `SparseAutoencoder` from arrays: `decoder` (t, d), `encoder` (d, t) or a function from rows (n, d) to codes
    (n, t). Biases that are left out are 0. The other arguments are the fields of `SparseAutoencoder`.

    >>> import torch
    >>> from repana.features import sparse_autoencoder
    >>> eye = torch.eye(3)
    >>> sae = sparse_autoencoder(torch.cat([eye, -eye]), torch.cat([eye, -eye], 1))
    >>> sae.codes(torch.tensor([[1.0, -2.0, 0.0]])).tolist()
    [[1.0, 0.0, 0.0, 0.0, 2.0, 0.0]]
    """
    given: Any = encoder
    own: Any = None if isinstance(given, Tensor) or not callable(given) else given
    architecture = architecture if own is None else "callable"
    _check.choice(architecture, "architecture", ARCHITECTURES)
    _check.choice(normalization, "normalization", NORMALIZATIONS)
    atoms = _refusals.finite_array(decoder, "decoder", (None, None))
    t, d = atoms.shape
    weight = None if own is not None else _refusals.finite_array(encoder, "encoder", (d, t))

    def vector(value: Any, name: str, size: int) -> Tensor:
        return atoms.new_zeros(size) if value is None else _refusals.finite_array(value, name, (size,))

    level = None
    if architecture == "jumprelu":
        if threshold is None:
            raise _refusals.autoencoder_needs("threshold", architecture)
        level = _refusals.finite_array(threshold, "threshold", (t,), scalar=True)
    if architecture == "topk":
        if k is None:
            raise _refusals.autoencoder_needs("k", architecture)
        k = _refusals.at_most_features(k, t)
    if architecture == "gated" and (gate_bias is None or gain is None):
        raise _refusals.autoencoder_needs("gate_bias" if gate_bias is None else "gain", architecture)
    if normalization == "expected_average_only_in" and scale is None:
        raise _refusals.autoencoder_needs("scale", normalization)
    return SparseAutoencoder(
        atoms,
        _refusals.feature_names(names, t, "latent"),
        "sae",
        architecture,
        vector(decoder_bias, "decoder_bias", d).double(),
        encoder_weight=weight,
        encoder_bias=None if own is not None else vector(encoder_bias, "encoder_bias", t),
        threshold=level,
        k=k if architecture == "topk" else None,
        gate_bias=vector(gate_bias, "gate_bias", t) if architecture == "gated" else None,
        gain=vector(gain, "gain", t) if architecture == "gated" else None,
        centred=centred,
        by_norm=by_norm,
        normalization=normalization,
        scale=scale,
        function=own,
        hook=hook,
        settings=dict(settings or {}),
    )
