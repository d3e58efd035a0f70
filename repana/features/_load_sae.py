"""Sparse autoencoders from the files of the public packages, without running code of theirs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from repana import _check
from repana.extraction._checkpoints import read_checkpoint, states_in
from repana.features import _refusals
from repana.features._sparse_autoencoder import SparseAutoencoder, sparse_autoencoder

CONFIGS = ("cfg.json", "config.json")
WEIGHTS = ("sae_weights.safetensors", "sae.safetensors", "params.npz", "ae.pt")
# Names of tensors in files, by the name that they have here; matrices that are stored the other way round.
RENAMED = {
    "w_enc": "W_enc", "w_dec": "W_dec", "encoder.weight": "W_enc", "decoder.weight": "W_dec",
    "encoder.bias": "b_enc", "bias": "b_dec", "decoder_bias": "b_dec", "decoder.bias": "b_dec",
    "gate_bias": "b_gate", "mag_bias": "b_mag",
}  # fmt: skip
TURNED = ("encoder.weight", "decoder.weight")
# Architectures of files, by the name that they have here; classes of dictionary_learning among them.
ARCHITECTURES = {
    "standard": "standard", "jumprelu": "jumprelu", "topk": "topk", "gated": "gated", "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk", "AutoEncoder": "standard", "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated", "JumpReluAutoEncoder": "jumprelu", "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk", "MatryoshkaBatchTopKSAE": "batchtopk",
}  # fmt: skip
NOT_CENTRED = ("AutoEncoderNew", "JumpReluAutoEncoder")


@dataclass(frozen=True)
class Files:
    """What was found: tensors by their names here, the configuration without its levels, and where it came from."""

    arrays: dict[str, Tensor]
    config: dict[str, Any]
    title: str
    file: str = ""
    turned: tuple[str, ...] = ()  # matrices that the format stores the other way round


def load_sae(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    architecture: str | None = None,
    k: int | None = None,
    scale: float | None = None,
    centred: bool | None = None,
    allow_pickle: bool = False,
) -> SparseAutoencoder:
    """A `SparseAutoencoder` from a folder, a file, or a mapping of arrays.

    | format | files |
    |---|---|
    | SAELens 6 and older | cfg.json, sae_weights.safetensors |
    | Gemma Scope | params.npz |
    | sparsify | cfg.json, sae.safetensors |
    | dictionary_learning | config.json, ae.pt (read without running code of it) |
    | a mapping | W_enc (d, t), W_dec (t, d), b_enc, b_dec, threshold; b_gate, r_mag, b_mag; with `architecture` |

    Which way matrices stand is read from the widths that the configuration or the biases tell; where there are as many
    features as units and no configuration, it is refused. `architecture`, `k`, `scale` and `centred` (whether the
    encoder reads rows less the decoder bias) say what a file does not; the number by which inputs were scaled in
    training ("expected_average_only_in") is in none.

    Raises FileError for files that are missing, cut or pickled (without `allow_pickle`), InputError for what they do
    not say, or what does not fit.

    >>> import torch
    >>> from repana.features import load_sae
    >>> eye = torch.eye(3)
    >>> arrays = {"W_enc": torch.cat([eye, -eye], 1), "W_dec": torch.cat([eye, -eye]), "b_enc": torch.zeros(6)}
    >>> load_sae(arrays, architecture="topk", k=2)
    SparseAutoencoder(6 features of 3 units: topk)
    """
    found = _given(source) if isinstance(source, Mapping) else _read(Path(source), allow_pickle)
    arrays, config = found.arrays, found.config
    for name in ("W_enc", "W_dec"):
        if name not in arrays:
            raise _refusals.autoencoder_without(name, found.title, list(arrays))
    named = architecture or _architecture(found)
    if named not in ARCHITECTURES:
        raise _refusals.unknown_architecture(named, list(ARCHITECTURES))
    kind = ARCHITECTURES[named]
    if kind == "batchtopk":
        if "threshold" not in arrays:
            raise _refusals.batch_wide(found.title)
        kind = "jumprelu"  # at inference the threshold stands for the batch
    if config.get("transcode") or config.get("skip_connection"):
        raise _refusals.transcoder(found.title)
    d, t = _sizes(found)
    decoder = _standing(found, "W_dec", (t, d))
    if "scaling_factor" in arrays and config.get("finetuning_scaling_factor"):
        decoder = decoder * arrays["scaling_factor"][:, None]
    if centred is None:
        centred = bool(config.get("apply_b_dec_to_input", named not in NOT_CENTRED and found.file != "params.npz"))
    metadata = config.get("metadata")
    names = [config, metadata if isinstance(metadata, Mapping) else {}]
    hook = next((c[key] for c in names for key in ("hook_name", "hook_point", "submodule_name") if c.get(key)), "")
    return sparse_autoencoder(
        decoder,
        _standing(found, "W_enc", (d, t)),
        architecture=kind,
        encoder_bias=arrays.get("b_mag" if kind == "gated" and "b_mag" in arrays else "b_enc"),
        decoder_bias=arrays.get("b_dec"),
        threshold=arrays.get("threshold"),
        k=(k if k is not None else _count(found)) if kind == "topk" else None,
        gate_bias=arrays.get("b_gate"),
        gain=arrays.get("r_mag"),
        centred=centred,
        by_norm=bool(config.get("rescale_acts_by_decoder_norm", False)),
        normalization=_normalization(config),
        scale=scale,
        hook=str(hook),
        settings={"source": found.title, "architecture": named},
    )


def _given(source: Mapping[str, Any]) -> Files:
    return _files({str(name): value for name, value in source.items()}, {}, "the mapping", "")


def _read(path: Path, allow_pickle: bool) -> Files:
    folder = path if path.is_dir() else path.parent
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None) if path.is_dir() else path
    if file is None or not file.is_file():
        raise _refusals.no_autoencoder_files(path, WEIGHTS)
    config: dict[str, Any] = {}
    for name in CONFIGS:
        if (folder / name).is_file():
            try:
                config = json.loads((folder / name).read_bytes())
            except ValueError as error:
                raise _check.unreadable(folder / name, str(error)) from None
            if not isinstance(config, dict):
                raise _check.unreadable(folder / name, "it holds no mapping")
            break
    if file.suffix == ".npz":
        try:
            with file.open("rb") as handle, np.load(handle, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            raise _check.unreadable(file, str(error)) from error
    else:
        sets = states_in(read_checkpoint(file, allow_pickle))
        if len(sets) != 1:
            raise _check.unreadable(file, f"it holds {len(sets)} sets of tensors; expected one")
        arrays = next(iter(sets.values()))
    inner = config.get("trainer")
    return _files(dict(arrays), {**config, **inner} if isinstance(inner, dict) else config, str(path), file.name)


def _files(arrays: dict[str, Any], config: dict[str, Any], title: str, file: str) -> Files:
    turned = tuple(RENAMED[name] for name in TURNED if name in arrays)
    named = {RENAMED.get(name, name): _tensor(value, name) for name, value in arrays.items()}
    if "log_threshold" in named and "threshold" not in named:
        named["threshold"] = named.pop("log_threshold").exp()
    return Files(named, config, title, file, turned)


def _tensor(value: Any, name: str) -> Tensor:
    try:
        found = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise _refusals.no_array(name, str(error)) from None
    return found if found.dtype == torch.float64 else found.float()


def _architecture(found: Files) -> str:
    config = found.config
    of_file = config.get("architecture") or config.get("dict_class")
    if config.get("activation_fn_str", config.get("activation_fn")) == "topk":
        return "topk"
    if of_file:
        return str(of_file)
    if found.file == "sae.safetensors":
        return str(config.get("activation", "topk"))
    if found.file == "params.npz" and "threshold" in found.arrays:
        return "jumprelu"
    if "d_sae" in config:
        return "standard"  # of files that were written before there were others
    raise _refusals.no_architecture(found.title)


def _sizes(found: Files) -> tuple[int, int]:
    """Units and features."""
    config, arrays = found.config, found.arrays

    def length(*names: str) -> int | None:
        return next((len(arrays[n]) for n in names if n in arrays and arrays[n].ndim == 1), None)

    told = config.get("d_in", config.get("activation_dim"))
    d = told if told is not None else length("b_dec")
    many = config.get("d_sae") or config.get("dict_size") or config.get("num_latents")
    t = many or length("b_enc", "b_mag", "threshold", "b_gate")
    shape = tuple(arrays["W_enc"].shape)
    if len(shape) == 2 and (d is None) != (t is None) and shape[0] != shape[1]:
        one = d if d is not None else t
        other = shape[1] if shape[0] == one else shape[0]
        d, t = (one, other) if d is not None else (other, one)
    if d is None or t is None or (d == t and not config):
        raise _refusals.which_way(found.title, shape)
    return int(d), int(t)


def _standing(found: Files, name: str, shape: tuple[int, int]) -> Tensor:
    """A matrix in the shape that it has here."""
    value = found.arrays[name]
    stored = shape[::-1] if name in found.turned else shape
    if tuple(value.shape) == stored:
        return value.T if name in found.turned else value
    if tuple(value.shape) == stored[::-1]:
        return value if name in found.turned else value.T
    raise _refusals.autoencoder_shape(name, tuple(value.shape), shape, found.title)


def _count(found: Files) -> int | None:
    """How many features of a row are active at most, where the files say it."""
    kwargs = found.config.get("activation_fn_kwargs")
    inner = kwargs.get("k") if isinstance(kwargs, Mapping) else None
    stored = found.arrays.get("k")
    value = found.config.get("k", inner if inner is not None else stored)
    return None if value is None else int(value)


def _normalization(config: Mapping[str, Any]) -> str:
    value = config.get("normalize_activations")
    if value in (None, False):
        return "none"
    if value is True:
        return "expected_average_only_in"
    if value == "covariance_whitening":
        raise _refusals.whitened_rows()
    return str(value)
