"""The depth profile that a person expects of a network, and its classifier, read from the probe."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from repana.extraction._addresses import Site
from repana.extraction._blocks import Blocks, numbers, weight_of
from repana.extraction._probe import Call, Leaf, Trace
from repana.extraction._tree import Path


@dataclass(frozen=True)
class Head:
    """The classifier: a linear module whose output is the logits, and which leaf of the model's output they are."""

    module: str
    call: int | None
    path: Path


def logits_leaf(trace: Trace, labels: Tensor | None) -> Leaf | None:
    """The (b, classes) output of the call with a column for every label: named logits, or the only such tensor.

    Of several without a name, as in a tuple (logits, features), the only one that a linear module gave; and where the
    model itself was not called, as with `forward="features"`, only what a linear module gave.
    """
    outputs = trace.outputs
    named = [leaf for leaf in outputs if leaf.path and leaf.path[-1] == "logits"]
    fit = [leaf for leaf in named or outputs if _could_be_logits(leaf, labels, trace)]
    if named or (len(outputs) == 1 and trace.root is not None):
        return fit[0] if fit else None
    linear = [leaf for leaf in fit if find_head(trace, leaf) is not None]
    return linear[0] if len(linear) == 1 else None


def token_logits_leaf(trace: Trace) -> Leaf | None:
    """The (b, t, classes) output of the call: named logits, or the only floating-point output."""
    outputs = [leaf for leaf in trace.outputs if leaf.dtype.is_floating_point and not leaf.nested]
    named = [leaf for leaf in outputs if leaf.path and leaf.path[-1] == "logits"]
    chosen = named or (outputs if len(outputs) == 1 else [])
    fit = [leaf for leaf in chosen if len(leaf.shape) == 3 and trace.layout(leaf).sample is not None]
    return fit[0] if len(fit) == 1 else None


def _could_be_logits(leaf: Leaf, labels: Tensor | None, trace: Trace) -> bool:
    if len(leaf.shape) != 2 or not leaf.dtype.is_floating_point or leaf.nested:
        return False
    layout = trace.layout(leaf)
    if layout.problem or layout.sample != 0 or layout.groups is not None or len(layout.merged) > 1:
        return False
    classes = labels is not None and not labels.is_floating_point() and labels.ndim == 1 and len(labels) > 0
    return not classes or labels is not None and int(labels.max()) < leaf.shape[1]


def find_head(trace: Trace, leaf: Leaf | None) -> Head | None:
    """The last module with a weight matrix of which that leaf, or its (log-)softmax, is only another form."""
    if leaf is None or leaf.traced is None:
        return None
    found = [(call.end, name, k) for call, name, k, out in _matrices(trace) if leaf.traced.view >> out & 1]
    if not found:
        return None
    _, name, k = max(found)
    return Head(name, k + 1 if len(trace.calls[name]) > 1 else None, leaf.path)


def _matrices(trace: Trace) -> Iterator[tuple[Call, str, int, int]]:
    """Calls of modules with a weight matrix, and the node of what came out."""
    for name, module in trace.modules.items():
        if not name or weight_of(module) is None:
            continue
        for k, call in enumerate(trace.calls[name]):
            out = numbers(call.outputs)
            if out is not None and out.traced is not None:
                yield call, name, k, out.traced.node


def _last_matrix(trace: Trace) -> str | None:
    """The last module with a weight matrix whose output, up to its form, is the only output, or up to norms
    "logits"."""
    outputs = [leaf for leaf in trace.outputs if leaf.dtype.is_floating_point and leaf.traced is not None]
    named = [leaf.traced.same for leaf in outputs if leaf.traced and leaf.path and leaf.path[-1] == "logits"]
    sets = named or [leaf.traced.view for leaf in outputs if leaf.traced and len(outputs) == 1]
    found = [(call.end, name) for call, name, _, out in _matrices(trace) if any(nodes >> out & 1 for nodes in sets)]
    return max(found)[1] if found else None


def auto(trace: Trace) -> list[Site]:
    """The depth profile that a person expects, in forward order.

    The input (if it is numbers, not token ids); the blocks of residual nets and transformers with what stands beside
    them, or the layers of plain nets (each linear or convolution after its normalisation and activation); the norms
    outside blocks; the input of the classifier and the logits. On tokens the classifier alone, and none over a
    vocabulary."""
    blocks, found = Blocks(trace), find_head(trace, logits_leaf(trace, trace.labels))
    head = _last_matrix(trace) if found is None else found.module
    last = _classifier(trace, head)
    sites: list[Site] = []
    floats = [x for x in trace.inputs if x.dtype.is_floating_point or x.dtype.is_complex]
    if floats and len(trace.inputs) == 1 and trace.layout(floats[0]).sample is not None:
        sites.append(Site("", "in", floats[0].path))
    units = blocks.units(head, last)
    for name, call in units:
        leaf = blocks.out(name, (call or 1) - 1)
        assert leaf is not None
        sites.append(Site(name, "out", leaf.path, call))
    if head is not None and last:
        k = len(trace.calls[head])
        call = k if k > 1 else None
        if len(last) > 1:
            read = numbers(trace.calls[head][k - 1].inputs)
            sites.append(Site(head, "in", () if read is None else read.path, call))
        if len(last) > 1 or blocks.node(head) not in {blocks.node(n, (c or 1) - 1) for n, c in units}:
            sites.append(Site(head, "out", (), call))
    if not units and not last:  # one layer, or no modules inside: its output is all there is
        outputs = [leaf for leaf in trace.outputs if trace.layout(leaf).sample is not None]
        sites.append(Site("", "out", outputs[0].path if outputs else ()))
    return sites


def _classifier(trace: Trace, head: str | None) -> list[str]:
    """What stands for the classifier: its input and itself; on tokens itself; nothing for logits over a vocabulary."""
    if head is None:
        return []
    out = numbers(trace.calls[head][-1].outputs)
    shape = () if out is None else out.shape
    words = {m.num_embeddings for m in trace.modules.values() if isinstance(m, nn.Embedding)}
    named = any(leaf.path and leaf.path[-1] == "logits" for leaf in trace.outputs)
    if len(shape) == 2:
        return [head + ":in", head]
    return [] if (named or (shape and shape[-1] in words)) else [head]


def call_of(site: Site, trace: Trace) -> Call:
    return trace.calls[site.module][(site.call or 1) - 1]
