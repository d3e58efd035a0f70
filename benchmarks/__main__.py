"""`python -m benchmarks [suite ...]`: print every bar and record it; the suites are the keys of SUITES."""

import sys

from benchmarks import collapse, dimension, neighbours, probing, recording, tree

SUITES = {
    "recording": recording.main,
    "collapse": collapse.main,
    "neighbours": neighbours.main,
    "dimension": dimension.main,
    "tree": tree.main,
    "probing": probing.main,
}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
