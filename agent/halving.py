"""Successive halving: many settings are trained a little, the best of them go on, the last few in full. Pure.

Source: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
2016, Algorithm 1; eta as in Li et al., "Hyperband", JMLR 18 (2018), section 3.1: a rung keeps one in eta and trains
it eta times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.records import Objective


@dataclass(frozen=True, kw_only=True)
class Halving:
    """How a round's candidates are thinned out. Raises ValueError where two rungs would train equally long."""

    rungs: int
    """How often they are trained, the full training included: 1 is no halving at all."""
    eta: int
    """One in so many goes on, for so many times as many epochs."""
    epochs: int
    """Of the full training."""

    def __post_init__(self) -> None:
        if self.rungs < 1 or self.eta < 2 or self.epochs < 1:
            raise ValueError(f"rungs {self.rungs}, eta {self.eta}, epochs {self.epochs}: at least 1, 2 and 1")
        if len(set(self.budgets)) < self.rungs:
            shown = ", ".join(map(str, self.budgets))
            raise ValueError(
                f"--rungs {self.rungs} with --eta {self.eta} would train for {shown} epochs: each rung must train "
                f"longer than the one before; give fewer rungs, a smaller eta or more epochs"
            )

    @property
    def budgets(self) -> tuple[int, ...]:
        """Epochs in all after each rung, the full number last."""
        return tuple(-(-self.epochs // self.eta ** (self.rungs - rung)) for rung in range(1, self.rungs + 1))


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A candidate of a rung."""

    name: str
    value: float | None
    """Mean over the rung's rows; None unless all of them ended ok."""
    seeded: bool = False
    """Goes on whatever its value: the study's default, or a person's own settings."""


def promoted(entrants: Sequence[Entrant], objective: Objective, eta: int) -> list[str]:
    """Who goes on, in the order of `entrants`: the seeded and, of the others, the best one in eta (at least one).

    One without a value never does, seeded or not. Of equal values the earlier candidate counts as better.
    """
    rivals = [entrant for entrant in entrants if not entrant.seeded]
    sign = -1.0 if objective.direction == "maximize" else 1.0
    ranked = sorted((e for e in rivals if e.value is not None), key=lambda e: sign * (e.value or 0.0))
    kept = {entrant.name for entrant in ranked[: max(1, len(rivals) // eta)]}
    kept |= {entrant.name for entrant in entrants if entrant.seeded and entrant.value is not None}
    return [entrant.name for entrant in entrants if entrant.name in kept]
