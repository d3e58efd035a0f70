"""The demonstration: a small network trained on scikit-learn's digits far past zero error, and its profile."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from repana._profile import profile
from repana._results import Report
from repana.extraction._samples import digits

EPOCHS = 100
BATCH = 64
DECAY = 5e-3


@dataclass(frozen=True)
class Demo:
    """What the demonstration made."""

    report: Report
    folder: Path
    train_accuracy: float
    zero_error_epoch: int | None
    seconds: float


def digits_cnn() -> nn.Sequential:
    """Three convolutions and two linear layers for 8 x 8 images; 24 features before the classifier of 10 classes."""

    def conv(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())

    def linear(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU())

    return nn.Sequential(
        OrderedDict(
            conv1=conv(1, 16),
            conv2=conv(16, 32),
            pool2=nn.MaxPool2d(2),
            conv3=conv(32, 48),
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            linear1=linear(192, 64),
            linear2=linear(64, 24),
            classifier=nn.Linear(24, 10),
        )
    )


def steps(model: nn.Module, data: tuple[Tensor, Tensor], epochs: int = EPOCHS, decay: float = DECAY) -> Iterator[int]:
    """SGD with momentum, weight decay and a cosine schedule; stops after every epoch, in evaluation mode."""
    x, y = data
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(1, epochs + 1):
        model.train()
        shuffled = torch.randperm(len(x), generator=generator)
        for batch in shuffled[: len(x) // BATCH * BATCH].split(BATCH):  # a batch of 3 would upset batch normalisation
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        yield epoch


def train(
    model: nn.Module, data: tuple[Tensor, Tensor], epochs: int = EPOCHS, say: Callable[[str], None] = lambda _: None
) -> tuple[float, int | None]:
    """Train to the end; the final accuracy and the first epoch without error."""
    x, y = data
    accuracy, clean = 0.0, None
    for epoch in steps(model, data, epochs):
        with torch.no_grad():
            accuracy = float((model(x).argmax(1) == y).double().mean())
        if accuracy == 1.0 and clean is None:
            clean = epoch
        if epoch % 25 == 0:
            say(f"epoch {epoch:3d}: training accuracy {accuracy:.4f}")
    return accuracy, clean


def demo(folder: Path, epochs: int = EPOCHS, say: Callable[[str], None] = print) -> Demo:
    """Train, profile on training and held-out data, write report.html, depth.pdf and the report's folder."""
    began = time.perf_counter()
    torch.manual_seed(0)
    model = digits_cnn()
    seen, unseen = digits()
    say(f"training a small network on {len(seen[1])} digits for {epochs} epochs")
    accuracy, clean = train(model, seen, epochs, say)
    say(f"first epoch without training error: {clean}; profiling every layer")
    report = profile(model, seen, held_out=unseen, run="digits CNN", step=epochs)
    command = ["repana", "demo", *([] if epochs == EPOCHS else ["--epochs", str(epochs)])]
    report = replace(report, provenance={**report.provenance, "command": command})
    folder.mkdir(parents=True, exist_ok=True)
    report.save(folder / "report")
    report.to_html(folder / "report.html")
    report.plot().savefig(folder / "depth.pdf")
    return Demo(report, folder, accuracy, clean, time.perf_counter() - began)
