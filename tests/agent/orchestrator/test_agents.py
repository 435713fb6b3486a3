"""Studies with language models: real SDK clients over loopback, or a script; every proposal's source is right."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import models as api_models
from agent.api import tune
from agent.api.replay import replay_round
from agent.errors import ReplayMismatch, UsageError
from agent.llm.client import Client
from agent.llm.retry import CoolDown, RetryPolicy
from agent.store.disk import Disk
from agent.store.events import ModelCalled, ModelReplied
from tests.agent.orchestrator.conftest import Lab
from tests.llm_server.asked import Asked
from tests.llm_server.behaviours import Behaviour, Refuses, Say, Status, Tokens
from tests.llm_server.scripted_study import StudyModel
from tests.llm_server.server import LLMServer

KEY = "sk-test-0123456789abcdef-never-on-disk"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting, and no cool-down between the calls of one process."""

    def make(endpoint: Any, formats: Any, cool_down: Any) -> Client:
        never = CoolDown(now=time.monotonic, cool_down_s=1e-9)
        policy = RetryPolicy(tries=2)
        return Client(endpoint, formats=formats, policy=policy, cool_down=never, sleep=lambda seconds: None)

    monkeypatch.setattr(api_models, "make_client", make)


@pytest.fixture
def online(lab: Lab, llm_server: LLMServer, impatient: None, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.chdir(lab.root)
    return lab


def asked(llm_server: LLMServer, **more: Any) -> dict[str, Any]:
    """The options of a study that asks this server."""
    return {"provider": "anthropic", "base_url": llm_server.base_url("anthropic"), "candidates": 2} | more


def rounds(lab: Lab) -> list[Path]:
    return sorted((lab.root / "demo").glob("round_*"), key=lambda path: int(path.name.split("_")[1]))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def decision(folder: Path) -> Any:
    return read(next(folder.glob("tuning_decision_*")))


def calls(folder: Path) -> list[Any]:
    return [read(path) for path in sorted((folder / "calls").glob("*.json"))]


def script(lab: Lab, *replies: dict[str, Any]) -> dict[str, Any]:
    path = lab.root / "script.json"
    path.write_text(json.dumps({"replies": list(replies)}))
    return {"provider": "scripted", "script": path, "critique": False}


def change(x: float) -> dict[str, Any]:
    return {
        "changes": [{"parameter": "x", "value": x, "reason": "nearer to the best"}],
        "expected_effect": "a higher score",
        "confidence": 0.5,
    }


def tuner(*xs: float) -> dict[str, Any]:
    return {"role": "autotuner", "json": {"diagnosis": "x is too high", "candidates": [change(x) for x in xs]}}


# -- who proposed --------------------------------------------------------------------------------------------------


def test_a_model_proposes_from_round_2_on(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=1)
    online.tune(max_rounds=3, **asked(llm_server))
    first, *later = rounds(online)
    assert [c["source"] for c in decision(first)["candidates"]] == ["default", "random_startup"]
    assert not (first / "calls").exists()
    for folder in later:
        made = decision(folder)
        assert [c["source"] for c in made["candidates"]] == ["llm", "llm"]
        assert made["notes"] == [] and made["model_diagnosis"] and made["critique"]["status"] == "asked"
        tuned = [record for record in calls(folder) if record["role"] == "autotuner"]
        for candidate in made["candidates"]:
            details = candidate["details"]
            assert details["calls"] == [tuned[-1]["call"]] and details["prompt_sha256"] == tuned[-1]["prompt_sha256"]
            assert all(change["reason"] for change in details["changes"]) and 0 <= details["confidence"] <= 1
        assert (folder / "step1_hp_autotuning_response.txt").read_text() == tuned[-1]["reply"]["text"]
        costs = read(folder / "llm_costs.json")
        assert costs["by_candidate"].keys() == {"c00", "c01"} and costs["total"]["calls"] == len(calls(folder))
    journal = online.store().journal
    assert len(list(journal.of(ModelCalled))) == len(list(journal.of(ModelReplied))) == len(llm_server.requests)


def test_a_panel_discusses_and_a_supervisor_decides(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=2)
    online.tune(max_rounds=2, proposer="panel", consult_turns=2, **asked(llm_server))
    folder = rounds(online)[1]
    assert [c["source"] for c in decision(folder)["candidates"]] == ["panel", "panel"]
    roles = [record["role"] for record in calls(folder)]
    spoke = ["consultant_a", "consultant_b"] * 2
    assert roles == [*spoke, "supervisor", "checker"]
    transcript = (folder / "panel_transcript.txt").read_text()
    for record in calls(folder)[:4]:
        assert record["reply"]["text"] in transcript


class NoSupervisor(StudyModel):
    """Talks, and refuses to decide."""

    def _answer(self, asked: Asked, kind: str) -> Behaviour:
        return Refuses() if kind == "tuner" else super()._answer(asked, kind)


def test_what_consultants_said_is_kept_where_the_supervisor_fails(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = NoSupervisor(seed=2)
    online.tune(max_rounds=2, proposer="panel", consult_turns=1, **asked(llm_server))
    folder = rounds(online)[1]
    assert {c["source"] for c in decision(folder)["candidates"]} == {"random_startup"}
    transcript = (folder / "panel_transcript.txt").read_text()
    for record in calls(folder)[:2]:
        assert record["reply"]["text"] in transcript
    assert transcript.splitlines()[-1].startswith("## supervisor: no decision, LLMRefusal: ")
    assert "# Goal" in (folder / "step1_hp_autotuning_input.txt").read_text()


def test_a_hybrid_fills_its_share_after_the_warm_up(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=3)
    options = asked(llm_server, candidates=4, proposer="hybrid", llm_share=0.5, llm_warmup=4, critique=False)
    online.tune(max_rounds=3, **options)
    sources = [[c["source"] for c in decision(folder)["candidates"]] for folder in rounds(online)]
    assert sources[0] == ["default", *["random_startup"] * 3]
    assert sources[1:] == [["llm", "llm", "optuna_tpe", "optuna_tpe"]] * 2


def test_five_rounds_with_faults_finish_and_every_source_is_right(online: Lab, llm_server: LLMServer) -> None:
    model = llm_server.model = StudyModel(seed=5, fault_rate=0.6)
    online.tune(max_rounds=5, **asked(llm_server, candidates=3))
    assert sum(turn.fault for turn in model.log) >= 4, "the schedule has to hurt"
    fell_back = 0
    for folder in rounds(online)[1:]:
        made = decision(folder)
        answered = {
            record["call"] for record in calls(folder) if record["role"] == "autotuner" and record["error"] is None
        }
        assert len(made["candidates"]) == 3
        for candidate in made["candidates"]:
            if candidate["source"] == "llm":
                assert answered & set(candidate["details"]["calls"]), "a proposal of a call that never answered"
            else:
                assert candidate["source"] in ("optuna_tpe", "random_startup", "random_fill")
                assert candidate["details"]["instead_of"]["why"] and made["notes"]
                fell_back += 1
        recorded = read(folder / "round.json")
        assert recorded["notes"] == made["notes"]
        assert [c["source"] for c in recorded["candidates"]] == [c["source"] for c in made["candidates"]]
        assert replay_round(folder).identical
    assert fell_back, "at this seed some rounds have to fall back"
    keys = [o.key for o in online.store().history()]
    assert len(keys) == len(set(keys)) == 15
    assert all(not path.read_text().count(KEY) for path in online.root.rglob("*") if path.is_file())


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_one_repair_turn_carries_every_finding(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2, **script(lab, tuner(3.0, 0.5), tuner(0.31, 0.32)))
    folder = rounds(lab)[1]
    made = decision(folder)
    assert [(c["source"], c["values"]["x"]) for c in made["candidates"]] == [("llm", 0.31), ("llm", 0.32)]
    assert [entry["name"] for entry in made["replaced"]] == ["c00", "c01"]
    assert "from 0.0 to 1.0" in made["replaced"][0]["findings"][0]
    assert "round 1 c00" in made["replaced"][1]["findings"][0]
    question = calls(folder)[1]["request"]["messages"][-1]["text"]
    assert "from 0.0 to 1.0" in question and "round 1 c00" in question
    assert read(folder / "step1_hp_autotuning_response.txt")["candidates"][0]["changes"][0]["value"] == 0.31


def test_what_is_refused_twice_comes_from_bayes_and_says_so(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2, **script(lab, tuner(3.0, 0.31), tuner(4.0)))
    folder = rounds(lab)[1]
    made = decision(folder)
    assert [c["source"] for c in made["candidates"]] == ["random_startup", "llm"]
    assert made["candidates"][0]["details"]["instead_of"]["source"] == "llm"
    assert "the language model's c00 was refused" in made["notes"][0]
    assert lab.said("was refused")
    assert [entry["values"]["x"] for entry in made["replaced"]] == [3.0, 4.0]
    assert len(calls(folder)) == 2, "one repair turn, not two"


def test_a_block_with_a_finding_goes_to_the_repair_turn(lab: Lab) -> None:
    verdict = {"candidate": "c00", "verdict": "block", "finding": "0.9 was bad in round 1", "parameter": "x"}
    fine = {"candidate": "c00", "verdict": "ok", "finding": "", "parameter": "none"}
    replies = [
        tuner(0.9),
        {"role": "checker", "json": {"verdicts": [verdict]}},
        tuner(0.31),
        {"role": "checker", "json": {"verdicts": [fine]}},
    ]
    lab.tune(max_rounds=2, **(script(lab, *replies) | {"critique": True}))
    made = decision(rounds(lab)[1])
    assert [c["values"]["x"] for c in made["candidates"]] == [0.31]
    assert "0.9 was bad in round 1" in made["replaced"][0]["findings"][0]
    checked = read(rounds(lab)[1] / "checked_hyperparameters.json")
    assert checked["critique"]["status"] == "asked" and checked["candidates"]["c00"]["valid"] is True


def test_a_checker_that_fails_is_skipped_and_neither_approves_nor_refuses(lab: Lab) -> None:
    broken = {"role": "checker", "error": "LLMUnavailable", "message": "overloaded"}
    lab.tune(max_rounds=2, **(script(lab, tuner(0.31), broken) | {"critique": True}))
    made = decision(rounds(lab)[1])
    assert [c["source"] for c in made["candidates"]] == ["llm"]
    assert made["critique"]["status"] == "skipped" and "skipped" in made["notes"][0]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Status(401, "invalid x-api-key"), "LLMRejected"),
        (Refuses(), "LLMRefusal"),
        (Status(529, "x"), "LLMUnavailable"),
    ],
)
def test_no_answer_means_bayes_with_the_reason_everywhere(
    online: Lab, llm_server: LLMServer, behaviour: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    llm_server.model = lambda request: behaviour
    online.tune(max_rounds=2, **asked(llm_server, candidates=1))
    made = decision(rounds(online)[1])
    assert made["candidates"][0]["source"] == "random_startup"
    assert kind in made["candidates"][0]["details"]["instead_of"]["why"][0] and kind in made["notes"][0]
    assert main(["status", "--study", "demo", "--output-dir", str(online.root)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "random_startup for llm" in shown and kind in shown


def test_usage_of_an_unusable_answer_is_counted(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = lambda request: Say(text="I would rather not answer in JSON.")
    online.tune(max_rounds=2, **asked(llm_server, candidates=1))
    replies = list(online.store().journal.of(ModelReplied))
    assert len(replies) == 2 and all(entry.usage["input_tokens"] > 0 for entry in replies)
    assert read(rounds(online)[1] / "llm_costs.json")["total"]["failed"] == 2


def test_a_cap_stops_before_the_call_that_could_break_it(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=5)
    online.tune(max_rounds=3, max_llm_tokens=9_000, **asked(llm_server, candidates=1, critique=False))
    spent = sum(
        sum(entry.usage[n] for n in ("input_tokens", "output_tokens"))
        for entry in online.store().journal.of(ModelReplied)
    )
    assert 0 < spent <= 9_000
    last = decision(rounds(online)[-1])
    assert last["candidates"][0]["source"] != "llm"
    assert "LLMCapReached" in last["notes"][0] and "--max-llm-tokens" in last["notes"][0]
    told = len(llm_server.requests)
    online.tune(max_rounds=1, max_llm_tokens=900_000, **asked(llm_server, candidates=1, critique=False))
    assert len(llm_server.requests) > told, "a higher cap lets the model speak again"


def test_a_usage_that_cannot_be_uses_up_no_cap(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=6, usage=Tokens(input=10**15, output=3))
    online.tune(max_rounds=3, max_llm_tokens=200_000, **asked(llm_server, candidates=1, critique=False))
    assert [candidate["source"] for folder in rounds(online)[1:] for candidate in decision(folder)["candidates"]] == [
        "llm",
        "llm",
    ]
    assert online.said("the endpoint says 1,000,000,000,000,000 input tokens")
    assert all(entry.usage_note for entry in online.store().journal.of(ModelReplied))


def test_a_cap_on_cost_is_refused_with_a_model_of_unknown_price(lab: Lab) -> None:
    """It would hold back every call from round 2 on."""
    replies = script(lab, tuner(0.31))
    with pytest.raises(UsageError, match=r"unknown: scripted/scripted \(analyst\).*--llm-prices FILE"):
        lab.tune(max_rounds=2, max_llm_cost=1.0, **replies)
    assert not (lab.root / "demo").exists()
    lab.tune(max_rounds=1, **replies)
    with pytest.raises(UsageError, match="unknown: scripted/scripted"):
        lab.tune(max_rounds=1, max_llm_cost=1.0)
    assert lab.store().settings().llm["max_cost"] is None


# -- what leaves, what stays ---------------------------------------------------------------------------------------


def test_neither_key_nor_names_leave_or_lie_around(online: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=6)
    online.tune(max_rounds=3, **asked(llm_server))
    for request in llm_server.requests:
        text = json.dumps(request.body)
        for name in ("demo", "noop", str(online.root), online.root.name, KEY):
            assert name not in text, name
        assert "model_A" in text or "task_A" in text or "path_A" in text or "score" in text
    for path in online.root.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
    assert not any(KEY in line for line in online.lines)
    # What tells the names of the aliases, and what was said, is its owner's alone.
    private = [online.root / "demo" / "aliases.json", *online.root.glob("demo/*/calls/*.json")]
    assert len(private) > 2 and {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in online.root.glob("demo/*/calls")} == {0o700}


def test_without_aliases_names_are_sent_as_they_are(lab: Lab) -> None:
    lab.tune(max_rounds=2, anonymize=False, **script(lab, tuner(0.31)))
    assert not (lab.root / "demo" / "aliases.json").exists()


def test_keys_come_from_dotenv_and_tasks_do_not_get_them(
    lab: Lab, llm_server: LLMServer, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = lab.root / "home"
    home.mkdir()
    (home / ".env").write_text("".join(f"ROUNDTABLE_{role}_API_KEY={KEY}\n" for role in ("AUTOTUNER", "JUDGE")))
    monkeypatch.chdir(home)
    llm_server.model = StudyModel(seed=7)
    lab.tune(max_rounds=2, **asked(llm_server, candidates=1, critique=False, analyst=False))
    assert llm_server.requests and all(KEY in json.dumps(dict(r.headers)) for r in llm_server.requests)
    with pytest.raises(UsageError, match=r"role checker.*no API key"):
        lab.tune(max_rounds=1, critique=True)


# -- again ---------------------------------------------------------------------------------------------------------


def test_a_replay_gives_the_same_decision_and_notices_a_changed_prompt(lab: Lab) -> None:
    lab.tune(max_rounds=3, candidates=2, **script(lab, tuner(3.0, 0.5), tuner(0.31, 0.32), tuner(0.3, 0.28)))
    before = {path: path.read_bytes() for path in lab.root.rglob("*") if path.is_file()}
    for folder in rounds(lab):
        done = replay_round(folder)
        assert done.identical and done.recorded == next(folder.glob("tuning_decision_*")).read_text()
    assert main(["replay", str(rounds(lab)[1])]) == 0
    assert {path: path.read_bytes() for path in lab.root.rglob("*") if path.is_file()} == before
    record = read(rounds(lab)[0] / "round.json")
    record["candidates"][1]["value"] += 0.01
    (rounds(lab)[0] / "round.json").write_text(json.dumps(record))
    with pytest.raises(ReplayMismatch, match="the autotuner's prompt is in no recorded exchange"):
        replay_round(rounds(lab)[1])


def test_a_replay_tells_what_differs(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(max_rounds=2, **script(lab, tuner(0.31)))
    path = next(rounds(lab)[1].glob("calls/*_autotuner.json"))
    record = read(path)
    record["reply"]["data"]["candidates"][0]["changes"][0]["value"] = 0.35
    path.write_text(json.dumps(record))
    assert main(["replay", str(rounds(lab)[1])]) == 1
    assert "0.35" in capsys.readouterr().out
    assert main(["replay", str(lab.root / "demo")]) == 2


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_a_kill_anywhere_in_the_agents_steps_changes_no_decision(lab: Lab) -> None:
    """A redone step finds its exchanges: nobody is asked twice, but for a call whose reply was not saved yet."""
    options = script(lab, tuner(3.0), tuner(0.31)) | {"auto_train": False, "launcher": None}
    lab.tune(max_rounds=1, **(options | {"auto_train": True, "launcher": "local"}))
    shutil.copytree(lab.root / "demo", lab.root / "begun")
    passed: list[str] = []

    def run(*, kill_at: int | None) -> None:
        passed.clear()

        def boundary(name: str) -> None:
            passed.append(name)
            if len(passed) - 1 == kill_at:
                raise Killed(name)

        tune(lab.options(max_iterations=2, **options), disk=Disk(boundary=boundary))

    def decided() -> str:
        """The decision without the numbers of calls: one that was cut off keeps its number."""
        text = next(rounds(lab)[1].glob("tuning_decision_*")).read_text()
        return re.sub(r'"\d{3}_(\w+)"', r'"\1"', text)

    run(kill_at=None)
    expected = decided()
    labels = list(passed)
    first = labels.index("before analysis.json") if "before analysis.json" in labels else 0
    last = next(place for place, name in enumerate(labels) if name.startswith("after tuning_decision"))
    asked_again = 0
    for place in range(first, last + 1, 2):
        shutil.rmtree(lab.root / "demo")
        shutil.copytree(lab.root / "begun", lab.root / "demo")
        with pytest.raises(Killed):
            run(kill_at=place)
        run(kill_at=None)
        assert decided() == expected, labels[place]
        made = [entry.call for entry in lab.store().journal.of(ModelCalled)]
        kept = [path.stem for path in rounds(lab)[1].glob("calls/*.json")]
        assert len(kept) == 2 and len(made) == len(set(made)) <= 3
        asked_again += len(made) - 2
    assert 1 <= asked_again <= 4, "only kills between an intent and its saved reply may ask again"
