"""The options of the commands, and where model and data come from, which three commands share."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="hf:PATH, timm:NAME, pkg.module:factory or file.py:factory")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", "-c", help="weights: safetensors, or .pt read safely")]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="trained weights of timm:NAME, else they are random")]
Weights = Annotated[str | None, typer.Option(help="which set of weights of a checkpoint, such as ema or model")]
Prefix = Annotated[str | None, typer.Option(help="what stands before the model's names in a checkpoint, as in model.")]
Ignore = Annotated[
    list[str] | None, typer.Option(help="keys of a checkpoint to leave out, such as 'criterion.*'; repeat")
]
Pickle = Annotated[
    bool, typer.Option("--allow-pickle", help="run the code in a pickled checkpoint; only if you trust it")
]
Text = Annotated[str | None, typer.Option(help="column of a table that holds the text")]
Image = Annotated[str | None, typer.Option(help="column of a table that holds images")]
Label = Annotated[str | None, typer.Option(help="column of a table that holds the class, or none")]
ClassNames = Annotated[
    list[str] | None,
    typer.Option(help="in the order of the outputs, by commas or repeated; none: labels are not what it decides"),
]
Length = Annotated[int | None, typer.Option(help="tokens of a text that are kept; default 128")]
Size = Annotated[str | None, typer.Option(help="of images, such as 224 or 192x256, where the model does not say")]
Mean = Annotated[str | None, typer.Option(help="of image channels from 0 to 1, such as 0.485,0.456,0.406")]
Std = Annotated[str | None, typer.Option(help="of image channels, such as 0.229,0.224,0.225")]
BatchSize = Annotated[int, typer.Option(help="samples in a forward pass")]

DATA = "digits, docstrings:A,B, FILE.npz, a table, imagefolder:DIR, dataset:DIR[:SPLIT] or pkg.module:factory"
Data = Annotated[str, typer.Option("--data", "-d", help=DATA)]
MaybeData = Annotated[str | None, typer.Option("--data", "-d", help="as in `repana profile`; else an example input")]
HeldOut = Annotated[str | None, typer.Option("--held-out", help="a second data set, in the same forms")]
Layers = Annotated[list[str] | None, typer.Option("--layers", "-l", help="names or patterns; repeat; default auto")]
Pool = Annotated[str, typer.Option(help="auto, avg, max, flatten, grid, mean, cls, last, tokens, none")]
Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--mask", help="key of the mask in a batch, or none where nothing is padded; LAYER=KEY by layer; repeat"
    ),
]
Layouts = Annotated[
    list[str] | None,
    typer.Option("--layout", help="letters of the axes, such as 'b h w c'; LAYER='b h w c' by layer; repeat"),
]
Method = Annotated[str | None, typer.Option("--forward", help="method of the model to call, such as encode_image")]
Targets = Annotated[str | None, typer.Option("--labels", help="key of the labels in a batch, their place, or none")]
Groups = Annotated[str | None, typer.Option(help="input that says to which sample a row belongs, such as batch")]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metrics", "-m", help="analyzers or quantities; repeat, or part by commas; default all"),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="folder for report/, report.html and depth.pdf")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
Permutations = Annotated[
    int, typer.Option("--permutations", help="label permutations, for p and the shuffled-label null")
]
Bootstrap = Annotated[int, typer.Option("--bootstrap", help="bootstrap replicates for intervals")]
MaxSamples = Annotated[int | None, typer.Option(help="keep features of so many samples, balanced over classes")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: where the model is")]
Baselines = Annotated[int, typer.Option(help="re-initialised copies whose layers are probed beside the model's")]
Seed = Annotated[int, typer.Option(help="of every random choice, weights of a new model among them")]
Store = Annotated[Path, typer.Option("--output", "-o", help="the store, a folder; the same command goes on")]
StoreDtype = Annotated[str | None, typer.Option(help="of features on disk: float32, bfloat16, float16")]
Lanes = Annotated[int | None, typer.Option(help="units of sharing out and resuming; default 64")]
LanesOf = Annotated[str | None, typer.Option(help="the share of this process, such as 2/4; else torchrun's rank")]
Scatter = Annotated[bool, typer.Option("--scatter", help="sums of the (d, d) scatter of every layer")]
Runs = Annotated[list[Path], typer.Argument(help="saved reports, or folders that hold some")]
Input = Annotated[str | None, typer.Option("--input", help="shape of one example input, such as 3x32x32")]

POOLS = ("auto", "avg", "max", "flatten", "grid", "mean", "cls", "last", "tokens", "none")


@dataclass(frozen=True)
class Source:
    """Where the model, its weights and the data come from. Every note is printed and kept."""

    model: Model
    checkpoint: Checkpoint = None
    pretrained: Pretrained = False
    weights: Weights = None
    prefix: Prefix = None
    ignore: Ignore = None
    allow_pickle: Pickle = False
    text_column: Text = None
    image_column: Image = None
    label_column: Label = None
    class_names: ClassNames = None
    max_length: Length = None
    image_size: Size = None
    image_mean: Mean = None
    image_std: Std = None
    batch_size: BatchSize = 64
    mask: Masks = None
    layout: Layouts = None
    forward: Method = None
    labels: Targets = None
    groups: Groups = None
    notes: list[str] = field(default_factory=list)

    def say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            typer.echo(note, err=True)

    def network(self, seed: int = 0) -> Any:
        """The model; weights that a factory draws are the same for the same seed."""
        import torch

        from repana.extraction._sources import model_from

        torch.manual_seed(seed)
        return model_from(
            self.model, checkpoint=self.checkpoint, pretrained=self.pretrained, weights=self.weights,
            prefix=self.prefix, ignore=self.ignore or (), allow_pickle=self.allow_pickle, say=self.say,
        )  # fmt: skip

    def data(self, spec: str, network: Any, like: Any = None) -> Any:
        """Data in any of the forms; `like` are data whose class numbers these share."""
        from repana.extraction._sources import data_from

        return data_from(
            spec, model=self.model, network=network, text_column=self.text_column, image_column=self.image_column,
            label_column=False if self.label_column == "none" else self.label_column, class_names=self.names(),
            like=like, batch_size=self.batch_size, max_length=self.max_length, image_size=_sizes(self.image_size),
            image_mean=_numbers(self.image_mean, "image_mean"), image_std=_numbers(self.image_std, "image_std"),
            say=self.say,
        )  # fmt: skip

    def reading(self) -> dict[str, Any]:
        """How batches and layers are read, as `record` and `plan` take it."""
        labels = self.labels
        place: Any = False if labels == "none" else int(labels) if labels and labels.isdecimal() else labels
        return {
            "mask": by_layer(self.mask, {"none": False}),
            "layout": by_layer(self.layout, {}),
            "forward": self.forward,
            "labels": place,
            "groups": self.groups,
        }

    def names(self) -> Any:
        """The class names, False where labels are not what the model decides."""
        given = self.class_names or []
        names = [name.strip() for name in given[0].split(",")] if len(given) == 1 else given
        return False if names == ["none"] else names or None


def sourced(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a Source, taking the options of one in its place."""
    shared = [p for p in inspect.signature(Source).parameters.values() if p.name != "notes"]
    own = list(inspect.signature(command).parameters.values())[1:]
    both = sorted([*shared, *own], key=lambda p: p.default is not p.empty)

    @functools.wraps(command)
    def run(**options: Any) -> None:
        command(Source(**{p.name: options.pop(p.name) for p in shared}), **options)

    run.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in both])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in both}
    return run


def checked(pool: str, source: Source) -> None:
    """What needs no model is refused before one is built."""
    from repana import _check

    _check.choice(pool, "pool", POOLS)
    _check.at_least(source.batch_size, "batch_size", 1)


def by_layer(given: list[str] | None, words: dict[str, Any]) -> Any:
    """A value for all layers, or a mapping from the layers before the equals signs."""
    pairs = [text.rpartition("=") for text in given or ()]
    values = {layer or "*": words.get(value, value) for layer, _, value in pairs}
    return values.get("*") if set(values) <= {"*"} else values


def _sizes(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        from repana.extraction.sources._refusals import image_size_of

        raise image_size_of(text)
    return int(parts[0]), int(parts[-1])


def _numbers(text: str | None, name: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        from repana.extraction.sources._refusals import numbers_by_commas

        raise numbers_by_commas(name, text) from None
