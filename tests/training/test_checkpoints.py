"""Trajectories from saved checkpoints: the records that a monitor would have made."""

import math

import pytest
import torch
from safetensors.torch import save_file
from training.recipes import clusters, network, train

import repana
from repana.errors import FileError, InputError

PROBE = clusters(90, seed=1)


def saved(folder, steps=(5, 10, 20), name="step_{}.pt"):
    def after(net, step, loss):
        if step in steps:
            torch.save({"state_dict": net.state_dict(), "epoch": step}, folder / name.format(step))

    train(network(), max(steps), after)
    return [folder / name.format(s) for s in steps]


def rows_of(report, run):
    return {(r.analyzer, r.quantity, r.split, r.layer): r for r in report.of_run(run)}


def test_the_same_records_as_a_monitor(tmp_path):
    paths = saved(tmp_path)
    monitor = repana.Monitor(PROBE, store=tmp_path / "run", every=5, budget=None, train_probe=clusters(60))
    train(network(), 20, lambda n, s, loss: s in (5, 10, 20) and monitor.step(n, s) and None)
    watched = monitor.finish(later=False)
    found = repana.trajectory(paths, network, PROBE, train_probe=clusters(60))
    assert found.runs == watched.runs == ("step 5", "step 10", "step 20", "training")
    for run in found.runs[:-1]:
        mine, theirs = rows_of(found, run), rows_of(watched, run)
        assert mine.keys() == theirs.keys()
        for key, row in mine.items():
            near = 2e-3 if key[1].startswith("cka") else 1e-6  # some features were read back in half precision
            assert row.value == pytest.approx(theirs[key].value, rel=near, abs=near, nan_ok=True), key


def test_order_and_interruption_change_nothing(tmp_path):
    paths = saved(tmp_path)
    straight = repana.trajectory(paths, network, PROBE, store=tmp_path / "a")
    made = []

    def make():
        made.append(1)
        return network()

    repana.trajectory([paths[2], paths[0]], make, PROBE, store=tmp_path / "b")
    assert len(made) == 2
    added = repana.trajectory(paths[::-1], make, PROBE, store=tmp_path / "b")
    assert len(made) <= 4  # the one that was missing, and one to compare settings by
    assert added.runs == straight.runs
    for run in straight.runs[:-1]:
        mine, theirs = rows_of(added, run), rows_of(straight, run)
        assert {k: (r.value, r.low) for k, r in mine.items() if not math.isnan(r.value + r.low)} == {
            k: (r.value, r.low) for k, r in theirs.items() if not math.isnan(r.value + r.low)
        }


def test_a_file_that_changed_is_measured_again(tmp_path):
    paths = saved(tmp_path)
    before = repana.trajectory(paths, network, PROBE, store=tmp_path / "a")
    torch.save(network(5).state_dict(), paths[1])
    after = repana.trajectory(paths, network, PROBE, store=tmp_path / "a")
    key = ("training", "loss", "probe", "")
    assert rows_of(after, "step 10")[key].value != rows_of(before, "step 10")[key].value
    assert rows_of(after, "step 20")[key].value == rows_of(before, "step 20")[key].value
    assert len(list((tmp_path / "a" / "abandoned").glob("*/step_000000010"))) == 1


def test_one_bad_checkpoint_does_not_cost_the_others(tmp_path):
    paths = saved(tmp_path)
    paths[1].write_bytes(b"no checkpoint")
    report = repana.trajectory(paths, network, PROBE)
    assert report.runs == ("step 5", "step 20", "training")
    assert len(report.failures) == 1
    assert "step 10" in report.failures[0]
    for path in paths:
        path.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="RA290: .*step_5.pt"):
        repana.trajectory(paths, network, PROBE)


def test_steps_by_name_by_mapping_and_by_a_function_of_the_path(tmp_path):
    paths = saved(tmp_path, (1, 2, 10), "epoch{}.pt")
    by_pattern = repana.trajectory(str(tmp_path / "*.pt"), network, PROBE)
    by_mapping = repana.trajectory({100: paths[0], 200: str(paths[1])}, network, PROBE)

    def load(path):
        net = network()
        net.load_state_dict(torch.load(path)["state_dict"])
        return net

    by_function = repana.trajectory(paths, load, PROBE)
    assert by_pattern.runs == by_function.runs == ("step 1", "step 2", "step 10", "training")
    assert by_mapping.runs == ("step 100", "step 200", "training")
    key = ("training", "loss", "probe", "")
    assert rows_of(by_function, "step 10")[key].value == rows_of(by_pattern, "step 10")[key].value
    folder = tmp_path / "checkpoint-7"
    folder.mkdir()
    save_file(network().state_dict(), folder / "model.safetensors")
    found = repana.trajectory([folder], lambda path: load_folder(path), PROBE)
    assert found.runs == ("step 7", "training")


def load_folder(path):
    from safetensors.torch import load_file

    net = network()
    net.load_state_dict(load_file(f"{path}/model.safetensors"))
    return net


def test_a_folder_of_other_settings_is_refused_and_left_alone(tmp_path):
    paths = saved(tmp_path, (1, 2))
    repana.trajectory(paths, network, PROBE, store=tmp_path / "a")
    before = (tmp_path / "a" / "step_000000001" / "report" / "provenance.json").read_bytes()
    with pytest.raises(InputError, match="RA286: "):
        repana.trajectory(paths, network, PROBE, store=tmp_path / "a", level=0.9)
    monitor = repana.Monitor(PROBE, store=tmp_path / "a")
    monitor.begin(network(), 2)
    with pytest.raises(FileError, match="RA332: "):
        repana.trajectory([*paths, *saved(tmp_path, (3,))], network, PROBE, store=tmp_path / "a")
    monitor.close()
    assert (tmp_path / "a" / "step_000000001" / "report" / "provenance.json").read_bytes() == before


def test_refusals(tmp_path):
    paths = saved(tmp_path, (1,))
    (tmp_path / "last.pt").write_bytes(paths[0].read_bytes())
    for given in ([tmp_path / "last.pt"], [], str(tmp_path / "*.nothing"), [paths[0], paths[0]], {-1: paths[0]}):
        with pytest.raises(InputError, match="RA2(90|87)"):
            repana.trajectory(given, network, PROBE)
