"""Networks of timm, small or narrow."""

from functools import partial
from typing import Any

import torch
from torch import nn
from zoo._entry import SAMPLES, Entry

MAP = {"*": "b c h w"}


def _build(name: str, size: int, **settings: Any) -> tuple[nn.Module, Any]:
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=7, **settings)
    return model.eval(), (torch.randn(SAMPLES, 3, size, size), torch.arange(SAMPLES) % 3)


def named(name: str, size: int = 64, **settings: Any) -> partial:
    """A model by its name; sizes and widths that are not given are those of the name."""
    return partial(_build, name, size, **settings)


def sized(name: str, size: int = 64, **settings: Any) -> partial:
    """A model that has to be told the size of its input."""
    return partial(_build, name, size, img_size=size, **settings)


ENTRIES = [
    Entry(
        "timm_mobilevit_s",
        named("mobilevit_s"),
        {
            "*.transformer.*_norm": "(b w) c t c",
            "*.transformer*": "(b w) t c",
            "stages.?.1.norm": "(b w) t c",
            "*": "b c h w",
        },
        auto="stem stages.0.0 stages.1.{0-2} stages.{2,3,4}.{0,1} final_conv head.fc H",
    ),
    Entry(
        "timm_mixer_s32_224",
        sized("mixer_s32_224", 96),
        {"stem.proj": "b c h w", "*.mlp_tokens*": "b c t", "*": "b t c"},
        auto="stem blocks.{0-7} norm head H",
        options={"mask": False},
    ),
    Entry(
        "timm_efficientformerv2_s0",
        sized("efficientformerv2_s0"),
        MAP,
        auto="stem stages.0.blocks.{0,1} stages.1.downsample stages.1.blocks.{0,1} stages.2.downsample "
        "stages.2.blocks.{0-5} stages.3.downsample stages.3.blocks.{0-3} norm head head_dist",
    ),
    Entry(
        "timm_davit_tiny",
        named("davit_tiny", embed_dims=(16, 24, 32, 48), num_heads=(2, 2, 4, 4)),
        {"*.0.attn*": "(b w) t c", "*": "b t c|b c h w"},
        auto="stem stages.0.blocks.0.{0,1} stages.1.downsample stages.1.blocks.0.{0,1} stages.2.downsample "
        "stages.2.blocks.{0-2}.{0,1} stages.3.downsample stages.3.blocks.0.{0,1} head.fc H",
    ),
    Entry(
        "timm_tf_efficientnetv2_b0",
        named("tf_efficientnetv2_b0"),
        MAP,
        auto="bn1 blocks.0.0 blocks.{1,2}.{0,1} blocks.3.{0-2} blocks.4.{0-4} blocks.5.{0-7} bn2 classifier H",
    ),
    Entry(
        "timm_swin_tiny",  # 16 x 16 positions, 16 channels, 16 positions a window
        sized("swin_tiny_patch4_window7_224", window_size=4, embed_dim=16, num_heads=(2, 2, 4, 4)),
        {"patch_embed.proj": "b c h w", "*.attn*": "(b w) t c|(b w) c q k", "*": "b t c|b h w c"},
    ),
    Entry("timm_coatnet_0_rw_224", sized("coatnet_0_rw_224"), MAP),
    Entry(
        "timm_gmlp_ti16_224",
        sized("gmlp_ti16_224"),
        {"stem.proj": "b c h w", "*.gate.proj": "b c t", "*": "b t c"},
        options={"mask": False},
    ),
    Entry(
        "timm_levit_128s",
        sized("levit_128s"),
        {"stages.*.bn": "(b t) c", "*": "b t c|b c h w"},
        options={"mask": False},
    ),
    Entry(
        "timm_mambaout_femto",
        named("mambaout_femto"),
        {"*.conv": "b c h w", "stem.conv?": "b c h w", "stem.act": "b c h w", "*": "b h w c"},
    ),
    Entry(
        "timm_pvt_v2_b0",
        named("pvt_v2_b0"),
        {"patch_embed.norm": "b h w c", "*.downsample.norm": "b h w c", "patch_embed": "b h w c"}
        | {"*.downsample": "b h w c", "*": "b t c|b c h w"},
    ),
    Entry(
        "timm_eva02_tiny_patch14_224",
        sized("eva02_tiny_patch14_224", 56, depth=3),
        {"patch_embed.proj": "b c h w", "*": "b t c|b c t c"},
        options={"mask": False},
    ),
    Entry(
        "timm_cait_xxs24_224",  # its talking heads are linear maps over the heads
        sized("cait_xxs24_224", depth=3),
        {"patch_embed.proj": "b c h w", "*.proj_?": "b q k c", "*.attn_drop": "b c q k", "*": "b t c"},
        options={"mask": False},
    ),
    Entry(
        "timm_volo_d1_224",  # its outlook attention unfolds and folds maps (im2col, col2im)
        sized("volo_d1_224"),
        {
            "network.0.*.unfold": "b c t",
            "network.0.*.pool": "b c h w",
            "network.0.*.attn_drop": "b c t c c",
            "network.*.attn_drop": "b c q k",
            "network.1.proj": "b c h w",
            "network.*": "b h w c",
            "pos_drop": "b h w c",
            "*": "b t c|b c h w",
        },
        refused=("network.0.*",),
        slow=True,
    ),
    Entry("timm_convnext_atto", named("convnext_atto"), MAP),
    Entry(
        "timm_hiera_tiny_224",
        sized("hiera_tiny_224", embed_dim=24, num_heads=1),
        {"patch_embed.proj": "b c h w", "*": "b t c"},
        options={"mask": False},
    ),
    Entry(
        "timm_twins_svt_small",  # windows of 7 x 7 on padded maps
        sized("twins_svt_small", embed_dims=(16, 32, 32, 32), num_heads=(2, 4, 4, 4)),
        {"*": "b t c|b c h w|b h w y x c"},
        options={"mask": False},
    ),
    Entry(
        "timm_xcit_nano_12_p16_224",  # its attention is over channels
        sized("xcit_nano_12_p16_224", depth=2),
        {"pos_embed*": "none", "*.attn_drop": "b c c c", "*": "b t c|b c h w"},
        refused=("*.attn_drop",),
        options={"mask": False},
    ),
    Entry(
        "timm_nest_tiny",
        sized("nest_tiny"),
        {"*.transformer_encoder*": "b g t c", "norm": "b h w c", "*.pool.norm": "b h w c", "*": "b c h w"},
    ),
    Entry(
        "timm_edgenext_xx_small",
        named("edgenext_xx_small"),
        {
            "*.pos_embd*": "none",
            "*.attn_drop": "b c c c",
            "head.*": "b c h w",
            "*.norm": "b h w c",
            "*.mlp*": "b h w c",
            "*": "b t c|b c h w",
        },
        refused=("*.attn_drop",),
    ),
    Entry(
        "timm_sequencer2d_s",  # recurrent along rows and along columns of 8 x 8 positions
        sized("sequencer2d_s", 56, embed_dims=(24, 24, 24, 24), hidden_sizes=(6, 6, 6, 6), layers=(1, 1, 2, 1)),
        {
            "*.down": "b c h w",
            "*.rnn_?[1]*": "l (b w) c",
            "*.rnn_?[0]": "(b w) t c",
            "stem.proj": "b c h w",
            "*": "b h w c",
        },
        refused=("*.rnn_?[1]*",),
    ),
]
