"""How the routers of a mixture of experts distribute tokens: load, certainty, and what experts know of classes."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._numbers import number
from repana._typing import IGNORED
from repana.extraction._answers import token_ids
from repana.extraction._batch_masks import check_rows
from repana.extraction._batches import Batch, Forward, run
from repana.extraction._data import samples_of, stream
from repana.extraction._options import Options
from repana.extraction._parts import watch_routers
from repana.extraction._plan import masks_used
from repana.extraction._routers import Routed, routed
from repana.extraction._session import Session, session, unwrap
from repana.extraction._tree import is_empty, leaves
from repana.heads import _refusals
from repana.heads._planned_parts import planned_parts
from repana.heads._router_statistics import (
    OF_LABELS,
    QUANTITIES,
    VALUES,
    RouterRows,
    RouterSums,
    adjusted,
    adjusted_of,
    log_probabilities,
)
from repana.statistics.resampling import FEWEST_GROUPS, bootstrap_weights, percentiles, with_percentiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SEEN = 3.0  # an expert never chosen in m choices takes less than 3/m of all (95%)


@shown
@dataclass(frozen=True)
class RouterUse:
    """How one router distributes tokens; see `routing`. `load`, `importance`, `gate` (e,); `table` (e, c): first
    choices by class."""

    cv: Estimate
    effective: Estimate
    maximum: Estimate
    balance: Estimate
    dead: Estimate
    row_entropy: Estimate
    mean_entropy: Estimate
    mutual: Estimate
    purity: Estimate
    uncertainty: Estimate
    adjusted: Estimate
    of_word: Estimate
    of_position: Estimate
    load: Float[Tensor, " e"]
    importance: Float[Tensor, " e"]
    gate: Float[Tensor, " e"]
    table: Float[Tensor, "e c"]


@dataclass(frozen=True, repr=False)
class Routing:
    """How every router of a network distributes tokens, each on its own; see `routing`."""

    routers: Mapping[str, RouterUse]
    classes: tuple[str, ...]
    tokens: int
    texts: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, router: str) -> RouterUse:
        if router not in self.routers:
            raise _check.not_recorded(router, list(self.routers))
        return self.routers[router]

    def __iter__(self) -> Iterator[str]:
        return iter(self.routers)

    def __len__(self) -> int:
        return len(self.routers)

    def frame(self) -> "pd.DataFrame":
        """A line for each router and quantity: value, low, high, null, p, n, note."""
        import pandas as pd

        columns = ("value", "low", "high", "null", "p", "n", "note")
        rows = [
            (name, q, *(getattr(getattr(use, q), c) for c in columns))
            for name, use in self.routers.items()
            for q in QUANTITIES
            if Flag.NOT_APPLICABLE not in getattr(use, q).flags
        ]
        return pd.DataFrame(rows, columns=["router", "quantity", *columns])

    def plot(self, **options: Any) -> "Figure":
        """Load by expert and depth; see `repana.plots.expert_load`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.expert_load(self, **options))

    def __repr__(self) -> str:
        lines = [f"Routing({len(self.routers)} routers, {self.tokens} tokens of {self.texts} texts)"]
        wide = max(map(len, self.routers))
        shown_ = ("effective", "maximum", "dead", "row_entropy", "purity")
        lines.append(f"  {'':<{wide}}  " + "  ".join(f"{q:>11}" for q in shown_))
        for name, use in self.routers.items():
            cells = (number(getattr(use, q).value) for q in shown_)
            lines.append(f"  {name:<{wide}}  " + "  ".join(f"{c:>11}" for c in cells))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@settled()
def routing(
    model: nn.Module,
    data: Any,
    *,
    routers: Sequence[str] | None = None,
    k: int | None = None,
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    batch_size: int = 16,
    permutations: int = 199,
    level: float = 0.95,
    seed: int = 0,
) -> Routing:
    """How the routers of a mixture of experts distribute the real tokens of `data`, each router on its own.
    (Pooled over layers, routers that are each collapsed on experts of their own look balanced.)

    A router is a module that gives scores (tokens, e), chosen experts (tokens, k) and their weights (tokens, k), as
    those of transformers do. `routers` names modules that give scores alone, of which the `k` largest are taken. Rows
    of scores that are not negative and sum to 1 are read as probabilities. With n tokens:

    - `load` (e,): share of the n k assignments; `importance` (e,): mean probability; `gate` (e,): mean of the weights
      of the chosen, brought to a sum of 1.
    - `cv`: deviation over mean of the load (ddof 0), null sqrt((e - 1)/(n k)), what even choices give;
      `effective` = exp(entropy of the load), null e; `maximum` = e max load and `balance` = e sum load importance,
      null 1, lower is better (the auxiliary loss of transformers is k times `balance`).
    - `dead`: share of experts that no token chose, of which each still takes less than 3/(n k) of all (95%).
    - `row_entropy`: mean entropy of a token's probabilities, nats; `mean_entropy`: entropy of their mean; `mutual`:
      their difference, the mutual information of token and expert.
    - `purity`: share of tokens whose class is the commonest of their first expert; `uncertainty`: mutual information of
      first expert and class over the entropy of classes; `adjusted`: both less what fixed margins give by chance
      (scikit-learn's norm is the mean of both entropies, here that of classes).
      `of_word`, `of_position`: `adjusted` with the token's number in the vocabulary, or its position among the real
      tokens, in the place of the expert: where a class is known from these, an expert that follows them knows it. Null
      of purity and uncertainty: `permutations` of the labels, of whole texts where they are constant in each; purity
      rises with e by itself.

    `labels`: of texts (b,) or of tokens (b, t), as `record` takes them. Interval: bootstrap of texts, 3 or more. The
    model is left as it was, also after an error.

    Raises ModelError (RA135) where no router is found, or one that is named gives something else.

    Sources: Shazeer et al. 2017, arXiv:1701.06538 (load, importance, there with ddof 1); Fedus et al. 2022,
    arXiv:2101.03961 (balance); Hubert & Arabie 1985, doi:10.1007/BF01908075, and Vinh et al. 2010,
    jmlr.org/papers/v11/vinh10a.html (adjustment for chance).
    """
    _check.level_of(level)
    permutations = _check.at_least(permutations, "permutations", 0)
    inner, taken = unwrap(model)
    layers = "*#router" if routers is None else list(routers)
    options = Options.of(inner, layers, pool="mean", device=device, forward=forward, labels=labels, mask=mask)
    first, raws, _ = stream(data, batch_size)
    with session(inner, options.device, None) as live:
        planned, options = planned_parts(
            live, first, options, taken, samples_of(data), lambda: _refusals.no_router(list(routers or ()))
        )
    keys = {p.site.module.removesuffix("#router"): next(iter(p.pooling.masks.values()), None) for p in planned.layers}
    found: dict[str, list[RouterRows]] = {}
    texts = 0
    with session(inner, options.device, None) as live:
        seen = _watched(live, routers, k)
        for number, raw in enumerate(raws):
            if is_empty(raw):
                continue
            batch = options.intake.unpack(raw).to(options.device)
            check_rows(batch.masks, masks_used(planned.layers), number, empty=True)
            seen.clear()
            run(inner, batch, options.intake.forward)
            for name, calls in seen.items():
                if name in keys:
                    found.setdefault(name, []).extend(_rows(name, given, batch, keys[name], texts) for given in calls)
            texts += batch.size
    if not found:
        raise _refusals.no_router(list(routers or ()))
    together = {name: _joined(parts) for name, parts in found.items()}
    codes = torch.unique(torch.cat([r.label for r in together.values()]))
    values = codes[codes >= 0].tolist()
    settings = {"level": level, "seed": seed, "permutations": permutations}
    uses = {name: _use(_renumbered(r, values), texts, len(values), settings) for name, r in together.items()}
    tokens = max(len(r.text) for r in together.values())
    return Routing(uses, tuple(map(str, values)), tokens, texts, settings)


def _watched(live: Session, routers: Sequence[str] | None, k: int | None) -> dict[str, list[Routed]]:
    """What every router gave in the calls of the last pass, by module."""
    seen: dict[str, list[Routed]] = {}
    if routers is None:
        watch_routers(live, lambda name, found: seen.setdefault(name, []).append(found))
        return seen
    modules = dict(live.model.named_modules())
    for name in routers:
        if name not in modules:
            raise _check.not_recorded(name, list(modules))

        def keep(module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            found = routed(args, output)
            seen.setdefault(name, []).append(_scores_alone(name, output, k) if found is None else found)

        live.hook(modules[name], keep)
    return seen


def _scores_alone(name: str, output: Any, k: int | None) -> Routed:
    scores = next((t for _, t in leaves(output) if t.is_floating_point() and t.ndim >= 2), None)
    if scores is None:
        raise _refusals.no_scores(name)
    if k is None:
        raise _refusals.how_many_experts(name)
    flat = scores.reshape(-1, scores.shape[-1])
    if not 1 <= k < flat.shape[1]:
        raise _refusals.too_many_experts(k, flat.shape[1])
    weights, chosen = log_probabilities(flat).exp().topk(k, dim=1)
    return Routed(flat, chosen, weights)


def _rows(name: str, given: Routed, batch: Batch, key: str | None, start: int) -> RouterRows:
    """The real tokens of one call."""
    scores, chosen, weights = (t.detach().cpu() for t in (given.scores, given.chosen, given.weights))
    n, b = len(scores), batch.size
    if n % b:
        raise _refusals.rows_of_a_router(name, n, b)
    t = n // b
    mask = None if key is None else batch.masks[key].cpu().bool()
    real = mask if mask is not None and tuple(mask.shape) == (b, t) else torch.ones(b, t, dtype=torch.bool)
    label = torch.full((b, t), -1)
    y = batch.labels
    if y is not None and not y.is_floating_point() and tuple(y.shape) in ((b,), (b, t)):
        label = (y[:, None] if y.ndim == 1 else y).long().cpu().expand(b, t)
        label = torch.where(label == IGNORED, -1, label)
    text = torch.arange(start, start + b)[:, None].expand(b, t)
    ids = token_ids(batch, t)
    word = torch.full((b, t), -1) if ids is None else ids.cpu()
    at = real.flatten()
    of_tokens = (text, label, word, real.long().cumsum(1) - 1)
    return RouterRows(log_probabilities(scores)[at], chosen[at], weights[at], *(x.flatten()[at] for x in of_tokens))


def _joined(parts: list[RouterRows]) -> RouterRows:
    names = [f.name for f in fields(RouterRows)]
    return RouterRows(*(torch.cat([getattr(p, name) for p in parts]) for name in names))


def _renumbered(rows: RouterRows, values: list[int]) -> RouterRows:
    """With classes from 0."""
    label = torch.full_like(rows.label, -1)
    for code, value in enumerate(values):
        label[rows.label == value] = code
    return replace(rows, label=label)


def _use(rows: RouterRows, texts: int, classes: int, settings: Mapping[str, Any]) -> RouterUse:
    n, e = rows.log_p.shape
    k = rows.chosen.shape[1]
    sums = RouterSums.of(rows, texts, classes)
    whole = sums.weighted(torch.ones(1, texts, dtype=torch.float64))
    weights = list(bootstrap_weights(texts, None, None, settings["seed"])) if texts >= FEWEST_GROUPS else []
    drawn = [sums.weighted(w) for w in weights]
    nulls = {
        "cv": ((e - 1) / (n * k)) ** 0.5, "effective": float(e), "maximum": 1.0, "balance": 1.0, "mutual": 0.0,
        "row_entropy": float(np.log(e)), "mean_entropy": float(np.log(e)), "adjusted": 0.0,
    }  # fmt: skip
    found: dict[str, Estimate] = {}
    for q, value_of in VALUES.items():
        if q in OF_LABELS and classes < 2:
            continue
        value = float(value_of(whole)[0])
        found[q] = Estimate(value, n=n, null=nulls.get(q, NAN))
        if drawn:
            replicates = torch.cat([value_of(d) for d in drawn])
            inside = with_percentiles(value, replicates[replicates.isfinite()].numpy(), n, settings["level"])
            found[q] = replace(inside, null=nulls.get(q, NAN))
    dead = int((whole.assigned == 0).sum())
    note = Flag.FEW_SAMPLES.note(f"each takes less than {SEEN / (n * k):.2g} of all choices (95%)") if dead else ""
    found["dead"] = Estimate(dead / e, n=n, note=note)
    if classes >= 2:
        found |= _against_labels(rows, found, whole, classes, settings)
    absent = Estimate(NAN, n=n, note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
    return RouterUse(
        **{q: found.get(q, absent) for q in QUANTITIES},
        load=whole.loads()[0],
        importance=whole.probability[0] / n,
        gate=whole.weight[0] / n,
        table=whole.table[0],
    )


def _against_labels(
    rows: RouterRows, found: Mapping[str, Estimate], whole: RouterSums, classes: int, settings: Mapping[str, Any]
) -> dict[str, Estimate]:
    """Purity and uncertainty beside permuted labels, and mutual information beyond chance."""
    known = rows.label >= 0
    first, label, text = rows.first[known], rows.label[known], rows.text[known]
    e = rows.log_p.shape[1]
    generator = torch.Generator().manual_seed(settings["seed"])
    of_text = _of_texts(label, text)
    drawn: dict[str, list[float]] = {"purity": [], "uncertainty": []}
    for _ in range(settings["permutations"]):
        mixed = _permuted(label, text, of_text, generator)
        table = torch.bincount(first * classes + mixed, minlength=e * classes).double().view(1, e, classes)
        for q, values in drawn.items():
            s = replace(whole, table=table)
            values.append(float(VALUES[q](s)[0]))
    made: dict[str, Estimate] = {}
    for q, values in drawn.items():
        if not values:
            continue
        low, high = percentiles(np.array(values), settings["level"])
        p = (1 + sum(v >= found[q].value for v in values)) / (1 + len(values))
        made[q] = replace(
            found[q], null=float(np.mean(values)), null_low=low, null_high=high, p=p,
            permutations=len(values),
        )  # fmt: skip
    made["adjusted"] = Estimate(adjusted(whole.table[0])[0], n=int(known.sum()), null=0.0)
    for q, group in (("of_word", rows.word), ("of_position", rows.position)):
        value = adjusted_of(group[known], label, classes)
        note = Flag.NOT_APPLICABLE.note("the batches have no token numbers") if value != value else ""
        made[q] = Estimate(value, n=int(known.sum()), note=note, null=0.0)
    return made


def _of_texts(label: Int[Tensor, " n"], text: Int[Tensor, " n"]) -> Int[Tensor, " g"] | None:
    """The class of each text, where it is constant in every one of several tokens; else None."""
    names, at, counts = torch.unique(text, return_inverse=True, return_counts=True)
    first = torch.zeros(len(names), dtype=torch.int64)
    first[at.flip(0)] = label.flip(0)
    return first if bool((first[at] == label).all()) and int(counts.max()) > 1 else None


def _permuted(
    label: Int[Tensor, " n"], text: Int[Tensor, " n"], of_text: Int[Tensor, " g"] | None, generator: torch.Generator
) -> Int[Tensor, " n"]:
    if of_text is None:
        return label[torch.randperm(len(label), generator=generator)]
    at = torch.unique(text, return_inverse=True)[1]
    return of_text[torch.randperm(len(of_text), generator=generator)][at]
