"""What a family shows of itself on the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from repana._results import Report


@dataclass(frozen=True)
class Panel:
    """A figure with its heading and caption, in which {run} and {split} are filled in.

    `draw(report, run=, split=)` draws all layers; `one_layer=True`: `draw(report, layer, run=, split=)`, the layer that
    the classifier reads. `analyzer`: whose methods say how it is computed. It raises a RepanaError where the report has
    nothing for it.
    """

    heading: str
    draw: Callable[..., Any]
    caption: str
    analyzer: str = ""
    one_layer: bool = False

    def drawn(self, report: Report, layer: str, run: str, split: str, **options: Any) -> Any:
        at = (layer,) if self.one_layer else ()
        return self.draw(report, *at, run=run, split=split, **options)


@dataclass(frozen=True)
class Section:
    """A section of the page: its heading, the question that it answers, the analyzers it is about, its figures."""

    heading: str
    question: str
    analyzers: tuple[str, ...]
    panels: tuple[Panel, ...]

    @property
    def anchor(self) -> str:
        return self.heading.lower().replace(" ", "-")
