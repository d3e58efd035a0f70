"""The records of one training: made, written, compared with earlier ones, and moved aside."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from repana._activations import Activations
from repana._results import Report
from repana.dynamics import StoppingPoint, StoppingRule, stopping_point
from repana.training import _processes, _refusals
from repana.training._journal import Journal
from repana.training._measured import measured
from repana.training._probe_sets import ProbeSets, weights_digest
from repana.training._run_folder import Lock, RunFolder
from repana.training._scores import in_brief, scores_of

logger = logging.getLogger("repana")


class Records:
    """What a folder holds of a training, in brief by step (`reports`), and the features that the next record is
    compared with. `begun`: the folder was taken once."""

    def __init__(
        self,
        folder: RunFolder,
        sets: ProbeSets,
        rule: StoppingRule | None,
        *,
        convention: str,
        level: float,
        seed: int,
        keep: int,
    ) -> None:
        self.folder, self.sets, self.rule = folder, sets, rule
        self.convention, self.level, self.seed, self._keep = convention, level, seed, keep
        self.journal, self.begun = Journal(), False
        self.reports: dict[int, Report] = {}
        self._lock: Lock | None = None
        self._references: dict[str, Activations | None] = {}

    @property
    def held(self) -> bool:
        """Whether this process has the folder."""
        return self._lock is not None

    @property
    def steps(self) -> list[int]:
        """The steps that were recorded."""
        return sorted(self.reports) if self.begun else self.folder.steps()

    @property
    def all(self) -> dict[int, Report]:
        """By step; in brief once the folder was taken."""
        return self.reports if self.begun else self.whole()

    @property
    def advice(self) -> StoppingPoint:
        """Where the rule stops, and its best record, as places among `steps`."""
        return stopping_point(scores_of(self.all, self.rule), self.rule)

    def whole(self) -> dict[int, Report]:
        """The records as they are on disk, without those that cannot be read."""
        return self.folder.reports(self.steps)

    @property
    def measuring(self) -> dict[str, Any]:
        """What records are measured with."""
        return {"convention": self.convention, "level": self.level, "seed": self.seed}

    # The folder

    def attach(self, model: nn.Module) -> Mapping[str, Any] | None:
        """Take the folder and what it holds, if its records were made with these settings and this probe set. Returns
        what the folder said of a training that goes on; None where there is none, or the folder is held already."""
        if self.begun and (self.held or not _processes.keeps(model)):
            return None
        if not _processes.keeps(model):
            self.sets.hold(model)
            self.begun = True
            return None
        self.take()
        try:
            before = self.folder.about()
            self.sets.hold(model)
            settings = {**self.sets.settings(model), "convention": self.convention, "level": self.level}
            old = before["settings"] if before and self.folder.steps() else settings
            changed = {k: (old.get(k), v) for k, v in settings.items() if old.get(k) != v}
            if changed:
                raise _refusals.other_settings(self.folder.path, changed)
        except BaseException:
            self.release()
            raise
        goes_on = before if before and self.folder.steps() else None
        if goes_on is not None:
            self.journal.go_on(goes_on)
        self.journal.settings = settings
        for note in self.sets.notes:
            self.journal.note(note)
        self.reports = {step: in_brief(r, self.rule) for step, r in self.folder.reports(self.folder.steps()).items()}
        self.begun = True
        return goes_on

    def take(self) -> None:
        if self._lock is None:
            self._lock = self.folder.lock()

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def leave(self, steps: list[int]) -> None:
        """Move records out of the way, to `abandoned/`."""
        where = self.folder.abandon(steps)
        for step in steps:
            del self.reports[step]
        first = min(steps)
        self.journal.leave(first, len(steps), where.name)
        logger.warning(
            "repana: %d records from step %d on, of a timeline that was left, are in %s", len(steps), first, where
        )

    # One record

    def make(self, model: nn.Module, step: int, metrics: Mapping[str, float]) -> None:
        """Read the probe sets, and where this process keeps records, measure and write one."""
        splits = self.read(model)
        if not _processes.keeps(model):
            return
        self.put(step, splits, self._references, metrics, weights=weights_digest(model))
        probe = splits[self.sets.last]
        self._references["cka_previous"] = probe
        self._references.setdefault("cka_first", probe)
        best = self.advice.best
        if best is not None and self.steps[best] == step:
            self._references["cka_best"] = probe

    def read(self, model: nn.Module) -> dict[str, Activations]:
        """The features of every probe set."""
        found = self.sets.read(model)
        if self.sets.halved:
            self.journal.note("batches of the probe set were halved: memory did not suffice")
        return found

    def put(
        self,
        step: int,
        splits: Mapping[str, Activations],
        references: Mapping[str, Activations | None],
        metrics: Mapping[str, float],
        **more: Any,
    ) -> None:
        """Measure a record and write it; `more` goes into its provenance."""
        report = measured(splits, step, references, metrics, **self.measuring)
        report = Report(report.rows, report.arrays, {**report.provenance, **more})
        layer = None if self.rule is None else self.rule.layer
        layers = list(dict.fromkeys(r.layer for r in report.rows if r.layer))
        if not self.reports and layer and layer not in layers:
            raise _refusals.unknown_layer(layer, layers)
        self.folder.write(step, report, splits)
        self.reports[step] = in_brief(report, self.rule)
        self.folder.thin(self._keep)

    def replace(self, step: int, report: Report) -> None:
        """Another report of a record."""
        self.folder.replace(step, report)
        self.reports[step] = in_brief(report, self.rule)

    def is_of(self, step: int, model: nn.Module) -> bool:
        """Whether a record was made with these weights, as far as it tells."""
        known = self.reports[step].provenance.get("weights")
        return known is None or known == weights_digest(model)

    def refer(self) -> None:
        """What later records are compared with, from the folder."""
        self._references = {}
        steps = sorted(self.reports)
        if not steps:
            return
        best = self.advice.best
        chosen = {"cka_first": steps[0], "cka_previous": steps[-1]} | (
            {} if best is None else {"cka_best": steps[best]}
        )
        self._references = {name: self.folder.activations(step, self.sets.last) for name, step in chosen.items()}
