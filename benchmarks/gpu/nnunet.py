"""Stage `nnunet`: stock nnU-Net beside this project's trainer at its defaults, on real hippocampi.

    python -m benchmarks.gpu nnunet TAR --work WORK

TAR is Task04_Hippocampus.tar of the Medical Segmentation Decathlon. Its cases are converted, planned and preprocessed
once; then each trains fold 0 for the same few epochs from the same plans and validates as nnU-Net does. Few epochs
are no result of nnU-Net (it trains 1,000), but the two must cost and reach the same. Seconds are the median epoch's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.stage import OutOfTime, Row, Say, Settings, control, measured, trial, values_of

NAME = "Dataset004_Hippocampus"
TINY: dict[str, Any] = {
    "width": 0.125,
    "max_stages": 3,
    "batch_size": 2,
    "num_iterations_per_epoch": 2,
    "num_val_iterations_per_epoch": 1,
    "mirroring": "none",
}
FULL: dict[str, Any] = {"num_iterations_per_epoch": 250, "num_val_iterations_per_epoch": 50}
EPOCHS = 5


def run(settings: Settings, say: Say) -> list[Row]:
    """Rows of kind "fold", one of stock nnU-Net and one of ours."""
    if not settings.given and not (settings.work / "nnunet" / "raw" / NAME).exists():
        raise SystemExit("nnunet: give Task04_Hippocampus.tar")
    root = (settings.work / "nnunet").absolute()
    if settings.given:
        _prepare(settings.given[0], root, settings)
        say("planned and preprocessed")
    rows: list[Row] = []
    try:
        for code in ("stock", "ours"):
            if settings.left < 0:
                raise OutOfTime
            arguments = [code, str(root), settings.device, settings.size]
            rows.append({"kind": "fold", "code": code} | measured("nnunet", arguments, settings))
            say(f"{rows[-1]}")
    except OutOfTime:
        rows.append({"kind": "unmeasured", "what": "the stage's minutes were over before both had trained"})
    return rows


def _values(size: str) -> dict[str, Any]:
    from trainers.nnunet.config import Config

    tiny = size == "tiny"
    return values_of(Config(), **(TINY if tiny else FULL), num_epochs=1 if tiny else EPOCHS)


def _prepare(tar: Path, root: Path, settings: Settings) -> None:
    from benchmarks.hippocampus import convert
    from trainers.nnunet import workers
    from trainers.nnunet.prepare import prepare_data

    raw = root / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if not (raw / NAME).exists():
        os.environ |= {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(root / "pre"), "nnUNet_results": str(root)}
        os.environ[workers.POOLS] = "1"
        with contextlib.redirect_stdout(sys.stderr):
            convert(tar, raw, 6 if settings.tiny else 260)
    with contextlib.redirect_stdout(sys.stderr):
        prepare_data(
            NAME,
            _data(root),
            [_values("tiny" if settings.tiny else "full")],
            folds=5,
            cpus=1 if settings.tiny else len(os.sched_getaffinity(0)),
            stop=control(settings).stop,
        )


def _data(root: Path) -> dict[str, str | int | float | bool]:
    return {"raw": str(root / "raw"), "preprocessed": str(root / "pre")}


def measure(code: str, root: Path, device: str, size: str) -> Row:
    """Fold 0, in this process."""
    settings = Settings(work=root, minutes=1e6, tiny=size == "tiny", gpus=int(device == "cuda"))
    spec = trial(
        settings,
        root / f"{code}_{os.getpid()}",
        task=NAME,
        trainer="nnunet",
        data=_data(root),
        folds=5,
        values=_values(size),
        objective="Dice",
        direction="maximize",
    )
    spec.reference.write_text(
        json.dumps({"parameters": {name: {"default": value} for name, value in spec.values.items()}})
    )
    return _ours(spec, settings) if code == "ours" else _stock(spec)


def _ours(spec: Any, settings: Settings) -> Row:
    import csv

    from trainers.nnunet.train import train

    found = train(spec, control(settings))
    with open(spec.out / "metrics_epoch.csv", newline="") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    return _row(seconds, found.metrics["Dice"], len(found.per_case or ()), spec.values["num_epochs"])


def _stock(spec: Any) -> Row:
    """nnU-Net's own class and loop on the plans that ours trains from, with the same numbers of epochs and steps."""
    from trainers.nnunet import workers
    from trainers.nnunet.config import Config
    from trainers.nnunet.plans import configured
    from trainers.nnunet.prepare import enter, read_plans
    from trainers.nnunet.where import locate

    dataset = locate(spec.task, spec.data, os.environ)
    enter(dataset)
    os.environ |= {"nnUNet_results": str(spec.out / "nnUNet_results")}
    workers.bound(spec.cpus, gpu=spec.gpus > 0)

    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from trainers.nnunet.train import read_nnunet_summary

    config = Config.from_values(spec.values)
    torch.set_num_threads(workers.torch_threads(spec.cpus, gpu=spec.gpus > 0))
    np.random.seed(spec.seed)
    torch.manual_seed(spec.seed)
    torch.backends.cudnn.benchmark = True
    plans = configured({**(read_plans(dataset, config.plans) or {}), "continue_training": False}, config)
    device = torch.device("cuda" if spec.gpus else "cpu")
    description = json.loads((dataset.preprocessed / "dataset.json").read_text())
    with workers.pools_for(workers.usable(spec.cpus)):
        trainer = nnUNetTrainer(plans, config.configuration, spec.fold, description, device)
        trainer.num_epochs = config.num_epochs
        trainer.num_iterations_per_epoch = config.num_iterations_per_epoch
        trainer.num_val_iterations_per_epoch = config.num_val_iterations_per_epoch
        trainer.run_training()
        trainer.perform_actual_validation()
    summary = read_nnunet_summary(Path(trainer.output_folder) / "validation" / "summary.json")
    names = ("epoch_start_timestamps", "epoch_end_timestamps")
    begun, ended = (trainer.logger.get_value(name, step=None) for name in names)
    seconds = [end - begin for begin, end in zip(begun, ended, strict=True)]
    return _row(seconds, summary["foreground_mean"]["Dice"], len(summary["metric_per_case"]), config.num_epochs)


def _row(seconds: list[float], dice: float, cases: int, epochs: int) -> Row:
    later = seconds[1:] or seconds
    return {
        "epochs": epochs,
        "seconds_an_epoch": round(statistics.median(later), 3),
        "first_epoch": round(seconds[0], 3),
        "dice": round(float(dice), 4),
        "cases": cases,
    }


def main(arguments: Sequence[str] | None = None) -> Row:
    """One code, in this process; the row is also the last line on stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("code")
    parser.add_argument("root", type=Path)
    parser.add_argument("device")
    parser.add_argument("size")
    given = parser.parse_args(arguments)
    with contextlib.redirect_stdout(sys.stderr):  # nnU-Net prints
        found = measure(given.code, given.root, given.device, given.size)
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
