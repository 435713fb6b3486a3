"""How well, and at what cost, ResNet-9 trains on a little CIFAR-10: width 0.125, 10,000 images, 5 epochs, a CPU.

    python benchmarks/cifar10_smoke.py PATH [--seeds 0 1 2] [--floor 0.55] [name=value ...]

PATH is an .npz file with x_train and y_train, a folder as torchvision downloads it (cifar-10-batches-py inside), or
a folder of packed shards that brings its own reader, cifar10_pack.py (it is executed: give only a folder you trust).
name=value sets a hyperparameter, e.g. learning_rate=0.1. Prints a table; exits 1 when a seed stays below the floor.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from trainers.contract import Control, StopFlag, TrialSpec, Value
from trainers.resnet9.config import Config

IMAGES, EPOCHS, WIDTH = 10_000, 5, 0.125


def as_npz(path: Path, folder: Path) -> Path:
    """`path`, or an .npz file made in `folder` from the packed shards there."""
    reader = path / "cifar10_pack.py"
    if not reader.exists():
        return path
    spec = importlib.util.spec_from_file_location("cifar10_pack", reader)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x, y = module.load_shard(path / "train0.npz")
    x_test, y_test = module.load_shard(path / "test.npz")
    target = folder / "cifar10.npz"
    np.savez(target, x_train=x, y_train=y, x_test=x_test, y_test=y_test, classes=np.array(module.CLASSES))
    return target


def trial(seed: int, data: dict[str, Value], values: dict[str, Value], out: Path) -> TrialSpec:
    return TrialSpec(
        study="benchmark",
        task="cifar10",
        trainer="resnet9",
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
        epochs=EPOCHS,
        data=data,
        objective="val_accuracy",
        direction="maximize",
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--floor", type=float, default=0.55)
    arguments = parser.parse_intermixed_args()
    from trainers.resnet9.train import test, train

    control = Control(stop=StopFlag(), report=lambda epoch, metrics: None)
    values = {**dataclasses.asdict(Config(width=WIDTH)), **dict(arguments.values)}
    print(f"width {WIDTH}, {IMAGES} images, {EPOCHS} epochs, one thread\nseed  validation    test   CPU s  wall s")
    lowest = 1.0
    with tempfile.TemporaryDirectory() as name:
        path = as_npz(arguments.path, Path(name))
        data: dict[str, Value] = {"path": str(path), "limit": IMAGES}
        for seed in arguments.seeds:
            out = Path(name) / f"seed{seed}"
            out.mkdir()
            cpu, wall = time.process_time(), time.perf_counter()
            spec = trial(seed, data, values, out)
            found = train(spec, control).metrics["val_accuracy"]
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            tested = test(spec, control).metrics["test_accuracy"]
            print(f"{seed:4d}  {found:10.4f}  {tested:6.4f}  {cpu:6.1f}  {wall:6.1f}", flush=True)
            lowest = min(lowest, found)
    print(f"lowest {lowest:.4f}, floor {arguments.floor}")
    return 0 if lowest >= arguments.floor else 1


if __name__ == "__main__":
    sys.exit(main())
