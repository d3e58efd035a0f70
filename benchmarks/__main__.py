"""`python -m benchmarks [recording] [collapse] [neighbours]`: print every bar, append a JSON line with the machine."""

import sys

from benchmarks import collapse, neighbours, recording

SUITES = {"recording": recording.main, "collapse": collapse.main, "neighbours": neighbours.main}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
