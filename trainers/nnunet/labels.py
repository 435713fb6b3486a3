"""What a data set's dataset.json says of labels and channels, and what is wrong with it. Standard library only.

nnU-Net checks the same things, but after it has been queued and started, one at a time and in its own words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.contract import DataProblem

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz", ".nrrd", ".mha", ".gipl")
"""What nnU-Net's readers open by the file's name."""
FLAT = (".png", ".bmp")
"""Endings of pictures that have no third axis."""
_READER = "overwrite_image_reader_writer"
_OLD_KEYS = ("modality", "tensorImageSize", "training")
"""Keys of dataset.json in nnU-Net v1 and the Medical Segmentation Decathlon."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a checked dataset.json."""

    names: Mapping[str, int | tuple[int, ...]]
    """Without background and ignore."""
    values: tuple[int, ...]
    """Every label but ignore, from 0 without gaps."""
    regions: bool
    """Whether a name stands for several labels, so that the loss is binary for each region."""


def read_labels(description: Mapping[str, Any], path: Path) -> Labels:
    """The labels of a dataset.json. Raises DataProblem with everything that is wrong with the file."""
    problems = _old_form(description) or [
        *_label_problems(description),
        *_channel_problems(description.get("channel_names")),
        *_ending_problems(description),
    ]
    if problems:
        raise DataProblem("\n".join(f"{path}: {problem}" for problem in problems))
    labels: Mapping[str, Any] = description["labels"]
    names = {name: tuple(v) if isinstance(v, list) else v for name, v in labels.items()}
    return Labels(
        names={name: value for name, value in names.items() if name not in ("background", "ignore")},
        values=tuple(_used(labels)),
        regions=_has_regions(labels),
    )


def is_flat(description: Mapping[str, Any]) -> bool:
    """Whether the images are pictures, which only the configuration 2d can train on."""
    return description.get(_READER) in (None, "None") and str(description.get("file_ending")).lower() in FLAT


def is_old(description: Mapping[str, Any]) -> bool:
    """Whether it is a dataset.json of nnU-Net v1 or the Decathlon."""
    return "channel_names" not in description and any(key in description for key in _OLD_KEYS)


def _old_form(description: Mapping[str, Any]) -> list[str]:
    if not is_old(description):
        return []
    old = ", ".join(key for key in _OLD_KEYS if key in description)
    return [
        f"is of nnU-Net v1 or the Medical Segmentation Decathlon ({old} instead of channel_names): convert the data "
        "set with nnUNetv2_convert_old_nnUNet_dataset FOLDER DatasetNNN_Name (v1) or nnUNetv2_convert_MSD_dataset "
        "-i FOLDER (Decathlon)"
    ]


def _label_problems(description: Mapping[str, Any]) -> list[str]:
    labels = description.get("labels")
    if not isinstance(labels, dict) or not labels:
        return [
            f'labels = {_short(labels)}: must be an object of name -> number, such as {{"background": 0, "a": 1}}'
        ]
    if all(isinstance(value, str) for value in labels.values()) and all(_digits(name) for name in labels):
        turned = {value: int(name) for name, value in labels.items()}
        return [f"labels has number -> name; nnU-Net v2 wants name -> number: {_short(turned, 300)}"]
    problems = [
        f"labels.{name} = {_short(value)}: must be a whole number from 0, without quotes, or a list of such numbers"
        for name, value in labels.items()
        if not _is_label(value)
    ]
    if problems:
        return problems
    return [
        *_background_problems(labels),
        *_shared_numbers(labels),
        *_gaps(labels),
        *_ignore_problems(labels),
        *_region_problems(description),
    ]


def _background_problems(labels: Mapping[str, Any]) -> list[str]:
    if "background" not in labels:
        zero = next((name for name, value in labels.items() if value == 0), None)
        hint = f"rename {zero!r}, which has 0, to background" if zero else 'add "background": 0'
        return [f"labels has no background, which nnU-Net needs as label 0: {hint}"]
    if labels["background"] != 0:
        return [f"labels.background = {_short(labels['background'])}: must be 0; renumber the label files"]
    return []


def _shared_numbers(labels: Mapping[str, Any]) -> list[str]:
    counts = Counter(json.dumps(value) for value in labels.values())
    found = []
    for text, count in counts.items():
        if count > 1:
            names = ", ".join(name for name, value in labels.items() if json.dumps(value) == text)
            found.append(f"labels: {names} have the same number {text}; give each its own, or one name")
    return found


def _gaps(labels: Mapping[str, Any]) -> list[str]:
    used = _used(labels)
    missing = sorted(set(range(used[-1])) - set(used)) if used and used[-1] < 100_000 else []
    if not missing:
        return []
    return [
        f"labels uses {_listed(used)}, but not {_listed(missing)}: nnU-Net wants 0, 1, 2, ... without a gap; "
        "renumber the label files and this list"
    ]


def _ignore_problems(labels: Mapping[str, Any]) -> list[str]:
    if "ignore" not in labels:
        return []
    ignore, highest = labels["ignore"], max(_used(labels), default=0)
    if ignore == highest + 1:
        return []
    return [
        f"labels.ignore = {_short(ignore)}: must be the highest label, {highest + 1} here; renumber it in the label "
        "files and this list"
    ]


def _region_problems(description: Mapping[str, Any]) -> list[str]:
    labels: Mapping[str, Any] = description["labels"]
    if not _has_regions(labels):
        return []
    order = description.get("regions_class_order")
    regions = [name for name, value in labels.items() if name != "ignore" and set(_numbers(value)) != {0}]
    wanted = f"a list of {len(regions)} labels, one for each of {', '.join(regions)} in this order"
    if order is None:
        return [f"labels are regions, and regions_class_order is missing: it must be {wanted}"]
    if not isinstance(order, list) or len(order) != len(regions):
        return [f"regions_class_order = {_short(order)}: must be {wanted}"]
    strange = [value for value in order if not _is_whole(value) or value not in _used(labels)]
    if strange:
        return [f"regions_class_order = {_short(order)}: {_short(strange[0])} is no label; it must be {wanted}"]
    return []


def _channel_problems(channels: Any) -> list[str]:
    example = 'must be an object of number -> name, such as {"0": "CT"}'
    if not isinstance(channels, dict) or not channels:
        return [f"channel_names = {_short(channels)}: {example}"]
    numbers = sorted(int(key) for key in channels if _digits(key))
    if len(numbers) < len(channels):
        return [f"channel_names = {_short(channels)}: has name -> number; it {example}"]
    if numbers != list(range(len(channels))):
        return [f"channel_names has the numbers {_listed(numbers)}; they must be 0, 1, 2, ... without a gap"]
    return [
        f"channel_names.{key} = {_short(name)}: must be a text"
        for key, name in channels.items()
        if not isinstance(name, str)
    ]


def _ending_problems(description: Mapping[str, Any]) -> list[str]:
    ending = description.get("file_ending")
    if not isinstance(ending, str) or not ending:
        return [f"file_ending = {_short(ending)}: must be the end of the image files' names, such as .nii.gz"]
    if description.get(_READER) in (None, "None") and ending.lower() not in ENDINGS:
        dot = f"; did you mean .{ending}?" if f".{ending}".lower() in ENDINGS else ""
        return [f"file_ending = {_short(ending)}: nnU-Net reads {', '.join(ENDINGS)}{dot}"]
    return []


def _has_regions(labels: Mapping[str, Any]) -> bool:
    return any(isinstance(value, list) and len(value) > 1 for value in labels.values())


def _used(labels: Mapping[str, Any]) -> list[int]:
    """Every number but ignore's, sorted."""
    return sorted({number for name, value in labels.items() if name != "ignore" for number in _numbers(value)})


def _numbers(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]


def _is_label(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return bool(numbers) and all(_is_whole(number) and int(number) >= 0 for number in numbers)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _digits(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isdigit()


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:20])
    return f"{shown}, ..." if len(numbers) > 20 else shown


def _short(value: object, limit: int = 120) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
