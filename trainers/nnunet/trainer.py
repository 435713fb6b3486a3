"""The configurable nnU-Net trainer class: stock nnU-Net but for what the reference named by NNUNET_HP_REF changes.

What shapes the network goes into the plans, which nnU-Net keeps beside the weights: prediction needs no reference.
Saving is atomic, loading executes nothing, a stop is noticed in every step, and each epoch is reported.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from trainers.contract import BadConfig, Interrupted, StopFlag, TrainerError
from trainers.files import write_atomic
from trainers.manifest import read_values
from trainers.nnunet import recipe
from trainers.nnunet.config import Config
from trainers.nnunet.plans import configured
from trainers.nnunet.voxels import count_voxels
from trainers.pytorch.device import build_scaler

REFERENCE_VARIABLE = "NNUNET_HP_REF"
_SCALAR: Any = np.float64(0).__reduce__()[0]
"""The function that a pickle of a numpy scalar names."""
_COLUMNS = ("epoch", "train_loss", "val_loss", "val_pseudo_dice", "lr", "seconds")


class CheckpointProblem(Exception):
    """A checkpoint that cannot be used; the message names the file and the reason."""


class nnUNetTrainerRoundtable(nnUNetTrainer):  # type: ignore[misc]  # nnunetv2 has no types
    """Used as any nnU-Net trainer class; `stop`, `report` and `metrics_file` are set by whoever runs it, or not."""

    stop: StopFlag | None = None
    report: Callable[[int, Mapping[str, float]], None] | None = None
    metrics_file: Path | None = None
    grad_scaler: Any

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  # nnU-Net reads the base class's signature
    ) -> None:
        """The base class's arguments under its names: it stores them in checkpoints by these.

        Raises BadConfig (the reference does not fit these plans), TrainerError (no NNUNET_HP_REF).
        """
        self.config = read_config(os.environ)
        if self.config.configuration != configuration:
            raise BadConfig(
                f"nnunet: asked to train {configuration}, but the reference's configuration is "
                f"{self.config.configuration}"
            )
        plans = configured(plans, self.config)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.apply(self.config)
        self.save_every = 1

    def apply(self, config: Config) -> None:
        """Take over what is read after construction, up to initialize()."""
        self.config = config
        self.initial_lr = config.initial_lr
        self.weight_decay = config.weight_decay
        self.num_epochs = config.num_epochs
        self.num_iterations_per_epoch = config.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = config.num_val_iterations_per_epoch
        self.oversample_foreground_percent = config.oversample_foreground_percent
        self.enable_deep_supervision = config.deep_supervision

    def _do_i_compile(self) -> bool:
        return bool(self.config.compile and super()._do_i_compile())

    def configure_optimizers(self) -> tuple[Any, Any]:
        return recipe.optimizer_and_schedule(self.network.parameters(), self.config)

    def _build_loss(self) -> Any:
        loss = super()._build_loss()
        labels = [int(label) for label in self.label_manager.all_labels]
        voxels: Mapping[int, int] = {}
        if self.config.class_weight_power > 0:
            voxels = count_voxels(
                Path(self.preprocessed_dataset_folder_base),
                self.do_split()[0],
                self.plans_manager.image_reader_writer_class(),
                self.dataset_json["file_ending"],
            )
        weights = recipe.class_weights(self.config, voxels, labels)
        recipe.weigh_loss(loss, self.config, weights, self.device)
        return loss

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:
        rotation, dummy_2d, patch, stock = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        axes = self.config.mirror_axes(len(stock))
        self.inference_allowed_mirroring_axes = axes or None  # nnU-Net's predictor fails at an empty tuple
        return rotation, dummy_2d, patch, axes

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """As the base class's static method, with the reference's probabilities."""
        transforms = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        recipe.set_probabilities(transforms, self.config)
        return transforms

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.stop is not None and self.stop.requested:
            raise Interrupted(f"stopped in epoch {self.current_epoch}; the last checkpoint stands")
        try:
            result: dict[str, Any] = super().train_step(batch)
        except BaseException:
            self._forget_step()
            raise
        return result

    def _forget_step(self) -> None:
        """Leave gradients and loss scaling as before a step that failed: whoever catches its end may step again."""
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
        if self.grad_scaler is not None:
            self.grad_scaler = build_scaler(self.device, torch.float16, self.grad_scaler.state_dict())

    def close_loaders(self) -> None:
        """End the augmentation workers. However a training ends, this must be called: they inherited the handler that
        only notes SIGTERM, so that python would wait for them at its exit for ever."""
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):
                loader._finish()

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        super().on_train_epoch_end(train_outputs)
        loss = float(self.logger.get_value("train_losses", step=-1))
        if not math.isfinite(loss):
            raise BadConfig(f"nnunet: the training loss of epoch {self.current_epoch} is {loss}: training diverged")

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        latest: dict[str, float] = {
            "train_loss": float(self.logger.get_value("train_losses", step=-1)),
            "val_loss": float(self.logger.get_value("val_losses", step=-1)),
            "val_pseudo_dice": float(self.logger.get_value("mean_fg_dice", step=-1)),
            "lr": float(self.logger.get_value("lrs", step=-1)),
        }
        if self.metrics_file is not None:
            self._write_metrics(self.metrics_file)
        if self.report is not None:
            self.report(self.current_epoch, latest)

    def _write_metrics(self, path: Path) -> None:
        """All epochs so far, from nnU-Net's own log: a resumed training has those before it, too."""
        log = {
            name: self.logger.get_value(name, step=None)
            for name in (
                "train_losses",
                "val_losses",
                "mean_fg_dice",
                "lrs",
                "epoch_start_timestamps",
                "epoch_end_timestamps",
            )
        }
        stream = io.StringIO(newline="")
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        columns = zip(*log.values(), strict=False)
        for epoch, (train, val, dice, rate, begun, ended) in enumerate(columns, 1):
            writer.writerow([epoch, float(train), float(val), float(dice), float(rate), round(ended - begun, 3)])
        write_atomic(path, stream.getvalue(), sync=False)

    def save_checkpoint(self, filename: str) -> None:
        """As the base class, but a kill while writing leaves the checkpoint before."""
        temporary = f"{filename}.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # of a killed run; a link in its place would be followed
        super().save_checkpoint(temporary)
        if os.path.exists(temporary):  # not where checkpointing is switched off
            os.replace(temporary, filename)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Go on from a checkpoint of this class. Raises CheckpointProblem for one that does not fit or is damaged."""
        if not self.was_initialized:
            self.initialize()
        given = filename_or_checkpoint
        state = given if isinstance(given, dict) else read_checkpoint(Path(given), self.device)
        network: Any = getattr(self.network, "_orig_mod", self.network)
        try:
            network.load_state_dict(state["network_weights"])
            assert self.optimizer is not None
            self.optimizer.load_state_dict(state["optimizer_state"])
            if self.grad_scaler is not None and state["grad_scaler_state"] is not None:
                self.grad_scaler.load_state_dict(state["grad_scaler_state"])
            self.logger.load_checkpoint(state["logging"])
            self.current_epoch, self._best_ema = state["current_epoch"], state["_best_ema"]
            self.inference_allowed_mirroring_axes = state["inference_allowed_mirroring_axes"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointProblem(f"{given}: does not fit this training ({str(error)[:200]})") from error


def read_config(environment: Mapping[str, str]) -> Config:
    """The configuration in the reference that NNUNET_HP_REF names.

    Raises TrainerError, ManifestProblem, BadConfig.
    """
    name = environment.get(REFERENCE_VARIABLE)
    if not name:
        raise TrainerError(
            f"{REFERENCE_VARIABLE} is not set: it names the hyperparameter_reference.json to train with; "
            "Roundtable's scripts set it"
        )
    return Config.from_values(read_values(Path(name), sha256=None))


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """A checkpoint without executing anything in it. Raises CheckpointProblem: damaged, or not nnU-Net's."""
    allowed = [np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)), _SCALAR]
    try:
        with torch.serialization.safe_globals(allowed):  # nnU-Net's log holds numpy scalars
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointProblem(f"{path}: there is no such checkpoint") from None
    except Exception as error:  # torch gives pickle, zip, runtime, value or end-of-file errors for damaged files
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointProblem(f"{path}: damaged or not a checkpoint ({first[:200]})") from error
    if not isinstance(state, dict) or "network_weights" not in state:
        raise CheckpointProblem(f"{path}: not a checkpoint of nnU-Net")
    return state
