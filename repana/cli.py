"""The command line: file in, file out. Heavy imports stay inside the commands, so that help is instant."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from repana.errors import RepanaError

OK, USAGE, PARTIAL, UNSAFE = 0, 2, 3, 4
UNSAFE_CODES = ("RA302",)

app = typer.Typer(
    help="Representation analysis for trained networks: what every layer knows, and in what shape.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Argument(help="hf:PATH, timm:NAME, pkg.module:factory or file.py:factory")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", "-c", help="weights: safetensors, or .pt read safely")]
Pickle = Annotated[
    bool, typer.Option("--allow-pickle", help="run the code in a pickled checkpoint; only if you trust it")
]
Data = Annotated[
    str, typer.Option("--data", "-d", help="digits, docstrings:A,B, FILE.npz, a table, or pkg.module:factory")
]
MaybeData = Annotated[str | None, typer.Option("--data", "-d", help="as in `repana profile`; else an example input")]
HeldOut = Annotated[str | None, typer.Option("--held-out", help="a second data set, in the same forms")]
Layers = Annotated[list[str] | None, typer.Option("--layers", "-l", help="names or patterns; repeat; default auto")]
Pool = Annotated[str, typer.Option(help="auto, avg, max, flatten, grid, mean, cls, last, tokens, none")]
Mask = Annotated[str | None, typer.Option(help="key of the attention mask in a batch, or none where nothing is padded")]
Text = Annotated[str | None, typer.Option(help="column of a table that holds the text")]
Label = Annotated[str | None, typer.Option(help="column of a table that holds the class")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metrics", "-m", help="analyzers to run; repeat, or part by commas; default all")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="folder for report/, report.html and depth.pdf")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
Null = Annotated[int, typer.Option(help="label permutations for the value without class structure")]
Replicates = Annotated[int, typer.Option(help="bootstrap replicates for intervals")]
MaxSamples = Annotated[int | None, typer.Option(help="keep features of so many samples, balanced over classes")]
BatchSize = Annotated[int, typer.Option(help="samples in a forward pass")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: where the model is")]
Baselines = Annotated[int, typer.Option(help="re-initialised copies whose layers are probed beside the model's")]
Seed = Annotated[int, typer.Option(help="of every random choice")]
Runs = Annotated[list[Path], typer.Argument(help="saved reports, or folders that hold some")]
Input = Annotated[str | None, typer.Option("--input", help="shape of one example input, such as 3x32x32")]


@app.command()
def demo(output: Output = Path("demo"), epochs: Annotated[int, typer.Option(help="of training")] = 100) -> None:
    """Train a small network on digits, profile every layer on training and held-out data, write the page."""
    from repana._demo import demo as run

    made = run(output, epochs, say=lambda line: typer.echo(line, err=True))
    typer.echo(_short(made.report))
    typer.echo(f"\n{made.seconds:.0f} s. The page: {made.folder / 'report.html'}")
    typer.echo(f"The figure: {made.folder / 'depth.pdf'}. The record: {made.folder / 'report'}/ (Parquet).")


@app.command()
def profile(
    model: Model,
    data: Data,
    checkpoint: Checkpoint = None,
    held_out: HeldOut = None,
    layers: Layers = None,
    metrics: Metrics = None,
    pool: Pool = "auto",
    mask: Mask = None,
    text_column: Text = None,
    label_column: Label = None,
    output: Output = Path("repana-report"),
    max_samples: MaxSamples = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    null: Null = 20,
    replicates: Replicates = 100,
    baselines: Baselines = 0,
    seed: Seed = 0,
    allow_pickle: Pickle = False,
    as_json: Json = False,
) -> None:
    """Record a model over data, measure every layer, write the report."""
    import repana

    network = _model(model, checkpoint, allow_pickle)
    options = {"model": model, "text_column": text_column, "label_column": label_column, "batch_size": batch_size}
    report = repana.profile(
        network,
        _data(data, **options),
        layers or "auto",
        _split(metrics) or "all",
        held_out=None if held_out is None else _data(held_out, **options),
        run=model.rpartition("/")[2] if model.startswith("hf:") else model,
        pool=pool,
        mask=_mask(mask),
        max_samples=max_samples,
        batch_size=batch_size,
        device=device,
        null=null,
        replicates=replicates,
        baselines=baselines,
        seed=seed,
    )
    _finish(report, output, as_json)


@app.command()
def analyze(
    file: Annotated[
        Path, typer.Argument(help="npz or safetensors with features, and labels if there are any, or a features .npy")
    ],
    labels: Annotated[Path | None, typer.Option(help="labels .npy; without any, what needs none is measured")] = None,
    metrics: Metrics = None,
    output: Output = Path("repana-report"),
    null: Null = 20,
    replicates: Replicates = 100,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure arrays from any framework: every two-dimensional array in the file is a layer."""
    import repana
    from repana._activations import from_arrays
    from repana.extraction._sources import read_arrays

    arrays = read_arrays(file)
    if labels is not None:
        arrays["labels"] = read_arrays(labels)["features"]
    activations = from_arrays(arrays, str(file))
    for name in activations.provenance["skipped"]:
        typer.echo(f"skipped {name}: {getattr(arrays[name], 'ndim', 0)}-dimensional; layers are (n, d)", err=True)
    report = repana.profile(
        activations, analyzers=_split(metrics) or "all", run=file.stem, split="all", null=null,
        replicates=replicates, seed=seed,
    )  # fmt: skip
    _finish(report, output, as_json)


@app.command()
def layers(
    model: Model,
    data: MaybeData = None,
    shape: Input = None,
    every: Annotated[bool, typer.Option("--all", help="every module that runs, not only the depth profile")] = False,
    pool: Pool = "auto",
    mask: Mask = None,
    checkpoint: Checkpoint = None,
    allow_pickle: Pickle = False,
    text_column: Text = None,
    label_column: Label = None,
    as_json: Json = False,
) -> None:
    """What can be recorded: names, types, shapes, calls, pooled widths, cost."""
    network = _model(model, checkpoint, allow_pickle)
    shown = _example(model, network, data, shape, text_column, label_column)
    _show_plan(network, shown, ["*"] if every else None, pool, mask, as_json)


@app.command()
def plan(
    model: Model,
    data: MaybeData = None,
    shape: Input = None,
    wanted: Layers = None,
    pool: Pool = "auto",
    mask: Mask = None,
    checkpoint: Checkpoint = None,
    allow_pickle: Pickle = False,
    text_column: Text = None,
    label_column: Label = None,
    as_json: Json = False,
) -> None:
    """What a recording will take, from one batch: refuses what the long run would refuse."""
    network = _model(model, checkpoint, allow_pickle)
    shown = _example(model, network, data, shape, text_column, label_column)
    _show_plan(network, shown, wanted, pool, mask, as_json)


@app.command()
def report(
    runs: Runs,
    output: Annotated[Path, typer.Option("--output", "-o", help="the page")] = Path("report.html"),
) -> None:
    """One page of saved reports: of one run all of it, of many an overview with a drawer each."""
    import repana

    made = repana.load_runs(runs)
    made.to_html(output)
    typer.echo(f"{len(made.runs)} run(s). The page: {output}")


@app.command()
def compare(
    runs: Runs,
    metrics: Annotated[
        list[str] | None, typer.Option("--quantity", "-q", help="to compare; repeat; default all")
    ] = None,
    align: Annotated[str, typer.Option(help="layers by name, depth or auto")] = "auto",
    every: Annotated[bool, typer.Option("--all", help="also differences whose interval holds 0")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a page of all the runs")] = None,
    as_json: Json = False,
) -> None:
    """Differences of every run from the first, with intervals, paired where the same samples were measured."""
    import repana

    made = repana.load_runs(runs)
    if len(made.runs) < 2:
        from repana import _check

        raise _check.one_run(made.runs)
    found = [repana.compare(made, made.runs[0], run, *(metrics or ()), align=align) for run in made.runs[1:]]
    shown = [c if every else c.clear() for c in found]
    if as_json:
        lines = [{"from": c.a, "to": c.b, **vars(d)} for c in shown for d in c.differences]
        typer.echo(json.dumps(lines, indent=2, allow_nan=True))
    for whole, c in zip(found, shown) if not as_json else ():
        typer.echo(repr(whole))
        table = c.frame().drop(columns=["note"] + (["other"] if c.aligned == "name" else []))
        typer.echo(table.to_string(index=False, float_format=lambda v: f"{v:.4g}") + "\n" if len(table) else "")
    if output is not None:
        made.to_html(output)
        typer.echo(f"The page: {output}", err=True)


@app.command()
def metrics(as_json: Json = False) -> None:
    """Everything that can be measured: formula, unit, which way is better, source."""
    from repana.analyzers import ACROSS_LAYERS, ANALYZERS

    lines = [
        {
            "analyzer": a.name,
            "quantity": q.name,
            "formula": q.formula,
            "better": q.better,
            "unit": q.unit,
            "source": q.source,
        }
        for a in (*ANALYZERS.values(), *ACROSS_LAYERS.values())
        for q in a.quantities
    ]
    if as_json:
        typer.echo(json.dumps(lines, indent=2))
        return
    for line in lines:
        name = f"{line['analyzer']}.{line['quantity']}"
        typer.echo(f"{name:<38} {line['better']:<7} {line['unit'] or '-':<10} {line['formula']}  [{line['source']}]")


def _model(spec: str, checkpoint: Path | None, allow_pickle: bool) -> Any:
    from repana.extraction._checkpoints import load_checkpoint
    from repana.extraction._sources import model_from

    network = model_from(spec)
    if checkpoint is not None:
        load_checkpoint(network, checkpoint, allow_pickle=allow_pickle)
    return network


def _data(spec: str, **options: Any) -> Any:
    from repana.extraction._sources import data_from

    return data_from(spec, **options)


def _mask(name: str | None) -> Any:
    return False if name == "none" else name


def _example(model: str, network: Any, data: str | None, shape: str | None, text: str | None, label: str | None) -> Any:
    """The data, or where none are named an input that the model takes."""
    from repana import _check
    from repana.extraction._sources import example_input

    if data is not None:
        return _data(data, model=model, text_column=text, label_column=label)
    shown = example_input(network, shape)
    if shown is None:
        raise _check.no_example(model)
    return shown


def _show_plan(network: Any, data: Any, wanted: list[str] | None, pool: str, mask: str | None, as_json: bool) -> None:
    import repana

    found = repana.plan(network, data, wanted or "auto", pool, mask=_mask(mask))
    typer.echo(found.frame().to_json(orient="records", indent=2) if as_json else str(found))


def _split(names: list[str] | None) -> list[str]:
    return [name.strip() for one in names or () for name in one.split(",") if name.strip()]


def _finish(report: Any, output: Path, as_json: bool) -> None:
    """Write what was measured, print it, and say by the exit code whether something is missing."""
    from dataclasses import replace

    report = replace(report, provenance={**report.provenance, "command": ["repana", *sys.argv[1:]]})
    if (output / "report").exists():
        typer.echo(f"replacing the report in {output}", err=True)
    report.save(output / "report")
    report.to_html(output / "report.html")
    report.plot().savefig(output / "depth.pdf")
    typer.echo(report.frame().to_json(orient="records") if as_json else _short(report))
    typer.echo(f"\nThe page: {output / 'report.html'}", err=True)
    for line in report.failures:
        typer.echo(f"not measured: {line}", err=True)
    if report.failures:
        raise typer.Exit(PARTIAL)


def _short(report: Any) -> str:
    """The headline quantities by layer, for a terminal."""
    from repana._results import span
    from repana.plots.depth import headline

    tables = []
    for split in report.splits:
        names = headline(report)
        shown = report.table(*names, split=split).map(lambda v: f"{v:.4g}")
        for column, name in zip(list(shown), names):
            rows = report.series(name, split=split)
            ends = [
                span(rows["low"][layer], rows["high"][layer]) if layer in rows.index else "" for layer in shown.index
            ]
            shown[column] = [f"{value} {end}".strip() for value, end in zip(shown[column], ends)]
        tables.append(f"{split}\n{shown.to_string()}")
    return "\n\n".join(tables)


def main() -> NoReturn:
    """The entry point: our errors become one line and an exit code, everything else stays a traceback."""
    try:
        app(standalone_mode=True)
    except RepanaError as error:
        typer.echo(str(error), err=True)
        sys.exit(UNSAFE if error.code in UNSAFE_CODES else USAGE)
    sys.exit(OK)
