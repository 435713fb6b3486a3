"""Data that is missing, broken or stale is refused with what to do; what is whole is never made again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from nnunet_cases import NAME, make_spec, quiet, values, write_raw

from trainers.contract import DataProblem, StopFlag, TrainerError, Value
from trainers.nnunet import prepare, workers
from trainers.nnunet.precheck import check
from trainers.nnunet.prepare import prepare_data, prepared
from trainers.nnunet.splits import read_splits
from trainers.nnunet.where import locate

pytestmark = pytest.mark.train


def ready(data: dict[str, Value]) -> bool:
    return prepared("Task601_Tiny", data, [values()])


def make(data: dict[str, Value], folds: int = 5) -> bool:
    return prepare_data("Task601_Tiny", data, [values()], folds=folds, cpus=1, stop=StopFlag())


@pytest.fixture
def copy(tiny: dict[str, Value], tmp_path: Path) -> dict[str, Value]:
    """A copy of the prepared data set that a test may damage."""
    for name in ("raw", "preprocessed"):
        shutil.copytree(str(tiny[name]), tmp_path / name)
    return {name: str(tmp_path / name) for name in ("raw", "preprocessed")}


def folder(data: dict[str, Value], kind: str = "preprocessed") -> Path:
    return Path(str(data[kind])) / NAME


@pytest.mark.parametrize("task", ["Task601_Tiny", "Dataset601_Tiny", "601", "Task601_OldName", "task601"])
def test_a_data_set_is_found_by_its_number_under_old_and_new_names(tiny: dict[str, Value], task: str) -> None:
    if task == "task601":
        with pytest.raises(DataProblem, match="must be a number or a name such as"):
            check(task, tiny, {}, folds=5)
        assert locate(task, {**tiny, "dataset": 601}, {}).name == NAME
    else:
        assert locate(task, tiny, {}).name == NAME


def test_folders_come_from_the_environment_where_they_are_not_given(tiny: dict[str, Value]) -> None:
    environment = {"nnUNet_raw": str(tiny["raw"]), "nnUNet_preprocessed": str(tiny["preprocessed"])}
    assert locate("601", {}, environment).raw == folder(tiny, "raw")
    with pytest.raises(DataProblem, match="give --data preprocessed=FOLDER"):
        locate("601", {}, {})


def test_an_unknown_data_set_is_answered_with_those_there_are(tiny: dict[str, Value]) -> None:
    with pytest.raises(DataProblem, match=rf"dataset 'Task999_X' is not there; .*{NAME}"):
        locate("Task999_X", tiny, {})
    with pytest.raises(DataProblem, match=NAME) as caught:
        check("hippocampus", tiny, {}, folds=5)
    assert f"there: {NAME}" not in str(caught.value)


def test_two_names_of_one_number_are_refused(tiny: dict[str, Value], tmp_path: Path) -> None:
    for name in ("Dataset601_A", "Dataset601_B"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataProblem, match="Dataset601_A or Dataset601_B"):
        locate("601", {"preprocessed": str(tmp_path)}, {})


def test_what_is_whole_is_not_made_again(tiny: dict[str, Value], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_make", lambda *arguments: pytest.fail("was made again"))
    assert ready(tiny) and not make(tiny)


def test_a_preprocessing_that_was_killed_is_not_taken_for_a_finished_one(copy: dict[str, Value]) -> None:
    (folder(copy) / ".nnUNetPlans_3d_fullres.unfinished").touch()
    assert not ready(copy)
    assert make(copy) and ready(copy)
    one = next((folder(copy) / "nnUNetPlans_3d_fullres").glob("*.b2nd"))
    one.unlink()
    assert not ready(copy)


def test_the_split_is_nnunets_own_and_written_once(copy: dict[str, Value]) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    splits = read_splits(locate("601", copy, {}))
    theirs = generate_crossval_split(prepare.cases(locate("601", copy, {})), seed=12345, n_splits=5)
    assert splits == [{part: [str(case) for case in fold[part]] for part in fold} for fold in theirs]
    path = folder(copy) / "splits_final.json"
    own = [{"train": splits[0]["train"], "val": splits[0]["val"]}]
    path.write_text(json.dumps(own))
    assert not make(copy, folds=1) and json.loads(path.read_text()) == own
    with pytest.raises(DataProblem, match=r"has 1 folds .* trains fold 4: give --folds 0-0"):
        make(copy)
    own[0]["val"] = ["stranger"]
    path.write_text(json.dumps(own))
    with pytest.raises(DataProblem, match="unknown cases stranger"):
        make(copy, folds=1)
    own[0]["val"] = own[0]["train"][:1]
    path.write_text(json.dumps(own))
    with pytest.raises(DataProblem, match="trains and validates on"):
        make(copy, folds=1)


def test_labels_that_changed_make_preprocessed_data_stale(copy: dict[str, Value]) -> None:
    path = folder(copy, "raw") / "dataset.json"
    description = json.loads(path.read_text())
    description["labels"]["Other"] = 3
    path.write_text(json.dumps(description))
    with pytest.raises(DataProblem, match=r"stale: labels in dataset\.json was .* remove that folder"):
        make(copy)


def test_plans_of_another_data_set_or_cut_off_are_refused(copy: dict[str, Value]) -> None:
    path = folder(copy) / "nnUNetPlans.json"
    text = path.read_text()
    path.write_text(text.replace(NAME, "Dataset007_Pancreas"))
    with pytest.raises(DataProblem, match="dataset_name is 'Dataset007_Pancreas'"):
        make(copy)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataProblem, match="delete this plans file"):
        make(copy)


def test_missing_labels_and_images_are_listed(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    data: dict[str, Value] = {"raw": str(raw.parent), "preprocessed": str(tmp_path / "preprocessed")}
    (raw / "labelsTr" / "tiny_001.nii.gz").unlink()
    (raw / "labelsTr" / "tiny_003.nii.gz").unlink()
    with pytest.raises(DataProblem, match="2 cases have no label in labelsTr: tiny_001, tiny_003"):
        make(data)
    shutil.rmtree(raw / "labelsTr")
    with pytest.raises(DataProblem, match="labelsTr: there is no such folder"):
        make(data)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", cases=2)
    broken = raw / "imagesTr" / "tiny_001_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    data: dict[str, Value] = {"raw": str(raw.parent), "preprocessed": str(tmp_path / "preprocessed")}
    with pytest.raises(DataProblem, match=r"nnU-Net cannot use this data.*tiny_001_0000"):
        make(data)


def test_labels_that_the_description_lacks_are_named(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", cases=2)
    path = raw / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": {"background": 0, "Front": 1}}))
    data: dict[str, Value] = {"raw": str(raw.parent), "preprocessed": str(tmp_path / "preprocessed")}
    with pytest.raises(DataProblem, match="Unexpected label"):
        make(data)
    path.write_text('{"labels": []}')
    with pytest.raises(DataProblem, match=r"dataset\.json: labels = \[\]: must be an object"):
        make(data)


def test_preprocessed_data_needs_no_raw_data_until_something_is_missing(copy: dict[str, Value]) -> None:
    shutil.rmtree(folder(copy, "raw"))
    assert ready(copy) and not make(copy)
    shutil.rmtree(folder(copy) / "nnUNetPlans_3d_fullres")
    with pytest.raises(DataProblem, match="no raw data to do it from: give --data raw=FOLDER"):
        make(copy)


def test_a_job_with_too_little_memory_says_so(
    tiny: dict[str, Value], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainers.nnunet.train import train

    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    with pytest.raises(TrainerError, match=r"this job has 1\.0 GiB of memory; nnU-Net needs at least 2 GiB"):
        train(make_spec(tmp_path, data=tiny), quiet())


def test_processes_are_bounded_by_cpus_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "host_memory", lambda: 64 * 2**30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert workers.bound(8, gpu=True) == 8 and os.environ[workers.AUGMENTING] == "7"
    assert workers.bound(64, gpu=True) == 63 and os.environ[workers.AUGMENTING] == "12"
    assert workers.bound(1, gpu=True) == 1 and os.environ[workers.AUGMENTING] == "0"
    assert workers.bound(8, gpu=False) == 8 and os.environ[workers.AUGMENTING] == "0"
    monkeypatch.setattr(workers, "host_memory", lambda: 4 * 2**30)
    assert workers.bound(8, gpu=True) == 3 and os.environ[workers.POOLS] == "3"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert workers.bound(8, gpu=True) == 2 and os.environ[workers.AUGMENTING] == "0"


def test_without_nnunet_the_extra_is_named(
    tiny: dict[str, Value], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    from trainers.nnunet.train import train

    stock = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name == "trainers.nnunet.trainer":
            raise ModuleNotFoundError("No module named 'nnunetv2'")
        return stock(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(TrainerError, match="No module named 'nnunetv2': install the extra nnunet"):
        train(make_spec(tmp_path, data=tiny), quiet())
