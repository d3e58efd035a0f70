"""Small trainings for the tests of monitors."""

import torch
from torch import nn

import repana


def clusters(n=240, d=12, c=3, seed=0):
    """Samples around class means that a small network separates within some steps."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(c, d, generator=torch.Generator().manual_seed(9)) * 1.5
    y = torch.arange(n) % c
    return means[y] + torch.randn(n, d, generator=g), y


def network(seed=0, d=12, c=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(d, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 16), nn.LayerNorm(16),
        nn.ReLU(), nn.Linear(16, c),
    )  # fmt: skip


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def train(net, steps, after=lambda net, step, loss: None, start=0, seed=0):
    """Updates of the weights on random batches; `after` is called after each, and ends the training with True."""
    x, y = clusters()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    torch.manual_seed(seed)
    for step in range(start + 1, steps + 1):
        rows = torch.randint(len(x), (32,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        if after(net, step, loss.item()):
            break
    return net


def watched(store, net=None, steps=40, **options):
    """A short training under a monitor."""
    net = network() if net is None else net
    options = {"every": 10, "budget": None, **options}
    monitor = repana.Monitor(clusters(120, seed=1), store=store, **options)
    train(net, steps, lambda n, s, loss: monitor.step(n, s, metrics={"batch_loss": loss}))
    return monitor
