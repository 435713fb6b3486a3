"""A dated table as scaled tensors and windows.

The split depends on the data's options and the fold alone, never on a trial's seed. The scaler is fitted on the
training rows only; the test rows are never trained on or used to choose anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.contract import BadConfig, DataProblem, TrialSpec
from trainers.informer.calendar import Calendar
from trainers.informer.download import download
from trainers.informer.options import ETT, Options, Rows, chosen_columns
from trainers.informer.precheck import check_variation, check_window, read_series


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one trial trains on, chooses by and, in `test`, is measured on."""

    values: Tensor
    """(rows, channels) float32, each channel with mean 0 and deviation 1 over the training rows."""
    marks: Tensor
    """(rows, fields) int64, the calendar."""
    columns: tuple[str, ...]
    targets: tuple[int, ...]
    """Which columns are forecast."""
    calendar: Calendar
    parts: Mapping[str, Rows]
    pred_len: int
    season: int
    """Period of the seasonal-naive forecast, in rows."""
    notes: Mapping[str, object]
    told: Sequence[str] = ()
    """Of the notes what a person should look at, in sentences."""
    _targets: Tensor = field(init=False, repr=False, compare=False)
    """`targets` where the values are: indexing with a list would copy it to the device for each batch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_targets", torch.tensor(self.targets, device=self.values.device))

    def to(self, device: torch.device) -> Series:
        """The same with its tensors on the device; a series is small beside a model."""
        return replace(self, values=self.values.to(device), marks=self.marks.to(device))

    def starts(self, part: str, seq_len: int) -> Tensor:
        """Rows where the forecasts of a part's windows begin, ascending, (windows,)."""
        found = self.parts[part].starts(seq_len, self.pred_len)
        return torch.arange(found.start, found.stop, device=self.values.device)

    def windows(self, starts: Tensor, seq_len: int) -> tuple[Tensor, Tensor, Tensor]:
        """For windows (n,): inputs (n, seq_len, channels), marks (n, seq_len + pred_len, fields), and what came.

        The last is (n, pred_len, targets).
        """
        offsets = torch.arange(-seq_len, self.pred_len, device=starts.device)
        rows = starts[:, None] + offsets
        future = self.values[rows[:, seq_len:]]
        return self.values[rows[:, :seq_len]], self.marks[rows], future.index_select(-1, self._targets)

    def fingerprint(self) -> str:
        """Tells apart data, columns and splits."""
        digest = hashlib.sha256(repr((self.columns, self.targets, dict(self.parts), self.pred_len)).encode())
        digest.update(self.values.cpu().numpy().tobytes())
        digest.update(self.marks.cpu().numpy().tobytes())
        return digest.hexdigest()


def load_series(spec: TrialSpec) -> Series:
    """Read, check, split and scale the series that a trial names. Raises DataProblem."""
    options = Options.read(spec.task, spec.data)
    if options.download:
        download(spec.task, options.path)
    if not 0 <= spec.fold < spec.folds:
        raise DataProblem(f"fold = {spec.fold}: must be from 0 to {spec.folds - 1}")
    table, parts = read_series(options, fold=spec.fold, folds=spec.folds)
    check_variation(table, parts["train"])
    columns, targets = chosen_columns(options, list(table.columns))
    raw = np.stack([np.frombuffer(table.columns[name], dtype=np.float64) for name in columns], axis=1)
    scaled, scaler = _scaled(raw, parts["train"])
    season = options.season or table.frequency.season
    if season > min(parts["val"].first, parts["test"].first):
        raise DataProblem(f"season = {season}: before validation there are only {parts['val'].first} rows")
    calendar = Calendar.of(table.frequency)
    sha256 = hashlib.sha256(options.path.read_bytes()).hexdigest()
    notes: dict[str, object] = {
        "file": str(options.path),
        "file_sha256": sha256,
        **table.notes,
        "features": options.features,
        "columns": list(columns),
        "targets": [columns[i] for i in targets],
        "pred_len": options.pred_len,
        "season": season,
        "split_rows": {name: [rows.first, rows.last] for name, rows in parts.items()},
        "scaler": scaler | {"columns": list(columns)},
    }
    if spec.task in ETT:
        notes["published_file"] = sha256 == ETT[spec.task][1]
    return Series(
        values=torch.from_numpy(scaled),
        marks=torch.from_numpy(calendar.marks(table.dates)),
        columns=columns,
        targets=targets,
        calendar=calendar,
        parts=parts,
        pred_len=options.pred_len,
        season=season,
        notes=notes,
        told=table.told,
    )


def _scaled(raw: NDArray[np.float64], train: Rows) -> tuple[NDArray[np.float32], dict[str, list[float]]]:
    """The columns scaled by the training rows' mean and deviation, and these."""
    fitted = raw[train.first : train.last]
    mean, deviation = fitted.mean(0), fitted.std(0)
    scaler = {"mean": mean.tolist(), "deviation": deviation.tolist()}
    return ((raw - mean) / deviation).astype(np.float32), scaler


def refuse_short(series: Series, seq_len: int) -> None:
    """Raise BadConfig where the training part holds no window of this length."""
    try:
        check_window(series.parts, seq_len, series.pred_len)
    except DataProblem as error:
        raise BadConfig(f"informer: {error}") from None
