"""round.json as objects: what was read is written byte for byte, older files are read, broken ones are named."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from agent.acceptance import Incumbent, Noise, Rules, judge_round
from agent.errors import InvalidStudy
from agent.orchestrator.deciding.plan import past_rounds
from agent.planning import Advice, Past, Plan
from agent.records import CandidateResult, InsteadOf, Objective, Outcome, TrialAnalysis, TrialRecord
from agent.store.record import (
    Acceptance,
    ConfirmationRecord,
    Judge,
    Position,
    RoundRecord,
    RungRecord,
    RungResult,
    read_confirmation,
    read_round,
    read_rung,
)
from trainers.files import to_json

OBJECTIVE = Objective(metric="accuracy", direction="maximize")
FILE = "demo/round_2_20261201_000000/round.json"


def result(number: int, name: str, *values: float, outcome: Outcome = Outcome.OK, **more: Any) -> CandidateResult:
    trials = [
        TrialRecord(
            {
                "row": fold,
                "fold": fold,
                "seed": 0,
                "attempt": 1,
                "outcome": "ok",
                "metrics": {"accuracy": value},
                "samples": {"train": 10},
            }
        )
        for fold, value in enumerate(values)
    ]
    return CandidateResult(
        round=number,
        candidate=name,
        source="optuna_tpe",
        key=f"{number}{name}",
        sha256="ab",
        values={"lr": 0.1, "optimizer": "adam", "nesterov": True},
        outcome=outcome,
        value=sum(values) / len(values) if values else None,
        n=len(values),
        rows=max(len(values), 1),
        outcomes={outcome.value: max(len(values), 1)},
        trials=tuple(trials),
        **more,
    )


def record() -> RoundRecord:
    """A second round whose c00 took the incumbent's place."""
    default = result(1, "c00", 0.5, 0.52)
    results = [
        result(2, "c00", 0.7, 0.72, costs={"wall_seconds": 2.5}, metrics={"accuracy": 0.71}),
        result(
            2, "c01", outcome=Outcome.GPU_OOM, message="out of memory", instead_of=InsteadOf(source="llm", why=("x",))
        ),
    ]
    noise = Noise(variance=1e-4, df=20, left_out=((1, "c03"),))
    known = {one.place: one for one in (default, *results)}
    found = judge_round(Incumbent.of(default, "accuracy"), results, known, noise, OBJECTIVE, Rules())
    return RoundRecord(
        round=2,
        closed_at="2026-12-01T00:00:00+00:00",
        objective=OBJECTIVE,
        ranking=("c00", "c01"),
        candidates=(results[0], replace(results[1], violates="the study's limit is seconds<=1")),
        judgements={place[1]: judgement for place, judgement in found.judgements.items()},
        analyses={"c00_f0_s0": TrialAnalysis(keywords=("plateau",), flags=("overfitting",))},
        incumbent=found.elect(),
        acceptance=Acceptance(
            against=found.against,
            noise=noise,
            rules=Rules().plain(),
            judge=Judge(status="asked", why="", call="1_judge"),
        ),
        limits=("seconds<=1",),
        notes=("a note",),
        plan=Plan(step="small", plan="p", reason="r", by="rules", advice=Advice(step="small", reason="r", idle=0)),
        costs={"wall_seconds": 2.5},
        screened=(
            RungResult(
                rung=1, epochs=2, share=0.25, folds=(0,), promoted=("c00",), candidates=(result(2, "c00", 0.4),)
            ),
        ),
    )


def raw() -> Any:
    """round.json as it is read."""
    return json.loads(to_json(record().to_json()))


def test_what_is_read_is_written_byte_for_byte() -> None:
    text = to_json(record().to_json())
    found = read_round(json.loads(text), file=FILE)
    assert to_json(found.to_json()) == text
    assert (found.candidates, found.judgements, found.incumbent) == (
        record().candidates,
        dict(record().judgements),
        record().incumbent,
    )


def test_a_round_of_an_earlier_version_is_read() -> None:
    old = raw()
    for name in ("acceptance", "limits", "notes", "plan", "costs", "screened", "analyses", "ranking"):
        del old[name]
    for entry in old["candidates"]:
        for name in ("verdict", "judgement", "instead_of", "metrics", "costs", "sha256", "message"):
            del entry[name]
    old["incumbent"] = {
        name: old["incumbent"][name] for name in old["incumbent"] if name not in ("judgement", "gain")
    }
    found = read_round(old, file=FILE)
    assert found.acceptance is None and found.verdict("c00") is None and not found.screened
    assert found.gained, "such a round does not tell how its incumbent took its place: it counts as a gain"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("candidates", 1, "key"), ..., "candidates[1].key: is missing; restore the file"),
        (("candidates", 0, "value"), "0.7", "candidates[0].value = '0.7': must be a number or null"),
        (("candidates", 0, "n"), True, "candidates[0].n = True: must be a whole number"),
        (("candidates", 0, "n"), 0, "candidates[0].value = 0.71: a candidate has a finite value exactly when"),
        (("candidates", 0, "outcome"), "fine", "candidates[0].outcome = 'fine': must be one of ok, bad_config"),
        (("candidates", 0, "costs"), {"wall_seconds": "2"}, "must be an object of name -> number"),
        (("candidates", 0, "judgement"), {"verdict": "x"}, "candidates[0].judgement = {'verdict': 'x'}: has no text"),
        (("candidates", 0), 3, "candidates = "),
        (("candidates",), None, "candidates = None: must be a list"),
        (("screened", 0, "promoted"), [1], "screened[0].promoted = [1]: must be a list of texts"),
        (("objective", "direction"), "up", "objective = {"),
        (("round",), "2", "round = '2': must be a whole number"),
        (("schema_version",), 9, "a newer one goes on with it"),
    ],
)
def test_what_is_wrong_is_named_with_file_field_and_value(path: tuple[Any, ...], value: Any, said: str) -> None:
    broken = copy.deepcopy(raw())
    inner = broken
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(InvalidStudy) as caught:
        read_round(broken, file=FILE)
    assert f"{FILE}: " in str(caught.value) and said in str(caught.value)


def test_a_rung_and_a_confirmation_are_written_as_they_were_read() -> None:
    rung = RungRecord(
        folder="rung1_2_20261201_000000",
        round=2,
        closed_at="2026-12-01T00:00:00+00:00",
        objective=OBJECTIVE,
        result=record().screened[0],
    )
    text = to_json(rung.to_json())
    assert to_json(read_rung(json.loads(text), file=FILE).to_json()) == text
    replicates = ConfirmationRecord(
        purpose="replicates",
        round=2,
        closed_at="2026-12-01T00:00:00+00:00",
        challenger=None,
        base=Position(round=1, candidate="c00", key="1c00"),
        seeds=(1000, 1001),
        objective=OBJECTIVE,
        values={"c00": {(0, 1000): 0.5, (0, 1001): 0.6}},
        replicates=((0.5, 0.6),),
        noise=Noise(variance=0.005, df=1),
    )
    text = to_json(replicates.to_json())
    assert read_confirmation(json.loads(text), file=FILE) == replicates
    assert "gain" not in replicates.to_json() and "again" not in replicates.to_json()


def test_a_gain_took_the_incumbents_place_and_the_first_value_did_not() -> None:
    won = record()
    assert won.incumbent is not None and won.incumbent.judgement is not None
    assert won.gained
    assert not replace(won, round=3).gained
    assert not replace(won, incumbent=replace(won.incumbent, judgement=None)).gained
    assert not replace(won, incumbent=None).gained


def test_rounds_that_machines_lost_tried_nothing() -> None:
    won = record()
    lost = [result(3, "c00", outcome=Outcome.NODE_FAIL), result(3, "c01", outcome=Outcome.CRASHED)]
    refused = [result(4, "c00", outcome=Outcome.BAD_CONFIG)]
    rounds = [
        replace(won, round=1),
        won,
        replace(won, round=3, candidates=lost),
        replace(won, round=4, candidates=refused, plan=None),
    ]
    assert past_rounds(rounds) == [Past(number=2, gained=True, step="small"), Past(number=4, gained=False, step=None)]
