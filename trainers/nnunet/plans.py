"""Putting a configuration into nnU-Net's plans, where prediction finds it again without any reference. Pure.

Plans are nnU-Net's dict: plans["configurations"][name] holds batch_size, patch_size, batch_dice and
architecture.arch_kwargs (features_per_stage, strides, ...). What nnU-Net planned is only changed where asked.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from trainers.contract import BadConfig
from trainers.nnunet.config import PLANNED, Config

IDENTIFIERS = {"default": "nnUNetPlans", "resenc_m": "nnUNetResEncUNetMPlans", "resenc_l": "nnUNetResEncUNetLPlans"}
"""Value of `plans` -> name of nnU-Net's plans file without .json."""

_PER_STAGE = ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage")
_FEATURE_STEP = 4


def configured(plans: dict[str, Any], config: Config) -> dict[str, Any]:
    """A copy of the plans with the configuration in it; equal to the plans where every value is a default.

    Raises BadConfig: the plans lack the configuration, or the patch does not fit the network.
    """
    plans = copy.deepcopy(plans)
    found = plans["configurations"].get(config.configuration)
    if found is None or "architecture" not in found:
        there = ", ".join(name for name, entry in plans["configurations"].items() if "architecture" in entry)
        raise BadConfig(
            f"nnunet: configuration = {config.configuration!r}: these plans ({plans.get('plans_name')}) of "
            f"{plans.get('dataset_name')} have {there or 'none'}; 3d_fullres needs volumes"
        )
    network = found["architecture"]["arch_kwargs"]
    _shape_network(network, config)
    found["patch_size"] = _patch(found["patch_size"], network["strides"], config)
    if config.batch_size != PLANNED:
        found["batch_size"] = config.batch_size
    if config.batch_dice != PLANNED:
        found["batch_dice"] = config.batch_dice == "on"
    if config.deep_supervision and network["n_stages"] < 3:
        raise BadConfig(
            f"nnunet: deep_supervision with {network['n_stages']} stages: its lowest output has weight 0, so nothing "
            "would be trained; set deep_supervision to false or max_stages to 3 or more"
        )
    return plans


def _shape_network(network: dict[str, Any], config: Config) -> None:
    stages = min(network["n_stages"], config.max_stages)
    network["n_stages"] = stages
    for name in _PER_STAGE:
        if isinstance(network.get(name), list):
            network[name] = network[name][:stages]
    if isinstance(network.get("n_conv_per_stage_decoder"), list):
        network["n_conv_per_stage_decoder"] = network["n_conv_per_stage_decoder"][: stages - 1]
    network["features_per_stage"] = [
        min(_scaled(features, config.width), config.max_features) for features in network["features_per_stage"]
    ]
    if config.dropout > 0:
        dimensions = len(network["strides"][0])
        network["dropout_op"] = f"torch.nn.modules.dropout.Dropout{dimensions}d"
        network["dropout_op_kwargs"] = {"p": config.dropout, "inplace": True}


def _scaled(features: int, width: float) -> int:
    if width == 1:
        return features
    return max(_FEATURE_STEP, round(features * width / _FEATURE_STEP) * _FEATURE_STEP)


def total_stride(strides: Sequence[Sequence[int]]) -> list[int]:
    """By how much the network shrinks each axis: the patch must be divisible by it."""
    return [math.prod(axis) for axis in zip(*strides, strict=True)]


def _patch(planned: Sequence[int], strides: Sequence[Sequence[int]], config: Config) -> list[int]:
    stride = total_stride(strides)
    asked = config.patch
    if asked is None:
        if config.patch_scale == 1 and all(side % least == 0 for side, least in zip(planned, stride, strict=True)):
            return list(planned)
        sides = zip(planned, stride, strict=True)
        patch = [max(1, round(side * config.patch_scale / least)) * least for side, least in sides]
        _refuse_tiny(patch, stride, f"patch_scale = {config.patch_scale}")
        return patch
    text = f"patch_size = {config.patch_size!r}"
    if len(asked) != len(planned):
        raise BadConfig(f"nnunet: {text}: {config.configuration} has {len(planned)} axes, as {_as_text(planned)}")
    if any(side % least for side, least in zip(asked, stride, strict=True)):
        near = [max(1, round(side / least)) * least for side, least in zip(asked, stride, strict=True)]
        raise BadConfig(
            f"nnunet: {text}: each side must be divisible by the network's total stride {_as_text(stride)}; "
            f"nearest: {_as_text(near)}"
        )
    _refuse_tiny(asked, stride, text)
    return list(asked)


def _refuse_tiny(patch: Sequence[int], stride: Sequence[int], text: str) -> None:
    # Instance normalisation has no variance over one voxel; torch refuses it in the first step.
    if math.prod(side // least for side, least in zip(patch, stride, strict=True)) < 2:
        raise BadConfig(
            f"nnunet: {text} gives the patch {_as_text(patch)}, one voxel at the lowest of the resolutions; "
            "take a larger patch or fewer max_stages"
        )


def _as_text(sides: Sequence[int]) -> str:
    return "x".join(str(side) for side in sides)
