"""A training that was watched, from its folder, also while it goes on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from repana._results import Report
from repana.dynamics import StoppingRule
from repana.training import _refusals
from repana.training._later import finished
from repana.training._over_time import features_by_step
from repana.training._run_folder import ABOUT, RunFolder
from repana.training._scores import rule_of
from repana.training._whole import whole_report


def load_training(
    path: str | os.PathLike[str],
    *,
    stop_on: StoppingRule | str | Sequence[Any] | None = None,
    later: bool | Sequence[str] = False,
) -> Report:
    """The report of a training from the `store` of its monitor: one run a record, and the run "training".

    `stop_on`: another stopping rule than the monitor's, read of the same records. `later`: measure first what the
    monitor put off, as `Monitor.finish` does it; no monitor may write the folder meanwhile.

    Raises FileError for what is no such folder, or, with `later`, where a monitor holds it; InputError where it holds
    no record.
    """
    folder, about, rule = opened(path)
    rule = rule_of(stop_on) or rule
    settings = about["settings"]
    steps = folder.steps()
    if not steps:
        raise _refusals.nothing_recorded(folder.path)
    records = folder.reports(steps)
    if not records:
        raise _refusals.nothing_recorded(folder.path)
    if later:
        lock = folder.lock()
        try:
            records = finished(folder, records, later, **{k: settings[k] for k in ("convention", "level", "seed")})
        finally:
            lock.release()
    return whole_report(records, folder, about, rule, settings["level"], settings["seed"])


def load_features(path: str | os.PathLike[str], layer: str, split: str | None = None) -> dict[int, Tensor]:
    """The (n, d) features of a layer by step, from the `store` of a monitor: of all records that kept them. `split`: by
    default the probe set; "train" of two.

    Raises FileError for what is no such folder; InputError where no record kept the layer, or has no such split.
    """
    folder = opened(path)[0]
    return features_by_step(folder, folder.steps(), layer, split)


def opened(path: str | os.PathLike[str]) -> tuple[RunFolder, dict[str, Any], StoppingRule | None]:
    """A folder, what it says of itself, and its rule."""
    folder = RunFolder(Path(path))
    if not (folder.path / ABOUT).is_file():
        raise _refusals.not_a_training(folder.path)
    about = folder.about()
    known = about.get("rule")
    return folder, about, None if known is None else StoppingRule(**known)
