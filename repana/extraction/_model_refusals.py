"""Refusals of models and devices: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from repana._check import in_bytes, listed
from repana.errors import InputError, ModelError


def no_hooks(kind: str) -> ModelError:
    return ModelError(
        "RA128",
        f"`model` is a {kind}: a compiled program whose layers cannot be hooked. Give the eager nn.Module that it was "
        "made from.",
    )


def placed(device: str, how: str) -> ModelError:
    return ModelError(
        "RA129",
        f"`device` is {device!r}, but the model's weights were placed by {how}, and moving them would break that. "
        "Leave `device` out: the model is recorded where it is.",
    )


def lazy_weights(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA129",
        f"{listed(names)} are lazy: their shapes are not known until the model has run, and running it would draw its "
        "weights. Run it once on a batch, or load its weights.",
    )


def several_devices(devices: Sequence[str]) -> ModelError:
    return ModelError(
        "RA129",
        f"the model's weights lie on {listed(devices)} without hooks that move data between them. Put it on one "
        "device, or dispatch it with accelerate.",
    )


def weights_missing(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA129", f"{listed(names)} are on the meta device: the model holds no weights. Load them before recording."
    )


def not_a_module(model: Any) -> ModelError:
    hint = " Features that are arrays come by layer: {'layer1': features}." if hasattr(model, "shape") else ""
    return ModelError("RA100", f"`model` is of type {type(model).__name__}; expected a torch.nn.Module.{hint}")


def not_finite(address: str, batch: int, bad: int, size: int) -> InputError:
    return InputError(
        "RA204",
        f"layer {address!r} gave {bad} NaN or infinite value(s) of {size} in batch {batch} (counted from 0). "
        "Check that "
        "batch and the weights before this layer; in half precision, try dtype=None.",
    )


def out_of_memory(batch: int, layers: Sequence[tuple[str, int]], reason: str) -> ModelError:
    largest = listed([f"{name} ({in_bytes(size)} so far)" for name, size in layers], 3)
    return ModelError(
        "RA209",
        f"out of memory in batch {batch} (counted from 0): {reason.rstrip('.')}. Use smaller batches, lower `memory=` "
        f"so that features go to the host sooner, set `max_samples=`, or pool the largest layers: {largest}.",
    )


def no_device(device: str, reason: str) -> InputError:
    return InputError("RA212", f"`device` {device!r} cannot be used here: {reason}.")


def cut_layer(address: str, width: int, whole: str) -> ModelError:
    where = f" Record {whole!r}, where they are whole again." if whole else ""
    return ModelError(
        "RA130",
        f"layer {address!r} is cut over the processes of a tensor-parallel group: each has {width} of its features, or "
        f"the processes were given different data.{where}",
    )


def several_meshes() -> ModelError:
    return ModelError(
        "RA130",
        "the weights are cut along several axes of processes at once (tensor parallel inside data parallel); record "
        "with tensor parallelism or FSDP alone, which need no gradients here.",
    )


def sharded_store() -> ModelError:
    return ModelError(
        "RA130",
        "the weights of the model lie on several processes, which run every batch together; a store shares batches "
        "out. Record without `store=`, and save on the first process.",
    )


def nothing_whole() -> ModelError:
    return ModelError("RA130", "none of the layers is whole on one process; name layers behind row-wise modules.")
