"""The tangent kernel of a profiled network, summed over the parameters of every recorded layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from repana._estimate import NAN, Estimate, Flag, shown
from repana._table import Context, Outcome
from repana.errors import RepanaError
from repana.kernels._layer_kernels import LayerKernels
from repana.kernels._measures import Kernel
from repana.kernels._ntk import ntk as tangent

ABSENT = Estimate(NAN, note=Flag.NOT_APPLICABLE.note("of the whole network, or of a layer, alone"))
NO_COPIES = Estimate(NAN, note=Flag.NOT_APPLICABLE.note('no untrained copies (`ntk={"untrained": 3}`)'))
NO_EARLIER = Estimate(NAN, note=Flag.NOT_APPLICABLE.note('no earlier checkpoint (`ntk={"earlier": kernels}`)'))
OWN = ("forward", "labels", "mask", "device", "batch_size")  # options of a recording that `ntk` takes


@shown
@dataclass(frozen=True)
class ProfiledKernel(Kernel):
    """The kernel of a recorded layer in a profile, or of the whole network, which alone has an `accuracy` and a share
    `outside`, of parameters in no recorded layer. `learned` is the distance from the kernels of untrained copies,
    where they were asked for (`ntk={"untrained": 3}`), and `velocity` that from an earlier checkpoint (`earlier`)."""

    learned: Estimate
    accuracy: Estimate
    outside: Estimate
    velocity: Estimate


def ntk(context: Context) -> Outcome | None:
    """Of the network itself, where it is at hand."""
    live = context.network(OWN)
    if live is None:
        return None
    model, data, options = live
    options |= {name: context.settings[name] for name in ("permutations", "level", "seed")}
    options |= {**context.options.get("ntk", {}), "keep": "kernels"}  # which sums over layers are made of
    earlier = options.pop("earlier", None)
    try:
        found = tangent(model, data, **options)
        groups = {p: layer for p in found.matrices if (layer := _layer_of(p, context.activations.layers))}
        summed = found.grouped(groups)
        learned = summed.learned() if found.untrained else None
        moved = None if earlier is None else _in_layers(earlier, groups).velocity(summed)
    except RepanaError as error:
        context.fail(context.split, "", "ntk", error)
        return None
    outside = [found.layers[p].share.value for p in found.layers if p not in groups]
    share = Estimate(sum(outside), n=len(found.outputs), note=Flag.NO_INTERVAL.note("a sum over parameters"))
    whole = _profiled(found.total, learned.total if learned else NO_COPIES, moved.total if moved else NO_EARLIER)
    whole = replace(whole, share=ABSENT, accuracy=found.accuracy, outside=share)
    results = {
        layer: _profiled(
            summed.layers[layer],
            learned.layers[layer] if learned else NO_COPIES,
            moved.layers.get(layer, NO_EARLIER) if moved else NO_EARLIER,
        )
        for layer in context.activations.layers
        if layer in summed.layers
    }
    return Outcome({**results, "": whole}, settings=dict(found.settings))


def _in_layers(earlier: LayerKernels, groups: Mapping[str, str]) -> LayerKernels:
    """The kernels of an earlier checkpoint by recorded layer, where they were kept."""
    if not earlier.matrices:
        return earlier
    return earlier.grouped({p: layer for p, layer in groups.items() if p in earlier.matrices}, spectra=False)


def _profiled(kernel: Kernel, learned: Estimate, velocity: Estimate) -> ProfiledKernel:
    known = {f.name: getattr(kernel, f.name) for f in fields(kernel)}
    return ProfiledKernel(**known, learned=learned, velocity=velocity, accuracy=ABSENT, outside=ABSENT)


def _layer_of(parameter: str, layers: Sequence[str]) -> str:
    """The recorded layer that a parameter is in, the innermost of several."""
    inside = [x for x in layers if parameter.startswith(f"{x.removesuffix(':out')}.")]
    return max(inside, key=len, default="")
