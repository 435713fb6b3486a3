"""The hyperparameters of the Informer trainer. Standard library only.

Names, defaults and documentation equal those of doc/hyperparameter_reference/informer.json (a test compares them).
The defaults are those of the paper's 96 -> 24 setting. The reference bounds what is searched; here only what has no
meaning at all is refused, so that a person may widen a range without touching code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainers.contract import BadConfig, Value
from trainers.settings import Meaningful, meaningless, typed_values

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("Adam", "AdamW", "SGD"),
    "scheduler": ("halving", "CosineAnnealingLR", "StepLR", "ExponentialLR", "LinearLR", "none"),
    "criterion": ("MSE", "L1", "SmoothL1"),
    "attention": ("prob", "full", "flash"),
    "embedding": ("timeF", "fixed", "learned", "none"),
    "normalization": ("none", "RevIN", "last"),
    "activation": ("gelu", "relu"),
    "precision": ("auto", "float32", "bfloat16"),
}
"""The allowed texts of the categorical parameters."""

NUMBERS: Meaningful = {
    "lr": (lambda v: v > 0, "above 0"),
    "weight_decay": (lambda v: v >= 0, "0 or more"),
    "dropout": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "batch_size": (lambda v: v >= 1, "at least 1"),
    "d_model": (lambda v: v >= 2 and v % 2 == 0, "even and at least 2"),
    "n_heads": (lambda v: v >= 1, "at least 1"),
    "e_layers": (lambda v: v >= 1, "at least 1"),
    "d_layers": (lambda v: v >= 1, "at least 1"),
    "d_ff": (lambda v: v >= 1, "at least 1"),
    "factor": (lambda v: v >= 1, "at least 1"),
    "seq_len": (lambda v: v >= 2, "at least 2"),
    "label_len": (lambda v: v >= 0, "0 or more"),
    "beta": (lambda v: v > 0, "above 0"),
    "momentum": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "step_epochs": (lambda v: v >= 1, "at least 1"),
    "gamma": (lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "warmup": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "grad_clip": (lambda v: v >= 0, "0 or more"),
    "patience": (lambda v: v >= 0, "0 or more"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Values of one training. The text under a field is also its description in the reference."""

    lr: float = 1e-4
    """Peak learning rate; the scheduler multiplies it."""
    weight_decay: float = 0.0
    """Weight decay of weight matrices and kernels. Adam and SGD add it to the gradient (L2); with AdamW each step
    shrinks weights by lr x weight_decay."""
    dropout: float = 0.05
    """Part dropped of embeddings, attention weights and layer outputs."""
    batch_size: int = 32
    """Windows per optimizer step."""
    d_model: int = 512
    """Width of the embeddings and of every layer; a multiple of n_heads."""
    n_heads: int = 8
    """Attention heads, each d_model / n_heads wide."""
    e_layers: int = 2
    """Encoder layers."""
    d_layers: int = 1
    """Decoder layers."""
    d_ff: int = 2048
    """Width of the feed-forward part of every layer."""
    factor: int = 5
    """Sampling factor c of ProbSparse attention: c ln L keys measure the queries, and the best c ln L stay active."""
    optimizer: str = "Adam"
    """Update rule: Adam, AdamW (decoupled weight decay) or SGD with Nesterov momentum."""
    scheduler: str = "halving"
    """Learning rate over the epochs. halving: half after each (the paper's). CosineAnnealingLR: half a cosine to 0.
    StepLR: times gamma every step_epochs. ExponentialLR: times gamma each epoch. LinearLR: a line down to 0.
    none: constant."""
    criterion: str = "MSE"
    """Training loss: squared error, absolute error, or squared up to beta and absolute beyond."""
    attention: str = "prob"
    """Self-attention. prob: ProbSparse. full: every query. flash: full attention in one fused kernel that saves
    memory."""
    distil: bool = True
    """Whether the encoder halves its sequence between layers (convolution, then max pooling)."""
    embedding: str = "timeF"
    """Calendar of each time step. timeF: a linear layer of scaled fields. fixed: sinusoid tables of whole fields.
    learned: trained tables. none: no calendar."""
    normalization: str = "none"
    """What is taken off each window and put back on its forecast. RevIN: mean and deviation, with a learned scale
    and shift. last: the last value."""
    seq_len: int = 96
    """Time steps that the encoder sees."""
    label_len: int = 48
    """Known time steps with which the decoder starts; at most seq_len."""
    activation: str = "gelu"
    """Non-linearity of the feed-forward parts."""
    beta: float = 1.0
    """Error, in standard deviations of the data, up to which SmoothL1 is squared."""
    momentum: float = 0.9
    """Momentum of SGD."""
    step_epochs: int = 2
    """Epochs between the steps of StepLR."""
    gamma: float = 0.5
    """Factor of StepLR and ExponentialLR."""
    warmup: float = 0.0
    """Part of the training during which the learning rate rises linearly from 0 to its peak."""
    grad_clip: float = 0.0
    """Largest norm of the whole gradient; longer ones are shortened to it. 0: off."""
    patience: int = 3
    """Stop after this many epochs without a better validation objective. 0: never stop early."""
    precision: str = "auto"
    """Arithmetic of products and convolutions. auto: bfloat16, else float16 with loss scaling, on a GPU, and float32
    on a CPU."""

    def __post_init__(self) -> None:
        problems = meaningless(self, choices=CHOICES, numbers=NUMBERS)
        if not problems:
            if self.d_model % self.n_heads:
                problems.append(
                    f"d_model = {self.d_model}: must be a multiple of n_heads = {self.n_heads}, "
                    "because every head gets the same width"
                )
            if self.label_len > self.seq_len:
                problems.append(
                    f"label_len = {self.label_len}: must be at most seq_len = {self.seq_len}, "
                    "because the decoder starts with the end of what the encoder sees"
                )
        if problems:
            raise BadConfig("informer: " + "; ".join(problems))

    @classmethod
    def from_values(cls, values: Mapping[str, Value]) -> Config:
        """The configuration for a reference's values. Raises BadConfig: unknown, missing, ill-typed, meaningless."""
        return cls(**typed_values(cls, values, trainer="informer"))
