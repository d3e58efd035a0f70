"""
Two dictionaries of one layer
=============================

**Do two dictionaries of the same layer hold the same features?**

Non-negative parts of the same layer, made of one half of the digits and of the other. Random rotations of the second
keep how crowded it is: only what lies above their band is shared.
"""

import repana
from repana import plots
from repana.features import dictionary, match_dictionaries

model, (images, labels), _ = repana.example_model()
x = repana.record(model, (images, labels), ["conv3"])["conv3"]
first, second = (dictionary(x[start::2], "nmf", count=16) for start in (0, 1))
found = match_dictionaries(first, second)
figure = plots.figure_of(plots.matching(found))
