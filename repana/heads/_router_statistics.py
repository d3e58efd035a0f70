"""What routers do with tokens: sums by text, and the quantities that are functions of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._estimate import NAN

EXACT = 1e-4  # by which rows of probabilities may differ from a sum of 1
QUANTITIES = (
    "cv", "effective", "maximum", "balance", "dead", "row_entropy", "mean_entropy", "mutual", "purity", "uncertainty",
    "adjusted", "of_word", "of_position",
)  # fmt: skip
OF_LABELS = ("purity", "uncertainty", "adjusted", "of_word", "of_position")


@dataclass(frozen=True)
class RouterRows:
    """Tokens of one router: log-probabilities over experts, which were chosen with which weights, the text of each
    token, its class, its number in the vocabulary, -1 without either, and its position among the real tokens."""

    log_p: Float[Tensor, "n e"]
    chosen: Int[Tensor, "n k"]
    weights: Float[Tensor, "n k"]
    text: Int[Tensor, " n"]
    label: Int[Tensor, " n"]
    word: Int[Tensor, " n"]
    position: Int[Tensor, " n"]

    @property
    def first(self) -> Int[Tensor, " n"]:
        """The expert with the largest weight."""
        return self.chosen.gather(1, self.weights.argmax(1, keepdim=True))[:, 0]


def log_probabilities(scores: Float[Tensor, "n e"]) -> Float[Tensor, "n e"]:
    """Of logits; rows that are not negative and sum to 1 are probabilities, which some versions give by that name."""
    x = scores.double()
    if bool((x >= 0).all()) and float((x.sum(1) - 1).abs().max()) < EXACT:
        return x.clamp_min(1e-300).log()
    return x.log_softmax(1)


@dataclass(frozen=True)
class RouterSums:
    """By text (g,): tokens, assignments to experts, probabilities, weights, entropies of rows, and the first choice by
    class, (g, e, c)."""

    count: Float[Tensor, " g"]
    assigned: Float[Tensor, "g e"]
    probability: Float[Tensor, "g e"]
    weight: Float[Tensor, "g e"]
    entropy: Float[Tensor, " g"]
    table: Float[Tensor, "g e c"]

    @classmethod
    def of(cls, rows: RouterRows, texts: int, classes: int) -> "RouterSums":
        n, e = rows.log_p.shape
        p = rows.log_p.exp()
        kept = rows.weights.double() / rows.weights.double().sum(1, keepdim=True).clamp_min(1e-300)
        one = torch.ones_like(rows.chosen, dtype=torch.float64)
        assigned, weight = (torch.zeros(n, e, dtype=torch.float64).scatter_add_(1, rows.chosen, v) for v in (one, kept))
        table = torch.zeros(n, e, max(classes, 1), dtype=torch.float64)
        known = rows.label >= 0
        table[known.nonzero()[:, 0], rows.first[known], rows.label[known]] = 1

        def by_text(values: Tensor) -> Tensor:
            return torch.zeros(texts, *values.shape[1:], dtype=torch.float64).index_add_(0, rows.text, values)

        entropy = -(p * rows.log_p).sum(1)
        return cls(*map(by_text, (torch.ones(n, dtype=torch.float64), assigned, p, weight, entropy, table)))

    def weighted(self, w: Float[Tensor, "b g"]) -> "RouterSums":
        """Sums over texts, each as often as `w` says; a row of `w` a replicate."""
        parts = (self.count, self.assigned, self.probability, self.weight, self.entropy, self.table)
        return RouterSums(*(torch.einsum("bg,g...->b...", w, v) for v in parts))

    def loads(self) -> Float[Tensor, "b e"]:
        return self.assigned / self.assigned.sum(1, keepdim=True)


def _entropy(p: Float[Tensor, "*b e"]) -> Float[Tensor, "*b"]:
    return -torch.xlogy(p, p).sum(-1)


def _purity(table: Float[Tensor, "b e c"]) -> Float[Tensor, " b"]:
    return table.amax(2).sum(1) / table.sum((1, 2))


def _mutual(table: Float[Tensor, "b e c"]) -> Float[Tensor, " b"]:
    p = table / table.sum((1, 2), keepdim=True)
    return _entropy(p.sum(2)) + _entropy(p.sum(1)) - _entropy(p.flatten(1))


def _class_entropy(table: Float[Tensor, "b e c"]) -> Float[Tensor, " b"]:
    return _entropy(table.sum(1) / table.sum((1, 2))[:, None])


VALUES: dict[str, Callable[[RouterSums], Float[Tensor, " b"]]] = {
    "cv": lambda s: s.loads().std(1, correction=0) / s.loads().mean(1),
    "effective": lambda s: _entropy(s.loads()).exp(),
    "maximum": lambda s: s.loads().shape[1] * s.loads().amax(1),
    "balance": lambda s: s.loads().shape[1] * (s.loads() * s.probability / s.count[:, None]).sum(1),
    "dead": lambda s: (s.assigned == 0).double().mean(1),
    "row_entropy": lambda s: s.entropy / s.count,
    "mean_entropy": lambda s: _entropy(s.probability / s.count[:, None]),
    "mutual": lambda s: _entropy(s.probability / s.count[:, None]) - s.entropy / s.count,
    "purity": lambda s: _purity(s.table),
    "uncertainty": lambda s: _mutual(s.table) / _class_entropy(s.table),
}


def adjusted(table: Float[Tensor, "e c"]) -> tuple[float, float]:
    """Mutual information of expert and class beyond that expected with both margins fixed, over what is left of the
    entropy of classes; and the expected part in nats."""
    whole = table.round().long().numpy()
    kept = whole[whole.sum(1) > 0][:, whole.sum(0) > 0]
    if kept.shape[1] < 2:
        return NAN, NAN
    from sklearn.metrics.cluster import expected_mutual_information

    expected = float(expected_mutual_information(kept.astype(np.int64), int(kept.sum())))
    mutual, entropy = float(_mutual(table[None])[0]), float(_class_entropy(table[None])[0])
    return (mutual - expected) / (entropy - expected), expected


def adjusted_of(group: Int[Tensor, " n"], label: Int[Tensor, " n"], classes: int) -> float:
    """The adjusted mutual information of a class with any other number of each token; NaN where some have none."""
    if not len(group) or int(group.min()) < 0:
        return NAN
    _, at = torch.unique(group, return_inverse=True)
    table = torch.bincount(at * classes + label, minlength=(int(at.max()) + 1) * classes).view(-1, classes)
    return adjusted(table.double())[0]
