"""Every parameter changes the object that trains, not just a file. Built for each value, looked at, never trained."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nnunet_cases import make_spec, write_reference

from trainers.contract import BadConfig, TrainerError, Value
from trainers.nnunet.config import Config
from trainers.nnunet.where import locate

pytestmark = pytest.mark.train

SEEN: dict[str, tuple[Value, Callable[[Any], Any], Any]] = {}
"""Parameter -> a value, what to look at in the trainer, and what must be seen there."""


def _transform(name: str) -> Callable[[Any], Any]:
    def find(trainer: Any) -> Any:
        return next(t for t in _transforms(trainer) if type(getattr(t, "transform", t)).__name__ == name)

    return find


def _transforms(trainer: Any) -> list[Any]:
    rotation, dummy, _, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    scales = trainer._get_deep_supervision_scales()
    patch = trainer.configuration_manager.patch_size
    found: list[Any] = trainer.get_training_transforms(patch, rotation, scales, axes, dummy).transforms
    return found


def _gamma(inverted: bool) -> Callable[[Any], Any]:
    def probability(trainer: Any) -> Any:
        gammas = [t for t in _transforms(trainer) if type(getattr(t, "transform", None)).__name__ == "GammaTransform"]
        return next(t.apply_probability for t in gammas if bool(t.transform.p_invert_image) is inverted)

    return probability


def _loss(trainer: Any) -> Any:
    return getattr(trainer.loss, "loss", trainer.loss)


def _rate(epoch: int) -> Callable[[Any], Any]:
    def rate(trainer: Any) -> Any:
        trainer.lr_scheduler.step(epoch)
        return trainer.optimizer.param_groups[0]["lr"]

    return rate


def _group(name: str) -> Callable[[Any], Any]:
    return lambda trainer: trainer.optimizer.param_groups[0][name]


def _features(trainer: Any) -> Any:
    return list(trainer.network.encoder.output_channels)


def _dropouts(trainer: Any) -> Any:
    return {m.p for m in trainer.network.modules() if type(m).__name__ == "Dropout3d"}


SEEN |= {
    "configuration": ("2d", lambda t: (t.configuration_name, len(t.configuration_manager.patch_size)), ("2d", 2)),
    "optimizer": ("AdamW", lambda t: type(t.optimizer).__name__, "AdamW"),
    "initial_lr": (0.02, _rate(0), 0.02),
    "weight_decay": (1e-3, _group("weight_decay"), 1e-3),
    "momentum": (0.9, _group("momentum"), 0.9),
    "lr_schedule": ("cosine", _rate(5), pytest.approx(0.01 * 0.5)),
    "poly_exponent": (2.0, _rate(5), pytest.approx(0.01 * 0.25)),
    "warmup": (0.3, _rate(1), pytest.approx(0.01 * 2 / 4)),
    "num_epochs": (20, _rate(10), pytest.approx(0.01 * 0.5**0.9)),
    "num_iterations_per_epoch": (3, lambda t: t.num_iterations_per_epoch, 3),
    "num_val_iterations_per_epoch": (4, lambda t: t.num_val_iterations_per_epoch, 4),
    "batch_size": (3, lambda t: t.batch_size, 3),
    "patch_size": ("16x16x24", lambda t: list(t.configuration_manager.patch_size), [16, 16, 24]),
    "patch_scale": (0.7, lambda t: list(t.configuration_manager.patch_size), [16, 16, 16]),
    "oversample_foreground_percent": (0.5, lambda t: t.oversample_foreground_percent, 0.5),
    "weight_ce": (0.5, lambda t: _loss(t).weight_ce, 0.5),
    "weight_dice": (2.0, lambda t: _loss(t).weight_dice, 2.0),
    "boosted_class": (2, lambda t: _loss(t).ce.weight.tolist(), [1.0, 1.0, 2.0]),
    "batch_dice": ("on", lambda t: _loss(t).dc.batch_dice, True),
    "dropout": (0.2, _dropouts, {0.2}),
    "width": (0.25, _features, [8, 16, 32]),
    "max_features": (12, _features, [4, 8, 12]),
    "max_stages": (2, _features, [4, 8]),
    "deep_supervision": (False, lambda t: (type(t.loss).__name__, t.network.decoder.deep_supervision), None),
    "p_rotation": (0.9, lambda t: _transform("SpatialTransform")(t).p_rotation, 0.9),
    "p_scaling": (0.8, lambda t: _transform("SpatialTransform")(t).p_scaling, 0.8),
    "p_elastic": (0.3, lambda t: _transform("SpatialTransform")(t).p_elastic_deform, 0.3),
    "p_gaussian_noise": (0.5, lambda t: _transform("GaussianNoiseTransform")(t).apply_probability, 0.5),
    "p_gaussian_blur": (0.5, lambda t: _transform("GaussianBlurTransform")(t).apply_probability, 0.5),
    "p_brightness": (0.5, lambda t: _transform("MultiplicativeBrightnessTransform")(t).apply_probability, 0.5),
    "p_contrast": (0.5, lambda t: _transform("ContrastTransform")(t).apply_probability, 0.5),
    "p_low_resolution": (0.5, lambda t: _transform("SimulateLowResolutionTransform")(t).apply_probability, 0.5),
    "p_gamma_inverted": (0.6, _gamma(True), 0.6),
    "p_gamma": (0.7, _gamma(False), 0.7),
    "mirroring": ("0,2", lambda t: _transform("MirrorTransform")(t).allowed_axes, (0, 2)),
}
BASE: dict[str, Value] = {"num_epochs": 10}
NEEDS: dict[str, dict[str, Value]] = {
    "configuration": {"patch_size": "16x16"},
    "patch_scale": {"patch_size": "planned"},
    "max_stages": {"deep_supervision": False},
}
ELSEWHERE = {"plans", "class_weight_power", "class_boost", "compile"}
"""Looked at in tests of their own, below."""


def built(tiny: dict[str, Value], out: Path, **hyper: Value) -> Any:
    """The initialized trainer object."""
    from trainers.nnunet.train import build

    spec = make_spec(out, data=tiny, hyper=BASE | hyper)
    os.environ |= {"nnUNet_preprocessed": str(tiny["preprocessed"]), "nnUNet_results": str(out / "results")}
    os.environ |= {"NNUNET_HP_REF": str(spec.reference), "nnUNet_n_proc_DA": "0"}
    trainer = build(spec, Config.from_values(spec.values), locate(spec.task, tiny, {}))
    trainer.initialize()
    return trainer


def test_no_parameter_is_forgotten() -> None:
    assert SEEN.keys() | ELSEWHERE == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("name", SEEN)
def test_a_value_reaches_what_trains(name: str, both: dict[str, Value], tmp_path: Path) -> None:
    value, look, expected = SEEN[name]
    needs = NEEDS.get(name, {})
    without = built(both, tmp_path / "without", **(needs if name != "configuration" else {}))
    changed = built(both, tmp_path / "with", **needs, **{name: value})
    if name == "deep_supervision":
        assert look(without) == ("DeepSupervisionWrapper", True) and look(changed) == ("DC_and_CE_loss", False)
        return
    assert look(changed) == expected
    before = look(without) if name != "boosted_class" else _loss(without).ce.weight
    assert before != expected


@pytest.fixture(scope="module")
def both(tiny: dict[str, Value]) -> dict[str, Value]:
    """The data preprocessed for slices, and planned for a residual encoder, too."""
    from nnunet_cases import values

    from trainers.contract import StopFlag
    from trainers.nnunet.prepare import prepare_data, prepared

    wanted = [values(configuration="2d", patch_size="planned"), values(plans="resenc_m")]
    assert not prepared("Task601_Tiny", tiny, wanted)
    assert prepare_data("Task601_Tiny", tiny, wanted, folds=5, cpus=1, stop=StopFlag())
    assert prepared("Task601_Tiny", tiny, wanted)
    return tiny


def test_plans_choose_the_network(both: dict[str, Value], tmp_path: Path) -> None:
    found = built(both, tmp_path, plans="resenc_m")
    assert type(found.network).__name__ == "ResidualEncoderUNet"
    assert found.plans_manager.plans_name == "nnUNetResEncUNetMPlans"
    assert list(found.network.encoder.output_channels) == [4, 8, 16]


def test_small_classes_weigh_more_and_by_the_training_cases_alone(tiny: dict[str, Value], tmp_path: Path) -> None:
    from trainers.nnunet.voxels import count_voxels

    found = built(tiny, tmp_path, class_weight_power=0.5)
    weights = _loss(found).ce.weight.tolist()
    train, _ = found.do_split()
    folder = Path(str(tiny["preprocessed"])) / "Dataset601_Tiny"
    reader = found.plans_manager.image_reader_writer_class()
    voxels = count_voxels(folder, train, reader, ".nii.gz")
    shares = [voxels[label] / sum(voxels.values()) for label in range(3)]
    raw = [share**-0.5 for share in shares]
    assert weights == pytest.approx([w * 3 / math.fsum(raw) for w in raw], rel=1e-6)
    assert weights[0] < min(weights[1:])
    assert _loss(built(tiny, tmp_path / "equal")).ce.weight is None


def test_the_boost_multiplies_one_class(tiny: dict[str, Value], tmp_path: Path) -> None:
    found = built(tiny, tmp_path, boosted_class=1, class_boost=3.0)
    assert _loss(found).ce.weight.tolist() == [1.0, 3.0, 1.0]
    with pytest.raises(BadConfig, match="boosted_class = 9: the labels are 1, 2"):
        built(tiny, tmp_path / "none", boosted_class=9)


def test_compilation_is_switched_off_where_asked(tiny: dict[str, Value], tmp_path: Path) -> None:
    import torch

    for wanted in (True, False):
        trainer = built(tiny, tmp_path / str(wanted), compile=wanted)
        trainer.device = torch.device("cuda")  # nnU-Net never compiles on a CPU; nothing runs on this one
        assert trainer._do_i_compile() is wanted


def test_the_class_needs_its_reference(tiny: dict[str, Value], tmp_path: Path) -> None:
    from trainers.nnunet.trainer import read_config

    with pytest.raises(TrainerError, match="NNUNET_HP_REF is not set"):
        read_config({})
    path = write_reference(tmp_path / "r.json", dataclasses.asdict(Config(width=0.5)))
    assert read_config({"NNUNET_HP_REF": str(path)}).width == 0.5


def test_nnunets_own_commands_find_the_class() -> None:
    from nnunetv2.inference import predict_from_raw_data
    from nnunetv2.run import run_training

    from trainers.nnunet.predict import class_found
    from trainers.nnunet.trainer import nnUNetTrainerRoundtable

    before = run_training.recursive_find_trainer_class_by_name
    with class_found():
        for module in (run_training, predict_from_raw_data):
            assert module.recursive_find_trainer_class_by_name("nnUNetTrainerRoundtable") is nnUNetTrainerRoundtable
    assert run_training.recursive_find_trainer_class_by_name is before
