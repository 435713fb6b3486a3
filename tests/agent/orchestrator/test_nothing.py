"""A round in which nothing was measured and nothing learnt stops the study, and nothing of it counts as tried."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.api import Study, tick_once
from agent.api.begin import begin
from agent.api.steer import collect_round, retry_rows
from agent.errors import MissingResults, NothingLearnt, RoundCancelled, StudyPaused, TrialsCrashed
from agent.launch.base import State, TaskStatus
from agent.orchestrator.training import circuit_breaker
from agent.orchestrator.training.scancelled import _all_that_was_left
from agent.report.overview import overview
from agent.store.events import Submitted
from agent.store.requests import halted
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab, wait_for
from tests.agent.orchestrator.test_policy_rounds import (
    ends,
    fails,
    impatient,
    setup_profile,
    table,
    told,
)
from tests.agent.orchestrator.test_rounds import edit
from tests.cluster.cluster import Cluster

__all__ = ["told"]


def stopped(lab: Lab, **options: Any) -> str:
    """What the call says that stops the study."""
    with pytest.raises(NothingLearnt) as caught:
        lab.tune(**options)
    return str(caught.value)


def mend(lab: Lab, **values: Any) -> None:
    """As the message says: the study's copy of the profile, edited."""
    setup_profile(lab, *values.pop("setup", ()), **values).replace(lab.store().paths.profile)


# -- rounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no-such-module-command", "no-such-module-command: command not found"),
        ("source /no/such/activate", "/no/such/activate: No such file or directory"),
        ("exit 7", "mend `setup` in "),
    ],
)
def test_set_up_lines_that_fail_are_the_environments_fault_and_the_same_command_goes_on(
    lab: Lab, line: str, said: str
) -> None:
    message = stopped(lab, profile=setup_profile(lab, f'if [[ "$0" = */train_* ]]; then {line}; fi'), max_rounds=2)
    assert "nothing was measured in round 1 and nothing learnt (1 launch_fail)" in message
    assert "the environment is broken, not the nodes" in message and said in message
    assert f"mend `setup` in {lab.store().paths.profile}" in message and "counts as untried" in message
    assert [outcome for _, _, outcome in ends(lab)] == ["launch_fail"] * 3
    assert len(Study(lab.root / "demo").rounds) == 1
    mend(lab)
    lab.tune(max_rounds=2)
    history = Study(lab.root / "demo").history
    assert [(o.source, str(o.outcome)) for o in history] == [
        ("default", "launch_fail"),
        ("default", "ok"),
        ("random_startup", "ok"),
    ]


def test_any_mixture_of_ends_that_say_nothing_stops_the_study(lab: Lab) -> None:
    profile = setup_profile(lab, fails(0, "exit 0", until=9), fails(1, "exit 7", until=9))
    message = stopped(lab, profile=profile, candidates=2, seeds=(0,))
    assert "(1 no_result, 1 launch_fail)" in message or "(1 launch_fail, 1 no_result)" in message
    assert "rows 0: ended well without claiming its row" in message and "rows 1: the environment is broken" in message


def test_knowledge_about_settings_is_no_reason_to_stop(lab: Lab) -> None:
    edit(begin(lab.options()).paths.reference, "mode", "bad")
    profile = setup_profile(lab, fails(1, "exit 7", until=9))
    assert lab.tune(profile=profile, candidates=2).closed == 1


def test_ticks_open_no_further_round_until_a_person_calls(lab: Lab) -> None:
    broken = setup_profile(lab, fails(0, "exit 7", until=9))
    mine = table(lab.root / "mine.yaml", launch_fail={"action": "give_up"})
    stopped(lab, profile=broken, policy=mine, max_iterations=3)
    with pytest.raises(StudyPaused, match="nothing was measured in round 1"):
        tick_once(lab.store())
    assert len(list((lab.root / "demo").glob("round_*"))) == 1
    paused = overview(lab.store())["control"]["paused"]
    assert "nothing was measured in round 1" in paused["reason"]
    mend(lab)
    assert lab.tune(max_iterations=3).closed == 2 and circuit_breaker.paused(lab.store().journal) is None


PROGRAM = """
name: broken
description: A program whose environment lacks something.
command: ["sh", "{data.program}"]
parameters:
  x: {type: float, low: 0.0, high: 1.0, default: 0.5, description: Nothing}
constraints: []
pass_values: [environment]
objective: {metric: score, direction: maximize}
summary: summary.json
seeds: [0]
"""


@pytest.mark.parametrize(
    ("program", "said", "remedy"),
    [
        ("python3 -c 'import no_such_module_of_mine'", "No module named 'no_such_module_of_mine'", "install what"),
        ("no-such-trainer --fast", "no-such-trainer: not found", "give its full path"),
    ],
)
def test_a_program_that_cannot_run_is_the_environments_fault(lab: Lab, program: str, said: str, remedy: str) -> None:
    (lab.root / "broken.yaml").write_text(PROGRAM)
    script = lab.root / "program.sh"
    script.write_text(f"{program}\n")
    with pytest.raises(TrialsCrashed) as caught:
        lab.tune(trainer=str(lab.root / "broken.yaml"), data={"program": str(script)})
    message = str(caught.value)
    assert "the environment is broken, not the nodes" in message and said in message and remedy in message


def test_three_arrays_that_began_nothing_name_the_environment_and_a_mended_profile_reaches_the_open_round(
    lab: Lab,
) -> None:
    """Each row is an array of its own, so the breaker opens while the round is still open."""
    options: dict[str, Any] = {"seeds": (0, 1, 2), "parallel": 3}
    broken = setup_profile(lab, 'if [[ "$0" = */train_* ]]; then no-such-command; fi', max_array_size=1)
    with pytest.raises(StudyPaused) as caught:
        lab.tune(profile=broken, **options)
    message = str(caught.value)
    assert "the environment is broken, not the nodes" in message and "no-such-command: command not found" in message
    assert f"mend `setup` in {lab.store().paths.profile}" in message
    mend(lab, max_array_size=1)
    assert lab.tune(max_iterations=1, **options).closed == 1
    assert lab.said("its scripts are rendered again")
    [seen] = Study(lab.root / "demo").history
    assert (seen.n, seen.rows) == (3, 3) and len(list((lab.root / "demo").glob("round_*"))) == 1


# -- rungs and confirmations -----------------------------------------------------------------------------------------


def test_a_rung_that_closed_on_nothing_is_trained_again(lab: Lab) -> None:
    options: dict[str, Any] = {"candidates": 4, "rungs": 2, "epochs": 9, "parallel": 4}
    mine = table(lab.root / "mine.yaml", launch_fail={"action": "give_up"})
    broken = setup_profile(lab, 'if [[ "$0" = */train_* ]]; then exit 7; fi')
    message = stopped(lab, profile=broken, policy=mine, **options)
    assert "rung 1" in message and "`setup`" in message
    assert not list((lab.root / "demo").glob("rung2_*")) and len(list((lab.root / "demo").glob("rung1_*"))) == 1
    mend(lab)
    assert lab.tune(max_iterations=1, **options).closed == 1
    assert len(list((lab.root / "demo").glob("rung1_*"))) == 2
    [record] = [json.loads(path.read_text()) for path in (lab.root / "demo").glob("round_1_*/round.json")]
    assert [len(rung["candidates"]) for rung in record["screened"]] == [4]


def test_a_confirmation_that_closed_on_nothing_is_made_again(lab: Lab) -> None:
    options: dict[str, Any] = {"candidates": 3, "confirm": "final", "parallel": 3, "confirm_seeds": 2}
    mine = table(lab.root / "mine.yaml", launch_fail={"action": "give_up"})
    broken = setup_profile(lab, 'if [[ "$0" = */confirm_*/train_* ]]; then exit 7; fi')
    message = stopped(lab, profile=broken, policy=mine, **options)
    assert "confirmation" in message
    assert "not comparable" not in (lab.root / "demo" / "incumbent.json").read_text()
    mend(lab)
    lab.tune(max_iterations=1, **options)
    folders = sorted((lab.root / "demo").glob("confirm_1_*"))
    records = [json.loads((folder / "round.json").read_text()) for folder in folders]
    assert [record.get("again", False) for record in records] == [True, False]
    assert records[1]["gain"]["n"] == 2 and not set(records[0]["seeds"]) & set(records[1]["seeds"])


# -- scancel ---------------------------------------------------------------------------------------------------------


def test_a_round_that_was_cancelled_with_scancel_halts_as_a_cancelled_one(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    impatient(lab, rows=2)
    told |= {(row, 1): ("CANCELLED by 0", "0:15", "n1") for row in (0, 1)}
    profile = setup_profile(lab, fails(0, "exit 1"), fails(1, "exit 1"))
    with pytest.raises(RoundCancelled, match=r"round 1 was cancelled with scancel \(by root\).*retry"):
        lab.tune(profile=profile, seeds=(0, 1), poll_s=0.1, max_rounds=3)
    with pytest.raises(RoundCancelled):
        lab.tune(seeds=(0, 1), poll_s=0.1)
    root = lab.store().paths.root
    report, rows = retry_rows(root)
    assert rows == [0, 1] and report.state == "waiting"
    assert lab.tune(seeds=(0, 1), poll_s=0.1, max_iterations=1).closed == 1
    [seen] = Study(root).history
    assert (seen.n, str(seen.outcome)) == (2, "ok")


def test_a_person_may_have_a_round_closed_that_was_cancelled_with_scancel(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    impatient(lab)
    told[0, 1] = ("CANCELLED by 1000", "0:15", "n1")
    with pytest.raises(RoundCancelled):
        lab.tune(profile=setup_profile(lab, fails(0, "exit 1")), poll_s=0.1)

    def collected() -> bool:
        try:
            return bool(collect_round(lab.store().paths.root).closed)
        except MissingResults as error:
            return "evaluating" not in str(error)

    wait_for(collected)
    told.clear()
    mend(lab)
    assert ends(lab) == [(0, 1, "cancelled")]
    assert lab.tune(poll_s=0.1, max_iterations=2).closed == 1
    assert [str(o.outcome) for o in Study(lab.root / "demo").history] == ["cancelled", "ok"]


def at(ended: float | None, raw: str = "COMPLETED") -> TaskStatus:
    return TaskStatus(state=State.GONE, raw=raw, ended=ended)


@pytest.mark.parametrize(
    ("ends", "whole"),
    [
        ({0: 50.0, 1: 100.0, 2: 100.0}, True),  # a row that was over by then
        ({0: 400.0, 1: 100.0, 2: 100.0}, False),  # a row that went on
        ({0: None, 1: 100.0, 2: 100.0}, False),  # nobody knows
        ({0: 50.0, 1: None, 2: None}, False),
        ({1: None, 2: None}, True),
    ],
)
def test_all_that_was_left_is_told_from_a_few_rows_by_when_they_ended(
    ends: dict[int, float | None], whole: bool
) -> None:
    statuses = {row: at(ended) for row, ended in ends.items()}
    others = [row for row in ends if row == 0]
    assert _all_that_was_left([1, 2], others, statuses) is whole


@pytest.mark.cluster
def test_scancel_of_an_array_halts_its_round_and_retry_goes_on(lab: Lab, slurm: Cluster) -> None:
    # Long enough for accounting to tell when each row ended, as the 30 s of everyday use are.
    begin(lab.options(seeds=(0, 1, 2))).put_settings(
        Settings(launcher="sbatch", auto_train=True, result_grace_s=8, poll_s=0.3)
    )
    gate = lab.root / "gate"
    gate.touch()
    wait = (
        f'if [[ "$0" = */train_* ]]; then while [ -e "{gate}" ] && [ $roundtable_item != 0 ]; do sleep 0.2; done; fi'
    )
    setup_profile(lab, wait, partition="main").replace(lab.store().paths.profile)
    tick_once(lab.store())
    root = lab.store().paths.root
    wait_for(lambda: list(root.glob("round_1_*/trials/c00_f0_s0/*/result.json")), seconds=90)
    [job] = [e.job_id for e in lab.store().journal.of(Submitted) if e.kind == "train"]
    slurm.run(["scancel", job], check=True)

    def halts() -> bool:
        try:
            tick_once(lab.store())
        except RoundCancelled as error:
            return "cancelled with scancel" in str(error)
        return False

    wait_for(halts, seconds=90)
    cancelled = halted(lab.store(), lab.store().paths.round(lab.store().paths.newest()[-1]))
    assert cancelled is not None and cancelled.rows == (1, 2)
    gate.unlink()
    _, rows = retry_rows(root)
    assert rows == [1, 2]
    lab.tune(launcher="sbatch", seeds=(0, 1, 2), poll_s=0.3, max_iterations=1)
    assert Study(root).history[0].n == 3
