"""Language models of transformers, tiny, with batches that are padded."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from zoo._entry import SAMPLES, Entry, lengths

WORDS = 50
PADDED = (9, 4, 7, 2, 9)
ENCODER = {
    "vocab_size": WORDS,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def words(size: int, *real: int, start: int = 3) -> Tensor:
    """Token ids (b, t), 0 where there is padding."""
    ids = torch.randint(start, WORDS, (SAMPLES, size))
    return ids * lengths(*real, size=size) if real else ids


def text(size: int = 9, real: tuple[int, ...] = PADDED, prefix: str = "") -> dict[str, Tensor]:
    """Ids and their mask under the names that the models give them."""
    return {f"{prefix}input_ids": words(size, *real), f"{prefix}attention_mask": lengths(*real, size=size)}


def build(model: str, config: str, batch: Any, **settings: Any) -> tuple[nn.Module, Any]:
    import transformers

    made = getattr(transformers, model)(getattr(transformers, config)(**settings))
    return made.eval(), batch()


def encoder(model: str, config: str, size: int = 9, **settings: Any) -> partial:
    """An encoder of three layers of width 12 over nine tokens."""
    real = PADDED if size == 9 else (size, 4, 7, 2, size - 1)
    return partial(build, model, config, partial(text, size, real), **(ENCODER | settings))


def classified(size: int = 9) -> tuple[dict[str, Tensor], Tensor]:
    return text(size, PADDED if size == 9 else (size, 4, 7, 2, size - 1)), torch.arange(SAMPLES) % 3


def two_texts(source: int, target: int, real: tuple[int, ...] = (5, 3, 6, 2, 6)) -> dict[str, Tensor]:
    """Source and target, each with its mask."""
    return text(source, (source, 4, 7, 2, source - 1)) | text(target, real, "decoder_")


MASKED = {"*": "attention_mask"}
TWO_MASKS = {
    "encoder*": "attention_mask",
    "*.EncDecAttention.k": "attention_mask",
    "*.EncDecAttention.v": "attention_mask",
    "*.encoder_attn.k_proj": "attention_mask",
    "*.encoder_attn.v_proj": "attention_mask",
    "*": "decoder_attention_mask",
}
TOKENS = {"*.position_embeddings": "none", "*.token_type_embeddings": "none", "*": "b t c"}
T5 = {"vocab_size": WORDS, "d_model": 12, "d_kv": 6, "d_ff": 20, "num_layers": 3, "num_heads": 2}
T5_LIST = " ".join(f"{s}.embed_tokens {s}.block.{{0-2}} {s}.final_layer_norm" for s in ("encoder", "decoder"))
BART = {"vocab_size": WORDS, "d_model": 12, "encoder_layers": 3, "decoder_layers": 3, "max_position_embeddings": 64}
BART |= {
    f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("ffn_dim", 20), ("attention_heads", 2))
}
POOLED = "encoder.blocks.1.0"  # half as many tokens as the mask has
FUNNEL_MASKS = {f"{POOLED}.attention.{x}_head": "attention_mask" for x in "kv"} | {f"{POOLED}*": ""}
FUNNEL_MASKS |= {"encoder.last_hidden_state": "", "encoder.hidden_states[2]": "", "*": "attention_mask"}
FUNNEL_NEVER = tuple(
    f"{POOLED}{x}" for x in ("[0]", ".ffn*", ".attention[0]", ".attention.*_dropout", ".attention.layer_norm")
)
FUNNEL_NEVER += (
    f"{POOLED}.attention.q_head",
    f"{POOLED}.attention.post_proj",
    "encoder.last_hidden_state",
    "encoder.hidden_states[2]",
)
ROTARY = {"*rotary_emb*": "none", "*": "b t c"}
LLAMA = ENCODER | {"num_key_value_heads": 1, "head_dim": 6}

ENTRIES = [
    Entry(
        "hf_bert",
        partial(build, "BertForSequenceClassification", "BertConfig", classified, num_labels=3, **ENCODER),
        TOKENS,
        MASKED,
        auto="bert.embeddings bert.encoder.layer.{0-2} classifier H",
    ),
    Entry("hf_bert_square", encoder("BertModel", "BertConfig", 12), TOKENS, MASKED),
    Entry(
        "hf_albert",
        encoder("AlbertModel", "AlbertConfig", embedding_size=8),
        TOKENS,
        MASKED,
        auto="embeddings encoder.embedding_hidden_mapping_in encoder.albert_layer_groups.0@{1-3} pooler_activation",
    ),
    Entry(
        "hf_distilbert",
        partial(
            build,
            "DistilBertModel",
            "DistilBertConfig",
            text,
            vocab_size=WORDS,
            dim=12,
            hidden_dim=20,
            n_layers=2,
            n_heads=2,
        ),
        TOKENS,
        MASKED,
    ),
    Entry(
        "hf_modernbert",
        encoder(
            "ModernBertModel",
            "ModernBertConfig",
            global_attn_every_n_layers=2,
            local_attention=4,
            eos_token_id=1,
            bos_token_id=2,
            cls_token_id=2,
            sep_token_id=1,
        ),
        ROTARY,
        MASKED,
    ),
    Entry(
        "hf_mpnet",
        encoder("MPNetModel", "MPNetConfig"),
        {"*.relative_attention_bias": "none", "*": "b t c|b c t t"},
        MASKED,
        refused=("*.attn.dropout",),
    ),
    Entry(
        "hf_deberta",
        encoder(
            "DebertaV2Model",
            "DebertaV2Config",
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
        ),
        {"*.position_embeddings": "none", "*.self.pos_*": "none", "*": "b t c|b c t t"},
        MASKED,
        refused=("*.self.dropout",),
    ),
    Entry(
        "hf_xlnet",
        partial(
            build, "XLNetModel", "XLNetConfig", text, vocab_size=WORDS, d_model=12, n_layer=2, n_head=2, d_inner=20
        ),
        {"dropout@2": "none", "*": "t b c|b c t t"},
        MASKED,
        refused=("*.rel_attn.dropout@1",),
    ),
    Entry(
        "hf_squeezebert",
        encoder(
            "SqueezeBertModel",
            "SqueezeBertConfig",
            embedding_size=12,
            q_groups=2,
            k_groups=2,
            v_groups=2,
            post_attention_groups=1,
            intermediate_groups=2,
            output_groups=2,
        ),
        {"*.matmul_qkv": "b c t c", "encoder.layers.*": "b c t|b c t t"} | TOKENS,
        MASKED,
        refused=("*.matmul_qk*", "*.softmax", "*.attention.dropout"),
    ),
    Entry(
        "hf_fnet",
        partial(
            build,
            "FNetModel",
            "FNetConfig",
            lambda: {"input_ids": words(9)},
            **{k: v for k, v in ENCODER.items() if k != "num_attention_heads"},
        ),
        TOKENS,
        options={"mask": False},
        refused=("*.fourier.self[0]",),
    ),
    Entry(
        "hf_longformer",
        encoder("LongformerModel", "LongformerConfig", 16, attention_window=4),
        {"*.query": "t b c", "*.key": "t b c", "*.value": "t b c", "*.token_type_embeddings": "none", "*": "b t c"},
        MASKED,
        refused=("*.attention.self[0]", "*.attention.output.dense", "*.attention.output.dropout"),
    ),
    Entry(
        "hf_funnel",
        partial(
            build,
            "FunnelModel",
            "FunnelConfig",
            partial(text, 16, (16, 4, 7, 2, 15)),
            vocab_size=WORDS,
            block_sizes=[1, 1],
            d_model=12,
            n_head=2,
            d_head=6,
            d_inner=20,
        ),
        {"*.???_dropout": "none", "*": "b t c|b c t t"},
        FUNNEL_MASKS,
        refused=("*.attention_dropout", "decoder.*"),
        never=FUNNEL_NEVER,
    ),
    Entry(
        "hf_gpt2",
        partial(
            build,
            "GPT2LMHeadModel",
            "GPT2Config",
            text,
            vocab_size=WORDS,
            n_embd=12,
            n_layer=3,
            n_head=2,
            n_positions=64,
        ),
        {"transformer.wpe": "none", "*": "b t c"},
        MASKED,
        auto="transformer.wte transformer.h.{0-2} transformer.ln_f",
    ),
    Entry(
        "hf_llama",
        partial(build, "LlamaForCausalLM", "LlamaConfig", text, **LLAMA),
        ROTARY,
        MASKED,
        auto="model.embed_tokens model.layers.{0-2} model.norm",
    ),
    Entry(
        "hf_gemma2",
        partial(build, "Gemma2ForCausalLM", "Gemma2Config", text, **LLAMA),
        {"*.self_attn[1]": "b c t t"} | ROTARY,
        MASKED,
        refused=("*.self_attn[1]",),
    ),
    Entry(
        "hf_qwen3", partial(build, "Qwen3Model", "Qwen3Config", text, **LLAMA), {"*.?_norm": "b t c c"} | ROTARY, MASKED
    ),
    Entry(
        "hf_qwen2_moe",
        partial(
            build,
            "Qwen2MoeModel",
            "Qwen2MoeConfig",
            text,
            moe_intermediate_size=12,
            shared_expert_intermediate_size=14,
            num_experts=4,
            num_experts_per_tok=2,
            **ENCODER,
            num_key_value_heads=1,
        ),
        {"*.experts.act_fn": "none", "*.mlp.*": "(b t) c"} | ROTARY,
        MASKED,
        refused=("*.mlp.*",),
    ),
    Entry(
        "hf_bloom",
        partial(build, "BloomModel", "BloomConfig", text, vocab_size=WORDS, hidden_size=12, n_layer=3, n_head=2),
        {"*": "b t c|b c t t"},
        MASKED,
        refused=("*[1]", "*.attention_dropout"),
    ),
    Entry(
        "hf_mamba",
        partial(
            build,
            "MambaModel",
            "MambaConfig",
            lambda: {"input_ids": words(12)},
            vocab_size=WORDS,
            hidden_size=12,
            num_hidden_layers=3,
            state_size=4,
            time_step_rank=3,
        ),
        {"*.conv1d": "b c t", "*.mixer.act": "b c t", "*": "b t c"},
        options={"mask": False},
        auto="embeddings layers.{0-2} norm_f",
    ),
    Entry(
        "hf_rwkv",
        partial(
            build,
            "RwkvModel",
            "RwkvConfig",
            lambda: {"input_ids": words(9)},
            use_cache=False,
            vocab_size=WORDS,
            hidden_size=12,
            num_hidden_layers=2,
        ),
        {"*": "b t c"},
        options={"mask": False},
    ),
    Entry(
        "hf_t5",
        partial(build, "T5Model", "T5Config", partial(two_texts, 9, 6), **T5),
        {"*.relative_attention_bias": "none", "*": "b t c|none"},
        TWO_MASKS,
        auto=T5_LIST,
    ),
    Entry(
        "hf_t5_equal",
        partial(build, "T5ForConditionalGeneration", "T5Config", partial(two_texts, 9, 9, (3, 8, 9, 6, 5)), **T5),
        {"*.relative_attention_bias": "none", "*": "b t c|none"},
        TWO_MASKS,
        auto=T5_LIST,
    ),
    Entry(
        "hf_bart",
        partial(build, "BartModel", "BartConfig", partial(two_texts, 9, 6), **BART),
        {"*.embed_positions": "none", "*": "b t c"},
        TWO_MASKS,
        auto=" ".join(f"{s}.embed_tokens {s}.layernorm_embedding {s}.layers.{{0-2}}" for s in ("encoder", "decoder")),
    ),
]
