"""The options of `--data`: which series, which of its columns, how far ahead, how it is split. Standard library only.

These define the problem, so they are settings of the data and never tuned.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainers.contract import DataProblem, Value
from trainers.informer.cells import DECIMALS, SEPARATORS, THOUSANDS, Form
from trainers.informer.dates import find_zone
from trainers.informer.frequency import DAY, Frequency

ETT: Mapping[str, tuple[str, str]] = {
    "etth1": ("ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"),
    "etth2": ("ETTh2.csv", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b"),
    "ettm1": ("ETTm1.csv", "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e"),
    "ettm2": ("ETTm2.csv", "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd"),
}
"""Task -> file and SHA-256 of the Electricity Transformer data (Zhou et al. 2021, CC BY-ND 4.0)."""
CACHE = Path(".cache/roundtable/ett")
"""Below the home folder: where a download goes without a path."""

TYPES: Mapping[str, type] = {
    "path": str,
    "date": str,
    "target": str,
    "features": str,
    "columns": str,
    "pred_len": int,
    "freq": str,
    "fill": str,
    "season": int,
    "sep": str,
    "decimal": str,
    "thousands": str,
    "missing": str,
    "date_format": str,
    "timezone": str,
    "split": str,
    "val_fraction": float,
    "test_fraction": float,
    "download": bool,
}
"""Every key of `--data` and its type."""
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "features": ("M", "S", "MS"),
    "fill": ("none", "previous", "interpolate"),
    "split": ("ett", "ratio"),
    "sep": tuple(SEPARATORS),
    "decimal": tuple(DECIMALS),
    "thousands": tuple(THOUSANDS),
}
FORM = ("sep", "decimal", "thousands", "date_format", "timezone")
"""Keys that say how the file is written, beside `missing`."""
MONTH_DAYS = 30
ETT_MONTHS = (12, 4, 4)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The checked options of one data source."""

    task: str
    path: Path
    """The CSV file."""
    date: str = "date"
    """Column of dates."""
    target: str = ""
    """Column to forecast with S and MS; the last column when empty."""
    features: str = "M"
    """M: all columns forecast all. S: the target forecasts itself. MS: all columns forecast the target."""
    columns: tuple[str, ...] = ()
    """Columns to read, all when empty."""
    pred_len: int = 24
    """Time steps to forecast."""
    freq: str = ""
    """Step between rows; found when empty."""
    fill: str = "none"
    """What closes gaps and missing values."""
    season: int = 0
    """Period of the seasonal-naive forecast, in steps; 0: from the step."""
    form: Form = field(default_factory=Form)
    """How the file is written: separators, dates, missing values."""
    split: str = "ratio"
    """ett: 12, 4 and 4 months of 30 days. ratio: by the fractions."""
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    download: bool = False
    """Whether a missing file of ETT may be downloaded."""

    @classmethod
    def read(cls, task: str, data: Mapping[str, Value]) -> Options:
        """The options that a task and its `--data` name. Raises DataProblem, which lists every problem."""
        problems = [f"unknown key {key!r}" for key in data if key not in TYPES]
        found: dict[str, Value] = {}
        for key, wanted in TYPES.items():
            if key not in data:
                continue
            value = data[key]
            fits = isinstance(value, (int, float) if wanted is float else wanted)
            if isinstance(value, bool) is (wanted is bool) and fits:
                found[key] = value
            else:
                problems.append(f"{key} = {value!r}: must be of type {wanted.__name__}")
        problems += [
            f"{key} = {found[key]!r}: allowed: {', '.join(allowed)}"
            for key, allowed in _CHOICES.items()
            if key in found and found[key] not in allowed
        ]
        if problems:
            raise DataProblem(f"data: {'; '.join(problems)} (keys: {', '.join(TYPES)})")
        preset: dict[str, Value] = {"split": "ett"} if task in ETT else {}
        rest = {key: value for key, value in found.items() if key not in ("path", "columns")}
        options = cls(
            task=task,
            path=_file(task, found),
            columns=_names(str(found.get("columns", ""))),
            form=Form(
                missing=_names(str(rest.pop("missing", ""))),
                **{key: str(rest.pop(key)) for key in FORM if key in rest},
            ),
            **(preset | rest),  # type: ignore[arg-type]  # each was checked against TYPES
        )
        options._check()
        return options

    def _check(self) -> None:
        allowed = {
            "pred_len": (self.pred_len >= 1, "at least 1"),
            "season": (self.season >= 0, "0 or more"),
            "val_fraction": (0 < self.val_fraction < 1, "above 0 and below 1"),
            "test_fraction": (0 < self.test_fraction < 1, "above 0 and below 1"),
        }
        problems = [
            f"{key} = {getattr(self, key)!r}: must be {text}" for key, (good, text) in allowed.items() if not good
        ]
        if self.val_fraction + self.test_fraction >= 1:
            problems.append("val_fraction + test_fraction must be below 1: the rest is trained on")
        if DECIMALS[self.form.decimal] == THOUSANDS[self.form.thousands]:
            problems.append(f"decimal and thousands are both {self.form.decimal}; they must differ")
        if self.target and self.columns and self.target not in self.columns:
            problems.append(f"target = {self.target!r} is not among columns = {','.join(self.columns)}")
        if problems:
            raise DataProblem("data: " + "; ".join(problems))
        if self.freq:
            Frequency.parse(self.freq)
        if self.form.timezone:
            find_zone(self.form.timezone)

    @property
    def frequency(self) -> Frequency | None:
        """The given step, None to find it."""
        return Frequency.parse(self.freq) if self.freq else None


def _file(task: str, data: Mapping[str, Value]) -> Path:
    """The CSV file that is meant, whether or not it is there. Raises DataProblem."""
    given = data.get("path")
    if task not in ETT:
        if given is None:
            raise DataProblem(f"task {task!r} is none of {', '.join(ETT)}: give --data path=FILE.csv")
        if data.get("download"):
            raise DataProblem(f"download = True: only {', '.join(ETT)} can be downloaded; give --data path=FILE.csv")
        return Path(str(given)).expanduser()
    name = ETT[task][0]
    if given is None:
        if not data.get("download"):
            raise DataProblem(f"task {task!r} needs --data path=FILE_OR_FOLDER of {name}, or --data download=true")
        return Path.home() / CACHE / name
    path = Path(str(given)).expanduser()
    return path if path.suffix == ".csv" else path / name


def _names(text: str) -> tuple[str, ...]:
    """A list separated by commas, as a line of CSV: a name that holds a comma stands in quotation marks."""
    return tuple(name.strip() for line in csv.reader([text]) for name in line if name.strip())


@dataclass(frozen=True)
class Rows:
    """The rows first .. last - 1 whose values are forecast in one part."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def starts(self, seq_len: int, pred_len: int) -> range:
        """Rows at which a window's forecast begins. A window may see history from before its part."""
        return range(max(self.first, seq_len), self.last - pred_len + 1)


def split_rows(options: Options, count: int, frequency: Frequency, *, fold: int, folds: int) -> dict[str, Rows]:
    """train, val and test of a series of `count` rows. Raises DataProblem.

    With several folds the origin rolls (Tashman 2000): the last fold is the single split, each earlier one validates
    on the stretch before and trains on what precedes that. All share the test part.
    """
    if options.split == "ett":
        per_day, odd = divmod(DAY, frequency.seconds) if frequency.seconds else (0, 1)
        if odd or not per_day:
            raise DataProblem(f"split = ett: needs steps that divide a day, not {frequency}; use split=ratio")
        train, val, test = (months * MONTH_DAYS * per_day for months in ETT_MONTHS)
        if count < train + val + test:
            raise DataProblem(
                f"split = ett: needs {train + val + test} rows (20 months), there are {count}; use split=ratio"
            )
    else:
        val, test = int(count * options.val_fraction), int(count * options.test_fraction)
        train = count - val - test
    earlier = (folds - 1 - fold) * val
    parts = {
        "train": Rows(0, train - earlier),
        "val": Rows(train - earlier, train - earlier + val),
        "test": Rows(train + val, train + val + test),
    }
    for name, rows in parts.items():
        if len(rows) < options.pred_len + (name == "train"):
            which = f" for fold {fold} of {folds}, each {val} rows" if folds > 1 and name == "train" else ""
            raise DataProblem(
                f"{name} has {max(0, len(rows))} of the {count} rows{which}, which is too short for a forecast of "
                f"pred_len = {options.pred_len}; use more rows, another split, {'fewer folds, ' if which else ''}"
                "or a smaller pred_len"
            )
    return parts


def chosen_columns(options: Options, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The input columns of the table's, and which of them are forecast. Raises DataProblem."""
    target = options.target or names[-1]
    if target not in names:
        raise DataProblem(f"target = {target!r}: there is no such column; there are {', '.join(names)}")
    if options.features == "S":
        return (target,), (0,)
    if options.features == "MS":
        return tuple(names), (list(names).index(target),)
    return tuple(names), tuple(range(len(names)))
