"""The commands of a sweep: run it, look at it, and run one of its tasks."""

import json
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from repana.cli._options import HeldOut, Json, Layers, MaxSamples, MaybeData, Metrics, Source
from repana.cli._output import PARTIAL, USAGE, analyzers_of
from repana.errors import FileError, RepanaError

OUT_OF_MEMORY = ("RA208", "RA209", "RA112")
OTHER_SHAPES = "RA303"  # of an intact file


def sweep(
    source: Annotated[str, typer.Argument(help="a .toml, .csv, .jsonl or .parquet file of tasks, a model, or a sweep")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder of the sweep; again goes on")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", "-c", help="pattern: a task a checkpoint")] = None,
    data: MaybeData = None,
    held_out: HeldOut = None,
    layers: Layers = None,
    metrics: Metrics = None,
    pool: Annotated[str | None, typer.Option(help="as in `repana profile`")] = None,
    max_samples: MaxSamples = None,
    batch_size: Annotated[int | None, typer.Option(help="samples in a forward pass")] = None,
    permutations: Annotated[int | None, typer.Option(help="label permutations")] = None,
    bootstrap: Annotated[int | None, typer.Option(help="bootstrap replicates")] = None,
    seed: Annotated[int | None, typer.Option(help="of every random choice")] = None,
    on: Annotated[str, typer.Option(help="local, ray or slurm")] = "local",
    option: Annotated[list[str] | None, typer.Option(help="of the engine, such as slurm_partition=gpu; repeat")] = None,
    workers: Annotated[int, typer.Option(help="tasks at a time")] = 1,
    gpus_per_task: Annotated[int, typer.Option(help="GPUs that each task has for itself")] = 0,
    tasks_per_process: Annotated[int, typer.Option(help="tasks that a process takes in turn")] = 1,
    task_timeout: Annotated[float | None, typer.Option(help="seconds for a process")] = None,
    retry: Annotated[str, typer.Option(help="failed: take the failed tasks again")] = "none",
    status: Annotated[bool, typer.Option("--status", help="what is done, from the folder alone")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="with --status: again every few seconds")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the tasks and end")] = False,
    as_json: Json = False,
) -> None:
    """Profile many checkpoints, each in a process of its own: here, on Ray, or on Slurm."""
    from repana.sweeps._folder import TASKS
    from repana.sweeps._run import folder_of
    from repana.sweeps._run import sweep as run
    from repana.sweeps._tasks import tasks_of

    if status:
        _show_status(folder_of(output or source), watch, as_json)
        return
    defaults: dict[str, Any] = {
        "checkpoint": checkpoint, "data": data, "held_out": held_out, "layers": layers, "metrics": metrics,
        "pool": pool, "max_samples": max_samples, "batch_size": batch_size, "permutations": permutations,
        "bootstrap": bootstrap, "seed": seed,
    }  # fmt: skip
    again = (Path(source) / TASKS).is_file()
    tasks = folder_of(source).tasks() if again else tasks_of(source, **defaults)
    for names in {json.dumps(task.options.get("metrics")) for task in tasks}:
        analyzers_of(json.loads(names))  # refused before any task is started
    if dry_run:
        lines = [{"id": task.id, "name": task.name, **task.options} for task in tasks]
        typer.echo(json.dumps(lines, indent=2) if as_json else "\n".join(f"{t.id}  {t.name}" for t in tasks))
        return
    folder = Path(source) if again and output is None else output
    if folder is None:
        typer.echo("Missing option '--output' / '-o': the folder of the sweep.", err=True)
        raise typer.Exit(USAGE)
    made = run(
        [{**task.options, "name": task.name} for task in tasks] if again else tasks, folder, on=on, workers=workers,
        gpus_per_task=gpus_per_task, tasks_per_process=tasks_per_process, task_timeout=task_timeout, retry=retry,
        options=_engine_options(option or []),
    )  # fmt: skip
    found = folder_of(folder).status()
    typer.echo(json.dumps(found.numbers(), indent=2) if as_json else f"{found}\nThe page: {folder / 'overview.html'}")
    if found.failed or not made.rows:
        raise typer.Exit(PARTIAL)


def _engine_options(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        found[name] = int(value) if value.isdecimal() else value
    return found


def _show_status(folder: Any, watch: bool, as_json: bool) -> None:
    while True:
        status = folder.status()
        typer.echo(json.dumps(status.numbers(), indent=2) if as_json else str(status))
        if not watch or not (status.running or status.waiting):
            return
        time.sleep(5.0)


def task(
    folder: Annotated[Path, typer.Argument(help="a sweep")],
    ids: Annotated[list[str], typer.Argument(help="of tasks, as in tasks.jsonl")],
    trust_folder: Annotated[bool, typer.Option("--trust-folder", help="although others may write to it")] = False,
    half: Annotated[bool, typer.Option("--half", help="half the batch, after running out of memory")] = False,
) -> None:
    """Run tasks of a sweep: what every engine starts, and a person may by hand."""
    from repana.sweeps._run import folder_of

    place = folder_of(folder)
    if not trust_folder:
        place.check_trust()
    chosen = [place.task(id_) for id_ in ids]
    results = [_one(place, one, half) for one in chosen if not place.done(one)]
    if not all(results):
        raise typer.Exit(PARTIAL)


def _one(folder: Any, task: Any, half: bool) -> bool:
    """Run a task; its report, or why there is none, is in the folder afterwards."""
    from repana.sweeps._folder import Failure

    folder.begin(task)
    try:
        report, notes = _report_of(task.options, task.name, half)
    except Exception as error:  # of any kind: the model's and the data's own code runs here
        text = str(error) or type(error).__name__
        folder.fail(
            task, Failure(task.id, _kind(error, task.options), text.splitlines()[0], traceback=traceback.format_exc())
        )
        typer.echo(f"{task.name}: {text}", err=True)
        return False
    known = [*report.provenance.get("notes", ()), *notes]
    about = {**report.provenance, "task": task.id, "notes": known, "command": ["repana", *sys.argv[1:]]}
    folder.commit(task, replace(report, provenance=about))
    return True


def _report_of(options: Mapping[str, Any], name: str, half: bool) -> tuple[Any, list[str]]:
    from repana.cli._profiled import profiled

    given = dict(options)
    known = {f.name for f in fields(Source)}
    chosen = {key: given.pop(key) for key in list(given) if key in known}
    if "checkpoint" in chosen:
        chosen["checkpoint"] = Path(chosen["checkpoint"])
    notes = []
    if half:
        chosen["batch_size"] = max(1, int(chosen.get("batch_size", 64)) // 2)
        notes.append(f"ran out of memory; done again with batches of {chosen['batch_size']}")
    source = Source(**chosen)
    analyzers, _ = analyzers_of(given.pop("metrics", None))
    report = profiled(source, given.pop("data", None), analyzers, run=name, **given)
    return report, [*source.notes, *notes]


def _kind(error: Exception, options: Mapping[str, Any]) -> str:
    """The class of a failure, which decides whether a task is tried again."""
    import torch

    text = str(error)
    if isinstance(error, RepanaError):
        if error.code in OUT_OF_MEMORY or isinstance(error.__cause__, (torch.OutOfMemoryError, MemoryError)):
            return "memory"
        named = "checkpoint" in options and str(options["checkpoint"]) in text
        damaged = isinstance(error, FileError) and named and error.code != OTHER_SHAPES
        return "damaged checkpoint" if damaged else "refused"
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in text:
        return "memory"
    return "error"
