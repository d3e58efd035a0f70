"""Makes torchvision importable where its compiled part was built for another build of torch than the one installed.

Python runs this module at startup where its folder is on PYTHONPATH. The tests put it there, so that notebooks and
commands that they start have it too. Nothing happens before torchvision is looked for.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path


def nms(boxes, scores, iou_threshold):
    """Non-maximum suppression, one box after the other."""
    import torch

    order, kept = scores.argsort(descending=True, stable=True), []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = torch.maximum(boxes[best, :2], boxes[order, :2]), torch.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = order[shared / (area[best] + area[order] - shared) <= iou_threshold]
    return torch.stack(kept) if kept else boxes.new_zeros(0, dtype=torch.int64)


def define_operators(folder: Path) -> None:
    """Define the operators that the import of torchvision registers kernels for, unless the compiled part loads."""
    import torch

    if hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        for library in folder.glob("_C.*"):
            torch.ops.load_library(str(library))
    except OSError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.impl("torchvision::nms", "CPU", nms)


class BeforeTorchvision:
    """A finder that finds nothing; it defines the operators once, when torchvision is first looked for."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "torchvision" and cls in sys.meta_path:
            sys.meta_path.remove(cls)
            found = PathFinder.find_spec(name)
            if found is not None and found.origin is not None:
                define_operators(Path(found.origin).parent)


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, BeforeTorchvision)
