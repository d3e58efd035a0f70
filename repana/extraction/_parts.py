"""Places inside modules that are no modules of their own, by address: `attn#h3` is what head 3 of attention gives,
`#w3` what it writes through the output projection, `#q3`, `#k1` and `#v1` a query, key or value as they meet (`#q3.raw`
before norms and rotary embeddings),
`moe#router` the scores of a router, `moe#e5` the tokens that it sends to expert 5.

Each is a `Part`, a module that gives what it is given: hooks read it as any other. Which places there are is seen in a
pass over a few samples of the first batch.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from repana.extraction import _part_refusals as refusals
from repana.extraction._addresses import SUFFIX, glob, split_pool
from repana.extraction._attention_heads import HeadResults, Projected, is_matrix
from repana.extraction._attention_tap import attention_tap
from repana.extraction._batches import Batch, Intake, run
from repana.extraction._compared import compare_outputs
from repana.extraction._projections import Projection, projections
from repana.extraction._routers import Routed, routed
from repana.extraction._session import Session, hookable
from repana.extraction._tree import arguments, leaves

SAMPLES = 4  # of the first batch
ADDRESS = re.compile(
    r"#(?:(?P<what>[hwqkve])(?P<number>0|[1-9]\d*)(?P<raw>\.raw)?|(?P<router>router)|(?P<map>map\d+))\Z"
)
RAW, INPUT = ".raw", "#in"
TITLES = {
    "h": "head",
    "w": "head",
    "q": "query",
    "k": "key",
    "v": "value",
    "e": "expert",
    "router": "router",
    "in": "input",
}


class Part(nn.Module):
    """Stands for one place inside a module; `routed` where it is given all tokens and only some belong to it."""

    def __init__(self, title: str, *, routed: bool = False) -> None:
        super().__init__()
        self.title, self.routed = title, routed

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Place:
    """The part `what` (one of hwqkve, or "router") number `number` of a module. `name` is its address."""

    name: str
    module: str
    what: str
    number: int
    kind: str  # class of the module
    source: Projection | None = None  # of a raw query, key or value
    groups: int = 0  # of keys and values in the module, 0 where they were not seen

    @property
    def title(self) -> str:
        number = "" if self.what in ("router", "in") else f" {self.number}"
        number += "" if self.source is None else ", raw,"
        return f"{TITLES[self.what]}{number} of {self.kind}"


@dataclass
class Heads:
    """How many heads an attention module has, and how many groups of keys and values, None where they were not seen."""

    heads: int
    groups: int | None = None
    writes: bool = False
    sources: dict[str, Projection] = field(default_factory=dict)

    def numbers(self) -> dict[str, int]:
        """How many there are of each kind of part."""
        met = {} if self.groups is None else {"q": self.heads, "k": self.groups, "v": self.groups}
        return {"h": self.heads, **({"w": self.heads} if self.writes else {}), **met}


@dataclass
class Inside:
    """What a pass showed inside modules: heads by attention module, experts by router."""

    heads: dict[str, Heads] = field(default_factory=dict)
    experts: dict[str, int] = field(default_factory=dict)

    def numbers(self, module: str) -> dict[str, int]:
        """How many there are of each kind of part of a module, 1 for a router."""
        if module in self.heads:
            return self.heads[module].numbers()
        return {"router": 1, "e": self.experts[module]} if module in self.experts else {}

    def names(self) -> Iterable[tuple[str, str, str, int]]:
        """Address, module, kind and number of every part."""
        for module in [*self.heads, *self.experts]:
            for what, count in self.numbers(module).items():
                for number in range(count):
                    yield f"{module}#{what}{'' if what == 'router' else number}", module, what, number
        for module, heads in self.heads.items():
            for what in heads.sources:
                for number in range(heads.numbers()[what]):
                    yield f"{module}#{what}{number}{RAW}", module, what, number


def requested_parts(layers: Any, modules: Mapping[str, nn.Module]) -> list[str]:
    """The addresses and patterns of a selection that name parts. A module's own name wins over every other reading."""
    given = [layers] if isinstance(layers, str) else layers if isinstance(layers, (list, tuple)) else []
    found = [_body(text) for text in given if isinstance(text, str) and "#" in text]
    return [body for body in found if body not in modules]


def _body(text: str) -> str:
    """Without pooling and number of the call."""
    body, _ = split_pool(text)
    while found := SUFFIX.search(body):
        body = body[: found.start()]
    return body


def places_of(live: Session, intake: Intake, raw: Any, requested: Sequence[str]) -> list[Place]:
    """The places that addresses and patterns name, as a pass over the first samples shows them."""
    if not requested:
        return []
    modules = dict(live.model.named_modules())
    found: dict[str, Place] = {}
    for text in (text for text in requested if text.endswith(INPUT)):
        for base in _modules_of(text, modules):
            found.setdefault(base + INPUT, Place(base + INPUT, base, "in", 0, type(modules[base]).__name__))
    others = [text for text in requested if not text.endswith(INPUT)]
    inside = _look(live, intake, raw) if others else Inside()
    for text in others:
        for name, module, what, number in _meant(text, inside, modules):
            kind = type(modules[module]).__name__
            source = inside.heads[module].sources[what] if name.endswith(RAW) else None
            groups = inside.heads[module].groups or 0 if module in inside.heads else 0
            found.setdefault(name, Place(name, module, what, number, kind, source, groups))
    return list(found.values())


def _modules_of(text: str, modules: Mapping[str, nn.Module]) -> list[str]:
    """The modules whose input an address or a pattern names."""
    base = text.removesuffix(INPUT)
    if text.startswith("re:"):
        return [name for name in modules if name and re.search(base[3:] + r"\Z", name)]
    if "*" in text or "?" in text:
        return [name for name in modules if name and glob(base).match(name)]
    if base not in modules:
        raise refusals.no_module(text, base, [name for name in modules if name])
    return [base]


def _meant(text: str, inside: Inside, modules: Mapping[str, nn.Module]) -> list[tuple[str, str, str, int]]:
    every = list(inside.names())
    if text.startswith("re:") or "*" in text or "?" in text:
        match = re.compile(text[3:]).search if text.startswith("re:") else glob(text).match
        chosen = [one for one in every if match(one[0]) and (one[0].endswith(RAW) == text.endswith(RAW))]
        if not chosen:
            raise refusals.no_part_matches(text, [one[0] for one in every])
        return chosen
    base, _, tail = text.rpartition("#")
    address = ADDRESS.search("#" + tail)
    if address is None:
        raise refusals.unknown_part(text, tail)
    if address["map"]:
        raise refusals.maps_are_elsewhere(text)
    if base not in modules:
        raise refusals.no_module(text, base, [*inside.heads, *inside.experts])
    what, number = address["what"] or "router", int(address["number"] or 0)
    owners = [m for m in (inside.experts if what in ("router", "e") else inside.heads) if _within(m, base)]
    if len(owners) != 1:
        raise refusals.owners(text, base, owners, what)
    numbers = inside.numbers(owners[0])
    if address["raw"] and what not in "qkv":
        raise refusals.unknown_part(text, tail)
    if what not in numbers:
        raise refusals.not_seen(text, what, list(numbers))
    if address["raw"] and what not in inside.heads[owners[0]].sources:
        raise refusals.no_source(text, owners[0])
    if number >= numbers[what]:
        raise refusals.no_such_number(text, TITLES[what], number, numbers[what])
    return [(text, owners[0], what, number)]


def _within(module: str, base: str) -> bool:
    return module == base or module.startswith(base + ".") or not base


# --- a pass that looks ------------------------------------------------------------------------------------------------


def _look(live: Session, intake: Intake, raw: Any) -> Inside:
    inside = Inside()

    def given(name: str, results: Tensor) -> None:
        inside.heads.setdefault(name, Heads(results.shape[1]))

    outputs: dict[str, Tensor] = {}

    def met(found: Projected) -> None:
        heads = inside.heads.setdefault(found.name, Heads(found.query.shape[1]))
        found = found.once(found.copies())
        heads.groups = found.key.shape[1]
        own = {n: x for n, x in outputs.items() if n.startswith(found.name + ".") or not found.name}
        heads.sources = heads.sources or projections(found, own)

    def keep(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[name] = output.detach()

    def written(found: HeadResults) -> None:
        inside.heads[found.name].writes |= found.weight is not None

    def experts(name: str, found: Routed) -> None:
        inside.experts.setdefault(name, found.scores.shape[1])

    batch = first_samples(live, intake, raw)
    with live.inner() as looking:
        watch_routers(looking, experts)
        for name, module in looking.model.named_modules():
            if is_matrix(module):
                looking.hook(module, partial(keep, name))
        with attention_tap(looking, on_results=written, on_projected=met, on_heads=given):
            run(looking.model, batch, intake.forward)
    if inside.heads:
        compare_outputs(live, batch, intake.forward)
    return inside


def first_samples(live: Session, intake: Intake, raw: Any) -> Batch:
    """A few samples of a batch, or all of them where the model does not run on a few."""
    batch = intake.unpack(raw).to(live.device)
    few = batch.first(SAMPLES)
    try:
        run(live.model, batch if few is None else few, intake.forward)
        return batch if few is None else few
    except Exception:
        other = intake.other(raw)
        if other is not None:
            return first_samples(live, other, raw)
        if few is None:
            raise
        run(live.model, batch, intake.forward)
        return batch


def watch_routers(live: Session, seen: Callable[[str, Routed], None], only: Iterable[str] | None = None) -> None:
    """Call `seen` with the name of every router that runs and what it gave."""

    def keep(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        found = routed(args, output)
        if found is not None:
            seen(name, found)

    for name, module in live.model.named_modules():
        if hookable(module) and (only is None or name in only):
            live.hook(module, partial(keep, name))


# --- the parts while a model runs -------------------------------------------------------------------------------------


def open_parts(live: Session, places: Sequence[Place]) -> None:
    """From now on the parts of a session are called with what is seen at their places."""
    if not places:
        return
    live.parts.update({place.name: Part(place.title, routed=place.what == "e") for place in places})
    of: dict[str, list[Place]] = {}
    for place in places:
        of.setdefault(place.module, []).append(place)

    def given(name: str, results: Tensor) -> None:
        for place in of.get(name, ()):
            if place.what == "h":
                live.parts[place.name](results[:, place.number])

    def met(found: Projected) -> None:
        tensors = {"q": found.query, "k": found.key, "v": found.value}
        for place in of.get(found.name, ()):
            if place.what in tensors and place.source is None:
                x = tensors[place.what]
                if place.what != "q" and x.shape[1] % place.groups:
                    raise refusals.groups_changed(place.name, place.groups, x.shape[1])
                copies = 1 if place.what == "q" else x.shape[1] // place.groups
                live.parts[place.name](x[:, place.number * copies])

    def written(found: HeadResults) -> None:
        for place in of.get(found.name, ()):
            if place.what == "w" and found.weight is not None:
                weight = found.weight[place.number]
                live.parts[place.name](found.results[:, place.number].to(weight.dtype) @ weight)

    def of_router(name: str, found: Routed) -> None:
        for place in of[name]:
            if place.what == "router":
                live.parts[place.name](found.scores)
            elif found.given is not None:
                live.routed.setdefault(place.name, []).append((found.chosen == place.number).any(1))
                live.parts[place.name](found.given)

    def raw(place: Place, source: Projection, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        live.parts[place.name](source.columns(output, place.what, place.number))

    def before(place: Place, module: nn.Module, args: Any, kwargs: Any) -> None:
        wide = (t for _, t in leaves(arguments(args, kwargs)) if t.is_floating_point() and t.ndim > 1)
        if (x := next(wide, None)) is not None:
            live.parts[place.name](x)

    for place in places:
        if place.what == "in":
            live.pre_hook(live.model.get_submodule(place.module), partial(before, place))
        if place.source is not None:
            live.hook(live.model.get_submodule(place.source.module), partial(raw, place, place.source))
    if any(place.source is None and place.what not in ("router", "e", "in") for place in places):
        live.enter(attention_tap(live, on_results=written, on_projected=met, on_heads=given))
    watch_routers(live, of_router, {place.module for place in places if place.what in ("router", "e")})
