"""
Where features flow
===================

What the skip path and the branch of every residual block know of the last features.
"""

from _digits import digits, residual

from repana import flow, plots, record, residual_paths

net, data = residual(), digits()[0]
paths = residual_paths(net, data)
layers = record(net, data, [address for p in paths for address in (p.skip, p.branch)])
figure = plots.figure_of(plots.flow_paths(flow(layers, record(net, data, ["head:in"])["head:in"], paths)))
