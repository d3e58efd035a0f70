"""The hooks of the planned layers, and one batch read through them."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from repana.extraction import _refusals
from repana.extraction._addresses import Site
from repana.extraction._batch_masks import FOUND
from repana.extraction._batches import Batch, Forward, run
from repana.extraction._layouts import index_of
from repana.extraction._plan import Plan, Planned
from repana.extraction._pooling import dense
from repana.extraction._session import Session
from repana.extraction._sharded import whole
from repana.extraction._steps import KEY as STEPS_KEY
from repana.extraction._steps import STEPS, joined, watch_generation
from repana.extraction._tree import arguments, at, leaves


class _Enough(BaseException):
    """Everything requested of this batch has been seen; the rest of the forward pass is not needed."""


class Taps:
    """The hooks of the planned layers. `read` runs one batch and gives their pooled features and the logits."""

    def __init__(self, live: Session, planned: Plan, forward: Forward | None) -> None:
        self._model, self._plan, self._forward, self._routed = live.model, planned, forward, live.routed
        self._pooled: dict[str, Tensor] = {}
        self._steps: dict[str, list[Tensor]] = {}
        stepwise = any(p.pooling.method == STEPS for p in planned.layers)
        self.generation = watch_generation(live, planned.facts.get("seed", 0)) if stepwise else None
        self._seen: dict[str, int] = defaultdict(int)
        self._batch: Batch | None = None
        self._number = 0
        self._root = [p for p in planned.layers if not p.site.module and p.site.side == "out"]
        self._stops = planned.facts["logits"] is None and not self._root and not stepwise
        self._output: Any = None
        by_module: dict[str, list[Planned]] = defaultdict(list)
        for p in planned.layers:
            if p not in self._root:
                by_module[p.site.module].append(p)
        if planned.facts.get("of_root"):  # the call gives nothing: what the model gives is the output
            live.hook(live.model, self._keep)
        for name, requested in by_module.items():
            module = live.module(name)
            before = [p for p in requested if p.site.side == "in"]
            after = [p for p in requested if p.site.side == "out"]
            early = bool(before) or requested[0].calls > 1  # calls are counted as they begin, or else as they end
            if early:
                live.pre_hook(module, partial(self._before, name, before))
            if after:
                live.hook(module, partial(self._after, name, after, not early))

    def _before(self, name: str, requested: list[Planned], module: nn.Module, args: Any, kwargs: Any) -> None:
        self._seen[name] += 1
        if requested:
            self._take(requested, self._seen[name], arguments(args, kwargs))

    def _after(
        self, name: str, requested: list[Planned], counts: bool, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        self._seen[name] += counts
        self._take(requested, self._seen[name], output)

    def _keep(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._output = output

    def _take(self, requested: list[Planned], call: int, tree: Any) -> None:
        if self._batch is None:  # the pass is read through other taps
            return
        for p in requested:
            if p.pooling.method == STEPS:
                part = p.pooling.of_call(_tensor_at(tree, p.site), self._batch.size, p.address)
                self._steps.setdefault(p.address, []).append(part)
            elif p.site.call in (None, call):
                self._pooled[p.address] = self._pool(p, _tensor_at(tree, p.site))
        if self._stops and len(self._pooled) == len(self._plan.layers) and self._all_called():
            raise _Enough

    def _pool(self, p: Planned, x: Tensor) -> Tensor:
        batch = self._batch
        assert batch is not None
        groups, rows = p.pooling.layout.groups, None
        if groups is not None:
            rows = index_of(batch.inputs(), groups, x.shape[p.pooling.layout.sample or 0])
        return p.pooling(x, self.masks(batch, [p]), batch.size, p.address, self._number, rows)

    def masks(self, batch: Batch, layers: Iterable[Planned]) -> dict[str, Tensor]:
        """The masks of a batch, with those of the tokens that were sent to an expert in the last pass."""
        found = dict(batch.masks)
        for p in layers:
            for key in p.pooling.masks.values():
                if key == STEPS_KEY:
                    found[key] = self._real_steps(p, batch)
                elif key.startswith(FOUND):
                    real = None if p.among is None else batch.masks[p.among]
                    sent = self._routed[p.site.module][(p.site.call or 1) - 1].reshape(batch.size, -1)
                    found[key] = sent if real is None else sent & real.to(sent.device)
        return found

    def _real_steps(self, p: Planned, batch: Batch) -> Tensor:
        calls = self._steps[p.address]
        real = None if p.among is None else batch.masks[p.among]
        prompt = torch.ones(calls[0].shape[:2], dtype=torch.bool) if real is None else real
        assert self.generation is not None
        return self.generation.real(len(calls), prompt.to(calls[0].device))

    def _all_called(self) -> bool:
        return all(self._seen[name] >= calls for name, calls in self._plan.facts["calls"].items())

    def read(self, batch: Batch, number: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Pooled features by address, and the logits."""
        self._pooled, self._steps, self._batch, self._number = {}, {}, batch, number
        self._routed.clear()
        if self.generation is not None:
            self.generation.begin(number)
        self._seen.clear()
        output = None
        with suppress(_Enough):
            output = run(self._model, batch, self._forward)
        output = self._output if self._plan.facts.get("of_root") else output
        for p in self._root:
            if output is not None:
                self._pooled[p.address] = self._pool(p, _tensor_at(output, p.site))
                self._seen[""] = 1
        for p in (p for p in self._plan.layers if p.address in self._steps):
            whole = joined(self._steps[p.address], p.address, number)
            self._pooled[p.address] = whole[self._real_steps(p, batch)]
        for p in (p for p in self._plan.layers if p.pooling.method != STEPS):
            if self._seen[p.site.module] != p.calls or p.address not in self._pooled:
                raise _refusals.missed(p.address, number, p.calls, self._seen[p.site.module])
        self._batch = None
        shards = self._plan.facts.get("shards", {})
        features = {p.address: self._pooled[p.address] for p in self._plan.layers}
        features |= {address: shard.gathered(features[address]) for address, shard in shards.items()}
        for p in self._plan.layers:
            if features[p.address].shape[1] != p.width:
                raise _refusals.width_changed(p.address, p.width, features[p.address].shape[1], number)
        path = self._plan.facts["logits"]
        z = None if path is None else at(output, path)
        return features, None if z is None else dense(z).float().clone()


def _tensor_at(tree: Any, site: Site) -> Tensor:
    found = at(tree, site.part) if site.part else next((tensor for _, tensor in leaves(tree)), None)
    if found is None:
        raise _refusals.no_part(str(site), [])
    return whole(found)
