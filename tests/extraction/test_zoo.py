"""Weights of many models as activations: kinds against NumPy, files equal to modules, trees, refusals, memory."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from torch import nn

import repana
from repana.errors import FileError, InputError
from repana.extraction.zoo._read_weights import statistics


def w0() -> tuple[np.ndarray, list[int], list[int]]:
    """Three trees of twelve models, and a label that moves each tree in a direction of its own."""
    r = np.random.default_rng(0)
    found, trees, labels = [], [], []
    for k in range(3):
        base = r.standard_normal((10, 8))
        direction = np.outer(r.standard_normal(10), r.standard_normal(8))
        direction /= np.linalg.norm(direction)
        for i in range(12):
            sign = 1 if i % 2 else -1
            found.append(base + 0.3 * sign * direction + 0.05 * r.standard_normal((10, 8)))
            trees.append(k)
            labels.append(i % 2)
    return np.array(found), trees, labels


W, TREES, LABELS = w0()
ZOO = [{"w": torch.from_numpy(w)} for w in W]


def nets(count: int, seed: int = 0) -> list[nn.Module]:
    torch.manual_seed(seed)
    made = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)) for _ in range(count)]
    return [net.eval() for net in made]


def test_statistics_are_the_reference() -> None:
    row = repana.read_weights(ZOO)["w"][0]
    expected = [0.1182968771, 0.9585091745, -2.3469749893, -0.6233130853, 0.1200407113, 0.8297719570, 2.0984694985]
    assert torch.allclose(row, torch.tensor(expected, dtype=torch.float64), atol=1e-10)
    quantiles = np.quantile(W.reshape(36, -1), [0, 0.25, 0.5, 0.75, 1], axis=1).T
    assert np.allclose(repana.read_weights(ZOO)["w"][:, 2:], quantiles, atol=1e-14)


def test_spectrum_is_the_reference_and_does_not_see_permuted_units() -> None:
    row = repana.read_weights(ZOO, "spectrum")["w"][0]
    expected = [5.2543361360, 4.2266610517, 3.3579214740]
    assert torch.allclose(row[:3], torch.tensor(expected, dtype=torch.float64), atol=1e-9)
    assert row[-2:].tolist() == pytest.approx([2.8180284748, 5.3197038157], abs=1e-9)
    order = torch.randperm(10)
    moved = [{"w": model["w"][order][:, torch.randperm(8)]} for model in ZOO]
    assert torch.allclose(
        repana.read_weights(moved, "spectrum", groups=None)["w"], repana.read_weights(ZOO, "spectrum")["w"], atol=1e-12
    )


def test_responses_are_products_with_one_seeded_matrix_and_keep_distances() -> None:
    found = repana.read_weights(ZOO, "responses", width=40, seed=50)["w"]
    r = np.random.default_rng(50).standard_normal((8, 4)) / 8**0.5
    assert np.allclose(found, (W @ r).reshape(36, -1), atol=1e-14)
    assert float(found[0, 0]) == pytest.approx(-0.318270330713, abs=1e-11)
    wide = repana.read_weights(ZOO, "responses", width=100_000)["w"].numpy()
    ratio = pdist(wide) / pdist(W.reshape(36, -1)) * (8 / wide.shape[1] * 10) ** 0.5
    assert ratio.std() / ratio.mean() < 0.05


def test_trees_are_the_reference_and_the_groups_of_a_zoo() -> None:
    trees = repana.model_trees(ZOO)
    expected = np.sort(minimum_spanning_tree(squareform(pdist(W.reshape(36, -1)))).data)
    norm = np.linalg.norm(W.reshape(36, -1), axis=1).mean()
    assert np.allclose(trees.edges * norm, expected)
    assert (trees.edges[-3:] * norm).tolist() == pytest.approx([0.7497790772, 10.8055207402, 11.9555971733], abs=1e-9)
    assert float(trees.gap) == pytest.approx(14.41, abs=5e-3)
    assert trees.trees.tolist() == TREES
    assert trees.gap.p == 1 / 200
    zoo = repana.read_weights(ZOO, labels=LABELS)
    assert zoo.sample.tolist() == TREES
    assert repr(zoo) == "Activations(36 rows of 3 trees, 1 layers: w 7)"
    assert not zoo.has_tokens
    flat = repana.read_weights(ZOO, "flat")
    assert torch.equal(repana.model_trees(flat).trees, trees.trees)
    split = repana.profile(zoo, analyzers=["probing"]).provenance["settings"]
    assert split["probing"]["groups"]


def test_models_without_a_common_ancestor_have_no_trees() -> None:
    draw = np.random.default_rng(1)
    zoo = [{"w": torch.from_numpy(draw.standard_normal((6, 5)))} for _ in range(20)]
    trees = repana.model_trees(zoo)
    assert float(trees.count) == 1
    assert trees.gap.p > 0.05
    assert repana.read_weights(zoo).sample.tolist() == list(range(20))
    assert repana.read_weights(zoo, groups=[i // 5 for i in range(20)]).seen == 4


def test_false_trees_are_rare() -> None:
    wrong = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        mix = draw.standard_normal((12, 12)) * draw.random(12)
        zoo = [{"w": torch.from_numpy(draw.standard_normal(12) @ mix)} for _ in range(16)]
        wrong += float(repana.model_trees(zoo).count) > 1
    assert wrong <= 6  # of 40 at .05: more with a chance of 1 in 70


@pytest.mark.parametrize("kind", ["statistics", "spectrum", "flat", "responses"])
def test_files_folders_shards_and_modules_give_the_same(kind: str, tmp_path) -> None:
    models = nets(4)
    files, folders, pickles = [], [], []
    for i, model in enumerate(models):
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        save_file(state, tmp_path / f"{i}.safetensors")
        files.append(tmp_path / f"{i}.safetensors")
        folder = tmp_path / f"shards{i}"
        folder.mkdir()
        names = list(state)
        for part in (0, 1):
            save_file({k: state[k] for k in names[part::2]}, folder / f"part{part}.safetensors")
        index = {"weight_map": {k: f"part{j % 2}.safetensors" for j, k in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        folders.append(folder)
        torch.save({"state_dict": state, "optimizer": {"lr": 0.1}}, tmp_path / f"{i}.pt")
        pickles.append(str(tmp_path / f"{i}.pt"))
    expected = repana.read_weights(models, kind, groups=None)
    for given in (files, folders, pickles, [model.state_dict() for model in models]):
        found = repana.read_weights(given, kind, groups=None)
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert "1.num_batches_tracked" not in expected
    assert tuple(expected)[0] == "0.weight"


class Custom:
    """What a training script keeps beside its weights."""


def test_files_that_can_run_code_are_read_where_that_is_allowed(tmp_path) -> None:
    models = nets(3)
    files = [tmp_path / f"{i}.pt" for i in range(3)]
    for model, file in zip(models, files):
        torch.save({"state_dict": model.state_dict(), "settings": Custom()}, file)
    with pytest.raises(repana.FileError, match="allow_pickle=True"):
        repana.read_weights(files)
    found = repana.read_weights(files, groups=None, allow_pickle=True)
    expected = repana.read_weights(models, groups=None)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(repana.model_trees(files, allow_pickle=True).trees, repana.model_trees(models).trees)


def test_layers_base_and_order() -> None:
    models = nets(3)
    found = repana.read_weights(models, "flat", layers=["3.*", "0.weight"], base=models[0], groups=None)
    assert list(found) == ["0.weight", "3.weight", "3.bias"]
    assert not found["0.weight"][0].any()
    assert torch.equal(found["3.bias"][1], models[1][3].bias.detach() - models[0][3].bias.detach())
    state = {f"block.{i}.w": torch.randn(3) for i in (10, 9, 2)}
    assert list(repana.read_weights([state, {k: v + 1 for k, v in state.items()}], groups=None)) == list(state)


def test_layers_of_files_are_in_the_order_of_their_numbers(tmp_path) -> None:
    for i in range(2):
        state = {f"block.{k}.w": torch.randn(3, generator=torch.Generator().manual_seed(9 * i + k)) for k in (10, 9, 2)}
        save_file(state, tmp_path / f"{i}.safetensors")
    found = repana.read_weights(sorted(tmp_path.glob("*.safetensors")), groups=None)
    assert list(found) == ["block.2.w", "block.9.w", "block.10.w"]


def test_tied_tensors_count_once() -> None:
    models = nets(3)
    for model in models:
        model.add_module("again", model[3])
    assert "again.weight" not in repana.read_weights(models, groups=None)


def test_half_precision_is_read_in_single() -> None:
    models = [{"w": torch.randn(5, 4, generator=torch.Generator().manual_seed(i)).bfloat16()} for i in range(3)]
    assert repana.read_weights(models, "flat", groups=None)["w"].dtype == torch.float32


@pytest.mark.parametrize(
    ("models", "options", "text"),
    [
        ([{"w": torch.ones(3)}], {}, "1 model"),
        ("zoo", {}, "is a str"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), {}, "is a Sequential"),
        ({"w": torch.ones(3)}, {}, "is a dict"),
        ([{"w": torch.ones(3)}, {"w": torch.zeros(3)}], {"layers": 3}, "`layers` is 3"),
        ([{"w": torch.ones(3)}, {"w": torch.zeros(3)}], {"layers": []}, "`layers` is"),
        (
            [{"w": torch.ones(2)}, {"w": torch.zeros(2)}],
            {"base": {"w": torch.tensor([1, torch.nan])}},
            "base: 'w' has 1 NaN",
        ),
        ([{"w": torch.ones(2).double() * 1e200}, {"w": torch.zeros(2)}], {}, "overflows"),
        ([{"w": torch.ones(3)}, {"w": torch.ones(3).bfloat16()}], {}, "equal weights"),
        ([{"w": torch.ones(3)}, {"w": torch.ones(3)}], {}, "model 0 and model 1 have equal weights"),
        ([{"w": torch.ones(3)}, {"v": torch.ones(3)}], {}, "'w' only in model 0; 'v' only in model 1"),
        ([{"w": torch.ones(3)}, {"w": torch.ones(4)}], {}, r"\(3,\) in model 0 and \(4,\) in model 1"),
        ([{"w": torch.ones(3)}, {"w": torch.tensor([1, torch.nan, 2])}], {}, "model 1: 'w' has 1 NaN"),
        ([{"w": torch.ones(3)}, {"w": torch.zeros(3)}], {"kind": "spectrum"}, "reads matrices"),
        ([{"w": torch.ones(3)}, {"w": torch.zeros(3)}], {"layers": "v*"}, "no tensor matches 'v\\*'"),
        ([{"w": torch.ones(9, 2)}, {"w": torch.zeros(9, 2)}], {"kind": "responses", "width": 8}, "9 outputs"),
    ],
)
def test_what_is_no_zoo_is_refused(models, options, text) -> None:
    with pytest.raises(InputError, match=text) as refused:
        repana.read_weights(models, **options)
    assert refused.value.code == "RA298"
    assert "RA298: " in str(refused.value)


def test_what_holds_no_weights_is_refused(tmp_path) -> None:
    with pytest.raises(FileError, match="holds no .safetensors"):
        repana.read_weights([tmp_path, tmp_path])
    with pytest.raises(FileError, match="does not exist"):
        repana.read_weights([tmp_path / "a.pt", tmp_path / "b.pt"])
    with pytest.raises(FileError, match="holds a int"):
        repana.read_weights([3, 4])
    (tmp_path / "cut.safetensors").write_bytes(b"123")
    with pytest.raises(FileError, match="cannot be read"):
        repana.read_weights([tmp_path / "cut.safetensors"] * 2)
    with pytest.raises(InputError, match="distances of weights"):
        repana.model_trees(repana.read_weights(ZOO, "spectrum"))


MEASURED = """
import resource, sys, torch, repana, scipy.cluster.hierarchy
repana.read_weights([{"w": torch.randn(600, 600)} for _ in range(4)], "responses")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
options = {"groups": None} if sys.argv[1] == "alone" else {}
repana.read_weights(sys.argv[2:], "responses", **options)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
def test_no_more_than_twice_one_tensor_of_all_models_is_held(tmp_path) -> None:
    n, size = 16, 4 * 1024 * 1024
    for i in range(n):
        draw = torch.Generator().manual_seed(i)
        save_file({f"w{k}": torch.randn(1024, 1024, generator=draw) for k in range(5)}, tmp_path / f"{i}.safetensors")
    files = sorted(map(str, tmp_path.glob("*.safetensors")))

    def held(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", MEASURED, how, *files], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert held("together") < 2 * n * size
    assert held("alone") < n * size


@pytest.mark.parametrize("size", [1, 2, 5, 70_000, 100_001])
def test_statistics_of_many_numbers_are_those_of_sorting(size: int) -> None:
    draw = torch.Generator().manual_seed(size)
    x = torch.randn(size, generator=draw) * torch.rand(size, generator=draw) ** 3
    x[: size // 3] = 0.25
    found = statistics(x)
    expected = np.quantile(x.numpy().astype(float), [0, 0.25, 0.5, 0.75, 1])
    assert np.allclose(found[2:], expected, rtol=0, atol=1e-15)
    assert float(found[0]) == pytest.approx(float(x.double().mean()), abs=1e-14)
    assert float(found[1]) == pytest.approx(float(x.double().var(correction=0)), abs=1e-12)


def test_steps_of_different_length_from_one_ancestor_are_no_trees() -> None:
    wrong = 0
    for seed in range(20):
        r = np.random.default_rng(seed)
        ancestor = r.standard_normal(300)
        steps = [0.01] * 8 + [0.2] * 4 if seed % 2 else 0.1 * 2.0 ** r.integers(-3, 4, 12)
        zoo = [{"w": torch.from_numpy(ancestor + step * r.standard_normal(300))} for step in steps]
        wrong += float(repana.model_trees(zoo).count) > 1
    assert wrong <= 4  # of 20 at .05: more with a chance of 1 in 400


def test_independent_models_of_different_norm_are_no_trees() -> None:
    wrong = 0
    for seed in range(20):
        r = np.random.default_rng(seed)
        zoo = [{"w": torch.from_numpy(r.standard_normal(300) * r.random())} for _ in range(12)]
        wrong += float(repana.model_trees(zoo).count) > 1
    assert wrong <= 4


@pytest.mark.parametrize("trees", [2, 4])
def test_trees_that_are_there_are_seen(trees: int) -> None:
    r = np.random.default_rng(trees)
    bases = r.standard_normal((trees, 200))
    zoo = [{"w": torch.from_numpy(base + 0.2 * r.standard_normal(200))} for base in bases for _ in range(6)]
    assert float(repana.model_trees(zoo).count) == trees


def test_a_mapping_names_its_models_and_wrappers_leave_no_prefix() -> None:
    first, second = nets(2)
    wrapped = {f"module.{k}": v for k, v in second.state_dict().items()}
    found = repana.read_weights({"a": first, "b": wrapped}, groups=None)
    assert found.provenance["models"] == ["a", "b"]
    assert "0.weight" in found


def test_sets_of_weights_that_cannot_be_told_are_refused(tmp_path) -> None:
    state = {"w": torch.randn(3)}
    with pytest.raises(FileError, match="several sets"):
        repana.read_weights([{"actor": {"net": state}, "critic": {"net": state}}] * 2)
    save_file(state, tmp_path / "model.safetensors")
    save_file(state, tmp_path / "model_ema.safetensors")
    with pytest.raises(FileError, match="several sets"):
        repana.read_weights([tmp_path, tmp_path])
    with pytest.raises(FileError, match="meta device"):
        repana.read_weights([{"w": torch.empty(3, device="meta")}] * 2)
    with pytest.raises(InputError, match="equal weights"):
        repana.model_trees(repana.Activations({"w": torch.ones(4, 3)}))


def test_tensors_of_any_memory_layout_are_read() -> None:
    draw = torch.Generator().manual_seed(0)
    whole = [torch.randn(202, generator=draw) for _ in range(3)]
    empty, counts = torch.empty(0, 5), torch.ones(4).char()
    odd = [{"w": w[1:101].view(10, 10), "v": w[::2], "none": empty, "q": counts} for w in whole]
    plain = [{"w": w[1:101].clone().view(10, 10), "v": w[::2].clone()} for w in whole]
    found = repana.read_weights(odd, groups=None)
    expected = repana.read_weights(plain, groups=None)
    assert all(torch.equal(found[name], expected[name]) for name in ("w", "v"))
    assert found.provenance["left_out"] == ["q"]
    mixed = [{"w": torch.ones(5)}, {"w": 1 + 1e-10 * torch.arange(5).double()}]
    assert len(repana.read_weights(mixed, "flat", groups=None)["w"].unique()) == 5
