"""`python -m benchmarks [recording] [collapse] [neighbours] [dimension]`: print every bar and record it."""

import sys

from benchmarks import collapse, dimension, neighbours, recording

SUITES = {
    "recording": recording.main,
    "collapse": collapse.main,
    "neighbours": neighbours.main,
    "dimension": dimension.main,
}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
