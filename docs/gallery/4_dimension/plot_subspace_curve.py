"""
Dimension of the objective
==========================

**In how few random directions of parameter space can the task be learnt?**

The cross is where training in a random subspace reaches 90% of the accuracy of full training.
"""

import torch

import repana
from repana import plots

_, train, held_out = repana.example_model()


def make(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


def fit(model):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(train[0]), train[1]).backward()
        optimizer.step()


def accuracy(model):
    with torch.no_grad():
        return float((model(held_out[0]).argmax(1) == held_out[1]).float().mean())


found = repana.objective_dimension(make, fit, accuracy, precision=0.2)
figure = plots.figure_of(plots.subspace_curve(found, metric="accuracy"))
