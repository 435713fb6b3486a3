"""Settings of earlier studies as the first candidates of a new one: mapped by name, nothing clamped. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.records import CandidateResult, Proposal
from agent.reference import ExpressionError, Reference, check_values, config_key
from agent.reference.keys import listed
from agent.reference.model import show
from trainers.contract import Value

MOST = 3
"""Settings of one earlier study. The best of three related studies first cut the normalised regret after 10 trials
from .271 to .196 over seven tasks; further settings of one study are less and less different."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A study that something is to be learnt from."""

    name: str
    metric: str
    best: Sequence[CandidateResult]
    """Complete ones with a value, the best first."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What earlier studies give a new one."""

    proposals: Sequence[Proposal]
    """In the order in which they are tried: the best of each study, then the second of each, and so on."""
    left_out: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """(source, why)."""


def warm_start(reference: Reference, studies: Sequence[Earlier], *, most: int = MOST) -> WarmStart:
    """Up to `most` distinct settings of each study that fit the reference, none of them its default.

    A parameter that the earlier settings lack has the reference's value; one that the reference lacks is dropped.
    Settings with a value outside today's domain, or that violate a constraint, are left out.
    """
    seen = {config_key(reference): "this study's default"}
    found: list[list[Proposal]] = []
    left_out: list[tuple[str, str]] = []
    for study in studies:
        mine: list[Proposal] = []
        for observation in study.best:
            if len(mine) == most:
                break
            source = f"warm_start:{study.name}/round_{observation.round}/{observation.candidate}"
            mapped = _mapped(reference, observation)
            if isinstance(mapped, str):
                left_out.append((source, mapped))
                continue
            values, notes = mapped
            key = config_key(reference, values)
            if key in seen:
                left_out.append((source, f"the same settings here as {seen[key]}"))
                continue
            seen[key] = source
            mine.append(_proposal(study, observation, len(mine), values, notes, source))
        found.append(mine)
    ordered = [mine[place] for place in range(most) for mine in found if place < len(mine)]
    return WarmStart(proposals=ordered, left_out=left_out)


def _proposal(
    study: Earlier, observation: CandidateResult, place: int, values: dict[str, Value], notes: list[str], source: str
) -> Proposal:
    rank = "the best" if place == 0 else f"number {place + 1} of those that fit"
    reason = f"{rank} of the study {study.name}, where {study.metric} was {show(observation.value)}"
    return Proposal(values=values, source=source, reason=reason, details={"notes": notes})


def _mapped(reference: Reference, observation: CandidateResult) -> tuple[dict[str, Value], list[str]] | str:
    """(values of every active tunable parameter, what was not taken over), or why the settings do not fit."""
    tunable, there = reference.tunable(), observation.values
    given = {name: there[name] for name in tunable if name in there}
    if not given:
        return f"has none of the parameters that are tuned here ({listed(tunable)})"
    wrong = [
        f"{name} = {show(value)} ({why})"
        for name, value in given.items()
        if (why := reference.parameters[name].refusal(value))
    ]
    if wrong:
        return f"outside this study's ranges: {listed(wrong)}"
    try:
        effective = reference.effective(given)
    except ExpressionError as error:
        return str(error)
    values = {n: reference.parameters[n].canonical(effective[n]) for n in tunable if n in effective}
    if problems := check_values(reference, values, complete=True):
        return "; ".join(problem.message for problem in problems)
    now = reference.values()
    kinds = {
        "had no value there, so has this study's": [name for name in values if name not in there],
        "unknown here": [name for name in there if name not in reference.parameters],
        "without effect here": [name for name in given if name not in values],
        "not tuned here, so stays": [n for n in there if n in now and n not in tunable and now[n] != there[n]],
    }
    return values, [f"{listed(names)}: {what}" for what, names in kinds.items() if names]
