"""Where nnU-Net's data is: its folders, the data set's name, and clear refusals. Standard library only.

Keys of --data: raw and preprocessed (nnU-Net's folders; by default the environment's nnUNet_raw and
nnUNet_preprocessed) and dataset (id or name; by default the study's task).
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainers.contract import DataProblem, Value
from trainers.files import FileProblem, read_json_object
from trainers.nnunet.labels import read_labels

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
        refuse_mark(folder / "dataset.json")
        try:
            found = read_json_object(folder / "dataset.json")
        except FileProblem as error:
            raise DataProblem(f"{error}; nnU-Net needs a dataset.json in every data set's folder") from error
        if not all(isinstance(found.get(key), kind) for key, kind in _NEEDED):
            read_labels(found, folder / "dataset.json")  # says all that is wrong
        return found


_NEEDED = (("labels", dict), ("channel_names", dict), ("file_ending", str))


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
        old = _old_layout(raw, int(match[1]))
        raise DataProblem(f"dataset {wanted!r} is not there; {old}{_known(raw, preprocessed)}")
    if len(names) > 1:
        raise DataProblem(f"dataset {wanted!r} may be {' or '.join(names)}: nnU-Net wants one name for each number")
    return Dataset(name=names[0], raw_root=raw, preprocessed_root=preprocessed)


def refuse_mark(path: Path) -> None:
    """Raise DataProblem for a byte order mark, which nnU-Net, who reads this file too, takes for broken JSON."""
    try:
        with path.open("rb") as stream:
            marked = stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    except OSError:
        return
    if marked:
        raise DataProblem(
            f"{path}: begins with a byte order mark, which nnU-Net does not read; save it as UTF-8 without one: "
            f"sed -i '1s/^\\xEF\\xBB\\xBF//' {shlex.quote(str(path))}"
        )


def _folder(key: str, data: Mapping[str, Value], environment: Mapping[str, str]) -> Path | None:
    text = str(data.get(key) or environment.get(VARIABLES[key]) or "")
    return Path(os.path.abspath(os.path.expanduser(text))) if text else None


def _datasets(root: Path | None, prefix: str = "Dataset") -> list[Path]:
    if root is None or not root.is_dir():
        return []
    return [entry for entry in root.iterdir() if entry.is_dir() and re.match(rf"{prefix}", entry.name)]


def _old_layout(raw: Path | None, number: int) -> str:
    """What is said of a folder that is this data set for nnU-Net v1 or the Decathlon; empty where there is none."""
    for root in () if raw is None else (raw, raw / "nnUNet_raw_data", raw.parent / "nnUNet_raw_data"):
        for folder in sorted(root.glob("Task*_*")) if root.is_dir() else ():
            match = re.fullmatch(r"Task0*(\d+)_(\w+)", folder.name, re.ASCII)
            if match is None or int(match[1]) != number or not folder.is_dir():
                continue
            source, variable = shlex.quote(str(folder)), f"{VARIABLES['raw']}={shlex.quote(str(raw))}"
            if folder.name[4:].split("_")[0] == f"{number:03d}":
                convert = f"nnUNetv2_convert_old_nnUNet_dataset {source} Dataset{number:03d}_{match[2]}"
                kind = "nnU-Net v1"
            else:
                convert = f"nnUNetv2_convert_MSD_dataset -i {source}"
                kind = "the Medical Segmentation Decathlon"
            return f"{folder} is a folder of {kind}: convert it with {variable} {convert}; "
    return ""


def _known(raw: Path | None, preprocessed: Path) -> str:
    parts = []
    for name, root in (("nnUNet_raw", raw), ("nnUNet_preprocessed", preprocessed)):
        if root is not None:
            listed = ", ".join(sorted(entry.name for entry in _datasets(root))) or "none"
            parts.append(f"in {name} ({root}): {listed}")
    return "data sets " + "; ".join(parts)
