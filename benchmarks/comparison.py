"""Similarity of all pairs of layers against the matrix products that it needs, and against the per-pair loop of a
package.

The products are one Gram matrix a layer and one product of all flattened ones with another, in float32; what is
compared with them gives values, exact jackknife intervals, nulls and p-values too.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._measure import Line, alternate, beside, ratio, show
from repana.comparison import cka, predictivity, procrustes
from repana.comparison._inputs import dealt_out
from repana.comparison._layer_matrix import Options
from repana.comparison._layer_measures import MEASURES
from repana.comparison._matrices import products

SETTINGS = ((12, 2000, 768), (24, 2000, 256), (16, 1000, 512))


def layers(count: int, n: int, d: int) -> tuple[list[Tensor], list[Tensor]]:
    g = torch.Generator().manual_seed(0)
    a = [torch.randn(n, d, generator=g) for _ in range(count)]
    return a, [x + torch.randn(n, d, generator=g) for x in a]


def needed(a: list[Tensor], b: list[Tensor]) -> Tensor:
    flat = torch.stack([(x @ x.T).flatten() for x in [*a, *b]])
    return flat[: len(a)] @ flat[len(a) :].T


def against_products() -> list[Line]:
    torch.set_num_threads(1)
    lines = []
    for count, n, d in SETTINGS:
        a, b = layers(count, n, d)
        options = Options(0.95, 0, None, dealt_out(n, 20, None, 0), 10, "cosine")
        functions = {"products": lambda: needed(a, b), "cka": lambda: MEASURES["cka"](a, b, options)}  # noqa: B023
        times, around = beside(functions, "products", 5)
        most = 1.3 if (count, n, d) == SETTINGS[0] else 2.0
        lines.append(ratio(f"{count} + {count} layers, n = {n}, d = {d}", times["cka"], around["cka"], most=most))
    return lines


class _Given(nn.Module):
    """A network whose layers give what they are given."""

    def __init__(self, features: list[Tensor]) -> None:
        super().__init__()
        self.given = features
        self.layers = nn.ModuleList(nn.Identity() for _ in features)

    def forward(self, x: Tensor) -> Tensor:
        for layer, features in zip(self.layers, self.given):
            layer(features)
        return x


def against_a_package() -> list[Line]:
    torch.set_num_threads(1)
    try:
        from torch_cka import CKA
    except ImportError:
        print("\ntorch_cka is not installed: pip install torch_cka")
        return []
    lines = []
    for count, n, d, rounds in ((12, 1000, 768, 3), (12, 2000, 768, 1)):
        a, b = layers(count, n, d)
        options = Options(0.95, 0, None, dealt_out(n, 20, None, 0), 10, "cosine")
        found: dict[str, Any] = {}

        def theirs() -> None:
            one, other = _Given(a), _Given(b)  # noqa: B023
            names = [f"layers.{k}" for k in range(count)]  # noqa: B023
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = CKA(one, other, model1_layers=names, model2_layers=names, device="cpu")
                data = TensorDataset(torch.zeros(n, 1), torch.zeros(n))  # noqa: B023
                loader = DataLoader(data, batch_size=n)  # noqa: B023
                made.compare(loader, loader)
            found["theirs"] = made.export()["CKA"]  # noqa: B023

        def ours() -> None:
            found["ours"] = MEASURES["cka"](a, b, options)  # noqa: B023

        times = alternate({"theirs": theirs, "ours": ours}, rounds)
        gap = float((torch.from_numpy(found["ours"].value) - found["theirs"]).abs().max())
        name = f"torch_cka / ours, {count} + {count} layers, n = {n}"
        lines.append(ratio(name, times["theirs"], times["ours"], least=20, note=f"largest difference {gap:.1e}"))
    return lines


def beside_the_value() -> list[Line]:
    torch.set_num_threads(1)
    lines = []
    for n, d in ((2000, 256), (1000, 768)):
        a, b = layers(1, n, d)

        def value() -> None:
            from repana.comparison._matrices import matrix_of

            _ = products([matrix_of(a[0])], [matrix_of(b[0])]).values  # noqa: B023

        times, around = beside({"value": value, "all": lambda: cka(a[0], b[0])}, "value", 9)  # noqa: B023
        name = f"value, interval, null and p / value, n = {n}, d = {d}"
        lines.append(ratio(name, times["all"], around["all"], most=2.0))
        quick = {"jackknife": 0, "permutations": 0}
        functions = {
            "value": value,
            "procrustes": lambda: procrustes(a[0], b[0], **quick),  # noqa: B023
            "predictivity": lambda: predictivity(a[0], b[0]),  # noqa: B023
        }
        times, around = beside(functions, "value", 3)
        lines += [
            ratio(f"{k} / cka's value, n = {n}, d = {d}", times[k], around[k]) for k in ("procrustes", "predictivity")
        ]
    return lines


def main() -> None:
    show("Similarity of all pairs of layers, over the products that it needs", against_products())
    show("Similarity of all pairs of layers, against a package", against_a_package())
    show("What stands beside a similarity", beside_the_value())
