"""A reference is held against its trainer and its data before a study begins and when an edit is taken over."""

from __future__ import annotations

import csv
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import TuneOptions, tune
from agent.api.begin import begin, open_study
from agent.api.by_hand import ByHand, train_by_hand
from agent.api.dry_run import dry_run
from agent.errors import InvalidReference
from agent.fitting import noted
from agent.propose.optuna_tpe import TPEProposer
from agent.reference import check_values, load_reference
from agent.resources import shipped_reference
from agent.roles.digest import digest
from agent.roles.situation import Situation
from agent.store.store import Store
from tests.nnunet_files import REGIONS, write_dataset
from tests.shared_cases import case

REASON = "regions, whose loss is binary and weighs no classes"


def options(root: Path, **changed: Any) -> TuneOptions:
    fields: dict[str, Any] = {
        "task": "321",
        "trainer": "nnunet",
        "output_dir": root / "runs",
        "data": {"raw": str(root / "raw"), "preprocessed": str(root / "preprocessed")},
    }
    return TuneOptions(**(fields | changed))


def written(path: Path, trainer: str, **changed: Any) -> Path:
    """A shipped reference with some of its parameters' entries changed, as a person's file."""
    raw = json.loads(shipped_reference(trainer).read_text())
    for name, entry in changed.items():
        raw["parameters"][name] |= entry
    path.write_text(json.dumps(raw))
    return path


def edited(store: Store, **changed: Any) -> None:
    raw = json.loads(store.paths.reference.read_text())
    for name, entry in changed.items():
        raw["parameters"][name] |= entry
    store.paths.reference.write_text(json.dumps(raw))


def test_what_region_labels_make_impossible_is_held_still_named_and_never_proposed(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", **REGIONS)
    store = begin(options(tmp_path, tune_names=("boosted_class",)))
    reference = load_reference(store.paths.reference)
    held = {"class_weight_power", "boosted_class"}
    assert not held & set(reference.tunable())
    assert all(reference.parameters[name].data_note.endswith(REASON) for name in held)
    assert [line.split()[3] for line in noted(reference)] == ["class_weight_power:", "boosted_class:"]
    proposals = TPEProposer().propose(reference, [], 5, objective=store.config.objective, seed=1, taken=frozenset())
    assert all(not held & set(proposal.values) for proposal in proposals)
    (problem,) = check_values(reference, {"class_weight_power": 0.5})
    assert REASON in problem.message
    situation = Situation(reference=reference, objective=store.config.objective, history=[])
    assert f"stays as it is; with this data its labels are {REASON}" in digest(situation)
    assert "Organs" not in store.paths.reference.read_text()


def test_a_value_that_the_data_makes_impossible_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", **REGIONS)
    own = written(tmp_path / "own.json", "nnunet", class_weight_power={"active_value": 0.5})
    with pytest.raises(InvalidReference) as caught:
        begin(options(tmp_path, hp_ref=own))
    message = str(caught.value)
    assert f"{own}: parameters.class_weight_power.active_value = 0.5" in message and "set it to 0" in message
    assert not (tmp_path / "runs").exists()


def test_pictures_are_trained_as_2d_and_mirrored_along_the_axes_that_they_have(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", ending=".png")
    reference = load_reference(begin(options(tmp_path, tune_names=("all",))).paths.reference)
    assert reference.values()["configuration"] == "2d" and "configuration" not in reference.tunable()
    assert reference.parameters["mirroring"].choices == ("all", "none", "0", "1", "0,1")
    assert reference.parameters["boosted_class"].high == 2 and "boosted_class" in reference.tunable()
    own = written(tmp_path / "own.json", "nnunet", configuration={"active_value": "3d_fullres"})
    with pytest.raises(InvalidReference, match=r'active_value = "3d_fullres": its images are pictures'):
        begin(options(tmp_path, hp_ref=own, study="own"))


def test_volumes_keep_the_whole_space(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw")
    reference = load_reference(begin(options(tmp_path)).paths.reference)
    shipped = load_reference(shipped_reference("nnunet"))
    assert reference.parameters == shipped.parameters


def test_plans_that_are_there_say_which_patches_fit(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw")
    network = {"n_stages": 3, "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "features_per_stage": [8, 16, 32]}
    plan = {"patch_size": [16, 16, 16], "batch_size": 2, "architecture": {"arch_kwargs": network}}
    folder = tmp_path / "preprocessed" / "Dataset321_Organs"
    folder.mkdir(parents=True)
    plans = {"dataset_name": folder.name, "plans_name": "nnUNetPlans", "configurations": {"3d_fullres": plan}}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    sizes = ["planned", "16x16x16", "18x16x16", "24x24x24"]
    own = written(tmp_path / "own.json", "nnunet", patch_size={"choices": sizes, "tune": True})
    reference = load_reference(begin(options(tmp_path, hp_ref=own)).paths.reference)
    assert reference.parameters["patch_size"].choices == ("planned", "16x16x16", "24x24x24")
    own = written(tmp_path / "own.json", "nnunet", patch_size={"choices": sizes, "active_value": "18x16x16"})
    with pytest.raises(InvalidReference, match="must be divisible by the network's total stride 4x4x4"):
        begin(options(tmp_path, hp_ref=own, study="other"))


def test_the_same_call_again_goes_on_with_a_study_whose_space_was_narrowed(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", **REGIONS)
    own = written(tmp_path / "own.json", "nnunet", initial_lr={"active_value": 0.02})
    begin(options(tmp_path, hp_ref=own))
    assert not open_study(options(tmp_path, hp_ref=own))[1]
    other = written(tmp_path / "other.json", "nnunet", initial_lr={"active_value": 0.03})
    with pytest.raises(Exception, match="has begun with another reference"):
        open_study(options(tmp_path, hp_ref=other))


def test_a_reference_of_another_study_loses_what_that_studys_data_took_away(tmp_path: Path) -> None:
    write_dataset(tmp_path / "regions", **REGIONS)
    write_dataset(tmp_path / "plain")
    here = str(tmp_path / "preprocessed")
    first = begin(options(tmp_path, data={"raw": str(tmp_path / "regions"), "preprocessed": here}))
    data = {"raw": str(tmp_path / "plain"), "preprocessed": here}
    second = begin(options(tmp_path, study="second", hp_ref=first.paths.reference, data=data))
    reference = load_reference(second.paths.reference)
    assert "class_weight_power" in reference.tunable() and not noted(reference)


def test_an_edit_that_asks_for_more_than_trainer_or_data_can_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", **REGIONS)
    store = begin(options(tmp_path))
    edited(store, class_weight_power={"tune": True}, optimizer={"choices": ["SGD", "AdamW", "Adam"]})
    text = store.paths.reference.read_text()
    with pytest.raises(InvalidReference, match=r'optimizer\.choices = "Adam": .*did you mean AdamW\?'):
        tune(options(tmp_path))
    with pytest.raises(InvalidReference) as caught:
        dry_run(options(tmp_path))
    assert str(caught.value).startswith(f"{store.paths.reference}: ")
    edited(store, optimizer={"choices": ["SGD", "AdamW"]})
    with pytest.raises(InvalidReference, match=rf'parameters\.class_weight_power: .*{REASON}; set "tune" to false'):
        tune(options(tmp_path))
    assert json.loads(store.paths.reference.read_text()) != json.loads(text)
    assert not store.closed() and not list(store.paths.root.glob("round_1*/manifest.json"))
    edited(store, class_weight_power={"tune": False})
    assert tune(options(tmp_path)).state == "rendered"


def test_an_edit_is_held_against_the_trainer_alone_where_the_data_cannot_be_read(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", **REGIONS)
    store = begin(options(tmp_path))
    shutil.rmtree(tmp_path / "raw" / "Dataset321_Organs")
    edited(store, initial_lr={"active_value": 0.02})
    said: list[str] = []
    assert tune(options(tmp_path), say=said.append).state == "rendered"
    assert any("held against the trainer alone" in line for line in said)
    edited(store, initial_lr={"low": 0.0, "log": False})
    with pytest.raises(InvalidReference, match=r"initial_lr\.low = 0\.0: nnunet cannot use this"):
        tune(options(tmp_path))


def test_the_terminal_names_what_the_data_takes_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "raw", **REGIONS)
    data = [f"raw={tmp_path / 'raw'}", "--data", f"preprocessed={tmp_path / 'preprocessed'}"]
    call = ["--task", "321", "--trainer", "nnunet", "--output-dir", str(tmp_path / "runs"), "--data", *data]
    line = f"with this data class_weight_power: held still at 0.0, because its labels are {REASON}"
    assert line in dry_run(options(tmp_path)).lines and not (tmp_path / "runs").exists()
    assert main(["init", *call]) == 0
    assert line in capsys.readouterr().out
    assert main(["reference", "check", str(tmp_path / "runs/321/hyperparameter_reference.json")]) == 0
    assert line in capsys.readouterr().out
    said: list[str] = []
    tune(options(tmp_path, study="other"), say=said.append)
    assert line in said


def test_reference_check_holds_a_file_against_the_trainer_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = written(tmp_path / "own.json", "resnet9", optimizer={"choices": ["adam", "sgd", "rmsprop"]})
    assert main(["reference", "check", str(own)]) == 2
    told = capsys.readouterr().err
    assert f'{own}: parameters.optimizer.choices = "rmsprop": resnet9 cannot do this; allowed: adam, sgd' in told
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"optimizer": {"type": "categorical", "choices": ["SGD", "Adam"], "default": "SGD"}}))
    assert main(["reference", "check", str(old)]) == 2
    assert "`--trainer NAME` says whose it is" in capsys.readouterr().err
    assert main(["reference", "check", str(old), "--trainer", "nnunet"]) == 2
    assert "did you mean AdamW?" in capsys.readouterr().err
    assert main(["reference", "check", str(old), "--trainer", "informer"]) == 0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            {"metric": "accuracy", "direction": "maximize"},
            r"objective\.metric = \"accuracy\": resnet9 measures",
        ),
        ({"metric": "val_loss", "direction": "maximize"}, r"objective\.direction .* resnet9 is to minimize val_loss"),
    ],
)
def test_an_objective_that_the_trainer_does_not_measure_is_refused(
    tmp_path: Path, objective: dict[str, str], message: str
) -> None:
    own = written(tmp_path / "own.json", "resnet9")
    own.write_text(json.dumps(json.loads(own.read_text()) | {"objective": objective}))
    with pytest.raises(InvalidReference, match=message):
        begin(TuneOptions(task="digits", trainer="resnet9", hp_ref=own, output_dir=tmp_path / "runs"))


def test_a_window_longer_than_the_training_rows_is_taken_away(tmp_path: Path) -> None:
    begun = datetime.datetime(2024, 1, 1)
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["date", "x", "y"])
        rows.writerows([begun + datetime.timedelta(hours=n), n % 7, n % 5] for n in range(400))
    data = {"path": str(tmp_path / "a.csv")}
    plan: dict[str, Any] = {"task": "mine", "trainer": "informer", "output_dir": tmp_path / "runs", "data": data}
    reference = load_reference(begin(TuneOptions(**plan, tune_names=("seq_len",))).paths.reference)
    # 400 rows less 40 for validation and 80 for the test; 24 of them are forecast.
    assert reference.parameters["seq_len"].high == 280 - 24
    assert "280 rows" in reference.parameters["seq_len"].data_note


def test_a_training_by_hand_is_held_against_the_trainer_too(tmp_path: Path) -> None:
    own = written(tmp_path / "own.json", "resnet9", precision={"choices": ["auto", "fp16"], "active_value": "fp16"})
    wanted = ByHand(trainer="resnet9", task="digits", out=tmp_path / "out", hp_ref=own)
    with pytest.raises(InvalidReference, match='"fp16": resnet9 cannot do this; allowed: auto, float32, bfloat16'):
        train_by_hand(wanted, say=lambda line: None)
    assert not (tmp_path / "out").exists()


PROGRAM = """
name: mine
description: a program
command: [python, train.py, "{lr}", "{optimizer}", "{depth}"]
pass_values: [arguments]
summary: out.json
objective: {metric: loss, direction: minimize}
parameters:
  lr: {type: float, low: 1e-5, high: 0.1, log: true, default: 0.001}
  optimizer: {type: categorical, choices: [adam, sgd], default: adam}
  depth: {type: categorical, choices: [2, 4], default: 2}
"""


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        (
            "optimizer",
            {"choices": ["adam", "sgd", "Adam"]},
            "declares no such choice; allowed: adam, sgd; did you",
        ),
        ("optimizer", {"type": "bool", "default": True, "choices": None}, "but mine declares it as categorical"),
        ("lr2", {"type": "bool", "default": True, "description": "x"}, "mine never sees it"),
        ("lr", None, "is missing: mine needs it"),
        ("lr", {"high": 1.0}, ""),
        ("depth", {"choices": [2, 4, 8]}, ""),
    ],
)
def test_a_program_takes_the_names_types_and_texts_of_its_yaml(
    tmp_path: Path, name: str, entry: dict[str, Any] | None, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(PROGRAM)
    plan: dict[str, Any] = {"task": "t", "trainer": str(tmp_path / "mine.yaml"), "output_dir": tmp_path / "runs"}
    raw = json.loads(begin(TuneOptions(**plan)).paths.reference.read_text())
    changed = {**raw["parameters"].get(name, {}), **(entry or {})}
    raw["parameters"][name] = {key: value for key, value in changed.items() if value is not None}
    if entry is None:
        del raw["parameters"][name]
    (tmp_path / "own.json").write_text(json.dumps(raw))
    again = TuneOptions(**plan, study="again", hp_ref=tmp_path / "own.json")
    if message:
        with pytest.raises(InvalidReference, match=message):
            begin(again)
    else:
        begin(again)


@pytest.mark.parametrize(
    ("name", "file", "trainer", "message"),
    [
        ("53-lowres", "old_reference.json", "nnunet", r'"3d_lowres": nnunet cannot do this; allowed: 2d, 3d_fullres'),
        ("72-reference-json", "old_nnunet.json", "nnunet", r'"Adam": .*allowed: SGD, AdamW; did you mean AdamW\?'),
        ("72-reference-json", "rmsprop.json", "resnet9", r'"rmsprop": resnet9 cannot do this; allowed: adam, sgd'),
    ],
)
def test_references_of_outsiders_are_refused_with_what_the_trainer_can_do(
    tmp_path: Path, name: str, file: str, trainer: str, message: str
) -> None:
    given = case(name) / file
    write_dataset(tmp_path / "raw")
    plan = options(tmp_path, hp_ref=given)
    if trainer == "resnet9":
        plan = TuneOptions(task="digits", trainer=trainer, hp_ref=given, output_dir=tmp_path / "runs")
    with pytest.raises(InvalidReference, match=message):
        begin(plan)
    assert not (tmp_path / "runs").exists()


def test_region_labels_of_outsiders_cost_no_candidate(tmp_path: Path) -> None:
    data = {"raw": str(case("41-nnunet-regions") / "raw"), "preprocessed": str(tmp_path / "preprocessed")}
    reference = load_reference(begin(options(tmp_path, task="501", data=data)).paths.reference)
    assert "class_weight_power" not in reference.tunable() and reference.values()["configuration"] == "2d"


def test_epochs_of_the_study_hold_the_hyperparameter_of_that_meaning_still(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw")
    asked = options(tmp_path, tune_names=("num_epochs",))
    assert "num_epochs" in load_reference(begin(asked).paths.reference).tunable()
    held = load_reference(begin(options(tmp_path, tune_names=("all",), epochs=7, study="b")).paths.reference)
    assert "num_epochs" not in held.tunable() and "7 epochs" in held.parameters["num_epochs"].data_note
