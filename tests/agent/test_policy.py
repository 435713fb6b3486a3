"""The policy table: what is read, what is refused with which words, and what follows for a row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InvalidPolicy
from agent.policy import WITHOUT_RULE, Policy, Rule, load_policy, parse_policy
from agent.records import Outcome
from agent.resources import shipped_policy
from trainers.yaml_file import dump_yaml, read_yaml


@pytest.fixture
def raw() -> dict[str, Any]:
    return read_yaml(shipped_policy())


def refused(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy(raw, file="p.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_table_has_a_rule_for_everything_and_reasons_in_words() -> None:
    policy = load_policy(shipped_policy())
    assert set(policy.rules) == set(Outcome) - set(WITHOUT_RULE)
    assert policy.quorum == 1
    text = shipped_policy().read_text()
    for name in Rule.__dataclass_fields__:
        assert re.search(rf"^#   {name} ", text, re.MULTILINE), f"{name} is not explained"


def test_line_28_the_shipped_table_does_what_each_fault_needs() -> None:
    rules = load_policy(shipped_policy()).rules
    assert rules[Outcome.HOST_OOM].memory_factor > 1
    assert rules[Outcome.TIMEOUT].action == "retry"
    assert rules[Outcome.NODE_FAIL].exclude_node and rules[Outcome.LAUNCH_FAIL].exclude_node
    assert rules[Outcome.PREEMPTED].free
    assert rules[Outcome.CANCELLED].action == "give_up"


def test_what_is_written_is_read_back(raw: dict[str, Any], tmp_path: Path) -> None:
    raw["quorum"] = 0.8
    raw["outcomes"]["crashed"] = {"action": "retry", "limit": 1, "time_factor": 2}
    path = tmp_path / "mine.yaml"
    path.write_text(dump_yaml(raw))
    policy = load_policy(path)
    assert policy.quorum == 0.8 and policy.rules[Outcome.CRASHED] == Rule(action="retry", limit=1, time_factor=2)


CHANGES: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda raw: raw.pop("max_attempts"), "max_attempts: is missing"),
    (lambda raw: raw.update(max_attempts=0), "max_attempts = 0: must be a whole number from 1"),
    (lambda raw: raw.update(max_attempts=True), "max_attempts = True"),
    (lambda raw: raw.update(quorum=0), "quorum = 0: must be a number above 0"),
    (lambda raw: raw.update(quorum=1.5), "quorum = 1.5"),
    (lambda raw: raw.update(quorum="half"), "quorum = 'half'"),
    (
        lambda raw: raw.update(quorom=1),
        "quorom = 1: unknown; did you mean quorum? valid: outcomes, max_attempts, quorum",
    ),
    (lambda raw: raw.update(outcomes=[]), "outcomes = a list of 0: must have a rule for each of gpu_oom, host_oom"),
    (lambda raw: raw["outcomes"].pop("lost"), "outcomes.lost: is missing"),
    (
        lambda raw: raw["outcomes"].update(ok={"action": "retry", "limit": 1}),
        "outcomes.ok = a dict of 2: has no rule",
    ),
    (lambda raw: raw["outcomes"].update(bad_config={}), "would be refused again"),
    (lambda raw: raw["outcomes"].update(timeuot={}), "unknown; did you mean timeout?"),
    (lambda raw: raw["outcomes"].update(lost="retry"), "outcomes.lost = 'retry': must be a rule such as"),
    (lambda raw: raw["outcomes"].update(lost={"action": "again"}), "outcomes.lost.action = 'again': must be one of"),
    (lambda raw: raw["outcomes"].update(lost={}), "outcomes.lost.action: must be one of retry, give_up"),
    (lambda raw: raw["outcomes"].update(lost={"action": "retry"}), "outcomes.lost.limit: is missing"),
    (lambda raw: raw["outcomes"]["lost"].update(limit=0), "outcomes.lost.limit = 0: must be a whole number from 1"),
    (lambda raw: raw["outcomes"]["lost"].update(limit=2.5), "outcomes.lost.limit = 2.5"),
    (lambda raw: raw["outcomes"]["lost"].update(free="yes"), "outcomes.lost.free = 'yes': must be true or false"),
    (
        lambda raw: raw["outcomes"]["lost"].update(memory_factor=0.5),
        "memory_factor = 0.5: must be a number from 1 to",
    ),
    (lambda raw: raw["outcomes"]["lost"].update(time_factor=float("nan")), "time_factor = nan"),
    (lambda raw: raw["outcomes"]["lost"].update(exclude_node=1), "exclude_node = 1: must be true or false"),
    (lambda raw: raw["outcomes"]["lost"].update(tries=3), "outcomes.lost.tries = 3: unknown; valid: action, limit"),
    (lambda raw: raw["outcomes"]["crashed"].update(limit=2), "outcomes.crashed: give_up takes no limit"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[text for _, text in CHANGES])
def test_each_mistake_is_named_with_what_is_allowed(
    raw: dict[str, Any], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change(raw)
    found = refused(raw)
    assert len(found) == 1 and message in found[0] and found[0].startswith("p.yaml: ")


def test_all_mistakes_at_once(raw: dict[str, Any]) -> None:
    raw["quorum"] = 7
    raw["outcomes"]["lost"]["limit"] = -1
    del raw["outcomes"]["timeout"]
    assert len(refused(raw)) == 3


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    with pytest.raises(InvalidPolicy, match="No such file"):
        load_policy(path)
    path.write_text("max_attempts: 3\nmax_attempts: 4\n")
    with pytest.raises(InvalidPolicy, match="stands twice"):
        load_policy(path)
    path.write_text("- 1\n")
    with pytest.raises(InvalidPolicy):
        load_policy(path)


def policy(**more: Any) -> Policy:
    rules = {outcome: Rule(action="give_up") for outcome in Outcome if outcome not in WITHOUT_RULE}
    rules |= {
        Outcome.LOST: Rule(action="retry", limit=2),
        Outcome.TIMEOUT: Rule(action="retry", limit=5, time_factor=2),
        Outcome.PREEMPTED: Rule(action="retry", limit=3, free=True),
    }
    return Policy(**({"rules": rules, "max_attempts": 4} | more))


def test_a_limit_counts_one_outcome_and_max_attempts_all_that_are_not_free() -> None:
    lost, timeout, preempted = Outcome.LOST, Outcome.TIMEOUT, Outcome.PREEMPTED
    one = policy()
    assert one.again([lost]) == one.rules[lost] == one.again([lost, lost])
    assert one.again([lost] * 3) is None
    assert one.again([lost, timeout, lost]) is not None
    assert one.again([lost, timeout, timeout, timeout]) is None
    assert one.again([lost, timeout, timeout, preempted, preempted, preempted]) == one.rules[preempted]
    assert one.again([preempted] * 3 + [lost, timeout, timeout]) is not None
    assert one.again([preempted] * 4) is None
    assert one.again([Outcome.CRASHED]) is None and one.again([lost, Outcome.BAD_CONFIG]) is None


def test_line_29_a_quorum_counts_whole_rows() -> None:
    assert not policy(quorum=1.0).quorum_reached(ok=10, rows=10)
    assert policy(quorum=0.8).quorum_reached(ok=4, rows=5)
    assert not policy(quorum=0.8).quorum_reached(ok=7, rows=9)
    assert policy(quorum=0.8).quorum_reached(ok=8, rows=9)
