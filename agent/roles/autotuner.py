"""The autotuner: shows a language model the history and reads the settings that it proposes.

An answer that cannot be used is asked for again once, with everything that is wrong with it; so are candidates that
the rules refuse (`repair`). After that an LLMError tells the caller to go on without. Nothing is ever mended here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.anonymise import in_json
from agent.errors import LLMUnusable
from agent.llm.base import Message, Request
from agent.model_roles import AUTOTUNER
from agent.records import Proposal
from agent.reference import Reference
from agent.roles.answers import Suggestion
from agent.roles.ask import Agents, Answer, Hidden
from agent.roles.digest import allowed, digest, settings
from agent.roles.foreign import Hide, one_line
from agent.roles.situation import Situation, Suggested
from agent.roles.suggestion import answer_schema, proposals, unusable
from trainers.layout import candidate_name

DIAGNOSIS_CHARACTERS = 2000
FINDING_CHARACTERS = 600
ANSWER_CHARACTERS = 20_000
"""Of an unusable answer, as the repair turn shows it again."""


def suggest(agents: Agents, situation: Situation, count: int) -> Suggested:
    """What the model proposes: 1 to `count` candidates, well-formed, not yet held against the rules.

    Fewer than `count` are kept as they are and more are left out; both are said in `diagnosis` and in each proposal's
    details (shortfall, surplus). Raises LLMUnusable where the repair turn gave nothing usable either, another
    LLMError as it came, ProposalError where no parameter is tuned.
    """
    question = _question(agents, situation, count)
    try:
        answer = agents.ask(question)
        problems = unusable(answer.read(Suggestion))
        if not problems:
            return _suggested(agents, answer, question, situation, count, source="llm", calls=())
        said = in_json(answer.text, agents.prompts.hide)
    except LLMUnusable as error:
        problems, said = list(error.problems), error.reply.text if error.reply is not None else ""
    request = _again(agents, question, said, situation.reference, count, problems=problems)
    answer = _asked(agents, request)
    found = _suggested(agents, answer, request, situation, count, source="llm", calls=())
    return replace(found, repaired=True, repaired_for=problems)


def repair(
    agents: Agents,
    situation: Situation,
    suggested: Suggested,
    refused: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str] | None = None,
) -> Suggested:
    """Replacements for the refused candidates, in the order of `refused`, with every finding before the model.

    refused: name -> findings. names: what `suggested.proposals` are called, in their order; by default c00, c01, ...
    The result holds the replacements alone, each with details["replaces"] (the name) and the source of what it
    replaces; where the model gives fewer than asked for, the last ones are missing. It is one turn: the caller asks
    only where `suggested.repaired` is false. Raises LLMError, ValueError for a name that no proposal has.
    """
    called = dict(
        zip(names or map(candidate_name, range(len(suggested.proposals))), suggested.proposals, strict=True)
    )
    if not refused or not refused.keys() <= called.keys():
        raise ValueError(f"refused are {', '.join(refused) or 'none'}: must be some of {', '.join(called)}")
    hide = agents.prompts.hide
    shown = [
        {
            "name": name,
            "changes": Hidden(_changes(called[name], hide)),
            "findings": [Hidden(one_line(f, FINDING_CHARACTERS, hide)) for f in found],
        }
        for name, found in refused.items()
    ]
    question = _question(agents, situation, len(suggested.proposals))
    said = in_json(suggested.response, hide)
    request = _again(agents, question, said, situation.reference, len(refused), refused=shown)
    first = called[next(iter(refused))]
    calls = first.details.get("calls", ())
    answer = _asked(agents, request)
    result = _suggested(
        agents,
        answer,
        request,
        situation,
        len(refused),
        source=first.source,
        calls=[str(call) for call in calls] if isinstance(calls, Sequence) else (),
    )
    replaced = [
        replace(proposal, details={**proposal.details, "replaces": name})
        for name, proposal in zip(refused, result.proposals, strict=False)
    ]
    why = [f"{name}: {finding}" for name, found in refused.items() for finding in found]
    return replace(result, proposals=replaced, repaired=True, repaired_for=why, transcript=suggested.transcript)


def response(proposals: Sequence[Proposal], diagnosis: Sequence[Mapping[str, Any]]) -> str:
    """What was proposed without a model, as JSON text: the findings behind it, each proposal's source and reason."""
    answer = {
        "diagnosis": [finding.get("text", "") for finding in diagnosis],
        "proposals": [
            {
                "name": candidate_name(position),
                "source": proposal.source,
                "reason": proposal.reason,
                "values": dict(proposal.values),
                "details": dict(proposal.details),
            }
            for position, proposal in enumerate(proposals)
        ],
    }
    return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"


def conversation(request: Request) -> str:
    """A request as readable text: its system text, then each turn under its role."""
    turns = [("system", request.system), *((message.role, message.text) for message in request.messages)]
    return "\n\n".join(f"[{role}]\n{text}" for role, text in turns) + "\n"


def _question(agents: Agents, situation: Situation, count: int) -> Request:
    hide = agents.prompts.hide
    prompt = agents.prompts.render(
        "autotuner",
        digest=digest(situation, hide=hide),
        count=count,
        base_name=Hidden(one_line(situation.base_name, hide=hide)),
    )
    return Request(
        role=AUTOTUNER.name,
        system=prompt.system,
        messages=(Message(role="user", text=prompt.user),),
        schema=answer_schema(situation.reference, count),
        schema_name="suggestion",
        max_tokens=AUTOTUNER.answer_tokens(count),
    )


def _again(
    agents: Agents,
    question: Request,
    said: str,
    reference: Reference,
    count: int,
    *,
    problems: Sequence[str] = (),
    refused: Sequence[Mapping[str, object]] = (),
) -> Request:
    """The repair turn: the question, the answer as it came, what is wrong with it and every valid name."""
    hide = agents.prompts.hide
    parameters = [f"{hide(name)}: {allowed(reference.parameters[name], hide)}" for name in reference.tunable()]
    prompt = agents.prompts.render(
        "repair",
        role=question.role,
        problems=[Hidden(one_line(problem, FINDING_CHARACTERS, hide)) for problem in problems],
        refused=refused,
        count=count,
        parameters=[Hidden(parameter) for parameter in parameters],
    )
    asked = question.messages[0].text
    if said.strip():
        more = len(said) - ANSWER_CHARACTERS
        shown = said[:ANSWER_CHARACTERS] + (f"\n... {more:,} more characters left out" if more > 0 else "")
        turns = [("user", asked), ("assistant", shown), ("user", prompt.user)]
    else:  # no endpoint takes an empty turn of the assistant
        turns = [("user", f"{asked}\n\n{prompt.user}")]
    return replace(
        question,
        system=prompt.system,
        messages=tuple(Message(role=role, text=text) for role, text in turns),
        schema=answer_schema(reference, count),
    )


def _asked(agents: Agents, request: Request) -> Answer:
    """The answer to a repair turn, after which there is no other. Raises LLMError."""
    answer = agents.ask(request)
    if problems := unusable(answer.read(Suggestion)):
        raise LLMUnusable(problems)
    return answer


def _suggested(
    agents: Agents,
    answer: Answer,
    request: Request,
    situation: Situation,
    count: int,
    *,
    source: str,
    calls: Sequence[str],
) -> Suggested:
    said = answer.read(Suggestion)
    found = proposals(
        said,
        situation,
        source=source,
        calls=[*calls, answer.call],
        prompt_sha256=answer.prompt_sha256,
        model=answer.model,
        hide=agents.prompts.hide,
    )
    diagnosis = one_line(said.diagnosis, DIAGNOSIS_CHARACTERS)
    if len(found) != count:
        kind, what = (
            ("shortfall", "all are kept") if len(found) < count else ("surplus", f"the first {count} are kept")
        )
        note = f"asked for {count} candidates, the answer has {len(found)}: {what}"
        found = [replace(proposal, details={**proposal.details, kind: note}) for proposal in found[:count]]
        diagnosis = f"{diagnosis} [{note}]"
    return Suggested(
        proposals=found,
        diagnosis=diagnosis,
        prompt=conversation(request),
        response=answer.text,
    )


def _changes(proposal: Proposal, hide: Hide) -> str:
    """What a proposal changes, as it was answered, in one line."""
    changes = proposal.details.get("changes")
    if not isinstance(changes, Sequence):
        return ""
    return settings({change["parameter"]: change["to"] for change in changes}, hide)
