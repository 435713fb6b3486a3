"""The loop of epochs: falling back when memory runs out, stopping and going on exactly, keeping the best.

Every random choice is seeded by (trial seed, what for, epoch, cases already used), so a step can be repeated from
its position alone and a checkpoint needs no state of a random number generator. Positions count cases, not steps:
they keep their meaning when the batch size is lowered.
"""

from __future__ import annotations

import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from trainers.contract import BadConfig, Control, Interrupted, OutOfMemory, StopFlag
from trainers.files import write_atomic
from trainers.layout import AttemptFiles
from trainers.pytorch import checkpoint
from trainers.pytorch.device import build_scaler, is_out_of_memory, precision_name

V = TypeVar("V")
"""What an epoch's validation gives."""


class Stop(Exception):
    """The stop flag was seen."""


def derived_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed of its own for each purpose and position of a trial."""
    digest = hashlib.sha256(repr((seed, purpose, position)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class EpochLoop(ABC, Generic[V]):
    """One training from its first step, or a checkpoint, to its last; a trainer fills in steps and measures."""

    columns: ClassVar[tuple[str, ...]]
    """Of metrics_epoch.csv."""
    unit: ClassVar[str]
    """What a batch holds, in the plural: images, windows."""
    smallest_batch: ClassVar[int]
    """Out of memory halves the batch size down to this."""
    remedy: ClassVar[str]
    """What to do when even the smallest batch does not fit."""

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        dtype: torch.dtype,
        seed: int,
        epochs: int,
        batch_size: int,
        patience: int,
        objective: str,
        direction: str,
        recipe: str,
        identity: Mapping[str, object],
    ) -> None:
        """identity: what a checkpoint must agree on to be continued here. recipe: told when training diverges."""
        self.model, self.optimizer, self.device, self.dtype = model, optimizer, device, dtype
        self.scaler = build_scaler(device, dtype)
        self.seed, self.epochs, self.patience = seed, epochs, patience
        self.objective, self.sign = objective, 1.0 if direction == "maximize" else -1.0
        self.recipe = recipe
        self.identity = dict(identity)
        # The rest is the progress that a checkpoint holds.
        self.epoch = 0
        """Completed epochs."""
        self.position = 0
        """Cases of the present epoch that were trained on."""
        self.elapsed = 0.0
        """Seconds spent on the present epoch by earlier attempts."""
        self.batch_size = batch_size
        self.oom_adjusted = False
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        """epoch, metrics, model and what `_best_extras` adds, of the best epoch; empty before the first."""

    @abstractmethod
    def _train_epoch(self, stop: StopFlag) -> None:
        """Train on what `position` leaves of the present epoch. Raises Stop before a step once one is asked for."""

    @abstractmethod
    def _validate(self, stop: StopFlag) -> V:
        """Measure the model on all of the validation part. Raises Stop."""

    @abstractmethod
    def _numbers(self, validation: V) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Training's and validation's numbers of the epoch, among them train_loss, val_loss and the objective."""

    @abstractmethod
    def _tally_state(self) -> dict[str, torch.Tensor]:
        """The running sums of the present epoch's training."""

    @abstractmethod
    def _restore_tally(self, state: Mapping[str, torch.Tensor] | None) -> None:
        """Go back to those sums, or to empty ones."""

    def _best_extras(self, validation: V) -> dict[str, Any]:
        """What the best checkpoint keeps beside weights and metrics."""
        return {}

    def _row(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """A line of metrics_epoch.csv from all numbers of an epoch."""
        return {name: numbers[name] for name in self.columns}

    @property
    def finished(self) -> bool:
        """All epochs done, or `patience` of them without a better one (0: never early)."""
        waited = self.epoch - self.best["epoch"] if self.best else 0
        return self.epoch >= self.epochs or 0 < self.patience <= waited

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
                "tally": self._tally_state(),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "precision": precision_name(self.dtype),
                "history": self.history,
            }
        )
        state["best"] = self.best  # never changed in place
        return state

    def restore(self, state: checkpoint.State) -> None:
        """Go back to a snapshot, or go on from a checkpoint, of whichever precision it is.

        Raises KeyError, RuntimeError or ValueError where it does not fit.
        """
        self.model.load_state_dict(state["model"])
        # First, so that old and new are never in memory together: this is also done because memory ran out.
        self.optimizer.state.clear()
        # A copy: torch keeps the tensors that it is given, and training would change the snapshot.
        self.optimizer.load_state_dict(checkpoint.to_host(state["optimizer"]))
        self.scaler = build_scaler(self.device, self.dtype, state["scaler"])
        self.epoch, self.position, self.elapsed = state["epoch"], state["position"], state["elapsed"]
        self.batch_size, self.oom_adjusted = state["batch_size"], state["oom_adjusted"]
        self._restore_tally(state["tally"])
        self.history, self.best = list(state["history"]), state["best"]

    def run(self, control: Control, files: AttemptFiles, *, save_every: int = 1) -> None:
        """Train to the end, with a checkpoint every so many epochs, at a stop and at the end.

        Raises BadConfig (diverged), OutOfMemory, Interrupted (after saving), OSError.
        """
        write_history(files.metrics, self.history, self.columns)
        if self.best:
            self._save_best(files.checkpoint_best)
        entered = self.snapshot()
        while not self.finished:
            started = time.perf_counter()
            try:
                validation = self._epoch_with_fallback(control, entered)
            except Stop:
                self.elapsed += time.perf_counter() - started
                checkpoint.save(files.checkpoint_last, self.snapshot())
                raise Interrupted(
                    f"stopped by signal {control.stop.signal} in epoch {self.epoch + 1} of {self.epochs} "
                    f"after {self.position} {self.unit}; {files.checkpoint_last} continues it"
                ) from None
            self._close_epoch(control, files, validation, seconds=self.elapsed + time.perf_counter() - started)
            entered = self.snapshot()
            if self.finished or self.epoch % save_every == 0:
                checkpoint.save(files.checkpoint_last, entered)

    def _epoch_with_fallback(self, control: Control, entered: checkpoint.State) -> V:
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
            if smaller < self.smallest_batch:
                raise OutOfMemory(
                    f"memory does not suffice for batches of {self.batch_size} {self.unit}, and below "
                    f"{self.smallest_batch} none is tried; {self.remedy} ({reason})"
                )
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.state.clear()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.restore(entered)
            self.batch_size, self.oom_adjusted = smaller, True

    def _optimize(self, loss: torch.Tensor, *, grad_clip: float) -> None:
        """Backward and one optimizer step. grad_clip: largest norm of the whole gradient, 0: off.

        Where it raises, no gradient is left and the scaler is as before the step. What the optimizer had changed by
        then is not undone here, for that needs a copy a step; `restore` does it from the copy made once an epoch.
        """
        self.optimizer.zero_grad(set_to_none=True)
        try:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if grad_clip > 0:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), grad_clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        except BaseException:
            # A scaler remembers how far the step came until update(): the next one would divide no gradient by the
            # scale (65,536 at first), or refuse to be unscaled twice.
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler = build_scaler(self.device, self.dtype, self.scaler.state_dict())
            raise

    def _refuse_divergence(self, loss: float, split: str) -> None:
        if not math.isfinite(loss):
            rate = self.optimizer.param_groups[0]["lr"]
            raise BadConfig(
                f"diverged at epoch {self.epoch + 1}: the {split} loss is {loss} at learning rate {rate:.3g} "
                f"({self.recipe})"
            )

    def _close_epoch(self, control: Control, files: AttemptFiles, validation: V, *, seconds: float) -> None:
        """Record a completed epoch, keep it when it is the best, and report it."""
        train, val = self._numbers(validation)
        self._refuse_divergence(val["val_loss"], "validation")
        self.epoch, self.position, self.elapsed = self.epoch + 1, 0, 0.0
        self._restore_tally(None)
        rate = float(self.optimizer.param_groups[0]["lr"])
        numbers = {**train, **val, "epoch": self.epoch, "lr": rate, "seconds": round(seconds, 3)}
        self.history.append(self._row(numbers))
        write_history(files.metrics, self.history, self.columns)
        if not self.best or self.sign * val[self.objective] > self.sign * self.best["metrics"][self.objective]:
            self.best = {
                "epoch": self.epoch,
                "metrics": val,
                **self._best_extras(validation),
                "model": checkpoint.to_host(self.model.state_dict()),
            }
            self._save_best(files.checkpoint_best)
        control.report(self.epoch, {**train, **val, "lr": rate})

    def _save_best(self, path: Path) -> None:
        checkpoint.save(path, {"identity": self.identity, "batch_size": self.batch_size, **self.best})


def write_history(path: Path, history: list[dict[str, float]], columns: tuple[str, ...]) -> None:
    """metrics_epoch.csv: a header and one line an epoch, each number in its shortest exact form."""
    lines = [",".join(columns), *(",".join(repr(row[name]) for name in columns) for row in history)]
    write_atomic(path, "\n".join(lines) + "\n")
