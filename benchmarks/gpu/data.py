"""Stage `data`: CIFAR-10 into the work folder, in as many calls as its shards have to travel in.

    python -m benchmarks.gpu data FOLDER [FOLDER ...] --work WORK

Each FOLDER holds some of train*.npz and test.npz, and cifar10_pack.py, their reader, whose load_shard(path) gives
images and labels (it is executed: give only a folder you trust). Shards come in as many calls as they have to travel
in; `resnet9` uses those that are there and says when there is no test shard.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.stage import Row, Say, Settings

READER = "cifar10_pack.py"


def run(settings: Settings, say: Say) -> list[Row]:
    """Unpack what is new; a shard that is there already is left alone."""
    target = settings.work / "cifar10"
    target.mkdir(parents=True, exist_ok=True)
    for folder in settings.given:
        reader = _reader(folder / READER)
        for shard in sorted(folder.glob("*.npz")):
            unpacked = target / shard.name
            if unpacked.exists():
                continue
            x, y = reader.load_shard(shard)
            temporary = unpacked.with_suffix(".tmp.npz")
            np.savez(temporary, x=x, y=y)
            temporary.replace(unpacked)
            say(f"{shard.name}: {len(y)} images")
    there = sorted(path.name for path in target.glob("*.npz"))
    say(f"in {target}: {', '.join(there) or 'nothing'}")
    return []


def _reader(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("cifar10_pack", path)
    if not path.exists() or spec is None or spec.loader is None:
        raise SystemExit(f"{path}: is not there; it reads the shards beside it")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gathered(work: Path) -> Path:
    """cifar10.npz of all shards. Raises SystemExit naming what is missing."""
    folder, target = work / "cifar10", work / "cifar10.npz"
    if target.exists():
        return target
    train = sorted(folder.glob("train*.npz"))
    if not train or not (folder / "test.npz").exists():
        there = ", ".join(sorted(path.name for path in folder.glob("*.npz"))) or "nothing"
        raise SystemExit(f"{folder} holds {there}: bring train*.npz and test.npz with the stage data first")
    parts = [np.load(path) for path in train]
    test = np.load(folder / "test.npz")
    temporary = target.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        x_train=np.concatenate([part["x"] for part in parts]),
        y_train=np.concatenate([part["y"] for part in parts]).astype(np.int64),
        x_test=test["x"],
        y_test=test["y"].astype(np.int64),
    )
    temporary.replace(target)
    return target
