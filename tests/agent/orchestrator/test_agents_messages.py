"""What a person is told: slips are refused before a study begins, and outages and replays name their cause."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import models as api_models
from agent.api.replay import replay_round
from agent.errors import InvalidStudy, ReplayMismatch, UsageError
from agent.llm.base import Message, Request
from agent.llm.client import Client
from agent.llm.retry import RetryPolicy
from agent.orchestrator.deciding.nearest_exchange import mismatch
from agent.report.costs import costs
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_agents import (  # noqa: F401
    asked,
    impatient,
    online,
    read,
    rounds,
    script,
    tuner,
)
from tests.llm_server.behaviours import Status
from tests.llm_server.server import LLMServer

PROMPT = "{% block system %}You tune.{% endblock %}{% block user %}{{ WHAT }}{% endblock %}"


def prompt(lab: Lab, name: str = "autotuner.j2", what: str = "digest") -> Path:
    folder = lab.root / "prompts"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(PROMPT.replace("WHAT", what))
    return folder


# -- refused before a study begins ---------------------------------------------------------------------------------


def test_prompts_that_would_be_passed_over_or_fail_later_are_refused_at_once(lab: Lab) -> None:
    replies = script(lab, tuner(0.31))
    folder = prompt(lab, "autotunner.j2")
    with pytest.raises(UsageError, match=r"^--prompts .*prompts: autotunner\.j2: .*did you mean autotuner\.j2\?"):
        lab.tune(prompts=folder, **replies)
    (folder / "autotunner.j2").unlink()
    prompt(lab, what="digets")
    with pytest.raises(UsageError, match=r"autotuner\.j2: line 1: digets: not given .*did you mean digest\?"):
        lab.tune(prompts=folder, **replies)
    assert not (lab.root / "demo").exists()


def test_prompts_that_are_gone_or_spoilt_later_are_missed(lab: Lab) -> None:
    folder = prompt(lab)
    lab.tune(prompts=folder, **script(lab, tuner(0.31)))
    (folder / "autotuner.j2").write_text("{% if %}")
    with pytest.raises(UsageError, match=r"autotuner\.j2: line 1: Expected"):
        lab.tune()
    (folder / "autotuner.j2").unlink()
    folder.rmdir()
    with pytest.raises(
        UsageError, match=r"prompts \(settings.json: prompts\) is gone: put it back, or give --prompts"
    ):
        lab.tune()
    lab.tune(prompts=prompt(lab))


def test_a_missing_trace_extra_leaves_no_study(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"uvw run --extra trace"):
        lab.tune(**script(lab, tuner(0.31)))
    assert not (lab.root / "demo").exists()


def test_a_script_needs_no_library_for_dotenv(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.root)
    (lab.root / ".env").write_text("A_KEY=x\n")
    for name in ("dotenv", "dotenv.parser"):
        monkeypatch.setitem(sys.modules, name, None)
    lab.tune(**script(lab, tuner(0.31)))
    with pytest.raises(UsageError, match=r"\.env: python-dotenv is needed.*--extra llm"):
        lab.tune(provider="anthropic")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"llm_share": 0.5}, r"^--llm-share 0\.5: needs --proposer hybrid \(it is llm\)$"),
        ({"llm_warmup": 3, "proposer": "panel"}, r"^--llm-warmup 3: needs --proposer hybrid \(it is panel\)$"),
        ({"consult_turns": 3}, r"^--consult-turns 3: needs --proposer panel \(it is llm\)$"),
    ],
)
def test_options_of_another_proposer_are_refused(lab: Lab, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lab.tune(**script(lab, tuner(0.31)), **options)
    assert not (lab.root / "demo").exists()


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"model": "m"}, "--model m"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "--base-url"),
        ({"key_env": "MY_KEY"}, "--key-env MY_KEY"),
        ({"role_models": {"consultant_a": "m"}}, "--consultant-a-model"),
    ],
)
def test_options_of_a_model_without_one_are_refused(lab: Lab, options: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=rf"^{flag}.*: needs a language model: give --provider$"):
        lab.tune(**options)
    assert not (lab.root / "demo").exists()


def test_what_an_earlier_call_said_of_the_hybrid_stays_when_another_proposer_comes(lab: Lab) -> None:
    lab.tune(**script(lab, tuner(0.31)), proposer="hybrid", llm_share=0.5)
    lab.tune(proposer="bayes")
    assert lab.store().settings().llm_share == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider", "antropic"], "'antropic': did you mean anthropic? must be one of none, anthropic"),
        (["--provider", "scripted"], "argument --provider: scripted needs a FILE"),
        (["--provider", "openai", "x"], "openai x: one name, or `scripted FILE`"),
        (["--llm-share", "30%"], "'30%': must be a share such as 0.3"),
        (["--proposer", "hybird"], "invalid choice: 'hybird'"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "--task", "noop", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith("roundtable tune: error: ") and told.endswith("(see roundtable tune --help)\n")
    assert told.count("\n") == 1


# -- while it runs -------------------------------------------------------------------------------------------------


def test_calls_that_a_cool_down_or_a_cap_holds_back_are_no_calls(
    online: Lab,  # noqa: F811
    llm_server: LLMServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def make(endpoint: Any, formats: Any, cool_down: Any) -> Client:
        policy = RetryPolicy(tries=2)
        return Client(endpoint, formats=formats, policy=policy, cool_down=cool_down, sleep=lambda seconds: None)

    monkeypatch.setattr(api_models, "make_client", make)
    llm_server.model = lambda request: Status(529, "overloaded")
    online.tune(max_rounds=2, proposer="panel", **asked(llm_server))
    online.tune(max_rounds=1, max_llm_tokens=10)
    _, second, third = rounds(online)
    spent = costs(online.store())["total"]
    first = read(second / "llm_costs.json")["total"]
    held = len(list(second.glob("calls/*"))) - 1
    assert (first["calls"], first["failed"], first["not_made"]) == (1, 1, held) and held > 0
    later = read(third / "llm_costs.json")["total"]
    assert (later["calls"], later["failed"], later["not_made"]) == (0, 0, len(list(third.glob("calls/*"))))
    assert (spent["calls"], spent["failed"], spent["not_made"]) == (1, 1, held + later["not_made"])
    assert "(last: 529: overloaded)" in (second / "orchestrator.log").read_text()
    assert "price unknown" not in (second / "orchestrator.log").read_text(), "no token, no price"
    assert main(["status", "--study", "demo", "--output-dir", str(online.root)]) == 0
    assert f"1 call, 1 failed, {spent['not_made']} not made, 0 tokens, $0.0000" in capsys.readouterr().out


# -- replay --------------------------------------------------------------------------------------------------------


def test_a_replay_that_asks_something_else_names_the_nearest_call_and_the_line(lab: Lab) -> None:
    folder = prompt(lab, what="digest }} and {{ count")
    lab.tune(max_rounds=2, prompts=folder, analyst=False, **script(lab, tuner(0.31)))
    (folder / "autotuner.j2").write_text(PROMPT.replace("WHAT", "digest").replace("You tune", "You guess"))
    with pytest.raises(ReplayMismatch) as caught:
        replay_round(rounds(lab)[1])
    told = str(caught.value).splitlines()
    assert told[0] == (
        "step propose: the autotuner's prompt is in no recorded exchange; "
        "nearest is calls/001_autotuner.json, whose line 1 was"
    )
    assert told[1:4] == ["  You tune.", "and is now", "  You guess."]


def test_a_prompt_that_matches_none_says_how_it_differs_from_the_nearest() -> None:
    def asks(*texts: str, **changes: Any) -> Request:
        messages = tuple(
            Message(role=role, text=text) for role, text in zip(("user", "assistant", "user"), texts, strict=False)
        )
        return Request(role="checker", system="You check.", messages=messages, **changes)

    def recorded(call: str, request: Request) -> dict[str, Any]:
        return {"call": call, "step": "check", "role": request.role, "request": request.to_json()}

    then = [recorded("001_checker", asks("one\ntwo")), recorded("002_checker", asks("one\ntwo", "no", "again\nfour"))]
    assert "calls/ has none of the checker; " in mismatch(asks("one"), "check", [])
    told = mismatch(asks("one\ntwo", "no", "again\n" + "x" * 100 + "3"), "check", then)
    assert "nearest is calls/002_checker.json, whose line 6 was\n  four\nand is now\n  xxx" in told
    assert "line 3 was\n  two\nand is now\n  (no such line)" in mismatch(asks("one"), "check", then[:1])
    longer = mismatch(asks("one\ntwo", max_tokens=5), "check", then[:1])
    assert "calls/001_checker.json has the same text, and another max_tokens; " in longer
    assert "and was used already; " in mismatch(asks("one\ntwo"), "check", then[:1])


def test_a_replay_names_a_broken_call_where_it_lies(lab: Lab) -> None:
    lab.tune(max_rounds=2, analyst=False, **script(lab, tuner(0.31)))
    path = rounds(lab)[1] / "calls" / "001_autotuner.json"
    whole = json.loads(path.read_text())
    for text in ("{", json.dumps(whole | {"reply": whole["reply"] | {"data": {"no": "schema"}}})):
        path.write_text(text)
        with pytest.raises(InvalidStudy) as caught:
            replay_round(path.parent.parent)
        assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith("; restore the file")


def test_a_round_that_is_not_there_is_answered_with_those_that_are(lab: Lab) -> None:
    lab.tune(max_rounds=1)
    there = rounds(lab)[0]
    for path, what in ((there.parent / "round_9", "there is no such folder"), (there.parent, "is no round's folder")):
        with pytest.raises(UsageError, match=rf"{what} .*; rounds: {there.name}$"):
            replay_round(path)
    with pytest.raises(UsageError, match=r"rounds: none, .* is no study$"):
        replay_round(lab.root / "none" / "round_1")
