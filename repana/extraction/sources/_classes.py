"""The number of each label, by the names that the model, the data or the user give to classes: matched or refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from repana._typing import IGNORED
from repana.extraction.sources import _refusals
from repana.extraction.sources._described import Described

ClassNames = Sequence[str] | Literal[False] | None


@dataclass(frozen=True)
class Coded:
    """A number for each sample, and the name of each number where there are names."""

    codes: list[int]
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Coder:
    """How labels are numbered: `chosen` are the user's class names in the order of the outputs, False for no order."""

    model: Described
    chosen: ClassNames
    say: Callable[[str], None]
    counted: bool = True  # whether there must be a chosen name for each output

    def of_values(self, values: Any, where: str, known: Sequence[str] | None = None) -> Coded:
        """Labels of a table: names, or numbers; `known` are the names that the data give to their numbers."""
        array = _plain(values, where)
        if array.dtype.kind in "iu":
            if known is None:
                return self._of_numbers(array.astype(np.int64), where)
            return self._of_known(array.astype(np.int64), list(known), where)
        truths = set(array) <= {"True", "False"} and not {"true", "True"} & {*(self.model.places or ())}
        if truths and not self.chosen:
            return self._of_numbers((array == "True").astype(np.int64), where)
        return self._of_names([str(v) for v in array], where)

    def of_folders(self, names: list[str], codes: list[int], where: str) -> Coded:
        """Labels by the place of their folder among the sorted names."""
        model, places = self.model, self.model.places
        if self.chosen is None and model.outputs is not None:
            places = model.wordnet_places(names) or places
            if places is None and model.outputs != len(names):
                raise _refusals.class_counts_differ(where, names, model.spec, model.outputs)
        if self.chosen or (self.chosen is None and places is not None):
            order = self._matched(names, places, where)
            return Coded([order[names[code]] for code in codes], self._all_names(order, places))
        return Coded(codes, tuple(names))

    def _of_names(self, values: list[str], where: str) -> Coded:
        names = sorted(set(values))
        model, places = self.model, self.model.places
        decided = bool(self.chosen) or self.chosen is None
        if decided and (self.chosen or places is not None):
            order = self._matched(names, places, where)
            return Coded([order[value] for value in values], self._all_names(order, places))
        if decided and model.outputs is not None:
            raise _refusals.classes_unnamed(where, names, model.spec, model.outputs)
        order = {name: i for i, name in enumerate(names)}
        return Coded([order[value] for value in values], tuple(names))

    def _of_known(self, array: np.ndarray, known: list[str], where: str) -> Coded:
        """Numbers that the data name: by these names where the model has names, as they are where it has none."""
        outside = [int(v) for v in array if not -1 <= v < len(known) and v != IGNORED]
        if outside:
            raise _refusals.label_outside(where, outside[0], len(known), "the data")
        unlabelled = (array == -1) | (array == IGNORED)  # -1 is how `datasets` marks a row without a label
        if bool(unlabelled.all()):
            raise _refusals.labels_hidden(where)
        if bool(unlabelled.any()):
            self.say(_refusals.unlabelled_rows(where, int(unlabelled.sum()), len(array)))
        places = self.model.places if self.chosen is None else None
        if self.chosen or places is not None:
            order = self._matched(known, places, where)
            codes = [IGNORED if u else order[known[v]] for v, u in zip(array, unlabelled)]
            return Coded(codes, self._all_names(order, places))
        if self.chosen is None and self.model.outputs not in (None, len(known)):
            raise _refusals.class_counts_differ(where, known, self.model.spec, self.model.outputs or 0)
        return Coded([IGNORED if u else int(v) for v, u in zip(array, unlabelled)], tuple(known))

    def _of_numbers(self, array: np.ndarray, where: str) -> Coded:
        """Numbers count the outputs, unless the model's names are numbers themselves and say otherwise."""
        values = [int(v) for v in array]
        labelled = [v for v in values if v != IGNORED]
        if self.chosen is False:
            return Coded(values)
        if self.chosen:
            self._check_range(labelled, len(self.chosen), where, "`class_names`")
            self._check_count(where)
            return Coded(values, tuple(self.chosen))
        outputs, places = self.model.outputs, self.model.places
        if outputs is None:
            return Coded(values)
        named = places is not None and all(str(v) in places for v in labelled)
        if named and places is not None and any(places[str(v)] != v for v in labelled):
            if all(0 <= v < outputs for v in labelled):
                raise _refusals.numbers_are_names(where, self.model.spec, places)
            return Coded([places.get(str(v), v) for v in values], _ordered(places))
        self._check_range(labelled, outputs, where, repr(self.model.spec))
        return Coded(values, None if places is None else _ordered(places))

    def _matched(self, names: Sequence[str], places: dict[str, int] | None, where: str) -> dict[str, int]:
        """The number of each name: letter by letter, else without regard to case where that is unambiguous."""
        if self.chosen:
            self._check_count(where)
            places = {name: i for i, name in enumerate(self.chosen)}
        assert places is not None
        if set(names) <= set(places):
            return {name: places[name] for name in names}
        folded = {name.strip().casefold(): i for name, i in places.items()}
        requested = [name.strip().casefold() for name in names]
        if len(folded) == len(places) and len(set(requested)) == len(names) and set(requested) <= set(folded):
            self.say(_refusals.matched_without_case(where, names, list(_ordered(places))))
            return {name: folded[key] for name, key in zip(names, requested)}
        source = "`class_names`" if self.chosen else f"the model {self.model.spec!r}"
        unknown = [name for name, key in zip(names, requested) if key not in folded] or list(names)
        raise _refusals.classes_do_not_match(where, unknown, list(names), source, list(_ordered(places)))

    def _all_names(self, order: dict[str, int], places: dict[str, int] | None) -> tuple[str, ...]:
        """The names of all outputs, as the data write them."""
        whole = list(self.chosen) if self.chosen else list(_ordered(places or order))
        for name, code in order.items():
            whole[code] = name
        return tuple(whole)

    def _check_count(self, where: str) -> None:
        assert self.chosen
        if len(set(self.chosen)) < len(self.chosen):
            raise _refusals.class_names_twice(list(self.chosen))
        if self.counted and self.model.outputs not in (None, len(self.chosen)):
            raise _refusals.class_counts_differ(where, list(self.chosen), self.model.spec, self.model.outputs or 0)

    def _check_range(self, values: list[int], count: int, where: str, source: str) -> None:
        outside = [v for v in values if not 0 <= v < count]
        if outside:
            raise _refusals.label_outside(where, outside[0], count, source)


def _ordered(places: dict[str, int]) -> tuple[str, ...]:
    named = {i: name for name, i in places.items()}
    return tuple(named.get(i, str(i)) for i in range(max(named) + 1))


def _plain(values: Any, where: str) -> np.ndarray:
    """Whole numbers as int64, everything else as text; holes, fractions and lists are refused."""
    import pandas as pd

    column = pd.Series(values) if not isinstance(values, pd.Series) else values
    if len(column) and any(isinstance(v, (list, tuple, np.ndarray, dict)) for v in column.iloc[:1]):
        raise _refusals.label_lists(where)
    empty = column.isna().to_numpy()
    if empty.any():
        raise _refusals.cells_missing(where, int(empty.sum()), int(empty.argmax()))
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    kind = column.dtype.kind
    if kind == "f":
        numbers = column.to_numpy(dtype=np.float64)
        if not np.array_equal(numbers, np.round(numbers)):
            raise _refusals.label_fractions(where, float(numbers[numbers != np.round(numbers)][0]))
        return numbers.astype(np.int64)
    if kind in "iu":
        return column.to_numpy(dtype=np.int64)
    texts = [str(v) for v in column]
    if all(t.lstrip("-").isdecimal() and str(int(t)) == t for t in texts):
        return np.array([int(t) for t in texts], dtype=np.int64)
    return np.array(texts, dtype=object)
