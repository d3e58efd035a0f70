"""Layer addresses as text: how a person names a place in a network."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from repana.extraction import _refusals
from repana.extraction._pooling import POOLINGS, known
from repana.extraction._tree import Path

SUFFIX = re.compile(r"(?P<call>@\d+)$|(?P<side>:in|:out)$|(?P<item>\[(?:\w+)\])$")


@dataclass(frozen=True)
class Site:
    """A place in the network. `call` None is the only call, or each; `pool` None is the default pooling."""

    module: str
    side: str = "out"
    part: Path = ()
    call: int | None = None
    pool: str | None = None
    loose: bool = False  # found by a pattern: stands for each of its tensors that can be recorded
    offered: bool = False  # chosen by "auto" or a pattern, not named

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
        found = SUFFIX.search(body)
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


def glob(text: str) -> re.Pattern[str]:
    """A pattern of names, with `*` for any characters and `?` for one, that matches whole names."""
    return re.compile("".join({"*": ".*", "?": "."}.get(ch, re.escape(ch)) for ch in text) + r"\Z")


def split_pool(text: str) -> tuple[str, str | None]:
    """The pooling after the last bar, if it is one."""
    body, bar, pool = text.rpartition("|")
    if not bar:
        return text, None
    if not known(pool, POOLINGS):
        if text.startswith("re:"):
            return text, None
        raise _refusals.unknown_pooling(text, pool, POOLINGS)
    return body, pool
