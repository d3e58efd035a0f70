"""The recordings that a comparison takes: given, or made of models on the same batches; their names and layers."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from repana._activations import Activations, with_tensors
from repana.comparison import _refusals
from repana.comparison._paired import check_paired
from repana.extraction._reinitialised import reinitialised
from repana.extraction._together import record_together

APART = 0x5EED0FF  # from the seed of the user, whose network may have been made from it


def recorded(
    a: Any,
    b: Any,
    data: Any,
    others: Mapping[str, Any],
    layers: Any,
    layers_b: Any,
    paired: Any,
    shared: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[Activations, Activations | None, dict[str, Activations]]:
    """The two recordings, and those that stand for the floors."""
    kinds = [isinstance(x, Activations) for x in (a, b) if x is not None]
    if any(kinds) != all(kinds):
        raise _refusals.models_and_recordings()
    floors = {name: x for name, x in others.items() if x is not None and x is not False}
    if kinds[0]:
        if data is not None:
            raise _refusals.data_for_models(True)
        _refusals.without(dict.fromkeys(options, True), "Activations, which are recorded already")
        for x in (a, b):
            if x is not None and not x.layers:
                raise _refusals.no_layers()
        first, second = (
            None if x is None else chosen_layers(x, at) for x, at in ((a, layers), (b, layers_b or layers))
        )
        found = {name: _floor(name, x, layers_b or layers) for name, x in floors.items()}
        assert first is not None
        for other in (*([] if second is None else [second]), *found.values()):
            check_paired(first, other, paired)
        return first, second, found
    _refusals.models_of(a, *([] if b is None else [b]))
    if data is None:
        raise _refusals.data_for_models(False)
    models, places, ready = [a, *([] if b is None else [b])], [], {}
    for name, x in floors.items():
        if isinstance(x, Activations):
            ready[name] = chosen_layers(x, layers_b or layers)
            continue
        fresh = (
            reinitialised(b if b is not None else a, seed=shared["seed"] + APART)
            if x is True and name == "untrained"
            else x
        )
        if not isinstance(fresh, nn.Module):
            raise _refusals.not_a_floor(name, type(x).__name__)
        models.append(fresh)
        places.append(name)
    each = [{"layers": layers}, *({"layers": layers_b or layers} for _ in models[1:])]
    made = record_together(models, data, layers, each=each, options=options, **shared)
    count = 1 if b is None else 2
    found = dict(zip(places, made[count:])) | ready
    for other in ready.values():
        check_paired(made[0], other, paired)
    return made[0], None if b is None else made[1], found


def chosen_layers(activations: Activations, layers: Any) -> Activations:
    """Some layers of a recording, by names or patterns."""
    found = with_tensors(activations)
    if layers == "auto":
        return found
    names: dict[str, None] = {}
    for asked in [layers] if isinstance(layers, str) else layers:
        fits = [asked] if asked in found.layers else fnmatch.filter(found.layers, asked)
        names |= dict.fromkeys(fits or [asked])
    return found.select(*names)


def _floor(name: str, given: Any, layers: Any) -> Activations:
    if not isinstance(given, Activations):
        raise _refusals.not_a_floor(name, type(given).__name__)
    return chosen_layers(given, layers)


def same_layers(name: str, second: Activations, other: Activations) -> None:
    if list(second.layers) != list(other.layers):
        raise _refusals.floor_layers(name, second.layers, other.layers)


def outputs_of(activations: Activations) -> tuple[str, ...]:
    """Layers that are the logits."""
    z = activations.logits
    if z is None:
        return ()
    return tuple(
        x for x in activations.layers
        if activations[x].shape == z.shape and torch.allclose(activations[x].cpu().float(), z.cpu().float(), atol=1e-5)
    )  # fmt: skip


def names_of(a: Any, b: Any) -> tuple[str, str]:
    """What the two are called: the class of each model, told apart where it is one."""
    found = []
    for x in (a, b):
        if x is None:
            continue
        found.append(str(x.provenance.get("model") or "arrays") if isinstance(x, Activations) else type(x).__name__)
    if len(found) == 1:
        return found[0], found[0]
    return (found[0], found[1]) if found[0] != found[1] else (f"{found[0]} a", f"{found[1]} b")


def named_as(names: Any) -> tuple[str, str] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != 2:
        raise _refusals.two_names(names)
    return str(names[0]), str(names[1])


def both_recorded(
    before: Any,
    after: Any,
    data: Any,
    layers: Any,
    paired: Any,
    names: Sequence[str] | None,
    shared: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[Activations, Activations, tuple[str, str]]:
    """Two recordings of the same samples, and what the two are called."""
    kinds = [isinstance(x, Activations) for x in (before, after)]
    if any(kinds) != all(kinds):
        raise _refusals.models_and_recordings()
    named = named_as(names) or ("before", "after")
    if all(kinds):
        if data is not None:
            raise _refusals.data_for_models(True)
        _refusals.without(dict.fromkeys(options, True), "Activations, which are recorded already")
        first, second = (chosen_layers(x, layers) for x in (before, after))
        check_paired(first, second, paired)
        return first, second, named
    _refusals.models_of(before, after)
    if data is None:
        raise _refusals.data_for_models(False)
    made = record_together([before, after], data, layers, options=options, **shared)
    return made[0], made[1], named
