"""What a command writes and prints, and the analyzers that names on the command line stand for."""

import os
import sys
from pathlib import Path
from typing import Any

import typer

OK, USAGE, PARTIAL, UNSAFE = 0, 2, 3, 4
HEADINGS = ("Results", "Cautions", "Checks", "Not measured")


def analyzers_of(names: list[str] | None) -> tuple[list[str], list[str]]:
    """The analyzers that names of analyzers and quantities stand for, and the quantities that were named. Of several
    that have a quantity, what is measured of a layer by default goes before what is measured by its name alone."""
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
            usual = [owner for owner in owners[name] if table[owner].default] or owners[name]
            usual = [owner for owner in usual if owner in ANALYZERS] or usual
            if len(usual) > 1:
                raise _report_refusals.ambiguous_quantity(name, owners[name])
            quantities.append(name)
            name = usual[0]
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
    typer.echo(report.frame().to_json(orient="records") if as_json else emphasised(shown(report, quantities, output)))
    measured = {q for r in report.rows for q in (r.quantity, f"{r.analyzer}.{r.quantity}")}
    missing = [f"{q} (no layer or option for it; see `repana metrics`)" for q in quantities if q not in measured]
    for line in [*report.failures, *missing]:
        typer.echo(f"not measured: {line}", err=True)
    if report.failures or missing:
        raise typer.Exit(PARTIAL)


def emphasised(text: str) -> str:
    """Text with bold headings and yellow cautions on a terminal; as it is elsewhere, and with NO_COLOR."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if i == 0 or line.startswith(("layer ", "run ")) or line in HEADINGS or " against " in line[:60]:
            lines[i] = typer.style(line, bold=True)
        elif "caution" in line.lower():
            lines[i] = typer.style(line, fg="yellow")
    return "\n".join(lines)


def shown(report: Any, quantities: list[str] | None = None, folder: Path | None = None, *, every: bool = False) -> str:
    """The summary and the table, and where the files are."""
    from repana.report import terminal

    by_layer = {q for r in report.rows if r.layer for q in (r.quantity, f"{r.analyzer}.{r.quantity}")}
    files = ""
    if folder is not None:
        files = f"{folder}/report.html \u00b7 depth.pdf \u00b7 reopen: repana show {folder}/report"
        files = files if len(files) < 78 else f"\u2026{str(folder)[-60:]}/report.html"
    text = terminal(report, [q for q in quantities or () if q in by_layer], every=every, footer=files)
    whole = [
        r for r in report.rows if not r.layer and {r.quantity, f"{r.analyzer}.{r.quantity}"} & {*(quantities or ())}
    ]
    return "\n".join([text, *(f"{r.split}  {r.quantity}  {_with_interval(r)}" for r in whole)])


def _with_interval(row: Any) -> str:
    from repana._estimate import span

    return f"{row.value:.4g} {span(row.low, row.high)}".strip()


def matching(line: dict[str, str]) -> tuple[str, str, str]:
    """The names that a line of the registry answers to."""
    return line["analyzer"], line["quantity"], f"{line['analyzer']}.{line['quantity']}"


def listed_metrics(lines: list[dict[str, str]], name: str | None) -> str:
    """The registry by analyzer, wrapped to the terminal; one quantity or analyzer in full."""
    import shutil
    import textwrap

    wide = min(100, shutil.get_terminal_size((100, 24)).columns)
    if name is not None:
        found = [x for x in lines if name in matching(x)]
        if not found:
            from repana import _report_refusals  # which loads torch

            raise _report_refusals.unknown_metric(name, sorted({n for x in lines for n in matching(x)[:2]}))
        parts = []
        for x in found:
            facts = {"formula": x["formula"], "unit": x["unit"], "better": x["better"], "source": x["source"]}
            parts.append(f"{x['analyzer']}.{x['quantity']}")
            for fact, text in facts.items():
                start = f"  {fact:<8}"
                parts += textwrap.wrap(text or "-", wide, initial_indent=start, subsequent_indent=" " * len(start))
        return "\n".join(parts)
    out: list[str] = []
    for analyzer in dict.fromkeys(x["analyzer"] for x in lines):
        out += ["", analyzer]
        for x in lines:
            if x["analyzer"] == analyzer:
                start = f"  {x['quantity']:<22} {x['better'] or '-':<7} "
                out += textwrap.wrap(
                    f"{x['formula']} [{x['source']}]", wide, initial_indent=start, subsequent_indent=" " * len(start)
                )
    return "\n".join([*out[1:], "", "repana metrics NAME shows one in full."])
