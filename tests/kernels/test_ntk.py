"""The neural tangent kernel by parameter: reference values, torch.func, traps of how it is computed, and refusals."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

import repana
from repana import plots
from repana.errors import InputError, ModelError
from repana.findings import find
from repana.kernels import ntk
from repana.kernels._grams import _by_forming, _by_pairs
from repana.kernels._kernel_statistics import mean_alignment, one_hot, permuted_alignments


def fill(model, seed):
    """Weights of frontier.md 2.4."""
    r = np.random.default_rng(seed)
    model = model.double().eval()
    with torch.no_grad():
        for p in model.parameters():
            drawn = r.standard_normal(tuple(p.shape))
            p.copy_(torch.from_numpy(drawn / np.sqrt(p[0].numel()) if p.ndim > 1 else drawn / 2))
    return model


class Mean(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.mean(self.axes)


def networks():
    r = np.random.default_rng(0)
    x = [torch.from_numpy(r.standard_normal(shape)) for shape in ((12, 6), (9, 2, 6, 6), (8, 4, 5))]
    mlp = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3))
    conv = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.Tanh(), Mean(2, 3),
        nn.Linear(5, 3),
    )  # fmt: skip
    tokens = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU(), Mean(1), nn.Linear(6, 2))
    made = zip(("mlp", "conv", "tokens"), (mlp, conv, tokens), (1, 2, 3), x, (3, 3, 2))
    return {name: (fill(net, seed), rows, torch.arange(len(rows)) % c) for name, net, seed, rows, c in made}


NETWORKS = networks()
VALUES = {  # three weights, of the first two samples
    "mlp": {"0": (1.5865493661, -0.1495463751), "2": (4.4532526054, 2.2058621336), "4": (0.9471918351, 1.1005932236)},
    "conv": {"0": (0.3357547593, 0.0155357283), "2": (2.0408466096, 1.2343304340), "5": (1.5781718475, 1.6770288206)},
    "tokens": {
        "0": (0.2955352536, -0.0357319961),
        "2": (0.9107139850, 0.1635230103),
        "5": (1.6778934027, 3.2564349249),
    },
}
BIASES = {
    "mlp": {"0": 1.8192336209, "2": 3.4083121666, "4": 3.0},
    "conv": {"0": 0.1190563439, "2": 1.4865234784, "5": 3.0},
    "tokens": {"0": 0.3342998515, "1": 0.6820739823, "2": 0.4332599829, "5": 2.0},
}
TOTALS = {  # K00, K01, tr K/n, top share, effective rank, alignment, null, condition, similarity of first and last
    "mlp": (15.2145395949, 9.9941399352, 21.2727530281, 0.4692964954, 4.0959029875, 0.2507943331, 0.2050454141,
            262.0474313938, 0.7002791498),
    "conv": (8.5603530388, 7.5382744108, 11.2734047137, 0.7948874711, 2.4110263435, 0.4190137045, 0.4004629850,
             109.7461618328, 0.6036814438),
    "tokens": (6.5168868800, 6.8368748735, 13.0548688858, 0.9101233018, 1.5489873943, 0.1010839683, 0.2270520439,
               360.8772586839, 0.4068090821),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_values(name):
    model, x, y = NETWORKS[name]
    found = ntk(model, (x, y), mask=False)
    for layer, (first, second) in VALUES[name].items():
        k = found.matrices[f"{layer}.weight"]
        assert (float(k[0, 0]), float(k[0, 1])) == pytest.approx((first, second), rel=1e-6)
    for layer, value in BIASES[name].items():
        assert float(found.matrices[f"{layer}.bias"][0, 0]) == pytest.approx(value, rel=1e-6)
    t, total = found.total, TOTALS[name]
    assert (float(found.matrix[0, 0]), float(found.matrix[0, 1])) == pytest.approx(total[:2], abs=1e-9)
    values = [t.trace.value, t.top_share.value, t.effective_rank.value, t.alignment.value, t.alignment.null]
    assert values == pytest.approx(total[2:7], abs=1e-9)
    assert t.condition.value == pytest.approx(total[7], rel=1e-9)
    last = max(VALUES[name])
    assert found.similarities().loc["0.weight", f"{last}.weight"] == pytest.approx(total[8], abs=1e-6)
    assert sum(k.share.value for k in found.layers.values()) == pytest.approx(1)
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def by_functions(model, x, tied=None):
    """K of every parameter by torch.func, a different way to have it."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def one(given, row):
        return functional_call(model, ({**given, **buffers}), (row[None],))[0]

    jacobians = vmap(jacrev(one), (None, 0))(parameters, x)
    return {
        name: torch.einsum("icp,jcp->ij", j.flatten(2), j.flatten(2)).double().detach() for name, j in jacobians.items()
    }


def agrees(found, by_hand, places=1e-6):
    assert set(found.matrices) == set(by_hand)
    for name, k in by_hand.items():
        scale = float(k.abs().max().clamp_min(1e-12))
        assert float((found.matrices[name].double() - k).abs().max()) <= places * scale, name


class Twice(nn.Module):
    """A module that runs twice: its gradients add before the product."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.c(torch.tanh(self.a(torch.tanh(self.a(x)))))


class Words(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.e, self.c = nn.Embedding(7, 5, **options), nn.Linear(5, 3)

    def forward(self, ids):
        return self.c(torch.tanh(self.e(ids)).mean(1))


def test_traps_of_the_page():
    r = np.random.default_rng(20)
    twice, x = fill(Twice(), 11), torch.from_numpy(r.standard_normal((6, 4)))
    found = ntk(twice, x)
    assert found.matrices["a.weight"][0, :2].tolist() == pytest.approx([3.9314472188, -1.9933108786], rel=1e-6)
    assert found.matrices["a.bias"][0, :2].tolist() == pytest.approx([3.1622262486, 3.5990364773], rel=1e-6)
    ids = torch.from_numpy(r.integers(0, 7, (6, 4)))
    assert ids[0].tolist() == [3, 4, 1, 4]
    found = ntk(fill(Words(), 12), ids, mask=False)
    assert found.matrices["e.weight"][0, :2].tolist() == pytest.approx([0.6243499598, 0.1901609817], rel=1e-6)
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), Mean(2, 3), nn.Linear(6, 3)
    )
    net[1].running_mean = torch.from_numpy(r.standard_normal(6) * 0.1)
    net[1].running_var = torch.from_numpy(1 + r.random(6))
    net = fill(net, 13)
    found = ntk(net, torch.from_numpy(r.standard_normal((5, 4, 6, 6))))
    values = {
        "0.weight": (0.6797520559, 0.2485885945), "1.weight": (0.7388807934, -0.0570031698),
        "1.bias": (2.5406961809, 2.3623871581),
    }  # fmt: skip
    for name, value in values.items():
        assert found.matrices[name][0, :2].tolist() == pytest.approx(value, rel=1e-6), name


NETS = {
    "grouped": lambda: (
        nn.Sequential(
            nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True), Mean(2, 3),
            nn.Linear(6, 3),
        ),
        (5, 4, 6, 6),
    ),
    "dilated": lambda: (
        nn.Sequential(
            nn.Conv2d(2, 3, (3, 2), dilation=(2, 1), stride=(1, 2)), nn.GroupNorm(3, 3), Mean(2, 3), nn.Linear(3, 2)
        ),
        (6, 2, 7, 6),
    ),
    "same": lambda: (nn.Sequential(nn.Conv1d(2, 3, 4, padding="same"), nn.Tanh(), Mean(2), nn.Linear(3, 2)), (6, 2, 9)),
    "rms": lambda: (nn.Sequential(nn.Linear(4, 6, bias=False), nn.RMSNorm(6), nn.GELU(), nn.Linear(6, 2)), (7, 4)),
    "volume": lambda: (nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)), (5, 1, 3, 3, 3)),
    "long": lambda: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Mean(1), nn.Linear(4, 2)), (5, 40, 3)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NETS)
def test_hooks_agree_with_torch_func(name):
    torch.manual_seed(0)
    model, shape = NETS[name]()
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = torch.randn(6).double() * 0.1, 1 + torch.rand(6).double()
            nn.init.normal_(module.weight)
    x = torch.randn(shape).double()
    found = ntk(model, x, mask=False, batch_size=3)
    net = nn.Sequential(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in model))
    by_hand = {n.replace("module.", ""): k for n, k in by_functions(net, x).items()}
    agrees(found, by_hand)


class Custom(nn.Module):
    """Parameters of its own, torch's attention, and an output matrix that is the embedding's."""

    def __init__(self):
        super().__init__()
        self.words, self.shift = nn.Embedding(9, 8), nn.Parameter(torch.randn(8))
        self.attn, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 9, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids) * self.shift
        return self.out(self.attn(x, x, x, need_weights=False)[0].mean(1))


def test_free_parameters_and_tied_ones():
    torch.manual_seed(0)
    model = Custom().double().eval()
    ids = torch.randint(9, (6, 4))
    found = ntk(model, ids, mask=False)
    by_hand = {}
    for name, p in model.named_parameters():
        rows = []
        for i in range(6):
            z = model(ids[i : i + 1])[0]
            rows.append(torch.stack([torch.autograd.grad(z[c], p, retain_graph=True)[0].flatten() for c in range(9)]))
        j = torch.stack(rows)
        by_hand[name] = torch.einsum("icp,jcp->ij", j, j)
    agrees(found, by_hand)


def test_positions_by_pairs_and_by_forming_are_the_same():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 4, 3, generator=g).double(), torch.randn(2, 5, 4, 6, generator=g).double()
    wide = b.permute(1, 2, 0, 3).reshape(5, 4, 12)
    assert torch.allclose(_by_pairs(a, wide), _by_forming(a, b))


def test_closed_forms():
    """The last weight's kernel is C H H'; of a deep linear map V U the kernels are C (XU')(XU')' and |V|^2 XX'."""
    torch.manual_seed(0)
    x = torch.randn(8, 5).double()
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 3, bias=False)).double()
    found = ntk(net, x)
    u, v = (m.weight.detach() for m in net)
    assert torch.allclose(found.matrices["1.weight"].double(), 3 * (x @ u.T) @ (x @ u.T).T, rtol=1e-5)
    assert torch.allclose(found.matrices["0.weight"].double(), v.square().sum() * x @ x.T, rtol=1e-5)
    assert torch.allclose(sum(m.double() for m in found.matrices.values()), found.matrix, rtol=1e-5)
    mean = ntk(net, x, outputs="mean")
    assert torch.allclose(mean.matrix, found.matrix / 3)
    copies = ntk(net, torch.cat([x, x[:1]]))
    assert copies.total.condition.value == float("inf")
    batches = [x[:3], x[3:5], x[5:]]
    assert torch.allclose(ntk(net, batches).matrix, found.matrix, rtol=1e-12)


def test_other_outputs_and_sketches():
    model, x, y = NETWORKS["mlp"]
    whole = by_functions(model, x)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(given, row, weights):
        return (functional_call(model, given, (row[None],))[0] * weights).sum()

    def gram(weights):
        found = vmap(torch.func.grad(one), (None, 0, 0))(parameters, x, weights)
        j = torch.cat([part.flatten(1) for part in found.values()], 1)
        return (j @ j.T).detach()

    pseudo = ntk(model, (x, y), outputs="sum")
    assert torch.allclose(pseudo.matrix, gram(torch.full((12, 3), 3**-0.5).double()))
    of_label = ntk(model, (x, y), outputs="label")
    assert torch.allclose(of_label.matrix, gram(nn.functional.one_hot(y, 3).double()))
    exact = sum(whole.values())
    drawn = [ntk(model, (x, y), sketch=8, seed=s, keep="scalars") for s in range(30)]
    assert drawn[0].matrices == {}
    assert drawn[0].settings["sketch"]
    mean = torch.stack([d.matrix for d in drawn]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 0.15


def test_null_of_alignment_is_its_exact_mean():
    model, x, y = NETWORKS["mlp"]
    k, hot = ntk(model, (x, y)).matrix, one_hot(y)
    generator = torch.Generator().manual_seed(0)
    drawn = permuted_alignments(k, hot, [torch.randperm(12, generator=generator) for _ in range(4000)])
    assert mean_alignment(k, hot) == pytest.approx(float(np.mean(drawn)), abs=4 * np.std(drawn) / 4000**0.5)


def test_velocity_and_what_is_frozen():
    model, x, y = NETWORKS["mlp"]
    first = ntk(model, (x, y))
    still = first.velocity(first)
    assert all(abs(float(v)) < 1e-6 for v in (still.total, *still.layers.values()))
    assert "lazy" in still.says()
    moved = fill(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3)), 5)
    other = ntk(moved, (x, y))
    by_hand = 1 - float((first.matrix * other.matrix).sum() / first.matrix.norm() / other.matrix.norm())
    assert float(first.velocity(other).total) == pytest.approx(by_hand)
    assert "The kernel moved by" in first.velocity(other).says()
    moved[0].weight.requires_grad_(False)
    moved[0].bias.requires_grad_(False)
    assert set(ntk(moved, (x, y)).matrices) == {"2.weight", "2.bias", "4.weight", "4.bias"}
    assert torch.allclose(ntk(moved, (x, y), frozen=True).matrix, other.matrix)
    assert not moved[0].weight.requires_grad
    moved[0].bias.requires_grad_(True)  # of a module whose weight does not train
    assert set(ntk(moved, (x, y)).matrices) == {"0.bias", "2.weight", "2.bias", "4.weight", "4.bias"}
    with pytest.raises(InputError, match="RA297: the kernels are of 12 and 11 samples"):
        first.velocity(ntk(model, (x[:11], y[:11])))


class Interacting(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x):
        return self.a(x - x.mean(0))


def test_what_is_refused_and_what_is_degenerate():
    torch.manual_seed(0)
    x = torch.randn(8, 4)
    with pytest.raises(ModelError, match="RA139: the outputs of a sample change"):
        ntk(Interacting(), x)
    with pytest.raises(ModelError, match="RA140: Tanh has no parameter"):
        ntk(nn.Tanh(), x)
    with pytest.raises(InputError, match="RA297: outputs='label'"):
        ntk(nn.Linear(4, 3), x, outputs="label")
    with pytest.raises(InputError):
        ntk(nn.Linear(4, 3), x, outputs="all")
    with pytest.raises(InputError, match="RA210"):
        ntk(nn.Linear(4, 3), x[:2])
    dead = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    nn.init.constant_(dead[0].bias, -100.0)
    found = ntk(dead, (x, torch.arange(8) % 2))
    assert found["0.weight"].share.value == 0
    assert np.isnan(found["0.weight"].effective_rank.value)
    assert found["0.weight"].effective_rank.note
    single = ntk(nn.Linear(4, 3), (x, torch.zeros(8, dtype=torch.int64)))
    assert np.isnan(single.total.alignment.value)
    assert np.isnan(single.accuracy.value)


def test_the_figure_shows_the_numbers(tmp_path):
    model, x, y = NETWORKS["mlp"]
    found = ntk(model, (x, y), untrained=2)
    axes = plots.kernel_depth(found)
    weights, biases = ([p.get_height() for p in bars] for bars in axes[0].containers[:2])
    for heights, kind in ((weights, "weight"), (biases, "bias")):
        assert heights == pytest.approx([100 * found[f"{name}.{kind}"].share.value for name in ("0", "2", "4")])
    modules = found.grouped()
    shown = axes[1].get_lines()
    assert list(shown[0].get_ydata()) == pytest.approx([k.alignment.value for k in modules.layers.values()])
    untrained = [np.mean([c.grouped().layers[n].alignment.value for c in found.untrained]) for n in modules.layers]
    assert list(shown[2].get_ydata()) == pytest.approx(untrained)
    found.plot().savefig(tmp_path / "kernel.pdf")
    assert "39% of the kernel is 2.weight's" in found.says()
    assert set(found.frame()["layer"]) == {*found.layers, ""}
    single = plots.kernel_depth(ntk(model, (x, y), keep="scalars"))
    assert len(single[0].patches) == len(found.layers)
    assert len(plots.kernel_depth(ntk(model, (x, y), keep="trace"))) == 1
    with pytest.raises(ModelError, match="RA101"):
        found["3.weight"]


@pytest.mark.parametrize("batch_size", [5, 128])
@pytest.mark.parametrize("name", [*NETWORKS, "embedding", "places first", "tied", "grouped", "in turns"])
def test_the_trace_alone_is_that_of_the_kernel(name, batch_size):
    torch.manual_seed(3)
    made = {
        "embedding": lambda: (Words(padding_idx=3), torch.randint(0, 7, (9, 6))),
        "places first": lambda: (PlacesFirst(), torch.randn(9, 4, 5)),
        "tied": lambda: (Tied(), torch.randint(0, 11, (8, 5))),
        "grouped": lambda: (NETS["grouped"]()[0], torch.randn(7, 4, 6, 6)),
        "in turns": lambda: (Routed(), torch.cat([torch.rand(5, 6), -torch.rand(5, 6)])),
    }
    model, x = NETWORKS[name][:2] if name in NETWORKS else made[name]()
    model, x = model.double().eval(), x.double() if x.is_floating_point() else x
    whole = ntk(model, x, mask=False, batch_size=batch_size)
    alone = ntk(model, x, mask=False, batch_size=batch_size, keep="trace")
    assert list(alone.layers) == list(whole.layers)
    for layer, k in whole.layers.items():
        for q in ("trace", "share"):
            own, other = getattr(alone[layer], q), getattr(k, q)
            assert (own.value, own.low, own.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)
    assert alone.total.trace.value == pytest.approx(whole.total.trace.value, rel=1e-9)
    assert alone.matrix is None
    assert alone.total.effective_rank.note
    for asked in (alone.similarities, alone.grouped, lambda: alone.velocity(alone)):
        with pytest.raises(InputError, match="keep='kernels'"):
            asked()
    with pytest.raises(InputError, match="RA297: outputs='full' is a matrix"):
        ntk(model, x, outputs="full", keep="trace")


def test_scalars_are_those_of_the_kernels():
    model, x, y = NETWORKS["conv"]
    whole, alone = ntk(model, (x, y)), ntk(model, (x, y), keep="scalars")
    assert alone.layers == whole.layers
    assert alone.total == whole.total
    assert alone.matrices == {}


@pytest.mark.parametrize("directions", [4, 12])
def test_the_error_of_a_sketch_is_that_of_its_spread(directions):
    """The root mean square of what was estimated, over draws, beside that of the true errors."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 20)).double()
    x = torch.randn(16, 6).double()
    exact = ntk(model, x).matrix
    said, true, traces = [], [], []
    for seed in range(40):
        found = ntk(model, x, sketch=directions, seed=seed, keep="scalars", permutations=0)
        said.append(found.settings["sketch_error"] * float(found.matrix.norm()))
        true.append(float((found.matrix - exact).norm()))
        traces.append(found.total.trace.value)
    ratio = (np.mean(np.square(said)) / np.mean(np.square(true))) ** 0.5
    assert 0.8 < ratio < 1.25
    assert np.mean(traces) == pytest.approx(float(exact.trace()) / 16, abs=4 * np.std(traces) / 40**0.5)
    alone = ntk(model, x, sketch=directions, seed=seed, keep="trace")
    assert alone.total.trace.value == pytest.approx(traces[-1])
    assert 0 < alone.settings["sketch_error"] < 1
    assert "random directions stand for the outputs; relative error about" in found.says()


def test_a_single_random_direction_has_no_error():
    model, x, _ = NETWORKS["mlp"]
    found = ntk(model, x, sketch=1)
    assert np.isnan(found.settings["sketch_error"])
    assert "relative error unknown" in found.says()
    assert "sketch_error" not in ntk(model, x).settings


def test_what_was_learned_stands_beside_untrained_copies():
    torch.manual_seed(0)
    x = torch.randn(40, 5)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 2))
    fresh = ntk(model, (x, y), untrained=3)
    assert fresh.learned().total.value < 2 * fresh.learned().total.null
    assert "not more than random weights do" in fresh.says()
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    model.zero_grad()
    found = ntk(model, (x, y), untrained=3)
    copies = [ntk(repana.reinitialised(model, seed=s), (x, y)) for s in range(3)]
    cosine = lambda a, b: float((a * b).sum() / a.norm() / b.norm())  # noqa: E731
    by_hand = np.mean([1 - cosine(found.matrix, c.matrix) for c in copies])
    pairs = np.mean([1 - cosine(copies[a].matrix, copies[b].matrix) for a, b in ((0, 1), (0, 2), (1, 2))])
    learned = found.learned()
    assert (learned.total.value, learned.total.null) == pytest.approx((by_hand, pairs), rel=1e-6)
    assert learned.total.low > learned.total.null
    assert set(learned.layers) == set(found.layers)
    assert "more than random weights do" in found.says()
    mean = found.frame().set_index(["layer", "quantity"])["untrained"]["", "alignment"]
    assert mean == pytest.approx(np.mean([c.total.alignment.value for c in copies]))
    report = repana.profile(model, (x, y), ["0", "2"], analyzers=["spectrum"], ntk={"untrained": 2})
    rows = {r.layer: r for r in report.rows if r.analyzer == "ntk" and r.quantity == "learned"}
    two = ntk(model, (x, y), untrained=2)
    assert rows["0"].value == pytest.approx(two.grouped().learned().layers["0"].value)
    assert rows[""].null == pytest.approx(two.learned().total.null)
    with pytest.raises(InputError, match="untrained=3"):
        ntk(model, (x, y)).learned()
    one = ntk(model, (x, y), untrained=1).learned()
    assert "no other" in one.total.note
    assert one.says().endswith(".")
    with pytest.raises(InputError, match="RA253"):
        ntk(model, iter([(x, y)]), untrained=1)


@pytest.mark.slow
def test_coverage_of_the_interval():
    """Of the trace of a kernel over more samples of the same kind."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    truth = ntk(model, torch.randn(1500, 5).double(), most=1500, keep="scalars").total.trace.value
    held = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        t = ntk(
            model, torch.randn(60, 5, generator=generator).double(), keep="scalars", permutations=0, seed=seed
        ).total.trace
        held += t.low <= truth <= t.high
    assert 33 <= held <= 40


class Tied(nn.Module):
    """An embedding that is read again as a matrix, by function."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.linear = nn.Embedding(11, 6), nn.Linear(6, 6)

    def forward(self, ids):
        return nn.functional.linear(torch.tanh(self.linear(self.e(ids).mean(1))), self.e.weight)


class Uncalled(nn.Module):
    """A module whose weights are used and that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return nn.functional.linear(torch.tanh(self.a(x)), nn.functional.normalize(self.b.weight), self.b.bias)


class Standardised(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x):
        length = self.weight.flatten(1).norm(dim=1)[:, None, None, None]
        return nn.functional.conv2d(x, self.weight / length, self.bias, padding=1)


class Placed(nn.Module):
    """Position embeddings that are the same for all samples."""

    def __init__(self, batched: bool) -> None:
        super().__init__()
        self.e, self.p, self.linear, self.batched = nn.Embedding(11, 6), nn.Embedding(5, 6), nn.Linear(6, 3), batched

    def forward(self, ids):
        places = torch.arange(5)
        return self.linear(torch.tanh(self.e(ids) + self.p(places[None] if self.batched else places)).mean(1))


class ChannelNorm(nn.LayerNorm):
    """A norm over channels that come second."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("case", ["tied", "uncalled", "own forward", "places", "batched places", "permuted norm"])
def test_modules_that_are_not_what_their_class_says_are_taken_sample_by_sample(case):
    torch.manual_seed(0)
    ids, x, images = torch.randint(0, 11, (8, 5)), torch.randn(8, 6), torch.randn(8, 2, 6, 6)
    model, data = {
        "tied": lambda: (Tied(), ids),
        "uncalled": lambda: (Uncalled(), x),
        "own forward": lambda: (nn.Sequential(Standardised(2, 4, 3), nn.Tanh(), Mean(2, 3), nn.Linear(4, 3)), images),
        "places": lambda: (Placed(False), ids),
        "batched places": lambda: (Placed(True), ids),
        "permuted norm": lambda: (
            nn.Sequential(nn.Conv2d(2, 4, 3), ChannelNorm(4), nn.GELU(), Mean(2, 3), nn.Linear(4, 3)), images
        ),
    }[case]()  # fmt: skip
    model = model.eval()
    found = ntk(model, data, mask=False)
    expected = by_functions(model, data)
    assert set(found.matrices) == set(expected)
    for name, k in expected.items():
        assert torch.allclose(found.matrices[name].double(), k, atol=1e-4 * float(k.abs().max()))


def jacobians(model, x):
    """(n, c, p) of every parameter by torch.func."""
    given = {name: p.detach() for name, p in model.named_parameters()}
    one = lambda parameters, row: functional_call(model, parameters, (row[None],))[0]  # noqa: E731
    return {name: j.flatten(2) for name, j in vmap(jacrev(one), (None, 0))(given, x).items()}


def test_ignored_labels_count_in_no_quantity_of_labels():
    model, x, y = NETWORKS["mlp"]
    some = torch.where(torch.arange(12) < 4, -100, y)
    found, alone = ntk(model, (x, some)), ntk(model, (x[4:], y[4:]))
    assert float(found.total.alignment) == pytest.approx(float(alone.total.alignment))
    assert found.total.alignment.null == pytest.approx(alone.total.alignment.null)
    assert float(found.accuracy) == float(alone.accuracy)
    assert float(ntk(model, x, labels=y).total.alignment) == pytest.approx(float(ntk(model, (x, y)).total.alignment))


def test_sequences_that_the_network_pools_itself_need_no_mask():
    model, x, y = NETWORKS["tokens"]
    assert torch.equal(ntk(model, (x, y)).matrix, ntk(model, (x, y), mask=False).matrix)


@pytest.mark.parametrize("name", ["mlp", "conv", "tokens"])
def test_the_kernel_of_every_pair_of_outputs(name):
    model, x, y = NETWORKS[name]
    found = ntk(model, (x, y), outputs="full")
    j = torch.cat(list(jacobians(model, x).values()), 2)
    assert torch.allclose(found.full, torch.einsum("icp,jdp->cdij", j, j), atol=1e-10)
    assert torch.allclose(found.full.diagonal(dim1=0, dim2=1).sum(-1), found.matrix, atol=1e-10)
    with pytest.raises(InputError, match="no `sketch`"):
        ntk(model, (x, y), outputs="full", sketch=2)


def test_the_kernel_of_every_pair_of_outputs_of_an_embedding():
    torch.manual_seed(1)
    model, ids = Placed(True).double().eval(), torch.randint(0, 11, (6, 5))
    j = torch.cat(list(jacobians(model, ids).values()), 2)
    found = ntk(model, ids, mask=False, outputs="full")
    assert torch.allclose(found.full, torch.einsum("icp,jdp->cdij", j, j), atol=1e-10)


def test_sums_over_modules_and_a_profile():
    model, x, y = NETWORKS["mlp"]
    found = ntk(model, (x, y))
    modules = found.grouped()
    assert set(modules.layers) == {"0", "2", "4"}
    assert float(sum(k.share.value for k in modules.layers.values())) == pytest.approx(1)
    both = found.matrices["0.weight"] + found.matrices["0.bias"]
    assert torch.allclose(modules.matrices["0"], both)
    report = repana.profile(model, (x, y), ["0", "4"], analyzers=["spectrum"], ntk={"most": 12})
    rows = {(r.layer, r.quantity): r for r in report.rows if r.analyzer == "ntk"}
    assert rows["0", "share"].value == pytest.approx(modules["0"].share.value, rel=1e-5)
    assert rows["", "outside"].value == pytest.approx(modules["2"].share.value, rel=1e-5)
    assert rows["", "alignment"].value == pytest.approx(found.total.alignment.value)
    assert report.layers == ("0", "4")
    assert report.plot("ntk.share")
    assert not [r for r in repana.profile(model, (x, y), ["0"], analyzers=["spectrum"]).rows if r.analyzer == "ntk"]
    with pytest.raises(InputError, match="keep='kernels'"):
        ntk(model, (x, y), keep="scalars").grouped()


def test_a_profile_beside_an_earlier_checkpoint():
    model, x, y = NETWORKS["mlp"]
    first = ntk(model, (x, y))
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved[2].weight.mul_(1.5).add_(0.3)
    report = repana.profile(moved, (x, y), ["0", "4"], analyzers=["spectrum"], ntk={"earlier": first})
    rows = {r.layer: r for r in report.rows if r.analyzer == "ntk" and r.quantity == "velocity"}
    later = ntk(moved, (x, y))
    assert rows[""].value == pytest.approx(first.velocity(later).total.value)
    assert rows["4"].value == pytest.approx(first.grouped().velocity(later.grouped()).layers["4"].value, abs=1e-6)
    assert {f.code: f for f in find(report)}["RF903"].severity == "passed"
    still = repana.profile(model, (x, y), ["0", "4"], analyzers=["spectrum"], ntk={"earlier": first})
    said = {f.code: f for f in find(still)}["RF903"]
    assert said.severity == "tip"
    assert "training is lazy" in said.text
    assert still.provenance["arguments"]["ntk"] is True


def test_findings_of_the_kernel():
    model, x, y = NETWORKS["tokens"]
    report = repana.profile(model, (x, y), ["0", "5"], analyzers=["spectrum"], ntk=True, mask=False)
    said = {f.code: f for f in find(report)}
    assert said["RF901"].severity in ("passed", "tip")
    assert said["RF902"].severity == "tip"
    assert "not aligned" in said["RF902"].text


def test_the_figure_of_the_spectrum_draws_eigenvalues():
    model, x, y = NETWORKS["mlp"]
    found = ntk(model, (x, y))
    ax = plots.kernel_spectrum(found, most=2)
    values = torch.linalg.eigvalsh(found.matrix).flip(0) / 12
    assert np.allclose(ax.lines[-1].get_ydata(), values[values > 1e-6 * values[0]])
    assert len(ax.lines) == 3


class Sorting(nn.Module):
    """A module that sees its samples in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.b(torch.tanh(self.a(x[order]))[order.argsort()])


class PlacesFirst(nn.Module):
    """Positions come before samples."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x.transpose(0, 1))).mean(0))


class Routed(nn.Module):
    """Each sample goes through one of two experts."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(6, 3) for _ in range(2))

    def forward(self, x):
        made = x.new_zeros(len(x), 3)
        for k, expert in enumerate(self.experts):
            own = ((x[:, 0] > 0).long() == k).nonzero()[:, 0]
            if len(own):
                made = made.index_add(0, own, expert(x[own]))
        return made


@pytest.mark.parametrize("batch_size", [3, 4, 128])
@pytest.mark.parametrize("case", ["sorting", "places first", "routed"])
def test_samples_in_another_order_or_place_are_taken_one_by_one(case, batch_size):
    torch.manual_seed(2)
    model, x = {
        "sorting": (Sorting(), torch.randn(9, 6)),
        "places first": (PlacesFirst(), torch.randn(9, 4, 5)),
        "routed": (Routed(), torch.cat([torch.rand(6, 6), torch.randn(6, 6)])),
    }[case]
    model = model.double().eval()
    x = x.double()
    found = ntk(model, x, batch_size=batch_size)
    given = {name: p.detach() for name, p in model.named_parameters()}
    total = torch.zeros(len(x), len(x), dtype=torch.float64)
    rows = []
    for i in range(len(x)):
        slopes = torch.autograd.functional.jacobian(
            lambda *values, i=i: functional_call(model, dict(zip(given, values)), (x[i : i + 1],))[0],
            tuple(given.values()),
        )
        rows.append(torch.cat([s.flatten(1) for s in slopes], 1))
    j = torch.stack(rows)
    total = torch.einsum("icp,jcp->ij", j, j)
    assert torch.allclose(found.matrix, total, atol=1e-9)


def test_a_singular_kernel_in_single_precision_has_no_condition():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(60, 3)
    twice = torch.cat([x, x[:1]])
    assert float(ntk(model, twice).total.condition) == float("inf")
    assert float(ntk(model.double(), twice.double()).total.condition) == float("inf")


def test_labels_as_values_and_what_they_are_refused_for():
    model, x, y = NETWORKS["mlp"]
    assert torch.equal(ntk(model, x, labels=y, outputs="label").matrix, ntk(model, (x, y), outputs="label").matrix)
    with pytest.raises(InputError, match="3 values and the kernel 12 samples"):
        ntk(model, x, labels=[0, 1, 2])


def test_kernels_of_other_samples_or_outputs_are_not_compared():
    model, x, y = NETWORKS["mlp"]
    with pytest.raises(InputError, match="other samples"):
        ntk(model, (x, y)).velocity(ntk(model, (x.flip(0), y)))
    with pytest.raises(InputError, match="other `outputs`"):
        ntk(model, (x, y)).velocity(ntk(model, (x, y), outputs="sum"))


def test_statistics_of_the_batch_are_refused_and_half_precision_is_read():
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    with pytest.raises(ModelError, match="RA139"):
        ntk(nn.Sequential(nn.Linear(6, 6), norm, nn.Linear(6, 3)).eval(), torch.randn(8, 6))
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3)), 10 * torch.randn(8, 6)
    half, single = ntk(model.half(), x.half()), ntk(model.float(), x.half().float())
    assert torch.allclose(half.matrix, single.matrix, rtol=1e-2)


def of_autograd(model, x):
    """The kernel of every parameter, sample by sample and output by output."""
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    rows = {name: [] for name, _ in parameters}
    for i in range(len(x)):
        z = model(x[i : i + 1])[0]
        found = {name: [] for name in rows}
        for c in range(len(z)):
            slopes = (
                torch.autograd.grad(z[c], [p for _, p in parameters], retain_graph=True, allow_unused=True)
                if z.requires_grad
                else [None] * len(parameters)
            )
            for (name, p), g in zip(parameters, slopes):
                found[name].append(torch.zeros(p.numel()).to(p) if g is None else g.to_dense().flatten())
        for name, each in found.items():
            rows[name].append(torch.stack(each))
    return {name: torch.einsum("icp,jcp->ij", *(2 * [torch.stack(r).double()])) for name, r in rows.items()}


class Halved(nn.Linear):
    """A module that is not what its class says."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * 0.5, self.bias)


class Sometimes(nn.Module):
    """A module that only batches with positive samples call."""

    def __init__(self, module, frozen=False):
        super().__init__()
        self.b, self.ex, self.h = nn.Linear(6, 6), module, nn.Linear(6, 3)
        if frozen:
            self.b.requires_grad_(False)
            self.h.requires_grad_(False)

    def forward(self, x):
        h = torch.tanh(self.b(x))
        on = x[:, 0] > 0
        return self.h(h + self.ex(h) * on[:, None] if on.any() else h)


class Categories(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.e, self.linear = nn.Embedding(7, 5, **options), nn.Linear(5, 3)

    def forward(self, ids):
        h = torch.tanh(self.e(ids))
        return self.linear(h if h.ndim == 2 else h.mean(1))


@pytest.mark.parametrize("keep", ["kernels", "trace"])
@pytest.mark.parametrize("batch_size", [6, 128])
@pytest.mark.parametrize(
    "case", ["late", "late and custom", "late and alone", "idle", "one category", "sparse", "nothing called"]
)
def test_modules_that_few_samples_call(case, batch_size, keep):
    torch.manual_seed(4)
    x = torch.randn(16, 6)
    x[:, 0] = torch.where(torch.arange(16) < 7, -1.0, 1.0)
    model, data = {
        "late": lambda: (Sometimes(nn.Linear(6, 6)), x),
        "late and custom": lambda: (Sometimes(Halved(6, 6)), x),
        "late and alone": lambda: (Sometimes(nn.Linear(6, 6), frozen=True), x),
        "idle": lambda: (Sometimes(nn.Linear(6, 6)), -x.abs()),
        "one category": lambda: (Categories(), torch.randint(0, 7, (16,))),
        "sparse": lambda: (Categories(sparse=True), torch.randint(0, 7, (16, 3))),
        "nothing called": lambda: (Sometimes(nn.Linear(6, 6), frozen=True), -x.abs()),
    }[case]()
    found = ntk(model.double() if data.is_floating_point() else model, data.double() if data.is_floating_point() else
                data, batch_size=batch_size, mask=False, keep=keep)  # fmt: skip
    expected = of_autograd(model, data.to(next(model.parameters()).dtype) if data.is_floating_point() else data)
    assert list(found.layers) == list(expected)
    for name, k in expected.items():
        assert found[name].trace.value == pytest.approx(float(k.trace()) / 16, rel=1e-5), name
        if keep == "kernels":
            assert torch.allclose(found.matrices[name].double(), k, atol=1e-5 * float(k.abs().max())), name


def test_untrained_copies_see_the_same_samples():
    torch.manual_seed(0)
    x, y = torch.randn(30, 6), torch.arange(30) % 3
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    found = ntk(model, loader, untrained=2)
    assert {c.settings["samples"] for c in found.untrained} == {found.settings["samples"]}
    ordered = ntk(model, (x, y), untrained=2).learned().total
    assert found.learned().total.value == pytest.approx(ordered.value, rel=1e-4)
    assert found.learned().total.null == pytest.approx(ordered.null, rel=1e-4)


class Takes(nn.Module):
    """Which of two modules runs is decided by random weights."""

    def __init__(self):
        super().__init__()
        self.r, self.a, self.b, self.h = nn.Linear(6, 1), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        on, out = (self.r(x) > 0).to(x), 0 * x
        if on.any():
            out = out + on * self.a(x)
        if (1 - on).any():
            out = out + (1 - on) * self.b(x)
        return self.h(out)


def test_copies_that_call_other_modules_are_compared():
    torch.manual_seed(0)
    x, y = torch.rand(12, 6) * 0.1 + 5, torch.arange(12) % 2
    model = Takes()
    with torch.no_grad():
        model.r.bias.fill_(-99.0)
    found = ntk(model, (x, y), untrained=3)
    assert found["a.weight"].trace.value == 0
    assert np.isnan(found.learned().layers["a.weight"].value)
    assert found.says()
    assert len(found.frame()) == 7 * (len(found.layers) + 1)
    found.grouped().plot()


def test_half_precision_sums_do_not_overflow():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.l2, self.h = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)

        def forward(self, x):
            return self.h(torch.relu(self.l2(torch.relu(self.l(x)))).mean(1))

    torch.manual_seed(3)
    model, x = Positions().half().eval(), (torch.randn(12, 8, 64) * 30).half()
    found, single = ntk(model, x, mask=False), ntk(copy.deepcopy(model).float(), x.float(), mask=False)
    for name, k in single.matrices.items():
        assert float((found.matrices[name] - k).norm() / k.norm()) < 5e-3, name


def test_groups_are_as_exact_as_the_network():
    torch.manual_seed(0)
    x = torch.randn(60, 6).double()
    near, y = x * 1e-4 + 1, (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    found = ntk(model, (near, y))
    before = found.matrices["2.weight"].clone()
    assert found.grouped()["2"].alignment.value == pytest.approx(found["2.weight"].alignment.value, abs=1e-6)
    assert torch.equal(found.matrices["2.weight"], before)
    rounded = ntk(copy.deepcopy(model).float(), (near.float(), y))
    assert np.isnan(rounded["2.weight"].alignment.value)
    assert "up to rounding" in rounded["2.weight"].alignment.note
    assert "the same at all pairs" in found["2.bias"].alignment.note
    mean, pseudo = ntk(model, (x, y), outputs="mean"), ntk(model, (x, y), outputs="sum")
    whole = ntk(model, (x, y)).matrix
    assert torch.allclose(mean.matrix, whole / 3, rtol=1e-13)
    weights = torch.full((60, 3), 3**-0.5, dtype=torch.float64)
    z = {name: p.detach() for name, p in model.named_parameters()}
    one = lambda p, row, w: (functional_call(model, p, (row[None],))[0] * w).sum()  # noqa: E731
    j = torch.cat([g.flatten(1) for g in vmap(torch.func.grad(one), (None, 0, 0))(z, x, weights).values()], 1)
    assert torch.allclose(pseudo.matrix, j @ j.T, rtol=1e-12)


def test_groups_and_their_figures():
    from matplotlib import pyplot as plt

    model, x, y = NETWORKS["mlp"]
    found = ntk(model, (x, y))
    assert list(found.grouped().grouped().layers) == ["0", "2", "4"]
    own = found.grouped({"0.weight": "first", "2.weight": "later", "4.weight": "later"})
    axes = plots.kernel_depth(own)
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["first", "later"]
    alone = ntk(nn.Linear(6, 3).double(), (x, y))
    assert set(alone.grouped().layers) == {"weight", "bias"}
    assert "weight's" in alone.grouped().says()
    assert found.grouped({}).says() == "No group has parameters."
    with pytest.raises(ModelError, match="'nope'"):
        found.grouped({"nope": "a"})
    _, grid = plt.subplots(2)
    assert plots.kernel_depth(found, ax=grid) == list(grid)
    _, single = plt.subplots()
    with pytest.raises(InputError, match="expected 2"):
        plots.kernel_depth(found, ax=single)
    assert plots.kernel_depth(ntk(model, x), ax=single) == [single]
    plt.close("all")


def test_sketches_are_checked_and_compared_alike(unchecked):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 100)), torch.randn(20, 6)
    drawn = ntk(model, x)
    assert drawn.settings["sketch"]
    exact = ntk(model, x, sketch=0)
    assert not exact.settings["sketch"]
    assert torch.allclose(exact.matrix, sum(of_autograd(model, x).values()), rtol=1e-4)
    with pytest.raises(InputError, match="other random directions"):
        drawn.velocity(ntk(model, x, seed=1))
    assert drawn.velocity(ntk(model, x)).total.value == pytest.approx(0, abs=1e-6)
    for wrong in (-1, 2.5, "a"):
        with pytest.raises(InputError, match="RA212"):
            ntk(model, x, sketch=wrong)
    with pytest.raises(InputError, match="one combination of the outputs"):
        ntk(model, x, outputs="sum", sketch=4)
    first, second = (ntk(m, x, keep="trace") for m in (model, model))
    with pytest.raises(InputError, match="'scalars' for the sum"):
        first.velocity(second)


def test_the_velocity_of_a_dead_layer_is_left_out_of_the_sentence():
    torch.manual_seed(0)
    x = torch.randn(12, 4)
    live = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    dead = copy.deepcopy(live)
    nn.init.constant_(dead[0].bias, -100.0)
    assert "most at 2." in ntk(dead, x).velocity(ntk(live, x)).says()


def test_complex_parameters_are_refused():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, dtype=torch.complex64))

        def forward(self, x):
            return torch.fft.irfft(torch.fft.rfft(x) * self.w, n=6)

    with pytest.raises(ModelError, match="RA140: parameter 'w' is complex"):
        ntk(Spectral(), torch.randn(8, 6))


def test_traces_hold_one_batch_at_a_time():
    held, most = [], 0

    def batches():
        import weakref

        for _ in range(12):
            x = torch.randn(4, 6)
            held.append(weakref.ref(x))
            yield x
            del x
            nonlocal most
            most = max(most, sum(ref() is not None for ref in held))

    found = ntk(nn.Linear(6, 3), batches(), keep="trace")
    assert found.total.trace.n == 48
    assert most <= 2


def test_a_network_without_gradients_says_so():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    model[1].bias.requires_grad_(False)
    assert "no kernel" in ntk(nn.Sequential(model[0], nn.ReLU(), Zero()), torch.randn(6, 4)).says()


class Zero(nn.Module):
    def forward(self, x):
        return 0 * x
