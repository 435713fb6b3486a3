"""A model that is worse than forecasts without training is called so; others are left in peace."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agent.acceptance import Incumbent
from agent.records import CandidateResult, Objective, Outcome
from agent.report.naive import naive_names, study_warning
from agent.store.record import RoundRecord
from trainers.naive import worse_than_naive

NAMES = naive_names("informer")


def metrics(mse: float, **naive: float) -> dict[str, float]:
    return {"val_loss": 9.0, "val_mse": mse, **{f"val_mse_{name}": value for name, value in naive.items()}}


FAR = "far worse than a forecast without any training: val_mse 4 is 10 times that of nlinear"
NEAR = "1.1 times that of nlinear (0.4), a forecast without any training; it beats repeat_last"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (metrics(0.3, nlinear=0.31, repeat_last=1.2), ""),
        (metrics(0.31, nlinear=0.31), ""),
        (metrics(0.44, nlinear=0.4, repeat_last=1.2), NEAR),
        (metrics(4.0, nlinear=0.4, repeat_last=1.2), FAR),
        (metrics(4.0, nlinear=0.0), "is inf times that of nlinear (0)"),
        ({"val_mse": 3.0, "val_mse_total": 0.1}, ""),  # a metric of its own, no forecast
    ],
)
def test_what_is_said(found: Mapping[str, float], said: str) -> None:
    told = worse_than_naive(found, NAMES)
    assert said in told and bool(said) == bool(told)


OBJECTIVE = Objective(metric="val_mse", direction="minimize")


def record(number: int, **values: float | None) -> RoundRecord:
    results = [
        CandidateResult(
            round=number,
            candidate=name,
            values={},
            key=name,
            outcome=Outcome.CRASHED if value is None else Outcome.OK,
            value=value,
            n=0 if value is None else 1,
            metrics={} if value is None else metrics(value, nlinear=0.5),
        )
        for name, value in values.items()
    ]
    return RoundRecord(
        round=number, closed_at="", objective=OBJECTIVE, ranking=list(values), candidates=results, incumbent=None
    )


def best(number: int, name: str) -> Incumbent:
    return Incumbent(
        round=number, candidate=name, key=name, mean=0.4, standard_error=None, n=1, metric=OBJECTIVE.metric
    )


def test_a_study_is_judged_by_its_incumbent_and_before_there_is_one_by_the_last_rounds_best() -> None:
    rounds = [record(1, c00=0.4), record(2, c01=5.0, c00=6.0)]
    assert study_warning(rounds, best(1, "c00"), NAMES) == ""
    assert study_warning(rounds, None, NAMES).startswith("the best so far, round 2 c01: far worse")
    assert study_warning(rounds, best(2, "c00"), NAMES).startswith("the best so far, round 2 c00")
    assert study_warning(rounds, best(3, "c00"), NAMES) == ""  # --round N shows another one alone
    assert study_warning([record(1, c00=None)], None, NAMES) == study_warning([], None, NAMES) == ""
    assert naive_names("informer", brought=True) == naive_names("mine") == naive_names("resnet9") == ()
