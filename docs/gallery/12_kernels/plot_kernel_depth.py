"""
Which layers carry the tangent kernel?
======================================

**Where would a small step move the outputs, and do samples of one class move together?**

A small CNN after training on digits. Dashed, the alignment under permuted labels; dotted, that of copies with new
random weights.
"""

import repana
from repana import plots
from repana.kernels import ntk

model, _, held_out = repana.example_model()
found = ntk(model, held_out, most=200, untrained=3)
print(found.says())
figure = plots.figure_of(plots.kernel_depth(found))
