"""`python -m benchmarks [recording] [collapse]`: print every bar, append a JSON line with the machine."""

import sys

from benchmarks import collapse, recording

SUITES = {"recording": recording.main, "collapse": collapse.main}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
