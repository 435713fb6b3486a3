"""The hyperparameters of the ResNet-9 trainer. Standard library only.

Names, defaults and documentation equal those of doc/hyperparameter_reference/resnet9.json (a test compares them).
The reference bounds what is searched; here only what has no meaning at all is refused, so that a person may widen
a range without touching code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainers.contract import BadConfig, Value
from trainers.settings import Meaningful, meaningless, typed_values

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "none", "onecycle"),
    "augmentation": ("none", "basic", "strong"),
    "precision": ("auto", "float32", "bfloat16"),
}
"""The allowed texts of the categorical parameters."""

NUMBERS: Meaningful = {
    "learning_rate": (lambda v: v > 0, "above 0"),
    "train_batch_size": (lambda v: v >= 1, "at least 1"),
    "weight_decay": (lambda v: v >= 0, "0 or more"),
    "label_smoothing": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "momentum": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "adam_beta1": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "adam_beta2": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "warmup": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "grad_clip": (lambda v: v >= 0, "0 or more"),
    "translate": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "cutout": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "jitter": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "width": (lambda v: v > 0, "above 0"),
    "dropout": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "logit_scale": (lambda v: v > 0, "above 0"),
    "patience": (lambda v: v >= 0, "0 or more"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Values of one training. The text under a field is also its description in the reference."""

    optimizer: str = "sgd"
    """sgd: stochastic gradient descent with (Nesterov) momentum. adam: AdamW, whose weight decay is decoupled."""
    learning_rate: float = 0.05
    """Peak learning rate; the schedule multiplies it. It is not rescaled when the batch size changes."""
    train_batch_size: int = 128
    """Images per optimizer step. An epoch leaves out the last incomplete batch of its shuffled images."""
    weight_decay: float = 5e-4
    """Weight decay of convolution and linear weights (not of batch-norm scale and shift).
    With sgd it is added to the gradient (L2); with adam each step shrinks weights by learning rate x weight decay."""
    label_smoothing: float = 0.1
    """Part of the target spread evenly over all classes. Reported losses are always without smoothing."""
    momentum: float = 0.9
    """Momentum of sgd."""
    nesterov: bool = True
    """Whether sgd looks ahead along its momentum (Nesterov)."""
    adam_beta1: float = 0.9
    """Decay of adam's mean of gradients, per step."""
    adam_beta2: float = 0.999
    """Decay of adam's mean of squared gradients, per step."""
    schedule: str = "cosine"
    """Learning rate after warm-up. cosine: half a cosine down to 0. none: constant. onecycle: a line down to 0."""
    warmup: float = 0.2
    """Part of the training during which the learning rate rises linearly from 0 to its peak."""
    grad_clip: float = 0.0
    """Largest norm of the whole gradient; longer ones are shortened to it. 0: off."""
    augmentation: str = "basic"
    """basic: random shift, and mirroring where the data set allows it. strong: also cutout and colour jitter."""
    translate: float = 0.125
    """Largest random shift as part of the image's side; uncovered pixels are filled by reflection."""
    cutout: float = 0.25
    """Side of the square blanked in each image, as part of the image's shorter side."""
    jitter: float = 0.2
    """Brightness, contrast and (with three channels) saturation are each multiplied by 1 +- at most this."""
    width: float = 1.0
    """Multiplies all channel counts (64, 128, 256, 512), rounded to multiples of 8. 1 has 6.57 million weights."""
    dropout: float = 0.0
    """Part of the pooled features dropped before the linear layer."""
    logit_scale: float = 0.125
    """Constant that multiplies the linear layer's output; smaller is softer."""
    patience: int = 0
    """Stop after this many epochs without a better validation objective. 0: never stop early."""
    precision: str = "auto"
    """Arithmetic of convolutions. auto: bfloat16, else float16 with loss scaling, on a GPU, and float32 on a CPU."""

    def __post_init__(self) -> None:
        problems = meaningless(self, choices=CHOICES, numbers=NUMBERS)
        if problems:
            raise BadConfig("resnet9: " + "; ".join(problems))

    @classmethod
    def from_values(cls, values: Mapping[str, Value]) -> Config:
        """The configuration for a reference's values. Raises BadConfig: unknown, missing, ill-typed, meaningless."""
        return cls(**typed_values(cls, values, trainer="resnet9"))
