"""Rounds that thin out their candidates: few epochs on one fold first, and only the best of them in full."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study, TuneOptions, tune
from agent.api.begin import begin
from agent.api.dry_run import dry_run
from agent.cli.main import run as cli
from agent.errors import InputChanged, MissingResults, UsageError
from agent.orchestrator.training.submissions import submissions
from agent.store.events import Submitted
from agent.store.store import Store
from tests.agent.orchestrator.conftest import NOOP, Lab, wait_for
from tests.agent.orchestrator.test_rounds import edit, round_folder, run_printed
from tests.cluster.cluster import Cluster

EPOCHS = str(NOOP.with_name("epochs.yaml"))
#: Nine candidates: the default and eight others.
WIDE: dict[str, Any] = {"trainer": EPOCHS, "candidates": 9, "rungs": 3}


def trained(lab: Lab, number: int = 1) -> Counter[str]:
    """How often a round trained from which epoch to which: "0-1"."""
    return Counter(line.split()[-1] for line in lab.trained if line.startswith(f"{number} "))


def rung(lab: Lab, number: int, of: int = 1) -> Path:
    return next((lab.root / "demo").glob(f"rung{number}_{of}_*"))


def record(folder: Path) -> Any:
    return json.loads((folder / "round.json").read_text())


def test_one_in_eta_goes_on_and_is_continued(lab: Lab) -> None:
    outcome = lab.tune(**WIDE)
    assert outcome.closed == 1
    # Nine for one epoch and three for three on fold 0; then the default and the best at all three folds: fold 0 goes
    # on where it was, the others begin.
    assert trained(lab) == {"0-1": 9, "1-3": 3, "3-9": 2, "0-9": 4}
    assert all(" f0 " in line for line in lab.trained if not line.endswith(("0-9", "3-9")))
    first, second = record(rung(lab, 1)), record(rung(lab, 2))
    values = {c["name"]: c["value"] for c in first["candidates"]}
    best = sorted(values.keys() - {"c00"}, key=lambda name: -values[name])
    assert set(first["promoted"]) == {"c00", *best[:2]} and set(second["promoted"]) == {"c00", best[0]}
    closed = record(round_folder(lab, 1))
    assert [c["n"] for c in closed["candidates"]] == [3, 3]
    assert [c["source"] for c in closed["candidates"]] == ["default", "random_startup"]
    assert [(r["epochs"], r["folds"], len(r["candidates"])) for r in closed["screened"]] == [(1, [0], 9), (3, [0], 3)]
    # What was promoted has its value of the full training alone; the others are known by their rung's.
    assert len(Study(lab.root / "demo").history) == 2
    given_up = lab.store().screened()
    assert sorted(o.candidate for o in given_up) == sorted(
        [f"rung 1 {name}" for name in best[2:]] + [f"rung 2 {best[1]}"]
    )
    assert {o.fidelity for o in given_up} == {1 / 9, 1 / 3}


def test_what_was_given_up_is_not_tried_again_and_tpe_hears_of_it(lab: Lab) -> None:
    lab.tune(**WIDE, max_rounds=2)
    places = [line.split()[3] for line in lab.trained if line.endswith(" 0-1")]
    assert len(places) == len(set(places)) == 18
    second = json.loads((round_folder(lab, 2) / "proposals.json").read_text())["proposals"]
    assert second[0]["source"] == "optuna_tpe" and second[0]["details"]["n_screened"] == 7
    assert "TPE over 2 scored trials, 7 given up in rungs" in second[0]["reason"]
    # Later rounds train no default again: one goes on.
    assert trained(lab, 2) == {"0-1": 9, "1-3": 3, "3-9": 1, "0-9": 2}


def test_settings_that_fail_in_a_rung_are_knowledge_and_go_no_further(lab: Lab) -> None:
    lab.tune(**WIDE, max_iterations=1, seed=3)
    study = lab.root / "demo" / "hyperparameter_reference.json"
    edit(study, "x", 0.95)
    lab.tune(**WIDE, max_iterations=2, seed=3)
    # The person's own settings diverge in the first rung: like all that fails, they go no further.
    second = record(rung(lab, 1, of=2))
    failed = [c["name"] for c in second["candidates"] if c["outcome"] == "bad_config"]
    assert "c00" in failed and not set(failed) & set(second["promoted"])
    assert [o.outcome for o in lab.store().screened() if (o.round, o.candidate) == (2, "rung 1 c00")] == [
        "bad_config"
    ]
    assert not any("x=0.95 " in line for line in lab.trained if not line.endswith("0-1"))


def test_where_all_fail_one_ends_the_round(lab: Lab, tmp_path: Path) -> None:
    reference = tmp_path / "high.json"
    begin(lab.options(trainer=EPOCHS, output_dir=tmp_path / "other"))
    raw = json.loads((tmp_path / "other" / "demo" / "hyperparameter_reference.json").read_text())
    raw["parameters"]["x"] |= {"low": 0.91, "default": 0.95}
    reference.write_text(json.dumps(raw))
    outcome = lab.tune(**WIDE, hp_ref=reference)
    assert outcome.closed == 1 and lab.said("nobody has a value; c00 alone goes on")
    assert [c["outcome"] for c in record(round_folder(lab, 1))["candidates"]] == ["bad_config"]
    assert trained(lab) == {"0-1": 9, "0-9": 3}


def test_one_candidate_has_nobody_to_be_compared_with(lab: Lab) -> None:
    lab.tune(trainer=EPOCHS, rungs=3, max_rounds=2)
    assert not list((lab.root / "demo").glob("rung*")) and len(lab.trained) == 6


def test_more_folds_and_fewer_rungs(lab: Lab) -> None:
    lab.tune(trainer=EPOCHS, candidates=4, rungs=2, eta=2, rung_folds=2)
    assert trained(lab) == {"0-5": 8, "5-9": 4, "0-9": 2}


def test_a_plan_that_was_begun_is_finished_as_it_was_begun(lab: Lab) -> None:
    with pytest.raises(MissingResults):
        for _ in range(2):
            lab.tune(**WIDE, auto_train=False)
    outcome = lab.tune(trainer=EPOCHS, candidates=9, rungs=1)
    assert outcome.closed == 1 and trained(lab) == {"0-1": 9, "1-3": 3, "3-9": 2, "0-9": 4}


def test_by_hand_each_rung_is_printed_and_waited_for(lab: Lab) -> None:
    given = {"trainer": EPOCHS, "candidates": 4, "rungs": 2, "auto_train": False}
    first = lab.tune(**given)
    assert first.state == "rendered" and any("rung1_1_" in command for command in first.commands)
    with pytest.raises(MissingResults, match="round 1 rung 1"):
        lab.tune(**given)
    run_printed(list(first.commands))
    second = lab.tune(**given)
    assert second.closed == 0 and all(
        "/round_1_" in command for command in second.commands if "roundtable" in command
    )
    run_printed(list(second.commands))
    assert lab.tune(**given).closed == 1
    assert trained(lab) == {"0-3": 4, "3-9": 2, "0-9": 4}


def test_the_reference_stands_still_while_rungs_are_trained(lab: Lab) -> None:
    given = {"trainer": EPOCHS, "candidates": 4, "rungs": 2}
    lab.tune(**given, auto_train=False)
    study = lab.root / "demo" / "hyperparameter_reference.json"
    before = study.read_text()
    edit(study, "x", 0.31)
    with pytest.raises(InputChanged, match="changed while the rungs of round 1 are trained; put it back"):
        lab.tune(**given)
    study.write_text(before)
    assert lab.tune(**given).closed == 1


def test_a_round_with_rungs_can_be_run_again(lab: Lab) -> None:
    given = {"trainer": EPOCHS, "candidates": 4, "rungs": 2}
    lab.tune(**given)
    lab.tune(**given, force_round=1)
    assert len(list((lab.root / "demo").glob("rung1_1_*"))) == 2
    assert trained(lab) == {"0-3": 8, "3-9": 4, "0-9": 8}


def test_status_and_tables_tell_of_rungs(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(**WIDE)
    assert cli(["status", "--study", str(lab.root / "demo")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "round 1: rungs of 9 for 1, 3 for 3 epochs; in full: c00, c0" in shown
    rows = list(csv.DictReader(io.StringIO((lab.root / "demo" / "trials_summary.csv").read_text())))
    assert Counter(row["rung"] for row in rows) == {"1": 9, "2": 3, "": 6}


def test_an_open_rung_is_what_status_and_submit_mean(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"trainer": EPOCHS, "candidates": 4, "rungs": 2, "auto_train": False}
    lab.tune(**given)
    study = ["--study", str(lab.root / "demo")]
    assert cli(["status", *study]) == 0
    assert "round 1 rung 1 is open" in " ".join(capsys.readouterr().out.split())
    assert cli(["submit", *study]) == 0
    wait_for(lambda: len(lab.trained) == 4)
    assert submissions(lab.store(), lab.store().at_work()[0], "train")
    assert lab.tune(**(given | {"auto_train": True})).closed == 1


def test_a_dry_run_shows_the_rung_first(lab: Lab) -> None:
    found = dry_run(lab.options(**WIDE, max_rounds=1))
    assert any("9 candidates, 9 rows" in line for line in found.lines), found.lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": str(NOOP), "rungs": 2}, "trainer noop has no number of epochs to train fewer of; give --epochs"),
        ({"trainer": EPOCHS, "rungs": 4}, "would train for 1, 1, 3, 9 epochs"),
        ({"trainer": EPOCHS, "rungs": 10}, "rungs = 10: must be a whole number from 1 to 9"),
        ({"trainer": EPOCHS, "eta": 1}, "eta = 1: must be a whole number from 2"),
    ],
)
def test_rungs_that_cannot_be(lab: Lab, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lab.tune(**changes)
    assert not (lab.root / "demo").exists()


def test_rungs_that_cannot_be_in_a_study_that_is_there(lab: Lab) -> None:
    lab.tune(trainer=EPOCHS)
    before = (lab.root / "demo" / "settings.json").read_text()
    with pytest.raises(UsageError, match="would train for 1, 1, 3, 9 epochs"):
        lab.tune(trainer=EPOCHS, rungs=4)
    assert (lab.root / "demo" / "settings.json").read_text() == before


@pytest.mark.cluster
def test_rungs_on_a_real_cluster(lab: Lab, slurm: Cluster, tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text('partition: main\ncpus: 1\ntime: "00:10:00"\n')
    outcome = lab.tune(**WIDE, launcher="sbatch", profile=profile, poll_s=0.3)
    assert outcome.closed == 1 and trained(lab) == {"0-1": 9, "1-3": 3, "3-9": 2, "0-9": 4}
    jobs = [entry.job_id for entry in lab.store().journal.of(Submitted)]
    assert len(jobs) == len(set(jobs)) == 6


@pytest.mark.train
def test_resnet9_goes_on_from_its_rung(tmp_path: Path) -> None:
    tune(
        TuneOptions(
            task="digits",
            trainer="resnet9",
            output_dir=tmp_path,
            auto_train=True,
            launcher="local",
            candidates=3,
            rungs=2,
            epochs=4,
            eta=2,
            confirm="never",
        )
    )
    store = Store.open(tmp_path / "digits")
    (paths,) = store.closed()
    for candidate in store.round_record(paths).candidates:
        attempt = next(paths.trial(candidate.candidate, 0, store.config.seeds[0]).glob("attempt_1"))
        summary = json.loads((attempt / "summary.json").read_text())
        assert "/rung1_1_" in summary["resumed_from"] and "(epoch 2" in summary["resumed_from"]
        with open(attempt / "metrics_epoch.csv", newline="") as stream:
            assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3", "4"]
