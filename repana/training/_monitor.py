"""A monitor: records of a fixed set of samples while a network is trained, within a share of the time."""

import logging
import operator
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana._estimate import Estimate
from repana._profile import check_recording
from repana._results import Report
from repana._version import __version__
from repana.collapse._formulas import CONVENTIONS
from repana.comparison import Similarity
from repana.dynamics import StoppingPoint, StoppingRule
from repana.errors import FileError, RepanaError
from repana.extraction._session import device_of, randomness, restore_randomness, unwrap
from repana.training import _processes, _refusals
from repana.training._budget import Budget
from repana.training._later import finished
from repana.training._live_page import live_page
from repana.training._over_time import features_by_step, layer_over_time
from repana.training._probe_sets import OUT_OF_MEMORY, ProbeSets
from repana.training._records import Records
from repana.training._run_folder import RunFolder
from repana.training._schedule import check_every, is_due
from repana.training._scores import in_brief, rule_of, score_row, scores_of
from repana.training._whole import whole_report

logger = logging.getLogger("repana")
KEEP = 2**31  # bytes of features
FAILURES = 3  # in a row, after which a monitor switches itself off
STORING = ("lanes", "lanes_of", "shards", "store_dtype")  # options of `record` alone
SAVED = 60.0  # seconds after which skipped steps are written down without a record


class Monitor:
    """Watches a training: at some steps the same samples go through the network, and what their representations are
    like is written down.

    - `probe`: a DataLoader, a Dataset, tensors or batches, as `record` takes them, without augmentation. At most
      `max_samples` of them, as many of each class as equal shares allow, drawn by `seed`, are held in memory, in one
      order. `train_probe`: samples that the network is trained on, of which neural collapse and the moment of zero
      training error are read. Labels are not needed.
    - `store`: the folder of the records, `step_000001200/report` with the features beside. The same monitor on a folder
      with records goes on there: settings and probe set must be the same (RA286).
    - `every`: a record at each step that is a multiple of it, or "log" (1, 2, 4, ..., 1024, then every 1000). `budget`:
      the share of the time since the start that the monitor may take, its own included; a record that would exceed it
      is skipped and written down as skipped, but the first and the last. None: no limit.
    - At once are measured: accuracy, cross-entropy, neural collapse and Fisher's family without intervals, H0
      separability (no labels), participation ratio, and debiased CKA with the first, the previous and the best record.
      `finish()` adds intervals, nulls and the other families from the features, as far as they were kept: at most
      `keep` bytes; beyond that the oldest go, but records number 1, 2, 4, 8, ... and the last three.
    - `stop_on`: a `StoppingRule`, or its arguments as a tuple. `mode="advise"` writes down where the rule would stop;
      with "stop" `step` returns True there.
    - `metrics` of `step` are kept where a step is recorded.
    - `sinks`: TensorBoard writers, W&B runs or `mlflow`, as `Report.log` takes them; one that fails is warned of once.
    - `recording`: what else `record` takes (`pool`, `mask`, `forward`, `device`, ...). `clock`: seconds, for tests.

    Weights, gradients, BatchNorm statistics, train modes and random numbers are as if there were no monitor: a training
    gives the same weights with and without it, bit by bit (on the CPU; on a GPU as far as it is deterministic at all).
    What `record` refuses (an unknown layer, padding without a mask) is raised by the first record, before the training
    goes on. After it an error inside a record never stops the training: it is logged, and after three in a row the
    monitor switches itself off. Under DistributedDataParallel process 0 records; sharded models run on all processes,
    as they must.

    >>> import tempfile, torch, repana
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     monitor = repana.Monitor((x, (x[:, 0] > 0).long()), store=folder, every=10, budget=None)
    ...     for step in range(1, 21):
    ...         stop = monitor.step(net, step)
    ...     steps = monitor.steps
    ...     monitor.close()
    >>> steps
    [1, 10, 20]
    """

    def __init__(
        self,
        probe: Any,
        *,
        store: str | os.PathLike[str],
        train_probe: Any = None,
        layers: Any = "auto",
        every: int | str = 200,
        budget: float | None = 0.05,
        max_samples: int = 1000,
        stop_on: StoppingRule | str | Sequence[Any] | None = None,
        mode: str = "advise",
        sinks: Sequence[Any] = (),
        keep: int = KEEP,
        convention: str = "papyan",
        level: float = 0.95,
        seed: int = 0,
        batch_size: int = 64,
        page: bool = True,
        clock: Callable[[], float] = time.perf_counter,
        **recording: Any,
    ) -> None:
        _check.level_of(level)
        _check.choice(mode, "mode", ("advise", "stop"))
        _check.choice(convention, "convention", CONVENTIONS)
        _check.at_least(max_samples, "max_samples", 4)
        _check.at_least(keep, "keep", 0)
        _check.at_least(batch_size, "batch_size", 1)
        _check.whole(seed, "seed")
        if budget is not None and (not isinstance(budget, (int, float)) or not 0 <= budget <= 1):
            raise _refusals.no_share(budget)
        if isinstance(sinks, (str, bytes)) or not isinstance(sinks, Sequence):
            raise _refusals.no_sinks(sinks)
        if not isinstance(store, (str, os.PathLike)):
            raise _refusals.no_store(store)
        recording.pop("progress", None)  # a record has no bar
        check_recording(recording, also=())
        for name in STORING:
            if name in recording:
                raise _refusals.not_of_a_monitor(name)
        given = {"probe": probe} if train_probe is None else {"train": train_probe, "held_out": probe}
        sets = ProbeSets(given, layers, recording, max_samples, batch_size, seed)
        self._every, self._mode, self._page = check_every(every), mode, page
        self.rule = rule_of(stop_on)
        if mode == "stop" and self.rule is None:
            raise _refusals.stop_without_rule()
        self._sinks = list(sinks)
        self._budget = Budget(budget, clock)
        self.folder = RunFolder(Path(store))
        self._records = Records(self.folder, sets, self.rule, convention=convention, level=level, seed=seed, keep=keep)
        self._failed, self.off, self._written = 0, False, -1.0
        self._aside = False  # a process that leaves records to another
        self._latest, self._model = -1, None

    # What a loop calls

    def begin(self, model: nn.Module, step: int = 0) -> None:
        """Start, or go on, at a step at which the weights of the model are those after so many updates; records it
        unless it was recorded. Records of later steps, of a timeline that was left, are moved to `abandoned/`.

        Raises FileError where another process writes the folder, InputError where its records were made with other
        settings or of another probe set, what reading the probe set raises, and what the first record of all refuses.
        """
        step = _step_of(step)
        self._aside = not _processes.keeps(model)
        if _processes.is_bystander(model):
            self._records.begun, self._latest = True, step
            return
        self._budget.elapsed()
        with _unnoticed(model):
            try:
                self._start(model, step, keep_this=True)
                if _processes.shared(model, step not in self._records.reports):
                    self._record(model, step, {})
            finally:
                self._budget.spent()

    def step(self, model: nn.Module, step: int | None = None, *, metrics: Mapping[str, float] | None = None) -> bool:
        """After an update of the weights, the `step`-th (by default counted here); records where one is due. `metrics`
        are numbers of your own to be kept beside. Returns whether to stop: True only with `mode="stop"`.

        A step that was seen already is passed over, as gradient accumulation repeats it. A step before the last one
        starts a new timeline: records from there on are moved to `abandoned/`.
        """
        first, self._aside = not self._records.begun, not _processes.keeps(model)
        if step is None and first and not self._aside and self.folder.steps():
            raise _refusals.step_needed(self.folder.path, self.folder.steps()[-1])
        step = max(self._latest, 0) + 1 if step is None else _step_of(step)
        if step == self._latest and not first:
            return False
        before = min(self._latest, step - 1)
        if _processes.is_bystander(model):
            self._records.begun, self._latest = True, step
            return _processes.agreed(False) if self._decides(step, first, before) else False
        stop, due = False, first or is_due(self._every, step, before)
        if due:
            _synchronize(model)  # what the training still computes is its own time
        self._budget.elapsed()
        if due or step < self._latest:
            with _unnoticed(model):
                stop = self._due(model, step, metrics or {}, first, due)
        self._latest, self._model = step, model
        self._budget.spent()
        return _processes.agreed(stop) if self._decides(step, first, before) else stop

    def _due(self, model: nn.Module, step: int, metrics: Mapping[str, float], first: bool, due: bool) -> bool:
        if first:
            self._start(model, step, keep_this=False)
        elif step < self._latest:
            try:
                self._start(model, step, keep_this=False)
            except (RepanaError, OSError) as error:
                self._fail(step, error)
        else:
            self._attach(model)  # a monitor that was closed takes its folder again
        if not due or _processes.shared(model, self.off):
            return False
        if _processes.shared(model, first or self._budget.allows):
            self._record(model, step, metrics)
        else:
            self._skip(step)
        return self._mode == "stop" and self.advice.stop is not None

    def finish(self, model: nn.Module | None = None, *, later: bool | Sequence[str] = True) -> Report:
        """Record the last step if it was not, measure what was put off, write the page and let the folder go. Returns
        the report of the whole training.

        `later`: all of neural collapse, Fisher's family, dimension, spectrum, topology, probing and separability with
        intervals and nulls, of every record whose features were kept (some seconds each); or the names of some; or
        False. It is not part of the budget. A call that was interrupted goes on where it was.
        """
        self.end(model, later=later)
        return Report(()) if self._aside and not self.folder.steps() else self.report()

    def last(self, model: nn.Module) -> None:
        """Record the step that `step` saw last, unless it was recorded: at the end, while the weights are still those
        of that step."""
        if not self._records.begun or _processes.is_bystander(model):
            return
        self._budget.elapsed()
        with _unnoticed(model):
            missing = not self.off and self._latest >= 0 and self._latest not in self._records.reports
            if _processes.shared(model, missing):
                self._attach(model)
                self._record(model, self._latest, {})
        self._budget.spent()

    def end(self, model: nn.Module | None = None, *, later: bool | Sequence[str] = True) -> None:
        """`finish` without the report, as callbacks do it."""
        model = model if model is not None else self._model
        if model is not None:
            self.last(model)
        with _unnoticed(model):
            self._save()
            if later and self._writes():
                records = finished(self.folder, self._records.whole(), later, **self._records.measuring)
                self._records.reports = {step: in_brief(report, self.rule) for step, report in records.items()}
            self._show()
        self.close()

    def close(self) -> None:
        """Let the folder go, for another process to go on in it."""
        if self._records.held:
            self._save()
            self._records.release()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # What was found

    @property
    def steps(self) -> list[int]:
        """The steps that were recorded."""
        return self._records.steps

    @property
    def reports(self) -> Mapping[int, Report]:
        """The records by step."""
        return self._records.all

    @property
    def skipped(self) -> list[dict[str, Any]]:
        """Steps at which a record was due and was not made, and why; of very many the last 1000."""
        return list(self._records.journal.skipped)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Steps at which a record failed, and the error."""
        return list(self._records.journal.failures)

    @property
    def overhead(self) -> float:
        """The share of all time since the start that was the monitor's."""
        return self._budget.used

    def report(self) -> Report:
        """One run a record, at its step, and what is read of the whole training as the run "training"."""
        records = self._records.whole()
        if not records:
            raise _refusals.nothing_recorded(self.folder.path)
        return whole_report(records, self.folder, self._told(), self.rule, self._records.level, self._records.seed)

    @property
    def scores(self) -> list[float]:
        """The score of the rule at every record."""
        return scores_of(self._records.all, self.rule)

    @property
    def advice(self) -> StoppingPoint:
        """Where the rule stops, and its best record, as places among `steps`."""
        return self._records.advice

    def choose(self) -> tuple[int, Estimate]:
        """The step with the best smoothed score, and that record's score with its interval.

        Raises InputError where no record has one.
        """
        point, records = self.advice, self._records.all
        if point.best is None:
            raise _refusals.no_best()
        step = sorted(records)[point.best]
        found = score_row(records[step], self.rule)
        assert found is not None
        return step, Estimate(found.value, found.low, found.high, found.n, found.note)

    def features(self, layer: str, split: str | None = None) -> dict[int, Tensor]:
        """The (n, d) features of a layer by step, of all records that kept them: for `time_to_decode`, `complexity` and
        whatever else reads features. `split`: by default the probe set; "train" of two.

        Raises InputError where no record kept the layer, or has no such split.
        """
        return features_by_step(self.folder, self.steps, layer, split)

    def over_time(self, layer: str, **options: Any) -> Similarity:
        """Similarity of one layer with itself over all records whose features were kept, time by time; see
        `repana.similarity` for the options.

        Raises InputError where fewer than two records kept the layer.
        """
        return layer_over_time(self.folder, self.steps, layer, **options)

    # How a record is made

    def _start(self, model: nn.Module, step: int, *, keep_this: bool) -> None:
        """Take the folder, compare settings, and leave later records behind."""
        self._attach(model)
        self._latest = step
        if not _processes.keeps(model):
            return
        if keep_this and step in self._records.reports and not self._records.is_of(step, model):
            logger.warning("repana: the record of step %d is of other weights than the model has", step)
            keep_this = False
        late = [s for s in self._records.reports if s > step or (s == step and not keep_this)]
        if late:
            self._records.leave(late)
        self._records.refer()
        self._save()

    def _attach(self, model: nn.Module) -> None:
        """Take the folder, and go on with the clock of a training that goes on."""
        before = self._records.attach(model)
        if before is not None:
            clock = before.get("clock", {})
            self._budget.training, self._budget.own = clock.get("training", 0.0), clock.get("own", 0.0)
            self._budget.costs = list(clock.get("costs", []))

    def _record(self, model: nn.Module, step: int, metrics: Mapping[str, float]) -> None:
        _synchronize(model)
        began = self._budget.clock()
        try:
            self._records.make(model, step, metrics)
            self._failed = 0
        except Exception as error:
            memory = isinstance(error, torch.OutOfMemoryError) or getattr(error, "code", "") == OUT_OF_MEMORY
            refused = not memory and not isinstance(error, (OSError, FileError))
            if refused and not self._records.reports and not self._records.journal.failures:
                self._records.release()
                self._records.begun = False
                raise  # the first of all: what it refuses, each of the others would
            self._fail(step, error)
            return
        if self._aside:
            return
        _synchronize(model)
        self._budget.took(self._budget.clock() - began)
        self._save()
        self._show()
        self._log(step)

    def _skip(self, step: int) -> None:
        used = (self._budget.own + self._budget.next_cost) / max(self._budget.training + self._budget.own, 1e-9)
        why = f"a record of {self._budget.next_cost:.3g} s would bring the monitor to {100 * used:.3g}% of the time"
        self._records.journal.skip(step, why)
        if self._budget.clock() - self._written > SAVED:
            self._save()

    def _fail(self, step: int, error: Exception) -> None:
        self._failed += 1
        text = str(error) if isinstance(error, RepanaError) else f"{type(error).__name__}: {error}"
        self._records.journal.fail(step, text)
        logger.warning("repana: the record of step %d failed: %s", step, text)
        if self._failed >= FAILURES:
            self.off = True
            why = f"{FAILURES} records failed in a row; the monitor is off from step {step} on"
            self._records.journal.note(why)
            warnings.warn(f"repana: {why}. The last error: {text}", stacklevel=4)
        self._save()

    def _save(self) -> None:
        """What the folder says of the training; where it cannot be written, that is logged."""
        if not self._records.held or not self._records.begun:
            return
        b = self._budget
        clock = {"training": b.training, "own": b.own, "costs": b.costs, "budget": b.share}
        rule = None if self.rule is None else vars(self.rule)
        self._written = b.clock()
        known = {"clock": clock, "every": self._every, "rule": rule, "mode": self._mode, "off": self.off}
        try:
            self.folder.put_about({**self._records.journal.told(), **known, "versions": {"repana": __version__}})
        except RepanaError as error:
            logger.warning("repana: %s", error)

    def _told(self) -> dict[str, Any]:
        b = self._budget
        if not self._records.begun:
            return self.folder.about()
        return {
            **self._records.journal.told(),
            "clock": {"training": b.training, "own": b.own, "budget": b.share},
            "off": self.off,
        }

    def _show(self) -> None:
        """The live page; a failure of its own costs nothing else."""
        if not self._page or not self._records.reports or not self._records.held:
            return
        try:
            live_page(self._records.reports, self._told(), self.rule, self.folder.path)
        except Exception as error:
            logger.warning("repana: the live page could not be written: %s", error)

    def _log(self, step: int) -> None:
        report = self.folder.report(step) if self._sinks else Report(())
        for sink in list(self._sinks):
            try:
                report.log(sink, step)
            except Exception as error:
                self._sinks.remove(sink)
                warnings.warn(
                    f"repana: {type(sink).__name__} takes no more records ({type(error).__name__}: {error}); they are "
                    f"in {str(self.folder.path)!r}",
                    stacklevel=5,
                )

    def _writes(self) -> bool:
        """Whether this process may write: it holds the folder, or takes it."""
        if self._aside:
            return False
        self._records.take()  # also of a training that ended before
        return True

    def _decides(self, step: int, first: bool, before: int) -> bool:
        """Whether processes agree on stopping at this step."""
        return self._mode == "stop" and (first or is_due(self._every, step, before))


def ended(monitor: Monitor, model: nn.Module | None, later: bool) -> None:
    """The end of a training in a framework, which no error of a monitor keeps from ending."""
    try:
        monitor.end(model, later=later)
    except Exception as error:
        logger.warning("repana: the training ended without the last record: %s", error)


def _step_of(step: Any) -> int:
    try:
        number = -1 if isinstance(step, bool) else operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise _refusals.no_step(step)
    return number


@contextmanager
def _unnoticed(model: nn.Module | None) -> Iterator[None]:
    """Random numbers go on afterwards as if nothing had been drawn in between."""
    device = None if model is None else device_of(unwrap(model)[0])
    state = randomness(device or torch.device("cpu"))
    try:
        yield
    finally:
        restore_randomness(state)


def _synchronize(model: nn.Module) -> None:
    device = device_of(unwrap(model)[0])
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
