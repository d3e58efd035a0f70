"""Networks of transformers for images, sound, series and several of them at once, tiny."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from zoo._entry import SAMPLES, Entry, lengths
from zoo._language import build, text, words

WIDE = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
IMAGE = WIDE | {"image_size": 24, "patch_size": 8}


def pictures(size: int = 24, **more: Tensor) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(SAMPLES, 3, size, size)} | more


def image(model: str, config: str, size: int = 24, **settings: Any) -> partial:
    return partial(build, model, config, partial(pictures, size), **settings)


def clip_batch() -> dict[str, Tensor]:
    """Ten tokens, as many as patches and the class token."""
    return text(10, (10, 4, 7, 2, 9)) | pictures()


def sound() -> dict[str, Tensor]:
    return {"input_values": torch.randn(SAMPLES, 400)}


def masked_sound() -> dict[str, Tensor]:
    return sound() | {"attention_mask": lengths(400, 200, 300, 150, 390, size=400)}


def spectra() -> dict[str, Tensor]:
    """Spectra of 24 steps and words of 12, as many as the encoder gives."""
    return {"input_features": torch.randn(SAMPLES, 8, 24)} | {
        "decoder_input_ids": words(12, 9, 4, 12, 2, 11),
        "decoder_attention_mask": lengths(9, 4, 12, 2, 11, size=12),
    }


def llava_batch() -> dict[str, Tensor]:
    """Nine image tokens, then words."""
    mask = lengths(14, 11, 12, 10, 13, size=14)
    ids = torch.cat([torch.full((SAMPLES, 9), 1), words(5)], 1) * mask
    return {"input_ids": ids, "attention_mask": mask} | pictures()


def clip() -> tuple:
    import transformers

    tower = WIDE | {"num_hidden_layers": 3}
    config = transformers.CLIPConfig(
        text_config=tower | {"vocab_size": 50, "max_position_embeddings": 16, "eos_token_id": 2},
        vision_config=tower | {"image_size": 24, "patch_size": 8},
        projection_dim=8,
    )
    return transformers.CLIPModel(config).eval(), clip_batch()


def llava() -> tuple:
    import transformers

    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**IMAGE),
        text_config=transformers.LlamaConfig(**WIDE, vocab_size=50, num_key_value_heads=1, pad_token_id=0),
        image_token_index=1,
        image_seq_length=9,
        vision_feature_layer=-1,
    )
    return transformers.LlavaForConditionalGeneration(config).eval(), llava_batch()


def detr() -> tuple:
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    sizes = {
        f"{s}_{n}": v
        for s in ("encoder", "decoder")
        for n, v in (("layers", 2), ("ffn_dim", 20), ("attention_heads", 2))
    }
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        backbone_config=backbone,
        d_model=12,
        num_queries=6,
        num_labels=4,
        **sizes,
    )
    return transformers.DetrForObjectDetection(config).eval(), pictures(48)


WAV = WIDE | {"conv_dim": (8, 8, 8), "conv_stride": (5, 2, 2), "conv_kernel": (10, 3, 3), "num_feat_extract_layers": 3}
WAV |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 32}
SEQUENCES = {"*": "b t c|b c h w"}
TABLES = {"*.position_embedding": "none", "*rotary_emb*": "none"}
NO_MASK = {"mask": False}
CONVOLVED = {"feature_extractor*": "b c t", "encoder.pos_conv_embed.*": "b c t", "*": "b t c"}

ENTRIES = [
    Entry("hf_vit", image("ViTModel", "ViTConfig", **IMAGE), SEQUENCES, options=NO_MASK),
    Entry(
        "hf_dinov2",
        image("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **IMAGE, num_register_tokens=3),
        SEQUENCES,
        options=NO_MASK,
    ),
    Entry(
        "hf_beit",
        image("BeitModel", "BeitConfig", **IMAGE, use_relative_position_bias=True),
        {"*.relative_position_bias": "none"} | SEQUENCES,
        options=NO_MASK,
    ),
    Entry(
        "hf_segformer",
        image("SegformerModel", "SegformerConfig", 48, depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 12, 12]),
        SEQUENCES,
        options=NO_MASK,
    ),
    Entry(
        "hf_vit_mae",  # keeps three of nine patches, by the noise in the batch
        partial(
            build,
            "ViTMAEModel",
            "ViTMAEConfig",
            lambda: pictures(noise=torch.rand(SAMPLES, 9)),
            **IMAGE,
            decoder_hidden_size=12,
            decoder_num_attention_heads=2,
        ),
        SEQUENCES,
        refused=("embeddings[1]",),
        options=NO_MASK,
    ),
    Entry(
        "hf_swin",
        image(
            "SwinModel",
            "SwinConfig",
            32,
            image_size=32,
            patch_size=4,
            embed_dim=8,
            depths=[2, 2],
            num_heads=[2, 2],
            window_size=4,
        ),
        {
            "*.relative_position_bias": "none",
            "*.attention*": "(b w) t c",
            "*.dropout@1": "(b w) t c",
            "pooler": "b c t",
        }
        | SEQUENCES,
        options=NO_MASK,
    ),
    Entry(
        "hf_convnextv2",  # its first maps have 8 x 8 positions and 8 channels
        image("ConvNextV2Model", "ConvNextV2Config", 32, hidden_sizes=[8, 12], depths=[2, 1], num_stages=2),
        {f"*.layers.*.{name}": "b h w c" for name in ("layernorm", "pwconv?", "act", "grn")} | SEQUENCES,
    ),
    Entry(
        "hf_timesformer",  # attention over time and over space in turns
        partial(
            build,
            "TimesformerModel",
            "TimesformerConfig",
            lambda: {"pixel_values": torch.randn(SAMPLES, 4, 3, 24, 24)},
            **IMAGE,
            num_frames=4,
        ),
        {
            "*.projection": "(b w) c h w",
            "embeddings.*_drop": "(b w) t c",
            "embeddings.patch_embeddings[0]": "(b w) t c",
            "*.temporal_dense": "b t c",
            "*.temporal_*": "(b w) t c|(b w) c q k",
            "*.layernorm_before": "(b w) t c",
            "*.attention*": "(b w) t c|(b w) c q k",
            "*.drop_path@3": "b t c",
            "*.drop_path": "(b w) t c",
            "*": "b t c",
        },
        options=NO_MASK,
    ),
    Entry(
        "hf_siglip",
        image("SiglipVisionModel", "SiglipVisionConfig", **IMAGE),
        {"head.attention[1]": "b c t"} | TABLES | SEQUENCES,  # one query: all attention is positions
        refused=("head.attention[1]",),
        options=NO_MASK,
    ),
    Entry(
        "hf_clip",
        clip,
        TABLES | SEQUENCES,
        {"text_model.*": "attention_mask"},
        auto="vision_model.pre_layrnorm vision_model.encoder.layers.{0-2} vision_model.post_layernorm "
        "visual_projection text_model.embeddings text_model.encoder.layers.{0-2} text_model.final_layer_norm "
        "text_projection",
    ),
    Entry(
        "hf_vilt",  # words and patches in one sequence, patches chosen sample by sample
        partial(
            build,
            "ViltModel",
            "ViltConfig",
            lambda: text() | pictures(),
            **IMAGE,
            vocab_size=50,
            max_position_embeddings=16,
        ),
        {"*.position_embeddings": "none", "*token_type_embeddings": "none", "*.attention.dropout": "b c q k"}
        | SEQUENCES,
        {"embeddings.text_embeddings*": "attention_mask"},
        refused=("embeddings.dropout", "pooler*"),
        never=("embeddings[0]", "encoder.*", "layernorm"),
    ),
    Entry(
        "hf_llava",
        llava,
        {"model.image_hidden_states": "(b t) c"} | TABLES | SEQUENCES,
        {
            "model.vision_tower*": "",
            "model.multi_modal_projector*": "",
            "model.image_hidden_states": "",
            "*": "attention_mask",
        },
        refused=("model.image_hidden_states",),
    ),
    Entry(
        "hf_detr",  # before they meet the image, the queries do not depend on it
        detr,
        {
            "model.position_embedding": "none",
            "model.decoder.layers.0.self_attn*": "none",
            "model.decoder.layers.0.encoder_attn.q_proj": "none",
        }
        | SEQUENCES,
        options=NO_MASK,
    ),
    Entry(
        "hf_perceiver",  # its latents do not depend on the input before they meet it
        partial(
            build,
            "PerceiverModel",
            "PerceiverConfig",
            lambda: {"inputs": torch.randn(SAMPLES, 9, 8)},
            d_model=8,
            num_latents=6,
            d_latents=12,
            num_blocks=1,
            num_self_attends_per_block=2,
            num_self_attention_heads=2,
            num_cross_attention_heads=2,
        ),
        {
            "embeddings": "none",
            "encoder.cross_attention.attention.self.layernorm1": "none",
            "encoder.cross_attention.attention.self.query": "none",
            "*.dropout": "b c q k",
            "*": "b t c",
        },
        refused=("*.dropout",),
        options=NO_MASK,
    ),
    Entry(
        "hf_whisper",  # as many words as the encoder gives steps, and as many features
        partial(
            build,
            "WhisperModel",
            "WhisperConfig",
            spectra,
            vocab_size=50,
            num_mel_bins=8,
            d_model=12,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=20,
            decoder_ffn_dim=20,
            max_source_positions=12,
            max_target_positions=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        ),
        {"*.embed_positions": "none", "encoder.conv?": "b c t", "*": "b t c"},
        {
            "*.encoder_attn.k_proj": "",
            "*.encoder_attn.v_proj": "",
            "decoder.*": "decoder_attention_mask",
        },
    ),
    Entry(
        "hf_wav2vec2",
        partial(build, "Wav2Vec2Model", "Wav2Vec2Config", sound, **WAV, feat_extract_norm="layer"),
        {"*.parametrizations.*": "none", "feature_extractor.*.layer_norm": "b t c"} | CONVOLVED,
        options=NO_MASK,
    ),
    Entry(
        "hf_wav2vec2_masked",  # its mask is for the waveform, and no layer has that length
        partial(build, "Wav2Vec2Model", "Wav2Vec2Config", masked_sound, **WAV),
        {"*.parametrizations.*": "none"} | CONVOLVED,
        never=("*",),
    ),
    Entry(
        "hf_wav2vec2_conformer",
        partial(
            build,
            "Wav2Vec2ConformerModel",
            "Wav2Vec2ConformerConfig",
            sound,
            **(WAV | {"num_hidden_layers": 3}),
        ),
        {
            "encoder.embed_positions": "none",
            "*.linear_pos": "none",
            "*.conv_module.layer_norm": "b t c",
            "*.conv_module.*": "b c t",
        }
        | CONVOLVED,
        options=NO_MASK,
        auto="feature_extractor.conv_layers.{0-2} feature_projection encoder.layers.{0-2} encoder.layer_norm",
    ),
    Entry(
        "hf_ast",
        partial(
            build,
            "ASTModel",
            "ASTConfig",
            lambda: {"input_values": torch.randn(SAMPLES, 24, 16)},
            **WIDE,
            patch_size=8,
            frequency_stride=8,
            time_stride=8,
            max_length=24,
            num_mel_bins=16,
        ),
        SEQUENCES,
        options=NO_MASK,
    ),
    Entry(
        "hf_patchtst",  # every variable is a sequence of its own
        partial(
            build,
            "PatchTSTModel",
            "PatchTSTConfig",
            lambda: {"past_values": torch.randn(SAMPLES, 24, 3)},
            num_input_channels=3,
            context_length=24,
            patch_length=4,
            patch_stride=4,
            d_model=12,
            num_attention_heads=2,
            ffn_dim=20,
            num_hidden_layers=2,
        ),
        {"*.batchnorm": "(b v) c t", "scaler*[0]": "b t c", "scaler*": "b c v", "*": "(b v) t c|b v t c"},
        refused=("scaler*", "patchifier", "masking"),
        options=NO_MASK,
    ),
]
