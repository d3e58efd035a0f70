"""Data in any usual form, as a stream of batches."""

import numbers
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from repana import _check
from repana.extraction import _data_refusals
from repana.extraction._tree import is_empty, mapped, tensors_of

# First batches that `plan` took from iterators, given back when the iterator is walked again.
_TAKEN: "WeakKeyDictionary[Any, list[Any]]" = WeakKeyDictionary()


class _Noted:
    """A sampler of batches that notes the indices it gives."""

    def __init__(self, sampler: Iterable[Any], order: list[Any]) -> None:
        self._sampler, self._order = sampler, order

    def __iter__(self) -> Iterator[Any]:
        for indices in self._sampler:
            self._order.append(indices)
            yield indices

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]


def _with_order(batches: Iterable[Any], order: list[Any] | None) -> Iterator[Any]:
    """An iterator over batches. Of a loader with a sampler the indices of each batch go into `order`, also where
    workers fetch ahead; the loader is left as it was."""
    known = isinstance(batches, DataLoader) and batches.batch_sampler is not None
    if order is None or not known or isinstance(batches.dataset, IterableDataset):  # type: ignore[attr-defined]
        return iter(batches)
    sampler: Any = batches.batch_sampler  # type: ignore[attr-defined]
    object.__setattr__(batches, "batch_sampler", _Noted(sampler, order))  # a loader refuses other ways
    try:
        return iter(batches)
    finally:
        object.__setattr__(batches, "batch_sampler", sampler)


def with_tensors(raw: Any) -> Any:
    """A batch with its NumPy arrays of numbers as tensors; arrays of names stay."""
    return mapped(raw, lambda a: _array(a) if a.dtype.kind in "biufc" else a, np.ndarray)


def rows_known(data: Any) -> bool:
    """Whether the samples of a stream can be found again in the data: in arrays, lists, and data sets with a
    sampler."""
    if isinstance(data, DataLoader):
        return data.batch_sampler is not None and not isinstance(data.dataset, IterableDataset)
    whole = isinstance(data, (Tensor, np.ndarray, Mapping, tuple, list))
    return whole or (isinstance(data, Dataset) and not isinstance(data, IterableDataset))


def stream(
    data: Any, batch_size: int, *, give_back: bool = False, order: list[Any] | None = None
) -> tuple[Any, Iterator[Any], int | None]:
    """The first batch that is not empty, an iterator over all batches, and their number where it is known.

    `order` is filled with the indices of each batch where a sampler draws them. `give_back`: only the first batch is
    looked at, and one that an iterator gave stands before its others next time.
    """
    _check.at_least(batch_size, "batch_size", 1)
    _refuse_padding(data)
    batches, count = _batches(data, batch_size)
    once = isinstance(batches, Iterator) and batches is data
    taken: list[Any] = []
    with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed when it is walked
        if once:
            taken = _given_back(batches)
        iterator = _with_order(batches, order)
        while not taken or is_empty(taken[-1]):
            try:
                taken.append(next(iterator))
            except StopIteration:
                break
    if once and give_back:
        try:
            _TAKEN[batches] = taken
        except TypeError:
            raise _check.walked_once(type(data).__name__, "`plan` would take its first batch, `record` needs") from None
    first = next((raw for raw in taken if not is_empty(raw)), None)
    if first is None:
        raise _data_refusals.empty_data(data)
    return first, chain(taken, iterator), count


def _given_back(iterator: Any) -> list[Any]:
    try:
        return _TAKEN.pop(iterator, [])
    except TypeError:
        return []


def samples_of(data: Any) -> int | None:
    """How many samples, where the data say so."""
    data = getattr(data, "dataset", data)
    if isinstance(data, Mapping):
        data = next(iter(data.values()), None)
    if isinstance(data, (tuple, list)):
        data = data[0] if data and isinstance(data[0], (Tensor, np.ndarray)) else None
    if isinstance(data, Tensor):
        return data.size(0) if data.ndim else None
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def _batches(data: Any, batch_size: int) -> tuple[Iterable[Any], int | None]:
    if data is None:
        raise _data_refusals.no_data()
    whole = arrays_of(data)
    if whole is not None:
        starts = range(0, tensors_of(whole)[0].size(0), batch_size)
        return (sliced(whole, start, start + batch_size) for start in starts), len(starts)
    if isinstance(data, (str, bytes)):
        raise _data_refusals.data_not_understood(data)
    _refuse_tables(data)
    _refuse_sparse(data)
    if isinstance(data, list) and _looks_like_pair(data):
        raise _data_refusals.list_for_tuple(data)
    if isinstance(data, Dataset) or by_index(data):
        loader = DataLoader(data, batch_size=batch_size)  # type: ignore[arg-type]
        return loader, None if isinstance(data, IterableDataset) else len(loader)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        try:
            return data, len(data)  # type: ignore[arg-type]
        except TypeError:
            return data, None
    raise _data_refusals.data_not_understood(data)


def arrays_of(data: Any) -> Any:
    """Tensors of one length, as they came, where the data are arrays; None where they are not."""
    if isinstance(data, np.ndarray):
        data = _array(data)
    arrays = (Tensor, np.ndarray)
    whole = isinstance(data, Tensor) or (
        isinstance(data, tuple) and bool(data) and all(isinstance(t, arrays) for t in data)
    )  # a tuple holds the arrays of a data set, a list holds batches
    if not whole and isinstance(data, Mapping) and data and all(isinstance(t, arrays) for t in data.values()):
        whole = True
    if not whole:
        return None
    tree = _as_tensors(data)
    sizes = {(t.size(0) if t.ndim else -1) for t in tensors_of(tree)}
    if len(sizes) != 1 or -1 in sizes:
        raise _data_refusals.lengths_differ(sorted(sizes))
    return tree


def by_index(data: Any) -> bool:
    """Whether single samples can be had by their places."""
    if isinstance(data, Dataset):
        return not isinstance(data, IterableDataset)
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not _is_batches(data)


def sliced(tree: Any, start: int, stop: int) -> Any:
    """Some rows of every tensor."""
    return mapped(tree, lambda t: _rows(t, start, stop))


def _rows(t: Tensor, start: int, stop: int) -> Tensor:
    if not t.is_nested:
        return t[start:stop]
    return torch.nested.as_nested_tensor(list(t.unbind()[start:stop]), layout=t.layout)


def _refuse_padding(data: Any) -> None:
    """A distributed sampler that gives some samples twice, so that all processes have as many."""
    sampler = getattr(data, "sampler", None)
    if isinstance(sampler, DistributedSampler) and sampler.total_size > len(sampler.dataset):  # type: ignore[arg-type]
        extra = sampler.total_size - len(sampler.dataset)  # type: ignore[arg-type]
        raise _data_refusals.padded(extra, sampler.num_replicas)


def _refuse_tables(data: Any) -> None:
    for part in (data, *(data if isinstance(data, tuple) else ())):
        if type(part).__module__.startswith("pandas") and hasattr(part, "to_numpy"):
            raise _data_refusals.table_as_data(type(part).__name__)


def _refuse_sparse(data: Any) -> None:
    for part in (data, *(data if isinstance(data, tuple) else ())):
        if type(part).__module__.startswith("scipy.sparse") and hasattr(part, "toarray"):
            raise _data_refusals.sparse_data(f"scipy {type(part).__name__}")


def _looks_like_pair(data: list[Any]) -> bool:
    """[x, y] of two arrays with one label per row: the tuple (x, y) was meant, since a list holds batches."""
    if len(data) != 2 or not all(isinstance(t, (Tensor, np.ndarray)) for t in data):
        return False
    x, y = data
    return y.ndim == 1 and x.ndim > 1 and len(x) == len(y)


def _is_batches(data: Any) -> bool:
    """A plain list or tuple of batches is walked as it is; a list of (x, label) samples is a dataset."""
    if not isinstance(data, (list, tuple)) or not data:
        return isinstance(data, (list, tuple, Mapping))
    first = data[0]
    if not isinstance(first, (tuple, list)) or len(first) != 2:
        return True
    second: Any = first[1]
    number = isinstance(second, (numbers.Number, np.generic))
    return not (number or (isinstance(second, (Tensor, np.ndarray)) and second.ndim == 0))


def _as_tensors(tree: Any) -> Any:
    if isinstance(tree, np.ndarray):
        return _array(tree)
    if isinstance(tree, Mapping):
        return {key: _as_tensors(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return tuple(_as_tensors(value) for value in tree)
    return tree


def _array(array: np.ndarray) -> Tensor:
    """In native byte order, and copied where it may not be written to or runs backwards."""
    if array.dtype.kind not in "biufc":
        raise _data_refusals.not_numeric(str(array.dtype))
    _check.refuse_masked(array, "data", "RA206")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(np.require(array, requirements=["W"] if min(array.strides, default=0) >= 0 else ["W", "C"]))
