"""What watches a long run: values that are not finite, memory, progress."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from repana.extraction import _model_refusals
from repana.extraction._store import FeatureStore


class FiniteCheck:
    """NaN and infinity named with layer and batch; on a GPU only looked at in the end, so that nothing waits."""

    def __init__(self, device: torch.device) -> None:
        self._late = device.type != "cpu"
        self._found: list[tuple[str, int, Tensor, int]] = []

    def add(self, number: int, features: Mapping[str, Tensor]) -> None:
        """All layers of one batch; their sum is finite where they are, so that one look is enough for most batches."""
        if self._late:
            for address, x in features.items():
                self._found.append((address, number, (~torch.isfinite(x)).sum(), x.numel()))
        elif not math.isfinite(sum(x.sum().item() for x in features.values())):
            for address, x in features.items():
                bad = int((~torch.isfinite(x)).sum())
                if bad:
                    raise _model_refusals.not_finite(address, number, bad, x.numel())

    def close(self) -> None:
        if not self._found:
            return
        counts = torch.stack([count for _, _, count, _ in self._found]).tolist()
        for (address, number, _, size), bad in zip(self._found, counts):
            if bad:
                raise _model_refusals.not_finite(address, number, bad, size)


@contextmanager
def memory_errors(number: int, store: FeatureStore | None) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _model_refusals.out_of_memory(
            number, store.sizes() if store else [], str(error).split("\n")[0]
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise _model_refusals.out_of_memory(
                number, store.sizes() if store else [], str(error).split("\n")[0]
            ) from error
        raise


def with_progress(raws: Iterator[Any], count: int | None, progress: bool | None) -> Iterator[Any]:
    """A bar with an ETA on a terminal or in a notebook, silence elsewhere."""
    return iter(_tqdm()(raws, total=count, desc="recording", unit="batch", leave=False)) if _shown(progress) else raws


@contextmanager
def steps(count: int, progress: bool | None) -> Iterator[Callable[[str], None]]:
    """A bar over so many steps of an analysis: call what is given with the name of each as it begins."""
    if not _shown(progress):
        yield lambda name: None
        return
    with _tqdm()(total=count, desc="measuring", unit="step", leave=False) as bar:
        begun = False

        def begin(name: str) -> None:
            nonlocal begun
            bar.update(int(begun))
            begun = True
            bar.set_postfix_str(name)

        yield begin


def _shown(progress: bool | None) -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules if progress is None else progress


def _tqdm() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no ipywidgets: tqdm falls back to text
        from tqdm.auto import tqdm

    return tqdm
