"""The training of Informer: its steps and measures; the loop around them is trainers.pytorch.loop's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

from trainers.contract import StopFlag
from trainers.informer.config import Config
from trainers.informer.data import Series
from trainers.informer.model import build_model
from trainers.informer.optim import build_optimizer, element_losses, lr_factor
from trainers.pytorch.device import autocast, choose_dtype
from trainers.pytorch.loop import EpochLoop, Stop, derived_seed

CHECK_EVERY = 50
"""Steps between looks at the loss: each look waits for the GPU."""


class Sums:
    """Sums over elements, never over batches: a short batch counts by its size."""

    def __init__(self, device: torch.device) -> None:
        self.loss, self.squared, self.absolute, self.count = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, losses: Tensor, error: Tensor) -> None:
        """losses and error of a batch, of one shape, float32."""
        self.loss = self.loss + losses.sum(dtype=torch.float64)
        self.squared = self.squared + error.square().sum(dtype=torch.float64)
        self.absolute = self.absolute + error.abs().sum(dtype=torch.float64)
        self.count = self.count + error.numel()

    def numbers(self, prefix: str) -> dict[str, float]:
        """`prefix`_loss (the criterion), _mse and _mae. They may be NaN or infinite; the caller judges."""
        found = {"loss": self.loss, "mse": self.squared, "mae": self.absolute}
        return {f"{prefix}_{name}": float(total / self.count) for name, total in found.items()}


def evaluate(
    model: nn.Module,
    config: Config,
    series: Series,
    part: str,
    *,
    dtype: torch.dtype,
    batch: int,
    stop: StopFlag | None = None,
) -> Sums:
    """Errors of the model in evaluation mode on all windows of a part, in their order."""
    device = series.values.device
    sums = Sums(device)
    starts = series.starts(part, config.seq_len)
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(starts), batch):
            if stop is not None and stop.requested:
                raise Stop
            x, marks, truth = series.windows(starts[first : first + batch], config.seq_len)
            with autocast(device, dtype):
                forecast = model(x, marks)
            forecast = forecast.float()
            sums.add(element_losses(config, forecast, truth), forecast - truth)
    return sums


class Training(EpochLoop[Sums]):
    """One training from its first step, or a checkpoint, to its last."""

    columns = ("epoch", "train_loss", "train_mse", "train_mae", "val_loss", "val_mse", "val_mae", "lr", "seconds")
    unit = "windows"
    smallest_batch = 4
    remedy = "use a smaller d_model or seq_len"

    def __init__(
        self,
        *,
        config: Config,
        series: Series,
        device: torch.device,
        seed: int,
        epochs: int,
        objective: str,
        direction: str,
        identity: Mapping[str, object],
    ) -> None:
        """identity: what a checkpoint must agree on to be continued here."""
        self.config, self.series = config, series.to(device)
        model = build_model(
            config,
            channels=len(series.columns),
            targets=series.targets,
            pred_len=series.pred_len,
            calendar=series.calendar,
            seed=derived_seed(seed, "weights"),
            device=device,
        )
        self.starts = self.series.starts("train", config.seq_len)
        super().__init__(
            model=model,
            optimizer=build_optimizer(config, model),
            device=device,
            dtype=choose_dtype(config.precision, device),
            seed=seed,
            epochs=epochs,
            batch_size=min(config.batch_size, len(self.starts)),
            patience=config.patience,
            objective=objective,
            direction=direction,
            recipe=f"peak {config.lr:.3g}, optimizer {config.optimizer}",
            identity=identity,
        )
        self.sums = Sums(device)

    def _tally_state(self) -> dict[str, Tensor]:
        return dict(vars(self.sums))

    def _restore_tally(self, state: Mapping[str, Tensor] | None) -> None:
        self.sums = Sums(self.device)
        for name, total in (state or {}).items():
            setattr(self.sums, name, total.to(self.device))

    def _train_epoch(self, stop: StopFlag) -> None:
        """All windows, shuffled; the last batch may be short."""
        shuffle = Generator().manual_seed(derived_seed(self.seed, "order", self.epoch))
        order = self.starts[torch.randperm(len(self.starts), generator=shuffle).to(self.device)]
        self.model.train()
        steps = 0
        while self.position < len(order):
            if stop.requested:
                raise Stop
            chosen = order[self.position : self.position + self.batch_size]
            self._step(chosen)
            self.position += len(chosen)
            steps += 1
            if steps % CHECK_EVERY == 0:
                self._refuse_divergence(float(self.sums.loss), "training")
        self._refuse_divergence(float(self.sums.loss), "training")

    def _step(self, chosen: Tensor) -> None:
        """One optimizer step on the windows that begin their forecasts at these rows."""
        # Dropout and ProbSparse's sample of keys draw from the global generator.
        torch.manual_seed(derived_seed(self.seed, "step", self.epoch, self.position))
        self._set_learning_rate(len(chosen))
        x, marks, truth = self.series.windows(chosen, self.config.seq_len)
        with autocast(self.device, self.dtype):
            forecast = self.model(x, marks)
        forecast = forecast.float()
        losses = element_losses(self.config, forecast, truth)
        self._optimize(losses.mean(), grad_clip=self.config.grad_clip)
        self.sums.add(losses.detach(), forecast.detach() - truth)

    def _set_learning_rate(self, batch: int) -> None:
        """The schedule's value at the middle of the step, so that neither the first nor the last step gets 0."""
        done = self.epoch + (self.position + batch / 2) / len(self.starts)
        factor = lr_factor(self.config, done, self.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor

    def _validate(self, stop: StopFlag) -> Sums:
        batch = 2 * self.batch_size  # fits where training did: no gradients
        return evaluate(self.model, self.config, self.series, "val", dtype=self.dtype, batch=batch, stop=stop)

    def _numbers(self, validation: Sums) -> tuple[Mapping[str, float], Mapping[str, float]]:
        return self.sums.numbers("train"), validation.numbers("val")
