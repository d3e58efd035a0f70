"""Dictionaries in a profile, on the command line, in findings and in figures."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import repana
from repana import Estimate, Report, plots
from repana._results import row
from repana.features import dictionary, dictionary_quality, match_dictionaries, sparse_autoencoder, splice
from repana.features._dictionary_findings import differs

MODEL = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.blocks = nn.Embedding(23, 16), nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(16, 23)

    def forward(self, input_ids, attention_mask=None):
        h = self.words(input_ids)
        for block in self.blocks:
            h = block(h)
        return self.head(h)


def model():
    torch.manual_seed(0)
    return Words().eval()


def data():
    ids = torch.randint(0, 23, (60, 12), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids.split(20)]
"""


@pytest.fixture(scope="module")
def made():
    names: dict = {}
    exec(MODEL, names)
    return names["model"](), names["data"]()


def autoencoder(hook="", features=48, k=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(features, 16, generator=generator), dim=1)
    return sparse_autoencoder(atoms, atoms.T.clone(), architecture="topk", k=k, hook=hook)


def values(report, analyzer):
    return {(r.layer, r.quantity): r.value for r in report.rows if r.analyzer == analyzer}


@pytest.fixture(scope="module")
def report(made):
    model, data = made
    words = {"blocks.1": autoencoder("blocks.2.hook_resid_post"), "blocks.2": autoencoder("blocks.2.hook_resid_post")}
    return repana.profile(model, data, ["blocks.1", "blocks.2"], ["spectrum"], dictionaries=words, progress=False)


def test_rows_are_those_of_the_functions(made, report):
    """Of a token model every token is a row, though the profile's features are means."""
    model, data = made
    tokens = repana.record(model, data, ["blocks.1"], pool="tokens", progress=False)
    words = autoencoder()
    expected = dictionary_quality(words, tokens["blocks.1"], groups=tokens.sample.numpy())
    found = values(report, "dictionary_quality")
    for name in ("l0", "explained", "bias_gamma", "dead", "coherence"):
        assert found["blocks.1", name] == pytest.approx(getattr(expected, name).value)
    lost = splice(model, data, "blocks.1", words)
    for name in ("agreement", "kl"):
        assert values(report, "splice")["blocks.1", name] == pytest.approx(getattr(lost, name).value)
    assert report.array("dictionary_quality.density", "blocks.1").shape == (48,)
    assert {r.n for r in report.rows if r.quantity == "explained"} == {720}


def test_findings_read_the_rows(report):
    found = {f.code: f for f in report.findings()}
    assert found["RF605"].severity == "issue"  # random directions explain less than the units
    assert "blocks.1" in found["RF605"].text
    assert found["RF606"].severity in ("tip", "passed")
    assert found["RF609"].severity == "issue"
    assert "blocks.1 for blocks.2.hook_resid_post" in found["RF609"].text
    assert "blocks.2 for" not in found["RF609"].text
    assert {"RF607", "RF608"} <= set(found)
    assert all(bool(f.action) == (f.kind == "caution") for code, f in found.items() if "RF605" <= code <= "RF609")


def test_rules_at_their_thresholds():
    """Shrunk reconstructions, dead features, and a loss that is recovered where little is explained."""
    rows = {
        "explained": Estimate(0.3, 0.2, 0.4, 100), "units": Estimate(0.2, n=100), "pca": Estimate(0.5, n=100),
        "bias_gamma": Estimate(0.8, 0.7, 0.9, 100), "dead": Estimate(0.2, n=100),
    }  # fmt: skip
    made = [row("a", "train", "l1", 0, "dictionary_quality", name, e) for name, e in rows.items()]
    made.append(row("a", "train", "l1", 0, "splice", "recovered", Estimate(0.97, 0.96, 0.98, 50)))
    settings = {"dictionary_quality": {"dictionaries": {"l1": {"rows": 100, "hook": ""}}}}
    found = {f.code: f for f in Report(tuple(made), {}, {"run": "a", "settings": settings}).findings()}
    assert [found[f"RF60{k}"].severity for k in range(5, 10)] == ["passed", "tip", "tip", "tip", "not applicable"]
    assert "gamma 0.800 at l1" in found["RF607"].text
    assert "20% at l1 (in 100 rows)" in found["RF606"].text
    assert "Less than half of 'l1' is explained" in found["RF608"].text or "Less than half of l1" in found["RF608"].text


@pytest.mark.parametrize(
    ("layer", "hook", "expected"),
    [
        ("model.layers.6", "blocks.6.hook_resid_post", False),
        ("model.layers.5", "blocks.6.hook_resid_pre", False),
        ("model.layers.6:in[0]", "blocks.6.hook_resid_pre", False),
        ("model.layers.6", "blocks.6.hook_resid_pre", True),
        ("transformer.h.3", "blocks.8.hook_resid_post", True),
        ("model.layers.6.mlp", "blocks.6.hook_mlp_out", False),
        ("conv1", "blocks.6.hook_resid_post", False),
        ("model.layers.6", "", False),
    ],
)
def test_hooks_that_differ(layer, hook, expected):
    assert differs(layer, hook) is expected


def test_a_good_dictionary_passes(made):
    """Axes of the layer in both directions explain all of it."""
    model, data = made
    both = torch.cat([torch.eye(16), -torch.eye(16)])
    words = {"blocks.1": sparse_autoencoder(both, both.T.clone())}
    report = repana.profile(model, data, ["blocks.1"], ["spectrum"], dictionaries=words, progress=False)
    assert values(report, "dictionary_quality")["blocks.1", "explained"] == pytest.approx(1)
    assert values(report, "splice")["blocks.1", "agreement"] == 1
    found = {f.code: f.severity for f in report.findings()}
    assert found["RF607"] == "passed"
    assert found["RF609"] == "not applicable"


def test_without_dictionaries_nothing_changes(made):
    model, data = made
    report = repana.profile(model, data, ["blocks.1"], "all", permutations=0, progress=False)
    assert not values(report, "dictionary_quality")
    assert "dictionary_quality" not in report.provenance["analyzers"]
    assert not [f for f in report.findings() if "RF605" <= f.code <= "RF609"]


def test_one_wrong_dictionary_does_not_cost_the_others(made):
    model, data = made
    words = {
        "blocks.1": autoencoder(),
        "blocks.7": autoencoder(),
        "blocks.2": sparse_autoencoder(torch.eye(8), torch.eye(8)),
    }
    report = repana.profile(model, data, ["blocks.1", "blocks.2"], ["spectrum"], dictionaries=words, progress=False)
    assert ("blocks.1", "explained") in values(report, "dictionary_quality")
    assert any("blocks.7" in line and "RA101" in line for line in report.failures)
    assert any("blocks.2" in line and "dictionary_quality" in line for line in report.failures)
    other = repana.profile(model, data, ["blocks.1"], ["spectrum"], dictionaries={"blocks.1": "pca"}, progress=False)
    assert any("RA254: `dictionaries` has a str" in line for line in other.failures)
    pooled = repana.record(model, data, ["blocks.1"], progress=False)
    alone = repana.profile(pooled, analyzers=["spectrum"], dictionaries={"blocks.1": autoencoder()})
    assert any("RA254: layer 'blocks.1' was recorded with pool='mean'" in line for line in alone.failures)


def test_recorded_tokens_need_no_model(made):
    model, data = made
    tokens = repana.record(model, data, ["blocks.1"], pool="tokens", progress=False)
    report = repana.profile(tokens, analyzers=["spectrum"], dictionaries={"blocks.1": autoencoder()})
    assert values(report, "dictionary_quality")["blocks.1", "l0"] == 6
    assert not values(report, "splice")


def test_the_page_shows_them(report, tmp_path):
    page = report.to_html(tmp_path / "page.html").read_text()
    assert "Explained by the dictionary" in page
    assert "donoho2003optimally" in page


@pytest.mark.slow
def test_the_command_line(tmp_path):
    (tmp_path / "mine.py").write_text(MODEL)
    words = autoencoder()
    arrays = {"W_enc": words.encoder_weight, "W_dec": words.atoms, "b_enc": words.encoder_bias, "b_dec": words.mean}
    save_file({name: t.contiguous() for name, t in arrays.items()}, tmp_path / "sae.safetensors")
    line = [sys.executable, "-m", "repana", "sae", "mine.py:model", "-d", "mine.py:data", "--layer", "blocks.1"]
    done = subprocess.run(
        [*line, "--sae", "sae.safetensors", "--architecture", "topk", "--k", "6", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = values(repana.Report.load(tmp_path / "out" / "report"), "dictionary_quality")
    assert np.isfinite(found["blocks.1", "explained"])
    twice = subprocess.run(
        [*line, "--layer", "blocks.2", "--sae", "sae.safetensors"], cwd=tmp_path, capture_output=True, text=True
    )
    assert twice.returncode == 2
    assert "one autoencoder for each layer" in twice.stderr


def test_figures_show_the_numbers():
    x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    found = [dictionary_quality(autoencoder(k=k), x) for k in (2, 6)]
    axes = plots.dictionary(*found, names=("two", "six"))
    for one, name in zip(found, ("two", "six")):
        line = next(part for part in axes[1].get_lines() if part.get_label() == name)
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (one.l0.value, one.explained.value)
    bars = [bar for bars in axes[0].containers[:2] for bar in bars]
    assert sum(bar.get_height() for bar in bars) == 48  # every feature once
    alive = found[0].density[found[0].density > 0].log10()
    drawn = [bar for bar in axes[0].containers[0] if bar.get_height()]
    assert min(bar.get_x() for bar in drawn) <= float(alive.min()) <= max(bar.get_x() + 0.25 for bar in drawn)
    matched = match_dictionaries(autoencoder(seed=1), autoencoder(seed=2))
    ax = plots.matching(matched)
    best = next(line for line in ax.get_lines() if line.get_label() == "best cosine")
    assert best.get_ydata().tolist() == sorted(matched.best_ab.tolist(), reverse=True)
    with pytest.raises(repana.InputError, match="RA201"):
        plots.dictionary(*found, names=("one",))
    assert dictionary_quality(dictionary(x, "pca"), x).explained.value > 0.99
