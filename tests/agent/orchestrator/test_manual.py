"""The classic flow, in which a person submits what is printed: out of order, in parts, and a round once more."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study
from agent.api.steer import collect_round
from agent.errors import InputChanged, InvalidSummary, MissingResults
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_rounds import round_folder, run_printed
from tests.cases.fake_slurm import FakeSlurm
from trainers.layout import RoundFiles

CLASSIC: dict[str, Any] = {"auto_train": False}


def missing(lab: Lab, **options: Any) -> str:
    """What a call says of the open round that is not complete."""
    with pytest.raises(MissingResults) as caught:
        lab.tune(**CLASSIC, **options)
    return str(caught.value)


def lines(said: str) -> list[str]:
    """The commands of such a message."""
    return said[said.index("run these lines") :].splitlines()[1:]


def run(script: str, *items: int) -> None:
    for item in items:
        subprocess.run(["bash", script, str(item)], check=True, capture_output=True)


def scripts(lab: Lab, number: int = 1) -> tuple[str, str]:
    folder = round_folder(lab, number)
    return str(folder / f"train_demo_round{number}.sh"), str(folder / f"eval_demo_round{number}.sh")


def test_a_look_lists_the_rows_that_have_begun_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.tune(**CLASSIC, candidates=3)
    listed = []
    attempts = RoundFiles.attempts

    def noted(files: RoundFiles, candidate: str, fold: int, seed: int) -> list[int]:
        listed.append(candidate)
        return attempts(files, candidate, fold, seed)

    monkeypatch.setattr(RoundFiles, "attempts", noted)
    assert "row 2: c02_f0_s0 has no result" in missing(lab, candidates=3) and not listed
    run(scripts(lab)[0], 1)
    assert "row 1" not in missing(lab, candidates=3) and set(listed) == {"c01"}


def test_an_evaluation_before_the_training_closes_nothing_and_later_results_count(lab: Lab) -> None:
    lab.tune(**CLASSIC, candidates=2)
    train, evaluate = scripts(lab)
    run(evaluate, 0)
    assert "row 1: c01_f0_s0 has no result" in missing(lab, candidates=2)
    # Half a round: the other candidate has been evaluated without a result, and is still missing.
    run(train, 0)
    run(evaluate, 0)
    said = missing(lab, candidates=2)
    assert "row 1: c01" in said and "row 0" not in said
    with pytest.raises(MissingResults, match="row 1: c01"):
        collect_round(lab.store().paths.root)
    run(train, 1)
    assert "c01: no val_summary.json of these results" in missing(lab, candidates=2)
    run_printed(lines(missing(lab, candidates=2)))
    assert lab.tune(**CLASSIC, candidates=2).closed == 1
    assert [o.value is not None for o in Study(lab.root / "demo").history] == [True, True]


def test_a_single_candidate_is_no_exception(lab: Lab) -> None:
    lab.tune(**CLASSIC)
    _, evaluate = scripts(lab)
    run(evaluate, 0)
    folder = round_folder(lab, 1)
    assert (folder / "val_summary.json").exists() and "row 0: c00_f0_s0" in missing(lab)
    with pytest.raises(InvalidSummary, match="holds no value"):
        lab.tune(**CLASSIC, val_summary=folder / "val_summary.json")
    # A person's own one in its place counts.
    (folder / "val_summary.json").write_text('{"score": 0.5}')
    assert lab.tune(**CLASSIC).closed == 1
    assert Study(lab.root / "demo").history[0].value == 0.5


def test_the_printed_lines_are_those_of_what_is_missing_and_name_the_logs(lab: Lab) -> None:
    lab.tune(**CLASSIC, candidates=2, seeds=(0, 1, 2))
    train, evaluate = scripts(lab)
    run(train, 0, 1, 3, 5)
    said = missing(lab, candidates=2)
    assert f"logs are in {round_folder(lab, 1)}/logs" in said
    assert lines(said) == [
        f'for item in 2 4; do bash {train} "$item"; done',
        f"bash {evaluate} 0",
    ]
    run(train, 2, 4)
    assert lines(missing(lab, candidates=2)) == [f"bash {evaluate} 0"]
    run(evaluate, 0)
    assert lab.tune(**CLASSIC, candidates=2).closed == 1


def test_the_lines_for_slurm_are_pasted_as_they_stand(lab: Lab, tmp_path: Path) -> None:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer("sbatch", "77\n")
    outcome = lab.tune(**CLASSIC, slurm=True, candidates=2, seeds=(0, 1))
    path = f"{fake.folder}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-eu", "-c", "\n".join(outcome.commands)], check=True, env={"PATH": path})
    train, evaluation = fake.calls("sbatch")
    assert train[:2] == ["--parsable", "--array=0-3"] and train[2].endswith("train_demo_round1.slurm")
    assert evaluation[:2] == ["--array=0", "--dependency=afterany:77"]
    run(scripts(lab)[0], 0, 1, 3)
    shown = lines(missing(lab, candidates=2))
    assert shown[0].startswith("J=$(sbatch --parsable --array=2 ") and "--dependency=afterany:$J" in shown[1]


def test_a_row_that_was_begun_is_told_with_who_has_it(lab: Lab) -> None:
    lab.tune(**CLASSIC)
    folder = round_folder(lab, 1)
    log = folder / "logs" / "train_demo_round1_41_0.log"
    log.touch()
    claim = folder / "trials" / "c00_f0_s0" / "attempt_1" / "claim.json"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"task": "slurm:41_0", "host": "n7"}))
    said = missing(lab)
    assert "row 0: c00_f0_s0 has no result: begun by slurm:41_0 on n7" in said and f"log {log}" in said


# -- a round once more -----------------------------------------------------------------------------------------------


def test_a_round_is_run_again_although_the_next_one_is_rendered(lab: Lab) -> None:
    run_printed(lab.tune(**CLASSIC).commands)
    lab.tune(**CLASSIC)
    assert [paths.number for paths, _ in lab.store().open_folders()] == [2]
    again = lab.tune(**CLASSIC, force_round=1)
    assert again.state == "rendered" and "round1" in again.commands[0]
    assert len(list((lab.root / "demo").glob("round_1_*"))) == 2
    assert lab.store().next_number() == 3, "the counter stays"
    assert "round 1 (" in missing(lab)
    run_printed(again.commands)
    second = lab.tune(**CLASSIC)
    # What was not begun is decided anew, on what the round gave this time.
    assert second.state == "rendered" and "round2" in second.commands[0] and second.closed == 1
    assert lab.said("doing the round again from analyse")
    run_printed(second.commands)
    assert lab.tune(**CLASSIC).closed == 1
    assert [o.round for o in Study(lab.root / "demo").history] == [1, 2]
    assert lab.trained == ["1 c00 0 0", "1 c00 0 0", "2 c00 0 0"]


def test_the_open_round_and_one_that_was_never_trained_are_run_again(lab: Lab) -> None:
    first = lab.tune(**CLASSIC)
    again = lab.tune(**CLASSIC, force_round=1)
    assert again.state == "rendered" and list(again.commands) != list(first.commands)
    run_printed(again.commands)
    assert lab.tune(**CLASSIC).closed == 1


def test_no_round_is_run_again_beside_one_that_has_begun(lab: Lab) -> None:
    run_printed(lab.tune(**CLASSIC).commands)
    run_printed(lab.tune(**CLASSIC).commands[:1])
    with pytest.raises(InputChanged, match=r"round 2 .* has begun; finish it first, or force that one"):
        lab.tune(**CLASSIC, force_round=1)
    assert lab.tune(**CLASSIC, force_round=2).state == "rendered"


def test_an_evaluation_between_its_two_writes_is_no_summary_of_a_persons(lab: Lab) -> None:
    """A repeated evaluation has written the first candidate's new summary, and not yet the round's."""
    lab.tune(**CLASSIC, candidates=2)
    _, evaluation = scripts(lab)
    run(evaluation, 0)
    own = round_folder(lab, 1) / "candidates" / "c00" / "val_summary.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"note": "of the evaluation after this one"}))
    assert "c00_f0_s0 has no result" in missing(lab, candidates=2)
