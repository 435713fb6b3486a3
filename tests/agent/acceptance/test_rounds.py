"""Ranking, a round's verdicts, who becomes the incumbent, and incumbent.json."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from agent.acceptance import (
    Incumbent,
    Noise,
    Opinion,
    RoundVerdicts,
    Rules,
    confirmation,
    judge_round,
    rank,
)
from agent.errors import InvalidStudy
from agent.records import CandidateResult, Objective, Outcome, TrialRecord
from tests.agent.acceptance.cases import HIGHER, LOWER, made

RULES = Rules()
NOISE = Noise(variance=1e-4, df=20)


def seen(name: str, value: float | None, *, n: int = 2, rows: int = 2, number: int = 1) -> CandidateResult:
    return CandidateResult(
        round=number,
        candidate=name,
        values={},
        key=f"{number}{name}",
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


def test_an_entry_of_round_json_is_read_row_by_row() -> None:
    trials: list[dict[str, object]] = [
        {"fold": 0, "seed": 1, "outcome": "ok", "metrics": {"accuracy": 0.5, "f1": 0.1}},
        {"fold": 1, "seed": 1, "outcome": "ok", "metrics": {"accuracy": 0.7}},
        {"fold": 2, "seed": 1, "outcome": "lost", "metrics": {}},
        {"outcome": "ok", "metrics": {"accuracy": 0.9}},
    ]
    found = replace(seen("a", 0.6, rows=3), trials=[TrialRecord(trial) for trial in trials])
    assert found.cells("accuracy") == {(0, 1): 0.5, (1, 1): 0.7}
    assert (found.place, found.complete) == ((1, "a"), False)
    assert found.standard_error == pytest.approx(0.02 / math.sqrt(2))


def judged(
    current: Incumbent | None,
    candidates: list[CandidateResult],
    *before: CandidateResult,
    noise: Noise | None = NOISE,
    **rest: Any,
) -> RoundVerdicts:
    known = {c.place: c for c in (*before, *candidates)}
    return judge_round(current, candidates, known, noise, HIGHER, RULES, **rest)


def verdicts(found: RoundVerdicts) -> dict[str, str]:
    return {place[1]: judgement.verdict for place, judgement in found.judgements.items()}


DEFAULT = made("c00", (0.5, 0.6))


def held(verdict: str = "leading") -> Incumbent:
    return Incumbent.of(DEFAULT, "accuracy", verdict=verdict)


def test_the_default_is_the_first_incumbent_and_the_others_are_held_against_it() -> None:
    found = judged(None, [DEFAULT, made("c01", (0.7, 0.8)), made("c02", (0.65, 0.75)), made("c03", (0.2, 0.2))])
    assert verdicts(found) == {"c00": "incumbent", "c01": "accepted", "c02": "accepted", "c03": "rejected"}
    best = found.elect()
    assert best is not None and (best.candidate, best.verdict) == ("c01", "accepted")
    assert best.judgement is not None and best.judgement.comparison is not None
    assert best.judgement.comparison.k == 3
    assert found.against is not None and found.against.candidate == "c00"


def test_a_better_mean_within_the_noise_takes_no_place() -> None:
    found = judged(held(), [made("c00", (0.51, 0.61), number=2)], DEFAULT)
    assert verdicts(found) == {"c00": "borderline"}
    best = found.elect()
    assert best is not None and (best.place, best.verdict) == (DEFAULT.place, "leading")


def test_with_the_noise_unknown_the_best_leads_alone() -> None:
    candidates = [made("c00", (0.5,)), made("c01", (0.6,)), made("c02", (0.7,)), made("c03", (0.4,))]
    found = judged(None, candidates, noise=None)
    assert verdicts(found) == {"c00": "incumbent", "c01": "borderline", "c02": "leading", "c03": "rejected"}
    assert "c02 leads" in found.judgements[1, "c01"].why
    best = found.elect()
    assert best is not None and (best.candidate, best.verdict) == ("c02", "leading")


def test_what_is_not_complete_is_not_compared() -> None:
    half, failed = made("c01", (0.9,), number=2, rows=2), made("c02", (), number=2, rows=2)
    found = judged(held(), [half, failed, made("c03", (0.5, 0.6), number=2)], DEFAULT)
    assert verdicts(found) == {"c01": "unmeasured", "c02": "unmeasured", "c03": "borderline"}
    assert "1 of 2 rows" in found.judgements[2, "c01"].why
    comparison = found.judgements[2, "c03"].comparison
    assert comparison is not None and comparison.k == 1, "what failed was no choice"


def test_nothing_complete_is_no_incumbent() -> None:
    found = judged(None, [made("c00", (0.5,), rows=2), made("c01", (), rows=2)])
    assert found.elect() is None and set(verdicts(found).values()) == {"unmeasured"}


def test_a_barred_configuration_is_rejected_whatever_it_measured() -> None:
    again = made("c00", (0.9, 0.9), number=2, key="beaten")
    found = judged(held("confirmed"), [again], DEFAULT, barred={"beaten": "the incumbent beat it"})
    assert verdicts(found) == {"c00": "rejected"}
    best = found.elect()
    assert best is not None and (best.place, best.verdict) == (DEFAULT.place, "confirmed")


def test_the_incumbents_own_round_run_again_counts() -> None:
    lower = made("c00", (0.3, 0.4), key=DEFAULT.key)
    found = judged(held("confirmed"), [lower])
    best = found.elect()
    assert verdicts(found) == {"c00": "incumbent"}
    assert best is not None and (best.mean, best.verdict) == (pytest.approx(0.35), "confirmed")


@pytest.mark.parametrize(
    "again", [made("c00", (0.9, 0.9), key="other"), made("c00", (0.9,), rows=2), made("c00", ())]
)
def test_an_incumbent_whose_round_was_replaced_is_not_kept(again: CandidateResult) -> None:
    found = judged(held(), [again, made("c01", (0.3, 0.3))])
    assert found.against is not None and found.against.key != DEFAULT.key


def test_opinions_change_only_what_is_open() -> None:
    calm = Noise(variance=1e-9, df=20)
    small, noise = made("c00", (0.505, 0.605), number=2), made("c01", (0.5, 0.6), number=2)
    found = judged(held(), [small, noise], DEFAULT, noise=calm)
    assert set(found.for_judge) == {(2, "c00")}
    yes = Opinion(verdict="accept", reason="cheap", call="001_judge")
    said = found.with_opinions({(2, "c00"): yes, (2, "c01"): yes})
    assert verdicts(said) == {"c00": "accepted", "c01": "borderline"}
    best = said.elect()
    assert best is not None and best.place == (2, "c00")
    assert best.judgement is not None and best.judgement.judge == yes


def test_incumbent_survives_json_and_reads_version_1() -> None:
    won = judged(None, [DEFAULT, made("c01", (0.7, 0.8))]).judgements[1, "c01"]
    gain = confirmation(pairs(0.5, 0.5), pairs(0.6, 0.7), HIGHER, RULES, None)
    found = replace(held(), judgement=won, gain=gain, against="1a")
    assert Incumbent.from_json(json.loads(json.dumps(found.to_json()))) == found
    old = {name: value for name, value in found.to_json().items() if name != "judgement"} | {"schema_version": 1}
    assert Incumbent.from_json(old) == replace(found, judgement=None)
    assert "round 1 c00 is leading: accuracy 0.55 (standard error 0.05) over 2 rows" in found.describe()


@pytest.mark.parametrize(
    "change", [{"mean": None}, {"mean": "nan"}, {"verdict": "won"}, {"n": 0}, {"key": ...}, {"standard_error": []}]
)
def test_a_broken_incumbent_is_refused(change: dict[str, Any]) -> None:
    raw = {**held().to_json(), **change}
    raw = {name: value for name, value in raw.items() if value is not ...}
    with pytest.raises(InvalidStudy, match=r"incumbent\.json"):
        Incumbent.from_json(raw)
    with pytest.raises(InvalidStudy):
        Incumbent.from_json([])


# -- confirmation ----------------------------------------------------------------------------------------------


def pairs(*values: float) -> dict[Any, float]:
    return {(0, seed): value for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    ("base", "best", "verdict"),
    [
        ((0.50, 0.60, 0.70), (0.60, 0.69, 0.81), "confirmed"),
        ((0.50, 0.60, 0.70), (0.50, 0.60, 0.70), "no gain"),
        ((0.50, 0.60, 0.70), (0.40, 0.59, 0.69), "no gain"),
        ((0.50, 0.60, 0.70), (0.53, 0.60, 0.74), "inconclusive"),
        ((0.50,), (0.90,), "inconclusive"),
        ((), (0.9,), "not comparable"),
    ],
)
def test_verdicts_of_a_confirmation(base: tuple[float, ...], best: tuple[float, ...], verdict: str) -> None:
    gain = confirmation(pairs(*base), pairs(*best), HIGHER, RULES, None)
    assert gain.verdict == verdict
    assert (gain.confirmed, gain.refuted) == (verdict == "confirmed", verdict == "no gain")
    assert verdict in gain.describe()
    json.dumps(gain.to_json(), allow_nan=False)


def test_a_known_noise_confirms_what_three_pairs_alone_cannot() -> None:
    base, best = pairs(0.50, 0.60, 0.70), pairs(0.53, 0.60, 0.74)
    known = confirmation(base, best, HIGHER, RULES, Noise(variance=2e-4, df=30))
    assert known.confirmed and known.df == 30
    assert known.own_error is not None and known.standard_error == pytest.approx(math.sqrt(4e-4 / 3))
    assert "30 degrees of freedom" in known.describe() and "are needed" in known.describe()


def test_a_confirmation_pairs_and_takes_its_own_spread_where_it_is_far_larger() -> None:
    gain = confirmation(
        {(0, 1): 1.0, (0, 2): 2.0, (1, 1): 9.0}, {(0, 2): 1.5, (0, 1): 0.6, (5, 5): 0.0}, LOWER, RULES, None
    )
    assert gain.gains == pytest.approx((0.4, 0.5))
    assert (gain.n, gain.unpaired, gain.df) == (2, 2, 1)
    assert gain.mean == pytest.approx(0.45) and gain.standard_error == pytest.approx(0.05)
    assert "2 without a partner" in gain.describe()
    wild = confirmation(pairs(0.1, 0.9, 0.1), pairs(0.9, 0.1, 0.9), HIGHER, RULES, Noise(variance=1e-6, df=30))
    assert wild.df == 2 and wild.standard_error == wild.own_error


def test_a_judged_incumbent_names_what_it_beat_only_when_confirmed() -> None:
    base = pairs(0.5, 0.5, 0.5)
    better = confirmation(base, pairs(0.60, 0.61, 0.62), HIGHER, RULES, None)
    equal = confirmation(base, base, HIGHER, RULES, None)
    won, even = (held().judged(gain, against="1a") for gain in (better, equal))
    assert (won.verdict, won.beaten) == ("confirmed", "1a")
    assert (even.verdict, even.beaten) == ("leading", None)
