"""Ranking, the incumbent, and paired gains."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from agent.acceptance import Incumbent, incumbent, paired_gain, rank
from agent.errors import InvalidStudy
from agent.records import Objective, Observation, Outcome

HIGHER = Objective(metric="accuracy", direction="maximize")
LOWER = Objective(metric="loss", direction="minimize")


def seen(name: str, value: float | None, *, n: int = 2, rows: int = 2, number: int = 1, key: str = "") -> Observation:
    return Observation(
        round=number,
        candidate=name,
        values={},
        key=key or f"{number}{name}",
        outcome=Outcome.GPU_OOM if value is None else Outcome.OK,
        value=value,
        std=0.02 if n > 1 and value is not None else None,
        n=0 if value is None else n,
        rows=rows,
    )


@pytest.mark.parametrize(("objective", "order"), [(HIGHER, "bacxd"), (LOWER, "cabxd")])
def test_rank(objective: Objective, order: str) -> None:
    given = [seen("a", 0.5), seen("b", 0.9), seen("x", 0.99, n=1), seen("d", None), seen("c", 0.1)]
    assert "".join(o.candidate for o in rank(given, objective)) == order


def test_ties_keep_their_order() -> None:
    assert [o.candidate for o in rank([seen("b", 1.0), seen("a", 1.0)], HIGHER)] == ["b", "a"]


def test_the_first_incumbent_is_the_best_complete_one() -> None:
    found = incumbent(None, [seen("a", 0.5), seen("b", 0.7), seen("x", 0.9, n=1)], HIGHER)
    assert found is not None
    assert (found.candidate, found.mean, found.n, found.verdict) == ("b", 0.7, 2, "leading")
    assert found.standard_error == pytest.approx(0.02 / math.sqrt(2))


def test_no_incumbent_without_a_complete_value() -> None:
    assert incumbent(None, [seen("a", None), seen("x", 0.9, n=1)], HIGHER) is None


def make(value: float = 0.7, **changes: Any) -> Incumbent:
    found = incumbent(None, [seen("b", value)], HIGHER)
    assert found is not None
    return replace(found, verdict=changes.get("verdict", "confirmed"))


@pytest.mark.parametrize(
    ("value", "winner", "verdict"), [(0.6, 1, "confirmed"), (0.7, 1, "confirmed"), (0.8, 2, "leading")]
)
def test_only_a_strictly_better_mean_takes_over(value: float, winner: int, verdict: str) -> None:
    found = incumbent(make(), [seen("a", value, number=2)], HIGHER)
    assert found is not None
    assert (found.round, found.verdict) == (winner, verdict)


def test_lower_is_better_where_it_is() -> None:
    found = incumbent(None, [seen("a", 0.5), seen("b", 0.2)], LOWER)
    assert found is not None and found.candidate == "b"


def test_the_incumbents_own_round_run_again_counts() -> None:
    found = incumbent(make(0.7), [seen("b", 0.4), seen("a", 0.5, number=2)], HIGHER)
    assert found is not None
    assert (found.candidate, found.mean) == ("a", 0.5)
    same = incumbent(make(0.7), [seen("b", 0.6), seen("a", 0.5, number=2)], HIGHER)
    assert same is not None
    assert (same.candidate, same.mean, same.verdict) == ("b", 0.6, "confirmed")


@pytest.mark.parametrize("again", [seen("b", 0.9, key="other"), seen("b", None), seen("b", 0.9, n=1)])
def test_an_incumbent_whose_round_was_replaced_is_not_kept(again: Observation) -> None:
    found = incumbent(make(0.95), [again, seen("a", 0.3)], HIGHER)
    assert found is not None
    assert found.mean < 0.95


def test_incumbent_survives_json() -> None:
    gain = paired_gain({(0, 1): 0.5}, {(0, 1): 0.6}, HIGHER)
    found = make(verdict="leading").judged(gain, against="1a")
    assert Incumbent.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "round 1 b is leading: accuracy 0.7 (standard error 0.014) over 2 rows" in found.describe()


def test_a_judged_incumbent_names_what_it_beat_only_when_confirmed() -> None:
    pairs = {(0, seed): 0.5 for seed in range(3)}
    better = paired_gain(pairs, {pair: 0.6 + pair[1] / 100 for pair in pairs}, HIGHER)
    equal = paired_gain(pairs, pairs, HIGHER)
    won, even = (make(verdict="leading").judged(gain, against="1a") for gain in (better, equal))
    assert (won.verdict, won.beaten) == ("confirmed", "1a")
    assert (even.verdict, even.beaten) == ("leading", None)


@pytest.mark.parametrize(
    "change", [{"mean": None}, {"mean": "nan"}, {"verdict": "won"}, {"n": 0}, {"key": ...}, {"standard_error": []}]
)
def test_a_broken_incumbent_is_refused(change: dict[str, Any]) -> None:
    raw = {**make().to_json(), **change}
    raw = {name: value for name, value in raw.items() if value is not ...}
    with pytest.raises(InvalidStudy, match=r"incumbent\.json"):
        Incumbent.from_json(raw)
    with pytest.raises(InvalidStudy):
        Incumbent.from_json([])


def pairs(*values: float) -> dict[tuple[int, int], float]:
    return {(0, seed): value for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    ("default", "best", "verdict"),
    [
        ((0.50, 0.60, 0.70), (0.60, 0.69, 0.81), "confirmed"),
        ((0.50, 0.60, 0.70), (0.50, 0.60, 0.70), "no gain"),
        ((0.50, 0.60, 0.70), (0.40, 0.59, 0.69), "no gain"),
        ((0.50, 0.60, 0.70), (0.80, 0.50, 0.62), "inconclusive"),
        ((0.50,), (0.90,), "inconclusive"),
        ((), (0.9,), "not comparable"),
    ],
)
def test_verdicts(default: tuple[float, ...], best: tuple[float, ...], verdict: str) -> None:
    gain = paired_gain(pairs(*default), pairs(*best), HIGHER)
    assert gain.verdict == verdict
    assert gain.confirmed is (verdict == "confirmed")
    assert verdict in gain.describe()
    json.dumps(gain.to_json(), allow_nan=False)


def test_gains_are_paired_and_positive_where_better() -> None:
    gain = paired_gain({(0, 1): 1.0, (0, 2): 2.0, (1, 1): 9.0}, {(0, 2): 1.5, (0, 1): 0.6, (5, 5): 0.0}, LOWER)
    assert gain.gains == pytest.approx((0.4, 0.5))
    assert (gain.n, gain.unpaired) == (2, 2)
    assert gain.mean == pytest.approx(0.45)
    assert gain.standard_error == pytest.approx(0.05)
    assert "2 without a partner" in gain.describe()
