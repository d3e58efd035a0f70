"""What `ntk` finds, and what two kernels over the same samples say of each other."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag
from repana._numbers import number
from repana.kernels import _refusals
from repana.kernels._kernel_statistics import LAZY, kept_as, similarity, velocity
from repana.kernels._measures import QUANTITIES, Kernel, Measure, bounded, of_halves

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class LayerKernels:
    """The neural tangent kernel of a network by parameter; see `ntk`. `total` is the sum. `matrices` (n, n) by
    parameter with `keep="kernels"`, in float32 or as precise as the network, and `matrix` the sum in float64, None with
    `keep="trace"`; `full` (c, c, n, n) of every pair of outputs, where `outputs="full"`; `outputs` (n, c) and `labels`
    of the samples; `untrained` the same of copies with new random weights, where they were asked for."""

    layers: Mapping[str, Kernel]
    total: Kernel
    accuracy: Estimate
    matrix: Float[Tensor, "n n"] | None
    outputs: Float[Tensor, "n c"]
    labels: Tensor | None = None
    matrices: Mapping[str, Float[Tensor, "n n"]] = field(default_factory=dict)
    full: Float[Tensor, "c c n n"] | None = None
    untrained: Sequence["LayerKernels"] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> Kernel:
        if layer not in self.layers:
            raise _check.not_recorded(layer, list(self.layers))
        return self.layers[layer]

    def frame(self) -> "pd.DataFrame":
        """A line for each parameter and quantity, the sum as "": value, low, high, null, p, n, note, and the mean of
        the untrained copies as `untrained`, where there are."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "p", "n", "note")
        rows = []
        for name, k in {**self.layers, "": self.total}.items():
            copies = [c.layers[name] if name else c.total for c in self.untrained]
            for q in QUANTITIES:
                rows.append([name, q, *(getattr(getattr(k, q), c) for c in columns)])
                if copies:
                    rows[-1].append(sum(getattr(c, q).value for c in copies) / len(copies))
        names = ["layer", "quantity", *columns, *(["untrained"] if self.untrained else [])]
        return pd.DataFrame(rows, columns=names)

    def similarities(self) -> "pd.DataFrame":
        """The centred cosine of the kernels of every two parameters.

        Raises InputError (RA297) where single kernels were not kept (`keep="kernels"`).
        """
        import pandas as pd

        if not self.matrices:
            raise _refusals.no_matrices()
        names = list(self.matrices)
        double = {name: m.double() for name, m in self.matrices.items()}
        rows = [[similarity(double[a], double[b]) for b in names] for a in names]
        return pd.DataFrame(rows, index=names, columns=names)

    def velocity(self, later: "LayerKernels") -> "KernelMotion":
        """How far the kernel has moved until a later checkpoint: 1 - <K, K'>/(|K| |K'|) of the sum and of every
        parameter that both kept, 0 where it has not moved, as in lazy training. Interval: 20 random halves.

        Raises InputError (RA297) for kernels of other samples or other random directions, or that were not kept
        (`keep="trace"`).
        """
        n = len(self.outputs)
        for name in ("samples", "outputs"):
            if self.settings.get(name) != later.settings.get(name) or n != len(later.outputs):
                raise _refusals.other_kernels(name, n, len(later.outputs))
        if self._drawn() != later._drawn():
            raise _refusals.other_directions()
        if self.matrix is None or later.matrix is None:
            raise _refusals.no_matrix()
        both = [name for name in self.matrices if name in later.matrices]
        found = {
            name: _moved([(self.matrices[name].double(), later.matrices[name].double())], self.settings)
            for name in both
        }
        return KernelMotion(_moved([(self.matrix, later.matrix)], self.settings), found)

    def learned(self) -> "KernelMotion":
        """How far the kernel is from those of untrained copies: the mean of 1 - <K, K'>/(|K| |K'|) over the copies, of
        the sum and of every parameter that was kept. Null: the mean over pairs of copies, which differ by their random
        weights alone. Interval: 20 random halves.

        Raises InputError (RA297) without untrained copies, or with kernels that were not kept (`keep="trace"`).
        """
        if not self.untrained:
            raise _refusals.no_untrained()
        if self.matrix is None:
            raise _refusals.no_matrix()
        found = {
            name: self._learned(m.double(), [c.matrices[name].double() for c in self.untrained])
            for name, m in self.matrices.items()
        }
        copies = [c.matrix for c in self.untrained if c.matrix is not None]
        return KernelMotion(self._learned(self.matrix, copies), found, len(self.untrained))

    def _drawn(self) -> tuple[Any, ...]:
        """What random directions depend on; nothing where there are none."""
        return tuple(self.settings[n] for n in ("directions", "seed")) if self.settings.get("sketch") else ()

    def _learned(self, own: Tensor, copies: Sequence[Tensor]) -> Estimate:
        found = _moved([(own, copy) for copy in copies], self.settings)
        pairs = [velocity(a, b) for a, b in combinations(copies, 2)]
        if not pairs:
            return replace(found, note=Flag.FEW_SAMPLES.note("one untrained copy has no other to be compared with"))
        return replace(found, null=sum(pairs) / len(pairs))

    def grouped(self, groups: Mapping[str, str] | None = None, *, spectra: bool = True) -> "LayerKernels":
        """Sums over the parameters of each module, or of each group that `groups` names by parameter; those that it
        does not name are left out of the layers, not of the sum. Parameters that stand in no module keep their names.
        Without `spectra` no eigenvalues are computed.

        Raises InputError (RA297) where single kernels were not kept (`keep="kernels"`), ModelError (RA101) for a name
        that is no parameter's.
        """
        if not self.matrices or self.matrix is None:
            raise _refusals.no_matrices()
        if groups is None and self.settings.get("grouped"):
            return self
        names = {p: p.rpartition(".")[0] or p for p in self.matrices} if groups is None else groups
        for name in names:
            self[name]
        sums: dict[str, Tensor] = {}
        for parameter, group in names.items():
            own = self.matrices[parameter].double()
            sums[group] = sums[group] + own if group in sums else own
        measure = Measure(len(self.outputs), self.labels, self.settings)
        whole = self.matrix.diagonal()
        return replace(
            self,
            layers={name: measure.shared(measure(k, spectra=spectra), k.diagonal(), whole) for name, k in sums.items()},
            matrices={name: k.to(kept_as(self.settings)) for name, k in sums.items()},
            settings={**self.settings, "grouped": True},
            untrained=tuple(copy.grouped(names, spectra=spectra) for copy in self.untrained),
        )

    def plot(self, **options: Any) -> "Figure":
        """Shares and alignment by depth; see `repana.plots.kernel_depth`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.kernel_depth(self, **options))

    def says(self) -> str:
        """Which parameter holds most of the kernel, whether it is aligned with the labels, and whether it differs from
        that of untrained copies."""
        known = [name for name, k in self.layers.items() if k.share.value == k.share.value]
        if not self.layers:
            return "No group has parameters."
        if not known:
            return "All gradients are 0: the network has no kernel."
        top = max(known, key=lambda name: self.layers[name].share.value)
        text = f"{100 * self.layers[top].share.value:.0f}% of the kernel is {top}'s."
        a = self.total.alignment
        if a.value == a.value and a.p == a.p:
            where = "no more than under permuted labels" if a.p > 0.05 else "more than under permuted labels"
            text += f" It is aligned with the labels {where} ({number(a.value)}, null {number(a.null)}, p {a.p:.2g})."
        if self.untrained and self.matrix is not None:
            text += f" {self.learned().says()}"
        error = self.settings.get("sketch_error")
        if error is not None:
            size = "unknown" if error != error else f"about {100 * error:.0f}%"
            of = " of the trace" if self.matrix is None else ""
            text += (
                f" {self.settings['directions']} random directions stand for the outputs; relative error{of} {size}."
            )
        return text

    def __repr__(self) -> str:
        lines = [f"LayerKernels({len(self.layers)} parameters, {len(self.outputs)} samples)"]
        wide = max(map(len, [*self.layers, "total"]))
        names = ("trace", "share", "effective_rank", "alignment")
        lines.append(f"  {'':<{wide}}  " + "  ".join(f"{q:>14}" for q in names))
        for name, k in {**self.layers, "total": self.total}.items():
            lines.append(f"  {name:<{wide}}  " + "  ".join(f"{number(getattr(k, q).value):>14}" for q in names))
        return "\n".join([*lines, f"  {self.says()}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def _moved(pairs: Sequence[tuple[Tensor, Tensor]], settings: Mapping[str, Any]) -> Estimate:
    """The mean velocity of pairs of kernels over the same samples."""

    def mean(rows: Any) -> float:
        return sum(velocity(a[rows][:, rows], b[rows][:, rows]) for a, b in pairs) / len(pairs)

    return bounded(of_halves(mean, len(pairs[0][0]), settings), 0.0, float("inf"))


@dataclass(frozen=True)
class KernelMotion:
    """How far a kernel moved between two checkpoints, or is from those of untrained `copies`, as a whole and by
    parameter; see `LayerKernels.velocity` and `LayerKernels.learned`."""

    total: Estimate
    layers: Mapping[str, Estimate]
    copies: int = 0

    def says(self) -> str:
        """Whether the kernel moved, in a sentence."""
        e = self.total
        if e.value != e.value:
            return "The kernels have no size to compare."
        if self.copies:
            return self._learned()
        if e.value < LAZY:
            return f"The kernel moved by {number(e.value)}, less than 1%: training is lazy, features hardly change."
        text = f"The kernel moved by {number(e.value)}"
        known = {name: m.value for name, m in self.layers.items() if m.value == m.value}
        if not known:
            return text + "."
        top = max(known, key=lambda name: known[name])
        return text + f", most at {top} ({number(known[top])})."

    def _learned(self) -> str:
        e = self.total
        copies = "an untrained copy" if self.copies == 1 else f"{self.copies} untrained copies"
        text = f"It differs from the kernel{'s' * (self.copies > 1)} of {copies} by {number(e.value)}"
        if e.null != e.null:
            return text + "."
        text += f"; they differ from each other by {number(e.null)}"
        least = e.value if e.low != e.low else e.low
        return text + (": more than random weights do." if least > e.null else ": not more than random weights do.")
