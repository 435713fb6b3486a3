"""Studies with language models where something is odd: names, settings, files and scripts that nobody expects."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import api
from agent.__main__ import main
from agent.api import tune
from agent.api.replay import replay_round
from agent.errors import InvalidStudy, UsageError
from agent.report.costs import costs
from agent.store.disk import Disk
from agent.store.events import ModelCalled, ModelReplied
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_agents import (
    Killed,
    asked,
    calls,
    decision,
    impatient,  # noqa: F401  (a fixture of `online`)
    online,  # noqa: F401
    read,
    rounds,
    script,
    tuner,
)
from tests.llm_server.behaviours import CutConnection
from tests.llm_server.scripted_study import StudyModel
from tests.llm_server.server import LLMServer

PROGRAM = """
name: scorer
description: Scores a parabola and names classes
command: ["sh", "scorer.sh", "{out}", "{x}"]
parameters:
  x: {type: PARAMETER, description: Where the parabola is read}
constraints: []
pass_values: [arguments]
objective: {metric: score, direction: maximize}
summary: summary.json
seeds: [0]
bad_config: {exit_codes: [3]}
stop_grace_s: 5
"""
SCORE = (
    """awk -v x="$2" 'BEGIN { printf "{\\"score\\": %.9f, \\"per_class\\": CLASSES}\\n", 1 - (x - 0.3) ^ 2 }' """
    '>"$1/summary.json"\n'
)
REAL = "float, low: 0.0, high: 1.0, default: 0.5"


def scorer(lab: Lab, *, parameter: str = REAL, classes: dict[str, float] | None = None, before: str = "") -> str:
    """A trainer of one parameter whose validation summary has these classes; `before`: shell lines."""
    folder = lab.root / "scorer"
    folder.mkdir()
    (folder / "scorer.yaml").write_text(PROGRAM.replace("PARAMETER", parameter))
    shown = json.dumps({name: {"dice": value} for name, value in (classes or {}).items()}).replace('"', '\\"')
    (folder / "scorer.sh").write_text(before + SCORE.replace("CLASSES", shown))
    return str(folder / "scorer.yaml")


def verdict(name: str, finding: str = "") -> dict[str, Any]:
    return {
        "candidate": name,
        "verdict": "block" if finding else "ok",
        "finding": finding,
        "parameter": "none",
    }


def checker(*verdicts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "checker", "json": {"verdicts": list(verdicts)}}


def killed(lab: Lab, before: str, **options: Any) -> None:
    """Run until this file would be written."""

    def boundary(name: str) -> None:
        if name.startswith(f"before {before}"):
            raise Killed(name)

    with pytest.raises(Killed):
        tune(lab.options(**options), disk=Disk(boundary=boundary))


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [
        {"OK": 0.9, "NOK": 0.2, "A": 0.9, "B": 0.95},
        {"Block": 0.9, "None": 0.2, "score": 0.9, "3": 0.95},
        {"": 0.1, " ": 0.15, "liver": 0.9, "kidney": 0.92, "spleen": 0.93},
    ],
)
def test_classes_may_be_called_anything(lab: Lab, classes: dict[str, float]) -> None:
    """Our own words (a verdict "ok") and blanks are no names to be replaced and restored."""
    options = script(lab, tuner(0.31), checker(verdict("c00"))) | {"critique": True}
    lab.tune(max_rounds=2, trainer=scorer(lab, classes=classes), **options)
    made = decision(rounds(lab)[1])
    assert [c["source"] for c in made["candidates"]] == ["llm"]
    assert made["critique"]["status"] == "asked" and made["notes"] == []
    assert replay_round(rounds(lab)[1]).identical


def test_a_class_that_is_called_like_a_candidate_does_not_leave(
    online: Lab,  # noqa: F811
    llm_server: LLMServer,
) -> None:
    """C00 is a diagnosis in ICD-10, and in lower case what the first candidate is called."""
    llm_server.model = StudyModel(seed=2)
    trainer = scorer(online, classes={"C00": 0.2, "C18": 0.9, "C50": 0.95, "C61": 0.92})
    online.tune(max_rounds=2, trainer=trainer, **asked(llm_server))
    made = decision(rounds(online)[1])
    assert [c["source"] for c in made["candidates"]] == ["llm", "llm"] and made["critique"]["status"] == "asked"
    sent = " ".join(json.dumps(request.body) for request in llm_server.requests)
    assert not any(name in sent for name in ("C00", "C18", "C50", "C61"))
    assert replay_round(rounds(online)[1]).identical


def test_what_an_error_quotes_is_revealed_in_the_decision_and_hidden_in_the_repair(lab: Lab) -> None:
    change = {"parameter": "model_A", "value": 0.5, "reason": "study_A needs it"}
    text = json.dumps(
        {"diagnosis": "x", "candidates": [{"changes": [change], "expected_effect": "", "confidence": 0.5}]}
    )
    lab.tune(max_rounds=2, **script(lab, {"role": "autotuner", "text": text, "repeat": 2}))
    folder = rounds(lab)[1]
    assert 'parameter = "noop"' in decision(folder)["notes"][0]
    assert "model_A" not in next(folder.glob("tuning_decision_*")).read_text()
    question = calls(folder)[1]["request"]["messages"][-1]["text"]
    assert "model_A" in question and "noop" not in question
    assert replay_round(folder).identical


def test_the_nodes_that_trials_ran_on_are_names(lab: Lab) -> None:
    trainer = scorer(lab, before='case "$2" in 0.5*) echo "nan on node17" >&2; exit 3 ;; esac\n')
    lab.tune(max_rounds=1, candidates=2, trainer=trainer)
    for path in (lab.root / "demo").glob("round_1*/trials/*/*/claim.json"):
        path.write_text(json.dumps(read(path) | {"host": "node17"}))
    lab.tune(max_rounds=1, candidates=2, trainer=trainer, **script(lab, tuner(0.31)))
    sent = json.dumps(calls(rounds(lab)[1])[0]["request"])
    assert "nan on host_" in sent and "node17" not in sent


@pytest.mark.parametrize(
    "table", ["{}", '{"aliases": []}', '{"aliases": {"foo": "bar"}}', '{"aliases": {"model_A": 3}}']
)
def test_a_broken_alias_table_is_named(lab: Lab, table: str) -> None:
    options = script(lab, tuner(0.31), tuner(0.32))
    lab.tune(max_rounds=2, **options)
    (lab.root / "demo" / "aliases.json").write_text(table)
    with pytest.raises(InvalidStudy, match=r"aliases\.json"):
        lab.tune(max_rounds=1, **options)


# -- space, repair -------------------------------------------------------------------------------------------------


def test_a_space_that_is_used_up_ends_the_study_and_asks_no_model(lab: Lab) -> None:
    trainer = scorer(lab, parameter="int, low: 0, high: 2, default: 1")
    options = script(lab, tuner(0), tuner(2), *[tuner(1)] * 4)
    lab.tune(max_rounds=6, trainer=trainer, **options)
    assert len(rounds(lab)) == 3 and lab.said("the study ends here")
    assert len(list(lab.store().journal.of(ModelCalled))) == 2
    assert lab.tune(max_rounds=1, trainer=trainer, **options).state == "finished"


def test_what_was_blocked_and_not_replaced_stays_blocked(lab: Lab) -> None:
    """Also where the critic cannot be asked a second time."""
    blocked = checker(verdict("c00", "it diverged before"), verdict("c01", "it diverged before"))
    gone = {"role": "checker", "error": "LLMUnavailable", "message": "overloaded"}
    options = script(lab, tuner(0.31, 0.32), blocked, tuner(0.33), gone) | {"critique": True}
    lab.tune(max_rounds=2, candidates=2, **options)
    folder = rounds(lab)[1]
    made = decision(folder)
    assert [c["source"] for c in made["candidates"]] == ["llm", "random_startup"]
    assert "it diverged before" in made["candidates"][1]["details"]["instead_of"]["why"][0]
    assert made["critique"]["status"] == "skipped" and replay_round(folder).identical


def test_a_stand_in_stays_one_when_it_is_replaced_again(lab: Lab) -> None:
    """The model gives one of two, and its repair comes upon the very settings that stand in for the other."""
    lab.tune(max_rounds=2, candidates=2, **script(lab, tuner(3.0), tuner(4.0)))
    stand_in = read(rounds(lab)[1] / "proposals.json")["proposals"][1]
    assert stand_in["details"]["instead_of"]["source"] == "llm"
    shutil.rmtree(lab.root / "demo")
    lab.tune(max_rounds=2, candidates=2, **script(lab, tuner(3.0), tuner(stand_in["values"]["x"])))
    made = decision(rounds(lab)[1])["candidates"]
    assert made[0]["values"]["x"] == stand_in["values"]["x"] and made[0]["source"] == "llm"
    assert made[1]["values"]["x"] != stand_in["values"]["x"]
    assert made[1]["details"]["instead_of"] == stand_in["details"]["instead_of"]


# -- recorded exchanges --------------------------------------------------------------------------------------------


def _in_reply(**changes: Any) -> Callable[[Any], Any]:
    return lambda record: record | {"reply": record["reply"] | changes}


BROKEN: dict[str, Callable[[Any], Any]] = {
    "no object": lambda record: [],
    "another call": lambda record: record | {"call": "009_checker"},
    "another answer": _in_reply(data={"a": 1}),
    "no answer": _in_reply(data=None),
    "usage in words": _in_reply(usage={"input_tokens": "many"}),
    "no duration": lambda record: record | {"seconds": None},
    "an error in words": lambda record: record | {"error": "lost"},
    "an error without a kind": lambda record: record | {"error": {"message": "lost"}},
    "no error of a model": lambda record: (
        record | {"error": {"kind": "SystemExit", "message": "", "problems": None, "reply": None, "attempts": []}}
    ),
}


def test_an_exchange_that_was_edited_is_refused_by_name_or_used(lab: Lab) -> None:
    options = script(lab, tuner(0.31), tuner(0.32))
    lab.tune(max_rounds=1, **options)
    killed(lab, "proposals.json", max_iterations=2, **options)
    path = rounds(lab)[1] / "calls" / "001_autotuner.json"
    whole = path.read_text()
    for name, change in BROKEN.items():
        path.write_text(json.dumps(change(json.loads(whole))))
        with pytest.raises(InvalidStudy, match=r"001_autotuner\.json.*remove it to ask again"):
            lab.tune(max_iterations=2, **options)
        assert main(["status", "--study", "demo", "--output-dir", str(lab.root)]) == 0, name
    path.write_text(whole)
    lab.tune(max_iterations=2, **options)
    assert decision(rounds(lab)[1])["candidates"][0]["values"]["x"] == 0.31
    assert len(list(lab.store().journal.of(ModelCalled))) == 1


def test_a_replay_of_files_that_cannot_be_read_says_which(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(max_rounds=2, **script(lab, tuner(0.31)))
    (rounds(lab)[1] / "proposals.json").write_text("{")
    assert main(["replay", str(rounds(lab)[1])]) == 2
    assert "proposals.json" in capsys.readouterr().err


def test_a_short_word_in_a_keys_place_is_cut_out_of_nothing(
    online: Lab,  # noqa: F811
    llm_server: LLMServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OPENAI_API_KEY=x is what servers without keys are given; x is also a parameter."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    llm_server.model = StudyModel(seed=1)
    online.tune(max_rounds=2, **asked(llm_server))
    assert [c["source"] for c in decision(rounds(online)[1])["candidates"]] == ["llm", "llm"]
    assert replay_round(rounds(online)[1]).identical


# -- replay --------------------------------------------------------------------------------------------------------


def test_a_call_that_a_cap_held_back_and_that_was_made_later_is_replayed_as_made(
    online: Lab,  # noqa: F811
    llm_server: LLMServer,
) -> None:
    llm_server.model = StudyModel(seed=5)
    options = asked(llm_server, candidates=1, critique=False)
    online.tune(max_rounds=1, **options)
    killed(online, "proposals.json", max_iterations=2, max_llm_tokens=10, **options)
    online.tune(max_iterations=2, max_llm_tokens=10**6, **options)
    folder = rounds(online)[1]
    kinds = [record["error"] and record["error"]["kind"] for record in calls(folder)]
    assert kinds == ["LLMCapReached", None] and decision(folder)["candidates"][0]["source"] == "llm"
    assert replay_round(folder).identical


@pytest.mark.parametrize("later", [{"critique": False}, {"provider": "none"}])
def test_settings_that_change_within_a_round_are_replayed_step_by_step(lab: Lab, later: dict[str, Any]) -> None:
    options = script(lab, tuner(3.0), tuner(0.31), checker(verdict("c00"))) | {"critique": True}
    lab.tune(max_rounds=1, **options)
    killed(lab, "checked_", max_iterations=2, **options)
    lab.tune(max_iterations=2, **(later | ({"critique": False} if "provider" in later else options | later)))
    folder = rounds(lab)[1]
    made = decision(folder)
    if "provider" in later:
        assert made["candidates"][0]["details"]["instead_of"]["source"] == "llm"
        assert "no language model any more" in made["notes"][0]
    else:
        assert made["critique"]["status"] == "not asked" and made["candidates"][0]["source"] == "llm"
    assert replay_round(folder).identical


def test_a_critique_that_is_wanted_and_has_no_model_is_skipped(lab: Lab) -> None:
    options = script(lab, tuner(0.31))
    lab.tune(max_rounds=1, **options)
    killed(lab, "step2_", max_iterations=2, **options)
    lab.tune(max_iterations=2, provider="none", critique=True)
    made = decision(rounds(lab)[1])
    assert made["candidates"][0]["source"] == "llm" and made["critique"]["status"] == "skipped"
    assert "--provider none" in made["notes"][0]


def test_test_values_that_a_model_saw_are_admitted_whatever_is_set_later(lab: Lab) -> None:
    options = script(lab, tuner(0.31))
    lab.tune(max_rounds=1, **options)
    killed(lab, "checked_", max_iterations=2, agents_see_test=True, **options)
    lab.tune(max_iterations=2, agents_see_test=False, **options)
    assert decision(rounds(lab)[1])["agents_saw_test"] is True


def test_a_replay_depends_on_no_machine_and_no_price_table(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    gathering = importlib.import_module("agent.anonymise.gather")
    prices = lab.root / "prices.json"
    shutil.copyfile(Path(api.__file__).parents[1] / "llm" / "prices.json", prices)
    lab.tune(max_rounds=2, llm_prices=prices, **script(lab, tuner(0.31)))
    prices.unlink()
    # Words of the prompt: on a machine of that name they would be replaced.
    monkeypatch.setattr(gathering, "this_machine", lambda: gathering.Machine(user="leading", hosts=("settings",)))
    assert replay_round(rounds(lab)[1]).identical


# -- costs, settings -----------------------------------------------------------------------------------------------


def test_calls_of_rounds_that_were_run_again_and_of_open_ones_count(lab: Lab) -> None:
    options = script(lab, *[tuner(0.31 + step / 100) for step in range(6)])
    lab.tune(max_rounds=2, **options)
    lab.tune(force_round=2, **options)
    assert [(line["round"], line["calls"]) for line in costs(lab.store())["lines"]] == [(2, 2)]
    killed(lab, "proposals.json", max_iterations=3, **options)
    assert [(line["round"], line["calls"]) for line in costs(lab.store())["lines"]] == [(2, 2), (3, 1)]
    spent = costs(lab.store())["total"]
    replies = list(lab.store().journal.of(ModelReplied))
    assert spent["calls"] == 3
    assert spent["input_tokens"] == sum(entry.usage["input_tokens"] for entry in replies)


def test_tries_that_may_have_been_charged_are_told(
    online: Lab,  # noqa: F811
    llm_server: LLMServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They count against the caps; a table of $0 alone would not say why a cap is reached."""
    llm_server.model = lambda request: CutConnection(None)
    online.tune(max_rounds=2, **asked(llm_server, candidates=1, critique=False))
    assert costs(online.store())["total"]["lost_tries"] == 2
    assert main(["costs", "--study", "demo", "--output-dir", str(online.root)]) == 0
    assert "2 tries of calls ended without an answer" in " ".join(capsys.readouterr().out.split())


def test_the_cost_table_cuts_no_number(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(max_rounds=2, **script(lab, tuner(0.31)))
    capsys.readouterr()
    assert main(["costs", "--study", "demo", "--output-dir", str(lab.root)]) == 0
    total = costs(lab.store())["total"]
    shown = capsys.readouterr().out
    assert shown.count(f"{total['input_tokens']:,}") == 2 and shown.count("unknown") == 2


def test_a_script_begins_at_its_beginning_whoever_answered_before(
    online: Lab,  # noqa: F811
    llm_server: LLMServer,
) -> None:
    llm_server.model = StudyModel(seed=1)
    online.tune(max_rounds=2, **asked(llm_server, candidates=1, critique=False))
    online.tune(max_rounds=1, provider="none")
    online.tune(max_rounds=1, **script(online, tuner(0.311), tuner(0.312)))
    online.tune(max_rounds=1)
    assert [decision(folder)["candidates"][0]["values"]["x"] for folder in rounds(online)[3:]] == [0.311, 0.312]


def test_paths_of_a_relative_config_file_hold_in_every_folder(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lab.root / "conf"
    folder.mkdir()
    (folder / "llm.yaml").write_text("provider: scripted\nscript: replies.json\n")
    (folder / "replies.json").write_text(json.dumps({"replies": [tuner(0.31), tuner(0.32)]}))
    monkeypatch.chdir(lab.root)
    lab.tune(max_rounds=1, llm_config=Path("conf/llm.yaml"), critique=False)
    monkeypatch.chdir("/")
    lab.tune(max_rounds=1)
    assert decision(rounds(lab)[1])["candidates"][0]["source"] == "llm"


def test_provider_none_holds_for_roles_with_a_provider_of_their_own(lab: Lab) -> None:
    (lab.root / "llm.yaml").write_text("roles: {autotuner: {provider: ollama, model: m}}\n")
    lab.tune(max_rounds=1, llm_config=lab.root / "llm.yaml", analyst=False, critique=False)
    assert lab.store().settings().proposer == "llm"
    lab.tune(max_rounds=1, provider="none")
    assert lab.store().settings().proposer == "bayes" and not (rounds(lab)[1] / "calls").exists()


def test_a_search_without_a_provider_is_refused(lab: Lab) -> None:
    with pytest.raises(UsageError, match=r"--search-provider google.*--provider"):
        lab.tune(max_rounds=1, search_provider="google")
    assert not (lab.root / "demo").exists()


def test_settings_of_before_there_were_agents_are_read(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(max_rounds=1)
    path = lab.root / "demo" / "settings.json"
    agents = {"provider", "llm", "proposer", "llm_share", "llm_warmup", "consult_turns", "analyst", "critique"}
    agents |= {"anonymize", "agents_see_test", "prompts"}
    path.write_text(json.dumps({name: value for name, value in read(path).items() if name not in agents}))
    assert main(["tick", "--study", "demo", "--output-dir", str(lab.root)]) == 0
    path.write_text(json.dumps(read(path) | {"llm": "anthropic"}))
    assert main(["tick", "--study", "demo", "--output-dir", str(lab.root)]) == 2
    assert "settings.json: llm" in capsys.readouterr().err
