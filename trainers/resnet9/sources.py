"""Where images come from: scikit-learn's digits, CIFAR-10, npz files, image folders.

Each source gives uint8 arrays (n, h, w, channels) and int64 labels in a fixed order; `data.py` splits them.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainers.contract import DataProblem
from trainers.files import open_in_place

if TYPE_CHECKING:
    from trainers.resnet9.data import DataOptions

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

DIGITS_TEST_FRACTION = 0.2
DIGITS_TEST_SEED = 0
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
CIFAR10_CACHE = Path(".cache/roundtable/cifar10")
MEMORY_SHARE = 0.5
"""Images may fill this part of the host's memory; splitting holds a second copy for a moment."""


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

    root = Path(options.path).expanduser() if options.path else Path.home() / CIFAR10_CACHE
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


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".download.lock", "a", opener=open_in_place) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def load_npz(options: DataOptions) -> Source:
    """x_train, y_train and where present x_test, y_test, classes of an .npz file. Raises DataProblem."""
    path = Path(options.path).expanduser()
    known = ("x_train", "y_train", "x_test", "y_test", "classes")
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_oversize(sum(entry.file_size for entry in archive.infolist()), str(path))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in known if name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataProblem(f"{path}: not a readable .npz file ({error}); write it with numpy.savez") from error
    for name in ("x_train", "y_train"):
        if name not in arrays:
            raise DataProblem(
                f"{path}: has no array {name}; it needs x_train and y_train ({', '.join(known)} are read)"
            )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataProblem(f"{path}: x_test and y_test must come together")
    images = _pixels(arrays["x_train"], f"{path}: x_train")
    labels = _labels(arrays["y_train"], len(images), f"{path}: y_train")
    test_images = _pixels(arrays["x_test"], f"{path}: x_test") if "x_test" in arrays else None
    test_labels = None
    if test_images is not None:
        test_labels = _labels(arrays["y_test"], len(test_images), f"{path}: y_test")
        if test_images.shape[1:] != images.shape[1:]:
            raise DataProblem(f"{path}: x_test holds {test_images.shape[1:]} images, x_train {images.shape[1:]}")
    classes = _class_names(arrays.get("classes"), labels, test_labels, str(path))
    return Source(
        images=images,
        labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=classes,
        mirror=options.mirror,
    )


def _pixels(array: NDArray[Any], where: str) -> Pixels:
    if array.dtype != np.uint8:
        raise DataProblem(f"{where}: is {array.dtype}; images must be uint8, 0 to 255")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or not 1 <= array.shape[3] <= 4 or 0 in array.shape:
        raise DataProblem(f"{where}: has shape {array.shape}; needs (n, h, w) or (n, h, w, 1 to 4 channels), none 0")
    return np.ascontiguousarray(array)


def _labels(array: NDArray[Any], count: int, where: str) -> Labels:
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
    """root/train/<class>/* and, where present, root/test/<class>/*, as RGB resized to size x size.

    Images are taken in one fixed random order, so that the first `limit` hold all classes. Raises DataProblem.
    """
    root = Path(options.path).expanduser()
    if not (root / "train").is_dir():
        raise DataProblem(f"{root}: has no folder train; images belong in {root}/train/<class>/")
    classes = _class_folders(root / "train")
    train = _image_files(root / "train", classes)
    order = np.random.RandomState(0).permutation(len(train))[: options.limit]
    train = [train[i] for i in order]
    test: list[tuple[Path, int]] = []
    if (root / "test").is_dir():
        strangers = sorted(set(_class_folders(root / "test")) - set(classes))
        if strangers:
            raise DataProblem(f"{root}/test: classes that train lacks: {', '.join(strangers[:10])}")
        test = _image_files(root / "test", [name for name in classes if (root / "test" / name).is_dir()], classes)
    refuse_oversize((len(train) + len(test)) * options.size**2 * 3, str(root))
    images, labels = _read_images(train, options)
    test_images, test_labels = _read_images(test, options) if test else (None, None)
    return Source(
        images=images,
        labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=tuple(classes),
        mirror=options.mirror,
    )


def _class_folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _image_files(root: Path, names: list[str], classes: list[str] | None = None) -> list[tuple[Path, int]]:
    numbers = {name: k for k, name in enumerate(classes or names)}
    found = []
    for name in names:
        files = sorted(f for f in (root / name).iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
        if not files:
            raise DataProblem(f"{root / name}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
        found += [(file, numbers[name]) for file in files]
    if not found:
        raise DataProblem(f"{root}: holds no class folders; images belong in {root}/<class>/")
    return found


def _read_images(files: list[tuple[Path, int]], options: DataOptions) -> tuple[Pixels, Labels]:
    from PIL import Image

    images = np.empty((len(files), options.size, options.size, 3), dtype=np.uint8)

    def read(i: int) -> str | None:
        try:
            with Image.open(files[i][0]) as image:
                size = (options.size, options.size)
                images[i] = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            return f"{files[i][0]} ({error})"
        return None

    with ThreadPoolExecutor(options.workers) as pool:  # decoding releases the interpreter lock
        broken = [problem for problem in pool.map(read, range(len(files))) if problem]
    if broken:
        raise DataProblem(f"{len(broken)} images cannot be read, remove or repair them: {'; '.join(broken[:3])}")
    return images, np.asarray([k for _, k in files], dtype=np.int64)


def host_memory() -> int:
    """Bytes of memory this process may count on: the machine's, or what SLURM granted the job."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    granted = os.environ.get("SLURM_MEM_PER_NODE", "")
    return min(physical, int(granted) * 2**20) if granted.isdigit() and int(granted) else physical


def refuse_oversize(needed: int, where: str) -> None:
    """Raise DataProblem where `needed` bytes of images exceed MEMORY_SHARE of the host's memory."""
    allowed = int(MEMORY_SHARE * host_memory())
    if needed > allowed:
        raise DataProblem(
            f"{where}: {needed / 2**30:.1f} GiB of images, but only {allowed / 2**30:.1f} GiB may be held in memory; "
            "use limit, a smaller size, or a job with more memory"
        )
