"""Products of bfloat16: where a processor has them, and what they round away."""

import torch
from jaxtyping import Float
from torch import Tensor


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16."""
    known = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in known)


def rounded_away(x: Float[Tensor, "n d"], norms: Float[Tensor, " n"]) -> float:
    """The largest share of a row's length that bfloat16 rounds away."""
    lost = (x - x.to(torch.bfloat16)).square().sum(1, dtype=torch.float64)
    return float((lost / norms.clamp_min(1e-300)).amax().sqrt())
