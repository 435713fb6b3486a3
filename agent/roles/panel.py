"""The panel: two consultants discuss the next settings, one bold and one careful; a supervisor decides.

The consultants speak freely and bind nobody. The supervisor answers in the autotuner's form and is treated as the
autotuner is: one repair turn, the same rules, nothing mended. Prompts show statements up to a bound and announce each
cut, so that they stay of one size however long the discussion is; the transcript has all of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.errors import LLMError
from agent.llm.base import Message, Request
from agent.model_roles import CONSULTANT_A, CONSULTANT_B, ROLES, SUPERVISOR
from agent.roles import autotuner
from agent.roles.ask import Agents, Answer, Hidden, Prompt, Prompts
from agent.roles.digest import digest
from agent.roles.foreign import Hide, cleaned, cut, one_line
from agent.roles.situation import Situation, Suggested

CONSULTANTS: Mapping[str, str] = {CONSULTANT_A.name: "bold", CONSULTANT_B.name: "careful"}
"""Role -> manner, in the order in which they speak."""
STATEMENT_CHARACTERS = 2400
"""Of one statement: some 600 tokens, two paragraphs for each candidate."""
DISCUSSION_CHARACTERS = 24_000
"""Of the discussion as a prompt shows it: five turns; the newest statements are kept."""

_HEAD = re.compile(r"## (consultant_[ab]), turn (\d+)(?:, call \S+|: (left out, .*))$")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What one consultant said in one turn, or why it is missing."""

    role: str
    turn: int
    text: str = ""
    call: str = ""
    missing: str = ""
    """Why there is no text."""

    def shown(self) -> str:
        """As the transcript has it: what a model said is indented, so that it cannot pass for a heading."""
        head = f"## {self.role}, turn {self.turn}"
        return (
            f"{head}: left out, {self.missing}"
            if self.missing
            else f"{head}, call {self.call}\n{_indented(self.text)}"
        )


def discuss(agents: Agents, situation: Situation, count: int, turns: int) -> Suggested:
    """The supervisor's 1 to `count` candidates after `turns` turns of both consultants; source "panel".

    A consultant that fails is left out of that turn, and the transcript says so; if nobody was heard at all, the
    supervisor decides alone. Raises what `autotuner.suggest` raises for the supervisor, an LLMError with what was
    said in its `transcript`; ValueError for less than one turn.
    """
    if turns < 1:
        raise ValueError(f"turns is {turns}: must be at least 1")
    history = digest(situation, hide=agents.prompts.hide)
    statements: list[Statement] = []
    for turn in range(1, turns + 1):
        for role in CONSULTANTS:
            statements.append(_statement(agents, role, turn, turns, count, history, statements))
    heard = [statement.call for statement in statements if statement.call]
    try:
        suggested = autotuner.suggest(_supervised(agents, statements), situation, count)
    except LLMError as error:
        failed = f"## supervisor: no decision, {type(error).__name__}: {one_line(error)}"
        error.transcript = _transcript(statements, turns, failed)
        raise
    proposals = [
        replace(proposal, source="panel", details={**proposal.details, "calls": [*heard, *_calls(proposal.details)]})
        for proposal in suggested.proposals
    ]
    decided = _calls(proposals[0].details)[-1]
    transcript = _transcript(statements, turns, _decision(suggested, decided))
    return replace(suggested, proposals=proposals, transcript=transcript)


def repair(
    agents: Agents,
    situation: Situation,
    suggested: Suggested,
    refused: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str] | None = None,
) -> Suggested:
    """The supervisor's replacements for refused candidates: `autotuner.repair`, with the discussion before it."""
    supervisor = _supervised(agents, list(_statements(suggested.transcript)))
    result = autotuner.repair(supervisor, situation, suggested, refused, names=names)
    answered = _decision(result, _calls(result.proposals[0].details)[-1])
    return replace(result, transcript=f"{suggested.transcript}\n{answered}\n")


def _transcript(statements: Sequence[Statement], turns: int, end: str) -> str:
    heard = sum(bool(statement.call) for statement in statements)
    head = f"Panel: {turns} turn{'s' if turns > 1 else ''}, {heard} of {len(statements)} statements heard"
    alone = "" if heard else "\nNo consultant was heard: the supervisor was asked alone."
    return "\n\n".join([head + alone, *(statement.shown() for statement in statements), end]) + "\n"


def _statement(
    agents: Agents, role: str, turn: int, turns: int, count: int, history: str, said: Sequence[Statement]
) -> Statement:
    """Ask one consultant for its next statement."""
    prompt = agents.prompts.render(
        "consultant",
        consultant=Hidden(_name(role)),
        manner=CONSULTANTS[role],
        turn=turn,
        turns=turns,
        count=count,
        characters=STATEMENT_CHARACTERS,
        digest=history,
        discussion=_shown(said, agents.prompts.hide),
        heard=_heard(said),
    )
    message = Message(role="user", text=prompt.user)
    try:
        answer = agents.ask(
            Request(role=role, system=prompt.system, messages=(message,), max_tokens=ROLES[role].answer_tokens())
        )
    except LLMError as error:
        return Statement(role=role, turn=turn, missing=f"{type(error).__name__}: {one_line(error)}")
    text = cleaned(answer.text)
    if not text:
        return Statement(role=role, turn=turn, missing=f"call {answer.call} says nothing")
    return Statement(role=role, turn=turn, text=text, call=answer.call)


def _shown(statements: Sequence[Statement], hide: Hide) -> Hidden:
    """The discussion in a prompt, newest kept. Neither names of exchanges nor words of errors, which may differ when
    a step is done again."""
    blocks = [
        f"{_name(s.role)}, turn {s.turn}"
        + (" was not heard" if s.missing else f":\n{_quoted(cut(s.text, STATEMENT_CHARACTERS, hide))}")
        for s in statements
    ]
    kept: list[str] = []
    room = DISCUSSION_CHARACTERS
    for block in reversed(blocks):
        room -= len(block)
        if room < 0:
            break
        kept.insert(0, block)
    left = len(blocks) - len(kept)
    return Hidden("\n\n".join(([f"... {left} earlier statements left out"] if left else []) + kept))


def _heard(statements: Sequence[Statement]) -> bool:
    return any(statement.text for statement in statements)


def _name(role: str) -> str:
    return f"Consultant {role[-1].upper()}"


class _SupervisorsPrompts(Prompts):
    """The autotuner's questions as the supervisor gets them: its own prompt file, with the discussion; in the repair
    turn its own role."""

    def __init__(self, prompts: Prompts, statements: Sequence[Statement]) -> None:
        super().__init__((), prompts.hide)
        self._prompts = prompts
        self._discussion = _shown(statements, prompts.hide)
        self._heard = _heard(statements)

    def render(self, name: str, **values: object) -> Prompt:
        if name != "autotuner":
            return self._prompts.render(name, **(values | {"role": SUPERVISOR.name}))
        return self._prompts.render("supervisor", discussion=self._discussion, heard=self._heard, **values)


def _supervised(agents: Agents, statements: Sequence[Statement]) -> Agents:
    """Agents for the autotuner's functions, behind which the supervisor's model answers."""

    def ask(request: Request) -> Answer:
        return agents.ask(replace(request, role=SUPERVISOR.name))

    return Agents(ask=ask, prompts=_SupervisorsPrompts(agents.prompts, statements))


def _decision(suggested: Suggested, call: str) -> str:
    if not suggested.repaired:
        return f"## supervisor, call {call}\n{_indented(_readable(suggested.response))}"
    why = [f"- {one_line(problem, autotuner.FINDING_CHARACTERS)}" for problem in suggested.repaired_for]
    told = ["asked again because of:", *why, "", _readable(suggested.response)]
    return f"## supervisor, call {call}, in its repair turn\n{_indented(chr(10).join(told))}"


def _readable(answer: str) -> str:
    """JSON with its lines; what is none as it is."""
    try:
        return json.dumps(json.loads(answer), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return answer


def _statements(transcript: str) -> Iterator[Statement]:
    """The statements that a transcript shows."""
    for block in re.split(r"\n(?=## )", transcript):
        head, _, body = block.partition("\n")
        found = _HEAD.match(head)
        if found:
            text = "\n".join(line.removeprefix("  ") for line in body.rstrip("\n").split("\n"))
            yield Statement(role=found[1], turn=int(found[2]), text=text, missing=found[3] or "")


def _calls(details: Mapping[str, object]) -> list[str]:
    calls = details.get("calls")
    return [str(call) for call in calls] if isinstance(calls, Sequence) else []


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.strip().splitlines())


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
