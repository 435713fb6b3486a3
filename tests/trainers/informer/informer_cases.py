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

from tests.trainers.trial_cases import StopAfter, epochs, quiet, same_weights, trial_spec
from trainers.contract import TrialResult, TrialSpec, Value
from trainers.informer.config import Config

__all__ = ["StopAfter", "epochs", "make_spec", "quiet", "run", "same_weights", "values", "write_csv"]

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
    settings: dict[str, Any] = {
        "trainer": "informer",
        "values": values(**(hyper or {})),
        "data": {"pred_len": 6, **data},
        "objective": "val_mse",
        "direction": "minimize",
    }
    return trial_spec(out, **(settings | changed))


def run(spec: TrialSpec) -> TrialResult:
    from trainers.informer.train import train

    return train(spec, quiet())
