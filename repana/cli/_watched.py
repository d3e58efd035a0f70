"""`repana watch`: the state of a training, from the folder of its monitor."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from repana.cli._options import Json

WAIT = 2.0  # seconds between two looks


def watch(
    folder: Annotated[Path, typer.Argument(help="the `store` of a monitor")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="print again after every record, until Ctrl-C")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="measure what the monitor put off: intervals, nulls, other families")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="a folder for the report and the page of the training")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a monitor has recorded of a training, also while it goes on."""
    from repana.training._load import load_training

    if finish:
        load_training(folder, later=True)
    seen = _show(folder, as_json, -1)
    while follow:
        time.sleep(WAIT)
        seen = _show(folder, as_json, seen)
    if output is not None:
        report = load_training(folder)
        report.save(output / "report")
        report.to_html(output / "report.html")
        typer.echo(f"The page: {output / 'report.html'}")


def _show(folder: Path, as_json: bool, seen: int) -> int:
    """Print the state, where there is a new record; returns the number of records."""
    from repana.training._live_page import told
    from repana.training._load import opened

    place, about, rule = opened(folder)
    steps = place.steps()
    if len(steps) == seen:
        return seen
    if not steps:
        typer.echo("No record yet.")
        return 0
    records = {step: place.report(step) for step in steps}
    if as_json:
        typer.echo(json.dumps(_numbers(records, about), indent=2))
    else:
        typer.echo("\n".join([str(folder), *(f"  {line}" for line in told(records, about, rule)), "", _table(records)]))
    return len(steps)


def _numbers(records: dict[int, Any], about: dict[str, Any]) -> dict[str, Any]:
    from repana._results import penultimate

    found = {}
    for step, report in records.items():
        last = penultimate(report)
        found[step] = {
            f"{r.split}.{r.analyzer}.{r.quantity}": r.value
            for r in report.rows
            if r.layer in ("", last) and r.value == r.value
        }
    return {"records": found, "skipped": about.get("skipped", []), "failures": about.get("failures", [])}


COLUMNS = (
    ("training", "accuracy", "accuracy"), ("training", "loss", "loss"), ("neural_collapse", "nc1", "NC1"),
    ("training", "h0_entropy", "H0 sep."), ("training", "cka_previous", "CKA prev."),
)  # fmt: skip
MOST = 12


def _table(records: dict[int, Any]) -> str:
    """The last records, at the input of the classifier."""
    from repana._numbers import number
    from repana._results import penultimate

    lines = ["".join(["step".rjust(10), *(title.rjust(11) for _, _, title in COLUMNS)])]
    for step in list(records)[-MOST:]:
        report, cells = records[step], []
        last = penultimate(report)
        for analyzer, quantity, _ in COLUMNS:
            rows = [
                r for r in report.rows if (r.analyzer, r.quantity) == (analyzer, quantity) and r.layer in ("", last)
            ]
            cells.append(number(rows[-1].value, 3) if rows else "")
        lines.append("".join([str(step).rjust(10), *(c.rjust(11) for c in cells)]))
    return "\n".join(lines)
