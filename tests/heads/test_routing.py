"""Routers: reference values, real mixtures of experts, nulls, and refusals."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information
from torch import nn
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, MixtralConfig, MixtralForCausalLM

from repana import plots
from repana.errors import ModelError
from repana.heads import routing
from repana.heads._router_statistics import VALUES, RouterRows, RouterSums, adjusted, log_probabilities


def m0():
    """Ninety tokens, six experts, one of them dead (language_models.md 1.7)."""
    r = np.random.default_rng(0)
    logits = r.standard_normal((90, 6)) + np.array([0, 0, 0, 0.5, -0.5, -9])
    y = np.arange(90) % 3
    logits[np.arange(90), y] += 1.5
    log_p = log_probabilities(torch.from_numpy(logits))
    weights, chosen = log_p.exp().topk(2, 1)
    of_tokens = (torch.arange(90), torch.from_numpy(y), torch.zeros(90).long(), torch.zeros(90).long())
    return RouterRows(log_p, chosen, weights, *of_tokens), logits


ROWS, LOGITS = m0()
WHOLE = RouterSums.of(ROWS, 90, 3).weighted(torch.ones(1, 90, dtype=torch.float64))
M0 = {
    "cv": 0.6568725002, "effective": 4.3851431954, "maximum": 5 / 3, "balance": 1.3905577673,
    "row_entropy": 1.1367991208, "mean_entropy": 1.5268005399, "dead": 1 / 6, "purity": 0.7,
    "uncertainty": 0.3115975363,
}  # fmt: skip


def test_reference_values():
    assert WHOLE.assigned[0].tolist() == [50, 48, 39, 37, 6, 0]
    importance = (0.2469700555, 0.2897419251, 0.2142479844, 0.1809940683, 0.0680276541, 0.0000183127)
    assert (WHOLE.probability[0] / 90).tolist() == pytest.approx(importance, abs=1e-10)
    assert float(WHOLE.weight[0, 0]) / 90 == pytest.approx(0.2795886215, abs=1e-10)
    for name, value in M0.items():
        assert float(VALUES[name](WHOLE)[0]) == pytest.approx(value, abs=1e-10), name
    value, expected = adjusted(WHOLE.table[0])
    assert (value, expected) == pytest.approx((0.2806944087, 0.0471990709), abs=1e-9)
    first, y = ROWS.first.numpy(), ROWS.label.numpy()
    entropy = np.log(3)
    assert mutual_info_score(y, first) / entropy == pytest.approx(M0["uncertainty"])


def test_probabilities_are_not_taken_for_logits():
    p = torch.from_numpy(LOGITS).softmax(1)
    assert torch.allclose(log_probabilities(p), ROWS.log_p, atol=1e-12)
    assert torch.allclose(log_probabilities(torch.from_numpy(LOGITS) + 7), ROWS.log_p, atol=1e-12)


class Router(nn.Module):
    """Scores of all experts, those of the two largest, and their weights."""

    def __init__(self):
        super().__init__()
        self.alone = nn.Identity()

    def forward(self, x):
        scores = self.alone(x.flatten(0, 1))
        weights, chosen = scores.softmax(1).topk(2, 1)
        return scores, weights, chosen


class Mixture(nn.Module):
    """A network whose words are the scores of a router."""

    def __init__(self, scores):
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.from_numpy(scores))
        self.router, self.head = Router(), nn.Linear(scores.shape[1], 3).double()

    def forward(self, input_ids, attention_mask=None):
        h = self.words(input_ids)
        self.router(h)
        return self.head(h.mean(1))


class Vectors(Mixture):
    def forward(self, x, attention_mask=None):
        self.router(x)
        return self.head(x.mean(1))


def given(b=30, t=3, **more):
    ids = torch.arange(b * t).view(b, t)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}


def test_a_router_is_found_by_what_it_gives():
    labels = torch.from_numpy(np.arange(90) % 3).view(30, 3)
    found = routing(Mixture(LOGITS), [given(labels=labels)])
    use = found["router"]
    for name in ("cv", "effective", "maximum", "balance", "row_entropy", "purity", "uncertainty"):
        e = getattr(use, name)
        assert e.value == pytest.approx(M0[name], abs=1e-10), name
        assert e.low <= e.value <= e.high
    assert use.purity.null == pytest.approx(0.43, abs=0.02)
    assert use.purity.p == 1 / 200
    assert use.adjusted.value == pytest.approx(0.2806944087, abs=1e-9)
    assert use.dead.value == pytest.approx(1 / 6)
    assert "less than 0.017 of all choices" in use.dead.note
    named = routing(Mixture(LOGITS), [given(labels=labels)], routers=["router.alone"], k=2)
    assert named["router.alone"].cv == use.cv
    assert (found.tokens, found.texts) == (90, 30)


def test_padding_is_left_out_and_labels_of_texts_are_permuted_whole():
    mask = torch.ones(30, 3, dtype=torch.int64)
    mask[:, 2] = 0
    found = routing(Mixture(LOGITS), [{**given(), "attention_mask": mask, "labels": torch.arange(30) % 2}])
    assert found.tokens == 60
    assert found["router"].load.sum() == pytest.approx(1)
    kept = np.arange(90) % 3 != 2
    counts = np.bincount(np.argsort(-LOGITS[kept], 1)[:, :2].ravel(), minlength=6)
    assert found["router"].load.tolist() == pytest.approx((counts / 120).tolist())
    assert 0.01 < found["router"].purity.p < 1


def test_even_choices_are_the_null():
    r = np.random.default_rng(0)
    scores = r.standard_normal((3000, 8))
    ids = torch.arange(3000).view(300, 10)
    use = routing(Mixture(scores), [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}], batch_size=300)[
        "router"
    ]
    assert use.cv.value == pytest.approx(use.cv.null, rel=0.8)
    assert use.effective.value == pytest.approx(8, abs=0.05)
    assert np.isnan(use.purity.value)


@pytest.mark.parametrize("kind", ["mixtral", "deepseek"])
def test_mixtures_of_transformers(kind):
    torch.manual_seed(0)
    sizes = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2,
             "pad_token_id": 0}  # fmt: skip
    if kind == "mixtral":
        config = MixtralConfig(**sizes, intermediate_size=16, num_local_experts=4, num_experts_per_tok=2)
        model = MixtralForCausalLM(config)
    else:
        config = DeepseekV3Config(
            **{**sizes, "num_key_value_heads": 4}, intermediate_size=16, moe_intermediate_size=8, n_routed_experts=8,
            num_experts_per_tok=2, n_group=2, topk_group=1, n_shared_experts=1, first_k_dense_replace=1,
            q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4,
        )  # fmt: skip
        model = DeepseekV3ForCausalLM(config)
    ids = torch.randint(3, 23, (12, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[:4, 6:] = 0
    found = routing(model.eval(), [{"input_ids": ids, "attention_mask": mask}])
    assert len(found.routers) == (2 if kind == "mixtral" else 1)
    assert found.tokens == int(mask.sum())
    for use in found.routers.values():
        assert float(use.load.sum()) == pytest.approx(1)
        assert float(use.gate.sum()) == pytest.approx(1, abs=1e-6)
        assert 1 <= use.effective.value <= len(use.load)
    assert not any(m._forward_hooks for m in model.modules())
    assert set(found.frame()["router"]) == set(found.routers)


def test_what_word_and_position_tell_stands_beside():
    """Against scikit-learn, with the entropy of classes as the norm; and where the class is the word."""
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 6, (30, 3), generator=g)
    labels = (ids + torch.randint(0, 2, (30, 3), generator=g)) % 4
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}]
    use = routing(Mixture(LOGITS), data)["router"]

    def by_hand(group):
        table = contingency_matrix(group, labels.flatten())
        expected = expected_mutual_information(table.astype(np.int64), 90)
        p = np.bincount(labels.flatten()) / 90
        entropy = -(p * np.log(p)).sum()
        return (mutual_info_score(group, labels.flatten()) - expected) / (entropy - expected)

    assert use.of_word.value == pytest.approx(by_hand(ids.flatten().numpy()), abs=1e-10)
    assert use.of_position.value == pytest.approx(by_hand(np.arange(90) % 3), abs=1e-10)
    assert use.of_word.value > 0.3 > use.of_position.value
    same = routing(Mixture(LOGITS), [{**data[0], "labels": ids % 4}])["router"]
    assert same.of_word.value == pytest.approx(1)
    vectors = {
        "x": torch.randn(30, 3, 6, generator=g).double(),
        "attention_mask": torch.ones(30, 3).long(),
        "labels": labels,
    }
    assert np.isnan(routing(Vectors(LOGITS), [vectors])["router"].of_word.value)


def test_what_is_no_router_is_refused():
    plain = nn.Sequential(nn.Embedding(23, 8), nn.Flatten(1), nn.Linear(24, 3))
    data = [torch.zeros(6, 3, dtype=torch.int64)]
    with pytest.raises(ModelError, match="RA135: no module gave scores"):
        routing(plain, data, mask=False)
    model = Mixture(LOGITS)
    with pytest.raises(ModelError, match="RA135: 'router.alone' gives scores alone"):
        routing(model, [given()], routers=["router.alone"])
    with pytest.raises(ModelError, match="RA135: `k` is 6"):
        routing(model, [given()], routers=["router.alone"], k=6)
    with pytest.raises(ModelError, match="RA101"):
        routing(model, [given()], routers=["gate"])
    with pytest.raises(ModelError, match="RA101"):
        routing(model, [given()])["gate"]


def test_the_figure_shows_the_numbers(tmp_path):
    labels = torch.from_numpy(np.arange(90) % 3).view(30, 3)
    found = routing(Mixture(LOGITS), [given(labels=labels)], permutations=0)
    axes = plots.expert_load(found)
    assert axes[0].get_images()[0].get_array()[0].tolist() == pytest.approx((6 * found["router"].load).tolist())
    dead = next(line for line in axes[0].get_lines() if line.get_label() == "_dead")
    assert (dead.get_xdata().tolist(), dead.get_ydata().tolist()) == ([5], [0])
    found.plot().savefig(tmp_path / "experts.pdf")
    plain = plots.expert_load(routing(Mixture(LOGITS), [given()]))
    assert plain[1].get_lines()[0].get_ydata().tolist() == [pytest.approx(M0["effective"])]
