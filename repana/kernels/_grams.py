"""Products of per-sample gradients of one module's parameters, from what goes in and the gradient at what comes out.

The gradient of direction r at sample i of a matrix is M_ri = sum_t a_it g_rit'; K_ij = sum_r <M_ri, M_rj>. It is never
formed where products of inputs and of gradients cost less.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana.extraction._tangents import CONVOLUTIONS, Called

BYTES = 2**28  # of working buffers
Kernel = Float[Tensor, "n n"]
Full = Float[Tensor, "r n r n"]
Positions = tuple[Tensor, Tensor]  # (n, t, a) inputs and (r, n, t, g) gradients at every position


def is_linear(module: nn.Module) -> bool:
    """Whether a module is one matrix at every position."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def kernels(module: nn.Module, batches: Sequence[Sequence[Called]]) -> dict[str, Kernel]:
    """K of each parameter of a module, by its own name; calls of one pass add up before the product."""
    found: dict[str, Kernel] = {}
    names = [name for name, p in module.named_parameters(recurse=False)]
    if isinstance(module, nn.Embedding):
        return {"weight": _embedding(module, batches)}
    if "weight" in names:
        if isinstance(module, CONVOLUTIONS):
            found["weight"] = _summed(of_groups(module, batches))
        elif is_linear(module):
            a, g = joined([[positions(c) for c in calls] for calls in batches])
            if a.shape[1] == 1:  # the bias has the products of the gradients alone
                ours = _product(*(2 * [g[:, :, 0].transpose(0, 1).flatten(1)]))
                products = {"weight": _product(a[:, 0], a[:, 0]) * ours, "bias": ours}
                return {name: products[name] for name in names if name in products}
            found["weight"] = _of_matrix(a, g)
        else:
            found["weight"] = of_gradients(of_rows(module, batches, scaled=True))
    if "bias" in names:
        found["bias"] = of_gradients(of_rows(module, batches, scaled=False))
    return found


def summed_gradients(module: nn.Module, calls: Sequence[Called]) -> dict[str, Tensor]:
    """The gradients of a module's parameters, flat, of one direction and summed over all samples, as its kernels are
    made of them."""
    found: dict[str, Tensor] = {}
    names = [name for name, _ in module.named_parameters(recurse=False)]
    if isinstance(module, nn.Embedding):
        total = torch.zeros(module.weight.shape, dtype=calls[0].gradients.dtype, device=module.weight.device)
        for c in calls:
            total.index_add_(0, c.given.flatten(), c.gradients[0].reshape(-1, total.shape[1]))
        if module.padding_idx is not None:
            total[module.padding_idx] = 0
        return {"weight": total.flatten()}
    if "weight" in names:
        if isinstance(module, CONVOLUTIONS):
            parts = [_product_of_gradient(a, g) for a, g in of_groups(module, [calls])]
            found["weight"] = torch.cat(parts).flatten()
        elif is_linear(module):
            whole = _product_of_gradient(*joined([[positions(c) for c in calls]]))
            found["weight"] = (whole if isinstance(module, nn.Linear) else whole.T).flatten()
        else:
            found["weight"] = _row(module, calls, True)[0].sum(0)
    if "bias" in names:
        found["bias"] = _row(module, calls, False)[0].sum(0)
    return found


def _product_of_gradient(a: Float[Tensor, "n t a"], g: Float[Tensor, "r n t g"]) -> Float[Tensor, "g a"]:
    return g[0].flatten(0, 1).T @ a.flatten(0, 1)


def full_kernel(module: nn.Module, batches: Sequence[Sequence[Called]], own: Sequence[str]) -> Full:
    """The kernel of every pair of directions, summed over some parameters of a module."""
    total: Tensor | None = None
    for part in _full_parts(module, batches, own):
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _full_parts(module: nn.Module, batches: Sequence[Sequence[Called]], own: Sequence[str]) -> Iterator[Full]:
    if "weight" in own:
        if isinstance(module, nn.Embedding):
            yield from (_crossed(rows) for rows in embedded(module, batches))
        elif isinstance(module, CONVOLUTIONS):
            yield from (part for a, g in of_groups(module, batches) for part in _full_of_matrix(a, g))
        elif is_linear(module):
            yield from _full_of_matrix(*joined([[positions(c) for c in calls] for calls in batches]))
        else:
            yield _crossed(of_rows(module, batches, scaled=True))
    if "bias" in own:
        yield _crossed(of_rows(module, batches, scaled=False))


def _full_of_matrix(a: Float[Tensor, "n t a"], g: Float[Tensor, "r n t g"]) -> Iterator[Full]:
    r, n, t, _ = g.shape
    if t == 1:
        yield _crossed(g[:, :, 0]) * _product(a[:, 0], a[:, 0])[None, :, None]
        return
    for part in g.split(max(1, BYTES // (4 * r * n * a.shape[2])), dim=3):
        formed = torch.matmul(part.transpose(2, 3), a)  # (r, n, part, a)
        yield _crossed(formed.flatten(2))


def _crossed(rows: Float[Tensor, "r n p"]) -> Full:
    r, n = rows.shape[:2]
    flat = rows.reshape(r * n, -1)
    return _product(flat, flat).view(r, n, r, n)


def full_of_gradients(rows: Float[Tensor, "r n p"]) -> Full:
    """The kernel of every pair of directions, of gradients that are there."""
    return _crossed(rows)


def of_gradients(rows: Float[Tensor, "r n p"]) -> Kernel:
    """K of gradients that are there."""
    wide = rows.permute(1, 0, 2).flatten(1)
    return _product(wide, wide)


def _product(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return (a @ b.T).double()


# --- matrices ---------------------------------------------------------------------------------------------------------


def positions(call: Called) -> Positions:
    """(b, t, a) inputs and (r, b, t, g) gradients of a matrix."""
    a, g = call.given, call.gradients
    b = a.shape[0]
    return a.reshape(b, -1, a.shape[-1]), g.reshape(len(g), b, -1, g.shape[-1])


def of_groups(module: nn.Module, batches: Sequence[Sequence[Called]]) -> list[Positions]:
    """A convolution's patches and gradients, group by group."""
    conv: Any = module
    per_batch = [[_patches(conv, c) for c in calls] for calls in batches]
    return [
        joined([[(a[:, :, k], g[:, :, :, k]) for a, g in calls] for calls in per_batch]) for k in range(conv.groups)
    ]


def _patches(conv: Any, call: Called) -> tuple[Float[Tensor, "b t k a"], Float[Tensor, "r b t k g"]]:
    x, g = call.given, call.gradients
    spatial = x.ndim - 2
    padding = conv.padding if not isinstance(conv.padding, str) else _same_padding(conv)
    both = [p if isinstance(p, tuple) else (p, p) for p in padding]
    x = nn.functional.pad(x, [v for pair in reversed(both) for v in pair])
    for d in range(spatial):
        size = conv.dilation[d] * (conv.kernel_size[d] - 1) + 1
        x = x.unfold(2 + d, size, conv.stride[d])[..., :: conv.dilation[d]]
    b, c = x.shape[:2]
    places = x.shape[2 : 2 + spatial]
    x = x.permute(0, *range(2, 2 + spatial), 1, *range(2 + spatial, 2 + 2 * spatial))
    a = x.reshape(b, places.numel(), conv.groups, -1)
    return a, g.flatten(3).transpose(2, 3).unflatten(3, (conv.groups, -1))  # not moved in memory


def _same_padding(conv: Any) -> list[tuple[int, int]]:
    if conv.padding == "valid":
        return [(0, 0)] * len(conv.kernel_size)
    whole = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size)]
    return [(n // 2, n - n // 2) for n in whole]


def joined(per_batch: Sequence[Sequence[Positions]]) -> Positions:
    """All samples together; calls of one pass behind each other; shorter texts filled up with zeros, which add
    nothing."""
    rows = [(_cat([a for a, _ in calls], 1), _cat([g for _, g in calls], 2)) for calls in per_batch if calls]
    longest = max(a.shape[1] for a, _ in rows)
    inputs = [_filled(a, longest - a.shape[1]) for a, _ in rows]
    gradients = [_filled(g, longest - g.shape[2]) for _, g in rows]
    return _cat(inputs, 0), _cat(gradients, 1)


def _cat(parts: list[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def _filled(x: Tensor, more: int) -> Tensor:
    """With so many zero positions behind the others."""
    return nn.functional.pad(x, (0, 0, 0, more)) if more else x


def _summed(groups: Sequence[Positions]) -> Kernel:
    n = groups[0][0].shape[0]
    total = torch.zeros(n, n, dtype=torch.float64, device=groups[0][0].device)
    for a, g in groups:
        total += _of_matrix(a, g)
    return total


def _of_matrix(a: Float[Tensor, "n t a"], g: Float[Tensor, "r n t g"]) -> Kernel:
    """By products of pairs of positions, or by gradients that are formed: what costs less."""
    r, n, t, d_out = g.shape
    d_in = a.shape[2]
    pairs = n * n * t * t * (d_in + r * d_out)
    forming = r * (2 * n * t * d_in * d_out + n * n * d_in * d_out)
    if pairs >= forming:
        return _by_forming(a, g)
    return _by_pairs(a, g.permute(1, 2, 0, 3).reshape(n, t, r * d_out))  # all directions at once


def _by_pairs(a: Float[Tensor, "n t a"], wide: Float[Tensor, "n t g"]) -> Kernel:
    """sum_{t, t'} (a_it . a_jt')(g_it . g_jt')."""
    n, t, _ = a.shape
    total = torch.empty(n, n, dtype=torch.float64, device=a.device)
    rows = max(1, BYTES // (4 * n * t * t * 2))
    for at in range(0, n, rows):
        some = slice(at, at + rows)
        both = (a[some].flatten(0, 1) @ a.flatten(0, 1).T) * (wide[some].flatten(0, 1) @ wide.flatten(0, 1).T)
        total[some] = both.view(-1, t, n, t).sum((1, 3)).double()
    return total


def _by_forming(a: Float[Tensor, "n t a"], g: Float[Tensor, "r n t g"]) -> Kernel:
    n, _, d_in = a.shape
    total = torch.zeros(n, n, dtype=torch.float64, device=a.device)
    step = max(1, BYTES // (4 * n * d_in))
    for of_direction in g:
        for part in of_direction.split(step, dim=2):
            formed = torch.bmm(part.transpose(1, 2), a).flatten(1)
            total += _product(formed, formed)
    return total


# --- norms, biases, embeddings ----------------------------------------------------------------------------------------


def of_rows(module: nn.Module, batches: Sequence[Sequence[Called]], *, scaled: bool) -> Float[Tensor, "r n p"]:
    """Gradients of a bias, sums over positions of those at what comes out; or of a norm's weight, times what it
    scales."""
    return torch.cat([sum_ for calls in batches if calls for sum_ in [_row(module, calls, scaled)]], 1)


def _row(module: nn.Module, calls: Sequence[Called], scaled: bool) -> Float[Tensor, "r b p"]:
    total: Tensor | None = None
    for call in calls:
        g = call.gradients
        g = g * _normalized(module, call.given) if scaled else g
        axis = _feature_axis(module, call.given)
        own = g.ndim - 1 if axis < 0 else axis + 1
        rest = [d for d in range(2, g.ndim) if d != own]
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            shape = len(module.normalized_shape)
            rest = list(range(2, g.ndim - shape))
        part = g.sum(rest) if rest else g
        part = part.flatten(2)
        total = part if total is None else total + part
    assert total is not None
    return total


def _feature_axis(module: nn.Module, given: Tensor) -> int:
    """Of the samples' tensor the axis that a bias lies along; the last of matrices, the second of convolutions."""
    last = isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or is_linear(module)
    return -1 if last else 1


def _normalized(module: Any, x: Tensor) -> Tensor:
    """What a norm's weight scales."""
    if isinstance(module, nn.LayerNorm):
        return nn.functional.layer_norm(x, module.normalized_shape, None, None, module.eps)
    if isinstance(module, nn.RMSNorm):
        return nn.functional.rms_norm(x, list(module.normalized_shape), None, module.eps)
    if isinstance(module, nn.GroupNorm):
        return nn.functional.group_norm(x, module.num_groups, None, None, module.eps)
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, var = module.running_mean.view(shape), module.running_var.view(shape)
    return (x - mean) / (var + module.eps).sqrt()


def _embedding(module: nn.Embedding, batches: Sequence[Sequence[Called]]) -> Kernel:
    """Sums over equal tokens, of gradients that are summed by token first."""
    total: Tensor | None = None
    for rows in embedded(module, batches):
        part = of_gradients(rows)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def embedded(module: nn.Embedding, batches: Sequence[Sequence[Called]]) -> Iterator[Float[Tensor, "r n p"]]:
    """Gradients by token, some of the columns of the embedding at a time."""
    ids, gradients = [], []
    for calls in batches:
        if calls:
            ids.append(torch.cat([c.given.reshape(len(c.given), -1) for c in calls], 1))
            parts = [c.gradients.reshape(*c.gradients.shape[:2], -1, c.gradients.shape[-1]) for c in calls]
            gradients.append(torch.cat(parts, 2))
    longest = max(x.shape[1] for x in ids)
    known = torch.cat([nn.functional.pad(x, (0, longest - x.shape[1]), value=-1) for x in ids])
    g = torch.cat([nn.functional.pad(x, (0, 0, 0, longest - x.shape[2])) for x in gradients], 1)
    if module.padding_idx is not None:
        g = torch.where((known == module.padding_idx)[None, :, :, None], 0, g)
    tokens, at = torch.unique(known, return_inverse=True)
    r, n = g.shape[:2]
    for part in g.split(max(1, BYTES // (4 * r * n * len(tokens))), dim=3):
        summed = torch.zeros(r, n, len(tokens), part.shape[3], dtype=part.dtype, device=part.device)
        summed.scatter_add_(2, at[None, :, :, None].expand(r, -1, -1, part.shape[3]), part)
        yield summed.flatten(2)
