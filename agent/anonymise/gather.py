"""The names of a study that nobody else should read, from what is known about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from agent.anonymise.aliases import Name
from agent.anonymise.places import looks_like_path
from agent.anonymise.tokens import fold

#: Names of files and folders that say nothing about the data in them; their folder's name is looked at too.
_COMMON = frozenset(
    {"data", "dataset", "datasets", "files", "images", "input", "inputs", "processed", "raw", "split"}
    | {"test", "train", "training", "val", "valid", "validation"}
)
#: "root" is a word of the field (root mean square) and nobody's name; "localhost" is every machine.
_NOBODY = frozenset({"root", "localhost"})

_NNUNET_TASK = re.compile(r"(?:task|dataset)_?\d+_(.+)", re.IGNORECASE)
_PARTS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What could tell where a study runs and whose it is."""

    user: str = ""
    hosts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    """Absolute paths: home, the working folder."""


def this_machine() -> Machine:
    """The machine that this process runs on. What it does not know of itself is left out."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user id without an entry in the password file
        user = ""
    folders = []
    for ask in (Path.home, Path.cwd):
        try:
            folders.append(str(ask()))
        except (OSError, RuntimeError):  # no home, or a working folder that was removed
            continue
    # Not getfqdn(): it may wait for a name server, and the first label is what logs show.
    return Machine(user=user, hosts=(socket.gethostname(),), folders=tuple(folders))


def gather(
    *,
    task: str,
    study: str,
    trainer: str,
    data: Mapping[str, object] | None = None,
    classes: Iterable[str] = (),
    folder: Path | None = None,
    hosts: Iterable[str] = (),
    machine: Machine | None = None,
) -> list[Name]:
    """Names in a fixed order, each once: compared caseless, but classes "A" and "a" are two.

    data: `--data`; texts that look like paths give the path, and the file's and folder's names as data sets, other
    texts are names of data sets. classes: class names as the summaries have them. folder: the study's. hosts: nodes
    that trials ran on. machine: by default this one.
    """
    machine = this_machine() if machine is None else machine
    names = [*_written(task, "task"), *_named_in_task(task), *_written(study, "study"), *_written(trainer, "model")]
    for value in (data or {}).values():
        if isinstance(value, str):
            names += _data(value)
    names += [Name(kind="class", text=name) for name in classes if name.strip()]
    folders = [*machine.folders, *([str(folder.absolute())] if folder is not None else [])]
    names += [name for path in folders for name in _path(path)]
    people = [machine.user, *(PurePath(home).name for home in machine.folders[:1])]
    names += [Name(kind="user", text=name) for name in people if name.strip() and fold(name) not in _NOBODY]
    for host in [*machine.hosts, *hosts]:
        labels = dict.fromkeys((host, host.partition(".")[0]))
        names += [Name(kind="host", text=name) for name in labels if name.strip() and fold(name) not in _NOBODY]
    return _each_once(names)


def spellings(text: str) -> tuple[str, ...]:
    """Other ways in which logs write a name: resnet9, ResNet-9, resnet_9, "resnet 9" (case never matters)."""
    parts = _PARTS.findall(text)
    if not 2 <= len(parts) <= 4 or any(not (c.isalnum() or c in "-_ .") for c in text):
        return ()
    return tuple(written for joint in ("", "-", "_", " ") if (written := joint.join(parts)) != text)


def _written(text: str, kind: str) -> list[Name]:
    return [Name(kind=kind, text=text, spellings=spellings(text))] if text.strip() else []


def _named_in_task(task: str) -> list[Name]:
    """nnU-Net's tasks carry the data set's name: Task601_TotalSegmentatorV1."""
    found = _NNUNET_TASK.fullmatch(task)
    return [] if found is None else [*_written(found[1], "dataset"), *_written(task[: found.start(1) - 1], "task")]


def _data(value: str) -> list[Name]:
    if not (looks_like_path(value) or "/" in value or "\\" in value or Path(value).suffix):
        return [] if fold(value) in _COMMON else _written(value, "dataset")
    path = PureWindowsPath(value) if "\\" in value else PurePath(value)
    named = []
    for part in reversed(path.parts):
        stem = part.partition(".")[0] or part
        if stem.strip("/\\:") and fold(stem) not in _COMMON:
            named = _written(stem, "dataset")
            break
    whole = [] if looks_like_path(value) or path == PurePath(path.name) else _path(str(Path(value).absolute()))
    return [*_path(value), *whole, *named]


def _path(text: str) -> list[Name]:
    """A path as a name; the root of a disk and the like are none."""
    return [Name(kind="path", text=text)] if len(PurePath(text).parts) > 1 or "\\" in text or ":" in text else []


def _each_once(names: Sequence[Name]) -> list[Name]:
    seen: set[tuple[str, str]] = set()
    kept = []
    for name in names:
        key = ("class", name.text) if name.kind == "class" else ("", fold(name.text))
        if key not in seen:
            kept.append(name)
            seen.update([key, *(("", fold(text)) for text in name.spellings)])
    return kept
