"""What can be refused before a study begins, without PyTorch: asked on the login node through trainers.registry.

Structure, file headers and splits need the standard library and numpy. Where Pillow is installed too, as on a machine
that trains by itself, a sample of the images is read the way the training reads them.
"""

from __future__ import annotations

import ast
import importlib.util
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

from trainers.contract import DataProblem, Value
from trainers.resnet9.folders import SHOWN, ImageFile, ImageFolder, scan
from trainers.resnet9.headers import problem
from trainers.resnet9.options import DataOptions, refuse_few, shown

HEADERS = 5_000
"""Files whose first bytes are looked at, spread evenly: about a second on a local disk, ten on a slow network one."""
SAMPLE = 100
"""Images that are decoded, spread evenly."""
SAMPLE_SIZE = 32
"""Side to which the sample is resized; what is found does not depend on it."""
LABEL_BYTES = 256 * 2**20
"""Larger arrays of labels are read by the tasks alone."""


def check(task: str, data: Mapping[str, Value], values: Mapping[str, Value], *, folds: int) -> list[str]:
    """Raise DataProblem where the training would, as far as that can be known; else say what may be unexpected.

    values: the hyperparameters that train first (none of them depends on the data).
    """
    options = DataOptions.read(task, data)
    if options.kind == "folder":
        return _check_folder(options, folds)
    if options.kind == "npz":
        _check_npz(options, folds)
    if options.kind == "cifar10" and not options.download:
        _check_cifar10(options)
    return []


def refuse_split(options: DataOptions, *, folds: int) -> None:
    """Raise DataProblem where a validation folder is there and the options ask for another validation."""
    if folds > 1:
        raise DataProblem(
            f"{options.path} has a validation folder, so {folds} folds cannot be cut; leave --folds out, or take the "
            "folds out of train alone with --data val_folder=false"
        )
    if options.val_fraction is not None:
        raise DataProblem(
            f"{options.path} has a validation folder, so val_fraction = {options.val_fraction} has no meaning; leave "
            "it out, or hold out a part of train instead with --data val_folder=false"
        )


def _check_folder(options: DataOptions, folds: int) -> list[str]:
    found = scan(Path(options.path).expanduser(), val_folder=options.val_folder)
    if found.val is not None:
        refuse_split(options, folds=folds)
    refuse_few(
        _counts(found, options), found.classes, folds=folds, validated=found.val is not None, where=options.path
    )
    return [*found.told, *_look(found, options)]


def _counts(found: ImageFolder, options: DataOptions) -> list[int]:
    if options.limit is None:
        return found.counts()
    from trainers.resnet9.sources import limited

    kept = Counter(found.train[i].label for i in limited(len(found.train), options.limit))
    return [kept[k] for k in range(len(found.classes))]


def _look(found: ImageFolder, options: DataOptions) -> list[str]:
    """Look into some files of each part. Raises DataProblem; says what becomes of unusual images."""
    everything = [*found.train, *(found.val or ()), *(found.test or ())]
    looked = _spread(everything, HEADERS)
    broken = {file: text for file in looked if (text := problem(file.path))}
    if importlib.util.find_spec("PIL") is None:
        if broken:
            some = "; ".join(f"{shown(str(file.path))} ({text})" for file, text in list(broken.items())[:SHOWN])
            raise DataProblem(f"{len(broken)} images cannot be read, remove or repair them: {some}")
        return ["Pillow is not installed here: the images are decoded by the tasks alone"]
    from trainers.resnet9.pixels import Reader

    options = replace(options, size=min(options.size, SAMPLE_SIZE), workers=1)
    if broken:
        Reader(options).read(list(broken))  # whether they can be read is Pillow's to say
    reader = Reader(options)
    for part in (found.train, found.val, found.test):
        if part:
            reader.read(_spread(part, SAMPLE))
    return [f"{found.root}: {line}" for line in reader.told()]


def _spread(files: Sequence[ImageFile], most: int) -> list[ImageFile]:
    """At most so many files, evenly over all."""
    step = max(1, -(-len(files) // most))
    return list(files[::step])


def _check_npz(options: DataOptions, folds: int) -> None:
    """Refuse by the arrays' headers and the labels; pixels are read by the tasks alone. Raises DataProblem."""
    import numpy as np

    from trainers.resnet9.sources import npz_labels, read_npz

    path = Path(options.path).expanduser()
    headers = _npz_headers(path)
    if sum(_bytes(headers[name]) for name in ("y_train", "y_test", "classes") if name in headers) > LABEL_BYTES:
        return
    arrays = read_npz(path, ("y_train", "y_test", "classes"))
    labels, _, classes = npz_labels(arrays, headers, str(path))
    counts = np.bincount(labels[: options.limit], minlength=len(classes)).tolist()
    refuse_few(counts, classes, folds=folds, validated=False, where=options.path)


def _npz_headers(path: Path) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Array -> its type, as numpy writes it, and shape. Raises DataProblem for a file that is no npz."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as stream:
                        found[name.removesuffix(".npy")] = _npy_header(stream)
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataProblem(f"{path}: not a readable .npz file ({error}); write it with numpy.savez") from error
    return found


def _npy_header(stream: IO[bytes]) -> tuple[Any, tuple[int, ...]]:
    """Type and shape of one array (NEP 1: magic, version, length of the header, the header as a Python literal)."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8:
        raise ValueError("an array in it is none of numpy's")
    length = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    header = ast.literal_eval(stream.read(min(length, 1 << 20)).decode("latin-1"))
    return header["descr"], tuple(header["shape"])


def _bytes(header: tuple[Any, tuple[int, ...]]) -> int:
    return 8 * prod(header[1])


def _check_cifar10(options: DataOptions) -> None:
    from trainers.resnet9.sources import cifar10_root

    root = cifar10_root(options)
    if not (root / "cifar-10-batches-py").is_dir():
        raise DataProblem(
            f"{root}: has no folder cifar-10-batches-py; give data path= the folder that holds it, or let it be "
            "fetched (data download=true)"
        )
