"""The neural tangent kernel of a network, parameter by parameter."""

import hashlib
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._numbers import number
from repana._typing import IGNORED
from repana.errors import ModelError
from repana.extraction._attribution import Position, Reader, reading
from repana.extraction._batches import Batch, Forward
from repana.extraction._reinitialised import iter_once
from repana.extraction._tangents import Owned
from repana.kernels import _refusals
from repana.kernels._kernel_statistics import (
    SPECTRAL,
    alignment,
    left_out,
    mean_alignment,
    one_hot,
    permuted_alignments,
    similarity,
    singular,
    spectral,
    velocity,
)
from repana.kernels._matrices import Directions, first_samples, matrices_of
from repana.statistics.intervals import proportion
from repana.statistics.permutation import against
from repana.summaries.resampling import permuted_orders

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OUTPUTS = ("trace", "mean", "sum", "label", "full")
HALVES = 20
LAZY = 0.01  # of velocity, below which a kernel has not moved
QUANTITIES = ("trace", "share", *SPECTRAL, "alignment")
BOUNDS = {"trace": (0.0, math.inf), "share": (0.0, 1.0), "top_share": (0.0, 1.0), "alignment": (-1.0, 1.0)}
BOUNDS |= dict.fromkeys(("effective_rank", "participation", "condition"), (1.0, math.inf))


@shown
@dataclass(frozen=True)
class Kernel:
    """The kernel of one parameter, or of all; see `ntk`."""

    trace: Estimate
    share: Estimate
    top_share: Estimate
    effective_rank: Estimate
    participation: Estimate
    condition: Estimate
    alignment: Estimate


@dataclass(frozen=True, repr=False)
class LayerKernels:
    """The neural tangent kernel of a network by parameter; see `ntk`. `total` is the sum. `matrices` (n, n) by
    parameter in float32 with `keep="kernels"`, and `matrix` the sum in float64; `full` (c, c, n, n) of every pair of
    outputs, where `outputs="full"`; `outputs` (n, c) and `labels` of the samples."""

    layers: Mapping[str, Kernel]
    total: Kernel
    accuracy: Estimate
    matrix: Float[Tensor, "n n"]
    outputs: Float[Tensor, "n c"]
    labels: Tensor | None = None
    matrices: Mapping[str, Float[Tensor, "n n"]] = field(default_factory=dict)
    full: Float[Tensor, "c c n n"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> Kernel:
        if layer not in self.layers:
            raise _check.not_recorded(layer, list(self.layers))
        return self.layers[layer]

    def frame(self) -> "pd.DataFrame":
        """A line for each parameter and quantity, the sum as "": value, low, high, null, p, n, note."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "p", "n", "note")
        rows = [
            (name, q, *(getattr(getattr(k, q), c) for c in columns))
            for name, k in {**self.layers, "": self.total}.items()
            for q in QUANTITIES
        ]
        return pd.DataFrame(rows, columns=["layer", "quantity", *columns])

    def similarities(self) -> "pd.DataFrame":
        """The centred cosine of the kernels of every two parameters. Needs `keep="kernels"`."""
        import pandas as pd

        names = list(self.matrices)
        double = {name: m.double() for name, m in self.matrices.items()}
        rows = [[similarity(double[a], double[b]) for b in names] for a in names]
        return pd.DataFrame(rows, index=names, columns=names)

    def velocity(self, later: "LayerKernels") -> "KernelMotion":
        """How far the kernel has moved until a later checkpoint: 1 - <K, K'>/(|K| |K'|) of the sum and of every
        parameter that both kept, 0 where it has not moved, as in lazy training. Interval: 20 random halves.

        Raises InputError for kernels of other samples.
        """
        n = len(self.matrix)
        for name in ("samples", "outputs"):
            if self.settings.get(name) != later.settings.get(name) or n != len(later.matrix):
                raise _refusals.other_kernels(name, n, len(later.matrix))
        halves, level = halves_of(n, self.settings.get("seed", 0)), self.settings.get("level", 0.95)

        def moved(a: Tensor, b: Tensor) -> Estimate:
            parts = [velocity(a[half][:, half], b[half][:, half]) for half in halves]
            found = _with_halves(velocity(a, b), parts, n, level)
            return replace(found, low=max(found.low, 0.0)) if found.low == found.low else found

        both = [name for name in self.matrices if name in later.matrices]
        found = {name: moved(self.matrices[name].double(), later.matrices[name].double()) for name in both}
        return KernelMotion(moved(self.matrix, later.matrix), found)

    def grouped(self, groups: Mapping[str, str] | None = None) -> "LayerKernels":
        """Sums over the parameters of each module, or of each group that `groups` names by parameter; those that it
        does not name are left out of the layers, not of the sum. Needs `keep="kernels"`."""
        if not self.matrices:
            raise _refusals.no_matrices()
        names = {p: p.rpartition(".")[0] for p in self.matrices} if groups is None else groups
        sums: dict[str, Tensor] = {}
        for parameter, group in names.items():
            sums[group] = sums.get(group, torch.zeros_like(self.matrix)) + self.matrices[parameter].double()
        measure = _Measure(self.matrix, self.labels, {**self.settings, "dtype": "torch.float32"})
        return replace(
            self,
            layers={name: measure(k) for name, k in sums.items()},
            matrices={name: k.float() for name, k in sums.items()},
        )  # fmt: skip

    def plot(self, **options: Any) -> "Figure":
        """Shares and alignment by depth; see `repana.plots.kernel_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.kernel_depth(self, **options))

    def says(self) -> str:
        """Which parameter holds most of the kernel, and whether it lies to the labels, in a sentence or two."""
        known = [name for name, k in self.layers.items() if k.share.value == k.share.value]
        if not known:
            return "All gradients are 0: the network has no kernel."
        top = max(known, key=lambda name: self.layers[name].share.value)
        text = f"{100 * self.layers[top].share.value:.0f}% of the kernel is {top}'s."
        a = self.total.alignment
        if a.value == a.value and a.p == a.p:
            where = "no more than under permuted labels" if a.p > 0.05 else "more than under permuted labels"
            text += f" It is aligned with the labels {where} ({number(a.value)}, null {number(a.null)}, p {a.p:.2g})."
        return text

    def __repr__(self) -> str:
        lines = [f"LayerKernels({len(self.layers)} parameters, {len(self.matrix)} samples)"]
        wide = max(map(len, [*self.layers, "total"]))
        names = ("trace", "share", "effective_rank", "alignment")
        lines.append(f"  {'':<{wide}}  " + "  ".join(f"{q:>14}" for q in names))
        for name, k in {**self.layers, "total": self.total}.items():
            lines.append(f"  {name:<{wide}}  " + "  ".join(f"{number(getattr(k, q).value):>14}" for q in names))
        return "\n".join([*lines, f"  {self.says()}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@dataclass(frozen=True)
class KernelMotion:
    """How far a kernel moved between two checkpoints, as a whole and by parameter; see `LayerKernels.velocity`."""

    total: Estimate
    layers: Mapping[str, Estimate]

    def says(self) -> str:
        """Whether the kernel moved, in a sentence."""
        e = self.total
        if e.value != e.value:
            return "The kernels have no size to compare."
        if e.value < LAZY:
            return f"The kernel moved by {number(e.value)}, less than 1%: training is lazy, features hardly change."
        text = f"The kernel moved by {number(e.value)}"
        if not self.layers:
            return text + "."
        top = max(self.layers, key=lambda name: self.layers[name].value)
        return text + f", most at {top} ({number(self.layers[top].value)})."


@settled()
def ntk(
    model: nn.Module,
    data: Any,
    *,
    outputs: str = "trace",
    most: int = 512,
    sketch: int | None = None,
    keep: str = "kernels",
    frozen: bool = False,
    position: Position = "last",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    batch_size: int = 128,
    permutations: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> LayerKernels:
    """The empirical neural tangent kernel, as a sum over parameter tensors.

    With J_l (n, c, p_l) the derivative of output c at sample i in the tensor l, in evaluation mode:

    - `outputs="trace"`: K_l = sum_c J_lc J_lc'; "mean": that over the number of outputs; "sum": of sum_c f_c/sqrt(C)
      alone, the pseudo-NTK; "label": of the output of each sample's label; "full": as "trace", and beside it the
      kernel of every pair of outputs, sum_l J_lc J_lc''. K = sum_l K_l. Of a language model the outputs are logits at
      `position`.
    - `sketch`: R random signs v_r over outputs in their place, K_l = 1/R sum_r (J v_r)(J v_r)', unbiased; by default 16
      where there are more than 64 outputs.

    By tensor and in total: `trace` tr K_l/n; `share` tr K_l/tr K; of the eigenvalues `top_share` lambda_1/sum,
    `effective_rank` exp H(lambda/sum), `participation` (sum)^2/sum of squares, `condition` lambda_1/lambda_n (infinite
    below 1e-13 lambda_1, or 1e-6 in single precision); `alignment` <HKH, HYY'H>/(|HKH| |HYY'H|), H = I - 11'/n, Y the
    classes one-hot, null: its exact mean over permuted labels, p of `permutations`. `accuracy`: of leave-one-out kernel
    ridge regression, the penalty of 1e-3 to 1 tr K/n by squared error, null the commonest class.

    The spectrum's ends grow with n: compare kernels of as many samples, `most` of them, the first of `data`. Parameters
    are taken as they are, with one learning rate for all. Gradients of linear maps, convolutions, norms and embeddings
    are never formed: products of what goes in and of gradients at what comes out; others sample by sample. A module
    that runs twice, or a tensor that stands in two modules, counts once, its gradients added before the product. What
    does not train is left out unless `frozen=True`. `keep="scalars"` keeps no matrix but the sum.

    Interval: delete-half jackknife over 20 random halves of the samples. The model is left as it was, `.grad` too. In a
    profile parameters are summed by recorded layer, and `outside` is the share of those in none.

    Products stand for gradients only where they are those of autograd, on a few samples: a module with a forward of its
    own, or a weight that is used elsewhere too, is taken sample by sample. Samples labelled -100 are left out of
    `alignment` and `accuracy`.

    Raises ModelError (RA139) where samples of a batch change each other's outputs, (RA140) for a network without
    parameters or too little memory; InputError (RA297) for `outputs` or labels that do not fit, (RA210) for fewer than
    3 samples.

    Sources: Jacot et al. 2018, arXiv:1806.07572; Novak et al. 2022, arXiv:2206.08720 (products without gradients);
    Mohamadi et al. 2023, arXiv:2206.12543 (pseudo-NTK); Cortes et al. 2012, jmlr.org/papers/v13/cortes12a.html
    (centred alignment); Fort et al. 2020, arXiv:2010.15110 (velocity).

    >>> import torch
    >>> from repana.kernels import ntk
    >>> x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    >>> kernels = ntk(torch.nn.Linear(4, 2), x)  # of a linear map: 2 (x x' + 1)
    >>> torch.allclose(kernels.matrix, 2 * (x @ x.T + 1).double(), atol=1e-5)
    True
    """
    _check.level_of(level)
    _check.choice(outputs, "outputs", OUTPUTS)
    _check.choice(keep, "keep", ("kernels", "scalars"))
    most, permutations = _check.at_least(most, "most", 3), _check.at_least(permutations, "permutations", 0)
    options: dict[str, Any] = {
        "device": device, "forward": forward, "labels": labels, "mask": mask, "batch_size": batch_size
    }  # fmt: skip
    own = _check.are_values(labels)
    options["labels"] = None if own else labels
    with _opened(model, data, {**options, "position": position}) as (reader, batches):
        owned = Owned.of(reader.live.model, frozen=frozen)
        if not owned.modules and not owned.loose:
            raise _refusals.no_parameters(type(reader.live.model).__name__)
        chosen = first_samples(batches, most)
        if own:
            chosen = _labelled(chosen, labels)
        directions = Directions(outputs, sketch, seed)
        if outputs == "full":
            directions.check_full(reader.logits(chosen[0]).shape[1], sum(batch.size for batch in chosen))
        matrices, seen, full = matrices_of(reader, chosen, owned, directions, full=outputs == "full")
    n = len(seen.outputs)
    if n < 3:
        raise _refusals.few_samples(n)
    y = seen.labels if seen.labels is not None and seen.labels.ndim == 1 else None
    y = None if y is None or y.is_floating_point() else y
    total = sum(matrices.values(), torch.zeros(n, n, dtype=torch.float64))
    settings = {
        "outputs": outputs, "directions": directions.count, "sketch": directions.sketched, "most": most, "seed": seed,
        "level": level, "permutations": permutations, "dtype": str(seen.outputs.dtype), "samples": _fingerprint(chosen),
    }  # fmt: skip
    measure = _Measure(total, y, settings)
    return LayerKernels(
        {name: measure(m) for name, m in matrices.items()},
        measure(total),
        _accuracy(total, y, level),
        total,
        seen.outputs.cpu(),
        y,
        {name: m.float() for name, m in matrices.items()} if keep == "kernels" else {},
        None if full is None else full.permute(0, 2, 1, 3).contiguous(),
        settings,
    )


def halves_of(n: int, seed: int) -> list[Tensor]:
    """Random halves of the samples."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator)[: n // 2] for _ in range(HALVES)]


@contextmanager
def _opened(model: nn.Module, data: Any, options: Mapping[str, Any]) -> Iterator[tuple[Reader, Iterator[Batch]]]:
    """The model ready to be differentiated. No layer is pooled here: where one has positions of unknown padding, and
    the answers have none, positions are left as they are."""
    known = {"tokens": True, "swapping": False, **options}
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(reading(model, data, "auto", **known))
        except ModelError as error:
            if error.code != "RA107" or iter_once(data):
                raise
            opened = stack.enter_context(reading(model, data, "auto", pool="flatten", **known))
            if opened[0].plan.facts["logits"] is None:
                raise
        yield opened


def _labelled(batches: Sequence[Batch], labels: Any) -> list[Batch]:
    """Batches with labels that came as values, one for each sample of the data."""
    codes = _check.labels_of(labels, len(labels))[0]
    n = sum(batch.size for batch in batches)
    if len(codes) < n:
        raise _refusals.few_labels(len(codes), n)
    parts = codes[:n].split([batch.size for batch in batches])
    return [replace(batch, labels=part) for batch, part in zip(batches, parts)]


def _fingerprint(batches: Sequence[Batch]) -> str:
    """The same for the same inputs."""
    text = hashlib.sha256()
    for batch in batches:
        for name, tensor in batch.inputs().items():
            whole = tensor.detach().cpu().contiguous()
            text.update(name.encode() + whole.flatten().view(torch.uint8).numpy().tobytes())
    return text.hexdigest()[:16]


class _Measure:
    """Quantities of one kernel beside the sum of all, with their intervals and nulls."""

    def __init__(self, total: Tensor, labels: Tensor | None, settings: Mapping[str, Any]) -> None:
        n, seed = len(total), settings["seed"]
        self._total, self._level, self._least = total, settings["level"], singular(settings)
        self._orders = permuted_orders(n, settings["permutations"], seed + 1)
        self._halves = halves_of(n, seed)
        self._y = None
        if labels is not None:  # those labelled -100 have a row of zeros, and are left out of what reads labels
            self._known = labels != IGNORED
            if len(labels[self._known].unique()) > 1:
                rows = one_hot(labels[self._known])
                self._y = rows.new_zeros(len(labels), rows.shape[1])
                self._y[self._known] = rows

    def __call__(self, kernel: Float[Tensor, "n n"]) -> Kernel:
        values = self._values(kernel, slice(None))
        parts = [self._values(kernel, half) for half in self._halves]
        n = len(kernel)
        found = {name: _with_halves(v, [p[name] for p in parts], n, self._level) for name, v in values.items()}
        found = {name: _bounded(e, *BOUNDS[name]) for name, e in found.items()}
        if self._y is not None and values["alignment"] == values["alignment"]:
            inside, y = kernel[self._known][:, self._known], self._y[self._known]
            orders = [o[self._known[o]] for o in self._orders]
            places = self._known.long().cumsum(0) - 1
            permuted = permuted_alignments(inside, y, [places[o] for o in orders])
            beside = against(found["alignment"], permuted, better="higher", level=self._level)
            found["alignment"] = replace(beside, n=len(y), null=mean_alignment(inside, y))
        elif self._y is None:
            found["alignment"] = Estimate(NAN, n=n, note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
        return Kernel(**found)

    def _values(self, kernel: Tensor, some: Any) -> dict[str, float]:
        k, whole = kernel[some][:, some], self._total[some][:, some]
        n = len(k)
        found = {"trace": float(k.trace()) / n, "share": float(k.trace() / whole.trace())}
        found |= spectral(k, self._least)
        if self._y is None or not float(k.trace()) > 0:
            return found | {"alignment": NAN}
        known = self._known[some]
        return found | {"alignment": alignment(k[known][:, known], self._y[some][known])}


def _with_halves(value: float, parts: Sequence[float], n: int, level: float) -> Estimate:
    """The delete-half jackknife: the spread of halves is that of the whole."""
    from scipy import stats

    known = [p for p in parts if p == p and abs(p) != float("inf")]
    if value != value:
        return Estimate(NAN, n=n, note=Flag.UNDEFINED.note("the gradients are 0 at every sample"))
    if len(known) < len(parts) or n < 6 or abs(value) == float("inf"):
        return Estimate(value, n=n)
    spread = (sum((p - value) ** 2 for p in known) / len(known)) ** 0.5
    reach = float(stats.t.ppf(0.5 + level / 2, len(known))) * spread
    return Estimate(value, value - reach, value + reach, n)


def _bounded(estimate: Estimate, low: float, high: float) -> Estimate:
    """With its interval inside what the quantity can be."""
    if estimate.low != estimate.low:
        return estimate
    return replace(estimate, low=max(estimate.low, low), high=min(estimate.high, high))


def _accuracy(kernel: Tensor, labels: Tensor | None, level: float) -> Estimate:
    if labels is not None:
        kept = labels != IGNORED
        kernel, labels = kernel[kept][:, kept], labels[kept]
    if labels is None or len(labels.unique()) < 2:
        return Estimate(NAN, n=len(kernel), note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
    classes, at = torch.unique(labels, return_inverse=True)
    right = int((left_out(kernel, one_hot(labels)) == at).sum())
    commonest = float(torch.bincount(at).max()) / len(labels)
    return replace(proportion(right, len(labels), level=level), null=commonest)
