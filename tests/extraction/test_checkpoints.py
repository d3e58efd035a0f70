"""Checkpoints: what is taken from a file, what is said of it, and what is refused with which words."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from networks import mlp
from safetensors.torch import save_file
from torch import nn

import repana
from repana import FileError
from repana.extraction._checkpoints import load_checkpoint


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
    state["backbone.3.lost"] = state.pop("backbone.3.weight")
    state["other"] = torch.zeros(2)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(FileError) as error:
        loaded(tmp_path / "c.pt")
    assert str(error.value) == (
        f"RA303: {str(tmp_path / 'c.pt')!r} does not fit the model: 4 of 4 keys missing ('1.weight', '1.bias', "
        "'3.weight' and 1 more), 3 not expected ('backbone.1.weight', 'backbone.1.bias', 'backbone.3.bias'). The model "
        "would be analysed with random weights. The prefix 'backbone.' was found on its keys."
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
    with pytest.raises(FileError, match=r"RA301: checkpoint .* is a folder; expected one file of weights in it\."):
        loaded(tmp_path)


# --- what is chosen and said ------------------------------------------------------------------------------------------


def said(path, net=None, **options):
    notes = []
    load_checkpoint(mlp() if net is None else net, path, say=notes.append, **options)
    return [note.replace(str(path), "FILE") for note in notes]


def refused(path, net=None, **options):
    with pytest.raises(FileError) as error:
        said(path, net, **options)
    return str(error.value).replace(str(path), "FILE")


def test_a_lightning_checkpoint(trained, tmp_path):
    """As a LightningModule with a network, a loss with weights and a metric saves it."""
    state = prefixed(trained.state_dict(), "net.") | {"loss.weight": torch.ones(10), "accuracy.total": torch.tensor(5)}
    content = {"epoch": 3, "global_step": 7, "pytorch-lightning_version": "2.5", "state_dict": state, "loops": {}}
    content |= {"callbacks": {}, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}], "lr_schedulers": []}
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    assert said(path) == [
        "RA314: of 'FILE' the weights under 'net.' were taken; 2 other key(s) are no part of the model: "
        "'loss.weight', 'accuracy.total'."
    ]
    assert said(path, prefix="net") == said(path)
    torch.testing.assert_close(loaded(path), trained[1].weight)
    torch.testing.assert_close(loaded(path, prefix="net."), trained[1].weight)
    assert refused(path, prefix="model") == (
        "RA315: no key of 'FILE' starts with 'model.'; expected one of 'net.', 'loss.', 'accuracy.'."
    )


def test_two_networks_in_one_file_are_told_apart_by_the_prefix(trained, tmp_path):
    path = tmp_path / "moco.pt"
    query, key = prefixed(trained.state_dict(), "query."), prefixed(mlp().state_dict(), "key.")
    torch.save({"state_dict": query | key}, path)
    assert refused(path) == (
        "RA315: the model fits under 2 prefixes of 'FILE', 'key.', 'query.'; choose one: --prefix (prefix=)."
    )
    torch.testing.assert_close(loaded(path, prefix="query"), trained[1].weight)


def test_averaged_and_plain_weights(trained, tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"ema": mlp().state_dict(), "model": trained.state_dict(), "optimizer": {"state": {}}}, path)
    assert said(path) == ["RA314: 'FILE' holds 'ema', 'model'; 'model' was taken. --weights 'ema' takes the other."]
    torch.testing.assert_close(loaded(path), trained[1].weight)
    assert said(path, weights="model") == []
    assert not torch.equal(loaded(path, weights="ema"), trained[1].weight)
    assert refused(path, weights="emma") == (
        "RA315: 'FILE' has no set of weights 'emma'; expected one of 'ema', 'model'."
    )
    torch.save({"student": mlp().state_dict(), "teacher": trained.state_dict()}, path)
    assert refused(path) == (
        "RA315: 'FILE' holds 'student', 'teacher', each a set of weights; choose one: --weights (weights=)."
    )
    torch.save({"generator": mlp(8).state_dict(), "critic": trained.state_dict()}, path)
    assert said(path)[0].startswith("RA314: 'FILE' holds 'generator', 'critic'; 'critic' was taken.")


class Counted(nn.Module):
    """BatchNorm counts its batches; positions are computed when the network is built."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 2)
        self.register_buffer("position_ids", torch.arange(4))


@pytest.mark.parametrize(
    ("lost", "new", "text"),
    [
        ("norm.num_batches_tracked", None, "'norm.num_batches_tracked' not in the file, left as built"),
        ("position_ids", None, "'position_ids' not in the file, left as built"),
        (None, "total_ops", "'total_ops' not in the model, left out"),
        (None, "embeddings.position_ids", "'embeddings.position_ids' not in the model, left out"),
        (
            "position_ids",
            "rotary.inv_freq",
            "'position_ids' not in the file, left as built; 'rotary.inv_freq' not in the model, left out",
        ),
    ],
)
def test_a_buffer_more_or_less_is_no_random_weight(tmp_path, lost, new, text):
    state = Counted().state_dict()
    state.pop(lost, None)
    if new:
        state[new] = torch.arange(3) if "ids" in new else torch.ones(3)
    torch.save(state, tmp_path / "c.pt")
    assert said(tmp_path / "c.pt", Counted()) == [f"RA314: buffers of 'FILE': {text}. All weights were found."]


def test_what_training_changes_may_not_be_missing(tmp_path):
    state = Counted().state_dict()
    del state["norm.running_mean"]
    torch.save(state, tmp_path / "c.pt")
    assert refused(tmp_path / "c.pt", Counted()) == (
        "RA303: 'FILE' does not fit the model: 1 of 8 keys missing ('norm.running_mean'), 0 not expected (none). The "
        "model would be analysed with random weights."
    )


def test_a_deeper_network_does_not_pass_for_a_shallow_one(trained, tmp_path):
    """All weights of the model are found, but the file is of another architecture."""
    state = trained.state_dict() | {"5.weight": torch.ones(3, 10), "5.bias": torch.ones(3)}
    torch.save(state, tmp_path / "c.pt")
    assert refused(tmp_path / "c.pt") == (
        "RA303: 'FILE' has 2 weight(s) that the model has no place for ('5.weight', '5.bias'); expected those of this "
        "architecture. A part is left out by --ignore '5.*' (ignore='5.*')."
    )
    torch.testing.assert_close(loaded(tmp_path / "c.pt", ignore="5.*"), trained[1].weight)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.out = nn.Linear(3, 7, bias=False)
        self.out.weight = self.embed.weight


def test_tied_weights_are_saved_once(tmp_path):
    from safetensors.torch import save_model

    net, fresh = Tied(), Tied()
    save_model(net, str(tmp_path / "c.safetensors"))
    assert said(tmp_path / "c.safetensors", fresh) == []
    torch.testing.assert_close(fresh.out.weight, net.embed.weight)


def test_names_of_an_older_version_are_read_by_the_layer_that_knows_them(tmp_path):
    net, fresh = (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)) for _ in range(2))
    old = {"bias": net.bias, "weight_g": net.parametrizations.weight.original0}
    old["weight_v"] = net.parametrizations.weight.original1
    torch.save({k: v.detach().clone() for k, v in old.items()}, tmp_path / "c.pt")
    assert said(tmp_path / "c.pt", fresh) == []
    torch.testing.assert_close(fresh.weight, net.weight)


def test_compiled_models_and_files(trained, tmp_path):
    torch.save(prefixed(trained.state_dict(), "_orig_mod."), tmp_path / "c.pt")
    compiled = torch.compile(mlp())
    assert said(tmp_path / "c.pt", compiled) == []
    torch.testing.assert_close(compiled._orig_mod[1].weight, trained[1].weight)
    inner = {k.replace("1.", "1._orig_mod."): v for k, v in trained.state_dict().items()}
    torch.save(inner, tmp_path / "c.pt")
    torch.testing.assert_close(loaded(tmp_path / "c.pt"), trained[1].weight)


def test_the_public_function_warns_of_what_it_chose(trained, tmp_path):
    path, here = tmp_path / "c.pt", str(Path(__file__).parents[1])
    torch.save({"ema": mlp().state_dict(), "model": trained.state_dict()}, path)
    with pytest.warns(UserWarning, match="RA314: .* 'model' was taken"):
        net = repana.load_model(f"{here}/networks.py:mlp", checkpoint=path)
    torch.testing.assert_close(net[1].weight, trained[1].weight)
    with pytest.raises(FileError) as error:
        repana.load_model(f"{here}/networks.py:mlp", weights="ema")
    assert str(error.value) == "RA312: got `weights`, which choose in a file; expected --checkpoint too."


def test_a_pickle_of_a_class_that_is_not_here(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"model": mlp().state_dict(), "config": Config()}, path)
    path.write_bytes(path.read_bytes().replace(b"Config", b"Konfig"))
    assert refused(path, allow_pickle=True).startswith("RA301: 'FILE' cannot be read: ")
