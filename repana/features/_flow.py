"""Which way features take through residual blocks: along the skip path, or through the branch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import Features, TargetArray
from repana.features import _refusals
from repana.features._complexity import complexity
from repana.statistics.intervals import mean_of
from repana.summaries._linalg import full_precision

MEASURES = ("r2", "cka")


@shown
@dataclass(frozen=True)
class Flow:
    """What the skip path and the branch of each block carry of each feature; see `flow`."""

    carried: Estimate
    skip: Float[Tensor, "b t"]
    skip_low: Float[Tensor, "b t"]
    skip_high: Float[Tensor, "b t"]
    branch: Float[Tensor, "b t"]
    branch_low: Float[Tensor, "b t"]
    branch_high: Float[Tensor, "b t"]
    blocks: tuple[str, ...]
    features: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def flow(
    layers: Mapping[str, Any],
    targets: TargetArray,
    paths: Sequence[Any],
    *,
    measure: str = "r2",
    names: Sequence[str] | None = None,
    **options: Any,
) -> Flow:
    """How well each feature is read from the skip path and from the main branch of every residual block.

    `paths` are those of `residual_paths(model, data)` (or objects with `block`, `skip`, `branch`), `layers` the
    features recorded at their addresses: `record(model, data, [a for p in paths for a in (p.skip, p.branch)])`.
    `targets` (n, t) and all `options` as in `complexity`.

    - `skip`, `branch` (blocks, t): R^2 on held-out rows, max(0, R^2), with intervals.
    - `carried`: share of (block, feature) pairs whose skip path tells more than the branch; its interval takes blocks
      of one feature together.

    `measure="cka"` is linear CKA between the feature and the path, as published. It falls with the width of what it is
    compared with: for a feature that a white path of d units gives exactly, R^2 is 1 and CKA 1/sqrt(d), so that the two
    sides of a block of different shape cannot be compared by it. It has no interval.

    Raises InputError as `complexity`, and for a path whose layers were not recorded.

    Source: Fel et al. 2024, arXiv:2407.06076 (figure by CKA, and by V-information).
    """
    _check.choice(measure, "measure", MEASURES)
    _check.layers_of(layers, "flow")
    if not len(paths):
        raise _refusals.no_paths()
    addresses = list(dict.fromkeys(a for p in paths for a in (p.skip, p.branch)))
    missing = [a for a in addresses if a not in layers]
    if missing:
        raise _check.not_recorded(missing[0], list(layers))
    at = {a: k for k, a in enumerate(addresses)}
    if measure == "r2":
        found = complexity({a: layers[a] for a in addresses}, targets, names=names, **options)
        value, low, high = found.curve, found.low, found.high
        features, settings = found.features, dict(found.settings)
    else:
        if options:
            raise _check.unknown_options("flow by CKA", options, ("names",))
        first = _check.features_of(layers[addresses[0]])
        for a in addresses[1:]:
            if len(layers[a]) != len(first):
                raise _check.unlike_samples(len(first), len(layers[a]))
        z = _check.values_of(targets, "targets", len(first)).double().cpu()
        features = _refusals.feature_names(names, z.shape[1])
        value = torch.stack([cka_of(_check.features_of(layers[a]), z) for a in addresses])
        low = high = torch.full_like(value, torch.nan)
        settings = {}
    skip, branch = [at[p.skip] for p in paths], [at[p.branch] for p in paths]
    alive = torch.isfinite(value).all(0)
    more = (value[skip] > value[branch])[:, alive].double().mean(0)
    mean, bottom, top = (float(v) for v in mean_of(more, settings.get("level", 0.95)))
    return Flow(
        carried=Estimate(mean, max(bottom, 0.0), min(top, 1.0), len(more))
        if len(more)
        else Estimate(NAN, note=Flag.CONSTANT.note("no feature, or no path, varies")),
        skip=value[skip],
        skip_low=low[skip],
        skip_high=high[skip],
        branch=value[branch],
        branch_low=low[branch],
        branch_high=high[branch],
        blocks=tuple(_named(paths)),
        features=features,
        settings={**settings, "measure": measure},
    )


def cka_of(x: Features, z: Float[Tensor, "n t"]) -> Float[Tensor, " t"]:
    """Linear CKA of a layer with one value a row: |X'z|^2/(|X'X|_F z'z), all around their means."""
    moved = x.double().cpu()
    moved = moved - moved.mean(0)
    z = z - z.mean(0)
    with full_precision():
        side = moved.T @ moved if moved.shape[1] <= len(moved) else moved @ moved.T
        across = (moved.T @ z).square().sum(0)
    return across / (side.norm() * z.square().sum(0))


def _named(paths: Sequence[Any]) -> list[str]:
    """Blocks with two sums get their branch's name."""
    blocks = [p.block for p in paths]
    return [p.block if blocks.count(p.block) == 1 else p.branch for p in paths]
