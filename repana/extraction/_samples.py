"""Real data that every machine has: hand-written digits, and sentences from the docstrings of installed packages."""

import ast
import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor

from repana.extraction import _data_refusals

HELD_OUT = 0.25
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """1797 hand-written digits (n, 1, 8, 8) with labels, three quarters to train on, one held out, split by class.

    Source: scikit-learn's copy of the test set of Alpaydin & Kaynak 1998, UCI Machine Learning Repository.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, target = load_digits(return_X_y=True)
    x = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16
    y = torch.from_numpy(target).long()
    seen, unseen = train_test_split(range(len(y)), test_size=HELD_OUT, random_state=0, stratify=target)
    return (x[seen], y[seen]), (x[unseen], y[unseen])


def docstrings(packages: tuple[str, ...], per_package: int = 400) -> tuple[list[str], list[int]]:
    """Sentences of 6 to 40 words from docstrings, labelled by the package they come from.

    Files are read as text, nothing is imported, and the same installation gives the same sentences.
    """
    texts: list[str] = []
    labels: list[int] = []
    for label, package in enumerate(packages):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise _data_refusals.package_missing(package)
        sentences: dict[str, None] = {}
        for file in sorted(Path(found.origin).parent.rglob("*.py")):
            sentences |= dict.fromkeys(_sentences(file))
            if len(sentences) >= 4 * per_package:
                break
        every = max(1, len(sentences) // per_package)
        chosen = list(sentences)[::every][:per_package]
        texts += chosen
        labels += [label] * len(chosen)
    return texts, labels


def _sentences(file: Path) -> list[str]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = (ast.get_docstring(node) or "").split("\n\n")[0]
            found += [" ".join(s.split()) for s in SENTENCE.split(first)]
    return [s for s in found if 6 <= len(s.split()) <= 40 and s[-1] == "." and ">>>" not in s]
