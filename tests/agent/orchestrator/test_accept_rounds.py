"""Acceptance in real studies of a noisy program: verdicts, confirmations, replicates, own rules, the judge."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import Study, tick_once, tune
from agent.api.replay import replay_round
from agent.errors import InvalidRules, InvalidStudy, UsageError
from agent.orchestrator import replay as replaying
from agent.store.disk import Disk
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_agents import Killed, calls, read, rounds, script, tuner

NOISY = Path(__file__).parents[2] / "programs" / "noisy.yaml"
FOUR = (0, 1, 2, 3)


def noisy(
    lab: Lab, *xs: float, sd: float = 0.01, more: tuple[dict[str, Any], ...] = (), **rest: Any
) -> dict[str, Any]:
    """Options of a study whose later rounds train these x, one after the other."""
    replies = [tuner(x) for x in xs]
    study = {"trainer": str(NOISY), "data": {"sd": sd}, "proposer": "llm", "analyst": False}
    return script(lab, *replies, *more) | study | rest


def score(x: float, seed: int, sd: float) -> float:
    """What the program gives for a trial, from the program itself."""
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    subprocess.run(["sh", str(NOISY.with_suffix(".sh")), str(folder), str(x), "0", str(seed), str(sd)], check=True)
    return float(json.loads((folder / "summary.json").read_text())["score"])


def closed(lab: Lab, number: int) -> Any:
    return read(rounds(lab)[number - 1] / "round.json")


def confirmations(lab: Lab) -> list[Any]:
    return [read(path / "round.json") for path in sorted((lab.root / "demo").glob("confirm_*"))]


def test_every_verdict_names_its_numbers(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(max_rounds=3, seeds=FOUR, confirm="final", **noisy(lab, 0.95, 0.94))
    first, second, third = (closed(lab, number) for number in (1, 2, 3))
    assert first["candidates"][0]["verdict"] == "incumbent" and first["acceptance"]["noise"] is None
    (won,) = second["candidates"]
    numbers = won["judgement"]["numbers"]
    assert (won["verdict"], numbers["n"], numbers["paired"], numbers["k"], numbers["df"]) == (
        "accepted",
        4,
        True,
        1,
        3,
    )
    assert numbers["gain"] > numbers["threshold"] >= numbers["least_gain"] > 0 and numbers["standard_error"] > 0
    assert second["incumbent"]["verdict"] == "accepted" and second["acceptance"]["against"]["candidate"] == "c00"
    assert third["candidates"][0]["verdict"] in ("borderline", "rejected")
    assert third["acceptance"]["noise"]["df"] == 6, "pooled over the rounds"
    made = read(next(rounds(lab)[2].glob("tuning_decision_*")))
    assert made["incumbent"]["judgement"] == won["judgement"]
    best = Study(lab.root / "demo").best
    assert best is not None and (best["round"], best["verdict"]) == (2, "confirmed")
    assert best["gain"]["n"] == 3 and best["gain"]["df"] == 6 + 2
    (confirmed,) = confirmations(lab)
    assert confirmed["purpose"] == "final" and len(confirmed["values"]["c01"]) == 3
    assert lab.said(won["judgement"]["text"]) and lab.said("against the default at fresh seeds: confirmed")
    assert main(["status", "--study", "demo", "--output-dir", str(lab.root)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "best, confirmed" in shown and third["candidates"][0]["judgement"]["text"] in shown
    assert "noise: one trial varies by" in shown


def test_single_rows_lead_until_replicates_tell_the_noise(lab: Lab) -> None:
    options = noisy(lab, 0.95, 0.94)
    lab.tune(max_rounds=2, **options)
    assert closed(lab, 2)["candidates"][0]["verdict"] == "leading"
    assert closed(lab, 2)["incumbent"]["verdict"] == "leading"
    assert lab.said(
        "the noise is unknown, too little to decide about c00; --replicates 5 trains the incumbent 5 times"
    )
    lab.tune(max_iterations=3, replicates=4, **options)
    (record,) = confirmations(lab)
    assert (record["purpose"], record["seeds"]) == ("replicates", [1000, 1001, 1002, 1003])
    assert record["noise"]["df"] == 3 and len(record["replicates"][0]) == 4 and "gain" not in record
    assert lab.said("replicates of round 2 c00 at fresh seeds, for the noise: 1 x 4 trials, about")
    judged = closed(lab, 3)["candidates"][0]["judgement"]["numbers"]
    assert (judged["df"], judged["n"], judged["noise_from"]) == (3, 1, "pooled")
    assert closed(lab, 3)["candidates"][0]["verdict"] != "accepted"
    count = len(list((lab.root / "demo").glob("confirm_*/trials/*")))
    lab.tune(max_iterations=3, replicates=4, **options)
    assert len(list((lab.root / "demo").glob("confirm_*/trials/*"))) == count == 4, "replicates are trained once"


def test_each_rounds_winner_is_held_against_what_it_beat(lab: Lab) -> None:
    """A lucky one leads in round 2, fresh seeds show no gain and it gives its place back; a real one is confirmed."""
    sd = 0.05
    fresh = range(1000, 1003)
    lucky = next(
        x
        for x in (round(0.2 + step / 100, 2) for step in range(60))
        if score(x, 0, sd) > score(0.5, 0, sd)
        and sum(score(x, seed, sd) for seed in fresh) < sum(score(0.5, seed, sd) for seed in fresh)
    )
    lab.tune(max_rounds=3, confirm="round", confirm_seeds=3, **noisy(lab, lucky, 0.95, sd=sd))
    assert closed(lab, 2)["candidates"][0]["verdict"] == "leading"
    first, second = confirmations(lab)
    assert (first["purpose"], first["gain"]["verdict"]) == ("round", "no gain")
    assert lab.said("round 1 c00 is the incumbent again")
    assert closed(lab, 3)["acceptance"]["against"]["round"] == 1
    assert second["purpose"] in ("round", "final") and second["challenger"]["round"] == 3
    assert second["seeds"] == [1003, 1004, 1005], "no seed is used twice"
    assert second["base"]["round"] == 1 and second["gain"]["mean"] > 0.1


def test_a_persons_own_rule_decides_and_its_errors_lose_nothing(lab: Lab, tmp_path: Path) -> None:
    rules = tmp_path / "mine.py"
    rules.write_text("def verdict(comparison):\n    return comparison['gian']\n")
    options = noisy(lab, 0.95)
    with pytest.raises(InvalidRules, match=r"acceptance\.py: verdict\(\) of c00, line 2: failed: KeyError"):
        lab.tune(max_rounds=2, rules=rules, **options)
    assert [path.name for path in rounds(lab)[1].glob("round.json")] == []
    rules.write_text(
        "def verdict(comparison):\n    return 'rejected', f'a gain of {comparison[\"gain\"]:.1f} is not enough'\n"
    )
    lab.tune(max_iterations=2, rules=rules, **options)
    record = closed(lab, 2)
    assert (
        record["candidates"][0]["verdict"] == "rejected" and record["acceptance"]["rules"]["name"] == "acceptance.py"
    )
    assert "a gain of 0.2 is not enough" in record["candidates"][0]["judgement"]["text"]
    assert record["incumbent"]["round"] == 1
    assert len(list((lab.root / "demo").glob("round_2_*/trials/*/attempt_*"))) == 1, "nothing is trained again"
    kept = lab.root / "demo" / "acceptance.py"
    assert kept.read_text() == rules.read_text()
    kept.write_text("def verdict(comparison):\n    return 'accepted'\n")
    with pytest.raises(InvalidStudy, match="give --rules again"):
        lab.tune(max_iterations=2, **options)


def test_a_table_of_rules_is_kept_by_the_study(lab: Lab, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("min_gain: 0.5\n")
    options = noisy(lab, 0.95, 0.94)
    lab.tune(max_rounds=2, seeds=FOUR, rules=rules, **options)
    rules.write_text("min_gian: 0.5\n")
    with pytest.raises(InvalidRules, match="did you mean min_gain"):
        lab.tune(max_iterations=3, rules=rules, **options)
    lab.tune(max_iterations=3, **options)
    for number in (2, 3):
        record = closed(lab, number)
        assert record["candidates"][0]["verdict"] == "borderline"
        assert record["acceptance"]["rules"]["min_gain"] == 0.5


# -- the judge ---------------------------------------------------------------------------------------------------


def opinion(verdict: str, name: str = "c00") -> dict[str, Any]:
    said = {"candidate": name, "verdict": verdict, "reason": "it costs nothing on demo"}
    return {"role": "judge", "json": {"verdicts": [said]}}


def small_gain(lab: Lab, *judge: dict[str, Any]) -> dict[str, Any]:
    """A real gain of 1 %, far above the noise and below the 2 % that are worth a change."""
    return noisy(lab, 0.05, sd=0.0002, more=judge, seeds=FOUR, max_iterations=2)


def test_the_judge_decides_about_a_small_real_gain_and_can_be_replayed(lab: Lab) -> None:
    lab.tune(**small_gain(lab, opinion("accept")))
    (candidate,) = closed(lab, 2)["candidates"]
    assert (candidate["verdict"], candidate["judgement"]["rule"]) == ("accepted", "judge")
    assert candidate["judgement"]["judge"]["call"] == "002_judge"
    assert closed(lab, 2)["incumbent"]["round"] == 2
    exchange = next(record for record in calls(rounds(lab)[1]) if record["role"] == "judge")
    sent = json.dumps(exchange["request"])
    assert "demo" not in sent and "noisy" not in sent, "names are hidden"
    assert "more than noise" in sent and "x: 0.5 -> 0.05" in sent and "cost, wall_seconds" in sent
    replayed = replay_round(rounds(lab)[1])
    assert replayed.identical, replayed.differences()
    assert '"rule": "judge"' in replayed.again and replayed.calls == 2


def test_a_replay_finds_a_verdict_that_was_changed(lab: Lab) -> None:
    lab.tune(**small_gain(lab, opinion("accept")))
    accepted = '"verdict": "accepted"'
    path = rounds(lab)[1] / "round.json"
    # Of the candidates alone: "rejected" is no verdict of an incumbent, and such a round.json is refused by name.
    candidates, rest = path.read_text().split('"analyses"')
    path.write_text(f'{candidates.replace(accepted, accepted.replace("accepted", "rejected"))}"analyses"{rest}')
    assert any("rejected" in line for line in replay_round(rounds(lab)[1]).differences())
    assert replaying.Replayed(number=1, recorded="a", again="a", calls=0).identical


@pytest.mark.parametrize(
    ("judge", "verdict", "said"),
    [
        (opinion("keep"), "borderline", "the judge keeps it so"),
        (
            {"role": "judge", "error": "LLMUnavailable", "message": "overloaded"},
            "borderline",
            "LLMUnavailable: overloaded",
        ),
        ({"role": "judge", "json": {"verdicts": []}}, "borderline", "no verdict for c00"),
    ],
)
def test_without_a_yes_the_incumbent_is_kept(lab: Lab, judge: dict[str, Any], verdict: str, said: str) -> None:
    lab.tune(**small_gain(lab, judge))
    record = closed(lab, 2)
    assert record["candidates"][0]["verdict"] == verdict and record["incumbent"]["round"] == 1
    assert said in json.dumps(record["notes"]) + record["candidates"][0]["judgement"]["text"]


def test_the_judge_is_not_asked_about_what_may_be_noise(lab: Lab) -> None:
    lab.tune(**noisy(lab, 0.05, sd=0.02, more=(opinion("accept"),), seeds=FOUR, max_iterations=2))
    assert closed(lab, 2)["candidates"][0]["verdict"] in ("borderline", "rejected")
    assert closed(lab, 2)["acceptance"]["judge"] is None
    assert [record["role"] for record in calls(rounds(lab)[1])] == ["autotuner"]


def test_a_round_closes_though_its_models_are_gone(lab: Lab) -> None:
    """Killed when its trials were collected; at the next look the judge cannot be asked any more."""

    def boundary(name: str) -> None:
        for path in (lab.root / "demo").glob("round_2_*/steps/07_collect.json"):
            if read(path)["status"] == "done":
                raise Killed(name)

    options = small_gain(lab, opinion("accept"))
    with pytest.raises(Killed):
        tune(lab.options(**options), disk=Disk(boundary=boundary))
    options["script"].unlink()
    with pytest.raises(UsageError):
        tick_once(lab.store())
    record = closed(lab, 2)
    assert record["candidates"][0]["verdict"] == "borderline"
    assert record["acceptance"]["judge"]["status"] == "skipped"
    assert "the language models cannot be asked now" in json.dumps(record["notes"])


def test_a_kill_in_the_last_step_asks_the_judge_once_and_changes_no_verdict(lab: Lab, tmp_path: Path) -> None:
    """Killed at each change on disk of the last step, one after the other, in one study."""
    options = lab.options(**small_gain(lab, opinion("accept")))
    done: set[str] = set()

    def boundary(name: str) -> None:
        folder = next(iter((lab.root / "demo").glob("round_2_*")), None)
        if folder is None or not list(folder.glob("steps/07_collect.json")) or "orchestrator.log" in name:
            return
        # A call that was cut off keeps its number.
        label = re.sub(r"\d+_judge", "judge", name)
        if read(folder / "steps/07_collect.json")["status"] == "done" and label not in done:
            done.add(label)
            raise Killed(label)

    ended = False
    while not ended:
        try:
            tune(options, disk=Disk(boundary=boundary))
            ended = True
        except Killed:
            pass
    assert len(done) > 8
    assert [record["role"] for record in calls(rounds(lab)[1])] == ["autotuner", "judge"]
    (candidate,) = closed(lab, 2)["candidates"]
    assert (candidate["verdict"], candidate["judgement"]["rule"]) == ("accepted", "judge")
    assert closed(lab, 2)["acceptance"]["against"]["round"] == 1
    assert read(lab.root / "demo" / "incumbent.json")["round"] == 2


# -- studies of an earlier version -------------------------------------------------------------------------------


def without(path: Path, *names: str, **changes: Any) -> Any:
    """Rewrite a JSON file as an earlier version left it."""
    old = {name: value for name, value in read(path).items() if name not in names} | changes
    path.write_text(json.dumps(old))
    return old


def test_a_study_of_an_earlier_version_goes_on(lab: Lab) -> None:
    lab.tune(candidates=3, seeds=(0, 1), confirm="final")
    path, (confirm,) = rounds(lab)[0] / "round.json", list((lab.root / "demo").glob("confirm_1_*/round.json"))
    new = ("verdict", "judgement")
    entries = [{name: v for name, v in entry.items() if name not in new} for entry in read(path)["candidates"]]
    without(path, "acceptance", candidates=entries)
    old_gain = {name: v for name, v in read(confirm)["gain"].items() if name not in ("df", "own_error", "critical")}
    without(confirm, "purpose", "base", "values", "noise", gain=old_gain)
    without(lab.root / "demo" / "incumbent.json", "judgement", schema_version=1)
    assert main(["status", "--study", "demo", "--output-dir", str(lab.root)]) == 0
    before = len(list((lab.root / "demo").glob("confirm_*")))
    lab.tune(max_iterations=1, candidates=3, confirm="final")
    assert len(list((lab.root / "demo").glob("confirm_*"))) == before, "what was confirmed then counts"
    lab.tune(max_iterations=2, candidates=2, confirm="never")
    assert {c["verdict"] for c in closed(lab, 2)["candidates"]} <= {"accepted", "borderline", "rejected"}
    assert closed(lab, 2)["acceptance"]["noise"]["df"] == (5 - 1) + 2
