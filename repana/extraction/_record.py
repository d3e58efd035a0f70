"""`record` and `plan`: every wanted layer of a model over a dataset, in one forward pass."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana import _check
from repana._activations import Activations, Classifier
from repana._typing import IGNORED
from repana.extraction._auto import Head, find_head, logits_leaf
from repana.extraction._batches import Batch, Forward, stream, unpack
from repana.extraction._guards import FiniteCheck, memory_errors, with_progress
from repana.extraction._layers import select
from repana.extraction._plan import Plan, Planned, resolve
from repana.extraction._probe import probe, release
from repana.extraction._provenance import provenance_of
from repana.extraction._session import Session, device_of, session, unwrap
from repana.extraction._store import FeatureStore, host_memory
from repana.extraction._taps import Taps
from repana.summaries.discriminant import WIDEST
from repana.summaries.moments import MomentSums


@dataclass(frozen=True)
class Options:
    """What `record` and `plan` share."""

    layers: Any
    pool: str | Mapping[str, str]
    device: torch.device
    dtype: torch.dtype | None
    forward: Forward | None
    mask: Any
    head: str | bool
    logits: bool | None
    batch_dim: int | None
    class_names: Sequence[str] | None = None


def plan(
    model: nn.Module,
    data: Any,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Forward | None = None,
    mask: Any = None,
    head: str | bool = "auto",
    batch_size: int = 64,
    batch_dim: int | None = None,
) -> Plan:
    """What `record` with the same arguments will keep: layers, shapes, calls, pooling, widths, bytes, from one batch.

    Raises everything that `record` would raise before its long run. See `record` for the arguments.
    """
    inner, taken = unwrap(model)
    options = Options(
        layers, pool, wanted_device(inner, device), wanted_dtype(dtype), forward, mask, head, None, batch_dim
    )
    first, _, _ = stream(data, batch_size)
    with session(inner, options.device, options.dtype) as live:
        return planned_of(live, unpack(first, inner, forward, mask), options, taken, samples_of(data))


def record(
    model: nn.Module,
    data: Any,
    layers: Any = "auto",
    pool: str | Mapping[str, str] = "auto",
    max_samples: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    forward: Forward | None = None,
    *,
    mask: Any = None,
    head: str | bool = "auto",
    logits: bool | None = None,
    batch_size: int = 64,
    batch_dim: int | None = None,
    class_names: Sequence[str] | None = None,
    scatter: bool = False,
    memory: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Activations:
    """Features of many layers over a dataset, in one forward pass.

    - `data`: a DataLoader, a Dataset, tensors, or any iterable of batches `x`, `(x, y)`, mappings, `(mapping, y)`;
      `forward(model, batch)` runs anything else. Labels are found under "labels", "label", "y", "target".
    - `layers`: "auto" (the depth profile), names, patterns, `re:`..., module classes, predicates, or a list of those;
      `name:in`, `name[0]`, `name.logits`, `name@2`, `name|mean` as in the documentation of layer addresses.
    - `pool`: "auto" averages maps, takes the masked mean of sequences and keeps vectors; or "avg", "max", "flatten",
      "grid" (4 x 4 averages), "mean", "cls", "last" (real token), "tokens", "none"; a mapping gives it by layer. With
      "tokens" every token is a row, and layers that were not named are left out where they have no tokens.
    - `mask`: the attention mask (b, t): by default the batch's "attention_mask"; a key, a function of the batch, or
      False where nothing is padded. "content" leaves out the tokens of the batch's "special_tokens_mask" too.
    - `max_samples`: keep features of so many samples, as many of each class as equal shares allow, chosen by `seed`;
      `Activations.moments` stay exact over all. 0 keeps moments only, with memory independent of the data's size.
      `scatter=True` adds their (d, d) pooled scatter.
    - `logits`: by default they are kept when the forward pass gets there anyway; True runs it to the end, False stops
      after the deepest wanted layer. `head` names the classifier; False for none.
    - `class_names`: in the order of the model's outputs, for figures and pages; labels may then be those names.
    - `dtype`: autocast to it. `device`: the model is moved there and back. Features stay on the device up to `memory`
      bytes (half of what is free there), then go to the host.

    The model is left as it was: hooks, train/eval mode, device and random state are restored, also after an error.
    Everything that one batch can show is refused before the long run.

    Raises ModelError (layers, poolings, masks, memory) or InputError (data, NaN or infinite activations).
    """
    if max_samples is not None and max_samples < 0:
        raise _check.negative("max_samples", max_samples)
    inner, taken = unwrap(model)
    options = Options(
        layers,
        pool,
        wanted_device(inner, device),
        wanted_dtype(dtype),
        forward,
        mask,
        head,
        logits,
        batch_dim,
        class_names,
    )
    first, raws, count = stream(data, batch_size)
    with session(inner, options.device, options.dtype) as live:
        planned = planned_of(live, unpack(first, inner, forward, mask, class_names), options, taken, samples_of(data))
    _check_room(planned, max_samples)
    expected = None if any(p.rows > 1 for p in planned.layers) else planned.samples
    store = FeatureStore(
        [p.address for p in planned.layers],
        options.device,
        max_samples=max_samples,
        memory=memory,
        seed=seed,
        expected=expected,
    )
    sums: dict[str, MomentSums] = {}
    if max_samples is not None:
        sums = {p.address: MomentSums(scatter=scatter and p.width <= WIDEST) for p in planned.layers}
    finite = FiniteCheck(options.device)
    with closing(passes(inner, planned, options, with_progress(raws, count, progress), store)) as read:
        for number, (batch, features, z, rows) in enumerate(read):
            with memory_errors(number, store):
                finite.add(number, features)
                for address, x in features.items() if sums else ():
                    _add(sums[address], x, rows.labels)
                store.add(features, z, rows.labels, rows.sample, batch.size)
    finite.close()
    kept = store.close()
    return Activations(
        features=kept.features,
        labels=kept.labels,
        logits=kept.logits,
        head=_classifier(inner, planned),
        sample=kept.sample,
        seen=store.seen,
        exact={address: s.value() for address, s in sums.items()},
        provenance=provenance_of(model, inner, planned, options.device, options.dtype, data, store.seen, seed, taken)
        | ({} if class_names is None else {"class_names": [str(name) for name in class_names]}),
    )


# --- planning ---------------------------------------------------------------------------------------------------------


def planned_of(live: Session, batch: Batch, options: Options, taken: list[str], samples: int | None) -> Plan:
    batch = batch.to(options.device)
    with memory_errors(0, None):
        trace = probe(live, batch, options.forward)
    leaf = logits_leaf(trace, batch.labels)
    head = None if options.head is False else find_head(trace, leaf)
    if isinstance(options.head, str) and options.head != "auto":
        head = Head(_one_module(options.head, trace.modules), None, leaf.path if leaf else ())
    planned = resolve(
        select(options.layers, trace), trace, pool=options.pool, mask=options.mask, batch_dim=options.batch_dim
    )
    wants = options.logits
    if wants is None:
        last = max(p.event for p in planned)
        wants = head is None or last >= trace.calls[head.module][-1].start - 1
    found = leaf is not None and bool(wants)
    notes = [f"RA401: {name} was taken off; the eager model is read" for name in taken]
    facts = {"logits": leaf.path if leaf is not None and found else None, "calls": _expected(planned)}
    if found and head is not None and _head_input(head, trace, planned) is None:
        notes.append(f"the input of the classifier ({head.module}:in) is not among the layers")
    facts["head_layer"] = None if head is None else _head_input(head, trace, planned)
    if leaf is None and batch.labels is not None and batch.labels.ndim == 1 and not batch.labels.is_floating_point():
        columns = [out.shape[1] for out in trace.root.outputs if len(out.shape) == 2 and out.axis == 0]
        top = int(batch.labels.max()) if len(batch.labels) else -1
        if columns and max(columns) <= top:
            notes.append(f"labels reach {top} but no output has more than {max(columns)} columns: there are no logits")
    release(trace)
    return Plan(planned, samples, tuple(notes), head, facts)


def _one_module(name: str, modules: Mapping[str, nn.Module]) -> str:
    if name not in modules or not name:
        raise _check.no_layer(name, [n for n in modules if n])
    return name


def _head_input(head: Head, trace: Any, planned: tuple[Planned, ...]) -> str | None:
    """The address whose features the classifier reads."""
    for p in planned:
        same_call = p.site.call in (None, head.call)
        if p.site.module == head.module and p.site.side == "in" and same_call and p.pooling.kind == "vector":
            return p.address
    return None


def _expected(planned: tuple[Planned, ...]) -> dict[str, int]:
    return {p.site.module: p.calls for p in planned}


def _check_room(planned: Plan, max_samples: int | None) -> None:
    rows = planned.samples if max_samples is None else min(2 * max_samples, planned.samples or 2 * max_samples)
    if rows is None:
        return
    needed, room = rows * planned.bytes_per_sample, host_memory()
    if needed > room:
        sizes = sorted(((p.address, rows * 4 * p.width * p.rows) for p in planned.layers), key=lambda pair: -pair[1])
        raise _check.too_large(needed, room, sizes)


def samples_of(data: Any) -> int | None:
    """How many samples, where the data say so."""
    data = getattr(data, "dataset", data)
    if isinstance(data, Mapping):
        data = next(iter(data.values()), None)
    if isinstance(data, (tuple, list)):
        data = data[0] if data and isinstance(data[0], (Tensor, np.ndarray)) else None
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def wanted_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    if device is None:
        return device_of(model) or torch.device("cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise _check.no_device(str(device), str(error).splitlines()[0]) from None
    return found


def wanted_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating-point type, also by its name."""
    found = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if found is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        _check.choice(str(dtype), "dtype", ("float16", "bfloat16", "float32"))
    return found  # type: ignore[return-value]


# --- the long run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    labels: Tensor | None
    sample: Tensor


def _row_labels(batch: Batch, planned: Plan, features: Mapping[str, Tensor]) -> Rows:
    """Labels and sample numbers of the rows: one a sample, or one a token."""
    index = torch.arange(batch.size)
    if not any(p.rows > 1 for p in planned.layers):
        return Rows(batch.labels, index)
    n = len(next(iter(features.values())))
    keep = batch.mask.cpu() if batch.mask is not None else torch.ones(batch.size, n // batch.size, dtype=torch.bool)
    index = index[:, None].expand(keep.shape)[keep]
    labels = batch.labels
    if labels is not None:
        wide = labels if labels.ndim == 2 else labels[:, None].expand(keep.shape)
        labels = wide[keep]
    return Rows(labels, index)


def _add(sums: MomentSums, x: Tensor, labels: Tensor | None) -> None:
    """Into the class of each row; rows marked to be ignored stay out, and without classes all rows are one."""
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        sums.add(x)
    elif bool((labels == IGNORED).any()):
        keep = (labels != IGNORED).nonzero()[:, 0]
        sums.add(x[keep.to(x.device)], labels[keep].long())
    else:
        sums.add(x, labels.long())


def passes(
    model: nn.Module, planned: Plan, options: Options, raws: Iterable[Any], store: FeatureStore | None
) -> Generator[tuple[Batch, dict[str, Tensor], Tensor | None, Rows], None, None]:
    """Each batch with its pooled features, its logits and what its rows are of."""
    with session(model, options.device, options.dtype) as live:
        taps = Taps(live, planned, options.forward)
        for number, raw in enumerate(raws):
            batch = unpack(raw, model, options.forward, options.mask, options.class_names)
            with memory_errors(number, store):
                features, z = taps.read(batch.to(options.device), number)
            yield batch, features, z, _row_labels(batch, planned, features)


# --- what came of it --------------------------------------------------------------------------------------------------


def _classifier(model: nn.Module, planned: Plan) -> Classifier | None:
    layer = planned.facts["head_layer"]
    if planned.head is None or layer is None:
        return None
    module = model.get_submodule(planned.head.module)
    bias = getattr(module, "bias", None)
    weight = module.weight
    assert isinstance(weight, Tensor)
    return Classifier(weight.detach().clone(), None if bias is None else bias.detach().clone(), layer)
