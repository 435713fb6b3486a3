"""Prediction with a trained fold: nnU-Net's predictor, pointed at the configurable trainer class."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.run import run_training

from trainers.nnunet.trainer import nnUNetTrainerRoundtable
from trainers.nnunet.workers import torch_threads
from trainers.pytorch.device import choose_device

_LOOK_UP = "recursive_find_trainer_class_by_name"


@contextlib.contextmanager
def class_found() -> Iterator[None]:
    """Within it nnU-Net's look-ups by name, for training and for prediction, know the configurable class, too.

    nnU-Net's own way (nnUNet_extTrainer) imports every module of a folder and fails when one of them is broken.
    """
    modules: tuple[Any, ...] = (run_training, predict_from_raw_data)
    before = [getattr(module, _LOOK_UP) for module in modules]

    def find(name: str) -> Any:
        return nnUNetTrainerRoundtable if name == nnUNetTrainerRoundtable.__name__ else before[0](name)

    try:
        for module in modules:
            setattr(module, _LOOK_UP, find)
        yield
    finally:
        for module, stock in zip(modules, before, strict=True):
            setattr(module, _LOOK_UP, stock)


def predict_folder(
    model: Path, fold: int, images: Path, labels: Path, target: Path, *, gpus: int, cpus: int
) -> dict[str, Any]:
    """Predict every case of `images` with one fold's final checkpoint, and nnU-Net's summary against `labels`."""
    device = choose_device(gpus, trainer="nnunet")
    torch.set_num_threads(torch_threads(cpus, gpu=device.type == "cuda"))
    predictor = predict_from_raw_data.nnUNetPredictor(device=device, allow_tqdm=False)
    with class_found():
        predictor.initialize_from_trained_model_folder(str(model), (fold,))
    target.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(str(images), str(target), overwrite=True)
    compute_metrics_on_folder2(
        str(labels), str(target), str(model / "dataset.json"), str(model / "plans.json"), num_processes=max(1, cpus)
    )
    from trainers.nnunet.train import read_nnunet_summary

    return read_nnunet_summary(target / "summary.json")
