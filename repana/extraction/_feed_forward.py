"""The hidden states of feed-forward parts: which matrices open them, by what runs and by shapes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repana.extraction import _attribution_refusals
from repana.extraction._attention_heads import is_matrix
from repana.extraction._attention_tap import attention_tap
from repana.extraction._batches import Forward, run
from repana.extraction._data import stream
from repana.extraction._options import Options
from repana.extraction._parts import first_samples, watch_routers
from repana.extraction._session import session, unwrap


@dataclass(frozen=True)
class FeedForward:
    """The modules of hidden states, and the routers that were seen, whose experts are not among them."""

    modules: tuple[str, ...]
    routers: tuple[str, ...] = ()


def feed_forward(
    model: nn.Module,
    data: Any,
    *,
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    batch_size: int = 64,
) -> FeedForward:
    """Of every feed-forward part sigma(x W1 + b1) W2 the module of W1, in the order in which they run.

    That is a matrix d x h with h > d outside attention, behind which the next matrix h x d runs before another one
    opens. Of gated parts, with two matrices d x h, it is the first that runs, the gate.

    Raises ModelError (RA138) where there is none.
    """
    inner, _ = unwrap(model)
    options = Options.of(inner, "auto", device=device, forward=forward, labels=labels, mask=mask)
    first, _, _ = stream(data, batch_size, give_back=True)
    ran: list[tuple[str, int, int]] = []
    attention: set[str] = set()
    routers: dict[str, None] = {}

    def seen(name: str, results: Tensor) -> None:
        attention.add(name)

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            weight: Any = module.weight
            shape = tuple(weight.shape) if type(module).__name__ == "Conv1D" else tuple(weight.shape)[::-1]
            ran.append((name, shape[0], shape[1]))

        return hook

    with session(inner, options.device, None) as live:
        for name, module in inner.named_modules():
            if is_matrix(module):
                live.hook(module, keep(name))
        watch_routers(live, lambda name, found: routers.setdefault(name))
        batch = first_samples(live, options.intake, first)
        ran.clear()
        with attention_tap(live, on_heads=seen):
            run(inner, batch, options.intake.forward)
    outside = [one for one in ran if not any(one[0].startswith(owner + ".") for owner in attention)]
    found = tuple(dict.fromkeys(_openings(outside)))
    if not found:
        raise _attribution_refusals.no_feed_forward(type(inner).__name__)
    return FeedForward(found, tuple(routers))


def _openings(ran: list[tuple[str, int, int]]) -> list[str]:
    """Matrices that open a part which a later one closes, with none but twins of the first in between."""
    found: list[str] = []
    opened: tuple[str, int, int] | None = None
    for name, given, made in ran:
        if opened is not None and (given, made) == (opened[2], opened[1]):
            found.append(opened[0])
            opened = None
        elif made > given and (opened is None or (given, made) != opened[1:]):
            opened = (name, given, made)
        elif opened is not None and (given, made) != opened[1:]:
            opened = None
    return found
