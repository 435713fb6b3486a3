"""The hyperparameters of the nnU-Net trainer. Standard library only.

Names, defaults and documentation equal those of doc/hyperparameter_reference/nnunet.json (a test compares them). With
all defaults a training is exactly that of stock nnU-Net (a test compares their losses). What nnU-Net plans by the
data (batch size, patch size, whether Dice is taken over the batch) defaults to "planned".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trainers.contract import BadConfig, Value
from trainers.settings import Meaningful, meaningless, typed_values

PLANNED = "planned"

CHOICES: Mapping[str, tuple[str, ...]] = {
    "configuration": ("2d", "3d_fullres"),
    "plans": ("default", "resenc_m", "resenc_l"),
    "optimizer": ("SGD", "AdamW"),
    "lr_schedule": ("poly", "cosine"),
    "batch_dice": (PLANNED, "on", "off"),
    "mirroring": ("all", "none", "0", "1", "2", "0,1", "0,2", "1,2"),
}
"""The allowed texts of the categorical parameters."""

_FROM_0_TO_1: tuple[Callable[[float], bool], str] = (lambda v: 0 <= v <= 1, "from 0 to 1")
_FROM_0: tuple[Callable[[float], bool], str] = (lambda v: v >= 0, "0 or more")
_FROM_1: tuple[Callable[[float], bool], str] = (lambda v: v >= 1, "at least 1")
_ABOVE_0: tuple[Callable[[float], bool], str] = (lambda v: v > 0, "above 0")
_BELOW_1: tuple[Callable[[float], bool], str] = (lambda v: 0 <= v < 1, "from 0 to below 1")

NUMBERS: Meaningful = {
    "initial_lr": _ABOVE_0,
    "weight_decay": _FROM_0,
    "momentum": _BELOW_1,
    "poly_exponent": _ABOVE_0,
    "warmup": _BELOW_1,
    "num_epochs": _FROM_1,
    "num_iterations_per_epoch": _FROM_1,
    "num_val_iterations_per_epoch": _FROM_1,
    "patch_scale": _ABOVE_0,
    "oversample_foreground_percent": _FROM_0_TO_1,
    "weight_ce": _FROM_0,
    "weight_dice": _FROM_0,
    "class_weight_power": _FROM_0,
    "boosted_class": _FROM_0,
    "class_boost": _ABOVE_0,
    "dropout": _BELOW_1,
    "width": _ABOVE_0,
    "max_features": _FROM_1,
    "max_stages": (lambda v: v >= 2, "at least 2"),
    "p_rotation": _FROM_0_TO_1,
    "p_scaling": _FROM_0_TO_1,
    "p_elastic": _FROM_0_TO_1,
    "p_gaussian_noise": _FROM_0_TO_1,
    "p_gaussian_blur": _FROM_0_TO_1,
    "p_brightness": _FROM_0_TO_1,
    "p_contrast": _FROM_0_TO_1,
    "p_low_resolution": _FROM_0_TO_1,
    "p_gamma_inverted": _FROM_0_TO_1,
    "p_gamma": _FROM_0_TO_1,
}


def _batch_size(value: Value) -> str:
    if value == PLANNED or (not isinstance(value, str) and value >= 1):
        return ""
    return f"must be {PLANNED} or a whole number from 1"


def _patch_size(value: Value) -> str:
    if value == PLANNED or re.fullmatch(r"[1-9]\d{0,3}(x[1-9]\d{0,3}){1,2}", str(value)):
        return ""
    return f"must be {PLANNED}, or two or three sides as 40x56x40"


FURTHER: Mapping[str, Callable[[Value], str]] = {"batch_size": _batch_size, "patch_size": _patch_size}
"""Parameter that is neither one of fixed texts nor a number -> what is wrong with a value; empty where it stands."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Values of one training. The text under a field is also its description in the reference."""

    configuration: str = "3d_fullres"
    """nnU-Net configuration: 2d trains on slices, 3d_fullres on volumes."""
    plans: str = "default"
    """Planner. default: nnUNetPlans, a plain U-Net. resenc_m, resenc_l: residual encoders for about 9 and 24 GB."""
    optimizer: str = "SGD"
    """SGD: with Nesterov momentum, as stock nnU-Net. AdamW: decoupled weight decay; wants a rate near 3e-4."""
    initial_lr: float = 0.01
    """Peak learning rate; the schedule multiplies it at the start of each epoch."""
    weight_decay: float = 3e-5
    """Weight decay. With SGD it is added to the gradient; with AdamW each step shrinks weights by rate x decay."""
    momentum: float = 0.99
    """Nesterov momentum of SGD."""
    lr_schedule: str = "poly"
    """Learning rate after warm-up. poly: (1 - part of training done) ** poly_exponent. cosine: half a cosine to 0."""
    poly_exponent: float = 0.9
    """Exponent of the poly schedule: above 1 the rate falls early, below 1 late."""
    warmup: float = 0.0
    """Part of the epochs in which the learning rate rises linearly to its peak; the schedule covers the others."""
    num_epochs: int = 1000
    """Epochs of training (of num_iterations_per_epoch steps each). --epochs of the study overrides it."""
    num_iterations_per_epoch: int = 250
    """Optimizer steps in an epoch."""
    num_val_iterations_per_epoch: int = 50
    """Batches of the quick validation that follows each epoch; it chooses checkpoint_best, not the final score."""
    batch_size: int | str = PLANNED
    """Patches in a step. planned: what nnU-Net's planner fitted to its memory target."""
    patch_size: str = PLANNED
    """Patch as nnU-Net orders the axes, e.g. 40x56x40, each side divisible by the network's total stride.
    planned: the planner's, times patch_scale."""
    patch_scale: float = 1.0
    """Multiplies each side of the planned patch; rounded to what the network's strides divide."""
    oversample_foreground_percent: float = 0.33
    """Part of each batch whose patches are made to hold foreground; nnU-Net rounds it to whole patches."""
    weight_ce: float = 1.0
    """Weight of cross-entropy in the loss."""
    weight_dice: float = 1.0
    """Weight of soft Dice in the loss."""
    class_weight_power: float = 0.0
    """Cross-entropy weighs classes by (1 / share of voxels) ** this, mean 1: small ones count more. 0: equally."""
    boosted_class: int = 0
    """Label of one weak class whose cross-entropy weight is multiplied by class_boost. 0: none."""
    class_boost: float = 2.0
    """Factor of the boosted class's cross-entropy weight."""
    batch_dice: str = PLANNED
    """Soft Dice over the whole batch (on) or for each patch (off). planned: the planner's choice."""
    dropout: float = 0.0
    """Part of the feature maps dropped after each convolution of encoder and decoder in training. 0: none."""
    width: float = 1.0
    """Multiplies the feature maps of every stage, rounded to multiples of 4."""
    max_features: int = 512
    """Most feature maps a stage may have."""
    max_stages: int = 12
    """Most resolution stages; fewer make a shallower network with a smaller total stride."""
    deep_supervision: bool = True
    """Whether the loss also looks at the decoder's lower resolutions."""
    p_rotation: float = 0.2
    """Probability that a training patch is rotated."""
    p_scaling: float = 0.2
    """Probability that a training patch is scaled by 0.7 to 1.4."""
    p_elastic: float = 0.0
    """Probability that a training patch is deformed elastically. Costs much CPU time."""
    p_gaussian_noise: float = 0.1
    """Probability of Gaussian noise."""
    p_gaussian_blur: float = 0.2
    """Probability of Gaussian blur."""
    p_brightness: float = 0.15
    """Probability that brightness is multiplied by 0.75 to 1.25."""
    p_contrast: float = 0.15
    """Probability that contrast is multiplied by 0.75 to 1.25."""
    p_low_resolution: float = 0.25
    """Probability that a low resolution is simulated."""
    p_gamma_inverted: float = 0.1
    """Probability of a gamma change of the inverted image."""
    p_gamma: float = 0.3
    """Probability of a gamma change of the image."""
    mirroring: str = "all"
    """Axes (of the patch) along which training mirrors at random and prediction averages. none where sides matter."""
    compile: bool = True
    """Whether torch.compile is used; it never is on a CPU. Costs minutes at the start, saves time in each step."""

    def __post_init__(self) -> None:
        problems = meaningless(self, choices=CHOICES, numbers=NUMBERS)
        for name, refusal in FURTHER.items():
            if problem := refusal(getattr(self, name)):
                problems.append(f"{name} = {getattr(self, name)!r}: {problem}")
        if self.weight_ce == 0 and self.weight_dice == 0:
            problems.append("weight_ce and weight_dice are both 0: there is nothing to minimize")
        if problems:
            raise BadConfig("nnunet: " + "; ".join(problems))

    @classmethod
    def from_values(cls, values: Mapping[str, Value], *, epochs: int | None = None) -> Config:
        """The configuration for a reference's values. epochs: the study's budget, instead of num_epochs.

        Raises BadConfig: unknown, missing, ill-typed or meaningless values, all in one message.
        """
        checked = typed_values(cls, values, trainer="nnunet")
        if epochs is not None:
            checked["num_epochs"] = epochs
        return cls(**checked)

    @property
    def patch(self) -> tuple[int, ...] | None:
        """The sides asked for, None where they are planned."""
        return None if self.patch_size == PLANNED else tuple(int(side) for side in self.patch_size.split("x"))

    def mirror_axes(self, dimensions: int) -> tuple[int, ...]:
        """Axes along which patches of so many dimensions are mirrored. Raises BadConfig for one that they lack."""
        if self.mirroring in ("all", "none"):
            return tuple(range(dimensions)) if self.mirroring == "all" else ()
        axes = tuple(int(axis) for axis in self.mirroring.split(","))
        if axes[-1] >= dimensions:
            allowed = ", ".join(("all", "none", *_subsets(range(dimensions))))
            raise BadConfig(
                f"nnunet: mirroring = {self.mirroring!r}: a patch of {self.configuration} has {dimensions} axes; "
                f"allowed: {allowed}"
            )
        return axes


def _subsets(axes: Sequence[int]) -> list[str]:
    some = itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(1, len(axes)))
    return [",".join(map(str, subset)) for subset in some]
