"""Situations in which there is nothing to find, and planted ones, with what every finding has to say of them.

    python tests/situations.py 40     # how often each finding is wrong, and how often it fires

`NOTHING` are situations without a truth to find: what a finding says there by mistake is a false alarm. `PLANTED` are
those where a finding has to speak. Findings that only repeat what a report holds (its counts, its splits, the pair of
classes that is closest) have no rate.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from repana import Report, profile

PASSED, TIP = "passed", "tip"
CLAIMS = ("RF102", "RF201", "RF202", "RF203", "RF204", "RF206", "RF301", "RF302", "RF305", "RF306", "RF501", "RF503",
          "RF504", "RF602")  # that class structure, or the network's use of it, was found  # fmt: skip
WARNINGS = ("RF303", "RF304", "RF402", "RF502", "RF505", "RF506")  # of something that is wrong


@dataclass(frozen=True)
class Situation:
    """`make(seed)` gives the report; `says` what each finding says there, or must not say."""

    make: Callable[[int], Report]
    says: Mapping[str, str]


def network(seed: int, d: int = 32, classes: int = 5) -> nn.Sequential:
    torch.manual_seed(seed)
    widths = [d, 48, 48, 24]
    layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(24, classes)).eval()


def trained(seed: int, x: torch.Tensor, y: torch.Tensor, epochs: int, decay: float = 5e-4) -> nn.Sequential:
    net = network(seed, x.shape[1], int(y.max()) + 1).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
    for _ in range(epochs):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval()


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random(seed))


def classes_of(seed: int, n: int, d: int = 32, c: int = 5, apart: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian classes; samples that come later are of the same ones."""
    y = torch.arange(n) % c
    means = apart * nn.functional.normalize(normal(seed, c, d)) * 2
    return means[y] + normal(seed + 1, n, d), y


def noise(seed: int) -> Report:
    x, labels = normal(seed, 450, 32), torch.randint(5, (450,), generator=random(seed))
    pair = (x[:300], labels[:300]), (x[300:], labels[300:])
    return profile(network(seed), pair[0], held_out=pair[1], baselines=3, seed=seed)


def untrained(seed: int) -> Report:
    x, y = classes_of(seed, 450)
    return profile(network(seed), (x[:300], y[:300]), held_out=(x[300:], y[300:]), baselines=3, seed=seed)


def two_classes(seed: int) -> Report:
    x, y = normal(seed, 900, 8), torch.randint(2, (900,), generator=random(seed))
    return profile({"features": x}, y, seed=seed)


def collapsed(seed: int) -> Report:
    x, y = classes_of(seed, 450)
    net = trained(seed, x[:300], y[:300], 1500, 5e-3)
    return profile(net, (x[:300], y[:300]), held_out=(x[300:], y[300:]), baselines=3, seed=seed)


def simplex(seed: int) -> Report:
    """Class means on an exact simplex frame, samples around them."""
    y = torch.arange(300) % 5
    axes = torch.linalg.qr(normal(seed, 32, 5)).Q.T
    x = 3 * (axes - axes.mean(0))[y] + 0.5 * normal(seed + 1, 300, 32)
    return profile({"a": x, "b": x * 2}, y, analyzers="neural_collapse", seed=seed)


def corners(seed: int) -> Report:
    """Classes that neither a linear map nor random weights tell apart: the sign of a product of six coordinates."""
    corner = torch.randint(0, 2, (1200, 6), generator=random(seed)) * 2.0 - 1
    x, y = corner + 0.1 * normal(seed, 1200, 6), (corner.prod(1) > 0).long()
    net = trained(seed, x, y, 1500)
    return profile(net, (x, y), ["input", "3", "5"], ["neural_collapse", "probing"], baselines=3, seed=seed)


def deeper(seed: int) -> Report:
    """Six layers, each a factor further apart, which loses no separation."""
    x, y = classes_of(seed, 300, apart=0.0)
    means = nn.functional.normalize(normal(seed, 5, 32))[y]
    layers = {f"layer{k}": x + 2.0 * 1.5**k * means for k in range(6)}
    return profile(layers, y, analyzers=["neural_collapse", "separability", "topology", "fisher"], seed=seed)


def lost(seed: int) -> Report:
    x, y = classes_of(seed, 300)
    layers = {"before": x, "after": x + 8 * normal(seed + 2, 300, 32)}
    return profile(layers, y, analyzers=["neural_collapse", "fisher"], seed=seed)


def learnt_by_heart(seed: int) -> Report:
    x, y = normal(seed, 400, 32), torch.randint(5, (400,), generator=random(seed))
    net = trained(seed, x[:200], y[:200], 400)
    return profile(net, (x[:200], y[:200]), held_out=(x[200:], y[200:]), analyzers="neural_collapse", seed=seed)


def sheet(seed: int) -> Report:
    """Two dimensions far away, ten near by."""
    x = torch.zeros(800, 10)
    x[:, :2] = torch.rand(800, 2, generator=random(seed))
    return profile({"features": x + 0.006 * normal(seed + 1, 800, 10)}, analyzers="dimension", seed=seed)


def wide(seed: int) -> Report:
    """Twice as many features as rows: any labels can be fitted."""
    x, y = classes_of(seed, 150, d=300, c=3, apart=3.0)
    return profile({"a": x, "b": x * 2}, y, analyzers="probing", seed=seed)


def clusters(seed: int) -> Report:
    """Two classes of two clusters each, crosswise."""
    corner = torch.arange(600) % 4
    centre = torch.tensor([[4.0, 4.0], [-4.0, -4.0], [4.0, -4.0], [-4.0, 4.0]])[corner]
    x = normal(seed, 600, 8)
    x[:, :2] += centre
    return profile({"a": x, "b": x * 2}, corner // 2, analyzers="probing", seed=seed)


def few_rows(seed: int) -> Report:
    """A signal in 200 features, of which 300 rows do not tell all."""
    x, y = classes_of(seed, 300, d=200, c=3, apart=1.0)
    return profile({"a": x, "b": x * 2}, y, analyzers="probing", seed=seed)


def folded(seed: int) -> Report:
    """A network whose penultimate layer has linear and folded units, of which the decision uses the folded ones."""
    x, y = classes_of(seed, 400)
    net, generator = network(seed), random(seed)
    with torch.no_grad():
        first, second, third, head = (m for m in net if isinstance(m, nn.Linear))
        first.weight[:16], first.bias[:16] = torch.eye(16, 32), 30.0  # shifted, so that the ReLU passes them
        first.weight[16:] *= 2
        for m in (second, third, head):
            m.weight.zero_()
            m.bias.zero_()
        first.bias[16:] = 0.0
        second.weight[:16, :16] = torch.eye(16)
        second.weight[16:, 16:] = torch.randn(32, 32, generator=generator) / 4
        third.weight[:12, :16] = torch.eye(12, 16)
        third.weight[12:, 16:] = torch.randn(12, 32, generator=generator) / 3
        third.bias[:12] = -22.0
        h = net[:-1](x)
        means = torch.stack([h[y == k].mean(0) for k in range(5)])
        head.weight[:, 12:] = (means - means.mean(0))[:, 12:]
        head.weight[:, :12] = 1e-3 * torch.randn(5, 12, generator=generator)
        head.bias.copy_(-head.weight @ h.mean(0))
    return profile(net, (x, y), analyzers=["neural_collapse", "complexity"], baselines=8, seed=seed)


NOTHING = {
    "noise": Situation(noise, dict.fromkeys(CLAIMS, PASSED) | dict.fromkeys(set(WARNINGS) - {"RF502"}, TIP)),
    "untrained": Situation(untrained, dict.fromkeys(("RF201", "RF203", "RF503", "RF504", "RF602"), PASSED)
                           | {"RF303": TIP}),
    "two classes": Situation(two_classes, dict.fromkeys(("RF102", "RF305"), PASSED) | {"RF502": TIP, "RF402": TIP}),
}  # fmt: skip
PLANTED = {
    "collapsed": Situation(collapsed, dict.fromkeys(
        ("RF102", "RF201", "RF203", "RF204", "RF206", "RF301", "RF305", "RF501"), PASSED)),
    "simplex": Situation(simplex, {"RF202": PASSED}),
    "corners": Situation(corners, {"RF503": PASSED, "RF504": PASSED}),
    "deeper": Situation(deeper, {"RF302": PASSED, "RF306": PASSED}),
    "lost": Situation(lost, {"RF304": TIP}),
    "learnt by heart": Situation(learnt_by_heart, {"RF303": TIP}),
    "sheet": Situation(sheet, {"RF402": TIP}),
    "wide": Situation(wide, {"RF502": TIP}),
    "clusters": Situation(clusters, {"RF505": TIP}),
    "few rows": Situation(few_rows, {"RF506": TIP}),
    "folded": Situation(folded, {"RF602": "The decision rests"}),
}  # fmt: skip


def spoken(situation: Situation, seed: int) -> dict[str, bool]:
    """Of every finding of a situation, whether it said that: a severity, or how its sentence begins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {f.code: f for f in situation.make(seed).findings()}
    return {
        code: said in (found[code].severity, found[code].text[: len(said)]) for code, said in situation.says.items()
    }


def counted(situation: Situation, seeds: range) -> Iterator[dict[str, int]]:
    """How often each finding said it, after one seed more each time."""
    total = dict.fromkeys(situation.says, 0)
    for seed in seeds:
        for code, said in spoken(situation, seed).items():
            total[code] += said
        yield dict(total)


if __name__ == "__main__":
    torch.set_num_threads(1)
    seeds, *names = int(sys.argv[1]), *sys.argv[2:]
    for name, situation in {**NOTHING, **PLANTED}.items():
        if not names or name in names:
            for k, total in enumerate(counted(situation, range(seeds)), 1):
                print(json.dumps({"situation": name, "seeds": k, "said": total}), flush=True)
