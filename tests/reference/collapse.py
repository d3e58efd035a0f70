"""Neural collapse the slow way: float64 NumPy, d x d matrices, loops over classes and pairs, from the papers."""

import numpy as np


def scatter(x, y, within="sample", between="class", centre="class"):
    classes = np.unique(y)
    n, c = len(y), len(classes)
    means = np.array([x[y == k].mean(0) for k in classes])
    counts = np.array([(y == k).sum() for k in classes])
    p = counts / n
    g = p @ means if centre == "sample" else means.mean(0)
    sw = np.zeros((x.shape[1],) * 2)
    sb = np.zeros_like(sw)
    for k, m, nk in zip(classes, means, counts):
        e = x[y == k] - m
        sw += (e.T @ e) / (n if within == "sample" else c * nk)
        sb += np.outer(m - g, m - g) * (nk / n if between == "sample" else 1 / c)
    return means, counts, g, sw, sb


def nc1(x, y, convention="papyan"):
    how = {
        "papyan": ("sample", "class", "class", True),
        "zhu": ("sample", "class", "sample", True),
        "he_su": ("sample", "sample", "sample", False),
        "galanti": ("class", "class", "class", False),
    }[convention]
    means, _, _, sw, sb = scatter(x, y, *how[:3])
    value = np.trace(sw @ np.linalg.pinv(sb, rcond=1e-12, hermitian=True))
    return value / len(means) if how[3] else value


def quotient(x, y):
    _, _, _, sw, sb = scatter(x, y)
    return np.trace(sw) / np.trace(sb)


def cdnv_grid(x, y):
    classes = np.unique(y)
    grid = np.full((len(classes),) * 2, np.nan)
    for i, a in enumerate(classes):
        for j, b in enumerate(classes):
            if i != j:
                xa, xb = x[y == a], x[y == b]
                v = ((xa - xa.mean(0)) ** 2).sum(1).mean() + ((xb - xb.mean(0)) ** 2).sum(1).mean()
                grid[i, j] = v / (2 * ((xa.mean(0) - xb.mean(0)) ** 2).sum())
    return grid


def vci(x, y):
    _, _, _, sw, sb = scatter(x, y, "sample", "sample", "sample")
    st = sw + sb
    return 1 - np.trace(np.linalg.pinv(st, rcond=1e-10, hermitian=True) @ sb) / np.linalg.matrix_rank(sb, 1e-10)


def geometry(x, y):
    means, _, g, _, _ = scatter(x, y)
    centred = means - g
    c = len(means)
    norms = np.linalg.norm(centred, axis=1)
    pairs = [(i, j) for i in range(c) for j in range(i)]
    cos = np.array([centred[i] @ centred[j] / norms[i] / norms[j] for i, j in pairs])
    j = np.eye(c) - 1 / c
    gram = centred @ centred.T
    raw = means @ means.T
    unit = centred / norms[:, None]
    energy = np.array([-np.log(np.linalg.norm(unit[i] - unit[k])) for i, k in pairs])

    def distance(a, b):
        return np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))

    return {
        "equinorm": norms.std() / norms.mean(),
        "equiangularity": np.abs(cos + 1 / (c - 1)).mean(),
        "cosine_std": cos.std(),
        "etf_error": distance(gram, j),
        "of_error": distance(raw, np.eye(c)),
        "gof_error": distance(raw, np.diag(np.diag(raw))),
        "uniformity": energy.mean(),
        "uniformity_variance": energy.var(),
    }


def duality(x, y, w, b):
    means, _, g, _, _ = scatter(x, y)
    centred, c = means - g, len(means)
    j = np.eye(c) - 1 / c
    cross, gram = w @ centred.T, w @ w.T
    cos = np.array([w[k] @ centred[k] / np.linalg.norm(w[k]) / np.linalg.norm(centred[k]) for k in range(c)])
    norms = np.linalg.norm(w, axis=1)
    return {
        "self_duality": np.linalg.norm(w / np.linalg.norm(w) - centred / np.linalg.norm(centred)) ** 2,
        "duality_zhu": np.linalg.norm(cross / np.linalg.norm(cross) - j / np.linalg.norm(j)),
        "duality_cosine": cos.mean(),
        "duality_variation": cos.std() / cos.mean(),
        "classifier_equinorm": norms.std() / norms.mean(),
        "classifier_etf_error": np.linalg.norm(gram / np.linalg.norm(gram) - j / np.linalg.norm(j)),
        "bias_collapse": np.linalg.norm(w @ g + b),
    }


def fisher(x, y):
    _, _, _, sw, sb = scatter(x, y, "sample", "sample", "sample")
    product = np.linalg.solve(sw, sb)
    return {
        "trace_ratio": np.trace(sb) / np.trace(sw),
        "quotient": np.trace(product),
        "max_eigenvalue": np.linalg.eigvals(product).real.max(),
        "bounded": np.trace(np.linalg.solve(sw + sb, sb)),
        "explained": np.trace(sb) / np.trace(sw + sb),
        "per_feature": np.diag(sb) / np.diag(sw),
    }
