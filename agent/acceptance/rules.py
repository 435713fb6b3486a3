"""The rules of acceptance: the numbers that a person may change, and what decides about a comparison. Pure.

templates/acceptance.yaml is the shipped table and explains every field; doc/acceptance.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.acceptance.student import normal_sf, t_quantile

CORRECTIONS = ("sidak", "bonferroni", "none")
#: What a rule may say of a candidate. "leading" is for an unknown noise: better, and nobody knows by how much.
VERDICTS = ("accepted", "borderline", "rejected", "leading")

Own = Callable[[Mapping[str, Any]], tuple[str, str]]
"""A person's rule: a comparison's numbers in, verdict and reason out."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a candidate is held against the incumbent."""

    min_gain_percent: float = 2.0
    """Of the incumbent's absolute value: the least gain that is worth a change."""
    min_gain: float | None = None
    """The same in the metric's own unit; replaces the percentage where it is given."""
    reject_percent: float = 0.5
    """A loss of more than this, in percent of the incumbent's absolute value, is rejected."""
    reject_loss: float | None = None
    """The same in the metric's own unit; replaces the percentage where it is given."""
    z: float = 1.7
    """Standard errors that a gain must reach, as it would be with perfectly known noise and one candidate. It stands
    for the chance of a false acceptance, P(Z > z): 4.5 %."""
    correction: str = "sidak"
    """For having picked the best of K."""
    judge: bool = True
    """Whether a language model, where there is one, decides about gains that are real but smaller than min_gain."""
    confirm_seeds: int | None = None
    """Fresh seeds of a confirmation; None: --confirm-seeds."""
    name: str = "acceptance.yaml"
    """What verdicts call these rules."""
    own: Own | None = None
    """A person's Python function in place of `decide`."""

    @property
    def alpha(self) -> float:
        """Chance of a false acceptance that z stands for, one-sided."""
        return normal_sf(self.z)

    def alpha_of(self, k: int) -> float:
        """The chance that is left to each of K candidates, so that the best of them is accepted falsely no more often
        than `alpha`.

        Šidák (1967): 1 - (1 - alpha)^(1/K). It holds for candidates that share the incumbent's rows and the noise
        estimate: their t are positively related (Slepian 1962, Kimball 1951). Bonferroni: alpha / K.
        """
        if self.correction == "none":
            return self.alpha
        return self.alpha / k if self.correction == "bonferroni" else 1 - (1 - self.alpha) ** (1 / k)

    def critical(self, k: int, df: float) -> float:
        """Standard errors that the gain of one of K must reach, with a noise of so many degrees of freedom: Student's
        t in place of z, which is larger the less is known."""
        return t_quantile(self.alpha_of(k), df)

    def least_gain(self, incumbent: float) -> float:
        """Least gain that is worth a change, in the metric's unit. A percentage says nothing where the incumbent's
        value is near zero; there the noise decides alone, unless `min_gain` is given."""
        return self.min_gain if self.min_gain is not None else self.min_gain_percent / 100 * abs(incumbent)

    def most_loss(self, incumbent: float) -> float:
        """The loss beyond which a candidate is rejected, in the metric's unit, from 0."""
        return self.reject_loss if self.reject_loss is not None else self.reject_percent / 100 * abs(incumbent)

    def plain(self) -> dict[str, Any]:
        """The numbers, as round.json names them."""
        names = ("min_gain_percent", "min_gain", "reject_percent", "reject_loss", "z", "correction", "judge")
        return {"name": self.name, **{name: getattr(self, name) for name in names}}
