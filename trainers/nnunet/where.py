"""Where nnU-Net's data is: its folders, the data set's name, and clear refusals. Standard library only.

Keys of --data: raw and preprocessed (nnU-Net's folders; by default the environment's nnUNet_raw and
nnUNet_preprocessed) and dataset (id or name; by default the study's task).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainers.contract import DataProblem, Value
from trainers.files import FileProblem, read_json_object

VARIABLES = {"raw": "nnUNet_raw", "preprocessed": "nnUNet_preprocessed"}
"""Key of --data -> the environment variable that nnU-Net itself reads."""

_NAME = re.compile(r"(?:Task|Dataset)?0*(\d{1,3})(?:_(\w+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set in nnU-Net's folders."""

    name: str
    """Dataset004_Hippocampus."""
    raw_root: Path | None
    """nnUNet_raw; None where only preprocessed data is at hand."""
    preprocessed_root: Path
    """nnUNet_preprocessed."""

    @property
    def number(self) -> int:
        return int(self.name[7:10])

    @property
    def raw(self) -> Path | None:
        folder = self.raw_root / self.name if self.raw_root else None
        return folder if folder is not None and folder.is_dir() else None

    @property
    def preprocessed(self) -> Path:
        return self.preprocessed_root / self.name

    def plans_file(self, identifier: str) -> Path:
        return self.preprocessed / f"{identifier}.json"

    @property
    def splits_file(self) -> Path:
        return self.preprocessed / "splits_final.json"

    def description(self) -> dict[str, object]:
        """dataset.json, from the raw data where they are. Raises DataProblem."""
        folder = self.raw or self.preprocessed
        try:
            found = read_json_object(folder / "dataset.json")
        except FileProblem as error:
            raise DataProblem(f"{error}; nnU-Net needs a dataset.json in every data set's folder") from error
        for key, kind in (("labels", dict), ("channel_names", dict), ("file_ending", str)):
            if not isinstance(found.get(key), kind):
                raise DataProblem(f"{folder / 'dataset.json'}: {key} = {found.get(key)!r}: must be {_WORDS[kind]}")
        return found


_WORDS: Mapping[type, str] = {dict: "an object", str: "a text"}


def locate(task: str, data: Mapping[str, Value], environment: Mapping[str, str]) -> Dataset:
    """The data set that a study means. Raises DataProblem naming what is missing, with the data sets there are."""
    raw, preprocessed = (_folder(key, data, environment) for key in ("raw", "preprocessed"))
    if preprocessed is None:
        raise DataProblem(
            "where nnU-Net's preprocessed data is (or shall be) is not known: give --data preprocessed=FOLDER, or "
            "set nnUNet_preprocessed in the environment or the profile's env"
        )
    if raw is not None and not raw.is_dir():
        raise DataProblem(f"--data raw={raw}: there is no such folder (nnUNet_raw holds DatasetNNN_Name folders)")
    wanted = str(data.get("dataset", task))
    match = _NAME.fullmatch(wanted)
    if match is None:
        raise DataProblem(
            f"dataset {wanted!r}: must be a number or a name such as Dataset004_Hippocampus or Task004_Hippocampus; "
            f"give --data dataset=...; {_known(raw, preprocessed)}"
        )
    prefix = f"Dataset{int(match[1]):03d}_"
    names = sorted({entry.name for root in (raw, preprocessed) for entry in _datasets(root, prefix)})
    if match[2] and match[1] and f"{prefix}{match[2]}" in names:
        names = [f"{prefix}{match[2]}"]
    if not names:
        raise DataProblem(f"dataset {wanted!r} is not there; {_known(raw, preprocessed)}")
    if len(names) > 1:
        raise DataProblem(f"dataset {wanted!r} may be {' or '.join(names)}: nnU-Net wants one name for each number")
    return Dataset(name=names[0], raw_root=raw, preprocessed_root=preprocessed)


def check(task: str, data: Mapping[str, Value], values: Mapping[str, Value], *, folds: int) -> None:
    """Raise DataProblem where `locate` would: all that is seen of the data without nnU-Net."""
    locate(task, data, os.environ)


def _folder(key: str, data: Mapping[str, Value], environment: Mapping[str, str]) -> Path | None:
    text = str(data.get(key) or environment.get(VARIABLES[key]) or "")
    return Path(os.path.abspath(os.path.expanduser(text))) if text else None


def _datasets(root: Path | None, prefix: str = "Dataset") -> list[Path]:
    if root is None or not root.is_dir():
        return []
    return [entry for entry in root.iterdir() if entry.is_dir() and re.match(rf"{prefix}", entry.name)]


def _known(raw: Path | None, preprocessed: Path) -> str:
    parts = []
    for name, root in (("nnUNet_raw", raw), ("nnUNet_preprocessed", preprocessed)):
        if root is not None:
            listed = ", ".join(sorted(entry.name for entry in _datasets(root))) or "none"
            parts.append(f"in {name} ({root}): {listed}")
    return "data sets " + "; ".join(parts)
