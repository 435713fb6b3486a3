"""Stage `resnet9`: how long ResNet-9 takes to 94 % on CIFAR-10, and what its batches cost by where the images lie.

    python -m benchmarks.gpu resnet9 --work WORK

A tenth of the training images validates and is not trained on; the test set is measured once, at the end, on each
image as it is: no flips, no averaging of weights. Each budget of epochs is a training of its own, because the rate
falls to 0 at its end. Seconds are those of the epochs, validation included, start-up and test apart.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpu.data import gathered
from benchmarks.gpu.stage import OutOfTime, Row, Say, Settings, control, trial, values_of
from trainers.contract import Interrupted, Value

GOAL = 0.94
BUDGETS, SEEDS = (24, 16, 10), (0, 1, 2)
RECIPE: dict[str, Value] = {
    "train_batch_size": 512,
    "learning_rate": 0.4,
    "schedule": "onecycle",
    "warmup": 0.2,
    "augmentation": "strong",
    "jitter": 0.0,
    "cutout": 0.25,
    "label_smoothing": 0.1,
}
"""Page's: batch 512, rate to 0.4 and down to 0, shift, mirror and cutout of 8 pixels."""
PLACES = {"GPU": 1.0, "host": 0.0}
"""Where the images are -> the part of free GPU memory that they may fill."""


def run(settings: Settings, say: Say) -> list[Row]:
    """Rows of kind "accuracy" (a seed and budget) and "speed" (images a second)."""
    data: dict[str, Value] = {"path": str(gathered(settings.work))}
    rows: list[Row] = []
    changed: dict[str, Value] = dict(RECIPE)
    budgets, seeds = BUDGETS, SEEDS
    if settings.tiny:
        changed |= {"width": 0.0625, "train_batch_size": 32}
        budgets, seeds = (2, 1), (0,)
    try:
        for place in PLACES if settings.gpus else ("host",):
            for threads in dict.fromkeys((1, settings.cpus)):
                rows.append(_speed(settings, data, changed, place, threads))
                say(f"{rows[-1]}")
        longest = 0.0
        for epochs in budgets:
            for seed in seeds:
                if settings.left < 1.3 * longest:
                    raise OutOfTime
                begun = time.monotonic()
                rows.append(_accuracy(settings, data, changed, epochs, seed))
                longest = max(longest, time.monotonic() - begun)
                say(f"{rows[-1]}")
    except (OutOfTime, Interrupted):
        rows.append({"kind": "unmeasured", "what": "the stage's minutes were over before the last budgets and seeds"})
    return rows


def _accuracy(settings: Settings, data: dict[str, Value], changed: dict[str, Value], epochs: int, seed: int) -> Row:
    from trainers.resnet9.config import Config
    from trainers.resnet9.train import test, train

    out = settings.work / "resnet9" / f"{epochs}_{seed}_{time.time_ns()}"
    spec = trial(
        settings,
        out,
        task="cifar10",
        trainer="resnet9",
        seed=seed,
        epochs=epochs,
        data=data,
        values=values_of(Config(), **changed),
        objective="val_accuracy",
        direction="maximize",
    )
    found = train(spec, control(settings))
    tested = test(spec, control(settings)).metrics["test_accuracy"]
    seconds, reached = _history(out)
    return {
        "kind": "accuracy",
        "epochs": epochs,
        "seed": seed,
        "seconds": seconds,
        "seconds_to_goal": reached,
        "val": found.metrics["val_accuracy"],
        "test": tested,
        "precision": found.notes["precision"],
    }


def _history(out: Path) -> tuple[float, float | None]:
    """Seconds of all epochs, and until validation first reached the goal."""
    total, reached = 0.0, None
    with open(out / "metrics_epoch.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            total += float(row["seconds"])
            if reached is None and float(row["val_acc"]) >= GOAL:
                reached = round(total, 3)
    return round(total, 3), reached


def _speed(settings: Settings, data: dict[str, Value], changed: dict[str, Value], place: str, threads: int) -> Row:
    """Images a second of an epoch, after one that starts everything up."""
    import torch

    from trainers.resnet9.config import Config
    from trainers.resnet9.train import train

    epochs = 2 if settings.tiny else 3
    spec = trial(
        settings,
        settings.work / "resnet9" / f"speed_{time.time_ns()}",
        task="cifar10",
        trainer="resnet9",
        epochs=epochs,
        data=data,
        cpus=threads,
        values=values_of(Config(), **changed),
        objective="val_accuracy",
        direction="maximize",
    )
    before = torch.get_num_threads()
    try:
        with _images_in(PLACES[place]):
            found = train(spec, control(settings))
    finally:
        torch.set_num_threads(before)
    with open(spec.out / "metrics_epoch.csv", newline="") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)][1:]
    samples = found.notes["samples"]
    assert isinstance(samples, dict)
    rate = samples["train"] / statistics.median(seconds)
    return {"kind": "speed", "images": place, "threads": threads, "images_a_second": round(rate)}


@contextmanager
def _images_in(share: float) -> Iterator[None]:
    from trainers.resnet9 import loop

    before = loop.DEVICE_SHARE
    loop.DEVICE_SHARE = share
    try:
        yield
    finally:
        loop.DEVICE_SHARE = before
