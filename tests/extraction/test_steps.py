"""Steps of a generation put together, and positions by number."""

import pytest
import torch
from torch import nn
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    StoppingCriteriaList,
    T5Config,
    T5ForConditionalGeneration,
)

import repana
from repana.errors import ModelError

NAMES = ["transformer.h.0", "transformer.ln_f"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=40, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    return GPT2LMHeadModel(config).double().eval()


@pytest.fixture(scope="module")
def prompts():
    ids = torch.randint(3, 30, (6, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    return {"input_ids": ids, "attention_mask": mask}


def generating(**options):
    defaults = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    return lambda model, batch: model.generate(**batch, **{**defaults, **options})


@pytest.mark.parametrize("cache", [True, False])
def test_steps_are_the_full_pass_over_all_but_the_last_token(model, prompts, cache):
    before = [len(m._forward_hooks) for m in model.modules()]
    found = repana.record(model, [prompts], NAMES, pool="steps", forward=generating(use_cache=cache))
    assert "generate" not in vars(model)
    assert [len(m._forward_hooks) for m in model.modules()] == before
    tokens = torch.tensor(found.provenance["generated"])
    assert tokens.shape == (6, 10)
    real = torch.cat([prompts["attention_mask"], torch.ones(6, 3, dtype=torch.int64)], 1)
    places = (real.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        whole = model.transformer(
            tokens[:, :-1], attention_mask=real, position_ids=places, output_hidden_states=True
        ).hidden_states
    assert torch.allclose(found[NAMES[0]], whole[1][real.bool()], atol=1e-13)
    assert torch.allclose(found[NAMES[1]], whole[2][real.bool()], atol=1e-13)
    assert found.sample.bincount().tolist() == [7, 9, 9, 9, 9, 9]


def test_a_text_ends_where_its_last_token_was_generated(model, prompts):
    free = torch.tensor(
        repana.record(model, [prompts], NAMES[:1], pool="steps", forward=generating()).provenance["generated"]
    )
    row = next(i for i in range(1, 6) if free[i, 6] != free[i, 7])
    end = int(free[row, 7])
    found = repana.record(model, [prompts], NAMES[:1], pool="steps", forward=generating(eos_token_id=[end, 29]))
    tokens = torch.tensor(found.provenance["generated"])
    lengths = []
    for line, prompt in zip(tokens.tolist(), prompts["attention_mask"].sum(1).tolist()):
        new = line[6:-1]
        lengths.append(prompt + next((k for k, t in enumerate(new) if t in (end, 29)), len(new)))
    assert found.sample.bincount(minlength=6).tolist() == lengths
    assert lengths[row] == 7  # the token behind the prompt, and none of those behind the end


def test_what_is_sampled_follows_from_the_seed(model, prompts):
    def tokens(seed):
        data, forward = [prompts, prompts], generating(do_sample=True)
        return repana.record(model, data, NAMES[:1], pool="steps", forward=forward, seed=seed).provenance["generated"]

    first = tokens(0)
    torch.manual_seed(5)
    assert tokens(0) == first
    assert tokens(1) != first
    assert first[:6] != first[6:]


def test_the_end_of_a_text_is_read_from_any_configuration(model, prompts):
    """By keyword, by a configuration given by name or by place, by the model's own, and inside another model."""
    free = torch.tensor(
        repana.record(model, [prompts], NAMES[:1], pool="steps", forward=generating()).provenance["generated"]
    )
    end, lengths = int(next(row[7] for row in free if row[6] != row[7])), []

    def forward(how):
        config = GenerationConfig(max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=end)
        if how == "place":
            return lambda m, b: m.generate(b["input_ids"], config, attention_mask=b["attention_mask"])
        if how == "inside":
            return lambda m, b: m.lm.generate(**b, generation_config=config)
        if how == "own":
            return lambda m, b: m.generate(**b, generation_config=GenerationConfig(max_new_tokens=8, pad_token_id=0))
        return lambda m, b: m.generate(**b, max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=end)

    outer = nn.Module()
    outer.lm = model
    for how in ("keyword", "place", "inside", "own"):
        before = model.generation_config.eos_token_id
        model.generation_config.eos_token_id = end if how == "own" else None
        whole, name = (outer, "lm." + NAMES[0]) if how == "inside" else (model, NAMES[0])
        found = repana.record(whole, [prompts], [name], pool="steps", forward=forward(how))
        model.generation_config.eos_token_id = before
        tokens = found.provenance["generated"]
        lengths.append(found.sample.bincount(minlength=6).tolist())
    assert all(x == lengths[0] for x in lengths)
    ended = [row for row in tokens if end in row[6:-1]]
    assert ended
    assert any(len(row) > 6 + row[6:].index(end) + 1 for row in ended)


def test_ends_and_calls_that_are_not_known(model, prompts):
    stops = StoppingCriteriaList([lambda ids, scores, **k: torch.zeros(len(ids), dtype=torch.bool)])
    with pytest.raises(ModelError, match="RA137: generation with stopping criteria"):
        repana.record(model, [prompts], NAMES, pool="steps", forward=generating(stopping_criteria=stops))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.block = nn.Embedding(30, 8), nn.Linear(8, 8)

        def forward(self, ids):
            return self.block(self.block(self.words(ids)))

    def by_word(m, ids):
        return torch.cat([m(ids[:, t : t + 1]) for t in range(3)], 1)

    with pytest.raises(ModelError, match="RA137: 'block' ran 6 times in 3 passes"):
        repana.record(Twice(), [prompts["input_ids"]], ["block"], pool="steps", forward=by_word, mask=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"num_beams": 3}, "num_beams=3"), ({"num_return_sequences": 2, "do_sample": True}, "num_return_sequences=2")],
)
def test_texts_that_change_places_are_refused(model, prompts, options, says):
    with pytest.raises(ModelError, match=f"RA137: generation with {says}"):
        repana.record(model, [prompts], NAMES, pool="steps", forward=generating(**options))
    assert "generate" not in vars(model)


def test_steps_by_address_and_of_heads(model, prompts):
    found = repana.record(model, [prompts], ["transformer.h.1.attn#h*"], pool="steps", forward=generating())
    assert found["transformer.h.1.attn#h1"].shape == (52, 8)
    named = repana.record(model, [prompts], ["transformer.h.0|steps"], forward=generating())
    assert named["transformer.h.0|steps"].shape == (52, 16)
    with pytest.raises(ModelError, match="RA137: .* leave out the number of the call"):
        repana.record(model, [prompts], ["transformer.h.0@2"], pool="steps", forward=generating())
    labelled = [(prompts, torch.arange(6) % 3)]
    forward = lambda model, batch: generating()(model, batch[0])  # noqa: E731
    found = repana.record(model, labelled, NAMES, pool="steps", forward=forward)
    assert torch.equal(found.labels, found.sample % 3)


def test_a_decoder_begins_with_one_token():
    torch.manual_seed(0)
    config = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    ids = torch.randint(3, 30, (6, 5), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    found = repana.record(model, data, ["decoder.block.1[0]"], pool="steps", forward=generating())
    assert found["decoder.block.1[0]"].shape == (24, 16)
    tokens = torch.tensor(found.provenance["generated"])
    with torch.no_grad():
        whole = model(**data[0], decoder_input_ids=tokens[:, :-1], output_hidden_states=True).decoder_hidden_states
    seen = []
    handle = model.decoder.block[1].register_forward_hook(lambda m, a, out: seen.append(out[0]))
    with torch.no_grad():
        model(**data[0], decoder_input_ids=tokens[:, :-1])
    handle.remove()
    assert len(whole) == 3
    assert torch.allclose(found["decoder.block.1[0]"], seen[0].flatten(0, 1), atol=1e-5)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x):
        h = x.new_zeros(len(x), 5)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return h


def test_calls_that_give_vectors_are_positions():
    torch.manual_seed(0)
    model, x = Recurrent(), torch.randn(6, 7, 4)
    found = repana.record(model, [x], ["cell"], pool="steps", mask=False)
    single = repana.record(model, [x], ["cell"], mask=False)
    assert torch.equal(found["cell"].view(6, 7, 5)[:, 3], single["cell@4"])
    assert found.sample.tolist() == [i for i in range(6) for _ in range(7)]


def test_positions_by_number(model, prompts):
    found = repana.record(model, [prompts], ["transformer.h.0", "transformer.h.0|0", "transformer.h.0|3"], pool=-2)
    rows = repana.record(model, [prompts], ["transformer.h.0"], pool="tokens")
    by_text = [rows["transformer.h.0"][rows.sample == i] for i in range(6)]
    for name, place in (("transformer.h.0", -2), ("transformer.h.0|0", 0), ("transformer.h.0|3", 3)):
        assert torch.equal(found[name], torch.stack([x[place] for x in by_text])), name
    assert torch.equal(found["transformer.h.0|0"], repana.record(model, [prompts], NAMES[:1], pool="cls")[NAMES[0]])
    with pytest.raises(ModelError, match="RA111: .* the shortest of which has 4 real positions; expected -4 to 3"):
        repana.record(model, [prompts], NAMES[:1], pool={"transformer.h.0": 4})
    with pytest.raises(ModelError, match=r"RA111: 'transformer.h.0\|first' asks for the pooling 'first'"):
        repana.record(model, [prompts], ["transformer.h.0|first"])
