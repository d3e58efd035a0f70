"""Linear relations between layers: the reference, exact linear networks, Jacobians by autograd, texts and maps."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import repana
from repana.errors import InputError, ModelError
from repana.extraction._attribution import reading
from repana.extraction._between import Between, Point, numbered
from repana.findings import find
from repana.probes import compare_probes, concept_use, relation


def l4() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    r = np.random.default_rng(4)
    w1, b1 = r.standard_normal((9, 6)) / 6**0.5, 0.1 * r.standard_normal(9)
    w2, b2 = r.standard_normal((7, 9)) / 3, 0.1 * r.standard_normal(7)
    u, c = r.standard_normal((3, 7)), r.standard_normal((3, 6))
    y = np.arange(24) % 3
    s = 1.2 * c[y] + 0.4 * r.standard_normal((24, 6))
    layers = nn.Identity(), nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7), nn.Linear(7, 3, bias=False)
    model = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        for p, value in zip(model.parameters(), (w1, b1, w2, b2, u)):
            p.copy_(torch.from_numpy(value))
    return model, torch.from_numpy(s), torch.from_numpy(y)


MODEL, S, Y = l4()
OPTIONS = {"fit": range(9), "answered": "all"}


def test_the_reference_map() -> None:
    assert float(S[0, 0]) == pytest.approx(0.326819291723, abs=1e-11)
    found = relation(MODEL, (S, Y), "0", "3", rank=2, **OPTIONS)
    assert float(found.weight[0, 0]) == pytest.approx(-0.0304778847, abs=1e-9)
    assert float(found.weight.norm()) == pytest.approx(1.6662356091, abs=1e-9)
    assert float(found.bias[0]) == pytest.approx(0.1309394192, abs=1e-9)
    assert float(found.bias.norm()) == pytest.approx(0.6023245250, abs=1e-9)
    assert float(found.spread) == pytest.approx(0.4985826313, abs=1e-9)
    assert float(found.r2) == pytest.approx(0.4693979744, abs=1e-9)
    assert float(found.faithfulness) == pytest.approx(14 / 15)
    assert found.faithfulness.null == pytest.approx(14 / 15)
    assert float(found.mean_difference) == pytest.approx(2 / 3)
    twice = relation(MODEL, (S, Y), "0", "3", rank=2, beta=2.0, **OPTIONS)
    assert float(twice.r2) == pytest.approx(-2.608, abs=5e-4)


@pytest.mark.parametrize(
    ("rank", "first", "accuracy", "distance"),
    [
        (2, 0.2150214974, 0.8, 0.4217849390),
        (4, 0.2514689636, 13 / 15, 0.1403273307),
        (6, 0.4374189423, 2 / 3, 0.1187741207),
    ],
)
def test_the_reference_directions(rank: int, first: float, accuracy: float, distance: float) -> None:
    found = relation(MODEL, (S, Y), "0", "3", rank=rank, **OPTIONS)
    assert float(found.vectors()[0, 0]) == pytest.approx(first, abs=1e-9)
    assert float(found.accuracy) == pytest.approx(accuracy, abs=1e-9)
    assert float(found.edit_distance) == pytest.approx(distance, abs=1e-9)


def test_a_linear_network_is_its_own_map() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)).double().eval()
    x = torch.randn(40, 6, dtype=torch.float64)
    found = relation(model, (x, model(x).argmax(1)), "0", "1", rank=5)
    assert torch.allclose(found.weight, model[1].weight, atol=1e-13)
    assert torch.allclose(found.bias, model[1].bias, atol=1e-13)
    assert float(found.r2) == pytest.approx(1, abs=1e-12)
    assert float(found.spread) == pytest.approx(0, abs=1e-12)
    assert float(found.faithfulness) == 1
    s = found.subjects[found.fitted]
    means = torch.stack([s[found.codes[found.fitted] == c].mean(0) for c in range(len(found.classes))])
    assert torch.allclose(found.vectors(), means / means.norm(dim=1, keepdim=True), atol=1e-10)
    logits = relation(model, (x, model(x).argmax(1)), "0", "2")
    assert torch.allclose(logits.weight, model[2].weight @ model[1].weight, atol=1e-13)
    assert float(logits.faithfulness) == 1


def test_edits_do_what_they_say_by_hand() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 3)).double().eval()
    x = torch.randn(300, 6, dtype=torch.float64)
    with torch.no_grad():
        model[3].bias -= model(x).mean(0)
    y = model(x).argmax(1)
    found = relation(model, (x, y), "0", "2", fit=60)
    assert len(found.classes) == 3
    with torch.no_grad():
        s, o = model[0](x), model[:3](x)
        assert torch.allclose(found.subjects, s)
        assert torch.allclose(found.objects, o)
        test, fit = ~found.fitted, found.fitted
        goal = (found.codes[test] + 1) % 3
        means = torch.stack([o[fit][found.codes[fit] == c].mean(0) for c in range(3)])
        inverse, v = found.inverse(), found.vectors()
        edits = {
            "edit_causality": (means[goal] - o[test]) @ inverse.T,
            "causality": s[test].norm(dim=1, keepdim=True) * (v[goal] - v[found.codes[test]]),
        }
        for name, move in edits.items():
            answers = model[1:](s[test] + move).argmax(1)
            estimate = getattr(found, name)
            assert float(estimate) == pytest.approx(float((answers == goal).double().mean()))
            assert estimate.null < float(estimate)
            assert estimate.p <= 2 / 21


class Words(nn.Module):
    """A network with attention over words, whose answer is read at the last real one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embed = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 20)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        t = input_ids.shape[1]
        future = torch.ones(t, t, dtype=torch.bool).triu(1)
        x = self.block(self.embed(input_ids), src_mask=future, src_key_padding_mask=attention_mask == 0)
        return self.head(self.norm(x))


def texts(n: int = 30) -> list[dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(3)
    batches = []
    for t in (5, 7):
        ids = torch.randint(1, 20, (n // 2, t), generator=draw)
        mask = torch.ones_like(ids)
        mask[::3, -2:] = 0
        batches.append({"input_ids": ids, "attention_mask": mask})
    return batches


@pytest.mark.parametrize("at", ["last", 1, -2, "each"])
def test_a_position_of_a_text_by_hand(at) -> None:
    model, data = Words().eval(), texts()
    lengths = torch.cat([b["attention_mask"].sum(1) for b in data])
    each = torch.arange(30) % 3
    found = relation(model, data, "embed", "block", subject_at=each if at == "each" else at, fit=8, answered="all")
    ids = [row for b in data for row in zip(b["input_ids"], b["attention_mask"])]
    jacobians, rest = [], []
    for i in found.fitted.nonzero()[:, 0].tolist():
        row, mask = ids[i][0][None, : lengths[i]], ids[i][1][None, : lengths[i]]
        place = int(each[i]) if at == "each" else {"last": -1}.get(at, at)
        place = place % int(lengths[i])
        words = model.embed(row).detach()

        def later(s: torch.Tensor, words=words, place=place, mask=mask) -> torch.Tensor:
            x = words.clone()
            x[0, place] = s
            t = x.shape[1]
            future = torch.ones(t, t, dtype=torch.bool).triu(1)
            return model.block(x, src_mask=future, src_key_padding_mask=mask == 0)[0, -1]

        with torch.enable_grad():
            jacobians.append(torch.autograd.functional.jacobian(later, words[0, place]))
        rest.append(later(words[0, place]).detach() - jacobians[-1] @ words[0, place])
        assert torch.allclose(found.subjects[i], words[0, place], atol=1e-6)
    assert torch.allclose(found.weight.float(), torch.stack(jacobians).mean(0), atol=1e-5)
    assert torch.allclose(found.bias.float(), torch.stack(rest).mean(0), atol=1e-5)


def test_a_mean_moves_all_positions_alike() -> None:
    torch.manual_seed(4)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    ).double().eval()  # fmt: skip
    x = torch.randn(24, 2, 7, 7, dtype=torch.float64)
    found = relation(model, (x, model(x).argmax(1)), "0", "2", fit=6)
    with torch.no_grad():
        maps = model[0](x)
    assert torch.allclose(found.subjects, maps.mean((2, 3)))
    jacobians = []
    for i in found.fitted.nonzero()[:, 0].tolist():

        def later(v: torch.Tensor, i: int = i) -> torch.Tensor:
            return model[1:3](maps[i : i + 1] + v[:, None, None]).mean((2, 3))[0]

        jacobians.append(torch.autograd.functional.jacobian(later, torch.zeros(3, dtype=torch.float64)))
    assert torch.allclose(found.weight, torch.stack(jacobians).mean(0), atol=1e-12)


def test_components_in_chunks_and_batches_of_any_size_are_the_same(monkeypatch) -> None:
    whole = relation(MODEL, (S, Y), "0", "3", **OPTIONS)
    monkeypatch.setattr("repana.extraction._between.CHUNK", 2)
    parts = relation(MODEL, (S, Y), "0", "3", batch_size=5, **OPTIONS)
    assert torch.allclose(whole.weight, parts.weight, atol=1e-14)
    assert float(whole.spread) == pytest.approx(float(parts.spread), abs=1e-12)
    assert float(whole.accuracy) == float(parts.accuracy)


def test_modules_that_do_not_batch_gradients_are_read_one_direction_at_a_time() -> None:
    class Squash(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.tanh()

        @staticmethod
        def backward(ctx, slope):
            (x,) = ctx.saved_tensors
            if slope.is_sparse or torch._C._functorch.is_batchedtensor(slope):
                raise RuntimeError("no vmap here")
            return slope * (1 - x.tanh() ** 2)

    class Own(nn.Module):
        def forward(self, x):
            return Squash.apply(x)

    model = copy.deepcopy(MODEL)
    model[2] = Own()
    found = relation(model, (S, Y), "0", "3", **OPTIONS)
    assert torch.allclose(found.weight, relation(MODEL, (S, Y), "0", "3", **OPTIONS).weight, atol=1e-13)


def test_directions_are_a_probe_like_others() -> None:
    found = relation(MODEL, (S, Y), "0", "3", rank=4, **OPTIONS)
    probe, other = found.directions(), found.directions(2)
    assert float(probe.accuracy) == float(found.accuracy)
    assert torch.allclose(probe.weight.T, found.vectors())
    assert float(compare_probes(other, probe).accuracy) == pytest.approx(13 / 15 - 0.8)
    used = concept_use(MODEL, (S, Y), "0", probe, "1", 1, permutations=9)
    assert len(used.derivatives) == 24


def test_the_rank_is_chosen_on_the_fitted_samples() -> None:
    found = relation(MODEL, (S, Y), "0", "3", **OPTIONS)
    curve = found.accuracy_by_rank
    assert float(found.rank) == float(curve[curve[:, 1].argmax(), 0])
    changed = relation(MODEL, (S, torch.where(torch.arange(24) < 9, Y, Y.roll(1))), "0", "3", **OPTIONS)
    assert torch.equal(changed.accuracy_by_rank, curve)
    assert float(changed.accuracy) != float(found.accuracy)


def test_halves_of_the_fitted_samples_have_all_classes() -> None:
    from repana.probes._relation_measures import halves_of

    for codes in (torch.arange(20) % 2, torch.arange(21) % 3, torch.zeros(5, dtype=torch.int64)):
        half = halves_of(codes)
        for c in codes.unique():
            count = torch.bincount(half[codes == c], minlength=2)
            assert abs(int(count[0] - count[1])) <= 1
        assert abs(int(half.sum()) - len(codes) / 2) <= 1


def test_a_class_that_was_not_fitted_is_never_guessed() -> None:
    y = torch.where(torch.arange(24) < 9, Y % 2, Y)
    found = relation(MODEL, (S, y), "0", "3", rank=4, **OPTIONS)
    assert "1 classes have no fitted sample" in found.accuracy.note
    assert 2 not in found.directions().predictions.tolist()
    test = ~found.fitted
    scores = (found.subjects[test] @ found.vectors().T)[:, :2]
    assert float(found.accuracy) == pytest.approx(float((scores.argmax(1) == y[test]).double().mean()))


def test_predictions_of_directions_are_labels_as_they_came() -> None:
    found = relation(MODEL, (S, Y + 0), "0", "3", rank=4, labels=Y.numpy() + 5, **OPTIONS)
    assert set(found.directions().predictions.tolist()) <= {5, 6, 7}
    assert found.classes == ("5", "6", "7")


def test_samples_are_balanced_and_those_answered_wrong_are_left_out() -> None:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    x = torch.randn(200, 6)
    answers = model(x).argmax(1)
    y = torch.where(torch.arange(200) % 4 == 0, (answers + 1) % 3, answers)
    found = relation(model, (x, y), "0", "2", fit=12)
    assert len(found.codes) == 150
    assert torch.equal(found.codes, found.answers)
    assert torch.bincount(found.codes[found.fitted]).tolist() == [4, 4, 4]
    assert len(relation(model, (x, y), "0", "2", answered="all").codes) == 200


def test_names_of_classes_stay_and_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(6)
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 2)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(40, 6)
    model[0].weight.grad = torch.ones(6, 6)
    names = np.where(np.arange(40) % 2, "odd", "even")
    found = relation(model, x, "0", "2", labels=names, answered="all")
    assert found.classes == ("even", "odd")
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(model[0].weight.grad, torch.ones(6, 6))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert "Relation(0 to 2, 40 samples)" in repr(found)


def test_ways_to_say_which_samples_are_fitted_agree() -> None:
    found = relation(MODEL, (S, Y), "0", "3", **OPTIONS)
    mask = torch.arange(24) < 9
    for fit in (mask, mask.numpy(), list(range(9)), np.arange(9)):
        again = relation(MODEL, (S, Y.double()), "0", "3", fit=fit, answered="all")
        assert torch.equal(again.weight, found.weight)
        assert float(again.accuracy) == float(found.accuracy)


def test_without_classes_there_is_a_map_and_no_direction() -> None:
    found = relation(MODEL, S, "0", "3", fit=9)
    assert float(found.r2) == float(found.r2)
    assert np.isnan(found.accuracy.value)
    assert np.isnan(found.causality.value)
    with pytest.raises(InputError, match="RA299: .*no directions"):
        found.directions(1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("3", "0"), ModelError, "no derivative reaches"),
        (("0", "9"), ModelError, "9"),
    ],
)
def test_what_has_no_map_is_refused(arguments, error, text) -> None:
    with pytest.raises(error, match=text):
        relation(MODEL, (S, Y), *arguments, **OPTIONS)


def test_what_has_no_inverse_is_refused() -> None:
    with pytest.raises(InputError, match="numerical rank 6"):
        relation(MODEL, (S, Y), "0", "3", rank=7, **OPTIONS)
    with pytest.raises(InputError, match="answers none"):
        relation(MODEL, (S, torch.full((24,), 2)), "0", "3", fit=range(9))
    with pytest.raises(InputError, match="expected at least 2"):
        relation(MODEL, (S[:3], Y[:3]), "0", "3", answered="all", fit=2)
    for wrong in ([0, 1, 500], [], [0.5, 1.5], torch.ones(7, dtype=torch.bool)):
        with pytest.raises(InputError, match="numbers of samples from 0 to 23"):
            relation(MODEL, (S, Y), "0", "3", fit=wrong, answered="all")
    for wrong in (None, True, [1, 2], np.zeros(24)):
        with pytest.raises(InputError, match="`object_at` is"):
            relation(MODEL, (S, Y), "0", "3", object_at=wrong, **OPTIONS)
    with pytest.raises(InputError, match="two layers"):
        relation(MODEL, (S, Y), "3", "3", **OPTIONS)
    with pytest.raises(InputError, match="NaN or infinite values in 1 sample"):
        relation(MODEL, (S.index_fill(0, torch.tensor([4]), torch.nan), Y), "1", "3", **OPTIONS)
    with pytest.raises(InputError, match="`subject_at` is 'middle'"):
        relation(MODEL, (S, Y), "0", "3", subject_at="middle", **OPTIONS)
    with pytest.raises(InputError, match="position 6 is in no sample of 3"):
        relation(Words().eval(), texts(), "embed", "block", subject_at=6, answered="all")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_causal_language_model(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(7)
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=16)
        model, first, last = transformers.GPT2LMHeadModel(config), "transformer.h.0", "transformer.h.1"
    else:
        config = transformers.LlamaConfig(
            vocab_size=30, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=16,
        )  # fmt: skip
        model, first, last = transformers.LlamaForCausalLM(config), "model.layers.0", "model.layers.1"
    ids = torch.randint(0, 30, (40, 6), generator=torch.Generator().manual_seed(8))
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    with torch.no_grad():
        answers = model.eval()(**data[0]).logits[:, -1].argmax(1)
    found = relation(model, data, first, last, subject_at=-1, labels=answers, fit=10)
    assert torch.equal(found.answers, answers[: len(found.answers)]) or len(found.answers) < 40
    assert found.weight.shape == (16, 16)
    with torch.no_grad():
        hidden = model(**data[0], output_hidden_states=True).hidden_states
    assert torch.allclose(found.subjects, hidden[1][:, -1], atol=1e-5)
    layer = model.transformer.h[1] if kind == "gpt2" else None
    if layer is not None:
        i = int(found.fitted.nonzero()[0, 0])

        def later(s: torch.Tensor) -> torch.Tensor:
            x = hidden[1][i : i + 1].clone()
            x[0, -1] = s
            out = layer(x)
            return (out[0] if isinstance(out, tuple) else out)[0, -1]

        with reading(model, data, [first, last], tokens=True) as (reader, batches):
            ends = [Point.of(reader, name, "last") for name in (first, last)]
            between = Between(reader, numbered(batches), *ends)
            rows = torch.cat([r for _, r in between.jacobian_rows(torch.tensor([i]))], 1)[0]
        expected = torch.autograd.functional.jacobian(later, hidden[1][i, -1])
        assert torch.allclose(rows, expected, atol=1e-4)


def test_the_figure_draws_the_values() -> None:
    from repana import plots

    found = {name: relation(MODEL, (S, Y), name, "3", rank=2, **OPTIONS) for name in ("0", "1", "2")}
    axes = plots.relation_depth(found)
    drawn = [line.get_ydata().tolist() for line in axes[0].lines]
    assert [float(found[name].accuracy) for name in found] in drawn
    assert [float(found[name].r2) for name in found] in [line.get_ydata().tolist() for line in axes[2].lines]
    assert repana.plots.figure_of(axes).axes


@pytest.mark.parametrize("mask", ["auto", {"encoder.*": "attention_mask", "decoder.*": "decoder_attention_mask"}])
def test_from_an_encoder_to_its_decoder(mask) -> None:
    """Each tower has padding of its own; the Jacobian by autograd through a hook."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40, d_model=12, d_kv=6, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config).double().eval()
    words, written = torch.randint(2, 40, (12, 6)), torch.randint(2, 40, (12, 4))
    real, kept = torch.ones_like(words), torch.ones_like(written)
    real[::2, 4:], kept[::3, 3:] = 0, 0
    batch = {
        "input_ids": words, "attention_mask": real, "decoder_input_ids": written, "decoder_attention_mask": kept
    }  # fmt: skip
    y = torch.arange(12) % 2
    options = {} if mask == "auto" else {"mask": mask}
    found = relation(model, [(batch, y)], "encoder.block.0[0]", "decoder.block.1[0]", fit=8, answered="all", **options)
    slopes = []
    for i in found.fitted.nonzero()[:, 0].tolist():
        one = {name: tensor[i : i + 1] for name, tensor in batch.items()}
        at, until = int(real[i].sum()) - 1, int(kept[i].sum()) - 1

        def later(s: torch.Tensor, one=one, at=at, until=until) -> torch.Tensor:
            seen = {}

            def moved(module, given, output):
                rows = output[0].clone()
                rows[0, at] = s
                return (rows, *output[1:])

            def read(module, given, output):
                seen["o"] = output[0][0, until]

            hooks = [
                model.encoder.block[0].register_forward_hook(moved),
                model.decoder.block[1].register_forward_hook(read),
            ]
            model(**one)
            for hook in hooks:
                hook.remove()
            return seen["o"]

        slopes.append(torch.autograd.functional.jacobian(later, found.subjects[i].double()))
    assert torch.allclose(found.weight.double(), torch.stack(slopes).mean(0), atol=1e-6)


def test_a_profile_has_a_row_of_every_earlier_layer(tmp_path) -> None:
    report = repana.profile(
        MODEL, (S, Y), ["0", "1", "2", "3"], analyzers=["spectrum"], relation={"object": "3", **OPTIONS, "rank": 2}
    )
    rows = {(r.layer, r.quantity): r for r in report.rows if r.analyzer == "relation"}
    assert {layer for layer, _ in rows} == {"0", "1", "2"}
    alone = relation(MODEL, (S, Y), "0", "3", rank=2, **OPTIONS)
    for name in ("r2", "spread", "faithfulness", "accuracy", "mean_difference", "causality", "edit_distance"):
        own = getattr(alone, name)
        assert rows["0", name].value == pytest.approx(own.value, abs=1e-9)
        assert rows["0", name].null == pytest.approx(own.null, abs=1e-9, nan_ok=True)
    said = {f.code: f for f in find(report)}["RF509"]
    assert said.severity == "tip"
    assert said.text.endswith("no better.")
    report.save(tmp_path / "r")
    assert [str(r) for r in repana.Report.load(tmp_path / "r").rows] == [str(r) for r in report.rows]
    assert report.provenance["arguments"]["relation"] == {"object": "3", "answered": "all", "rank": 2}
    short = repana.profile(MODEL, (S, Y), ["0", "2"], analyzers=["spectrum"], relation="nowhere")
    assert any("'nowhere'" in line for line in short.failures)  # and nothing else is lost
    assert short.rows


def test_directions_that_are_better_than_means_are_said_to_be() -> None:
    report = repana.profile(MODEL, (S, Y), ["0", "3"], analyzers=["spectrum"], relation={"object": "3", **OPTIONS})
    rows = [
        replace(r, value=0.95, low=0.9) if r.analyzer == "relation" and r.quantity == "accuracy" else r
        for r in report.rows
    ]
    assert {f.code: f for f in find(replace(report, rows=tuple(rows)))}["RF509"].severity == "passed"
