"""What a command writes and prints, and the analyzers that names on the command line stand for."""

import sys
from pathlib import Path
from typing import Any

import typer

OK, USAGE, PARTIAL, UNSAFE = 0, 2, 3, 4


def analyzers_of(names: list[str] | None) -> tuple[list[str], list[str]]:
    """The analyzers that names of analyzers and quantities stand for, and the quantities that were named."""
    from repana import _report_refusals
    from repana.analyzers import ACROSS_LAYERS, ANALYZERS

    table = {**ANALYZERS, **ACROSS_LAYERS}
    owners: dict[str, list[str]] = {}
    for analyzer in table.values():
        for q in analyzer.quantities:
            owners.setdefault(q.name, []).append(analyzer.name)
            owners[f"{analyzer.name}.{q.name}"] = [analyzer.name]
    chosen: list[str] = []
    quantities: list[str] = []
    for name in [part.strip() for one in names or () for part in one.split(",") if part.strip()]:
        if name != "all" and name not in table:
            if name not in owners:
                raise _report_refusals.unknown_metric(name, ["all", *table, *(q for q in owners if "." not in q)])
            if len(owners[name]) > 1:
                raise _report_refusals.ambiguous_quantity(name, owners[name])
            quantities.append(name)
            name = owners[name][0]
        chosen.append(_read_from(name))
    return list(dict.fromkeys(chosen)), quantities


def _read_from(name: str) -> str:
    """The name to ask for: of what is read across layers, the analyzer whose results it needs."""
    from repana.analyzers import ACROSS_LAYERS

    while name in ACROSS_LAYERS and ACROSS_LAYERS[name].needs:
        name = ACROSS_LAYERS[name].needs[0]
    return name


def finish(report: Any, output: Path, as_json: bool, notes: list[str], quantities: list[str]) -> None:
    """Write what was measured, print it, and say by the exit code whether something is missing."""
    from dataclasses import replace

    said = {"notes": [*report.provenance.get("notes", ()), *notes]} if notes else {}
    report = replace(report, provenance={**report.provenance, **said, "command": ["repana", *sys.argv[1:]]})
    if (output / "report").exists():
        typer.echo(f"replacing the report in {output}", err=True)
    report.save(output / "report")
    report.to_html(output / "report.html")
    report.plot().savefig(output / "depth.pdf")
    typer.echo(report.frame().to_json(orient="records") if as_json else short(report, quantities))
    typer.echo(f"\nThe page: {output / 'report.html'}", err=True)
    measured = {q for r in report.rows for q in (r.quantity, f"{r.analyzer}.{r.quantity}")}
    missing = [f"{q} (no layer or option for it; see `repana metrics`)" for q in quantities if q not in measured]
    for line in [*report.failures, *missing]:
        typer.echo(f"not measured: {line}", err=True)
    if report.failures or missing:
        raise typer.Exit(PARTIAL)


def short(report: Any, quantities: list[str] = []) -> str:  # noqa: B006  (read only)
    """The quantities that were named, else the headline ones, by layer, for a terminal."""
    from repana._estimate import span

    by_layer = {q for r in report.rows if r.layer for q in (r.quantity, f"{r.analyzer}.{r.quantity}")}
    names = [q for q in quantities if q in by_layer] or report.headline
    tables = []
    for split in report.splits:
        shown = report.table(*names, split=split).map(lambda v: f"{v:.4g}")
        for column, name in zip(list(shown), names):
            rows = report.series(name, split=split)
            ends = [
                span(rows["low"][layer], rows["high"][layer]) if layer in rows.index else "" for layer in shown.index
            ]
            shown[column] = [f"{value} {end}".strip() for value, end in zip(shown[column], ends)]
        tables.append(f"{split}\n{shown.to_string()}")
    whole = [r for r in report.rows if not r.layer and {r.quantity, f"{r.analyzer}.{r.quantity}"} & {*quantities}]
    tables += [f"{r.split}  {r.quantity}  {r.value:.4g} {span(r.low, r.high)}".strip() for r in whole]
    return "\n\n".join(tables)
