"""Answers at every layer: reference values, six language models, the fitted lens, probes, exits, and refusals."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
)

import repana
from repana import plots
from repana.errors import InputError, ModelError
from repana.probes import exits
from repana.probes._exit_rows import AnswerRows, Measured, _stopped
from repana.probes._lenses import Lens, RidgeSums


def e0():
    """Streams of five blocks, their logits, and labels (language_models.md 2.3)."""
    r = np.random.default_rng(5)
    h = [r.standard_normal((40, 6))]
    for _ in range(5):
        h.append(h[-1] + 0.7 * np.tanh(h[-1] @ (r.standard_normal((6, 6)) / 6**0.5)))
    g, u = 1 + 0.1 * r.standard_normal(6), r.standard_normal((5, 6))
    flip, s = r.random(40) < 0.4, r.integers(0, 5, 40)

    def tail(x):
        x = np.asarray(x)
        return torch.from_numpy((x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6) * g) @ u.T)

    logits = [tail(x) for x in h]
    return h, logits, np.where(flip, s, logits[-1].argmax(1).numpy()), tail


H, LOGITS, Y, TAIL = e0()
NAMES = [str(k) for k in range(6)]
E0 = {
    "0": (0.625, 0.7527895429, 0.6821780229, 0.7008547860, 0.5, 1.9843543422),
    "2": (0.625, 0.4813678572, 0.4771780749, 0.7947327106, 0.55, 1.5435182176),
    "4": (0.75, 0.2874723760, 0.2464474121, 0.6491379059, 0.55, 1.8099050903),
    "5": (1, 0, 0, 0.6945921400, 0.75, 1.4261499362),
}


def measured(**options):
    rows = AnswerRows.of(LOGITS[:-1], LOGITS[-1], torch.from_numpy(Y), **options)
    return Measured(rows, 0.95, 0)


def test_reference_values():
    found = measured().by_layer(NAMES)
    quantities = ("agreement", "kl", "reverse_kl", "entropy", "accuracy", "cross_entropy")
    for layer, values in E0.items():
        assert [found[q][layer].value for q in quantities] == pytest.approx(values, abs=1e-10)
    assert found["agreement"]["0"].null == pytest.approx(0.325)
    assert found["kl"]["0"].null == pytest.approx(0.8673992738, abs=1e-10)
    settled, counts = measured().settled()
    assert (settled.value, counts.tolist()) == (pytest.approx(2.2), [15, 2, 4, 8, 1, 10])
    right = measured().right_where()
    assert [right[q].value for q in ("overthinking", "late", "oracle")] == pytest.approx([0.05, 0.025, 0.8])


def test_reference_values_of_patience():
    found = measured().patience(5)
    assert [p.layers for p in found[:3]] == pytest.approx([2.525, 3.875, 4.55])
    assert [p.accuracy for p in found[:3]] == pytest.approx([0.575, 0.725, 0.75])
    assert [p.null for p in found[:3]] == pytest.approx([0.5675, 0.675, 0.66])
    assert [p.static for p in found[:3]] == pytest.approx([0.6025, 0.5625, 0.66])


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_patience_row_by_row(patience):
    answer = torch.randint(0, 3, (6, 50), generator=torch.Generator().manual_seed(0))
    for row, at in zip(answer.T.tolist(), _stopped(answer, patience).tolist()):
        count, expected = 0, 5
        for k in range(1, 6):
            count = count + 1 if row[k] == row[k - 1] else 0
            if count == patience:
                expected = k
                break
        assert at == expected


@pytest.mark.parametrize(
    ("layer", "corner", "r2", "kl"),
    [
        (0, -0.6672236198, 0.9199240712, (0.4270956657, 0.3911712662, 0.0984257912)),
        (2, -0.4529126784, 0.9341422673, (0.3295499979, 0.3041553764, 0.0411366837)),
        (4, None, None, (0.2642386210, 0.3445110157, 0.0282575716)),
    ],
)
def test_reference_values_of_the_ridge_lens(layer, corner, r2, kl):
    """Fitted on rows 0 to 23, read on rows 24 to 39."""
    h, last = torch.from_numpy(H[layer]), torch.from_numpy(H[5])
    sums = [RidgeSums(h[0].clone()) for _ in range(2)]
    for part, rows in zip(sums, (slice(0, 10), slice(10, 24))):
        part.add(h[rows], last[rows], torch.ones(len(h[rows]), dtype=torch.float64))
    map_ = RidgeSums.total(sums).solved(0.01)
    if corner is not None:
        left = last[24:] - map_(h[24:])
        assert float(map_.weight[0, 0]) == pytest.approx(corner, abs=1e-10)
        around = last[24:] - map_.mean - map_.offset
        assert float(1 - left.square().sum() / around.square().sum()) == pytest.approx(r2, abs=1e-9)
    streams = (h[24:], map_.shift_alone(h[24:]), map_(h[24:]))
    found = [float(AnswerRows.of([TAIL(x)], LOGITS[5][24:]).kl[0].mean()) for x in streams]
    assert found == pytest.approx(kl, abs=1e-10)
    endless = RidgeSums.total(sums).solved(1e14)
    assert torch.allclose(endless(h), map_.shift_alone(h), atol=1e-9)
    again = RidgeSums.total([RidgeSums.total(sums).less(sums[1]), sums[1]]).solved(0.01)
    assert torch.allclose(again.weight, map_.weight, atol=1e-10)


def test_rows_of_a_text_are_drawn_together():
    """Clusters of four rows: the error of KL at layer 2 is that of cluster sums, .0874565135."""
    found = measured(sample=torch.arange(40) // 4).by_layer(NAMES)["kl"]["2"]
    error = (found.high - found.low) / (2 * 1.96)
    assert error == pytest.approx(0.0874565135, rel=0.15)


def filled(model):
    r = np.random.default_rng(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = 0.3 * r.standard_normal(tuple(p.shape))
            p.copy_(torch.from_numpy(1 + x / 3 if p.ndim == 1 and "weight" in name else x))
    return model.double().eval()


SIZES = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 16}
CAUSAL = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 32, "attn_implementation": "eager",
          "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=23,
            n_embd=16,
            n_layer=3,
            n_head=4,
            n_positions=16,
            attn_implementation="eager",
            bos_token_id=1,
            eos_token_id=2,
        )  # fmt: skip
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**CAUSAL, tie_word_embeddings=False)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **CAUSAL,
            head_dim=4,
            final_logit_softcapping=2.0,
            attn_logit_softcapping=5.0,
            query_pre_attn_scalar=4,
            sliding_window=4,
            tie_word_embeddings=True,
        )  # fmt: skip
    ),
    "granite": lambda: GraniteForCausalLM(
        GraniteConfig(
            **CAUSAL, logits_scaling=3.0, residual_multiplier=0.5, embedding_multiplier=2.0, tie_word_embeddings=False
        )
    ),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**CAUSAL, tie_word_embeddings=False)),
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZES, max_position_embeddings=16, attn_implementation="sdpa")),
}
LENS = {  # kl at blocks 0 and 1, agreement of 14, logits[0, 0, 0], parameters, digits
    "gpt2": ((0.3379932857, 0.0927856668), (7, 11), -0.0921017314, 10496, 10),
    "llama": ((0.4809210, 0.3039623), (3, 6), 0.6983606, 5456, 7),
    "gemma2": ((0.5996897, 0.3116757), (0, 5), -1.0069862, 5184, 7),
    "granite": ((0.0602171, 0.0336172), (3, 6), 0.3135434, 5456, 7),
    "olmo2": ((0.5848649, 0.2958491), (1, 6), -0.8824053, 5528, 7),
    "bert": ((1.0831330, 0.5004691), (0, 0), -0.5493591, 6103, 7),
}
IDS = torch.tensor([[1, 5, 9, 3, 7, 2, 11], [4, 4, 8, 20, 6, 13, 17]])
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


@pytest.mark.parametrize("name", MODELS)
def test_the_logit_lens_of_six_families(name):
    """With soft cap, scale and transform of the head, which norm and head alone miss."""
    model = filled(MODELS[name]())
    kl, agreement, corner, parameters, digits = LENS[name]
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert float(model(IDS).logits[0, 0, 0].detach()) == pytest.approx(corner, abs=5.1 * 10.0**-digits)
    found = exits(model, [BATCH])
    assert [e.value for e in found.kl.values()][1:3] == pytest.approx(kl, abs=5.1 * 10.0**-digits)
    assert [round(14 * e.value) for e in found.agreement.values()][1:] == [*agreement, 14]
    assert found.kl[found.layers[-1]].value == 0
    assert math.isnan(found.accuracy[found.layers[0]].value) == (name == "bert")


@pytest.mark.parametrize("name", ["gpt2", "llama", "olmo2"])
def test_the_short_way_is_the_long_one_and_that_by_hand(name, monkeypatch):
    model = filled(MODELS[name]())
    short = exits(model, [BATCH])
    monkeypatch.setattr(Lens, "_short_ways", lambda *_: iter(()))
    long = exits(model, [BATCH])
    for quantity in ("kl", "entropy", "cross_entropy"):
        values = [[e.value for e in getattr(f, quantity).values()] for f in (short, long)]
        assert values[0] == pytest.approx(values[1], abs=1e-6)
    with torch.no_grad():
        out = model(IDS, output_hidden_states=True)
        norm = model.transformer.ln_f if name == "gpt2" else model.model.norm
        z = model.lm_head(norm(out.hidden_states[1])).log_softmax(2)
        end = out.logits.log_softmax(2)
        by_hand = float((end.exp() * (end - z)).sum(2).mean())
    assert short.kl[short.layers[1]].value == pytest.approx(by_hand, abs=1e-12)
    losses = nn.functional.nll_loss(end[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert short.cross_entropy[short.layers[-1]].value == pytest.approx(float(losses), abs=1e-12)


def texts(count, length=12, seed=0):
    return torch.randint(3, 23, (count, length), generator=torch.Generator().manual_seed(seed))


def test_batches_and_padding_change_nothing():
    model = filled(MODELS["llama"]())
    ids = texts(9)
    whole = exits(model, [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}])
    for size in (1, 4):
        parts = [
            {"input_ids": ids[i : i + size], "attention_mask": torch.ones_like(ids[i : i + size])}
            for i in range(0, 9, size)
        ]
        found = exits(model, parts)
        assert [e.value for e in found.kl.values()] == pytest.approx([e.value for e in whole.kl.values()], abs=1e-12)
    right = {
        "input_ids": nn.functional.pad(ids, (0, 3)),
        "attention_mask": nn.functional.pad(torch.ones_like(ids), (0, 3)),
    }
    padded = exits(model, [right])
    assert padded.rows.n == whole.rows.n
    assert [e.value for e in padded.kl.values()] == pytest.approx([e.value for e in whole.kl.values()], abs=1e-6)
    assert [e.value for e in padded.echo.values()] == [e.value for e in whole.echo.values()]


def test_the_tuned_lens_is_fitted_on_other_texts():
    model = filled(MODELS["gpt2"]())
    ids = texts(90)
    data = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(30)]
    found = exits(model, data, lens="tuned", alphas=(1e-3, 1e-1, 1e1))
    first, second = found.layers[:2]
    for layer in (first, second):
        of = found.lens_kl[layer]
        assert of["lens"].value < of["shift"].value < of["logit"].value
        assert of["lens"].value == pytest.approx(found.kl[layer].value)
    assert set(found.settings["alphas"]) <= {1e-3, 1e-1, 1e1}
    assert found.rows.n % 11 == 0  # the first position is left out
    assert 20 * 11 < found.rows.n < 70 * 11
    difference = found.difference(first, second, "kl")
    assert difference.value == pytest.approx(found.kl[second].value - found.kl[first].value)
    assert difference.high < 0
    apart = exits(model, data[:1], lens="tuned", fit=data[1:], alphas=(0.01,), weights="norm", skip_first=False)
    assert apart.rows.n == 30 * 12
    assert apart.lens_kl[first]["lens"].value < apart.lens_kl[first]["logit"].value


def test_a_classifier_of_texts_answers_once_a_text():
    torch.manual_seed(0)
    config = BertConfig(**SIZES, max_position_embeddings=16, num_labels=3)
    model = BertForSequenceClassification(config).double().eval()
    ids = texts(30)
    rows = [(ids[i], i % 3) for i in range(30)]

    def collate(some):
        x = torch.stack([x for x, _ in some])
        return {"input_ids": x, "attention_mask": torch.ones_like(x), "labels": torch.tensor([y for _, y in some])}

    found = exits(model, DataLoader(rows, 10, collate_fn=collate))
    assert found.rows.n == 30
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states[2]
        z = model.classifier(model.bert.pooler(hidden))
    expected = float((z.argmax(1) == torch.arange(30) % 3).double().mean())
    assert found.accuracy[found.layers[2]].value == pytest.approx(expected)


def test_padding_does_not_enter_the_fit_of_a_classifier():
    """Of a model with one answer a text, the map is fitted on its real tokens."""
    torch.manual_seed(0)
    config = BertConfig(**SIZES, max_position_embeddings=32, num_labels=3)
    model = BertForSequenceClassification(config).double().eval()
    ids = texts(40)

    def given(width):
        mask = nn.functional.pad(torch.ones_like(ids), (0, width))
        return [{"input_ids": nn.functional.pad(ids, (0, width)), "attention_mask": mask}]

    short, long = (exits(model, given(width), lens="tuned", alphas=(0.1,)) for width in (0, 6))
    first = short.layers[0]
    assert long.kl[first].value == pytest.approx(short.kl[first].value, abs=1e-9)


def test_batches_without_an_answer_are_passed_over():
    """A batch of one-token texts, whose first position is left out."""
    model = filled(MODELS["gpt2"]())
    one = {"input_ids": texts(2, 1), "attention_mask": torch.ones(2, 1, dtype=torch.int64)}
    found = exits(model, [BATCH, one], skip_first=True)
    assert found.rows.n == 12


def test_labels_beyond_the_outputs_are_refused():
    model, _, (x, y) = repana.example_model()
    with pytest.raises((InputError, ModelError), match="label"):
        exits(model, (x, y + 5), lens="probe", layers=["conv1", "linear1"])


def test_probes_of_a_cnn_beside_its_own_answers():
    model, _, (x, y) = repana.example_model()
    before = copy.deepcopy(model.state_dict())
    layers = ["conv1", "conv2", "linear1"]
    found = exits(model, (x, y), lens="probe", layers=layers)
    assert found.layers == (*layers, "output")
    assert found.accuracy["conv1"].value < found.accuracy["output"].value
    assert found.agreement["output"].value == 1
    assert found.accuracy["conv1"].null < 0.15
    assert "settled at layer" in found.says()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert {"agreement", "settled"} <= set(found.frame()["quantity"])


def test_the_figure_shows_the_numbers(tmp_path):
    model = filled(MODELS["gpt2"]())
    ids = texts(40)
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    found = exits(model, data, lens="tuned", alphas=(0.01,))
    axes = plots.exit_depth(found)
    assert len(axes) == 6
    assert axes[0].get_lines()[0].get_ydata().tolist() == [e.value for e in found.agreement.values()]
    fitted = next(line for line in axes[1].get_lines() if line.get_label() == "fitted map")
    assert fitted.get_ydata().tolist() == [found.lens_kl[x]["lens"].value for x in found.layers[:-1]]
    heights = [bar.get_height() for bar in axes[4].patches]
    assert heights == pytest.approx((found.settle_counts / found.rows.n).tolist())
    found.plot().savefig(tmp_path / "exits.pdf")


class Skipping(nn.Module):
    """Something beside the last block reaches the logits."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        self.blocks = nn.ModuleList(copy.deepcopy(layer) for _ in range(3))
        self.words, self.head = nn.Embedding(23, 16), nn.Linear(16, 23)
        self.count = 0.0

    def forward(self, input_ids):
        h = self.words(input_ids)
        for block in self.blocks:
            h = block(h)
        self.count += 1.0  # what it gives depends on how often it ran
        return self.head(h) + self.count


def test_what_cannot_be_read_is_refused():
    model, _, (x, y) = repana.example_model()
    with pytest.raises(ModelError, match="RA133: no two blocks"):
        exits(model, (x[:32], y[:32]), layers=["conv1"])
    with pytest.raises(ModelError, match="RA133: 'conv1' has shape|RA133: 'conv1:in"):
        exits(model, (x[:32], y[:32]), layers=["conv1", "conv2"])
    with pytest.raises(ModelError, match="RA133: with its own output put in place"):
        exits(Skipping().eval(), [{"input_ids": texts(4)}], mask=False)
    gpt2 = filled(MODELS["gpt2"]())
    with pytest.raises(InputError, match="RA212: `alphas`"):
        exits(gpt2, [BATCH], lens="tuned", alphas=(0.0,))
    with pytest.raises(InputError, match="RA227: a tuned lens needs"):
        exits(gpt2, [BATCH], lens="tuned")
    with pytest.raises(InputError, match="RA253"):
        exits(gpt2, iter([BATCH]), lens="tuned")
    with pytest.raises(InputError, match="RA212: `fit` is for the tuned lens"):
        exits(model, (x, y), lens="probe", fit=(x, y))
    with pytest.raises(InputError, match="RA212"):
        exits(gpt2, [BATCH], lens="final")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in gpt2.modules())
