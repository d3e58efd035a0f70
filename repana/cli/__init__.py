"""The command line: file in, file out. Heavy imports stay inside the commands, so that help is instant."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from repana.cli._compared import similarity
from repana.cli._dictionaries import sae
from repana.cli._interrupted import RESUMABLE, Interrupted, interruptible
from repana.cli._options import (
    Baselines,
    Bootstrap,
    Device,
    HeldOut,
    Input,
    Json,
    Layers,
    MaxSamples,
    MaybeData,
    Metrics,
    Output,
    Permutations,
    Pool,
    Runs,
    Seed,
    Source,
    checked,
    sourced,
)
from repana.cli._output import (
    OK,
    PARTIAL,
    UNSAFE,
    USAGE,
    analyzers_of,
    emphasised,
    finish,
    listed_metrics,
    matching,
    shown,
)
from repana.cli._stored import export, is_store, merge, record, verify
from repana.cli._swept import sweep, task
from repana.cli._watched import watch
from repana.errors import RepanaError

UNSAFE_CODES = ("RA302",)

app = typer.Typer(
    help="Representation analysis for trained networks: how representations change from layer to layer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.command()(sourced(record))
app.command()(sourced(similarity))
app.command()(sourced(sae))
app.command()(verify)
app.command()(export)
app.command()(merge)
app.command()(sweep)
app.command()(task)
app.command()(watch)


@app.callback()
def options(
    color: Annotated[bool, typer.Option("--color/--no-color", help="bold and colour on a terminal")] = True,
) -> None:
    """Representation analysis for trained networks: how representations change from layer to layer."""
    if not color:
        os.environ["NO_COLOR"] = "1"


@app.command()
def demo(output: Output = Path("demo"), epochs: Annotated[int, typer.Option(help="of training")] = 100) -> None:
    """Train a small network on digits, profile every layer on training and held-out data, write the page."""
    from repana._demo import demo as run

    made = run(output, epochs, say=lambda line: typer.echo(line, err=True))
    typer.echo(emphasised(shown(made.report, folder=made.folder)))


@app.command()
@sourced
def profile(
    source: Source,
    data: MaybeData = None,
    held_out: HeldOut = None,
    layers: Layers = None,
    metrics: Metrics = None,
    pool: Pool = "auto",
    output: Output = Path("repana-report"),
    max_samples: MaxSamples = None,
    device: Device = None,
    permutations: Permutations = 199,
    bootstrap: Bootstrap = 100,
    baselines: Baselines = 0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Record a model over data, measure every layer, write the report. Of a store, measure what was recorded."""
    from repana.cli._profiled import profiled

    analyzers, quantities = analyzers_of(metrics)
    if data is None and not is_store(source.model):
        typer.echo("Missing option '--data' / '-d'; or give a store in the place of the model.", err=True)
        raise typer.Exit(USAGE)
    report = profiled(
        source, data, analyzers, held_out=held_out, layers=layers, pool=pool, max_samples=max_samples, device=device,
        baselines=baselines, permutations=permutations, bootstrap=bootstrap, seed=seed,
    )  # fmt: skip
    finish(report, output, as_json, source.notes, quantities)


@app.command()
def analyze(
    file: Annotated[
        Path, typer.Argument(help="npz or safetensors with features, and labels if there are any, or a features .npy")
    ],
    labels: Annotated[Path | None, typer.Option(help="labels .npy; without any, what needs none is measured")] = None,
    metrics: Metrics = None,
    output: Output = Path("repana-report"),
    permutations: Permutations = 199,
    bootstrap: Bootstrap = 100,
    seed: Seed = 0,
    max_bytes: Annotated[int | None, typer.Option(help="of an npz that says to hold much more than its size")] = None,
    as_json: Json = False,
) -> None:
    """Measure arrays from any framework: every two-dimensional array in the file is a layer."""
    import repana
    from repana._activations import from_arrays
    from repana.extraction.sources._arrays import labels_in, read_arrays

    analyzers, quantities = analyzers_of(metrics)
    arrays = read_arrays(file, max_bytes)
    if labels is not None:
        arrays["labels"] = labels_in(read_arrays(labels), labels)
    activations = from_arrays(arrays, str(file))
    for name in activations.provenance["skipped"]:
        typer.echo(f"skipped {name}: {getattr(arrays[name], 'ndim', 0)}-dimensional; layers are (n, d)", err=True)
    report = repana.profile(
        activations, analyzers=analyzers or "all", run=file.stem, split="all", permutations=permutations,
        bootstrap=bootstrap, seed=seed,
    )  # fmt: skip
    finish(report, output, as_json, [], quantities)


@app.command()
@sourced
def layers(
    source: Source,
    data: MaybeData = None,
    shape: Input = None,
    every: Annotated[bool, typer.Option("--all", help="every module that runs, not only the depth profile")] = False,
    pool: Pool = "auto",
    as_json: Json = False,
) -> None:
    """What can be recorded: names, types, shapes, calls, pooled widths, cost."""
    _show_plan(source, data, shape, ["*"] if every else None, pool, as_json)


@app.command()
@sourced
def plan(
    source: Source,
    data: MaybeData = None,
    shape: Input = None,
    layers: Layers = None,
    pool: Pool = "auto",
    metrics: Metrics = None,
    on: Annotated[str | None, typer.Option(help="measure (this machine), H100, H200, 8xH100")] = None,
    samples: Annotated[int | None, typer.Option(help="how many there will be, in place of those of the data")] = None,
    max_samples: MaxSamples = None,
    permutations: Permutations = 199,
    bootstrap: Bootstrap = 100,
    as_json: Json = False,
) -> None:
    """What a recording will take, from one batch: refuses what the long run would refuse. With --metrics, all or by
    name, or with --on, what the whole profile will take: operations, memory, seconds."""
    stored = data is None and is_store(source.model)
    if metrics is None and on is None and samples is None and not stored:
        _show_plan(source, data, shape, layers, pool, as_json)
        return
    import repana

    analyzers, _ = analyzers_of(None if metrics == ["all"] else metrics)
    shared: dict[str, Any] = {
        "on": on or "measure", "samples": samples, "permutations": permutations, "bootstrap": bootstrap,
    }  # fmt: skip
    if stored:
        found = repana.plan_profile(repana.Activations.load(source.model), analyzers=analyzers or "all", **shared)
    else:
        network, shown = _shown_to(source, data, shape, pool)
        found = repana.plan_profile(
            network, shown, layers or "auto", analyzers or "all", pool=pool, max_samples=max_samples,
            batch_size=source.batch_size, **shared, **source.reading(),
        )  # fmt: skip
    typer.echo(json.dumps(found.described(), indent=2) if as_json else str(found))


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="a saved report")],
    findings: Annotated[bool, typer.Option("--findings", help="every finding, with what to do")] = False,
    table: Annotated[bool, typer.Option("--table", help="every value, as comma-separated values")] = False,
    layer: Annotated[str | None, typer.Option(help="every value of one layer")] = None,
    quantities: Annotated[list[str] | None, typer.Option("--quantities", "-q", help="columns; repeat")] = None,
    every: Annotated[bool, typer.Option("--all", help="every layer")] = False,
) -> None:
    """A saved report in the terminal: the summary and key numbers, its findings, or its values."""
    import repana
    from repana.report import of_findings, of_layer

    made = repana.load_runs(path)
    if table:
        typer.echo(made.to_csv(), nl=False)
    elif findings:
        typer.echo(emphasised(of_findings(made)))
    elif layer is not None:
        typer.echo(of_layer(made, layer))
    else:
        names = [part.strip() for q in quantities or () for part in q.split(",")]
        typer.echo(emphasised(shown(made, [made.qualified(q) for q in names], every=every)))


@app.command()
def report(
    runs: Runs,
    output: Annotated[Path, typer.Option("--output", "-o", help="the page")] = Path("report.html"),
) -> None:
    """Build an HTML report from saved runs."""
    import repana

    made = repana.load_runs(runs)
    made.to_html(output)
    typer.echo(f"{len(made.runs)} run(s). The page: {output}")
    for name in made.provenance.get("missing_runs", ()):
        typer.echo(next(line for line in made.failures if line.startswith(name)), err=True)
    if made.provenance.get("missing_runs"):
        raise typer.Exit(PARTIAL)


@app.command()
def compare(
    runs: Runs,
    metrics: Annotated[
        list[str] | None, typer.Option("--quantity", "-q", help="to compare; repeat; default all")
    ] = None,
    align: Annotated[str, typer.Option(help="layers by name, depth or auto")] = "auto",
    every: Annotated[bool, typer.Option("--all", help="every difference, also where the interval holds 0")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a page of all the runs")] = None,
    as_json: Json = False,
) -> None:
    """Differences of every run from the first, with intervals, paired where the same samples were measured."""
    import repana

    made = repana.load_runs(runs)
    if len(made.runs) < 2:
        from repana import _report_refusals

        raise _report_refusals.one_run(made.runs)
    found = [repana.compare(made, made.runs[0], run, *(metrics or ()), align=align) for run in made.runs[1:]]
    if as_json:
        kept = [c if every else c.clear() for c in found]
        lines = [{"from": c.a, "to": c.b, **vars(d)} for c in kept for d in c.differences]
        typer.echo(json.dumps(lines, indent=2, allow_nan=True))
    if not as_json:
        from repana.report import of_differences

        typer.echo(emphasised(of_differences(found, every=every)))
    if output is not None:
        made.to_html(output)
        typer.echo(f"The page: {output}", err=True)


@app.command()
def metrics(
    name: Annotated[str | None, typer.Argument(help="a quantity or an analyzer, shown in full")] = None,
    as_json: Json = False,
) -> None:
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
    from repana.comparison._measures import COMPARISONS

    lines += [
        {
            "analyzer": "comparison",
            "quantity": m.name,
            "formula": m.formula,
            "better": "",
            "unit": "",
            "source": m.source,
        }
        for m in COMPARISONS.values()
    ]
    if as_json:
        typer.echo(json.dumps([x for x in lines if name is None or name in matching(x)], indent=2))
        return
    typer.echo(listed_metrics(lines, name))


def _shown_to(source: Source, data: str | None, shape: str | None, pool: str) -> tuple[Any, Any]:
    """The model, and the data or an example of them."""
    from repana.extraction._sources import example_input

    checked(pool, source)
    network = source.network()
    shown = example_input(network, shape) if data is None else source.data(data, network)
    if shown is None:
        from repana import _report_refusals

        raise _report_refusals.no_example(source.model)
    return network, shown


def _show_plan(
    source: Source,
    data: str | None,
    shape: str | None,
    requested: list[str] | None,
    pool: str,
    as_json: bool,
) -> None:
    """The plan over the data, or where none are named over an input that the model takes."""
    import repana

    network, shown = _shown_to(source, data, shape, pool)
    found = repana.plan(network, shown, requested or "auto", pool, batch_size=source.batch_size, **source.reading())
    typer.echo(found.frame().to_json(orient="records", indent=2) if as_json else str(found))


RENAMED = {"--null": "--permutations", "--replicates": "--bootstrap"}  # options of 0.1


def main() -> NoReturn:
    """The entry point: our errors become one line and an exit code, everything else stays a traceback."""
    for old in RENAMED:
        if any(word == old or word.startswith(f"{old}=") for word in sys.argv[1:]):
            typer.echo(f"{old} is called {RENAMED[old]} now.", err=True)
            sys.exit(USAGE)
    try:
        with interruptible():
            app(standalone_mode=True)
    except Interrupted as error:
        typer.echo(str(error), err=True)
        sys.exit(RESUMABLE)
    except RepanaError as error:
        typer.echo("\n".join([str(error), *getattr(error, "__notes__", ())]), err=True)
        sys.exit(UNSAFE if error.code in UNSAFE_CODES else USAGE)
    except Exception as error:  # of the model's own, on inputs that it does not take
        called = [note for note in getattr(error, "__notes__", ()) if note.startswith("repana: ")]
        if not called:
            raise
        from repana.extraction._refusals import model_failed

        typer.echo(str(model_failed(error, called[0].removeprefix("repana: "))), err=True)
        sys.exit(USAGE)
    sys.exit(OK)
