"""Attention that a model computes itself, read from the functions that it calls: `scaled_dot_product_attention`,
`nn.MultiheadAttention`, or a softmax whose result is multiplied with values."""

import inspect
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from repana.extraction import _attribution_refusals
from repana.extraction._attention_heads import AttentionTap, Maps, Met, Written
from repana.extraction._attention_product import MASKED, Product
from repana.extraction._session import hookable
from repana.extraction._tree import arguments, leaves

SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)
TORCH = functional.multi_head_attention_forward
SIGNATURE = inspect.signature(TORCH)
CLOSE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of results, computed again and the model's own
ROUGH = 3e-2  # of other types


@dataclass
class _Softmax:
    """A map that waits for the values that it is multiplied with."""

    name: str
    maps: Float[Tensor, "b h q k"]
    allowed: Bool[Tensor, "b h q k"]
    same: list[Tensor]  # the map under other shapes and types


class CalledAttention(TorchFunctionMode):
    """While this mode lasts, the calls of attention by the modules of a model are handed to a tap. Nothing changes."""

    def __init__(self, tap: AttentionTap, model: nn.Module, stack: ExitStack) -> None:
        super().__init__()
        self._tap = tap
        self._open: list[tuple[nn.Module, Any]] = []
        self._waiting: _Softmax | None = None
        for module in model.modules():
            if hookable(module):
                stack.callback(module.register_forward_pre_hook(self._begin, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._end, always_call=True).remove)

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._open.append((module, arguments(args, kwargs)))

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        while self._open and self._open.pop()[0] is not module:
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is TORCH:
            return self._torch(args, kwargs)
        out = func(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            self._fused(out, *args, **kwargs)
        elif func in SOFTMAX:
            self._softmax(out, *args, **kwargs)
        elif self._waiting is not None and isinstance(out, Tensor):
            self._follow(func, args, out)
        return out

    def _module(self) -> tuple[str, Any]:
        """The innermost module that runs and is more than one operation, by name, and what it was called with."""
        for module, given in reversed(self._open):
            if any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False)):
                return self._tap.names.get(id(module), type(module).__name__), given
        return "", None

    def _fused(
        self,
        out: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        if query.ndim != 4 or key.ndim != 4 or self._crosses():
            return
        fed = query.shape[2]
        if fed not in (1, key.shape[2]):  # one query may stand beside a cache of keys
            return
        name, _ = self._module()
        if self._tap.on_met is not None:
            self._tap.on_met(Met(name, query, key[:, :, -fed:], value[:, :, -fed:]))
        if self._tap.on_maps is not None and fed == key.shape[2]:
            product = Product(query, key, value, attn_mask, scale=scale, causal=is_causal)
            for at, maps, allowed, results in product.by_texts():
                self._check(name, out[at : at + len(results)], results, allowed)
                self._tap.on_maps(Maps(name, at, len(query), maps, allowed))
        self._tap.gave(name, out.transpose(1, 2), True)

    def _check(self, name: str, own: Tensor, read: Tensor, allowed: Tensor) -> None:
        """The values under the maps must be what the model's heads gave, where a query has a key at all."""
        real = allowed.any(3)
        size = float(own[real].double().abs().max()) if bool(real.any()) else 0.0
        moved = float((own[real].double() - read[real].double()).abs().max()) if size else 0.0
        if moved > CLOSE.get(own.dtype, ROUGH) * size:
            raise _attribution_refusals.attention_differs(moved / size, name)

    def _crosses(self) -> bool:
        return any(id(module) in self._tap.crossing for module, _ in self._open)

    def _softmax(self, out: Tensor, given: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> None:
        """A map by softmax over keys, (b, h, q, k) or (b h, q, k)."""
        square = out.ndim in (3, 4) and out.shape[-1] == out.shape[-2] and out.shape[-1] > 1
        if not square or dim not in (-1, out.ndim - 1) or self._crosses():
            return
        name, called = self._module()
        texts = out.shape[0] if out.ndim == 4 else _texts(called, out.shape[-1])
        if not texts or out.shape[0] % texts:
            return
        maps = out if out.ndim == 4 else out.unflatten(0, (texts, -1))
        allowed = (given > MASKED * torch.finfo(given.dtype).min).reshape(maps.shape)
        self._waiting = _Softmax(name, maps, allowed, [out])

    def _follow(self, func: Any, args: Any, out: Tensor) -> None:
        """The map under another shape or type, or its product with values."""
        held = self._waiting
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if held is None or first is None or not any(_is(first, t) for t in held.same):
            return
        if func in PRODUCTS:
            self._multiplied(held, args[1], out)
        elif out.numel() == held.maps.numel() and sum(isinstance(a, Tensor) for a in args) == 1:
            held.same.append(out)

    def _multiplied(self, held: _Softmax, values: Tensor, out: Tensor) -> None:
        self._waiting = None
        b, h, q, _ = held.maps.shape
        if out.numel() != b * h * q * out.shape[-1] or values.shape[-2] != held.maps.shape[3]:
            return
        if self._tap.on_maps is not None:
            self._tap.on_maps(Maps(held.name, 0, b, held.maps, held.allowed))
        self._tap.gave(held.name, out.reshape(b, h, q, -1).transpose(1, 2), True)

    def _torch(self, args: Any, kwargs: Any) -> Any:
        """`nn.MultiheadAttention`, asked for the maps of every head; queries, keys and values by its own weights."""
        call = SIGNATURE.bind(*args, **kwargs)
        call.apply_defaults()
        given = call.arguments
        query, key = given["query"], given["key"]
        plain = given["bias_k"] is None and not given["add_zero_attn"] and given["static_k"] is None
        if query is not key or query.ndim != 3 or not plain or given["need_weights"] and self._crosses():
            return TORCH(*args, **kwargs)
        call.arguments.update(need_weights=True, average_attn_weights=False)
        out, maps = TORCH(*call.args, **call.kwargs)
        assert maps is not None
        name, _ = self._module()
        q, k, v = (_by_head(t, given["num_heads"]) for t in _projected(given))
        if self._tap.on_met is not None:
            self._tap.on_met(Met(name, q, k, v))
        results = maps.to(v.dtype) @ v
        if self._tap.on_maps is not None:
            self._tap.on_maps(Maps(name, 0, len(q), maps, _allowed(given, maps)))
        if self._tap.on_given is not None:
            self._tap.on_given(name, results)
        weight = given["out_proj_weight"]
        if self._tap.on_results is not None:
            self._tap.on_results(Written(name, results, weight.T.reshape(given["num_heads"], -1, len(weight))))
        if not kwargs.get("need_weights", True):
            return out, None
        return out, maps.mean(1) if kwargs.get("average_attn_weights", True) else maps


def _is(x: Tensor, other: Tensor) -> bool:
    return x is other or (x.data_ptr() == other.data_ptr() and x.numel() == other.numel() and x.dtype == other.dtype)


def _texts(given: Any, tokens: int) -> int:
    """How many texts a module was called with, by its first input of so many tokens."""
    for _, t in leaves(given):
        if t.ndim == 3 and t.is_floating_point():
            return t.shape[0] if t.shape[1] == tokens else t.shape[1] if t.shape[0] == tokens else 0
    return 0


def _by_head(t: Float[Tensor, "t b d"], heads: int) -> Float[Tensor, "b h t k"]:
    return t.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)


def _projected(given: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of `nn.MultiheadAttention`."""
    bias = given["in_proj_bias"]
    biases = (None, None, None) if bias is None else bias.chunk(3)
    weights = [given[f"{n}_proj_weight"] for n in "qkv"]
    if not given["use_separate_proj_weight"]:
        weights = given["in_proj_weight"].chunk(3)
    q, k, v = (functional.linear(given[n], w, b) for n, w, b in zip(("query", "key", "value"), weights, biases))
    return q, k, v


def _allowed(given: Any, maps: Float[Tensor, "b h q k"]) -> Bool[Tensor, "b h q k"]:
    """Which keys the masks of `nn.MultiheadAttention` leave."""
    hidden = torch.zeros(maps.shape, dtype=torch.bool, device=maps.device)
    mask, padding = given["attn_mask"], given["key_padding_mask"]
    if mask is not None:
        hides = mask if mask.dtype == torch.bool else mask < MASKED * torch.finfo(mask.dtype).min
        hidden |= hides.view(maps.shape) if hides.ndim == 3 and len(hides) == maps.shape[0] * maps.shape[1] else hides
    if padding is not None:
        hides = padding if padding.dtype == torch.bool else padding < MASKED * torch.finfo(padding.dtype).min
        hidden |= hides[:, None, None, :]
    return ~hidden
