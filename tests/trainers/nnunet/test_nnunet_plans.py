"""The plans hold what was asked for, and nothing that was not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from trainers.contract import BadConfig
from trainers.nnunet.config import Config
from trainers.nnunet.plans import configured, total_stride


def plans(**changed: Any) -> dict[str, Any]:
    """The parts of nnU-Net's plans for Hippocampus that are read; numbers as its planner gives them."""
    network: dict[str, Any] = {
        "n_stages": 4,
        "features_per_stage": [32, 64, 128, 256],
        "kernel_sizes": [[3, 3, 3]] * 4,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2, 2],
        "dropout_op": None,
        "dropout_op_kwargs": None,
    }
    volume = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "batch_size": 9,
        "batch_dice": False,
        "patch_size": [40, 56, 40],
        "architecture": {"arch_kwargs": network | changed},
    }
    found = {"plans_name": "nnUNetPlans", "dataset_name": "Dataset004_H", "configurations": {"3d_fullres": volume}}
    return copy.deepcopy(found)


def made(**values: Any) -> dict[str, Any]:
    found: dict[str, Any] = configured(plans(), Config(**values))["configurations"]["3d_fullres"]
    return found


def network(**values: Any) -> dict[str, Any]:
    found: dict[str, Any] = made(**values)["architecture"]["arch_kwargs"]
    return found


def test_the_defaults_change_nothing() -> None:
    before = plans()
    assert configured(before, Config()) == before == plans()


def test_batch_size_and_batch_dice() -> None:
    assert made(batch_size=4)["batch_size"] == 4
    assert made(batch_dice="on")["batch_dice"] is True and made(batch_dice="off")["batch_dice"] is False


def test_patch_sizes_are_scaled_to_what_the_strides_divide() -> None:
    assert total_stride(network()["strides"]) == [8, 8, 8]
    assert made(patch_scale=0.5)["patch_size"] == [16, 32, 16]
    assert made(patch_scale=1.5)["patch_size"] == [64, 80, 64]
    assert made(patch_size="48x56x40")["patch_size"] == [48, 56, 40]


def test_a_patch_that_does_not_fit_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadConfig, match="total stride 8x8x8; nearest: 40x56x40"):
        made(patch_size="42x56x40")
    with pytest.raises(BadConfig, match="3d_fullres has 3 axes, as 40x56x40"):
        made(patch_size="40x56")
    with pytest.raises(BadConfig, match="one voxel at the lowest"):
        made(patch_size="8x8x8")
    with pytest.raises(BadConfig, match=r"patch_scale = 0\.01 gives the patch 8x8x8"):
        made(patch_scale=0.01)


def test_width_and_depth() -> None:
    assert network(width=0.5)["features_per_stage"] == [16, 32, 64, 128]
    assert network(width=0.03)["features_per_stage"] == [4, 4, 4, 8]
    assert network(max_features=100)["features_per_stage"] == [32, 64, 100, 100]
    shallow = network(max_stages=3)
    assert shallow["n_stages"] == 3 and shallow["features_per_stage"] == [32, 64, 128]
    assert len(shallow["strides"]) == len(shallow["kernel_sizes"]) == len(shallow["n_conv_per_stage"]) == 3
    assert shallow["n_conv_per_stage_decoder"] == [2, 2]


def test_residual_encoders_are_cut_as_well() -> None:
    found = plans(n_blocks_per_stage=[1, 3, 4, 6])
    cut = configured(found, Config(max_stages=3))["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert cut["n_blocks_per_stage"] == [1, 3, 4]


def test_dropout_has_the_networks_dimensions() -> None:
    assert network(dropout=0.2)["dropout_op"] == "torch.nn.modules.dropout.Dropout3d"
    assert network(dropout=0.2)["dropout_op_kwargs"] == {"p": 0.2, "inplace": True}


def test_two_stages_cannot_be_supervised_deeply() -> None:
    with pytest.raises(BadConfig, match="deep_supervision with 2 stages"):
        made(max_stages=2)
    assert made(max_stages=2, deep_supervision=False)["architecture"]["arch_kwargs"]["n_stages"] == 2


def test_a_configuration_that_was_not_planned_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadConfig, match=r"configuration = '2d': these plans .* have 3d_fullres"):
        configured(plans(), Config(configuration="2d"))
