"""The layer-wise neural tangent kernel beside torch.func, and beside nngeometry where it is installed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from benchmarks._measure import alternate, ratio, show
from repana.extraction._attribution import reading
from repana.extraction._tangents import Owned
from repana.kernels._matrices import Directions, first_samples, read_matrices


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def networks() -> dict[str, tuple[nn.Module, torch.Tensor, float]]:
    """A network, its samples, and how many times the public package may take at least."""
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    cnn = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 32, 3, padding=1), nn.Tanh(),
        nn.Conv2d(32, 64, 3, padding=1), nn.Tanh(), Mean(), nn.Linear(64, 10),
    )  # fmt: skip
    return {"MLP, n = 256": (mlp, torch.randn(256, 256), 10.0), "CNN, n = 128": (cnn, torch.randn(128, 3, 16, 16), 4.0)}


def by_functions(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """K of every parameter from Jacobians by vmap(jacrev)."""
    given = {name: p.detach() for name, p in model.named_parameters()}

    def one(parameters: Any, row: torch.Tensor) -> torch.Tensor:
        return functional_call(model, parameters, (row[None],))[0]

    found: dict[str, torch.Tensor] = {}
    parts = [vmap(jacrev(one), (None, 0))(given, rows) for rows in x.split(32)]
    for name in given:
        j = torch.cat([part[name].flatten(2) for part in parts]).flatten(1)
        found[name] = j @ j.T
    return found


def by_nngeometry(model: nn.Module, x: torch.Tensor) -> Any:
    """The dense Gram matrix of nngeometry, (10, n, 10, n)."""
    from nngeometry.gram import GramMatrix

    data = torch.utils.data.TensorDataset(x, torch.zeros(len(x)))
    return GramMatrix(model, torch.utils.data.DataLoader(data, batch_size=len(x)), function=lambda *d: model(d[0]))


def ours(model: nn.Module, x: torch.Tensor) -> Any:
    """The matrices alone, as the others give them, with the plan of the recording and its checks."""
    with reading(model, x, "auto", tokens=True, swapping=False, batch_size=len(x)) as (reader, batches):
        owned = Owned.of(reader.live.model, frozen=False)
        found: dict[str, Any] = {}

        def keep(name: str, blocks: Any, outputs: Any) -> None:
            found[name] = blocks[0]

        read_matrices(reader, list(first_samples(batches, len(x))), owned, Directions("trace", None, 0), keep)
        return found


def main() -> None:
    peers: dict[str, Callable[[nn.Module, torch.Tensor], Any]] = {"torch.func": by_functions}
    try:
        import nngeometry  # noqa: F401

        peers["nngeometry"] = by_nngeometry
    except ImportError:
        print("nngeometry is not installed: its ratio is left out")
    lines = []
    for title, (model, x, least) in networks().items():
        functions: dict[str, Callable[[], object]] = {
            name: (lambda peer=peer: peer(model, x))  # noqa: B023
            for name, peer in peers.items()
        }
        functions["ours"] = lambda: ours(model, x)  # noqa: B023
        times = alternate(functions, rounds=3)
        for name in peers:
            own = least if name == "nngeometry" else None
            lines.append(ratio(f"{title}: {name} / ours", times[name], times["ours"], least=own))
    show("The layer-wise neural tangent kernel, all matrices kept", lines)
