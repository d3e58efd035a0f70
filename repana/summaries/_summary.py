"""What a summary is: a value made once of a layer and read by every quantity that needs it."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from repana._cost import Cost, Size
from repana._typing import Features, Labels


class Layer(ABC):
    """What a summary can be made of; `repana._measure.Layer` is one."""

    settings: Mapping[str, Any]

    @property
    @abstractmethod
    def features(self) -> Features: ...

    @property
    @abstractmethod
    def labels(self) -> Labels: ...

    @property
    @abstractmethod
    def labels_or_none(self) -> Labels | None: ...

    @property
    @abstractmethod
    def moments(self) -> Any: ...  # exact Moments of all samples seen, where they were recorded

    @abstractmethod
    def read(self, kind: Any) -> Any: ...  # another summary of the same layer

    @property
    @abstractmethod
    def subset(self) -> bool: ...  # the features are of some of the samples in `moments`, which know the scatter of all


class Summary(ABC):
    """A summary of features (n, d), and of labels (n,) where `labelled`; its classmethod `of` makes it of arrays."""

    labelled: ClassVar[bool]

    @classmethod
    @abstractmethod
    def of_layer(cls, layer: Layer) -> "Summary":
        """Of what was recorded of a layer."""

    of: ClassVar[Callable[..., Any]]

    @classmethod
    @abstractmethod
    def cost(cls, size: Size) -> Cost:
        """What making it of a layer takes, beside the summaries that it is made of."""

    @classmethod
    def made_of(cls, size: Size) -> tuple[type["Summary"], ...]:
        """The summaries of the same layer that it reads."""
        return ()

    @classmethod
    def options(cls) -> dict[str, inspect.Parameter]:
        """Keywords of `of` that whoever calls a quantity of this summary may give."""
        parameters = inspect.signature(cls.of).parameters
        return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    @classmethod
    def asked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords for `of` among the options of a quantity that reads this summary."""
        return {name: options[name] for name in cls.options() if name in options}
