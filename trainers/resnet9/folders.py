"""What lies in a folder of images: its parts, classes and files, without opening an image. Standard library only.

The same code runs on the login node, before a study begins, and in the training.
"""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainers.contract import DataProblem
from trainers.resnet9.options import shown

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PART_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}
"""Part -> the names that its folder may have, in any letter case."""
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
"""What file managers leave beside a person's files; names that begin with a dot are passed over, too."""
SHOWN = 3
"""Files or folders that a message names."""


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The image files of each part, in a fixed order."""

    root: Path
    classes: tuple[str, ...]
    train: Sequence[ImageFile]
    val: Sequence[ImageFile] | None
    """None where there is no validation folder, or it is not to be read."""
    test: Sequence[ImageFile] | None
    told: Sequence[str] = field(default_factory=tuple)
    """What a person may not expect: what is not read, what lies deeper."""

    def counts(self) -> list[int]:
        """Training images of each class."""
        found = Counter(file.label for file in self.train)
        return [found[k] for k in range(len(self.classes))]


def scan(root: Path, *, val_folder: bool = True) -> ImageFolder:
    """The images below root/train/<class>/, and where present root/val and root/test. Raises DataProblem.

    Images may lie at any depth of their class's folder. val_folder: whether a validation folder is read.
    """
    try:
        return _scan(root, val_folder)
    except OSError as error:
        raise DataProblem(f"{error.filename or root}: cannot be read: {error.strerror or error}") from error


def _scan(root: Path, val_folder: bool) -> ImageFolder:
    parts = _parts(root)
    told: list[str] = []
    walks = {part: _Walk(folder) for part, folder in parts.items() if part != "val" or val_folder}
    classes = tuple(walks["train"].classes)
    if not classes:
        raise DataProblem(f"{parts['train']}: holds no class folders; images belong in {parts['train']}/<class>/")
    files: dict[str, list[ImageFile]] = {}
    for part, walk in walks.items():
        strangers = [name for name in walk.classes if name not in classes]
        if strangers:
            raise DataProblem(_strange(walk.root, strangers, classes))
        files[part] = walk.files(classes)
        told += walk.told(classes)
    told += _unread_folders(root, parts)
    if "val" in files:
        told.append(
            f"{parts['val']}: its {len(files['val'])} images validate; nothing is held out of {parts['train']}"
        )
    if "val" in parts and not val_folder:
        told.append(f"{parts['val']} is not read (val_folder=false)")
    return ImageFolder(
        root=root, classes=classes, train=files["train"], val=files.get("val"), test=files.get("test"), told=told
    )


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each part that is there; train always is. Raises DataProblem."""
    folders = [entry.name for entry in _visible(root) if entry.is_dir()]
    parts: dict[str, Path] = {}
    for part, names in PART_NAMES.items():
        found = sorted(name for name in folders if name.lower() in names)
        if len(found) > 1:
            raise DataProblem(
                f"{root}: {' and '.join(found)} stand side by side, and only one may be the {part} part; "
                f"rename the other so that it begins with a dot, e.g. .{found[-1]}"
            )
        if found:
            parts[part] = root / found[0]
    if "train" not in parts:
        raise DataProblem(
            f"{root}: has no folder train; images belong in {root}/train/<class>/{_hint(root, folders)}"
        )
    for part, folder in parts.items():
        if part != "train" and os.path.samefile(folder, parts["train"]):
            raise DataProblem(f"{folder}: is the same folder as {parts['train']}; each part needs images of its own")
    return parts


def _hint(root: Path, folders: Sequence[str]) -> str:
    """What to do with a folder whose images lie otherwise."""
    inner = sorted(
        name
        for name in folders
        if any(e.is_dir() and e.name.lower() in PART_NAMES["train"] for e in _visible(root / name))
    )
    if len(inner) == 1:
        return f". Is {root / inner[0]} meant? Give --data path={shlex.quote(str(root / inner[0]))}"
    if inner:
        some = ", ".join(map(shown, inner[:SHOWN]))
        return (
            f". Here each class ({some}) has its own train folder: move {root}/<class>/train to {root}/train/<class>"
        )
    if any(_is_image(entry.name) for entry in _visible(root)):
        return ". Here the images lie in one flat folder: sort them into one folder a class first"
    if any(_is_image(entry.name) for name in folders for entry in _visible(root / name)):
        new, old = shlex.quote(f"{root}_parts"), shlex.quote(os.path.abspath(root))
        return (
            f". Here the class folders lie at the top: mkdir {new} && ln -s {old} {new}/train && use "
            f"--data path={new}"
        )
    return ""


class _Walk:
    """The files below one part's class folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._images: dict[str, list[Path]] = {}
        """Class -> its images, by their place below the class folder."""
        self._unread: Counter[str] = Counter()
        self._unread_example: dict[str, Path] = {}
        self._deeper = 0
        self._loose = 0
        self._broken: list[Path] = []
        for entry in sorted(_visible(root), key=lambda entry: entry.name):
            if entry.is_dir():
                self._add_class(entry.name)
            elif _is_image(entry.name):
                self._loose += 1
        if self._broken:
            some = ", ".join(shown(str(path)) for path in self._broken[:SHOWN])
            raise DataProblem(
                f"{len(self._broken)} images are links that lead nowhere, or no files; remove or repair: {some}; "
                f"find {shlex.quote(str(root))} ! -xtype f ! -xtype d lists all"
            )

    @property
    def classes(self) -> list[str]:
        return sorted(self._images)

    def _add_class(self, name: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataProblem(f"{self.root}: the class folder {name!a} is named in bytes that are no UTF-8") from None
        # One name may be spelled in two ways that look alike, as macOS and Linux do with letters that bear accents.
        known = unicodedata.normalize("NFC", name)
        if known in self._images:
            raise DataProblem(f"{self.root}: two class folders are named {known}, spelled in two Unicode forms")
        folder = self.root / name
        images: list[Path] = []
        self._below(folder, images, seen={_identity(folder)}, top=folder)
        self._images[known] = sorted(images)

    def _below(self, folder: Path, images: list[Path], *, seen: set[tuple[int, int]], top: Path) -> None:
        for entry in _visible(folder):
            path = folder / entry.name
            if entry.is_dir():
                if any(entry.name.lower() in names for names in PART_NAMES.values()):
                    raise DataProblem(
                        f"{path}: a folder {entry.name} inside a class; the parts come first, then the classes: "
                        f"move its images to {self.root.parent}/{entry.name}/{top.name}"
                    )
                if (identity := _identity(path)) not in seen:
                    seen.add(identity)  # a link may lead back up
                    self._below(path, images, seen=seen, top=top)
            elif not _is_image(entry.name):
                suffix = path.suffix.lower() or "without a suffix"
                self._unread[suffix] += 1
                self._unread_example.setdefault(suffix, path)
            elif entry.is_file():
                images.append(path)
                self._deeper += folder != top
            else:
                self._broken.append(path)

    def files(self, classes: Sequence[str]) -> list[ImageFile]:
        """Class by class. Raises DataProblem for a class folder without an image."""
        found = []
        for label, name in enumerate(classes):
            if name not in self._images:
                continue
            if not self._images[name]:
                other = f"; it has {self._others()}" if self._unread else ""
                raise DataProblem(
                    f"{self.root / name}: holds no image ({', '.join(IMAGE_SUFFIXES)}){other}; "
                    "put images there or remove the folder"
                )
            found += [ImageFile(path=path, label=label) for path in self._images[name]]
        if not found:
            raise DataProblem(f"{self.root}: holds no class folders; images belong in {self.root}/<class>/")
        return found

    def told(self, classes: Sequence[str]) -> list[str]:
        """What is read otherwise than one may think."""
        lines = []
        if self._deeper:
            total = sum(map(len, self._images.values()))
            lines.append(
                f"{self.root}: {self._deeper} of {total} images lie in folders below their class's, and belong to it"
            )
        if self._unread:
            lines.append(f"{self.root}: not read: {self._others()}")
        if self._loose:
            lines.append(f"{self.root}: not read: {self._loose} images that are in no class folder")
        if absent := [name for name in classes if name not in self._images]:
            lines.append(f"{self.root}: has no images of {', '.join(map(shown, absent[:10]))}")
        folded = Counter(name.casefold() for name in self._images)
        if twins := [name for name in self._images if folded[name.casefold()] > 1]:
            lines.append(
                f"{self.root}: {', '.join(map(shown, twins[:10]))} differ in letter case only: classes apart"
            )
        return lines

    def _others(self) -> str:
        some = self._unread.most_common(SHOWN)
        return ", ".join(f"{n} {suffix} ({shown(self._unread_example[suffix].name)})" for suffix, n in some)


def _strange(root: Path, strangers: Sequence[str], classes: Sequence[str]) -> str:
    """Classes that train lacks, and where only the letter case differs, the one that is probably meant."""
    near = {name.casefold(): name for name in classes}
    named = []
    for name in strangers[:10]:
        meant = near.get(name.casefold())
        named.append(shown(name) + (f" (train has {shown(meant)}: rename one)" if meant else ""))
    return f"{root}: classes that train lacks: {', '.join(named)}"


def _unread_folders(root: Path, parts: Mapping[str, Path]) -> list[str]:
    used = {folder.name for folder in parts.values()}
    others = sorted(entry.name for entry in _visible(root) if entry.is_dir() and entry.name not in used)
    some = ", ".join(map(shown, others[:10]))
    return [f"{root}: not read: the folder{'s' if len(others) > 1 else ''} {some}"] if others else []


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _SYSTEM_FILES]


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
