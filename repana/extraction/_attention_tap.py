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


@dataclass(frozen=True)
class Heads:
    """One attention module on one batch: maps (b, h, q, k) over the allowed keys, values by head, and its name."""

    name: str
    maps: Float[Tensor, "b h q k"]
    allowed: Bool[Tensor, "b h q k"]
    values: Float[Tensor, "b h k v"]

    @property
    def results(self) -> Float[Tensor, "b h q v"]:
        """The output of every head, before the output projection."""
        return self.maps.to(self.values.dtype) @ self.values


@dataclass
class AttentionTap:
    """What each attention module of a model did in the last pass, in forward order, and its output projection."""

    model: nn.Module
    names: dict[int, str]
    calls: list[Heads] = field(default_factory=list)
    projections: dict[str, nn.Module] = field(default_factory=dict)
    pending: list[tuple[str, Tensor]] = field(default_factory=list)

    def clear(self) -> None:
        self.calls.clear()
        self.pending.clear()

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
    ) -> tuple[Tensor, Tensor]:
        """The attention of `transformers`' interface: keys and values of groups, a mask, a soft cap, a bias,
        sinks."""
        groups = query.shape[1] // key.shape[1]
        key, value = (t.repeat_interleave(groups, 1) for t in (key, value))
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        scores = (query @ key.transpose(2, 3)) * float(scale)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if position_bias is not None:
            scores = scores + position_bias
        allowed = torch.ones(scores.shape, dtype=torch.bool, device=scores.device)
        if attention_mask is not None:
            mask = attention_mask[..., : key.shape[2]]
            if mask.dtype == torch.bool:
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
                allowed = allowed & mask
            else:
                scores = scores + mask
                allowed = allowed & (mask > MASKED * torch.finfo(mask.dtype).min)
        elif getattr(module, "is_causal", False) and kwargs.get("is_causal") is not False and query.shape[2] > 1:
            causal = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~causal, torch.finfo(scores.dtype).min)
            allowed = allowed & causal
        wide = scores.double() if scores.dtype == torch.float64 else scores.float()
        if s_aux is not None:
            sink = s_aux.to(wide).view(1, -1, 1, 1).expand(*wide.shape[:3], 1)
            maps = torch.cat([wide, sink], 3).softmax(3)[..., :-1]
        else:
            maps = wide.softmax(3)
        out = (maps.to(value.dtype) @ value).transpose(1, 2).contiguous()
        name = self.names.get(id(module), type(module).__name__)
        self.calls.append(Heads(name, maps, allowed, value))
        self.pending.append((name, out.flatten(2)))
        return out, maps

    def projected(self, module: nn.Module, given: Any) -> None:
        """Whether a linear module reads exactly what the heads of an attention module gave."""
        x = given[0] if isinstance(given, tuple) and given else None
        if not isinstance(x, Tensor):
            return
        for at, (name, out) in enumerate(self.pending):
            if x.numel() == out.numel() and x.shape[-1] == out.shape[-1] and torch.equal(x.reshape(out.shape), out):
                self.projections[name] = module
                del self.pending[at]
                return


@contextmanager
def attention_tap(live: Session) -> Iterator[AttentionTap]:
    """While this lasts, the attention of a `transformers` model goes through a function of ours, which gives the same
    output; the implementation and the configuration are put back, also after an error.

    Raises ModelError for other models, and for classes of `transformers` with an attention of their own.
    """
    model = live.model
    if not hasattr(model, "set_attn_implementation") or not hasattr(model, "config"):
        raise _attribution_refusals.no_attention_interface(type(model).__name__)
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    tap = AttentionTap(model, {id(m): name for name, m in model.named_modules()})
    with ExitStack() as stack:
        before = [(c, c._attn_implementation) for c in _configs(model)]
        stack.callback(_restore, before)
        AttentionInterface.register(NAME, tap.attend)
        AttentionMaskInterface.register(NAME, eager_mask)
        stack.callback(_forget, AttentionInterface, AttentionMaskInterface)
        change: Any = model.set_attn_implementation
        change(NAME)
        if not any(c._attn_implementation == NAME for c in _configs(model)):
            raise _attribution_refusals.no_attention_interface(type(model).__name__)
        hooks = [m for m in model.modules() if _output_width(m) is not None]
        for module in hooks:
            stack.callback(module.register_forward_pre_hook(tap.projected).remove)
        yield tap


def weight_by_head(module: nn.Module, heads: int) -> Float[Tensor, "h v d"]:
    """The rows of an output projection that each head writes with, (in, out) by head."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    rows = weight if type(module).__name__ == "Conv1D" else weight.T
    return rows.reshape(heads, -1, rows.shape[1])


def _output_width(module: nn.Module) -> int | None:
    """Of a module that is one matrix."""
    weight = getattr(module, "weight", None)
    one = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    return int(weight.shape[0]) if one and isinstance(weight, Tensor) and weight.ndim == 2 else None


def _configs(model: nn.Module) -> list[Any]:
    """The configurations of a model and its parts, each once."""
    found: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation"):
            found.setdefault(id(config), config)
    return list(found.values())


def _restore(before: list[tuple[Any, Any]]) -> None:
    for config, implementation in before:
        config._attn_implementation_internal = implementation


def _forget(*interfaces: Callable[..., Any]) -> None:
    for interface in interfaces:
        for held in (getattr(interface, "_global_mapping", {}), getattr(interface, "_local_mapping", {})):
            held.pop(NAME, None)
