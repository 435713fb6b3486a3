"""The training loop: steps, epochs, falling back when memory runs out, stopping and going on exactly.

Every random choice is seeded by (trial seed, what for, epoch, images already used), so a step can be repeated from
its position alone and a checkpoint needs no state of a random number generator. Positions count images, not steps:
they keep their meaning when the batch size is lowered.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainers.contract import BadConfig, Control, Interrupted, OutOfMemory, StopFlag
from trainers.files import write_atomic
from trainers.layout import AttemptFiles
from trainers.resnet9 import checkpoint
from trainers.resnet9.augment import Augment
from trainers.resnet9.config import Config
from trainers.resnet9.data import Data, Part
from trainers.resnet9.metrics import Tally
from trainers.resnet9.model import build_model
from trainers.resnet9.optim import (
    autocast,
    build_optimizer,
    build_scaler,
    choose_dtype,
    is_out_of_memory,
    lr_factor,
)

SMALLEST_BATCH = 32
"""Out of memory halves the batch size down to this."""
CHECK_EVERY = 50
"""Steps between looks at the loss: each look waits for the GPU."""
DEVICE_SHARE = 0.5
"""Images are kept in GPU memory when they fill at most this part of what is free; else each batch is moved."""
COLUMNS = ("epoch", "train_loss", "train_acc", "train_f1", "val_loss", "val_acc", "val_f1", "lr", "seconds")
"""Of metrics_epoch.csv."""


class _Stop(Exception):
    """The stop flag was seen."""


def derived_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed of its own for each purpose and position of a trial."""
    digest = hashlib.sha256(repr((seed, purpose, position)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def place(part: Part, device: torch.device) -> Part:
    """The part on the device where it fits well, else in page-locked host memory, which batches leave faster."""
    if device.type != "cuda":
        return part
    free, _ = torch.cuda.mem_get_info(device)
    if part.images.nbytes <= DEVICE_SHARE * free:
        return Part(images=part.images.to(device), labels=part.labels.to(device))
    return Part(images=part.images.pin_memory(), labels=part.labels.pin_memory())


def evaluate(
    model: nn.Module,
    part: Part,
    augment: Augment,
    *,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    stop: StopFlag | None = None,
) -> Tally:
    """Loss and confusion of the model in evaluation mode on all images of a part, unchanged."""
    tally = Tally(classes, device)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(part), batch):
            if stop is not None and stop.requested:
                raise _Stop
            x = augment(part.images[start : start + batch].to(device, non_blocking=True))
            with autocast(device, dtype):
                logits = model(x)
            labels = part.labels[start : start + batch].to(device, non_blocking=True)
            tally.add(logits.float(), labels)
    return tally


class Training:
    """One training from its first step, or a checkpoint, to its last."""

    def __init__(
        self,
        *,
        config: Config,
        data: Data,
        device: torch.device,
        seed: int,
        epochs: int,
        objective: str,
        direction: str,
        identity: Mapping[str, object],
    ) -> None:
        """identity: what a checkpoint must agree on to be continued here."""
        self.config, self.device, self.seed, self.epochs = config, device, seed, epochs
        self.objective, self.sign = objective, 1.0 if direction == "maximize" else -1.0
        self.identity = dict(identity)
        self.classes = len(data.classes)
        self.dtype = choose_dtype(config.precision, device)
        self.model = build_model(
            config,
            image_channels=data.image_shape[2],
            classes=self.classes,
            seed=derived_seed(seed, "weights"),
            device=device,
        )
        self.optimizer = build_optimizer(config, self.model)
        self.scaler = build_scaler(device, self.dtype)
        self.train_part, self.val_part = place(data.train, device), place(data.val, device)
        mean, std = data.mean_and_std()
        self.augment = Augment(config, mirror=data.mirror, mean=mean.to(device), std=std.to(device))
        self.generator = Generator(device)
        # The rest is the progress that a checkpoint holds.
        self.epoch = 0
        """Completed epochs."""
        self.position = 0
        """Images of the present epoch that were trained on."""
        self.elapsed = 0.0
        """Seconds spent on the present epoch by earlier attempts."""
        self.batch_size = min(config.train_batch_size, len(data.train))
        self.oom_adjusted = False
        self.tally = Tally(self.classes, device)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        """epoch, metrics, confusion and model of the best epoch; empty before the first."""

    @property
    def finished(self) -> bool:
        """All epochs done, or `patience` of them without a better one."""
        waited = self.epoch - self.best["epoch"] if self.best else 0
        return self.epoch >= self.epochs or 0 < self.config.patience <= waited

    def snapshot(self) -> checkpoint.State:
        """Everything needed to go on exactly from here, on the CPU."""
        state: checkpoint.State = checkpoint.to_host(
            {
                "identity": self.identity,
                "epoch": self.epoch,
                "position": self.position,
                "elapsed": self.elapsed,
                "batch_size": self.batch_size,
                "oom_adjusted": self.oom_adjusted,
                "tally": {"loss": self.tally.loss, "confusion": self.tally.confusion},
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "history": self.history,
            }
        )
        state["best"] = self.best  # never changed in place
        return state

    def restore(self, state: checkpoint.State) -> None:
        """Go back to a snapshot. Raises KeyError, RuntimeError or ValueError where it does not fit."""
        self.model.load_state_dict(state["model"])
        # A copy: torch keeps the tensors that it is given, and training would change the snapshot.
        self.optimizer.load_state_dict(checkpoint.to_host(state["optimizer"]))
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.position, self.elapsed = state["epoch"], state["position"], state["elapsed"]
        self.batch_size, self.oom_adjusted = state["batch_size"], state["oom_adjusted"]
        self.tally = Tally(self.classes, self.device)
        self.tally.loss += state["tally"]["loss"].to(self.device)
        self.tally.confusion += state["tally"]["confusion"].to(self.device)
        self.history, self.best = list(state["history"]), state["best"]

    def run(self, control: Control, files: AttemptFiles) -> None:
        """Train to the end. Raises BadConfig (diverged), OutOfMemory, Interrupted (after saving), OSError."""
        write_history(files.metrics, self.history)
        if self.best:
            self._save_best(files.checkpoint_best)
        entered = self.snapshot()
        while not self.finished:
            started = time.perf_counter()
            try:
                validation = self._epoch_with_fallback(control, entered)
            except _Stop:
                self.elapsed += time.perf_counter() - started
                checkpoint.save(files.checkpoint_last, self.snapshot())
                raise Interrupted(
                    f"stopped by signal {control.stop.signal} in epoch {self.epoch + 1} of {self.epochs} "
                    f"after {self.position} images; {files.checkpoint_last} continues it"
                ) from None
            self._close_epoch(control, files, validation, seconds=self.elapsed + time.perf_counter() - started)
            entered = self.snapshot()
            checkpoint.save(files.checkpoint_last, entered)

    def _epoch_with_fallback(self, control: Control, entered: checkpoint.State) -> Tally:
        """Train one epoch, return its validation; when memory runs out, again from `entered` with half the batch."""
        while True:
            try:
                self._train_epoch(control.stop)
                return self._validate(control.stop)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # Outside the handler: there the traceback still holds the tensors that filled the memory.
            smaller = self.batch_size // 2
            if smaller < SMALLEST_BATCH:
                raise OutOfMemory(
                    f"memory does not suffice for batches of {self.batch_size} images, and below {SMALLEST_BATCH} "
                    f"none is tried; use a smaller width ({reason})"
                )
            self.optimizer.zero_grad(set_to_none=True)
            self.restore(entered)
            self.batch_size, self.oom_adjusted = smaller, True
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _train_epoch(self, stop: StopFlag) -> None:
        count = len(self.train_part)
        shuffle = Generator().manual_seed(derived_seed(self.seed, "order", self.epoch))
        order = torch.randperm(count, generator=shuffle).to(self.train_part.images.device)
        self.model.train()
        steps = 0
        while self.position + self.batch_size <= count:
            if stop.requested:
                raise _Stop
            self._step(order[self.position : self.position + self.batch_size])
            self.position += self.batch_size
            steps += 1
            if steps % CHECK_EVERY == 0:
                self._refuse_divergence(float(self.tally.loss), "training")
        self._refuse_divergence(float(self.tally.loss), "training")

    def _step(self, chosen: Tensor) -> None:
        """One optimizer step on the images with these indices."""
        seed = derived_seed(self.seed, "step", self.epoch, self.position)
        self.generator.manual_seed(seed)
        if self.config.dropout > 0:
            torch.manual_seed(seed)  # dropout draws from the global generator
        self._set_learning_rate()
        images = self.train_part.images[chosen].to(self.device, non_blocking=True)
        labels = self.train_part.labels[chosen].to(self.device, non_blocking=True)
        x = self.augment(images, self.generator)
        with autocast(self.device, self.dtype):
            logits = self.model(x)
        logits = logits.float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.config.grad_clip > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.tally.add(logits.detach(), labels)

    def _set_learning_rate(self) -> None:
        """The schedule's value at the middle of the step, so that neither the first nor the last step gets 0."""
        done = self.epoch + (self.position + self.batch_size / 2) / len(self.train_part)
        factor = lr_factor(done / self.epochs, schedule=self.config.schedule, warmup=self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def _validate(self, stop: StopFlag) -> Tally:
        return evaluate(
            self.model,
            self.val_part,
            self.augment,
            classes=self.classes,
            device=self.device,
            dtype=self.dtype,
            batch=2 * self.batch_size,  # fits where training did: no gradients
            stop=stop,
        )

    def _refuse_divergence(self, loss: float, split: str) -> None:
        if not math.isfinite(loss):
            rate = self.optimizer.param_groups[0]["lr"]
            raise BadConfig(
                f"diverged at epoch {self.epoch + 1}: the {split} loss is {loss} at learning rate {rate:.3g} "
                f"(peak {self.config.learning_rate:.3g}, optimizer {self.config.optimizer})"
            )

    def _close_epoch(self, control: Control, files: AttemptFiles, validation: Tally, *, seconds: float) -> None:
        """Record a completed epoch, keep it when it is the best, and report it."""
        train, val = self.tally.numbers("train"), validation.numbers("val")
        self._refuse_divergence(val["val_loss"], "validation")
        self.epoch, self.position, self.elapsed = self.epoch + 1, 0, 0.0
        self.tally = Tally(self.classes, self.device)
        rate = float(self.optimizer.param_groups[0]["lr"])
        numbers = {**train, **val, "epoch": self.epoch, "lr": rate, "seconds": round(seconds, 3)}
        self.history.append({name: numbers[name.replace("_acc", "_accuracy")] for name in COLUMNS})
        write_history(files.metrics, self.history)
        if not self.best or self.sign * val[self.objective] > self.sign * self.best["metrics"][self.objective]:
            self.best = {
                "epoch": self.epoch,
                "metrics": val,
                "confusion": checkpoint.to_host(validation.confusion),
                "model": checkpoint.to_host(self.model.state_dict()),
            }
            self._save_best(files.checkpoint_best)
        control.report(self.epoch, {**train, **val, "lr": rate})

    def _save_best(self, path: Path) -> None:
        checkpoint.save(path, {"identity": self.identity, "batch_size": self.batch_size, **self.best})


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """metrics_epoch.csv: a header and one line an epoch, each number in its shortest exact form."""
    lines = [",".join(COLUMNS), *(",".join(repr(row[name]) for name in COLUMNS) for row in history)]
    write_atomic(path, "\n".join(lines) + "\n")
