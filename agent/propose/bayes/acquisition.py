"""What a candidate is worth: the logarithm of the expected improvement, averaged over the draws of a posterior.

EI(x) = s (z Phi(z) + phi(z)), z = (best - m) / s, for minimisation: Jones, Schonlau and Welch, "Efficient global
optimization of expensive black-box functions" (1998), equation 15. In logarithms, because far from the best it
underflows: Ament et al., "Unexpected improvements to expected improvement" (NeurIPS 2023), equation 9.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
#: Below this z the series is exact to a part in a thousand.
_FAR = -6.0


def log_ei(mean: Array, deviation: Array, best: Array | float) -> Array:
    """ln EI, elementwise."""
    z = (best - mean) / deviation
    log_density = -0.5 * z * z - _LOG_ROOT_2PI
    near = z > _FAR
    safe = np.where(near, z, 0.0)
    inside = safe * normal_cdf(safe) + np.exp(-0.5 * safe * safe - _LOG_ROOT_2PI)
    # z Phi(z) + phi(z) = phi(z) (1/z^2 - 3/z^4 + ...) for z far below 0.
    square = np.maximum(z * z, 36.0)
    series = log_density - np.log(square) + np.log1p(np.maximum(-3.0 / square + 15.0 / square**2, -0.9))
    return np.where(near, np.log(np.maximum(inside, 1e-300)), series) + np.log(deviation)


def normal_cdf(z: Array) -> Array:
    """Phi(z) = erfc(-z / sqrt(2)) / 2."""
    return 0.5 * erfc(-z / math.sqrt(2.0))


def erfc(x: Array) -> Array:
    """The complementary error function, with a relative error below 1.2e-7 everywhere.

    Press et al., "Numerical Recipes in C" (2nd edition, 1992), section 6.2. numpy has none, and importing
    scipy.special takes longer than a round of proposals.
    """
    t = 1.0 / (1.0 + 0.5 * np.abs(x))
    series = np.zeros_like(t)
    for factor in _CHEBYSHEV:
        series = factor + t * series
    found = t * np.exp(-x * x + series)
    return np.where(x >= 0.0, found, 2.0 - found)


#: Of the highest power first.
_CHEBYSHEV = (
    0.17087277,
    -0.82215223,
    1.48851587,
    -1.13520398,
    0.27886807,
    -0.18628806,
    0.09678418,
    0.37409196,
    1.00002368,
    -1.26551223,
)


def log_mean(logs: Array) -> Array:
    """(s, m) -> (m,): the logarithm of the mean over the first axis."""
    top = logs.max(axis=0)
    found: Array = top + np.log(np.mean(np.exp(logs - top), axis=0))
    return found
