"""Every layer that is recorded equals a hand-written hook, in networks of seven libraries and in traps of our own."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from zoo._entry import Entry, spelled
from zoo._hooks import calibrate, matches, reference
from zoo._models import ENTRIES

import repana
from repana.errors import RepanaError

LEFT_OUT = 0.02  # of all layers that have a layout


@dataclass
class Subject:
    entry: Entry
    model: nn.Module
    batch: Any

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.entry.options) | ({"forward": self.entry.forward} if self.entry.forward else {})


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest) -> Subject:
    torch.manual_seed(0)
    found = Subject(request.param, *request.param.build())
    calibrate(found.model, found.batch, found.entry.forward)
    return found


@pytest.fixture(scope="session")
def tallies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one run share: a file a network."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen") else base) / "zoo"
    folder.mkdir(exist_ok=True)
    return folder


def any_of(patterns: Iterable[str], address: str) -> bool:
    plain = re.sub(r"@\d+", "", address)
    return any(matches(pattern, address) or matches(pattern, plain) for pattern in patterns)


def differs(found: torch.Tensor, expected: torch.Tensor) -> str:
    """In what two pooled features differ, or nothing."""
    if found.shape != expected.shape:
        return f"shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    scale = expected.abs().max().clamp_min(1e-30)
    if torch.allclose(found.float() / scale, expected / scale, rtol=1e-4, atol=1e-5):
        return ""
    return f"values, by up to {(found.float() - expected).abs().max() / scale:.2g} of the largest"


def layers_equal_hooks(subject: Subject, tallies: Path):
    entry = subject.entry
    expected = reference(
        subject.model,
        subject.batch,
        entry.layouts,
        entry.masks,
        samples=entry.samples,
        rows=entry.rows,
        forward=entry.forward,
    )
    judged = {a: x for a, x in expected.features.items() if not any_of(entry.never, a)}
    try:
        found = dict(repana.record(subject.model, [subject.batch], "*", **subject.settings).items())
    except RepanaError as error:
        if not all(any_of(entry.refused, address) for address in judged):
            raise AssertionError(f"{entry.name}: nothing is recorded") from error
        found = {}
    wrong = {}
    for address, x in found.items():
        if address in judged:
            wrong[address] = differs(x, judged[address])
        elif address in expected.shapes:
            wrong[address] = f"{expected.shapes[address]} has to be refused"
    wrong = {address: text for address, text in wrong.items() if text}
    left_out = [address for address in judged if address not in found]
    unexpected = [address for address in left_out if not any_of(entry.refused, address)]
    tally = {"right": len(judged) - len(left_out), "left out": len(left_out), "unexpected": unexpected}
    (tallies / f"{entry.name}.json").write_text(json.dumps(tally))
    assert not wrong, f"{entry.name}: {len(wrong)} wrong layers of {len(found)}: {wrong}"


def module_of(address: str, names: Iterable[str]) -> str:
    """An address without the part of an output: 'encoder.block.0[0]' as 'encoder.block.0'; calls and inputs stay."""
    inside = [name for name in names if re.match(re.escape(name) + r"($|[@:.\[])", address)]
    name = max(inside, key=len)
    call = re.match(r"(@\d+)?(:in)?", address[len(name) :])
    return name + (call[0] if call else "")


def auto_takes_blocks(subject: Subject, _: Path):
    layers = repana.plan(subject.model, [subject.batch], **subject.settings).layers
    names = [name for name, _ in subject.model.named_modules() if name]
    found = [module_of(p.address, names) for p in layers if not p.address.startswith("input")]
    assert found == spelled(subject.entry.auto)


CASES = [
    pytest.param(entry, check, id=f"{entry.name}-{check.__name__}", marks=pytest.mark.slow if entry.slow else ())
    for entry in ENTRIES
    for check in (layers_equal_hooks, auto_takes_blocks)
    if entry.auto or check is layers_equal_hooks
]


@pytest.mark.parametrize(("subject", "check"), CASES, indirect=["subject"], scope="module")
def test_network(subject: Subject, check: Callable[[Subject, Path], None], tallies: Path):
    check(subject, tallies)


@pytest.mark.slow
def test_a_detector_is_refused():
    """It takes a list of images and gives boxes: no axis holds the samples."""
    import torchvision

    few = {"rpn_pre_nms_top_n_test": 8, "rpn_post_nms_top_n_test": 8, "box_detections_per_img": 4}
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64, **few
    )
    batch = {"images": [torch.rand(3, 64, 64) for _ in range(5)]}
    with mock.patch("torchvision.extension._has_ops", return_value=True), pytest.raises(RepanaError) as caught:
        repana.record(model.eval(), [batch], "*", forward=lambda m, b: m(b["images"]))
    assert re.fullmatch(r"RA\d+", caught.value.code)


def test_most_layers_are_recorded(tallies: Path):
    """Of the networks that have run so far."""
    found = {path.stem: json.loads(path.read_text()) for path in tallies.glob("*.json")}
    if len(found) < len(ENTRIES) / 4:
        pytest.skip("most networks have not run")
    right, left_out = (sum(tally[key] for tally in found.values()) for key in ("right", "left out"))
    unexpected = {name: tally["unexpected"] for name, tally in found.items() if tally["unexpected"]}
    assert left_out <= LEFT_OUT * (right + left_out), f"{left_out} of {right + left_out} left out: {unexpected}"
