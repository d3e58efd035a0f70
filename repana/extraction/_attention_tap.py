"""Queries, keys, values and masks of every attention module as a model runs, and what stands behind its heads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from repana.extraction import _attribution_refusals
from repana.extraction._session import Session

NAME = "repana_tap"  # of the attention implementation that is registered while a model is read
MASKED = 0.5  # of the lowest number of a type, below which an additive mask hides a key
CHUNK = 2**26  # entries of maps that are worked on at a time
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
class Written:
    """What the heads of one module gave (b, h, q, v), and the output projection that reads it, if one was seen."""

    name: str
    results: Float[Tensor, "b h q v"]
    projection: nn.Module | None


@dataclass
class AttentionTap:
    """Reads every attention module of a model as it runs: `on_maps` gets maps, a few texts at a time, and `on_results`
    what the heads gave, once its output projection has been seen. Cross-attention is left alone."""

    names: dict[int, str]
    on_maps: Callable[[Maps], None]
    on_results: Callable[[Written], None]
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
        groups = query.shape[1] // key.shape[1]
        b, h, q, k = query.shape[0], query.shape[1], query.shape[2], key.shape[2]
        scale = query.shape[3] ** -0.5 if scaling is None else float(scaling)
        bias, mask = (None if t is None else t[..., :k] for t in (position_bias, attention_mask))
        causal = attention_mask is None and getattr(module, "is_causal", False) and kwargs.get("is_causal") is not False
        name = self.names.get(id(module), type(module).__name__)
        read = q == k and id(module) not in self.crossing
        size = max(1, CHUNK // (h * q * k))
        parts = []
        for at in range(0, b, size):
            some = slice(at, at + size)
            keys, values = (t[some].repeat_interleave(groups, 1) for t in (key, value))
            scores = (query[some] @ keys.transpose(2, 3)) * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            scores, allowed = _masked(scores, _of_texts(bias, some, b), _of_texts(mask, some, b), causal and q > 1)
            maps = _softmax(scores, s_aux)
            parts.append(maps.to(values.dtype) @ values)
            if read:
                self.on_maps(Maps(name, at, b, maps, allowed))
        results = torch.cat(parts)
        out = results.transpose(1, 2).contiguous()
        self.flush()
        if read:
            self.pending.append((name, out))
        return out, None

    def flush(self) -> None:
        """Hand on what no output projection has read."""
        for name, out in self.pending:
            self.on_results(Written(name, out.transpose(1, 2), None))
        self.pending.clear()

    def projected(self, module: nn.Module, given: Any) -> None:
        """Whether a linear module reads exactly what the heads of an attention module gave."""
        x = given[0] if isinstance(given, tuple) and given else None
        if not isinstance(x, Tensor):
            return
        for at, (name, out) in enumerate(self.pending):
            flat = out.flatten(2)
            if x.numel() == flat.numel() and x.shape[-1] == flat.shape[-1] and torch.equal(x.reshape(flat.shape), flat):
                del self.pending[at]
                self.on_results(Written(name, out.transpose(1, 2), module))
                return

    def crosses(self, module: nn.Module, given: Any, named: dict[str, Any]) -> None:
        """Whether a module is given the states of another stream."""
        if any(named.get(name) is not None for name in OTHER_STREAM):
            self.crossing.add(id(module))


def _of_texts(t: Tensor | None, some: slice, texts: int) -> Tensor | None:
    """The part of a mask or a bias that belongs to some texts; one for all of them stays."""
    return t if t is None or t.ndim < 4 or t.shape[0] != texts else t[some]


def _masked(
    scores: Float[Tensor, "b h q k"], bias: Tensor | None, mask: Tensor | None, causal: bool
) -> tuple[Float[Tensor, "b h q k"], Bool[Tensor, "b h q k"]]:
    """Scores with the bias and the mask of the model, and which keys that leaves."""
    lowest = torch.finfo(scores.dtype).min
    scores = scores if bias is None else scores + bias
    allowed = torch.ones((), dtype=torch.bool, device=scores.device).expand(scores.shape)
    if mask is not None and mask.dtype == torch.bool:
        return scores.masked_fill(~mask, lowest), allowed & mask
    if mask is not None:
        return scores + mask, allowed & (mask > MASKED * torch.finfo(mask.dtype).min)
    if causal:
        before = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
        return scores.masked_fill(~before, lowest), allowed & before
    return scores, allowed


def _softmax(scores: Float[Tensor, "b h q k"], sinks: Tensor | None) -> Float[Tensor, "b h q k"]:
    """In float32 or wider, with a part for sinks that are parameters."""
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if sinks is None:
        return wide.softmax(3)
    beside = sinks.to(wide).view(1, -1, 1, 1).expand(*wide.shape[:3], 1)
    return torch.cat([wide, beside], 3).softmax(3)[..., :-1]


@contextmanager
def attention_tap(
    live: Session, on_maps: Callable[[Maps], None], on_results: Callable[[Written], None]
) -> Iterator[AttentionTap]:
    """While this lasts, the attention of a `transformers` model goes through a function of ours, which gives the same
    output; the implementation and the configuration are put back, also after an error.

    Raises ModelError for other models, and for classes of `transformers` with an attention of their own.
    """
    model = live.model
    if not hasattr(model, "set_attn_implementation") or not hasattr(model, "config"):
        raise _attribution_refusals.no_attention_interface(type(model).__name__)
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    tap = AttentionTap({id(m): name for name, m in model.named_modules()}, on_maps, on_results)
    with ExitStack() as stack:
        stack.callback(_restore, [(c, c._attn_implementation) for c in _configs(model)])
        AttentionInterface.register(NAME, tap.attend)
        AttentionMaskInterface.register(NAME, eager_mask)
        stack.callback(_forget, AttentionInterface, AttentionMaskInterface)
        change: Any = model.set_attn_implementation
        change(NAME)
        if not any(c._attn_implementation == NAME for c in _configs(model)):
            raise _attribution_refusals.no_attention_interface(type(model).__name__)
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(tap.crosses, with_kwargs=True).remove)
            if _is_matrix(module):
                stack.callback(module.register_forward_pre_hook(tap.projected).remove)
        yield tap
        tap.flush()


def weight_by_head(module: nn.Module, heads: int) -> Float[Tensor, "h v d"]:
    """The rows of an output projection that each head writes with, (in, out) by head."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    rows = weight if type(module).__name__ == "Conv1D" else weight.T
    return rows.reshape(heads, -1, rows.shape[1])


def _is_matrix(module: nn.Module) -> bool:
    """Whether a module is one matrix."""
    weight = getattr(module, "weight", None)
    one = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    return one and isinstance(weight, Tensor) and weight.ndim == 2


def _configs(model: nn.Module) -> list[Any]:
    """The configurations of a model and its parts, and those that they hold, each once."""
    found: dict[int, Any] = {}
    waiting = [getattr(module, "config", None) for module in model.modules()]
    while waiting:
        config = waiting.pop()
        if config is None or id(config) in found or not hasattr(config, "_attn_implementation"):
            continue
        found[id(config)] = config
        waiting += [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return list(found.values())


def _restore(before: list[tuple[Any, Any]]) -> None:
    for config, implementation in before:
        config._attn_implementation_internal = implementation


def _forget(*interfaces: Callable[..., Any]) -> None:
    for interface in interfaces:
        for held in (getattr(interface, "_global_mapping", {}), getattr(interface, "_local_mapping", {})):
            held.pop(NAME, None)
