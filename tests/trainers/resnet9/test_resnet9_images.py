"""Image files of every kind that people have: what is read how, what is refused by name, what is told."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from resnet9_cases import make_spec

from tests.shared_cases import case
from trainers.contract import DataProblem, Value
from trainers.resnet9.data import Data, load_data
from trainers.resnet9.folders import ImageFile, scan
from trainers.resnet9.options import DataOptions
from trainers.resnet9.pixels import Pixels, Reader
from trainers.resnet9.precheck import check

pytestmark = pytest.mark.train

SIDE = 8
LEFT = np.zeros((SIDE, SIDE), bool)
LEFT[:, : SIDE // 2] = True


def picture(low: float, high: float, kind: Any) -> Image.Image:
    """The left half `high`, the right half `low`."""
    return Image.fromarray(np.where(LEFT, high, low).astype(kind))


def with_alpha(colour: int, *, mode: str = "RGBA") -> Image.Image:
    """One colour everywhere; only its opacity shows the left half."""
    grey = Image.new("L", (SIDE, SIDE), colour)
    alpha = Image.fromarray(np.where(LEFT, 255, 0).astype(np.uint8))
    return Image.merge("LA", (grey, alpha)) if mode == "LA" else Image.merge("RGBA", (grey, grey, grey, alpha))


def palette(transparent: bool) -> Image.Image:
    image = Image.fromarray(np.where(LEFT, 1, 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    if transparent:
        image.info["transparency"] = 0
    return image


def folder(root: Path, images: dict[str, list[Image.Image]], suffix: str = "png", **saved: Any) -> Path:
    for place, found in images.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(found):
            image.save(root / place / f"{i}.{suffix}", **saved)
    return root


def read(*paths: Path, **options: Any) -> Pixels:
    images, _ = Reader(DataOptions(kind="folder", size=SIDE, **options)).read(
        [ImageFile(path=p, label=0) for p in paths]
    )
    return images


def load(root: Path, out: Path, **data: Value) -> Data:
    return load_data(make_spec(out, data={"path": str(root), "size": SIDE, **data}))


def halves(pixels: Pixels) -> tuple[list[int], list[int]]:
    """The colour of the left and of the right half, each of which must be of one."""
    left, right = pixels[:, : SIDE // 2 - 1].reshape(-1, 3), pixels[:, SIDE // 2 + 1 :].reshape(-1, 3)
    assert (left == left[0]).all() and (right == right[0]).all()
    return left[0].tolist(), right[0].tolist()


WHITE, BLACK, GREY = [255] * 3, [0] * 3, [128] * 3


@pytest.mark.parametrize(
    ("image", "suffix", "left", "right"),
    [
        (picture(0, 255, np.uint8), "png", WHITE, BLACK),
        (picture(0, 255, np.uint8).convert("1"), "png", WHITE, BLACK),
        (picture(0, 255, np.uint8).convert("1"), "tif", WHITE, BLACK),
        (palette(False), "png", WHITE, BLACK),
        (palette(True), "png", WHITE, GREY),
        (with_alpha(255), "png", WHITE, GREY),
        (with_alpha(0), "png", BLACK, GREY),
        (with_alpha(0, mode="LA"), "png", BLACK, GREY),
        (picture(0, 65535, np.uint16), "png", WHITE, BLACK),
        (picture(100, 4095, np.uint16), "png", WHITE, BLACK),  # twelve bits of a camera
        (picture(0, 65535, np.uint16), "tif", WHITE, BLACK),
        (picture(-1000, 3000, np.int32), "tif", WHITE, BLACK),  # Hounsfield units
        (picture(0, 1, np.float32), "tif", WHITE, BLACK),
        (picture(-2.5, 7.5, np.float32), "tif", WHITE, BLACK),
        (picture(10, 250, np.float32), "tif", [250] * 3, [10] * 3),  # eight bits in a wider file
        (
            Image.merge("CMYK", [Image.new("L", (SIDE, SIDE), 0)] * 3 + [picture(255, 0, np.uint8)]),
            "tif",
            WHITE,
            BLACK,
        ),
        (
            Image.merge("LAB", [picture(0, 255, np.uint8)] + [Image.new("L", (SIDE, SIDE), 128)] * 2),
            "tif",
            WHITE,
            BLACK,
        ),
    ],
    ids=lambda value: f"{value.mode}-{value.getextrema()}"[:30] if isinstance(value, Image.Image) else str(value),
)
def test_each_mode_is_read_right(
    image: Image.Image, suffix: str, left: list[int], right: list[int], tmp_path: Path
) -> None:
    image.save(tmp_path / f"x.{suffix}")
    found = halves(read(tmp_path / f"x.{suffix}")[0])
    assert np.abs(np.array(found) - np.array([left, right])).max() <= 2  # a colour space's rounding


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_turned_photograph_is_read_upright(suffix: str, tmp_path: Path) -> None:
    upright = picture(0, 255, np.uint8).convert("RGB")
    tag = Image.Exif()
    tag[274] = 6  # the camera was turned: show it turned by 270 degrees
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"x.{suffix}", exif=tag)
    found = read(tmp_path / f"x.{suffix}")[0]
    assert found[:, :2].min() > 200 and found[:, -2:].max() < 60  # JPEG and WebP lose a little


def test_the_range_is_that_of_training_and_the_same_for_all(tmp_path: Path) -> None:
    root = folder(
        tmp_path / "deep",
        {
            "train/a": [picture(0, 1000, np.uint16), picture(0, 500, np.uint16), picture(0, 250, np.uint16)],
            "train/b": [picture(0, 2000, np.uint16)] * 3,
            "test/a": [picture(0, 4000, np.uint16), picture(0, 1000, np.uint16)],
        },
    )
    data = load(root, tmp_path)
    train = np.concatenate([data.train.images.numpy(), data.val.images.numpy()])
    assert sorted(int(image.max()) for image in train) == [32, 64, 128, 255, 255, 255]
    assert data.test is not None and data.test.images.amax((1, 2, 3)).tolist() == [255, 128]
    assert data.notes["intensity"] == [0.0, 2000.0] and data.notes["modes"] == {"I;16": 8}
    wider = load(root, tmp_path, intensity="0,4000")
    assert wider.test is not None and wider.test.images.amax((1, 2, 3)).tolist() == [255, 64]


def png16(path: Path, values: Any) -> Path:
    """A PNG of 16 bits a channel, (height, width, channels), which Pillow cannot write."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def tiff16(path: Path, values: Any, order: str, *, deflated: bool = False, planes: bool = False) -> Path:
    """A TIFF of 16 bits a channel in one strip (or a strip a channel), of either byte order."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2")
    strips = [data[..., c].tobytes() for c in range(channels)] if planes else [data.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if deflated else strips
    fields: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [16] * channels),
        (259, 3, [8 if deflated else 1]),
        (262, 3, [2]),
        (273, 4, [0] * len(strips)),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(strip) for strip in strips]),
        (284, 3, [2 if planes else 1]),
    ]
    begin = 8 + 2 + 12 * len(fields) + 4
    room = sum(n * len(f[2]) for f in fields if (n := {3: 2, 4: 4}[f[1]]) * len(f[2]) > 4)
    starts = [begin + room + sum(map(len, strips[:i])) for i in range(len(strips))]
    entries, extra = b"", b""
    for tag, kind, found in fields:
        packed = struct.pack(f"{order}{len(found)}{'H' if kind == 3 else 'I'}", *(starts if tag == 273 else found))
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", begin + len(extra)), extra + packed
        entries += struct.pack(f"{order}HHI", tag, kind, len(found)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    path.write_bytes(head + entries + b"\0" * 4 + extra + b"".join(strips))
    return path


def colours(high: list[int], low: list[int]) -> Any:
    """The left half `high`, the right half `low`."""
    return np.where(LEFT[..., None], high, low)


CAMERA = colours([4095, 2000, 0], [100, 1000, 300])
"""Twelve bits of a camera, in sixteen."""


@pytest.mark.parametrize(
    "write",
    [
        lambda path: png16(path, CAMERA),
        lambda path: png16(path, np.dstack([CAMERA, np.full((SIDE, SIDE), 65535)])),
        lambda path: tiff16(path, CAMERA, "<"),
        lambda path: tiff16(path, CAMERA, ">"),
        lambda path: tiff16(path, CAMERA, "<", deflated=True),
        lambda path: tiff16(path, CAMERA, ">", deflated=True),
    ],
    ids=["png", "png-opaque", "tiff-little", "tiff-big", "tiff-little-deflated", "tiff-big-deflated"],
)
def test_colours_of_sixteen_bits_are_read_whole(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """Pillow's RGB has their high bytes alone: 15, 7 and 0 of these."""
    path = write(tmp_path / "x.tif")
    assert halves(read(path)[0]) == ([255, 125, 0], [6, 62, 19])
    scaled = halves(read(path, intensity="0,65535")[0])
    assert scaled == ([16, 8, 0], [0, 4, 1]), "the whole scale of the file, rounded"


def test_grey_and_alpha_of_sixteen_bits(tmp_path: Path) -> None:
    grey = colours([4095, 65535], [0, 65535])
    assert halves(read(png16(tmp_path / "x.png", grey))[0]) == (WHITE, BLACK)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: png16(path, colours([4095, 0, 0, 65535], [0, 0, 0, 9])), "partly transparent; save it without"),
        (lambda path: tiff16(path, CAMERA, "<", planes=True), "planes apart: True.*save it as RGB"),
        (lambda path: tiff16(path, CAMERA, "<", planes=True, deflated=True), "planes apart: True.*save it as RGB"),
    ],
)
def test_deep_colours_that_would_be_read_wrongly_are_refused(
    write: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.tif")
    assert re.search(rf"{path.name}.*{said}", refused(lambda: read(path)))


def test_photographs_of_sixteen_bits_keep_one_range_and_their_name_in_the_notes(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    for place, value in {
        "train/a/1": 4000,
        "train/a/2": 2000,
        "train/b/1": 1000,
        "train/b/2": 0,
        "test/a/1": 2000,
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        png16(root / f"{place}.png", colours([value] * 3, [value] * 3))
    data = load(root, tmp_path, val_fraction=0.5)
    assert data.notes["intensity"] == [0.0, 4000.0] and data.notes["modes"] == {"RGB;16": 5}
    assert data.test is not None and data.test.images.unique().tolist() == [128]
    told = "; ".join(check("own", {"path": str(root)}, {}, folds=1))
    assert "5 of 5 images looked at have more than 8 bits; values from 0 to 4000" in told
    folder(root, {"train/c": [picture(0, 255, np.uint8)] * 2})
    assert "has more than 8 bits" in refused(lambda: load(root, tmp_path))


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(DataProblem) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("deep_first", [True, False])
def test_depths_that_do_not_fit_are_refused_with_a_remedy_that_works(deep_first: bool, tmp_path: Path) -> None:
    deep, shallow = [picture(7, 60000, np.uint16)] * 3, [picture(0, 255, np.uint8)] * 3
    for place in ("train/b", "test/a"):
        root = folder(tmp_path / place.replace("/", "_"), {"train/a": deep if deep_first else shallow})
        folder(root, {"train/b": deep if deep_first else shallow})
        folder(root, {place: shallow if deep_first else deep})
        said = refused(lambda root=root: load(root, tmp_path))
        assert "has more than 8 bits" in said and str(root) in said
        remedy = said.split("--data intensity=")[1]
        assert load(root, tmp_path, intensity=remedy).notes["intensity"] == [float(x) for x in remedy.split(",")]
        assert check("own", {"path": str(root), "intensity": remedy}, {}, folds=1)


def test_a_picture_that_would_vanish_before_its_background_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with_alpha(128).save(tmp_path / "x.png")
    said = refused(lambda: read(tmp_path / "x.png"))
    assert "x.png" in said and "--data background=white or background=black" in said
    assert halves(read(tmp_path / "x.png", background="black")[0]) == (GREY, BLACK)


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_several_frames_are_refused_or_the_first_is_read(suffix: str, tmp_path: Path) -> None:
    pages = [picture(0, 255, np.uint8).convert("RGB"), Image.new("RGB", (SIDE, SIDE))]
    pages[0].save(
        tmp_path / f"x.{suffix}",
        save_all=True,
        append_images=pages[1:],
        **{"lossless": True} if suffix == "webp" else {},
    )
    assert "holds 2 frames; --data frames=first" in refused(lambda: read(tmp_path / f"x.{suffix}"))
    assert halves(read(tmp_path / f"x.{suffix}", frames="first")[0]) == (WHITE, BLACK)


def test_the_preview_in_a_photograph_is_no_second_frame(tmp_path: Path) -> None:
    first = picture(0, 255, np.uint8).convert("RGB")
    first.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[first], quality=100)
    assert read(tmp_path / "x.jpg")[0][:, :2].min() > 240


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda raw: b"", "x.png"),
        (lambda raw: raw[: len(raw) // 2], "x.png"),
        (lambda raw: raw[:20], "x.png"),
        (lambda raw: b"\0" * len(raw), "x.png"),
        (lambda raw: b"<html>not found</html>", "x.png"),
        (lambda raw: raw.replace(b"IDAT", b"IDAU"), "x.png"),
    ],
)
def test_damaged_files_are_named_by_the_check_and_by_the_training(
    spoil: Callable[[bytes], bytes], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8))
    root = folder(tmp_path / "images", {"train/a": [noise] * 3, "train/b": [noise] * 3})
    (root / "train/b/x.png").write_bytes(spoil((root / "train/b/0.png").read_bytes()))
    for action in (lambda: load(root, tmp_path), lambda: check("own", {"path": str(root)}, {}, folds=1)):
        assert named in refused(action)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # a login node without Pillow
    assert named in refused(lambda: check("own", {"path": str(root)}, {}, folds=1))


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    picture(0, float("nan"), np.float32).save(tmp_path / "x.tif")
    assert "x.tif (holds values that are NaN or infinite)" in refused(lambda: read(tmp_path / "x.tif"))


def test_images_that_show_nothing_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "images", {f"train/{name}": [Image.new("RGB", (9, 5), 7)] * 3 for name in "ab"})
    assert "all 6 training images are of one and the same colour" in refused(lambda: load(root, tmp_path))


def test_a_validation_folder_validates(tmp_path: Path) -> None:
    images = [picture(0, 255, np.uint8)] * 4
    root = folder(tmp_path / "x", {f"{part}/{name}": images for part in ("Train", "Validation") for name in "ab"})
    data = load(root, tmp_path)
    assert (len(data.train), len(data.val)) == (8, 8)
    assert len(load(root, tmp_path, val_folder=False).val) == 2
    for options, folds, remedy in (({}, 4, "leave --folds out"), ({"val_fraction": 0.5}, 1, "leave it out")):
        given: dict[str, Value] = {"path": str(root), **options}
        trained = partial(load_data, make_spec(tmp_path, data=given, folds=folds))
        for action in (trained, partial(check, "own", given, {}, folds=folds)):
            said = refused(action)
            assert remedy in said and "--data val_folder=false" in said
        load_data(make_spec(tmp_path, data={**given, "val_folder": False}, folds=folds))


# what outsiders had


@pytest.mark.parametrize(
    ("name", "train", "val"),
    [("21-png16", 54, 6), ("22-exif", 36, 4), ("23-macos", 18, 2), ("24-modes", 22, 2), ("25-val-folder", 40, 16)],
)
def test_outsiders_folders(name: str, train: int, val: int, tmp_path: Path) -> None:
    root = case(name) / "data"
    data = load(root, tmp_path, size=32)
    assert (len(data.train), len(data.val)) == (train, val)
    check("own", {"path": str(root)}, {}, folds=1)
    for part in (data.train, data.val):
        assert all(len(np.unique(image.numpy())) > 1 for image in part.images)  # each shows something
    if name == "21-png16":
        assert all(len(np.unique(image.numpy())) > 2 for image in data.train.images)
    if name == "22-exif":
        bright = {k: data.train.images[data.train.labels == k].float().mean((0, 3)) for k in (0, 1)}
        assert bright[0][:, :10].mean() < bright[0][:, -10:].mean() - 100  # class left is dark there in every image
        assert bright[1][:10].mean() < bright[1][-10:].mean() - 100


def test_nested_and_linked_folders_are_read_as_one_class(tmp_path: Path) -> None:
    images = [picture(0, 255, np.uint8)] * 4
    root = folder(
        tmp_path / "x", {"train/a/one": images, "train/a/two/deep": images, "train/a": images[:1], "train/b": images}
    )
    (root / "train/c").symlink_to(shutil.copytree(root / "train/b", tmp_path / "elsewhere"))
    (root / "train/b/up").symlink_to(root / "train/b", target_is_directory=True)  # no endless walk
    found = scan(root)
    assert found.counts() == [9, 4, 4]
    assert any("8 of 17 images lie in folders below their class's" in line for line in found.told)
    assert len(load(root, tmp_path).train) + len(load(root, tmp_path).val) == 17
