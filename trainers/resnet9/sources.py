"""Where images come from: scikit-learn's digits, CIFAR-10, npz files, image folders.

Each source gives uint8 arrays (n, h, w, channels) and int64 labels in a fixed order; `data.py` splits them.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.contract import DataProblem
from trainers.files import open_in_place
from trainers.resnet9.folders import scan
from trainers.resnet9.memory import refuse_oversize
from trainers.resnet9.options import DataOptions
from trainers.resnet9.pixels import Labels, Pixels, Reader

DIGITS_TEST_FRACTION = 0.2
DIGITS_TEST_SEED = 0
NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test", "classes")
CIFAR10_CACHE = Path(".cache/roundtable/cifar10")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images as read. `test_images` is None where the data has no test set of its own."""

    images: Pixels
    labels: Labels
    test_images: Pixels | None
    test_labels: Labels | None
    classes: tuple[str, ...]
    mirror: bool
    """Whether a mirrored image keeps its class."""
    val_images: Pixels | None = None
    val_labels: Labels | None = None
    """Images set apart for validation by the person; None where they are to be taken out of `images`."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """What was found and done, for the report."""


def stratified_holdout(labels: Labels, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Mask of the held-out images: `fraction` of each class, at least one and never all of a class.

    RandomState's streams are frozen across numpy versions, so a study's split outlives an upgrade.
    """
    generator = np.random.RandomState(seed)
    mask = np.zeros(len(labels), dtype=bool)
    for k in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == k))
        mask[members[: min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
    return mask


def load_digits() -> Source:
    """1,797 8x8 grey images of ten digits (UCI Optical Recognition of Handwritten Digits) inside scikit-learn.

    They come without a test set: a fixed, stratified fifth is one. A mirrored digit is another shape: no mirroring.
    The file is read directly: importing scikit-learn costs a second of the five that a digits trial takes.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataProblem("task digits needs scikit-learn, which holds the images; install the extra train")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        table = np.loadtxt(path, delimiter=",")
    except (OSError, ValueError) as error:
        raise DataProblem(f"{path}: scikit-learn's digits cannot be read ({error})") from error
    images = np.round(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    held = stratified_holdout(labels, DIGITS_TEST_FRACTION, DIGITS_TEST_SEED)
    return Source(
        images=images[~held],
        labels=labels[~held],
        test_images=images[held],
        test_labels=labels[held],
        classes=tuple(str(k) for k in range(10)),
        mirror=False,
    )


def load_cifar10(options: DataOptions) -> Source:
    """CIFAR-10 (Krizhevsky 2009) through torchvision, which checks the files' MD5.

    Raises DataProblem when it is absent and may not be, or could not be, downloaded.
    """
    from torchvision.datasets import CIFAR10

    root = cifar10_root(options)
    try:
        # Trials of one round start together: one downloads, the others wait. torchvision may print; stdout is ours.
        with _lock(root) if options.download else contextlib.nullcontext(), contextlib.redirect_stdout(sys.stderr):
            train = CIFAR10(str(root), train=True, download=options.download)
            test = CIFAR10(str(root), train=False, download=options.download)
    except (OSError, RuntimeError) as error:
        raise DataProblem(
            f"CIFAR-10 is not usable in {root}: {error}; give data path= the folder that holds cifar-10-batches-py, "
            "or let a machine with network access fill it (data download=true)"
        ) from error
    return Source(
        images=np.ascontiguousarray(train.data, dtype=np.uint8),
        labels=np.asarray(train.targets, dtype=np.int64),
        test_images=np.ascontiguousarray(test.data, dtype=np.uint8),
        test_labels=np.asarray(test.targets, dtype=np.int64),
        classes=tuple(str(name) for name in train.classes),
        mirror=True,
    )


def cifar10_root(options: DataOptions) -> Path:
    """The folder that holds, or will hold, cifar-10-batches-py."""
    return Path(options.path).expanduser() if options.path else Path.home() / CIFAR10_CACHE


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".download.lock", "a", opener=open_in_place) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def load_npz(options: DataOptions) -> Source:
    """x_train, y_train and where present x_test, y_test, classes of an .npz file. Raises DataProblem."""
    path = Path(options.path).expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_oversize(sum(entry.file_size for entry in archive.infolist()), str(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise _no_npz(path, error) from error
    arrays = read_npz(path, NPZ_ARRAYS)
    headers = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    labels, test_labels, classes = npz_labels(arrays, headers, str(path))
    return Source(
        images=_pixels(arrays["x_train"]),
        labels=labels,
        test_images=_pixels(arrays["x_test"]) if "x_test" in arrays else None,
        test_labels=test_labels,
        classes=classes,
        mirror=options.mirror,
    )


def read_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that an .npz file holds. Raises DataProblem."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _no_npz(path, error) from error


def _no_npz(path: Path, error: Exception) -> DataProblem:
    return DataProblem(f"{path}: not a readable .npz file ({error}); write it with numpy.savez")


def npz_labels(
    arrays: Mapping[str, NDArray[Any]], headers: Mapping[str, tuple[Any, tuple[int, ...]]], path: str
) -> tuple[Labels, Labels | None, tuple[str, ...]]:
    """Labels of training and test, and the names of the classes. Raises DataProblem.

    arrays: y_train and where present y_test and classes. headers: type and shape of every array in the file.
    """
    for name in ("x_train", "y_train"):
        if name not in headers:
            raise DataProblem(
                f"{path}: has no array {name}; it needs x_train and y_train ({', '.join(NPZ_ARRAYS)} are read)"
            )
    if ("x_test" in headers) != ("y_test" in headers):
        raise DataProblem(f"{path}: x_test and y_test must come together")
    for name in ("x_train", "x_test"):
        if name in headers:
            _check_pixels(*headers[name], f"{path}: {name}")
    labels = _labels(arrays["y_train"], headers["x_train"][1], f"{path}: y_train")
    test = None
    if "x_test" in headers:
        test = _labels(arrays["y_test"], headers["x_test"][1], f"{path}: y_test")
        of_test, of_train = _form(headers["x_test"][1]), _form(headers["x_train"][1])
        if of_test != of_train:
            raise DataProblem(f"{path}: x_test holds {of_test} images, x_train {of_train}")
    return labels, test, _class_names(arrays.get("classes"), labels, test, path)


def _check_pixels(dtype: Any, shape: tuple[int, ...], where: str) -> None:
    """Refuse an array of images by its type, as numpy names it, and its shape. Raises DataProblem."""
    if (dtype := np.dtype(dtype)) != np.uint8:
        raise DataProblem(f"{where}: is {dtype}; images must be uint8, 0 to 255")
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and not 1 <= shape[3] <= 4):
        raise DataProblem(f"{where}: has shape {shape}; needs (n, h, w) or (n, h, w, 1 to 4 channels), none 0")


def _form(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(h, w, channels) of an array of images."""
    return shape[1:] if len(shape) == 4 else (*shape[1:], 1)


def _pixels(array: NDArray[Any]) -> Pixels:
    """(n, h, w, channels)"""
    return np.ascontiguousarray(array if array.ndim == 4 else array[..., None])


def _labels(array: NDArray[Any], images: tuple[int, ...], where: str) -> Labels:
    """The labels of an array of images of this shape. Raises DataProblem."""
    count = images[0]
    if array.ndim != 1 or len(array) != count:
        raise DataProblem(f"{where}: has shape {array.shape}; needs ({count},), one label an image")
    if array.dtype.kind not in "iu":
        raise DataProblem(f"{where}: is {array.dtype}; labels must be integers 0, 1, 2, ...")
    if int(array.min()) < 0 or int(array.max()) >= 2**31:
        raise DataProblem(f"{where}: holds {int(array.min())} to {int(array.max())}; labels are 0, 1, 2, ...")
    return array.astype(np.int64)


def _class_names(names: NDArray[Any] | None, train: Labels, test: Labels | None, path: str) -> tuple[str, ...]:
    found = tuple(str(name) for name in names.ravel()) if names is not None else ()
    count = len(found) if names is not None else int(train.max()) + 1
    absent = sorted(set(range(count)) - set(train.tolist())) if count <= len(train) else list(range(count))
    if int(train.max()) >= count or absent:
        raise DataProblem(
            f"{path}: y_train holds {len(np.unique(train))} different labels up to {int(train.max())} for {count} "
            f"classes; every label 0 .. {count - 1} must occur"
        )
    if test is not None and int(test.max()) >= count:
        raise DataProblem(f"{path}: y_test holds the label {int(test.max())}, which y_train lacks")
    if len(set(found)) < len(found):
        raise DataProblem(f"{path}: classes holds a name twice")
    return found or tuple(str(k) for k in range(count))


def load_folder(options: DataOptions) -> Source:
    """root/train/<class>/* and, where present, root/val and root/test, as RGB resized to size x size.

    Images are taken in one fixed random order, so that the first `limit` hold all classes. Raises DataProblem.
    """
    root = Path(options.path).expanduser()
    found = scan(root, val_folder=options.val_folder)
    train = [found.train[i] for i in limited(len(found.train), options.limit)]
    kept = [train, found.val or (), found.test or ()]
    refuse_oversize(sum(map(len, kept)) * options.size**2 * 3, str(root))
    reader = Reader(options)
    images, labels = reader.read(train)
    val_images, val_labels = reader.read(found.val) if found.val else (None, None)
    test_images, test_labels = reader.read(found.test) if found.test else (None, None)
    return Source(
        images=images,
        labels=labels,
        val_images=val_images,
        val_labels=val_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=found.classes,
        mirror=options.mirror,
        notes=reader.notes | {"told": list(found.told)},
    )


def limited(count: int, limit: int | None) -> list[int]:
    """Which of a folder's images are trained on, in one fixed random order."""
    return [int(i) for i in np.random.RandomState(0).permutation(count)[:limit]]
