"""Training for real on tiny volumes: exactly stock at the defaults, folds accumulated as nnU-Net does, resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunet_cases import NAME, make_spec, quiet, values

from trainers.contract import BadConfig, Control, Interrupted, OutOfMemory, StopFlag, TrainerError, TrialSpec, Value
from trainers.manifest import Row, file_sha256
from trainers.nnunet import accumulate
from trainers.nnunet import train as entry
from trainers.nnunet.config import Config
from trainers.nnunet.train import build, train
from trainers.nnunet.where import locate
from trainers.results import RowResult

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "doc" / "hyperparameter_reference" / "nnunet.json"
MODEL = Path("nnUNet_results") / NAME / "nnUNetTrainerRoundtable__nnUNetPlans__3d_fullres"


@pytest.fixture(scope="module")
def folds(tiny: dict[str, Value], tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[TrialSpec, Any]]:
    """All five folds, trained in this process."""
    root = tmp_path_factory.mktemp("folds")
    found = {}
    for fold in range(5):
        spec = make_spec(root / str(fold), data=tiny, fold=fold)
        found[fold] = spec, train(spec, quiet())
    return found


def _losses(trainer: Any) -> tuple[list[float], dict[str, Any]]:
    import torch

    np.random.seed(3)
    torch.manual_seed(3)
    trainer.on_train_start()
    losses = [float(trainer.train_step(next(trainer.dataloader_train))["loss"]) for _ in range(3)]
    return losses, trainer.network.state_dict()


def test_the_defaults_are_exactly_stock(tiny: dict[str, Value], tmp_path: Path) -> None:
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    spec = make_spec(tmp_path / "ours", data=tiny, values=dataclasses.asdict(Config()), reference=SHIPPED)
    dataset = locate(spec.task, tiny, {})
    os.environ |= {"nnUNet_preprocessed": str(tiny["preprocessed"]), "nnUNet_n_proc_DA": "0"}
    os.environ |= {"nnUNet_results": str(tmp_path / "results"), "NNUNET_HP_REF": str(SHIPPED)}
    ours = build(spec, Config(), dataset)
    plans = json.loads(dataset.plans_file("nnUNetPlans").read_text())
    description = json.loads((dataset.preprocessed / "dataset.json").read_text())
    stock = nnUNetTrainer(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    for name in (
        "initial_lr", "weight_decay", "num_epochs", "num_iterations_per_epoch", "num_val_iterations_per_epoch",
        "oversample_foreground_percent", "enable_deep_supervision",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(stock, name), name
    assert ours.plans_manager.plans == stock.plans_manager.plans
    torch.manual_seed(1)
    ours.initialize()
    torch.manual_seed(1)
    stock.initialize()
    (our_losses, our_weights), (losses, weights) = _losses(ours), _losses(stock)
    assert our_losses == losses and len(set(losses)) == 3
    assert all(torch.equal(our_weights[name], weights[name]) for name in weights)
    assert ours.lr_scheduler.__class__ is stock.lr_scheduler.__class__
    for epoch in (0, 1, 500, 999):
        ours.lr_scheduler.step(epoch)
        stock.lr_scheduler.step(epoch)
        assert ours.optimizer.param_groups[0]["lr"] == stock.optimizer.param_groups[0]["lr"]
    assert ours.inference_allowed_mirroring_axes == stock.inference_allowed_mirroring_axes == (0, 1, 2)


def test_a_trial_leaves_result_logs_and_checkpoints_in_its_own_folder(folds: dict[int, Any]) -> None:
    spec, result = folds[0]
    assert 0 <= result.metrics["Dice"] <= 1 and result.directions["Dice"] == "maximize"
    assert set(result.per_class) == {"Front", "Back"} and result.samples == len(result.per_case) == 2
    assert result.epochs_run == 1 and result.notes["patch_size"] == [16, 16, 16]
    assert result.notes["processes"] == {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    lines = (spec.out / "metrics_epoch.csv").read_text().splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,val_pseudo_dice,lr,seconds" and len(lines) == 2
    assert (spec.out / "checkpoint_last.pt").resolve() == (spec.out / MODEL / "fold_0" / "checkpoint_final.pth")
    # The network that was asked for is in the plans beside the weights: prediction needs no reference.
    plans = json.loads((spec.out / MODEL / "plans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8, 16]


def test_five_folds_accumulate_as_nnunet_does_it_and_not_as_their_mean(
    folds: dict[int, Any], tiny: dict[str, Value], tmp_path: Path
) -> None:
    from nnunetv2.evaluation.accumulate_cv_results import accumulate_cv_results

    from trainers.nnunet import workers

    merged = tmp_path / "model"
    merged.mkdir()
    for fold, (spec, _) in folds.items():
        (merged / f"fold_{fold}").symlink_to(spec.out / MODEL / f"fold_{fold}")
    for name in ("plans.json", "dataset.json"):
        (merged / name).symlink_to(folds[0][0].out / MODEL / name)
    os.environ |= {"nnUNet_raw": str(tiny["raw"]), "nnUNet_preprocessed": str(tiny["preprocessed"])}
    with workers.pools_for(1):
        accumulate_cv_results(str(merged), str(tmp_path / "cv"), tuple(folds), num_processes=1)
    theirs = json.loads((tmp_path / "cv" / "summary.json").read_text())

    results = [
        RowResult(
            row=Row(row=fold, candidate="c00", fold=fold, seed=0),
            attempt=1,
            outcome="ok",
            metrics=result.metrics,
            directions=result.directions,
            raw=json.loads(json.dumps({"per_case": result.per_case})),
        )
        for fold, (_, result) in folds.items()
    ]
    together = accumulate.accumulate(results)
    for metric in ("Dice", "IoU"):
        assert together["values"][metric] == pytest.approx(theirs["foreground_mean"][metric], abs=1e-12, rel=0)
        for label, name in (("1", "Front"), ("2", "Back")):
            ours = together["per_class"][name][metric]
            assert ours == pytest.approx(theirs["mean"][label][metric], abs=1e-12, rel=0)
    mean_of_folds = np.mean([result.metrics["Dice"] for _, result in folds.values()])
    assert abs(mean_of_folds - together["values"]["Dice"]) > 1e-6
    assert len(together["per_case"]) == 6


class _StopAfter(StopFlag):
    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_a_stopped_training_goes_on_from_its_last_epoch(tiny: dict[str, Value], tmp_path: Path) -> None:
    hyper: dict[str, Value] = {"num_epochs": 3}
    first = make_spec(tmp_path / "1", data=tiny, hyper=hyper)
    with pytest.raises(Interrupted, match="epoch 1"):
        train(first, quiet(_StopAfter(3)))  # two steps an epoch: in the middle of the second
    assert (first.out / "checkpoint_last.pt").exists()

    seen: list[int] = []
    second = make_spec(tmp_path / "2", data=tiny, hyper=hyper, attempt=2, previous=first.out)
    control = Control(stop=StopFlag(), report=lambda epoch, metrics: seen.append(epoch))
    result = train(second, control)
    assert seen == [2, 3] and "epoch 1" in result.notes["resumed_from"]
    rows = (second.out / "metrics_epoch.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[1] == (first.out / "metrics_epoch.csv").read_text().splitlines()[1]


def test_raising_the_number_of_epochs_continues_a_finished_training(folds: dict[int, Any], tmp_path: Path) -> None:
    spec, _ = folds[1]
    seen: list[int] = []
    longer = make_spec(tmp_path / "out", data=spec.data, hyper={"num_epochs": 2}, fold=1, previous=spec.out)
    result = train(longer, Control(stop=StopFlag(), report=lambda epoch, metrics: seen.append(epoch)))
    assert seen == [2] and result.epochs_run == 2


def test_a_truncated_or_foreign_checkpoint_is_rejected_and_said(folds: dict[int, Any], tmp_path: Path) -> None:
    spec, _ = folds[2]
    broken = tmp_path / "broken"
    target = broken / MODEL / "fold_2"
    target.mkdir(parents=True)
    whole = (spec.out / MODEL / "fold_2" / "checkpoint_final.pth").read_bytes()
    (target / "checkpoint_final.pth").write_bytes(whole[: len(whole) // 2])
    (target / "roundtable.json").write_bytes((spec.out / MODEL / "fold_2" / "roundtable.json").read_bytes())
    (target / "checkpoint_latest.pth").write_bytes(b"no checkpoint at all")
    again = make_spec(tmp_path / "again", data=spec.data, fold=2, previous=broken)
    result = train(again, quiet())
    rejected = result.notes["checkpoint_rejected"]
    assert len(rejected) == 2 and all("damaged or not a checkpoint" in text for text in rejected)
    assert "resumed_from" not in result.notes and result.epochs_run == 1

    other = make_spec(tmp_path / "other", data=spec.data, fold=2, seed=1, previous=again.out)
    result = train(other, quiet())
    assert "different: seed" in result.notes["checkpoint_rejected"][0]


def test_two_trainings_never_share_a_folder(tiny: dict[str, Value], tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "out", data=tiny)

    def second(epoch: int, metrics: object) -> None:
        with pytest.raises(TrainerError, match="another nnU-Net training runs in this folder"):
            train(spec, quiet())

    assert train(spec, Control(stop=StopFlag(), report=second)).epochs_run == 1


def test_a_finished_fold_predicts_the_test_cases(folds: dict[int, Any]) -> None:
    spec, _ = folds[0]
    result = entry.test(spec, quiet())
    assert result.samples == 1 and 0 <= result.metrics["Dice"] <= 1
    assert list((spec.out / "test").glob("*.nii.gz"))


def test_the_loss_that_is_no_number_is_a_bad_configuration(tiny: dict[str, Value], tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "out", data=tiny, hyper={"initial_lr": 1e30, "num_epochs": 2})
    with pytest.raises(BadConfig, match="training diverged"):
        train(spec, quiet())


def test_a_batch_larger_than_memory_is_said_with_what_helps(tiny: dict[str, Value], tmp_path: Path) -> None:
    # 10 PB of labels: refused by the allocator at once, whatever the machine has.
    spec = make_spec(tmp_path / "out", data=tiny, hyper={"batch_size": 10**12})
    with pytest.raises(OutOfMemory, match="batch_size 1000000000000"):
        train(spec, quiet())


def test_memory_that_ends_inside_a_step_leaves_neither_gradients_nor_a_half_scaled_step(
    tiny: dict[str, Value], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nnU-Net's own step, with the scaler that it has on a GPU; who catches the error may step again."""
    import torch

    from trainers.pytorch.device import build_scaler

    spec = make_spec(tmp_path / "ours", data=tiny)
    os.environ |= {"nnUNet_preprocessed": str(tiny["preprocessed"]), "nnUNet_n_proc_DA": "0"}
    os.environ |= {"nnUNet_results": str(tmp_path / "results"), "NNUNET_HP_REF": str(spec.reference)}
    trainer = build(spec, Config.from_values(spec.values), locate(spec.task, tiny, {}))
    trainer.on_train_start()
    trainer.grad_scaler = build_scaler(trainer.device, torch.float16)

    def fail(*args: Any, **named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with monkeypatch.context() as patch:
        patch.setattr(trainer.optimizer, "step", fail)
        with pytest.raises(torch.OutOfMemoryError):
            trainer.train_step(next(trainer.dataloader_train))
    assert all(p.grad is None for p in trainer.network.parameters())
    before = [p.detach().clone() for p in trainer.network.parameters()]
    trainer.train_step(next(trainer.dataloader_train))
    after = [p.detach() for p in trainer.network.parameters()]
    assert 0 < max(float((new - old).abs().max()) for new, old in zip(after, before, strict=True)) < 1.0


def test_what_is_measured_and_how_is_checked_first(tiny: dict[str, Value], tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="nnunet measures Dice, IoU"):
        train(make_spec(tmp_path / "out", data=tiny, objective="val_accuracy"), quiet())
    with pytest.raises(BadConfig, match="direction must be maximize"):
        train(make_spec(tmp_path / "out", data=tiny, direction="minimize"), quiet())
    assert values()["num_epochs"] == 1


def test_a_signal_ends_a_real_task_with_a_checkpoint(tiny: dict[str, Value], tmp_path: Path) -> None:
    """The task as a scheduler starts it, warned by USR2 as SLURM does before the time limit."""
    spec = make_spec(tmp_path / "out", data=tiny, hyper={"num_epochs": 1000})
    plan = {
        name: getattr(spec, name)
        for name in ("study", "task", "trainer", "round", "candidate", "row", "fold", "folds", "seed", "attempt")
    }
    plan |= {name: getattr(spec, name) for name in ("epochs", "data", "cpus", "gpus", "objective", "direction")}
    plan |= {"out": str(spec.out), "reference": str(spec.reference), "trainer_file": None}
    plan |= {"reference_sha256": file_sha256(spec.reference)}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, "-m", "trainers.job", "run", "--plan", str(path)]
        task = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 300
            while not (spec.out / "progress.json").exists():
                assert task.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.2)
            task.send_signal(signal.SIGUSR2)
            assert task.wait(timeout=120) == 128 + signal.SIGUSR2, (tmp_path / "log").read_text()[-2000:]
        finally:
            task.kill()
            task.wait()
    assert json.loads((spec.out / "exit.json").read_text())["outcome"] == "interrupted"
    assert (spec.out / "checkpoint_last.pt").exists() and not (spec.out / "result.json").exists()


def test_augmentation_workers_end_although_they_inherit_the_handler(tiny: dict[str, Value], tmp_path: Path) -> None:
    import multiprocessing

    before = {number: signal.getsignal(number) for number in StopFlag.SIGNALS}
    try:
        StopFlag().install()
        spec = make_spec(tmp_path / "out", data=tiny)
        os.environ |= {"nnUNet_preprocessed": str(tiny["preprocessed"]), "nnUNet_results": str(tmp_path / "r")}
        os.environ |= {"NNUNET_HP_REF": str(spec.reference), "nnUNet_n_proc_DA": "2"}
        trainer = build(spec, Config.from_values(spec.values), locate(spec.task, tiny, {}))
        trainer.initialize()
        trainer.on_train_start()
        assert len(multiprocessing.active_children()) == 3  # two for training, one for validation
        trainer.close_loaders()
        assert multiprocessing.active_children() == []
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
