"""What the pass of a recording takes: operations by torch's counter, seconds by timing the first batch."""

import math
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from repana._ambient import settled
from repana._typing import IGNORED
from repana.extraction._options import Options
from repana.extraction._passes import passes
from repana.extraction._plan import Plan
from repana.extraction._record import planned_from
from repana.extraction._session import unwrap
from repana.extraction._weights import weight_and_bias

ROUNDS = 3


@dataclass(frozen=True)
class PassCost:
    """`flop` of products and convolutions a sample, NaN where they cannot be counted; `seconds` a sample, hooks
    included, on `device`. `classes`: by the width of the classifier, or else by the labels of the batch, and 0 where
    batches have no labels of classes."""

    flop: float
    seconds: float
    device: str
    classes: int


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
    flop = _counted(inner, planned, options, first) / batch.size
    classes = _classes(inner, planned, logits, rows.labels)
    return planned, PassCost(flop, sorted(seconds)[ROUNDS // 2], str(options.device), classes)


def _classes(model: nn.Module, planned: Plan, logits: Tensor | None, labels: Tensor | None) -> int:
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return 0
    if logits is not None and logits.ndim == 2:
        return logits.shape[1]
    head = None if planned.head is None else weight_and_bias(model.get_submodule(planned.head.module))
    return int(torch.unique(labels[labels != IGNORED]).numel()) if head is None else len(head[0])


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
