"""Weights of many models as activations: samples are models, layers are their tensors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana.extraction.zoo import _refusals
from repana.extraction.zoo._model_trees import TensorDistances
from repana.extraction.zoo._zoo import Zoo

KINDS = ("statistics", "spectrum", "flat", "responses")
OF_MATRICES = ("spectrum", "responses")
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
SINGULAR_VALUES = 64
CACHED = 2**15  # numbers taken in float64 at a time


def read_weights(
    models: Any,
    kind: str = "statistics",
    *,
    labels: Any = None,
    layers: Any = None,
    base: Any = None,
    groups: Any = "auto",
    width: int = 4096,
    seed: int = 0,
    allow_pickle: bool = False,
) -> Activations:
    """The weights of many models as `Activations`: every model is a sample, every tensor a layer.

    Whatever reads activations then reads a zoo: `weight_probe`, `profile`, `two_nn`, `separability`, `spectrum`, with
    what is documented of the models (their data, their learning rate, their accuracy) as labels.

    - `models`: a sequence, or a mapping from names, of files (`.safetensors`, read tensor by tensor; `.pt`), folders of
      one or of shards, modules, or state dicts, all with the same floating-point tensors of the same shapes. `layers`:
      names or patterns of tensors; all by default. In the order of a module where there is one, else by name. Tensors
      of whole numbers, as quantised weights, are not read: `provenance["left_out"]` names them.
    - `kind`: what is kept of each tensor.
      "statistics": mean, variance, quantiles 0, .25, .5, .75, 1 (7 numbers).
      "spectrum": the 64 largest singular values, then stable rank |X|_F^2/s_1^2 and effective rank
      exp H(s^2/sum s^2): the one kind that does not change where units are permuted or rotated, and so the one to
      compare models across ancestors. Of matrices; kernels of convolutions as (outputs, rest).
      "responses": X R, R (inputs, width/outputs) Gaussian over sqrt(inputs), drawn by `seed`: keeps distances to about
      1/sqrt(width). Of matrices.
      "flat": the tensor as it is.
    - `base`: an ancestor whose weights are subtracted (task vectors).
    - `groups`: which models depend on each other, a value each. By default those that `model_trees` finds; None: every
      model for itself. They become `sample`, so that splits of `profile` and of probes leave whole trees out.

    - `allow_pickle`: read `.pt` files that hold more than tensors, which can run code: only from those whom you trust.

    Quantiles and variances change where a scale moves from one layer to the next, as before a normalisation. Memory:
    one tensor of all models beside what is kept, or with groups=None one tensor of one model.

    Raises InputError (RA298) for fewer than two models, models that differ in their tensors, equal models, or
    NaN; FileError for what cannot be read.

    Sources: Unterthiner et al. 2020, arXiv:2002.11448 (statistics of weights); Horwitz et al. 2024, arXiv:2410.13569
    (responses, trees); Ilharco et al. 2023, arXiv:2212.04089 (task vectors).

    >>> import torch
    >>> from repana import read_weights
    >>> draw = torch.Generator().manual_seed(0)
    >>> zoo = [{"w": torch.randn(4, 3, generator=draw)} for _ in range(5)]
    >>> read_weights(zoo, labels=[0, 1, 0, 1, 0])
    Activations(5 of 5 samples, 1 layers: w 7)
    """
    _check.choice(kind, "kind", KINDS)
    width = _check.at_least(width, "width", 1)
    zoo = Zoo.of(models, layers, base, allow_pickle=allow_pickle)
    n = len(zoo.sets)
    named = [name for name, shape in zoo.shapes.items() if kind not in OF_MATRICES or len(shape) > 1]
    if not named:
        raise _refusals.nothing_to_read(kind, len(zoo.shapes))
    for name in named if kind == "responses" else ():
        if zoo.shapes[name][0] > width:
            raise _refusals.too_narrow(name, zoo.shapes[name][0], width)
    found = isinstance(groups, str)
    if found:
        _check.choice(groups, "groups", ("auto",))
    between = TensorDistances(n)
    features: dict[str, Tensor] = {}
    for name, shape in zoo.shapes.items():
        read = _Kind(kind, shape, width, seed)
        if found or kind == "flat":
            rows = zoo.rows(name)
            if found:
                between.add(rows)
            if name in named:
                features[name] = rows if kind == "flat" else torch.stack([read(row.view(shape)) for row in rows])
        elif name in named:
            features[name] = torch.stack([read(zoo.tensor(i, name)) for i in range(n)])
    zoo.refuse_duplicates()
    trees = between.trees(zoo.names, seed) if found else None
    sample = _samples(groups, n) if trees is None else trees.trees if float(trees.count) > 1 else torch.arange(n)
    made = Activations(features, labels)
    about = {
        **made.provenance, "data": "weights", "kind": kind, "models": zoo.names, "samples": n,
        "base": None if zoo.base is None else zoo.base.name, "width": width, "seed": seed,
        "left_out": [*(name for name in zoo.shapes if name not in named), *zoo.sets[0].whole],
        "grouped": "by their ancestor" if int(sample.unique().numel()) < n else "",
    }  # fmt: skip
    if trees is not None:
        about |= {"gap": trees.gap.value, "gap_p": trees.gap.p}
    seen = int(sample.unique().numel())
    return Activations(features, made.labels, sample=sample, seen=seen, provenance=about)


def _samples(groups: Any, n: int) -> Tensor:
    return torch.arange(n) if groups is None else torch.from_numpy(_check.groups_of(groups, n))


class _Kind:
    """What is kept of one tensor."""

    def __init__(self, kind: str, shape: Sequence[int], width: int, seed: int) -> None:
        self._kind = kind
        self._mix: Tensor | None = None
        if kind == "responses":
            inputs = math.prod(shape[1:])
            drawn = np.random.default_rng(seed).standard_normal((inputs, max(1, width // shape[0])))
            self._mix = torch.from_numpy(drawn / inputs**0.5)

    def __call__(self, tensor: Tensor) -> Float[Tensor, " w"]:
        if self._kind == "flat":
            return tensor.flatten()
        if self._kind == "statistics":
            return statistics(tensor)
        matrix = tensor.double().flatten(1)
        if self._mix is not None:
            return (matrix @ self._mix).flatten().to(tensor.dtype)
        return singular_values(matrix)


def statistics(tensor: Tensor) -> Float[Tensor, " seven"]:
    """Mean, population variance, and quantiles 0, .25, .5, .75, 1 with linear interpolation."""
    x = tensor.flatten().contiguous()
    size, shift = len(x), float(x[0])
    total = squares = 0.0
    room = torch.empty(min(size, CACHED), dtype=torch.float64)
    for part in x.split(CACHED):
        wide = room[: len(part)].copy_(part).sub_(shift)
        total, squares = total + float(wide.sum()), squares + float(wide @ wide)
    mean = total / size
    ordered = np.sort(x.numpy())  # vectorised: faster than a selection of these few
    at = [q * (size - 1) for q in QUANTILES]
    pairs = [(float(ordered[int(p)]), float(ordered[min(int(p) + 1, size - 1)])) for p in at]
    quantiles = [low + (p - int(p)) * (high - low) for p, (low, high) in zip(at, pairs)]
    return torch.tensor([mean + shift, max(squares / size - mean**2, 0.0), *quantiles], dtype=torch.float64)


def singular_values(matrix: Float[Tensor, "a b"]) -> Float[Tensor, " w"]:
    """The largest, then stable and effective rank, both 0 of a matrix of zeros."""
    values = torch.linalg.svdvals(matrix)
    if not float(values[0]) > 0:
        return torch.cat([values[:SINGULAR_VALUES], values.new_zeros(2)])
    share = values.square() / values.square().sum()
    stable = float(values.square().sum() / values[0].square())
    effective = float((-torch.xlogy(share, share).sum()).exp())
    return torch.cat([values[:SINGULAR_VALUES], torch.tensor([stable, effective], dtype=torch.float64)])
