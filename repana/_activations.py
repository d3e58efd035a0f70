"""What was recorded: features by layer, with labels, logits, the classifier and where it all came from."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repana import _check, _file_refusals
from repana._numbers import printable
from repana._typing import IGNORED, Array
from repana.store._format import MANIFEST, STORE
from repana.summaries.moments import Moments


@dataclass(frozen=True)
class Classifier:
    """The linear head: logits = features of `layer` @ weight' + bias."""

    weight: Tensor
    bias: Tensor | None
    layer: str


@dataclass(frozen=True, repr=False, init=False)
class Activations(Mapping[str, Any]):
    """Features (n, d) by layer address, in forward order; rows are the same samples in every layer.

    `labels` (n,), `logits` (n, classes) and `head` where the model and the data have them; `sample` (n,) numbers each
    row's sample by its place in the data (in the stream, where `provenance["sample_numbers"]` says so); `seen` counts
    all samples that passed. `moments[layer]` are exact over all of them, also where the features are a subset
    (`max_samples=`).

    From arrays of any framework: `Activations({"layer1": x, "layer2": z}, labels)`. Every row is then a sample of its
    own, and labels may be names.

    Raises InputError where layers, labels or logits differ in length, or a layer is not (n, d).

    >>> import repana
    >>> repana.Activations({"a": [[0.0, 1.0], [2.0, 3.0]]}, ["cat", "dog"])
    Activations(2 of 2 samples, 1 layers: a 2)
    """

    features: Mapping[str, Any]
    labels: Tensor | None
    logits: Tensor | None
    head: Classifier | None
    sample: Tensor
    seen: int
    exact: Mapping[str, Moments]
    provenance: Mapping[str, Any]

    def __init__(
        self,
        features: Mapping[str, Array],
        labels: Array = None,
        logits: Array = None,
        head: Classifier | None = None,
        sample: Tensor | None = None,
        seen: int = 0,
        exact: Mapping[str, Moments] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        fields = {"features": features, "labels": labels, "logits": logits, "head": head, "sample": sample}
        fields |= {"seen": seen, "exact": exact or {}, "provenance": provenance or {}}
        if sample is None:
            fields |= _numbered(features, labels, logits) if features else {"sample": torch.empty(0, dtype=torch.int64)}
            fields["provenance"] = {**fields.pop("names", {}), **fields["provenance"]}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __getitem__(self, layer: str) -> Any:  # a tensor, or `StoredFeatures`
        if layer not in self.features:
            raise _check.not_recorded(layer, list(self.features))
        return self.features[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.features) or tuple(self.exact)

    @property
    def has_tokens(self) -> bool:
        """Whether samples have several rows, one a token."""
        return self._repeated and self.provenance.get("data") != "weights"

    @property
    def _repeated(self) -> bool:
        return int(self.sample.unique().numel()) < len(self.sample)

    @property
    def moments(self) -> Mapping[str, Moments]:
        """The moments of every layer over all samples seen; computed when read, unless they were recorded."""
        return _MomentsOf(self)

    @property
    def complete(self) -> bool:
        """Whether the features are those of all samples seen."""
        return len(self.sample) > 0 and int(self.sample.unique().numel()) == self.seen

    def select(self, *layers: str) -> "Activations":
        """Some layers only."""
        exact = {layer: self.exact[layer] for layer in layers if layer in self.exact}
        features = {layer: self[layer] for layer in layers}
        return Activations(
            features, self.labels, self.logits, self.head, self.sample, self.seen, exact, self.provenance
        )

    def __repr__(self) -> str:
        inside = ", ".join(f"{layer} {_width(self, layer)}" for layer in self.layers[:4])
        more = f", and {len(self.layers) - 4} more" if len(self.layers) > 4 else ""
        return printable(f"Activations({self._size()}, {len(self.layers)} layers: {inside}{more})")

    def _size(self) -> str:
        n = len(self.sample)
        if not self._repeated:
            return f"{n} of {self.seen} samples"
        groups = "trees" if self.provenance.get("data") == "weights" else "samples"
        return f"{n} rows of {self.seen} {groups}"

    def _repr_html_(self) -> str:
        import html

        lines = "".join(
            f"<tr><td>{html.escape(layer)}</td><td>{_width(self, layer)}</td></tr>" for layer in self.layers
        )
        return f"<p>Activations: {self._size()}</p><table><tr><th>layer</th><th>width</th></tr>{lines}</table>"

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the features of every layer, labels, logits and sample numbers for other tools: an `.npz` archive, or
        a `.zarr` group (with the extra `[zarr]`). By batches, so that layers on disk need not fit the memory; bfloat16
        is widened to float32. In a group "/" of a name is "%2F". `repana analyze FILE.npz` reads an archive again.

        Raises FileError for another ending, where something is in the way of a group, or where there is no room.
        """
        from repana.store._export import export

        others = {"labels": self.labels, "logits": self.logits, "sample": self.sample if len(self.sample) else None}
        others = {name: rows for name, rows in others.items() if rows is not None}
        taken = sorted(others.keys() & self.features.keys())
        if taken:
            raise _file_refusals.name_taken(taken)
        return export({**self.features, **others}, path)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a folder, a store of one lane; what was saved there before is replaced by one rename.

        Raises FileError where the folder cannot be written to or has no room; what was there is then as it was.
        """
        from repana.store import _write

        folder = Path(path)
        rows: dict[str, Any] = {f"features/{layer}": self.features[layer] for layer in self.features}
        rows |= {name: x for name, x in (("labels", self.labels), ("logits", self.logits)) if x is not None}
        if len(self.sample):
            rows["sample"] = self.sample
        layers = [[x, int(v.shape[1]), str(v.dtype).removeprefix("torch.")] for x, v in self.features.items()]
        about = {"layers": layers, "n": len(self.sample), "lanes": 1, "sums": list(self.exact)}
        totals = {"seen": self.seen, "rows": len(self.sample), "head": None if self.head is None else self.head.layer}
        _write.save(folder, about, rows, _sums_of(self.head, self.exact), totals, self.provenance)
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: str = "first", partial: bool = False) -> "Activations":
        """Open what `save` or a recording to a `store=` wrote. Features stay on disk until they are read: a layer that
        lies in one file is a tensor mapped into memory, others are `StoredFeatures`.

        `verify`: digests of files are compared when a process first reads them ("first", of stores below 10 GB),
        "always", or "never". `partial`: of a recording that goes on, the lanes that are finished.

        Raises FileError for what is no store, of a newer version, cut or changed, or not recorded to the end.
        """
        from repana.store import _read

        folder = Path(path)
        if (folder / OLD).is_file() and _format_of(folder) == 1:
            return _of_format_1(folder)
        if not partial and (folder / STORE).is_file() and not (folder / MANIFEST).is_file():
            raise _file_refusals.unfinished(folder, *_read.progress(folder))
        if not (folder / MANIFEST).is_file() and not partial:
            raise _file_refusals.not_activations(folder, [MANIFEST])
        return _of_store(_read.opened(folder, verify=verify, partial=partial))


OLD = "activations.safetensors"  # of format 1
MOMENTS = ("classes", "count", "mean", "trace", "spread", "scatter")


def _sums_of(head: Classifier | None, exact: Mapping[str, Moments]) -> dict[str, Tensor]:
    """Tensors that no row has: the classifier and the moments."""
    found: dict[str, Tensor] = {}
    if head is not None:
        found["head/weight"] = head.weight
        found |= {} if head.bias is None else {"head/bias": head.bias}
    for layer, moments in exact.items():
        found |= {f"moments/{layer}/{name}": t for name, t in moments.tensors().items() if t is not None}
    return found


def _of_store(store: Any) -> Activations:
    """Activations of an opened store; moments are those of its lanes, added in their order."""
    head, exact = None, {}
    for lane in store.lanes:
        tensors = store.sums(lane)
        if "head/weight" in tensors:
            head = Classifier(tensors["head/weight"], tensors.get("head/bias"), store.totals["head"])
        for layer in store.about["sums"]:
            if f"moments/{layer}/count" in tensors:
                here = _moments_of(tensors, layer)
                exact[layer] = exact[layer] + here if layer in exact else here
    sample = store.column("sample")
    labels, logits = store.column("labels"), store.column("logits")
    sample = torch.empty(0, dtype=torch.int64) if sample is None else sample
    chosen = store.chosen()
    if chosen is not None:
        sample, labels, logits = (None if t is None else t[chosen] for t in (sample, labels, logits))
    return Activations(
        _Stored(store, chosen), labels, logits, head, sample, store.totals["seen"], exact, store.provenance
    )


def _moments_of(tensors: Mapping[str, Any], layer: str) -> Moments:
    known: dict[str, Any] = {name: tensors.get(f"moments/{layer}/{name}") for name in MOMENTS}
    return Moments(**known)


def _format_of(folder: Path) -> Any:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("format")
    except (OSError, ValueError, AttributeError):
        return None


def _of_format_1(folder: Path) -> Activations:
    """What the first version wrote: one file of tensors and a manifest."""
    from safetensors import SafetensorError, safe_open

    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        file = safe_open(folder / OLD, framework="pt")
        names = set(file.keys())
        tensors = {name: file.get_tensor(name) for name in names if not name.startswith("features/")}
        exact = {layer: _moments_of(tensors, layer) for layer in manifest["moments"]}
        weight = tensors.get("head/weight")
        head = None if weight is None else Classifier(weight, tensors.get("head/bias"), manifest["head"])
        features = {layer: file.get_tensor(f"features/{layer}") for layer in manifest["layers"]}
        return Activations(
            features, tensors.get("labels"), tensors.get("logits"), head, tensors["sample"], manifest["seen"], exact,
            manifest["provenance"],
        )  # fmt: skip
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _file_refusals.damaged(folder, OLD, str(error)) from None


class _Stored(Mapping[str, Any]):
    """Features of a store by layer."""

    def __init__(self, store: Any, chosen: Tensor | None) -> None:
        self._store, self._chosen = store, chosen
        self._layers = [layer for layer, _, _ in store.about["layers"]] if store.parts else []

    def __getitem__(self, layer: str) -> Any:
        if layer not in self._layers:
            raise KeyError(layer)
        return self._store.features(layer, self._chosen)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class _Read(Mapping[str, Tensor]):
    """Features by layer, each read into memory when asked for; the last one stays there."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        self._features = features
        self._last: tuple[str, Tensor] | None = None

    def __getitem__(self, layer: str) -> Tensor:
        if self._last is None or self._last[0] != layer:
            self._last = None  # before the next one takes its memory
            self._last = layer, _check.tensor_of(self._features[layer], layer)
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


def with_tensors(activations: Activations) -> Activations:
    """The same activations, of which every layer is a tensor: one that lies in several files is read when asked for."""
    stored = isinstance(activations.features, _Stored)
    return replace(activations, features=_Read(activations.features)) if stored else activations


class _MomentsOf(Mapping[str, Moments]):
    """Moments by layer: the recorded ones, or those of the features, computed when asked for."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations

    def __getitem__(self, layer: str) -> Moments:
        activations = self._activations
        if layer in activations.exact:
            return activations.exact[layer]
        x = _check.features_of(activations[layer])
        if activations.labels is None:
            return Moments.of(x)
        codes = _check.labels_of(activations.labels, len(x))[0]
        keep = (codes != IGNORED).nonzero()[:, 0]
        return Moments.of(x[keep.to(x.device)], codes[keep])

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations.layers)

    def __len__(self) -> int:
        return len(self._activations.layers)


def _width(activations: Activations, layer: str) -> int:
    return activations.exact[layer].d if layer in activations.exact else activations.features[layer].shape[1]


def _numbered(features: Mapping[str, Array], labels: Array, logits: Array) -> dict[str, Any]:
    """Fields of activations that were made by hand: tensors of one length, every row a sample of its own."""
    layers = {str(name): _check.layer_of(x, str(name)) for name, x in features.items()}
    sizes = {name: len(x) for name, x in layers.items()}
    n = next(iter(sizes.values()))
    if len(set(sizes.values())) > 1:
        raise _check.layer_lengths(sizes)
    codes, names = (None, ()) if labels is None else _check.row_labels(labels, n)
    z = None if logits is None else _check.matrix(logits, "logits", n, None, "one row per sample")
    if names and z is not None:
        raise _check.names_without_numbers(names, "logits")
    said = {"data": "arrays", "samples": n} | ({"class_names": list(names)} if names else {})
    return {"features": layers, "labels": codes, "logits": z, "sample": torch.arange(n), "seen": n, "names": said}


def renumbered(held_out: Activations, train: Activations) -> Activations:
    """Held-out activations whose named classes have the numbers that they have in those to train on."""
    names = [list(a.provenance.get("class_names") or ()) for a in (held_out, train)]
    if held_out.labels is None or train.labels is None or names[0] == names[1]:
        return held_out
    if not names[0] or not names[1]:
        kinds = ["names" if n else "numbers" for n in names]
        raise _check.held_out_kinds(kinds[1], kinds[0])
    unknown = [name for name in names[0] if name not in names[1]]
    if unknown:
        raise _check.held_out_class(unknown[0], names[1])
    order = torch.tensor([names[1].index(name) for name in names[0]])
    codes = held_out.labels
    moved = torch.where(codes == IGNORED, codes, order[codes.clamp_min(0)])
    return replace(held_out, labels=moved, provenance={**held_out.provenance, "class_names": names[1]})


def from_arrays(arrays: Mapping[str, Any], source: str) -> Activations:
    """Activations from named arrays: optional `labels` (or `y`, `target`) and `logits`; all else of 2-D is a layer."""
    given = dict(arrays)
    labels = next((given.pop(name) for name in ("labels", "label", "y", "target", "targets") if name in given), None)
    logits = given.pop("logits", None)
    layers = {name: _check.tensor_of(value, name) for name, value in given.items() if getattr(value, "ndim", 0) == 2}
    if not layers:
        raise _check.column_missing(source, "features", list(arrays))
    n = {len(x) for x in layers.values()}
    if len(n) > 1:
        raise _check.lengths_differ(sorted(n))
    count = n.pop()
    codes, names = (None, ()) if labels is None else _check.labels_of(labels, count)
    if names and logits is not None:
        raise _check.names_without_numbers(names, "logits")
    z = None if logits is None else _check.matrix(logits, "logits", count, None, "one row per sample")
    skipped = [name for name in given if name not in layers]
    provenance = {"data": source, "samples": count, "class_names": list(names), "skipped": skipped}
    return Activations(layers, codes, z, None, torch.arange(count), count, {}, provenance)
