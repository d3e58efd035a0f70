"""What the gallery draws: a small network trained on digits, with and without weight decay, made once per build."""

from collections import OrderedDict
from functools import cache

import torch

import repana
from repana._demo import digits_cnn, steps
from repana.extraction._samples import digits

EPOCHS = 24
torch.set_num_threads(1)


@cache
def trained(decay: float = 5e-3):
    """The network after training."""
    torch.manual_seed(0)
    net = digits_cnn()
    for _ in steps(net, digits()[0], EPOCHS, decay):
        pass
    return net


@cache
def report() -> repana.Report:
    train, held_out = digits()
    return repana.profile(trained(), train, held_out=held_out, run="digits CNN", permutations=10, bootstrap=50)


@cache
def activations() -> repana.Activations:
    return repana.record(trained(), digits()[0])


@cache
def probes() -> repana.Report:
    return repana.probe_layers(trained(), digits()[1], run="digits CNN")


@cache
def features() -> repana.FeatureReading:
    """Non-negative parts of the last hidden layer, on held-out digits."""
    return repana.read_features(trained(), digits()[1], features="nmf", count=16)


@cache
def features_over_training() -> dict[int, repana.FeatureReading]:
    torch.manual_seed(0)
    net = digits_cnn()
    found = {}
    for epoch in steps(net, digits()[0], EPOCHS):
        if epoch in (1, 2, 4, 8, 16, 24):
            found[epoch] = repana.read_features(net, digits()[1], features="nmf", count=16)
    return found


class Residual(torch.nn.Module):
    """Two layers beside what passes them by."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first, self.relu = torch.nn.Linear(width, width), torch.nn.ReLU()
        self.second = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.relu(self.first(x)))


@cache
def residual() -> torch.nn.Module:
    """A residual network of six blocks, trained on digits."""
    torch.manual_seed(0)
    parts = {"flat": torch.nn.Flatten(), "stem": torch.nn.Linear(64, 48)}
    parts |= {f"block{i}": Residual() for i in range(1, 7)} | {"head": torch.nn.Linear(48, 10)}
    net = torch.nn.Sequential(OrderedDict(parts))
    train_mlp(net, 60, 0.003)
    return net


@cache
def noisy() -> tuple[repana.Activations, repana.Activations]:
    """Held-out digits as they are, and under noise."""
    x, y = digits()[1]
    noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    clean, other = (repana.record(trained(), (values, y)) for values in (x, x + noise))
    return clean, other


def words() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Four layers of made-up tokens: what is of the word itself fades, what is of its class grows."""
    g = torch.Generator().manual_seed(0)
    types = torch.randint(120, (2400,), generator=g)
    labels = torch.randint(4, (120,), generator=g)[types]
    own, shared = torch.randn(120, 60, generator=g), torch.randn(4, 60, generator=g)
    noise = torch.randn(2400, 60, generator=g)
    mixed = [(1 - a) * own[types] + 2 * a * shared[labels] + noise for a in (0.0, 0.3, 0.6, 0.9)]
    return {f"block{i}": x for i, x in enumerate(mixed)}, labels, types


@cache
def checkpoints() -> repana.Report:
    """Every third epoch with and without weight decay, three layers each."""
    made = []
    for name, decay in (("weight decay", 5e-3), ("no decay", 0.0)):
        torch.manual_seed(0)
        net = digits_cnn()
        for epoch in steps(net, digits()[0], EPOCHS, decay):
            if epoch % 3 == 0:
                one = repana.profile(
                    net, digits()[0], ["conv1", "conv3", "classifier:in"], "neural_collapse",
                    run=f"{name}/epoch{epoch}", step=epoch, permutations=3, bootstrap=20,
                )  # fmt: skip
                made.append(one)
    return repana.concat(made)


# --- a network that learns in random directions -----------------------------------------------------------------------


def mlp(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


def train_mlp(model: torch.nn.Module, rounds: int = 150, rate: float = 0.03) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    x, y = digits()[0]
    for _ in range(rounds):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def accuracy(model: torch.nn.Module) -> float:
    x, y = digits()[1]
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())
