"""Comparisons and verdicts: each region of the rule, its numbers, its sentence."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from agent.acceptance import Noise, Opinion, Rules
from agent.acceptance.compare import OWN, POOLED, SEPARATE, Comparison, compare
from agent.acceptance.student import normal_sf, t_quantile
from agent.acceptance.verdict import Judgement, decide, with_opinion
from agent.records import Objective
from tests.agent.acceptance.cases import HIGHER, LOWER, made

RULES = Rules()
#: One row varies by .01; the standard error of a gain over 4 pairs is .0071.
NOISE = Noise(variance=1e-4, df=20)
BASE = (0.50, 0.52, 0.48, 0.50)


def judged(
    values: tuple[float, ...],
    *,
    noise: Noise | None = NOISE,
    k: int = 1,
    rules: Rules = RULES,
    objective: Objective = HIGHER,
    base: tuple[float, ...] = BASE,
) -> Judgement:
    numbers = compare(made("c01", values, number=2), made("c00", base), noise, objective, rules, k=k)
    return decide(numbers, rules)


def better(by: float) -> tuple[float, ...]:
    return tuple(value + by for value in BASE)


@pytest.mark.parametrize(
    ("by", "verdict"),
    [
        (0.05, "accepted"),
        (0.0145, "accepted"),
        (0.011, "borderline"),
        (0.0, "borderline"),
        (-0.0024, "borderline"),
        (-0.0026, "rejected"),
    ],
)
def test_the_regions_of_the_rule(by: float, verdict: str) -> None:
    found = judged(better(by))
    assert found.verdict == verdict
    assert found.why.startswith(verdict)
    assert (found.rule, found.judge) == ("acceptance.yaml", None)


def test_the_numbers_by_hand() -> None:
    numbers = judged(better(0.05), k=3).comparison
    assert numbers is not None
    assert (numbers.n, numbers.paired, numbers.k, numbers.correction) == (4, True, 3, "sidak")
    assert numbers.gain == pytest.approx(0.05) and numbers.gain_percent == pytest.approx(10)
    assert numbers.standard_error == pytest.approx(math.sqrt(2e-4 / 4)) and numbers.df == 20
    alpha = 1 - (1 - normal_sf(1.7)) ** (1 / 3)
    assert numbers.alpha == pytest.approx(alpha) and numbers.critical == pytest.approx(t_quantile(alpha, 20))
    assert numbers.least_gain == pytest.approx(0.01) and numbers.most_loss == pytest.approx(0.0025)
    assert numbers.threshold == pytest.approx(numbers.critical * numbers.standard_error)
    assert numbers.noise_from == POOLED
    assert Comparison.from_json(json.loads(json.dumps(numbers.to_json(), allow_nan=False))) == numbers


def test_the_sentence_names_every_number() -> None:
    why = judged(better(0.05), k=3).why
    for part in (
        "+0.05 (+10 %)",
        "round 1 c00",
        "4 pairs",
        "standard error 0.00707",
        "20 degrees of freedom",
        "best of 3, sidak",
        "0.01",
    ):
        assert part in why, part


def test_lower_is_better_where_it_is() -> None:
    assert judged(better(-0.05), objective=LOWER).verdict == "accepted"
    assert judged(better(0.05), objective=LOWER).verdict == "rejected"


def test_the_best_of_many_needs_more() -> None:
    values = better(0.0145)
    assert judged(values, k=1).verdict == "accepted" and judged(values, k=8).verdict == "borderline"
    assert judged(values, k=8, rules=Rules(correction="none")).verdict == "accepted"
    sidak, bonferroni = (Rules(correction=name).alpha_of(8) for name in ("sidak", "bonferroni"))
    assert bonferroni == pytest.approx(Rules().alpha / 8) and bonferroni < sidak < Rules().alpha


def test_few_degrees_of_freedom_need_more_and_say_so() -> None:
    found = judged(better(0.0145), noise=replace(NOISE, df=2))
    assert found.verdict == "borderline" and not found.for_judge
    assert "2 degrees of freedom are too few to tell" in found.why and found.thin
    small = judged(better(0.005))
    assert "too few" not in small.why and not small.thin, "no estimate would make a gain of it"


@pytest.mark.parametrize(("value", "verdict"), [(0.9, "leading"), (0.5, "borderline"), (0.4, "rejected")])
def test_a_single_row_without_any_noise_is_never_accepted(value: float, verdict: str) -> None:
    found = judged((value,), noise=None, base=(0.5,))
    assert found.verdict == verdict
    assert verdict == "rejected" or "noise unknown" in found.why
    assert found.comparison is not None and found.comparison.threshold is None and not found.for_judge


def test_a_single_row_with_a_noise_from_elsewhere_is_judged() -> None:
    found = judged((0.9,), base=(0.5,))
    assert found.verdict == "accepted"
    assert found.comparison is not None
    assert found.comparison.standard_error == pytest.approx(math.sqrt(2e-4))


def test_gains_that_vary_far_more_than_the_study_count_by_their_own_spread() -> None:
    wild = (0.9, 0.4, 0.95, 0.45)
    numbers = judged(wild).comparison
    assert numbers is not None
    assert (numbers.noise_from, numbers.df) == (OWN, 3)
    assert numbers.standard_error is not None and numbers.standard_error > 0.1
    found = judged(wild)
    assert found.verdict == "borderline" and "by its own spread" in found.why


def test_without_a_common_fold_it_is_welchs_test() -> None:
    one, two = made("c01", better(0.1), cells=False, number=2), made("c00", BASE, cells=False)
    numbers = compare(one, two, NOISE, HIGHER, RULES, k=1)
    error = 0.01632993 / 2
    assert (numbers.paired, numbers.noise_from) == (False, SEPARATE)
    assert numbers.standard_error == pytest.approx(math.sqrt(2) * error, rel=1e-6)
    assert numbers.df == pytest.approx(6)
    assert decide(numbers, RULES).verdict == "accepted"
    single = compare(made("c01", (0.9,), cells=False), two, NOISE, HIGHER, RULES, k=1)
    assert decide(single, RULES).verdict == "leading", "its spread is unknown, and folds are in the other's"
    same = compare(
        made("c01", (0.5, 0.5), cells=False), made("c00", (0.4, 0.4), cells=False), None, HIGHER, RULES, k=1
    )
    assert (same.standard_error, same.df) == (0.0, 2)


@pytest.mark.parametrize("base", [(0.0, 0.0), (-0.01, 0.01)])
def test_near_zero_the_noise_decides_alone(base: tuple[float, ...]) -> None:
    found = judged((base[0] + 0.03, base[1] + 0.03), base=base)
    assert found.verdict == "accepted"
    assert found.comparison is not None
    assert found.comparison.least_gain == 0 and found.comparison.gain_percent is None
    assert judged(base, base=base).verdict == "borderline", "a gain of 0 is none"


def test_percentages_of_negative_metrics_are_of_their_size() -> None:
    numbers = judged((-1.9, -1.9), base=(-2.0, -2.0)).comparison
    assert numbers is not None
    assert numbers.least_gain == pytest.approx(0.04) and numbers.gain_percent == pytest.approx(5)


def test_absolute_amounts_replace_percentages() -> None:
    rules = Rules(min_gain=0.2, reject_loss=0.1)
    assert judged(better(0.15), rules=rules).verdict == "borderline"
    assert judged(better(-0.09), rules=rules).verdict == "borderline"
    assert judged(better(-0.11), rules=rules).verdict == "rejected"


ACCEPT = Opinion(verdict="accept", reason="no price", call="004_judge")


def test_the_judge_speaks_where_a_gain_is_real_and_small() -> None:
    calm = replace(NOISE, variance=1e-8)
    found = judged(better(0.005), noise=calm)
    assert found.verdict == "borderline" and found.for_judge
    said = with_opinion(found, ACCEPT)
    assert (said.verdict, said.rule, said.judge) == ("accepted", "judge", ACCEPT)
    assert "no price" in said.why and "004_judge" in said.why
    kept = with_opinion(found, replace(ACCEPT, verdict="keep"))
    assert (kept.verdict, kept.rule) == ("borderline", "acceptance.yaml") and "keeps it so" in kept.why


@pytest.mark.parametrize("values", [better(0.005), better(-0.001), better(-0.1), (0.9,)])
def test_the_judge_cannot_accept_what_the_noise_refutes(values: tuple[float, ...]) -> None:
    noise = None if len(values) == 1 else NOISE
    found = judged(values, noise=noise, base=BASE[: len(values)])
    assert with_opinion(found, ACCEPT) == found


def test_a_persons_rule_replaces_the_decision() -> None:
    seen: list[Any] = []

    def own(comparison: Any) -> tuple[str, str]:
        seen.append(comparison)
        return "accepted", "because"

    found = judged(better(-0.2), rules=Rules(name="mine.py", own=own))
    assert (found.verdict, found.rule) == ("accepted", "mine.py")
    assert "because" in found.why and "mine.py" in found.why
    assert seen[0]["gain"] == pytest.approx(-0.2) and seen[0]["threshold"] > 0
