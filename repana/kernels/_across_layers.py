"""The tangent kernel of a profiled network, summed over the parameters of every recorded layer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from repana._estimate import NAN, Estimate, Flag, shown
from repana._table import Context, Outcome
from repana.errors import RepanaError
from repana.kernels._measures import Kernel
from repana.kernels._ntk import ntk as tangent

ABSENT = Estimate(NAN, note=Flag.NOT_APPLICABLE.note("of the whole network, or of a layer, alone"))
NO_COPIES = Estimate(NAN, note=Flag.NOT_APPLICABLE.note('no untrained copies (`ntk={"untrained": 3}`)'))
NO_EARLIER = Estimate(NAN, note=Flag.NOT_APPLICABLE.note('no earlier checkpoint (`ntk={"earlier": kernels}`)'))
OWN = ("forward", "labels", "mask", "device", "batch_size")  # options of a recording that `ntk` takes


@shown
@dataclass(frozen=True)
class ProfiledKernel:
    """The kernel of a recorded layer in a profile, or of the whole network, which alone has an `accuracy` and a share
    `outside`, of parameters in no recorded layer. `learned` is the distance from the kernels of untrained copies,
    where they were asked for (`ntk={"untrained": 3}`), and `velocity` that from an earlier checkpoint (`earlier`)."""

    trace: Estimate
    share: Estimate
    top_share: Estimate
    effective_rank: Estimate
    participation: Estimate
    condition: Estimate
    alignment: Estimate
    learned: Estimate
    accuracy: Estimate
    outside: Estimate
    velocity: Estimate


def ntk(context: Context) -> Outcome | None:
    """Of the network itself, where it is at hand."""
    live = context.live()
    if live is None:
        return None
    model, data, recording = live
    options = {name: recording[name] for name in OWN if name in recording}
    options |= {name: context.settings[name] for name in ("permutations", "level", "seed")}
    options |= {**context.options.get("ntk", {}), "keep": "kernels"}  # which sums over layers are made of
    earlier = options.pop("earlier", None)
    try:
        found = tangent(model, data, **options)
        still = None if earlier is None else earlier.velocity(found)
    except RepanaError as error:
        context.fail(context.split, "", "ntk", error)
        return None
    groups = {p: layer for p in found.matrices if (layer := _layer_of(p, context.activations.layers))}
    summed = found.grouped(groups) if groups else None
    by_layer = summed.layers if summed else {}
    learned = summed.learned().layers if summed and found.untrained else {}
    moved: dict[str, Estimate] = {}
    if summed and still and earlier is not None:
        both = {p: layer for p, layer in groups.items() if p in earlier.matrices}
        moved = dict(earlier.grouped(both, spectra=False).velocity(summed).layers) if both else {}
    outside = [found.layers[p].share.value for p in found.layers if p not in groups]
    share = Estimate(sum(outside), n=len(found.outputs), note=Flag.NO_INTERVAL.note("a sum over parameters"))
    whole = _profiled(
        found.total, found.learned().total if found.untrained else NO_COPIES, still.total if still else NO_EARLIER
    )
    whole = replace(whole, share=ABSENT, accuracy=found.accuracy, outside=share)
    order = [layer for layer in context.activations.layers if layer in by_layer]
    results = {
        layer: _profiled(by_layer[layer], learned.get(layer, NO_COPIES), moved.get(layer, NO_EARLIER))
        for layer in order
    }
    return Outcome({**results, "": whole}, settings=dict(found.settings))


def _profiled(kernel: Kernel, learned: Estimate, velocity: Estimate) -> ProfiledKernel:
    known = {f.name: getattr(kernel, f.name) for f in fields(kernel)}
    return ProfiledKernel(**known, learned=learned, velocity=velocity, accuracy=ABSENT, outside=ABSENT)


def _layer_of(parameter: str, layers: Sequence[str]) -> str:
    """The recorded layer that a parameter is in, the innermost of several."""
    inside = [x for x in layers if parameter.startswith(f"{x.removesuffix(':out')}.")]
    return max(inside, key=len, default="")
