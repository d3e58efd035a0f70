"""The commands around a store: record to it, compare it with its digests."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from repana.cli._options import (
    Data,
    Device,
    Lanes,
    LanesOf,
    Layers,
    MaxSamples,
    Pool,
    Scatter,
    Seed,
    Source,
    Store,
    StoreDtype,
    checked,
)
from repana.cli._output import PARTIAL


def is_store(path: str) -> bool:
    """Whether a path is a folder of recorded or saved activations."""
    return any((Path(path) / name).is_file() for name in ("manifest.json", "store.json"))


def record(
    source: Source,
    data: Data,
    output: Store,
    layers: Layers = None,
    pool: Pool = "auto",
    max_samples: MaxSamples = None,
    store_dtype: StoreDtype = None,
    lanes: Lanes = None,
    lanes_of: LanesOf = None,
    scatter: Scatter = False,
    device: Device = None,
    seed: Seed = 0,
) -> None:
    """Record layers to a store on disk. Again goes on where it was stopped; under torchrun every process does its
    share.
    """
    import repana
    from repana.extraction._sources import classes_of

    checked(pool, source)
    network = source.network(seed)
    first = source.data(data, network)
    names = classes_of(first)
    others: dict[str, Any] = {"head": False, "logits": False} if source.names() is False else {}
    made = repana.record(
        network, first, layers or "auto", pool, max_samples, device or _local_device(), seed=seed, scatter=scatter,
        batch_size=source.batch_size, store=output, store_dtype=store_dtype, lanes=lanes, lanes_of=lanes_of,
        **source.reading(), **({} if names is None else {"class_names": names}), **others,
    )  # fmt: skip
    typer.echo(f"{output}: {made}")
    for note in made.provenance.get("notes", ()):
        typer.echo(note, err=True)


def _local_device() -> str | None:
    """The GPU that torchrun meant for this process; else where the model is."""
    import torch

    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and torch.cuda.is_available() else None


def verify(
    store: Annotated[Path, typer.Argument(help="a store of activations")],
    quick: Annotated[bool, typer.Option("--quick", help="names and sizes, not digests")] = False,
) -> None:
    """Compare the files of a store with their digests; say which are damaged, with their lane and samples."""
    from repana.store._verify import verified

    found = verified(store, quick=quick)
    typer.echo(str(found))
    if found.problems:
        raise typer.Exit(PARTIAL)


def export(
    store: Annotated[Path, typer.Argument(help="a store of activations")],
    output: Annotated[Path, typer.Option("--output", "-o", help="a file .npz, or a folder .zarr")],
    layers: Layers = None,
) -> None:
    """Write a store for other tools: an npz archive or a zarr group."""
    import repana

    stored = repana.Activations.load(store)
    chosen = stored.select(*layers) if layers else stored
    typer.echo(f"{chosen.export(output)}: {chosen}")


def merge(
    stores: Annotated[list[Path], typer.Argument(help="stores with shares of one recording (--lanes-of)")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the store that holds all of them")],
) -> None:
    """Put the lanes of one recording together that machines without a common folder recorded."""
    from repana.store._read import progress
    from repana.store._write import merge as run

    names = run(stores, output)
    done, lanes = progress(output)
    typer.echo(f"{output}: {len(names)} of {lanes} lanes" + ("" if done >= lanes else "; others are missing"))
    if done < lanes:
        raise typer.Exit(PARTIAL)
