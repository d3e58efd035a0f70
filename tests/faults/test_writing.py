"""Files that are written while something ends, fails, or reads them: the old or the new, whole."""

import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

import repana
from faults._children import contents, dying_at, forked, unfinished_files
from repana import Activations, _files
from repana._results import Report, Row
from repana.errors import FileError
from repana.store import _write


def report(value: float, rows: int = 40) -> Report:
    nan = float("nan")
    made = tuple(
        Row("run", "train", f"layer{i}", i, "neural_collapse", "nc1", -1, value, *[nan] * 5, 9, "") for i in range(rows)
    )
    return Report(made, {"train/layer0/a.grid": np.full((60, 60), value)}, {"run": "run", "value": value})


def activations(value: float) -> Activations:
    x = torch.full((500, 16), value)
    return Activations({"a": x, "b": x + 1}, torch.arange(500) % 3, provenance={"value": value})


def page(value: float, path: Path) -> None:
    _files.put(path, f"<p>{value}</p>".encode() * 1000)


SAVED = {
    "report": (lambda v, path: report(v).save(path), lambda path: Report.load(path).provenance["value"], 3),
    "activations": (
        lambda v, path: activations(v).save(path),
        lambda path: float(repana._check.tensor_of(Activations.load(path, verify="always")["a"], "a").mean()),
        5,
    ),
    "page": (page, lambda path: float(path.read_text().partition("</p>")[0].removeprefix("<p>")), 1),
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("before", [True, False])
def test_killed_at_a_rename_the_old_or_the_new_is_whole(kind, before, tmp_path, monkeypatch):
    save, load, most = SAVED[kind]
    seen = set()
    for step in range(1, most + 1):
        path = tmp_path / f"{kind}{step}"
        save(1.0, path)

        def overwrite(path=path, step=step):
            monkeypatch.setattr(os, "replace", dying_at(step, before))
            save(2.0, path)

        status = forked(overwrite)
        seen.add(status)
        assert load(path) in (1.0, 2.0)
        save(3.0, path)
        assert load(path) == 3.0
    assert -9 in seen


@pytest.mark.parametrize("kind", SAVED)
def test_killed_at_any_moment(kind, tmp_path):
    save, load, _ = SAVED[kind]
    random = np.random.default_rng(0)
    for round_ in range(5):
        path = tmp_path / f"{kind}{round_}"
        save(1.0, path)
        forked(lambda path=path: [save(2.0, path) for _ in range(200)], kill_after=float(random.uniform(0.0, 0.2)))
        assert load(path) in (1.0, 2.0)


@pytest.mark.parametrize("kind", SAVED)
def test_two_writers_leave_one_of_the_two_whole(kind, tmp_path):
    save, load, _ = SAVED[kind]
    path = tmp_path / kind
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for _ in range(40):
                save(1.0, path)
            code = 0
        finally:
            os._exit(code)
    for _ in range(40):
        save(2.0, path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert load(path) in (1.0, 2.0)


@pytest.mark.parametrize("kind", SAVED)
def test_a_reader_sees_one_of_both_while_a_writer_replaces_them(kind, tmp_path):
    save, load, _ = SAVED[kind]
    path = tmp_path / kind
    save(0.0, path)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for turn in range(200):
                save(float(turn % 2), path)
            code = 0
        finally:
            os._exit(code)
    reads = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert load(path) in (0.0, 1.0)
        reads += 1
    assert reads > 5


@pytest.mark.parametrize("kind", SAVED)
def test_a_full_disk_is_an_error_with_numbers_and_loses_nothing(kind, tmp_path, monkeypatch):
    save, load, _ = SAVED[kind]
    path = tmp_path / kind
    save(1.0, path)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        with pytest.raises(FileError, match=r"RA310: .* needs [\d,]+ bytes.*Make room and run it again"):
            save(2.0, path)

    assert forked(fill) == 0
    assert load(path) == 1.0
    assert not unfinished_files(tmp_path)
    save(2.0, path)
    assert load(path) == 2.0


@pytest.mark.parametrize("kind", SAVED)
def test_a_place_that_cannot_be_written_to(kind, tmp_path):
    save, _, _ = SAVED[kind]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="RA310: .*a file is in the place of one of its folders"):
        save(1.0, tmp_path / "file" / "deeper" / "x")
    with pytest.raises(FileError, match="RA310: .*the name is too long"):
        save(1.0, tmp_path / ("x" * 300))
    if os.getuid():  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(FileError, match="RA310: .*choose a folder that you may write to"):
            save(1.0, tmp_path / "closed" / "x")
    assert not unfinished_files(tmp_path)


def test_a_page_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="RA310: .*a folder is in its place"):
        page(1.0, tmp_path / "folder")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_of_the_umask(mask, tmp_path):
    before = os.umask(mask)
    try:
        report(1.0).save(tmp_path / "report")
        activations(1.0).save(tmp_path / "activations")
    finally:
        os.umask(before)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > 5
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o666 & ~mask}


def test_a_planted_link_is_replaced_and_not_followed(tmp_path):
    """Files under the names of ours that point elsewhere leave their target as it is."""
    target = tmp_path / "precious"
    target.write_text("mine")
    for name in ("provenance.json", "page.html"):
        (tmp_path / name).symlink_to(target)
    report(1.0).save(tmp_path)
    page(1.0, tmp_path / "page.html")
    assert target.read_text() == "mine"
    assert Report.load(tmp_path).provenance["value"] == 1.0


def test_what_a_killed_writer_left_goes_after_an_hour(tmp_path):
    old, young = tmp_path / ".put-1-aa", tmp_path / ".put-2-bb"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (1, 1))
    report(1.0).save(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_files_of_earlier_reports_go_when_nobody_can_read_them_any_more(tmp_path):
    report(1.0).save(tmp_path)
    first = next(tmp_path.glob("rows-*"))
    report(2.0).save(tmp_path)
    assert first.exists()  # a reader may have just opened the provenance
    os.utime(first, (1, 1))
    report(3.0).save(tmp_path)
    assert not first.exists()
    assert Report.load(tmp_path).provenance["value"] == 3.0


def test_saving_copies_one_part_and_not_all_features(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(_write, "BYTES", 2**20)
    x = torch.randn(2**14, 256)  # 16 MiB, sixteen parts
    a = Activations({"a": x}, torch.zeros(len(x), dtype=torch.int64))
    tracemalloc.start()
    a.save(tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    again = Activations.load(tmp_path / "a")["a"]
    assert len(list((tmp_path / "a").rglob("part-*"))) >= 16
    torch.testing.assert_close(again.to_tensor(), x, rtol=0, atol=0)


def test_contents_are_those_that_were_saved_twice(tmp_path):
    for name in ("a", "b"):
        activations(1.0).save(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
