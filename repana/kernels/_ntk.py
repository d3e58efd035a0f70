"""The neural tangent kernel of a network, parameter by parameter."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import free_memory, settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._numbers import number
from repana.extraction._attribution import Position, Reader, reading
from repana.extraction._batches import Batch, Forward
from repana.extraction._tangents import Owned, Tangents, tangents
from repana.kernels import _refusals
from repana.kernels._grams import kernels, of_gradients
from repana.kernels._kernel_statistics import (
    SPECTRAL,
    alignment,
    left_out,
    mean_alignment,
    one_hot,
    permuted_alignments,
    similarity,
    spectral,
    velocity,
)
from repana.statistics.intervals import proportion
from repana.statistics.permutation import against

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OUTPUTS = ("trace", "mean", "sum", "label")
HALVES = 20
MANY_OUTPUTS, SKETCH = 64, 16
SHARE_OF_MEMORY = 0.25  # that gradients of the modules of one walk may take
QUANTITIES = ("trace", "share", *SPECTRAL, "alignment")


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
    parameter in float32 with `keep="kernels"`, and `matrix` the sum in float64; `outputs` (n, c) and `labels` of the
    samples."""

    layers: Mapping[str, Kernel]
    total: Kernel
    accuracy: Estimate
    matrix: Float[Tensor, "n n"]
    outputs: Float[Tensor, "n c"]
    labels: Tensor | None = None
    matrices: Mapping[str, Float[Tensor, "n n"]] = field(default_factory=dict)
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

    def velocity(self, later: "LayerKernels") -> dict[str, float]:
        """1 - <K, K'>/(|K| |K'|) of the sum ("") and of every parameter that both kept: 0 where the kernel has not
        moved since, as in lazy training.

        Raises InputError for kernels of other samples.
        """
        if len(self.matrix) != len(later.matrix):
            raise _refusals.other_samples(len(self.matrix), len(later.matrix))
        both = [name for name in self.matrices if name in later.matrices]
        found = {name: velocity(self.matrices[name].double(), later.matrices[name].double()) for name in both}
        return {"": velocity(self.matrix, later.matrix), **found}

    def plot(self, **options: Any) -> "Figure":
        """Shares and alignment by depth; see `repana.plots.kernel_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.kernel_depth(self, **options))

    def says(self) -> str:
        """Which parameter holds most of the kernel, and whether it lies to the labels, in a sentence or two."""
        top = max(self.layers, key=lambda name: self.layers[name].share.value)
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
      alone, the pseudo-NTK; "label": of the output of each sample's label. K = sum_l K_l. Of a language model the
      outputs are logits at `position`.
    - `sketch`: R random signs v_r over outputs in their place, K_l = 1/R sum_r (J v_r)(J v_r)', unbiased; by default 16
      where there are more than 64 outputs.

    By tensor and in total: `trace` tr K_l/n; `share` tr K_l/tr K; of the eigenvalues `top_share` lambda_1/sum,
    `effective_rank` exp H(lambda/sum), `participation` (sum)^2/sum of squares, `condition` lambda_1/lambda_n (infinite
    below 1e-13 lambda_1); `alignment` <HKH, HYY'H>/(|HKH| |HYY'H|), H = I - 11'/n, Y the classes one-hot, null: its
    exact mean over permuted labels, p of `permutations`. `accuracy`: of leave-one-out kernel ridge regression, the
    penalty of 1e-3 to 1 tr K/n by squared error, null the commonest class.

    The spectrum's ends grow with n: compare kernels of as many samples, `most` of them, the first of `data`. Parameters
    are taken as they are, with one learning rate for all. Gradients of linear maps, convolutions, norms and embeddings
    are never formed: products of what goes in and of gradients at what comes out; others sample by sample. A module
    that runs twice, or a tensor that stands in two modules, counts once, its gradients added before the product. What
    does not train is left out unless `frozen=True`. `keep="scalars"` keeps no matrix but the sum.

    Interval: delete-half jackknife over 20 random halves of the samples. The model is left as it was, `.grad` too.

    Raises ModelError (RA139) where samples of a batch change each other's outputs, (RA140) for a network without
    parameters or too little memory; InputError (RA297) for `outputs` or labels that do not fit, fewer than 3 samples.

    Sources: Jacot et al. 2018, arXiv:1806.07572; Novak et al. 2022, arXiv:2206.08720 (products without gradients);
    Mohamadi et al. 2023, arXiv:2206.12543 (pseudo-NTK); Cortes et al. 2012, jmlr.org/papers/v13/cortes12a.html
    (centred alignment); Fort et al. 2020, arXiv:2010.15110 (velocity).
    """
    _check.level_of(level)
    _check.choice(outputs, "outputs", OUTPUTS)
    _check.choice(keep, "keep", ("kernels", "scalars"))
    most, permutations = _check.at_least(most, "most", 3), _check.at_least(permutations, "permutations", 0)
    options: dict[str, Any] = {
        "device": device, "forward": forward, "labels": labels, "mask": mask, "batch_size": batch_size
    }  # fmt: skip
    with reading(model, data, "auto", tokens=True, swapping=False, position=position, **options) as (reader, batches):
        owned = Owned.of(reader.live.model, frozen=frozen)
        if not owned.modules and not owned.loose:
            raise _refusals.no_parameters(type(reader.live.model).__name__)
        chosen = first_samples(batches, most)
        directions = Directions(outputs, sketch, seed)
        matrices, seen = matrices_of(reader, chosen, owned, directions)
    n = len(seen.outputs)
    if n < 3:
        raise _refusals.few_samples(n)
    y = seen.labels if seen.labels is not None and seen.labels.ndim == 1 else None
    y = None if y is None or y.is_floating_point() else y
    total = sum(matrices.values(), torch.zeros(n, n, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(n, generator=generator) for _ in range(permutations)]
    halves = [torch.randperm(n, generator=generator)[: n // 2] for _ in range(HALVES)]
    measure = _Measure(total, y, orders, halves, level)
    settings = {
        "outputs": outputs, "directions": directions.count, "sketch": directions.sketched, "most": most, "seed": seed,
        "level": level, "permutations": permutations,
    }  # fmt: skip
    return LayerKernels(
        {name: measure(m) for name, m in matrices.items()},
        measure(total),
        _accuracy(total, y, level),
        total,
        seen.outputs.cpu(),
        y,
        {name: m.float() for name, m in matrices.items()} if keep == "kernels" else {},
        settings,
    )


class Directions:
    """Which combinations of outputs are differentiated."""

    def __init__(self, outputs: str, sketch: int | None, seed: int) -> None:
        self._outputs, self._sketch, self._seed = outputs, sketch, seed
        self.count, self.sketched = 0, False
        self._signs: Tensor | None = None

    def __call__(self, z: Tensor, batch: Batch) -> Float[Tensor, "r b c"]:
        b, c = z.shape
        if self._outputs == "sum":
            made = torch.full((1, b, c), c**-0.5)
        elif self._outputs == "label":
            made = _of_labels(batch, b, c)
        else:
            sketch = SKETCH if self._sketch is None and c > MANY_OUTPUTS else self._sketch
            if self._signs is None:
                self.sketched = sketch is not None
                self._signs = torch.eye(c) if sketch is None else _signs(sketch, c, self._seed)
            made = self._signs[:, None].expand(-1, b, -1)
            made = made * c**-0.5 if self._outputs == "mean" else made
        self.count = len(made)
        return made


def _signs(count: int, outputs: int, seed: int) -> Float[Tensor, "r c"]:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randint(0, 2, (count, outputs), generator=generator) - 1) / count**0.5


def _of_labels(batch: Batch, samples: int, outputs: int) -> Float[Tensor, "one b c"]:
    y = batch.labels
    if y is None or y.ndim != 1 or y.is_floating_point() or int(y.min()) < 0 or int(y.max()) >= outputs:
        raise _refusals.labels_for_outputs()
    return torch.nn.functional.one_hot(y.long(), outputs).float()[None]


def first_samples(batches: Any, most: int) -> list[Batch]:
    """The first samples of the data."""
    chosen: list[Batch] = []
    left = most
    for batch in batches:
        few = batch.first(left) if batch.size > left else batch
        chosen.append(few if few is not None else batch)
        left -= chosen[-1].size
        if left <= 0:
            break
    return chosen


def matrices_of(
    reader: Reader, batches: Sequence[Batch], owned: Owned, directions: Directions
) -> tuple[dict[str, Float[Tensor, "n n"]], Tangents]:
    """K of every parameter, in the order of the model, a few modules in each walk so that memory holds them."""
    model = reader.live.model
    sizes = _sizes(reader, batches, owned, directions)
    room = SHARE_OF_MEMORY * free_memory(torch.device("cpu"))
    found: dict[str, Tensor] = {}
    seen: Tangents | None = None
    for group in _groups(sizes, room):
        loose = {name: p for name, p in owned.loose.items() if name in group}
        modules = {name: module for name, module in owned.modules.items() if name in group}
        seen = tangents(reader, batches, modules, loose, directions)
        for name, module in modules.items():
            if any(seen.calls[name]):
                for own, k in kernels(module, seen.calls[name]).items():
                    if owned.frozen or module.get_parameter(own).requires_grad:
                        found[f"{name}.{own}" if name else own] = k.cpu()
        found |= {name: of_gradients(rows).cpu() for name, rows in seen.loose.items()}
    ordered = [name for name, _ in model.named_parameters() if name in found]
    assert seen is not None
    return {name: found[name] for name in ordered}, seen


def _sizes(reader: Reader, batches: Sequence[Batch], owned: Owned, directions: Directions) -> dict[str, float]:
    """Bytes that the inputs and gradients of each module take, and the gradients of each loose parameter."""
    inputs: dict[str, int] = dict.fromkeys(owned.modules, 0)
    outputs: dict[str, int] = dict.fromkeys(owned.modules, 0)

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            given = args[0] if args else next(iter(kwargs.values()))
            inputs[name] += _patch(module) * given.numel()
            outputs[name] += output.numel()

        return hook

    with torch.no_grad(), reader.live.inner() as looking:
        for name, module in owned.modules.items():
            looking.hook(module, keep(name))
        z = reader.logits(batches[0])
    directions(z, batches[0])
    n = sum(batch.size for batch in batches)
    scale = n / batches[0].size
    sizes = {name: 4.0 * scale * (inputs[name] + directions.count * outputs[name]) for name in inputs}
    return sizes | {name: 4.0 * directions.count * n * p.numel() for name, p in owned.loose.items()}


def _patch(module: nn.Module) -> int:
    """How often a convolution reads each input."""
    conv: Any = module
    if not hasattr(conv, "kernel_size"):
        return 1
    each = 1
    for k, s in zip(conv.kernel_size, conv.stride):
        each *= max(1, -(-k // s))
    return each


def _groups(sizes: Mapping[str, float], room: float) -> list[set[str]]:
    groups: list[set[str]] = []
    held = room + 1
    for name, size in sizes.items():
        if size > room:
            raise _refusals.beyond_memory(name, size, room)
        if held + size > room:
            groups.append(set())
            held = 0.0
        groups[-1].add(name)
        held += size
    return groups


class _Measure:
    """Quantities of one kernel beside the sum of all, with their intervals and nulls."""

    def __init__(
        self, total: Tensor, labels: Tensor | None, orders: list[Tensor], halves: list[Tensor], level: float
    ) -> None:
        self._total, self._orders, self._halves, self._level = total, orders, halves, level
        self._y = None if labels is None or len(labels.unique()) < 2 else one_hot(labels)

    def __call__(self, kernel: Float[Tensor, "n n"]) -> Kernel:
        values = self._values(kernel, slice(None))
        parts = [self._values(kernel, half) for half in self._halves]
        n = len(kernel)
        found = {name: _with_halves(v, [p[name] for p in parts], n, self._level) for name, v in values.items()}
        if self._y is not None and values["alignment"] == values["alignment"]:
            permuted = permuted_alignments(kernel, self._y, self._orders)
            beside = against(found["alignment"], permuted, better="higher", level=self._level)
            found["alignment"] = replace(beside, null=mean_alignment(kernel, self._y))
        elif self._y is None:
            found["alignment"] = Estimate(NAN, n=n, note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
        return Kernel(**found)

    def _values(self, kernel: Tensor, some: Any) -> dict[str, float]:
        k, whole = kernel[some][:, some], self._total[some][:, some]
        n = len(k)
        found = {"trace": float(k.trace()) / n, "share": float(k.trace() / whole.trace()), **spectral(k)}
        y = None if self._y is None else self._y[some]
        return found | {"alignment": NAN if y is None or not float(k.trace()) > 0 else alignment(k, y)}


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


def _accuracy(kernel: Tensor, labels: Tensor | None, level: float) -> Estimate:
    if labels is None or len(labels.unique()) < 2:
        return Estimate(NAN, n=len(kernel), note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
    classes, at = torch.unique(labels, return_inverse=True)
    right = int((left_out(kernel, one_hot(labels)) == at).sum())
    commonest = float(torch.bincount(at).max()) / len(labels)
    return replace(proportion(right, len(labels), level=level), null=commonest)
