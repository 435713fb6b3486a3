"""Folds that stand apart, classes that stay behind, and the newest round's trials for a prompt."""

from __future__ import annotations

import json
import random
import statistics
from dataclasses import replace
from typing import Any

import pytest

from agent.diagnosis import analyse_round, fold_outliers, newest_trials, weak_classes
from agent.diagnosis.weakness import two_sided_p
from agent.records import CandidateResult, Objective, Outcome, TrialAnalysis, TrialRecord

OBJECTIVE = Objective(metric="dice", direction="maximize")
HISTORY = [
    CandidateResult(round=1, candidate="c00", values={}, key="k", outcome=Outcome.OK, value=0.8, n=5, rows=5),
]


def candidate(name: str, values: dict[tuple[int, int], float | None]) -> CandidateResult:
    """values: (fold, seed) -> the objective, None where the trial failed."""
    trials = [
        TrialRecord(
            {
                "fold": fold,
                "seed": seed,
                "attempt": 1,
                "outcome": "ok" if value is not None else "crashed",
                "metrics": {"dice": value} if value is not None else {},
            }
        )
        for (fold, seed), value in values.items()
    ]
    return CandidateResult(
        round=1, candidate=name, values={}, key=name, outcome=Outcome.CRASHED, value=None, trials=trials
    )


def folds(name: str, *values: float | None) -> CandidateResult:
    return candidate(name, {(fold, 0): value for fold, value in enumerate(values)})


def findings(candidates: list[CandidateResult], **more: Any) -> list[dict[str, Any]]:
    found = analyse_round(HISTORY, {}, OBJECTIVE, candidates=candidates, **more)
    json.dumps(found, allow_nan=False)
    return [finding for finding in found if finding["name"] in ("fold_outlier", "weak_classes")]


def test_one_odd_fold_of_one_candidate() -> None:
    (found,) = findings([folds("c00", 0.80, 0.81, 0.79, 0.80, 0.40), folds("c01", 0.80, 0.82, 0.81, 0.80, 0.79)])
    assert found["text"] == (
        "dice of single trials stands apart from the candidate's others: "
        "c00 fold 4 at 0.4 where the others' mean is 0.8"
    )
    assert found["evidence"]["shared"] is False
    (trial,) = found["evidence"]["trials"]
    assert (trial["candidate"], trial["fold"], trial["value"], trial["others"]) == ("c00", 4, 0.4, 0.8)
    assert trial["t"] < -20


def test_a_fold_that_is_odd_for_most_candidates_is_the_folds_doing() -> None:
    (found,) = findings([folds(f"c{k:02d}", 0.80, 0.81, 0.79, 0.80, 0.40 + 0.01 * k) for k in range(4)])
    assert found["evidence"] == {"folds": [4], "candidates": 4, "shared": True}
    assert "fold 4 in 4 of 4 candidates: the fold itself" in found["text"]


def test_both_kinds_beside_each_other() -> None:
    shared, alone = findings(
        [
            folds("c00", 0.80, 0.81, 0.79, 0.80, 0.40),
            folds("c01", 0.80, 0.81, 0.79, 0.80, 0.41),
            folds("c02", 0.20, 0.81, 0.79, 0.80, 0.80),
        ]
    )
    assert shared["evidence"]["folds"] == [4]
    assert [entry["candidate"] for entry in alone["evidence"]["trials"]] == ["c02"]


def test_seeds_of_one_fold_are_called_seeds() -> None:
    values: dict[tuple[int, int], float | None] = {
        (0, 7): 0.8,
        (0, 8): 0.81,
        (0, 9): 0.79,
        (0, 10): 0.8,
        (0, 11): 0.2,
    }
    (found,) = findings([candidate("c00", values)])
    assert "c00 seed 11 at 0.2" in found["text"]
    assert found["evidence"]["trials"][0]["seed"] == 11


def test_seeds_of_a_fold_count_as_their_mean() -> None:
    values: dict[tuple[int, int], float | None] = {(fold, seed): 0.8 for fold in range(5) for seed in range(3)}
    values[(2, 1)] = 0.7
    assert findings([candidate("c00", values)]) == []


@pytest.mark.parametrize(
    "entry",
    [
        folds("c00", 0.8, 0.8, 0.2),
        folds("c00", 0.8, None, 0.8, None, 0.2),
        folds("c00", 0.80, 0.78, 0.82, 0.81, 0.77),
        replace(folds("c00"), trials=[TrialRecord({"outcome": "ok", "metrics": {"dice": 0.5}})]),
        folds("c00"),
    ],
    ids=["three folds", "three that ended", "ordinary scatter", "by hand, without folds", "no trials"],
)
def test_no_outlier(entry: CandidateResult) -> None:
    assert findings([entry]) == []


def test_values_of_any_size() -> None:
    for scale in (1e-300, 1e-30, 1e30, 1e200):
        (found,) = findings([folds("c00", *(scale * value for value in (0.80, 0.81, 0.79, 0.80, 0.40)))])
        assert found["evidence"]["trials"][0]["fold"] == 4
    history = [
        CandidateResult(
            round=1, candidate=f"c{k}", values={}, key=f"{k}", outcome=Outcome.OK, value=k * 1e200, std=1e200, n=2
        )
        for k in range(4)
    ]
    assert "within_noise" in [finding["name"] for finding in analyse_round(history, {}, OBJECTIVE)]


@pytest.mark.parametrize("count", [4, 5, 8, 10])
def test_folds_of_noise_are_rarely_outlying(count: int) -> None:
    rng = random.Random(count)
    scale = 0.05
    rounds = 2000
    wrong = sum(
        bool(fold_outliers({fold: 0.8 + rng.gauss(0, scale) for fold in range(count)})) for _ in range(rounds)
    )
    assert wrong / rounds <= 0.03


@pytest.mark.parametrize(
    ("t", "degrees", "p"),
    # Critical values of Student's t as every table has them.
    [(12.706, 1, 0.05), (4.303, 2, 0.05), (3.182, 3, 0.05), (2.776, 4, 0.05), (4.604, 4, 0.01), (2.228, 10, 0.05)],
)
def test_students_t(t: float, degrees: int, p: float) -> None:
    assert two_sided_p(t, degrees) == pytest.approx(p, rel=1e-3)
    assert two_sided_p(-t, degrees) == two_sided_p(t, degrees)
    assert two_sided_p(0.0, degrees) == pytest.approx(1.0)


def classes(weak: float, **more: float) -> dict[str, dict[str, float | None]]:
    return (
        {f"organ {k}": {"dice": 0.9} for k in range(8)}
        | {"spleen": {"dice": weak}}
        | {name: {"dice": value} for name, value in more.items()}
    )


@pytest.mark.parametrize(
    ("before", "said"), [(None, "spleen (0.3)"), (0.1, "better by 0.2"), (0.6, "worse by 0.3"), (0.305, "as before")]
)
def test_weak_classes_beside_the_round_before(before: float | None, said: str) -> None:
    earlier = {"c00": classes(before)} if before is not None else None
    now = {"c00": classes(0.2), "c01": classes(0.4)}
    (found,) = findings([], per_class=now, per_class_before=earlier)
    assert said in found["text"]
    (entry,) = found["evidence"]["classes"]
    assert (entry["class"], entry["value"]) == ("spleen", 0.3)
    assert ("change" in entry) is (before is not None)


def test_a_class_that_is_new_or_absent() -> None:
    now = {"c00": classes(0.2) | {"gone": {"dice": None}}}
    (found,) = findings([], per_class=now, per_class_before={"c00": {"organ 1": {"dice": 0.9}}})
    assert found["evidence"]["classes"][0].keys() == {"class", "metric", "value", "mean", "behind"}


def test_classes_whose_error_is_to_fall() -> None:
    def errors(weak: float) -> dict[str, dict[str, float | None]]:
        return {f"organ {k}": {"error": 0.1} for k in range(8)} | {"spleen": {"error": weak}}

    (found,) = findings(
        [], per_class={"c00": errors(0.7)}, per_class_before={"c00": errors(0.9)}, class_direction="minimize"
    )
    assert found["evidence"]["classes"][0]["change"] == pytest.approx(0.2)
    assert "better by 0.2" in found["text"]


def test_weak_classes_stand_once() -> None:
    analyses = {"c00_f0_s0": TrialAnalysis(flags=["weak_classes", "overfitting"])}
    without = [f["name"] for f in analyse_round(HISTORY, analyses, OBJECTIVE)]
    assert without == ["best", "overfitting", "weak_classes"]
    found = analyse_round(HISTORY, analyses, OBJECTIVE, per_class={"c00": classes(0.2)})
    assert [f["name"] for f in found] == ["best", "weak_classes", "overfitting"]
    assert found[1]["evidence"]["classes"]


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.98])
def test_equally_good_classes_are_rarely_weak(share: float) -> None:
    """With thirty cases each, whose number is reported."""
    rng = random.Random(0)
    wrong = 0
    for _ in range(500):
        hits = [statistics.fmean(rng.random() < share for _ in range(30)) for _ in range(10)]
        wrong += bool(weak_classes({str(k): {"accuracy": hit, "support": 30.0} for k, hit in enumerate(hits)}))
    assert wrong / 500 <= 0.05


def test_a_really_weak_class_of_few_cases_is_found() -> None:
    per_class = {str(k): {"accuracy": 0.9, "support": 30.0} for k in range(9)} | {
        "9": {"accuracy": 0.4, "support": 30.0}
    }
    assert [entry["class"] for entry in weak_classes(per_class)] == ["9"]


def ranked(count: int, trials: int) -> tuple[list[str], list[CandidateResult]]:
    """A round's ranking and its candidates."""
    names = [f"c{k:02d}" for k in range(count)]
    entries = [candidate(name, {(fold, 0): 0.8 for fold in range(trials)}) for name in names]
    return names[::-1], entries


def analysis(flags: int = 1) -> dict[str, Any]:
    listed = [{"name": "overfitting", "evidence": {"k": k}, "text": f"text {k}"} for k in range(flags)]
    return {"flags": listed, "trends": {"epochs": 3}, "keywords": ["overfitting"]}


def test_the_newest_rounds_trials() -> None:
    given = ranked(2, 2)
    analyses = {f"c{k:02d}_f{fold}_s0": analysis() for k in range(2) for fold in range(2) if (k, fold) != (1, 0)}
    found = newest_trials(*given, analyses)
    assert [entry["trial"] for entry in found] == ["c01_f1_s0", "c00_f0_s0", "c00_f1_s0"]
    assert found[0] == {"trial": "c01_f1_s0", "candidate": "c01", **analysis()}
    assert newest_trials(*given, {}) == []


def test_a_large_round_is_cut_fairly() -> None:
    given = ranked(10, 5)
    analyses = {f"c{k:02d}_f{fold}_s0": analysis(flags=50) for k in range(10) for fold in range(5)}
    found = newest_trials(*given, analyses)
    assert len(found) == 20
    assert [entry["candidate"] for entry in found] == [f"c{k:02d}" for k in reversed(range(10)) for _ in range(2)]
    assert all(len(entry["flags"]) <= 8 for entry in found)
    few = newest_trials(*given, analyses, limit=3)
    assert [entry["trial"] for entry in few] == ["c09_f0_s0", "c08_f0_s0", "c07_f0_s0"]


@pytest.mark.parametrize(
    "junk", [{}, {"flags": [3, "x", {}, {"name": 1}]}, {"flags": 3, "trends": [], "keywords": None}]
)
def test_a_strange_analysis_does_no_harm(junk: dict[str, Any]) -> None:
    (found,) = newest_trials(*ranked(1, 1), {"c00_f0_s0": junk})
    assert found["flags"] == []
