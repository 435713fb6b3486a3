"""Study folders that people move, copy, link and lose parts of, closed and while a round is open."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.api import Study, tick_once
from agent.api.begin import begin
from agent.api.control import stop
from agent.api.steer import cancellation, retry_rows
from agent.api.wiring import settings_for
from agent.errors import InvalidStudy, MissingResults, StudyMoved
from agent.launch.base import State
from agent.launch.local import LocalLauncher
from agent.orchestrator.training.submissions import submissions
from agent.store.store import Store
from tests.agent.orchestrator.conftest import NOOP, Lab, wait_for
from tests.agent.orchestrator.test_rounds import round_folder, run_printed


def elsewhere(lab: Lab, name: str = "over there") -> Path:
    """Another output folder, with a space in its name."""
    folder = lab.root / name
    folder.mkdir(exist_ok=True)
    return folder


def start_waiting(lab: Lab) -> Store:
    """A study whose only training waits until lab.root / "shut" is gone."""
    (lab.root / "shut").touch()
    options = lab.options(trainer=str(NOOP.with_name("gated.yaml")), data={"folder": str(lab.root)}, candidates=1)
    store = begin(options)
    store.put_settings(settings_for(store, options, "local"))
    assert tick_once(store).state == "waiting"
    wait_for(lambda: lab.trained)
    return store


def cancel(root: Path) -> None:
    """Stop the open round's tasks, and wait until they are gone."""
    cancellation(root).carry_out()
    store = Store.open(root)
    paths = store.open_folders()[0][0]
    made = [submission for kind in ("train", "eval") for _, submission in submissions(store, paths, kind)]
    wait_for(lambda: all(status.state is State.GONE for status in LocalLauncher().poll(made).values()))


def test_a_closed_study_goes_on_where_it_was_moved_to(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=2)
    there = elsewhere(lab)
    shutil.move(lab.root / "demo", there / "demo")
    outcome = lab.tune(output_dir=there, candidates=2)
    assert outcome.closed == 1 and lab.said("was moved here from")
    script = next((there / "demo").glob("round_2_*/train_demo_round2.sh")).read_text()
    assert str(lab.root / "demo") not in script and len(lab.trained) == 4
    lab.lines.clear()
    lab.tune(output_dir=there, candidates=2)
    assert not lab.said("moved here"), "said once"


def test_a_rendered_round_is_rendered_again_where_it_was_moved_to(lab: Lab) -> None:
    first = lab.tune(auto_train=False, slurm=True, candidates=2)
    there = elsewhere(lab)
    shutil.move(lab.root / "demo", there / "demo")
    with pytest.raises(MissingResults) as refused:
        lab.tune(auto_train=False, slurm=True, candidates=2, output_dir=there)
    assert str(lab.root / "demo") not in str(refused.value) and str(there / "demo") in str(refused.value)
    assert lab.said("rendered again for this folder") and lab.said("tasks that a person submitted from")
    assert first.commands and not lab.trained
    for script in (there / "demo").glob("round_1_*/*demo_round1.*"):
        assert str(lab.root / "demo") not in script.read_text(), script
    train = next((there / "demo").glob("round_1_*/train_demo_round1.sh"))
    evaluation = train.with_name("eval_demo_round1.sh")
    run_printed(
        [f"bash {shlex.quote(str(train))} {row}" for row in (0, 1)] + [f"bash {shlex.quote(str(evaluation))} 0"]
    )
    assert lab.tune(auto_train=False, candidates=2, output_dir=there).closed == 1 and len(lab.trained) == 2


def test_a_moved_study_waits_while_its_tasks_train_in_the_old_place(lab: Lab) -> None:
    store = start_waiting(lab)
    there = elsewhere(lab)
    shutil.move(lab.root / "demo", there / "demo")
    try:
        with pytest.raises(StudyMoved, match="train in the old place") as refused:
            tick_once(Store.open(there / "demo"))
        # Both remedies can be pasted: a link of the old name, and moving it back.
        link, back = re.search(r"\((ln -s .*?)\)", str(refused.value)), re.search(r"\((mv .*?)\)", str(refused.value))
        assert link and back
        subprocess.run(["bash", "-c", link[1]], check=True)
        assert tick_once(Store.open(there / "demo")).state == "waiting"
        (lab.root / "demo").unlink()
        subprocess.run(["bash", "-c", back[1]], check=True)
        assert tick_once(store).state == "waiting"
    finally:
        if not (lab.root / "demo").exists():
            shutil.move(there / "demo", lab.root / "demo")
    assert len(lab.trained) == 1


def test_a_round_that_was_moved_when_its_tasks_had_ended_is_collected_and_trains_nothing_twice(lab: Lab) -> None:
    store = start_waiting(lab)
    cancel(store.paths.root)
    there = elsewhere(lab)
    shutil.move(lab.root / "demo", there / "demo")
    report, rows = retry_rows(there / "demo", failed=True)
    assert (report.state, rows) == ("waiting", [0])
    wait_for(lambda: len(lab.trained) == 2)
    moved = Store.open(there / "demo")
    claims = sorted(path.parent.name for path in moved.paths.root.glob("round_1_*/trials/*/attempt_*/claim.json"))
    assert claims == ["attempt_1", "attempt_2"], "the new attempt trains in the new place"
    cancel(there / "demo")
    shutil.move(there / "demo", lab.root / "demo")


def test_a_copy_never_touches_the_original_or_its_jobs(lab: Lab) -> None:
    store = start_waiting(lab)
    there = elsewhere(lab)
    shutil.copytree(lab.root / "demo", there / "demo")
    with pytest.raises(StudyMoved, match="is a copy of"):
        tick_once(Store.open(there / "demo"))
    with pytest.raises(StudyMoved, match="is a copy of"):
        cancellation(there / "demo")
    with pytest.raises(StudyMoved, match="is a copy of"):
        stop(there / "demo", now=True, say=lab.lines.append)
    assert not (there / "demo" / "stop.json").exists()
    # The round can be run again in the copy, while the original's goes on.
    lab.tune(output_dir=there, trainer=None, data={}, force_round=1, max_iterations=1, auto_train=False)
    assert len(list((there / "demo").glob("round_1_*"))) == 2
    assert tick_once(store).state == "waiting" and len(lab.trained) == 1
    cancel(store.paths.root)


def test_a_copy_of_a_closed_study_goes_on_by_itself(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=2)
    there = elsewhere(lab)
    shutil.copytree(lab.root / "demo", there / "demo")
    before = {path: path.read_bytes() for path in (lab.root / "demo").rglob("*") if path.is_file()}
    lab.tune(output_dir=there, candidates=2)
    assert lab.said("is a copy of")
    assert {path: path.read_bytes() for path in (lab.root / "demo").rglob("*") if path.is_file()} == before
    lab.lines.clear()
    lab.tune(candidates=2)
    assert not lab.said("is a copy of")
    assert [len(list((root / "demo").glob("round_2_*"))) for root in (lab.root, there)] == [1, 1]


def test_a_study_called_by_another_name_was_not_moved(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=2)
    link = lab.root / "link"
    link.symlink_to(lab.root)
    lab.tune(output_dir=link, candidates=2)
    assert not lab.said("moved here") and not lab.said("is a copy of")


def test_a_study_of_an_earlier_version_is_known_by_its_scripts(lab: Lab) -> None:
    lab.tune(auto_train=False, candidates=2)
    journal = lab.root / "demo" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    kept = [line for line in lines if line["event"] not in ("placed", "round_begun")]
    journal.write_text("".join(json.dumps(line | {"seq": n}) + "\n" for n, line in enumerate(kept, 1)))
    there = elsewhere(lab)
    shutil.move(lab.root / "demo", there / "demo")
    with pytest.raises(MissingResults):
        lab.tune(auto_train=False, candidates=2, output_dir=there)
    assert lab.said("was moved here from")


def test_a_lost_round_folder_is_missed_by_name_and_its_number_is_not_used_again(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2)
    lost = round_folder(lab, 2)
    shutil.rmtree(lost)
    for _ in range(2):
        with pytest.raises(InvalidStudy, match=re.escape(lost.name)) as refused:
            lab.tune(candidates=2)
    assert "--force-round 2" in str(refused.value)
    assert not list((lab.root / "demo").glob("round_2_*")) and len(lab.trained) == 4
    assert lab.tune(candidates=2, force_round=2, max_iterations=2).closed == 1
    assert [o.round for o in Study(lab.root / "demo").history] == [1, 1, 2, 2]
    lab.tune(candidates=2)
    assert round_folder(lab, 3).exists(), "the lost folder was replaced, and is not missed any more"


def test_a_lost_folder_of_a_round_that_waits_for_a_person_is_missed(lab: Lab) -> None:
    lab.tune(auto_train=False, candidates=2)
    lost = round_folder(lab, 1)
    shutil.rmtree(lost)
    with pytest.raises(InvalidStudy, match=re.escape(lost.name)):
        lab.tune(auto_train=False, candidates=2)
    assert lab.tune(auto_train=False, candidates=2, force_round=1).state == "rendered"


def test_a_lost_round_that_still_runs_is_not_begun_beside_itself(lab: Lab) -> None:
    store = start_waiting(lab)
    lost, kept = round_folder(lab, 1), lab.root / "kept"
    shutil.move(lost, kept)
    with pytest.raises(InvalidStudy, match="is not there any more"):
        tick_once(store)
    with pytest.raises(InvalidStudy, match="is not there any more"):
        cancellation(store.paths.root)
    shutil.move(kept, lost)
    cancel(store.paths.root)


def test_a_discarded_round_is_not_missed(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=2)
    store = lab.store()
    store.discard(store.begin(2))
    lab.tune(candidates=2)
    assert round_folder(lab, 2).exists()


def test_several_lost_rounds_are_run_again_one_after_the_other(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2)
    for number in (1, 2):
        shutil.rmtree(round_folder(lab, number))
    with pytest.raises(InvalidStudy, match="round_1_") as refused:
        lab.tune(candidates=2, force_round=2, max_iterations=2)
    assert "round_2_" in str(refused.value)
    with pytest.raises(InvalidStudy, match="round_2_"):
        lab.tune(candidates=2, force_round=1, max_iterations=2)
    assert [o.round for o in Study(lab.root / "demo").history] == [1, 1], "round 1 is closed, and round 2 is next"
    lab.tune(candidates=2, force_round=2, max_iterations=2)
    assert [o.round for o in Study(lab.root / "demo").history] == [1, 1, 2, 2]
