"""The terms of the registry: a quantity, the analyzer that measures it, the family that both belong to."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from repana._cost import Cost, Size
from repana._quantity import Quantity
from repana._rule import Rule

if TYPE_CHECKING:  # torch is loaded by what measures, not by what lists
    from repana._activations import Activations


@dataclass(frozen=True)
class Analyzer:
    """A function that measures one layer, and its quantities; its parameters say what it reads (`repana._measure`).

    `on_layer` is what is called on a recorded layer where that is not the function itself. `default=False` leaves it
    out of "all": it is measured where it is named. `cost` says what a layer takes, beside the summaries that are read.
    """

    function: Callable[..., Any]
    quantities: tuple[Quantity, ...] = ()
    name: str = ""
    on_layer: Callable[..., Any] | None = None
    default: bool = True
    cost: Callable[[Size], Cost] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.function.__name__)

    @property
    def labels(self) -> bool:
        """Whether it needs labels."""
        from repana._measure import needs_labels

        return needs_labels(self.measure)

    @property
    def measure(self) -> Callable[..., Any]:
        """What is called on a layer."""
        return self.on_layer or self.function

    @property
    def result(self) -> Any:
        """The class of its results."""
        return inspect.signature(self.function).return_annotation


@dataclass(frozen=True)
class Outcome:
    """Results by layer (the whole network is the layer ""), arrays by layer and name, and settings to be recorded."""

    results: Mapping[str, Any]
    arrays: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """One split of a run, all of its layers measured: what quantities of the whole network are read from.

    `results` has what every analyzer found, by layer; `found` what was measured across layers so far. `untrained()`
    records the same data through copies of the network with new random weights (none where no `baselines` were asked
    for), and `inputs()` is the network's raw input (n, d), or None where that is no array of numbers.
    """

    run: str
    split: str
    activations: "Activations"
    results: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    fail: Callable[[str, str, str, Exception], None]  # split, layer, analyzer, error
    found: dict[str, Outcome] = field(default_factory=dict)
    untrained: "Callable[[], list[Activations]]" = list
    inputs: Callable[[], Any] = lambda: None
    dictionaries: Mapping[str, Any] = field(default_factory=dict)  # by layer, as `profile` was given them
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of analyzers, as `profile` was given them
    live: Callable[[], Any] = lambda: None  # (model, data, options of the recording), or None where there is no model

    def network(self, options: Iterable[str]) -> tuple[Any, Any, dict[str, Any]] | None:
        """The live model, its data, and those of the recording's options that are named; None where there is none."""
        live = self.live()
        if live is None:
            return None
        model, data, recording = live
        return model, data, {name: recording[name] for name in options if name in recording}

    def of(self, analyzer: str) -> dict[str, Any]:
        """The results of one analyzer by layer, in forward order."""
        return {layer: found[analyzer] for layer, found in self.results.items() if analyzer in found}


@dataclass(frozen=True)
class Across:
    """What is read from the layers together: `read` gives an `Outcome` of a `Context`, or None where there is nothing.

    `function` is what a user calls for the same. `needs` names the analyzers whose results it reads, and it is measured
    where those are; without any it is measured with "all" or by its own name, with `default=False` by its name alone,
    and where it is `of_texts` with "all" too if every row is a token.
    `cost` says what a layer adds to it.
    """

    function: Callable[..., Any]
    read: Callable[[Context], Outcome | None]
    quantities: tuple[Quantity, ...]
    name: str = ""
    needs: tuple[str, ...] = ()
    of_layer: Callable[..., Any] | None = None  # the class of the results of each layer, where there are several
    cost: Callable[[Size], Cost] | None = None
    default: bool = True
    of_texts: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.function.__name__)

    @property
    def result(self) -> Any:
        """The class of its results, or of those of each layer."""
        if self.of_layer is not None:
            return inspect.unwrap(self.of_layer)
        return inspect.signature(self.function).return_annotation


@dataclass(frozen=True)
class Family:
    """What a family adds: analyzers of layers, quantities across layers, findings by code, works by name in BibTeX."""

    name: str
    analyzers: tuple[Analyzer, ...]
    across: tuple[Across, ...] = ()
    findings: Mapping[str, Rule] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def described(analyzers: Iterable[Analyzer | Across]) -> dict[str, dict[str, Any]]:
    """What a report keeps of quantities, by `analyzer.quantity`."""
    return {f"{a.name}.{q.name}": q.described() for a in analyzers for q in a.quantities}
