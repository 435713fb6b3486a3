"""A history as far as today's space can hold it: what every model-based proposer begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.records import CandidateResult, Objective
from agent.reference import Reference
from trainers.contract import Value


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Observations by what they say, each with its values of today's tunable parameters."""

    scored: tuple[tuple[CandidateResult, Mapping[str, Value]], ...]
    screened: tuple[tuple[CandidateResult, Mapping[str, Value]], ...]
    """With a value of fewer epochs only: given up after a rung."""
    refused: tuple[tuple[CandidateResult, Mapping[str, Value]], ...]
    """Without a value because of their settings (out of memory, diverged, invalid), or beyond a study's limit."""
    failed: int
    """Without a value for any reason. What machines did is not shown to a model."""
    outside: int
    """Scored or refused, but with a value that today's ranges refuse."""

    @classmethod
    def of(cls, reference: Reference, history: Sequence[CandidateResult]) -> Seen:
        scored, screened, refused = [], [], []
        outside = 0
        for observation in history:
            if observation.value is None and not observation.outcome.is_config:
                continue
            values = {name: observation.values[name] for name in reference.tunable() if name in observation.values}
            if not values or any(reference.parameters[name].refusal(value) for name, value in values.items()):
                outside += 1
            elif observation.value is None or observation.violates:
                refused.append((observation, values))
            elif observation.fidelity < 1:
                screened.append((observation, values))
            else:
                scored.append((observation, values))
        failed = sum(observation.value is None for observation in history)
        return cls(
            scored=tuple(scored),
            screened=tuple(screened),
            refused=tuple(refused),
            failed=failed,
            outside=outside,
        )

    def best(self, objective: Objective) -> CandidateResult:
        """The best of those that count in full; there is one."""
        best = self.scored[0][0]
        for observation, _ in self.scored:
            assert observation.value is not None and best.value is not None
            if objective.better(observation.value, best.value):
                best = observation
        return best

    def details(self, seed: int) -> dict[str, object]:
        """What every proposal of a round says of what was known."""
        found: dict[str, object] = {"n_scored": len(self.scored), "n_failed": self.failed, "seed": seed}
        if self.screened:
            found["n_screened"] = len(self.screened)
        if self.outside:
            found["n_outside"] = self.outside
        return found

    @property
    def told(self) -> str:
        """How much is known, in words."""
        more = f", {len(self.screened)} given up in rungs" if self.screened else ""
        more += f", {self.failed} failed" if self.failed else ""
        return f"{len(self.scored)} scored trials{more}"


def where(observation: CandidateResult, objective: Objective) -> str:
    """A scored observation in words."""
    return f"{objective.metric} {observation.value:.6g} in round {observation.round} {observation.candidate}"
