"""A mask belongs to a stream of positions: which one, which way round, and what is refused."""

import pytest
import torch
from torch import nn

from repana import InputError, ModelError, plan, record


def mean(x, mask):
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def lengths(n, t, *, least=1):
    return (torch.arange(t) < torch.randint(least, t + 1, (n, 1))).long()


def output(net, batch, name):
    out = []
    handle = net.get_submodule(name).register_forward_hook(
        lambda m, a, o: out.append(o[0] if isinstance(o, tuple) else o)
    )
    with torch.no_grad():
        net(**batch)
    handle.remove()
    return out[0]


def t5(n=30, t=16, decoder=16):
    from transformers import T5Config, T5Model

    net = T5Model(T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)).eval()
    return net, {
        "input_ids": torch.randint(2, 100, (n, t)),
        "attention_mask": lengths(n, t, least=3),
        "decoder_input_ids": torch.randint(2, 100, (n, decoder)),
        "decoder_attention_mask": lengths(n, decoder, least=3),
    }


@pytest.mark.parametrize("decoder", [16, 9])
def test_encoder_and_decoder_have_their_own_masks(decoder):
    net, batch = t5(decoder=decoder)
    got = record(net, batch, ["encoder.block.1[0]", "decoder.block.1[0]"])
    for side, key in (("encoder", "attention_mask"), ("decoder", "decoder_attention_mask")):
        want = mean(output(net, batch, f"{side}.block.1"), batch[key])
        torch.testing.assert_close(got[f"{side}.block.1[0]"], want, rtol=1e-4, atol=1e-5)


def test_masks_by_layer():
    net, batch = t5()
    everything = {"encoder.*": "attention_mask", "decoder.*": "decoder_attention_mask"}
    chosen = record(net, batch, ["encoder.block.1[0]", "decoder.block.1[0]"], mask=everything)
    found = record(net, batch, ["encoder.block.1[0]", "decoder.block.1[0]"])
    for layer in chosen:
        torch.testing.assert_close(chosen[layer], found[layer])
    none = record(net, batch, ["decoder.block.1[0]"], mask={"decoder.*": False})
    torch.testing.assert_close(none["decoder.block.1[0]"], output(net, batch, "decoder.block.1").mean(1))
    first = record(
        net, batch, ["decoder.block.1[0]"], mask={"*": lambda b: b["decoder_attention_mask"], "decoder.*": False}
    )
    torch.testing.assert_close(first["decoder.block.1[0]"], found["decoder.block.1[0]"])
    noted = plan(net, batch, ["decoder.block.1[0]"], mask="attention_mask").layers[0].notes
    assert noted == (
        "the operations show the mask 'decoder_attention_mask' over these positions, and `mask` says 'attention_mask'",
    )


def test_a_vision_tower_takes_no_mask_of_the_text():
    """Also where there are as many tokens as patches and the class token."""
    from transformers import CLIPConfig, CLIPModel

    sides = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=sides | {"vocab_size": 50, "max_position_embeddings": 10, "eos_token_id": 49},
        vision_config=sides | {"image_size": 12, "patch_size": 4},
        projection_dim=8,
    )
    net = CLIPModel(config).eval()
    batch = {
        "input_ids": torch.randint(2, 49, (6, 10)),
        "attention_mask": lengths(6, 10, least=2),
        "pixel_values": torch.randn(6, 3, 12, 12),
    }
    layers = ["vision_model.encoder.layers.0", "text_model.encoder.layers.0"]
    got = record(net, batch, layers)
    torch.testing.assert_close(got[layers[0]], output(net, batch, layers[0]).mean(1), rtol=1e-4, atol=1e-5)
    want = mean(output(net, batch, layers[1]), batch["attention_mask"])
    torch.testing.assert_close(got[layers[1]], want, rtol=1e-4, atol=1e-5)


class Attention(nn.Module):
    """One head over embedded tokens; `keep` says how the mask is read."""

    def __init__(self, keep=lambda mask: mask.bool(), name="attention_mask"):
        super().__init__()
        self.embed, self.q, self.v = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.keep, self.name = keep, name

    def forward(self, input_ids, attention_mask=None, key_padding_mask=None, pad_mask=None, padding=None):
        masks = {"attention_mask": attention_mask, "key_padding_mask": key_padding_mask, "pad_mask": pad_mask}
        masks["padding"] = padding
        x = self.embed(input_ids)
        scores = self.q(x) @ self.q(x).transpose(1, 2)
        scores = scores.masked_fill(~self.keep(masks[self.name])[:, None], float("-inf"))
        return self.v(scores.softmax(-1) @ x)


IDS, MASK = torch.randint(0, 20, (9, 7), generator=torch.Generator().manual_seed(0)), torch.arange(7) < torch.tensor(
    [3, 7, 5, 2, 7, 4, 1, 6, 7]
)[:, None]  # fmt: skip


@pytest.mark.parametrize("kind", ["Boolean", "0 and 1", "floats", "additive", "packed", "four axes"])
def test_forms_of_a_mask(kind):
    forms = {
        "Boolean": (MASK, lambda m: m),
        "0 and 1": (MASK.long(), lambda m: m.bool()),
        "floats": (MASK.float(), lambda m: m.bool()),
        "additive": (torch.where(MASK, 0.0, -1e4), lambda m: m == 0),
        "packed": (MASK * torch.arange(1, 8), lambda m: m > 0),
        "four axes": (MASK[:, None, None].long(), lambda m: m[:, 0, 0].bool()),
    }
    mask, keep = forms[kind]
    net = Attention(keep).eval()
    got = record(net, {"input_ids": IDS, "attention_mask": mask}, ["v"])["v"]
    torch.testing.assert_close(got, mean(net(IDS, attention_mask=mask).detach(), MASK), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["key_padding_mask", "pad_mask", "padding"])
def test_a_boolean_mask_of_padding_is_the_other_way_round(name):
    net = Attention(lambda m: ~m, name).eval()
    batch = {"input_ids": IDS, name: ~MASK}
    got = record(net, batch, ["v"], mask=None if name != "padding" else {"*": lambda b: ~b["padding"]})["v"]
    torch.testing.assert_close(got, mean(net(**batch).detach(), MASK), rtol=1e-4, atol=1e-6)


def test_a_mask_whose_zeros_are_real_is_refused():
    net = Attention(lambda m: m == 0).eval()
    batch = {"input_ids": IDS, "attention_mask": (~MASK).long()}
    with pytest.raises(ModelError) as error:
        record(net, batch, ["v"])
    assert str(error.value).startswith(
        "RA126: inputs at the positions that the mask 'attention_mask' calls padding move the output of 'v' at real "
        "positions (by "
    )
    got = record(net, batch, ["v"], mask=lambda b: b["attention_mask"] == 0)["v"]
    torch.testing.assert_close(got, mean(net(**batch).detach(), MASK), rtol=1e-4, atol=1e-6)


def test_a_network_that_mixes_padding_into_tokens_is_noted():
    class Leaking(Attention):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(6, 6, 3, padding=1)

        def forward(self, input_ids, attention_mask):
            return self.conv(super().forward(input_ids, attention_mask=attention_mask).transpose(1, 2))

    batch = {"input_ids": IDS, "attention_mask": MASK.long()}
    assert any(note.startswith("RA126: in 'conv' padding moves") for note in plan(Leaking(), batch, ["conv"]).notes)
    assert not plan(Attention(), batch, ["v"]).notes


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (
            torch.rand(9, 7) / 2 + 0.25,
            "RA125: the mask 'attention_mask' holds ",
        ),
        (
            torch.ones(9, 7, 7).long(),
            None,
        ),
        (
            torch.ones(9, 1, 7, 7),
            "RA125: the mask 'attention_mask' has shape (9, 1, 7, 7); expected (batch, positions). Give a function: "
            "mask=lambda batch: ... (True at real positions).",
        ),
        (
            torch.cat([MASK[:8], MASK[:1] & False]).long(),
            "RA125: the mask 'attention_mask' has no real position in sample 8 of batch 0 (counted from 0); nothing "
            "can "
            "be averaged there. Leave the sample out, or correct the mask.",
        ),
    ],
)
def test_masks_that_are_refused(mask, text):
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 6)

        def forward(self, input_ids, attention_mask):
            return self.embed(input_ids)

    with pytest.raises((InputError, ModelError)) as error:
        record(Reading(), {"input_ids": IDS, "attention_mask": mask}, ["embed"])
    assert str(error.value).startswith(text or "RA107: 'embed' is a sequence")


def test_a_stream_whose_length_changed_is_refused_for_its_layers_only():
    class Speech(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.conv, self.out = nn.Linear(4, 6), nn.Conv1d(6, 6, 2, stride=2), nn.Linear(6, 3)

        def forward(self, x, attention_mask):
            h = self.lin(x) * attention_mask[..., None]
            return self.out(self.conv(h.transpose(1, 2)).mean(2))

    net, batch = Speech(), {"x": torch.randn(9, 8, 4), "attention_mask": lengths(9, 8, least=2)}
    got = record(net, batch)
    assert list(got) == ["lin", "out:in", "out"]
    assert any(note.startswith("RA113: left out 'conv'") for note in got.provenance["notes"])
    with pytest.raises(ModelError) as error:
        record(net, batch, ["conv"])
    assert str(error.value) == (
        "RA113: 'conv' has 4 positions on axis 2, and of the masks of its inputs ('attention_mask' of length 8) "
        "there is "
        "none of that length. Name its mask with mask={'conv': ...} (a key or a function of the batch, or False), or "
        "choose 'conv|flatten'."
    )
    frames = lambda b: b["attention_mask"][:, ::2]  # noqa: E731
    named = record(net, batch, ["conv"], mask={"conv": frames})["conv"]
    torch.testing.assert_close(named, mean(output(net, batch, "conv").transpose(1, 2), batch["attention_mask"][:, ::2]))


def test_a_maximum_leaves_padding_out():
    net = Attention().eval()
    batch = {"input_ids": IDS, "attention_mask": MASK.long()}
    out = net(**batch).detach().masked_fill(~MASK[..., None], float("-inf"))
    torch.testing.assert_close(record(net, batch, ["v|max"])["v|max"], out.amax(1), rtol=1e-4, atol=1e-6)


def test_a_mask_that_stands_in_the_batch_by_place():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 6)

        def forward(self, ids, mask=None):
            return self.embed(ids)

    net = Encoder()
    with pytest.raises(InputError) as error:
        record(net, [(IDS, MASK.long())], ["embed"], mask=False)
    assert str(error.value) == (
        "RA210: the second tensor of the batch has the shape (9, 7) of the token ids and holds 0 and 1: a mask, or a "
        "label for each token? Say mask=1, or labels=1."
    )
    got = record(net, [(IDS, MASK.long())], ["embed"], mask=1)
    torch.testing.assert_close(got["embed"], mean(net.embed(IDS).detach(), MASK))
    assert got.labels is None
    with pytest.raises(InputError, match="RA210: `mask` is entry 5 of the batch, which is a tuple of 2"):
        record(net, [(IDS, MASK.long())], ["embed"], mask=5)
    with pytest.raises(InputError, match="RA212: `mask` is a list; expected a key of the batch"):
        record(net, [(IDS, MASK.long())], ["embed"], mask=[1], labels=False)


def steps(net, x, mask):
    """A loop over time whose steps are put together again."""
    state, outs = torch.zeros(len(x), 6), []
    for i in range(x.shape[1]):
        state = (net.embed(x[:, i]) + state).tanh()
        outs.append(state)
    return net.out(torch.stack(outs, 1))


MOVED = {
    "reversed": lambda net, x, mask: net.out(net.embed(x).flip(1)),
    "rolled": lambda net, x, mask: net.out(net.embed(x).roll(3, 1)),
    "permuted": lambda net, x, mask: net.out(net.embed(x)[:, torch.tensor([1, 0, 3, 2, 5, 4, 6])]),
    "shifted right": lambda net, x, mask: net.out(torch.cat([torch.zeros(len(x), 1, 6), net.embed(x)[:, :-1]], 1)),
    "halves swapped": lambda net, x, mask: net.out(torch.cat([net.embed(x)[:, 4:], net.embed(x)[:, :4]], 1)),
    "padded in front": lambda net, x, mask: net.out(nn.functional.pad(net.embed(x), (0, 0, 2, 0))[:, :7]),
    "a loop": steps,
}


@pytest.mark.parametrize("how", MOVED)
def test_no_mask_for_positions_that_no_longer_stand_where_they_were(how):
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(20, 6), nn.Linear(6, 3)

        def forward(self, input_ids, attention_mask):
            return MOVED[how](self, input_ids, attention_mask)

    net, batch = Moving(), {"input_ids": IDS, "attention_mask": MASK.long()}
    with pytest.raises(ModelError, match="RA113: 'out' has 7 positions on axis 1"):
        record(net, batch, ["out"])
    said = record(net, batch, ["out"], mask={"out": "attention_mask"})["out"]
    torch.testing.assert_close(said, mean(output(net, batch, "out"), MASK))


def test_a_mask_of_another_name_that_leaks_is_refused():
    """Both ways round move something: a name other than attention_mask does not decide."""

    class Convolving(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.conv = nn.Embedding(20, 6), nn.Conv1d(6, 6, 3, padding=1)

        def forward(self, input_ids, padding_mask):
            h = self.embed(input_ids) * (padding_mask == 0)[..., None]
            return self.conv((self.embed(input_ids) + h).transpose(1, 2))

    with pytest.raises(ModelError, match="RA126: inputs at the positions that the mask 'padding_mask' calls padding"):
        record(Convolving(), {"input_ids": IDS, "padding_mask": (~MASK).long()}, ["conv"])


def test_tokens_as_rows_follow_their_samples():
    """Samples of different lengths whose tokens could be shared out evenly: rows are counted by the mask."""

    class Taking(Attention):
        def forward(self, input_ids, attention_mask):
            return self.v(self.embed(input_ids)[torch.arange(len(input_ids)) + 0 * attention_mask[:, 0]])

    mask = (torch.arange(7) < torch.tensor([3, 7, 5, 1, 7, 4, 1, 6, 6])[:, None]).long()
    assert int(mask[:4].sum()) % 4 == 0
    net = Taking().eval()
    got = record(net, {"input_ids": IDS, "attention_mask": mask}, ["v"], pool="tokens")["v"]
    torch.testing.assert_close(got, net.v(net.embed(IDS)).detach()[mask.bool()])


@pytest.mark.parametrize(("name", "moves"), [("gpt2", True), ("llama", False)])
def test_left_padding_without_position_numbers_is_told(name, moves):
    """Where it moves features: tables of positions, not rotary embeddings."""
    from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if name == "gpt2":
        model = GPT2Model(GPT2Config(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=20, **ids))
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        model = LlamaModel(LlamaConfig(vocab_size=30, **sizes, **ids))
    words = torch.randint(3, 30, (6, 8))
    mask = torch.ones_like(words)
    mask[:2, :3] = 0
    left = {"input_ids": words, "attention_mask": mask}
    notes = plan(model.eval(), [left]).notes
    assert any("padded on the left" in note and "give position_ids = " in note for note in notes) == moves
    numbered = {**left, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    assert not any("padded on the left" in note for note in plan(model, [numbered]).notes)
    right = {"input_ids": words, "attention_mask": mask.flip(1)}
    assert not any("padded on the left" in note for note in plan(model, [right]).notes)


def test_an_output_of_several_tensors_is_looked_at_tensor_by_tensor():
    """Where the mask of a decoder is checked although the layer that is named looks at no other position."""
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=23, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    ids = torch.randint(3, 23, (12, 9))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    own = {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    data = [{"input_ids": ids, "attention_mask": mask, **own}]
    model = BartForConditionalGeneration(config).eval()
    for address in ("model.decoder.layers.0:in[0]", "model.decoder.layers.0#in"):
        assert record(model, data, [address])[address].shape == (12, 16)
