"""The neural tangent kernel of a network, parameter by parameter."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag
from repana.errors import ModelError
from repana.extraction._attribution import Position, Reader, reading
from repana.extraction._batches import Batch, Forward
from repana.extraction._reinitialised import iter_once, reinitialised
from repana.extraction._tangents import Owned
from repana.kernels import _refusals
from repana.kernels._kernel_statistics import kept_as
from repana.kernels._layer_kernels import LayerKernels
from repana.kernels._matrices import Directions, first_samples, read_diagonals, read_matrices, sketch_error
from repana.kernels._measures import Kernel, Measure, accuracy

OUTPUTS = ("trace", "mean", "sum", "label", "full")
KEPT = ("kernels", "scalars", "trace")
_TRACE_ALONE = "keep='trace' measures the trace alone"


@settled()
def ntk(
    model: nn.Module,
    data: Any,
    *,
    outputs: str = "trace",
    most: int = 512,
    sketch: int | None = None,
    keep: str = "kernels",
    untrained: int = 0,
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
      where there are more than 64 outputs; 0 for every output, however many. From four on their spread gives the
      relative error of K (of its diagonal with keep="trace"), `settings["sketch_error"]`.

    By tensor and in total: `trace` tr K_l/n; `share` tr K_l/tr K; of the eigenvalues `top_share` lambda_1/sum,
    `effective_rank` exp H(lambda/sum), `participation` (sum)^2/sum of squares, `condition` lambda_1/lambda_n (infinite
    below 1e-13 lambda_1, or 1e-6 in single precision); `alignment` <HKH, HYY'H>/(|HKH| |HYY'H|), H = I - 11'/n, Y the
    classes one-hot, null: its exact mean over permuted labels, p of `permutations`. `accuracy`: of leave-one-out kernel
    ridge regression, the penalty of 1e-3 to 1 tr K/n by squared error, null the commonest class.

    The spectrum's ends grow with n: compare kernels of as many samples, `most` of them, the first of `data`. Parameters
    are taken as they are, with one learning rate for all. Gradients of linear maps, convolutions, norms and embeddings
    are never formed: products of what goes in and of gradients at what comes out; others sample by sample. A module
    that runs twice, or a tensor that stands in two modules, counts once, its gradients added before the product. What
    does not train is left out unless `frozen=True`. `keep="scalars"` keeps no matrix but the sum; `keep="trace"` forms
    none, and gives `trace` and `share` alone, batch by batch, of as many samples as you like.

    Interval: delete-half jackknife over 20 random halves of the samples. The model is left as it was, `.grad` too. In a
    profile parameters are summed by recorded layer, and `outside` is the share of those in none.

    `untrained`: so many copies with new random weights (`repana.reinitialised`) are measured too, three by rule; how
    far the kernel is from theirs, beside how far they are from each other, is `LayerKernels.learned`.

    Products stand for gradients only where they are those of autograd, on a few samples: a module with a forward of its
    own, or a weight that is used elsewhere too, is taken sample by sample. Samples labelled -100 are left out of
    `alignment` and `accuracy`.

    Raises ModelError (RA139) where samples of a batch change each other's outputs, (RA140) for a network without
    parameters or with complex ones, or too little memory; InputError (RA297) for `outputs` or labels that do not fit,
    (RA210) for fewer than 3 samples.

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
    _check.choice(keep, "keep", KEPT)
    most, permutations = _check.at_least(most, "most", 3), _check.at_least(permutations, "permutations", 0)
    if sketch is not None:
        _check.at_least(sketch, "sketch", 0)
    if outputs == "full" and keep == "trace":
        raise _refusals.full_without_matrices()
    if _check.at_least(untrained, "untrained", 0) and iter_once(data):
        raise _check.walked_once(type(data).__name__)
    own = _check.are_values(labels)
    options: dict[str, Any] = {
        "device": device, "forward": forward, "labels": None if own else labels, "mask": mask,
        "batch_size": batch_size, "position": position,
    }  # fmt: skip
    settings: dict[str, Any] = {
        "outputs": outputs, "most": most, "seed": seed, "level": level, "permutations": permutations
    }  # fmt: skip
    asked = _Asked(outputs, sketch, keep, frozen, settings)
    with _opened(model, data, options) as (reader, batches):
        samples = _Samples(first_samples(batches, most), labels if own else None)
        kept = samples if keep == "trace" and not untrained else samples.whole()
        found = asked.of(reader, kept)
    copies = []
    for i in range(untrained):  # over the same batches: a shuffled loader would give others
        fresh = reinitialised(model, data, seed=seed + i, forward=forward, batch_size=batch_size)
        with _opened(fresh, data, options) as (reader, _):
            copies.append(replace(asked, settings={**settings, "permutations": 0}).of(reader, samples.whole()))
    return replace(found, untrained=tuple(copies))


@dataclass(frozen=True)
class _Asked:
    """Which kernel was asked for."""

    outputs: str
    sketch: int | None
    keep: str
    frozen: bool
    settings: Mapping[str, Any]

    def of(self, reader: Reader, samples: "_Samples") -> LayerKernels:
        model = reader.live.model
        owned = Owned.of(model, frozen=self.frozen)
        if not owned.modules and not owned.loose:
            raise _refusals.no_parameters(type(model).__name__)
        for name, p in model.named_parameters():
            if p.is_complex():
                raise _refusals.complex_parameter(name)
        directions = Directions(self.outputs, self.sketch, self.settings["seed"])
        collected, full = _Collected(samples, dict(self.settings), self.keep), None
        if self.keep == "trace":
            read_diagonals(reader, samples, owned, directions, collected)
        else:
            batches = list(samples)
            if self.outputs == "full":
                n = sum(batch.size for batch in batches)
                directions.check_full(reader.logits(batches[0]).shape[1], n)
            full = read_matrices(reader, batches, owned, directions, collected, full=self.outputs == "full")
        return collected.found([name for name, _ in model.named_parameters()], full, directions)


class _Samples:
    """Batches, with labels that came as values; their classes and fingerprint, once they were walked through."""

    def __init__(self, batches: Iterable[Batch], labels: Any = None) -> None:
        self._batches, self._count = batches, 0
        self._codes = None if labels is None else _check.labels_of(labels, len(labels))[0]
        self._labels: list[Tensor | None] = []
        self._digest = hashlib.sha256()
        self._kept: list[Batch] | None = None

    def whole(self) -> "_Samples":
        """With all batches at hand, to be walked again."""
        if self._kept is None:
            self._kept = list(self)
        return self

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            yield from self._kept
            return
        for batch in self._batches:
            given = batch
            if self._codes is not None:
                own = self._codes[self._count : self._count + batch.size]
                if len(own) < batch.size:
                    raise _refusals.few_labels(len(self._codes), self._count + batch.size)
                given = replace(batch, labels=own)
            self._count += batch.size
            self._labels.append(given.labels)
            for name, tensor in batch.inputs().items():
                flat = tensor.detach().cpu().contiguous().flatten()
                self._digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
            yield given

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()[:16]

    def classes(self) -> Tensor | None:
        """A class of every sample, where the data has one."""
        known = [y for y in self._labels if y is not None]
        if len(known) < len(self._labels) or known[0].ndim != 1 or known[0].is_floating_point():
            return None
        return torch.cat(known).cpu()


class _Collected:
    """What is kept of the kernels of the parameters, as they come."""

    def __init__(self, samples: _Samples, settings: dict[str, Any], keep: str) -> None:
        self._samples, self._settings, self._keep = samples, settings, keep
        self._labels: Tensor | None = None
        self._layers: dict[str, Kernel] = {}
        self._diagonals: dict[str, Tensor] = {}
        self._matrices: dict[str, Tensor] = {}
        self._total = torch.empty(0, dtype=torch.float64)
        self._measure: Measure | None = None
        self._outputs = torch.empty(0, 0)
        self._blocks: list[Tensor] = []

    def __call__(self, name: str, blocks: Sequence[Tensor], outputs: Float[Tensor, "n c"]) -> None:
        if self._measure is None:
            if len(outputs) < 3:
                raise _refusals.few_samples(len(outputs))
            self._settings |= {"samples": self._samples.fingerprint, "dtype": str(outputs.dtype)}
            self._outputs, self._labels = outputs.cpu(), self._samples.classes()
            self._total = torch.zeros_like(blocks[0])
            self._measure = Measure(len(outputs), self._labels, self._settings)
            self._blocks = [torch.zeros_like(b, dtype=torch.float32) for b in blocks] if len(blocks) > 1 else []
        for total, block in zip(self._blocks, blocks):
            total += block
        kernel = sum(blocks[1:], blocks[0])
        self._total += kernel
        if self._keep == "trace":
            self._diagonals[name], self._layers[name] = kernel, self._measure.of_diagonal(kernel, _TRACE_ALONE)
            return
        self._diagonals[name], self._layers[name] = kernel.diagonal().clone(), self._measure(kernel)
        if self._keep == "kernels":
            self._matrices[name] = kernel.to(kept_as(self._settings))

    def found(self, order: Sequence[str], full: Tensor | None, directions: Directions) -> LayerKernels:
        """The result, parameters in the order of the network."""
        measure, alone = self._measure, self._keep == "trace"
        assert measure is not None
        self._settings |= {"directions": directions.count, "sketch": directions.sketched}
        if directions.sketched:
            self._settings["sketch_error"] = sketch_error(self._blocks, directions.count)
        diagonal = self._total if alone else self._total.diagonal()
        total = measure.of_diagonal(diagonal, _TRACE_ALONE) if alone else measure(self._total)
        names = [name for name in order if name in self._layers]
        left = Estimate(NAN, n=len(diagonal), note=Flag.NOT_APPLICABLE.note(_TRACE_ALONE))
        return LayerKernels(
            {name: measure.shared(self._layers[name], self._diagonals[name], diagonal) for name in names},
            measure.shared(total, diagonal, diagonal),
            left if alone else accuracy(self._total, self._labels, self._settings["level"]),
            None if alone else self._total,
            self._outputs,
            self._labels,
            {name: self._matrices[name] for name in names if name in self._matrices},
            None if full is None else full.permute(0, 2, 1, 3).contiguous(),
            settings=self._settings,
        )


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
