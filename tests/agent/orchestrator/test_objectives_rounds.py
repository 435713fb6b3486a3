"""Limits and further objectives through whole rounds: who may lead, what is on the front, what proposers learn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import Study
from agent.api.begin import begin
from agent.errors import UsageError
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_rounds import edit

#: A larger x scores better and weighs more: every candidate is on the front.
TRAINER = """
name: weighty
description: Score and weight both grow with x.
command: ["sh", "weighty.sh", "{out}", "{x}"]
pass_values: arguments
parameters:
  x: {type: float, low: 0.0, high: 1.0, default: 0.5, description: Both}
constraints: []
objective: {metric: score, direction: maximize}
metrics:
  weight: {direction: minimize}
summary: summary.json
seeds: [0]
"""
PROGRAM = (
    'awk -v x="$2" \'BEGIN { printf "{\\"score\\": %.6f, \\"weight\\": %.6f}\\n", x, 100 * x }\' >"$1/summary.json"\n'
)


@pytest.fixture
def weighty(lab: Lab) -> Lab:
    (lab.root / "weighty.sh").write_text(PROGRAM)
    (lab.root / "weighty.yaml").write_text(TRAINER)
    return lab


def tune(lab: Lab, **changes: Any) -> None:
    lab.tune(trainer=str(lab.root / "weighty.yaml"), data={}, **changes)


def entries(lab: Lab) -> list[dict[str, Any]]:
    return [entry for record in Study(lab.root / "demo").rounds for entry in record["candidates"]]


def test_what_breaks_a_limit_never_leads_however_good_it_is(weighty: Lab) -> None:
    tune(weighty, candidates=4, max_rounds=2, limits=("weight<=50",), seed=3)
    found = entries(weighty)
    heavy = [e for e in found if e["metrics"]["weight"] > 50]
    assert heavy, "the draws hold a heavier one"
    assert all(e["violates"].startswith("the study's limit is weight<=50, and it has ") for e in heavy)
    assert all("violates" not in e for e in found if e["metrics"]["weight"] <= 50)
    assert all(e["verdict"] == "rejected" for e in heavy)
    best = Study(weighty.root / "demo").best
    assert best is not None and best["mean"] <= 0.5


def test_a_default_beyond_the_limit_leaves_the_lead_to_what_keeps_it(weighty: Lab) -> None:
    options = weighty.options(trainer=str(weighty.root / "weighty.yaml"), data={}, seed=3)
    edit(begin(options).paths.reference, "x", 0.9)
    tune(weighty, candidates=4, limits=("weight<=80",), seed=3)
    kept = [e for e in entries(weighty) if e["metrics"]["weight"] <= 80]
    best = Study(weighty.root / "demo").best
    assert kept and best is not None and best["candidate"] in {e["name"] for e in kept}


def test_a_limit_that_comes_later_dethrones_the_incumbent(weighty: Lab) -> None:
    tune(weighty, candidates=4, seed=3)
    tune(weighty, candidates=2, limits=("weight<=20",))
    best = Study(weighty.root / "demo").best
    light = [e for e in entries(weighty) if e["metrics"]["weight"] <= 20]
    assert light, "the draws hold a light one"
    assert best is not None and best["mean"] <= 0.2


def test_a_limit_that_nobody_keeps_leaves_no_incumbent_and_says_why(weighty: Lab) -> None:
    tune(weighty, candidates=2, limits=("wight<=1",))
    assert Study(weighty.root / "demo").best is None
    assert (
        "wight is not measured (there are: cpu_seconds, gpu_seconds, score, seconds, weight)"
        in entries(weighty)[0]["violates"]
    )


def test_the_front_is_in_its_file_the_status_and_the_api(weighty: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    tune(weighty, candidates=3, also=("weight:minimize",), limits=("weight<=95",), seed=3)
    study = Study(weighty.root / "demo")
    assert study.pareto is not None
    front = study.pareto["front"]
    within = [e for e in entries(weighty) if "violates" not in e]
    assert len(front) == len(within) == study.pareto["within_limits"]
    assert [one["measures"]["score"] for one in front] == sorted((e["value"] for e in within), reverse=True)
    capsys.readouterr()
    assert main(["status", "--study", str(weighty.root / "demo")]) == 0
    told = capsys.readouterr().out
    assert "weight" in told and told.count("on the front") == len(front)
    assert main(["status", "--study", str(weighty.root / "demo"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["pareto"]["front"]) == len(front)
    # Dropped by a later call.
    tune(weighty, also=(), limits=())
    assert weighty.store().settings().also == ()


def test_proposers_are_told_of_a_broken_limit_and_of_no_value(weighty: Lab) -> None:
    tune(weighty, candidates=4, max_rounds=1, limits=("weight<=50",), seed=3)
    history = Study(weighty.root / "demo").history
    assert any(o.violates for o in history) and all(o.value is not None for o in history)
    from agent.propose.seen import Seen
    from agent.reference import load_reference

    seen = Seen.of(load_reference(weighty.store().paths.reference), history)
    assert {o.candidate for o, _ in seen.refused} == {o.candidate for o in history if o.violates}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limits": ("weight<50",)}, "such as seconds<=600"),
        ({"also": ("weight",)}, "such as seconds:minimize"),
        ({"also": ("score:maximize",)}, "objective already"),
    ],
)
def test_mistakes_are_refused_before_a_study_begins(weighty: Lab, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tune(weighty, **wrong)
    assert not (weighty.root / "demo").exists()
