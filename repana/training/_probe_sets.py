"""The samples that a monitor shows to a network, and how they are read: the same in every record of a training."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from repana._activations import Activations
from repana.errors import RepanaError
from repana.extraction._options import Options
from repana.extraction._probe_set import ProbeSet
from repana.extraction._record import record
from repana.extraction._session import unwrap
from repana.training import _processes, _refusals

OUT_OF_MEMORY = "RA209"
FEWEST = 4  # samples that everything measured needs
SAMPLED = 16  # entries of each weight that tell it apart
READING = ("forward", "labels", "mask", "class_names", "batch_dim", "device", "dtype", "pool", "layout", "groups")


@dataclass
class ProbeSets:
    """`given` by split; held in memory once a model says how their batches are read. `recording`: what else `record`
    takes."""

    given: Mapping[str, Any]
    layers: Any
    recording: Mapping[str, Any]
    max_samples: int
    batch_size: int
    seed: int
    held: dict[str, ProbeSet] = field(default_factory=dict)
    halved: bool = False

    @property
    def last(self) -> str:
        """The split that layers are compared on over time."""
        return list(self.given)[-1]

    @property
    def notes(self) -> list[str]:
        return [f"{split}: {held.note}" for split, held in self.held.items() if held.note]

    def hold(self, model: nn.Module) -> None:
        """Read the samples, once."""
        intake = self._intake(model)
        for split, data in self.given.items():
            if split not in self.held:
                held = ProbeSet.of(
                    data, intake, max_samples=self.max_samples, batch_size=self.batch_size, seed=self.seed
                )
                if held.samples < FEWEST:
                    raise _refusals.too_few_samples(split, held.samples)
                self.held[split] = held

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """What must be the same for records to be comparable."""
        weights = [[name, list(p.shape)] for name, p in unwrap(model)[0].named_parameters()]
        plain = (str, int, float, bool, type(None))
        settings = {
            "probe": {split: held.digest for split, held in self.held.items()},
            "samples": {split: held.samples for split, held in self.held.items()},
            "model": hashlib.sha256(repr(weights).encode()).hexdigest(),
            "layers": self.layers if isinstance(self.layers, str) else [_named(x) for x in self.layers],
            "recording": {k: v if isinstance(v, plain) else _named(v) for k, v in sorted(self.recording.items())},
            "seed": self.seed,
        }
        return json.loads(json.dumps(settings))

    def read(self, model: nn.Module) -> dict[str, Activations]:
        """The features of every split; where memory does not suffice, once more with halved batches."""
        try:
            return self._read(model)
        except (RepanaError, torch.OutOfMemoryError) as error:
            full = isinstance(error, torch.OutOfMemoryError) or getattr(error, "code", "") == OUT_OF_MEMORY
            if not full or _processes.is_cut(model):  # other processes would not halve theirs
                raise
            intake = self._intake(model)
            halves = {split: held.halved(intake) for split, held in self.held.items()}
            if None in halves.values():
                raise
            self.held = {split: held for split, held in halves.items() if held is not None}
            self.halved = True
        return self._read(model)

    def _read(self, model: nn.Module) -> dict[str, Activations]:
        return {
            split: record(model, list(held.batches), self.layers, progress=False, **self.recording)
            for split, held in self.held.items()
        }

    def _intake(self, model: nn.Module) -> Any:
        chosen = {k: v for k, v in self.recording.items() if k in READING}
        return Options.of(unwrap(model)[0], self.layers, **chosen).intake


def weights_digest(model: nn.Module) -> str:
    """What tells the weights of a model from those of another, and from its own after an update: some entries of each
    parameter, spread over it. Of a sharded model those of this process."""
    digest = hashlib.sha256()
    for name, p in unwrap(model)[0].named_parameters():
        own = p.detach()
        own = getattr(own, "to_local", lambda own=own: own)()
        if own.is_meta or own.layout != torch.strided or not own.numel():
            continue
        flat = own.reshape(-1)
        at = torch.linspace(0, flat.numel() - 1, min(SAMPLED, flat.numel()), device=flat.device).long()
        digest.update(f"{name} {tuple(own.shape)} ".encode())
        digest.update(flat[at].double().cpu().numpy().tobytes())
    return digest.hexdigest()


def _named(value: Any) -> str:
    """What is the same in every process: of functions and objects no address."""
    if isinstance(value, partial):
        return f"{_named(value.func)}{value.args}{sorted((value.keywords or {}).items())}"
    if isinstance(value, (str, int, float, bool, torch.dtype, torch.device, type(None))):
        return str(value)
    if isinstance(value, Mapping):
        return str({str(k): _named(v) for k, v in value.items()})
    if isinstance(value, (list, tuple, set, frozenset)):
        return str([_named(v) for v in value])
    return getattr(value, "__qualname__", None) or type(value).__qualname__
