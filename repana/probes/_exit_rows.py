"""What every layer answers, row by row, and what is read of it: agreement, divergence, when answers settle, exits."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag
from repana._typing import IGNORED
from repana.statistics.resampling import resampled

NUMBERS = 2**25  # logits worked on at a time


@dataclass(frozen=True)
class AnswerRows:
    """Of every layer (k, n): the answer, KL(final || layer) and KL(layer || final), entropy, and the loss of the label,
    in nats. The last layer is the model's own answer. `label` (n,) IGNORED where there is none; `token` the input
    token, -1 without; `sample` which text each row is of; `mean` (v,) the mean final distribution."""

    answer: Int[Tensor, "k n"]
    kl: Float[Tensor, "k n"]
    reverse: Float[Tensor, "k n"]
    entropy: Float[Tensor, "k n"]
    loss: Float[Tensor, "k n"]
    label: Int[Tensor, " n"]
    token: Int[Tensor, " n"]
    sample: Int[Tensor, " n"]
    mean: Float[Tensor, " v"]

    @classmethod
    def of(
        cls,
        layers: Iterable[Float[Tensor, "n v"]],
        final: Float[Tensor, "n v"],
        label: Int[Tensor, " n"] | None = None,
        token: Int[Tensor, " n"] | None = None,
        sample: Int[Tensor, " n"] | None = None,
    ) -> "AnswerRows":
        """From the logits of each layer, one layer at a time, and the model's own."""
        n, v = final.shape
        label = torch.full((n,), IGNORED, device=final.device) if label is None else label.to(final.device)
        token = torch.full((n,), -1) if token is None else token
        sample = torch.arange(n) if sample is None else sample
        size = max(1, NUMBERS // v)
        mean = torch.zeros(v, dtype=torch.float64, device=final.device)
        for at in range(0, n, size):
            mean += final[at : at + size].double().softmax(1).sum(0)
        found = []
        for z in itertools.chain(layers, [final]):
            parts = [
                _of_layer(z[at : at + size], final[at : at + size].double().log_softmax(1), label[at : at + size])
                for at in range(0, n, size)
            ]
            found.append(torch.cat(parts, 1).cpu())
        columns = torch.stack(found, 1)
        names = ("answer", "kl", "reverse", "entropy", "loss")
        values = dict(zip(names, columns))
        values["answer"] = values["answer"].long()
        mean = (mean / max(n, 1)).cpu()
        return cls(**values, label=label.cpu(), token=token.cpu(), sample=sample.cpu(), mean=mean)

    @classmethod
    def joined(cls, parts: Sequence["AnswerRows"]) -> "AnswerRows":
        counts = torch.tensor([float(p.answer.shape[1]) for p in parts], dtype=torch.float64)
        rows = {
            name: torch.cat([getattr(p, name) for p in parts], -1)
            for name in ("answer", "kl", "reverse", "entropy", "loss", "label", "token", "sample")
        }
        means = torch.stack([p.mean for p in parts])
        return cls(**rows, mean=(counts[:, None] * means).sum(0) / counts.sum().clamp_min(1))

    @property
    def n(self) -> int:
        return self.answer.shape[1]

    @property
    def labelled(self) -> bool:
        return bool((self.label != IGNORED).any())

    @property
    def group(self) -> Int[Tensor, " n"] | None:
        """The text of each row, where texts have several rows."""
        return self.sample if len(self.sample.unique()) < self.n else None


def _of_layer(z: Tensor, final: Float[Tensor, "r v"], label: Int[Tensor, " r"]) -> Float[Tensor, "five r"]:
    p = z.double().log_softmax(1)
    own = p.gather(1, label.clamp_min(0)[:, None])[:, 0]
    return torch.stack([
        z.argmax(1).double(),
        (final.exp() * (final - p)).sum(1),
        (p.exp() * (p - final)).sum(1),
        -(p.exp() * p).sum(1),
        torch.where(label == IGNORED, torch.zeros_like(own), -own),
    ])  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What is measured of rows with one level and seed: every estimate on the same resample of texts."""

    rows: AnswerRows
    level: float
    seed: int

    def mean(self, values: Shaped[Tensor, " n"], null: float = NAN, note: str = "") -> Estimate:
        found = resampled(values.double()[:, None], None, self.rows.group, level=self.level, seed=self.seed, note=note)
        return Estimate(found.value, found.low, found.high, found.n, found.note, null=null)

    def of_labelled(self, values: Shaped[Tensor, " n"], null: float = NAN) -> Estimate:
        """The mean over rows with a label."""
        known = self.rows.label != IGNORED
        if not bool(known.any()):
            return Estimate(NAN, n=self.rows.n, note=Flag.MISSING_INPUT.note("no labels"))
        columns = torch.stack([torch.where(known, values.double(), 0.0), known.double()], 1)
        found = resampled(
            columns, None, self.rows.group, level=self.level, seed=self.seed, statistic=lambda s: s[..., 0] / s[..., 1]
        )
        return Estimate(found.value, found.low, found.high, int(known.sum()), found.note, null=null)

    def by_layer(self, names: Sequence[str]) -> dict[str, dict[str, Estimate]]:
        """Agreement, divergences, entropy, accuracy, cross-entropy and echo of each layer."""
        rows, final = self.rows, self.rows.answer[-1]
        commonest = float(torch.bincount(final).max()) / rows.n
        mean = rows.mean
        constant = float(-(mean * mean.clamp_min(1e-300).log()).sum()) - float(rows.entropy[-1].mean())
        known = rows.label != IGNORED
        share = float(torch.bincount(rows.label[known]).max()) / int(known.sum()) if bool(known.any()) else NAN
        found: dict[str, dict[str, Estimate]] = {name: {} for name in QUANTITIES}
        for k, name in enumerate(names):
            found["agreement"][name] = self.mean(rows.answer[k] == final, commonest)
            found["kl"][name] = self.mean(rows.kl[k].clamp_min(0), constant)
            found["reverse_kl"][name] = self.mean(rows.reverse[k].clamp_min(0))
            found["entropy"][name] = self.mean(rows.entropy[k])
            found["accuracy"][name] = self.of_labelled(rows.answer[k] == rows.label, share)
            found["cross_entropy"][name] = self.of_labelled(rows.loss[k])
            echo = bool((rows.token >= 0).all())
            found["echo"][name] = (
                self.mean(rows.answer[k] == rows.token)
                if echo
                else Estimate(NAN, n=rows.n, note=Flag.NOT_APPLICABLE.note("answers are no tokens of the input"))
            )
        return found

    def settled(self) -> tuple[Estimate, Int[Tensor, " k"]]:
        """The first layer from which the answer stays that of the end, from 0; and how many rows settle at each."""
        same = self.rows.answer == self.rows.answer[-1]
        stays = same.flip(0).long().cumprod(0).flip(0).bool()
        first = stays.long().argmax(0)
        shares = same.double().mean(1)[:-1]
        independent = float(sum(1 - float(shares[at:].prod()) for at in range(len(shares))))
        return self.mean(first, independent), torch.bincount(first, minlength=len(same))

    def right_where(self) -> dict[str, Estimate]:
        """Shares of labelled rows: right before the end and wrong there, right only there, right anywhere."""
        right = self.rows.answer == self.rows.label
        earlier, end = right[:-1].any(0), right[-1]
        known = self.rows.label != IGNORED
        chance = NAN
        if bool(known.any()):
            chance = 1 - float((1 - right[:, known].double().mean(1)).prod())
        return {
            "overthinking": self.of_labelled(earlier & ~end),
            "late": self.of_labelled(end & ~earlier),
            "oracle": self.of_labelled(earlier | end, chance),
        }

    def patience(self, blocks: int) -> tuple["PatiencePoint", ...]:
        """Exits after p equal answers in a row, among the last `blocks` layers; without labels by agreement."""
        answer = self.rows.answer[-blocks:]
        truth, keep = self.rows.answer[-1], torch.ones(self.rows.n, dtype=torch.bool)
        if self.rows.labelled:
            truth, keep = self.rows.label, self.rows.label != IGNORED
        answer, truth = answer[:, keep], truth[keep]
        right = (answer == truth).double()
        accuracy = right.mean(1).numpy()
        found = []
        for p in range(1, blocks):
            at = _stopped(answer, p)
            mean = float(at.double().mean()) + 1
            share = torch.bincount(at, minlength=blocks).double().numpy() / len(at)
            found.append(
                PatiencePoint(
                    p,
                    mean,
                    float(right.gather(0, at[None])[0].mean()),
                    float(np.interp(mean, np.arange(1, blocks + 1), accuracy)),
                    float(share @ accuracy),
                )
            )
        return tuple(found)


QUANTITIES = ("agreement", "kl", "reverse_kl", "entropy", "accuracy", "cross_entropy", "echo")


@dataclass(frozen=True)
class PatiencePoint:
    """Leaving a network after `patience` equal answers in a row: the mean number of `layers`, the `accuracy`, that of
    a fixed layer at that depth (`static`), and that of the same exits dealt to other rows (`null`)."""

    patience: int
    layers: float
    accuracy: float
    static: float
    null: float


def _stopped(answer: Int[Tensor, "k n"], patience: int) -> Int[Tensor, " n"]:
    """Where each row stops, from 0: the first layer at which so many answers in a row equal the one before; else the
    last."""
    last = len(answer) - 1
    at = torch.full((answer.shape[1],), last)
    count = torch.zeros(answer.shape[1], dtype=torch.int64)
    open_ = torch.ones(answer.shape[1], dtype=torch.bool)
    for k in range(1, last + 1):
        count = torch.where(answer[k] == answer[k - 1], count + 1, 0)
        now = open_ & (count == patience)
        at[now] = k
        open_ &= ~now
    return at
