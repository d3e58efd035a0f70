"""What `repana profile` and the tasks of a sweep measure."""

from pathlib import Path
from typing import Any

import repana
from repana.cli._options import Source, checked
from repana.cli._stored import is_store


def profiled(
    source: Source,
    data: str | None,
    analyzers: list[str],
    *,
    held_out: str | None = None,
    layers: list[str] | None = None,
    pool: str = "auto",
    max_samples: int | None = None,
    device: str | None = None,
    baselines: int = 0,
    seed: int = 0,
    run: str | None = None,
    **shared: Any,
) -> Any:
    """The report of a model over data, or of a store where there are none."""
    from repana.extraction._sources import classes_of

    shared["seed"] = seed
    if data is None and is_store(source.model):
        second = None if held_out is None else repana.Activations.load(held_out)
        stored = repana.Activations.load(source.model)
        name = run or Path(source.model).name
        return repana.profile(stored, analyzers=analyzers or "all", held_out=second, run=name, **shared)
    assert data is not None
    checked(pool, source)
    network = source.network(seed)
    first = source.data(data, network)
    second = None if held_out is None else source.data(held_out, network, like=first)
    names = classes_of(first)
    others: dict[str, Any] = {"head": False, "logits": False} if source.names() is False else {}
    model = source.model
    return repana.profile(
        network, first, layers or "auto", analyzers or "all", held_out=second,
        run=run or (model.rpartition("/")[2] if model.startswith("hf:") else model), pool=pool,
        max_samples=max_samples, batch_size=source.batch_size, device=device, baselines=baselines,
        **shared, **source.reading(), **({} if names is None else {"class_names": names}), **others,
    )  # fmt: skip
