"""The judge: a language model decides about gains that are more than noise but smaller than worth a change.

It sees the numbers of both configurations and answers accept or keep. It is never asked about what may be noise, and
where it is wrong about a candidate that it was not asked about, nothing listens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.acceptance import Judgement, Opinion
from agent.llm.base import Message, Request
from agent.model_roles import JUDGE
from agent.records import CandidateResult, Objective, TrialRecord
from agent.reference.model import show
from agent.roles import schemas
from agent.roles.answers import JudgeVerdicts
from agent.roles.ask import Agents, Hidden
from agent.roles.digest import hidden_value
from agent.roles.foreign import Hide, one_line, record_line
from trainers.contract import Value

REASON_CHARACTERS, LINE_CHARACTERS = 300, 400
#: Metrics, costs and single gains shown of each.
MOST_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """What the judge said."""

    status: str
    """"asked", or "skipped": neither approval nor refusal."""
    why: str = ""
    call: str = ""
    opinions: Mapping[str, Opinion] = field(default_factory=dict)
    """By candidate. One that it left out is missing."""


def ask(
    agents: Agents,
    *,
    objective: Objective,
    incumbent: CandidateResult,
    candidates: Sequence[CandidateResult],
    judgements: Mapping[str, Judgement],
) -> Opinions:
    """One question about all borderline candidates of a round. Raises LLMError.

    judgements: by candidate, those that are open.
    """
    hide = agents.prompts.hide
    names = [found.candidate for found in candidates]
    prompt = agents.prompts.render(
        "judge",
        objective={"direction": Hidden(objective.direction), "metric": objective.metric},
        incumbent=_lines(incumbent, hide),
        candidates=[_candidate(c, incumbent, judgements[c.candidate], hide) for c in candidates],
    )
    answer = agents.ask(
        Request(
            role=JUDGE.name,
            system=prompt.system,
            messages=(Message(role="user", text=prompt.user),),
            schema=answer_schema(names),
            schema_name="opinions",
            max_tokens=JUDGE.answer_tokens(),
        )
    )
    found: dict[str, Opinion] = {}
    for said in answer.read(JudgeVerdicts).verdicts:
        reason = record_line(said.reason, REASON_CHARACTERS, hide)
        found.setdefault(said.candidate, Opinion(verdict=said.verdict, reason=reason, call=answer.call))
    missing = [name for name in names if name not in found]
    why = f"no verdict for {', '.join(missing)}" if missing else ""
    return Opinions(status="asked", why=why, call=answer.call, opinions=found)


def answer_schema(names: Sequence[str]) -> dict[str, Any]:
    """JSON Schema of {verdicts: [{candidate, verdict, reason}]}; closed, everything required."""
    reason = schemas.text(f"One sentence, at most {REASON_CHARACTERS} characters.")
    return schemas.verdicts(
        candidate=schemas.one_of(names), verdict=schemas.one_of(("accept", "keep")), reason=reason
    )


def _candidate(
    candidate: CandidateResult, incumbent: CandidateResult, judgement: Judgement, hide: Hide
) -> dict[str, Any]:
    """A candidate as the prompt shows it: what it changes, what it gained and how sure that is, what else it did."""
    old, new = incumbent.values, candidate.values
    changes = [
        f"{hide(name)}: {_value(old, name, hide)} -> {_value(new, name, hide)}"
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
    ]
    theirs = {trial.cell: trial for trial in incumbent.trials}
    return {
        "name": Hidden(hide(candidate.candidate)),
        "finding": Hidden(one_line(judgement.why, LINE_CHARACTERS, hide)),
        "changes": [Hidden(change) for change in _shortened(changes)],
        "lines": _lines(candidate, hide),
        "pairs": [
            Hidden(f"fold {trial.fold} seed {trial.seed}: {_scored(theirs[trial.cell])} -> {_scored(trial)}")
            for trial in candidate.trials
            if trial.cell in theirs and trial.cell is not None
        ][:MOST_LINES],
    }


def _lines(result: CandidateResult, hide: Hide) -> list[Hidden]:
    """What was measured of a configuration besides the objective: its other metrics and what it cost."""
    found = [f"{hide(str(name))}: {show(value)}" for name, value in result.metrics.items()]
    found += [f"cost, {hide(str(name))}: {show(value)}" for name, value in result.costs.items()]
    return [Hidden(one_line(line, LINE_CHARACTERS)) for line in _shortened(found)]


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"... {more} more"] if more > 0 else [])]


def _value(values: Mapping[str, Value], name: str, hide: Hide) -> str:
    return hidden_value(values[name], hide) if name in values else "inactive"


def _scored(trial: TrialRecord) -> str:
    return ", ".join(show(value) for value in trial.metrics.values()) or "no value"
