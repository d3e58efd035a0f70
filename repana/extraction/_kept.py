"""What a recording keeps beside features: sums by class, and the classifier."""

from torch import Tensor, nn

from repana._activations import Classifier
from repana._typing import IGNORED
from repana.extraction._plan import Plan
from repana.extraction._weights import weight_and_bias
from repana.summaries.moments import MomentSums


def classifier_of(model: nn.Module, planned: Plan) -> Classifier | None:
    layer = planned.facts["head_layer"]
    if planned.head is None or layer is None:
        return None
    found = weight_and_bias(model.get_submodule(planned.head.module))
    return None if found is None else Classifier(*found, layer)


def add_rows(sums: MomentSums, x: Tensor, labels: Tensor | None) -> None:
    """Into the class of each row; rows marked to be ignored stay out, and without classes all rows are one."""
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        sums.add(x)
    elif bool((labels == IGNORED).any()):
        keep = (labels != IGNORED).nonzero()[:, 0]
        sums.add(x[keep.to(x.device)], labels[keep].long())
    else:
        sums.add(x, labels.long())
