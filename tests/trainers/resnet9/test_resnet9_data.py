"""Data sources, splits, and what is said about broken data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from resnet9_cases import make_spec, write_npz

from trainers.contract import Value
from trainers.resnet9 import sources
from trainers.resnet9.data import Data, DataProblem, load_data, stratified_folds
from trainers.resnet9.memory import host_memory

pytestmark = pytest.mark.train


def load(out: Path, data: dict[str, Value], **changed: Any) -> Data:
    return load_data(make_spec(out, data=data, **changed))


def refusal(out: Path, data: dict[str, Value], **changed: Any) -> str:
    with pytest.raises(DataProblem) as caught:
        load(out, data, **changed)
    return str(caught.value)


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def write_folder(root: Path, *, counts: dict[str, int], size: tuple[int, int] = (12, 10)) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB" if i % 2 else "L", size, 40 * number if i % 2 == 0 else (40 * number,) * 3).save(
                root / name / f"{i:03d}.png"
            )
    return root


# digits


def test_digits_have_a_fixed_stratified_test_set_and_are_not_mirrored(tmp_path: Path) -> None:
    one = load(tmp_path, {}, task="digits")
    other = load(tmp_path, {"split_seed": 7}, task="digits", seed=3)
    assert one.test is not None and other.test is not None
    assert torch.equal(one.test.images, other.test.images)
    assert not torch.equal(one.val.images, other.val.images)
    assert (len(one.train), len(one.val), len(one.test)) == (1151, 287, 359)
    assert one.image_shape == (8, 8, 1) and not one.mirror
    for part in (one.train, one.val, one.test):
        shares = torch.bincount(part.labels, minlength=10) / len(part)
        assert shares.min() > 0.08 and shares.max() < 0.12


def test_digits_are_those_that_scikit_learn_gives() -> None:
    from sklearn.datasets import load_digits

    ours, theirs = sources.load_digits(), load_digits()
    held = sources.stratified_holdout(theirs.target, sources.DIGITS_TEST_FRACTION, sources.DIGITS_TEST_SEED)
    assert np.array_equal(ours.labels, theirs.target[~held])
    assert np.array_equal(np.round(ours.images[..., 0] * (16 / 255)), theirs.images[~held])


# splits


def test_the_split_ignores_the_trials_seed(tmp_path: Path, npz: Path) -> None:
    one, other = (load(tmp_path, {"path": str(npz)}, seed=seed) for seed in (0, 1))
    assert one.fingerprint() == other.fingerprint() and torch.equal(one.val.images, other.val.images)
    assert load(tmp_path, {"path": str(npz), "split_seed": 1}).val.images.ne(one.val.images).any()


def test_folds_are_stratified_disjoint_and_complete(tmp_path: Path, npz: Path) -> None:
    parts = [load(tmp_path, {"path": str(npz)}, folds=5, fold=fold) for fold in range(5)]
    everything = np.load(npz)["x_train"]
    validation = torch.cat([data.val.images for data in parts]).numpy()
    assert sorted(image.tobytes() for image in validation) == sorted(image.tobytes() for image in everything)
    for data in parts:
        assert len(data.train) + len(data.val) == len(everything)
        assert torch.bincount(data.val.labels).tolist() == [8, 8, 8]


def test_uneven_classes_are_dealt_evenly() -> None:
    folds = stratified_folds(np.repeat(np.arange(3), [7, 11, 5]), 4, 0)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_a_rare_class_is_in_both_parts(fraction: float) -> None:
    labels = np.repeat(np.arange(2), [2, 50])
    held = sources.stratified_holdout(labels, fraction, 0)
    assert held[labels == 0].sum() == 1
    assert 1 <= held[labels == 1].sum() == pytest.approx(50 * fraction, abs=0.51)


def test_val_fraction_and_limit(tmp_path: Path, npz: Path) -> None:
    data = load(tmp_path, {"path": str(npz), "val_fraction": 0.25, "limit": 60})
    assert (len(data.train), len(data.val)) == (45, 15)
    assert data.test is not None and len(data.test) == 30


def test_mean_and_std_are_of_the_training_part(tmp_path: Path, npz: Path) -> None:
    data = load(tmp_path, {"path": str(npz)})
    mean, std = data.mean_and_std()
    pixels = data.train.images.double() / 255
    assert torch.allclose(mean.double(), pixels.mean((0, 1, 2)), atol=1e-6)
    assert torch.allclose(std.double(), pixels.std((0, 1, 2), unbiased=False), atol=1e-6)


# npz


def test_grey_images_and_class_names(tmp_path: Path) -> None:
    path = save(
        tmp_path / "g.npz",
        x_train=np.zeros((20, 6, 7), np.uint8),
        y_train=np.arange(20) % 2,
        classes=np.array(["cat", "dog"]),
    )
    data = load(tmp_path, {"path": path, "mirror": False})
    assert data.image_shape == (6, 7, 1) and data.classes == ("cat", "dog") and data.test is None and not data.mirror


X, Y = np.zeros((20, 4, 4, 3), np.uint8), np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X}, "has no array y_train"),
        ({"x_train": X.astype(np.float32), "y_train": Y}, "x_train: is float32; images must be uint8"),
        ({"x_train": X[0, 0], "y_train": Y}, "x_train: has shape (4, 3)"),
        ({"x_train": X[:, :0], "y_train": Y}, "none 0"),
        ({"x_train": X, "y_train": Y[:-1]}, "needs (20,), one label an image"),
        ({"x_train": X, "y_train": np.eye(20)[:, :2]}, "y_train: has shape (20, 2)"),
        ({"x_train": X, "y_train": np.where(Y == 0, np.nan, 1.0)}, "labels must be integers"),
        ({"x_train": X, "y_train": Y - 1}, "holds -1 to 0"),
        ({"x_train": X, "y_train": Y * 2}, "every label 0 .. 2 must occur"),
        ({"x_train": X, "y_train": Y, "classes": np.array(["a", "b", "c"])}, "every label 0 .. 2 must occur"),
        ({"x_train": X, "y_train": Y, "classes": np.array(["a"])}, "for 1 classes"),
        ({"x_train": X, "y_train": Y, "classes": np.array(["a", "a"])}, "twice"),
        ({"x_train": X, "y_train": Y * 0}, "one class only"),
        ({"x_train": X, "y_train": np.arange(20) // 19}, "class number 1 has 1 training images"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "must come together"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "x_test holds (2, 4, 3) images"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "the label 2, which y_train lacks"),
        ({"x_train": X.astype(object), "y_train": Y}, "not a readable .npz file"),
    ],
)
def test_broken_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "broken.npz", **arrays)
    text = refusal(tmp_path, {"path": path})
    assert message in text
    assert path in text or "class" in text


def test_more_folds_than_images_of_a_class(tmp_path: Path) -> None:
    path = save(tmp_path / "few.npz", x_train=X, y_train=np.arange(20) // 17)
    assert "5 folds needs 5 of each class" in refusal(tmp_path, {"path": path}, folds=5)


@pytest.mark.parametrize("kept", [0, 10, 200, -30])
def test_damaged_npz_files(tmp_path: Path, npz: Path, kept: int) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(npz.read_bytes()[:kept])
    assert "not a readable .npz file" in refusal(tmp_path, {"path": str(broken)})
    assert "not a readable .npz file" in refusal(tmp_path, {"path": str(tmp_path / "absent.npz")})


def test_more_images_than_memory(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.resnet9.memory.host_memory", lambda: 1000)
    assert "may be held in memory" in refusal(tmp_path, {"path": str(npz)})
    write_folder(tmp_path / "images" / "train", counts={"a": 2, "b": 2})
    text = refusal(tmp_path, {"path": str(tmp_path / "images")})
    assert "GiB of images" in text and "limit" in text


def test_slurms_grant_bounds_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "64")
    assert host_memory() == 64 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # SLURM's word for all of the node
    assert host_memory() > 64 * 2**20


# folders


def test_image_folder(tmp_path: Path) -> None:
    root = tmp_path / "images"
    write_folder(root / "train", counts={"a": 6, "b": 10})
    write_folder(root / "test", counts={"b": 3})
    data = load(tmp_path, {"path": str(root), "size": 9, "workers": 3})
    assert data.classes == ("a", "b") and data.image_shape == (9, 9, 3)
    assert len(data.train) + len(data.val) == 16
    assert data.test is not None and data.test.labels.tolist() == [1, 1, 1]
    assert data.train.images[data.train.labels == 1].unique().tolist() == [40]  # the picture fits its label
    assert data.fingerprint() == load(tmp_path, {"path": str(root), "size": 9, "workers": 1}).fingerprint()


def test_limit_takes_all_classes_of_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "images"
    write_folder(root / "train", counts={"a": 30, "b": 30})
    data = load(tmp_path, {"path": str(root), "limit": 20})
    assert len(data.train) + len(data.val) == 20 and data.train.labels.unique().tolist() == [0, 1]


def test_broken_folders(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    assert "has no folder train" in refusal(tmp_path, {"path": str(root)})
    (root / "train").mkdir()
    assert "holds no class folders" in refusal(tmp_path, {"path": str(root)})
    write_folder(root / "train", counts={"a": 4})
    assert "one class only" in refusal(tmp_path, {"path": str(root)})
    (root / "train" / "b").mkdir()
    assert f"{root / 'train' / 'b'}: holds no image" in refusal(tmp_path, {"path": str(root)})
    (root / "train" / "b" / "$(x).png").write_text("no image")
    assert "1 images cannot be read" in refusal(tmp_path, {"path": str(root)})
    write_folder(root / "test", counts={"c": 1})
    assert "classes that train lacks: c" in refusal(tmp_path, {"path": str(root)})


# CIFAR-10


def test_cifar10_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Fake:
        classes = ("x", "y")

        def __init__(self, root: str, train: bool, download: bool) -> None:
            asked.append((root, train, download))
            self.data = np.zeros((20 if train else 4, 32, 32, 3), np.uint8)
            self.targets = [i % 2 for i in range(len(self.data))]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)
    data = load(tmp_path, {"path": str(tmp_path / "c")}, task="cifar10")
    assert asked == [(str(tmp_path / "c"), True, True), (str(tmp_path / "c"), False, True)]
    assert data.test is not None and len(data.test) == 4 and data.mirror
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load(tmp_path, {"download": False}, task="cifar10")
    assert asked[-1] == (str(tmp_path / "home" / ".cache" / "roundtable" / "cifar10"), False, False)


def test_absent_cifar10_that_may_not_be_downloaded(tmp_path: Path) -> None:
    text = refusal(tmp_path, {"path": str(tmp_path / "none"), "download": False}, task="cifar10")
    assert "CIFAR-10 is not usable" in text and "cifar-10-batches-py" in text


# options


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("digits", {"path": "x"}, "unknown key 'path' for digits (keys: val_fraction, split_seed, limit)"),
        ("digits", {"val_fractoin": 0.1}, "unknown key 'val_fractoin'"),
        ("digits", {"val_fraction": 1.0}, "val_fraction = 1.0: must be above 0 and below 1"),
        ("digits", {"val_fraction": float("nan")}, "val_fraction = nan"),
        ("digits", {"limit": 0}, "limit = 0: must be at least 1"),
        ("digits", {"limit": True}, "limit = True: must be of type int"),
        ("digits", {"split_seed": -1}, "split_seed = -1"),
        ("cifar10", {"download": "no"}, "download = 'no': must be of type bool"),
        ("own", {}, "give data path="),
        ("own", {"path": "/nowhere"}, "neither an .npz file nor an existing folder"),
        ("own", {"path": 3}, "neither an .npz file nor an existing folder"),
    ],
)
def test_wrong_options(tmp_path: Path, task: str, data: dict[str, Value], message: str) -> None:
    assert message in refusal(tmp_path, data, task=task)


def test_a_fold_beyond_the_last(tmp_path: Path, npz: Path) -> None:
    assert "fold = 5: must be from 0 to 4" in refusal(tmp_path, {"path": str(npz)}, folds=5, fold=5)


def test_write_npz_is_what_other_tests_think(npz: Path, tmp_path: Path) -> None:
    assert np.array_equal(np.load(write_npz(tmp_path / "again.npz"))["x_train"], np.load(npz)["x_train"])
