"""The options of `--data`: which images, how they are read and split. Standard library only.

These define the problem, so they are settings of the data and never tuned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.contract import DataProblem, Value

COMMON_KEYS = ("val_fraction", "split_seed", "limit")
KEYS: Mapping[str, tuple[str, ...]] = {
    "digits": COMMON_KEYS,
    "cifar10": (*COMMON_KEYS, "path", "download"),
    "npz": (*COMMON_KEYS, "path", "mirror"),
    "folder": (
        *COMMON_KEYS,
        "path",
        "size",
        "mirror",
        "workers",
        "val_folder",
        "intensity",
        "background",
        "frames",
    ),
}
"""The keys of `--data` that have a meaning, by kind of source."""
_TYPES: Mapping[str, type] = {
    "val_fraction": float,
    "split_seed": int,
    "limit": int,
    "path": str,
    "download": bool,
    "mirror": bool,
    "size": int,
    "workers": int,
    "val_folder": bool,
    "intensity": str,
    "background": str,
    "frames": str,
}
BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
"""What shows through transparent pixels, as RGB. Grey first: on it neither black nor white drawings vanish."""
FRAMES = ("one", "first")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The checked options of one data source."""

    kind: str
    """digits, cifar10, npz or folder."""
    path: str = ""
    """File or folder; for cifar10 the folder that holds, or will hold, cifar-10-batches-py."""
    val_fraction: float | None = None
    """Part of each class held out for validation when there is one split; None: 0.1, and 0.2 for the few digits."""
    split_seed: int = 0
    """Seed of the validation split."""
    limit: int | None = None
    """Use only the first so many training images (before the validation split)."""
    download: bool = True
    """Whether CIFAR-10 may be downloaded."""
    mirror: bool = True
    """Whether a mirrored image keeps its class; false for text and digits."""
    size: int = 32
    """Side to which images of a folder are resized, in pixels."""
    workers: int = 1
    """Threads that decode the images of a folder."""
    val_folder: bool = True
    """Whether a folder val beside train validates where there is one; false: it is not read."""
    intensity: str = ""
    """LOW,HIGH: pixel values that become 0 and 255, for images of more than 8 bits. Empty: found in training."""
    background: str = "grey"
    """What shows through transparent pixels: grey, white or black."""
    frames: str = "one"
    """one: a file with several pages or frames is refused. first: its first is read."""

    def __post_init__(self) -> None:
        fraction = self.val_fraction
        allowed = {
            "val_fraction": (fraction is None or 0 < fraction < 1, "above 0 and below 1"),
            "split_seed": (0 <= self.split_seed < 2**32, "from 0 to 2**32 - 1"),
            "limit": (self.limit is None or self.limit >= 1, "at least 1"),
            "size": (1 <= self.size <= 1024, "from 1 to 1024"),
            "workers": (1 <= self.workers <= 256, "from 1 to 256"),
            "intensity": (self.intensity == "" or _range(self.intensity) is not None, "LOW,HIGH such as 0,65535"),
            "background": (self.background in BACKGROUNDS, f"one of {', '.join(BACKGROUNDS)}"),
            "frames": (self.frames in FRAMES, f"one of {', '.join(FRAMES)}"),
        }
        problems = [
            f"{name} = {getattr(self, name)!r}: must be {text}" for name, (good, text) in allowed.items() if not good
        ]
        if problems:
            raise DataProblem("data: " + "; ".join(problems))

    @property
    def held_out(self) -> float:
        """The part of each class that validates where there is one split and no validation folder."""
        return self.val_fraction if self.val_fraction is not None else 0.2 if self.kind == "digits" else 0.1

    @property
    def intensity_range(self) -> tuple[float, float] | None:
        """The pixel values that become 0 and 255, or None where they are found."""
        return _range(self.intensity)

    @classmethod
    def read(cls, task: str, data: Mapping[str, Value], *, cpus: int = 1) -> DataOptions:
        """The options that a task and its `--data` name. Raises DataProblem with the valid keys.

        cpus: threads that decode where the options do not say.
        """
        kind = _kind(task, data)
        problems = [f"unknown key {key!r} for {kind}" for key in data if key not in KEYS[kind]]
        checked: dict[str, Value] = {"workers": max(1, cpus)}
        for key in KEYS[kind]:
            if key not in data:
                continue
            value, wanted = data[key], _TYPES[key]
            if isinstance(value, bool) is (wanted is bool) and isinstance(
                value, (int, float) if wanted is float else wanted
            ):
                checked[key] = value
            else:
                problems.append(f"{key} = {value!r}: must be of type {wanted.__name__}")
        if problems:
            raise DataProblem(f"data: {'; '.join(problems)} (keys: {', '.join(KEYS[kind])})")
        return cls(kind=kind, **checked)  # type: ignore[arg-type]  # each was checked against _TYPES


def _kind(task: str, data: Mapping[str, Value]) -> str:
    if task == "digits":
        return "digits"
    path = data.get("path")
    if isinstance(path, str) and path.lower().endswith(".npz"):
        return "npz"
    if task == "cifar10":
        return "cifar10"
    if isinstance(path, str) and Path(path).expanduser().is_dir():
        return "folder"
    if path is None:
        raise DataProblem(
            f"task {task!r} is neither digits nor cifar10: give data path= an .npz file, "
            "or a folder with train/<class>/ images"
        )
    raise DataProblem(f"data: path = {path!r} is neither an .npz file nor an existing folder")


def _range(text: str) -> tuple[float, float] | None:
    """(low, high) of "LOW,HIGH", low below high and both finite; None for any other text."""
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def refuse_few(
    counts: Sequence[int], classes: Sequence[str], *, folds: int, validated: bool, where: str = "the data"
) -> None:
    """Raise DataProblem where a class has too few training images to be split.

    counts: training images of each class. validated: the data brings its own validation images, so nothing is split.
    where: the file or folder.
    """
    if len(classes) < 2:
        raise DataProblem(f"{where}: has one class only; a classifier needs at least two")
    needed = 1 if validated else max(2, folds)
    least = min(range(len(classes)), key=lambda k: counts[k])
    if counts[least] < needed:
        what = "training" if validated else "a validation split" if folds == 1 else f"{folds} folds"
        which = f"class number {least}" if classes[least] == str(least) else f"class {shown(classes[least])}"
        raise DataProblem(
            f"{where}: {which} has {counts[least]} training images; {what} needs {needed} of each class"
        )


def shown(name: str) -> str:
    """A name from a disk as it may be printed: control characters and bytes that are no text are escaped."""
    return name if name.isprintable() else ascii(name)
