"""Reads of language models, whose logits are (b, t, V): by hand with hooks and autograd, and transformers' losses."""

import pytest
import torch
import transformers
from torch import nn

import repana
from repana.errors import InputError, ModelError
from repana.features import conductance, importance, sensitivity, sparse_autoencoder, splice
from repana.probes import concept_use, linear_probe

IDS = torch.tensor([[1, 5, 9, 3, 7, 2, 11], [4, 4, 8, 20, 6, 13, 17], [9, 2, 2, 14, 5, 0, 3]])
LAYER = "transformer.h.1"


def model_of(name):
    torch.manual_seed(0)
    if name == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=23, n_embd=16, n_layer=3, n_head=4, n_positions=16, bos_token_id=0, eos_token_id=0
        )
        return transformers.GPT2LMHeadModel(config).double().eval()
    if name == "llama":
        config = transformers.LlamaConfig(
            vocab_size=23, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=16, max_position_embeddings=32,
        )  # fmt: skip
        return transformers.LlamaForCausalLM(config).eval()
    config = transformers.BertConfig(
        vocab_size=23, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=16,
        max_position_embeddings=16,
    )  # fmt: skip
    return transformers.BertForMaskedLM(config).double().eval()


def hidden_and_slopes(net, layer, inputs, chosen):
    """What a layer gives, and the derivative of one number for each text in it, by hand."""
    kept = {}

    def keep(module, args, output):
        kept["h"] = output[0] if isinstance(output, tuple) else output
        kept["h"].retain_grad()

    handle = net.get_submodule(layer).register_forward_hook(keep)
    try:
        chosen(net(**inputs).logits).sum().backward()
    finally:
        handle.remove()
    net.zero_grad()
    return kept["h"].detach(), kept["h"].grad


def batch(**more):
    return {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), **more}


@pytest.mark.parametrize(
    ("position", "place"), [("last", 6), ("first", 0), (2, 2), (-2, 5)], ids=["last", "first", "2", "-2"]
)
@pytest.mark.parametrize("target", ["predicted", 4])
def test_importance_is_that_of_the_logit_at_a_position(position, place, target):
    net = model_of("gpt2")

    def chosen(z):
        return z[:, place, 4] if target == 4 else z[:, place].max(1).values

    h, g = hidden_and_slopes(net, LAYER, batch(), chosen)
    found = importance(net, [batch()], LAYER, target=target, position=position)
    assert torch.allclose(found.values, (h * g).sum(1), atol=1e-12)
    assert not any(m._forward_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_loss_of_a_causal_model_is_that_of_the_next_tokens(name):
    """With labels that repeat the token ids, as such a model is trained, and without any."""
    net = model_of(name)
    layer = LAYER if name == "gpt2" else "model.layers.1"
    each = torch.stack([net(input_ids=row[None], labels=row[None]).loss.detach() for row in IDS])

    def loss(z):
        return nn.functional.cross_entropy(z[:, :-1].mT, IDS[:, 1:], reduction="none").mean(1)

    h, g = hidden_and_slopes(net, layer, batch(), loss)
    for data in (batch(), batch(labels=IDS.clone())):
        found = importance(net, [data], layer, target="loss")
        assert torch.allclose(found.values, (h * g).sum(1).double(), atol=1e-6)
        spliced = splice(net, [data], layer, sparse_autoencoder(torch.eye(16), torch.eye(16)))
        assert torch.allclose(spliced.losses[:, 0], each.double(), atol=1e-6)


def test_labels_that_are_not_the_token_ids_stand_at_their_positions():
    """Of a masked language model, with -100 elsewhere."""
    net = model_of("bert")
    masked, labels = IDS.clone(), torch.full_like(IDS, -100)
    for row, place in enumerate((1, 4, 2)):
        labels[row, place], masked[row, place] = IDS[row, place], 22
    data = {"input_ids": masked, "attention_mask": torch.ones_like(IDS), "labels": labels}
    found = splice(net, [data], "bert.encoder.layer.0", sparse_autoencoder(torch.eye(16), torch.eye(16)))
    assert float(found.clean) == pytest.approx(float(net(**data).loss.detach()), abs=1e-12)
    h, g = hidden_and_slopes(net, "bert.encoder.layer.0", {k: v for k, v in data.items() if k != "labels"},
                             lambda z: z[torch.arange(3), [1, 4, 2], IDS[torch.arange(3), [1, 4, 2]]])  # fmt: skip
    values = torch.cat([
        importance(net, [{k: v[row : row + 1] for k, v in data.items()}], "bert.encoder.layer.0", target="label",
                   position=place).values
        for row, place in enumerate((1, 4, 2))
    ])  # fmt: skip
    assert torch.allclose(values, (h * g).sum(1), atol=1e-12)


def test_next_tokens_do_not_stand_for_labels_where_later_tokens_are_seen():
    net = model_of("bert")
    with pytest.raises(InputError, match="RA203: .* a later token changes earlier answers, so the model is not causal"):
        importance(net, [batch()], "bert.encoder.layer.0", target="loss")
    found = splice(net, [batch()], "bert.encoder.layer.0", sparse_autoencoder(torch.eye(16), torch.eye(16)))
    assert torch.isnan(found.losses).all()
    assert "not causal" in found.clean.note
    assert float(found.kl) > 0


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_no_position(side):
    """The same texts alone and padded: the same logit, loss and mean row."""
    net = model_of("llama")
    pad = torch.zeros(3, 4, dtype=torch.int64)
    parts = [IDS, pad] if side == "right" else [pad, IDS]
    mask = torch.cat([torch.ones_like(p) if p is IDS else p for p in parts], 1)
    padded = {"input_ids": torch.cat(parts, 1), "attention_mask": mask}
    sae = sparse_autoencoder(torch.eye(16), torch.eye(16))
    for options in ({}, {"target": "loss"}, {"position": 1, "target": 3}):
        alone, beside = (importance(net, [b], "model.layers.1", **options).values for b in (batch(), padded))
        assert torch.allclose(alone, beside, atol=2e-5), options
    one, other = (splice(net, [b], "model.layers.1", sae) for b in (batch(), padded))
    for name in ("clean", "spliced", "mean", "zero", "kl", "agreement"):
        assert float(getattr(one, name)) == pytest.approx(float(getattr(other, name)), abs=1e-5), name


def test_a_splice_that_keeps_its_error_gives_the_clean_logits():
    net = model_of("gpt2")
    sae = sparse_autoencoder(torch.randn(40, 16), torch.randn(16, 40), architecture="topk", k=3)
    found = splice(net, [batch()], LAYER, sae, keep_error=True)
    assert (found.losses[:, 0] - found.losses[:, 1]).abs().max() < 1e-13
    assert float(found.kl) == pytest.approx(0, abs=1e-13)
    assert float(found.agreement) == 1.0
    batches = splice(net, [{k: v[i : i + 1] for k, v in batch().items()} for i in range(3)], LAYER, sae)
    whole = splice(net, [batch()], LAYER, sae)
    assert torch.allclose(batches.losses, whole.losses, atol=1e-12)


def test_conductance_and_sensitivity_of_a_language_model():
    net = model_of("gpt2")
    found = conductance(net, [batch()], [LAYER], start="transformer.wte", target=4, position=-2, steps=64)
    assert float(found.gap[LAYER]) < 0.05
    noisy = sensitivity(
        lambda_of(net), [net.transformer.wte(IDS).detach()], "net.transformer.h.1", repeats=4, mask=False
    )
    assert (noisy.variance > 0).all()


class OfEmbeddings(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(inputs_embeds=x)


def lambda_of(net):
    return OfEmbeddings(net).eval()


def test_concept_use_of_a_language_model():
    net = model_of("gpt2")
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 23, (60, 7), generator=g)
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    x = repana.record(net, data, [LAYER])[LAYER]
    probe = linear_probe(x, (ids[:, 3] > 11).long())
    found = concept_use(net, data, LAYER, probe, 1, 4, position="first", permutations=5)
    assert found.derivatives.shape == (60,)
    loss = concept_use(net, data, LAYER, probe, 1, "loss", permutations=5)
    assert not torch.allclose(loss.derivatives, found.derivatives)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"position": 7}, r"RA212: position 7 is in no sample of 7 real positions; expected -7 to 6"),
        ({"position": -8}, "RA212: position -8 is in no sample"),
        ({"position": "middle"}, "RA212: `position` is 'first', 'last' or a whole number; got 'middle'"),
        ({"position": 1.5}, "RA212: `position`"),
        ({"target": "label"}, "RA203: position 'last' has no label in some samples"),
        ({"target": 23}, "RA212: `target` is 23; the model has 23 outputs"),
        ({"target": "gain"}, "RA212: `target` is 'gain'"),
    ],
)
def test_wrong_places_are_refused(options, text):
    net = model_of("gpt2")
    with pytest.raises(InputError, match=text):
        importance(net, [batch()], LAYER, **options)
    assert not any(m._forward_hooks for m in net.modules())


def test_hidden_states_are_no_logits():
    """A model without a head gives (b, t, d) too: only an output that is named logits, or the only one, is read."""
    net = transformers.GPT2Model(model_of("gpt2").config).eval()
    with pytest.raises(ModelError, match="RA119"):
        importance(net, [batch()], "h.1", forward=lambda m, b: tuple(m(**b, output_hidden_states=True).hidden_states))


def test_what_reads_one_answer_a_sample_takes_no_logits_of_tokens():
    """Neither the barrier nor stitching may read the last position, let alone a padded one, as the answer."""
    from repana.comparison import barrier, stitching

    a, b = model_of("gpt2"), model_of("gpt2")
    with pytest.raises(ModelError, match="RA119"):
        barrier(a, b, [batch()])
    with pytest.raises(ModelError, match="RA119"):
        stitching(a, LAYER, b, LAYER, [batch()])
