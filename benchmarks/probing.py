"""Probes against scikit-learn on matched objectives, in one process: logistic, ridge with leave-one-out, k-fold, kNN.

Layers are Gaussian classes in a rotated space with a falling spectrum, whose signal grows from layer to layer.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from benchmarks._measure import Line, alternate, ratio, show, steady_memory
from repana.probes import ridge_probe
from repana.probes._classifiers import votes
from repana.summaries.folds import FoldMoments, RidgePath, one_hot
from repana.summaries.held_out import held_out
from repana.summaries.logistic import Axes, LogisticFits, logistic
from repana.summaries.neighbours import nearest_neighbours

N, D, LAYERS = 10_000, 512, 12
FOLDS = 5
TOLERANCES = (3e-2, 1e-2, 3e-3, 1e-3)  # of the certificate; the last is the default
GRID = [10.0 ** (k / 2) for k in range(-10, 1)]
RIDGES = np.logspace(2, -6, 17)


def layer(depth: int, classes: int, n: int = N, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised features and labels; hard at depth 0, nearly separable at the last."""
    g = torch.Generator().manual_seed(seed + depth)
    y = torch.randint(classes, (n,), generator=g)
    means = torch.randn(classes, D, generator=g)
    spectrum = torch.arange(1, D + 1).float() ** -0.5
    signal = 0.05 + 0.2 * depth / (LAYERS - 1)
    x = torch.randn(n, D, generator=g) * spectrum + signal * means[y] * spectrum
    x = x @ torch.linalg.qr(torch.randn(D, D, generator=g))[0]
    return ((x - x.mean(0)) / x.std(0)).contiguous(), y


def objective(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, b: torch.Tensor, penalty: float) -> float:
    loss = torch.nn.functional.cross_entropy(x.double() @ w.double() + b.double(), y)
    return float(loss + penalty / 2 * w.double().square().sum())


def sklearn_logistic(x: np.ndarray, y: np.ndarray, c: float, **options: object) -> object:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=c, max_iter=10_000, **options).fit(x, y)  # type: ignore[arg-type]


def once(function: Callable[[], object]) -> tuple[float, object]:
    began = time.process_time()
    found = function()
    return time.process_time() - began, found


def strengths_alone(classes: int, c: float, rounds: int) -> list[Line]:
    """One strength, every layer; scikit-learn in float64 with its default tolerance, ours at its own default and at the
    loosest tolerance whose objective is nowhere above scikit-learn's.
    """
    penalty, spent, gaps = 1 / (c * N), {t: [] for t in TOLERANCES}, {t: [] for t in TOLERANCES}
    theirs, agree = [], []
    for depth in range(0, LAYERS, 1 if classes == 10 else 2):
        x, y = layer(depth, classes)
        wide, labels = x.double().numpy(), y.numpy()
        peer, model = once(lambda wide=wide, labels=labels: sklearn_logistic(wide, labels, c))
        theirs.append(peer)
        other = objective(x, y, torch.tensor(model.coef_.T), torch.tensor(model.intercept_), penalty)  # type: ignore[attr-defined]
        for t in TOLERANCES:
            made = [once(lambda x=x, y=y, t=t: fitted(x, y, penalty, classes, t)) for _ in range(rounds)]
            fits = made[-1][1]
            assert isinstance(fits, LogisticFits)
            mine = objective(x, y, fits.weight[:, :, 0], fits.bias[:, 0], penalty)
            spent[t].append(float(np.median([seconds for seconds, _ in made])))
            gaps[t].append((mine - other) / other)
        guess = fits.scores(x)[:, :, 0].argmax(1).numpy()
        agree.append(float((guess == model.predict(wide)).mean()))  # type: ignore[attr-defined]
    matched = next((t for t in TOLERANCES if max(gaps[t]) <= 0), TOLERANCES[-1])
    name = f"K = {classes}, C = {c:g}, one strength"
    lines = []
    for what, t, least in (("matched objective", matched, 4), ("default tolerance", TOLERANCES[-1], None)):
        note = f"tolerance {t:g}: objective {min(gaps[t]):.0e} to {max(gaps[t]):.0e} of scikit-learn's above its"
        lines.append(
            ratio(f"{name}, {what}: scikit-learn / ours", [sum(theirs)], [sum(spent[t])], least=least, note=note)
        )
    worst = min(p / o for p, o in zip(theirs, spent[TOLERANCES[-1]]))
    lines.append(ratio(f"{name}, the layer least in our favour", [worst], [1.0], least=1,
                       note=f"predictions agree {min(agree):.4f}"))  # fmt: skip
    return lines


def fitted(x: torch.Tensor, y: torch.Tensor, penalty: float, classes: int, tolerance: float) -> LogisticFits:
    return logistic(x, y, torch.tensor([penalty]), classes, tolerance=tolerance)


def reference(classes: int) -> list[Line]:
    """Agreement with a float64 minimum at a tolerance of 1e-9, which default tolerances are not."""
    lines = []
    for c in (1e-4, 1e-2):
        x, y = layer(4, classes)
        penalty = torch.tensor([1 / (c * N)])
        fits = logistic(x, y, penalty, classes)
        exact = logistic(x.double(), y, penalty.double(), classes, tolerance=1e-9)
        guess, want = (f.scores(x.to(f.weight))[:, :, 0].argmax(1) for f in (fits, exact))
        value = float((guess == want).double().mean())
        lines.append(Line(f"K = {classes}, C = {c:g}: predictions as in float64", value, value, value, "at least 0.999",
                          value >= 0.999))  # fmt: skip
    return lines


def grid(classes: int, depth: int, strengths: list[float], least: float) -> Line:
    """Five folds and a grid; scikit-learn walks its path from strong to weak, warm, on one fold, times five."""
    from sklearn.linear_model import LogisticRegression

    x, y = layer(depth, classes)
    fold = torch.arange(N) % FOLDS
    masks = torch.stack([(fold != f).float() for f in range(FOLDS)], 1).repeat_interleave(len(strengths), 1)
    penalty = torch.tensor([1 / (c * N * (1 - 1 / FOLDS)) for c in strengths]).repeat(FOLDS)
    scale = torch.stack([x[fold != f].std(0) for f in range(FOLDS)], 1).repeat_interleave(len(strengths), 1)
    seconds, fits = once(lambda: logistic(x, y, penalty, classes, weight=masks, scale=scale, axes=lambda: Axes.of(x)))
    train = (fold != 0).numpy()
    wide = x.double().numpy()[train]
    wide = (wide - wide.mean(0)) / wide.std(0)
    labels = y.numpy()[train]

    def path() -> list[object]:
        model = LogisticRegression(max_iter=10_000, warm_start=True)
        kept = []
        for c in strengths:
            model.set_params(C=c).fit(wide, labels)
            kept.append((model.coef_.copy(), model.intercept_.copy()))
        return kept

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer, kept = once(path)
    z = torch.tensor(wide)
    target = y[torch.tensor(train)]
    gaps = []
    for k, (w, b) in enumerate(kept):  # type: ignore[arg-type, attr-defined]
        p = float(penalty[k])
        own_w = fits.weight[:, :, k].double() * scale[:, k : k + 1].double()  # type: ignore[attr-defined]
        shift = torch.tensor(x.double().numpy()[train].mean(0)) @ fits.weight[:, :, k].double()  # type: ignore[attr-defined]
        mine = objective(z, target, own_w, fits.bias[:, k].double() + shift, p)  # type: ignore[attr-defined]
        other = objective(z, target, torch.tensor(w.T), torch.tensor(b), p)
        gaps.append((mine - other) / other)
    flops = 4 * N * D * classes * int(fits.iterations.sum())  # type: ignore[attr-defined]
    share = f"{flops / seconds / gemm_rate():.0%} of the measured product rate"
    note = f"objective against scikit-learn's {min(gaps):.1e} to {max(gaps):.1e}; {seconds:.1f} s, {share}"
    name = f"K = {classes}, layer {depth}, {FOLDS} folds x {len(strengths)} strengths: scikit-learn / ours"
    return ratio(name, [FOLDS * peer], [seconds], least=least, note=note)


def ridges(classes: int, rounds: int) -> list[Line]:
    from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV

    x, y = layer(3, classes)
    labels = y.numpy()
    strengths = torch.tensor(RIDGES * N)
    fold = torch.arange(N) % FOLDS

    def left_out() -> torch.Tensor:
        z = one_hot(y, classes) * 2 - 1
        moments = FoldMoments.of(x, z, torch.zeros(N, dtype=torch.int64), 1)
        return RidgePath.of(moments.normal(), strengths).left_out_error(x, z).mean(0)

    def folds() -> torch.Tensor:
        moments = FoldMoments.of(x, one_hot(y, classes) * 2 - 1, fold, FOLDS)
        hits = []
        for f in range(FOLDS):
            at = fold == f
            guess = RidgePath.of(moments.without(f), strengths).scores(x[at]).argmax(1)
            hits.append((guess == y[at][:, None]).double().mean(0))
        return torch.stack(hits).mean(0)

    def errors() -> torch.Tensor:
        return held_out(FoldMoments.of(x, one_hot(y, classes) * 2 - 1, fold, FOLDS), strengths.flip(0)).error

    wide = x.double().numpy()
    peers = {
        "ours": left_out,
        "folds": folds,
        "errors": errors,
        "peer": lambda: RidgeClassifierCV(alphas=RIDGES * N).fit(wide, labels),
        "probe": lambda: ridge_probe(x, y),
    }
    times = alternate(peers, rounds)
    model = peers["peer"]()
    error = float(left_out().min()) / -model.best_score_ - 1  # type: ignore[attr-defined]
    train = fold.numpy() != 0
    refit = sum(once(lambda s=s: RidgeClassifier(alpha=s).fit(wide[train], labels[train]))[0] for s in RIDGES[::8] * N)
    refits = refit / len(RIDGES[::8]) * len(RIDGES) * FOLDS
    flops = 2 * N * D * (2 * D + classes * len(RIDGES) + len(RIDGES))
    share = flops / min(times["ours"]) / gemm_rate()
    return [
        ratio(f"K = {classes}: RidgeClassifierCV, 17 strengths, leave-one-out / ours", times["peer"], times["ours"],
              least=6, note=f"error differs by {abs(error):.0e}; {share:.0%} of the measured product rate"),
        ratio(f"K = {classes}: RidgeClassifierCV, 17 strengths / ridge_probe", times["peer"], times["probe"], least=3,
              note="with its split, selection, intervals and shuffled labels"),
        ratio(f"K = {classes}: {FOLDS} x 17 refits / ours, accuracy", [refits] * rounds, times["folds"], least=15,
              note="peer in float64, extrapolated from 3 strengths of one fold"),
        ratio(f"K = {classes}: {FOLDS} x 17 refits / ours, squared error", [refits] * rounds, times["errors"], least=15,
              note="held out, from the folds' own moments: no row is read again"),
    ]  # fmt: skip


def gemm_rate() -> float:
    """Floating-point operations a second of a square float32 product."""
    a = torch.randn(2048, 2048)
    best = min(once(lambda: a @ a)[0] for _ in range(4))
    return 2 * 2048**3 / best


def neighbours(rounds: int) -> list[Line]:
    from sklearn.neighbors import KNeighborsClassifier

    x, y = layer(3, 10, n=2 * N)
    bank, queries, labels = x[:N], x[N:], y[:N]
    ks = [1, 2, 5, 10, 20, 50, 100]

    def ours() -> torch.Tensor:
        found = nearest_neighbours(queries, max(ks), bank)
        return votes(labels[found.indices], torch.ones_like(found.distances), 10, ks).argmax(1)

    def theirs() -> list[np.ndarray]:
        return [KNeighborsClassifier(k).fit(bank.numpy(), labels.numpy()).predict(queries.numpy()) for k in ks]

    times = alternate({"ours": ours, "peer": theirs}, rounds)
    guess, want = ours().numpy(), np.stack(theirs(), 1)
    agree = float((guess == want).mean())
    return [ratio(f"seven k, {N} x {N} x {D}: KNeighborsClassifier / ours", times["peer"], times["ours"], least=5,
                  note=f"predictions agree {agree:.4f}")]  # fmt: skip


def main() -> None:
    """Print every bar and record it."""
    torch.set_num_threads(1)
    steady_memory()
    lines: list[Line] = []
    for classes in (10, 100):
        lines += ridges(classes, rounds=3)
    lines += neighbours(rounds=2)
    for classes in (10, 100):
        lines += strengths_alone(classes, 0.01, rounds=3)
        lines += reference(classes)
    lines.append(grid(10, 0, GRID, least=8))
    lines.append(grid(10, 9, GRID, least=1))
    lines.append(grid(100, 6, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], least=1))
    lines.append(grid(100, 11, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], least=1))
    show("Probes", lines)
