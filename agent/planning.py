"""How far a round may go from the best so far: step types, their limits, and the rules that choose among them. Pure.

A small step changes settings alone, a medium one the architecture too, a radical one everything: each parameter's
`impact` in the reference says which step may change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.records import InsteadOf, Proposal
from agent.reference import Reference, parse_reference
from agent.reference.keys import IMPACTS, listed
from trainers.contract import Value

STEPS = IMPACTS
STOP = "stop"
ESCALATE_AFTER = 2
"""Rounds without an accepted gain before the rules go one step type deeper."""


def allowed(reference: Reference, step: str) -> tuple[str, ...]:
    """Tunable parameters that a step of this type may change, in file order."""
    depth = STEPS.index(step)
    impacts = {name: STEPS.index(reference.parameters[name].impact) for name in reference.tunable()}
    return tuple(name for name, impact in impacts.items() if impact <= depth)


def useful_steps(reference: Reference) -> tuple[str, ...]:
    """The step types that may change something that no smaller one may; ("small",) where nothing is tuned."""
    found, before = [], 0
    for step in STEPS:
        if (now := len(allowed(reference, step))) > before:
            found.append(step)
        before = now
    return tuple(found) or STEPS[:1]


def deeper(reference: Reference, step: str) -> str | None:
    """The next useful step type, None where there is none."""
    return next((other for other in useful_steps(reference) if STEPS.index(other) > STEPS.index(step)), None)


@dataclass(frozen=True, kw_only=True)
class Past:
    """A closed round after the first, as the rules see it."""

    number: int
    gained: bool
    step: str | None = None
    """Of its plan, if it had one."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the rules would do next."""

    step: str
    """A step type, or "stop"."""
    reason: str
    idle: int
    """Rounds in a row without an accepted gain."""


def advise(
    past: Sequence[Past], reference: Reference, *, escalate_after: int = ESCALATE_AFTER, patience: int | None = None
) -> Advice:
    """Small after a gain; one useful step type deeper for every `escalate_after` rounds in a row without one; stop
    after `patience` of them."""
    idle = 0
    for entry in reversed(past):
        if entry.gained:
            break
        idle += 1
    without = f"{idle} round{'s' if idle != 1 else ''} in a row without an accepted gain"
    if patience is not None and idle >= patience:
        return Advice(step=STOP, reason=f"{without}, and the patience is {patience}", idle=idle)
    steps = useful_steps(reference)
    step = steps[min(idle // escalate_after, len(steps) - 1)]
    if not past:
        return Advice(step=step, reason="the first step after the default", idle=0)
    if not idle:
        return Advice(step=step, reason=f"round {past[-1].number} gained", idle=0)
    rule = f"the rules go deeper after every {escalate_after}"
    return Advice(step=step, reason=f"{without}; {rule}", idle=idle)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a round tries: in its decision file, round.json and `status`."""

    step: str
    plan: str
    reason: str
    by: str
    """"model" or "rules"."""
    advice: Advice
    """The rules' word, whoever decided."""
    base: Mapping[str, Value] = field(default_factory=dict)
    """What the step starts from: the tunable values that are active in the best so far."""
    base_name: str = ""
    instead_of: InsteadOf | None = None
    """Where rules stand in for a model."""
    call: str | None = None
    """The model's recorded exchange."""

    def to_json(self) -> dict[str, object]:
        plain = {name: getattr(self, name) for name in ("step", "plan", "reason", "by", "base_name", "call")}
        rules = {"step": self.advice.step, "reason": self.advice.reason, "idle": self.advice.idle}
        instead = self.instead_of.to_json() if self.instead_of is not None else None
        return {**plain, "rules": rules, "base": dict(self.base), "instead_of": instead}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Plan:
        """A plan as `to_json` left it. Raises KeyError, TypeError or ValueError."""
        fields = dict(raw)
        advice, instead = Advice(**fields.pop("rules")), InsteadOf.from_json(fields.pop("instead_of"))
        return cls(advice=advice, instead_of=instead, **fields)

    def deeper(self, reference: Reference, why: str) -> Plan | None:
        """The same plan with the next step type, because this one has nothing left; None where there is none."""
        step = deeper(reference, self.step)
        if step is None:
            return None
        return replace(self, step=step, reason=f"{self.reason}; a {self.step} step has nothing left to try ({why})")

    def outside(self, reference: Reference, proposal: Proposal) -> list[str]:
        """A finding for each parameter that the proposal changes and this step may not."""
        may = allowed(reference, self.step)
        asked = proposal.details.get("changes")
        named = [str(c["parameter"]) for c in asked] if isinstance(asked, Sequence) else []
        changed = [n for n in reference.tunable() if n in named or _differs(reference, self.base, proposal, n)]
        rule = f"a {self.step} step may change {f'only {listed(may)}' if may else 'nothing here'}"
        return [
            f"{name} has impact {reference.parameters[name].impact}: {rule}" for name in changed if name not in may
        ]

    def within(self, reference: Reference) -> Reference:
        """The reference with everything but what this step may change held at the base."""
        raw, may = reference.raw, allowed(reference, self.step)
        for name in reference.tunable():
            if name in self.base:
                raw["parameters"][name]["active_value"] = self.base[name]
            if name not in may:
                raw["parameters"][name]["tune"] = False
        return parse_reference(raw, file=f"a {self.step} step")

    def own(self, reference: Reference, proposal: Proposal) -> Proposal:
        """A proposal made `within` the step, with the values of every tunable parameter that is active under it."""
        effective = reference.effective({**self.base, **proposal.values})
        values = {name: effective[name] for name in reference.tunable() if name in effective}
        reason = f"{proposal.reason}; a {self.step} step from {self.base_name}"
        return replace(proposal, values=values, reason=reason, details={**proposal.details, "step": self.step})


def _differs(reference: Reference, base: Mapping[str, Value], proposal: Proposal, name: str) -> bool:
    """Whether both have a value and not the same; what a change of another makes active or inactive is none."""
    if name not in base or name not in proposal.values:
        return False
    parameter, value = reference.parameters[name], proposal.values[name]
    if parameter.refusal(value):
        return bool(value != base[name])
    one, other = parameter.canonical(base[name]), parameter.canonical(value)
    return (type(one), one) != (type(other), other)
