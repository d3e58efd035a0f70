"""`repana sae`: how well sparse autoencoders write the layers of a model, and what it loses by them."""

from pathlib import Path
from typing import Annotated

import typer

from repana.cli._options import Device, Json, MaxSamples, Output, Seed, Source
from repana.cli._output import USAGE, finish


def sae(
    source: Source,
    data: Annotated[str, typer.Option("--data", "-d", help="as for `repana profile`")],
    layer: Annotated[list[str], typer.Option("--layer", help="a layer; again for more")],
    path: Annotated[
        list[Path], typer.Option("--sae", help="file or folder of the autoencoder of each, in their order")
    ],
    metrics: Annotated[
        list[str] | None, typer.Option("--metrics", "-m", help="also of the layers: none by default")
    ] = None,
    architecture: Annotated[str | None, typer.Option(help="where the files do not say: standard, topk, ...")] = None,
    k: Annotated[int | None, typer.Option("--k", help="active features of a top-k autoencoder")] = None,
    output: Output = Path("repana-report"),
    max_samples: MaxSamples = None,
    device: Device = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure sparse autoencoders on the layers that they were trained for, and what the model loses by them."""
    from repana.cli._output import analyzers_of
    from repana.cli._profiled import profiled
    from repana.features import load_sae

    if len(layer) != len(path):
        typer.echo(f"{len(layer)} --layer and {len(path)} --sae; give one autoencoder for each layer.", err=True)
        raise typer.Exit(USAGE)
    analyzers, quantities = analyzers_of(metrics)
    dictionaries = {name: load_sae(file, architecture=architecture, k=k) for name, file in zip(layer, path)}
    report = profiled(
        source, data, analyzers or ["dictionary_quality"], layers=layer, max_samples=max_samples, device=device,
        seed=seed, dictionaries=dictionaries,
    )  # fmt: skip
    finish(report, output, as_json, source.notes, quantities)
