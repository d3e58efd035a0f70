"""Channels that are nearly the same, merged pair by pair: on plain arrays of weights and the groups they touch.

A weight is (out, in, k): a row for each channel that it makes, a column for each that it reads, k numbers for each pair
(a kernel, or positions that were flattened). Groups are channels that several weights share. Merging i and j of a group
leaves i; distances between all channels are kept up to date rather than computed again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

COPIES = 1e-12  # of the largest squared distance: what rounding leaves between copies
ROUNDS = 1000


@dataclass
class Weight:
    """One weight with its bias, and the groups of its rows and columns; -1 for a side that stays as it is."""

    values: Float[Tensor, "o i k"]
    bias: Float[Tensor, " o"] | None
    rows: int
    columns: int


@dataclass
class Scale:
    """A factor and a term for every channel of a group, such as a batch normalisation that could not be folded."""

    tensors: dict[str, Tensor]
    group: int


@dataclass
class Merging:
    """Weights on their way to fewer channels. `count` (c,) by group: how many channels each stands for, 0 once gone."""

    weights: dict[str, Weight]
    scales: dict[str, Scale]
    count: dict[int, Int[Tensor, " c"]]
    rule: str = "mean_in"
    distance: str = "both"
    _known: dict[int, Float[Tensor, "c c"]] = field(default_factory=dict)
    _masked: dict[int, tuple[Float[Tensor, "c c"], Float[Tensor, "c c"]]] = field(default_factory=dict)

    def run(self, beta: float, most: Mapping[int, int]) -> None:
        """Sweeps over all groups, one merge each, while the least distance is at most beta times the largest."""
        going = True
        left = dict(most)
        while going:
            going = False
            for group in self.count:
                if left.get(group, 1) <= 0:
                    continue
                pair = self._closest(group, beta)
                if pair is not None:
                    self._merge(group, *pair)
                    left[group] = left.get(group, len(self.count[group])) - 1
                    going = True

    def remaining(self) -> dict[int, int]:
        return {group: int((count > 0).sum()) for group, count in self.count.items()}

    def _closest(self, group: int, beta: float) -> tuple[int, int] | None:
        alive = self.count[group] > 0
        if int(alive.sum()) < 2:
            return None
        if group not in self._known:
            self._known[group] = self._distances(group)
        found, (apart, buffer) = self._known[group], self._masks(group, alive)
        largest = float(torch.sub(found, apart, out=buffer).max())
        at = int(torch.add(found, apart, out=buffer).numpy().argmin())  # twice as fast as that of torch
        i, j = sorted(divmod(at, len(alive)))
        least = max(float(self._exact(group, i, j)), 0.0)
        if least > max(beta, COPIES) * largest:
            return None
        return i, j

    def _masks(self, group: int, alive: Bool[Tensor, " c"]) -> tuple[Float[Tensor, "c c"], Float[Tensor, "c c"]]:
        """What is added to distances where a channel meets itself or one that is gone, and room for the sum."""
        if group not in self._masked:
            apart = torch.zeros(len(alive), len(alive), dtype=torch.float64)
            apart.fill_diagonal_(torch.inf)
            self._masked[group] = apart, torch.empty_like(apart)
            for gone in (~alive).nonzero()[:, 0].tolist():
                apart[gone], apart[:, gone] = torch.inf, torch.inf
        return self._masked[group]

    def _merge(self, group: int, i: int, j: int) -> None:
        count = self.count[group]
        a, b = float(count[i]), float(count[j])
        both = False
        for weight in self.weights.values():
            if group not in (weight.rows, weight.columns):
                continue
            other = weight.columns if weight.rows == group else weight.rows
            both |= other == group
            axis = 0 if weight.rows == group else 1
            before = None if other == group else self._across(weight, other, i, j)
            self._combine(weight, axis, i, j, a, b)
            if other == group:
                self._combine(weight, 1, i, j, a, b)
            elif other in self._known and before is not None:
                after = self._across(weight, other, i, j)
                assert after is not None
                _move(self._known[other], before, after)
        for scale in self.scales.values():
            if scale.group == group:
                for tensor in scale.tensors.values():
                    tensor[i] = (
                        tensor[i] + tensor[j] if self.rule == "sum_in" else (a * tensor[i] + b * tensor[j]) / (a + b)
                    )
                    tensor[j] = 0
        count[i] += count[j]
        count[j] = 0
        if group in self._masked:
            apart = self._masked[group][0]
            apart[j], apart[:, j] = torch.inf, torch.inf
        if both:
            self._known.pop(group, None)
        elif group in self._known:
            row = self._to_one(group, i)
            self._known[group][i], self._known[group][:, i] = row, row

    def _combine(self, weight: Weight, axis: int, i: int, j: int, a: float, b: float) -> None:
        w = weight.values if axis == 0 else weight.values.transpose(0, 1)
        mean, total = (a * w[i] + b * w[j]) / (a + b), w[i] + w[j]
        inwards = axis == 0
        w[i] = mean if inwards == (self.rule == "mean_in") else total
        w[j] = 0
        if inwards and weight.bias is not None:
            h = weight.bias
            h[i] = (a * h[i] + b * h[j]) / (a + b) if self.rule == "mean_in" else h[i] + h[j]
            h[j] = 0

    def _across(self, weight: Weight, other: int, i: int, j: int) -> Float[Tensor, "c p"] | None:
        """What channels of the group on the other side of a weight have of two channels; None where their distances
        are not known, or do not read it."""
        if other < 0 or other not in self._known or (self.distance == "in" and weight.columns == other):
            return None
        if weight.rows == other:
            return weight.values[:, [i, j]].flatten(1)
        return weight.values[[i, j]].transpose(0, 1).flatten(1) / self._shares(other)

    def _shares(self, group: int) -> Float[Tensor, "c one"]:
        """By what outgoing weights are divided to be those of one channel."""
        if self.rule == "sum_in":
            return torch.ones(1, 1, dtype=torch.float64)
        return self.count[group].clamp_min(1).double()[:, None]

    def _parts(self, group: int) -> list[Float[Tensor, "c p"]]:
        """All numbers of every channel of a group: what it reads and what it is read with."""
        shares = self._shares(group)
        parts = [w.flatten(1) if s == 0 else w.transpose(0, 1).flatten(1) / shares for s, w in self._weights_of(group)]
        return parts + [v[:, None] for v in self._vectors(group)]

    def _distances(self, group: int) -> Float[Tensor, "c c"]:
        c = len(self.count[group])
        return sum((_squared(part) for part in self._parts(group)), torch.zeros(c, c, dtype=torch.float64))

    def _to_one(self, group: int, i: int) -> Float[Tensor, " c"]:
        """Squared distances of all channels to one, each weight read where it lies."""
        total = torch.zeros(len(self.count[group]), dtype=torch.float64)
        for sign, w in self._weights_of(group):
            here = w[i] if sign == 0 else w[:, i]
            axes = "cik,ik->c" if sign == 0 else "ock,ok->c"
            own = torch.linalg.vector_norm(w, dim=(1, 2) if sign == 0 else (0, 2)).square()
            along = torch.einsum(axes, w, here)
            if sign == 0:
                total += own + own[i] - 2 * along
            else:
                share = self._shares(group)[:, 0].expand(len(total))
                total += own / share.square() + own[i] / share[i] ** 2 - 2 * along / (share * share[i])
        for value in self._vectors(group):
            total += (value - value[i]).square()
        return total.clamp_min_(0)

    def _exact(self, group: int, i: int, j: int) -> float:
        total = 0.0
        share = self._shares(group)[:, 0].expand(len(self.count[group]))
        for sign, w in self._weights_of(group):
            a, b = (w[i], w[j]) if sign == 0 else (w[:, i] / share[i], w[:, j] / share[j])
            total += float((a - b).square().sum())
        return total + sum(float((v[i] - v[j]).square()) for v in self._vectors(group))

    def _weights_of(self, group: int) -> list[tuple[int, Float[Tensor, "o i k"]]]:
        """The weights that make the channels of a group (0), and those that read them (1)."""
        made = [(0, w.values) for w in self.weights.values() if w.rows == group]
        read = [(1, w.values) for w in self.weights.values() if w.columns == group and self.distance == "both"]
        return made + read

    def _vectors(self, group: int) -> list[Float[Tensor, " c"]]:
        """One number a channel: biases, factors, terms. The published rule does not look at them."""
        if self.rule == "sum_in":
            return []
        biases = [w.bias for w in self.weights.values() if w.rows == group and w.bias is not None]
        return biases + [t for s in self.scales.values() if s.group == group for t in s.tensors.values()]


def balance(merging: Merging, groups: Collection[int]) -> None:
    """Scale every channel's incoming weights by c and its outgoing ones by 1/c, until both have one norm in all groups:
    the same function, where all between them is positively homogeneous.
    """
    squares = {name: w.values.square().sum(2) for name, w in merging.weights.items()}
    biases = {name: w.bias.square() for name, w in merging.weights.items() if w.bias is not None}
    factors = {group: torch.ones(len(merging.count[group]), dtype=torch.float64) for group in groups}
    for _ in range(ROUNDS):
        moved = 0.0
        for group, factor in factors.items():
            made = [name for name, w in merging.weights.items() if w.rows == group]
            read = [name for name, w in merging.weights.items() if w.columns == group]
            inside = sum((squares[name].sum(1) for name in made), torch.zeros_like(factor))
            inside = inside + sum((biases[name] for name in made if name in biases), torch.zeros_like(factor))
            outside = sum((squares[name].sum(0) for name in read), torch.zeros_like(factor))
            known = (inside > 0) & (outside > 0)
            step = torch.where(known, (outside / inside.clamp_min(1e-300)).sqrt(), 1.0)  # of squares
            for name in made:
                squares[name] *= step[:, None]
                if name in biases:
                    biases[name] *= step
            for name in read:
                squares[name] /= step
            factor *= step.sqrt()
            moved = max(moved, float((step - 1).abs().max()))
        if moved < 1e-13:
            break
    for weight in merging.weights.values():
        if weight.rows in factors:
            weight.values *= factors[weight.rows][:, None, None]
            if weight.bias is not None:
                weight.bias *= factors[weight.rows]
        if weight.columns in factors:
            weight.values /= factors[weight.columns][:, None]


def _move(known: Float[Tensor, "c c"], before: Float[Tensor, "c p"], after: Float[Tensor, "c p"]) -> None:
    """Change squared distances by what some of the numbers of each channel add to them, before and after a merge."""
    centre = before.mean(0)
    old, new = before - centre, after - centre
    size = new.square().sum(1) - old.square().sum(1)
    known.addmm_(torch.cat([new, old], 1), torch.cat([new, -old], 1).T, alpha=-2.0).add_(size).add_(size[:, None])


def _squared(part: Float[Tensor, "c p"]) -> Float[Tensor, "c c"]:
    moved = part - part.mean(0)
    size = moved.square().sum(1)
    return (size[:, None] + size - 2 * moved @ moved.T).clamp_min_(0)
