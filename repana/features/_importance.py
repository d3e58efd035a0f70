"""How much the decision uses each feature of a layer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana.extraction._attribution import (
    Places,
    Reader,
    along_path,
    differentiable,
    reading,
    repeated,
    target_of,
)
from repana.extraction._batches import Batch, Forward
from repana.extraction._plan import Planned
from repana.features import _refusals
from repana.features._dictionary import Dictionary, units_of
from repana.features._recorded import made_of
from repana.statistics.intervals import mean_of

METHODS = ("gradient_x_input", "integrated_gradients", "ablation", "conductance")
TOP = 0.1  # of the features, whose share of all importance is told


@shown
@dataclass(frozen=True)
class Importance:
    """The contribution of each feature to the chosen logit; see `importance`."""

    top_share: Estimate
    inhibitors: Estimate
    represented: Estimate
    gap: Estimate
    signed: Float[Tensor, " t"]
    signed_low: Float[Tensor, " t"]
    signed_high: Float[Tensor, " t"]
    absolute: Float[Tensor, " t"]
    absolute_low: Float[Tensor, " t"]
    absolute_high: Float[Tensor, " t"]
    values: Float[Tensor, "n t"]
    dictionary: Dictionary
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> tuple[str, ...]:
        return self.dictionary.names


@settled()
def importance(
    model: nn.Module,
    data: Any,
    layer: str,
    dictionary: Any = "units",
    *,
    method: str = "gradient_x_input",
    target: Any = "predicted",
    position: int | str = "last",
    steps: int = 32,
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    level: float = 0.95,
    seed: int = 0,
) -> Importance:
    """How much a logit depends on each feature of a layer, in code space: f(z) = what follows the layer, at zD + rest.

    A row x of the layer (every position of a map or sequence) is written as x = zD + rest, with the rest kept as it is;
    `dictionary` is one of `repana.dictionary`'s kinds, fitted on the recorded layer, or a `Dictionary`, or a matrix.
    The logit is that of the `target`: "predicted" class, true "label", or a column; or the "loss", the cross-entropy of
    the label, in place of a logit. Of a feature z_i over positions:

    - "gradient_x_input": sum z_i df/dz_i, by captum's `InputXGradient`; Gamma = E|z_i df/dz_i| is the published
      importance.
    - "integrated_gradients": z_i times the mean of df/dz_i from z = 0 to z, by captum's `IntegratedGradients`
      (Gauss-Legendre, `steps` nodes).
    - "ablation": f(z) - f(z with z_i = 0), by captum's `FeatureAblation`; as many forward passes as features.
    - "conductance": how f changes through z_i as the model's input grows from 0: the trapezoidal sum of df/dz_i dz_i.

    Behind the layer a linear head makes the first three equal: z_i (d_i . w_y).

    - `values` (n, t) by sample, `signed` (t,) their mean, `absolute` the mean of their size, each with the interval of
      a mean over samples. A feature of negative `signed` speaks against the class: an inhibitor.
    - `top_share`: of all absolute importance, what the top tenth of features has. `inhibitors`: share of features whose
      `signed` is negative with its whole interval.
    - `represented`: share of the variance of the layer's rows in zD (for "project" encoders, in what the atoms span).
    - `gap`: mean |sum of values - change| as a share of mean |change|: 0 where the method is complete. The change is
      f(z) - f(0), of "conductance" that from the input 0 to the input.

    Of a language model, whose logits are (b, t, V), the logit is that at `position`: "last", "first", or a number of
    real tokens from the start or, when negative, from the end of each text. Its label is that of the batch's (b, t)
    labels, -100 for none; labels that repeat the token ids are taken as the model is trained with them, each for the
    position before. Without labels of tokens a causal model, whose answers a later token does not change (which is
    tried), is held against the next tokens. The "loss" is the mean over all labelled positions of a text.

    `pool`, `device`, `forward`, `labels`, `mask`, `layout` and `batch_size` are as `record` takes them. The model is
    left as it was, also after an error: hooks, mode, gradients of its parameters. One sample has no intervals.

    Raises ModelError for a layer that is called several times, that no derivative reaches, or a model without logits;
    InputError for a dictionary of another width, `target="label"` without a label for every sample, or data that can be
    iterated only once where a dictionary must be made from them first.

    Sources: Fel et al. 2024, arXiv:2407.06076; Sundararajan et al. 2017, arXiv:1703.01365; Dhamdhere et al. 2018,
    arXiv:1805.12233; Kokhlikyan et al. 2020, arXiv:2009.07896 (captum).
    """
    _check.level_of(level)
    _check.choice(method, "method", METHODS)
    target = target_of(target)
    _check.at_least(steps, "steps", 1)
    options: dict[str, Any] = {"pool": pool, "device": device, "forward": forward, "labels": labels, "mask": mask}
    options |= {"layout": layout, "batch_size": batch_size}
    layers = [layer, "input"] if method == "conductance" and layer != "input" else [layer]
    units = isinstance(dictionary, str) and dictionary == "units"
    words = None if units else made_of(model, data, layer, dictionary, seed, options)
    parts: list[Tensor] = []
    changes: list[Tensor] = []
    variance = _Variance()
    with reading(model, data, layers, target=target, position=position, tokens=True, **options) as (reader, batches):
        planned = reader.only(layer)
        places = Places.of(planned)
        found = units_of(planned.width) if words is None else words
        for batch in batches:
            values, change = _of_batch(reader, batch, planned, places, found, method, steps, variance)
            parts.append(values.double().cpu())
            changes.append(change.double().cpu())
    values, change = torch.cat(parts), torch.cat(changes)
    signed, low, high = mean_of(values, level)
    absolute, absolute_low, absolute_high = mean_of(values.abs(), level)
    rows, t = values.shape
    left = (values.sum(1) - change).abs().mean()
    size = change.abs().mean()
    count = max(1, round(TOP * t))
    total = float(absolute.sum())
    return Importance(
        top_share=Estimate(float(absolute.topk(count).values.sum()) / total if total else NAN, n=t),
        inhibitors=Estimate(float((high < 0).double().mean()), n=t)
        if rows > 1
        else Estimate(NAN, n=t, note=Flag.NO_INTERVAL.note("one sample")),
        represented=Estimate(variance.share(), n=rows, note=Flag.TRIVIAL.note(found.trivial) if found.trivial else ""),
        gap=Estimate(float(left / size) if size else NAN, n=rows),
        signed=signed,
        signed_low=low,
        signed_high=high,
        absolute=absolute,
        absolute_low=absolute_low.clamp_min(0),
        absolute_high=absolute_high,
        values=values,
        dictionary=found,
        settings={
            "layer": layer,
            "method": method,
            "target": target,
            "position": position,
            "steps": steps,
            "level": level,
            "seed": seed,
        },  # fmt: skip
    )


# --- one batch --------------------------------------------------------------------------------------------------------


def _of_batch(
    reader: Reader,
    batch: Batch,
    planned: Planned,
    places: Places,
    words: Dictionary,
    method: str,
    steps: int,
    variance: "_Variance",
) -> tuple[Float[Tensor, "b t"], Float[Tensor, " b"]]:
    """Values by sample and feature, and the change that they explain."""
    with torch.no_grad():
        tensors, logits = reader.values(batch)
    columns = reader.columns(logits, batch)
    tensor = tensors[planned.address].detach()
    code = _Code(words, places, tensor)
    variance.add(places.rows(tensor), code.left())
    here = logits.gather(1, columns[:, None])[:, 0]

    def f(z: Tensor) -> Tensor:
        times = len(z) // batch.size
        with reader.swapped({planned.address: lambda _: code.decoded(z)}):
            return reader.logits(repeated(batch, times))

    if method == "conductance":
        start = next((p for p in reader.layers if p.address == "input"), planned)
        path = along_path(reader, batch, start, tensors[start.address], 0.0, steps, columns, reader.layers)
        return _through_codes(path, planned, places, words)
    with torch.no_grad():
        change = here - f(torch.zeros_like(code.z)).gather(1, columns[:, None])[:, 0]
    with differentiable(planned.address):
        return _by_captum(f, code.z, columns, method, steps), change


def _by_captum(f: Any, z: Tensor, columns: Tensor, method: str, steps: int) -> Float[Tensor, "b t"]:
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients

    z = z.detach().clone()
    b, places, t = z.shape
    if method == "ablation":
        with torch.no_grad():
            which = torch.arange(t, device=z.device).expand(1, places, t)
            return FeatureAblation(f).attribute(z, target=columns, feature_mask=which)[:, 0]
    z.requires_grad_()
    if method == "gradient_x_input":
        found = InputXGradient(f).attribute(z, target=columns)
    else:
        found = IntegratedGradients(f).attribute(z, target=columns, n_steps=steps, internal_batch_size=b)
    return found.detach().sum(1)


def _through_codes(
    path: Iterable[tuple[Mapping[str, Tensor], Mapping[str, Tensor], Tensor]],
    planned: Planned,
    places: Places,
    words: Dictionary,
) -> tuple[Float[Tensor, "b t"], Float[Tensor, " b"]]:
    total: Tensor | None = None
    change: Tensor | None = None
    last: tuple[Tensor, Tensor, Tensor] | None = None
    for values, slopes, logit in path:
        code = _Code(words, places, values[planned.address])
        slope = code.slopes(slopes[planned.address])
        if last is not None:
            step = ((last[1] + slope) / 2 * (code.z - last[0])).sum(1)
            total = step if total is None else total + step
            change = logit - last[2] if change is None else change + logit - last[2]
        last = code.z, slope, logit
    assert total is not None
    assert change is not None
    return total, change


class _Code:
    """A layer's tensor written in a dictionary: codes `z` (b, positions, t) and what they leave."""

    def __init__(self, words: Dictionary, places: Places, tensor: Tensor) -> None:
        self._places, self._like, self._words = places, tensor, words
        rows = places.rows(tensor)
        if rows.shape[-1] != words.atoms.shape[1]:
            raise _refusals.dictionary_width(tuple(words.atoms.shape), rows.shape[-1])
        self._units = words.kind == "units"
        self._atoms = words.atoms.to(tensor)
        self.z = rows if self._units else words.codes(rows.flatten(0, 1)).to(tensor).unflatten(0, rows.shape[:2])
        flat = rows.flatten(0, 1)
        self._factor = words.factors(flat).to(tensor).unflatten(0, rows.shape[:2])
        self._rest = rows - self._combined(self.z)

    def _combined(self, z: Tensor) -> Tensor:
        if self._units:
            return z
        times = len(z) // len(self._factor)
        return z @ self._atoms * (self._factor.repeat(times, 1, 1) if times > 1 else self._factor)

    def decoded(self, z: Tensor) -> Tensor:
        """The layer's tensor where its codes are z; of several copies of the batch in a row."""
        times = len(z) // len(self._rest)
        rows = self._combined(z) + self._rest.repeat(times, 1, 1)
        like = self._like.repeat_interleave(times, self._places.axis) if times > 1 else self._like
        return self._places.back(rows, like)

    def left(self) -> Tensor:
        """What the dictionary does not hold of each row."""
        if self._words.encoder != "project" and self._words.kind != "sae":
            return self._rest
        rows = self._combined(self.z) + self._rest
        return torch.zeros_like(rows) if self._units else self._words.left(rows.flatten(0, 1)).view_as(rows)

    def slopes(self, slope: Tensor) -> Tensor:
        """Derivatives in z from those in the layer's tensor."""
        rows = self._places.rows(slope)
        return rows if self._units else rows * self._factor @ self._atoms.T


class _Variance:
    """Of all rows of a layer, and of what a dictionary leaves of them."""

    def __init__(self) -> None:
        self._n = 0
        self._total: list[Tensor | float] = [0.0, 0.0]
        self._squares = [0.0, 0.0]

    def add(self, rows: Tensor, left: Tensor) -> None:
        self._n += rows[..., 0].numel()
        for k, value in enumerate((rows, left)):
            flat = value.detach().flatten(0, 1).double().cpu()
            self._total[k] = self._total[k] + flat.sum(0)
            self._squares[k] += float(flat.square().sum())

    def share(self) -> float:
        whole, left = (
            squares - float(torch.as_tensor(total).square().sum()) / self._n
            for total, squares in zip(self._total, self._squares)
        )
        return 1 - max(left, 0.0) / whole if whole > 0 else NAN
