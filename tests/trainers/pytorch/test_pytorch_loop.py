"""The loop of epochs by itself: a step that memory ends half-way, and checkpoints of another precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.trainers.trial_cases import quiet, trial_spec
from trainers.contract import StopFlag, TrialSpec
from trainers.layout import AttemptFiles
from trainers.pytorch import attempt, checkpoint
from trainers.pytorch.loop import EpochLoop, derived_seed

pytestmark = pytest.mark.train
CPU = torch.device("cpu")
OOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
CASES = 64


class Line(EpochLoop[float]):
    """A linear regression on 64 cases, whose gradients float16 has to scale."""

    columns = ("epoch", "train_loss", "val_loss")
    unit, smallest_batch, remedy = "cases", 4, "none"

    def __init__(
        self, *, dtype: torch.dtype = torch.float16, batch_size: int = 8, clip: float = 0.0, adam: bool = True
    ) -> None:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        kind: Any = torch.optim.Adam if adam else torch.optim.SGD
        super().__init__(
            model=model,
            optimizer=kind(model.parameters(), lr=0.01, **({} if adam else {"momentum": 0.9})),
            device=CPU,
            dtype=dtype,
            seed=0,
            epochs=2,
            batch_size=batch_size,
            patience=0,
            objective="val_loss",
            direction="minimize",
            recipe="",
            identity={"epochs": 2},
        )
        self.x = torch.randn(CASES, 3)
        self.y = self.x.sum(1, keepdim=True)
        self.clip, self.total = clip, torch.zeros(())
        self.largest_update = 0.0

    def _train_epoch(self, stop: StopFlag) -> None:
        shuffle = torch.Generator().manual_seed(derived_seed(0, "order", self.epoch))
        order = torch.randperm(CASES, generator=shuffle)
        while self.position < CASES:
            chosen = order[self.position : self.position + self.batch_size]
            before = self.model.weight.detach().clone()  # type: ignore[union-attr,operator]
            with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32):
                guess = self.model(self.x[chosen])
            loss = functional.mse_loss(guess.float(), self.y[chosen])
            self._optimize(loss, grad_clip=self.clip)
            moved = float((self.model.weight.detach() - before).abs().max())  # type: ignore[operator,union-attr]
            self.largest_update = max(self.largest_update, moved)
            self.total = self.total + loss.detach()
            self.position += len(chosen)

    def _validate(self, stop: StopFlag) -> float:
        return float(functional.mse_loss(self.model(self.x), self.y).detach())

    def _numbers(self, validation: float) -> tuple[Mapping[str, float], Mapping[str, float]]:
        return {"train_loss": float(self.total)}, {"val_loss": validation}

    def _tally_state(self) -> dict[str, Tensor]:
        return {"total": self.total}

    def _restore_tally(self, state: Mapping[str, Tensor] | None) -> None:
        self.total = state["total"].clone() if state else torch.zeros(())


def folder(path: Path) -> AttemptFiles:
    path.mkdir(exist_ok=True)
    return AttemptFiles(path)


def once(real: Callable[..., Any], *, nth: int, after: bool, called: list[int]) -> Callable[..., Any]:
    """`real`, but memory runs out in its nth call, before or after what it does."""

    def limited(*args: Any, **named: Any) -> Any:
        called.append(1)
        if len(called) == nth and not after:
            raise OOM
        result = real(*args, **named)
        if len(called) == nth:
            raise OOM
        return result

    return limited


WHERE = {
    "backward": (torch.Tensor, "backward"),
    "unscale_": (torch.amp.GradScaler, "unscale_"),
    "clip": (nn.utils, "clip_grad_norm_"),
    "step": (torch.optim.Adam, "step"),
    "update": (torch.amp.GradScaler, "update"),
}


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("where", "clip"), [(where, clip) for where in WHERE for clip in (0.0, 1.0) if where != "clip" or clip]
)
def test_memory_that_ends_anywhere_in_a_float16_step_leaves_no_trace(
    where: str, clip: float, after: bool, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training goes on exactly as one that began with half the batch: no gradient times 65,536, no second
    unscale_, no optimizer with half a state."""
    small = Line(batch_size=4, clip=clip)
    small.run(quiet(), folder(tmp_path / "small"))
    owner, name = WHERE[where]
    called: list[int] = []
    training = Line(batch_size=8, clip=clip)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, once(getattr(owner, name), nth=nth, after=after, called=called))
        training.run(quiet(), folder(tmp_path / "limited"))
    assert len(called) >= nth and training.oom_adjusted and training.batch_size == 4
    assert training.history == small.history and training.largest_update < 1.0
    assert all(torch.equal(*pair) for pair in zip(training.model.parameters(), small.model.parameters(), strict=True))
    assert training.scaler.state_dict() == small.scaler.state_dict()


def test_an_optimizer_that_got_half_its_state_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam makes its state in its first step, one tensor after the other: the likeliest place for memory to end."""
    real, seen = torch.zeros_like, []

    def limited(*args: Any, **named: Any) -> Any:
        seen.append(1)
        if len(seen) == 2:  # exp_avg is there, exp_avg_sq is not
            raise OOM
        return real(*args, **named)

    small = Line(batch_size=4)
    small.run(quiet(), folder(tmp_path / "small"))
    training = Line(batch_size=8)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", limited)
        training.run(quiet(), folder(tmp_path / "limited"))
    assert len(seen) > 2 and training.history == small.history


def test_a_step_that_failed_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Line(clip=1.0, adam=False)
    before = training.scaler.state_dict()

    def fail(*args: Any, **named: Any) -> None:
        raise OOM

    with monkeypatch.context() as patch:
        patch.setattr(training.optimizer, "step", fail)
        with pytest.raises(torch.OutOfMemoryError):
            training._optimize(training.model(training.x).square().mean(), grad_clip=1.0)
    assert all(p.grad is None for p in training.model.parameters()) and training.scaler.state_dict() == before
    training._optimize(training.model(training.x).square().mean(), grad_clip=1.0)
    norm = torch.stack([p.grad.norm() for p in training.model.parameters() if p.grad is not None]).norm()
    assert 0 < float(norm) <= 1.0001


def spec_of(out: Path, previous: Path | None = None) -> TrialSpec:
    spec = trial_spec(out, trainer="resnet9", values={}, data={}, objective="val_loss", direction="minimize")
    return dataclasses.replace(spec, previous=previous)


@pytest.mark.parametrize("old", [False, True], ids=["named", "older version"])
@pytest.mark.parametrize(
    ("before", "now", "named_before"),
    [
        (torch.bfloat16, torch.float16, "bfloat16 or float32"),
        (torch.float16, torch.bfloat16, "float16"),
        (torch.float32, torch.float16, "bfloat16 or float32"),
    ],
)
def test_a_checkpoint_of_another_precision_is_gone_on_from_and_said(
    before: torch.dtype,
    now: torch.dtype,
    named_before: str,
    old: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row requeued from an A100 to a V100: there auto means float16."""
    first = Line(dtype=before)
    first.run(quiet(), folder(tmp_path / "first"))
    state = first.snapshot() | {"epoch": 1}
    if old:
        del state["precision"]
    checkpoint.save(folder(tmp_path / "first").checkpoint_last, state)
    training = Line(dtype=now)
    notes = attempt.resume(training, spec_of(tmp_path / "second", tmp_path / "first"))
    told = named_before if old else str(before).removeprefix("torch.")
    assert training.epoch == 1 and "checkpoint_rejected" not in notes and notes["precision_before"] == told
    assert f"trained in {told}; from here on it is" in capsys.readouterr().err
    training.run(quiet(), folder(tmp_path / "second"))
    assert training.epoch == 2 and training.largest_update < 1.0


def test_the_same_precision_needs_no_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Line()
    first.run(quiet(), folder(tmp_path / "first"))
    notes = attempt.resume(Line(), spec_of(tmp_path / "second", tmp_path / "first"))
    assert set(notes) == {"resumed_from"} and "trained in" not in capsys.readouterr().err


def test_checkpoints_are_written_every_so_many_epochs_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    save = checkpoint.save

    def noted(path: Path, state: checkpoint.State) -> None:
        if path.name == "checkpoint_last.pt":
            written.append(int(state["epoch"]))
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", noted)
    training = Line()
    training.epochs = 5
    training.run(quiet(), folder(tmp_path / "out"), save_every=2)
    assert written == [2, 4, 5]
