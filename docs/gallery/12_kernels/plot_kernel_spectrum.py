"""
How many directions does the tangent kernel have?
=================================================

**In how many directions can a small step move the outputs, and which parameters give them?**

A small CNN after training on digits, 200 samples. A steep spectrum learns few functions fast.
"""

import repana
from repana import plots
from repana.kernels import ntk

model, _, held_out = repana.example_model()
found = ntk(model, held_out, most=200)
print(f"effective rank {found.total.effective_rank.value:.1f} of {len(found.matrix)}")
figure = plots.figure_of(plots.kernel_spectrum(found))
