"""A report into an experiment tracker: TensorBoard, Weights & Biases (and what mirrors it), MLflow. By duck-typing.

Scalars are named repana/<quantity>/<layer>, those of further splits repana/<split>/<quantity>/<layer>; a figure and a
table go beside. Nothing is imported that the tracker has not imported already.
"""

import math
import re
import sys
from collections.abc import Iterator
from typing import Any

import torch

from repana import _check, _report_refusals, plots
from repana._activations import Activations
from repana._results import Report, Row

NAME = re.compile(r"[^A-Za-z0-9_\-. :/]")  # what MLflow does not take


def log(report: Report, sink: Any, step: int | None = None) -> None:
    """Write every finite scalar, the depth figure and the table of headline quantities to a tracker.

    `sink`: a TensorBoard `SummaryWriter`; a W&B run, or the module; the `mlflow` module with a run that is active.
    `step`: by default the step of each run of the report (see `Report.step`), or 0. In W&B the steps have an axis of
    their own, "repana/step", so that they do not disturb those of training.

    Raises InputError for an object that is none of these.
    """
    write = _writer(sink)
    for run in report.runs:
        known = report.step(run)
        at = step if step is not None else 0 if math.isnan(known) else int(known)
        rows = [r for r in report.of_run(run) if math.isfinite(r.value)]
        one = Report(report.of_run(run), {}, report.about(run))
        write(sink, {key(report, r): r.value for r in rows}, one, at)


def log_embeddings(
    activations: Activations, sink: Any, *layers: str, max_samples: int = 2000, seed: int = 0, images: Any = None,
    step: int = 0,
) -> None:  # fmt: skip
    """Write layers to the embedding projector of TensorBoard; without names, all of them.

    `sink`: a `SummaryWriter`. At most `max_samples` samples, chosen by `seed`, the same in every layer, each with its
    label. `images` (n, channels, h, w) are drawn at their points. Embeddings are named repana/<layer>.

    Raises InputError for another tracker, or where the images are not as many as the samples.
    """
    if not hasattr(sink, "add_embedding"):
        raise _report_refusals.no_embeddings(type(sink).__name__)
    n = len(activations.sample)
    if images is not None and len(images) != n:
        raise _check.lengths_differ([len(images), n])
    kept = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:max_samples].sort().values
    labels = None if activations.labels is None else activations.labels[kept].tolist()
    names = activations.provenance.get("class_names", ())
    shown = labels and [str(names[y]) if 0 <= y < len(names) else str(y) for y in labels]
    pictures = None if images is None else torch.as_tensor(images)[kept]
    for layer in layers or activations.layers:
        features = _check.features_of(activations[layer])[kept.to(activations[layer].device)].float().cpu()
        sink.add_embedding(features, shown, pictures, step, tag=f"repana/{layer}")


def key(report: Report, row: Row) -> str:
    """repana/<quantity>/<layer>, the analyzer before a quantity that two of them have, a further split before that."""
    owners = {r.analyzer for r in report.rows if r.quantity == row.quantity}
    name = row.quantity if len(owners) == 1 else f"{row.analyzer}.{row.quantity}"
    split = [] if row.split in ("", report.splits[0]) else [row.split]
    return "/".join(["repana", *split, name, row.layer or "network"])


def _writer(sink: Any):
    if hasattr(sink, "add_scalar") and hasattr(sink, "add_figure"):
        return _tensorboard
    if hasattr(sink, "log_metrics") and hasattr(sink, "log_figure"):
        return _mlflow
    if hasattr(sink, "log") and hasattr(sink, "define_metric"):
        return _wandb
    if hasattr(sink, "log") and hasattr(sys.modules.get(_module(sink)), "Table"):
        return _wandb
    raise _report_refusals.no_sink(type(sink).__name__)


def _tensorboard(sink: Any, scalars: dict[str, float], report: Report, step: int) -> None:
    for name, value in scalars.items():
        sink.add_scalar(name, value, step)
    for name, figure in _figures(report):
        sink.add_figure(f"repana/{name}", figure, step, close=False)
    names = report.headline
    if names:
        sink.add_text("repana/table", report.to_markdown(*names), step)


def _wandb(sink: Any, scalars: dict[str, float], report: Report, step: int) -> None:
    kit = sys.modules[_module(sink)]
    if hasattr(sink, "define_metric"):
        sink.define_metric("repana/step")
        sink.define_metric("repana/*", step_metric="repana/step")
    content: dict[str, Any] = {**scalars, "repana/step": step, "repana/table": kit.Table(dataframe=_table(report))}
    for name, figure in _figures(report):
        content[f"repana/{name}"] = kit.Image(_picture(figure))
    sink.log(content)


def _mlflow(sink: Any, scalars: dict[str, float], report: Report, step: int) -> None:
    clean = {NAME.sub("_", name): value for name, value in scalars.items()}
    if len(clean) < len(scalars):  # two names became one: number the layers apart
        clean = {f"{NAME.sub('_', name)}.{i}": value for i, (name, value) in enumerate(scalars.items())}
    sink.log_metrics(clean, step=step)
    for name, figure in _figures(report):
        sink.log_figure(figure, f"repana/{name}_{step}.png")
    sink.log_text(report.to_csv(), f"repana/table_{step}.csv")


def _figures(report: Report) -> Iterator[tuple[str, Any]]:
    names = report.headline
    if names:
        yield "depth_profile", plots.figure_of(plots.depth_profile(report, *names))


def _picture(figure: Any) -> Any:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return Image.open(buffer)


def _table(report: Report) -> Any:
    return report.frame().drop(columns=["run", "index"])


def _module(sink: Any) -> str:
    """The package that an object comes from; a module is its own."""
    return getattr(sink, "__name__", type(sink).__module__).partition(".")[0]
