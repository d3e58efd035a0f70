"""What the heads of attention modules are given and give, as a model runs, and the projections that read them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from repana.extraction._attention_product import Product

PRODUCT = {torch.float64: 1e-9, torch.float32: 1e-4}  # of an output, by which a projection and its matrix may differ
ROUGH = 3e-2  # for other types
OTHER_STREAM = ("key_value_states", "encoder_hidden_states")  # arguments of cross-attention


@dataclass(frozen=True)
class Maps:
    """Maps (b, h, q, k) of one attention module for texts from number `start` of the batch on, over the `allowed` keys.
    Of `texts` in the batch. They add up to less than 1 where a part goes to a sink that is a parameter."""

    name: str
    start: int
    texts: int
    maps: Float[Tensor, "b h q k"]
    allowed: Bool[Tensor, "b h q k"]


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of one module as they meet: after norms and rotary embeddings, keys and values of g
    groups, of which query head i reads number i // (h / g)."""

    name: str
    query: Float[Tensor, "b h t k"]
    key: Float[Tensor, "b g t k"]
    value: Float[Tensor, "b g t v"]

    def copies(self) -> int:
        """How often every key and value stands in a row, where they were repeated for the queries of their group."""
        count = self.key.shape[1]
        for times in (n for n in range(count, 1, -1) if count % n == 0):
            if all(_equal(t, t[:, ::times].repeat_interleave(times, 1)) for t in (self.key, self.value)):
                return times
        return 1

    def once(self, copies: int) -> "Projected":
        """Every key and value once."""
        return replace(self, key=self.key[:, ::copies], value=self.value[:, ::copies])


@dataclass(frozen=True)
class HeadResults:
    """What the heads of one module gave, and the rows of the output projection that each writes with; None where none
    was seen, or its output is not that of one matrix."""

    name: str
    results: Float[Tensor, "b h q v"]
    weight: Float[Tensor, "h v d"] | None


@dataclass
class _Waiting:
    """What the heads of a module gave, until an output projection reads it; then the matrix that does, and the module
    around it that is given the same (an adapter)."""

    name: str
    out: Float[Tensor, "b q h v"]
    matrix: nn.Module | None = None
    outer: nn.Module | None = None


@dataclass
class AttentionTap:
    """Reads every attention module of a model as it runs: `on_projected` gets queries, keys and values, `on_maps` maps,
    a few texts at a time, `on_heads` what the heads gave, and `on_results` that too, once the output projection has
    been seen. Cross-attention is left alone."""

    names: dict[int, str]
    on_maps: Callable[[Maps], None] | None = None
    on_results: Callable[[HeadResults], None] | None = None
    on_projected: Callable[[Projected], None] | None = None
    on_heads: Callable[[str, Tensor], None] | None = None
    inside: bool = False  # while the product of a module is computed here
    _waiting: list[_Waiting] = field(default_factory=list)
    _crossing: set[int] = field(default_factory=set)
    _past: dict[str, int] = field(default_factory=dict)  # positions that a module has seen of the texts at hand
    _open: list[tuple[nn.Module, Tensor | None]] = field(default_factory=list)

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        position_bias: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """The attention of `transformers`' interface: keys and values of groups, a mask, a soft cap, a bias, sinks."""
        causal = attention_mask is None and getattr(module, "is_causal", False) and kwargs.get("is_causal") is not False
        name = self.names.get(id(module), type(module).__name__)
        product = Product(query, key, value, attention_mask, position_bias, scaling, softcap, s_aux, causal)
        fed, own = query.shape[2], self.reads(module, name, query.shape[2], key.shape[2])
        if own and self.on_projected is not None:
            self.on_projected(Projected(name, query, key[:, :, -fed:], value[:, :, -fed:]))
        parts = []
        self.inside = True
        try:
            for first, maps, allowed, results in product.by_texts():
                parts.append(results)
                if own and fed == key.shape[2] and self.on_maps is not None:
                    self.on_maps(Maps(name, first, query.shape[0], maps, allowed))
        finally:
            self.inside = False
        out = torch.cat(parts).transpose(1, 2).contiguous()
        if own:
            self.gave(name, out)
        return out, None

    def reads(self, module: nn.Module | None, name: str, queries: int, keys: int) -> bool:
        """Whether a call is self-attention: as many queries as keys, or one query beside those of the positions that
        this module has seen, in a cache that grows or a window."""
        if module is not None and id(module) in self._crossing:
            return False
        past = self._past.get(name)
        if queries == keys:
            self._past[name] = keys
            return True
        if queries == 1 and past is not None and keys <= past + 1:
            self._past[name] = past + 1
            return True
        return False

    def gave(self, name: str, out: Float[Tensor, "b q h v"]) -> None:
        """What the heads of a module gave."""
        self.flush()
        if self.on_heads is not None:
            self.on_heads(name, out.transpose(1, 2))
        if self.on_results is not None:
            self._waiting.append(_Waiting(name, out))

    def flush(self) -> None:
        """Hand on what no output projection has read."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if self.on_results is not None:
                self.on_results(HeadResults(one.name, one.out.transpose(1, 2), None))

    def began(self, module: nn.Module, given: Any, named: dict[str, Any]) -> None:
        """A module begins: whether it is given the states of another stream, and whether it is a matrix that reads
        exactly what the heads of an attention module gave."""
        x = given[0] if given and isinstance(given[0], Tensor) else None
        self._open.append((module, x))
        if any(named.get(name) is not None for name in OTHER_STREAM):
            self._crossing.add(id(module))
        else:
            self._crossing.discard(id(module))
        if x is None or not self._waiting or not is_matrix(module):
            return
        for one in self._waiting:
            flat = one.out.flatten(2)
            fits = one.matrix is None and x.numel() == flat.numel() and x.shape[-1] == flat.shape[-1]
            if fits and _equal(x.reshape(flat.shape), flat):
                one.matrix = module
                given_same = (m for m, t in self._open if t is not None and _is_same(t, x))
                one.outer = next((m for m in given_same if _several_matrices(m)), module)
                return

    def ended(self, module: nn.Module, given: Any, output: Any) -> None:
        """A module ends: hand on what it has read, with its weight where that is all that its output is made of."""
        while self._open and self._open.pop()[0] is not module:
            pass
        for one in [one for one in self._waiting if one.outer is module]:
            self._waiting.remove(one)
            if self.on_results is not None:
                assert one.matrix is not None
                weight = weight_by_head(one.matrix, one.out.shape[2])
                known = isinstance(output, Tensor) and _is_product(one.matrix, one.out.flatten(2), output)
                self.on_results(HeadResults(one.name, one.out.transpose(1, 2), weight if known else None))


def _several_matrices(module: nn.Module) -> bool:
    """Whether a module holds more than one matrix, as one with an adapter does."""
    return sum(is_matrix(m) for m in module.modules()) > 1


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors hold the same numbers; no operation of the network, and not watched as one."""
    with _disable_current_modes():
        return bool(((x == y) | ((x != x) & (y != y))).all())


def _is_same(x: Tensor, y: Tensor) -> bool:
    return x is y or (x.data_ptr() == y.data_ptr() and x.shape == y.shape and x.dtype == y.dtype)


def _is_product(matrix: nn.Module, flat: Float[Tensor, "b q e"], output: Tensor) -> bool:
    """Whether an output is that of the matrix alone: an adapter beside it adds something of its own."""
    with _disable_current_modes(), torch.no_grad():
        expected = matrix_of(matrix)
        bias = getattr(matrix, "bias", None)
        made = flat.to(expected.dtype) @ expected
        made = made if bias is None else made + bias
        size = float(made.double().abs().nan_to_num().max())
        gap = (made.reshape(output.shape) - output).double().abs().nan_to_num()
        return float(gap.max()) <= PRODUCT.get(output.dtype, ROUGH) * max(size, 1e-30)


def matrix_of(module: nn.Module) -> Float[Tensor, "i o"]:
    """The weight of a matrix, (in, out)."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight if type(module).__name__ == "Conv1D" else weight.T


def weight_by_head(module: nn.Module, heads: int) -> Float[Tensor, "h v d"]:
    """The rows of an output projection that each head writes with, (in, out) by head."""
    rows = matrix_of(module)
    return rows.reshape(heads, -1, rows.shape[1])


def is_matrix(module: nn.Module) -> bool:
    """Whether a module is one matrix."""
    weight = getattr(module, "weight", None)
    one = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    return one and isinstance(weight, Tensor) and weight.ndim == 2 and weight.is_floating_point()
