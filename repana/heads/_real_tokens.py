"""Which tokens of a batch are no padding, by the masks that the plan of a recording reads."""

import torch
from jaxtyping import Bool
from torch import Tensor

from repana.extraction._batches import Batch
from repana.extraction._plan import Plan


def mask_keys(planned: Plan) -> list[str]:
    """The masks that the layers of a plan are read with, each once."""
    return list(dict.fromkeys(key for p in planned.layers for key in p.pooling.masks.values()))


def real_tokens(batch: Batch, keys: list[str], texts: int, tokens: int) -> Bool[Tensor, "b t"]:
    """By the mask of the stream of this length; all tokens where none has it."""
    for key in keys:
        if tuple(batch.masks[key].shape) == (texts, tokens):
            return batch.masks[key].bool()
    return torch.ones(texts, tokens, dtype=torch.bool)
