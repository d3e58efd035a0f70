"""Networks on which attention was read wrongly once: masks, streams, caches, adapters, windows, other softmaxes."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    CLIPConfig,
    CLIPModel,
    EncoderDecoderModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

import repana
from repana.errors import InputError, ModelError
from repana.heads import attention
from repana.heads._map_statistics import map_sums

SIZES = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def texts(count=6, length=9, seed=0):
    return torch.randint(3, 23, (count, length), generator=torch.Generator().manual_seed(seed))


def padded(*lengths):
    ids = texts()
    mask = torch.ones_like(ids)
    for row, length in enumerate(lengths):
        mask[row, length:] = 0
    return {"input_ids": ids, "attention_mask": mask}


class ByHand(nn.Module):
    """Causal attention with padding, by a mask of one's own."""

    def __init__(self, how, hidden=float("-inf")):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.how, self.hidden = nn.Embedding(23, 16), how, hidden
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids)
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
        allowed = torch.ones(t, t, dtype=torch.bool).tril() & attention_mask[:, None, None, :].bool()
        added = torch.zeros(b, 1, t, t).masked_fill(~allowed, self.hidden)
        if self.how == "torch":
            return self.attn(x, x, x, attn_mask=added.expand(b, 4, t, t).flatten(0, 1), need_weights=False)[0]
        if self.how == "fused":
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=added)
        elif self.how == "filled":
            y = (q @ k.transpose(2, 3) / 2).masked_fill(~allowed, self.hidden).softmax(-1) @ v
        else:
            y = functional.softmax(q @ k.transpose(2, 3) / 2 + added, dim=-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, 16))


@pytest.mark.parametrize("hidden", [-1e4, -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("how", ["added", "filled", "fused", "torch"])
def test_keys_are_hidden_by_any_large_number(how, hidden):
    given = padded(6, 4)
    exact, found = (attention(ByHand(how, h).eval(), [given]) for h in (float("-inf"), hidden))
    for name, values in exact.values.items():
        assert torch.allclose(values, found.values[name], atol=1e-5, equal_nan=True), name
        assert torch.allclose(exact.null[name], found.null[name], atol=1e-9, equal_nan=True), name
    assert found.settings["single_key_rows"] == exact.settings["single_key_rows"] == 6


def test_every_stream_has_its_own_mask():
    """Texts of as many tokens as an image has patches: padding of the text does not reach the image."""
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 23, "max_position_embeddings": 16, "eos_token_id": 2},
        vision_config={**tower, "image_size": 8, "patch_size": 4}, projection_dim=8,
    )  # fmt: skip
    model = CLIPModel(config).eval()
    images, ids = torch.randn(6, 3, 8, 8), texts(6, 5)
    mask = torch.ones_like(ids)
    whole = attention(model, [{"input_ids": ids, "attention_mask": mask, "pixel_values": images}])
    mask[:4, 2:] = 0
    some = attention(model, [{"input_ids": ids, "attention_mask": mask, "pixel_values": images}])
    towers = [k for k, name in enumerate(whole.layers) if name.startswith("vision")]
    words = [k for k, name in enumerate(whole.layers) if name.startswith("text")]
    assert len(towers) == len(words) == 2
    assert torch.allclose(whole.values["entropy"][towers], some.values["entropy"][towers], atol=1e-6)
    assert not torch.allclose(whole.values["entropy"][words], some.values["entropy"][words], atol=1e-3)
    assert some.values["previous"][towers].isnan().all()
    assert some.values["previous"][words].isfinite().all()
    pairs = [np.hypot(i // 2 - j // 2, i % 2 - j % 2) for i in range(4) for j in range(4)]
    assert float(some.null["distance"][towers[0], 0]) == pytest.approx(float(np.mean(pairs)))


def test_models_of_transformers_inside_others():
    torch.manual_seed(0)
    both = EncoderDecoderModel(
        encoder=BertModel(BertConfig(**SIZES), add_pooling_layer=False),
        decoder=BertLMHeadModel(BertConfig(**SIZES, is_decoder=True, add_cross_attention=True)),
    ).eval()
    own = {"decoder_input_ids": texts(seed=1), "decoder_attention_mask": torch.ones(6, 9).long()}
    found = attention(both, [{**padded(6, 4), **own}])
    assert {name.partition(".")[0] for name in found.layers} == {"encoder", "decoder"}
    assert both.encoder.config._attn_implementation == "sdpa"

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.lm, self.head = LlamaModel(LlamaConfig(**SIZES, **IDS, num_key_value_heads=2)), nn.Linear(16, 3)

        def forward(self, input_ids, attention_mask):
            return self.head(self.lm(input_ids=input_ids, attention_mask=attention_mask)[0][:, -1])

    model = Mine().eval()
    keys = repana.plan(model, [padded()], ["*#k*"]).frame()["layer"]
    assert sorted(keys.str[-2:].unique()) == ["k0", "k1"]  # of groups, not their copies
    batches = [{k: v[:3] for k, v in padded().items()}, {k: v[3:] for k, v in padded(9, 9, 9, 5).items()}]
    mixed = repana.record(model, batches, ["lm.layers.0.self_attn#k1"], pool="tokens")
    alone = repana.record(model.lm, batches, ["layers.0.self_attn#k1"], pool="tokens")
    assert torch.allclose(mixed["lm.layers.0.self_attn#k1"], alone["layers.0.self_attn#k1"])


class Pooling(nn.Module):
    """Self-attention, and one query that attends to all words."""

    def __init__(self):
        super().__init__()
        self.words, self.inner = nn.Embedding(23, 16), ByHand("fused")
        self.query, self.kv, self.out = nn.Parameter(torch.randn(1, 1, 16)), nn.Linear(16, 32), nn.Linear(16, 3)

    def forward(self, input_ids, attention_mask):
        x = self.inner(input_ids, attention_mask)
        k, v = self.kv(x).unflatten(2, (2, 4, 4)).permute(2, 0, 3, 1, 4)
        q = self.query.expand(len(x), 1, 16).unflatten(2, (4, 4)).transpose(1, 2)
        return self.out(functional.scaled_dot_product_attention(q, k, v).flatten(1))


def test_one_query_for_many_keys_is_no_self_attention():
    torch.manual_seed(0)
    found = repana.plan(Pooling().eval(), [padded()], ["*#k*"]).frame()["layer"]
    assert set(found.str.partition("#")[0]) == {"inner"}
    cait = timm.create_model("cait_xxs24_224", img_size=32, depth=2, embed_dim=24, num_heads=2, num_classes=5).eval()
    with pytest.raises(ModelError, match="RA13[46]"):
        repana.plan(cait, [torch.randn(4, 3, 32, 32)], ["blocks_token_only.0.attn#k1"], mask=False)


class Adapter(nn.Module):
    """A matrix with one of low rank beside it."""

    def __init__(self, base):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(16, 2, bias=False), nn.Linear(2, 16, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def test_what_heads_write_is_not_told_of_an_adapted_projection():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **IDS)).eval()
    model.model.layers[0].self_attn.o_proj = Adapter(model.model.layers[0].self_attn.o_proj)
    found = attention(model, [padded()])
    assert found.values["share"][0].isnan().all()
    assert found.values["share"][1].isfinite().all()
    assert "no output projection of one matrix" in found.head(found.layers[0], 0)["share"].note
    with pytest.raises(ModelError, match="RA136: 'model.layers.0#w1': no output projection was seen"):
        repana.plan(model, [padded()], ["model.layers.0#w1"])
    h = repana.record(model, [padded()], ["model.layers.0#h1"], pool="tokens")["model.layers.0#h1"]
    assert h.shape == (54, 4)


def test_nan_is_refused():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **IDS)).eval()
    model.model.layers[0].self_attn.q_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"RA20\d|RA2\d\d"):
        attention(model, [padded()])
    assert model.config._attn_implementation == "sdpa"


def test_the_sink_of_a_window_is_read_where_it_is_allowed():
    near = torch.ones(12, 12, dtype=torch.bool).tril() & ~torch.ones(12, 12, dtype=torch.bool).tril(-3)
    allowed = near[None, None].expand(2, 1, 12, 12)
    sums = map_sums(allowed.double() / allowed.sum(3, keepdim=True), allowed, torch.ones(2, 12, dtype=torch.bool))
    for name in ("sink", "entropy", "distance", "previous"):
        assert torch.allclose(sums.numerator[name], sums.null[name], atol=1e-12), name


class Slots(nn.Module):
    """A mixture of as many slots as there are words, and attention over channels."""

    def __init__(self, slots):
        super().__init__()
        self.words, self.attn, self.mix = nn.Embedding(23, 16), ByHand("fused"), nn.Linear(16, slots)
        self.values, self.qk = nn.Parameter(torch.randn(slots, 16)), nn.Linear(16, 32)

    def forward(self, input_ids, attention_mask):
        x = self.attn(input_ids, attention_mask)
        x = x + self.mix(x).softmax(-1) @ self.values
        q, k = self.qk(x).transpose(1, 2).chunk(2, 1)  # (b, channels, t)
        return x + ((q @ k.transpose(1, 2)).softmax(-1) @ x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("slots", [7, 9])
def test_other_softmaxes_are_no_attention(slots):
    torch.manual_seed(0)
    found = attention(Slots(slots).eval(), [padded(6, 4)])
    assert found.layers == ("attn",)
    assert found.settings["left_out"] == []


def test_a_block_that_runs_twice_is_two_layers():
    torch.manual_seed(0)
    config = AlbertConfig(**SIZES, embedding_size=16, num_hidden_groups=1)
    model = AlbertModel(config, add_pooling_layer=False).eval()
    found = attention(model, [padded(6, 4)], keep=6)
    name = "encoder.albert_layer_groups.0.albert_layers.0.attention"
    assert found.layers == (f"{name}@1", f"{name}@2")
    model.set_attn_implementation("eager")
    maps = model(**padded(6, 4), output_attentions=True).attentions
    for layer, own in zip(found.layers, maps):
        assert torch.allclose(found.maps[layer][2:], own[2:], atol=1e-6)


def test_windows_alone_are_refused():
    torch.manual_seed(0)
    settings = {"img_size": 112, "depths": (1, 1), "num_classes": 5, "embed_dim": 24, "num_heads": (2, 2)}
    swin = timm.create_model("swin_tiny_patch4_window7_224", **settings).eval()
    with pytest.raises(ModelError, match="RA134: no self-attention saw every text once"):
        attention(swin, [torch.randn(4, 3, 112, 112)], mask=False)
