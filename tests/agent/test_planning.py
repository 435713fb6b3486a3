"""Step types, their limits and the rules that choose among them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.planning import STOP, Advice, Past, Plan, advise, allowed, deeper, useful_steps
from agent.records import Proposal
from agent.reference import Reference, check_values, config_key, parse_reference


def reference(**impacts: str) -> Reference:
    """Whole numbers from 1 to 9 with these impacts; b takes effect only while a is above 1, if both are there."""
    parameters: dict[str, Any] = {
        name: {"type": "int", "low": 1, "high": 9, "default": 2, "impact": impact, "description": "d"}
        for name, impact in impacts.items()
    }
    if {"a", "b"} <= parameters.keys():
        parameters["b"]["condition"] = "a > 1"
    raw = {
        "schema_version": 1,
        "trainer": "t",
        "objective": {"metric": "m", "direction": "maximize"},
        "parameters": parameters,
    }
    return parse_reference(raw, file="r")


MIXED = reference(a="small", b="medium", c="radical")


def plan(step: str, space: Reference = MIXED, **base: Any) -> Plan:
    advice = Advice(step=step, reason="r", idle=0)
    values = base or dict.fromkeys(space.parameters, 2)
    return Plan(step=step, plan="p", reason="r", by="rules", advice=advice, base=values, base_name="the incumbent")


def proposal(**values: Any) -> Proposal:
    return Proposal(values=values, source="planner", reason="r", details={"step": "small"})


def rounds(*gains: bool) -> list[Past]:
    return [Past(number=number, gained=gain) for number, gain in enumerate(gains, 2)]


def test_each_step_may_change_what_smaller_ones_may_and_its_own() -> None:
    assert [allowed(MIXED, step) for step in ("small", "medium", "radical")] == [("a",), ("a", "b"), ("a", "b", "c")]
    assert useful_steps(reference(a="medium", c="medium")) == ("medium",)
    assert deeper(reference(a="small", c="radical"), "small") == "radical"
    assert deeper(MIXED, "radical") is None


@pytest.mark.parametrize(
    ("gains", "step", "idle"),
    [
        ((), "small", 0),
        ((False,), "small", 1),
        ((False, False), "medium", 2),
        ((False,) * 4, "radical", 4),
        ((False,) * 5, "radical", 5),
        ((False,) * 4 + (True,), "small", 0),
        ((True, False, False), "medium", 2),
    ],
)
def test_rules_go_deeper_after_every_two_rounds_without_a_gain(gains: tuple[bool, ...], step: str, idle: int) -> None:
    advice = advise(rounds(*gains), MIXED, escalate_after=2)
    assert (advice.step, advice.idle) == (step, idle)


def test_patience_counts_from_the_last_gain() -> None:
    assert advise(rounds(False, False), MIXED, patience=3).step != STOP
    assert advise(rounds(True, False, False), MIXED, patience=3).step != STOP
    assert advise(rounds(False, False, False), MIXED, patience=3).step == STOP


def test_a_change_outside_the_step_is_a_finding_that_names_what_it_may() -> None:
    assert plan("small").outside(MIXED, proposal(a=5, b=2, c=2)) == []
    assert plan("small").outside(MIXED, proposal(a=5, b=3, c=2)) == [
        "b has impact medium: a small step may change only a"
    ]
    assert len(plan("small").outside(MIXED, proposal(a=2, b=3, c=9))) == 2
    assert plan("radical").outside(MIXED, proposal(a=5, b=3, c=9)) == []
    # What a small change makes inactive or active was not changed by the step.
    assert plan("small").outside(MIXED, proposal(a=1, c=2)) == []
    assert plan("small", a=1, c=2).outside(MIXED, proposal(a=5, b=7, c=2)) == []


def test_within_a_step_everything_else_is_held_at_the_base_under_the_same_keys() -> None:
    step = plan("small", a=5, b=7, c=8)
    space = step.within(MIXED)
    assert space.tunable() == ("a",) and space.values() == {"a": 5, "b": 7, "c": 8}
    for a in (1, 9):
        own = step.own(MIXED, Proposal(values={"a": a}, source="s", reason="r"))
        assert check_values(MIXED, own.values, complete=True) == []
        assert config_key(MIXED, own.values) == config_key(space, {"a": a})
        assert own.details["step"] == "small" and own.values.get("b") == (7 if a > 1 else None)


def test_a_plan_survives_its_file() -> None:
    made = plan("medium")
    assert Plan.from_json(made.to_json()) == made
    assert made.deeper(MIXED, "all tried") == Plan.from_json(
        made.to_json() | {"step": "radical", "reason": "r; a medium step has nothing left to try (all tried)"}
    )
