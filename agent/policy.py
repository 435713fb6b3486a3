"""The policy: what is done about each outcome of a row, read from a table that a person may change. Pure.

templates/policy.yaml is the shipped table and explains every field.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agent.errors import InvalidPolicy, Problem
from agent.records import Outcome
from trainers.files import FileProblem

ACTIONS = ("retry", "give_up")
#: Outcomes that have no rule: the first needs none, and settings that were refused would be refused again.
WITHOUT_RULE = (Outcome.OK, Outcome.BAD_CONFIG)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is done about one outcome."""

    action: str
    """"retry" or "give_up"."""
    limit: int = 0
    """How often one row is retried for this outcome; 0 with give_up."""
    free: bool = False
    """Whether such an attempt leaves `max_attempts` alone."""
    memory_factor: float = 1.0
    """The retry asks for so many times the memory."""
    time_factor: float = 1.0
    """The retry asks for so many times the time limit."""
    exclude_node: bool = False
    """Whether the retry avoids the node."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The whole table."""

    rules: Mapping[Outcome, Rule]
    """For every outcome but ok and bad_config."""
    max_attempts: int
    """How often a row is started in all, free retries left out."""
    quorum: float = 1.0
    """Share of a round's rows that must be ok for it to close while others, tried at least once, are not."""

    def again(self, past: Iterable[Outcome]) -> Rule | None:
        """The rule by which a row is started again, None when it is given up.

        past: how each of its attempts ended, oldest first, at least one.
        """
        ended = list(past)
        rule = self.rules.get(ended[-1])
        if rule is None or rule.action != "retry" or ended.count(ended[-1]) > rule.limit:
            return None
        counted = sum(1 for outcome in ended if outcome not in self.rules or not self.rules[outcome].free)
        return rule if rule.free or counted < self.max_attempts else None

    def quorum_reached(self, *, ok: int, rows: int) -> bool:
        """Whether a round with so many rows ok may close before the others are. Never with a quorum of 1."""
        # The comparison in rows, because 0.8 * 5 is not 4 in binary.
        return self.quorum < 1 and ok >= math.ceil(self.quorum * rows - 1e-9)


def load_policy(path: Path) -> Policy:
    """Read a policy file. Raises InvalidPolicy with every problem."""
    from trainers.yaml_file import read_yaml

    try:
        raw = read_yaml(path)
    except FileProblem as error:
        raise InvalidPolicy.at(path, error.reason) from error
    return parse_policy(raw, file=str(path))


def parse_policy(raw: Mapping[str, Any], *, file: str) -> Policy:
    """The policy of a YAML mapping; `file` is what messages call it. Raises InvalidPolicy with every problem."""
    found = list(_problems(raw))
    if found:
        raise InvalidPolicy([Problem(file=file, where=w, value=_shown(v), message=text) for w, v, text in found])
    outcomes: Mapping[str, Any] = raw["outcomes"]
    return Policy(
        rules={Outcome(name): Rule(**rule) for name, rule in outcomes.items()},
        max_attempts=raw["max_attempts"],
        quorum=float(raw.get("quorum", 1.0)),
    )


Found = tuple[str, Any, str]


def _problems(raw: Mapping[str, Any]) -> Iterator[Found]:
    yield from _unknown("", raw, ("outcomes", "max_attempts", "quorum"))
    for name in ("outcomes", "max_attempts"):
        if name not in raw:
            yield name, None, "is missing"
    if "max_attempts" in raw and not _whole(1, 100)(raw["max_attempts"]):
        yield "max_attempts", raw["max_attempts"], "must be a whole number from 1 to 100"
    if "quorum" in raw and not (_number(0, 1)(raw["quorum"]) and raw["quorum"] > 0):
        yield "quorum", raw["quorum"], "must be a number above 0 and at most 1"
    if "outcomes" in raw:
        yield from _outcome_problems(raw["outcomes"])


def _outcome_problems(outcomes: Any) -> Iterator[Found]:
    known = [outcome.value for outcome in Outcome if outcome not in WITHOUT_RULE]
    if not isinstance(outcomes, Mapping):
        yield "outcomes", outcomes, f"must have a rule for each of {', '.join(known)}"
        return
    for outcome in WITHOUT_RULE:
        if outcome.value in outcomes:
            reason = "what ended well is done" if outcome is Outcome.OK else "refused settings would be refused again"
            yield f"outcomes.{outcome}", outcomes[outcome.value], f"has no rule: {reason}"
    others = {name: rule for name, rule in outcomes.items() if name not in [str(o) for o in WITHOUT_RULE]}
    yield from _unknown("outcomes.", others, known)
    for name in known:
        if name not in outcomes:
            yield f"outcomes.{name}", None, "is missing: every outcome needs a rule"
        else:
            yield from _rule_problems(f"outcomes.{name}", outcomes[name])


def _rule_problems(where: str, rule: Any) -> Iterator[Found]:
    if not isinstance(rule, Mapping):
        yield where, rule, "must be a rule such as {action: retry, limit: 2} or {action: give_up}"
        return
    yield from _unknown(f"{where}.", rule, [f.name for f in fields(Rule)])
    action = rule.get("action")
    if action not in ACTIONS:
        yield f"{where}.action", action, f"must be one of {', '.join(ACTIONS)}"
    if action == "give_up" and (extra := [name for name in rule if name in _FIELDS]):
        yield where, None, f"give_up takes no {', no '.join(extra)}"
    if action == "retry" and "limit" not in rule:
        yield f"{where}.limit", None, "is missing: how often one row may be retried for this"
    for name, (fits, wanted) in _FIELDS.items():
        if name in rule and not fits(rule[name]):
            yield f"{where}.{name}", rule[name], f"must be {wanted}"


def _unknown(place: str, raw: Mapping[str, Any], known: Iterable[str]) -> Iterator[Found]:
    names = list(known)
    for name in raw:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            yield f"{place}{name}", raw[name], f"unknown; {hint}valid: {', '.join(names)}"


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(low: float, high: float) -> Callable[[Any], bool]:
    # NaN fails the comparison.
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


_FACTOR = (_number(1, 16), "a number from 1 to 16")
_SWITCH = (lambda value: isinstance(value, bool), "true or false")
_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "limit": (_whole(1, 1000), "a whole number from 1 to 1000"),
    "free": _SWITCH,
    "memory_factor": _FACTOR,
    "time_factor": _FACTOR,
    "exclude_node": _SWITCH,
}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping | list):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value)[:60]
