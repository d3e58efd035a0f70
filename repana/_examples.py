"""Examples that come with the package: a small trained network, its report, and reports over its training."""

from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from repana import _check
from repana._demo import digits_cnn
from repana._results import Report
from repana.extraction._samples import digits

FOLDER = Path(str(resources.files("repana"))) / "examples"
REPORTS = ("digits", "training")


def example_report(name: str = "digits") -> Report:
    """A report that comes with the package, to try figures and tables without a model.

    "digits": all families on every layer of a small CNN, trained on scikit-learn's digits past zero error, on 1,347
    training and 450 held-out samples, with the baselines of probes. "training": neural collapse at three layers of two
    such networks, with and without weight decay, at eight epochs each.

    Raises InputError for another name.

    >>> import repana
    >>> repana.example_report().layers
    ('input', 'conv1', 'conv2', 'conv3', 'linear1', 'classifier:in', 'classifier')
    """
    _check.choice(name, "name", REPORTS)
    return Report.load(FOLDER / name)


def example_model(*, trained: bool = True) -> tuple[nn.Module, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The network of the example report, its training data and its held-out data.

    Inputs are (n, 1, 8, 8), labels (n,) of ten classes. Without `trained`, its weights before training.

    >>> import repana
    >>> model, train, held_out = repana.example_model()
    >>> tuple(train[0].shape)
    (1347, 1, 8, 8)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = digits_cnn().eval()
    if trained:
        model.load_state_dict(load_file(FOLDER / "digits_cnn.safetensors"))
    train, held_out = digits()
    return model, train, held_out
