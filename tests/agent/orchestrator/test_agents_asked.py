"""Who may be asked in a study is known, checked and said before anything trains, whoever sets it where."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from agent.api.control import StartOptions, start
from agent.api.doctor_agents import check_keys
from agent.api.dry_run import dry_run
from agent.api.models import roles_of
from agent.api.run import tick_once
from agent.cli.main import run
from agent.errors import UsageError
from agent.launch.environment import scrub
from agent.llm.config import LLMConfig
from agent.store.study import Settings
from tests.agent.orchestrator import test_agents
from tests.agent.orchestrator.conftest import NOOP, Lab
from tests.agent.orchestrator.test_accept_rounds import closed, opinion, small_gain
from tests.agent.orchestrator.test_agents import KEY, asked
from tests.llm_server.scripted_study import StudyModel
from tests.llm_server.server import LLMServer

impatient, online = test_agents.impatient, test_agents.online

JUDGE_ELSEWHERE = "roles:\n  judge: {provider: openai, model: gpt-x}\n"


def elsewhere(lab: Lab, llm_server: LLMServer) -> dict[str, Any]:
    """Everybody but the judge has a key."""
    path = lab.root / "llm.yaml"
    path.write_text(JUDGE_ELSEWHERE)
    return asked(llm_server, llm_config=path)


def test_a_judge_without_a_key_is_refused_before_anything_trains(online: Lab, llm_server: LLMServer) -> None:
    with pytest.raises(UsageError, match=r"role judge, provider openai: no API key.*`judge: false`"):
        online.tune(max_rounds=1, **elsewhere(online, llm_server))
    assert not (online.root / "demo").exists() and online.trained == []


def test_without_a_judge_in_the_rules_its_key_is_not_asked_for(online: Lab, llm_server: LLMServer) -> None:
    rules = online.root / "rules.yaml"
    rules.write_text("judge: false\n")
    online.tune(max_rounds=1, rules=rules, **elsewhere(online, llm_server))
    assert len(online.trained) == 2


def test_tick_start_dry_run_doctor_and_the_drawing_know_the_judge(
    online: Lab, llm_server: LLMServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (online.root / ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n")  # for what is started: it inherits no key
    online.tune(max_rounds=1, **elsewhere(online, llm_server))
    store = online.store()
    monkeypatch.delenv("OPENAI_API_KEY")
    told = "role judge, provider openai: no API key"
    store.put_settings(dataclasses.replace(store.settings(), target_round=2))
    with pytest.raises(UsageError, match=told):
        tick_once(store)
    with pytest.raises(UsageError, match=told):
        start(store.paths.root, StartOptions(controller="cron", max_iterations=2), say=online.lines.append)
    found = dry_run(online.options(max_rounds=1))
    assert any(told in line for line in found.refusals)
    findings = check_keys(store.settings(), os.environ, online.root)
    (judge,) = [finding for finding in findings if finding.looked_at.startswith("role judge")]
    assert judge.level == "problem" and told in judge.found
    assert run(["graph", "--study", str(store.paths.root)]) == 0
    assert "Judge" in capsys.readouterr().out
    assert len(online.trained) == 2


def test_a_judge_whose_key_goes_away_is_skipped_and_the_rules_decide(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.roles import judge

    def gone(*arguments: Any, **more: Any) -> None:
        raise UsageError("role judge, provider openai: no API key")

    monkeypatch.setattr(judge, "ask", gone)
    lab.tune(**small_gain(lab, opinion("accept")))
    record = closed(lab, 2)
    assert record["candidates"][0]["verdict"] == "borderline"
    assert record["acceptance"]["judge"]["status"] == "skipped" and lab.said("the judge: skipped, UsageError")


@pytest.mark.parametrize(
    ("settings", "roles"),
    [
        ({"proposer": "bayes"}, "analyst judge"),
        ({"proposer": "llm"}, "analyst autotuner checker judge"),
        ({"proposer": "hybrid", "planner": True, "critique": False}, "analyst planner judge"),
        ({"proposer": "planner", "analyst": False}, "planner checker judge"),
        ({"proposer": "panel"}, "analyst consultant_a consultant_b supervisor checker judge"),
    ],
)
def test_who_may_be_asked(settings: dict[str, Any], roles: str) -> None:
    found = roles_of(Settings(**settings), LLMConfig(provider="anthropic"), judge=True)
    assert found == tuple(roles.split())
    config = LLMConfig(provider="anthropic", search_provider="google")
    assert set(roles_of(Settings(**settings), config, judge=False)) == {*roles.split(), "researcher"} - {"judge"}


def test_the_drawing_of_a_studys_models_without_a_shared_provider(
    online: Lab, llm_server: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the judge has a provider: Bayesian proposals, read by nobody, judged by a model."""
    path: Path = online.root / "llm.yaml"
    path.write_text("roles:\n  judge: {provider: anthropic}\n")
    online.tune(max_rounds=1, llm_config=path, proposer="bayes", analyst=False, confirm="never")
    assert run(["graph", "--study", str(online.root / "demo")]) == 0
    shown = capsys.readouterr().out
    assert "Judge" in shown and "Autotuner" not in shown


# -- variables of other tools --------------------------------------------------------------------------------------


def test_address_and_models_of_dotenv_are_used_kept_and_said(
    online: Lab, llm_server: LLMServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    llm_server.model = StudyModel(seed=3)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    dotenv = online.root / ".env"
    dotenv.write_text(
        f"ANTHROPIC_BASE_URL={llm_server.root}/v1/\nANTHROPIC_API_KEY={KEY}\nEVALUATOR_MODEL=anthropic/claude-e\n"
    )
    online.tune(max_rounds=2, provider="anthropic", candidates=1)
    assert llm_server.requests
    where = f"at {llm_server.root} (ANTHROPIC_BASE_URL in .env), key ANTHROPIC_API_KEY in .env"
    assert online.said(f"models: judge: anthropic claude-e (EVALUATOR_MODEL in .env) {where}")
    # A look from elsewhere asks the same address, though only the key is there.
    dotenv.unlink()
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    asked_before = len(llm_server.requests)
    online.tune(max_rounds=1)
    assert len(llm_server.requests) > asked_before
    assert run(["costs", "--study", str(online.root / "demo")]) == 0
    shown = capsys.readouterr().out
    assert (
        f"claude-e (EVALUATOR_MODEL in .env) at {llm_server.root} (ANTHROPIC_BASE_URL in .env), key ANTHROPIC"
        in shown
    )
    (judge,) = [f for f in check_keys(online.store().settings(), os.environ, online.root) if "judge" in f.looked_at]
    assert "claude-e (EVALUATOR_MODEL in .env)" in judge.found and KEY not in judge.found + shown
    everything = [p.read_text(errors="replace") for p in (online.root / "demo").rglob("*") if p.is_file()]
    assert not [text for text in everything if KEY in text]


@pytest.mark.parametrize("place", ["environment", "dotenv"])
def test_verbose_and_debug_are_switches_whose_place_is_said(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    monkeypatch.chdir(lab.root)
    line = ["tune", "--task", "demo", "--trainer", str(NOOP), "--output-dir", "runs", "--data", f"log={lab.log}"]
    for name, value in (("VERBOSE", "true"), ("DEBUG", "0")):
        if place == "environment":
            monkeypatch.setenv(name, value)
        else:
            with (lab.root / ".env").open("a") as stream:
                stream.write(f"{name}={value}\n")
    where = "the environment" if place == "environment" else ".env"
    assert run(line) == 0
    told = capsys.readouterr()
    assert f"VERBOSE in {where}: as with --verbose" in told.err and "DEBUG" not in told.err
    assert run([*line, "--quiet"]) == 3  # the round waits for its results
    assert "VERBOSE" not in capsys.readouterr().err
    monkeypatch.setenv("DEBUG", "yes")
    assert run([*line, "--force-round", "7"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("DEBUG", "express:*")
    assert run([*line, "--force-round", "7"]) == 2
    told = capsys.readouterr()
    assert "DEBUG in the environment: is neither true nor false, not used" in told.err
    assert "Traceback" not in told.err


def test_no_task_inherits_a_roles_key() -> None:
    keys = ("GEMINI_API_KEY_GEN_A", "GEMINI_API_KEY_RES", "GOOGLE_CSE_API_KEY", "ROUNDTABLE_JUDGE_API_KEY")
    assert scrub(dict.fromkeys((*keys, "GEMINI_HOME"), "x")) == {"GEMINI_HOME": "x"}
