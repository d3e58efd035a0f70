"""`record` and `plan`: every requested layer of a model over a dataset, in one forward pass."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana import _check
from repana._activations import Activations
from repana._ambient import host_memory, settled
from repana.errors import RepanaError
from repana.extraction import _refusals, _store_refusals
from repana.extraction._batches import Batch
from repana.extraction._data import rows_known, samples_of, stream
from repana.extraction._fingerprint import Fingerprint
from repana.extraction._first_batch import planned_of
from repana.extraction._guards import FiniteCheck, memory_errors, with_progress
from repana.extraction._indexed import Indexed
from repana.extraction._kept import add_rows, classifier_of
from repana.extraction._lanes import Storing, Walk, record_lanes
from repana.extraction._options import Options
from repana.extraction._passes import Rows, passes
from repana.extraction._plan import Plan
from repana.extraction._provenance import provenance_of
from repana.extraction._session import session, unwrap
from repana.extraction._store import FeatureStore
from repana.summaries.discriminant import WIDEST
from repana.summaries.moments import MomentSums


@settled()
def plan(
    model: nn.Module,
    data: Any,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Any = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    groups: str | None = None,
    head: str | bool = "auto",
    logits: bool | None = None,
    batch_size: int = 64,
    batch_dim: int | None = None,
    class_names: Sequence[str] | None = None,
    probe: int | str | None = None,
    max_samples: int | None = None,
    scatter: bool = False,
    memory: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Plan:
    """What `record` with the same arguments will keep: layers, shapes, axes, calls, pooling, widths, bytes.

    From one batch, which an iterator gives again to the next `record`. Raises everything that `record` would raise
    before its long run. See `record` for the arguments; `scatter`, `memory`, `seed` and `progress` change nothing here.
    """
    inner, taken = unwrap(model)
    options = Options.of(
        inner, layers, pool=pool, device=device, dtype=dtype, forward=forward, labels=labels, mask=mask, layout=layout,
        groups=groups, batch_dim=batch_dim, class_names=class_names, head=head, logits=logits, probe=probe,
        seed=seed,
    )  # fmt: skip
    return planned_from(data, options, taken, batch_size, max_samples)[0]


def planned_from(
    data: Any, options: Options, taken: list[str], batch_size: int, max_samples: int | None
) -> tuple[Plan, Options, Any]:
    """The plan, the options with what the probe found, and the first batch, which an iterator gives again."""
    first, _, _ = stream(data, batch_size, give_back=True)
    with session(options.intake.model, options.device, options.dtype) as live:
        planned, options = planned_of(live, first, options, taken, samples_of(data))
    _check_room(planned, max_samples)
    return planned, options, first


@settled()
def record(
    model: nn.Module,
    data: Any = None,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    max_samples: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Any = None,
    *,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    groups: str | None = None,
    head: str | bool = "auto",
    logits: bool | None = None,
    batch_size: int = 64,
    batch_dim: int | None = None,
    class_names: Sequence[str] | None = None,
    probe: int | str | None = None,
    scatter: bool = False,
    memory: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    store: str | os.PathLike[str] | None = None,
    store_dtype: torch.dtype | str | None = None,
    lanes: int | None = None,
    lanes_of: str | None = None,
    shards: Sequence[Any] | None = None,
) -> Activations:
    """Features of many layers over a dataset, in one forward pass.

    - `data`: a DataLoader, a Dataset, tensors, or any iterable of batches `x`, `(x, y)`, mappings, `(mapping, y)`,
      batches of graphs. `forward(model, batch)` runs anything else, or `forward="encode_image"` names a method of the
      model.
    - `labels`: by default the second entry, or "labels", "label", "y", "target". Else a key, a place in the batch, a
      function of it, or False. Labels of tokens (b, t) or pixels (b, h, w) are kept with `pool="tokens"` alone.
    - `layers`: "auto" (the depth profile), names, patterns, `re:`..., module classes, predicates, or a list of those;
      `name:in`, `name[0]`, `name.logits`, `name@2`, `name|mean` as in the documentation of layer addresses.
    - `pool`: "auto" takes the mean over positions, masked where padding is known, and keeps vectors; or "avg" (which is
      "mean"), "max", "flatten", "grid" (4 x 4 averages), "cls", "last" (real token), a number (a real position, from
      behind where it is negative), "tokens", "steps", "none"; a mapping gives it by layer. With "tokens" every token is
      a row, and layers that were not named are left out where they have no tokens. "steps" is that over all calls of a
      module, as of `generate`: positions of the prompt and of every generated token but the last, up to the token that
      ends a text (`provenance["generated"]` keeps the tokens; what is sampled follows from `seed`).
    - `mask`: which positions are real, (b, t) with 1 at real ones. By default every layer takes the mask of its own
      stream (encoder, decoder, text), as the operations of the probe show. Else a key of the batch, a function of the
      batch, "content" (without the tokens of "special_tokens_mask" too), False where nothing is padded, or a mapping
      from patterns of layers to these, of which the first that matches counts.
    - `layout`: which axis is which, where the probe cannot tell: letters for all layers with so many axes, or by layer,
      `{"stages.*": "b h w c", "rnn": "t b c", "attn": "(b w) t c"}`: b samples, c features, (b w) merged, n rows that
      belong to samples by `groups`, 1 an axis of size one, any other letter a position. Checked against sizes.
    - `groups`: the input that says of every row to which sample it belongs, as `batch` does of the nodes of graphs.
    - `max_samples`: keep features of so many samples, as many of each class as equal shares allow, chosen by `seed`;
      `Activations.moments` stay exact over all. 0 keeps moments only, with memory independent of the data's size.
      `scatter=True` adds their (d, d) pooled scatter.
    - `logits`: by default they are kept when the forward pass gets there anyway; True runs it to the end, False stops
      after the deepest requested layer. `head` names the classifier; False for none.
    - `class_names`: in the order of the model's outputs, for figures and pages; labels may then be those names.
    - `dtype`: autocast to it. `device`: the model is moved there and back. Features stay on the device up to `memory`
      bytes (half of what is free there), then go to the host.
    - `batch_dim`: the axis of the samples in the first input. `probe`: samples in the pass that looks at the network
      (4), or "batch".

    - `store`: a folder. Features go to disk in `lanes` (64, fewer of few samples) of immutable parts, as `store_dtype`
      ("bfloat16", "float16") where one is given, with the moments of every lane. The same call again goes on where it
      was stopped, and under torchrun every process records its share: the bytes are the same for any number of
      processes and after any interruption. `lanes_of="2/4"` takes the share of the second of four by hand. Of a
      DataLoader its data set, collation and workers are taken; one that shuffles is refused.
    - `shards`, in place of `data`: one-shot iterables, a lane each, such as the files of a web dataset.
      Samples are numbered by their position in the shard, plus 2^32 times its number.

    Which axis holds what is found by following labelled axes through the operations of one small pass, and confirmed
    by a second with fewer samples; nothing is decided by shape. A layer that stays unclear is refused where it was
    named, and left out of patterns and "auto" with a note in `provenance["notes"]`.

    `Activations.sample` numbers samples by their place in the data set, also under a shuffling sampler; for an
    iterable, which has no places, by their position in the stream.

    The model is left as it was: hooks, train/eval mode, device and random state are restored, also after an error.
    Everything that one batch can show is refused before the long run.

    Raises ModelError (layers, layouts, poolings, masks, memory), InputError (data, NaN or infinite activations) or
    FileError (a store of another recording, a full disk).
    """
    for name, value in (("max_samples", max_samples), ("memory", memory)):
        if value is not None and _check.whole(value, name) < 0:
            raise _check.negative(name, value)
    inner, taken = unwrap(model)
    options = Options.of(
        inner, layers, pool=pool, device=device, dtype=dtype, forward=forward, labels=labels, mask=mask, layout=layout,
        groups=groups, batch_dim=batch_dim, class_names=class_names, head=head, logits=logits, probe=probe,
        seed=seed,
    )  # fmt: skip
    storing = _storing(
        store, lanes, store_dtype, lanes_of, max_samples=max_samples, scatter=scatter, memory=memory,
        batch_size=batch_size, seed=seed, progress=progress,
    )  # fmt: skip
    order: list[Any] = []
    if shards is not None:
        data = _first_shard(data, shards, lanes, storing)
    first, raws, count = stream(data, batch_size, order=order)
    with session(inner, options.device, options.dtype) as live:
        planned, options = planned_of(live, first, options, taken, samples_of(data))
    if storing is not None:
        walks: list[Walk] = [lambda: (raws, count)]
        walks += [partial(_walk, number, shard, batch_size) for number, shard in enumerate(shards or ()) if number]
        given = [data] if shards is None else shards
        return record_lanes(model, inner, planned, options, given, storing, taken, class_names, walks)
    made = Recording(model, inner, planned, options, taken, max_samples, memory, scatter, seed, class_names)
    with closing(passes(inner, planned, options, with_progress(raws, count, progress), made.holding)) as read:
        for found in read:
            made.add(*found, numbers_of(order, found[0]))
    return made.close(data)


class Recording:
    """What is kept of one network while its batches pass."""

    def __init__(
        self,
        model: nn.Module,
        inner: nn.Module,
        planned: Plan,
        options: Options,
        taken: list[str],
        max_samples: int | None,
        memory: int | None,
        scatter: bool,
        seed: int,
        class_names: Sequence[str] | None,
    ) -> None:
        _check_room(planned, max_samples)
        self._model, self._inner, self._planned, self._options = model, inner, planned, options
        self._taken, self._seed, self._class_names = taken, seed, class_names
        self.holding = FeatureStore(
            [p.address for p in planned.layers],
            options.device,
            max_samples=max_samples,
            memory=memory,
            seed=seed,
            expected=None if any(p.rows > 1 for p in planned.layers) else planned.samples,
        )
        self._sums: dict[str, MomentSums] = {}
        if max_samples is not None:
            self._sums = {p.address: MomentSums(scatter=scatter and p.width <= WIDEST) for p in planned.layers}
        self._finite, self._fingerprint, self._number = FiniteCheck(options.device), Fingerprint(), 0
        self._generated: list[list[int]] = []

    def add(
        self, batch: Batch, features: dict[str, Tensor], z: Tensor | None, rows: Rows, numbers: Tensor | None
    ) -> None:
        """What one batch gave; `numbers` are the places of its samples in the data, where they are known."""
        with memory_errors(self._number, self.holding):
            self._finite.add(self._number, features)
            for address, x in features.items() if self._sums else ():
                add_rows(self._sums[address], x, rows.labels)
            self._fingerprint.add(batch)
            self._generated += [] if rows.generated is None else rows.generated.tolist()
            self.holding.add(features, z, rows.labels, rows.sample, batch.size, numbers)
        self._number += 1

    def close(self, data: Any) -> Activations:
        self._finite.close()
        kept, options, names = self.holding.close(), self._options, self._class_names
        seen, fingerprint = self.holding.seen, self._fingerprint.value()
        return Activations(
            features=kept.features,
            labels=kept.labels,
            logits=kept.logits,
            head=classifier_of(self._inner, self._planned),
            sample=kept.sample,
            seen=seen,
            exact={address: s.value() for address, s in self._sums.items()},
            provenance=provenance_of(
                self._model, self._inner, self._planned, options.device, options.dtype, data, seed=self._seed,
                seen=seen, taken=self._taken,
            )
            | ({} if names is None else {"class_names": [str(name) for name in names]})
            | ({} if rows_known(data) else {"sample_numbers": "positions in the stream"})
            | ({} if fingerprint is None else {"fingerprint": fingerprint})
            | ({"generated": self._generated} if self._generated else {}),
        )  # fmt: skip


def _storing(store: Any, lanes: int | None, dtype: Any, lanes_of: str | None, **others: Any) -> Storing | None:
    if store is not None:
        return Storing.of(store, lanes, dtype, lanes_of, **others)
    for name, value in (("lanes", lanes), ("store_dtype", dtype), ("lanes_of", lanes_of)):
        if value is not None:
            raise _store_refusals.needs_store(name)
    return None


def _first_shard(data: Any, shards: Sequence[Any], lanes: int | None, storing: Storing | None) -> Any:
    """What a recording of shards is planned from."""
    if storing is None:
        raise _store_refusals.needs_store("shards")
    if data is not None or isinstance(shards, (str, Mapping)) or not isinstance(shards, Sequence) or not shards:
        raise _store_refusals.shards_choice(data is not None, shards)
    if lanes not in (None, len(shards)):
        raise _store_refusals.lanes_of_shards(lanes, len(shards))
    for shard in shards:
        Indexed.of(shard, 1)  # refuses a sampler that shuffles or deals samples out
    return shards[0]


def _walk(number: int, shard: Any, batch_size: int) -> tuple[Iterator[Any], int | None]:
    """The batches of a shard, and their number where it is known."""
    try:
        return stream(shard, batch_size)[1:]
    except RepanaError as error:
        error.add_note(f"in shard {number}")
        raise
    except Exception as error:
        raise _store_refusals.stream_failed(number, 0, error) from error


def numbers_of(order: Sequence[Any], batch: Batch) -> Tensor | None:
    """The places of a batch's samples in the data set, where a sampler gave them."""
    indices = order[batch.number] if batch.number < len(order) else None
    if not isinstance(indices, (list, tuple)) or len(indices) != batch.size:
        return None
    return torch.tensor(indices) if all(isinstance(i, (int, np.integer)) for i in indices) else None


def _check_room(planned: Plan, max_samples: int | None) -> None:
    rows = planned.samples if max_samples is None else min(2 * max_samples, planned.samples or 2 * max_samples)
    if rows is None:
        return
    needed, room = rows * planned.bytes_per_sample, host_memory()
    if needed > room:
        sizes = sorted(((p.address, rows * 4 * p.width * p.rows) for p in planned.layers), key=lambda pair: -pair[1])
        raise _refusals.too_large(needed, room, sizes)
