"""Forecasts that need no training, on the very windows that the model is measured on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trainers.informer.data import Series

Numbers = NDArray[np.float64]

RIDGE = 1e-4
"""NLinear's penalty as part of the mean square of its inputs: settles what the data leaves open, and little else."""
NAMES = ("repeat_last", "seasonal_naive", "nlinear")


def measure(series: Series, part: str, seq_len: int) -> dict[str, dict[str, float]]:
    """Baseline -> mse and mae over all windows, steps and targets of a part, in scaled values."""
    values = series.values.cpu().numpy().astype(np.float64)[:, list(series.targets)]
    starts = series.starts(part, seq_len).cpu().numpy()
    steps = np.arange(series.pred_len)
    truth: Numbers = values[starts[:, None] + steps]
    last = values[starts - 1][:, None]
    # The latest season that the window has seen, again and again.
    season = values[starts[:, None] - series.season + steps % series.season]
    weights, bias = fit_nlinear(series, values, seq_len)
    history = _history(values, starts, seq_len)
    nlinear = np.stack([history[..., c] @ weights + bias for c in range(values.shape[1])], axis=-1) + last
    return {name: _errors(f - truth) for name, f in zip(NAMES, (last, season, nlinear), strict=True)}


def fit_nlinear(series: Series, values: Numbers, seq_len: int) -> tuple[Numbers, Numbers]:
    """NLinear (Zeng et al. 2023, section 4.1) in closed form: weights (seq_len, pred_len) and bias (pred_len,).

    The window less its last value predicts the future less that value, linearly, with one set of weights for all
    target columns; least squares with a ridge instead of gradient steps. values: (rows, targets).
    """
    starts = series.starts("train", seq_len).cpu().numpy()
    steps = np.arange(series.pred_len)
    gram = np.zeros((seq_len + 1, seq_len + 1))
    moment = np.zeros((seq_len + 1, series.pred_len))
    for column in values.T:
        last = column[starts - 1][:, None]
        x = np.hstack([_history(column[:, None], starts, seq_len)[..., 0], np.ones((len(starts), 1))])
        gram += x.T @ x
        moment += x.T @ (column[starts[:, None] + steps] - last)
    inputs = np.arange(seq_len)
    gram[inputs, inputs] += RIDGE * gram.trace() / seq_len
    solved: Numbers = np.linalg.solve(gram, moment)
    return solved[:-1], solved[-1]


def _history(values: Numbers, starts: NDArray[np.int64], seq_len: int) -> Numbers:
    """(windows, seq_len, columns): what each window saw, less its last value."""
    seen = sliding_window_view(values, seq_len, axis=0)[starts - seq_len].transpose(0, 2, 1)
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
