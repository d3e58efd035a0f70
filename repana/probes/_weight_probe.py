"""What can be read from the weights of many models, with siblings on both sides and without."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._numbers import number
from repana.probes import _refusals
from repana.probes._classifiers import ridge_head
from repana.probes._cross import CROSS, Folds, crossed
from repana.probes._findings import FEW_MODELS
from repana.statistics.permutation import against, holm
from repana.statistics.resampling import few_groups, resampled
from repana.summaries.left_out import PENALTIES, left_out, products_of
from repana.summaries.resampling import permuted_labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ALPHA = 0.05
DEFAULT_SCALE = {"statistics": "standard", "spectrum": "standard"}  # of kinds; weights themselves are centred alone
QUANTITIES = ("leave_one_out", "leave_tree_out", "chance")


@shown
@dataclass(frozen=True)
class TensorProbe:
    """What is read from one tensor; see `weight_probe`."""

    leave_one_out: Estimate
    leave_tree_out: Estimate
    chance: Estimate


@dataclass(frozen=True, repr=False)
class WeightProbe:
    """What is read from every tensor of a zoo; see `weight_probe`. `trees` (n,) numbers the ancestor of each model."""

    layers: Mapping[str, TensorProbe]
    trees: Int[Tensor, " n"]
    score: str  # "accuracy", or "R2" of real values
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> TensorProbe:
        if layer not in self.layers:
            raise _check.not_recorded(layer, list(self.layers))
        return self.layers[layer]

    def frame(self) -> "pd.DataFrame":
        """A line for each tensor and quantity: value, low, high, null, p, n, note."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "p", "n", "note")
        rows = [
            (name, q, *(getattr(getattr(found, q), c) for c in columns))
            for name, found in self.layers.items()
            for q in QUANTITIES
        ]
        return pd.DataFrame(rows, columns=["layer", "quantity", *columns])

    def plot(self, **options: Any) -> "Figure":
        """Both scores by tensor; see `repana.plots.weight_probe_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.weight_probe_depth(self, **options))

    def says(self) -> str:
        """The tensor that is read best, whether it is read across trees, and whether there are enough models."""
        across = {name: p.leave_tree_out for name, p in self.layers.items()}
        inside = {name: p.leave_one_out for name, p in self.layers.items()}
        trees = any(e.value == e.value for e in across.values())
        kind = "leave-tree-out" if trees else "leave-one-out"
        (best, e), (top, one) = _best(across if trees else inside), _best(inside)
        if not best:
            return "No tensor could be read."
        if trees and one.p <= ALPHA and not e.p <= ALPHA:
            text = (
                f"With one model left out {top} is read best ({self.score} {number(one.value)}); with whole trees left "
                f"out no tensor is above its null (at best {number(e.value)}, {best}): the probe reads the tree."
            )
        else:
            text = f"{best} is read best ({kind} {self.score} {number(e.value)}"
            text += f", p {e.p:.2g} after Holm)." if e.p == e.p else ")."
        n = len(self.trees)
        return text + (f" {n} models are few; {FEW_MODELS} or more narrow the intervals." if n < FEW_MODELS else "")

    def __repr__(self) -> str:
        count = int(self.trees.unique().numel())
        of = f"{len(self.trees)} models, {count} trees" if count > 1 else f"{len(self.trees)} models"
        wide = max(map(len, self.layers))
        lines = [f"WeightProbe({len(self.layers)} tensors, {of}: {self.score})"]
        lines.append(f"  {'':<{wide}}  " + "  ".join(f"{q.replace('_', '-'):>14}" for q in QUANTITIES))
        for name, found in self.layers.items():
            lines.append(
                f"  {name:<{wide}}  " + "  ".join(f"{number(getattr(found, q).value):>14}" for q in QUANTITIES)
            )
        return "\n".join([*lines, f"  {self.says()}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def _best(found: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """The tensor of the largest score, with its p after Holm over all tensors."""
    known = {name: e for name, e in found.items() if e.value == e.value}
    if not known:
        return "", Estimate(NAN)
    p = dict(zip(known, holm([e.p for e in known.values()])))
    name = max(known, key=lambda name: known[name].value)
    return name, replace(known[name], p=p[name])


def weight_probe(
    zoo: Activations,
    labels: Any = None,
    *,
    groups: Any = None,
    scale: str | None = None,
    alpha: float | None = None,
    permutations: int = 199,
    level: float = 0.95,
    seed: int = 0,
) -> WeightProbe:
    """How well labels of models are read from each tensor of their weights, by a ridge probe of all other models
    (`leave_one_out`) and of all other trees (`leave_tree_out`). Both stand beside each other always: a random split has
    siblings, fine-tuned from one ancestor, on both sides, and what is read among siblings need not hold for others.

    - Classes: accuracy of `ridge_probe(cross=...)`. Real values: R2 = 1 - sum (y - f)^2/sum (y - m)^2, f predicted and
      m the mean of the models that were fitted. `chance`: share of the most frequent class, or 0.
    - Null and p: `permutations` of the labels inside trees, so that what goes with the tree (a learning rate, a date)
      is no evidence; where all models of a tree have one label, trees change labels. The null of left-out predictions
      lies below `chance` where classes are balanced.
    - Interval: n models are the sample. Wilson's of models for `leave_one_out` (bootstrap for R2); over trees for
      `leave_tree_out`, NaN for fewer than 3.

    `zoo`: of `read_weights`, with `labels` of its own or these. `groups`: the tree of each model, by default those that
    `read_weights` found. `scale`: "standard" for statistics and spectra, "centre" for weights as they are.
    `alpha`: the penalty in units of tr K/n, K the products of the models that are fitted; by default the one of 100 to
    1e-4 with the smallest error of the same kind inside them.

    Accuracies in [0, 1], R2 up to 1. Raises InputError for one class, fewer than 3 models, or labels of other length.

    Source: Horwitz et al. 2024, arXiv:2410.13569 (probes within and across trees of models).

    >>> import torch
    >>> from repana import read_weights
    >>> from repana.probes import weight_probe
    >>> draw = torch.Generator().manual_seed(0)
    >>> zoo = [{"w": torch.randn(9, generator=draw) + 3 * (i % 2)} for i in range(20)]
    >>> float(weight_probe(read_weights(zoo), [i % 2 for i in range(20)])["w"].leave_one_out)
    1.0
    """
    _check.level_of(level)
    permutations = _check.at_least(permutations, "permutations", 0)
    if not isinstance(zoo, Activations):
        raise _refusals.not_a_zoo(type(zoo).__name__)
    n = len(zoo.sample)
    given = zoo.labels if labels is None else labels
    if given is None:
        raise _check.no_labels("zoo's")
    y = _check.row_labels(given, n)[0]
    if groups is None:
        group = torch.unique(zoo.sample, return_inverse=True)[1]
    else:
        group = torch.from_numpy(_check.groups_of(groups, n))
    trees = int(group.max()) + 1
    several = 1 < trees < n
    chosen = scale or DEFAULT_SCALE.get(str(zoo.provenance.get("kind")), "centre")
    real = y.is_floating_point()
    if real and not bool(torch.isfinite(y).all()):
        raise _refusals.not_finite_values(int((~torch.isfinite(y)).sum()), y.numel())
    if alpha is not None:
        _check.positive(alpha, "alpha")
    penalties = PENALTIES if alpha is None else (float(alpha),)
    found = {}
    for name in zoo.layers:
        x = _check.features_of(zoo[name])
        made = [
            _score(
                x, y if real else given, cross, group if several else None, chosen, penalties, permutations, level, seed
            )
            if several or cross == CROSS[0]
            else (Estimate(NAN, n=n, note=_alone(trees, n)), Estimate(NAN))
            for cross in CROSS
        ]
        found[name] = TensorProbe(made[0][0], made[1][0], made[0][1])
    settings = {
        "kind": zoo.provenance.get("kind"), "scale": chosen, "trees": trees if several else 0, "models": n,
        "permutations": permutations, "level": level, "seed": seed,
    }  # fmt: skip
    return WeightProbe(
        found, group if several else torch.zeros(n, dtype=torch.int64), "R2" if real else "accuracy", settings
    )


def _alone(trees: int, n: int) -> str:
    if trees == 1:
        return Flag.NOT_APPLICABLE.note("all models are of one tree")
    return Flag.NOT_APPLICABLE.note("no trees of models are known; `groups=` names the ancestor of each")


def _score(
    x: Tensor,
    y: Any,
    cross: str,
    group: Tensor | None,
    scale: str,
    penalties: Sequence[float],
    permutations: int,
    level: float,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """The score of left-out models, and of no features."""
    if isinstance(y, Tensor) and y.is_floating_point():
        return _r2(x, y, cross, group, scale, penalties, permutations, level, seed), Estimate(0.0, n=len(y))
    probe = crossed(
        ridge_head(),
        x,
        y,
        cross=cross,
        groups=group,
        scale=scale,
        penalties=penalties,
        permutations=permutations,
        level=level,
        seed=seed,
    )
    return probe.accuracy, probe.chance


def _r2(
    x: Tensor,
    y: Tensor,
    cross: str,
    group: Tensor | None,
    scale: str,
    penalties: Sequence[float],
    permutations: int,
    level: float,
    seed: int,
) -> Estimate:
    """Of real values, one column or several."""
    values = y.double().view(len(y), -1)
    if float(values.std(0).min()) == 0:
        raise _refusals.constant_values()
    values = (values - values.mean(0)) / values.std(0)
    folds = Folds.of(cross, len(y), group)
    targets = torch.stack([values, *permuted_labels(values, folds.group, permutations, seed)], 1)
    predicted, _ = left_out(products_of(x, scale), targets, folds.fold, penalties)
    none, _ = left_out(lambda at: torch.zeros(len(y), len(y), dtype=torch.float64), targets, folds.fold, (1.0,))
    missed, base = (targets - predicted).square().sum(2), (targets - none).square().sum(2)
    r2 = (1 - missed.sum(0) / base.sum(0)).tolist()
    columns = torch.stack([missed[:, 0], base[:, 0]], 1)

    def ratio(sums: Tensor) -> Tensor:
        return 1 - sums[..., 0] / sums[..., 1]

    note = few_groups(folds.group) if cross != CROSS[0] and folds.group is not None else ""
    found = resampled(columns, None, folds.resampled, level=level, seed=seed, statistic=ratio)
    found = replace(found, note=noted(note)) if note else found
    return against(found, r2[1:], better="higher", level=level)
