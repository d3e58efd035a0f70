"""A model that is trained in few random directions of its parameter space."""

import copy
import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from repana import _check
from repana.dimension import _refusals

PROJECTIONS = ("dense", "sparse", "fastfood")
WIDEST = 2**31  # bytes of a dense projection
ROWS = 2**14  # parameters of a dense projection drawn at a time
MEASURED = 2**28  # dimensions times length, up to which the norms of Fastfood's columns are measured


class Subspace(nn.Module):
    """A model whose parameters are theta_0 + P v, v the only one that is trained: (d,), zero at first.

    P has `dimension` columns of norm 1 over all parameters together. "dense": Gaussian, columns scaled to norm 1.
    "sparse": in a tensor of m parameters every entry is -1 or 1 over the square root of its chance 1/sqrt(m), else 0, a
    column of zeros getting one entry, then scaled likewise. "fastfood": the first D rows of H G Pi H B, H the Hadamard
    matrix of size L = 2^ceil(log2 D), B signs, Pi a permutation, G Gaussian, over sqrt(L sum G^2) sqrt(D/L), then
    scaled likewise where dimension x L is at most 2^28; beyond, norms are 1 up to about 1/sqrt(D), which is below
    0.2% there. Its memory is of the order of D. P follows from `seed` and the shapes, so that `checkpoint` holds the
    seed and v alone.

    The model is copied; buffers, `.to()`, train and eval mode and tied parameters work as in the model itself.
    Parameters that do not require gradients stay what they are.

    Raises InputError for a dimension below 1 or above the number of parameters, or a dense P above 2 GB.

    Source: Li, Farkhoor, Liu & Yosinski 2018, arXiv:1804.08838; Fastfood: Le, Sarlos & Smola 2013, arXiv:1408.3060.
    """

    v: nn.Parameter
    _p: Tensor
    _signs: Tensor
    _order: Tensor
    _gauss: Tensor

    def __init__(self, model: nn.Module, dimension: int, *, projection: str = "fastfood", seed: int = 0) -> None:
        super().__init__()
        _check.choice(projection, "projection", PROJECTIONS)
        self.model = copy.deepcopy(model)
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        total = sum(p.numel() for _, p in trained)
        dimension, seed = _check.whole(dimension, "dimension"), _check.whole(seed, "seed")
        if not 1 <= dimension <= total:
            raise _refusals.subspace_size(dimension, total)
        if projection == "dense" and 4 * total * dimension > WIDEST:
            raise _refusals.dense_projection(total, dimension, 4 * total * dimension)
        for _, p in trained:
            p.requires_grad_(False)
        self.dimension, self.projection, self.seed, self.total = dimension, projection, seed, total
        self._names, self._shapes = [name for name, _ in trained], [p.shape for _, p in trained]
        device = trained[0][1].device
        self.v = nn.Parameter(torch.zeros(dimension, device=device))
        drawn = {"dense": _dense, "sparse": _sparse, "fastfood": _fastfood}[projection]
        for name, value in drawn([math.prod(shape) for shape in self._shapes], dimension, seed).items():
            self.register_buffer(f"_{name}", value.to(device), persistent=False)

    def offset(self) -> Float[Tensor, " D"]:
        """P v."""
        if self.projection == "dense":
            return self._p @ self.v
        if self.projection == "sparse":
            return torch.sparse.mm(self._p, self.v[:, None])[:, 0]
        x = torch.nn.functional.pad(self.v, (0, len(self._signs) - self.dimension)) * self._signs
        return _hadamard(self._gauss * _hadamard(x)[self._order])[: self.total]

    def parameters_at(self) -> dict[str, Tensor]:
        """The model's parameters theta_0 + P v by name."""
        found, start, offset = {}, 0, self.offset()
        for name, shape in zip(self._names, self._shapes):
            base, size = self.model.get_parameter(name), math.prod(shape)
            found[name] = base + offset[start : start + size].view(shape).to(base.dtype)
            start += size
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self.model, self.parameters_at(), args, kwargs)

    def checkpoint(self) -> dict[str, Any]:
        """What the trained model needs beside its initial parameters: seed, projection and v."""
        return {"seed": self.seed, "projection": self.projection, "v": self.v.detach().cpu().clone()}

    @classmethod
    def restore(cls, model: nn.Module, checkpoint: dict[str, Any]) -> "Subspace":
        """The trained model from the initial one and a checkpoint."""
        v = checkpoint["v"]
        made = cls(model, len(v), projection=checkpoint["projection"], seed=checkpoint["seed"])
        with torch.no_grad():
            made.v.copy_(v)
        return made


class _Hadamard(torch.autograd.Function):
    """The Walsh-Hadamard transform of the last axis, its own transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        h, shape = 1, x.shape
        while h < shape[-1]:
            pairs = x.view(-1, 2, h)
            x = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1)
            h *= 2
        return x.view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Hadamard.apply(gradients[0].contiguous())


def _hadamard(x: Float[Tensor, "*b L"]) -> Float[Tensor, "*b L"]:
    return _Hadamard.apply(x.contiguous())


def _dense(sizes: list[int], d: int, seed: int) -> dict[str, Tensor]:
    p = torch.empty(sum(sizes), d)
    generator = torch.Generator().manual_seed(seed)
    for part in p.split(ROWS):
        part.normal_(generator=generator)
    return {"p": p / torch.linalg.vector_norm(p, dim=0)}


def _sparse(sizes: list[int], d: int, seed: int) -> dict[str, Tensor]:
    rng, start = np.random.default_rng(seed), 0
    places, values = [], []
    for m in sizes:
        chance = 1 / math.sqrt(m)
        count = rng.binomial(m * d, chance)
        where = np.unique(rng.integers(0, m * d, int(count * 1.5) + 8)) if chance < 0.5 else np.arange(m * d)
        where = np.sort(rng.permutation(where)[:count])
        places.append(np.stack([where // d + start, where % d]))
        values.append(rng.choice([-1.0, 1.0], len(where)) / math.sqrt(chance))
        start += m
    at, x = np.concatenate(places, 1), np.concatenate(values)
    empty = np.setdiff1d(np.arange(d), at[1])
    at = np.concatenate([at, np.stack([rng.integers(0, start, len(empty)), empty])], 1)
    x = np.concatenate([x, np.ones(len(empty))])
    norms = np.sqrt(np.bincount(at[1], x**2, minlength=d))
    x = x / norms[at[1]]
    p = torch.sparse_coo_tensor(
        torch.from_numpy(at), torch.from_numpy(x).float(), (start, d), check_invariants=True
    ).coalesce()
    return {"p": p}


def _fastfood(sizes: list[int], d: int, seed: int) -> dict[str, Tensor]:
    total = sum(sizes)
    length = 2 ** math.ceil(math.log2(max(total, 2)))
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (length,), generator=generator).float() * 2 - 1
    order = torch.randperm(length, generator=generator)
    gauss = torch.randn(length, generator=generator)
    norm = math.sqrt(length * float(gauss.square().sum())) * math.sqrt(total / length)
    gauss = gauss / norm
    if d * length <= MEASURED:
        for part in torch.arange(d).split(max(1, ROWS * 64 // length)):
            columns = torch.zeros(len(part), length)
            columns[torch.arange(len(part)), part] = signs[part]
            made = _hadamard(gauss * _hadamard(columns)[:, order])[:, :total]
            signs[part] /= torch.linalg.vector_norm(made, dim=1)
    return {"signs": signs, "order": order, "gauss": gauss}
