"""Traps of our own: equal sizes, merged axes, tables, masks and inputs that shape alone does not tell."""

from functools import partial
from typing import Any

import torch
from torch import nn
from zoo._entry import SAMPLES, Entry, lengths
from zoo._networks import (
    Attended,
    Basis,
    Both,
    ChannelsFirst,
    ChannelsLast,
    Conv1d,
    Detector,
    Even,
    Experts,
    Fourier,
    Inference,
    Loop,
    Merged,
    Mixers,
    Numpy,
    Padded,
    PointNet,
    Positions,
    Shaped,
    Siamese,
    Similar,
    Tagger,
    TimeFirst,
    TimeFirstInput,
    UNet,
    Video,
    WindowsMajor,
)

NO_MASK = {"mask": False}


def built(module: type[nn.Module], *shape: int, samples: int = SAMPLES, **settings: Any) -> partial:
    """A module on random inputs of a shape, with labels."""

    def build() -> tuple[nn.Module, Any]:
        return module(**settings).eval(), (torch.randn(samples, *shape), torch.arange(samples) % 3)

    return partial(build)


def bfloat16() -> tuple[nn.Module, Any]:
    x = torch.randn(SAMPLES, 4, 20).bfloat16()
    return Conv1d(12).bfloat16().eval(), (x, torch.arange(SAMPLES) % 3)


def transformer() -> tuple[nn.Module, Any]:
    model = nn.Transformer(12, 2, 2, 2, 20, batch_first=True)
    return model.eval(), {"src": torch.randn(SAMPLES, 9, 12), "tgt": torch.randn(SAMPLES, 6, 12)}


def tagger() -> tuple[nn.Module, Any]:
    mask = lengths(9, 4, 7, 2, 8, size=9)
    return Tagger().eval(), {"input_ids": torch.randint(1, 20, (SAMPLES, 9)) * mask, "attention_mask": mask}


def padded() -> tuple[nn.Module, Any]:
    mask = lengths(12, 4, 7, 2, 8, size=12) == 0
    return Padded().eval(), {"ids": torch.randint(1, 20, (SAMPLES, 12)), "padding_mask": mask}


def positions() -> tuple[nn.Module, Any]:
    mask = lengths(8, 4, 7, 2, 8, 5, 3, 6, size=8)
    ids = torch.randint(1, 20, (8, 8)) * mask
    return Positions().eval(), {"input_ids": ids, "position_ids": torch.arange(8), "attention_mask": mask}


def time_first_input() -> tuple[nn.Module, Any]:
    return TimeFirstInput().eval(), (torch.randn(9, SAMPLES, 4), torch.arange(SAMPLES) % 3)


def siamese() -> tuple[nn.Module, Any]:
    return Siamese().eval(), {name: torch.randn(SAMPLES, 9, 7) for name in ("left", "right")}


def basis() -> tuple[nn.Module, Any]:
    return Basis().eval(), {"x": torch.randn(SAMPLES, 8), "basis": torch.eye(SAMPLES).flip(0)}


TOKENS = {"*": "b t c"}
ENTRIES = [
    Entry("own_conv1d", built(Conv1d, 4, 20, width=12), {"*": "b c t"}),
    Entry("own_conv1d_square", built(Conv1d, 4, 12, width=12), {"*": "b c t"}),
    Entry("own_conv1d_bfloat16", bfloat16, {"*": "b c t"}),
    Entry("own_conv_mixer", built(Mixers, 11, 6, width=6), {"*.conv": "b c t"} | TOKENS, options=NO_MASK),
    Entry("own_conv_mixer_square", built(Mixers, 6, 6, width=6), {"*.conv": "b c t"} | TOKENS, options=NO_MASK),
    Entry("own_patch_merging", built(Merged, 8, 8, 8), {"*": "b h w c"}),
    Entry("own_channels_last", built(ChannelsLast, 3, 6, 6), {"stem": "b c h w", "*": "b h w c"}),
    Entry("own_channels_first", built(ChannelsFirst, 6, 6, 6, samples=6), {"*": "b c h w"}, samples=6),
    Entry(
        "own_transformer",
        transformer,
        TOKENS,
        options=NO_MASK,
        auto="encoder.layers.{0,1} encoder.norm decoder.layers.{0,1} decoder.norm",
    ),
    Entry("own_encoder_padded", padded, TOKENS, {"*": "~padding_mask"}),
    Entry(
        "own_encoder_time_first",
        built(TimeFirst, 9, 4, kind="encoder"),
        {"embed": "b t c", "*": "t b c"},
        options=NO_MASK,
    ),
    Entry(
        "own_gru_time_first",
        built(TimeFirst, 9, 4, kind="gru"),
        {"embed": "b t c", "body[0]": "t b c", "body[1]": "l b c"},
        refused=("body[1]",),
        options=NO_MASK,
    ),
    Entry("own_time_first_input", time_first_input, {"*": "t b c"}, options=NO_MASK),
    Entry(
        "own_lstm_tagger",
        tagger,
        {"lstm[1]*": "l b c"} | TOKENS,
        {"*": "attention_mask"},
        refused=("lstm[1]*",),
    ),
    Entry("own_position_ids", positions, {"places": "none"} | TOKENS, {"*": "attention_mask"}, samples=8),
    Entry("own_learned_queries", built(Attended, 9, 4), {"ask": "none"} | TOKENS, options=NO_MASK),
    Entry("own_siamese", siamese, TOKENS, options=NO_MASK),
    Entry("own_basis", basis, {}),
    Entry("own_pointnet", built(PointNet, 16, 3), {"*": "b c t"}, options=NO_MASK),
    Entry("own_fourier", built(Fourier, 1, 8, 8), {"*": "b c h w"}),
    Entry(
        "own_both_axes",
        built(Both, 9, 7),
        {"time": "b c t", "features": "b t c", "head": "b c t"},
        refused=("*",),
        options=NO_MASK,
    ),
    Entry("own_even_batches", built(Even, 9, 4, samples=6), TOKENS, samples=6, options=NO_MASK),
    Entry("own_experts", built(Experts, 9, 4), TOKENS, options=NO_MASK),
    Entry("own_numpy", built(Numpy, 9, 4), TOKENS, refused=("outside", "norm", "head"), options=NO_MASK),
    Entry(
        "own_detector",
        built(Detector, 3, 16, 16),
        {
            "stem": "b c h w",
            "decoder.layers.0.self_attn[0]": "none",
            "decoder.layers.0.dropout1": "none",
            "decoder.layers.0.norm1": "none",
        }
        | TOKENS,
        options=NO_MASK,
    ),
    Entry("own_unet", built(UNet, 3, 16, 16), {"*": "b c h w"}),
    Entry("own_loop", built(Loop, 9, 4), TOKENS, options=NO_MASK),
    Entry("own_shapes", built(Shaped, 9, 4), {"table": "none"} | TOKENS, options=NO_MASK),
    Entry("own_video", built(Video, 4, 3, 16, 16), {"frames*": "(b w) c h w"} | TOKENS, options=NO_MASK),
    Entry(
        "own_windows_major",
        built(WindowsMajor, 8, 4),
        {"window": "(b w) t c"} | TOKENS,
        never=("window",),
        options=NO_MASK,
    ),
    Entry("own_similarities", built(Similar, 4), {}, never=("gram",)),
    Entry("own_inference_mode", built(Inference, 9, 4), TOKENS, options=NO_MASK),
]
