"""The training of ResNet-9: its steps and measures; the loop around them is trainers.pytorch.loop's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainers.contract import StopFlag
from trainers.pytorch import checkpoint
from trainers.pytorch.device import autocast, choose_dtype
from trainers.pytorch.loop import EpochLoop, Stop, derived_seed
from trainers.resnet9.augment import Augment
from trainers.resnet9.config import Config
from trainers.resnet9.data import Data, Part
from trainers.resnet9.metrics import Tally
from trainers.resnet9.model import build_model
from trainers.resnet9.optim import build_optimizer, lr_factor

CHECK_EVERY = 50
"""Steps between looks at the loss: each look waits for the GPU."""
DEVICE_SHARE = 0.5
"""Images are kept in GPU memory when they fill at most this part of what is free; else each batch is moved."""


def place(part: Part, device: torch.device) -> Part:
    """The part on the device where it fits well, else as it is, in the host's memory."""
    if device.type != "cuda":
        return part
    free, _ = torch.cuda.mem_get_info(device)
    if part.images.nbytes > DEVICE_SHARE * free:
        return part
    return Part(images=part.images.to(device), labels=part.labels.to(device))


def batch_of(part: Part, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels with these indices, on the device. chosen: (n,) where the part lies.

    From the host they go through page-locked memory, so that the copy waits for nothing. That has to be the batch
    itself: what is indexed out of a page-locked tensor lies in ordinary memory again. PyTorch's allocator hands such
    memory out anew only after the copy has read it.
    """
    if part.images.device.type == device.type:
        return part.images[chosen], part.labels[chosen]
    images, labels = (
        _page_locked(whole, chosen).to(device, non_blocking=True) for whole in (part.images, part.labels)
    )
    return images, labels


def _page_locked(whole: Tensor, chosen: Tensor) -> Tensor:
    """These rows, gathered into page-locked memory."""
    target = torch.empty((len(chosen), *whole.shape[1:]), dtype=whole.dtype, pin_memory=True)
    return torch.index_select(whole, 0, chosen, out=target)


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
                raise Stop
            chosen = torch.arange(start, min(start + batch, len(part)), device=part.images.device)
            images, labels = batch_of(part, chosen, device)
            x = augment(images)
            with autocast(device, dtype):
                logits = model(x)
            tally.add(logits.float(), labels)
    return tally


class Training(EpochLoop[Tally]):
    """One training from its first step, or a checkpoint, to its last."""

    columns = ("epoch", "train_loss", "train_acc", "train_f1", "val_loss", "val_acc", "val_f1", "lr", "seconds")
    unit = "images"
    smallest_batch = 32
    remedy = "use a smaller width"

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
        self.config = config
        self.classes = len(data.classes)
        model = build_model(
            config,
            image_channels=data.image_shape[2],
            classes=self.classes,
            seed=derived_seed(seed, "weights"),
            device=device,
        )
        super().__init__(
            model=model,
            optimizer=build_optimizer(config, model),
            device=device,
            dtype=choose_dtype(config.precision, device),
            seed=seed,
            epochs=epochs,
            batch_size=min(config.train_batch_size, len(data.train)),
            patience=config.patience,
            objective=objective,
            direction=direction,
            recipe=f"peak {config.learning_rate:.3g}, optimizer {config.optimizer}",
            identity=identity,
        )
        self.train_part, self.val_part = place(data.train, device), place(data.val, device)
        mean, std = data.mean_and_std()
        self.augment = Augment(config, mirror=data.mirror, mean=mean.to(device), std=std.to(device))
        self.generator = Generator(device)
        self.tally = Tally(self.classes, device)

    def _tally_state(self) -> dict[str, Tensor]:
        return {"loss": self.tally.loss, "confusion": self.tally.confusion}

    def _restore_tally(self, state: Mapping[str, Tensor] | None) -> None:
        self.tally = Tally(self.classes, self.device)
        if state is not None:
            self.tally.loss += state["loss"].to(self.device)
            self.tally.confusion += state["confusion"].to(self.device)

    def _train_epoch(self, stop: StopFlag) -> None:
        count = len(self.train_part)
        shuffle = Generator().manual_seed(derived_seed(self.seed, "order", self.epoch))
        order = torch.randperm(count, generator=shuffle).to(self.train_part.images.device)
        self.model.train()
        steps = 0
        while self.position + self.batch_size <= count:
            if stop.requested:
                raise Stop
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
        images, labels = batch_of(self.train_part, chosen, self.device)
        x = self.augment(images, self.generator)
        with autocast(self.device, self.dtype):
            logits = self.model(x)
        logits = logits.float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self._optimize(loss, grad_clip=self.config.grad_clip)
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

    def _numbers(self, validation: Tally) -> tuple[Mapping[str, float], Mapping[str, float]]:
        return self.tally.numbers("train"), validation.numbers("val")

    def _best_extras(self, validation: Tally) -> dict[str, Any]:
        return {"confusion": checkpoint.to_host(validation.confusion)}

    def _row(self, numbers: Mapping[str, float]) -> dict[str, float]:
        return {name: numbers[name.replace("_acc", "_accuracy")] for name in self.columns}
