"""What the pass of a recording takes: operations by torch's counter, seconds by timing the first batch."""

import math
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from repana._ambient import settled
from repana.extraction._options import Options
from repana.extraction._passes import passes
from repana.extraction._plan import Plan
from repana.extraction._record import planned_from
from repana.extraction._session import unwrap

ROUNDS = 3


@dataclass(frozen=True)
class PassCost:
    """`flop` of products and convolutions a sample, NaN where they cannot be counted; `seconds` a sample, hooks
    included, on `device`. `outputs` is the width of the logits, 0 where there are none; `labelled`: whether batches
    have labels."""

    flop: float
    seconds: float
    device: str
    outputs: int
    labelled: bool


@settled()
def planned_with_pass(
    model: nn.Module, data: Any, layers: Any, *, batch_size: int, max_samples: int | None, **reading: Any
) -> tuple[Plan, PassCost]:
    """The plan of a recording, and what a sample takes of the first batch. An iterator gives that again."""
    inner, taken = unwrap(model)
    options = Options.of(inner, layers, **reading)
    planned, options, first = planned_from(data, options, taken, batch_size, max_samples)
    seconds = []
    with closing(passes(inner, planned, options, [first] * (ROUNDS + 1), None)) as read:
        batch, _, logits, rows = next(read)
        for _ in range(ROUNDS):
            began = _now(options.device)
            next(read)
            seconds.append((_now(options.device) - began) / batch.size)
    outputs = logits.shape[1] if logits is not None and logits.ndim == 2 else 0
    flop = _counted(inner, planned, options, first) / batch.size
    one = PassCost(flop, sorted(seconds)[ROUNDS // 2], str(options.device), outputs, rows.labels is not None)
    return planned, one


def _counted(model: nn.Module, planned: Plan, options: Options, first: Any) -> float:
    """The operations of the batch; NaN where the counter cannot follow the model."""
    counter = FlopCounterMode(display=False)
    # the session must end before the counter does, which both keep what torch has for the thread
    with suppress(Exception), counter, closing(passes(model, planned, options, [first], None)) as read:
        next(read)
        return float(counter.get_total_flops())
    return math.nan


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
