"""Several networks over the same data: every batch goes through all of them, so that their rows are the same
samples."""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import tee
from typing import Any

from torch import Tensor, nn

from repana._activations import Activations
from repana._ambient import settled
from repana.extraction._batches import Batch
from repana.extraction._data import samples_of, stream
from repana.extraction._first_batch import planned_of
from repana.extraction._options import Options
from repana.extraction._passes import Rows, passes
from repana.extraction._record import Recording, numbers_of
from repana.extraction._session import session, unwrap
from repana.extraction._tree import is_empty

SHARED = ("pool", "device", "dtype", "forward", "labels", "mask", "layout", "groups", "batch_dim", "class_names",
"head", "logits", "probe")  # fmt: skip


@settled()
def record_together(
    models: Sequence[nn.Module],
    data: Any,
    layers: Any = "auto",
    *,
    max_samples: int | None = None,
    memory: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    each: Sequence[Mapping[str, Any]] | None = None,
) -> list[Activations]:
    """The features of several models over the same batches; `options` are those of `record`, `each` those of one model
    alone."""
    known = {*SHARED, "layers"}
    for chosen in (options or {}, *(each or ())):
        if unknown := [name for name in chosen if name not in known]:
            raise TypeError(f"unexpected keyword argument {unknown[0]!r}; options of `record` are {', '.join(SHARED)}")
    order: list[Any] = []
    first, raws, _ = stream(data, batch_size, order=order)
    given = each or [{} for _ in models]
    made: list[Recording] = []
    queues: list[deque[Any]] = []
    reading: list[Generator[tuple[Batch, dict[str, Tensor], Tensor | None, Rows], None, None]] = []
    with ExitStack() as stack:
        for model, own in zip(models, given):
            inner, taken = unwrap(model)
            chosen = {**(options or {}), **own}
            of = Options.of(inner, chosen.pop("layers", layers), **{k: v for k, v in chosen.items() if k in SHARED})
            with session(inner, of.device, of.dtype) as live:
                planned, of = planned_of(live, first, of, taken, samples_of(data))
            names = chosen.get("class_names")
            made.append(Recording(model, inner, planned, of, taken, max_samples, memory, False, seed, names))
            queues.append(deque())
            # sessions close in the reverse order, also after an error: each puts back what it found
            live = stack.enter_context(session(inner, of.device, of.dtype))
            reading.append(passes(inner, planned, of, _drained(queues[-1]), made[-1].holding, live))
        for raw in raws:
            if is_empty(raw):
                continue
            for one, queue, read in zip(made, queues, reading):
                queue.append(raw)
                batch, features, z, rows = next(read)
                one.add(batch, features, z, rows, numbers_of(order, batch))
    return [one.close(data) for one in made]


def _drained(queue: "deque[Any]") -> Iterator[Any]:
    """What is put into a queue, one batch at a time."""
    while queue:
        yield queue.popleft()


def shared_batches(data: Any, batch_size: int, count: int) -> list[Iterator[Any]]:
    """As many iterators over the batches of one walk through the data, to be read side by side."""
    _, raws, _ = stream(data, batch_size)
    return list(tee(raws, count))
