"""p of every supervised headline, and of so many sets of noise as a process is asked for, as JSON."""

import json
import sys

import torch

from repana import fisher, linear_probe, neural_collapse, separability

HEADLINES = ("nc1", "cdnv", "vci", "etf_error", "ncc_accuracy", "trace_ratio", "silhouette", "gdv", "thornton")


def headlines(x, y):
    """p of every supervised headline."""
    parts = (
        neural_collapse(x, y, permutations=199, bootstrap=0),
        fisher(x, y, permutations=199, jackknife=0),
        separability(x, y, permutations=199, jackknife=0),
    )
    found = {name: getattr(part, name).p for part in parts for name in HEADLINES if hasattr(part, name)}
    return found | {"linear_probe": linear_probe(x, y, permutations=199).accuracy.p}


if __name__ == "__main__":
    found: dict[str, list[float]] = {}
    for seed in range(int(sys.argv[1])):
        x = torch.randn(300, 32, generator=torch.Generator().manual_seed(seed))
        for name, p in headlines(x, torch.arange(300) % 5).items():
            found.setdefault(name, []).append(p)
    print(json.dumps(found))
