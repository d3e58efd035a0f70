"""`python -m benchmarks [recording] [collapse] [neighbours] [dimension] [tree]`: print every bar and record it."""

import sys

from benchmarks import collapse, dimension, neighbours, recording, tree

SUITES = {
    "recording": recording.main,
    "collapse": collapse.main,
    "neighbours": neighbours.main,
    "dimension": dimension.main,
    "tree": tree.main,
}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
