"""The covariance of a Gaussian process: how alike the values at two points are taken to be.

Matern-5/2 with one length scale a parameter: Rasmussen and Williams, "Gaussian Processes for Machine Learning"
(2006), equation 4.17. Two different categories are one apart, whichever they are (Hamming distance).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

JITTER = 1e-8
"""Added to the variance of every observation, so that the covariance can be factorised."""


def differences(one: Array, other: Array, categories: Mask) -> Array:
    """(m, d) and (n, d) points -> (m, n, d): squared differences of numbers, 1 for two different categories.

    categories: (d,) which columns hold the index of a category.
    """
    apart = one[:, None, :] - other[None, :, :]
    return np.where(categories, apart != 0, apart * apart)


def matern52(squared: Array) -> Array:
    """k(r) = (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r), of squared distances in length scales."""
    root = np.sqrt(5.0 * squared)
    return (1.0 + root + root * root / 3.0) * np.exp(-root)


def matern52_slope(squared: Array) -> Array:
    """-2 dk/d(r^2) = 5/3 (1 + sqrt(5) r) exp(-sqrt(5) r): dk/d ln l_k is this times (x_k - x'_k)^2 / l_k^2."""
    root = np.sqrt(5.0 * squared)
    return 5.0 / 3.0 * (1.0 + root) * np.exp(-root)
