"""Weight-weighted PCA: by hand on three families, exact over batches, and as rows of a profile."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import repana
from repana.errors import InputError, ModelError
from repana.spectra import w_pca

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODELS = {
    "gpt2": (
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=4, n_positions=64, **IDS)),
        "transformer.h.{}.mlp.c_fc",
    ),
    "llama": (  # heads wider than the model: their projection widens and narrows too
        lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **IDS, head_dim=8, max_position_embeddings=64)),
        "model.layers.{}.mlp.gate_proj",
    ),
    "bert": (lambda: BertModel(BertConfig(**SIZES, **IDS)), "encoder.layer.{}.intermediate.dense"),
}


def texts(count=12, length=60):
    ids = torch.randint(3, 50, (count, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[:4, 40:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def by_hand(model, names, given):
    seen = []
    handles = [
        model.get_submodule(name).register_forward_hook(lambda m, a, out: seen.append(out.detach())) for name in names
    ]
    model(**given)
    for handle in handles:
        handle.remove()
    total = 0
    for x in seen:
        rows = x[given["attention_mask"].bool()].double().numpy()
        values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
        total += int((np.cumsum(values) / values.sum() < 0.99).sum()) + 1
    return total


@pytest.mark.parametrize("name", MODELS)
def test_components_times_parameters(name):
    torch.manual_seed(0)
    made, pattern = MODELS[name]
    model, given = made().eval(), texts()
    names = [pattern.format(i) for i in (0, 1)]
    found = w_pca(model, [given])
    assert list(found.layers) == names
    assert found.components.value == by_hand(model, names, given)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.w_pca.value == found.components.value * found.parameters
    halves = [{k: v[:5] for k, v in given.items()}, {k: v[5:] for k, v in given.items()}]
    assert w_pca(model, halves).components.value == found.components.value
    assert set(found.frame()["tokens"]) == {640}
    assert [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks] == []


def test_few_tokens_and_what_has_no_feed_forward_part():
    torch.manual_seed(0)
    model = MODELS["gpt2"][0]().eval()
    few = w_pca(model, [{k: v[:2] for k, v in texts().items()}])
    assert few.components.note == "of 2 of 2 hidden states the tokens are few"
    assert "80 tokens for 64 hidden units" in few.layers["transformer.h.0.mlp.c_fc"].note
    with pytest.raises(InputError, match="RA232"):
        w_pca(model, [texts()], share=1.0)
    plain = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 8))
    with pytest.raises(ModelError, match="RA138: no feed-forward part was seen in Sequential"):
        w_pca(plain, [texts()["input_ids"]], mask=False)
    named = w_pca(plain, [texts()["input_ids"]], layers=["1"], mask=False)
    assert named.components.value <= 8


def test_experts_are_not_counted_and_said_so():
    torch.manual_seed(0)
    config = DeepseekV3Config(
        **SIZES, **IDS, moe_intermediate_size=24, n_routed_experts=8, num_experts_per_tok=2, n_group=2, topk_group=1,
        n_shared_experts=1, first_k_dense_replace=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
        qk_nope_head_dim=4, v_head_dim=4, max_position_embeddings=64,
    )  # fmt: skip
    found = w_pca(DeepseekV3ForCausalLM(config).eval(), [texts()])
    assert [name.rpartition(".mlp.")[2] for name in found.layers] == ["gate_proj", "shared_experts.gate_proj"]
    assert "are not counted, which see some tokens each" in found.w_pca.note


def test_rows_of_a_language_model():
    """With all where rows are tokens, by name where texts are pooled, and not at all for other networks."""
    torch.manual_seed(0)
    model, data = MODELS["gpt2"][0]().eval(), [texts()]
    layers = ["transformer.h.0", "transformer.h.1"]
    report = repana.profile(model, data, layers=layers, pool="tokens", analyzers="all")
    assert report.failures == ()
    rows = {(r.layer, f"{r.analyzer}.{r.quantity}"): r for r in report.rows}
    found = w_pca(model, data)
    assert rows["", "w_pca.w_pca"].value == found.w_pca.value
    tokens = repana.record(model, data, layers, pool="tokens")
    means = repana.text_dimension(tokens).means().set_index("layer")
    for layer in layers:
        row = rows[layer, "text_dimension.mean"]
        assert (row.value, row.low, row.high) == pytest.approx(tuple(means.loc[layer, ["value", "low", "high"]]))
        assert row.n == 12
    pooled = repana.profile(model, data, layers=layers, analyzers=["spectrum", "text_dimension", "w_pca"])
    again = {(r.layer, f"{r.analyzer}.{r.quantity}"): r.value for r in pooled.rows}
    assert again["", "w_pca.w_pca"] == found.w_pca.value
    assert again["transformer.h.1", "text_dimension.mean"] == rows["transformer.h.1", "text_dimension.mean"].value
    default = repana.profile(model, data, layers=layers, analyzers="all")
    assert not {r.analyzer for r in default.rows} & {"w_pca", "text_dimension"}
    vectors = repana.profile(nn.Linear(4, 3), torch.randn(30, 4), analyzers=["spectrum", "text_dimension", "w_pca"])
    assert [text.split(": ")[0].split()[-1] for text in vectors.failures] == ["text_dimension", "w_pca"]
    assert [text.split(": ")[1] for text in vectors.failures] == ["RA239", "RA138"]
