"""Options that are given by layer: a mapping from address, module or pattern (`*`, `?`) to a value."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repana.extraction._addresses import Site, glob


def names_of(site: Site) -> tuple[str, ...]:
    """Address with and without its pooling and its part, and the module's name, most exact first."""
    bare = replace(site, pool=None)
    return tuple(dict.fromkeys((str(site), str(bare), str(replace(bare, part=())), site.module)))


def matches(key: str, site: Site) -> bool:
    """Whether a key names the site: its address or module, or a pattern for one of them."""
    pattern = glob(key)
    return any(key == name or pattern.match(name) for name in names_of(site))


def first_match(options: Mapping[str, Any], site: Site) -> tuple[bool, Any]:
    """Whether a key names the site, and the value of the first that does."""
    for key, value in options.items():
        if matches(key, site):
            return True, value
    return False, None


def exact_or_first(options: Mapping[str, Any], site: Site) -> Any:
    """The value under the site's own name, else of the first pattern; None where no key names it."""
    for name in names_of(site):
        if name in options:
            return options[name]
    return first_match(options, site)[1]


def unused(options: Mapping[str, Any], sites: Sequence[Site]) -> list[str]:
    return [key for key in options if not any(matches(key, site) for site in sites)]
