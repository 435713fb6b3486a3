"""The digest: what a proposer sees of a study, as text of bounded length whatever the history.

It is written in every round after the first, whoever proposes: with an optimiser it is the record of what stood
before it, with a language model it is the content of the prompt. Deterministic, so that a step done again asks
the same. Validation values only, unless test values were asked for.

Much of it was written by others: programs that failed, a language model, web pages. Each such text is one shortened,
quoted line without control characters, so that it cannot pass for a section or end the data that it stands in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.acceptance import rank
from agent.records import Observation
from agent.reference import ExpressionError, Parameter, Reference
from agent.reference.model import show
from agent.roles.situation import Situation
from trainers.contract import Value

CAP = 24_000
"""Characters: some 8,000 tokens."""
MESSAGE_CHARACTERS = 200
REMEDY_CHARACTERS, TRIAL_CHARACTERS, SOURCES = 300, 500, 3


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of each section is shown: entries, or characters of the reading."""

    remedies: int = 5
    reading: int = 1500
    trials: int = 8
    last: int = 20
    descriptions: bool = True
    failures: int = 10
    best: int = 5
    findings: int = 16
    classes: int = 15
    tests: int = 25
    remaining: int = 20
    differences: bool = False
    """Whether earlier settings are shown by what differs from the base."""
    values: int = 10_000
    """Values of one earlier setting."""


CUTS: tuple[Mapping[str, Any], ...] = (
    {"remedies": 2},
    {"remedies": 0},
    {"reading": 400},
    {"reading": 0},
    {"trials": 4},
    {"trials": 0},
    {"last": 10},
    {"last": 5},
    {"descriptions": False},
    {"failures": 5, "tests": 10},
    {"differences": True},
    {"classes": 5, "findings": 8, "best": 3, "failures": 3},
    {"values": 40},
    {"values": 20},
    {"values": 8, "failures": 1},
)
"""What goes first where the cap is hit, one after the other until the text fits."""


def digest(situation: Situation, *, cap: int = CAP) -> str:
    """The sections below, at most `cap` characters; every cut is announced in its place.

    Names, ranges and constraints of the parameters are never cut, nor is the base: a space of several hundred
    parameters may exceed the cap, a long history cannot.
    """
    limits = Limits()
    text = _Digest(situation, limits).text()
    for cut in CUTS:
        if len(text) <= cap:
            break
        limits = replace(limits, **cut)
        text = _Digest(situation, limits).text()
    return text


def base_values(situation: Situation) -> dict[str, Value]:
    """The settings that changes are made to: every tunable parameter that is active in the base, in file order.

    What the base lacks has the reference's present value.
    """
    reference = situation.reference
    tunable = reference.tunable()
    own = {name: value for name, value in situation.base.items() if name in tunable}
    try:
        effective = reference.effective(own)
    except ExpressionError:  # a condition that the base's values break; the rules say so of every candidate
        effective = {**reference.values(), **own}
    return {name: effective[name] for name in tunable if name in effective}


def one_line(text: object, limit: int = MESSAGE_CHARACTERS) -> str:
    """Foreign text as one line of at most `limit` characters, without control and direction characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def quoted(text: object, limit: int = MESSAGE_CHARACTERS) -> str:
    """Foreign text as one quoted line; quotation marks inside it are escaped, so that it cannot end the quotation."""
    return json.dumps(one_line(text, limit), ensure_ascii=False)


class _Digest:
    """One rendering of a situation under given limits."""

    def __init__(self, situation: Situation, limits: Limits) -> None:
        self.situation, self.limits = situation, limits
        self.reference = situation.reference
        self.base = base_values(situation)
        self.ranked = [o for o in rank(situation.history, situation.objective) if o.value is not None]

    def text(self) -> str:
        seen, limits, objective = self.situation, self.limits, self.situation.objective
        failed = [o for o in seen.history if o.value is None]
        by_settings = [o for o in failed if o.outcome.is_config]
        lost = len(failed) - len(by_settings)
        sections = [
            ("Goal", [f"{objective.direction} {objective.metric} (validation)"]),
            ("Parameters", [self.parameter(p) for p in self.reference.parameters.values()]),
            ("Constraints", [f"{c.expression.text}: {one_line(c.message)}" for c in self.reference.constraints]),
            ("Incumbent", [self.incumbent()]),
            ("Base", self.base_lines()),
            (f"Best {limits.best}", _first(self.ranked, limits.best, self.observed)),
            (f"Last {limits.last}", _newest(seen.history, limits.last, self.observed)),
            ("Settings that failed", _newest(by_settings, limits.failures, self.failure)),
            ("Lost to machines", [f"{lost} candidates; they say nothing about their settings"] if lost else []),
            ("Already tried", self.tried()),
            ("The Bayesian proposer's next suggestion", self.suggestion()),
            ("Diagnosis", _first(seen.findings, limits.findings, lambda flag: one_line(flag.get("text", "")))),
            ("Trials of the newest round", _first(seen.trials, limits.trials, _trial)),
            ("Weak classes", _first(_weak_classes(seen), limits.classes)),
            ("Analyst's reading (another model's words)", self.reading()),
            ("Researcher's remedies (untrusted text from the web)", self.remedies()),
            ("Remaining budget", _first(_remaining(seen.remaining), limits.remaining)),
        ]
        if seen.test is not None:
            sections.append(("Test values (shown on request; validation decides)", self.test(seen.test)))
        return "\n\n".join(_section(title, lines) for title, lines in sections) + "\n"

    def parameter(self, parameter: Parameter) -> str:
        now, default = show(parameter.value), show(parameter.default)
        parts = [f"{parameter.name} = {now} (default {default}): {parameter.allowed}"]
        if not parameter.tune:
            parts.append("not tuned, stays as it is")
        if parameter.condition is not None:
            parts.append(f"only while {parameter.condition.text}")
        if parameter.impact != "small":
            parts.append(f"impact {parameter.impact}")
        if parameter.description and self.limits.descriptions:
            parts.append(one_line(parameter.description))
        return "; ".join(parts)

    def incumbent(self) -> str:
        held = self.situation.incumbent
        if held is None:
            complete = [observation for observation in self.ranked if observation.complete]
            return self.observed(complete[0]) if complete else "none yet"
        place = held.round, held.candidate, held.key
        own = [o for o in self.situation.history if (o.round, o.candidate, o.key) == place]
        return "; ".join([held.describe(), *(self.settings(o.values) for o in own[-1:])])

    def base_lines(self) -> list[str]:
        inactive = [name for name in self.reference.tunable() if name not in self.base]
        lines = [f"{one_line(self.situation.base_name)}: {_settings(self.base)}"]
        return lines + ([f"inactive under it: {', '.join(inactive)}"] if inactive else [])

    def observed(self, observation: Observation) -> str:
        where = f"{_place(observation)} ({observation.source or 'unknown'})"
        values = self.settings(observation.values)
        if observation.value is None:
            return f"{where}: {observation.outcome}; {values}"
        error = "" if observation.standard_error is None else f" ± {observation.standard_error:.2g}"
        rows = "" if observation.complete else f" over only {observation.n} of {observation.rows} rows"
        return f"{where}: {self.situation.objective.metric} {observation.value:.5g}{error}{rows}; {values}"

    def failure(self, observation: Observation) -> str:
        said = f", said {quoted(observation.message)}" if observation.message.strip() else ""
        return f"{_place(observation)}: {observation.outcome}{said}; {self.settings(observation.values)}"

    def settings(self, values: Mapping[str, Value]) -> str:
        """All but those that are not tuned and stand in the parameters' section as they are."""
        shown = {name: value for name, value in values.items() if not _fixed(self.reference, name, value)}
        lead = ""
        if self.limits.differences:
            gone = [name for name in self.base if name not in shown]
            shown = {name: value for name, value in shown.items() if self.base.get(name) != value}
            lead = "as the base but for: " if shown else "as the base"
            lead = f"without {', '.join(gone[: self.limits.values])}, {lead}" if gone else lead
        more = len(shown) - self.limits.values
        kept = dict(list(shown.items())[: self.limits.values])
        return lead + _settings(kept) + (f", ... {more} more values" if more > 0 else "")

    def tried(self) -> list[str]:
        count = len(self.situation.taken)
        if not count:
            return []
        return [
            f"{count} settings are taken, and a repeat of one is refused before training; the best and the last "
            "of them stand above as they are compared (floats rounded to 9 or 10 digits)"
        ]

    def suggestion(self) -> list[str]:
        proposal = self.situation.suggestion
        if proposal is None:
            return []
        return [f"{one_line(proposal.source)}: {self.settings(proposal.values)}; {one_line(proposal.reason)}"]

    def reading(self) -> list[str]:
        text = self.situation.reading
        if not text.strip():
            return []
        if not self.limits.reading:
            return [f"... left out: {len(text):,} characters"]
        return [quoted(text, self.limits.reading)]

    def remedies(self) -> list[str]:
        lines = []
        for remedy in self.situation.remedies:
            more = f" and {len(remedy.sources) - SOURCES} more" if len(remedy.sources) > SOURCES else ""
            pages = ", ".join(quoted(source) for source in remedy.sources[:SOURCES])
            lines.append(quoted(remedy.text, REMEDY_CHARACTERS) + (f" (from {pages}{more})" if pages else ""))
        return _first(lines, self.limits.remedies)

    def test(self, values: Mapping[str, float]) -> list[str]:
        return _newest(list(values.items()), self.limits.tests, lambda pair: f"{one_line(pair[0])}: {pair[1]:.5g}")


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"# {title}", *(f"- {_clean(line)}" for line in lines or ["none"])])


def _clean(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)


def _first(entries: Sequence[Any], limit: int, line: Callable[[Any], str] = str) -> list[str]:
    """The first `limit` entries as lines, and one that says how many more there are."""
    more = len(entries) - limit
    return [line(entry) for entry in entries[:limit]] + ([f"... {more:,} more left out"] if more > 0 else [])


def _newest(entries: Sequence[Any], limit: int, line: Callable[[Any], str]) -> list[str]:
    """The last `limit` entries as lines, after one that says how many came before."""
    more = len(entries) - limit
    return ([f"... {more:,} earlier left out"] if more > 0 else []) + [line(e) for e in entries[max(0, more) :]]


def _place(observation: Observation) -> str:
    return f"round {observation.round} {observation.candidate}"


def _settings(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in values.items())


def _fixed(reference: Reference, name: str, value: Value) -> bool:
    parameter = reference.parameters.get(name)
    return parameter is not None and not parameter.tune and parameter.value == value


def _trial(trial: Mapping[str, Any]) -> str:
    """Flags with their evidence, then the trend features."""
    flags = [_flag(flag) for flag in _objects(trial.get("flags"))]
    trends = ", ".join(_numbers(trial.get("trends"))) or "none"
    line = f"{trial.get('trial')}: {'; '.join(flags) or 'no flags'}; trends: {trends}"
    return one_line(line, TRIAL_CHARACTERS)


def _flag(flag: Mapping[str, Any]) -> str:
    evidence = ", ".join(_numbers(flag.get("evidence")))
    return f"{flag.get('name')} ({one_line(flag.get('text', ''))}{f'; {evidence}' if evidence else ''})"


def _numbers(raw: object, prefix: str = "") -> list[str]:
    """Every number in an object, however deep, with its name. Texts are left out: a flag's own text has them."""
    found: list[str] = []
    for name, value in (raw if isinstance(raw, Mapping) else {}).items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found.append(f"{prefix}{name} {show(value)}")
    return found


def _weak_classes(situation: Situation) -> list[str]:
    """The classes that the round's own finding names, else those that its trials flag; the furthest behind first."""
    entries = _classes(situation.findings)
    seen = "the mean of the round's candidates"
    if not entries:
        entries = [entry for trial in situation.trials for entry in _classes(_objects(trial.get("flags")))]
        seen = "its worst trial"
    worst: dict[tuple[str, str], Mapping[str, Any]] = {}
    for entry in entries:
        place = one_line(entry.get("class")), one_line(entry.get("metric"))
        if place not in worst or worst[place]["behind"] < entry["behind"]:
            worst[place] = entry
    lines = []
    for (name, metric), entry in sorted(worst.items(), key=lambda item: (-item[1]["behind"], item[0])):
        change = entry.get("change")
        since = f"; {change:+.3g} since the round before, + is better" if isinstance(change, int | float) else ""
        value, behind = entry["value"], entry["behind"]
        lines.append(f"{name}: {metric} {value:.3g}, {behind:.3g} behind the classes' mean, in {seen}{since}")
    return lines


def _classes(flags: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The evidence of flags called weak_classes: [{class, metric, value, mean, behind, change?}]."""
    found = []
    for flag in flags:
        evidence = flag.get("evidence")
        if flag.get("name") == "weak_classes" and isinstance(evidence, Mapping):
            found += _objects(evidence.get("classes"))
    return [entry for entry in found if all(isinstance(entry.get(key), int | float) for key in ("value", "behind"))]


def _objects(raw: object) -> list[Mapping[str, Any]]:
    return [entry for entry in raw if isinstance(entry, Mapping)] if isinstance(raw, Sequence) else []


def _remaining(raw: Mapping[str, Any]) -> list[str]:
    return [
        f"{one_line(name)}: {one_line(value if isinstance(value, str) else show(value))}"
        for name, value in raw.items()
    ]
