"""Probes of forgotten and retained samples: linear, by neighbours, and by how many samples a new head needs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repana import _check
from repana._activations import Activations
from repana._typing import IGNORED
from repana.comparison import _refusals
from repana.statistics.splits import parts_of_rows
from repana.summaries.logistic import logistic
from repana.summaries.neighbours import Neighbours

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-8, 5))  # C of the linear probe
K = 10
SHOTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DRAWS = 5
Sets = Mapping[str, Mapping[str, Activations]]  # by set, then by network


@dataclass(frozen=True)
class Rows:
    """Forgotten and retained rows one behind the other; which of them probes are fitted on."""

    codes: Int[Tensor, " n"]
    forgotten: Tensor  # whether a row is to be forgotten
    fit: Tensor
    classes: int

    @classmethod
    def of(cls, sets: Sets, seed: int) -> "Rows":
        labels = [labels_of_set(sets[name]["original"], name) for name in ("forget", "retain")]
        raw = torch.cat(labels)
        codes = torch.unique(raw, return_inverse=True)[1]
        forgotten = torch.cat([torch.ones(len(labels[0])), torch.zeros(len(labels[1]))]) > 0
        strata = (codes * 2 + forgotten.long()).numpy()
        part = parts_of_rows(strata, None, (0.5, 0.5), np.random.default_rng(seed))
        return cls(codes, forgotten, torch.from_numpy(part == 0), int(codes.max()) + 1)


def labels_of_set(activations: Activations, name: str) -> Tensor:
    if activations.labels is None:
        raise _check.no_labels(f"`{name}`")
    found = _check.labels_of(activations.labels, len(activations.sample))[0]
    if bool((found == IGNORED).any()):
        raise _refusals.unlabelled(name, int((found == IGNORED).sum()), len(found))
    return found


def both_sets(sets: Sets, layer: str, model: str) -> Tensor:
    return torch.cat([_check.features_of(sets[s][model][layer]).cpu() for s in ("forget", "retain")])


def _scaled(x: Tensor, fit: Tensor) -> Tensor:
    x = x.double()
    mean, spread = x[fit].mean(0), x[fit].std(0)
    return ((x - mean) / torch.where(spread > 0, spread, 1.0)).float()


def probed(x: Tensor, rows: Rows) -> Tensor:
    """What a linear probe of all classes predicts of every row, its strength chosen on a quarter of the rows fitted
    on."""
    z = _scaled(x, rows.fit)
    at = rows.fit.nonzero()[:, 0]
    inner = parts_of_rows(rows.codes[at].numpy(), None, (0.75, 0.25), np.random.default_rng(1)) == 0
    train, choose = at[torch.from_numpy(inner)], at[torch.from_numpy(~inner)]
    strengths = torch.tensor(STRENGTHS)
    fits = logistic(z[train], rows.codes[train], 1 / (strengths * len(train)), rows.classes)
    logs = fits.scores(z[choose]).double().log_softmax(1)
    loss = -logs.gather(1, rows.codes[choose][:, None, None].expand(-1, 1, len(strengths))).mean((0, 1))
    best = strengths[int(loss.argmin())]
    whole = logistic(z[at], rows.codes[at], 1 / (best[None] * len(at)), rows.classes)
    return whole.scores(z)[:, :, 0].argmax(1)


def nearest_class(x: Tensor, rows: Rows) -> Tensor:
    """The class of most of the 10 nearest rows fitted on; of equal votes that of the nearer rows."""
    z = _scaled(x, rows.fit)
    bank = rows.fit.nonzero()[:, 0]
    out = torch.empty(len(z), dtype=torch.int64)
    k = min(K, len(bank))
    found = Neighbours.of(z, k=k, bank=z[bank]).indices
    votes = nn.functional.one_hot(rows.codes[bank][found], rows.classes).double()
    weight = 1 + 1e-3 * torch.arange(k, 0, -1).double() / k
    out[:] = (votes * weight[:, None]).sum(1).argmax(1)
    return out


def relearned(sets: Sets, rows: Rows, layer: str, model: str, seed: int) -> Float[np.ndarray, "s four"]:
    """Recall of forgotten rows by a fresh linear head, against how many of them per class it is shown."""
    z = _scaled(both_sets(sets, layer, model), rows.fit)
    held = (rows.fit & ~rows.forgotten).nonzero()[:, 0]
    shown = (rows.fit & rows.forgotten).nonzero()[:, 0]
    asked = (~rows.fit & rows.forgotten).nonzero()[:, 0]
    members = [shown[rows.codes[shown] == c] for c in rows.codes[shown].unique()]
    most = max(map(len, members))
    steps = [k for k in SHOTS if k < most] + [most]
    at = torch.cat([held, shown])
    place = {int(row): k for k, row in enumerate(at)}
    draws = [(k, draw) for k in steps for draw in range(DRAWS if k < most else 1)]
    weight = torch.zeros(len(at), len(draws))
    weight[: len(held)] = 1
    for column, (k, draw) in enumerate(draws):
        generator = torch.Generator().manual_seed(seed + 1000 * draw + 1)
        for member in members:
            chosen = member[torch.randperm(len(member), generator=generator)[:k]]
            weight[[place[int(row)] for row in chosen], column] = 1
    fits = logistic(z[at], rows.codes[at], 1 / weight.sum(0), rows.classes, weight=weight)
    right = (fits.scores(z[asked]).argmax(1) == rows.codes[asked][:, None]).double().mean(0)
    out = []
    for k in steps:
        recalls = [float(r) for r, (shots, _) in zip(right, draws) if shots == k]
        out.append((k, float(np.mean(recalls)), min(recalls), max(recalls)))
    return np.array(out, dtype=float)
