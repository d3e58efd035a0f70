"""What the heads of attention modules are given and give, as a model runs, and the projections that read them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from repana.extraction._attention_product import Product

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
class Met:
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

    def once(self, copies: int) -> "Met":
        """Every key and value once."""
        return replace(self, key=self.key[:, ::copies], value=self.value[:, ::copies])


@dataclass(frozen=True)
class Written:
    """What the heads of one module gave, and the rows of the output projection that each writes with, if one was
    seen."""

    name: str
    results: Float[Tensor, "b h q v"]
    weight: Float[Tensor, "h v d"] | None


@dataclass
class AttentionTap:
    """Reads every attention module of a model as it runs: `on_met` gets queries, keys and values, `on_maps` maps, a
    few texts at a time, `on_given` what the heads gave, and `on_results` that too, once the output projection has been
    seen.
    Cross-attention is left alone."""

    names: dict[int, str]
    on_maps: Callable[[Maps], None] | None = None
    on_results: Callable[[Written], None] | None = None
    on_met: Callable[[Met], None] | None = None
    on_given: Callable[[str, Tensor], None] | None = None
    pending: list[tuple[str, Tensor]] = field(default_factory=list)
    crossing: set[int] = field(default_factory=set)

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
        texts, fed = query.shape[0], query.shape[2]
        own = id(module) not in self.crossing and fed in (1, key.shape[2])  # one query beside a cache of keys
        product = Product(query, key, value, attention_mask, position_bias, scaling, softcap, s_aux, causal)
        if own and self.on_met is not None:
            self.on_met(Met(name, query, key[:, :, -fed:], value[:, :, -fed:]))
        parts = []
        for at, maps, allowed, results in product.by_texts():
            parts.append(results)
            if own and fed == key.shape[2] and self.on_maps is not None:
                self.on_maps(Maps(name, at, texts, maps, allowed))
        out = torch.cat(parts).transpose(1, 2).contiguous()
        self.gave(name, out, own)
        return out, None

    def gave(self, name: str, out: Float[Tensor, "b q h v"], read: bool) -> None:
        """What the heads of a module gave, until an output projection reads it."""
        self.flush()
        if read and self.on_given is not None:
            self.on_given(name, out.transpose(1, 2))
        if read and self.on_results is not None:
            self.pending.append((name, out))

    def flush(self, of: str | None = None) -> None:
        """Hand on what no output projection has read, of one module or of all."""
        for name, out in self.pending:
            if of in (None, name) and self.on_results is not None:
                self.on_results(Written(name, out.transpose(1, 2), None))
        self.pending = [one for one in self.pending if of not in (None, one[0])]

    def projected(self, module: nn.Module, given: Any) -> None:
        """Whether a linear module reads exactly what the heads of an attention module gave."""
        x = given[0] if isinstance(given, tuple) and given else None
        if not isinstance(x, Tensor):
            return
        for at, (name, out) in enumerate(self.pending):
            flat = out.flatten(2)
            if x.numel() == flat.numel() and x.shape[-1] == flat.shape[-1] and _equal(x.reshape(flat.shape), flat):
                del self.pending[at]
                if self.on_results is not None:
                    weight = weight_by_head(module, out.shape[2])
                    self.on_results(Written(name, out.transpose(1, 2), weight))
                return

    def crosses(self, module: nn.Module, given: Any, named: dict[str, Any]) -> None:
        """Whether a module is given the states of another stream."""
        if any(named.get(name) is not None for name in OTHER_STREAM):
            self.crossing.add(id(module))


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors hold the same numbers; no operation of the network, and not watched as one."""
    with _disable_current_modes():
        return torch.equal(x, y)


def weight_by_head(module: nn.Module, heads: int) -> Float[Tensor, "h v d"]:
    """The rows of an output projection that each head writes with, (in, out) by head."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    rows = weight if type(module).__name__ == "Conv1D" else weight.T
    return rows.reshape(heads, -1, rows.shape[1])


def is_matrix(module: nn.Module) -> bool:
    """Whether a module is one matrix."""
    weight = getattr(module, "weight", None)
    one = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    return one and isinstance(weight, Tensor) and weight.ndim == 2
