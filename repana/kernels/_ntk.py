"""The neural tangent kernel of a network, parameter by parameter."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
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
      where there are more than 64 outputs. Their spread gives the relative error of K, `settings["sketch_error"]`.

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
    _check.choice(keep, "keep", KEPT)
    most, permutations = _check.at_least(most, "most", 3), _check.at_least(permutations, "permutations", 0)
    if outputs == "full" and keep == "trace":
        raise _refusals.full_without_matrices()
    if _check.at_least(untrained, "untrained", 0) and iter_once(data):
        raise _check.walked_once(type(data).__name__)
    options: dict[str, Any] = {
        "device": device, "forward": forward, "labels": labels, "mask": mask, "batch_size": batch_size
    }  # fmt: skip
    own = _check.are_values(labels)
    given = {**options, "labels": None if own else labels, "position": position}
    with _opened(model, data, given) as (reader, batches):
        owned = Owned.of(reader.live.model, frozen=frozen)
        if not owned.modules and not owned.loose:
            raise _refusals.no_parameters(type(reader.live.model).__name__)
        chosen = first_samples(batches, most)
        if own:
            chosen = _labelled(chosen, labels)
        n = sum(batch.size for batch in chosen)
        if n < 3:
            raise _refusals.few_samples(n)
        order = [name for name, _ in reader.live.model.named_parameters()]
        directions = Directions(outputs, sketch, seed)
        settings: dict[str, Any] = {
            "outputs": outputs, "most": most, "seed": seed, "level": level, "permutations": permutations,
            "samples": _fingerprint(chosen),
        }  # fmt: skip
        collected = _Collected(n, _classes(chosen), settings, keep)
        full = None
        if keep == "trace":
            read_diagonals(reader, chosen, owned, directions, collected)
        else:
            if outputs == "full":
                directions.check_full(reader.logits(chosen[0]).shape[1], n)
            full = read_matrices(reader, chosen, owned, directions, collected, full=outputs == "full")
    settings |= {"directions": directions.count, "sketch": directions.sketched}
    if directions.sketched:
        settings["sketch_error"] = sketch_error(collected.blocks, directions.count)
    copies = []
    for i in range(untrained):
        fresh = reinitialised(model, data, seed=seed + i, forward=forward, batch_size=batch_size)
        copies.append(
            ntk(
                fresh, data, **options, position=position, outputs=outputs, most=most, sketch=sketch, keep=keep,
                frozen=frozen, permutations=0, level=level, seed=seed,
            )
        )  # fmt: skip
    return collected.found(order, full, tuple(copies))


class _Collected:
    """What is kept of the kernels of the parameters, as they come."""

    def __init__(self, n: int, labels: Tensor | None, settings: dict[str, Any], keep: str) -> None:
        self._labels, self._settings, self._keep = labels, settings, keep
        self._layers: dict[str, Kernel] = {}
        self._diagonals: dict[str, Tensor] = {}
        self._matrices: dict[str, Tensor] = {}
        self._total = torch.zeros(n if keep == "trace" else (n, n), dtype=torch.float64)
        self._measure: Measure | None = None
        self._outputs = torch.empty(0, 0)
        self.blocks: list[Tensor] = []

    def __call__(self, name: str, blocks: Sequence[Tensor], outputs: Float[Tensor, "n c"]) -> None:
        if self._measure is None:
            self._settings["dtype"], self._outputs = str(outputs.dtype), outputs.cpu()
            self._measure = Measure(len(outputs), self._labels, self._settings)
            self.blocks = [torch.zeros_like(b, dtype=torch.float32) for b in blocks] if len(blocks) > 1 else []
        for total, block in zip(self.blocks, blocks):
            total += block
        kernel = sum(blocks[1:], blocks[0])
        self._total += kernel
        if self._keep == "trace":
            self._diagonals[name], self._layers[name] = kernel, self._measure.of_diagonal(kernel, _TRACE_ALONE)
            return
        self._diagonals[name], self._layers[name] = kernel.diagonal().clone(), self._measure(kernel)
        if self._keep == "kernels":
            self._matrices[name] = kernel.float()

    def found(self, order: Sequence[str], full: Tensor | None, copies: tuple[LayerKernels, ...]) -> LayerKernels:
        """The result, parameters in the order of the network."""
        measure, alone = self._measure, self._keep == "trace"
        assert measure is not None
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
            copies,
            self._settings,
        )


def _classes(batches: Sequence[Batch]) -> Tensor | None:
    """A class of every sample, where the data has one."""
    labels = [batch.labels for batch in batches if batch.labels is not None]
    if len(labels) < len(batches) or labels[0].ndim != 1 or labels[0].is_floating_point():
        return None
    return torch.cat(labels).cpu()


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
