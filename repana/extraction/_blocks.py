"""The structure of a network by evidence of one pass: a block is a repeated module that adds to its input."""

from collections.abc import Iterator

from torch import Tensor, nn

from repana.extraction._probe import Call, Leaf, Trace
from repana.extraction._session import own_forward

Unit = tuple[str, int]  # a module and which of its calls, from 0


def plain_list(module: nn.Module) -> bool:
    """A container without a forward of its own."""
    return not own_forward(module)


def numbers(leaves: list[Leaf]) -> Leaf | None:
    """The first tensor of features: floating-point or complex numbers."""
    return next((leaf for leaf in leaves if leaf.dtype.is_floating_point or leaf.dtype.is_complex), None)


class Blocks:
    """What the pass showed of every module, and the units of a depth profile."""

    def __init__(self, trace: Trace) -> None:
        self._trace, self._modules, self._calls = trace, trace.modules, trace.calls
        parts = [name.split(".") for name, calls in trace.calls.items() if calls]
        self._ran = {".".join(p[:i]) for p in parts for i in range(len(p) + 1)}  # a module, or something in it
        self._has_weights = {
            name: any(p.ndim > 1 for child in module.children() for p in child.parameters())
            for name, module in self._modules.items()
        }

    # --- what the pass showed -----------------------------------------------------------------------------------------

    def calls(self, name: str) -> list[Call]:
        return self._calls.get(name, [])

    def out(self, name: str, call: int = 0) -> Leaf | None:
        found = self.calls(name)
        return numbers(found[call].outputs) if len(found) > call else None

    def node(self, name: str, call: int = 0) -> int | None:
        leaf = self.out(name, call)
        return leaf.traced.node if leaf is not None and leaf.traced is not None else None

    def _given(self, name: str, call: int = 0) -> list[int]:
        inputs = self.calls(name)[call].inputs
        return [leaf.traced.node for leaf in inputs if leaf.traced is not None and leaf.traced.live]

    def _residual(self, name: str) -> bool:
        """The output is one of the inputs plus something, or beside something (cat)."""
        leaf = self.out(name)
        return (
            leaf is not None and leaf.traced is not None and any(leaf.traced.plus >> n & 1 for n in self._given(name))
        )

    def _branches(self, names: list[str]) -> bool:
        """Modules of which some read the same tensor stand beside each other, not after each other."""
        first = [self._given(n)[0] for n in names if self._given(n)]
        return len(set(first)) < len(first)

    # --- structure ----------------------------------------------------------------------------------------------------

    def _children(self, name: str) -> list[str]:
        found = [f"{name}.{key}" if name else key for key, _ in self._modules[name].named_children()]
        return [n for n in found if n in self._ran and n in self._modules]

    def _composite(self, name: str) -> bool:
        """A module with weight matrices in modules of its own."""
        return bool(self.calls(name)) and self._has_weights[name] and not plain_list(self._modules[name])

    def _flat(self, name: str) -> Iterator[str]:
        """Children, with those of plain lists in their place."""
        for n in self._children(name):
            inner = plain_list(self._modules[n]) and any(True for _ in self._modules[n].children())
            yield from self._flat(n) if inner else [n]

    def _alone(self, name: str) -> bool:
        return plain_list(self._modules[name]) and len(self._children(name)) == 1

    def _chains(self, parent: str) -> dict[type, list[str]]:
        """Composites that repeat under a parent, one after the other, by class; one that runs again repeats too."""
        kinds: dict[type, list[str]] = {}
        for n in self._flat(parent):
            if self._composite(n):
                kinds.setdefault(type(self._modules[n]), []).append(n)
        again = {k: v for k, v in kinds.items() if len(v) > 1 or len(self.calls(v[0])) > 1}
        return {k: v for k, v in again.items() if not self._branches(v)}

    def _inside(self, name: str) -> list[str]:
        return [m for m in self._ran if m in self._modules and (m == name or m.startswith(name + "."))]

    def _holds_list(self, name: str) -> bool:
        """Whether a composite beside blocks has a list of its own, as a decoder has."""
        return any(not self.calls(m) and self._chains(m) for m in self._inside(name))

    def _classes(self) -> set[type]:
        """Block classes: under some parent they repeat and most of them are residual.

        Where it is just half of them, a class whose members hold such chains themselves is a stage, and no block.
        """
        found: set[type] = set()
        for parent in self._ran & self._modules.keys():
            for kind, names in self._chains(parent).items():
                twice = 2 * sum(map(self._residual, names))
                half = twice == len(names) and not any(self._chains(m) for m in self._inside(names[-1]))
                if twice > len(names) or half:
                    found.add(kind)
        return found

    # --- the profile --------------------------------------------------------------------------------------------------

    def units(self, head: str | None, last: list[str]) -> list[tuple[str, int | None]]:
        """Modules and calls of the depth profile in forward order, without the classifier `head`.

        `last` are the addresses that stand for the classifier: with its input among them, a unit of which that input is
        only another form is left out.
        """
        kinds = self._classes()
        blocks = {n for n, calls in self._calls.items() if calls and type(self._modules[n]) in kinds}
        blocks = {
            n for n in blocks if not any(".".join(n.split(".")[:i]) in blocks for i in range(1, n.count(".") + 1))
        }
        seen: set[int | None] = {None}
        views = 0
        if head is not None and len(last) != 1:
            seen.add(self.node(head))
        if head is not None and len(last) > 1:
            read = numbers(self.calls(head)[-1].inputs)
            views = read.traced.view if read is not None and read.traced is not None else 0
        found = [(self.calls(n)[k].end, n, k) for n, k in self._units("", blocks, head)]
        names: list[tuple[str, int | None]] = []
        for _, n, k in sorted(found):
            node = self.node(n, k)
            if node in seen or views >> (node or 0) & 1:
                continue
            seen.add(node)
            leaf = self.out(n, k)
            if leaf is not None and leaf.traced is not None and self._trace.layout(leaf).sample is not None:
                names.append((n, None if len(self.calls(n)) == 1 else k + 1))
        return names

    def _units(self, parent: str, blocks: set[str], head: str | None) -> list[Unit]:
        """Blocks and the composites beside them; in plain nets repeated composites; elsewhere groups of leaves."""
        found: list[Unit] = []
        plain: list[str] = []
        children = self._children(parent)
        beside = plain_list(self._modules[parent]) and any(n in blocks for n in children)
        repeated = {n for names in self._chains(parent).values() for n in names}
        for n in children:
            holds_head = head is not None and n not in repeated and (n == head or head.startswith(n + "."))
            holds_block = any(b.startswith(n + ".") for b in blocks)
            if n in blocks or (beside and self.calls(n) and holds_block and not plain_list(self._modules[n])):
                found += [(n, k) for k in range(len(self.calls(n)))]
            elif not self._has_weights[n]:
                plain += [n] if self.calls(n) else []  # a leaf, or a norm with its activation
            elif not self.calls(n) or holds_head or holds_block or self._alone(n):
                found += self._units(n, blocks, head)
            elif (blocks and not self._holds_list(n)) or (not blocks and n in repeated):
                plain.append(n)
            else:
                found += self._only(n, self._units(n, blocks, head))
        return found + self._groups([n for n in plain if n != head])

    def _only(self, name: str, units: list[Unit]) -> list[Unit]:
        """A list of modules that ends with its only unit stands for it: conv1 for conv1.2."""
        whole = plain_list(self._modules[name]) and len(units) == 1 and len(self.calls(name)) == 1
        return [(name, 0)] if whole and self.node(name) == self.node(*units[0]) else units

    def _groups(self, plain: list[str]) -> list[Unit]:
        """Of each call of a module with weights the last norm or activation right behind it; norms alone too."""
        calls = sorted((call.start, n, k) for n in plain for k, call in enumerate(self.calls(n)))
        groups: list[Unit] = []
        alone: set[Unit] = set()
        for _, n, k in calls:
            leaf, given = self.out(n, k), self._given(n, k)
            if leaf is None or self.node(n, k) in given:
                continue  # identities
            last = self.out(*groups[-1]) if groups else None
            follows = bool(groups) and given[:1] == [self.node(*groups[-1])]
            if any(p.ndim > 1 for p in self._modules[n].parameters()):
                single = not any(True for _ in self._modules[n].children())
                groups[len(groups) - (follows and single and groups[-1] in alone) :] = [(n, k)]
            elif follows and last is not None and leaf.shape == last.shape:
                groups[-1] = (n, k)
            elif any(True for _ in self._modules[n].parameters()):
                groups.append((n, k))
                alone.add((n, k))
        return groups


def weight_of(module: nn.Module) -> Tensor | None:
    """A weight matrix of the module's own; tables of embeddings are none."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding) else None
