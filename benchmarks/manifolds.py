"""Manifolds of known dimension, from their published definitions.

M1 to M13: Hein & Audibert 2005 (doi:10.1145/1102351.1102388) as collected by Rozza et al. 2012 and Campadelli et al.
2015 (doi:10.1155/2015/759567), which adds Mbeta, Mn and Mp. The faces of the hypercubes (M10) are drawn by chance;
scikit-dimension 0.5 fills them one after the other and cuts the last short.
"""

from collections.abc import Callable

import numpy as np

TAU = 2 * np.pi


def sphere(r: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = r.standard_normal((n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cube_surface(r: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = r.random((n, d + 1))
    x[np.arange(n), r.integers(0, d + 1, n)] = r.integers(0, 2, n)
    return x


def affine_3_to_5(r: np.random.Generator, n: int) -> np.ndarray:
    a, b, c = 4 * r.random((3, n))
    rows = [
        1.2 * a - 0.5 * b + 3,
        0.5 * a + 0.9 * b - 1,
        -0.5 * a - 0.2 * b + c,
        0.4 * a - 0.9 * b - 0.1 * c,
        1.1 * a - 0.3 * b + 8,
    ]
    return np.stack(rows, 1)


def concentrated(r: np.random.Generator, n: int) -> np.ndarray:
    a, b, c, e = r.random((4, n))
    rows = [
        b**2 * np.cos(TAU * a),
        c**2 * np.sin(TAU * a),
        b + c + (b - e) ** 2,
        b - 2 * c + (a - e) ** 2,
        -b - 2 * c + (c - e) ** 2,
        a**2 - b**2 + c**2 - e**2,
    ]
    return np.stack(rows, 1)


def curved(r: np.random.Generator, n: int, d: int, copies: int) -> np.ndarray:
    """x_{i+1} cos(2 pi x_i), x_{i+1} sin(2 pi x_i), the last with the first, the whole repeated."""
    x = r.random((n, d))
    following = np.roll(x, -1, axis=1)
    pairs = np.stack([following * np.cos(TAU * x), following * np.sin(TAU * x)], 2).reshape(n, 2 * d)
    return np.tile(pairs, copies)


def helix(r: np.random.Generator, n: int) -> np.ndarray:
    t = TAU * r.random(n)
    around = 2 + np.cos(8 * t)
    return np.stack([around * np.cos(t), around * np.sin(t), np.sin(8 * t)], 1)


def helicoid(r: np.random.Generator, n: int) -> np.ndarray:
    radius, turn = 5 * TAU * r.random((2, n))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), 0.5 * turn], 1)


def swiss_roll(r: np.random.Generator, n: int) -> np.ndarray:
    t, height = 0.75 * TAU * (1 + 2 * r.random(n)), 21 * r.random(n)
    return np.stack([t * np.cos(t), height, t * np.sin(t)], 1)


def moebius(r: np.random.Generator, n: int) -> np.ndarray:
    turn, across = TAU * r.random(n), 2 * r.random(n) - 1
    out = 1 + across / 2 * np.cos(5 * turn)
    return np.stack([out * np.cos(turn), out * np.sin(turn), across / 2 * np.sin(5 * turn)], 1)


def s_curve(r: np.random.Generator, n: int) -> np.ndarray:
    t, height = 1.5 * TAU * (r.random(n) - 0.5), 2 * r.random(n)
    return np.stack([np.sin(t), height, np.sign(t) * (np.cos(t) - 1)], 1)


def spiral(r: np.random.Generator, n: int) -> np.ndarray:
    t = 5 * TAU * r.random(n)
    return np.stack([100 * np.cos(t), 100 * np.sin(t), t], 1)


def doubled(both: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.concatenate([*both, *both], 1)


def beta(r: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = r.beta(10, 0.5, (n, d))
    return doubled((x * np.sin(np.cos(TAU * x)), x * np.cos(np.sin(TAU * x))))


def tangents(r: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = r.random((n, d))
    mirrored = x[:, ::-1]
    return doubled((np.tan(x * np.cos(mirrored)), np.arctan(mirrored * np.sin(x))))


def paraboloid(r: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Coordinates 1/(1 + E_i/E_0) of the Burr law with alpha = 1, their squares' sum, and sine and square of each."""
    e = r.exponential(1, (n, d + 1))
    x = 1 / (1 + e[:, 1:] / e[:, :1])
    x = np.concatenate([x, (x**2).sum(1, keepdims=True)], 1)
    return np.concatenate([x, np.sin(x), x**2], 1)


MANIFOLDS: dict[str, tuple[int, Callable[[np.random.Generator, int], np.ndarray]]] = {
    "M1 sphere": (10, lambda r, n: sphere(r, n, 10)),
    "M2 affine": (3, affine_3_to_5),
    "M3 concentrated": (4, concentrated),
    "M4 curved": (4, lambda r, n: curved(r, n, 4, 1)),
    "M5a helix": (1, helix),
    "M5b helicoid": (2, helicoid),
    "M6 curved": (6, lambda r, n: curved(r, n, 6, 3)),
    "M7 swiss roll": (2, swiss_roll),
    "M8 curved": (12, lambda r, n: curved(r, n, 12, 3)),
    "M9 affine": (20, lambda r, n: 5 * r.random((n, 20)) - 2.5),
    "M10a cube": (10, lambda r, n: cube_surface(r, n, 10)),
    "M10b cube": (17, lambda r, n: cube_surface(r, n, 17)),
    "M10c cube": (24, lambda r, n: cube_surface(r, n, 24)),
    "M10d cube": (70, lambda r, n: cube_surface(r, n, 70)),
    "M11 moebius": (2, moebius),
    "M12 gaussian": (20, lambda r, n: r.standard_normal((n, 20))),
    "M13a s-curve": (2, s_curve),
    "M13b spiral": (1, spiral),
    "Mbeta": (10, lambda r, n: beta(r, n, 10)),
    "Mn1": (18, lambda r, n: tangents(r, n, 18)),
    "Mn2": (24, lambda r, n: tangents(r, n, 24)),
    "Mp1 paraboloid": (3, lambda r, n: paraboloid(r, n, 3)),
    "Mp2 paraboloid": (6, lambda r, n: paraboloid(r, n, 6)),
    "Mp3 paraboloid": (9, lambda r, n: paraboloid(r, n, 9)),
}
