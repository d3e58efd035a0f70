"""Which weights of a network touch the same channels, read off its torch.fx graph."""

import copy
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from repana.extraction import _attribution_refusals
from repana.extraction._batches import Batch, Forward, run
from repana.extraction._session import Session
from repana.summaries.merging import Merging, Scale, Weight

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
ELEMENTWISE = (
    nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardswish, nn.ReLU6,
    nn.Hardtanh, nn.Hardsigmoid, nn.Softsign,
)  # fmt: skip
SAME = ("relu", "leaky_relu", "dropout", "dropout2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "contiguous",
        "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool2d", "relu_")  # fmt: skip
CURVED = ("gelu", "silu", "mish", "elu", "tanh", "sigmoid", "softplus", "hardswish", "relu6", "selu")
POOLED = ("mean", *(word for word in SAME if "pool" in word))
SUMS = (operator.add, operator.iadd, torch.add)


@dataclass
class Channels:
    """A copy of the model with batch normalisations folded, and what its weights share.

    `sizes` by group that may be merged, `layers` the modules that make its channels, `uneven` the groups with an
    activation between that is not positively homogeneous, `flat` the positions behind each column of a weight.
    """

    model: nn.Module
    sizes: dict[int, int]
    layers: dict[int, tuple[str, ...]]
    sides: dict[str, tuple[int, int]]
    norms: dict[str, int]
    flat: dict[str, int]
    uneven: set[int] = field(default_factory=set)

    def merging(self, rule: str, distance: str) -> Merging:
        """Copies of all weights in float64, none of them merged."""
        weights = {}
        for name, (rows, columns) in self.sides.items():
            module: Any = self.model.get_submodule(name)
            w = module.weight.detach().double().cpu()
            w = w.reshape(len(w), -1, self.flat.get(name, 1)) if w.ndim == 2 else w.flatten(2)
            bias = None if module.bias is None else module.bias.detach().double().cpu().clone()
            weights[name] = Weight(w.clone(), bias, rows, columns)
        scales = {}
        for name, group in self.norms.items():
            module = self.model.get_submodule(name)
            kept = {n: t for n, t in _tensors(module).items() if t is not None}
            scales[name] = Scale({n: t.detach().double().cpu().clone() for n, t in kept.items()}, group)
        count = {group: torch.ones(size, dtype=torch.int64) for group, size in self.sizes.items()}
        return Merging(weights, scales, count, rule, distance)

    def merged(self, merging: Merging) -> nn.Module:
        """The model with the channels that are left."""
        model = copy.deepcopy(self.model)
        keep = {group: (count > 0).nonzero()[:, 0] for group, count in merging.count.items()}
        for name, weight in merging.weights.items():
            module: Any = model.get_submodule(name)
            w, old = weight.values, module.weight
            rows, columns = keep.get(weight.rows), keep.get(weight.columns)
            w = w if rows is None else w[rows]
            w = w if columns is None else w[:, columns]
            shape = (len(w), -1) if old.ndim == 2 else (len(w), w.shape[1], *old.shape[2:])
            module.weight = nn.Parameter(w.reshape(shape).to(old), requires_grad=old.requires_grad)
            if weight.bias is not None:
                bias = weight.bias if rows is None else weight.bias[rows]
                module.bias = nn.Parameter(bias.to(old), requires_grad=old.requires_grad)
            one, other = ("in_features", "out_features") if old.ndim == 2 else ("in_channels", "out_channels")
            setattr(module, one, module.weight.shape[1])
            setattr(module, other, len(w))
        for name, scale in merging.scales.items():
            module = model.get_submodule(name)
            for n, tensor in scale.tensors.items():
                old = getattr(module, n)
                new = tensor[keep[scale.group]].to(old)
                setattr(module, n, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
            module.num_features = len(keep[scale.group])
        return model


def called_with(live: Session, batch: Batch, forward: Forward | None) -> Batch:
    """What the model is called with, also where `forward` takes the batch apart."""
    seen: list[tuple[Any, Any]] = []
    live.pre_hook(live.model, lambda module, args, kwargs: seen.append((args, kwargs)))
    run(live.model, batch, forward)
    return replace(batch, args=seen[0][0], kwargs=seen[0][1])


def channels(model: nn.Module, batch: Batch, *, fold: bool) -> Channels:
    """Trace a copy of the model, fold its batch normalisations, and find the groups. Refuses what cannot be traced."""
    try:
        net = copy.deepcopy(model).eval()
    except Exception as error:
        raise _attribution_refusals.not_traced(type(model).__name__, "no copy of it can be made", str(error)) from error
    graph = _traced(net, batch)
    if fold:
        _fold(net, graph)
    return _Groups(net, graph).found()


class _Tracer(fx.Tracer):
    at = "its own forward"

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        before, self.at = self.at, self.path_of_module(m)
        found = super().call_module(m, forward, args, kwargs)
        self.at = before
        return found


def _traced(net: nn.Module, batch: Batch) -> fx.GraphModule:
    tracer, kind = _Tracer(), type(net).__name__
    try:
        graph = fx.GraphModule(net, tracer.trace(net))
        places = [n for n in graph.graph.nodes if n.op == "placeholder"]
        given = list(batch.args) + [batch.kwargs.get(str(n.target), *n.args) for n in places[len(batch.args) :]]
        with torch.no_grad():
            ShapeProp(graph).propagate(*given)
    except Exception as error:
        raise _attribution_refusals.not_traced(kind, tracer.at, str(error).split("\n")[0]) from error
    return graph


def _fold(net: nn.Module, graph: fx.GraphModule) -> None:
    """Batch normalisations that read one weight's output alone go into it; they become identities."""
    modules = dict(net.named_modules())
    calls: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            calls[node.target] = calls.get(node.target, 0) + 1
    for node in graph.graph.nodes:
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, NORMS) or norm.running_mean is None or calls[node.target] > 1:
            continue
        source = node.args[0]
        weight: Any = modules.get(source.target) if source.op == "call_module" else None
        if (
            not isinstance(weight, LINEAR)
            or len(source.users) > 1
            or calls[source.target] > 1
            or is_parametrized(weight)
        ):
            continue
        if isinstance(weight, nn.Linear) and len(_shape(source)) != 2:  # the norm reads another axis
            continue
        fuse = fuse_linear_bn_weights if isinstance(weight, nn.Linear) else fuse_conv_bn_weights
        ones, zeros = torch.ones_like(norm.running_mean), torch.zeros_like(norm.running_mean)
        gain, shift = (ones if norm.weight is None else norm.weight), (zeros if norm.bias is None else norm.bias)
        w, b = fuse(weight.weight, weight.bias, norm.running_mean, norm.running_var, norm.eps, gain, shift)  # type: ignore[arg-type]
        weight.weight, weight.bias = nn.Parameter(w.detach()), nn.Parameter(b.detach())
        parent, _, name = node.target.rpartition(".")
        setattr(net.get_submodule(parent), name, nn.Identity())


class _Groups:
    """Walks the graph once; every tensor's channels belong to a group, and sums tie groups together."""

    def __init__(self, net: nn.Module, graph: fx.GraphModule) -> None:
        self._net, self._modules = net, dict(net.named_modules())
        self._uses = Counter(id(m.weight) for m in self._modules.values() if isinstance(m, LINEAR))
        self._parent: list[int] = []
        self._frozen: set[int] = set()
        self._uneven: set[int] = set()
        self._group: dict[fx.Node, tuple[int, int]] = {}  # and the positions that were flattened behind each channel
        self._last: set[int] = set()  # groups of channels on the last axis, behind others
        self._sides: dict[str, tuple[int, int]] = {}
        self._flat: dict[str, int] = {}
        self._norms: dict[str, int] = {}
        for node in graph.graph.nodes:
            self._visit(node)

    def found(self) -> Channels:
        """Groups that weights both make and read, and that nothing unknown touches."""
        root = self._root
        frozen = {root(g) for g in self._frozen}
        sides = {name: (root(rows), root(columns)) for name, (rows, columns) in self._sides.items()}
        made, read = {rows for rows, _ in sides.values()}, {columns for _, columns in sides.values()}
        free = (made & read) - frozen
        order = [g for rows, _ in sides.values() for g in (rows,) if g in free]
        groups = {g: k for k, g in enumerate(dict.fromkeys(order))}
        layers: dict[int, list[str]] = {k: [] for k in groups.values()}
        sizes: dict[int, int] = {}
        for name, (rows, _) in sides.items():
            if rows in groups:
                layers[groups[rows]].append(name)
                sizes[groups[rows]] = len(self._net.get_submodule(name).weight)  # type: ignore[arg-type]
        return Channels(
            self._net,
            sizes,
            {k: tuple(names) for k, names in layers.items()},
            {name: (groups.get(rows, -1), groups.get(columns, -1)) for name, (rows, columns) in sides.items()},
            {name: groups[root(g)] for name, g in self._norms.items() if root(g) in groups},
            self._flat,
            {groups[root(g)] for g in self._uneven if root(g) in groups},
        )

    def _visit(self, node: fx.Node) -> None:
        inputs = [n for n in node.all_input_nodes if n in self._group]
        if node.op == "call_module":
            self._module(node, inputs)
        elif node.op in ("call_function", "call_method"):
            self._function(node, inputs)
        elif node.op == "output":
            self._freeze(inputs)
        else:
            self._group[node] = (self._new(frozen=True), 1)

    def _module(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        module: Any = self._modules[str(node.target)]
        name = str(node.target)
        if len(inputs) == 1 and not self._fits(module, inputs[0]):
            self._freeze(inputs)
            self._group[node] = (self._new(frozen=True), 1)
            return
        if isinstance(module, LINEAR) and len(inputs) == 1 and name not in self._sides and self._own(module):
            group, flat = self._group[inputs[0]]
            made = self._new()
            if isinstance(module, nn.Linear) and len(_shape(node)) > 2:
                self._last.add(made)
            self._sides[name] = (made, group)
            self._flat[name] = flat
            self._group[node] = (made, 1)
            return
        if isinstance(module, (*HOMOGENEOUS, *POOLS, *ELEMENTWISE)) and len(inputs) == 1:
            self._group[node] = self._group[inputs[0]]
            if isinstance(module, ELEMENTWISE):
                self._uneven.add(self._group[node][0])
            return
        flat = self._group[inputs[0]][1] if len(inputs) == 1 else 0
        if isinstance(module, NORMS) and flat == 1 and name not in self._norms:
            self._norms[name] = self._group[inputs[0]][0]
            self._uneven.add(self._norms[name])
            self._group[node] = self._group[inputs[0]]
            return
        if isinstance(module, nn.Flatten) and module.start_dim == 1 and len(inputs) == 1:
            self._flatten(node, inputs[0])
            return
        if name in self._sides:  # a weight that is used again: what it makes and reads stays as it is
            self._frozen |= set(self._sides[name])
        self._freeze(inputs)
        self._group[node] = (self._new(frozen=True), 1)

    def _function(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        word = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        shapes = [_shape(n) for n in inputs]
        if (node.target in SUMS or word in ("add", "add_")) and len(inputs) == 2 and shapes[0] == shapes[1]:
            (a, flat), (b, other) = (self._group[n] for n in inputs)
            if flat == other and (a in self._last) == (b in self._last):
                self._tie(a, b)
                self._group[node] = (a, flat)
                return
        if word in POOLED and any(self._group[n][0] in self._last for n in inputs):
            self._freeze(inputs)
            self._group[node] = (self._new(frozen=True), 1)
            return
        if word in (*SAME, *CURVED) and len(inputs) == 1:
            self._group[node] = self._group[inputs[0]]
            if word in CURVED:
                self._uneven.add(self._group[node][0])
            return
        fixed = word in ("view", "reshape") and _last_size(node) != -1
        if word in ("flatten", "view", "reshape") and not fixed and len(inputs) == 1 and len(_shape(node)) == 2:
            self._flatten(node, inputs[0])
            return
        if word == "mean" and len(inputs) == 1 and self._keeps_channels(node, inputs[0]):
            self._group[node] = self._group[inputs[0]]
            return
        if word in ("size", "getattr", "getitem") and not _shape(node):
            return
        self._freeze(inputs)
        self._group[node] = (self._new(frozen=True), 1)

    def _keeps_channels(self, node: fx.Node, source: fx.Node) -> bool:
        """Whether a mean leaves the samples and the channels (axis 1) where they are."""
        axes = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        some = [axes] if isinstance(axes, int) else list(axes) if isinstance(axes, (tuple, list)) else []
        n = len(_shape(source))
        return bool(some) and all(isinstance(a, int) and a % n > 1 for a in some)

    def _flatten(self, node: fx.Node, source: fx.Node) -> None:
        before, after = _shape(source), _shape(node)
        group, flat = self._group[source]
        if len(before) < 2 or before[0] != after[0] or after[1] % before[1] or group in self._last:
            self._freeze([source])
            self._group[node] = (self._new(frozen=True), 1)
            return
        self._group[node] = (group, flat * (after[1] // before[1]))

    def _own(self, module: Any) -> bool:
        """Whether the weight is the module's alone, and nothing but itself."""
        return not is_parametrized(module) and self._uses[id(module.weight)] == 1

    def _fits(self, module: Any, source: fx.Node) -> bool:
        """Whether the module reads the axis on which the channels are."""
        if getattr(module, "groups", 1) != 1:
            return False
        deep = len(_shape(source)) > 2
        last = self._group[source][0] in self._last
        if isinstance(module, nn.Linear):
            return last or not deep or self._group[source][0] in self._frozen  # which stays as it is anyway
        return not (last and isinstance(module, (*LINEAR, *POOLS, *NORMS, nn.Flatten)))

    def _new(self, *, frozen: bool = False) -> int:
        self._parent.append(len(self._parent))
        if frozen:
            self._frozen.add(len(self._parent) - 1)
        return len(self._parent) - 1

    def _root(self, group: int) -> int:
        while self._parent[group] != group:
            group = self._parent[group]
        return group

    def _tie(self, a: int, b: int) -> None:
        self._parent[self._root(a)] = self._root(b)

    def _freeze(self, nodes: list[fx.Node]) -> None:
        self._frozen |= {self._group[n][0] for n in nodes}


def _last_size(node: fx.Node) -> Any:
    """The last size that a view was asked for: -1, a number, or one that was read off a tensor."""
    sizes = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    return sizes[-1] if sizes else None


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta")
    return tuple(getattr(meta, "shape", ()))


def _tensors(norm: Any) -> Mapping[str, Tensor | None]:
    return {n: getattr(norm, n) for n in ("weight", "bias", "running_mean", "running_var")}
