"""Which columns of which matrix a query, key or value comes from, before norms and rotary embeddings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from repana.extraction._attention_heads import Projected

SEPARATE, GROUPED, BLOCKS = "separate", "grouped", "blocks"
CLOSE = 1e-6  # of the largest value, by which a value and its columns may differ
OWN_NAME = {"q": re.compile(r"(^|_)(q|query)(_|$|proj)"), "k": re.compile(r"(^|_)(k|key)(_|$|proj)")}


@dataclass(frozen=True)
class Projection:
    """A matrix inside an attention module with `heads` queries over `groups` keys and values. Its columns hold one of
    the three head after head ("separate"), or all: "grouped" the queries, the key and the value of each group, or
    "blocks" all queries, all keys, all values."""

    module: str
    layout: str
    heads: int
    groups: int

    def columns(self, x: Float[Tensor, "b t c"], what: str, number: int) -> Float[Tensor, "b t d"]:
        """Those of one query, key or value."""
        if self.layout == SEPARATE:
            return x.unflatten(2, (self.heads if what == "q" else self.groups, -1))[:, :, number]
        if self.layout == BLOCKS:
            whole = x.unflatten(2, (self.heads + 2 * self.groups, -1))
            first = {"q": 0, "k": self.heads, "v": self.heads + self.groups}[what]
            return whole[:, :, first + number]
        each = self.heads // self.groups
        whole = x.unflatten(2, (self.groups, each + 2, -1))
        group, place = divmod(number, each) if what == "q" else (number, each + (what == "v"))
        return whole[:, :, group, place]


def projections(met: Projected, outputs: Mapping[str, Tensor]) -> dict[str, Projection]:
    """Of "q", "k" and "v" the matrix that each comes from, by the `outputs` of the matrices of the module; without
    those for which not exactly one is.

    Values pass no norm and no rotary embedding, so the columns that equal them tell the layout, also of the other two;
    where all three have matrices of their own, queries and keys are told by equality, by widths or by name.
    """
    h, g = met.query.shape[1], met.key.shape[1]
    fit = [
        found
        for module, x in outputs.items()
        if x.ndim == 3 and x.shape[:2] == (met.value.shape[0], met.value.shape[2])
        for found in _candidates(module, x.shape[2], met)
        if all(_same(found.columns(x, "v", i), met.value[:, i]) for i in range(g))
    ]
    if len(fit) != 1:
        return {}
    (value,) = fit
    if value.layout != SEPARATE:
        return dict.fromkeys("qkv", value)
    made = {"v": value}
    for what, count, tensor in (("q", h, met.query), ("k", g, met.key)):
        names = [n for n, x in outputs.items() if n != value.module and x.shape[-1] == count * tensor.shape[3]]
        own = [Projection(n, SEPARATE, h, g) for n in names if outputs[n].ndim == 3]
        equal = [
            p for p in own if all(_same(p.columns(outputs[p.module], what, i), tensor[:, i]) for i in range(count))
        ]
        named = [p for p in own if OWN_NAME[what].search(p.module.rpartition(".")[2])]
        chosen = next((some for some in (equal, named, own) if len(some) == 1), [])
        made |= {what: chosen[0]} if chosen else {}
    return made


def _candidates(module: str, width: int, met: Projected) -> list[Projection]:
    """The layouts that a matrix of so many columns could have."""
    h, g, d = met.query.shape[1], met.key.shape[1], met.value.shape[3]
    found = [Projection(module, SEPARATE, h, g)] if width == g * d else []
    if width == (h + 2 * g) * d and met.query.shape[3] == d:
        found.append(Projection(module, BLOCKS, h, g))
        found += [Projection(module, GROUPED, h, g)] if g > 1 else []
    return found


def _same(a: Tensor, b: Tensor) -> bool:
    size = float(b.abs().nan_to_num().max().clamp_min(1e-30))
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=0, atol=CLOSE * size))
