"""Settings for all tests: no deadline for hypothesis on a busy machine, one thread, seeded torch."""

import os
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from hypothesis import HealthCheck, settings
from zoo.site import sitecustomize

mpl.use("Agg")
torch.set_num_threads(1)
settings.register_profile("ci", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("ci")

# Processes that the tests start: one thread each, as here, and the same help to import torchvision.
os.environ["OMP_NUM_THREADS"] = "1"
SITE = str(Path(sitecustomize.__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SITE, os.environ.get("PYTHONPATH")]))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
