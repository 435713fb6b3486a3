"""The planner: a language model chooses how far the next round goes (small, medium, radical, stop), and its changes.

It sees the digest that every role sees, what earlier rounds tried and gained, and what the rules would do. It names
parameters plainly or with their group ("optimizer.learning_rate"). Everything else is as with the autotuner: one
repair turn, the same rules, nothing mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from agent.anonymise import in_json
from agent.errors import LLMUnusable
from agent.llm.base import Reply, Request
from agent.model_roles import PLANNER
from agent.planning import STEPS, STOP, Advice, Past, Plan, allowed
from agent.records import Proposal
from agent.reference import Reference
from agent.reference.keys import listed, misspelled
from agent.reference.model import show
from agent.roles import autotuner, schemas
from agent.roles.answers import Change, PlannedStep, SuggestedCandidate, Suggestion
from agent.roles.ask import Agents, Answer, Prompt, Prompts
from agent.roles.digest import base_values
from agent.roles.foreign import one_line
from agent.roles.situation import Situation, Suggested

SOURCE = "planner"
TEXT_CHARACTERS = 600
"""Of the plan and of its reason, as they are recorded."""
ROUNDS = 10
"""Earlier rounds that the question shows, the newest."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The model's answer. suggested: None where the step is "stop"."""

    plan: Plan
    suggested: Suggested | None


class _Stopped(Exception):
    """Ends the autotuner's turn: no candidates are wanted any more."""


def suggest(agents: Agents, situation: Situation, count: int, *, advice: Advice, past: Sequence[Past]) -> Planned:
    """The model's step, plan and reason, and 1 to `count` candidates with source "planner".

    Raises what `autotuner.suggest` raises.
    """
    desk = _Desk(agents, situation, advice, past)
    try:
        suggested = autotuner.suggest(desk.agents, situation, count)
    except _Stopped:
        return Planned(plan=desk.plan(), suggested=None)
    plan = desk.plan()
    return Planned(plan=plan, suggested=replace(suggested, proposals=_own(suggested, plan.step)))


def repair(
    agents: Agents,
    situation: Situation,
    suggested: Suggested,
    refused: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str] | None = None,
    advice: Advice,
    past: Sequence[Past],
) -> Suggested:
    """Replacements for refused candidates, as `autotuner.repair` has them. The round's step stays what it was: a
    model that now says stop has given nothing usable."""
    steps = {str(proposal.details["step"]) for proposal in suggested.proposals}
    desk = _Desk(agents, situation, advice, past)
    try:
        found = autotuner.repair(desk.agents, situation, suggested, refused, names=names)
    except _Stopped as stopped:
        raise LLMUnusable([f"step is stop, and the round's step is {listed(sorted(steps))} already"]) from stopped
    return replace(found, proposals=_own(found, steps.pop()))


def dotted(reference: Reference, name: str) -> str:
    """A parameter's name as the planner is shown it: "group.name", or the name alone where it has no group."""
    group = reference.parameters[name].group
    return f"{group}.{name}" if group else name


def resolve(reference: Reference, called: str) -> tuple[str, str]:
    """(name, "") of a tunable parameter that is called by its name or by group.name; ("", why not) for any other.

    Groups and names are compared as they are; a wrong group is refused, because it may mean another parameter.
    """
    tunable = reference.tunable()
    group, _, name = called.strip().rpartition(".")
    if name in tunable and group in ("", reference.parameters[name].group):
        return name, ""
    if name in tunable:
        return "", f"parameter {show(called)}: no such group; it is {dotted(reference, name)}"
    if name in reference.parameters:
        why = "is not tuned and stays as it is"
    else:
        meant = misspelled(name, tunable)
        why = f"is unknown{f'; did you mean {dotted(reference, meant)}?' if meant else ''}"
    return "", f"parameter {show(called)} {why}; parameters: {listed(dotted(reference, each) for each in tunable)}"


def plan_schema(form: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of {step, plan, reason, candidates: [{changes, expected_effect, confidence}]}, closed.

    form: the autotuner's, for so many candidates. A change has its parameter as text, because it may be called in two
    ways; `resolve` says what it is.
    """
    candidates: Any = deepcopy(form["properties"]["candidates"])
    change = schemas.closed(
        parameter=schemas.text("Name of the parameter, alone or as group.name, as the data shows it."),
        value={"anyOf": [{"type": kind} for kind in ("number", "string", "boolean")]},
        reason=schemas.text("Why, with the numbers that speak for it; one sentence."),
    )
    candidates["items"]["properties"]["changes"]["items"] = change
    candidates["description"] += " None with the step stop."
    return schemas.closed(
        step=schemas.one_of([*STEPS, STOP]),
        plan=schemas.text("What the round tries, in one or two sentences."),
        reason=schemas.text("Why this step and not another, with the numbers behind it."),
        candidates=candidates,
    )


class _Desk:
    """The autotuner's functions with the planner's question, form and names; keeps what was planned."""

    def __init__(self, agents: Agents, situation: Situation, advice: Advice, past: Sequence[Past]) -> None:
        self._ask, self._situation, self._advice = agents.ask, situation, advice
        self._planned: PlannedStep | None = None
        self._call = ""
        prompts = _PlannersPrompts(agents.prompts, situation.reference, advice, past)
        self.agents = Agents(ask=self.ask, prompts=prompts)

    def ask(self, request: Request) -> Answer:
        """Raises LLMUnusable for names that are none and for a plan without words, _Stopped for the step stop."""
        assert request.schema is not None
        answer = self._ask(
            replace(request, role=PLANNER.name, schema=plan_schema(request.schema), schema_name="plan")
        )
        problems: list[str] = []
        planned = answer.read(PlannedStep)
        suggestion = self._suggestion(planned, problems)
        if problems:
            said = in_json(answer.text, self.agents.prompts.hide)
            raise LLMUnusable(problems, reply=Reply(text=said, provider="", model=answer.model))
        self._planned, self._call = planned, answer.call
        if planned.step == STOP:
            raise _Stopped
        return replace(answer, data=suggestion)

    def _suggestion(self, planned: PlannedStep, problems: list[str]) -> Suggestion:
        """The answer as the autotuner's, with the names that are meant; what is wrong with it goes to `problems`."""
        texts = {"plan": planned.plan, "reason": planned.reason}
        problems += [f"{name} is empty" for name, text in texts.items() if not text.strip()]
        if planned.step == STOP and planned.candidates:
            problems.append("step is stop, and there are candidates: choose one of the two")
        candidates = []
        for position, candidate in enumerate(planned.candidates):
            changes = []
            for k, change in enumerate(candidate.changes):
                name, problem = resolve(self._situation.reference, change.parameter)
                if problem:
                    problems.append(f"candidates[{position}].changes[{k}]: {problem}")
                changes.append(Change(parameter=name, value=change.value, reason=change.reason))
            candidates.append(
                SuggestedCandidate(
                    changes=tuple(changes),
                    expected_effect=candidate.expected_effect,
                    confidence=candidate.confidence,
                )
            )
        return Suggestion(diagnosis=f"{planned.plan} {planned.reason}", candidates=tuple(candidates))

    def plan(self) -> Plan:
        """What the last usable answer plans."""
        planned = self._planned
        assert planned is not None
        return Plan(
            step=planned.step,
            plan=one_line(planned.plan, TEXT_CHARACTERS),
            reason=one_line(planned.reason, TEXT_CHARACTERS),
            by="model",
            advice=self._advice,
            base=base_values(self._situation),
            base_name=self._situation.base_name,
            call=self._call,
        )


class _PlannersPrompts(Prompts):
    """The autotuner's questions as the planner gets them: its own prompt file, in the repair turn its own role."""

    def __init__(self, prompts: Prompts, reference: Reference, advice: Advice, past: Sequence[Past]) -> None:
        super().__init__((), prompts.hide)
        self._prompts, self._advice, self._past = prompts, advice, past
        self._steps = [
            {"name": step, "parameters": [dotted(reference, name) for name in allowed(reference, step)]}
            for step in STEPS
        ]

    def render(self, name: str, **values: object) -> Prompt:
        if name != "autotuner":
            return self._prompts.render(name, **(values | {"role": PLANNER.name}))
        shown = {"step": self._advice.step, "reason": self._advice.reason}
        rounds = [_round(entry) for entry in self._past[-ROUNDS:]]
        return self._prompts.render("planner", steps=self._steps, rules=shown, rounds=rounds, **values)


def _round(entry: Past) -> str:
    step = f"{entry.step} step" if entry.step else "no plan"
    return f"round {entry.number}: {step}, {'an accepted gain' if entry.gained else 'no accepted gain'}"


def _own(suggested: Suggested, step: str) -> list[Proposal]:
    return [
        replace(proposal, source=SOURCE, details={**proposal.details, "step": step})
        for proposal in suggested.proposals
    ]
