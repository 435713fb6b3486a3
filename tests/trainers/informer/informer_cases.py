"""What the tests of the Informer trainer share: a small learnable series, trial specifications, results on disk.

Standard library only, so that the tests of what the login node runs can use it without torch.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from trainers.contract import Control, StopFlag, TrialResult, TrialSpec, Value
from trainers.informer.config import Config

ROOT = Path(__file__).parents[3]
ETTH1 = ROOT.parent / "shared" / "data" / "ett" / "ETTh1.csv"
needs_etth1 = pytest.mark.skipif(not ETTH1.exists(), reason="needs ../shared/data/ett/ETTh1.csv beside the checkout")

SMALL: Mapping[str, Value] = {
    "d_model": 8,
    "n_heads": 2,
    "d_ff": 16,
    "factor": 1,
    "seq_len": 24,
    "label_len": 12,
    "lr": 0.003,
    "batch_size": 64,
}
"""Learns the small series within seconds; factor 1 keeps ProbSparse sparse at these lengths."""
ROWS, COLUMNS = 360, ("load", "wind", "OT")


def write_csv(path: Path, *, rows: int = ROWS, columns: tuple[str, ...] = COLUMNS, step_s: int = 3600) -> Path:
    """Daily waves with a little noise: learnable, but not at once."""
    generator = random.Random(0)
    start = datetime(2020, 1, 1)
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["date", *columns])
        for i in range(rows):
            waves = [math.sin(2 * math.pi * (i + 5 * c) / 24) * (c + 1) + 0.2 * c for c in range(len(columns))]
            values = [round(wave + generator.gauss(0, 0.2), 6) for wave in waves]
            out.writerow([start + timedelta(seconds=step_s * i), *values])
    return path


def values(**changed: Value) -> dict[str, Value]:
    return {**dataclasses.asdict(Config()), **SMALL, **changed}


def make_spec(
    out: Path, *, data: Mapping[str, Value], hyper: Mapping[str, Value] | None = None, **changed: Any
) -> TrialSpec:
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "study": "s",
        "task": "own",
        "trainer": "informer",
        "round": 1,
        "candidate": "c00",
        "row": 0,
        "fold": 0,
        "folds": 1,
        "seed": 0,
        "attempt": 1,
        "values": values(**(hyper or {})),
        "reference": out / "hyperparameter_reference.json",
        "out": out,
        "epochs": 2,
        "data": {"pred_len": 6, **data},
        "objective": "val_mse",
        "direction": "minimize",
    }
    return TrialSpec(**(settings | changed))


class StopAfter(StopFlag):
    """Is set after it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def quiet(stop: StopFlag | None = None) -> Control:
    return Control(stop=stop or StopFlag(), report=lambda epoch, metrics: None)


def run(spec: TrialSpec) -> TrialResult:
    from trainers.informer.train import train

    return train(spec, quiet())


def epochs(out: Path) -> list[dict[str, str]]:
    """Rows of metrics_epoch.csv without the seconds, which no two runs share."""
    with open(out / "metrics_epoch.csv", newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]
