"""The depth profile that a person expects of a network, and its classifier, read from the probe."""

from dataclasses import dataclass

from torch import Tensor, nn

from repana.extraction._addresses import Site
from repana.extraction._probe import Call, Leaf, Path, Trace

ELEMENTWISE = frozenset(
    [
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish"),
        *("Hardsigmoid", "Hardtanh", "Tanh", "Sigmoid", "Softplus", "Threshold", "GLU", "LocalResponseNorm"),
        *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "InstanceNorm1d", "InstanceNorm2d"),
        *("GroupNorm", "LayerNorm", "RMSNorm"),
    ]
)


CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Head:
    """The classifier: a linear module whose output is the logits, and which leaf of the model's output they are."""

    module: str
    call: int | None
    path: Path


def logits_leaf(trace: Trace, labels: Tensor | None) -> Leaf | None:
    """The (b, classes) output of the model with a column for every label: named logits, or the only such tensor.

    Of several without a name, as in a tuple (logits, features), the only one that a linear module gave.
    """
    outputs = trace.root.outputs
    named = [leaf for leaf in outputs if leaf.path and leaf.path[-1] == "logits"]
    fit = [leaf for leaf in named or outputs if _could_be_logits(leaf, labels)]
    if named or len(outputs) == 1:
        return fit[0] if fit else None
    linear = [leaf for leaf in fit if find_head(trace, leaf) is not None]
    return linear[0] if len(linear) == 1 else None


def _could_be_logits(leaf: Leaf, labels: Tensor | None) -> bool:
    if len(leaf.shape) != 2 or leaf.axis != 0 or not leaf.dtype.is_floating_point or leaf.nested:
        return False
    classes = labels is not None and not labels.is_floating_point() and labels.ndim == 1 and len(labels) > 0
    return not classes or labels is not None and int(labels.max()) < leaf.shape[1]


def find_head(trace: Trace, leaf: Leaf | None) -> Head | None:
    """The last linear module whose output, or its (log-)softmax, is that leaf: checked on the probe's numbers."""
    if leaf is None or leaf.tensor is None:
        return None
    best: tuple[int, Head] | None = None
    for name, module in trace.modules.items():
        weight = getattr(module, "weight", None)
        if not isinstance(module, nn.Linear) and not (isinstance(weight, Tensor) and weight.ndim == 2):
            continue
        for k, call in enumerate(trace.calls[name]):
            for out in call.outputs:
                if out.tensor is not None and not out.nested and _same_logits(out.tensor, leaf.tensor):
                    head = Head(name, k + 1 if len(trace.calls[name]) > 1 else None, leaf.path)
                    best = max(best or (call.end, head), (call.end, head), key=lambda pair: pair[0])
    return best[1] if best else None


def _same_logits(out: Tensor, logits: Tensor) -> bool:
    if out.numel() != logits.numel() or out.shape[-1] != logits.shape[-1]:
        return False
    z, target = out.reshape(logits.shape).float(), logits.float()
    return any(t.allclose(target, rtol=1e-5, atol=1e-6) for t in (z, z.log_softmax(1), z.softmax(1)))


def auto(trace: Trace) -> list[Site]:
    """The depth profile that a person expects, in forward order.

    Input (if it is numbers, not token ids), the blocks of residual nets and transformers, or the layers of plain nets
    (each linear or convolution after its normalisation and activation), the input of the classifier, the logits.
    """
    leaf = logits_leaf(trace, trace.batch.labels)
    head = find_head(trace, leaf)
    sites: list[Site] = []
    floats = [x for x in trace.root.inputs if x.dtype.is_floating_point and x.axis is not None]
    if floats and len(trace.root.inputs) == 1:
        sites.append(Site("", "in", floats[0].path))
    units = [u for u in _units("", trace, _blocks(trace)) if head is None or u[0] != head.module]
    for name, k in sorted(units, key=lambda unit: trace.calls[unit[0]][unit[1]].end):
        call = trace.calls[name][k]
        first = next((x for x in call.outputs if x.dtype.is_floating_point and (x.axis is not None or x.nested)), None)
        if first is not None:
            many = len(trace.calls[name]) > 1
            sites.append(Site(name, "out", first.path, k + 1 if many else None))
    if head is not None:
        sites = [site for site in sites if not _is_input_of(site, head, trace)]
        inner = trace.calls[head.module][(head.call or 1) - 1].inputs[0]
        sites += [Site(head.module, "in", inner.path, head.call), Site(head.module, "out", (), head.call)]
    elif leaf is not None and not any(_same_tensor(site, leaf, trace) for site in sites):
        sites.append(Site("", "out", leaf.path))
    return sites or [Site("", "out", trace.root.outputs[0].path)]


def call_of(site: Site, trace: Trace) -> Call:
    return trace.calls[site.module][(site.call or 1) - 1]


def _is_input_of(site: Site, head: Head, trace: Trace) -> bool:
    return _same_tensor(site, trace.calls[head.module][(head.call or 1) - 1].inputs[0], trace)


def _same_tensor(site: Site, leaf: Leaf, trace: Trace) -> bool:
    call = call_of(site, trace)
    side = call.inputs if site.side == "in" else call.outputs
    mine = next((x for x in side if x.path == site.part), None)
    if mine is None or mine.tensor is None or leaf.tensor is None or mine.nested or leaf.nested:
        return False
    same = mine.shape == leaf.shape and mine.version == leaf.version  # another version: written to in between
    return same and mine.tensor.data_ptr() == leaf.tensor.data_ptr()


def _blocks(trace: Trace) -> set[str]:
    """Composite modules that are repeated beside each other, the deepest such."""
    blocks: set[str] = set()
    for parent, module in trace.modules.items():
        children = [(_join(parent, key), child) for key, child in module.named_children()]
        composite = [(n, c) for n, c in children if trace.calls.get(n) and any(True for _ in c.children())]
        composite = [(n, c) for n, c in composite if _per_sample(trace.calls[n])]
        composite = [
            (n, c) for n, c in composite if not _branch(n, [m for m, d in composite if type(d) is type(c)], trace)
        ]
        if isinstance(module, CONTAINERS):
            if len(composite) >= 2 or (composite and len(children) == 1):
                blocks |= {n for n, c in composite if not isinstance(c, (nn.ModuleList, nn.ModuleDict))}
        else:
            kinds = [type(c) for _, c in composite]
            blocks |= {n for n, c in composite if kinds.count(type(c)) >= 2 and not isinstance(c, CONTAINERS)}
    return {b for b in blocks if not any(other.startswith(b + ".") for other in blocks)}


def _branch(name: str, alike: list[str], trace: Trace) -> bool:
    """Whether all modules of a kind beside each other read the same tensor: then they are branches, and no depth."""
    first = [trace.calls[n][0].inputs[0] if trace.calls[n][0].inputs else None for n in alike]
    if len(alike) < 2 or any(x is None or x.tensor is None or x.nested for x in first):
        return False
    return (
        len({(x.tensor.data_ptr(), x.shape, x.version) for x in first if x is not None and x.tensor is not None}) == 1
    )


def _per_sample(calls: list[Call]) -> bool:
    return any(leaf.axis is not None or leaf.nested for leaf in calls[0].outputs)


def _units(parent: str, trace: Trace, blocks: set[str]) -> list[tuple[str, int]]:
    """Calls (name, k) to show: blocks, composites beside blocks, and groups of leaves elsewhere."""
    found: list[tuple[str, int]] = []
    plain: list[tuple[int, str, int]] = []
    for key, child in trace.modules[parent].named_children():
        name = _join(parent, key)
        if name not in trace.modules or not _ran_inside(name, trace):
            continue
        holds_blocks = any(b.startswith(name + ".") for b in blocks)
        leaf = not any(True for _ in child.children())
        if name in blocks or (blocks and not leaf and not holds_blocks):
            found += [(name, k) for k in range(len(trace.calls[name]))]
        elif leaf:
            plain += [(call.start, name, k) for k, call in enumerate(trace.calls[name])]
        else:
            found += _units(name, trace, blocks)
    return found + _groups(sorted(plain), trace)


def _ran_inside(name: str, trace: Trace) -> bool:
    """Whether a module ran, or something in it did: lists and dicts of modules are seldom called themselves."""
    return any(calls for other, calls in trace.calls.items() if other == name or other.startswith(name + "."))


def _groups(plain: list[tuple[int, str, int]], trace: Trace) -> list[tuple[str, int]]:
    """Of each linear, convolutional or recurrent leaf, the last normalisation or activation that follows it."""
    groups: list[tuple[str, int]] = []
    for _, name, k in plain:
        module = trace.modules[name]
        kind = type(module).__name__
        if kind in ELEMENTWISE:
            if groups and _follows(groups[-1], (name, k), trace):
                groups[-1] = (name, k)
        elif any(p.ndim >= 2 for p in module.parameters(recurse=False)):
            groups.append((name, k))
    return groups


def _follows(previous: tuple[str, int], name: tuple[str, int], trace: Trace) -> bool:
    """The input of the one has the shape of the output of the other, and starts right after it ended."""
    before, after = trace.calls[previous[0]][previous[1]], trace.calls[name[0]][name[1]]
    shapes = [leaf.shape for leaf in before.outputs]
    return bool(after.inputs) and after.inputs[0].shape in shapes and after.start == before.end + 1


def _join(parent: str, key: str) -> str:
    return f"{parent}.{key}" if parent else key
