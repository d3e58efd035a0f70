"""Layer addresses: how a person names a place in a network, and which places are meant by "auto".

name        the output of a module; `name:in` its input; `name@2` its second call
name[0]     a part of a tuple, `name.logits` of a mapping or a dataclass
name|mean   its pooling
layer*.conv2, re:layer[12], nn.Conv2d, a predicate (name, module) -> bool: every module that matches
input, output    the whole model's
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from repana import _check
from repana.extraction._pooling import POOLINGS
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
_SUFFIX = re.compile(r"(?P<call>@\d+)$|(?P<side>:in|:out)$|(?P<item>\[(?:\w+)\])$")


@dataclass(frozen=True)
class Site:
    """A place in the network. `call` None is the only call, or each; `pool` None is the default pooling."""

    module: str
    side: str = "out"
    part: Path = ()
    call: int | None = None
    pool: str | None = None
    loose: bool = False  # found by a pattern: stands for each of its tensors that can be recorded

    def __str__(self) -> str:
        name = self.module or ("input" if self.side == "in" else "output")
        call = "" if self.call is None else f"@{self.call}"
        side = ":in" if self.side == "in" and self.module else ""
        part = "".join(f"[{key}]" if isinstance(key, int) or str(key).isdigit() else f".{key}" for key in self.part)
        return name + call + side + part + (f"|{self.pool}" if self.pool else "")


def parse(text: str, modules: Iterable[str]) -> Site | None:
    """The site that an address names exactly, or None. A module's own name wins over every other reading."""
    names = set(modules) - {""}
    body, pool = split_pool(text)
    call, side = None, "out"
    part: list[str | int] = []
    while body not in names:
        if body in ("input", "output"):
            return Site("", "in" if body == "input" else "out", tuple(part), None, pool)
        found = _SUFFIX.search(body)
        if found:
            if found["call"]:
                call = int(found["call"][1:])
            elif found["side"]:
                side = found["side"][1:]
            else:
                key = found["item"][1:-1]
                part.insert(0, int(key) if key.isdigit() else key)
            body = body[: found.start()]
            continue
        body, dot, key = body.rpartition(".")
        if not dot or not key.isidentifier():
            return None
        part.insert(0, key)
    return Site(body, side, tuple(part), call, pool)


def split_pool(text: str) -> tuple[str, str | None]:
    """The pooling after the last bar, if it is one."""
    body, bar, pool = text.rpartition("|")
    if not bar:
        return text, None
    if pool not in POOLINGS:
        if text.startswith("re:"):
            return text, None
        raise _check.unknown_pooling(text, pool, POOLINGS)
    return body, pool


def select(layers: Any, trace: Trace) -> list[Site]:
    """The sites that a selection means, in the order in which they were asked for; nothing matched is an error."""
    if isinstance(layers, (str, type)) or callable(layers):
        layers = [layers]
    found: list[Site] = []
    for wanted in layers:
        sites = list(_one(wanted, trace))
        found += [site for site in sites if site not in found]
    if not found:
        raise _check.no_layers_given()
    return found


def _one(wanted: Any, trace: Trace) -> Iterable[Site]:
    names = trace.modules
    if isinstance(wanted, Site):
        return [wanted]
    if isinstance(wanted, type):
        return _ran((n for n, m in names.items() if isinstance(m, wanted)), trace, f"class {wanted.__name__}", None)
    if not isinstance(wanted, str) and callable(wanted):
        title = getattr(wanted, "__name__", "a predicate")
        return _ran((n for n, m in names.items() if wanted(n, m)), trace, title, None)
    if wanted == "auto":
        return auto(trace)
    if not isinstance(wanted, str):
        raise _check.layer_not_understood(wanted)
    if wanted.startswith("re:"):
        body, pool = split_pool(wanted[3:])
        try:
            pattern = re.compile(body)
        except re.error as error:
            raise _check.bad_pattern(wanted, str(error)) from None
        return _ran((n for n in names if pattern.search(n)), trace, wanted, pool)
    every = {alias: alias for alias, _ in trace.model.named_modules(remove_duplicate=False)}
    site = parse(wanted, every)
    if site is not None:
        return [replace(site, module=_first_name(site.module, trace))]
    if "*" in wanted or "?" in wanted:
        return _glob(wanted, trace)
    shown = [name for name in names if name and trace.calls[name]]
    raise _check.no_layer(wanted, shown)


def _first_name(name: str, trace: Trace) -> str:
    """A module registered under several names goes by its first."""
    if name in trace.modules:
        return name
    module = trace.model.get_submodule(name)
    return next(n for n, m in trace.modules.items() if m is module)


def _glob(wanted: str, trace: Trace) -> list[Site]:
    body, pool = split_pool(wanted)
    suffix = ""
    while found := _SUFFIX.search(body):
        suffix, body = found[0] + suffix, body[: found.start()]
    pattern = re.compile("".join({"*": ".*", "?": "."}.get(ch, re.escape(ch)) for ch in body) + r"\Z")
    matched = _ran((n for n in trace.modules if n and pattern.match(n)), trace, wanted, pool)
    sites = [replace(parse(site.module + suffix, trace.modules) or site, pool=pool) for site in matched]
    return [replace(site, loose=not site.part) for site in sites]


def _ran(names: Iterable[str], trace: Trace, wanted: str, pool: str | None) -> list[Site]:
    names = [name for name in names if name]
    if not names:
        raise _check.no_layer(wanted, [name for name in trace.modules if name and trace.calls[name]])
    ran = [name for name in names if trace.calls[name]]
    if not ran:
        raise _check.never_ran(wanted, names, _neighbours(names[0], trace))
    return [Site(name, pool=pool, loose=True) for name in ran]


def _neighbours(name: str, trace: Trace) -> list[str]:
    """The nearest modules around a name that did run: its parents first."""
    parents = [name[:i] for i, ch in enumerate(name) if ch == "."][::-1]
    return [p for p in parents if trace.calls.get(p)] or [n for n in trace.modules if n and trace.calls[n]]


# --- auto ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """The classifier: a linear module whose output is the logits, and which leaf of the model's output they are."""

    module: str
    call: int | None
    path: Path


def logits_leaf(trace: Trace, labels: Tensor | None) -> Leaf | None:
    """The (b, classes) output of the model: named logits, or the only tensor of two axes with enough columns."""
    outputs = trace.root.outputs
    named = [leaf for leaf in outputs if leaf.path and leaf.path[-1] == "logits"]
    candidates = named or (list(outputs) if len(outputs) == 1 else [])
    for leaf in candidates:
        if len(leaf.shape) == 2 and leaf.axis == 0 and leaf.dtype.is_floating_point and not leaf.nested:
            integers = labels is not None and not labels.is_floating_point() and labels.ndim == 1 and len(labels) > 0
            if not integers or labels is not None and int(labels.max()) < leaf.shape[1]:
                return leaf
    return None


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
        if isinstance(module, CONTAINERS):
            if len(composite) >= 2 or (composite and len(children) == 1):
                blocks |= {n for n, c in composite if not isinstance(c, (nn.ModuleList, nn.ModuleDict))}
        else:
            kinds = [type(c) for _, c in composite]
            blocks |= {n for n, c in composite if kinds.count(type(c)) >= 2 and not isinstance(c, CONTAINERS)}
    return {b for b in blocks if not any(other.startswith(b + ".") for other in blocks)}


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
