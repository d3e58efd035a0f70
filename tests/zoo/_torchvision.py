"""Networks of torchvision, narrow."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from zoo._entry import SAMPLES, Entry

MAP = {"*": "b c h w"}


def _build(factory: Callable[..., nn.Module], *shape: int, **settings: Any) -> tuple[nn.Module, Any]:
    return factory(num_classes=7, **settings).eval(), (torch.randn(SAMPLES, *shape), torch.arange(SAMPLES) % 3)


def named(name: str, *shape: int, **settings: Any) -> partial:
    """A model by the name of its function."""

    def factory(**settings: Any) -> nn.Module:
        from torchvision import models

        return models.get_model(name, weights=None, **settings)

    return partial(_build, factory, *shape, **settings)


def maxvit(**settings: Any) -> nn.Module:
    from torchvision.models.maxvit import MaxVit

    return MaxVit(
        input_size=(64, 64),
        stem_channels=8,
        partition_size=2,
        block_channels=[8, 16, 16, 24],
        block_layers=[2, 2, 5, 2],
        head_dim=8,
        stochastic_depth_prob=0.2,
        **settings,
    )


def swin(version: int, **settings: Any) -> nn.Module:
    """Its first maps have 16 x 16 positions and 16 channels, four windows a side; the last has less than a window."""
    from torchvision.models import swin_transformer as library

    block = {1: library.SwinTransformerBlock, 2: library.SwinTransformerBlockV2}[version]
    merging = {1: library.PatchMerging, 2: library.PatchMergingV2}[version]
    return library.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=16,
        depths=[2, 2, 6, 2],
        num_heads=[2, 2, 4, 4],
        window_size=[4, 4],
        block=block,
        downsample_layer=merging,
        **settings,
    )


def convnext(**settings: Any) -> nn.Module:
    """Its first maps have 12 x 12 positions and 12 channels."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths = [12, 16, 24, 32, None]
    blocks = [CNBlockConfig(a, b, n) for a, b, n in zip(widths, widths[1:], [3, 3, 9, 3])]
    return ConvNeXt(blocks, **settings)


def vgg(**settings: Any) -> nn.Module:
    from torchvision.models.vgg import VGG, make_layers

    features = make_layers([8, "M", 16, "M", 16, 16, "M", 24, 24, "M", 24, 24, "M"], batch_norm=True)
    with torch.device("meta"):
        model = VGG(features, init_weights=False, **settings)
    model.features = features
    model.avgpool = nn.AdaptiveAvgPool2d(2)
    model.classifier[0], model.classifier[3], model.classifier[6] = (
        nn.Linear(96, 32),
        nn.Linear(32, 32),
        nn.Linear(32, 7),
    )
    return model


def vit(**settings: Any) -> nn.Module:
    """Ten tokens of width ten."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(48, 16, num_layers=12, num_heads=2, hidden_dim=10, mlp_dim=20, **settings)


def r3d(**settings: Any) -> nn.Module:
    from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

    return VideoResNet(BasicBlock, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem, **settings)


def swin3d(**settings: Any) -> nn.Module:
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    return SwinTransformer3d([2, 4, 4], 8, [2, 2], [2, 2], [2, 4, 4], **settings)


def mvit(**settings: Any) -> nn.Module:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    block = partial(MSBlockConfig, num_heads=2, kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3], stride_kv=[1, 2, 2])
    blocks = [
        block(input_channels=8, output_channels=8, stride_q=[1, 1, 1]),
        block(input_channels=8, output_channels=16, stride_q=[1, 2, 2]),
        block(input_channels=16, output_channels=16, stride_q=[1, 1, 1]),
    ]
    return MViT((32, 32), 4, blocks, True, False, True, True, **settings)


SWIN_LIST = "features.0 features.1.{0,1} features.2 features.3.{0,1} features.4 features.5.{0-5} features.6 "
SWIN_LIST += "features.7.{0,1} norm head H"
SWIN = {"features.0.0": "b c h w", "permute": "b c h w", "avgpool": "b c h w", "*": "b h w c"}

ENTRIES = [
    Entry(
        "tv_resnet18",
        named("resnet18", 3, 128, 128),  # 64 channels of 64 x 64
        MAP,
        auto="relu layer{1-4}.{0,1} fc H",
    ),
    Entry("tv_mobilenet_v2", named("mobilenet_v2", 3, 64, 64), MAP, auto="features.{0-18} classifier.1 H"),
    Entry("tv_mobilenet_v3_large", named("mobilenet_v3_large", 3, 64, 64), MAP, auto="features.{0-16} classifier.3 H"),
    Entry(
        "tv_efficientnet_b0",
        named("efficientnet_b0", 3, 64, 64),
        MAP,
        auto="features.0 features.1.0 features.{2,3}.{0,1} features.{4,5}.{0-2} features.6.{0-3} features.7.0 "
        "features.8 classifier.1 H",
    ),
    Entry(
        "tv_regnet_y_400mf",
        named("regnet_y_400mf", 3, 64, 64),
        MAP,
        auto="stem trunk_output.block1.block1-0 trunk_output.block2.block2-{0-2} trunk_output.block3.block3-{0-5} "
        "trunk_output.block4.block4-{0-5} fc H",
    ),
    Entry(
        "tv_googlenet",
        named("googlenet", 3, 64, 64, init_weights=False, aux_logits=False),
        MAP,
        auto="conv{1-3} inception3{a,b} inception4{a,b,c,d,e} inception5{a,b} fc H",
    ),
    Entry(
        "tv_maxvit_t",
        partial(_build, maxvit, 3, 64, 64),
        {"*_attention.departition_op": "b c h w", "*_attention.*": "b g p c", "*": "b c h w"},
        auto="stem blocks.{0,1}.layers.{0,1} blocks.2.layers.{0-4} blocks.3.layers.{0,1} classifier.5 H",
        slow=True,
    ),
    Entry("tv_swin_t", partial(_build, partial(swin, 1), 3, 64, 64), SWIN, auto=SWIN_LIST),
    Entry(
        "tv_swin_v2_t",
        partial(_build, partial(swin, 2), 3, 64, 64),
        {"*.cpb_mlp*": "none", **SWIN},
        auto=SWIN_LIST,
    ),
    Entry(
        "tv_convnext_tiny",
        partial(_build, convnext, 3, 48, 48),
        {f"*.block.{i}": "b h w c" for i in range(1, 6)} | MAP,
        auto="features.0 features.1.{0-2} features.2 features.3.{0-2} features.4 features.5.{0-8} features.6 "
        "features.7.{0-2} classifier.2 H",
    ),
    Entry(
        "tv_densenet121",
        named("densenet121", 3, 64, 64),
        MAP,
        auto="features.relu0 features.denseblock1 features.transition1 features.denseblock2 features.transition2 "
        "features.denseblock3 features.transition3 features.denseblock4 features.norm5 classifier H",
    ),
    Entry(
        "tv_vgg11_bn",
        partial(_build, vgg, 3, 64, 64),
        MAP,
        auto="features.{2,6,10,13,17,20,24,27} classifier.1 classifier.6 H",
    ),
    Entry(
        "tv_vit_b_32",
        partial(_build, vit, 3, 48, 48),
        {"conv_proj": "b c h w", "*": "b t c"},
        options={"mask": False},
        auto="conv_proj encoder.layers.encoder_layer_{0-11} encoder.ln heads.head H",
    ),
    Entry("tv_shufflenet", named("shufflenet_v2_x0_5", 3, 64, 64), MAP),
    Entry("tv_squeezenet", named("squeezenet1_1", 3, 64, 64), MAP),
    Entry("tv_deeplabv3_mobilenet", named("deeplabv3_mobilenet_v3_large", 3, 64, 64, weights_backbone=None), MAP),
    Entry("tv_r3d_18", partial(_build, r3d, 3, 4, 32, 32), {"*": "b c t h w"}),
    Entry(
        "tv_swin3d_t",
        partial(_build, swin3d, 3, 4, 32, 32),
        {"patch_embed.proj": "b c t h w", "avgpool": "b c t h w", "*": "b t h w c"},
    ),
    Entry(
        "tv_mvit",
        partial(_build, mvit, 3, 4, 32, 32),
        {
            "conv_proj": "b c t h w",
            "*.pool_?.pool": "(b g) c t h w",
            "*.pool_?.*": "b c t c",
            "*.pool_?[0]": "b c t c",
            "*.pool_skip.pool": "b c t h w",
            "*": "b t c",
        },
        options={"mask": False},
        refused=("*.pool_?.*", "*.pool_?[0]"),
    ),
]
