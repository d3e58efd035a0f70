"""Recording to a store, lane by lane: what is done stays done, whatever happens, and every process does its share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repana._activations import Activations
from repana.errors import RepanaError
from repana.extraction import _data_refusals, _model_refusals, _store_refusals
from repana.extraction._cuts import Cuts, Share, checked_lanes
from repana.extraction._guards import FiniteCheck, memory_errors, with_progress
from repana.extraction._indexed import Indexed
from repana.extraction._kept import add_rows, classifier_of
from repana.extraction._options import Options
from repana.extraction._passes import Rows, passes
from repana.extraction._plan import Plan
from repana.extraction._provenance import provenance_of
from repana.extraction._sharded import is_sharded
from repana.extraction._store import FeatureStore, Kept
from repana.store import _format as f
from repana.store._read import done_lanes
from repana.store._write import LaneWriter, begin_lane, finish, log, open_store
from repana.summaries.discriminant import WIDEST
from repana.summaries.moments import Moments, MomentSums

Walk = Callable[[], tuple[Iterator[Any], int | None]]  # batches, and their number where it is known
Schedule = Sequence[tuple[int, range, range, bool, bool]]  # lane, part, batch, and whether it ends the part, the lane
SHARD = 2**32  # the first sample of a shard is this many times its number
STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Storing:
    """How a recording is stored."""

    folder: Path
    lanes: int | None
    dtype: torch.dtype | None
    share: Share
    max_samples: int | None
    scatter: bool
    memory: int | None
    batch_size: int
    seed: int
    progress: bool | None

    @classmethod
    def of(cls, store: Any, lanes: int | None, dtype: Any, lanes_of: str | None, **others: Any) -> "Storing":
        name = None if dtype is None else str(dtype).removeprefix("torch.")
        if name is not None and name not in STORED:
            raise _store_refusals.store_dtype(dtype)
        share = Share.requested(lanes_of)
        checked_lanes(lanes, share)
        return cls(Path(store), lanes, None if name is None else STORED[name], share, **others)


def record_lanes(
    outer: nn.Module,
    model: nn.Module,
    planned: Plan,
    options: Options,
    shards: Sequence[Any],
    storing: Storing,
    taken: list[str],
    names: Sequence[str] | None,
    walks: Sequence[Walk],
) -> Activations:
    """Record the lanes of this process that are not done, and, when all are, make them one recording.

    `shards` are the data, one or a lane each. `walks` begin with the batches of a lane, where samples cannot be had by
    their places.
    """
    if is_sharded(model):
        raise _model_refusals.sharded_store()
    data = shards[0]
    source = Indexed.of(data, storing.batch_size) if len(walks) == 1 else None
    if source is None and (storing.lanes or 1) > len(walks):
        raise _store_refusals.one_lane(storing.lanes or 1)
    provenance = provenance_of(
        outer, model, planned, torch.device(options.device.type), options.dtype, data, 0, storing.seed, taken
    )
    about = _identity(provenance, planned, options, source, storing, len(walks))
    about |= {"shards": [_known(shard) for shard in shards]} if len(shards) > 1 else {}
    cuts: Cuts | None = about.pop("cuts")
    del provenance["depth_share"]  # it was timed, and stands in the log
    provenance |= {} if names is None else {"class_names": [str(name) for name in names]}
    shard = f", plus {SHARD} times the number of the shard" if len(walks) > 1 else ""
    provenance |= {} if source is not None else {"sample_numbers": f"positions in the stream{shard}"}
    head = planned.facts["head_layer"] if planned.head is not None else None
    identity = open_store(storing.folder, about, provenance, head)
    done = done_lanes(storing.folder, identity)
    todo = [lane for lane in storing.share.lanes(about["lanes"]) if f.lane_name(lane) not in done]
    shares = {p.address: round(p.share, 4) for p in planned.layers}
    log(storing.folder, event="begin", share=[storing.share.number, storing.share.of], lanes=todo, depth_share=shares)
    run = _Run(model, planned, options, storing, identity)
    if todo and source is not None and cuts is not None:
        run.indexed(source, cuts, todo)
    for lane in todo if source is None else ():
        run.streamed(lane, *walks[lane]())
    done = done_lanes(storing.folder, identity, digests=False)
    log(storing.folder, event="end", lanes=todo, done=len(done))
    return Activations.load(storing.folder, partial=not finish(storing.folder, done))


def _known(shard: Any) -> list[Any]:
    """What tells a shard from others: its class, and samples that can be had by their places."""
    indexed = Indexed.of(shard, 1)
    return [type(getattr(shard, "dataset", shard)).__name__, None if indexed is None else indexed.fingerprint()]


def _identity(
    known: Mapping[str, Any], planned: Plan, options: Options, source: Indexed | None, storing: Storing, walks: int
) -> dict[str, Any]:
    """All that decides what is recorded, and how it is cut: equal for every process, and for a restart. `known` is the
    provenance of the recording."""
    batch = storing.batch_size if source is None else source.batch_size
    size = planned.bytes_per_sample if storing.max_samples != 0 else 0
    cuts = None if source is None else Cuts.of(source.n, batch, size, storing.lanes)
    dtype = None if storing.dtype is None else str(storing.dtype).removeprefix("torch.")
    return {
        "repana": known["versions"]["repana"],
        "torch": known["versions"]["torch"],
        "model": known["model"],
        "parameters": known["parameters"],
        "weights_sha256": known["weights_sha256"],
        "data": known["data"],
        "data_sha256": None if source is None else source.fingerprint(),
        "n": None if source is None else source.n,
        "layers": [[p.address, p.width, dtype] for p in planned.layers],
        "pooling": known["pooling"],
        "layouts": {p.address: str(p.pooling.layout) for p in planned.layers},
        "autocast": known["autocast"],
        "logits": planned.facts["logits"],
        "device": options.device.type,
        "batch_size": batch,
        "rows": None if cuts is None else cuts.rows,
        "lanes": walks if cuts is None else cuts.lanes,
        "parts": None if cuts is None else cuts.each,
        "seed": storing.seed,
        "max_samples": storing.max_samples,
        "sums": [p.address for p in planned.layers],
        "scatter": storing.scatter,
        "cuts": cuts,
    }


@dataclass
class _Run:
    """The lanes of one process."""

    model: nn.Module
    planned: Plan
    options: Options
    storing: Storing
    identity: str

    def indexed(self, source: Indexed, cuts: Cuts, lanes: Sequence[int]) -> None:
        """Lanes of data whose samples can be had by their places: one pass over the batches of all of them."""
        schedule = [
            (lane, part, batch, batch.stop == part.stop, batch.stop == cuts.samples(lane).stop)
            for lane in lanes
            for part in cuts.parts(lane)
            for batch in cuts.batches(part)
        ]
        place = _Place(schedule)
        try:
            self._record(source, cuts, schedule, place)
        except Exception as error:
            if isinstance(error, RepanaError) or not _worker_died(error):
                raise
            at, _, cut, _, _ = schedule[place.number]  # a signal tells it, whatever runs just then
            raise _store_refusals.batch_failed(at, cut.start, cut.stop - 1, error) from error

    def _record(self, source: Indexed, cuts: Cuts, schedule: Schedule, place: "_Place") -> None:
        raws = with_progress(place.walked(source.batches([s[2] for s in schedule])), len(schedule), self._progress)
        with ThreadPoolExecutor(1, "repana-store") as pool:
            lane: _Lane | None = None
            try:
                with closing(passes(self.model, self.planned, self.options, raws, None)) as read:
                    for number, (batch, features, z, rows) in enumerate(read):
                        at, part, cut, ends_part, ends_lane = schedule[number]
                        if lane is None:
                            lane = self._begin(at, cuts.samples(at), pool)
                        with memory_errors(number, lane.kept):
                            lane.add(number, cut.start, batch.size, features, z, rows)
                        if ends_part:
                            lane.end_part(part.start, part.stop, ends_lane=ends_lane)
                        if ends_lane:
                            lane.commit()
                            lane = None
            except RepanaError as error:
                at, _, cut, _, _ = schedule[place.number]
                raise _store_refusals.with_place(error, at, cut.start, cut.stop - 1) from error.__cause__
            finally:
                if lane is not None:
                    lane.give_up()

    def streamed(self, number: int, raws: Iterator[Any], count: int | None) -> None:
        """A lane of a one-shot iterable: a part ends where it is full."""
        most = Cuts.of(2**62, self.storing.batch_size, self.planned.bytes_per_sample, None).rows
        with ThreadPoolExecutor(1, "repana-store") as pool:
            first = seen = number * SHARD
            lane = self._begin(number, range(first, first), pool)
            try:
                told = _told(with_progress(raws, count, self._progress), number)
                passed = passes(self.model, self.planned, self.options, told, None)
                with closing(passed) as read:
                    for place, (batch, features, z, rows) in enumerate(read):
                        if (batch.labels is not None) != self.planned.facts["labelled"]:
                            raise _data_refusals.labels_in_some(place, self.planned.facts["labelled"])
                        with memory_errors(place, lane.kept):
                            lane.add(place, seen, batch.size, features, z, rows)
                        seen += batch.size
                        if seen - first >= most and self.storing.max_samples is None:
                            lane.end_part(first, seen, ends_lane=False)
                            first = seen
                lane.end_part(first, seen, ends_lane=True)  # also where the last part is full, and nothing came since
                lane.commit()
            finally:
                lane.give_up()

    @property
    def _progress(self) -> bool | None:
        return self.storing.progress

    def _begin(self, number: int, samples: range, pool: ThreadPoolExecutor) -> "_Lane":
        writer = begin_lane(self.storing.folder, self.identity, number)
        return _Lane(self, writer, pool, samples.start)


def _worker_died(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that of a loader's worker, which a signal raises anywhere."""
    while error is not None:
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(raws: Iterator[Any], lane: int) -> Iterator[Any]:
    """The same batches; an exception of the data says of which shard, and behind how many batches."""
    number = 0
    while True:
        try:
            raw = next(raws)
        except StopIteration:
            return
        except RepanaError:
            raise
        except Exception as error:
            raise _store_refusals.stream_failed(lane, number, error) from error
        yield raw
        number += 1


@dataclass
class _Place:
    """Where in its schedule a recording is, as far as the data are concerned."""

    schedule: Schedule
    number: int = 0

    def walked(self, raws: Iterator[Any]) -> Iterator[Any]:
        """The same batches; an exception of the data says at which samples."""
        for number, (lane, _, cut, _, _) in enumerate(self.schedule):
            self.number = number
            try:
                raw = next(raws)
            except RepanaError:
                raise
            except StopIteration:
                return
            except Exception as error:
                raise _store_refusals.batch_failed(lane, cut.start, cut.stop - 1, error) from error
            yield raw


@dataclass
class _Lane:
    """One lane as it is recorded: features of its current part, sums of all of it."""

    run: _Run
    writer: LaneWriter
    pool: ThreadPoolExecutor
    first: int
    seen: int = 0
    kept: FeatureStore | None = None
    sums: dict[str, MomentSums] = field(default_factory=dict)
    counts: Mapping[int, int] = field(default_factory=dict)
    written: "Future[None] | None" = None

    def __post_init__(self) -> None:
        scatter = self.run.storing.scatter
        layers = self.run.planned.layers
        self.sums = {p.address: MomentSums(scatter=scatter and p.width <= WIDEST) for p in layers}
        self.finite = FiniteCheck(self.run.options.device)
        self.kept = self._features()

    def _features(self) -> FeatureStore:
        storing = self.run.storing
        return FeatureStore(
            [p.address for p in self.run.planned.layers], self.run.options.device, max_samples=storing.max_samples,
            memory=storing.memory, seed=storing.seed, first=self.first,
        )  # fmt: skip

    def add(
        self, number: int, first: int, size: int, features: Mapping[str, Tensor], z: Tensor | None, rows: Rows
    ) -> None:
        assert self.kept is not None
        self.finite.add(number, features)
        for address, x in features.items():
            add_rows(self.sums[address], x, rows.labels)
        self.kept.add(features, z, rows.labels, rows.sample, size, torch.arange(first, first + size))
        self.seen += size

    def end_part(self, first: int, last: int, *, ends_lane: bool) -> None:
        """Write what came since the last part, beside the pass; of a subset, all of the lane at its end."""
        assert self.kept is not None
        whole = self.run.storing.max_samples is None
        if not whole and not ends_lane:
            return
        kept, self.counts = self.kept.close(), self.kept.counts
        self.kept = None if ends_lane else self._features()
        self._wait()
        if len(kept.sample):
            self.written = self.pool.submit(self.writer.add, self._tensors(kept), first if whole else self.first, last)

    def _tensors(self, kept: Kept) -> dict[str, Tensor]:
        to = self.run.storing.dtype
        found = {f"features/{layer}": _stored(layer, x, to) for layer, x in kept.features.items()}
        others = {"labels": kept.labels, "logits": kept.logits, "sample": kept.sample, "priority": kept.priority}
        return found | {name: x.cpu() for name, x in others.items() if x is not None}

    def _wait(self) -> None:
        if self.written is not None:
            self.written.result()
            self.written = None

    def commit(self) -> None:
        """Sums, and the file that says that the lane is done."""
        self.finite.close()
        self._wait()
        tensors: dict[str, Tensor] = {}
        for layer, sums in self.sums.items():
            moments: Moments = sums.value()
            tensors |= {f"moments/{layer}/{name}": t for name, t in moments.tensors().items() if t is not None}
        head = classifier_of(self.run.model, self.run.planned) if self.writer.lane == 0 else None
        if head is not None:
            tensors |= {"head/weight": head.weight} | ({} if head.bias is None else {"head/bias": head.bias})
        if self.run.storing.max_samples is not None:
            tensors["counts/class"] = torch.tensor(sorted(self.counts), dtype=torch.int64)
            tensors["counts/samples"] = torch.tensor([self.counts[c] for c in sorted(self.counts)], dtype=torch.int64)
        self.writer.add_sums(tensors, self.first, self.first + self.seen)
        self.writer.commit(self.seen)

    def give_up(self) -> None:
        """Let the writer end what it is at; an error that is on its way already says what went wrong."""
        if self.written is not None:
            self.written.exception()


def _stored(layer: str, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Features on the host, in the precision of the store."""
    if dtype is None or x.dtype == dtype:
        return x.cpu()
    found = x.to(dtype)
    if dtype == torch.float16 and not bool(torch.isfinite(found.sum(dtype=torch.float32))):
        raise _store_refusals.overflow(layer, "float16")
    return found.cpu()
