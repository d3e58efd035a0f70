"""What a sweep is made of: tasks from files, patterns and matrices; folders; trust."""

import json

import pytest

from repana.errors import FileError, InputError
from repana.sweeps._folder import Failure, SweepFolder
from repana.sweeps._tasks import Task, tasks_of


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/epoch1.pt", "a/epoch2.pt", "a/epoch10.pt", "b/epoch1.pt"):
        path = tmp_path / "ckpt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(tasks):
    return [task.name for task in tasks]


def test_a_pattern_is_a_task_a_file_in_natural_order(checkpoints):
    found = tasks_of("m.py:f", checkpoint="ckpt/a/*.pt", data="digits")
    assert names(found) == ["epoch1", "epoch2", "epoch10"]
    assert [task.options["checkpoint"] for task in found] == [f"ckpt/a/epoch{k}.pt" for k in (1, 2, 10)]
    assert names(tasks_of("m.py:f", checkpoint="ckpt/*/epoch1.pt", data="digits")) == ["a-epoch1", "b-epoch1"]


TOML = """
[defaults]
model = "m.py:f"
data = "digits"
metrics = ["nc1"]
[[runs]]
checkpoint = "ckpt/a/*.pt"
[[runs]]
name = "random"
[matrix]
seed = [0, 1]
batch-size = [8]
"""


def test_a_toml_file_has_defaults_runs_and_a_matrix(checkpoints):
    (checkpoints / "s.toml").write_text(TOML)
    found = tasks_of("s.toml")
    assert len(found) == 8
    assert names(found)[:2] == ["epoch1-seed=0-batch-size=8", "epoch1-seed=1-batch-size=8"]
    assert names(found)[-1] == "random-seed=1-batch-size=8"
    assert found[0].options == {
        "model": "m.py:f", "data": "digits", "metrics": ["nc1"], "checkpoint": "ckpt/a/epoch1.pt", "seed": 0,
        "batch_size": 8,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_has_a_task_a_line(checkpoints, kind):
    rows = [
        {"model": "m.py:f", "data": "digits", "checkpoint": "ckpt/a/epoch1.pt", "seed": 3, "name": "first"},
        {"model": "m.py:g", "data": "digits", "checkpoint": None, "seed": 4, "name": None},
    ]
    path = checkpoints / f"t.{kind}"
    if kind == "csv":
        path.write_text("model,data,checkpoint,seed,name\nm.py:f,digits,ckpt/a/epoch1.pt,3,first\nm.py:g,digits,,4,\n")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    found = tasks_of(path)
    assert names(found) == ["first", "g"]
    assert [task.options["seed"] for task in found] == [3, 4]
    assert "checkpoint" not in found[1].options


def test_an_id_is_of_options_and_content(checkpoints):
    first = tasks_of("m.py:f", checkpoint="ckpt/a/epoch1.pt", data="digits")[0]
    assert len(first.id) == 16
    assert tasks_of([{"model": "m.py:f", "data": "digits", "checkpoint": "ckpt/a/epoch1.pt"}])[0].id == first.id
    assert tasks_of("m.py:f", checkpoint="ckpt/a/epoch1.pt", data="digits", seed=1)[0].id != first.id
    (checkpoints / "ckpt/a/epoch1.pt").write_text("trained on")
    assert tasks_of("m.py:f", checkpoint="ckpt/a/epoch1.pt", data="digits")[0].id != first.id


@pytest.mark.parametrize(
    ("tasks", "options", "error", "text"),
    [
        ("m.py:f", {}, InputError, "RA327: a task needs 'data'"),
        ([{"data": "digits"}], {}, InputError, "RA327: a task needs 'model'"),
        (
            [{"model": "m", "data": "d", "metric": "nc1"}],
            {},
            InputError,
            "RA327: .* no option 'metric'; nearest: 'metrics'",
        ),
        ("m.py:f", {"data": "d", "checkpoint": "none/*.pt"}, FileError, r"RA326: no checkpoint matches 'none/\*.pt'"),
        ("none.toml", {}, FileError, "RA326: .*none.toml.* cannot be read as a list of tasks"),
        ([], {}, InputError, "RA327: there are no tasks"),
    ],
)
def test_refusals(tasks, options, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        tasks_of(tasks, **options)


def test_a_toml_file_with_other_tables_is_refused(tmp_path):
    (tmp_path / "s.toml").write_text("[default]\nmodel = 'm'\n")
    with pytest.raises(FileError, match=r"it has \[default\]; expected \[defaults\], \[\[runs\]\] and \[matrix\]"):
        tasks_of(tmp_path / "s.toml")


def test_names_are_those_of_folders(tmp_path):
    made = tasks_of(
        [{"model": "m", "data": "d", "name": "../../etc/passwd"}, {"model": "n", "data": "d", "name": ".."}]
    )
    assert names(made) == ["etc-passwd", "task"]


def test_a_folder_takes_new_tasks_and_keeps_the_known(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    one, two = (tasks_of([{"model": "m", "data": "d", "seed": k}]) for k in (1, 2))
    assert names(folder.add(one)) == ["m"]
    assert names(folder.add([*one, *two])) == ["m", f"m-{two[0].id[:6]}"]
    assert [task.id for task in folder.tasks()] == [one[0].id, two[0].id]
    assert folder.status().total == 2
    folder.fail(one[0], Failure(one[0].id, "error", "it broke"))
    assert str(folder.status()) == "2 tasks: 0 done, 1 failed, 1 waiting\n  m: error: it broke"
    folder.forget(one[0])
    assert not folder.status().failed


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    folder.add([Task("0" * 16, "a", {"model": "m", "data": "d"})])
    folder.check_trust()
    (tmp_path / "sweep").chmod(0o777)
    with pytest.raises(FileError, match="RA328: .*may be written by others.*--trust-folder"):
        folder.check_trust()


def test_no_sweep(tmp_path):
    with pytest.raises(FileError, match="RA326: .* is no sweep: it has no tasks.jsonl"):
        SweepFolder(tmp_path).tasks()
    (tmp_path / "tasks.jsonl").write_text("{}\n")
    with pytest.raises(FileError, match="RA326"):
        SweepFolder(tmp_path).tasks()


def test_a_task_that_failed_gives_way_to_its_mended_checkpoint(tmp_path):
    file = tmp_path / "epoch1.pt"
    task = {"model": "m:n", "data": "digits", "checkpoint": str(file)}
    folder = SweepFolder(tmp_path / "sweep")
    file.write_bytes(b"damaged")
    (first,) = folder.add(tasks_of([task]))
    folder.fail(first, Failure(first.id, "damaged checkpoint", "it was cut"))
    file.write_bytes(b"mended, and longer")
    (second,) = folder.add(tasks_of([task]))
    assert second.id != first.id
    assert second.name == first.name
    assert str(folder.status()) == "1 tasks: 0 done, 1 waiting"
