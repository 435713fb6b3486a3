"""Studies with a planner: real rounds of a small program whose parameters have every impact, and scripted models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import tune
from agent.api.replay import replay_round
from agent.errors import UsageError
from agent.store.events import StudyEnded
from agent.store.paths import RoundPaths
from agent.store.store import Store
from tests.agent.orchestrator.conftest import Lab

STEPS = Path(__file__).parents[2] / "programs" / "steps.yaml"


def study(lab: Lab, **changes: Any) -> Any:
    """A call of tune; x is small and worth 0.1 at most, width medium, kind radical."""
    fields = {"trainer": str(STEPS), "data": {}, "proposer": "planner", "candidates": 1} | changes
    return tune(lab.options(**fields), say=lab.lines.append)


def second(lab: Lab, *replies: dict[str, Any], **changes: Any) -> Any:
    """The decision of round 2, rendered and not trained; round 1's default was scored by hand, which is quick."""
    summary = lab.root / "val_summary.json"
    summary.write_text('{"score": 0.21}')
    agents = script(lab, *replies) if replies else {}
    study(lab, auto_train=False, **(changes | agents | {"candidates": 1}))
    study(lab, auto_train=False, val_summary=summary, **(changes | agents))
    return decision(folders(lab)[1])


def folders(lab: Lab, kind: str = "round") -> list[Path]:
    return sorted((lab.root / "demo").glob(f"{kind}_*"), key=lambda path: int(path.name.split("_")[1]))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def decision(folder: Path) -> Any:
    return read(next(folder.glob("tuning_decision_*")))


def script(lab: Lab, *replies: dict[str, Any], critique: bool = False) -> dict[str, Any]:
    path = lab.root / "script.json"
    path.write_text(json.dumps({"replies": list(replies)}))
    return {"provider": "scripted", "script": path, "critique": critique}


def reply(step: str, *candidates: dict[str, Any]) -> dict[str, Any]:
    """A planner's answer; each candidate: what it changes, by the names that the model uses."""
    made = [
        {
            "changes": [{"parameter": name, "value": value, "reason": "more helps"} for name, value in one.items()],
            "expected_effect": "a higher score",
            "confidence": 0.5,
        }
        for one in candidates
    ]
    said = {"step": step, "plan": f"go {step}", "reason": "the numbers say so", "candidates": made}
    return {"role": "planner", "json": said}


# -- by rules ------------------------------------------------------------------------------------------------------


def test_rules_escalate_without_gains_and_the_patience_ends_the_study(lab: Lab) -> None:
    reference = lab.root / "reference.json"
    raw = read_reference(lab)
    # The default is the best there is: no step can gain.
    for name, best in (("x", 1.0), ("width", 64), ("kind", "conv")):
        raw["parameters"][name]["default"] = best
    reference.write_text(json.dumps(raw))
    outcome = study(lab, hp_ref=reference, max_rounds=9, escalate_after=1, patience=3)
    assert outcome.state == "finished"
    made = [decision(folder) for folder in folders(lab)]
    assert [d["plan"] and d["plan"]["step"] for d in made] == [None, "small", "medium", "radical"]
    assert all(d["plan"]["by"] == "rules" for d in made[1:])
    for d, may in zip(made[1:], ({"x"}, {"x", "width"}, {"x", "width", "kind"}), strict=True):
        changed = {n for n, v in d["candidates"][0]["values"].items() if v != d["plan"]["base"][n]}
        assert changed and changed <= may
        assert d["candidates"][0]["details"]["step"] == d["plan"]["step"]
    assert [read(folder / "round.json")["plan"] for folder in folders(lab)] == [d["plan"] for d in made]
    (stopped,) = folders(lab, "stop")
    assert decision(stopped)["plan"]["step"] == "stop" and decision(stopped)["candidates"] == []
    assert replay_round(stopped).identical
    ended = lab.store().journal.last(StudyEnded)
    assert ended is not None and (ended.round, ended.by) == (5, "rules")
    assert lab.said("the patience ends the study before round 5: 3 rounds in a row without an accepted gain")


def read_reference(lab: Lab) -> Any:
    """The program's reference, from a study that is begun and never run."""
    main(["init", "--task", "other", "--trainer", str(STEPS), "--output-dir", str(lab.root)])
    return read(lab.root / "other" / "hyperparameter_reference.json")


def test_after_a_gain_steps_are_small_again_and_status_tells_each(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    second(lab, reply("medium", {"model.width": 64}), escalate_after=1)
    for score in (0.8, 0.1):
        (lab.root / "val_summary.json").write_text(json.dumps({"score": score}))
        study(lab, auto_train=False, provider="none", val_summary=lab.root / "val_summary.json")
    plans = [decision(folder)["plan"] for folder in folders(lab)]
    assert plans[2]["rules"] == {"step": "small", "reason": "round 2 gained", "idle": 0}
    assert (plans[3]["step"], plans[3]["rules"]["idle"], plans[3]["by"]) == ("medium", 1, "rules")
    capsys.readouterr()
    assert main(["status", "--study", str(lab.root / "demo")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "round 2: medium step (model): go medium (the numbers say so)" in shown
    assert "round 4: medium step (rules): a medium step from the incumbent, round 2 c00" in shown


def test_a_call_for_more_rounds_goes_on_after_the_patience(lab: Lab) -> None:
    second(lab, proposer="bayes", patience=1)
    summary = lab.root / "val_summary.json"
    summary.write_text('{"score": 0.1}')
    by_hand = {"auto_train": False, "provider": "none"}
    # Round 2 lost. The same call is answered the same; a longer patience goes on.
    study(lab, val_summary=summary, max_rounds=5, **by_hand)
    assert len(folders(lab)) == 2 and lab.store().settings().target_round == 2
    study(lab, **by_hand)
    assert len(folders(lab)) == 2
    study(lab, patience=50, **by_hand)
    assert len(folders(lab)) == 3


# -- with a model --------------------------------------------------------------------------------------------------


def test_a_model_plans_calls_parameters_by_group_and_is_replayed_byte_for_byte(lab: Lab) -> None:
    made = second(lab, reply("medium", {"model.width": 40}, {"width": 48, "x": 0.9}), candidates=2)
    assert [c["source"] for c in made["candidates"]] == ["planner", "planner"]
    assert [c["changes"].keys() for c in made["candidates"]] == [{"width"}, {"width", "x"}]
    plan = made["plan"]
    assert (plan["step"], plan["plan"], plan["by"], plan["call"]) == ("medium", "go medium", "model", "001_planner")
    asked = read(folders(lab)[1] / "calls" / "001_planner.json")["request"]["messages"][0]["text"]
    assert "- small: optimizer.x" in asked and "- radical: optimizer.x, model.width, model.kind" in asked
    assert "What fixed rules would do\n- small: the first step after the default" in asked
    replayed = replay_round(folders(lab)[1])
    assert replayed.identical and replayed.calls == 1


def test_a_change_outside_the_step_is_refused_and_repaired(lab: Lab) -> None:
    made = second(lab, reply("small", {"width": 64}), reply("small", {"x": 0.8}))
    assert made["candidates"][0]["changes"].keys() == {"x"}
    (finding,) = made["replaced"][0]["findings"]
    assert finding == "width has impact medium: a small step may change only x"
    assert finding in read(folders(lab)[1] / "calls" / "002_planner.json")["request"]["messages"][-1]["text"]
    assert replay_round(folders(lab)[1]).identical


def test_an_unknown_name_is_answered_with_the_valid_ones_and_a_wrong_answer_leaves_it_to_the_rules(lab: Lab) -> None:
    made = second(lab, reply("small", {"optimiser.x": 0.7}), reply("small", {"witdh": 3}))
    asked = read(folders(lab)[1] / "calls" / "002_planner.json")["request"]["messages"]
    assert 'candidates[0].changes[0]: parameter "optimiser.x": no such group; it is optimizer.x' in asked[-1]["text"]
    assert json.loads(asked[1]["text"])["plan"] == "go small"
    plan, candidate = made["plan"], made["candidates"][0]
    assert plan["by"] == "rules" and plan["instead_of"]["source"] == "planner"
    (why,) = plan["instead_of"]["why"]
    assert "did you mean model.width?" in why and "optimizer.x, model.width, model.kind" in why
    assert candidate["details"]["instead_of"]["source"] == "planner" and candidate["changes"].keys() == {"x"}
    assert lab.said("the language model gave no proposal")
    assert replay_round(folders(lab)[1]).identical


def test_a_model_that_says_stop_ends_the_study_and_its_answer_is_kept(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = study(lab, max_rounds=5, **script(lab, reply("stop")))
    assert outcome.state == "finished" and len(folders(lab)) == 1
    (stopped,) = folders(lab, "stop")
    assert decision(stopped)["plan"]["plan"] == "go stop" and (stopped / "calls" / "001_planner.json").exists()
    assert replay_round(stopped).identical
    capsys.readouterr()
    assert main(["status", "--study", str(lab.root / "demo")]) == 0
    assert "ended before round 2 by the planner: go stop (the numbers say so)" in capsys.readouterr().out
    # A tick opens no further round, and asks nobody; a call for more rounds asks again.
    assert main(["tick", "--study", str(lab.root / "demo")]) == 0
    assert len(folders(lab)) == 1 and len(folders(lab, "stop")) == 1
    study(lab, auto_train=False, **script(lab, reply("stop"), reply("small", {"x": 0.95})))
    assert decision(folders(lab)[1])["plan"]["step"] == "small"
    assert main(["costs", "--study", str(lab.root / "demo")]) == 0


def test_a_kill_while_the_study_ends_asks_nobody_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(store: Store, paths: RoundPaths) -> RoundPaths:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "stop", killed)
        with pytest.raises(KeyboardInterrupt):
            second(lab, reply("stop"))
    assert main(["tick", "--study", str(lab.root / "demo")]) == 0
    (stopped,) = folders(lab, "stop")
    assert len(folders(lab)) == 1 and len(list((stopped / "calls").glob("*.json"))) == 1
    assert [entry.round for entry in lab.store().journal.of(StudyEnded)] == [2]


def test_a_step_that_can_change_nothing_goes_deeper_instead_of_ending_the_round(lab: Lab) -> None:
    raw = read_reference(lab)
    raw["parameters"]["x"]["impact"] = "radical"
    reference = lab.root / "reference.json"
    reference.write_text(json.dumps(raw))
    made = second(lab, reply("small", {"x": 0.9}), reply("small", {"width": 40}), hp_ref=reference)
    assert [entry["findings"] for entry in made["replaced"]] == [
        ["x has impact radical: a small step may change nothing here"],
        ["width has impact medium: a small step may change nothing here"],
    ]
    plan, candidate = made["plan"], made["candidates"][0]
    assert plan["step"] == "medium" and "a small step has nothing left to try" in plan["reason"]
    assert candidate["changes"].keys() == {"width"} and candidate["details"]["instead_of"]["source"] == "planner"


def test_a_persons_edit_is_trained_although_the_model_says_stop(lab: Lab) -> None:
    agents = script(lab, reply("stop"))
    study(lab, auto_train=True, max_rounds=1, **agents)
    path = lab.root / "demo" / "hyperparameter_reference.json"
    raw = read(path)
    raw["parameters"]["x"]["active_value"] = 0.875
    path.write_text(json.dumps(raw))
    study(lab, auto_train=False, candidates=2, **agents)
    made = decision(folders(lab)[1])
    assert [c["source"] for c in made["candidates"]] == ["person"] and folders(lab, "stop") == []
    assert "the planner would end the study" in made["notes"][0] and made["plan"] is None


def test_stop_with_candidates_and_a_plan_without_words_are_no_answers(lab: Lab) -> None:
    mixed = reply("stop", {"x": 0.9})
    silent = reply("small", {"x": 0.9})
    silent["json"]["plan"] = " "
    plan = second(lab, mixed, silent)["plan"]
    assert plan["by"] == "rules" and "plan is empty" in plan["instead_of"]["why"][0]


def test_inside_a_hybrid_study_the_step_binds_both_shares(lab: Lab) -> None:
    choices = {"proposer": "hybrid", "planner": True, "llm_warmup": 1, "llm_share": 0.5, "candidates": 2}
    made = second(lab, reply("small", {"x": 0.8}), **choices)
    assert [c["source"] for c in made["candidates"]] == ["planner", "random_startup"]
    base = made["plan"]["base"]
    for candidate in made["candidates"]:
        assert {n for n, v in candidate["values"].items() if v != base[n]} == {"x"}


# -- wrong input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposer": "bayes", "escalate_after": 2}, "--escalate-after 2: needs --proposer planner"),
        ({"planner": True}, "--planner: needs --proposer hybrid"),
        ({"proposer": "hybrid"}, "only bayes, gp and planner can propose"),
        ({"patience": 0}, "patience = 0: must be a whole number from 1"),
        ({"role_models": {"planner": "m"}}, "--planner-model: needs a language model"),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_is_written(
    lab: Lab, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        study(lab, **options)
    assert not (lab.root / "demo").exists()
