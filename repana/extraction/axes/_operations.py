"""Operations that need no rule of their own, by name: ATen names without the underscore of in-place forms."""

ALIKE = frozenset([
    "clone", "copy", "_to_copy", "detach", "alias", "lift_fresh", "contiguous", "_softmax", "_log_softmax",
    "_safe_softmax", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "dropout",
    "native_dropout", "masked_scatter", "tril", "triu", "nan_to_num", "bernoulli", "rand_like",
    "randn_like", "zeros_like", "ones_like", "empty_like", "full_like", "scatter", "scatter_add",
    "scatter_reduce", "index_fill", "index_put", "_index_put_impl", "index_copy", "index_add", "_fft_c2c",
    "resolve_conj", "resolve_neg", "_conj", "fill", "zero", "uniform", "normal", "to_sparse", "_to_sparse",
    "to_dense", "_to_dense", "dequantize", "quantize_per_tensor", "quantize_per_channel", "renorm",
])  # fmt: skip
ELEMENTWISE = frozenset([
    "where", "masked_fill", "addcmul", "addcdiv", "lerp", "floor_divide", "__and__", "__or__", "__xor__", "hardswish",
    "hardsigmoid", "hardtanh", "mish", "prelu", "_prelu_kernel", "rrelu_with_noise", "complex", "polar",
])  # fmt: skip
RESIZING = frozenset([
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "adaptive_avg_pool1d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "fractional_max_pool2d", "fractional_max_pool3d", "max_unpool2d", "max_unpool3d", "pixel_shuffle",
    "pixel_unshuffle", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
    "upsample_trilinear3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_fft_r2c", "_fft_c2r",
    "glu", "repeat_interleave",
])  # fmt: skip
REDUCING = frozenset([
    "mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "logsumexp", "var", "std", "var_mean",
    "std_mean", "linalg_vector_norm", "norm", "any", "all", "prod", "median", "nanmedian", "nansum", "nanmean",
    "aminmax", "count_nonzero", "mode",
])  # fmt: skip
WRITING = frozenset(["copy", "index_put", "index_copy", "index_add", "scatter_add", "scatter_reduce", "masked_scatter"])
RUNNING = frozenset(["cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"])
PLACING = frozenset(["copy", "index_put", "_index_put_impl", "index_copy", "scatter", "masked_scatter"])
VIEWING = frozenset([
    "view", "_unsafe_view", "_reshape_alias", "permute", "transpose", "t", "unsqueeze", "squeeze", "detach",
    "alias", "clone", "_to_copy", "_softmax", "_log_softmax",
])  # fmt: skip
PASSING = VIEWING | frozenset([
    "relu", "gelu", "silu", "hardswish", "leaky_relu", "elu", "relu6", "hardtanh", "sigmoid", "hardsigmoid",
    "tanh", "mish", "softplus", "celu", "selu", "prelu", "_prelu_kernel", "clamp", "clamp_min", "pow", "rsqrt",
    "copy", "_to_copy", "expand", "native_dropout", "dropout", "constant_pad_nd", "slice", "roll", "flip",
    "index", "index_select", "select", "split", "split_with_sizes", "unsafe_split", "unbind",
    "native_layer_norm", "native_batch_norm", "native_group_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_batch_norm_no_update", "cudnn_batch_norm", "_fused_rms_norm",
    "add", "sub", "mul", "div",
])  # fmt: skip
BUFFER_VIEWING = frozenset([
    "select", "slice", "view", "expand", "unsqueeze", "squeeze", "permute", "transpose", "t", "alias", "detach",
    "split", "unbind",
])  # fmt: skip
SCALING = frozenset(["mul", "div", "addcmul"])
ADDING = frozenset(["add", "sub", "cat"])
