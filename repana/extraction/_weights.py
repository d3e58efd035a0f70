"""Weights of a module, also where they are kept elsewhere while it does not run."""

from torch import Tensor, nn

from repana.extraction._sharded import whole


def weight_and_bias(module: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Copies of a linear module's weight and bias; None where an offloaded weight cannot be read."""
    weight, bias = held_tensor(module, "weight"), held_tensor(module, "bias")
    if weight is None or (bias is None and getattr(module, "bias", None) is not None):
        return None
    return weight.detach().clone(), None if bias is None else bias.detach().clone()


def held_tensor(module: nn.Module, name: str) -> Tensor | None:
    """A parameter or buffer of the module; of one that is offloaded, the copy that its hooks keep."""
    held = getattr(module, name, None)
    if not isinstance(held, Tensor) or held.device.type != "meta":
        return whole(held) if isinstance(held, Tensor) else None
    kept = getattr(getattr(module, "_hf_hook", None), "weights_map", None)  # accelerate: where offloaded weights lie
    try:
        found = None if kept is None else kept[name]
    except KeyError:
        return None
    return found if isinstance(found, Tensor) else None
