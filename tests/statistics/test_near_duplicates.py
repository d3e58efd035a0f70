"""Test samples that are nearly in the training split: said of copies, with noise and without, and of nothing else."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, make_swiss_roll

import repana
from repana.statistics.splits import Split


def copied(times, noise, n=1000):
    g = np.random.default_rng(0)
    x = np.repeat(g.normal(size=(n // times, 16)), times, 0)
    return x + noise * g.normal(size=x.shape), np.repeat(g.integers(0, 3, n // times), times)


def found(x, y=None):
    features, codes = torch.as_tensor(x).float(), None if y is None else torch.as_tensor(y)
    split = Split.of(codes, len(features))
    return split.straddling(features, codes) / len(split.test)


@pytest.mark.parametrize("times", [2, 5, 20])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_copies_are_found(times, noise):
    assert found(*copied(times, noise)) > 0.7


def test_some_copies_are_found():
    x, _ = copied(1, 0.0, 900)
    g = np.random.default_rng(1)
    assert found(np.r_[x, x[:100]]) == pytest.approx(0.15, abs=0.03)
    assert found(np.r_[x, x[:100] + 0.01 * g.normal(size=(100, 16))]) == pytest.approx(0.15, abs=0.03)


G = np.random.default_rng(2)
APART = {
    "digits": load_digits(return_X_y=True),
    "cells": load_breast_cancer(return_X_y=True),
    "plane": (G.normal(size=(2000, 2)),),
    "heavy tails": (G.standard_t(2, size=(1000, 10)),),
    "active units": (np.maximum(G.normal(size=(1000, 8)) @ G.normal(size=(8, 40)), 0),),
    "bits": (G.integers(0, 2, (1000, 20)),),
    "sheet": (make_swiss_roll(1500, random_state=0)[0],),
    "two scales": (np.r_[G.normal(size=(500, 3)), 0.001 * G.normal(size=(500, 3))],),
    "line and cloud": (np.r_[G.normal(size=(500, 1)) * np.eye(1, 10), G.normal(size=(500, 10))],),
}


@pytest.mark.parametrize("name", APART)
def test_nothing_is_found_among_samples_of_their_own(name):
    assert found(*APART[name]) < 0.01


@pytest.mark.parametrize(
    ("classes", "each", "spread"), [(200, 5, 0.01), (50, 20, 0.01), (10, 60, 1e-3), (10, 60, 1e-5)]
)
def test_collapsed_classes_are_no_copies(classes, each, spread):
    g = np.random.default_rng(0)
    y = np.repeat(np.arange(classes), each)
    assert found(g.normal(size=(classes, 16))[y] + spread * g.normal(size=(len(y), 16)), y) == 0


def test_the_probes_say_so():
    x, y = copied(5, 0.01)
    leaking = repana.probes.knn_probe(x, y).accuracy
    assert leaking.value > 0.9
    assert "near-duplicate" in leaking.note
    groups = repana.probes.knn_probe(x, y, groups=np.repeat(np.arange(200), 5)).accuracy
    assert groups.value < 0.6
    assert "near-duplicate" not in groups.note
