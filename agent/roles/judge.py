"""The judge: a language model decides about gains that are more than noise but smaller than worth a change.

It sees the numbers of both configurations and answers accept or keep. It is never asked about what may be noise, and
where it is wrong about a candidate that it was not asked about, nothing listens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.acceptance import Judgement
from agent.llm.base import Message, Request
from agent.records import Objective
from agent.reference.model import show
from agent.roles.ask import Agents, Hidden
from agent.roles.digest import hidden_value
from agent.roles.foreign import Hide, one_line, record_line

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
    opinions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Candidate -> verdict ("accept" or "keep"), reason, call. A candidate that it left out is missing."""

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "why": self.why, "call": self.call}


def ask(
    agents: Agents,
    *,
    objective: Objective,
    incumbent: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    judgements: Mapping[str, Judgement],
) -> Opinions:
    """One question about all borderline candidates of a round. Raises LLMError.

    incumbent, candidates: their entries of round.json. judgements: by candidate, those that are open.
    """
    hide = agents.prompts.hide
    names = [str(candidate["name"]) for candidate in candidates]
    prompt = agents.prompts.render(
        "judge",
        objective={"direction": Hidden(objective.direction), "metric": objective.metric},
        incumbent=_lines(incumbent, hide),
        candidates=[_candidate(c, incumbent, judgements[str(c["name"])], hide) for c in candidates],
    )
    answer = agents.ask(
        Request(
            role="judge",
            system=prompt.system,
            messages=(Message(role="user", text=prompt.user),),
            schema=answer_schema(names),
            schema_name="opinions",
            max_tokens=4096,
        )
    )
    found: dict[str, dict[str, Any]] = {}
    for said in answer.data["verdicts"]:
        reason = record_line(said["reason"], REASON_CHARACTERS, hide)
        found.setdefault(said["candidate"], {"verdict": said["verdict"], "reason": reason, "call": answer.call})
    missing = [name for name in names if name not in found]
    why = f"no verdict for {', '.join(missing)}" if missing else ""
    return Opinions(status="asked", why=why, call=answer.call, opinions=found)


def answer_schema(names: Sequence[str]) -> dict[str, Any]:
    """JSON Schema of {verdicts: [{candidate, verdict, reason}]}; closed, everything required."""
    properties = {
        "candidate": {"type": "string", "enum": list(names)},
        "verdict": {"type": "string", "enum": ["accept", "keep"]},
        "reason": {"type": "string", "description": f"One sentence, at most {REASON_CHARACTERS} characters."},
    }
    verdict = _closed(properties)
    return _closed({"verdicts": {"type": "array", "items": verdict, "description": "One for each candidate."}})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    names = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _candidate(
    candidate: Mapping[str, Any], incumbent: Mapping[str, Any], judgement: Judgement, hide: Hide
) -> dict[str, Any]:
    """A candidate as the prompt shows it: what it changes, what it gained and how sure that is, what else it did."""
    old, new = incumbent["values"], candidate["values"]
    changes = [
        f"{hide(name)}: {_value(old, name, hide)} -> {_value(new, name, hide)}"
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
    ]
    theirs = {_cell(trial): trial for trial in incumbent["trials"]}
    return {
        "name": Hidden(hide(str(candidate["name"]))),
        "finding": Hidden(one_line(judgement.why, LINE_CHARACTERS, hide)),
        "changes": [Hidden(change) for change in _shortened(changes)],
        "lines": _lines(candidate, hide),
        "pairs": [
            Hidden(f"fold {trial['fold']} seed {trial['seed']}: {_scored(theirs[_cell(trial)])} -> {_scored(trial)}")
            for trial in candidate["trials"]
            if _cell(trial) in theirs and _cell(trial) is not None
        ][:MOST_LINES],
    }


def _lines(entry: Mapping[str, Any], hide: Hide) -> list[Hidden]:
    """What was measured of a configuration besides the objective: its other metrics and what it cost."""
    found = [f"{hide(str(name))}: {show(value)}" for name, value in entry["metrics"].items()]
    found += [f"cost, {hide(str(name))}: {show(value)}" for name, value in entry["costs"].items()]
    return [Hidden(one_line(line, LINE_CHARACTERS)) for line in _shortened(found)]


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"... {more} more"] if more > 0 else [])]


def _value(values: Mapping[str, Any], name: str, hide: Hide) -> str:
    return hidden_value(values[name], hide) if name in values else "inactive"


def _cell(trial: Mapping[str, Any]) -> tuple[Any, Any] | None:
    return (trial["fold"], trial["seed"]) if trial.keys() >= {"fold", "seed"} else None


def _scored(trial: Mapping[str, Any]) -> str:
    return ", ".join(show(value) for value in trial.get("metrics", {}).values()) or "no value"
