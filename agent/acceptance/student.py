"""Student's t and Fisher's F, with any number of degrees of freedom. The login node has no scipy.

Both are the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, evaluated with
Lentz's method); checked against published tables in the tests.
"""

from __future__ import annotations

import functools
import math

_TINY = 1e-300
_MOST_TERMS = 10_000


def normal_sf(z: float) -> float:
    """P(Z > z) of the standard normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def t_sf(t: float, df: float) -> float:
    """P(T > t) of Student's t; df: degrees of freedom, above 0."""
    tail = 0.5 * incomplete_beta(df / (df + t * t), df / 2, 0.5)
    return tail if t >= 0 else 1 - tail


def f_sf(f: float, df1: float, df2: float) -> float:
    """P(F > f) of Fisher's F; f from 0."""
    return 1.0 if f <= 0 else incomplete_beta(df2 / (df2 + df1 * f), df2 / 2, df1 / 2)


@functools.lru_cache(maxsize=4096)
def t_quantile(alpha: float, df: float) -> float:
    """The t that Student's T exceeds with probability alpha, which is in (0, 0.5]; bisection to 1e-10, relative."""
    if not 0 < alpha <= 0.5:
        raise ValueError(f"alpha is {alpha}: must be above 0 and at most 0.5")
    low, high = 0.0, 1.0
    while t_sf(high, df) > alpha:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_sf(middle, df) > alpha else (low, middle)
    return high


def incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b) for x in [0, 1] and a, b above 0."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        # The fraction converges quickly on this side alone: I_x(a, b) = 1 - I_{1-x}(b, a).
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of DLMF 8.17.22 without its factor x^a (1-x)^b / (a B(a, b))."""
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 + term * d
            c = 1 + term / c
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
