"""Further objectives, limits and the front: parsing, measuring, and dominance against its definition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.objectives import (
    Limit,
    check_objectives,
    front,
    parse_further,
    parse_limit,
    quantities,
    violation,
)
from agent.records import CandidateResult, Objective, Outcome, TrialRecord

SCORE = Objective(metric="score", direction="maximize")
SECONDS = Objective(metric="seconds", direction="minimize")


def result(**changes: Any) -> CandidateResult:
    base: dict[str, Any] = {
        "outcome": Outcome.OK,
        "value": 0.5,
        "n": 2,
        "rows": 2,
        "metrics": {"score": 0.5, "loss": 2.0},
        "costs": {"wall_seconds": 30.0, "cpu_seconds": 50.0, "gpu_seconds": 0.0},
        "trials": [TrialRecord({"model_parameters": 10}), TrialRecord({"model_parameters": 12})],
    }
    return CandidateResult(round=1, candidate="c00", values={}, key="k", **(base | changes))


def test_quantities_are_metrics_and_costs_of_a_row() -> None:
    wanted = {"score": 0.5, "loss": 2.0, "seconds": 15.0, "cpu_seconds": 25.0, "gpu_seconds": 0.0, "parameters": 12.0}
    assert quantities(result()) == wanted


def test_a_metric_goes_before_a_cost_and_nothing_is_invented() -> None:
    assert quantities(result(metrics={"seconds": 3.0}))["seconds"] == 3.0
    assert quantities(result(outcome=Outcome.CRASHED, value=None, n=0, metrics={})) == {}
    assert "parameters" not in quantities(result(trials=[TrialRecord({})]))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("seconds<=600", Limit(name="seconds", upper=True, bound=600.0)),
        (" val_f1 >= .5 ", Limit(name="val_f1", upper=False, bound=0.5)),
        ("parameters<=1e6", Limit(name="parameters", upper=True, bound=1e6)),
    ],
)
def test_limits_are_read(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit
    assert parse_limit(str(limit)) == limit


@pytest.mark.parametrize("text", ["seconds<600", "seconds", "<=3", "seconds<=", "seconds<=nan", "a b<=1", "x<=1<=2"])
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="such as seconds<=600"):
        parse_limit(text)


@pytest.mark.parametrize("text", ["seconds", "seconds:min", "seconds:minimize:1", ":minimize"])
def test_what_is_no_objective_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="such as seconds:minimize"):
        parse_further(text)


def test_what_cannot_be_meant_is_refused() -> None:
    check_objectives(SCORE, ["seconds:minimize"], ["seconds<=5", "seconds>=1"])
    with pytest.raises(UsageError, match="objective already"):
        check_objectives(SCORE, ["score:maximize"], [])
    with pytest.raises(UsageError, match="twice"):
        check_objectives(SCORE, ["seconds:minimize", "seconds:maximize"], [])
    with pytest.raises(UsageError, match="keep both"):
        check_objectives(SCORE, [], ["seconds<=5", "seconds>=6"])


def test_a_violation_names_limit_and_value_and_what_is_not_measured() -> None:
    limits = [parse_limit("seconds<=10"), parse_limit("score>=.4"), parse_limit("parameters<=5")]
    assert violation({"seconds": 9.0, "score": 0.4, "parameters": 5.0}, limits) == ""
    said = violation({"seconds": 15.0, "score": 0.5}, limits)
    assert "seconds<=10, and it has 15" in said and "parameters is not measured (there are: score, seconds)" in said
    assert "score" not in said.partition("there are")[0]


POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=14)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, int, int]]) -> None:
    loss = Objective(metric="loss", direction="minimize")
    points = {
        number: {"score": float(a), "seconds": float(b), "loss": float(c)} for number, (a, b, c) in enumerate(values)
    }
    found = front(points, [SCORE, SECONDS, loss])

    def better(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
        return one != other and one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2]

    assert found == [n for n, here in enumerate(values) if not any(better(there, here) for there in values)]


def test_a_point_that_misses_an_objective_is_in_no_front() -> None:
    points = {"a": {"score": 1.0}, "b": {"score": 0.5, "seconds": 3.0}}
    assert front(points, [SCORE, SECONDS]) == ["b"]
    assert front({}, [SCORE]) == []
