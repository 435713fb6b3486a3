"""Rounds from the outside: what lies on disk afterwards, what a person may do in between, what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from agent.api import Study, tick_once
from agent.errors import (
    InputChanged,
    InvalidReference,
    InvalidSummary,
    MissingResults,
    TrialsCrashed,
    UsageError,
)
from agent.reference import load_reference
from agent.store.events import SummaryGiven
from tests.agent.orchestrator.conftest import NOOP, Lab


def round_folder(lab: Lab, number: int) -> Path:
    return sorted((lab.root / "demo").glob(f"round_{number}_*"))[-1]


def edit(path: Path, name: str, value: object) -> None:
    """What a person does to a reference in an editor."""
    raw = json.loads(path.read_text())
    raw["parameters"][name]["active_value"] = value
    path.write_text(json.dumps(raw, indent=4))


def test_two_rounds_leave_every_file_and_train_each_row_once(lab: Lab) -> None:
    outcome = lab.tune(max_rounds=2, candidates=3, seeds=(0, 1))
    assert (outcome.state, outcome.opened, outcome.closed) == ("finished", 2, 2)
    assert len(lab.trained) == len(set(lab.trained)) == 2 * 3 * 2
    second = round_folder(lab, 2)
    for name in (
        "orchestrator.log",
        "step1_hp_autotuning_input.txt",
        "step1_hp_autotuning_response.txt",
        "step2_hp_checker_input.txt",
        "step2_hp_checker_response.txt",
        "checked_hyperparameters.json",
        "tuning_decision_demo_round2.json",
        "train_demo_round2.sh",
        "eval_demo_round2.sh",
        "val_summary.json",
        "manifest.json",
        "round.json",
    ):
        assert (second / name).stat().st_size > 0, name
    assert not (second / "train_demo_round2.slurm").exists()
    study = Study(lab.root / "demo")
    values = [o.value for o in study.history]
    assert len(values) == 6 and None not in values
    # A better mean alone takes no place: 1.3 % is less than the least gain worth a change.
    assert study.best is not None and (study.best["candidate"], study.best["mean"]) == ("c00", values[0])
    assert study.best["mean"] < max(v for v in values if v is not None) < 1.02 * study.best["mean"]
    assert study.recent(2)[0].candidate == "c02"
    decision = json.loads((second / "tuning_decision_demo_round2.json").read_text())
    assert [c["name"] for c in decision["candidates"]] == ["c00", "c01", "c02"]
    assert all(c["source"] and c["reason"] for c in decision["candidates"])
    csv = (lab.root / "demo" / "trials_summary.csv").read_text().splitlines()
    assert csv[0].startswith("round,candidate,fold,seed") and len(csv) == 1 + 12


def test_the_default_comes_first_and_the_reference_follows_c00(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2)
    root = lab.root / "demo"
    first, second = round_folder(lab, 1), round_folder(lab, 2)
    archived = root / "history" / "hyperparameter_reference_round_1.json"
    assert archived.read_bytes() == (first / "candidates/c00/hyperparameter_reference.json").read_bytes()
    now = root / "hyperparameter_reference.json"
    assert now.read_bytes() == (second / "candidates/c00/hyperparameter_reference.json").read_bytes()
    reference = load_reference(now)
    assert (reference.round, reference.version) == (2, 2) and reference.raw["changes"]
    assert load_reference(archived).values()["x"] == 0.5
    assert Study(root).history[0].source == "default"


def test_round_1_with_one_candidate_uses_no_agent_at_all(lab: Lab) -> None:
    lab.tune()
    first = round_folder(lab, 1)
    assert not list(first.glob("step1_*")) and not list(first.glob("step2_*"))
    assert json.loads((first / "steps/01_analyse.json").read_text())["status"] == "skipped"


def test_no_configuration_is_trained_twice(lab: Lab) -> None:
    lab.tune(max_rounds=4, candidates=3)
    keys = [o.key for o in Study(lab.root / "demo").history]
    assert len(keys) == len(set(keys)) == 12


def test_failures_are_outcomes_and_never_scores(lab: Lab) -> None:
    lab.tune(max_rounds=1)
    edit(lab.root / "demo" / "hyperparameter_reference.json", "mode", "bad")
    lab.tune(max_rounds=1, candidates=2)
    edit(lab.root / "demo" / "hyperparameter_reference.json", "mode", "crash")
    with pytest.raises(TrialsCrashed, match="a bug"):
        lab.tune(max_rounds=2, candidates=1)
    study = Study(lab.root / "demo")
    assert [str(o.outcome) for o in study.history] == ["ok", "bad_config", "bad_config", "crashed"]
    assert [o.value is None for o in study.history] == [False, True, True, True]
    assert "the loss is nan" in study.history[1].message
    assert study.best is not None and study.best["round"] == 1


def test_a_persons_edit_becomes_c00_and_is_archived(lab: Lab) -> None:
    lab.tune()
    reference = lab.root / "demo" / "hyperparameter_reference.json"
    edit(reference, "x", 0.31)
    bytes_as_edited = reference.read_bytes()
    lab.tune(candidates=2)
    history = Study(lab.root / "demo").history
    assert [o.source for o in history] == ["default", "person", "random_startup"]
    assert history[1].values["x"] == 0.31
    archive = lab.root / "demo" / "history"
    assert (archive / "hyperparameter_reference_round_2.json").read_bytes() == bytes_as_edited
    lab.tune()
    assert (archive / "hyperparameter_reference_round_2_v2.json").exists()
    assert load_reference(archive / "hyperparameter_reference_round_2_v2.json").raw["source"] == "person"


def test_an_edit_before_round_1_is_the_persons(lab: Lab) -> None:
    from agent.api.begin import begin

    store = begin(lab.options())
    edit(store.paths.reference, "x", 0.9)
    lab.tune()
    assert Study(store.paths.root).history[0].source == "person"


def test_a_broken_edit_is_refused_and_nothing_is_lost(lab: Lab) -> None:
    lab.tune()
    reference = lab.root / "demo" / "hyperparameter_reference.json"
    good = reference.read_text()
    edit(reference, "x", 7)
    with pytest.raises(InvalidReference, match=r"parameters\.x\.active_value"):
        lab.tune()
    reference.write_text(good)
    assert lab.tune().closed == 1


def test_restore_is_an_edit_of_the_next_round(lab: Lab) -> None:
    lab.tune(max_rounds=2)
    store = lab.store()
    with pytest.raises(UsageError, match="round_1"):
        store.versions.restore("9", lambda old, new: "")
    store.versions.restore("1", lambda old, new: "")
    lab.tune()
    # Round 1's values were trained already, so the proposer goes on from them instead of repeating them.
    assert lab.said("were trained before")


def test_a_forced_round_is_run_again_without_moving_the_counter(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2)
    before = [o.key for o in Study(lab.root / "demo").history]
    current = (lab.root / "demo" / "hyperparameter_reference.json").read_bytes()
    lab.tune(force_round=1, max_iterations=2)
    assert len(list((lab.root / "demo").glob("round_1_*"))) == 2
    assert [o.key for o in Study(lab.root / "demo").history] == before
    assert (lab.root / "demo" / "hyperparameter_reference.json").read_bytes() == current
    assert lab.trained.count("1 c00 0 0") == 2 and lab.trained.count("2 c00 0 0") == 1
    with pytest.raises(InputChanged, match="rounds 1 to 2 exist"):
        lab.tune(force_round=7)


def test_the_confirmation_pairs_fresh_seeds(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=3, confirm="final")
    folder = next((lab.root / "demo").glob("confirm_2_*"))
    record = json.loads((folder / "round.json").read_text())
    assert record["seeds"] == [1000, 1001, 1002] and record["gain"]["n"] == 3
    count = len(lab.trained)
    lab.tune(max_iterations=2, candidates=3, confirm="final")
    assert len(lab.trained) == count, "a winner that was confirmed is not confirmed again"


# -- the manual flow -------------------------------------------------------------------------------------------


def run_printed(commands: list[str] | tuple[str, ...]) -> None:
    """Run the lines as a person would; evaluation last, as printed."""
    done = subprocess.run(["bash", "-c", "\n".join(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_manual_flow_renders_collects_and_goes_on(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False, candidates=2)
    assert outcome.state == "rendered" and not lab.trained
    with pytest.raises(MissingResults, match="c01_f0_s0 has no result"):
        lab.tune(auto_train=False, candidates=2)
    run_printed(list(outcome.commands))
    second = lab.tune(auto_train=False, candidates=2)
    assert (second.state, second.opened, second.closed) == ("rendered", 1, 1)
    assert round_folder(lab, 2).exists() and len(lab.trained) == 2


def test_slurm_lines_are_printed_exactly(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False, slurm=True, candidates=2, seeds=(0, 1), parallel=3)
    folder = round_folder(lab, 1)
    assert list(outcome.commands) == [
        f"J=$(sbatch --parsable --array=0-3%3 {folder}/train_demo_round1.slurm)",
        f"sbatch --array=0 --dependency=afterany:$J {folder}/eval_demo_round1.slurm",
    ]


def test_a_summary_by_hand_ends_the_wait(lab: Lab, tmp_path: Path) -> None:
    lab.tune(auto_train=False)
    given = tmp_path / "given.json"
    for text, problem in (('{"score": NaN}', "NaN"), ('{"other": 1}', "present: other"), ("{", "line 1")):
        given.write_text(text)
        with pytest.raises(InvalidSummary, match=problem):
            lab.tune(auto_train=False, val_summary=given)
    given.write_text('{"score": 0.75}')
    lab.tune(auto_train=False, val_summary=given)
    assert Study(lab.root / "demo").history[0].value == 0.75
    # The next one is dropped into the folder.
    (round_folder(lab, 2) / "val_summary.json").write_text('{"score": 0.5}')
    lab.tune(auto_train=False)
    assert [o.value for o in Study(lab.root / "demo").history] == [0.75, 0.5]
    assert len(list(lab.store().journal.of(SummaryGiven))) == 2


def test_one_summary_cannot_stand_for_several_candidates(lab: Lab, tmp_path: Path) -> None:
    lab.tune(auto_train=False, candidates=2)
    given = tmp_path / "given.json"
    given.write_text('{"score": 0.75}')
    with pytest.raises(UsageError, match="2 candidates"):
        lab.tune(auto_train=False, candidates=2, val_summary=given)


def test_an_edit_before_submission_renders_the_round_again(lab: Lab) -> None:
    lab.tune(max_rounds=1)
    lab.tune(auto_train=False)
    edit(lab.root / "demo" / "hyperparameter_reference.json", "x", 0.25)
    assert lab.tune(auto_train=False).state == "rendered"
    with pytest.raises(MissingResults):
        lab.tune(auto_train=False)
    candidate = load_reference(round_folder(lab, 2) / "candidates/c00/hyperparameter_reference.json")
    assert candidate.values()["x"] == 0.25 and candidate.raw["source"] == "person"
    assert lab.said("doing the round again from propose")


def test_a_changed_reference_of_a_submitted_round_is_refused_by_name(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False)
    run_printed([line for line in outcome.commands if "train_" in line])
    path = round_folder(lab, 1) / "candidates/c00/hyperparameter_reference.json"
    good = path.read_text()
    path.write_text(good.replace("0.5", "0.6"))
    with pytest.raises(InputChanged, match="candidates/c00"):
        lab.tune(auto_train=False)
    path.write_text(good)
    run_printed([line for line in outcome.commands if "eval_" in line])
    assert lab.tune(auto_train=False).closed == 1


# -- options that do not fit -----------------------------------------------------------------------------------


def test_options_that_contradict_the_study_are_refused(lab: Lab, tmp_path: Path) -> None:
    lab.tune()
    with pytest.raises(UsageError, match="--seeds"):
        lab.tune(seeds=(5,))
    with pytest.raises(UsageError, match="--epochs"):
        lab.tune(epochs=9)
    other = tmp_path / "other.json"
    other.write_text((lab.root / "demo" / "hyperparameter_reference.json").read_text().replace("0.5", "0.4"))
    with pytest.raises(UsageError, match="has begun with another reference"):
        lab.tune(hp_ref=other)
    with pytest.raises(UsageError, match="no test evaluation"):
        lab.tune(use_test=True)


def test_an_own_reference_is_copied_and_never_written(lab: Lab, tmp_path: Path) -> None:
    from agent.catalogue import find_trainer

    own = tmp_path / "own.json"
    own.write_text(find_trainer(str(lab.options().trainer)).reference("demo").to_text())
    edit(own, "x", 0.125)
    before = own.read_bytes()
    for _ in range(2):
        lab.tune(hp_ref=own)
    assert own.read_bytes() == before
    assert Study(lab.root / "demo").history[0].values["x"] == 0.125


def test_a_tick_does_one_step_and_can_be_repeated(lab: Lab) -> None:
    lab.tune()
    store = lab.store()
    assert tick_once(store).state == "finished"
    assert tick_once(store).state == "finished"
    assert len(lab.trained) == 1


def test_a_round_of_crashes_stops_and_the_default_is_tried_again(lab: Lab) -> None:
    from agent.api.begin import begin

    store = begin(lab.options())
    good = store.paths.reference.read_text()
    edit(store.paths.reference, "mode", "crash")
    with pytest.raises(TrialsCrashed, match="counts as untried"):
        lab.tune(max_rounds=3, candidates=2)
    assert len(Study(store.paths.root).rounds) == 1
    store.paths.reference.write_text(good)
    lab.tune(max_iterations=2, candidates=2)
    history = Study(store.paths.root).history
    assert [str(o.outcome) for o in history] == ["crashed", "crashed", "ok", "ok"]
    assert history[2].values == {"x": 0.5, "mode": "good"}


def test_a_used_up_space_ends_the_study_as_a_result(lab: Lab) -> None:
    from agent.api.begin import begin

    store = begin(lab.options())
    raw = json.loads(store.paths.reference.read_text())
    raw["parameters"]["x"] |= {"high": 0.5, "low": 0.25, "step": 0.25}
    store.paths.reference.write_text(json.dumps(raw))
    outcome = lab.tune(max_rounds=4, candidates=5)
    assert (outcome.state, outcome.closed) == ("finished", 1) and lab.said("the study ends here")
    assert len(Study(store.paths.root).history) == 2
    assert len(list(store.paths.root.glob("round_*"))) == 1


def test_a_confirmed_challenger_takes_the_defaults_place(lab: Lab) -> None:
    """The default leads by a lucky seed; paired trials at fresh seeds show the other to be better."""

    lab.tune(max_rounds=1, candidates=3)
    store = lab.store()
    default = store.history()[0]
    challenger = max(store.history()[1:], key=lambda o: o.value or 0.0)
    assert challenger.value is not None and default.value is not None
    record = json.loads(store.closed()[0].closed.read_text())
    record["candidates"][0]["value"] = challenger.value + 0.01
    store.closed()[0].closed.write_text(json.dumps(record))
    raw = json.loads(store.paths.incumbent.read_text())
    store.paths.incumbent.write_text(
        json.dumps(raw | {"candidate": "c00", "key": default.key, "mean": challenger.value + 0.01})
    )
    lab.tune(max_iterations=1, candidates=3, confirm="final")
    best = Study(store.paths.root).best
    assert best is not None and (best["candidate"], best["verdict"]) == (challenger.candidate, "confirmed")
    lab.tune(max_iterations=2, candidates=1)
    again = json.loads(store.paths.incumbent.read_text())
    assert again["key"] != default.key, "the beaten default does not come back by its lucky run"


def test_a_changed_description_is_refused_by_its_study(lab: Lab, tmp_path: Path) -> None:
    lab.tune()
    other = tmp_path / "noop.yaml"
    other.write_text(NOOP.read_text().replace("high: 1.0", "high: 2.0"))
    (tmp_path / "noop.sh").write_text("")
    with pytest.raises(UsageError, match="differs from the description"):
        lab.tune(trainer=str(other))
