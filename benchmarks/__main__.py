"""`python -m benchmarks [suite ...]`: print every bar and record it; the suites are the keys of SUITES."""

import sys

from benchmarks import (
    collapse,
    comparison,
    complexity,
    density,
    device,
    dimension,
    kernels,
    neighbours,
    plan,
    probing,
    profile,
    recording,
    store,
    training,
    tree,
)

SUITES = {
    "recording": recording.main,
    "collapse": collapse.main,
    "neighbours": neighbours.main,
    "dimension": dimension.main,
    "tree": tree.main,
    "probing": probing.main,
    "complexity": complexity.main,
    "density": density.main,
    "comparison": comparison.main,
    "kernels": kernels.main,
    "profile": profile.main,
    "plan": plan.main,
    "store": store.main,
    "training": training.main,
    "device": device.main,
}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
