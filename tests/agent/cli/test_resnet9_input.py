"""Images that ResNet-9 refuses, told by `init`, `tune` and `train` before anything is written; needs no torch."""

from __future__ import annotations

import importlib.util
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from agent.__main__ import main


def png(side: int = 4) -> bytes:
    """A grey PNG."""
    rows = b"".join(b"\0" + bytes(range(i, i + side)) for i in range(side))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write(root: Path, *places: str, count: int = 3) -> Path:
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / place / f"{i}.png").write_bytes(png())
    return root


@pytest.fixture(autouse=True, params=["with Pillow", "without"])
def pillow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login node need not have it."""
    if request.param == "without":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        pytest.importorskip("PIL")


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, *options: str) -> str:
    """The message of `init` and of `train`, which must be the same usage error and leave nothing behind."""
    messages = []
    for command in (["init", "--output-dir", str(tmp_path / "runs")], ["train", "--out", str(tmp_path / "out")]):
        code = main([*command, "--trainer", "resnet9", "--task", "own", "--data", f"path={data}", *options])
        messages.append(capsys.readouterr().err.replace(f"roundtable {command[0]}: ", ""))
        assert code == 2 and "Traceback" not in messages[-1]
    assert messages[0] == messages[1]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out").exists()
    return messages[0]


@pytest.mark.parametrize(
    ("places", "messages"),
    [
        (["a", "b"], ["has no folder train", "Here the class folders lie at the top", "/train && use --data path="]),
        (["."], ["has no folder train", "one flat folder"]),
        (["a/train", "b/train"], ["Here each class (a, b) has its own train folder"]),
        (["set/train/a", "set/train/b"], ["Is ", "/x/set meant? Give --data path="]),
        (["train"], ["holds no class folders"]),
        (["train/a"], ["one class only"]),
        (["train/a", "train/b", "val/a", "valid/b"], ["val and valid stand side by side", ".valid"]),
        (["train/cat", "train/dog", "test/Cat"], ["classes that train lacks: Cat (train has cat: rename one)"]),
        (["train/a/train", "train/a/test", "train/b"], ["inside a class"]),
    ],
)
def test_folders_that_lie_otherwise(
    places: list[str], messages: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, tmp_path, write(tmp_path / "x", *places))
    assert [text for text in [f"{tmp_path}/x", *messages] if text not in said] == []


def test_the_remedy_for_class_folders_at_the_top_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import subprocess

    said = refused(capsys, tmp_path, write(tmp_path / "my x", "a", "b"))
    command, path = said.split("at the top: ")[1].split(" && use --data path=")
    subprocess.run(["bash", "-c", command], check=True)
    path = path.strip().strip("'")
    assert (
        main(
            [
                "init",
                "--output-dir",
                str(tmp_path / "r"),
                "--trainer",
                "resnet9",
                "--task",
                "o",
                "--data",
                f"path={path}",
            ]
        )
        == 0
    )


def test_files_that_are_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "x", "train/a", "train/b")
    (root / "train/a/1.png").write_bytes(b"")
    assert "train/a/1.png" in refused(capsys, tmp_path, root)
    (root / "train/a/1.png").write_bytes(png()[:50])
    assert "train/a/1.png" in refused(capsys, tmp_path, root)
    (root / "train/a/1.png").unlink()
    (root / "train/a/1.png").symlink_to(tmp_path / "nowhere.png")
    assert "1 images are links that lead nowhere, or no files" in refused(capsys, tmp_path, root)
    (root / "train/a/1.png").unlink()
    (root / "train/c").mkdir()
    (root / "train/c/scan.gif").write_bytes(b"GIF89a")
    assert "train/c: holds no image" in (said := refused(capsys, tmp_path, root)) and "1 .gif (scan.gif)" in said


def test_too_few_images_of_a_class_for_the_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(write(tmp_path / "x", "train/rose", count=9), "train/lily", count=3)
    write(tmp_path / "y", "train/rose", "train/lily", count=1)
    assert "class lily has 1 training images; a validation split needs 2" in refused(capsys, tmp_path, tmp_path / "y")
    assert (
        main(
            [
                "tune",
                "--output-dir",
                str(tmp_path / "r"),
                "--trainer",
                "resnet9",
                "--task",
                "o",
                "--folds",
                "0-4",
                "--data",
                f"path={root}",
            ]
        )
        == 2
    )
    assert "class lily has 3 training images; 5 folds needs 5 of each class" in capsys.readouterr().err
    assert "class lily has" in refused(capsys, tmp_path, root, "--data", "limit=4")


def test_what_is_not_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "x", "train/a", "train/b/deep", "val/a", "more")
    (root / "train/a/notes.txt").write_text("x")
    (root / "train/a/._0.png").write_bytes(b"\0\5\x16\7")
    (root / "train/a/Thumbs.db").write_bytes(b"x")
    (root / "train/loose.png").write_bytes(png())
    assert (
        main(
            [
                "init",
                "--output-dir",
                str(tmp_path / "r"),
                "--trainer",
                "resnet9",
                "--task",
                "o",
                "--data",
                f"path={root}",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    for text in (
        "3 of 6 images lie in folders below their class's",
        "not read: 1 .txt (notes.txt)",
        "not read: 1 images that are in no class folder",
        "val: has no images of b",
        "val: its 3 images validate; nothing is held out of",
        "not read: the folder more",
    ):
        assert text in said
    assert "Thumbs" not in said and "._0" not in said


def test_arrays_are_refused_by_their_headers_and_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, x, y = tmp_path / "x.npz", np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    for arrays, message in (
        ({"x_train": x.astype(np.float32), "y_train": y}, "x_train: is float32; images must be uint8"),
        ({"x_train": x}, "has no array y_train"),
        ({"x_train": x, "y_train": y * 2}, "every label 0 .. 2 must occur"),
        ({"x_train": x, "y_train": y[:-1]}, "needs (20,), one label an image"),
        ({"x_train": x, "y_train": y, "x_test": x[:, :2], "y_test": y}, "x_test holds (2, 4, 1) images"),
        ({"x_train": x, "y_train": y * 0}, "one class only"),
    ):
        np.savez(path, **arrays)
        assert message in refused(capsys, tmp_path, path)
    path.write_bytes(b"PK")
    assert "not a readable .npz file" in refused(capsys, tmp_path, path)


def test_options_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "x", "train/a", "train/b")
    for option, message in (
        ("intensity=9,2", "intensity = '9,2': must be LOW,HIGH such as 0,65535"),
        ("background=red", "background = 'red': must be one of grey, white, black"),
        ("frames=2", "frames = '2': must be one of one, first"),
        ("size=0", "size = 0: must be from 1 to 1024"),
        ("download=true", "unknown key 'download' for folder"),
    ):
        assert message in refused(capsys, tmp_path, root, "--data", option)
