"""Arrays from Python: what is read from any library, what is refused, and profiles of features that one has."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import repana
from repana import Activations, InputError

N = 60
X = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
Y = np.arange(N) % 3
NAMES = np.array(["cat", "dog", "eel"])[Y]
QUICK = {"permutations": 0, "bootstrap": 0}


def nc1(features, labels=Y):
    return float(repana.neural_collapse(features, labels, **QUICK).nc1)


def refused(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    return str(error.value)


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "features",
    [
        X.astype(">f4"), X.astype(">f8"), frozen(X), X[::1], np.asfortranarray(X), X.tolist(), pd.DataFrame(X),
        np.ma.masked_array(X, mask=False), X.astype(np.longdouble),
    ],
    ids=["big-endian", "big-endian double", "read-only", "view", "fortran", "list", "frame", "nothing masked", "long"],
)  # fmt: skip
def test_the_same_numbers_in_other_forms(features):
    assert nc1(features) == pytest.approx(nc1(X), rel=1e-6)


@pytest.mark.parametrize("labels", [Y.astype(">i8"), Y.astype(">i4"), frozen(Y), Y.astype(">f4"), pd.Series(NAMES)])
def test_the_same_labels_in_other_forms(labels):
    assert nc1(X, labels) == pytest.approx(nc1(X), rel=1e-12)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_eight_bits_are_widened_first(kind):
    small = torch.from_numpy(X).to(kind)
    assert nc1(small) == pytest.approx(nc1(small.float()), rel=1e-12)


def test_a_read_only_array_is_not_shared():
    array = frozen(X)
    made = Activations({"a": array}, Y)
    made["a"].zero_()
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (
            scipy.sparse.csr_matrix(X),
            "RA206: `features` is a sparse csr_matrix; expected a dense array: `features.toarray()`.",
        ),
        (
            pd.DataFrame({"a": X[:, 0], "b": NAMES}),
            "RA206: `features` is a DataFrame with columns that are no numbers; expected numbers alone: "
            "`features[columns].to_numpy()`.",
        ),
        (
            np.ma.masked_greater(X, 1.5),
            f"RA206: `features` is a masked array with {int((X > 1.5).sum())} masked value(s) of 300; expected values "
            "everywhere: drop those rows, or choose a value with `features.filled(...)`.",
        ),
        (
            X + 1j,
            "RA206: `features` is complex numbers; expected a dense array of real numbers: take its real and imaginary "
            "part as features.",
        ),
    ],
)
def test_refused_features(features, text):
    assert refused(nc1, features) == text


def test_masked_labels():
    assert refused(nc1, X, np.ma.masked_equal(Y, 2)) == (
        "RA203: `labels` is a masked array with 20 masked value(s) of 60; expected values everywhere: drop those rows, "
        "or choose a value with `labels.filled(...)`."
    )


# --- features that one has --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [X, torch.from_numpy(X), X.astype(">f4"), pd.DataFrame(X)])
def test_a_profile_of_arrays(array):
    report = repana.profile({"one": array, "two": array}, Y, analyzers="neural_collapse", **QUICK)
    assert report.layers == ("one", "two")
    assert [r.value for r in report.select("nc1")] == pytest.approx([nc1(X)] * 2)
    assert report.failures == ()
    assert report.provenance["data"] == "arrays"


def test_activations_of_arrays_number_their_samples():
    made = Activations({"l": torch.from_numpy(X)}, Y)
    assert (made.sample.tolist(), made.seen, made.complete) == (list(range(N)), N, True)
    assert repr(made) == "Activations(60 of 60 samples, 1 layers: l 5)"
    report = repana.profile(made, analyzers="fisher", **QUICK)
    assert {r.analyzer for r in report.rows} == {"fisher"}
    whole = repana.profile(Activations({"l": X}, Y), permutations=2, bootstrap=2)  # K17: every family
    assert {"neural_collapse", "probing", "dimension", "topology"} <= {r.analyzer for r in whole.rows}


def test_activations_of_arrays_are_saved(tmp_path):
    made = Activations({"l": X}, NAMES)
    back = Activations.load(made.save(tmp_path / "a"))
    torch.testing.assert_close(back["l"], torch.from_numpy(X))
    assert back.labels is not None
    assert (back.labels.tolist(), back.provenance["class_names"]) == (Y.tolist(), ["cat", "dog", "eel"])


def test_a_profile_of_arrays_without_labels():
    report = repana.profile({"l": X}, analyzers="spectrum", **QUICK)
    assert {r.analyzer for r in report.rows} == {"spectrum"}


@pytest.mark.parametrize("held_out", [({"l": X[:30]}, NAMES[:30]), Activations({"l": X[:30]}, NAMES[:30])])
def test_held_out_arrays(held_out):
    report = repana.profile({"l": X}, NAMES, analyzers="neural_collapse", held_out=held_out, **QUICK)
    assert report.splits == ("train", "held_out")
    assert report.provenance["splits"]["held_out"]["samples"] == 30


def test_held_out_names_have_the_numbers_of_the_training_data():
    """Without eels in between, a dog would be class 1 in one and class 0 in the other."""
    few = Y > 0
    report = repana.profile({"l": X}, NAMES, analyzers="neural_collapse", held_out=({"l": X[few]}, NAMES[few]), **QUICK)
    want = repana.neural_collapse(
        X[few], Y[few], reference=repana.Moments.of(torch.from_numpy(X), torch.from_numpy(Y)), **QUICK
    )
    got = [report.select("ncc_accuracy", split="held_out")[0].value]
    both = Activations({"l": X}, NAMES), Activations({"l": X[few]}, NAMES[few])
    report = repana.profile(both[0], analyzers="neural_collapse", held_out=both[1], **QUICK)
    got.append(report.select("ncc_accuracy", split="held_out")[0].value)
    assert got == pytest.approx([float(want.ncc_accuracy)] * 2)


@pytest.mark.parametrize(
    ("features", "labels", "options", "text"),
    [
        ({}, Y, {}, "RA205: `model` is an empty mapping; expected features by layer, such as {'layer1': x}."),
        (
            {"a": X, "b": X[:9]},
            Y,
            {},
            "RA201: the layers have different numbers of rows, 'a (60)', 'b (9)'; expected the same samples in each.",
        ),
        ({"a": X}, Y[:9], {}, "RA201: `labels` has shape (9,) and `features` has 60 rows; expected one label per row."),
        ({"a": X[0]}, Y, {}, "RA206: layer 'a' has shape (5,); expected (n, d), a row for each sample."),
        (
            {"a": scipy.sparse.csr_matrix(X)},
            Y,
            {},
            "RA206: `a` is a sparse csr_matrix; expected a dense array: `a.toarray()`.",
        ),
        (
            {"a": X},
            Y,
            {"pool": "avg"},
            "RA212: got 'pool', which say how to record, and features that are recorded.",
        ),
        (
            {"a": X},
            Y,
            {"held_out": X},
            "RA210: `held_out` is a ndarray; expected Activations, or a pair ({'layer1': x}, labels).",
        ),
        (
            {"a": X},
            NAMES,
            {"held_out": ({"a": X}, Y)},
            "RA203: the labels of `data` are names and those of `held_out` numbers; expected one kind.",
        ),
        (
            {"a": X},
            NAMES[NAMES != "eel"].repeat(2)[:N],
            {"held_out": ({"a": X}, NAMES)},
            "RA203: `held_out` has the class 'eel'; expected those of `data`: 'cat', 'dog'.",
        ),
    ],
)
def test_refused_mappings(features, labels, options, text):
    assert refused(repana.profile, features, labels, **options) == text


def test_layers_of_a_mapping_are_chosen_by_name():
    report = repana.profile({"a": X, "b": X}, Y, ["b"], "fisher", **QUICK)
    assert report.layers == ("b",)
    with pytest.raises(repana.ModelError, match="RA101: layer 'c' was not recorded; nearest: 'a', 'b'"):
        repana.profile({"a": X, "b": X}, Y, "c")


def test_labels_beside_activations_are_not_ignored():
    assert refused(repana.profile, Activations({"a": X}), Y) == (
        "RA212: got Activations and data; expected Activations with their labels: `Activations(features, labels)`."
    )


def test_labels_of_activations_that_do_not_fit():
    assert refused(Activations, {"a": X}, Y[:9]) == (
        "RA201: `labels` has shape (9,) and `features` has 60 rows; expected one label per row."
    )
    assert refused(Activations, {"a": X, "b": X[:9]}) == (
        "RA201: the layers have different numbers of rows, 'a (60)', 'b (9)'; expected the same samples in each."
    )
