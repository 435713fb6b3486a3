"""The training cases of a data set, and whether its files fit its dataset.json. Standard library only."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.contract import DataProblem
from trainers.nnunet.headers import Header, read_header
from trainers.nnunet.where import Dataset

OPENED = 1000
"""Files whose headers are read: a second or two on a slow filesystem."""
LISTED = 10
_CHANNEL = re.compile(r"(?P<case>.*)_(?P<channel>\d{4})", re.ASCII)


Images = dict[str, list[Path]]
"""Case -> its files, by channel."""


def cases(dataset: Dataset) -> list[str]:
    """Names of the training cases, sorted: of the raw data where they are at hand, else of gt_segmentations."""
    description: Any = dataset.description()
    ending: str = description["file_ending"]
    if dataset.raw is not None and isinstance(description.get("dataset"), dict):
        return sorted(description["dataset"])
    folder = dataset.raw / "labelsTr" if dataset.raw is not None else dataset.preprocessed / "gt_segmentations"
    if not folder.is_dir():
        raise DataProblem(f"{folder}: there is no such folder; it holds a label file for each training case")
    found = sorted(path.name.removesuffix(ending) for path in folder.iterdir() if path.name.endswith(ending))
    if not found:
        raise DataProblem(f"{folder}: holds no file that ends in {ending} (file_ending of dataset.json)")
    return found


def refuse_files(raw: Path, description: Mapping[str, Any]) -> None:
    """Raise DataProblem where the files of imagesTr and labelsTr (or those listed under `dataset`) do not fit."""
    if isinstance(description.get("dataset"), dict):
        images, labels, problems = _listed_cases(raw, description["dataset"])
    else:
        images, labels, problems = _foldered_cases(raw, description["file_ending"], len(description["channel_names"]))
    problems += _unpaired(images, labels) if not problems else []
    problems += _wrong_count(len(images), description.get("numTraining"), raw) if not problems else []
    problems += _contents(images, labels, description["channel_names"]) if not problems else []
    if problems:
        raise DataProblem("\n".join(f"{raw}: {problem}" for problem in problems))


def _foldered_cases(raw: Path, ending: str, channels: int) -> tuple[Images, dict[str, Path], list[str]]:
    found: dict[str, list[str]] = {}
    for part, what in (("imagesTr", "the training images"), ("labelsTr", "a label file for each training case")):
        if not (raw / part).is_dir():
            raise DataProblem(f"{raw / part}: there is no such folder; it holds {what}")
        names = sorted(entry.name for entry in os.scandir(raw / part) if not entry.is_dir())
        found[part] = [name for name in names if name.endswith(ending)]
        if not found[part]:
            raise DataProblem(f"{raw / part}: no file ends in {ending} (file_ending of dataset.json){_others(names)}")
    problems = _hidden(raw, found)
    if problems:
        return {}, {}, problems
    images: Images = defaultdict(list)
    bare = []
    for name in found["imagesTr"]:
        match = _CHANNEL.fullmatch(name.removesuffix(ending))
        if match is None:
            bare.append(name)
        else:
            images[match["case"]].append(raw / "imagesTr" / name)
    if bare:
        return {}, {}, [_no_channel(raw / "imagesTr", bare, len(found["imagesTr"]), ending, channels)]
    labels = {name.removesuffix(ending): raw / "labelsTr" / name for name in found["labelsTr"]}
    numbered = [name for name in labels if (match := _CHANNEL.fullmatch(name)) and match["case"] in images]
    if numbered and not set(labels) & set(images):
        example = f"{numbered[0]}{ending} must be {numbered[0][:-5]}{ending}"
        problems = [f"{len(numbered)} labels in labelsTr carry a channel suffix, which only images have: {example}"]
    return images, labels, problems


def _hidden(raw: Path, found: Mapping[str, Sequence[str]]) -> list[str]:
    problems = []
    for part, names in found.items():
        if dotted := [name for name in names if name.startswith(".")]:
            remove = f"find {shlex.quote(str(raw / part))} -name '._*' -delete"
            problems.append(
                f"{len(dotted)} files in {part} begin with a dot ({_some(dotted)}), and nnU-Net would read them as "
                f"images; macOS leaves such files: {remove}"
            )
    return problems


def _no_channel(folder: Path, bare: Sequence[str], count: int, ending: str, channels: int) -> str:
    text = (
        f"{len(bare)} of {count} images in imagesTr lack the channel suffix (_0000 for the first channel): "
        f"{_some(bare)}; {bare[0]} must be {bare[0].removesuffix(ending)}_0000{ending}"
    )
    if channels == 1 and len(bare) == count:
        quoted = shlex.quote(ending)
        text += (
            f'. This renames all: cd {shlex.quote(str(folder))} && for f in *{quoted}; do mv -n -- "$f" '
            f'"${{f%{ending}}}_0000{ending}"; done'
        )
    return text


def _others(names: Sequence[str]) -> str:
    endings = Counter(name[name.find(".", 1) :] for name in names if "." in name[1:])
    return (
        f"; it holds {', '.join(f'{count} of {ending}' for ending, count in endings.most_common(3))}"
        if endings
        else ""
    )


def _listed_cases(raw: Path, listed: Mapping[str, Any]) -> tuple[Images, dict[str, Path], list[str]]:
    """The cases that dataset.json names itself; a relative path begins at its folder."""
    images: Images = {}
    labels: dict[str, Path] = {}
    problems, absent = [], []
    for case, entry in listed.items():
        files = entry.get("images") if isinstance(entry, dict) else None
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(files, list) or not all(isinstance(f, str) for f in files) or not isinstance(label, str):
            problems.append(f'dataset.{case} in dataset.json must be {{"images": [file, ...], "label": file}}')
            continue
        images[case] = [raw / os.path.expandvars(name) for name in files]
        labels[case] = raw / os.path.expandvars(label)
        absent += [str(path) for path in (*images[case], labels[case]) if not path.is_file()]
    if not listed:
        problems.append("dataset in dataset.json names no case; leave it out to use imagesTr and labelsTr")
    if absent:
        problems.append(f"{len(absent)} files that dataset.json names are not there: {_some(absent)}")
    return images, labels, problems


def _unpaired(images: Collection[str], labels: Collection[str]) -> list[str]:
    found = []
    pairs = ((images, labels, "label", "labelsTr"), (labels, images, "image", "imagesTr"))
    for those, others, what, where in pairs:
        if lone := sorted(set(those) - set(others)):
            found.append(f"{len(lone)} cases have no {what} in {where}: {_some(lone)}")
    return found


def _wrong_count(count: int, told: object, raw: Path) -> list[str]:
    if isinstance(told, int) and not isinstance(told, bool) and told == count:
        return []
    return [f"numTraining in dataset.json is {told!r}, but there are {count} training cases: set it to {count}"]


def _contents(images: Images, labels: Mapping[str, Path], channels: Mapping[str, str]) -> list[str]:
    """Channels and sizes, as far as the files' number and headers tell."""
    usual = Counter(_numbers(files) for files in images.values()).most_common(1)[0][0]
    wrong: list[str] = []
    unequal: list[str] = []
    opened = 0
    for case in sorted(images):
        files = sorted(images[case])
        headers: list[Header | None] = [None] * len(files)
        if opened + len(files) < OPENED:
            opened += len(files) + 1
            headers = [read_header(path) for path in files]
            unequal += _unequal([*files, labels[case]], [*headers, read_header(labels[case])])
        known = [header.channels for header in headers if header is not None]
        # A file may hold several channels (RGB, a 4-dimensional NIfTI); of an unknown one there is at least one.
        there = sum(known) + len(files) - len(known)
        unsure = len(known) < len(files) and there < len(channels) and _numbers(files) == usual
        if (there != len(channels) and not unsure) or _numbers(files) != usual:
            names = ", ".join(path.name for path in files)
            wrong.append(f"{case} has {there} ({names})")
    problems = []
    if wrong:
        wanted = f"{len(channels)} ({', '.join(channels.values())})"
        problems.append(
            f"each case needs {wanted} channels by channel_names in dataset.json, but {len(wrong)} of {len(images)} "
            f"cases do not fit: {_some(wrong, '; ')}"
        )
    if unequal:
        problems.append(f"{len(unequal)} cases have files of different sizes: {_some(unequal, '; ')}")
    return problems


def _numbers(files: Sequence[Path]) -> tuple[str, ...]:
    """The channel numbers in the files' names; for names without any, their positions."""
    matches = [_CHANNEL.fullmatch(path.name.split(".")[0]) for path in sorted(files)]
    return tuple(match["channel"] if match else f"{place:04d}" for place, match in enumerate(matches))


def _unequal(files: Sequence[Path], headers: Sequence[Header | None]) -> list[str]:
    known = [(path, header) for path, header in zip(files, headers, strict=True) if header is not None]
    if len({header.size for _, header in known}) < 2:
        return []
    sizes = ", ".join(f"{path.parent.name}/{path.name} {'x'.join(map(str, header.size))}" for path, header in known)
    return [sizes]


def _some(names: Sequence[str], between: str = ", ") -> str:
    shown = between.join(names[:LISTED])
    return f"{shown}{between}..." if len(names) > LISTED else shown
