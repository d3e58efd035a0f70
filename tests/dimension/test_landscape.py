"""Training in random subspaces: projections, the toy whose answer is known, the digits, the store."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from repana import FileError, InputError, Subspace, objective_dimension

PROJECTIONS = ("dense", "sparse", "fastfood")


class Toy(nn.Module):
    """Li et al. 2018, section 2: 1000 parameters, of which each hundred must sum to its number. Ten constraints."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1000))

    def forward(self):
        return (self.theta.view(10, 100).sum(1) - torch.arange(1.0, 11.0)).square().sum()


def solve(model):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(trained, max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = model()
        loss.backward()
        return loss

    optimizer.step(closure)


def nudge(model):
    """A training that moves something."""
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).add_(1e-6)


def solved(model):
    with torch.no_grad():
        return math.exp(-float(model()))


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_toy_has_ten_dimensions(projection):
    found = objective_dimension(lambda seed: Toy(), solve, solved, projection=projection, seeds=(0, 1))
    assert found.by_seed == (10, 10)
    assert float(found.dimension) == pytest.approx(10)
    assert float(found.baseline) == pytest.approx(1)
    assert found.parameters == 1000
    curve = found.curve()
    assert (curve["metric"][curve["dimension"] >= 10] > 0.99).all()
    assert (curve["metric"][curve["dimension"] < 10] < 0.5).all()
    assert repr(found).startswith("ObjectiveDimension(d_int90 = 10 [10, 10] of 1000 parameters, ")


class Net(nn.Module):
    """A tied weight, a buffer that training changes, a frozen parameter, and two layers of different size."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.again = nn.Linear(6, 6, bias=False)
        self.again.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(6), requires_grad=False)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.again(self.norm(self.first(x))) * self.frozen)


def columns(made):
    found = []
    for j in range(made.dimension):
        with torch.no_grad():
            made.v.zero_()
            made.v[j] = 1
            found.append(made.offset().clone())
    with torch.no_grad():
        made.v.zero_()
    return torch.stack(found, 1)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_columns_have_norm_one_over_all_parameters(projection):
    net = nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 5))
    p = columns(Subspace(net, 12, projection=projection, seed=3))
    norms = torch.linalg.vector_norm(p, dim=0)
    torch.testing.assert_close(norms, torch.ones(12), rtol=0.03 if projection == "fastfood" else 1e-6, atol=0)
    assert float((p.T @ p - torch.eye(12)).abs().max()) < 0.12  # directions nearly at right angles
    again = columns(Subspace(net, 12, projection=projection, seed=3))
    assert torch.equal(p, again)
    assert not torch.equal(p, columns(Subspace(net, 12, projection=projection, seed=4)))
    if projection == "sparse":
        assert float((p[:2000] != 0).float().mean()) == pytest.approx(1 / math.sqrt(2000), rel=0.2)


def test_fastfood_is_its_matrices():
    """H G Pi H B written out, for 11 parameters in 16 rows."""
    made = Subspace(nn.Linear(10, 1), 4, seed=1)
    h = torch.ones(1, 1)
    while len(h) < 16:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    written = h @ torch.diag(made._gauss) @ torch.eye(16)[made._order] @ h @ torch.diag(made._signs)
    torch.testing.assert_close(columns(made), written[:11, :4], rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_device_changes_nothing(projection):
    net = nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 5))
    here = columns(Subspace(net, 12, projection=projection))
    torch.testing.assert_close(
        columns(Subspace(net.cuda(), 12, projection=projection)).cpu(), here, rtol=1e-4, atol=1e-6
    )
    moved = Subspace(net.cpu(), 12, projection=projection).cuda()
    torch.testing.assert_close(columns(moved).cpu(), here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_gradient_is_that_of_the_projection(projection):
    net = Net().eval()
    made = Subspace(net, 5, projection=projection)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    p = columns(made)
    made.eval()
    made(x).square().sum().backward()
    net(x).square().sum().backward()
    full = torch.cat([q.grad.flatten() for q in net.parameters() if q.requires_grad])
    torch.testing.assert_close(made.v.grad, p.T @ full, rtol=1e-4, atol=1e-5)


def test_the_module_stays_a_module():
    net = Net()
    before = {name: p.clone() for name, p in net.state_dict().items()}
    made = Subspace(net, 4)
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.eval()(x), net.eval()(x))
    made.train()
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.5)
    assert sum(p.numel() for p in made.parameters() if p.requires_grad) == 4
    made(x).square().mean().backward()
    optimizer.step()
    assert not torch.equal(made.model.norm.running_mean, before["norm.running_mean"])  # buffers move in training
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())  # the user's model does not
    assert torch.equal(made.parameters_at()["first.weight"], made.parameters_at()["first.weight"])
    assert made.double()(x.double()).dtype == torch.float64
    assert made.float().total == 6 * 6 + 6 + 6 + 6 + 6 * 3 + 3  # the tied weight once, the frozen one not


def test_a_checkpoint_is_seed_and_v():
    net = Net().eval()
    made = Subspace(net, 6, projection="sparse", seed=9).eval()
    with torch.no_grad():
        made.v.normal_(generator=torch.Generator().manual_seed(0))
    kept = made.checkpoint()
    assert set(kept) == {"seed", "projection", "v"}
    assert kept["v"].numel() == 6
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(Subspace.restore(net, kept).eval()(x), made(x))


def test_a_search_goes_on_where_it_was_cut_off(tmp_path):
    count = []

    def counted(model):
        count.append(model)
        if len(count) == 5:
            raise KeyboardInterrupt
        solve(model)

    def ask(train):
        return objective_dimension(lambda seed: Toy(), train, solved, seeds=(0,), store=tmp_path)

    with pytest.raises(KeyboardInterrupt):
        ask(counted)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(lines) == 4  # full training and three
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + '\n{"dimension": 16, "se')  # cut while it wrote
    found = ask(counted)
    assert found.by_seed == (10,)
    assert len(found.runs) == len({(r.dimension, r.seed) for r in found.runs}) == len(count) - 1
    total = len(count)
    assert ask(counted).by_seed == (10,)
    assert len(count) == total  # nothing is trained again
    kept = json.loads((tmp_path / "experiment.json").read_text())
    assert {**kept, "shapes": "", "initial": list(kept["initial"])} == {
        "experiment": "",
        "parameters": 1000,
        "projection": "fastfood",
        "shapes": "",
        "initial": ["0"],
    }
    assert (tmp_path / "v_d10_seed0.safetensors").stat().st_size < 400
    again = ask(counted)
    assert again.reused == len(again.runs)
    assert repr(again).endswith(f"{len(again.runs)} runs, {len(again.runs)} of them from the store)")


class Started(Toy):
    """Other initial weights, of the same shape."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.full((1000,), 0.01))


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (Toy, {"projection": "dense"}, "projection 'fastfood', and here it is 'dense'"),
        (Toy, {"experiment": "long"}, "experiment '', and here it is 'long'"),
        (Started, {}, "seed 0, initial weights '"),
        (lambda: nn.Sequential(Toy()), {}, "shapes '"),
    ],
)
def test_a_store_is_of_one_experiment(tmp_path, make, options, text):
    objective_dimension(lambda seed: Toy(), solve, solved, seeds=1, precision=1.0, store=tmp_path)
    with pytest.raises(InputError) as error:
        objective_dimension(lambda seed: make(), solve, solved, seeds=1, store=tmp_path, **options)
    assert str(error.value).startswith(f"RA242: {str(tmp_path)!r} holds trainings with {text}")


@pytest.mark.parametrize("file", ["experiment.json", "runs.jsonl"])
def test_a_store_that_was_changed_is_refused(tmp_path, file):
    def ask():
        return objective_dimension(lambda seed: Toy(), solve, solved, seeds=1, precision=1.0, store=tmp_path)

    ask()
    (tmp_path / file).write_text('{"dimension": 3, "depth": 2}\n')
    with pytest.raises(FileError, match="RA301"):
        ask()


def test_seeds_may_be_counted_or_named():
    def ask(seeds):
        return objective_dimension(lambda seed: Toy(), solve, solved, seeds=seeds, precision=1.0).baseline.n

    assert ask(2) == ask((4, 7)) == ask(np.array([1, 2])) == 2


def test_the_best_rate_counts():
    def train(model, rate):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)
        for _ in range(200):
            optimizer.zero_grad()
            model().backward()
            optimizer.step()

    found = objective_dimension(
        lambda seed: Toy(),
        train,
        solved,
        seeds=(0,),
        rates=(1e-9, 4e-3, 1e6),
        start=40,
        precision=0.5,
        projection="dense",
    )
    assert {run.rate for run in found.runs} == {1e-9, 4e-3, 1e6}
    assert float(found.baseline) == pytest.approx(1, abs=0.01)
    assert any(
        run.metric == -math.inf for run in found.runs
    )  # a rate under which it comes apart is lost, not the search
    assert found.frame()["rate"].nunique() == 3


def test_the_interval_holds_what_the_search_leaves_open():
    """Every dimension from 100 on reaches the target; with a precision of a half the search stops above it."""
    made = []

    def make(seed):
        return Toy()

    def evaluate(model):
        made.append(getattr(model, "dimension", 1000))
        return float(made[-1] >= 100)

    found = objective_dimension(make, nudge, evaluate, precision=0.5)
    assert len(set(found.by_seed)) == 1
    assert found.dimension.low <= 100 <= found.dimension.value == found.dimension.high
    assert found.dimension.high <= 1.5 * (found.dimension.low - 1)
    exact = objective_dimension(make, nudge, evaluate, precision=0.001)
    assert (exact.dimension.low, exact.dimension.value, exact.dimension.high) == pytest.approx((100, 100, 100))


def test_a_target_that_is_missed_gives_a_reason():
    metrics = iter([1.0] + [0.0] * 100)
    found = objective_dimension(lambda seed: Toy(), nudge, lambda model: next(metrics), seeds=(0,))
    assert math.isnan(float(found.dimension))
    assert found.dimension.note == "1 of 1 seeds miss the target up to d = 1000"


@pytest.mark.slow
def test_the_digits_need_few_directions():
    """An MLP on the handwritten digits: some dozens of directions reach 90 % of its accuracy."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = torch.from_numpy(x).float()[order] / 16, torch.from_numpy(y)[order]

    def make(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def train(model):
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.03)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[:1200]), y[:1200]).backward()
            optimizer.step()

    def accuracy(model):
        with torch.no_grad():
            return float((model(x[1200:]).argmax(1) == y[1200:]).float().mean())

    with torch.random.fork_rng():
        found = objective_dimension(make, train, accuracy, seeds=(0, 1), precision=0.3)
    assert found.parameters == 4810
    assert 20 < float(found.dimension) < 300
    assert found.dimension.low <= float(found.dimension) <= found.dimension.high


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Subspace(nn.Linear(3, 2), 9),
            "RA240: a subspace of 9 dimensions was asked for; the model trains 8 parameters, so expected 1 to 8.",
        ),
        (
            lambda: Subspace(nn.Linear(1000, 1000), 1000, projection="dense"),
            "RA241: a dense projection of 1001000 x 1000 takes 3.7 GB; take `projection='fastfood'`, whose memory does "
            "not grow with the dimension.",
        ),
        (
            lambda: Subspace(nn.Linear(3, 2), 2, projection="random"),
            "RA212: `projection` is 'random'; expected one of 'dense', 'sparse', 'fastfood'.",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), solve, solved, seeds=()),
            "RA212: `seeds` is (); expected a number of seeds, or different whole numbers, at least one.",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), solve, solved, seeds=(1, 1)),
            "RA212: `seeds` is (1, 1); expected a number of seeds, or different whole numbers, at least one.",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), solve, solved, start=0),
            "RA240: a subspace of 0 dimensions was asked for; the model trains 1000 parameters, so expected 1 to 1000.",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), solve, solved, rates=(0.1,)),
            "RA212: `rates` is [0.1] and `train` takes the model alone; expected train(model, rate).",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), solve, lambda m: None),
            "RA243: `evaluate` gave None (NoneType); expected one number, the higher the better.",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), solve, lambda m: math.nan, seeds=1),
            "RA243: training all parameters reached the metric -inf (seed 0); a share of it is a target only where it "
            "is finite and above 0 for every seed. Take a metric such as the accuracy, and a training that converges.",
        ),
        (
            lambda: objective_dimension(lambda s: Toy(), lambda m: None, solved),
            "RA244: `train` left all parameters as they were; it must train `[p for p in model.parameters() if "
            "p.requires_grad]` of the model it is given, in place.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text
