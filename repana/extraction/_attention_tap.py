"""Queries, keys, values and maps of every attention module as a model runs, and what its heads give and write."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from repana.extraction._attention_heads import AttentionTap, HeadResults, Maps, Projected
from repana.extraction._called_attention import CalledAttention
from repana.extraction._session import Session, hookable

NAME = "repana_tap"  # of the attention implementation that is registered while a model is read


@contextmanager
def attention_tap(
    live: Session,
    on_maps: Callable[[Maps], None] | None = None,
    on_results: Callable[[HeadResults], None] | None = None,
    on_projected: Callable[[Projected], None] | None = None,
    on_heads: Callable[[str, Tensor], None] | None = None,
) -> Iterator[AttentionTap]:
    """While this lasts, what the attention modules of a model do is handed on; what they give stays the same.

    The attention of a `transformers` model goes through a function of ours where its class takes one; of all others
    the calls of `scaled_dot_product_attention`, of `nn.MultiheadAttention` and of softmax and product are watched.
    Everything is put back, also after an error.
    """
    names = {id(m): name for name, m in live.model.named_modules()}
    tap = AttentionTap(names, on_maps, on_results, on_projected, on_heads)
    with ExitStack() as stack:
        _through_interface(live.model, tap, stack)
        for module in filter(hookable, live.model.modules()):
            stack.callback(module.register_forward_pre_hook(tap.began, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(tap.ended, always_call=True).remove)
        stack.enter_context(CalledAttention(tap, live.model, stack))
        yield tap
        tap.flush()


def _through_interface(model: nn.Module, tap: AttentionTap, stack: ExitStack) -> None:
    """Put the tap into the attention interface of `transformers`, of all models of it inside that go through it."""
    able = [m for m in model.modules() if getattr(m, "_can_set_attn_implementation", bool)()]
    if not able:
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    stack.callback(_restore, [(c, c._attn_implementation) for c in _configs(model)])
    AttentionInterface.register(NAME, tap.attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    stack.callback(_forget, AttentionInterface, AttentionMaskInterface)
    others = [m for m in model.modules() if hasattr(m, "_can_set_attn_implementation") and m not in able]
    kept = {id(m.config) for m in others}
    for config in (c for m in able for c in _configs(m)):
        if id(config) not in kept:
            config._attn_implementation_internal = NAME


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
