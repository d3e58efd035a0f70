"""Where a network adds a branch to a skip path: seen in one forward pass, whatever the code looks like."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from repana.extraction import _attribution_refusals
from repana.extraction._batches import Forward, Intake, run
from repana.extraction._data import stream
from repana.extraction._session import requested_device, session, unwrap
from repana.extraction._tree import arguments, leaves

Names = list[tuple[str, str, int]]  # module, side, call
SUMS = ("add", "__add__", "__radd__", "__iadd__", "add_")


@dataclass(frozen=True)
class ResidualPath:
    """The two addresses whose tensors a block adds: `branch` has gone through more modules than `skip`."""

    block: str
    skip: str
    branch: str


def residual_paths(
    model: nn.Module,
    data: Any,
    *,
    forward: Forward | None = None,
    device: torch.device | str | None = None,
    batch_size: int = 4,
) -> tuple[ResidualPath, ...]:
    """The skip path and the main branch of every residual block, in forward order, as addresses for `record`.

    A sum of two tensors of one shape counts where one of them, the branch, came through more modules than the other,
    and the other, or the input of the module that adds, is what the branch was made of. Sums whose operands are no
    module's input or output have no address and are left out.

    Raises ModelError where there is none, and what `record` raises for data.

    >>> import torch
    >>> from repana import residual_paths
    >>> class Block(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = torch.nn.Linear(4, 4)
    ...     def forward(self, x):
    ...         return x + self.linear(x)
    >>> residual_paths(torch.nn.Sequential(Block()), torch.ones(2, 4))
    (ResidualPath(block='0', skip='0:in', branch='0.linear'),)
    """
    inner, _ = unwrap(model)
    first, _, _ = stream(data, batch_size)
    place = requested_device(inner, device)
    with session(inner, place, None) as live:
        watch = _Watch(inner)
        for module in inner.modules():
            live.pre_hook(module, watch.before)
            live.hook(module, watch.after)
        batch = Intake(inner, forward).unpack(first).to(place)
        batch = batch.first(batch_size) or batch
        with watch:
            run(inner, batch, forward)
    found = watch.paths()
    if not found:
        raise _attribution_refusals.no_residual(type(inner).__name__)
    return found


@dataclass
class _Node:
    """What is known of a tensor: modules it came through, what it was made of, and its addresses."""

    tensor: Tensor
    depth: int = 0
    made_of: int = 0  # a bit for each node
    names: Names = field(default_factory=list)


class _Watch(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names = {module: name for name, module in model.named_modules()}
        self._nodes: list[_Node] = []
        self._at: dict[int, int] = {}
        self._calls: dict[str, int] = {}
        self._open: list[tuple[str, int]] = []  # modules at work, and the node of their input
        self._parents: set[int] = set()  # places in that stack from which another module was called
        self._sums: list[tuple[str, int, int, Names, Names]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for _, t in leaves((args, kwargs or {}))]
        inputs = [self._at[id(t)] for t in given if id(t) in self._at]
        name = getattr(func, "__name__", "")
        if name in SUMS and len(given) == 2 and len(inputs) == 2 and given[0].shape == given[1].shape:
            a, b = inputs
            names_a, names_b = list(self._nodes[a].names), list(self._nodes[b].names)
            self._sums.append((self._open[-1][0] if self._open else "", a, b, names_a, names_b))
        out = func(*args, **(kwargs or {}))
        for _, t in leaves(out):
            self._node_of(t, inputs, fresh=name in SUMS)
        return out

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        name = self._names[module]
        self._calls[name] = self._calls.get(name, 0) + 1
        node = -1
        for k, (_, t) in enumerate(leaves(arguments(args, kwargs))):
            at = self._node_of(t, [])
            if k == 0:
                node = at
                self._nodes[at].names.append((name, "in", self._calls[name]))
        self._parents.add(len(self._open) - 1)
        self._open.append((name, node))
        self._parents.discard(len(self._open) - 1)

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        name, source = self._open.pop()
        calls = len(self._open) in self._parents  # a module that calls none (as fused attention) is a step of its own
        for k, (_, t) in enumerate(leaves(output)):
            at = self._node_of(t, [source] if source >= 0 else [])
            node = self._nodes[at]
            if not calls and at != source:
                node.depth = max(node.depth, (self._nodes[source].depth if source >= 0 else 0) + 1)
            if k == 0:
                node.names.append((name, "out", self._calls[name]))

    def _node_of(self, tensor: Tensor, inputs: list[int], *, fresh: bool = False) -> int:
        """The number of a tensor's node; a sum written in place is another tensor from then on."""
        known = self._at.get(id(tensor))
        if known is not None and not (fresh and known in inputs):
            return known
        depth = max((self._nodes[k].depth for k in inputs), default=0)
        made_of = 0
        for k in inputs:
            made_of |= self._nodes[k].made_of | 1 << k
        self._nodes.append(_Node(tensor, depth, made_of))
        self._at[id(tensor)] = len(self._nodes) - 1
        return len(self._nodes) - 1

    def paths(self) -> tuple[ResidualPath, ...]:
        found = []
        for block, a, b, names_a, names_b in self._sums:
            nodes = sorted(((a, names_a), (b, names_b)), key=lambda pair: self._nodes[pair[0]].depth)
            (skip, skip_names), (branch, branch_names) = nodes
            if self._nodes[skip].depth == self._nodes[branch].depth:
                continue
            made = self._nodes[branch].made_of
            common = made & (self._nodes[skip].made_of | 1 << skip)
            if not common:
                continue
            one, other = self._address(skip_names, block), self._address(branch_names, block)
            if one and other:
                found.append(ResidualPath(block, one, other))
        return tuple(found)

    def _address(self, names: Names, block: str) -> str:
        """Of several names, one of the block's own that is called once; else of any module, else one with its call."""
        usable = [n for n in names if n[0]]
        usable.sort(key=lambda n: (self._calls[n[0]] > 1, n[0] != block, not n[0].startswith(block), n[1] == "in"))
        if not usable:
            return "input" if any(n == ("", "in", 1) for n in names) else ""
        name, side, call = usable[0]
        suffix = f"@{call}" if self._calls[name] > 1 else ""
        return name + suffix + (":in" if side == "in" else "")
