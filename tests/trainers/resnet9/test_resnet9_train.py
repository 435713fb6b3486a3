"""Whole trainings: files, determinism, stopping and going on, memory, divergence, the test set."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from resnet9_cases import (
    StopAfter,
    epochs,
    last_weights,
    make_spec,
    quiet,
    run,
    same_weights,
    write_npz,
)

from trainers.contract import BadConfig, Control, Interrupted, OutOfMemory, StopFlag, TrainerError
from trainers.resnet9 import loop
from trainers.resnet9.config import Config
from trainers.resnet9.data import DataProblem, load_data
from trainers.resnet9.model import ResNet9
from trainers.resnet9.train import test as run_test
from trainers.resnet9.train import train

pytestmark = pytest.mark.train
PLOTS = ("loss.png", "val_loss.png", "acc.png", "f1.png", "combined.png")


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def test_a_training_leaves_its_files_and_reports_each_epoch(npz: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    control = Control(stop=StopFlag(), report=lambda epoch, metrics: seen.append((epoch, dict(metrics))))
    result = train(make_spec(tmp_path, data={"path": str(npz)}, epochs=3), control)
    header = (tmp_path / "metrics_epoch.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,train_acc,train_f1,val_loss,val_acc,val_f1,lr,seconds"
    rows = epochs(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and [epoch for epoch, _ in seen] == [1, 2, 3]
    best = max(rows, key=lambda row: float(row["val_acc"]))
    assert result.metrics["val_accuracy"] == float(best["val_acc"]) == max(m["val_accuracy"] for _, m in seen)
    assert result.metrics["val_loss"] == float(best["val_loss"])
    assert result.notes["best_epoch"] == int(best["epoch"])
    for name in PLOTS:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and "plots_failed" not in result.notes
    found = summary(tmp_path)
    assert found["objective"] == "val_accuracy"
    assert found["metrics"]["val_loss"] == {"value": result.metrics["val_loss"], "direction": "minimize"}
    assert found["parameters"] == dict(make_spec(tmp_path, data={}).values)
    assert found["samples"] == {"train": 108, "val": 12, "test": 30} and result.samples == 12
    assert found["val_and_test_same_dataset"] is False and found["oom_adjusted"] is False
    assert set(found["per_class"]) == {"0", "1", "2"} and found["device"] == "cpu"
    assert not list(tmp_path.glob(".*"))  # no temporary file is left


@pytest.mark.usefixtures("no_plots")
def test_digits_are_learned(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, task="digits", data={}, hyper={"width": 0.125, "train_batch_size": 32}, epochs=4)
    assert run(spec).metrics["val_accuracy"] > 0.8
    assert run_test(spec, quiet()).metrics["test_accuracy"] > 0.8


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    "hyper", [{"augmentation": "strong", "dropout": 0.3}, {"optimizer": "adam", "learning_rate": 0.003}]
)
def test_the_seed_decides_everything_on_a_cpu(hyper: dict[str, Any], npz: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        torch.manual_seed(hash(name) % 1000)  # what the process did before must not matter
        run(make_spec(tmp_path / name, data={"path": str(npz)}, hyper=hyper, seed=seed))
    assert epochs(tmp_path / "one") == epochs(tmp_path / "again") != epochs(tmp_path / "other")
    assert same_weights(tmp_path / "one", tmp_path / "again")
    assert not same_weights(tmp_path / "one", tmp_path / "other")


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("same_folder", [True, False])
# An epoch looks 3 times while training and once while validating: before the first step, inside and at the border of
# epoch 2, while it validates, and in the last epoch.
@pytest.mark.parametrize("looks", [0, 4, 5, 7, 13])
def test_stopped_and_continued_equals_never_stopped(looks: int, same_folder: bool, npz: Path, tmp_path: Path) -> None:
    hyper = {"augmentation": "strong", "dropout": 0.3}
    whole = make_spec(tmp_path / "whole", data={"path": str(npz)}, hyper=hyper, epochs=4)
    expected = run(whole)
    first = make_spec(tmp_path / "first", data={"path": str(npz)}, hyper=hyper, epochs=4)
    with pytest.raises(Interrupted, match=f"in epoch {looks // 4 + 1} of 4"):
        train(first, quiet(StopAfter(looks)))
    assert len(epochs(first.out)) == looks // 4
    second = first
    if not same_folder:
        (tmp_path / "second").mkdir()
        second = dataclasses.replace(first, out=tmp_path / "second", previous=first.out, attempt=2)
    result = run(second)
    assert result.metrics == expected.metrics and result.per_class == expected.per_class
    assert epochs(second.out) == epochs(whole.out) and same_weights(second.out, whole.out)
    assert str(first.out) in str(result.notes["resumed_from"])
    tested = [run_test(spec, quiet()).metrics for spec in (whole, second)]
    assert tested[0] == tested[1]


@pytest.mark.usefixtures("no_plots")
def test_a_finished_training_is_not_repeated(npz: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, data={"path": str(npz)})
    first = run(spec)
    (tmp_path / "checkpoint_best.pt").unlink()  # killed before the result was written; the last one knows the best
    assert train(spec, quiet(StopAfter(0))).metrics == first.metrics
    assert run_test(spec, quiet()).samples == 30


@pytest.mark.usefixtures("no_plots")
def test_a_damaged_checkpoint_falls_back_to_the_previous_attempts(npz: Path, tmp_path: Path) -> None:
    first = make_spec(tmp_path / "first", data={"path": str(npz)})
    expected = run(first)
    out = tmp_path / "second"
    out.mkdir()
    whole = (first.out / "checkpoint_last.pt").read_bytes()
    (out / "checkpoint_last.pt").write_bytes(whole[: len(whole) // 2])
    result = run(dataclasses.replace(first, out=out, previous=first.out))
    assert str(first.out) in str(result.notes["resumed_from"])
    (rejected,) = result.notes["checkpoint_rejected"]  # type: ignore[misc]
    assert str(out) in rejected and "damaged or not a checkpoint" in rejected
    assert result.metrics == expected.metrics


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("oldest_is_whole", [True, False])
def test_damaged_checkpoints_are_passed_over_and_named(
    oldest_is_whole: bool, npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three attempts were killed: the newest left half a file, the one before an empty one."""
    first = make_spec(tmp_path / "first", data={"path": str(npz)})
    expected = run(first)
    saved = first.out / "checkpoint_last.pt"
    half = saved.read_bytes()[: saved.stat().st_size // 2]
    folders = [tmp_path / "third", tmp_path / "second"]
    for folder, content in zip(folders, (half, b""), strict=True):
        folder.mkdir()
        (folder / "checkpoint_last.pt").write_bytes(content)
    if not oldest_is_whole:
        saved.write_bytes(half)
    out = tmp_path / "fourth"
    out.mkdir()
    spec = dataclasses.replace(first, out=out, attempt=4, previous=folders[0], earlier=(folders[1], first.out))
    capfd.readouterr()
    result = run(spec)
    said = capfd.readouterr().err
    assert result.metrics == expected.metrics and epochs(out) == epochs(first.out)
    bad = folders if oldest_is_whole else [*folders, first.out]
    rejected: Any = result.notes["checkpoint_rejected"]
    assert [str(folder) in reason for folder, reason in zip(bad, rejected, strict=True)] == [True] * len(bad)
    assert all(f"checkpoint not used: {reason}" in said for reason in rejected)
    if oldest_is_whole:
        assert f"going on from {saved}" in said and str(saved) in str(result.notes["resumed_from"])
    else:
        assert "training starts anew" in said and "resumed_from" not in result.notes


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"seed": 5}, "different: seed"),
        ({"hyper": {"weight_decay": 0.01}}, "different: values"),
        ({"epochs": 1}, "different: epochs"),
    ],
)
def test_another_trainings_checkpoint_is_not_continued(
    changed: dict[str, Any], reason: str, npz: Path, tmp_path: Path
) -> None:
    run(make_spec(tmp_path / "first", data={"path": str(npz)}))
    fresh = make_spec(tmp_path / "fresh", data={"path": str(npz)}, **changed)
    run(fresh)
    out = tmp_path / "second"
    out.mkdir()
    result = run(dataclasses.replace(fresh, out=out, previous=tmp_path / "first"))
    assert "resumed_from" not in result.notes
    assert reason in str(result.notes["checkpoint_rejected"])
    assert epochs(out) == epochs(fresh.out)


@pytest.mark.usefixtures("no_plots")
def test_a_finished_training_goes_on_for_more_epochs(npz: Path, tmp_path: Path) -> None:
    run(make_spec(tmp_path / "first", data={"path": str(npz)}, epochs=2))
    longer = make_spec(tmp_path / "second", data={"path": str(npz)}, epochs=3)
    result = run(dataclasses.replace(longer, previous=tmp_path / "first"))
    assert "(epoch 2" in str(result.notes["resumed_from"]) and result.epochs_run == 3
    assert epochs(longer.out)[:2] == epochs(tmp_path / "first")


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


@pytest.mark.usefixtures("no_plots")
def test_a_checkpoint_executes_nothing(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "identity": Evil()}, tmp_path / "checkpoint_last.pt")
    result = run(make_spec(tmp_path, data={"path": str(npz)}))
    assert "damaged or not a checkpoint" in str(result.notes["checkpoint_rejected"])
    assert not (tmp_path / "executed").exists()


def limit_memory(monkeypatch: pytest.MonkeyPatch, images: int, error: Exception, *, after: int = 0) -> None:
    """Fail as if training batches above `images` did not fit, once `after` batches were trained on.

    The failure comes after the batch norms saw the batch, as it does on a GPU: restarting must undo that.
    """
    forward, calls = ResNet9.forward, 0

    def limited(self: ResNet9, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        logits = forward(self, x)
        calls += self.training
        if self.training and len(x) > images and calls > after:
            raise error
        return logits

    monkeypatch.setattr(ResNet9, "forward", limited)


OOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("error", [OOM, RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_out_of_memory_halves_the_batch(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: dict[str, Any] = {"path": str(write_npz(tmp_path / "d.npz", images=300))}
    small = run(make_spec(tmp_path / "small", data=data, hyper={"train_batch_size": 64}))
    assert not small.effective
    limit_memory(monkeypatch, 64, error)
    result = run(make_spec(tmp_path / "large", data=data, hyper={"train_batch_size": 256}))
    assert result.effective == {"train_batch_size": 64} and result.notes["oom_adjusted"] is True
    assert epochs(tmp_path / "large") == epochs(tmp_path / "small")  # nothing of the failed tries remains
    found = summary(tmp_path / "large")
    assert found["oom_adjusted"] is True and found["effective"] == {"train_batch_size": 64}


@pytest.mark.usefixtures("no_plots")
def test_out_of_memory_in_a_later_step_repeats_that_epoch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: dict[str, Any] = {"path": str(write_npz(tmp_path / "d.npz", images=300))}
    spec = make_spec(tmp_path / "whole", data=data, hyper={"train_batch_size": 128}, epochs=3)
    run(spec)
    limit_memory(monkeypatch, 64, OOM, after=3)  # two batches an epoch: the second of epoch 2 fails
    out = tmp_path / "limited"
    result = run(make_spec(out, data=data, hyper={"train_batch_size": 128}, epochs=3))
    assert result.effective == {"train_batch_size": 64} and result.epochs_run == 3
    assert epochs(out)[0] == epochs(spec.out)[0] and epochs(out)[1] != epochs(spec.out)[1]


def test_a_snapshot_can_be_restored_twice(tmp_path: Path, npz: Path) -> None:
    """Training on from a restored snapshot must not reach into it: memory may run out again in the same epoch."""
    spec = make_spec(tmp_path, data={"path": str(npz)})
    data = load_data(spec)
    training = loop.Training(
        config=Config.from_values(spec.values),
        data=data,
        device=torch.device("cpu"),
        seed=0,
        epochs=3,
        objective="val_loss",
        direction="minimize",
        identity={},
    )
    training._train_epoch(StopFlag())
    snapshot = training.snapshot()
    weights = []
    for _ in range(2):
        training.restore(snapshot)
        training.position = 0
        training._train_epoch(StopFlag())
        weights.append([p.detach().clone() for p in training.model.parameters()])
    assert all(torch.equal(first, second) for first, second in zip(*weights, strict=True))


@pytest.mark.usefixtures("no_plots")
def test_out_of_memory_at_the_smallest_batch(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 16, OOM)
    with pytest.raises(OutOfMemory, match="batches of 32 images, and below 32"):
        run(make_spec(tmp_path, data={"path": str(npz)}, hyper={"train_batch_size": 64}))


@pytest.mark.usefixtures("no_plots")
def test_other_runtime_errors_stay_what_they_are(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 0, RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"))
    with pytest.raises(RuntimeError, match="BAD_PARAM"):
        run(make_spec(tmp_path, data={"path": str(npz)}))


@pytest.mark.usefixtures("no_plots")
def test_a_batch_beyond_the_data_is_the_data(tmp_path: Path, npz: Path) -> None:
    result = run(make_spec(tmp_path, data={"path": str(npz)}, hyper={"train_batch_size": 512}))
    assert result.effective == {"train_batch_size": 108} and result.notes["oom_adjusted"] is False


@pytest.mark.usefixtures("no_plots")
def test_divergence_is_a_bad_configuration(tmp_path: Path, npz: Path) -> None:
    hyper = {"learning_rate": 1e30, "warmup": 0.0, "schedule": "none"}
    with pytest.raises(BadConfig, match=r"diverged at epoch 1: the (training|validation) loss is (nan|inf)"):
        run(make_spec(tmp_path, data={"path": str(npz)}, hyper=hyper))
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.usefixtures("no_plots")
def test_float16_scales_its_loss_and_learns(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arithmetic of GPUs without bfloat16, run on a CPU."""
    monkeypatch.setattr(loop, "choose_dtype", lambda precision, device: torch.float16)
    # The gradients' norm is about 1, but 65536 times that while scaled: 100 clips only what was not scaled back.
    for name, clip in (("clipped", 100.0), ("not", 0.0)):
        result = run(make_spec(tmp_path / name, data={"path": str(npz)}, hyper={"grad_clip": clip}, epochs=4))
        assert result.notes["precision"] == "float16"
    losses = [float(row["train_loss"]) for row in epochs(tmp_path / "clipped")]
    assert losses[-1] < losses[0]
    assert torch.load(tmp_path / "not" / "checkpoint_last.pt", weights_only=True)["scaler"]["scale"] > 1000
    assert epochs(tmp_path / "clipped") == epochs(tmp_path / "not")


@pytest.mark.usefixtures("no_plots")
def test_the_objective_chooses_the_best_epoch(tmp_path: Path, npz: Path) -> None:
    spec = make_spec(tmp_path, data={"path": str(npz)}, objective="val_loss", direction="minimize", epochs=4)
    assert run(spec).metrics["val_loss"] == min(float(row["val_loss"]) for row in epochs(tmp_path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"objective": "accuracy"}, "resnet9 measures val_accuracy, val_loss, val_f1"),
        ({"direction": "minimize"}, "direction must be maximize"),
        ({"epochs": 0}, "epochs = 0: must be at least 1"),
    ],
)
def test_refused_settings(changed: dict[str, Any], message: str, tmp_path: Path, npz: Path) -> None:
    with pytest.raises(BadConfig, match=message):
        run(make_spec(tmp_path, data={"path": str(npz)}, **changed))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_plots")
def test_the_test_set_is_measured_with_the_best_weights(tmp_path: Path, npz: Path) -> None:
    spec = make_spec(tmp_path, data={"path": str(npz)}, epochs=3)
    result = run(spec)
    tested = run_test(spec, quiet())
    assert set(tested.metrics) == {"test_accuracy", "test_loss", "test_f1"} and tested.samples == 30
    assert tested.directions == {"test_accuracy": "maximize", "test_loss": "minimize", "test_f1": "maximize"}
    assert tested.notes["val_and_test_same_dataset"] is False
    assert tested.notes["best_epoch"] == result.notes["best_epoch"]


@pytest.mark.usefixtures("no_plots")
def test_without_a_test_set_validation_stands_in_and_it_is_said(tmp_path: Path) -> None:
    data: dict[str, Any] = {"path": str(write_npz(tmp_path / "d.npz", test=False))}
    spec = make_spec(tmp_path / "out", data=data)
    result = run(spec)
    tested = run_test(spec, quiet())
    assert summary(spec.out)["val_and_test_same_dataset"] is True
    assert tested.notes["val_and_test_same_dataset"] is True
    assert tested.metrics["test_accuracy"] == result.metrics["val_accuracy"]


@pytest.mark.usefixtures("no_plots")
def test_testing_needs_a_good_checkpoint_and_the_same_data(tmp_path: Path, npz: Path) -> None:
    spec = make_spec(tmp_path / "out", data={"path": str(npz)})
    with pytest.raises(TrainerError, match="there is no such checkpoint"):
        run_test(spec, quiet())
    run(spec)
    with pytest.raises(DataProblem, match="differs from what"):
        run_test(dataclasses.replace(spec, data={"path": str(npz), "split_seed": 1}), quiet())
    (spec.out / "checkpoint_best.pt").write_bytes(b"PK")
    with pytest.raises(TrainerError, match="damaged"):
        run_test(spec, quiet())


def test_a_failed_plot_does_not_cost_the_training(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, history: object, best_epoch: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("trainers.resnet9.plots.draw", fail)
    result = run(make_spec(tmp_path, data={"path": str(npz)}))
    assert result.notes["plots_failed"] == "OSError: No space left on device"


@pytest.mark.usefixtures("no_plots")
def test_a_crash_while_saving_keeps_the_checkpoint_before(
    tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(tmp_path, data={"path": str(npz)}, epochs=3)
    with pytest.raises(Interrupted):
        train(spec, quiet(StopAfter(4)))
    before = last_weights(tmp_path)
    full = OSError(errno.ENOSPC, "disk full")
    monkeypatch.setattr("trainers.files.os.fsync", lambda descriptor: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match="disk full"):
        run(spec)
    after = last_weights(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)
