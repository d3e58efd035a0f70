"""Which keys of a file are which weights of a model: prefixes, ties, and buffers that need not be there."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from repana.extraction.sources import _weights_refusals

State: TypeAlias = dict[str, Tensor]

WRAPPED = re.compile(r"(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")  # anywhere in a key
# Buffers that training changes: without them a layer computes something else.
LEARNED = re.compile(r"(^|[._])(running|moving|ema|codebook|embed|cluster|centroid)", re.I)
# Names of weights; what is called otherwise and is in the file alone is a constant, a counter or a statistic.
WEIGHT = re.compile(r"weight|bias|gamma|beta|token|embed|kernel|proj|scale|quer|running_|lora|alpha|^[wbgv]\d?$", re.I)


@dataclass(frozen=True)
class Weights:
    """The names of a model's state, without those of wrappers."""

    model: nn.Module
    names: dict[str, str]  # plain name -> name in the model
    tensors: State
    optional: frozenset[str]  # buffers that are computed when the model is built
    twins: tuple[tuple[str, ...], ...]  # names of one tensor each

    @classmethod
    def of(cls, model: nn.Module) -> "Weights":
        state = {name: x for name, x in model.state_dict().items() if isinstance(x, Tensor)}
        names = {WRAPPED.sub("", name): name for name in state}
        buffers = {WRAPPED.sub("", name) for name, _ in model.named_buffers(remove_duplicate=False)}
        tensors = {plain: state[name] for plain, name in names.items()}
        optional = {n for n in names if n in buffers and (not tensors[n].is_floating_point() or not LEARNED.search(n))}
        groups: dict[tuple, list[str]] = {}
        for n, x in tensors.items():
            key = (x.data_ptr(), x.shape, x.stride()) if x.numel() and not x.is_meta else (n,)
            groups.setdefault(key, []).append(n)
        return cls(model, names, tensors, frozenset(optional), tuple(map(tuple, groups.values())))

    def prefixes(self, state: State, prefix: str | None = None) -> list[str]:
        """What may stand before the model's names in the file, so that all weights are there in their shapes."""
        needed = [group for group in self.twins if not set(group) & self.optional]
        keys = {WRAPPED.sub("", key): x for key, x in state.items()}
        if prefix is not None:
            candidates = {_dotted(prefix)}
        elif not needed:
            candidates = {""}
        else:
            anchor = max(needed, key=lambda group: max(map(len, group)))
            ends = [(key, name) for name in anchor for key in keys if key == name or key.endswith("." + name)]
            candidates = {key.removesuffix(name) for key, name in ends}

        def fits(name: str) -> bool:
            return name in keys and keys[name].shape == self.tensors[name.removeprefix(start)].shape

        found = []
        for start in sorted(candidates, key=len):
            if all(any(fits(start + name) for name in group) for group in needed):
                found.append(start)
        return found

    def fill(self, state: State, file: Path, prefix: str | None, ignore: list[str], say: Callable[[str], None]) -> None:
        """Load the state, or refuse it."""
        kept = {k: x for k, x in state.items() if not any(fnmatchcase(k, pattern) for pattern in ignore)}
        keys = {WRAPPED.sub("", key): x for key, x in kept.items()}
        start = self._start(keys, file, prefix)
        inside = {key.removeprefix(start): x for key, x in keys.items() if key.startswith(start)}
        outside = [key for key in keys if not key.startswith(start)]
        if outside:
            say(_weights_refusals.prefix_chosen(file, start, outside))
        wrong = [
            f"{n} {tuple(inside[n].shape)} for {tuple(x.shape)}"
            for n, x in self.tensors.items()
            if n in inside and inside[n].shape != x.shape
        ]
        if wrong:
            raise _weights_refusals.shapes_do_not_match(file, wrong)
        missing, extra = self._differences(inside, {*self.names} - {*inside}, {*inside} - {*self.names})
        hooks = any(m._load_state_dict_pre_hooks for m in self.model.modules())
        if (missing or extra) and not hooks:
            self._refuse(file, missing, extra, start)
        try:
            done = self.model.load_state_dict({self.names.get(n, n): x for n, x in inside.items()}, strict=False)
        except RuntimeError as error:
            raise _weights_refusals.shapes_do_not_match(file, [str(error).splitlines()[-1].strip()]) from error
        if hooks:  # a layer that reads names of older versions has the last word on what is missing
            lost = {n for n, name in self.names.items() if name in done.missing_keys}
            missing, extra = self._differences(inside, lost, {*done.unexpected_keys})
            if missing or extra:
                self._refuse(file, missing, extra, start)
        lost = {*done.missing_keys} if hooks else {self.names[n] for n in self.names if n not in inside}
        absent = [n for n, name in self.names.items() if name in lost and n in self.optional]
        if absent or done.unexpected_keys:
            say(_weights_refusals.buffers_differ(file, absent, list(done.unexpected_keys)))

    def _differences(self, inside: State, missing: set[str], extra: set[str]) -> tuple[list[str], list[str]]:
        """What is missing and what is too much, in order, without what does not matter."""
        there = {n for group in self.twins if set(group) & inside.keys() for n in group}
        lost = [n for n in self.names if n in missing and n not in self.optional and n not in there]
        return lost, [n for n in inside if n in extra and _is_weight(n, inside[n])]

    def _start(self, keys: State, file: Path, prefix: str | None) -> str:
        """The prefix that was named, or the only one with which everything fits, or the one with which most does."""
        if prefix is not None:
            start = _dotted(prefix)
            if not any(key.startswith(start) for key in keys):
                heads = list(dict.fromkeys(key.partition(".")[0] + "." for key in keys if "." in key))
                raise _weights_refusals.no_such_prefix(file, start, heads)
            return start
        found = self.prefixes(keys)
        if "" in found or not found:
            return "" if found else self._nearest(keys)
        if len(found) > 1:
            raise _weights_refusals.choose_prefix(file, found)
        return found[0]

    def _nearest(self, keys: State) -> str:
        """A prefix that all keys have, which a wrapper put there; else none."""
        start = ""
        while keys and not any(key.removeprefix(start) in self.names for key in keys):
            heads = {key.removeprefix(start).partition(".")[0] for key in keys}
            if len(heads) != 1 or not all("." in key.removeprefix(start) for key in keys):
                return ""
            start += heads.pop() + "."
        return start

    def _refuse(self, file: Path, missing: list[str], extra: list[str], start: str) -> None:
        if not missing:
            raise _weights_refusals.weights_without_place(file, extra)
        raise _weights_refusals.keys_do_not_match(file, len(self.names), missing, extra, _hint(missing, extra))


def _dotted(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


def _is_weight(name: str, x: Tensor) -> bool:
    return x.is_floating_point() and x.ndim > 0 and bool(WEIGHT.search(name.rpartition(".")[2]))


def _hint(missing: list[str], extra: list[str]) -> str:
    for key in extra:
        for name in missing:
            if key.endswith("." + name):
                return f" The prefix {key.removesuffix(name)!r} was found on its keys."
    return ""
