"""Settings for all tests: no deadline for hypothesis on a busy machine, one thread, seeded torch."""

import os
import zlib
from pathlib import Path

import jaxtyping
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


# Modules about numbers, pages and whole profiles, which take several times as long with every inner call checked: the
# shapes are checked in all others.
UNCHECKED = (
    "test_page", "test_report", "test_cli", "test_text", "test_compare", "test_plots", "test_notebooks",
    "test_self_description", "test_own_quantities", "test_intervals_cover", "test_degenerate", "test_recipes",
    "test_findings", "test_permutation", "test_checkpoints", "test_images", "test_record", "test_masks",
    "test_probes_of_layers", "test_floor", "test_situations",
)  # fmt: skip


# Modules whose tests start processes and wait for them: first, so that no worker is left with one of them at the end.
LONG = ("test_notebooks", "test_howtos", "test_engines", "test_kills", "test_recording", "test_cli")


def pytest_collection_modifyitems(items):
    """Each of two workers begins with half of the items: long ones stand first in both halves."""
    long = [item for item in items if item.path.stem in LONG]
    rest = [item for item in items if item.path.stem not in LONG]
    middle = max(0, (len(items) + 1) // 2 - (len(long) + 1) // 2)
    items[:] = [*long[::2], *rest[:middle], *long[1::2], *rest[middle:]]


CHECKED = 4


def _checked(on: bool) -> None:
    jaxtyping.config.update("jaxtyping_disable", not on)


@pytest.fixture(scope="module", autouse=True)
def _checked_module(request):
    _checked(request.module.__name__.rpartition(".")[2] not in UNCHECKED)
    yield
    _checked(True)


@pytest.fixture(autouse=True)
def _checked_test(request):
    """One in four tests is checked, by its name: a function is called by many. Slow tests simulate, and are not."""
    if request.module.__name__.rpartition(".")[2] in UNCHECKED:
        yield
        return
    slow = request.node.get_closest_marker("slow") is not None
    _checked(not slow and zlib.crc32(request.node.name.encode()) % CHECKED == 0)
    yield
    _checked(True)


@pytest.fixture
def checked(_checked_test):
    """For a test of the checks themselves."""
    _checked(True)


@pytest.fixture
def unchecked(_checked_test):
    """For arguments of a wrong type, which the package refuses in its own words."""
    _checked(False)


@pytest.fixture(scope="session")
def small():
    """A network, images of five classes and labels, and the report of all that is measured of them."""
    from networks import ResNet

    from repana import profile

    x = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 5
    x = x + y[:, None, None, None]
    torch.manual_seed(1)
    net = ResNet().eval()
    was_off = jaxtyping.config.jaxtyping_disable
    _checked(False)
    report = profile(net, (x, y), held_out=(x[:30] + 0.1, y[:30]), permutations=4, bootstrap=20, run="small")
    _checked(not was_off)
    return net, x, y, report


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
