"""Attention maps by head: reference values, implementations, groups and padding, what heads write, and refusals."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
)

from repana import plots
from repana.errors import InputError, ModelError
from repana.extraction._attention_heads import AttentionTap
from repana.extraction._attention_tap import attention_tap
from repana.extraction._session import session
from repana.heads import attention
from repana.heads._map_statistics import map_sums, write_sums

A0 = {
    "entropy": (1.0419268910, 1.1600906103, 0.9077173433, 0.8851296167),
    "entropy_share": (0.8508435931, 0.9510051217, 0.7321828944, 0.7239444173),
    "top_mass": (0.7151336149, 0.6454570383, 0.8003827013, 0.8011434207),
    "distance": (1.0597400666, 1.3883642805, 1.3350829172, 1.5143404861),
    "sink": (0.2757139425, 0.3263017835, 0.3383085286, 0.3723984660),
    "previous": (0.2505025567, 0.3169318677, 0.3609895053, 0.1559527676),
    "rank": (4.0416108390, 3.4126726722, 3.2151138201, 3.4624699658),
    "stable_rank": (1.7096253426, 1.3582897820, 1.5643910021, 1.5721255718),
    "write": (4.9641949721, 5.4076576804, 3.4250784824, 4.6696432810),
    "share": (0.3839180957, 0.3333279167, 0.1549338504, 0.1278201372),
}
NULLS = {"top_mass": 0.5111111111, "distance": 1.3125, "sink": 0.3166666667, "rank": (3.1372431571 + 4.2673322341) / 2}


def a0(real):
    """Four query heads over two groups, lengths 6 and 4 (language_models.md 1.7)."""
    r = np.random.default_rng(0)
    shapes = (2, 4, 6, 3), (2, 2, 6, 3), (2, 2, 6, 3), (12, 12)
    q, k, v, w_o = (torch.from_numpy(r.standard_normal(s)) for s in shapes)
    assert float(q[0, 0, 0, 0]) == pytest.approx(0.1257302211, abs=1e-10)
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    allowed = (torch.ones(6, 6, dtype=torch.bool).tril() & real[:, None, :])[:, None].expand(2, 4, 6, 6)
    a = ((q @ k.transpose(2, 3)) / 3**0.5).masked_fill(~allowed, -math.inf).softmax(3).nan_to_num()
    z = a @ v
    w = torch.stack([z[:, h] @ w_o[:, 3 * h : 3 * h + 3].T for h in range(4)], 1)
    o = w.sum(1)
    assert torch.allclose(o, z.transpose(1, 2).flatten(2) @ w_o.T)
    sums = map_sums(a, allowed, real, 2)
    numerator, denominator = write_sums(z, w_o.T.reshape(4, 3, 12), real)
    sums.numerator.update(numerator)
    sums.denominator.update(denominator)
    return sums, z


RIGHT = torch.tensor([[1] * 6, [1] * 4 + [0] * 2]).bool()
LEFT = torch.tensor([[1] * 6, [0] * 2 + [1] * 4]).bool()


def ratio(sums, name, part="numerator"):
    return (getattr(sums, part)[name].sum(0) / sums.denominator[name].sum(0)).tolist()


def test_reference_values():
    sums, z = a0(RIGHT)
    for name, values in A0.items():
        assert ratio(sums, name) == pytest.approx(values, abs=1e-9), name
    for name, value in NULLS.items():
        assert ratio(sums, name, "null")[0] == pytest.approx(value, abs=1e-9), name
    assert z[1, 0, 3].tolist() == pytest.approx([-0.1139596776, -0.6312392421, -0.1587496923], abs=1e-10)


def test_left_padding_moves_the_first_token():
    sums, _ = a0(LEFT)
    assert ratio(sums, "entropy")[0] == pytest.approx(1.0347658253, abs=1e-10)
    assert ratio(sums, "sink")[0] == pytest.approx(0.3042420738, abs=1e-10)
    assert ratio(sums, "distance", "null")[0] == pytest.approx(1.3125)


def test_uniform_attention_is_the_null():
    allowed = torch.ones(6, 6, dtype=torch.bool).tril()[None, None].expand(2, 3, 6, 6)
    sums = map_sums(allowed.double() / allowed.sum(3, keepdim=True), allowed, torch.ones(2, 6, dtype=torch.bool))
    for name in sums.numerator:
        assert ratio(sums, name) == pytest.approx(ratio(sums, name, "null"), abs=1e-12), name
    assert float(sums.apart.max()) == 0


SIZES = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPS = {**SIZES, **IDS, "num_key_value_heads": 2, "max_position_embeddings": 32}
MODELS = {
    "gpt2": lambda how: GPT2LMHeadModel(
        GPT2Config(vocab_size=23, n_embd=16, n_layer=2, n_head=4, n_positions=16, attn_implementation=how, **IDS)
    ),
    "llama": lambda how: LlamaForCausalLM(LlamaConfig(**GROUPS, attn_implementation=how)),
    "qwen3": lambda how: Qwen3ForCausalLM(Qwen3Config(**GROUPS, head_dim=8, attn_implementation=how)),
    "gemma2": lambda how: Gemma2ForCausalLM(
        Gemma2Config(**GROUPS, head_dim=8, attn_logit_softcapping=5.0, sliding_window=4, attn_implementation=how)
    ),
    "neox": lambda how: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **IDS, attn_implementation=how)),
    "t5": lambda how: T5EncoderModel(
        T5Config(vocab_size=23, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=4, attn_implementation=how)
    ),
    "bert": lambda how: BertModel(BertConfig(**SIZES, attn_implementation=how)),
}


PROJECTIONS = ("c_proj", "o_proj", "dense", "o", "output.dense")


def _projection(module):
    return next(m for name, m in module.named_modules() if name in PROJECTIONS)


def texts(count=6, length=9, seed=0):
    return torch.randint(3, 23, (count, length), generator=torch.Generator().manual_seed(seed))


def batch(ids, *lengths):
    mask = torch.ones_like(ids)
    for row, length in enumerate(lengths):
        mask[row, length:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("how", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_maps_are_those_of_the_eager_implementation(name, how):
    """Of models that were made with another implementation too, and their outputs stay what they were."""
    torch.manual_seed(0)
    if name == "gemma2" and how == "sdpa":
        how = "eager"  # sdpa has no soft cap there
    model = MODELS[name](how).eval()
    given = batch(texts(), 6, 4)
    real = given["attention_mask"].bool()
    with torch.no_grad():
        before = model(**given)[0]
        maps_read, results = [], []
        cpu = torch.device("cpu")
        with session(model, cpu, None) as live, attention_tap(live, maps_read.append, results.append):
            read = model(**given)[0]
        assert torch.allclose(before[real], read[real], atol=2e-6)
        model.set_attn_implementation("eager")
        maps = model(**given, output_attentions=True).attentions
        assert len(maps_read) == len(results) == len(maps) == 2
        for found, written, map_ in zip(maps_read, results, maps):
            rows = real[:, None, :, None].expand(map_.shape)
            assert torch.allclose(found.maps[rows], map_[rows], atol=1e-6)
            w = torch.einsum("bhqv,hvd->bhqd", written.results, written.weight).sum(1)
            projection = _projection(model.get_submodule(written.name.removesuffix(".self")))
            bias = 0 if projection.bias is None else projection.bias
            assert torch.allclose(w + bias, projection(written.results.transpose(1, 2).flatten(2)), atol=1e-5)


def test_groups_share_keys_in_blocks():
    """Query head h reads group h // (H/G): with the keys of group 0 at zero, heads 0 and 1 are uniform."""
    torch.manual_seed(0)
    model = MODELS["llama"]("sdpa").eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.k_proj.weight[:4] = 0
    found = attention(model, [batch(texts())])
    assert torch.allclose(found.values["entropy_share"][:, :2], torch.ones(2, 2).double(), atol=1e-6)
    assert float(found.values["entropy_share"][:, 2:].max()) < 1 - 1e-6
    assert "heads 1 and 0" in found.says()


def test_values_intervals_and_what_is_left():
    torch.manual_seed(0)
    model = MODELS["gpt2"]("sdpa").eval()
    given = batch(texts(12), 6, 4, 5)
    found = attention(model, [given], keep=2)
    assert found.layers == ("transformer.h.0.attn", "transformer.h.1.attn")
    assert torch.allclose(found.values["share"].sum(1), torch.ones(2).double(), atol=1e-6)
    assert found.maps[found.layers[0]].shape == (2, 4, 9, 9)
    head = found.head(found.layers[1], 3)
    assert head["sink"].low < head["sink"].value < head["sink"].high
    assert head["sink"].value == float(found.values["sink"][1, 3])
    assert found.settings["single_key_rows"] == 24  # the first token of twelve texts in two layers
    assert len(found.frame()) == 2 * 4 * 12
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    halves = attention(model, [{k: v[:5] for k, v in given.items()}, {k: v[5:] for k, v in given.items()}])
    for name, values in found.values.items():
        assert torch.allclose(values, halves.values[name], atol=1e-6), name
    longer = {k: nn.functional.pad(v, (0, 4)) for k, v in given.items()}
    for name, values in attention(model, [longer]).values.items():
        assert torch.allclose(values, found.values[name], atol=1e-5), name
    assert attention(model, [batch(texts(2))]).low["sink"].isnan().all()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_left_padding_is_read_at_real_tokens(name):
    """Rows of padding queries differ between implementations; they are neither read nor compared."""
    torch.manual_seed(0)
    model = MODELS[name]("sdpa").eval()
    ids = texts(6)
    mask = torch.ones_like(ids)
    mask[:3, :4] = 0
    places = (mask.cumsum(1) - 1).clamp_min(0)
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    found = attention(model, [given])
    cut = [
        {"input_ids": ids[:3, 4:], "attention_mask": mask[:3, 4:], "position_ids": places[:3, 4:]},
        {"input_ids": ids[3:], "attention_mask": mask[3:], "position_ids": places[3:]},
    ]
    for q, values in attention(model, cut).values.items():
        assert torch.allclose(values, found.values[q], atol=1e-5), q


def test_cross_attention_is_left_out():
    """Also where the decoder is as long as the encoder, as it is without inputs of its own."""
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=23, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model, given = BartModel(config).eval(), batch(texts(), 6, 4)
    found = attention(model, [given])
    assert found.layers == ("encoder.layers.0.self_attn", "encoder.layers.1.self_attn")
    assert "decoder.layers.0.self_attn" in found.says()  # its words are shifted inside, and their padding is not known
    own = {"decoder_input_ids": texts(seed=1), "decoder_attention_mask": batch(texts(), 3, 9, 5)["attention_mask"]}
    both = attention(model, [{**given, **own}])
    assert len(both.layers) == 4
    assert all("self_attn" in name for name in both.layers)
    for q, values in both.values.items():
        assert torch.allclose(values[:2], found.values[q], atol=1e-6), q
    one = {k: v[:1, : 6 if "decoder" not in k else 3] for k, v in {**given, **own}.items()}
    rest = [{k: v[i : i + 1] for k, v in {**given, **own}.items()} for i in range(1, 6)]
    apart = attention(model, [one, *rest])  # the first text without its padding
    assert torch.allclose(apart.values["entropy"], both.values["entropy"], atol=1e-5)


def test_distances_of_images_are_in_patches():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=16, image_size=16, patch_size=4
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    images = torch.randn(6, 3, 16, 16)
    found = attention(model, [{"pixel_values": images}], mask=False)
    assert found.values["previous"].isnan().all()
    assert found.values["entropy_share"].isfinite().all()
    maps = attention(model, [{"pixel_values": images}], mask=False, keep=6).maps[found.layers[0]].double()
    among = maps[:, :, 1:, 1:] / maps[:, :, 1:, 1:].sum(3, keepdim=True)
    by_hand = torch.zeros(4).double()
    for i in range(16):
        for j in range(16):
            by_hand += among[:, :, i, j].sum(0) * math.dist((i // 4, i % 4), (j // 4, j % 4))
    assert torch.allclose(found.values["distance"][0], by_hand / 6 / 16, atol=1e-6)
    pairs = [math.dist((i // 4, i % 4), (j // 4, j % 4)) for i in range(16) for j in range(16)]
    assert float(found.null["distance"][0, 0]) == pytest.approx(sum(pairs) / 256)
    assert torch.allclose(found.values["distance_share"], found.values["distance"] / found.null["distance"])


def test_sinks_that_are_parameters():
    """Rows sum to less than 1; the rest is told."""
    q, k, v = (torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(i)) for i in range(3))
    seen = []
    tap = AttentionTap({}, on_maps=seen.append)
    sinks = torch.tensor([0.0, 2.0])
    out, _ = tap.attend(nn.Identity(), q, k, v, None, s_aux=sinks)
    with_sink = torch.cat([q @ k.transpose(2, 3) / 3**0.5, sinks.view(1, 2, 1, 1).expand(2, 2, 5, 1)], 3).softmax(3)
    assert torch.allclose(out.transpose(1, 2), with_sink[..., :-1] @ v, atol=1e-6)
    sums = map_sums(seen[0].maps, seen[0].allowed, torch.ones(2, 5, dtype=torch.bool))
    assert ratio(sums, "sink_parameter") == pytest.approx(with_sink[..., -1].mean((0, 2)).tolist(), abs=1e-6)
    rest = with_sink[..., :-1] / with_sink[..., :-1].sum(3, keepdim=True)
    assert ratio(sums, "entropy") == pytest.approx((-(rest * rest.log()).sum(3)).mean((0, 2)).tolist(), abs=1e-6)


def test_an_empty_text_and_a_few_texts_at_a_time(monkeypatch):
    torch.manual_seed(0)
    model = MODELS["bert"]("sdpa").eval()
    given = batch(texts(6), 6, 4)
    whole = attention(model, [given], keep=5)
    monkeypatch.setattr("repana.extraction._attention_product.CHUNK", 4 * 9 * 9 * 2)
    few = attention(model, [given], keep=5)
    for q, values in whole.values.items():
        assert torch.allclose(values, few.values[q], atol=1e-7), q
    assert all(torch.equal(whole.maps[x], few.maps[x]) for x in whole.layers)
    empty = batch(texts(7), 6, 4)
    empty["attention_mask"][6] = 0
    for q, values in attention(model, [given, {k: v[6:] for k, v in empty.items()}]).values.items():
        assert torch.allclose(values, whole.values[q], atol=1e-6), q


class Written(nn.Module):
    """Causal self-attention as people write it: by the fused function, or by a softmax and two products."""

    def __init__(self, *, fused):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.fused = nn.Embedding(23, 16), fused
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, input_ids, attention_mask=None):
        x = self.words(input_ids)
        q, k, v = (part.unflatten(2, (4, 4)).transpose(1, 2) for part in self.qkv(x).split(16, 2))
        t = x.shape[1]
        allowed = torch.ones(t, t, dtype=torch.bool).tril()
        if attention_mask is not None:
            allowed = allowed & attention_mask[:, None, None, :].bool()
        if self.fused:
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        else:
            a = (q @ k.transpose(2, 3) / 2).masked_fill(~allowed, float("-inf"))
            y = nn.functional.dropout(a.softmax(-1), 0.1, self.training) @ v
        return self.out(y.transpose(1, 2).flatten(2))


class Torch(nn.Module):
    """Layers of torch's own attention."""

    def __init__(self, *, need_weights):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.need_weights = nn.Embedding(23, 16), need_weights
        self.layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        self.attn = nn.MultiheadAttention(16, 4)

    def forward(self, input_ids, attention_mask):
        x = self.layer(self.words(input_ids), src_key_padding_mask=attention_mask == 0).transpose(0, 1)
        out, maps = self.attn(x, x, x, key_padding_mask=attention_mask == 0, need_weights=self.need_weights)
        assert (maps is None) != self.need_weights
        return out.transpose(0, 1)


def test_attention_that_a_network_computes_itself():
    given = batch(texts(12), 6, 4)
    read = [attention(Written(fused=fused).eval(), [given], keep=12) for fused in (True, False)]
    assert read[0].layers == ("",)
    for q, values in read[0].values.items():
        assert torch.allclose(values, read[1].values[q], atol=1e-6), q
    model = Written(fused=False).eval()
    with torch.no_grad():
        x = model.words(given["input_ids"])
        q, k, _ = (part.unflatten(2, (4, 4)).transpose(1, 2) for part in model.qkv(x).split(16, 2))
        allowed = torch.ones(9, 9, dtype=torch.bool).tril() & given["attention_mask"][:, None, None, :].bool()
        maps = (q @ k.transpose(2, 3) / 2).masked_fill(~allowed, float("-inf")).softmax(-1)
    assert torch.allclose(read[0].maps[""], maps, atol=1e-6)
    assert torch.allclose(read[0].values["share"].sum(1), torch.ones(1).double(), atol=1e-5)


def test_attention_of_torch():
    given = batch(texts(12), 6, 4)
    read = [attention(Torch(need_weights=need).eval(), [given], keep=12) for need in (True, False)]
    assert len(read[0].layers) == 1
    assert read[0].settings["left_out"] == ["layer.self_attn"] or read[0].settings["left_out"] == ["attn"]
    for q, values in read[0].values.items():
        assert torch.allclose(values, read[1].values[q], atol=1e-6), q
    assert torch.allclose(read[0].values["share"].sum(1), torch.ones(1).double(), atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_attention_of_timm(fused):
    torch.manual_seed(0)
    settings = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
    model = timm.create_model("vit_tiny_patch16_224", **settings).eval()
    for block in model.blocks:
        block.attn.fused_attn = fused
    images = torch.randn(6, 3, 32, 32)
    found = attention(model, [images], mask=False, keep=6)
    assert found.layers == ("blocks.0.attn", "blocks.1.attn")
    seen = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(args[0].detach()))
    model(images)
    for name, maps in zip(found.layers, seen):
        assert torch.allclose(found.maps[name], maps, atol=1e-6)


def test_attention_of_an_older_class_of_transformers():
    """BLOOM does not go through the interface."""
    torch.manual_seed(0)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=23, hidden_size=16, n_layer=2, n_head=4, **IDS)).eval()
    before = bloom.config._attn_implementation
    given = batch(texts(), 6, 4)
    found = attention(bloom, [given], keep=6)
    assert bloom.config._attn_implementation == before
    maps = bloom(**given, output_attentions=True).attentions
    for name, own in zip(found.layers, maps):
        assert torch.allclose(found.maps[name], own, atol=1e-6)
    assert torch.allclose(found.values["share"].sum(1), torch.ones(2).double(), atol=1e-5)


def test_what_has_no_attention_is_refused():
    plain = nn.Sequential(nn.Embedding(23, 8), nn.Linear(8, 3))
    with pytest.raises(ModelError, match="RA134: no self-attention was seen"):
        attention(plain, [texts()], mask=False)
    gpt2 = MODELS["gpt2"]("sdpa").eval()
    found = attention(gpt2, [batch(texts())])
    with pytest.raises(InputError, match="RA212: `head` is 4"):
        found.head(found.layers[0], 4)
    with pytest.raises(ModelError, match="RA101"):
        found.head("transformer.h.9.attn", 0)
    with pytest.raises(InputError, match="RA212"):
        attention(gpt2, [batch(texts())], top=0)


class Own(nn.Module):
    """An attention that puts something of its own on top of what the interface gives."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config

    def forward(self, *args, **kwargs):
        out = self.inner(*args, **kwargs)
        tapped = self.config._attn_implementation == "repana_tap"
        return (out[0] * (1 + tapped), *out[1:])


def test_outputs_that_change_are_refused():
    model = MODELS["gpt2"]("sdpa").eval()
    model.transformer.h[1].attn = Own(model.transformer.h[1].attn)
    with pytest.raises(ModelError, match="RA134: with its attention read the model gives other outputs"):
        attention(model, [batch(texts())])
    assert model.config._attn_implementation == "sdpa"


def test_the_figure_shows_the_numbers(tmp_path):
    torch.manual_seed(0)
    found = attention(MODELS["gpt2"]("sdpa").eval(), [batch(texts())])
    axes = plots.head_maps(found, "sink", "entropy")
    assert axes[0].get_images()[0].get_array().tolist() == found.values["sink"].tolist()
    mean = next(line for line in axes[2].get_lines() if line.get_linestyle() == "-")
    assert mean.get_ydata().tolist() == pytest.approx(found.values["sink"].mean(1).tolist())
    found.plot().savefig(tmp_path / "heads.pdf")
    with pytest.raises(InputError, match="RA212"):
        plots.head_maps(found, "size")
