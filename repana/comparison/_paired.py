"""Whether two recordings are of the same samples in the same order: by evidence, or by the user's word."""

import hashlib
from typing import Any

import torch

from repana import _check
from repana._activations import Activations
from repana.comparison import _refusals


def check_paired(a: Activations, b: Activations, paired: Any, *, inputs: bool = True) -> None:
    """Refuses recordings whose rows are not known to be the same samples. `paired=True` is the user's word for it,
    which only the number of rows can contradict; `inputs=False` where inputs differ by design."""
    _refusals.paired_option(paired)
    if len(a.sample) != len(b.sample):
        raise _refusals.other_rows(len(a.sample), len(b.sample))
    if paired is True:
        return
    one, other = (x.provenance.get("fingerprint") for x in (a, b))
    if one is not None and other is not None:
        mixed = one["content"] == other["content"]  # the same samples in another order
        if one["ordered"] != other["ordered"] and (inputs or mixed):
            raise _refusals.other_inputs(one, other)
    recorded = all("layers" in x.provenance for x in (a, b))
    if recorded and not torch.equal(a.sample.cpu(), b.sample.cpu()):
        raise _refusals.other_samples(first_difference(a.sample, b.sample))
    y, z = a.labels, b.labels
    if y is not None and z is not None and (y.shape != z.shape or not torch.equal(y.cpu(), z.cpu())):
        raise _refusals.other_labels(first_difference(y, z))


def draws_of(activations: Activations, rows: torch.Tensor, jackknife: int, seed: int) -> str:
    """A fingerprint of which samples are left out together: of two comparisons with the same, differences are
    paired."""
    text = hashlib.sha256(activations.sample.cpu()[rows.cpu()].contiguous().numpy().tobytes())
    if activations.labels is not None and not activations.labels.is_floating_point():
        text.update(activations.labels.cpu()[rows.cpu()].long().contiguous().numpy().tobytes())
    inputs = activations.provenance.get("fingerprint")
    if inputs is not None:
        text.update(str(inputs["ordered"]).encode())
    elif activations.layers:
        text.update(_check.features_of(activations[activations.layers[0]]).cpu().contiguous().numpy().tobytes())
    text.update(f"{jackknife} {seed}".encode())
    return text.hexdigest()[:16]


def first_difference(a: Any, b: Any) -> int:
    if a.shape != b.shape:
        return 0
    differs = (a.cpu() != b.cpu()).reshape(len(a), -1).any(1)
    return int(differs.int().argmax())
