"""What `repana similarity` compares: two stores of recordings, or two models over data."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from repana.cli._options import Device, Layers, MaybeData, Pool, Seed, Source
from repana.cli._output import finish
from repana.cli._stored import is_store

Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        help="cka, knn, rsa, cka_rbf, distance_correlation, procrustes, cca, r2, "
        "procrustes_biased, cca_biased, svcca_biased; repeat",
    ),
]


def similarity(
    source: Source,
    other: Annotated[str, typer.Argument(help="the second model or store; of the same kind as the first")],
    data: MaybeData = None,
    checkpoint_b: Annotated[
        Path | None, typer.Option("--checkpoint-b", help="weights of the second model, where a factory makes it")
    ] = None,
    measures: Measures = None,
    layers: Layers = None,
    pool: Pool = "auto",
    untrained: Annotated[
        bool, typer.Option("--untrained", help="beside a copy of the second model with random weights")
    ] = False,
    other_seed: Annotated[
        Path | None,
        typer.Option("--other-seed", help="a store, or weights, of the second network trained from another seed"),
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="rows are the same samples: your word for it")] = False,
    max_samples: Annotated[int, typer.Option(help="that are compared")] = 5_000,
    k: Annotated[int, typer.Option("--neighbours", "-k", help="of the mutual nearest neighbours")] = 10,
    device: Device = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="a folder for the report, the page, the figure")
    ] = Path("repana-similarity"),
    seed: Seed = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="every pair of layers as JSON, in place of the table")
    ] = False,
) -> None:
    """Similarity of all pairs of layers of two models on the same data, or of two stores of the same samples."""
    import repana

    chosen = [part.strip() for m in measures or () for part in m.split(",") if part.strip()] or ["cka", "knn"]
    names = (Path(source.model).name or source.model, Path(other).name or other)
    if names[0] == names[1]:
        names = (str(source.checkpoint or source.model), str(checkpoint_b or other))
    shared: dict[str, Any] = {
        "measures": chosen,
        "k": k,
        "max_samples": max_samples,
        "seed": seed,
        "names": names,
        "layers": layers or "auto",
        "paired": True if paired else "check",
    }
    if data is None:
        if not is_store(source.model) or not is_store(other):
            missing = next(path for path in (source.model, other) if not is_store(path))
            from repana import _report_refusals

            raise _report_refusals.similarity_without_data(missing)
        found = repana.similarity(
            repana.Activations.load(source.model),
            repana.Activations.load(other),
            untrained=untrained or None,
            other_seed=None if other_seed is None else repana.Activations.load(other_seed),
            **shared,
        )
    else:
        first = source.network(seed)
        shown = source.data(data, first)
        second = replace(source, model=other, checkpoint=checkpoint_b).network(seed)
        third = None if other_seed is None else replace(source, model=other, checkpoint=other_seed).network(seed)
        found = repana.similarity(
            first,
            second,
            shown,
            pool=pool,
            device=device,
            batch_size=source.batch_size,
            untrained=untrained or None,
            other_seed=third,
            **shared,
            **source.reading(),
        )
    report = found.report()
    if as_json:
        report.save(output / "report")
        report.to_html(output / "report.html")
        typer.echo(found.frame().to_json(orient="records"))
        return
    typer.echo(repr(found))
    finish(report, output, False, source.notes, [])
