"""The analyst: a language model reads the newest round's trials, over what the heuristics measured of them.

It explains and names keywords for the researcher; it proposes nothing and changes no measurement. One call a round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.errors import LLMUnusable
from agent.llm.base import Message, Request
from agent.model_roles import ANALYST
from agent.roles import schemas
from agent.roles.answers import RoundReading
from agent.roles.ask import Agents, Answer, Hidden
from agent.roles.digest import settings
from agent.roles.foreign import Hide, cut, one_line, record_text
from agent.roles.situation import Situation

TRIALS = 24
"""Trials shown, those with flags first; some 150 tokens each."""
CANDIDATES = 24
KEYWORDS, KEYWORD_CHARACTERS = 8, 60
OVERALL_CHARACTERS, READING_CHARACTERS = 3000, 800
SETTINGS_CHARACTERS, TRENDS_CHARACTERS = 500, 600
ANSWER_CHARACTERS, PROBLEMS = 8000, 20
"""Of an unusable answer, what its repair turn quotes."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the analyst said. A model's words: an opinion beside the measured flags, not evidence."""

    overall: str = ""
    by_trial: Mapping[str, str] = field(default_factory=dict)
    """Trial's name -> reading; a trial that the analyst left out is missing."""
    keywords: tuple[str, ...] = ()
    """Plain words for the researcher, at most 8."""
    call: str = ""
    """Name of the exchange; empty where nothing was asked."""
    dropped: int = 0
    """Keywords that were no plain words, repeated or too many."""
    repaired: bool = False
    note: str = ""
    """Why nothing was asked, or which trials were not shown."""

    @property
    def readable(self) -> str:
        """analysis_llm.txt."""
        lines = [f"Analyst (call {self.call})" if self.call else "Analyst: not asked"]
        lines += [self.note] if self.note else []
        lines += ["", self.overall] if self.overall else []
        for trial, text in self.by_trial.items():
            lines += ["", f"{trial}: {text}"]
        if self.call:
            more = f" ({self.dropped} left out)" if self.dropped else ""
            lines += ["", f"Keywords: {', '.join(self.keywords) or 'none'}{more}"]
        return "\n".join(lines) + "\n"


def read(agents: Agents, situation: Situation) -> Reading:
    """Read the newest round's trials. Asks nothing where there are none. Raises LLMError; an unusable answer is
    asked for a second time with what is wrong with it."""
    trials = sorted(situation.trials, key=lambda trial: not trial["flags"])[:TRIALS]
    if not trials:
        return Reading(note="no trial of the newest round left an analysis: nothing to read")
    hidden = len(situation.trials) - len(trials)
    note = f"{hidden} further trials are not shown; those with flags came first" if hidden else ""
    hide = agents.prompts.hide
    objective = situation.objective
    values = {
        "objective": {"direction": Hidden(objective.direction), "metric": objective.metric},
        "candidates": _candidates(situation, hide),
        "findings": [Hidden(one_line(finding.get("text", ""), hide=hide)) for finding in situation.findings],
        "trials": [_trial(trial, hide) for trial in trials],
        "note": Hidden(note),
        "keywords": KEYWORDS,
        "keyword_characters": KEYWORD_CHARACTERS,
    }
    prompt = agents.prompts.render("analyst", **values, problems=[])
    request = Request(
        role=ANALYST.name,
        system=prompt.system,
        messages=(Message(role="user", text=prompt.user),),
        schema=answer_schema([str(trial["trial"]) for trial in trials]),
        schema_name="reading",
        max_tokens=ANALYST.answer_tokens(),
    )
    repaired = False
    try:
        answer = agents.ask(request)
    except LLMUnusable as error:
        problems = [Hidden(one_line(problem, 300, hide)) for problem in error.problems[:PROBLEMS]]
        again = agents.prompts.render("analyst", **values, problems=problems)
        answer, repaired = agents.ask(repair_turn(request, error, again.user)), True
    return _reading(answer, note, repaired, hide)


def answer_schema(trials: Sequence[str]) -> dict[str, Any]:
    """JSON Schema of the analyst's answer about the trials of these names."""
    keywords = schemas.array(
        {"type": "string"},
        f"search terms of letters, digits, spaces and hyphens, at most {KEYWORD_CHARACTERS} characters each and "
        f"{KEYWORDS} in all, the most important first; no name of a parameter, class or file",
    )
    reading = schemas.text(f"at most {READING_CHARACTERS} characters, with the numbers")
    entry = schemas.closed(trial=schemas.one_of(trials), reading=reading, keywords=keywords)
    return schemas.closed(
        overall=schemas.text(f"the round as a whole, at most {OVERALL_CHARACTERS} characters"),
        trials=schemas.array(entry, "one entry for each trial that has something to tell, each trial at most once"),
        keywords=keywords,
    )


def plain_keywords(words: Iterable[str], *, most: int = KEYWORDS) -> tuple[tuple[str, ...], int]:
    """Keywords fit to be searched for, and how many were left out.

    A keyword of anything but letters, digits, spaces and hyphens is left out whole: what remains of an address or of
    an instruction once its punctuation is gone is no keyword.
    """
    kept: dict[str, str] = {}
    dropped = 0
    for word in words:
        plain = " ".join(word.split())
        fits = 0 < len(plain) <= KEYWORD_CHARACTERS and any(c.isalpha() for c in plain)
        if (
            fits
            and all(c.isalnum() or c in " -" for c in plain)
            and plain.casefold() not in kept
            and len(kept) < most
        ):
            kept[plain.casefold()] = plain
        else:
            dropped += 1
    return tuple(kept.values()), dropped


def repair_turn(request: Request, error: LLMUnusable, text: str) -> Request:
    """The question once more: with the answer as it came, and what is wrong with it. text: already rendered."""
    came = error.reply.text if error.reply is not None else ""
    messages = list(request.messages)
    if came.strip():
        messages += [Message(role="assistant", text=cut(came, ANSWER_CHARACTERS)), Message(role="user", text=text)]
    else:  # endpoints refuse an empty turn
        messages[-1] = Message(role="user", text=f"{messages[-1].text}\n\n{text}")
    return Request(
        role=request.role,
        system=request.system,
        messages=tuple(messages),
        schema=request.schema,
        schema_name=request.schema_name,
        max_tokens=request.max_tokens,
    )


def _reading(answer: Answer, note: str, repaired: bool, hide: Hide) -> Reading:
    said = answer.read(RoundReading)
    by_trial: dict[str, str] = {}
    words = list(said.keywords)
    for trial in said.trials:
        by_trial.setdefault(trial.trial, cut(trial.reading, READING_CHARACTERS))
        words += trial.keywords
    keywords, dropped = plain_keywords(words)
    return Reading(
        overall=record_text(said.overall, OVERALL_CHARACTERS, hide),
        by_trial=by_trial,
        keywords=keywords,
        call=answer.call,
        dropped=dropped,
        repaired=repaired,
        note=note,
    )


def _candidates(situation: Situation, hide: Hide) -> list[Hidden]:
    """The newest round's candidates: what they reached under which settings."""
    newest = max((observation.round for observation in situation.history), default=0)
    lines = []
    for observation in situation.history:
        if observation.round != newest:
            continue
        reached = observation.outcome.value
        if observation.value is not None:
            error = "" if observation.standard_error is None else f" ± {observation.standard_error:.2g}"
            reached = f"{hide(situation.objective.metric)} {observation.value:.5g}{error}"
        shown = one_line(settings(observation.values, hide), SETTINGS_CHARACTERS)
        lines.append(Hidden(f"{hide(observation.candidate)}: {reached}; {shown}"))
    more = len(lines) - CANDIDATES
    return lines[:CANDIDATES] + ([Hidden(f"... {more} further candidates left out")] if more > 0 else [])


def _trial(trial: Mapping[str, Any], hide: Hide) -> dict[str, Any]:
    """One trial as its prompt shows it: flags and trends, a line each. The flags' names are our rules'."""
    flags = [f"{one_line(flag['name'])}: {one_line(flag['text'], hide=hide)}" for flag in trial["flags"]]
    trends = json.dumps(_hidden(trial["trends"], hide), ensure_ascii=False, sort_keys=True)
    return {
        "name": Hidden(one_line(trial["trial"], hide=hide)),
        "candidate": Hidden(one_line(trial["candidate"], hide=hide)),
        "flags": [Hidden(flag) for flag in flags],
        "trends": Hidden(one_line(trends, TRENDS_CHARACTERS)),
    }


def _hidden(trends: object, hide: Hide) -> object:
    """Trends are named by columns of a program's tables, too."""
    if isinstance(trends, Mapping):
        return {hide(str(name)): _hidden(value, hide) for name, value in trends.items()}
    return hide(trends) if isinstance(trends, str) else trends
