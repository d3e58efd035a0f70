"""Steps of a generation: the calls of a module in one pass, put together along their positions."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from repana.extraction import _part_refusals as refusals
from repana.extraction._batch_masks import FOUND
from repana.extraction._session import Session

STEPS = "steps"  # the pooling
KEY = FOUND + STEPS  # of the mask of real positions over all steps


@dataclass
class Generation:
    """What `generate` gave in the pass that runs: `tokens` of the prompt and behind it, and those that end a text."""

    seed: int = 0
    number: int = 0
    tokens: Int[Tensor, "b t"] | None = None
    ends: list[int] = field(default_factory=list)

    def begin(self, number: int) -> None:
        self.number, self.tokens = number, None

    def real(self, calls: int, prompt: Bool[Tensor, "b p"]) -> Bool[Tensor, "b n"]:
        """Which of the positions that were fed are real: those of the prompt by its mask, and generated tokens up to
        the one that ends the text. The last token of all is never fed."""
        if calls == 1:
            return prompt
        made = torch.ones(len(prompt), calls - 1, dtype=torch.bool, device=prompt.device)
        if self.tokens is not None and self.ends and self.tokens.shape[1] >= calls:
            new = self.tokens[:, -calls:-1].to(prompt.device)
            made = torch.isin(new, torch.tensor(self.ends, device=new.device)).cumsum(1) == 0
        return torch.cat([prompt, made], 1)


def watch_generation(live: Session, seed: int) -> Generation:
    """Note what the model's `generate` is asked for and gives, as long as the session lasts. Refuses searches that
    reorder texts or take tokens back; what is drawn follows from `seed` and the number of the batch."""
    seen = Generation(seed)
    for module in live.model.modules():
        if callable(getattr(module, "generate", None)):
            live.replace(module, "generate", _noting(module, seen))
    return seen


def _noting(module: nn.Module, seen: Generation) -> Any:
    """The module's own `generate`, with what it is asked for checked and what it gives noted."""
    own: Any = module.generate

    @wraps(own)
    def generate(*args: Any, **kwargs: Any) -> Any:
        named = _named(own, args, kwargs)
        configs = [named.get("generation_config"), getattr(module, "generation_config", None)]

        def option(name: str) -> Any:
            if name in named:
                return named[name]
            return next((v for c in configs if (v := getattr(c, name, None)) is not None), None)

        for name in ("num_beams", "num_return_sequences"):
            if (option(name) or 1) > 1:
                raise refusals.not_one_path(name, option(name))
        for name in ("penalty_alpha", "assistant_model", "prompt_lookup_num_tokens", "prefill_chunk_size"):
            if option(name):
                raise refusals.not_one_path(name, option(name))
        if option("do_sample"):
            torch.manual_seed(seen.seed + seen.number)
        ends = option("eos_token_id")
        seen.ends = [] if ends is None else torch.as_tensor(ends).reshape(-1).tolist()
        if option("stopping_criteria") or option("stop_strings"):
            raise refusals.other_ends()
        found = own(*args, **kwargs)
        tokens = found if isinstance(found, Tensor) else getattr(found, "sequences", None)
        seen.tokens = None if tokens is None else tokens.detach()
        return found

    return generate


def _named(function: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, also those that were given by place and those that a function takes as it comes."""
    try:
        found = inspect.signature(function).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return dict(kwargs)
    return {**found.pop("kwargs", {}), **found, **kwargs}


def stepwise(layers: Any, pool: Any) -> bool:
    """Whether any layer is asked for over all steps."""
    pools = list(pool.values()) if isinstance(pool, Mapping) else [pool]
    names = [layers] if isinstance(layers, str) else layers if isinstance(layers, (list, tuple)) else []
    return STEPS in pools or any(isinstance(name, str) and name.endswith("|" + STEPS) for name in names)


def joined(calls: Sequence[Float[Tensor, "b _ d"]], where: str, number: int) -> Float[Tensor, "b n d"]:
    """The calls behind each other. One without a cache runs over all positions so far: its last is taken."""
    parts, length = list(calls[:1]), calls[0].shape[1]
    for k, part in enumerate(calls[1:], 2):
        if part.shape[1] not in (1, length + 1):
            raise refusals.other_steps(where, k, part.shape[1], length, number)
        parts.append(part[:, -1:])
        length += 1
    return torch.cat(parts, 1)
