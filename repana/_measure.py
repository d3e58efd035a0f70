"""What an analyzer can read of one layer: it names what it wants by the annotations of its function."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from types import UnionType
from typing import Any, NewType, Union, get_args, get_origin

from torch import Tensor

from repana import _check, _profile_refusals
from repana._activations import Activations, Classifier
from repana._typing import IGNORED, Features, Labels
from repana.errors import RepanaError
from repana.summaries._summary import Layer as SummaryLayer
from repana.summaries._summary import Summary
from repana.summaries.moments import Moments

Groups = NewType("Groups", Tensor)  # (n,) the sample of each row, where samples have several rows
Logits = NewType("Logits", Tensor)  # (n, classes) of the network
Reference = NewType("Reference", Moments)  # of the same layer on the training split

BY_NAME: Mapping[str, Any] = {"features": Features, "labels": Labels, "groups": Groups}  # without an annotation
SETTINGS = ("convention", "permutations", "bootstrap", "level", "seed")  # of `profile`, which analyzers share


class Layer(SummaryLayer):
    """One layer of `Activations`: features, labels and every summary, each made when first read.

    Samples labelled -100 are left out. `settings` are the options of `profile` that analyzers share.
    """

    def __init__(
        self,
        activations: Activations,
        name: str,
        settings: Mapping[str, Any] | None = None,
        reference: Moments | None = None,
    ) -> None:
        self._activations, self._name, self._reference = activations, name, reference
        self.settings = settings or {}
        self._reader = name
        self._summaries: dict[type[Summary], Summary] = {}

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor | RepanaError | None, Tensor | None]:
        """Features, labels (or why there are none), and the rows that were kept where some were not."""
        x = _check.features_of(self._activations[self._name])
        labels = self._activations.labels
        if labels is None:
            return x, None, None
        try:
            codes = _check.labels_of(labels, len(x), self._name)[0]
        except RepanaError as error:
            return x, error, None
        kept = (codes != IGNORED).nonzero()[:, 0]
        if len(kept) == len(codes):
            return x, codes, None
        return x[kept.to(x.device)], codes[kept], kept

    @property
    def features(self) -> Features:
        return self._rows[0]

    @property
    def labels(self) -> Labels:
        """Class numbers (n,), of at least two classes."""
        codes = self._rows[1]
        if isinstance(codes, RepanaError):
            raise codes
        if codes is None:
            raise _check.no_labels(self._name)
        _check.two_classes(codes, (), self._reader)
        return codes

    @property
    def labels_or_none(self) -> Labels | None:
        codes = self._rows[1]
        return codes if isinstance(codes, Tensor) else None

    @property
    def moments(self) -> Moments | None:
        return self._activations.exact.get(self._name)

    @property
    def subset(self) -> bool:
        exact = self.moments
        return exact is not None and exact.n != len(self.features) and exact.scatter is not None

    @property
    def groups(self) -> Tensor | None:
        rows = self._kept(self._activations.sample)
        return rows if int(rows.unique().numel()) < len(rows) else None

    @property
    def logits(self) -> Tensor | None:
        z = self._activations.logits
        return None if z is None else self._kept(z)

    @property
    def classifier(self) -> Classifier | None:
        """That of the network, at the layer that it reads."""
        head = self._activations.head
        return head if head is not None and head.layer == self._name else None

    @property
    def reference(self) -> Moments | None:
        return self._reference

    def _kept(self, rows: Tensor) -> Tensor:
        kept = self._rows[2]
        return rows if kept is None else rows[kept.to(rows.device)]

    def read(self, kind: Any) -> Any:
        """A part of the layer (`Features`, `Labels`, `Groups`, `Classifier`, `Logits`, `Reference`) or a summary."""
        part = next((read for known, read in PARTS if known is kind), None)
        if part is not None:
            return part(self)
        if kind not in self._summaries:
            self._summaries[kind] = kind.of_layer(self)
        return self._summaries[kind]

    @property
    def held(self) -> Collection[Any]:
        """The summaries that have been made."""
        return self._summaries.keys()

    def forget(self, kinds: Collection[Any]) -> None:
        """Let go of the summaries that are not among these, which alone are read again."""
        for kind in self._summaries.keys() - {*kinds}:
            del self._summaries[kind]

    def measure(self, function: Callable[..., Any], name: str) -> Any:
        """The result of a function whose parameters name what it reads, and settings; `name` is for its errors."""
        self._reader = name
        given = {name: self.read(kind) for name, kind in reads_of(function).items()}
        taken = parameters_of(function)
        shared = {name: self.settings[name] for name in SETTINGS if name in self.settings and name in taken}
        return as_written(function)(**given, **shared)


PARTS: tuple[tuple[Any, Callable[[Layer], Any]], ...] = (
    (Features, lambda layer: layer.features),
    (Labels, lambda layer: layer.labels),
    (Groups, lambda layer: layer.groups),
    (Logits, lambda layer: layer.logits),
    (Classifier, lambda layer: layer.classifier),
    (Reference, lambda layer: layer.reference),
)


def as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of summaries, where `reads` lets it be called with arrays."""
    return getattr(function, "on_summaries", function)


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(as_written(function), eval_str=True).parameters
    except NameError:  # an annotation that only a type checker can see
        return inspect.signature(as_written(function)).parameters


def reads_of(function: Callable[..., Any]) -> dict[str, Any]:
    """What each parameter reads: by its annotation, or by the name `features`, `labels` or `groups`.

    Raises InputError for a parameter without a default that names nothing which a layer has.
    """
    found: dict[str, Any] = {}
    for name, p in parameters_of(function).items():
        kind = _kind(p.annotation, name)
        if kind is not None:
            found[name] = kind
        elif p.default is p.empty and name not in SETTINGS and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            raise _profile_refusals.parameter_not_read(getattr(function, "__name__", repr(function)), name)
    return found


def needs_labels(function: Callable[..., Any]) -> bool:
    """Whether a function reads labels, or a summary that needs them."""
    kinds = reads_of(function).values()
    return any(kind is Labels or (is_summary(kind) and kind.labelled) for kind in kinds)


def _kind(annotation: Any, name: str) -> Any:
    either = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for one in either:
        if is_summary(one) or any(one is known for known, _ in PARTS):
            return one
    return BY_NAME.get(name)


def is_summary(kind: Any) -> bool:
    """Whether an annotation is a summary's class."""
    return isinstance(kind, type) and issubclass(kind, Summary)
