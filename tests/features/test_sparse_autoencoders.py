"""Sparse autoencoders: files of the public packages, quality, matching and splicing against values of other code."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import repana
from repana.errors import FileError, InputError
from repana.features import (
    dictionary,
    dictionary_quality,
    importance,
    load_sae,
    match_dictionaries,
    sparse_autoencoder,
    splice,
)
from repana.features._match_dictionaries import largest_of_random

FILES = Path(__file__).parent / "autoencoders.zip"
FORMATS = (
    "sae_lens-standard", "sae_lens-standard_layer_norm", "sae_lens-standard_rescaled", "sae_lens-jumprelu",
    "sae_lens-topk", "sae_lens-topk_by_norm", "sae_lens-gated", "sae_lens-old", "dictionary_learning-standard",
    "dictionary_learning-gated", "dictionary_learning-jumprelu", "gemma_scope", "sparsify",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoders")
    shutil.unpack_archive(FILES, folder)
    return folder


def s1():
    r = np.random.default_rng(1)
    x = r.standard_normal((500, 8)) @ np.diag(1 / np.arange(1, 9)) + np.arange(8) / 2
    encoder, decoder = r.standard_normal((8, 24)), r.standard_normal((24, 8))
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    bias = r.standard_normal(24) * 0.1 - 1
    return x, encoder, decoder, {"encoder_bias": bias, "decoder_bias": x.mean(0) + r.standard_normal(8) * 0.05}


def of_kind(name):
    _, encoder, decoder, biases = s1()
    gated = {"gain": np.random.default_rng(101).standard_normal(24) * 0.1, "gate_bias": biases["encoder_bias"] + 0.2}
    more = {"jumprelu": {"threshold": 0.5}, "topk": {"k": 4}, "gated": gated}.get(name, {})
    return sparse_autoencoder(decoder, encoder, architecture=name, **biases, **more)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_codes_and_reconstructions_are_those_of_the_packages(files, name):
    """SAELens 6.54 and dictionary_learning 0.1 wrote and ran theirs; the others are the formula of the format."""
    expected = load_file(files / "expected.safetensors")
    sae = load_sae(files / name)
    norms = sae.atoms.norm(dim=1) if sae.by_norm else 1.0  # SAELens gives these codes for atoms of length 1
    assert (sae.codes(expected["x"]) * norms - expected[name]).abs().max() < 5e-6
    assert (sae.reconstruct(expected["x"]) - expected[f"{name}/out"]).abs().max() < 1e-5
    assert ((sae.codes(expected["x"]) != 0) == (expected[name] != 0)).all()


def test_the_layer_that_a_file_names_is_kept(files):
    assert load_sae(files / "sae_lens-topk").hook == "blocks.3.hook_resid_post"
    assert load_sae(files / "sae_lens-old").hook == "blocks.8.hook_resid_pre"
    assert load_sae(files / "dictionary_learning-gated").hook == "resid_post_layer_3"
    assert str(load_sae(files / "sparsify")) == "SparseAutoencoder(24 features of 8 units: topk)"


def arrays():
    _, encoder, decoder, biases = s1()
    return {"W_enc": encoder, "W_dec": decoder, "b_enc": biases["encoder_bias"], "b_dec": biases["decoder_bias"]}


def test_arrays_stand_either_way_round():
    x = s1()[0]
    turned = {**arrays(), "W_enc": arrays()["W_enc"].T, "W_dec": arrays()["W_dec"].T}
    first, second = (load_sae(given, architecture="standard") for given in (arrays(), turned))
    assert torch.equal(first.codes(x), second.codes(x))


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ({}, {}, "the mapping does not say its architecture"),
        ({}, {"architecture": "dense"}, "the architecture is 'dense'; expected one of standard"),
        ({}, {"architecture": "topk"}, "'topk' needs `k`"),
        ({}, {"architecture": "topk", "k": 25}, "`k` is 25; expected 1 to 24"),
        ({}, {"architecture": "jumprelu"}, "'jumprelu' needs `threshold`"),
        ({}, {"architecture": "gated"}, "'gated' needs `gate_bias`"),
        ({}, {"architecture": "batchtopk"}, "the codes of a row depend on its neighbours"),
        ({"W_dec": None}, {"architecture": "standard"}, "the mapping has no 'W_dec'; found"),
        ({"W_dec": np.ones((24, 7))}, {"architecture": "standard"}, r"'W_dec' of the mapping has shape \(24, 7\)"),
        ({"b_enc": np.full(24, np.nan)}, {"architecture": "standard"}, "has 24 values that are not finite"),
        ({"W_enc": np.ones((8, 8)), "W_dec": np.ones((8, 8)), "b_enc": np.ones(8)}, {"architecture": "standard"},
         "nothing says which axis of the encoder"),
        ({"b_enc": object()}, {"architecture": "standard"}, "'b_enc' is no array of numbers"),
    ],
)  # fmt: skip
def test_mappings_that_do_not_fit_are_refused(change, options, text):
    given = {k: v for k, v in {**arrays(), **change}.items() if v is not None}
    with pytest.raises(InputError, match=f"RA254: .*{text}"):
        load_sae(given, **options)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"normalize_activations": "expected_average_only_in"}, "'expected_average_only_in' needs `scale`"),
        ({"normalize_activations": "covariance_whitening"}, "rows were whitened in training"),
        ({"architecture": "temporal"}, "the architecture is 'temporal'"),
        ({"transcode": True}, "is a transcoder"),
        ({"d_in": 9}, r"has shape \(24, 8\); expected \(24, 9\)"),
    ],
)
def test_configurations_that_cannot_be_followed_are_refused(files, tmp_path, config, text):
    shutil.copytree(files / "sae_lens-standard", tmp_path / "sae")
    old = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps({**old, **config}))
    with pytest.raises(InputError, match=f"RA254: .*{text}"):
        load_sae(tmp_path / "sae")


def test_a_scale_that_a_file_does_not_hold_is_given():
    x, encoder, decoder, biases = s1()
    plain = sparse_autoencoder(decoder, encoder, **biases)
    scaled = sparse_autoencoder(decoder, encoder, normalization="expected_average_only_in", scale=2.0, **biases)
    assert torch.allclose(scaled.codes(x / 2), plain.codes(x))
    assert torch.allclose(scaled.reconstruct(x / 2), plain.reconstruct(x) / 2)


def test_files_that_cannot_be_read_are_named(files, tmp_path):
    with pytest.raises(FileError, match="RA301: .* has none of sae_weights.safetensors"):
        load_sae(tmp_path)
    shutil.copytree(files / "gemma_scope", tmp_path / "npz")
    whole = (tmp_path / "npz" / "params.npz").read_bytes()
    (tmp_path / "npz" / "params.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="RA301"):
        load_sae(tmp_path / "npz")
    shutil.copytree(files / "dictionary_learning-standard", tmp_path / "pickled")
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "pickled" / "ae.pt")
    with pytest.raises(FileError, match="allow_pickle"):
        load_sae(tmp_path / "pickled")
    save_file({"W_enc": torch.ones(8, 24)}, tmp_path / "sae.safetensors")
    with pytest.raises(InputError, match="has no 'W_dec'"):
        load_sae(tmp_path / "sae.safetensors", architecture="standard")


# --- quality ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("standard", (4.624, -4.2625016930, -3.5898201094, 1.2379535777, 0.9396620538, 1.0948410952, 0, 8.0729563650)),
        ("jumprelu", (2.516, -4.1742631487, -3.5532735962, 1.2363875024, 0.9411804067, 1.0959740833, 1, 7.9375937639)),
        ("topk", (2.996, -3.6028231330, -3.0416014148, 1.2168789038, 0.9460943884, 1.0925525735, 0, 7.0609745092)),
        ("gated", (4.656, -4.0494300604, -3.4751578793, 1.2354562739, 0.9421399488, 1.0990066306, 0, 7.7460931937)),
    ],
)
def test_quality_of_four_architectures(name, expected):
    """Computed by independent code in float64, of which the encoders agreed with SAELens."""
    x, sae = s1()[0], of_kind(name)
    found = dictionary_quality(sae, x)
    names = ("l0", "explained", "explained_centred", "bias_gamma", "cosine", "norm_ratio")
    got = [float(getattr(found, n)) for n in names]
    got += [float(found.dead) * 24, float(sae.left(x).square().sum(1).mean())]
    assert got == pytest.approx(expected, abs=1e-9)
    assert float(found.pca) == pytest.approx(0.9588143192, abs=1e-9) or name != "standard"
    assert float(found.units) == pytest.approx(0.9868281045, abs=1e-9) or name != "standard"
    assert float(found.density.sum()) == pytest.approx(float(found.l0))
    assert float(found.histogram.sum()) == 24
    assert sae.explained(x) == pytest.approx(float(found.explained))


@pytest.mark.parametrize(
    ("options", "explained", "l0"),
    [
        ({"centred": False}, -110.2252579727, 10.846),
        ({"normalization": "layer_norm"}, -94.9704395526, 9.614),
        ({"normalization": "constant_norm_rescale"}, -160.8074308772, 9.526),
    ],
)
def test_quality_with_normalised_rows(options, explained, l0):
    x, encoder, decoder, biases = s1()
    sae = sparse_autoencoder(decoder, encoder, **biases, **options)
    found = dictionary_quality(sae, x)
    assert (float(found.explained), float(found.l0)) == pytest.approx((explained, l0), abs=1e-8)
    if "normalization" in options:
        with pytest.raises(InputError, match="codes alone do not say"):
            sae.decode(sae.codes(x))


def test_geometry_of_the_atoms():
    found = dictionary_quality(of_kind("standard"), s1()[0], groups=np.arange(500) // 10)
    assert float(found.max_cosine.mean()) == pytest.approx(0.6964754599, abs=1e-9)
    assert float(found.encoder_cosine.mean()) == pytest.approx(0.0331065792, abs=1e-9)
    assert float(found.coherence) == pytest.approx(0.8779975953, abs=1e-9)
    assert float(found.welch) == pytest.approx(0.2948839123, abs=1e-9)
    assert float(found.unique_below) == pytest.approx((1 + 1 / 0.8779975953) / 2)
    error = (found.explained.high - found.explained.low) / 2 / 2.009575
    assert error == pytest.approx(0.3020715072, rel=1e-4)


X = torch.tensor([[1, -2, 0, 0.5], [0, 3, -1, 0], [2, 0, 0, -1], [-0.25, 0.75, 1.5, 0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "explained", "l0", "dead", "gamma"),
    [
        ({}, 1.0, 2.5, 0, 1.0),
        ({"encoder_bias": np.full(8, -0.5)}, 0.8863287250, 2.0, 2, 0.7528089888),
        ({"architecture": "topk", "k": 1}, 0.8095238095, 1.0, None, None),
    ],
)
def test_closed_forms(options, explained, l0, dead, gamma):
    eye = torch.eye(4, dtype=torch.float64)
    found = dictionary_quality(sparse_autoencoder(torch.cat([eye, -eye]), torch.cat([eye, -eye], 1), **options), X)
    assert float(found.explained) == pytest.approx(explained, abs=1e-9)
    assert float(found.l0) == l0
    if dead is not None:
        assert float(found.dead) * 8 == dead
        assert float(found.bias_gamma) == pytest.approx(gamma, abs=1e-9)
    if dead:
        assert found.dead.note == "0 in 4 rows: active in less than 0.75 of all (95%)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_mean_explains_nothing(dtype, offset):
    """Also where rows lie far from zero, in single precision, where two public packages give .90 and .94."""
    x = (torch.from_numpy(s1()[0]) + offset).to(dtype)
    nothing = sparse_autoencoder(torch.eye(8), lambda rows: torch.zeros(len(rows), 8), decoder_bias=x.double().mean(0))
    found = dictionary_quality(nothing, x)
    assert float(found.explained) == pytest.approx(0, abs=2e-3 if offset and dtype == torch.float32 else 1e-9)
    assert math.isnan(float(dictionary_quality(nothing, torch.ones(4, 8)).explained))


def test_rows_of_one_text_are_left_out_together():
    """Rows that repeat: as independent rows the interval is too narrow by the root of their number."""
    x = torch.from_numpy(s1()[0])[:100].repeat_interleave(10, 0)
    sae = of_kind("topk")
    alone, together = dictionary_quality(sae, x), dictionary_quality(sae, x, groups=np.arange(1000) // 10)
    narrow, wide = ((f.explained.high - f.explained.low) for f in (alone, together))
    assert float(alone.explained) == float(together.explained)
    assert wide > 0.9 * narrow
    shuffled = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    mixed = dictionary_quality(sae, x[shuffled]).explained
    assert wide > 2.2 * (mixed.high - mixed.low)


@pytest.mark.slow
def test_intervals_over_whole_texts_cover():
    """93 to 94 of 100 (300 draws of 60 and 200 texts of ten rows); as independent rows 67 to 70."""
    g = torch.Generator().manual_seed(0)
    encoder, decoder = torch.randn(8, 24, generator=g).double(), torch.randn(24, 8, generator=g).double()
    sae = sparse_autoencoder(decoder / decoder.norm(dim=1, keepdim=True) / 2, encoder / 2, architecture="topk", k=3)

    def drawn(texts, seed):
        g = torch.Generator().manual_seed(seed)
        middle = torch.randn(texts, 1, 8, generator=g).double() * torch.arange(1, 9) ** -0.5
        return (middle + 0.5 * torch.randn(texts, 10, 8, generator=g).double()).flatten(0, 1)

    truth = float(dictionary_quality(sae, drawn(20_000, 10**6)).explained)
    found = [dictionary_quality(sae, drawn(60, k), groups=np.arange(600) // 10).explained for k in range(100)]
    assert 0.87 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.99


@given(seed=st.integers(0, 2**16))
def test_order_of_features_and_their_scale_change_nothing(seed):
    g = torch.Generator().manual_seed(seed)
    x, encoder, decoder, biases = s1()
    order, c = torch.randperm(24, generator=g).numpy(), 0.5 + torch.rand(24, generator=g).double().numpy()
    plain = dictionary_quality(of_kind("jumprelu"), x)
    moved = sparse_autoencoder(
        (decoder / c[:, None])[order], (encoder * c)[:, order], architecture="jumprelu", threshold=(0.5 * c)[order],
        encoder_bias=(biases["encoder_bias"] * c)[order], decoder_bias=biases["decoder_bias"],
    )  # fmt: skip
    other = dictionary_quality(moved, x)
    for name in ("l0", "explained", "explained_centred", "bias_gamma", "cosine", "dead", "dense", "twins", "coherence"):
        assert float(getattr(other, name)) == pytest.approx(float(getattr(plain, name)), abs=1e-9), name


def test_quality_of_any_dictionary():
    x = torch.from_numpy(s1()[0])
    pca = dictionary(x, "pca", count=3)
    assert float(dictionary_quality(pca, x).explained) == pytest.approx(pca.explained(x))
    assert float(dictionary_quality(pca, x).explained) == pytest.approx(float(dictionary_quality(pca, x).pca))
    assert float(dictionary_quality(dictionary(x, "units"), x).explained) == pytest.approx(1.0)


def test_vectors_that_span_the_layer_say_so():
    """A decoder without its encoder writes every row by least squares, whatever it is."""
    x, _, decoder, _ = s1()
    words = dictionary(x, decoder)
    assert "spans the layer: explained is 1 for any such vectors" in repr(words)
    found = dictionary_quality(words, x)
    assert float(found.explained) == pytest.approx(1.0)
    assert repana.Flag.TRIVIAL in found.explained.flags if hasattr(repana, "Flag") else "spans" in found.explained.note
    assert "spans" not in repr(dictionary(x, decoder[:7]))
    assert "spans" not in repr(dictionary(x, decoder, encoder="nnls"))


def test_rows_that_do_not_fit_are_refused():
    sae = of_kind("standard")
    with pytest.raises(InputError, match="RA254: the dictionary has shape"):
        dictionary_quality(sae, torch.ones(5, 7))
    with pytest.raises(InputError, match="RA211: 1 rows; the quality of a dictionary needs at least 2"):
        dictionary_quality(sae, torch.ones(1, 8))
    with pytest.raises(InputError, match=r"the encoder gave \(5, 3\); expected a tensor \(5, 24\)"):
        sparse_autoencoder(s1()[2], lambda x: x[:, :3]).codes(torch.ones(5, 8))


# --- matching ---------------------------------------------------------------------------------------------------------


def test_two_dictionaries_are_matched():
    b = np.random.default_rng(201).standard_normal((27, 8))
    b[:12] = s1()[2][:12][::-1] + 0.1 * b[:12]
    found = match_dictionaries(of_kind("standard"), b, rotations=200)
    got = [float(v) for v in (found.max_cosine_ab, found.max_cosine_ba, found.matched, found.shared, found.random)]
    expected = (0.7926464417, 0.7945199828, 0.7507752336, 0.5416666667, 0.66149733)
    assert got == pytest.approx(expected, abs=1e-8)
    assert found.max_cosine_ab.null == pytest.approx(0.66, abs=0.01)
    assert found.matched.p == pytest.approx(1 / 201)
    assert float(found.unique) == len({int(k) for k in cosines(s1()[2], b).argmax(1)}) / 24
    itself = match_dictionaries(s1()[2], s1()[2][::-1].copy(), rotations=2)
    assert float(itself.matched) == pytest.approx(1.0)
    assert itself.pairs.tolist() == [[k, 23 - k] for k in range(24)]
    assert float(match_dictionaries(s1()[2], -s1()[2], absolute=True, rotations=0).matched) == pytest.approx(1.0)


def cosines(a, b):
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


@pytest.mark.parametrize(
    ("d", "t", "signed", "absolute"),
    [
        (64, 1024, 0.39355156, 0.41497722),
        (512, 4096, 0.15943461, 0.16707786),
        (768, 24576, 0.14610705, 0.15176650),
        (2304, 16384, 0.08261948, 0.08599289),
        (3, 2, 1 / 3, 2 / 3),
    ],
)
def test_the_largest_cosine_of_random_directions(d, t, signed, absolute):
    assert largest_of_random(d, t) == pytest.approx(signed, abs=6e-9)
    assert largest_of_random(d, t, absolute=True) == pytest.approx(absolute, abs=6e-9)


def test_a_greedy_matching_of_many_features_is_nearly_the_best(monkeypatch):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(60, 16, generator=g), torch.randn(60, 16, generator=g)
    exact = match_dictionaries(a, b, rotations=0)
    monkeypatch.setattr("repana.features._match_dictionaries.EXACT", 10)
    monkeypatch.setattr("repana.features._match_dictionaries.ROWS", 7)
    greedy = match_dictionaries(a, b, rotations=0)
    assert greedy.matched.note == f"greedy, of the 32 nearest: {len(greedy.pairs)} of 60 matched"
    assert float(exact.matched) - 0.06 < float(greedy.matched) <= float(exact.matched)
    assert len({int(k) for k in greedy.pairs[:, 1]}) == len(greedy.pairs) >= 58
    assert torch.allclose(greedy.best_ab, exact.best_ab)


def test_dictionaries_of_two_precisions_are_matched():
    a = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    one, other = (match_dictionaries(a, b, rotations=3) for b in (a.flip(0), a.flip(0).double()))
    assert float(one.matched) == pytest.approx(1.0, abs=1e-6)
    assert one.max_cosine_ab.null == pytest.approx(other.max_cosine_ab.null, abs=1e-6)


def test_features_without_a_direction_are_refused():
    with pytest.raises(InputError, match="RA254: feature 2 of 'b' is a row of zeros"):
        match_dictionaries(torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]))


# --- splicing ---------------------------------------------------------------------------------------------------------


class Planted(nn.Module):
    """y = tanh((h - b) A) B."""

    def __init__(self, a, b, shift):
        super().__init__()
        self.layer, self.one, self.two = (
            nn.Identity(),
            nn.Linear(16, 12).double(),
            nn.Linear(12, 5, bias=False).double(),
        )
        with torch.no_grad():
            self.one.weight.copy_(torch.from_numpy(a.T))
            self.one.bias.copy_(torch.from_numpy(-(shift @ a)))
            self.two.weight.copy_(torch.from_numpy(b.T))

    def forward(self, x):
        return self.two(torch.tanh(self.one(self.layer(x))))


@pytest.fixture(scope="module")
def p3():
    r = np.random.default_rng(3)
    n, d, t = 600, 16, 40
    atoms = r.standard_normal((t, d))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    z = np.zeros((n, t))
    for i in range(n):
        z[i, r.permutation(t)[:3]] = 1 + r.random(3)
    shift = np.full(d, 3 / np.sqrt(d))
    x = z @ atoms + shift + 0.02 * r.standard_normal((n, d))
    a, b = r.standard_normal((d, 12)), r.standard_normal((12, 5))
    y = (np.tanh((x - shift) @ a) @ b + 0.5 * r.standard_normal((n, 5))).argmax(1)
    assert y[:6].tolist() == [1, 1, 0, 1, 4, 3]
    sae = sparse_autoencoder(0.8 * atoms, atoms.T, architecture="jumprelu", threshold=0.55, decoder_bias=shift)
    return Planted(a, b, shift), [(torch.from_numpy(x), torch.from_numpy(y))], sae, atoms, shift


def test_splice_of_a_planted_layer(p3):
    net, data, sae, atoms, shift = p3
    quality = dictionary_quality(sae, data[0][0])
    assert (float(quality.explained), float(quality.l0)) == pytest.approx((-0.4780672823, 10.6516666667), abs=1e-9)
    found = splice(net, data, "layer", sae)
    names = ("clean", "spliced", "zero", "mean", "recovered_zero", "recovered", "kl", "kl_score", "agreement")
    expected = (0.4154087205, 1.0500784023, 5.6747567738, 1.9519025016, 0.8793254078, 0.5869363810, 0.5577315542,
                0.5681438765, 0.6316666667)  # fmt: skip
    assert [float(getattr(found, n)) for n in names] == pytest.approx(expected, abs=1e-7)
    assert float(splice(net, data, "layer", sae, reference="zero").recovered) == float(found.recovered_zero)
    assert found.recovered.low < float(found.recovered) < found.recovered.high
    tied = sparse_autoencoder(atoms, atoms.T, architecture="topk", k=3, decoder_bias=shift)
    quality = dictionary_quality(tied, data[0][0])
    assert (float(quality.explained), float(quality.bias_gamma)) == pytest.approx(
        (0.5093197587, 1.2702271842), abs=1e-9
    )


def test_with_its_error_kept_nothing_changes(p3):
    net, data, sae, *_ = p3
    found = splice(net, data, "layer", sae, keep_error=True)
    assert (found.losses[:, 0] - found.losses[:, 1]).abs().max() < 1e-13
    assert float(found.agreement) == 1.0
    assert float(found.recovered) == pytest.approx(1.0)
    single = splice(net.float(), [(data[0][0].float(), data[0][1])], "layer", sae, keep_error=True)
    net.double()
    assert (single.losses[:, 0] - single.losses[:, 1]).abs().max() < 1e-5


def test_importance_of_latents_for_the_loss(p3):
    net, data, sae, *_ = p3
    found = importance(net, data, "layer", sae, target="loss")
    total = float(found.absolute.sum())
    assert total == pytest.approx(3.6748023520, abs=1e-7)
    assert float(found.absolute.topk(4).values.sum()) / total == pytest.approx(0.1649254295, abs=1e-8)
    assert not any(m._forward_hooks for m in net.modules())


def test_importance_where_rows_are_normalised(p3):
    """Atoms count times the scale of each row: the derivative along a code is that of a small step of it."""
    net, data, _, atoms, shift = p3
    sae = sparse_autoencoder(
        atoms, atoms.T, threshold=0.2, architecture="jumprelu", decoder_bias=shift / 4, normalization="layer_norm"
    )
    x, y = data[0][0][:5], data[0][1][:5]
    found = importance(net, [(x, y)], "layer", sae, target=2)
    z, step = sae.codes(x), 1e-6
    j = int(z.abs().sum(0).argmax())
    moved = z.clone()
    moved[:, j] += step
    change = net(x + sae.decode_beside(moved, x) - sae.decode_beside(z, x))[:, 2] - net(x)[:, 2]
    assert torch.allclose(found.values[:, j], z[:, j] * change.detach() / step, atol=1e-4)


def test_splice_without_labels_still_compares_answers(p3):
    net, data, sae, *_ = p3
    found = splice(net, [data[0][0]], "layer", sae)
    assert math.isnan(float(found.recovered))
    assert "labels" in found.recovered.note
    assert float(found.kl) == pytest.approx(0.5577315542, abs=1e-7)
    given = splice(net, [data[0][0]], "layer", sae, loss=lambda output, batch: output.square().sum(1))
    assert float(given.clean) > 0
    with pytest.raises(InputError, match=r"`loss` gave \(\); expected a tensor \(600,\)"):
        splice(net, data, "layer", sae, loss=lambda output, batch: output.sum())
    with pytest.raises(InputError, match="RA254: the dictionary has shape"):
        splice(net, data, "one", sae)
