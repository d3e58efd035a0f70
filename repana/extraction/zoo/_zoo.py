"""A zoo: models of one architecture, read tensor by tensor."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana._ambient import free_memory
from repana.extraction._addresses import glob
from repana.extraction.zoo import _refusals
from repana.extraction.zoo._weight_sets import WeightSet, is_finite

SHARE_OF_MEMORY = 0.8
LARGEST = 1e100  # whose squares double precision holds


@dataclass
class Zoo:
    """Models of one architecture, read tensor by tensor. What was read of each is added up, so that equal models are
    found."""

    sets: list[WeightSet]
    shapes: dict[str, tuple[int, ...]]
    base: WeightSet | None = None
    _sums: list[list[int]] = field(default_factory=list)
    _base_tensor: tuple[str, Tensor] | None = None
    read: dict[str, None] = field(default_factory=dict)  # tensors that were read

    @classmethod
    def of(cls, models: Any, layers: Any, base: Any = None, *, allow_pickle: bool = False) -> "Zoo":
        given = _named(models)
        if len(given) < 2:
            raise _refusals.few_models(len(given), type(models).__name__)
        sets = [WeightSet.of(model, name, allow_pickle) for name, model in given]
        ancestor = None if base is None else WeightSet.of(base, "base", allow_pickle)
        known = next((s for s in (*sets, *([ancestor] if ancestor else ())) if s.ordered), sets[0])
        names = _chosen(layers, sets[0].shapes)
        for other in (*sets[1:], *([ancestor] if ancestor else ())):
            first, here = set(sets[0].shapes), set(other.shapes)
            if layers is None and first != here:
                raise _refusals.other_names(sets[0].name, other.name, sorted(first - here), sorted(here - first))
            for name in names:
                if name not in here:
                    raise _refusals.other_names(sets[0].name, other.name, [name], [])
                if other.shapes[name] != sets[0].shapes[name]:
                    shape = sets[0].shapes[name]
                    raise _refusals.other_shape(name, sets[0].name, shape, other.name, other.shapes[name])
        place = {name: i for i, name in enumerate(known.shapes)}
        shapes = {name: sets[0].shapes[name] for name in sorted(names, key=lambda name: place[name])}
        return cls(sets, shapes, ancestor, [[] for _ in sets])

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.sets]

    def tensor(self, i: int, name: str) -> Tensor:
        """One tensor of one model, less that of the base."""
        found = self._read(self.sets[i], name)
        self._sums[i].append(_sum_of_bits(found))
        self.read |= {name: None}
        return found if self.base is None else found - self._of_base(name).to(found.dtype)

    def _read(self, weights: WeightSet, name: str) -> Tensor:
        """In single precision, or double where it has that."""
        found = weights.read(name)
        found = found if found.dtype == torch.float64 else found.float()
        if not is_finite(found):
            bad = int((~torch.isfinite(found)).sum())
            if bad:
                raise _refusals.not_finite(weights.name, name, bad, found.numel())
        if found.dtype == torch.float64 and float(found.abs().max()) > LARGEST:
            raise _refusals.too_large(weights.name, name, float(found.abs().max()))
        return found

    def _of_base(self, name: str) -> Tensor:
        if self._base_tensor is None or self._base_tensor[0] != name:
            assert self.base is not None
            self._base_tensor = name, self._read(self.base, name)
        return self._base_tensor[1]

    def rows(self, name: str) -> Float[Tensor, "n p"]:
        """One tensor of all models."""
        size, n = math.prod(self.shapes[name]), len(self.sets)
        room = SHARE_OF_MEMORY * free_memory(torch.device("cpu"))
        if 4.0 * n * size > room:
            raise _refusals.beyond_memory(name, 4.0 * n * size, room)
        first = self.tensor(0, name).flatten()
        found = torch.empty(n, size, dtype=first.dtype)
        found[0] = first
        for i in range(1, n):
            row = self.tensor(i, name).flatten()
            found = found.double() if row.dtype == torch.float64 and found.dtype != row.dtype else found
            found[i] = row
        return found

    def _equal(self, i: int, j: int, name: str) -> bool:
        return torch.equal(self._read(self.sets[i], name), self._read(self.sets[j], name))

    def refuse_duplicates(self) -> None:
        seen: dict[tuple[int, ...], list[int]] = {}
        for i, sums in enumerate(self._sums):
            seen.setdefault(tuple(sums), []).append(i)
        pairs = [
            (self.names[first], self.names[i])
            for first, *others in seen.values()
            for i in others
            if all(self._equal(first, i, name) for name in self.read)
        ]
        if pairs:
            raise _refusals.same_weights(pairs)


def _named(models: Any) -> list[tuple[str, Any]]:
    """Models with their names; nothing for what is one model, or none."""
    if isinstance(models, Mapping):
        several = bool(models) and not any(isinstance(model, Tensor) for model in models.values())
        return [(str(name), model) for name, model in models.items()] if several else []
    if isinstance(models, (str, nn.Module)) or not isinstance(models, Iterable):
        return []
    return [(f"model {i}", model) for i, model in enumerate(models)]


def _sum_of_bits(tensor: Tensor) -> int:
    """Equal for equal tensors, and seldom for others."""
    flat = tensor.contiguous().flatten()
    flat = flat if flat.storage_offset() * flat.element_size() % 8 == 0 else flat.clone()
    raw = flat.view(torch.uint8)
    whole = len(raw) // 8 * 8
    return int(raw[:whole].view(torch.int64).sum()) + int(raw[whole:].sum())


def _chosen(layers: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    if layers is None:
        return list(shapes)
    asked = [layers] if isinstance(layers, str) else list(layers) if isinstance(layers, Iterable) else [layers]
    if not asked or not all(isinstance(name, str) for name in asked):
        raise _refusals.layer_names(layers)
    found: dict[str, None] = {}
    for pattern in asked:
        here = [name for name in shapes if name == pattern or glob(pattern).match(name)]
        if not here:
            raise _refusals.no_such_tensor(str(pattern), list(shapes))
        found |= dict.fromkeys(here)
    return list(found)
