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
from repana.extraction._attention_heads import AttentionTap, HeadResults, Maps, Projected
from repana.extraction._attention_product import LARGE, Product
from repana.extraction._session import hookable
from repana.extraction._tree import arguments, leaves

SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)
WITH_BIAS = (torch.baddbmm, Tensor.baddbmm)
OTHER_FORMS = (
    "dropout", "to", "type", "type_as", "float", "half", "bfloat16", "double", "contiguous", "view", "reshape", "clone",
    "unsqueeze", "squeeze", "flatten", "unflatten",
)  # fmt: skip
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
    forms: list[Tensor]  # the map, under other shapes and types


class CalledAttention(TorchFunctionMode):
    """While this mode lasts, the calls of attention by the modules of a model are handed to a tap. Nothing changes."""

    def __init__(self, tap: AttentionTap, model: nn.Module, stack: ExitStack) -> None:
        super().__init__()
        self._tap = tap
        self._open: list[tuple[nn.Module, Any]] = []
        self._scores: Tensor | None = None  # a product of two activations, and what was made of it since
        self._softmax: _Softmax | None = None
        for module in filter(hookable, model.modules()):
            stack.callback(module.register_forward_pre_hook(self._begin, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(self._end, always_call=True).remove)

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._open.append((module, arguments(args, kwargs)))

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        while self._open and self._open.pop()[0] is not module:
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._tap.inside:
            return func(*args, **kwargs)
        if func is TORCH:
            return self._torch(args, kwargs)
        out = func(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            self._fused(out, *args, **kwargs)
        elif func in SOFTMAX:
            self._normalized(out, *args, **kwargs)
        elif isinstance(out, Tensor):
            self._follow(func, [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)], out)
        return out

    def _module(self) -> tuple[str, nn.Module | None, Any]:
        """The innermost module that runs and is more than one operation: its name, itself, and what it was given."""
        for module, given in reversed(self._open):
            if any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False)):
                return self._tap.names.get(id(module), type(module).__name__), module, given
        return "", None, None

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
        fed, keys = query.shape[-2], key.shape[-2]
        name, module, given = self._module()
        if query.ndim != 4 or key.ndim != 4 or not _over_positions(given, fed):
            return
        if not self._tap.reads(module, name, fed, keys):
            return
        if self._tap.on_projected is not None:
            self._tap.on_projected(Projected(name, query, key[:, :, -fed:], value[:, :, -fed:]))
        if self._tap.on_maps is not None and fed == keys:
            product = Product(query, key, value, attn_mask, scale=scale, causal=is_causal)
            for first, maps, allowed, results in product.by_texts():
                self._check(name, out[first : first + len(results)], results, allowed)
                self._tap.on_maps(Maps(name, first, len(query), maps, allowed))
        self._tap.gave(name, out.transpose(1, 2))

    def _check(self, name: str, own: Tensor, read: Tensor, allowed: Tensor) -> None:
        """The values under the maps must be what the model's heads gave, where a query has a key at all."""
        real = allowed.any(3)
        size = float(own[real].double().abs().max()) if bool(real.any()) else 0.0
        moved = float((own[real].double() - read[real].double()).abs().max()) if size else 0.0
        if moved > CLOSE.get(own.dtype, ROUGH) * size:
            raise _attribution_refusals.attention_differs(moved / size, name)

    def _normalized(self, out: Tensor, given: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> None:
        """A map by softmax of a product over keys, (b, h, q, k) or (b h, q, k)."""
        scores, self._scores = self._scores, None
        square = out.ndim in (3, 4) and out.shape[-1] == out.shape[-2] and out.shape[-1] > 1
        if not square or dim not in (-1, out.ndim - 1) or scores is None or not _is(given, scores):
            return
        name, module, called = self._module()
        texts = out.shape[0] if out.ndim == 4 else _texts(called, out.shape[-1])
        size = out.shape[-1]
        if not texts or out.shape[0] % texts or not _over_positions(called, size):
            return
        if not self._tap.reads(module, name, size, size):
            return
        maps = out if out.ndim == 4 else out.unflatten(0, (texts, -1))
        allowed = (given > given.amax(-1, keepdim=True) - LARGE).reshape(maps.shape)
        self._softmax = _Softmax(name, maps, allowed, [out])

    def _follow(self, func: Any, tensors: list[Tensor], out: Tensor) -> None:
        """Scores on their way to a softmax, and a map on its way to its values."""
        held = self._softmax
        if held is not None and tensors and any(_is(tensors[0], form) for form in held.forms):
            if func in PRODUCTS and len(tensors) == 2:
                self._multiplied(held, tensors[1], out)
            elif getattr(func, "__name__", "") in OTHER_FORMS and out.numel() == held.maps.numel():
                held.forms.append(out)
            return
        factors = tensors[1:3] if func in WITH_BIAS else tensors[:2] if func in PRODUCTS else []
        if len(factors) == 2 and not any(isinstance(t, nn.Parameter) for t in factors):
            self._scores = out if out.ndim in (3, 4) and out.shape[-1] == out.shape[-2] else None
        elif (
            self._scores is not None
            and out.numel() == self._scores.numel()
            and any(_is(t, self._scores) for t in tensors)
        ):
            self._scores = out

    def _multiplied(self, held: _Softmax, values: Tensor, out: Tensor) -> None:
        self._softmax = None
        b, h, q, _ = held.maps.shape
        if out.numel() != b * h * q * out.shape[-1] or values.shape[-2] != held.maps.shape[3]:
            return
        if self._tap.on_maps is not None:
            self._tap.on_maps(Maps(held.name, 0, b, held.maps, held.allowed))
        self._tap.gave(held.name, out.reshape(b, h, q, -1).transpose(1, 2))

    def _torch(self, args: Any, kwargs: Any) -> Any:
        """`nn.MultiheadAttention`, asked for the maps of every head; queries, keys and values by its own weights."""
        call = SIGNATURE.bind(*args, **kwargs)
        call.apply_defaults()
        given = call.arguments
        query, key = given["query"], given["key"]
        plain = given["bias_k"] is None and not given["add_zero_attn"] and given["static_k"] is None
        name, module, _ = self._module()
        if query is not key or query.ndim != 3 or not plain or not self._tap.reads(module, name, len(query), len(key)):
            return TORCH(*args, **kwargs)
        call.arguments.update(need_weights=True, average_attn_weights=False)
        out, maps = TORCH(*call.args, **call.kwargs)
        assert maps is not None
        q, k, v = (_by_head(t, given["num_heads"]) for t in _projected(given))
        if self._tap.on_projected is not None:
            self._tap.on_projected(Projected(name, q, k, v))
        results = maps.to(v.dtype) @ v
        if self._tap.on_maps is not None:
            self._tap.on_maps(Maps(name, 0, len(q), maps, _allowed(given, maps)))
        if self._tap.on_heads is not None:
            self._tap.on_heads(name, results)
        weight = given["out_proj_weight"]
        if self._tap.on_results is not None:
            self._tap.on_results(HeadResults(name, results, weight.T.reshape(given["num_heads"], -1, len(weight))))
        if not kwargs.get("need_weights", True):
            return out, None
        return out, maps.mean(1) if kwargs.get("average_attn_weights", True) else maps


def _is(x: Tensor, other: Tensor) -> bool:
    return x is other or (x.data_ptr() == other.data_ptr() and x.numel() == other.numel() and x.dtype == other.dtype)


def _over_positions(given: Any, size: int) -> bool:
    """Whether a module was given something with so many positions: maps of as many rows may be over channels."""
    shapes = [tuple(t.shape) for _, t in leaves(given) if t.is_floating_point() and t.ndim in (3, 4)]
    found = [n for shape in shapes if len(shape) == 3 for n in shape[:2]]
    found += [n for shape in shapes if len(shape) == 4 for n in (*shape[1:3], shape[2] * shape[3], shape[1] * shape[2])]
    return size in found or not shapes


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
        hides = mask if mask.dtype == torch.bool else mask < -LARGE
        hidden |= hides.view(maps.shape) if hides.ndim == 3 and len(hides) == maps.shape[0] * maps.shape[1] else hides
    if padding is not None:
        hides = padding if padding.dtype == torch.bool else padding < -LARGE
        hidden |= hides[:, None, None, :]
    return ~hidden
