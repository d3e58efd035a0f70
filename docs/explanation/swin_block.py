"""Draws how the labels of the axes pass through a Swin block: `python docs/explanation/swin_block.py`."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from torch import Tensor, nn

from repana.extraction.axes._book import Book
from repana.extraction.axes._labels import CONTRACTED, NORMED, PRODUCED, SAMPLE
from repana.extraction.axes._watch import AxisWatch, tensors_in

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

B, H, W, C, WINDOW, HEADS = 4, 8, 12, 16, 4, 2
SHOWN = {
    "native_layer_norm": "layer norm",
    "roll": "shift: roll",
    "permute": "permute",
    "view": "reshape",
    "_unsafe_view": "reshape",
    "addmm": "linear",
    "bmm": "product",
    "_softmax": "softmax",
    "add": "add",
}
COLOURS = {"b": "#d95f02", "h": "#1b9e77", "w": "#66a61e", "c": "#7570b3", "made": "#b8b3dd", "": "#bbbbbb"}


class SwinBlock(nn.Module):
    """Shifted windows, attention inside each, and the way back; the residual branch of a Swin transformer's block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = nn.LayerNorm(C), nn.Linear(C, 3 * C), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        n = WINDOW
        y = torch.roll(self.norm(x), (-n // 2, -n // 2), (1, 2))
        y = y.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        q, k, v = self.qkv(y).reshape(-1, n * n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(-1, n * n, c)
        y = self.proj(y).view(b, h // n, w // n, n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + torch.roll(y, (n // 2, n // 2), (1, 2))


class Rows(AxisWatch):
    """The watch, keeping what came out of each operation."""

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        self.rows: list[tuple[str, list[list[tuple[int, int]]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        name = func._schema.name.split("::")[-1].rstrip("_")
        for t in tensors_in(out)[:1]:
            known = self.book.known(t)
            if name in SHOWN and known.live:
                self.rows.append((SHOWN[name], [list(axis) for axis in known.axes]))
        return out


def watched() -> tuple[Book, list[tuple[str, list[list[tuple[int, int]]]]]]:
    """The rows of the picture: operations, and of each axis its factors."""
    torch.manual_seed(0)
    embed = nn.Conv2d(3, C, 1)
    block, x = SwinBlock().eval(), torch.randn(B, 3, H, W)
    book = Book([*embed.parameters(), *block.parameters()])
    watch = Rows(book)
    with torch.no_grad(), watch:
        book.enter({"image": x}, B, 0, late=[], never=[])
        block(embed(x).permute(0, 2, 3, 1))
    kept = [row for k, row in enumerate(watch.rows) if k == 0 or row != watch.rows[k - 1]]
    return book, kept


def letter(book: Book, label: int) -> str:
    """What a label is of."""
    facts, origins = book.labels.facts(label), book.labels.origins(((label, 2),))
    if facts & SAMPLE:
        return "b"
    place = next((i for _, i in origins), None)
    if place in (2, 3):
        return "h" if place == 2 else "w"
    return "c" if facts & (NORMED | CONTRACTED) else "made" if facts & PRODUCED else ""


def main() -> None:
    book, rows = watched()
    figure, axes = plt.subplots(figsize=(6.75, 0.235 * len(rows) + 0.9), layout="constrained")
    for k, (name, factors) in enumerate(rows):
        axes.text(-0.15, -k, name, ha="right", va="center", fontsize=7)
        for i, axis in enumerate(factors):
            total = max(len(axis), 1)
            for j, (label, size) in enumerate(axis or [(0, 1)]):
                what = letter(book, label)
                left, width = 1.45 * i + 1.3 * j / total, 1.3 / total
                axes.add_patch(plt.Rectangle((left, -k - 0.38), width, 0.76, fc=COLOURS[what], ec="white", lw=0.8))
                shown = {"made": "c", "": ""}.get(what, what)
                axes.text(left + width / 2, -k, f"{shown} {size}".strip(), ha="center", va="center",
                          fontsize=5.4 if total > 4 else 6.5)  # fmt: skip
    axes.set(xlim=(-1.9, 1.45 * 6), ylim=(-len(rows) + 0.4, 0.9))
    axes.axis("off")
    handles = [plt.Rectangle((0, 0), 1, 1, fc=COLOURS[k]) for k in ("b", "h", "w", "c", "made")]
    words = ["samples", "rows of the image", "columns", "features (made and normed by weights)", "made by weights"]
    axes.legend(handles, words, loc="upper center", bbox_to_anchor=(0.5, 1.03), ncols=5, frameon=False, fontsize=6.5,
                handlelength=1, columnspacing=1)  # fmt: skip
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=200)


if __name__ == "__main__":
    main()
