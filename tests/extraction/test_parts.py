"""Addresses inside modules: heads, queries, keys and values, what heads write, routers and the tokens of experts."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    FalconConfig,
    FalconModel,
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3Model,
    Qwen3Config,
    Qwen3Model,
)
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import repana
from repana.errors import ModelError

SIZES = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPS = {**SIZES, **IDS, "num_key_value_heads": 2, "max_position_embeddings": 32}
MODELS = {
    "gpt2": lambda how: GPT2Model(
        GPT2Config(vocab_size=23, n_embd=16, n_layer=2, n_head=4, n_positions=16, attn_implementation=how, **IDS)
    ),
    "llama": lambda how: LlamaModel(LlamaConfig(**GROUPS, attn_implementation=how)),
    "qwen3": lambda how: Qwen3Model(Qwen3Config(**GROUPS, head_dim=8, attn_implementation=how)),
    "bert": lambda how: BertModel(BertConfig(**SIZES, attn_implementation=how), add_pooling_layer=False),
}
OWNERS = {
    "gpt2": ("h.{}.attn", "h.{}.attn.c_proj"),
    "llama": ("layers.{}.self_attn", "layers.{}.self_attn.o_proj"),
    "qwen3": ("layers.{}.self_attn", "layers.{}.self_attn.o_proj"),
    "bert": ("encoder.layer.{}.attention.self", "encoder.layer.{}.attention.output.dense"),
}


def model_of(name, how="sdpa"):
    torch.manual_seed(0)
    return MODELS[name](how).eval()


def texts(count=6, length=9):
    ids = torch.randint(3, 23, (count, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 6:] = mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def untouched(model):
    return not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("how", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_heads_are_slices_of_what_the_projection_reads(name, how):
    """And what they write adds up to what the projection gives, without its bias."""
    model = model_of(name, how)
    data = [texts()]
    owner, projection = (text.format(1) for text in OWNERS[name])
    z = repana.record(model, data, [projection + ":in"], pool="tokens")[projection + ":in"]
    o = repana.record(model, data, [projection], pool="tokens")[projection]
    found = repana.record(model, data, [f"{owner}#h*", f"{owner}#w*"], pool="tokens")
    heads = torch.cat([found[f"{owner}#h{i}"] for i in range(4)], 1)
    assert torch.allclose(heads, z, atol=1e-5)
    bias = model.get_submodule(projection).bias
    written = sum(found[f"{owner}#w{i}"] for i in range(4))
    assert torch.allclose(written + (0 if bias is None else bias.detach()), o, atol=1e-5)
    assert len(found.features) == 8
    assert found.sample.tolist() == [i for i, n in enumerate([6, 4, 9, 9, 9, 9]) for _ in range(n)]
    assert untouched(model)
    assert model.config._attn_implementation == how


def test_queries_and_keys_are_those_that_meet():
    """After norms and rotary embeddings; keys and values of groups, never repeated."""
    model = model_of("qwen3")
    given = texts()
    owner = "layers.0.self_attn"
    found = repana.record(model, [given], [f"{owner}#q*", f"{owner}#k*", f"{owner}#v*"], pool="tokens")
    assert sorted(a.rpartition("#")[2] for a in found.features) == ["k0", "k1", "q0", "q1", "q2", "q3", "v0", "v1"]
    attn = model.layers[0].self_attn
    with torch.no_grad():
        x = model.layers[0].input_layernorm(model.embed_tokens(given["input_ids"]))
        places = torch.arange(9)[None].expand(6, 9)
        cos, sin = model.rotary_emb(x, places)
        q = attn.q_norm(attn.q_proj(x).view(6, 9, 4, 8)).transpose(1, 2)
        k = attn.k_norm(attn.k_proj(x).view(6, 9, 2, 8)).transpose(1, 2)
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        v = attn.v_proj(x).view(6, 9, 2, 8).transpose(1, 2)
    real = given["attention_mask"].bool()
    for what, tensor in (("q", q), ("k", k), ("v", v)):
        for i in range(tensor.shape[1]):
            assert torch.allclose(found[f"{owner}#{what}{i}"], tensor[:, i][real], atol=1e-6), (what, i)


RAW = {
    "gpt2": (lambda: model_of("gpt2"), "h.0.attn", "h.0.attn.c_attn", lambda x: x.chunk(3, 2)),
    "llama": (lambda: model_of("llama"), "layers.0.self_attn", None, None),
    "qwen3": (lambda: model_of("qwen3"), "layers.0.self_attn", None, None),
    "bert": (lambda: model_of("bert"), "encoder.layer.0.attention.self", None, None),
    "neox": (
        lambda: GPTNeoXModel(GPTNeoXConfig(**SIZES, **IDS)), "layers.0.attention", "layers.0.attention.query_key_value",
        lambda x: tuple(part.flatten(2) for part in x.view(6, 9, 4, 3, 4).unbind(3)),
    ),
    "phi3": (
        lambda: Phi3Model(Phi3Config(**GROUPS)), "layers.0.self_attn", "layers.0.self_attn.qkv_proj",
        lambda x: x.split([16, 8, 8], 2),
    ),
    "falcon": (
        lambda: FalconModel(FalconConfig(
            vocab_size=23, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
            new_decoder_architecture=True, **IDS,
        )),
        "h.0.self_attention", "h.0.self_attention.query_key_value",
        lambda x: (x.view(6, 9, 2, 4, 4)[:, :, :, :2].flatten(2), *x.view(6, 9, 2, 4, 4)[:, :, :, 2:].unbind(3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_raw_queries_and_keys_are_columns_of_a_projection(name):
    """The layout of a fused projection is told by the values, which pass no norm and no rotary embedding."""
    torch.manual_seed(0)
    made, owner, fused, split = RAW[name]
    model, given = made().eval(), {"input_ids": texts()["input_ids"]}
    found = repana.record(
        model, [given], [f"{owner}#q3.raw", f"{owner}#k1.raw", f"{owner}#v1.raw"], pool="tokens", mask=False
    )
    if fused is None:
        names = [n for n, m in model.named_modules() if n.startswith(owner + ".") and isinstance(m, nn.Linear)]
        parts = [next(n for n in names if n.rpartition(".")[2].startswith(what)) for what in "qkv"]
    else:
        parts = [fused] * 3
    seen = {}
    for part in set(parts):
        model.get_submodule(part).register_forward_hook(lambda m, a, out, part=part: seen.update({part: out.detach()}))
    with torch.no_grad():
        model(**given)
    whole = [seen[part] for part in parts] if fused is None else split(seen[fused])
    width = found[f"{owner}#q3.raw"].shape[1]
    for what, place, x in zip("qkv", (3, 1, 1), whole):
        columns = x.reshape(6, 9, -1, width)[:, :, place].flatten(0, 1)
        assert torch.equal(found[f"{owner}#{what}{place}.raw"], columns), what
    value = repana.record(model, [given], [f"{owner}#v1"], pool="tokens", mask=False)[f"{owner}#v1"]
    assert torch.allclose(value, found[f"{owner}#v1.raw"], atol=1e-6)  # of the second group, also where copies meet


def test_raw_parts_that_cannot_be_told(mixture):
    frame = repana.plan(mixture, [texts()], ["*self_attn#q*.raw"]).frame()
    assert len(frame) == 8
    assert frame["type"][0] == "query 0, raw, of MixtralAttention"
    assert not repana.plan(mixture, [texts()], ["*#q*"]).frame()["layer"].str.endswith(".raw").any()
    with pytest.raises(ModelError, match="RA136: .* names no part of a module"):
        repana.plan(mixture, [texts()], ["model.layers.0#h1.raw"])
    with pytest.raises(ModelError, match="RA136: 'attn#q0.raw': not exactly one matrix of 'attn' gives it"):
        repana.plan(Plain("torch").eval(), [texts()["input_ids"]], ["attn#q0.raw"], mask=False)


class Plain(nn.Module):
    """One attention layer in one of the ways in which people write it."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.how = nn.Embedding(23, 16), how
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        if how == "torch":
            self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
            self.attn.in_proj_weight.data, self.attn.in_proj_bias.data = self.qkv.weight.data, self.qkv.bias.data
            self.attn.out_proj.weight.data, self.attn.out_proj.bias.data = self.out.weight.data, self.out.bias.data

    def forward(self, ids):
        x = self.words(ids)
        b, t, _ = x.shape
        hidden = ~torch.ones(t, t, dtype=torch.bool).tril()
        if self.how == "torch":
            return self.attn(x, x, x, attn_mask=hidden, need_weights=False)[0]
        q, k, v = self.qkv(x).view(b, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
        if self.how == "fused":
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            a = ((q @ k.transpose(2, 3)) / 2).masked_fill(hidden, float("-inf"))
            y = functional.dropout(functional.softmax(a, dim=-1), 0.1, self.training) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, 16))


def test_networks_that_compute_attention_themselves():
    data = [texts()["input_ids"]]
    read = {}
    for how in ("fused", "softmax", "torch"):
        model = Plain(how).eval()
        owner = "attn" if how == "torch" else ""
        found = repana.record(model, data, [f"{owner}#h2", f"{owner}#w3"], pool="tokens", mask=False)
        read[how] = (found[f"{owner}#h2"], found[f"{owner}#w3"])
        assert untouched(model)
    for how in ("softmax", "torch"):
        for mine, other in zip(read["fused"], read[how]):
            assert torch.allclose(mine, other, atol=1e-6), how
    met = repana.record(Plain("fused").eval(), data, ["#q1"], pool="tokens", mask=False)["#q1"]
    assert torch.allclose(
        repana.record(Plain("torch").eval(), data, ["attn#q1"], pool="tokens", mask=False)["attn#q1"], met, atol=1e-6
    )
    with pytest.raises(ModelError, match="RA136: '#q1': its queries, keys and values go into no one function"):
        repana.record(Plain("softmax").eval(), data, ["#q1"], mask=False)


@pytest.fixture(scope="module")
def mixture():
    torch.manual_seed(0)
    config = MixtralConfig(**GROUPS, num_local_experts=4, num_experts_per_tok=2)
    return MixtralForCausalLM(config).eval()


def test_routers_and_the_tokens_of_an_expert(mixture):
    data = [({k: v[i : i + 3] for k, v in texts().items()}, torch.arange(i, i + 3)) for i in (0, 3)]
    gate = "model.layers.1.mlp.gate"
    scores = repana.record(mixture, data, ["model.layers.1.mlp#router"], pool="tokens")["model.layers.1.mlp#router"]
    tokens = repana.record(mixture, data, ["model.layers.1.post_attention_layernorm"], pool="tokens")
    x = tokens["model.layers.1.post_attention_layernorm"]
    assert torch.allclose(scores, x @ mixture.get_submodule(gate).weight.detach().T, atol=1e-6)
    sent = (scores.topk(2).indices == 1).any(1)
    assert 0 < int(sent.sum()) < len(sent)
    found = repana.record(mixture, data, [gate + "#e1"], pool="tokens")
    assert torch.equal(found[gate + "#e1"], x[sent])
    assert torch.equal(found.sample, tokens.sample[sent])
    assert torch.equal(found.labels, tokens.labels[sent])
    pooled = repana.record(mixture, data, [gate + "#router"])[gate + "#router"]
    means = torch.stack([scores[tokens.sample == i].mean(0) for i in range(6)])
    assert torch.allclose(pooled, means, atol=1e-6)
    with pytest.raises(ModelError, match="RA136: .* a text may send no token to an expert"):
        repana.record(mixture, data, [gate + "#e1"])
    with pytest.raises(ModelError, match="RA136: .* every expert gets other tokens"):
        repana.record(mixture, data, [gate + "#e0", gate + "#e1"], pool="tokens")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("model.layers.0#h9", "there is no head 9; they are numbered 0 to 3"),
        ("model.layers.0#k2", "there is no key 2; they are numbered 0 to 1"),
        ("model.layers.0#z1", "'#z1' names no part of a module"),
        ("model.layers.0#map1", "keeps maps"),
        ("model.layers.0#h01", "'#h01' names no part of a module"),
        ("model.layers.9#in", "the model has no module 'model.layers.9'"),
        ("model#h1", "holds 2 modules with self-attention"),
        ("model.norm#h1", "no self-attention was seen to run in 'model.norm'"),
        ("model.norm#router", "no router was seen to run in 'model.norm'"),
        ("decoder#h1", "the model has no module 'decoder'"),
        ("encoder.*#h1", "matches no part of a module; the parts are"),
    ],
)
def test_parts_that_are_not_there(mixture, address, says):
    with pytest.raises(ModelError, match="RA136") as error:
        repana.plan(mixture, [texts()], [address])
    assert says in str(error.value)
    assert untouched(mixture)


def test_patterns_poolings_and_the_input_of_a_block(mixture):
    data = [texts()]
    planned = repana.plan(mixture, data, ["model.layers.1#in", "model.layers.0#h1|last", "re:1\\.self_attn#q[01]$"])
    frame = planned.frame().set_index("layer")
    assert list(frame.index) == [
        "model.layers.0#h1|last", "model.layers.1#in", "model.layers.1.self_attn#q0", "model.layers.1.self_attn#q1"
    ]  # fmt: skip
    assert frame["type"].tolist() == [
        "head 1 of MixtralAttention", "input of MixtralDecoderLayer", "query 0 of MixtralAttention",
        "query 1 of MixtralAttention",
    ]  # fmt: skip
    assert set(frame["evidence"]) == {"ops+sizes"}
    stream = repana.record(mixture, data, ["model.layers.0", "model.layers.1#in"], pool="tokens")
    assert torch.equal(stream["model.layers.0"], stream["model.layers.1#in"])
    everything = repana.plan(mixture, data, ["*"]).frame()
    assert not everything["layer"].str.contains("#").any()
    with pytest.raises(ModelError, match="RA136: .* is read, not changed"):
        repana.importance(mixture, [(data[0], torch.arange(6) % 2)], "model.layers.0#h1", position="last")


def test_a_module_whose_name_holds_the_sign_keeps_it():
    model = nn.Sequential()
    model.add_module("conv#h1", nn.Linear(4, 3))
    assert repana.record(model, [torch.randn(5, 4)], ["conv#h1"])["conv#h1"].shape == (5, 3)


def test_a_profile_and_a_store_of_heads(tmp_path):
    model = model_of("gpt2")
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 23, (40, 9), generator=generator)
    ids[20:, 3] = 7
    data = [({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, (torch.arange(40) >= 20).long())]
    whole = repana.record(model, data, "h.1.attn#h*")
    kept = repana.record(model, data, "h.1.attn#h*", store=tmp_path / "heads")
    assert all(torch.equal(kept[a], x) for a, x in whole.features.items())
    report = repana.profile(model, data, layers="h.1.attn#h*", analyzers=["separability"])
    assert list(report.layers) == [f"h.1.attn#h{i}" for i in range(4)]
