"""Prompts of every role in a study whose names are our own words: what we say stays, what others say is hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.anonymise import Aliases, Name, NoAliases
from agent.errors import LLMUnavailable
from agent.llm.base import Request
from agent.records import CandidateResult, Objective, Outcome, Proposal
from agent.roles import analyst, autotuner, checker, panel, researcher
from agent.roles.ask import Agents, Answer, Hidden, Prompts
from agent.roles.situation import Remedy, Situation
from tests.agent.roles.fake_ask import PROMPTS, answer, candidate, change, unusable
from tests.agent.roles.test_panel import Talk
from tests.cases.proposer_case import make_reference

#: Every word that comes from elsewhere begins like this.
SECRET = "zq"
REFERENCE = make_reference(
    {
        "zqlr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "default": 0.01, "description": "zqa zqb"},
        "zqnet": {"type": "categorical", "choices": ["zqresnet", "zqmlp"], "default": "zqmlp", "impact": "radical"},
    },
    [{"expression": "zqlr < 0.09", "message": "zqa"}],
)
FLAG = {"name": "weak_classes", "text": "zqa zqb", "evidence": {}}
SITUATION = Situation(
    reference=REFERENCE,
    history=[
        CandidateResult(
            round=1,
            candidate=f"c0{place}",
            values={"zqlr": 0.02 + place / 1000, "zqnet": "zqresnet"},
            key=str(place),
            outcome=outcome,
            value=None if outcome is not Outcome.OK else 0.5,
            n=int(outcome is Outcome.OK),
            source="llm",
            message="" if outcome is Outcome.OK else "zqa",
        )
        for place, outcome in enumerate((Outcome.OK, Outcome.BAD_CONFIG, Outcome.LOST))
    ],
    objective=Objective(metric="zqscore", direction="maximize"),
    findings=[FLAG],
    trials=[{"trial": "zqtrial", "candidate": "zqc", "flags": [FLAG], "trends": {"zqcolumn": 1.0}}],
    base_name="zqbase",
    suggestion=Proposal(values={"zqlr": 0.03, "zqnet": "zqmlp"}, source="optuna_tpe", reason="TPE over 3"),
    taken={"a": "round 1 c00"},
    remaining={"candidates a round": 2, "tokens for language models": 10},
    reading="zqa",
    remedies=[Remedy(text="zqb", sources=("https://zqb.example/zqa",))],
    test={"zqd": 0.5},
)


class Talking(Talk):
    """Also answers a search."""

    def __call__(self, request: Request) -> Answer:
        if request.search is not None:
            self.requests.append(request)
            return Answer(call="000_researcher", prompt_sha256="", model="m", text="- zqb")
        return super().__call__(request)


def everything(hide: Callable[[str], str]) -> list[Request]:
    """Every kind of request that the roles make, repair turns too."""

    def given(*queue: Any) -> tuple[Agents, Talking]:
        asks.append(Talking(*queue))
        return Agents(ask=asks[-1], prompts=Prompts([PROMPTS], hide)), asks[-1]

    asks: list[Talking] = []
    changes = change("zqlr", 0.02, "zqa"), change("zqnet", "zqresnet", "zqb")
    good = answer(*(candidate(each) | {"expected_effect": "zqa"} for each in changes), diagnosis="zqb")
    reading = {"overall": "zqa", "trials": [], "keywords": ["zqa"]}
    analyst.read(given(unusable("zqa"), reading)[0], SITUATION)
    researcher.research(given()[0], ["zqa zqb", "zqresnet"])
    found = autotuner.suggest(given(unusable("zqa"), good)[0], SITUATION, 2)
    autotuner.repair(given(good)[0], SITUATION, found, {"c00": ["zqa"], "c01": ["zqb"]})
    found = panel.discuss(given("zqa", LLMUnavailable("down"), "zqb", "zqa", good)[0], SITUATION, 2, 2)
    panel.repair(given(good)[0], SITUATION, found, {"c01": ["zqb"]})
    judged = checker.check(REFERENCE, found.proposals, taken=frozenset())
    checker.critique(given({"verdicts": []})[0], SITUATION, judged)
    return [request for ask in asks for request in ask.requests]


def said(requests: list[Request]) -> list[str]:
    return [text for request in requests for text in (request.system, *(m.text for m in request.messages))]


def test_our_own_words_stay_whatever_a_study_calls_its_things() -> None:
    plain = everything(str)
    words = {word for text in said(plain) for word in re.findall(r"[^\W\d_]{2,}", text)}
    own = sorted(word for word in words if not word.startswith(SECRET))
    assert {"budget", "digits", "candidates", "Consultant", "maximize", "refused", "flag", "training"} <= set(own)
    aliases = Aliases.of([Name(kind="class", text=word) for word in own], keep=["weak_classes"])
    hidden = everything(aliases.hide)
    address = aliases.hide("https://zqb.example/zqa")
    for with_names, without in zip(said(plain), said(hidden), strict=True):
        assert without == with_names.replace("https://zqb.example/zqa", address)
    for before, after in zip(plain, hidden, strict=True):
        assert before.search == after.search
        assert before.schema == after.schema
    words_only = {"type": "string", "description": "terms of letters, digits"}
    assert aliases.hide_json(words_only) == words_only


def test_what_others_say_is_hidden_in_every_request() -> None:
    words = sorted({word for text in said(everything(str)) for word in re.findall(rf"{SECRET}\w+", text)})
    assert len(words) >= 12
    aliases = Aliases.of([Name(kind="class", text=word) for word in words])
    for request in everything(aliases.hide):
        text = "\n".join([*said([request]), request.search.query if request.search else ""])
        assert SECRET not in text
        assert SECRET not in json.dumps(aliases.hide_json(request.schema) if request.schema else {})


@pytest.mark.parametrize("limited", [analyst.read, lambda a, s: autotuner.suggest(a, s, 1)])
def test_no_name_is_cut_before_it_is_hidden(limited: Any) -> None:
    aliases = Aliases.of([Name(kind="class", text="glioblastoma"), Name(kind="user", text="alice.smith")])
    for filler in (150, 185, 189, 193):
        told = "x" * filler + " glioblastoma of alice.smith"
        flag = {"name": "flag", "text": told, "evidence": {}}
        trial = {"trial": "t", "candidate": "c00", "flags": [flag], "trends": {told: 1}}
        given = Situation(
            reference=REFERENCE,
            history=(),
            objective=SITUATION.objective,
            findings=[flag],
            trials=[trial],
            reading=told,
        )
        asks = Talk(LLMUnavailable("down"))
        with pytest.raises(LLMUnavailable):
            limited(Agents(ask=asks, prompts=Prompts([PROMPTS], aliases.hide)), given)
        assert not re.search("gliob|alice|smith", "".join(said(asks.requests)))


def test_a_long_finding_of_the_critique_is_no_half_name_in_the_repair_turn() -> None:
    aliases = Aliases.of([Name(kind="class", text="glioblastoma")])
    proposals = autotuner.suggest(
        Agents(ask=Talk(answer(candidate(change("zqlr", 0.02)))), prompts=Prompts([PROMPTS])), SITUATION, 1
    )
    judged = checker.check(REFERENCE, proposals.proposals, taken=frozenset())
    for filler in range(380, 400, 3):
        verdict = {
            "candidate": "c00",
            "verdict": "block",
            "finding": "x" * filler + " glioblastoma",
            "parameter": "none",
        }
        prompts = Prompts([PROMPTS], aliases.hide)
        found = checker.critique(Agents(ask=Talk({"verdicts": [verdict]}), prompts=prompts), SITUATION, judged)
        blocked = checker.with_critique(judged, found).candidates[0]
        asks = Talk(answer(candidate(change("zqlr", 0.03))))
        autotuner.repair(Agents(ask=asks, prompts=prompts), SITUATION, proposals, {"c00": blocked.findings})
        assert "gliob" not in "".join(said(asks.requests)) and "x" * 300 in said(asks.requests)[-1]


def test_the_answer_that_a_repair_turn_quotes_is_hidden_and_stays_json() -> None:
    aliases = Aliases.of([Name(kind="class", text="8"), Name(kind="dataset", text="candidates")])
    content = answer(candidate(change("zqlr", 0.02, 'class "8" of candidates')))
    prompts = Prompts([PROMPTS], aliases.hide)
    found = autotuner.suggest(Agents(ask=Talk(content), prompts=prompts), SITUATION, 1)
    asks = Talk(content)
    autotuner.repair(Agents(ask=asks, prompts=prompts), SITUATION, found, {"c00": ['class "8" is 8']})
    quoted = json.loads(asks.requests[0].messages[1].text)
    assert quoted["candidates"][0]["changes"][0]["reason"] == "class_A of dataset_A"
    assert "- refused: class_A is 8\n" in asks.requests[0].messages[2].text


def test_hidden_text_is_inserted_as_it_is_and_only_that(tmp_path: Path) -> None:
    text = "{% block system %}{{ a }}{% endblock %}{% block user %}{{ a | upper }} {{ b }}{% endblock %}"
    (tmp_path / "x.j2").write_text(text)
    prompts = Prompts([tmp_path], lambda text: text.replace("me", "class_A").replace("ME", "class_A"))
    made = prompts.render("x", a=Hidden("me"), b="me")
    assert (made.system, made.user) == ("me", "class_A class_A")
    assert NoAliases().hide("me") == "me"
