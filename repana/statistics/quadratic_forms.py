"""The distribution of |e + S^(1/2) z|^2, z standard normal: a sum of shifted squares with unequal weights."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

POINTS = (400, 800, 1600, 3200, 6400, 12800)  # of the contour, doubled until the logarithm settles
SETTLED = 1e-11
AT_ONCE = 512  # points
ANGLE = 3**0.5  # the slope of its ends: steeper than 1, so that no term of the exponent grows along it


def log_cdf(x: float, weights: Float[np.ndarray, " n"], shifts: Float[np.ndarray, "n *c"]) -> float:
    """log P(sum_ij (sqrt(w_i) z_ij + e_ij)^2 <= x), w_i > 0, for probabilities of any size; a second axis of shifts are
    several squares of one weight.

    With K(t) the cumulant generating function, P = 1/(2 pi i) int exp(K(t) - t x)/(-t) dt along a contour that crosses
    the real axis left of 0: through the saddle point of the integrand, whose value is taken out as a logarithm, on a
    hyperbola that follows its steepest descent, where the midpoint rule converges exponentially.

    Sources: Imhof 1961, doi:10.1093/biomet/48.3-4.419 (the integral); Daniels 1954, doi:10.1214/aoms/1177728652 (the
    saddle point); Weideman & Trefethen 2007, doi:10.1090/S0025-5718-07-01945-X (contours).
    """
    if not x > 0:
        return -math.inf
    unit = float(weights.max())
    rows = shifts.reshape(len(weights), -1)
    w, x = weights / unit, x / unit
    parts = np.stack([w, (rows**2).sum(1) / unit, np.full(len(w), float(rows.shape[1]))])
    c = _saddle(x, parts)
    second, third = _derivatives(c, parts)
    size = 3 * second / (third * ANGLE**2)  # of the hyperbola whose vertex follows the steepest descent
    level = float(np.real(_exponent(np.array([c + 0j]), x, parts))[0])
    reach = _reach(c, size, 1 / math.sqrt(second), level, x, parts)
    found = last = math.nan
    for points in POINTS:
        v = (np.arange(points) + 0.5) * reach / points
        t, slope = _hyperbola(c, size, v)
        value = np.exp(_exponent(t, x, parts) - level) * slope
        total = float(np.imag(value).sum()) * reach / points / math.pi
        found = level + math.log(total) if total > 0 else math.nan
        if abs(found - last) <= SETTLED * max(1.0, abs(found)):
            break
        last = found
    return min(found, 0.0)


def _hyperbola(c: float, size: float, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper half of the contour, and its derivative."""
    return (
        c + size * (np.cosh(v) - 1 + 1j * ANGLE * np.sinh(v)),
        size * (np.sinh(v) + 1j * ANGLE * np.cosh(v)),
    )


def _exponent(t: np.ndarray, x: float, parts: Float[np.ndarray, "three n"]) -> np.ndarray:
    """K(t) - t x - log(-t), K(t) = sum_i [e_i^2 t/(1 - 2 w_i t) - c_i log(1 - 2 w_i t)/2]; `parts`: w, e^2 and c."""
    w, squares, counts = parts
    found = -t * x - np.log(-t)
    for at in range(0, len(t), AT_ONCE):
        some = t[at : at + AT_ONCE]
        free = 1 - 2 * np.multiply.outer(some, w)
        found[at : at + AT_ONCE] += some * ((1 / free) @ squares) - np.log(free) @ counts / 2
    return found


def _derivatives(t: float, parts: Float[np.ndarray, "three n"]) -> tuple[float, float]:
    """The second and the third of the exponent."""
    w, squares, counts = parts
    free = 1 - 2 * w * t
    second = (2 * counts * w**2 / free**2 + 4 * w * squares / free**3).sum() + 1 / t**2
    third = (8 * counts * w**3 / free**3 + 24 * w**2 * squares / free**4).sum() - 2 / t**3
    return float(second), float(third)


def _saddle(x: float, parts: Float[np.ndarray, "three n"]) -> float:
    """t < 0 where the derivative of the exponent is 0."""
    w, squares, counts = parts

    def above(log: float) -> float:
        free = 1 + 2 * w * math.exp(log)
        return math.log(float((counts * w / free + squares / free**2).sum()) + math.exp(-log)) - math.log(x)

    low, high = -10.0, 10.0
    while above(low) < 0:
        low -= 10.0
    while above(high) > 0:
        high += 10.0
    found: Any = brentq(above, low, high, xtol=1e-13)
    return -math.exp(found)


def _reach(c: float, size: float, width: float, level: float, x: float, parts: Float[np.ndarray, "three n"]) -> float:
    """How far the contour goes: to where what it adds has fallen by e^-40 for good."""
    v = np.arcsinh(width / (size * ANGLE) * np.geomspace(1.0, 1e12, 500))
    t, slope = _hyperbola(c, size, v)
    fallen = np.real(_exponent(t, x, parts)) - level + np.log(np.abs(slope) / width)
    above = np.flatnonzero(fallen > -40)
    return float(v[min(int(above[-1]) + 1, len(v) - 1)]) if len(above) else float(v[0])
