"""
Can the training data of a model be read from its weights?
==========================================================

**Does a probe of weights hold for models of another ancestor, or only among siblings?**

Three ancestors, each fine-tuned into ten models with or without the digit 3; the bars are intervals.
"""

import torch

import repana
from repana import plots
from repana.probes import weight_probe

_, (images, digits), _ = repana.example_model()
x = images.flatten(1)


def trained(start, rows, steps):
    net = torch.nn.Sequential(torch.nn.Linear(64, 24), torch.nn.Tanh(), torch.nn.Linear(24, 10))
    net.load_state_dict(start)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), digits[rows]).backward()
        optimizer.step()
    return net.state_dict()


draw = torch.Generator().manual_seed(0)
zoo, seen = [], []
for _ in range(3):
    fresh = {"0.weight": torch.randn(24, 64, generator=draw) / 8, "0.bias": torch.zeros(24)}
    fresh |= {"2.weight": torch.randn(10, 24, generator=draw) / 5, "2.bias": torch.zeros(10)}
    ancestor = trained(fresh, torch.arange(400), 60)
    for i in range(10):
        some = torch.randperm(len(x), generator=draw)[:300]
        rows = some if i % 2 else some[digits[some] != 3]
        zoo.append(trained(ancestor, rows, 15))
        seen.append(i % 2)
found = weight_probe(repana.read_weights(zoo, "flat", labels=seen))
print(found.says())
figure = plots.figure_of(plots.weight_probe_depth(found))
