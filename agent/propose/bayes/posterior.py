"""The Gaussian process after its observations, for several draws of the hyperparameters at once.

Rasmussen and Williams (2006), algorithm 2.1. All arrays have the draws first: s draws, n observations, m candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agent.propose.bayes.kernel import JITTER, matern52
from agent.propose.bayes.sampler import Data, covariance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Posterior:
    """Predicts the function's value, without noise, at points given by their differences from those observed."""

    def __init__(self, inverse_squares: Array, noise: Array, inverse: Array, white: Array) -> None:
        """inverse_squares: (s, d) 1 / l^2; noise: (s,); inverse: (s, n, n) of the Cholesky factors; white: (s, n)
        inverse @ values."""
        self.inverse_squares, self.noise, self._inverse, self._white = inverse_squares, noise, inverse, white

    @classmethod
    def of(cls, thetas: Sequence[Array], data: Data) -> Posterior:
        """After these observations."""
        inverse = np.linalg.inv(np.stack([np.linalg.cholesky(covariance(theta, data)) for theta in thetas]))
        stacked = np.stack(thetas)
        return cls(np.exp(-2.0 * stacked[:, :-1]), np.exp(stacked[:, -1]), inverse, inverse @ data.values)

    def distances(self, apart: Array) -> Array:
        """(m, n, d) differences -> (s, m, n) squared distances in length scales."""
        found: Array = np.moveaxis(apart @ self.inverse_squares.T, -1, 0)
        return found

    def predict(self, apart: Array) -> tuple[Array, Array]:
        """(m, n, d) differences from what was observed -> (s, m) mean and standard deviation."""
        part = matern52(self.distances(apart)) @ np.swapaxes(self._inverse, 1, 2)
        mean = np.einsum("smn,sn->sm", part, self._white)
        return mean, np.sqrt(np.maximum(1.0 - np.einsum("smn,smn->sm", part, part), 1e-12))

    def with_one_more(self, apart: Array, values: Array) -> Posterior:
        """After one more observation. apart: (1, n, d); values: (s,), which may differ between draws."""
        part = np.einsum("sn,skn->sk", matern52(self.distances(apart))[:, 0], self._inverse)
        rest = np.sqrt(np.maximum(1.0 + self.noise + JITTER - np.einsum("sn,sn->s", part, part), 1e-10))
        size = part.shape[1]
        inverse = np.zeros((len(rest), size + 1, size + 1))
        inverse[:, :size, :size] = self._inverse
        inverse[:, size, :size] = -np.einsum("sk,skn->sn", part, self._inverse) / rest[:, None]
        inverse[:, size, size] = 1.0 / rest
        added = (values - np.einsum("sk,sk->s", part, self._white)) / rest
        return Posterior(
            self.inverse_squares, self.noise, inverse, np.concatenate([self._white, added[:, None]], axis=1)
        )
