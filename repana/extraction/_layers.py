"""Layer addresses: how a person names a place in a network, and which places are meant by "auto".

name        the output of a module; `name:in` its input; `name@2` its second call
name[0]     a part of a tuple, `name.logits` of a mapping or a dataclass; with a pattern too: `stage_*.logits`
name|mean   its pooling
name#in     the first tensor among its inputs: the residual stream before a block
name#h3     a part of an attention module or a router, see `_parts`
layer*.conv2, re:layer[12], nn.Conv2d, a predicate (name, module) -> bool: every module that matches
input, output    the whole model's
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from repana.extraction import _refusals
from repana.extraction._addresses import SUFFIX, Site, glob, parse, split_pool
from repana.extraction._auto import auto
from repana.extraction._probe import Trace

PART = re.compile(r"\.\w+$")


def select(layers: Any, trace: Trace) -> list[Site]:
    """The sites that a selection means, in the order in which they were asked for; nothing matched is an error."""
    if layers is None:
        raise _refusals.layers_none()
    if isinstance(layers, (str, type, nn.Module)) or callable(layers):
        layers = [layers]
    if not isinstance(layers, Iterable):
        raise _refusals.layer_not_understood(layers)
    found: list[Site] = []
    for requested in layers:
        sites = list(_sites_of(requested, trace))
        found += [site for site in sites if site not in found]
    if not found:
        raise _refusals.no_layers_given()
    return found


def _sites_of(requested: Any, trace: Trace) -> Iterable[Site]:
    names = trace.modules
    if isinstance(requested, Site):
        return [requested]
    if requested is None:
        raise _refusals.layers_none()
    if isinstance(requested, nn.Module):
        raise _refusals.layer_is_object(requested, next((n for n, m in names.items() if n and m is requested), None))
    if isinstance(requested, type):
        return _sites_that_ran(
            (n for n, m in names.items() if isinstance(m, requested)), trace, f"class {requested.__name__}", None
        )
    if not isinstance(requested, str) and callable(requested):
        title = getattr(requested, "__name__", "a predicate")
        return _sites_that_ran((n for n, m in names.items() if requested(n, m)), trace, title, None)
    if requested == "auto":
        return [replace(site, offered=True) for site in auto(trace)]
    if not isinstance(requested, str):
        raise _refusals.layer_not_understood(requested)
    if requested.startswith("re:"):
        body, pool = split_pool(requested[3:])
        try:
            pattern = re.compile(body)
        except re.error as error:
            raise _refusals.bad_pattern(requested, str(error)) from None
        known = [*names, *(trace.parts if "#" in body else ())]
        return _sites_that_ran((n for n in known if pattern.search(n)), trace, requested, pool)
    every = {alias: alias for alias, _ in trace.model.named_modules(remove_duplicate=False)}
    site = parse(requested, [*every, *trace.parts])
    if site is not None:
        return [replace(site, module=_first_name(site.module, trace))]
    if "*" in requested or "?" in requested:
        return _glob(requested, trace)
    shown = [name for name in names if name and trace.calls[name]]
    raise _refusals.no_layer(requested, shown)


def _first_name(name: str, trace: Trace) -> str:
    """A module registered under several names goes by its first."""
    if name in trace.modules or name in trace.parts:
        return name
    module = trace.model.get_submodule(name)
    return next(n for n, m in trace.modules.items() if m is module)


def _glob(requested: str, trace: Trace) -> list[Site]:
    body, pool = split_pool(requested)
    suffix = ""
    while found := SUFFIX.search(body):
        suffix, body = found[0] + suffix, body[: found.start()]
    whole = body
    while not (names := _matched(body, trace)) and (found := PART.search(body)):
        suffix, body = found[0] + suffix, body[: found.start()]  # what no module is called may be a part of its output
    if not names:
        names, suffix = _matched(whole, trace), ""
    sites = [
        replace(parse(site.module + suffix, [*trace.modules, *trace.parts]) or site, pool=pool)
        for site in _sites_that_ran(names, trace, requested, pool)
    ]
    held = [site for site in sites if not site.part or _holds(site, trace)]
    return [replace(site, loose=not site.part, offered=True) for site in held or sites]


def _matched(body: str, trace: Trace) -> list[str]:
    pattern = glob(body)
    return [name for name in [*trace.modules, *(trace.parts if "#" in body else ())] if name and pattern.match(name)]


def _holds(site: Site, trace: Trace) -> bool:
    """Whether the module's output (or input) has the part."""
    call = trace.calls[site.module][(site.call or 1) - 1]
    side = call.inputs if site.side == "in" else call.outputs
    return any(leaf.path[: len(site.part)] == site.part for leaf in side)


def _sites_that_ran(names: Iterable[str], trace: Trace, requested: str, pool: str | None) -> list[Site]:
    names = [name for name in names if name]
    if not names:
        raise _refusals.no_layer(requested, [name for name in trace.modules if name and trace.calls[name]])
    ran = [name for name in names if trace.calls[name]]
    if not ran and names[0] in trace.by_forward:
        raise _refusals.called_as_forward(names[0], [n for n in trace.ran() if n.startswith(names[0] + ".")])
    if not ran:
        raise _refusals.never_ran(requested, names, _neighbours(names[0], trace))
    return [Site(name, pool=pool, loose=True, offered=True) for name in ran]


def _neighbours(name: str, trace: Trace) -> list[str]:
    """The nearest modules around a name that did run: its parents first."""
    parents = [name[:i] for i, ch in enumerate(name) if ch == "."][::-1]
    return [p for p in parents if trace.calls.get(p)] or [n for n in trace.modules if n and trace.calls[n]]
