"""Small networks for the tests, of the kinds that people bring."""

import torch
from torch import nn


class Net(nn.Module):
    """A module with given children and a given forward."""

    def __init__(self, forward, **children):
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self._run = forward

    def forward(self, x):
        return self._run(self, x)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


class ResNet(nn.Module):
    """The small residual net of the specification: blocks of one width."""

    def __init__(self, blocks=4, width=8, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(*[Block(width) for _ in range(blocks // 2)])
        self.layer2 = nn.Sequential(*[Block(width) for _ in range(blocks - blocks // 2)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn(self.stem(x)))))
        return self.fc(torch.flatten(self.pool(x), 1))


class Odd(nn.Module):
    """A model that the code has never seen: a dict output, a shared module, an in-place operation."""

    def __init__(self, classes=10):
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.shared = nn.Linear(32, 32)
        self.act = nn.ReLU(inplace=True)
        self.out = nn.Linear(32, classes)

    def forward(self, image):
        h = self.norm(self.first(image.flatten(1)))
        h = self.act(h)
        h = self.act(self.shared(h))
        h += self.shared(h)
        return {"logits": self.out(h), "hidden": h}


def odd():
    torch.manual_seed(0)
    return Odd()


def mlp(width=16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def loader():
    from torch.utils.data import DataLoader, TensorDataset

    from repana.extraction._samples import digits

    return DataLoader(TensorDataset(*digits()[1]), batch_size=50)
