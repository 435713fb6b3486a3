"""The names of a study that nobody else should read, from what is known about it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from agent.anonymise.places import looks_like_path
from agent.anonymise.spelled import key, parts
from agent.anonymise.table import Name
from agent.anonymise.tokens import fold

#: Names of files and folders that say nothing about the data in them; their folder's name is looked at too.
_COMMON = frozenset(
    {"data", "dataset", "datasets", "files", "images", "input", "inputs", "processed", "raw", "split"}
    | {"test", "train", "training", "val", "valid", "validation"}
)
#: "root" is a word of the field (root mean square) and nobody's name; "localhost" is every machine.
_NOBODY = frozenset({"root", "localhost"})
#: Folders of a file system: the names of people's own are among the others.
_FOLDERS = frozenset(
    {"cluster", "data1", "data2", "export", "gpfs", "group", "groups", "home", "local", "lustre", "media"}
    | {"mnt", "nfs", "opt", "proj", "project", "projects", "root", "runs", "scratch", "share", "shared"}
    | {"srv", "storage", "tmp", "user", "users", "usr", "var", "work", "workspace"}
)
#: What machines and accounts are called that are nobody's.
_COMPUTERS = frozenset(
    {"admin", "cluster", "compute", "cpu", "docker", "gpu", "guest", "head", "host", "jupyter", "login", "master"}
    | {"node", "server", "slurm", "student", "ubuntu", "user", "worker"}
)
#: Words that are in many names and say nothing alone.
_GENERIC = frozenset(
    {"all", "and", "base", "baseline", "batch", "benchmark", "challenge", "class", "classes", "clean"}
    | {"demo", "exp", "experiment", "final", "first", "for", "from", "full", "hourly", "image", "large"}
    | {"left", "list", "main", "mini", "model", "new", "old", "one", "part", "quick", "real", "right"}
    | {"run", "sample", "samples", "second", "series", "set", "sets", "size", "small", "study", "sweep"}
    | {"task", "the", "time", "tiny", "total", "trial", "try", "tune", "tuning", "two", "version", "with"}
)
#: Words in names of classes that tell a place, an order, a degree or a colour: agents need them, and they say nothing
#: alone of what a study is about.
_PLAIN = frozenset(
    {"above", "absent", "abnormal", "anterior", "area", "back", "background", "below", "between", "black", "blue"}
    | {"border", "bottom", "bright", "brown", "center", "central", "centre", "close", "coarse", "core", "correct"}
    | {"dark", "deep", "dense", "different", "distal", "down", "early", "easy", "edge", "empty", "end", "extra"}
    | {"false", "fast", "fine", "flat", "foreground", "free", "front", "general", "global", "good", "grade", "gray"}
    | {"green", "grey", "group", "half", "hard", "heavy", "high", "higher", "hollow", "horizontal", "ignore"}
    | {"incorrect", "index", "inferior", "inner", "inside", "invalid", "kind", "label", "late", "lateral", "left"}
    | {"length", "less", "level", "light", "line", "long", "lower", "mean", "medial", "medium", "middle", "mild"}
    | {"minor", "major", "missing", "mixed", "moderate", "more", "most", "multiple", "name", "narrow", "near"}
    | {"negative", "neutral", "none", "normal", "not", "null", "object", "open", "orange", "other", "others"}
    | {"outer", "outside", "over", "partial", "pink", "point", "positive", "posterior", "present", "primary"}
    | {"proximal", "purple", "random", "range", "rate", "region", "regular", "rest", "rough", "round", "scale"}
    | {"secondary", "severe", "shallow", "short", "side", "single", "slow", "smooth", "soft", "sparse", "stable"}
    | {"stage", "start", "state", "superior", "surface", "thick", "thin", "third", "three", "top", "type", "under"}
    | {"unknown", "unlabeled", "unlabelled", "unstable", "upper", "value", "vertical", "void", "wall", "weak"}
    | {"white", "whole", "wide", "width", "without", "yellow", "zone"}
)
_LETTERS = re.compile(r"[^\W\d_]+")

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
    vocabulary: Collection[str] | None = None,
) -> list[Name]:
    """Names in a fixed order, each once: compared caseless, but classes "A" and "a" are two.

    data: `--data`; texts that look like paths give the path, and the file's and folder's names as data sets, other
    texts are names of data sets. classes: class names as the summaries have them. folder: the study's. hosts: nodes
    that trials ran on. machine: by default this one. vocabulary: the words of our prompts and of the reference
    (`spelled.words_of`); with it, the words in names of data, task and study are names of their own (Heart of
    HeartMRI, folders on the way to the data) where they are none of these; so are the words in names of classes
    (ventricle of Left_Ventricle), as words of the task: an alias of a class would be taken for one more class.
    """
    classes = tuple(classes)
    machine = this_machine() if machine is None else machine
    names = [*_written(task, "task"), *_named_in_task(task), *_written(study, "study"), *_written(trainer, "model")]
    for value in (data or {}).values():
        if isinstance(value, str):
            names += _data(value)
    names += [Name(kind="class", text=name) for name in classes if name.strip()]
    if vocabulary is not None:
        folders = [part for value in (data or {}).values() if isinstance(value, str) for part in _folders(value)]
        names += [Name(kind="dataset", text=part) for part in folders if _tells(part, vocabulary)]
        named = [(name.text, "dataset") for name in names if name.kind == "dataset"]
        for text, kind in [(task, "task"), (study, "study"), *named]:
            names += [Name(kind=kind, text=word) for word in _words(text) if _tells(word, vocabulary)]
        whole = {key(name) for name in classes}
        told = [word for text in classes for word in _words(text) if _tells(word, vocabulary)]
        names += [Name(kind="task", text=word) for word in told if key(word) not in whole | _PLAIN]
    own = [*machine.folders, *([str(folder.absolute())] if folder is not None else [])]
    names += [name for path in own for name in _path(path)]
    people = [machine.user, *(PurePath(home).name for home in machine.folders[:1])]
    names += [Name(kind="user", text=name) for name in people if name.strip() and fold(name) not in _NOBODY]
    for host in [*machine.hosts, *hosts]:
        labels = dict.fromkeys((host, host.partition(".")[0]))
        names += [Name(kind="host", text=name) for name in labels if name.strip() and fold(name) not in _NOBODY]
    return _each_once(names)


def _folders(value: str) -> list[str]:
    """The parts of a path that are not a file system's own, without endings; of another text itself."""
    return [
        stem
        for part in re.split(r"[/\\]", value)
        if (stem := part.partition(".")[0] or part) and fold(stem) not in _FOLDERS and fold(stem) not in _COMMON
    ]


def _words(text: str) -> list[str]:
    """The words in a name of several."""
    found = [text[begin:end] for begin, end in parts(text)]
    return [word for word in found if _LETTERS.fullmatch(word) and word != text]


def _tells(word: str, vocabulary: Collection[str]) -> bool:
    """Whether a word says whose or what data it is: of four letters and more, or of three capitals (MRI), and none
    that every study has."""
    long = len(key(word)) >= (3 if word.isupper() else 4)
    common = {key(word), fold(word)} & (_GENERIC | _COMMON | _FOLDERS)
    return long and not common and key(word) not in vocabulary


def own_words(names: Iterable[Name], words: Collection[str], vocabulary: Collection[str]) -> list[Name]:
    """The names that are sent as they are, because they are words that have to be understood: those of `words`
    (parameters, choices, the metric), and people and machines that are called like a word of our own prompts
    (`vocabulary`: a machine named node)."""
    meant, common = {key(word) for word in words}, _COMPUTERS.union(vocabulary)
    return [
        name
        for name in names
        if key(name.text) in meant or (name.kind in ("user", "host") and key(name.text) in common)
    ]


def spellings(text: str) -> tuple[str, ...]:
    """Other ways in which logs write a name: resnet9, ResNet-9, resnet_9, "resnet 9" (case never matters)."""
    found = _PARTS.findall(text)
    if not 2 <= len(found) <= 4 or any(not (c.isalnum() or c in "-_ .") for c in text):
        return ()
    return tuple(written for joint in ("", "-", "_", " ") if (written := joint.join(found)) != text)


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
