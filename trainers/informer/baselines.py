"""Forecasts that need no training, on the very windows that the model is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trainers.informer.data import Series

Numbers = NDArray[np.float64]
Starts = NDArray[np.int64]

RIDGE = 1e-4
"""NLinear's penalty as part of the mean square of its inputs: settles what the data leaves open, and little else."""
CHUNK = 4096
"""Windows that are held at a time: each has seq_len numbers."""
NAMES = ("repeat_last", "seasonal_naive", "nlinear")


def measure(series: Series, part: str, seq_len: int) -> dict[str, dict[str, float]]:
    """Baseline -> mse and mae over all windows, steps and targets of a part, in scaled values."""
    values = series.values.cpu().numpy().astype(np.float64)[:, list(series.targets)]
    starts = series.starts(part, seq_len).cpu().numpy()
    steps = np.arange(series.pred_len)
    truth = values[starts[:, None] + steps]
    last = np.repeat(values[starts - 1][:, None], series.pred_len, axis=1)
    # The latest season that lies before the forecast, again and again.
    season = values[starts[:, None] - series.season + steps % series.season]
    nlinear = forecast_nlinear(values, starts, *fit_nlinear(series, values, seq_len))
    return {name: _errors(f - truth) for name, f in zip(NAMES, (last, season, nlinear), strict=True)}


def fit_nlinear(series: Series, values: Numbers, seq_len: int) -> tuple[Numbers, Numbers]:
    """NLinear (Zeng et al. 2023, section 4.1) in closed form: weights (seq_len, pred_len) and bias (pred_len,).

    The window less its last value predicts the future less that value, linearly, with one set of weights for all
    target columns; least squares with a ridge instead of gradient steps. values: (rows, targets).
    """
    starts = series.starts("train", seq_len).cpu().numpy()
    steps = np.arange(series.pred_len)
    gram: NDArray[Any] = np.zeros((seq_len + 1, seq_len + 1))
    moment: NDArray[Any] = np.zeros((seq_len + 1, series.pred_len))
    for column in values.T:
        for chunk in _chunks(starts):
            x: Numbers = np.pad(_history(column, chunk, seq_len), ((0, 0), (0, 1)), constant_values=1.0)
            y = column[chunk[:, None] + steps] - column[chunk - 1][:, None]
            gram, moment = gram + x.T @ x, moment + x.T @ y
    inputs = np.arange(seq_len)
    gram[inputs, inputs] += RIDGE * gram.trace() / seq_len
    solved: Numbers = np.linalg.solve(gram, moment)
    return solved[:-1], solved[-1]


def forecast_nlinear(values: Numbers, starts: Starts, weights: Numbers, bias: Numbers) -> Numbers:
    """(windows, pred_len, targets) from what `fit_nlinear` gives."""
    forecast = np.empty((len(starts), len(bias), values.shape[1]))
    for c, column in enumerate(values.T):
        done = 0
        for chunk in _chunks(starts):
            change = _history(column, chunk, len(weights)) @ weights + bias
            forecast[done : done + len(chunk), :, c] = change + column[chunk - 1][:, None]
            done += len(chunk)
    return forecast


def _chunks(starts: Starts) -> Iterator[Starts]:
    yield from (starts[first : first + CHUNK] for first in range(0, len(starts), CHUNK))


def _history(column: Numbers, starts: Starts, seq_len: int) -> Numbers:
    """(windows, seq_len): what each window saw, less its last value."""
    seen = sliding_window_view(column, seq_len)[starts - seq_len]
    difference: Numbers = seen - seen[:, -1:]
    return difference


def _errors(error: Numbers) -> dict[str, float]:
    return {"mse": float((error**2).mean()), "mae": float(np.abs(error).mean())}


def table(part: str, model: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], windows: int) -> str:
    """What is printed beside every result: the model and the baselines on the same windows."""
    lines = [f"{part}, {windows} windows   mse     mae"]
    for name, found in {"informer": model, **baselines}.items():
        lines.append(f"  {name:<16} {found['mse']:7.4f} {found['mae']:7.4f}")
    return "\n".join(lines)
