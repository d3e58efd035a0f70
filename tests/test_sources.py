"""Checkpoints, model specs and data specs: what is loaded, and what is refused with which words."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import mlp
from safetensors.torch import save_file
from torch import nn

from repana import FileError, ModelError
from repana.extraction._checkpoints import load_checkpoint
from repana.extraction._sources import data_from, model_from, read_arrays, read_table

HERE = __file__.rpartition("/")[0]


class Config:
    """Something that a pickle would have to import."""


@pytest.fixture
def trained():
    net = mlp()
    with torch.no_grad():
        net[1].weight.add_(1)
    return net


def loaded(path, **options):
    net = mlp()
    load_checkpoint(net, path, **options)
    return net[1].weight


def prefixed(state, prefix):
    return {prefix + k: v for k, v in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model._orig_mod.module.", "ema."])
@pytest.mark.parametrize("kind", ["safetensors", "pt", "lightning"])
def test_checkpoints_load_whatever_wrapped_them(trained, tmp_path, prefix, kind):
    state = prefixed(trained.state_dict(), prefix)
    path = tmp_path / f"c.{kind if kind == 'safetensors' else 'ckpt'}"
    if kind == "safetensors":
        save_file({k: v.clone() for k, v in state.items()}, path)
    else:
        torch.save(state if kind == "pt" else {"state_dict": state, "epoch": 3, "lr": 0.1}, path)
    torch.testing.assert_close(loaded(path), trained[1].weight)


def test_code_in_a_checkpoint_is_refused_by_name(trained, tmp_path):
    path = tmp_path / "bad.pt"
    torch.save({"state_dict": trained.state_dict(), "config": Config(), "args": SimpleNamespace(a=1)}, path)
    with pytest.raises(FileError) as error:
        loaded(path)
    assert error.value.code == "RA302"
    assert str(error.value) == (
        f"RA302: {str(path)!r} would run code when loaded: it names "
        f"'{Config.__module__}.Config', 'types.SimpleNamespace'. "
        "Convert it to safetensors where it was made, or pass --allow-pickle (allow_pickle=True) if you trust "
        "whoever made it."
    )
    torch.testing.assert_close(loaded(path, allow_pickle=True), trained[1].weight)


def test_a_raw_pickle_is_refused_without_running_it(tmp_path):
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    path = tmp_path / "raw.pkl"
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(FileError, match="RA302: .* would run code when loaded: it names"):
        loaded(path)
    assert not ran.exists()


def test_missing_keys_would_mean_random_weights(trained, tmp_path):
    state = prefixed(trained.state_dict(), "backbone.")
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(FileError) as error:
        loaded(tmp_path / "c.pt")
    assert str(error.value) == (
        f"RA303: {str(tmp_path / 'c.pt')!r} does not fit the model: 4 of 4 keys missing ('1.weight', '1.bias', "
        "'3.weight' and 1 more), 4 not expected ('backbone.1.weight', 'backbone.1.bias', 'backbone.3.weight' and 1 "
        "more). The model would be analysed with random weights. The prefix 'backbone.' was found on its keys."
    )


def test_shapes_that_differ(tmp_path):
    torch.save(mlp(8).state_dict(), tmp_path / "c.pt")
    with pytest.raises(FileError, match=r"RA303: .* shapes differ at '1.weight \(8, 64\) for \(16, 64\)', "):
        loaded(tmp_path / "c.pt")


@pytest.mark.parametrize("name", ["c.safetensors", "c.pt"])
def test_damaged_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"no checkpoint at all")
    with pytest.raises(FileError, match="RA301: .* cannot be read: "):
        loaded(tmp_path / name)
    with pytest.raises(FileError, match="RA304: checkpoint .* does not exist"):
        loaded(tmp_path / ("other" + name))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(FileError, match="RA301: .* it holds no mapping of names to tensors"):
        loaded(tmp_path / "list.pt")


# --- specs ------------------------------------------------------------------------------------------------------------


def test_model_specs():
    assert isinstance(model_from("torch.nn:Identity"), nn.Identity)
    assert model_from("torch.nn:Linear(in_features=3, out_features=2)").weight.shape == (2, 3)
    assert model_from(f"{HERE}/networks.py:mlp(width=5)")[1].out_features == 5


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "resnet50",
            "RA304: model 'resnet50' is not understood; wanted one of 'pkg.module:factory', 'file.py:factory', "
            "'hf:PATH', 'timm:NAME'.",
        ),
        (
            "torch.nn:Linear(in_features=open('x'))",
            "RA304: model \"torch.nn:Linear(in_features=open('x'))\" is not understood; wanted one of "
            "'pkg.module:factory', 'file.py:factory', 'hf:PATH', 'timm:NAME'.",
        ),
        ("nowhere.py:make", "RA304: model file 'nowhere.py' does not exist."),
        (
            "no_such_package:make",
            "RA304: 'no_such_package:make': No module named 'no_such_package'. Run where it can be imported, or name "
            "the file: file.py:factory.",
        ),
        ("hf:./nowhere", "RA304: model folder './nowhere' does not exist."),
    ],
)
def test_refused_models(spec, text):
    with pytest.raises(FileError) as error:
        model_from(spec)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("spec", "package", "extra"), [("timm:resnet18", "timm", "timm"), ("hf:x", "transformers", "hf")]
)
def test_an_optional_package_that_is_missing(monkeypatch, spec, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FileError) as error:
        model_from(spec)
    assert str(error.value) == (
        f"RA305: {package} cannot be imported (ModuleNotFoundError: import of {package} halted; None in sys.modules); "
        f"install it with `pip install 'repana[{extra}]'`."
    )


def test_a_factory_that_is_not_there():
    with pytest.raises(FileError, match="RA304: .*: there is no 'mpl'; nearest: 'mlp'"):
        model_from(f"{HERE}/networks.py:mpl")
    with pytest.raises(ModelError, match="RA100: `model` is a int"):
        model_from("sys:maxsize")


def test_arrays_from_files(tmp_path):
    x, y = torch.randn(6, 3).numpy(), np.arange(6) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    save_file({"features": torch.from_numpy(x).bfloat16()}, tmp_path / "a.safetensors")
    np.save(tmp_path / "a.npy", x)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["x"], x)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npy")["features"], x)
    np.testing.assert_allclose(read_arrays(tmp_path / "a.safetensors")["features"], x, rtol=1e-2)
    tensors = data_from(f"npz:{tmp_path / 'a.npz'}")
    assert tensors[0].shape == (6, 3)
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    with pytest.raises(FileError, match="RA302: .* would run code when loaded: it names 'pickled objects'"):
        read_arrays(tmp_path / "o.npz")
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(FileError, match="RA30[12]"):
        read_arrays(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", z=x)
    with pytest.raises(FileError, match="RA306: .* has no column 'x'; it has 'z'"):
        data_from(f"npz:{tmp_path / 'c.npz'}")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_tables(tmp_path, suffix):
    import pandas as pd

    frame = pd.DataFrame({"sentence": ["a b", "c, d", "e"], "kind": ["y", "x", "y"]})
    path = tmp_path / f"t.{suffix}"
    writers = {
        "parquet": lambda: frame.to_parquet(path),
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "json": lambda: frame.to_json(path, orient="records"),
    }
    writers[suffix]()
    assert read_table(path, None, "kind") == (["a b", "c, d", "e"], [1, 0, 1])
    with pytest.raises(FileError) as error:
        read_table(path, "text", "kind")
    assert str(error.value) == f"RA306: {str(path)!r} has no column 'text'; it has 'sentence', 'kind'."
    with pytest.raises(FileError, match="RA304: .* holds text, which needs the tokenizer of a model 'hf:PATH'"):
        data_from(str(path), model="torch.nn:Identity", text_column="sentence", label_column="kind")


def test_digits_are_split_within_classes():
    train, held = data_from("digits"), data_from("digits:held_out")
    assert len(train[1]) + len(held[1]) == 1797
    assert train[0].shape[1:] == (1, 8, 8)
    assert abs(np.bincount(train[1]) / len(train[1]) - np.bincount(held[1]) / len(held[1])).max() < 0.01
