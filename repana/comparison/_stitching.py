"""Stitching: the front of one network with the back of another, joined by the best affine map between two layers."""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate, shown
from repana._typing import IGNORED
from repana.comparison import _refusals
from repana.comparison._output_agreement import paired_accuracy, share
from repana.extraction._attribution import Places, Reader, reading
from repana.extraction._batches import Batch
from repana.extraction._plan import Planned
from repana.extraction._together import shared_batches
from repana.summaries.folds import FoldMoments
from repana.summaries.held_out import grid, solved

ALPHA = 1e-6  # of the mean eigenvalue of X'X
FITTED = 2  # every second sample is fitted on


@shown
@dataclass(frozen=True)
class Stitching:
    """Accuracy of a stitched network; see `stitching`. Lower penalties are more similar."""

    NULL: ClassVar[str] = "equal accuracy"
    SIMILAR: ClassVar[str] = "penalties: lower is more similar"

    accuracy: Estimate
    stitched: Estimate
    penalty: Estimate
    own_penalty: Estimate
    permuted_penalty: Estimate
    agreement: Estimate
    r2: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def stitching(
    a: nn.Module,
    layer_a: str,
    b: nn.Module,
    layer_b: str,
    data: Any,
    *,
    alpha: float = ALPHA,
    device: torch.device | str | None = None,
    forward: Any = None,
    labels: Any = None,
    mask: Any = None,
    layout: Any = None,
    batch_size: int = 64,
    level: float = 0.95,
    seed: int = 0,
) -> Stitching:
    """Put the features of `layer_a` of one network, through the best affine map, in the place of `layer_b` of another.

    The map (closed form, ridge of strength `alpha` beside the mean eigenvalue of X'X) is fitted on every second sample
    of `data`, without labels, and the rest of b runs on the others. Where both layers have as many positions (the
    pixels of a convolution, the tokens of a sequence) the map is the same at all of them, a 1 x 1 convolution; vectors
    are mapped as they are.

    - `accuracy` of b on the samples reported on, `stitched` with the map in place, `penalty` = accuracy - stitched with
      its paired interval and McNemar's p: 0 where the layer of a serves b as well as its own.
    - `own_penalty`: of stitching b's own layer to itself, which must be 0; `permuted_penalty`: of a map from the
      samples of a in another order (those of the next batch, in an order drawn by the seed), what the back of b does
      without any information of a.
    - `agreement`: share of samples whose predicted class stays. `r2`: of the map, on the samples reported on.

    Both networks run on the same batches, in eval mode; they and their hooks are left as they were. Needs labels.

    Raises InputError for data without labels or of fewer than 4 samples, ModelError for layers that cannot be replaced
    or whose positions do not match.

    Sources: Lenc & Vedaldi 2015, arXiv:1411.5908; Bansal, Nakkiran & Barak 2021, arXiv:2106.07682 (model stitching);
    Csiszarik et al. 2021, arXiv:2110.14633 (closed form).

    >>> import torch
    >>> from repana.comparison import stitching
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> float(stitching(net, "1", net, "1", (x, net(x).argmax(1))).penalty)
    0.0
    """
    _check.level_of(level)
    _check.positive(alpha, "alpha")
    options: dict[str, Any] = {
        "device": device,
        "forward": forward,
        "labels": labels,
        "mask": mask,
        "layout": layout,
        "batch_size": batch_size,
    }
    with ExitStack() as stack:
        given = shared_batches(data, batch_size, 2)
        first, batches_a = stack.enter_context(reading(a, given[0], [layer_a], **options))
        second, batches_b = stack.enter_context(reading(b, given[1], [layer_b], **options))
        stack.enter_context(torch.no_grad())
        pair = _Pair(first, first.only(layer_a), second, second.only(layer_b), alpha, seed)
        pair.fit(zip(batches_a, batches_b))
        found = pair.report()
    y, own, mapped, itself, shuffled, r2 = found
    known = y != IGNORED
    if not bool(known.any()):
        raise _refusals.unlabelled_data("stitching", f"no label but {IGNORED}")
    right = {name: (z == y)[known] for name, z in (("own", own), ("a", mapped), ("b", itself), ("p", shuffled))}
    return Stitching(
        accuracy=share(right["own"], None, level),
        stitched=share(right["a"], None, level),
        penalty=paired_accuracy(right["a"], right["own"], None, level),
        own_penalty=paired_accuracy(right["b"], right["own"], None, level),
        permuted_penalty=paired_accuracy(right["p"], right["own"], None, level),
        agreement=share(mapped == own, None, level),
        r2=Estimate(r2, n=len(y), note="of the map, held out"),
        settings={
            "layer_a": pair.one.address,
            "layer_b": pair.other.address,
            "alpha": alpha,
            "level": level,
            "seed": seed,
        },
    )


class _Pair:
    """Two layers, the maps between them, and what the back of b makes of each. The batches are kept, features are
    not."""

    def __init__(self, first: Reader, one: Planned, second: Reader, other: Planned, alpha: float, seed: int) -> None:
        self.one, self.other = one, other
        self._first, self._second, self._alpha = first, second, alpha
        self._places = Places.of(one), Places.of(other)
        self._generator = torch.Generator().manual_seed(seed)
        self._kept: list[tuple[Batch, Batch]] = []
        self._sums: list[FoldMoments | None] = [None, None, None]
        self._seen = 0

    def fit(self, batches: Iterable[tuple[Batch, Batch]]) -> None:
        """Sums of every second sample: from a, from b itself, and from the samples of a in another order."""
        for batch, partner in batches:
            x, y, _ = self._rows(batch, partner)
            if partner.labels is None or partner.labels.ndim != 1 or partner.labels.is_floating_point():
                raise _refusals.unlabelled_data("stitching", _labels_found(partner.labels))
            at = self._fitted(len(x), self._seen)
            for place, source in enumerate((x[at], y[at])):
                self._sums[place] = _added(self._sums[place], source, y[at])
            self._seen += len(x)
            self._kept.append((batch, partner))
        self._fit_permuted()

    def _fit_permuted(self) -> None:
        """Sums from the samples of a in another order: every batch goes with the samples of another, of which the order
        is drawn too; a single batch with its own."""
        seen = [0]
        for batch, _ in self._kept:
            seen.append(seen[-1] + batch.size)
        for place in range(len(self._kept)):
            other = (place + 1) % len(self._kept)
            y = self._rows(*self._kept[place])[1]
            x = self._rows(*self._kept[other])[0]
            x, y = x[self._fitted(len(x), seen[other])], y[self._fitted(len(y), seen[place])]
            order = torch.randperm(len(x), generator=self._generator)
            used = min(len(x), len(y))
            self._sums[2] = _added(self._sums[2], x[order][:used], y[:used])

    def report(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
        """Of the other samples: labels and predictions of b, with the map, with b's own, with that of shuffled samples;
        and
        the R^2 of the map."""
        if self._seen < 2 * FITTED:
            raise _check.too_few_samples("stitching", self._seen, 2 * FITTED)
        maps = [self._map(sums) for sums in self._sums if sums is not None]
        assert self._sums[0] is not None
        mean = self._sums[0].normal().target_mean
        labels: list[Tensor] = []
        predicted: list[list[Tensor]] = [[], [], [], []]
        error = spread = 0.0
        seen = 0
        for batch, partner in self._kept:
            x, y, own = self._rows(batch, partner)
            rows = ~self._fitted(len(x), seen)
            seen += len(x)
            assert partner.labels is not None
            labels.append(partner.labels[rows])
            predicted[0].append(own[rows])
            for place, (weight, bias) in enumerate(maps):
                moved = (y if place == 1 else x).double() @ weight + bias
                if place == 0:
                    error += float((y[rows] - moved[rows]).square().sum())
                    spread += float((y[rows] - mean).square().sum())
                predicted[place + 1].append(self._run(partner, moved)[rows])
        r2 = 1 - error / spread if spread > 0 else math.nan
        own, mapped, itself, shuffled = (torch.cat(parts) for parts in predicted)
        return torch.cat(labels).long(), own, mapped, itself, shuffled, r2

    @staticmethod
    def _fitted(size: int, seen: int) -> Tensor:
        return torch.arange(seen, seen + size) % FITTED == 0

    def _rows(self, batch: Batch, partner: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (b, positions, channels) of both layers, and what b predicts."""
        found, _ = self._first.values(batch)
        there, z = self._second.values(partner)
        x = self._places[0].rows(found[self.one.address].detach())
        y = self._places[1].rows(there[self.other.address].detach())
        if len(x) != len(y):
            raise _refusals.other_rows(len(x), len(y))
        if x.shape[1] != y.shape[1]:
            raise _refusals.other_positions(self.one.address, x.shape[1], self.other.address, y.shape[1])
        return x.to(y.device), y, z.argmax(1).cpu()

    def _map(self, sums: FoldMoments) -> tuple[Tensor, Tensor]:
        normal = sums.normal()
        return solved(normal, float(grid(float(normal.gram.diagonal().sum()), len(normal.gram), (self._alpha,))[0]))

    def _run(self, partner: Batch, rows: Float[Tensor, "b p e"]) -> Tensor:
        """What b predicts with its layer replaced."""
        places = self._places[1]

        def put(tensor: Tensor) -> Tensor:
            new = rows.to(tensor)
            return places.back(new, tensor) if places.positions else new.reshape(tensor.shape)

        with self._second.swapped({self.other.address: put}):
            return self._second.logits(partner).argmax(1).cpu()


def _labels_found(labels: Tensor | None) -> str:
    if labels is None:
        return "no labels"
    return f"labels of type {str(labels.dtype).removeprefix('torch.')} and shape {tuple(labels.shape)}"


def _added(sums: FoldMoments | None, x: Float[Tensor, "b p d"], y: Float[Tensor, "b p e"]) -> FoldMoments:
    """Sums with those of the rows of a batch."""
    p, q = x.flatten(0, 1).double(), y.flatten(0, 1).double()
    fold = torch.zeros(len(p), dtype=torch.int64, device=p.device)
    if sums is None:
        return FoldMoments.of(p, q, fold, 1)
    return sums + FoldMoments.of(p, q, fold, 1, shift=sums.shift, target_shift=sums.target_shift)
