"""The scripted agents answer what the real prompts and schemas ask, in a way that the rules let pass."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.llm.base import Request
from agent.records import Objective
from agent.reference import Reference, load_reference
from agent.roles import autotuner, checker, suggestion
from agent.roles.ask import Agents, Answer, Prompts
from agent.roles.situation import Situation
from tests.cases.proposer_case import SPACES, space
from tests.llm_server.asked import Asked
from tests.llm_server.behaviours import Say, Status
from tests.llm_server.scripted_study import FAULTS, StudyModel, checked, kind_of, sample, tuned

ROOT = Path(__file__).parents[2]
PROMPTS = Prompts([ROOT / "templates" / "prompts"])


class Through:
    """Asks a StudyModel without a wire between."""

    def __init__(self, model: StudyModel) -> None:
        self.model = model
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        behaviour = self.model(as_asked(request))
        assert isinstance(behaviour, Say)
        if request.schema is not None:
            Draft202012Validator(request.schema).validate(behaviour.json)
        return Answer(call="001", prompt_sha256="0" * 64, model="m", text=str(behaviour.json), data=behaviour.json)


def as_asked(request: Request) -> Asked:
    turns = tuple((message.role, message.text) for message in request.messages)
    return Asked(
        wire="chat",
        path="/v1/chat/completions",
        headers={},
        body={},
        system=request.system,
        turns=turns,
        schema=request.schema,
        searches=request.search is not None,
    )


def situation(reference: Reference) -> Situation:
    return Situation(reference=reference, history=(), objective=Objective(metric="score", direction="maximize"))


def references() -> dict[str, Reference]:
    shipped = {path.stem: load_reference(path) for path in (ROOT / "doc" / "hyperparameter_reference").glob("*.json")}
    return shipped | {name: space(name) for name in SPACES}


@pytest.mark.parametrize("name", [*SPACES, "resnet9"])
def test_what_it_proposes_passes_the_rules(name: str) -> None:
    reference = references()[name]
    through = Through(StudyModel(seed=3))
    valid = proposed = 0
    for _ in range(10):
        made = autotuner.suggest(Agents(ask=through, prompts=PROMPTS), situation(reference), 3)
        judged = checker.check(reference, made.proposals, taken=())
        proposed += len(made.proposals)
        valid += len(judged.valid)
    assert proposed == 30
    # Refused are repeats in a space with hardly anything free, and what constraints forbid where they name all.
    assert valid >= {"conditional": 10, "constrained": 5, "tiny": 5}.get(name, 25)


def test_the_same_seed_says_the_same() -> None:
    schema = suggestion.answer_schema(space("mixed"), 2)
    text = "- lr = 0.001 (default 0.001): a number from 1e-05 to 0.1, log scale\nexactly 2"
    first, second, other = (tuned(schema, text, Random(seed)) for seed in (1, 1, 2))
    assert first == second != other
    assert len(first["candidates"]) == 2


def test_verdicts_fit_the_checkers_schema() -> None:
    schema = checker.verdict_schema(space("mixed"), ["c00", "c01"])
    for blocks in ((), ("c01",)):
        verdicts = checked(schema, blocks)
        Draft202012Validator(schema).validate(verdicts)
        assert [each["verdict"] for each in verdicts["verdicts"]] == ["ok", "block" if blocks else "ok"]


@pytest.mark.parametrize("name", SPACES)
def test_any_schema_gets_a_valid_answer(name: str) -> None:
    for schema in (suggestion.answer_schema(space(name), 1), checker.verdict_schema(space(name), ["c00"])):
        for seed in range(20):
            Draft202012Validator(schema).validate(sample(schema, Random(seed)))


def test_roles_are_told_apart() -> None:
    def asked(**more: Any) -> Asked:
        return Asked(wire="chat", path="", headers={}, body={}, **more)

    assert kind_of(asked()) == "talk"
    assert kind_of(asked(searches=True)) == "search"
    assert kind_of(asked(schema=suggestion.answer_schema(space("mixed"), 1))) == "tuner"
    assert kind_of(asked(schema=checker.verdict_schema(space("mixed"), ["c00"]))) == "checker"
    assert kind_of(asked(schema={"type": "object", "properties": {}})) == "other"


def test_faults_come_at_their_rate_and_change_no_other_answer() -> None:
    calm, stormy = StudyModel(seed=5), StudyModel(seed=5, fault_rate=0.4)
    asked = Asked(wire="chat", path="", headers={}, body={})
    answers = [(calm(asked), stormy(asked)) for _ in range(200)]
    faults = [turn for turn in stormy.log if turn.fault]
    assert 50 < len(faults) < 110
    assert {type(turn.behaviour) for turn in faults} == {type(fault) for fault in FAULTS}
    assert all(one == other for (one, other), turn in zip(answers, stormy.log, strict=True) if not turn.fault)
    assert Status(529, "overloaded") in [turn.behaviour for turn in faults]
