"""
Retrieval over depth
====================

**In which layer do digits find their own kind?**

Every held-out digit looks for the training digits of its class, in every layer, as it is and whitened on other rows.
Dotted, the value on constant scores: precision at 10 is a tenth where nothing is known.
"""

import repana
from repana import plots
from repana.ranking import by_layer, retrieval, whitening

model, (x, y), (x_test, y_test) = repana.example_model()
layers = ["input", "conv1", "conv2", "conv3", "linear1", "classifier:in"]
bank, fit = repana.record(model, (x[:700], y[:700]), layers), repana.record(model, (x[700:], y[700:]), layers)
queries = repana.record(model, (x_test, y_test), layers)
maps = {layer: whitening(fit[layer], n_components=16) for layer in layers}
found = by_layer(retrieval, queries, bank, (y_test, y[:700]), k=(1, 10), whiten=maps)
print(found.difference(("classifier:in", "", False), ("input", "", False), "map"))
figure = plots.figure_of(plots.ranking_depth(found, "hit@1", "precision@10", "map"))
