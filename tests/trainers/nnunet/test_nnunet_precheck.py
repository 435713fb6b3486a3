"""What is wrong with a data set is said on the login node, before anything is submitted, with files and numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nnunet_files import NAME, REGIONS, write_dataset, write_nifti, write_png
from tests.shared_cases import case
from trainers.contract import DataProblem
from trainers.nnunet.labels import read_labels
from trainers.nnunet.precheck import check


def look(root: Path, task: str = "321", folds: int = 5) -> None:
    check(task, {"raw": str(root), "preprocessed": str(root.parent / "preprocessed")}, {}, folds=folds)


def write_splits(root: Path, text: str) -> None:
    folder = root.parent / "preprocessed" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits_final.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
@pytest.mark.parametrize("changed", [{}, REGIONS, {"labels": {"background": 0, "a": [1], "b": 2, "ignore": 3}}])
def test_what_nnunet_trains_on_passes(tmp_path: Path, ending: str, changed: dict[str, Any]) -> None:
    write_dataset(tmp_path / "raw", ending=ending, channels=2, **changed)
    look(tmp_path / "raw")


def test_a_file_of_several_channels_counts_them(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "raw", ending=".png", channel_names={"0": "R", "1": "G", "2": "B"})
    with pytest.raises(DataProblem, match=r"needs 3 \(R, G, B\) channels .* 6 of 6 .* case0 has 1 \(case0_0000"):
        look(tmp_path / "raw")
    for number in range(6):
        write_png(folder / "imagesTr" / f"case{number}_0000.png", channels=3)
    look(tmp_path / "raw")
    write_nifti(write_dataset(tmp_path / "other") / "imagesTr" / "case3_0000.nii.gz", size=(8, 6, 4, 2))
    with pytest.raises(DataProblem, match=r"1 of 6 cases do not fit: case3 has 2"):
        look(tmp_path / "other")


def test_a_slice_is_the_same_with_and_without_a_third_axis(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "raw")
    for number in range(6):
        write_nifti(folder / "imagesTr" / f"case{number}_0000.nii.gz", size=(8, 6))
        write_nifti(folder / "labelsTr" / f"case{number}.nii.gz", size=(8, 6, 1))
    look(tmp_path / "raw")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": {"0": "background", "1": "liver"}}, r'wants name -> number: \{"background": 0, "liver": 1\}'),
        ({"labels": {"background": 0, "liver": 1, "spleen": 3}}, "uses 0, 1, 3, but not 2: .* without a gap"),
        ({"labels": {"background": 0, "a": [1, 4], "b": 4}, "regions_class_order": [1, 4]}, "but not 2, 3"),
        ({"labels": {"bg": 0, "liver": 1}}, "no background, .* rename 'bg', which has 0, to background"),
        ({"labels": {"liver": 1}}, 'no background, .* add "background": 0'),
        ({"labels": {"background": 1, "liver": 0}}, r"labels\.background = 1: must be 0"),
        (
            {"labels": {"background": 0, "liver": "1"}},
            r'labels\.liver = "1": must be a whole number .* without quotes',
        ),
        ({"labels": {"background": 0, "liver": 1.5}}, r"labels\.liver = 1\.5"),
        ({"labels": {"background": 0, "liver": True}}, r"labels\.liver = true"),
        ({"labels": {"background": 0, "liver": -1}}, r"labels\.liver = -1"),
        ({"labels": {"background": 0, "liver": []}}, r"labels\.liver = \[\]"),
        ({"labels": {"background": 0, "liver": 1, "hepar": 1}}, "liver, hepar have the same number 1"),
        ({"labels": {"background": 0, "liver": 2, "ignore": 1}}, "uses 0, 2, but not 1"),
        ({"labels": {"background": 0, "liver": 1, "ignore": 5}}, r"ignore = 5: must be the highest label, 2"),
        ({"labels": []}, r"labels = \[\]: must be an object"),
        ({"labels": None}, "labels = null: must be an object"),
        ({**REGIONS, "regions_class_order": None}, "regions_class_order is missing: .* 2 labels, .* whole, core"),
        ({**REGIONS, "regions_class_order": [1]}, r"regions_class_order = \[1\]: must be a list of 2 labels"),
        ({**REGIONS, "regions_class_order": [1, 7]}, "7 is no label"),
        ({"channel_names": {"CT": "0"}}, "has name -> number"),
        ({"channel_names": {"1": "CT"}}, "has the numbers 1; they must be 0, 1, 2"),
        ({"channel_names": None}, "channel_names = null: must be an object"),
        (
            {"channel_names": None, "modality": {"0": "CT"}, "training": []},
            r"of nnU-Net v1 or .* \(modality, training",
        ),
        ({"file_ending": "nii.gz"}, r'file_ending = "nii\.gz": nnU-Net reads .*; did you mean \.nii\.gz\?'),
        ({"file_ending": ".jpg"}, r"nnU-Net reads \.png"),
        ({"file_ending": None}, "file_ending = null: must be the end of the image files' names"),
        ({"file_ending": ".mha"}, r"imagesTr: no file ends in \.mha .*; it holds 6 of \.nii\.gz"),
        ({"numTraining": 7}, "numTraining in dataset.json is 7, but there are 6 training cases: set it to 6"),
        ({"numTraining": "6"}, "numTraining in dataset.json is '6'"),
        ({"numTraining": None}, "numTraining in dataset.json is None"),
        ({"dataset": {"c": {"images": ["x_0000.nii.gz"], "label": "x.nii.gz"}}}, "2 files that dataset.json names"),
        ({"dataset": {"c": {"image": "x.nii.gz"}}}, r"dataset\.c in dataset\.json must be"),
        ({"dataset": {}}, "dataset in dataset.json names no case"),
    ],
)
def test_a_dataset_json_that_does_not_hold_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    folder = write_dataset(tmp_path / "raw", **changed)
    with pytest.raises(DataProblem, match=message) as caught:
        look(tmp_path / "raw")
    assert str(folder) in str(caught.value)


def test_cases_that_dataset_json_names_need_no_folders(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "raw")
    listed = {
        f"case{n}": {"images": [f"pictures/case{n}_0000.nii.gz"], "label": str(folder / f"labelsTr/case{n}.nii.gz")}
        for n in range(6)
    }
    (folder / "imagesTr").rename(folder / "pictures")
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"dataset": listed}))
    look(tmp_path / "raw")


def test_a_byte_order_mark_is_refused_because_nnunet_reads_the_file_too_and_the_remedy_works(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "raw data")
    path = folder / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(DataProblem, match="begins with a byte order mark") as caught:
        look(tmp_path / "raw data")
    subprocess.run(str(caught.value).partition("without one: ")[2], shell=True, check=True)
    look(tmp_path / "raw data")


def drop(part: str, name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / part / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("labelsTr", "case2.nii.gz"), "1 cases have no label in labelsTr: case2"),
        (drop("imagesTr", "case2_0001.nii.gz"), r"1 of 6 cases do not fit: case2 has 1 \(case2_0000\.nii\.gz\)"),
        (
            lambda folder: (folder / "imagesTr/case2_0001.nii.gz").rename(folder / "imagesTr/case2_0002.nii.gz"),
            "case2 has 2 .*case2_0002",
        ),
        (
            lambda folder: (folder / "imagesTr/case2_0001.nii.gz").rename(folder / "imagesTr/case2_T2.nii.gz"),
            r"1 of 12 images in imagesTr lack the channel suffix .*: case2_T2\.nii\.gz",
        ),
        (lambda folder: write_nifti(folder / "labelsTr/case1.nii.gz", size=(8, 6, 5)), "labelsTr/case1.nii.gz 8x6x5"),
        (lambda folder: write_nifti(folder / "imagesTr/._case1_0000.nii.gz"), "begin with a dot .* find .* -delete"),
        (lambda folder: shutil.rmtree(folder / "labelsTr"), "labelsTr: there is no such folder"),
        (
            lambda folder: [
                f.rename(f.with_name(f.name.replace(".", "_0000.", 1))) for f in folder.glob("labelsTr/*")
            ],
            r"6 labels in labelsTr carry a channel suffix",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(write_dataset(tmp_path / "raw", channels=2))
    with pytest.raises(DataProblem, match=message):
        look(tmp_path / "raw")


def test_images_without_a_channel_are_renamed_by_the_line_that_is_given(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "my raw")
    for image in folder.glob("imagesTr/*"):
        image.rename(image.with_name(image.name.replace("_0000", "")))
    with pytest.raises(DataProblem, match=r"6 of 6 images in imagesTr lack the channel suffix \(_0000") as caught:
        look(tmp_path / "my raw")
    subprocess.run(["bash", "-c", str(caught.value).partition("This renames all: ")[2]], check=True)
    look(tmp_path / "my raw")


def fold(train: object, val: object, **more: object) -> dict[str, object]:
    return {"train": train, "val": val, **more}


NAMES = [f"case{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([fold(NAMES[2:], NAMES[:2])], r"has 1 folds .* trains fold 1: give --folds 0-0"),
        ([fold([2, 3], [0, 1])] * 2, "train of fold 0 must be a list of case names in quotes; it has 2"),
        ([fold("case0", NAMES[1:])] * 2, 'train of fold 0 must be a list .* it has "case0"'),
        ([fold(NAMES[2:], NAMES[:2])] * 2, "fold 1 is the same as fold 0"),
        ([fold(NAMES[2:], NAMES[:2], test=["case0"])], "test of fold 0 holds case0, which the fold trains or valid"),
        (
            [fold([f"{n}.nii.gz" for n in NAMES[1:]], ["case0"])] * 2,
            r"a case is named without \.nii\.gz, such",
        ),
        ([fold(NAMES[1:], ["stranger"])] * 2, "unknown cases stranger: it belongs to another data set"),
        ([fold(NAMES, NAMES[:1])] * 2, "trains and validates on case0"),
        ([fold(NAMES, [])] * 2, "has an empty part: val must name cases"),
        ([fold(["case1", "case1"], ["case0"])] * 2, "names case1 twice in train"),
        (fold(NAMES[1:], NAMES[:1]), "is one object; it must be a list of folds"),
        ([], "is an empty list"),
        ([{"training": NAMES}], "fold 0 must be an object with train and val"),
    ],
)
def test_a_split_of_ones_own_is_looked_through(tmp_path: Path, splits: Any, message: str) -> None:
    write_dataset(tmp_path / "raw")
    folds = 1 if isinstance(splits, list) and splits and "test" in splits[0] else 2
    write_splits(tmp_path / "raw", json.dumps(splits))
    with pytest.raises(DataProblem, match=message):
        look(tmp_path / "raw", folds=folds)


def test_more_folds_than_cases_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", cases=3)
    with pytest.raises(DataProblem, match="3 training cases, too few for 5 folds; give --folds 0-2"):
        look(tmp_path / "raw")
    look(tmp_path / "raw", folds=3)


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [
        ("Task321_Organs", "nnUNetv2_convert_old_nnUNet_dataset {source} Dataset321_Organs"),
        ("nnUNet_raw_data/Task321_Organs", "nnUNetv2_convert_old_nnUNet_dataset {source} Dataset321_Organs"),
        ("Task21_Organs", "nnUNetv2_convert_MSD_dataset -i {source}"),
    ],
)
def test_a_folder_of_nnunet_v1_or_the_decathlon_is_named_with_the_command_that_converts_it(
    tmp_path: Path, folder: str, remedy: str
) -> None:
    source = tmp_path / "raw" / folder
    source.mkdir(parents=True)
    number = "21" if folder == "Task21_Organs" else "321"
    with pytest.raises(DataProblem) as caught:
        look(tmp_path / "raw", task=number)
    assert f"nnUNet_raw={tmp_path / 'raw'} {remedy.format(source=source)}" in str(caught.value)


def test_raw_files_that_nnunet_has_read_are_not_looked_at_again(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", numTraining=99)
    write_splits(tmp_path / "raw", json.dumps([fold(NAMES[2:], NAMES[:2])]))
    (tmp_path / "preprocessed" / NAME / "dataset_fingerprint.json").write_text("{}")
    look(tmp_path / "raw", folds=1)


def test_labels_are_told_apart_from_regions(tmp_path: Path) -> None:
    plain = read_labels(json.loads((write_dataset(tmp_path / "a") / "dataset.json").read_text()), tmp_path)
    regions = read_labels(
        json.loads((write_dataset(tmp_path / "b", **REGIONS) / "dataset.json").read_text()), tmp_path
    )
    assert (plain.values, plain.regions, dict(plain.names)) == ((0, 1, 2), False, {"liver": 1, "spleen": 2})
    assert (regions.values, regions.regions, regions.names["whole"]) == ((0, 1, 2), True, (1, 2))


@pytest.mark.parametrize(
    ("name", "raw", "task", "message"),
    [
        ("42-nnunet-regions-no-order", "raw", "502", "regions_class_order is missing"),
        (
            "44-nnunet-labels-inverted",
            "raw",
            "504",
            'wants name -> number: {"background": 0, "a": 1, "b": 2, "c": 3}',
        ),
        ("47-nnunet-no-channel-suffix", "raw", "507", "8 of 8 images in imagesTr lack the channel suffix (_0000"),
        ("51-nnunet-v1-layout", "nnUNet_raw_data", "Task601_TotalSegmentatorV1", "is a folder of nnU-Net v1"),
    ],
)
def test_data_of_outsiders_is_refused_in_our_words(
    tmp_path: Path, name: str, raw: str, task: str, message: str
) -> None:
    with pytest.raises(DataProblem) as caught:
        check(task, {"raw": str(case(name) / raw), "preprocessed": str(tmp_path)}, {}, folds=5)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bom", "begins with a byte order mark"),
        ("extra", "test of fold 0 holds case00"),
        ("ints", "case names in quotes; it has 2"),
        ("one_object", "is one object"),
        ("same", "fold 1 is the same as fold 0"),
        ("three", "has 3 folds"),
        ("trailing", "cannot be read"),
        ("with_ending", "named without .png"),
    ],
)
def test_splits_of_outsiders_are_refused_in_our_words(tmp_path: Path, name: str, message: str) -> None:
    raw = case("41-nnunet-regions") / "raw"
    folder = tmp_path / "Dataset501_Regions"
    folder.mkdir()
    shutil.copy(case("52-splits") / f"{name}.json", folder / "splits_final.json")
    with pytest.raises(DataProblem) as caught:
        check("501", {"raw": str(raw), "preprocessed": str(tmp_path)}, {}, folds=5)
    assert message in str(caught.value) and "splits_final.json" in str(caught.value)
