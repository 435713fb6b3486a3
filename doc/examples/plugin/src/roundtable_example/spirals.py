"""A trainer in one file: two spirals told apart by a small network, in Python alone."""

import csv
import json
import math
import random

from trainers.contract import BadConfig, Control, Interrupted, TrialResult, TrialSpec
from trainers.registry import RegisteredTrainer, TaskPreset

TRAINER = RegisteredTrainer(
    name="spirals",
    description="two interleaved spirals, told apart by a network with one hidden layer, in Python alone",
    tasks={"two": TaskPreset(description="200 points with some noise", epochs=30)},
    open_tasks=False,
    default_epochs=30,
    # No key of --data means anything to it; without this line every key would be accepted.
    data_keys={},
    metrics={"val_loss": "minimize", "val_accuracy": "maximize"},
    reference={
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "parameters": {
            "learning_rate": {
                "type": "float",
                "low": 0.001,
                "high": 1.0,
                "log": True,
                "default": 0.01,
                "description": "Step size of stochastic gradient descent",
            },
            "width": {
                "type": "int",
                "low": 2,
                "high": 32,
                "log": True,
                "default": 8,
                "description": "Units of the hidden layer",
            },
        },
    },
)


def train(spec: TrialSpec, control: Control) -> TrialResult:
    """Train on four fifths of the points and measure on the rest, epoch by epoch."""
    rng = random.Random(spec.seed)
    fit, held_out = _points(spec)
    rate, width = float(spec.values["learning_rate"]), int(spec.values["width"])
    weights = [[rng.gauss(0, 1) for _ in range(4)] for _ in range(width)]
    done = 0
    if spec.previous and (checkpoint := spec.previous / "checkpoint.json").exists():
        weights, done = json.loads(checkpoint.read_text())

    epochs = spec.epochs or 30
    loss, accuracy = _measure(weights, held_out)
    with (spec.out / "metrics_epoch.csv").open("a", newline="") as stream:
        log = csv.writer(stream)
        if stream.tell() == 0:
            log.writerow(["epoch", "val_loss", "val_accuracy"])
        for epoch in range(done + 1, epochs + 1):
            for x, y, label in rng.sample(fit, len(fit)):
                _step(weights, x, y, label, rate)
            loss, accuracy = _measure(weights, held_out)
            if not loss < 1e6:  # also when it is NaN
                raise BadConfig(f"diverged in epoch {epoch}: validation loss {loss}")
            log.writerow([epoch, loss, accuracy])
            control.report(epoch, {"val_loss": loss, "val_accuracy": accuracy})
            if control.stop.requested:
                (spec.out / "checkpoint.json").write_text(json.dumps([weights, epoch]))
                raise Interrupted(f"stopped after epoch {epoch}")
    return TrialResult(
        metrics={"val_loss": loss, "val_accuracy": accuracy},
        directions=dict(TRAINER.metrics),
        samples=len(held_out),
        epochs_run=epochs,
    )


Point = tuple[float, float, int]


def _points(spec: TrialSpec) -> tuple[list[Point], list[Point]]:
    """The points of training and of validation; which are which is the fold's matter, not the seed's."""
    rng = random.Random(0)
    points: list[Point] = []
    for index in range(200):
        label, angle = index % 2, 0.3 + 1.5 * math.pi * rng.random()
        turn = angle + label * math.pi
        points.append((angle * math.cos(turn) / 2 + rng.gauss(0, 0.05), angle * math.sin(turn) / 2, label))
    folds = max(spec.folds, 5)
    held_out = points[spec.fold :: folds]
    return [point for point in points if point not in held_out], held_out


def _hidden(unit: list[float], x: float, y: float) -> float:
    return math.tanh(unit[0] * x + unit[1] * y + unit[2])


def _chance(weights: list[list[float]], x: float, y: float) -> float:
    """The probability of label 1."""
    total = sum(unit[3] * _hidden(unit, x, y) for unit in weights)
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, total))))


def _step(weights: list[list[float]], x: float, y: float, label: int, rate: float) -> None:
    error = _chance(weights, x, y) - label
    for unit in weights:
        hidden = _hidden(unit, x, y)
        inner = error * unit[3] * (1 - hidden * hidden)
        for place, change in enumerate((inner * x, inner * y, inner, error * hidden)):
            unit[place] -= rate * change


def _measure(weights: list[list[float]], points: list[Point]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    chances = [(_chance(weights, x, y), label) for x, y, label in points]
    loss = -sum(math.log(max(1e-12, p if label else 1 - p)) for p, label in chances) / len(points)
    return loss, sum((p > 0.5) == (label == 1) for p, label in chances) / len(points)
