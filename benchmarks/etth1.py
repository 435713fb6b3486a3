"""How well Informer forecasts ETTh1, on validation and test, beside forecasts that need no training.

    python benchmarks/etth1.py PATH [--paper] [--ceiling 0.70] [--seeds 0] [--epochs 4] [name=value ...]

PATH is ETTh1.csv or its folder. Without --paper a small model (d_model 64, 4 epochs, below 3 minutes of a CPU); with
it the paper's defaults (6 epochs; on a CPU half an hour to an hour a seed). name=value sets a hyperparameter. Exits 1
when the test MSE of the seed that is best by validation is above the ceiling. Interrupted, it goes on where --out was
given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

from trainers.contract import Control, StopFlag, TrainerError, TrialSpec, Value
from trainers.informer.config import Config

SMALL: Mapping[str, Value] = {
    "d_model": 64,
    "n_heads": 4,
    "d_ff": 128,
    "lr": 1e-3,
    "batch_size": 64,
    "dropout": 0.1,
    "normalization": "last",
}


def trial(settings: argparse.Namespace, seed: int, values: dict[str, Value], out: Path) -> TrialSpec:
    out.mkdir(parents=True, exist_ok=True)
    return TrialSpec(
        study="benchmark",
        task="etth1",
        trainer="informer",
        round=1,
        candidate="c00",
        row=0,
        fold=0,
        folds=1,
        seed=seed,
        attempt=1,
        values=values,
        reference=out / "hyperparameter_reference.json",
        out=out,
        epochs=settings.epochs or (6 if settings.paper else 4),
        data={"path": str(settings.path), **dict(settings.data)},
        gpus=settings.gpus,
        objective="val_mse",
        direction="minimize",
    )


def parsed(setting: str) -> tuple[str, Value]:
    name, _, text = setting.partition("=")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("values", nargs="*", metavar="name=value", type=parsed)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--ceiling", type=float)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--data", type=parsed, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--out", type=Path)
    settings = parser.parse_intermixed_args()
    from trainers.informer.train import test, train

    ceiling = settings.ceiling if settings.ceiling is not None else (0.577 if settings.paper else 0.70)
    start = {} if settings.paper else SMALL
    values = {**dataclasses.asdict(Config()), **start, **dict(settings.values)}

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        print(f"epoch {epoch}: train {metrics['train_mse']:.4f}, val {metrics['val_mse']:.4f}", flush=True)

    control = Control(stop=StopFlag(), report=report)
    control.stop.install()
    errors: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in settings.seeds:
            cpu = time.process_time()
            spec = trial(settings, seed, values, (settings.out or Path(temporary)) / f"seed{seed}")
            try:
                found = train(spec, control).metrics["val_mse"]
                tested = test(spec, control).metrics["test_mse"]
            except TrainerError as stopped:  # interrupted, or data or settings that cannot be
                print(stopped)
                return 1
            used = time.process_time() - cpu
            print(f"seed {seed}: val_mse {found:.4f}, test_mse {tested:.4f}, {used:.0f} CPU s", flush=True)
            errors[seed] = found, tested
    return judge(errors, ceiling)


def judge(errors: Mapping[int, tuple[float, float]], ceiling: float) -> int:
    """Print what the seeds' (validation, test) errors come to; 0 where the seed that validation prefers passes."""
    if len(errors) > 1:
        tests = [tested for _, tested in errors.values()]
        print(f"test_mse of {len(tests)} seeds: {mean(tests):.4f} on average, deviation {stdev(tests):.4f}")
    chosen = min(errors, key=lambda seed: errors[seed][0])
    print(f"test_mse of the best seed by validation ({chosen}): {errors[chosen][1]:.4f}, ceiling {ceiling}")
    return 0 if errors[chosen][1] <= ceiling else 1


if __name__ == "__main__":
    sys.exit(main())
