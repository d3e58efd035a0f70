"""One line of the zoo: a network, a batch, and what is known of its layers from the code that computes them."""

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES = 5  # one more than the recorder's probe takes


@dataclass(frozen=True)
class Entry:
    """`build` gives (model, batch).

    - `layouts`: pattern of addresses -> letters (see `_hooks`); `masks`: pattern -> key of the batch, "" for none
    - `refused`: patterns of layers that may be left out, because their evidence is known not to suffice; `never`: of
      those that have to be, because no mask fits them
    - `auto`: what "auto" takes, without `input` and parts of outputs; `options`: further arguments of `record`
    - `rows`: key of the batch that says to which sample a row belongs
    """

    name: str
    build: Callable[[], tuple[nn.Module, Any]]
    layouts: Mapping[str, str]
    masks: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    auto: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    forward: Callable | str | None = None
    rows: str = ""
    samples: int = SAMPLES
    slow: bool = False


def spelled(names: str) -> list[str]:
    """'a.{0-2} b.{x,y}' as ['a.0', 'a.1', 'a.2', 'b.x', 'b.y']; 'head H' as ['head:in', 'head']."""
    found: list[str] = []
    for name in names.split():
        if name == "H":
            found[-1:] = [f"{found[-1]}:in", found[-1]]
            continue
        parts = re.split(r"\{([^}]*)\}", name)
        choices = [[part] if i % 2 == 0 else _choices(part) for i, part in enumerate(parts)]
        found += ["".join(chosen) for chosen in itertools.product(*choices)]
    return found


def _choices(text: str) -> list[str]:
    """'0-2' and '0,1,2' are the same."""
    first, dash, last = text.partition("-")
    return [str(i) for i in range(int(first), int(last) + 1)] if dash else text.split(",")


def images(*shape: int, samples: int = SAMPLES) -> Callable[[], tuple[Tensor, Tensor]]:
    """Pictures of a shape with labels."""
    return lambda: (torch.randn(samples, *shape), torch.arange(samples) % 3)


def lengths(*real: int, size: int) -> Tensor:
    """An attention mask (b, t) of so many real tokens, then padding."""
    return (torch.arange(size) < torch.tensor(real)[:, None]).long()
