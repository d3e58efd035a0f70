"""The kernel matrices of every parameter of a live network: which combinations of outputs are differentiated, over
which samples, and how many modules at a time."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana._ambient import free_memory
from repana.extraction._attribution import Reader
from repana.extraction._batches import Batch
from repana.extraction._tangents import Called, Owned, Tangents, one_direction, refuse_interaction, singles, tangents
from repana.kernels import _refusals
from repana.kernels._diagonals import diagonals, squares
from repana.kernels._grams import (
    Full,
    full_kernel,
    full_of_gradients,
    kernels,
    of_gradients,
    summed_gradients,
)

MANY_OUTPUTS, SKETCH = 64, 16
FEWEST = 4  # random directions whose spread says something
BLOCKS = 8  # of random directions, whose spread gives the error of a sketch
CHECKED = 6  # samples of the pass from which gradients are held against autograd
AGREES = 1e-3  # relative differences up to which they agree
Reading = Callable[[str, Sequence[Tensor], Tensor], None]
SHARE_OF_MEMORY = 0.25  # that gradients of the modules of one walk may take


class Directions:
    """Which combinations of outputs are differentiated."""

    def __init__(self, outputs: str, sketch: int | None, seed: int) -> None:
        if sketch and outputs not in ("trace", "mean", "full"):
            raise _refusals.sketch_of_one(outputs)
        self._outputs, self._sketch, self._seed = outputs, sketch, seed
        self.count, self.sketched = 0, False
        self._signs: Tensor | None = None

    def check_full(self, outputs: int, samples: int) -> None:
        """Refuse kernels of all pairs of outputs of a sketch, or beyond memory."""
        if self._sketch or (outputs > MANY_OUTPUTS and self._sketch is None):
            raise _refusals.full_of_a_sketch(outputs, MANY_OUTPUTS)
        needed, room = 3 * 8.0 * (outputs * samples) ** 2, _room()
        if needed > room:
            raise _refusals.full_beyond_memory(outputs, samples, needed, room)

    def __call__(self, z: Tensor, batch: Batch) -> Float[Tensor, "r b c"]:
        b, c = z.shape
        if self._outputs == "sum":
            made = torch.full((1, b, c), c**-0.5, dtype=torch.float64)
        elif self._outputs == "label":
            made = _of_labels(batch, b, c)
        else:
            sketch = SKETCH if self._sketch is None and c > MANY_OUTPUTS else self._sketch
            if self._signs is None:
                self.sketched = bool(sketch)
                self._signs = _signs(sketch, c, self._seed) if sketch else torch.eye(c, dtype=torch.float64)
            made = self._signs[:, None].expand(-1, b, -1)
            made = made * c**-0.5 if self._outputs == "mean" else made
        self.count = len(made)
        return made

    def blocks(self) -> list[slice]:
        """Parts of a random sketch, each a sketch of its own; all directions where they are not random."""
        return block_slices(self.count) if self.sketched else [slice(None)]


def sketch_error(blocks: Sequence[Tensor], directions: int) -> float:
    """The relative error of a sum of sketches over parts of the directions, from their spread: with X_b the sketch of
    m_b of R directions, |K| of the root of sum_b m_b |X_b - K|^2/((B - 1) R). NaN of fewer than 4 directions."""
    if len(blocks) < FEWEST:
        return math.nan
    sizes = [b.stop - b.start for b in block_slices(directions)]
    whole = torch.stack(list(blocks)).sum(0)
    spread = sum(m * float((x * (directions / m) - whole).square().sum()) for m, x in zip(sizes, blocks))
    size = float(whole.norm())
    return (spread / ((len(blocks) - 1) * directions)) ** 0.5 / size if size > 0 else math.nan


def block_slices(directions: int) -> list[slice]:
    """Up to `BLOCKS` parts of some directions."""
    count = min(BLOCKS, directions)
    ends = [round(i * directions / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


def _signs(count: int, outputs: int, seed: int) -> Float[Tensor, "r c"]:
    generator = torch.Generator().manual_seed(seed)
    return (2.0 * torch.randint(0, 2, (count, outputs), generator=generator).double() - 1) / count**0.5


def _of_labels(batch: Batch, samples: int, outputs: int) -> Float[Tensor, "one b c"]:
    y = batch.labels
    if y is None or y.ndim != 1 or y.is_floating_point() or int(y.min()) < 0 or int(y.max()) >= outputs:
        raise _refusals.labels_for_outputs()
    return torch.nn.functional.one_hot(y.long(), outputs).float()[None]


def first_samples(batches: Any, most: int) -> Iterator[Batch]:
    """The first samples of the data."""
    left = most
    for batch in batches:
        few = (batch.first(left) if batch.size > left else batch) or batch
        yield few
        left -= few.size
        if left <= 0:
            break


def verified(reader: Reader, batch: Batch, owned: Owned) -> tuple[Owned, set[str]]:
    """Modules whose gradients, as their kernels are made of them, are those of autograd for a random combination of the
    outputs, of a few samples. The parameters of others are taken sample by sample: of a module with a forward
    of its own, of one whose weight is used elsewhere too, of one that does not have the samples in their order as its
    first axis. Also the modules that these samples do not call, of which nothing is known yet.

    Raises ModelError (RA139) where the outputs of a sample depend on others in its batch.
    """
    few = batch.first(CHECKED) or batch
    with torch.no_grad():
        z = reader.logits(few)
    if few.size > 1:
        refuse_interaction(reader, few, z)
    if not owned.modules:
        return owned, set()
    weights = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z)
    together, _ = one_direction(reader, few, owned, weights)
    wrong: set[str] = set()
    for i, one in enumerate(singles(few)):
        if i not in (0, few.size // 2, few.size - 1):
            continue
        _, known = one_direction(reader, one, owned, weights[i : i + 1])
        for name, module in owned.modules.items():
            own = {n: known.get(path) for n, path in _paths(name, module).items()}
            if name not in wrong and not _agrees(module, together[name], own, i, few.size):
                wrong.add(name)
    uncalled = {name for name, calls in together.items() if not calls} - wrong
    return _loosened(owned, wrong), uncalled


def _loosened(owned: Owned, names: set[str]) -> Owned:
    """Without these modules, whose parameters are taken sample by sample."""
    loose = dict(owned.loose)
    for name in owned.modules.keys() & names:
        module = owned.modules[name]
        own = {path: module.get_parameter(n) for n, path in _paths(name, module).items()}
        loose |= {path: p for path, p in own.items() if owned.frozen or p.requires_grad}
    return Owned({name: m for name, m in owned.modules.items() if name not in names}, loose, owned.frozen)


def _paths(name: str, module: nn.Module) -> dict[str, str]:
    """The parameters of a module by their own name, with their path."""
    return {n: f"{name}.{n}" if name else n for n, _ in module.named_parameters(recurse=False)}


def _of_samples(calls: Sequence[Called], size: int) -> bool:
    """Whether every call has the samples as its first axis."""
    return all(c.given.shape[:1] == (size,) and c.gradients.shape[1:2] == (size,) for c in calls)


def _agrees(
    module: nn.Module, together: Sequence[Called], known: Mapping[str, Tensor | None], i: int, size: int
) -> bool:
    """Whether the gradients of one sample, formed from its rows of a pass of several, are those of it alone."""
    if not together:
        return all(g is None for g in known.values())
    if not _of_samples(together, size):
        return False
    calls = [_called(Called(c.given[i : i + 1], c.gradients[:, i : i + 1])) for c in together]
    try:
        formed = summed_gradients(module, calls)
    except RuntimeError:  # shapes that its class does not have
        return False
    for name, g in known.items():
        if name not in formed or formed[name].numel() != module.get_parameter(name).numel():
            return False
        right = torch.zeros_like(formed[name]) if g is None else g.flatten().to(formed[name])
        scale = max(float(right.norm()), float(formed[name].norm()))
        if float((formed[name] - right).norm()) > AGREES * scale:
            return False
    return True


def read_matrices(
    reader: Reader, batches: Sequence[Batch], owned: Owned, directions: Directions, read: Reading, *, full: bool = False
) -> Full | None:
    """K of every parameter, a few modules in each walk so that memory holds their gradients; the sum for every pair of
    directions, where it is `full`. `read` takes a parameter, its kernel (in parts that add up, of a random sketch) and
    the outputs of the network."""
    owned, unseen = verified(reader, batches[0], owned)
    sizes = _sizes(reader, batches[0], owned, directions, sum(batch.size for batch in batches))
    pairs = _Pairs() if full else None
    for group in _groups(sizes, _room()):
        part = _part(owned, group)
        seen, odd = _walk(reader, batches, part, directions, unseen)
        n = len(seen.outputs)
        empty = torch.zeros(n, n, dtype=torch.float64)
        for name, blocks, own in _formed(seen, odd, part, directions, kernels, of_gradients, empty):
            read(name, blocks, seen.outputs)
            if pairs and own is not None:
                pairs.add(own())
    return pairs.total if pairs else None


def read_diagonals(
    reader: Reader, batches: Iterable[Batch], owned: Owned, directions: Directions, read: Reading
) -> None:
    """Diagonals of the kernel of every parameter, batch by batch, each forgotten when it was read."""
    walked = iter(batches)
    first = next(walked)
    owned, unseen = verified(reader, first, owned)
    sizes = _sizes(reader, first, owned, directions, first.size)
    parts = [_part(owned, group) for group in _groups(sizes, _room())]
    found: dict[str, list[list[Tensor]]] = {}
    outputs: list[Tensor] = []
    for batch in chain([first], walked):
        made: list[Tensor] = []
        for part in parts:
            seen, odd = _walk(reader, [batch], part, directions, unseen)
            made.append(seen.outputs)
            empty = torch.zeros(batch.size, dtype=torch.float64)
            for name, blocks, _ in _formed(seen, odd, part, directions, diagonals, squares, empty):
                found.setdefault(name, []).append(blocks)
        outputs.append(made[0])
    whole = torch.cat(outputs)
    for name, by_batch in found.items():
        read(name, [torch.cat(own) for own in zip(*by_batch)], whole)


class _Pairs:
    """The sum over parameters of the kernel of every pair of directions."""

    def __init__(self) -> None:
        self.total: Full | None = None

    def add(self, part: Full) -> None:
        self.total = part.cpu() if self.total is None else self.total.add_(part.cpu())


def _part(owned: Owned, names: set[str]) -> Owned:
    return Owned(
        {name: module for name, module in owned.modules.items() if name in names},
        {name: p for name, p in owned.loose.items() if name in names},
        owned.frozen,
    )


def _walk(
    reader: Reader, batches: Sequence[Batch], owned: Owned, directions: Directions, unseen: set[str]
) -> tuple[Tangents, set[str]]:
    """Calls and gradients of some modules and parameters; the modules whose parameters are among the loose ones, since
    their calls do not have the samples in order, or were not held against autograd."""
    seen = tangents(reader, batches, owned.modules, owned.loose, directions)
    odd = {
        name
        for name, per_batch in seen.calls.items()
        if any(per_batch)
        and (name in unseen or not all(c and _of_samples(c, b.size) for c, b in zip(per_batch, batches)))
    }
    if odd:
        again = _loosened(Owned(owned.modules, {}, owned.frozen), odd).loose
        seen.loose |= tangents(reader, batches, {}, again, directions).loose
    return seen, odd


def _formed(
    seen: Tangents, odd: set[str], owned: Owned, directions: Directions, of_calls: Any, of_rows: Any, empty: Tensor
) -> Iterator[tuple[str, list[Tensor], Callable[[], Full] | None]]:
    """What is formed of calls and of gradients, parameter by parameter in blocks of the directions: `empty` of a module
    that is not called. With the first parameter of each module, what gives the kernel of all pairs of directions."""
    blocks = directions.blocks()
    for name, module in owned.modules.items():
        if name in odd:
            continue
        calls = [[_called(c) for c in of_batch] for of_batch in seen.calls.pop(name)]
        own = [n for n, p in module.named_parameters(recurse=False) if owned.frozen or p.requires_grad]
        made = [of_calls(module, _directed(calls, block)) for block in blocks] if any(calls) else []
        whole = partial(full_kernel, module, calls, own) if made else None
        paths = _paths(name, module)
        for parameter in own:
            yield paths[parameter], [part[parameter].cpu() for part in made] or [empty.clone() for _ in blocks], whole
            whole = None
    for name, found in seen.loose.items():
        rows = _single(found)
        yield name, [of_rows(rows[block]).cpu() for block in blocks], partial(full_of_gradients, rows)


def _single(x: Tensor) -> Tensor:
    """At least in single precision, in which sums of products do not overflow."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _called(call: Called) -> Called:
    return Called(_single(call.given), _single(call.gradients))


def _directed(calls: Sequence[Sequence[Called]], block: slice) -> list[list[Called]]:
    """Of some directions alone."""
    return [[Called(c.given, c.gradients[block]) for c in of_batch] for of_batch in calls]


def _sizes(reader: Reader, batch: Batch, owned: Owned, directions: Directions, samples: int) -> dict[str, float]:
    """Bytes that the inputs and gradients of each module take over so many samples, and the gradients of each loose
    parameter."""
    inputs: dict[str, int] = dict.fromkeys(owned.modules, 0)
    outputs: dict[str, int] = dict.fromkeys(owned.modules, 0)

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            given = args[0] if args else next(iter(kwargs.values()))
            inputs[name] += _patch(module) * given.numel()
            outputs[name] += output.numel()

        return hook

    with torch.no_grad(), reader.live.inner() as looking:
        for name, module in owned.modules.items():
            looking.hook(module, keep(name))
        z = reader.logits(batch)
    directions(z, batch)
    scale = samples / batch.size
    sizes = {name: 4.0 * scale * (inputs[name] + directions.count * outputs[name]) for name in inputs}
    return sizes | {name: 4.0 * directions.count * samples * p.numel() for name, p in owned.loose.items()}


def _patch(module: nn.Module) -> int:
    """How often a convolution reads each input."""
    conv: Any = module
    if not hasattr(conv, "kernel_size"):
        return 1
    each = 1
    for k, s in zip(conv.kernel_size, conv.stride):
        each *= max(1, -(-k // s))
    return each


def _room() -> float:
    """Bytes that may be worked with."""
    return SHARE_OF_MEMORY * free_memory(torch.device("cpu"))


def _groups(sizes: Mapping[str, float], room: float) -> list[set[str]]:
    groups: list[set[str]] = []
    held = room + 1
    for name, size in sizes.items():
        if size > room:
            raise _refusals.beyond_memory(name, size, room)
        if held + size > room:
            groups.append(set())
            held = 0.0
        groups[-1].add(name)
        held += size
    return groups
