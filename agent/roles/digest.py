"""The digest: what a proposer sees of a study, as text of bounded length whatever the history.

It is written in every round after the first, whoever proposes: with an optimiser it is the record of what stood
before it, with a language model it is the content of the prompt. Deterministic, so that a step done again asks
the same. Validation values only, unless test values were asked for.

Much of it was written by others: programs that failed, a language model, web pages. Each such text is one shortened,
quoted line without control characters, so that it cannot pass for a section or end the data that it stands in. Names
are hidden where foreign text enters, before it is shortened; the digest's own words ("budget") may equal a name and
stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from agent.acceptance import rank
from agent.records import CandidateResult
from agent.reference import Constraint, ExpressionError, Parameter, Reference
from agent.reference.model import show
from agent.roles.ask import Hidden
from agent.roles.foreign import MESSAGE_CHARACTERS, Hide, one_line, quoted
from agent.roles.situation import Situation
from trainers.contract import Value

CAP = 24_000
"""Characters: some 8,000 tokens."""
FIRST_LINE_CHARACTERS = 60
VERDICT_CHARACTERS = 400
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


def digest(situation: Situation, *, hide: Hide = str, cap: int = CAP) -> str:
    """The sections below, at most `cap` characters; every cut is announced in its place.

    hide: puts aliases for names into whatever is not ours; the text is then `Hidden`. Without it nothing is hidden.
    Names, ranges and constraints of the parameters are never cut, nor is the base: a space of several hundred
    parameters may exceed the cap, a long history cannot.
    """
    limits, known = Limits(), cache(hide)
    text = _Digest(situation, limits, known).text()
    for cut in CUTS:
        if len(text) <= cap:
            break
        limits = replace(limits, **cut)
        text = _Digest(situation, limits, known).text()
    return text if hide is str else Hidden(text)


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


def allowed(parameter: Parameter, hide: Hide) -> str:
    """A parameter's domain in words; its choices and unit are not ours."""
    choices = tuple(_value(choice, hide) for choice in parameter.choices)
    return replace(parameter, choices=choices, unit=hide(parameter.unit)).allowed


def settings(values: Mapping[str, Value], hide: Hide) -> str:
    return ", ".join(f"{hide(name)} = {hidden_value(value, hide)}" for name, value in values.items())


def hidden_value(value: Value, hide: Hide) -> str:
    return show(_value(value, hide))


def _value(value: Value, hide: Hide) -> Value:
    """Hidden as the answer's schema hides a choice, so that the two agree."""
    return hide(value) if isinstance(value, str) else value


def _cause(message: str, hide: Hide) -> str:
    """A failure's own words, shortened at the ends of lines: the first says how a program ended and where its log is,
    the last ones why. No line is cut at its front: the rest of a path there would pass for something else."""
    first, *rest = [line for line in hide(message).splitlines() if line.strip()] or [""]
    if not rest:
        return first
    room = MESSAGE_CHARACTERS - FIRST_LINE_CHARACTERS
    kept: list[str] = []
    for line in (one_line(line, hide=hide) for line in reversed(rest)):
        if kept and sum(map(len, kept)) + len(kept) + len(line) >= room:
            break
        kept.insert(0, line)
    return f"{one_line(first, FIRST_LINE_CHARACTERS, hide)} {' '.join(kept)}"


class _Digest:
    """One rendering of a situation under given limits."""

    def __init__(self, situation: Situation, limits: Limits, hide: Hide) -> None:
        self.situation, self.limits, self.hide = situation, limits, hide
        self.reference = situation.reference
        self.base = base_values(situation)
        self.ranked = [o for o in rank(situation.history, situation.objective) if o.value is not None]

    def text(self) -> str:
        seen, limits, objective = self.situation, self.limits, self.situation.objective
        failed = [o for o in (*seen.history, *seen.screened) if o.value is None]
        by_settings = [o for o in failed if o.outcome.is_config]
        lost = len(failed) - len(by_settings)
        sections = [
            ("Goal", [f"{objective.direction} {self.hide(objective.metric)} (validation)"]),
            ("Parameters", [self.parameter(p) for p in self.reference.parameters.values()]),
            ("Constraints", [self.constraint(c) for c in self.reference.constraints]),
            ("Incumbent", [self.incumbent()]),
            ("Base", self.base_lines()),
            (f"Best {limits.best}", _first(self.ranked, limits.best, self.observed)),
            (f"Last {limits.last}", _newest(seen.history, limits.last, self.observed)),
            ("Settings that failed", _newest(by_settings, limits.failures, self.failure)),
            ("Lost to machines", [f"{lost} candidates; they say nothing about their settings"] if lost else []),
            ("Already tried", self.tried()),
            ("The Bayesian proposer's next suggestion", self.suggestion()),
            ("Diagnosis", _first(seen.findings, limits.findings, lambda flag: self.said(flag.get("text", "")))),
            ("Trials of the newest round", _first(seen.trials, limits.trials, self.trial)),
            ("Weak classes", _first(_weak_classes(seen, self.said), limits.classes)),
            ("Analyst's reading (another model's words)", self.reading()),
            ("Researcher's remedies (untrusted text from the web)", self.remedies()),
            ("Remaining budget", _first(self.remaining(), limits.remaining)),
        ]
        if given_up := self.given_up():
            sections.append(("Given up in rungs (only values after the same share of epochs compare)", given_up))
        if seen.test is not None:
            sections.append(("Test values (shown on request; validation decides)", self.test(seen.test)))
        return "\n\n".join(_section(title, lines) for title, lines in sections) + "\n"

    def said(self, text: object, limit: int = MESSAGE_CHARACTERS) -> str:
        """Foreign text, without names, as one short line."""
        return one_line(text, limit, self.hide)

    def parameter(self, parameter: Parameter) -> str:
        now = hidden_value(self.base.get(parameter.name, parameter.value), self.hide)
        default = hidden_value(parameter.default, self.hide)
        name, domain = self.hide(parameter.name), allowed(parameter, self.hide)
        parts = [f"{name} = {now} (default {default}): {domain}"]
        if not parameter.tune:
            parts.append("not tuned, stays as it is")
        if parameter.data_note:
            parts.append(f"with this data {self.said(parameter.data_note)}")
        if parameter.condition is not None:
            parts.append(f"only while {self.hide(parameter.condition.text)}")
        if parameter.impact != "small":
            parts.append(f"impact {parameter.impact}")
        if parameter.description and self.limits.descriptions:
            parts.append(self.said(parameter.description))
        return "; ".join(parts)

    def constraint(self, constraint: Constraint) -> str:
        return f"{self.hide(constraint.expression.text)}: {self.said(constraint.message)}"

    def incumbent(self) -> str:
        held = self.situation.incumbent
        if held is None:
            complete = [observation for observation in self.ranked if observation.complete]
            return self.observed(complete[0]) if complete else "none yet"
        place = held.round, held.candidate, held.key
        own = [o for o in self.situation.history if (o.round, o.candidate, o.key) == place]
        shown = replace(held, candidate=self.hide(held.candidate), metric=self.hide(held.metric))
        why = [self.said(held.judgement.why, VERDICT_CHARACTERS)] if held.judgement else []
        return "; ".join([shown.describe(), *why, *(self.settings(o.values) for o in own[-1:])])

    def base_lines(self) -> list[str]:
        inactive = [self.hide(name) for name in self.reference.tunable() if name not in self.base]
        lines = [f"{self.said(self.situation.base_name)}: {settings(self.base, self.hide)}"]
        return lines + ([f"inactive under it: {', '.join(inactive)}"] if inactive else [])

    def place(self, observation: CandidateResult) -> str:
        return f"round {observation.round} {self.hide(observation.candidate)}"

    def observed(self, observation: CandidateResult) -> str:
        where = f"{self.place(observation)} ({_kind(observation.source)})"
        values = self.settings(observation.values)
        if observation.value is None:
            return f"{where}: {observation.outcome}; {values}"
        error = "" if observation.standard_error is None else f" ± {observation.standard_error:.2g}"
        rows = "" if observation.complete else f" over only {observation.n} of {observation.rows} rows"
        metric = self.hide(self.situation.objective.metric)
        beyond = f", out of the running ({self.said(observation.violates)})" if observation.violates else ""
        return f"{where}: {metric} {observation.value:.5g}{error}{rows}{beyond}; {values}"

    def given_up(self) -> list[str]:
        shown = [o for o in self.situation.screened if o.value is not None]
        return _newest(shown, self.limits.last, lambda o: f"{self.observed(o)}; after {o.fidelity:.2g} of the epochs")

    def failure(self, observation: CandidateResult) -> str:
        said = ""
        if observation.message.strip():
            said = f", said {quoted(_cause(observation.message, self.hide), hide=self.hide)}"
        return f"{self.place(observation)}: {observation.outcome}{said}; {self.settings(observation.values)}"

    def settings(self, values: Mapping[str, Value]) -> str:
        """All but those that are not tuned and stand in the parameters' section as they are."""
        shown = {name: value for name, value in values.items() if not _fixed(self.reference, name, value)}
        lead = ""
        if self.limits.differences:
            gone = [self.hide(name) for name in self.base if name not in shown]
            shown = {name: value for name, value in shown.items() if self.base.get(name) != value}
            lead = "as the base but for: " if shown else "as the base"
            lead = f"without {', '.join(gone[: self.limits.values])}, {lead}" if gone else lead
        more = len(shown) - self.limits.values
        kept = dict(list(shown.items())[: self.limits.values])
        return lead + settings(kept, self.hide) + (f", ... {more} more values" if more > 0 else "")

    def tried(self) -> list[str]:
        count = len(self.situation.taken)
        if not count:
            return []
        return [
            f"{count} settings are taken, and a repeat of one is refused before training; the best and the last "
            "of them stand above as they are compared (floats rounded to 9 or 10 digits)"
        ]

    def suggestion(self) -> list[str]:
        """Its source and reason are words of our proposers."""
        proposal = self.situation.suggestion
        if proposal is None:
            return []
        return [f"{one_line(proposal.source)}: {self.settings(proposal.values)}; {one_line(proposal.reason)}"]

    def trial(self, trial: Mapping[str, Any]) -> str:
        """Flags with their evidence, then the trend features."""
        flags = [self.flag(flag) for flag in _objects(trial.get("flags"))]
        trends = ", ".join(_numbers(trial.get("trends"), self.said)) or "none"
        line = f"{self.said(trial.get('trial'))}: {'; '.join(flags) or 'no flags'}; trends: {trends}"
        return one_line(line, TRIAL_CHARACTERS)

    def flag(self, flag: Mapping[str, Any]) -> str:
        evidence = ", ".join(_numbers(flag.get("evidence"), self.said))
        text = self.said(flag.get("text", ""))
        return f"{one_line(flag.get('name'))} ({text}{f'; {evidence}' if evidence else ''})"

    def reading(self) -> list[str]:
        text = self.situation.reading
        if not text.strip():
            return []
        if not self.limits.reading:
            return [f"... left out: {len(text):,} characters"]
        return [quoted(text, self.limits.reading, self.hide)]

    def remedies(self) -> list[str]:
        lines = []
        for remedy in self.situation.remedies:
            more = f" and {len(remedy.sources) - SOURCES} more" if len(remedy.sources) > SOURCES else ""
            pages = ", ".join(quoted(source, hide=self.hide) for source in remedy.sources[:SOURCES])
            text = quoted(remedy.text, REMEDY_CHARACTERS, self.hide)
            lines.append(text + (f" (from {pages}{more})" if pages else ""))
        return _first(lines, self.limits.remedies)

    def remaining(self) -> list[str]:
        """What is counted has our names."""
        left = self.situation.remaining.items()
        return [
            f"{one_line(name)}: {self.said(value) if isinstance(value, str) else one_line(show(value))}"
            for name, value in left
        ]

    def test(self, values: Mapping[str, float]) -> list[str]:
        return _newest(list(values.items()), self.limits.tests, lambda pair: f"{self.said(pair[0])}: {pair[1]:.5g}")


def _kind(source: str) -> str:
    """Without the name of an earlier study behind it, which is not ours to send."""
    return source.partition(":")[0] or "unknown"


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


def _fixed(reference: Reference, name: str, value: Value) -> bool:
    parameter = reference.parameters.get(name)
    return parameter is not None and not parameter.tune and parameter.value == value


def _numbers(raw: object, said: Callable[[object], str], prefix: str = "") -> list[str]:
    """Every number in an object, however deep, with its name. Texts are left out: a flag's own text has them."""
    found: list[str] = []
    for name, value in (raw if isinstance(raw, Mapping) else {}).items():
        if isinstance(value, Mapping):
            found += _numbers(value, said, f"{prefix}{said(name)}.")
        elif isinstance(value, int | float):
            found.append(f"{prefix}{said(name)} {show(value)}")
    return found


def _weak_classes(situation: Situation, said: Callable[[object], str]) -> list[str]:
    """The classes that the round's own finding names, else those that its trials flag; the furthest behind first."""
    entries = _classes(situation.findings)
    seen = "the mean of the round's candidates"
    if not entries:
        entries = [entry for trial in situation.trials for entry in _classes(_objects(trial.get("flags")))]
        seen = "its worst trial"
    worst: dict[tuple[str, str], Mapping[str, Any]] = {}
    for entry in entries:
        place = str(entry.get("class")), str(entry.get("metric"))
        if place not in worst or worst[place]["behind"] < entry["behind"]:
            worst[place] = entry
    lines = []
    for (name, metric), entry in sorted(worst.items(), key=lambda item: (-item[1]["behind"], item[0])):
        change = entry.get("change")
        since = f"; {change:+.3g} since the round before, + is better" if isinstance(change, int | float) else ""
        value, behind = entry["value"], entry["behind"]
        lines.append(
            f"{said(name)}: {said(metric)} {value:.3g}, {behind:.3g} behind the classes' mean, in {seen}{since}"
        )
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
