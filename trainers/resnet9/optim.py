"""Optimizer, learning-rate schedule and arithmetic."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainers.contract import TrainerError
from trainers.resnet9.config import Config


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Nesterov SGD or AdamW. One-dimensional parameters (batch norm) form a group without weight decay:

    decaying the scale of a normalised layer only changes its effective learning rate.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if config.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.adam_beta1, config.adam_beta2))
    nesterov = config.nesterov and config.momentum > 0  # torch refuses look-ahead without momentum
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=nesterov)


def lr_factor(progress: float, *, schedule: str, warmup: float) -> float:
    """What multiplies the learning rate when the part `progress` (0..1) of the training is done.

    A pure function of progress, so it needs no state in a checkpoint and survives a changed batch size.
    onecycle is Page's piecewise-linear form; momentum stays constant (Smith's 1cycle varies it as well).
    """
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * rest))
    return 1 - rest if schedule == "onecycle" else 1.0


def choose_device(gpus: int) -> torch.device:
    """The CPU for 0 GPUs, else the one GPU given. Raises TrainerError: no silent training on a CPU instead."""
    if gpus == 0:
        return torch.device("cpu")
    if gpus > 1:
        raise TrainerError(f"gpus = {gpus}: resnet9 trains on one GPU; set gpus to 1, and run trials side by side")
    if not torch.cuda.is_available():
        raise TrainerError(
            f"gpus = {gpus}, but PyTorch {torch.__version__} sees no GPU here; check the driver and "
            "CUDA_VISIBLE_DEVICES, or set gpus to 0"
        )
    return torch.device("cuda", 0)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type in which convolutions run; see Config.precision. float16 only where a GPU lacks bfloat16."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Context in which the model runs; does nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def build_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Loss scaling, active only for float16, whose gradients underflow without it."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: CUDA's own type, or what cuDNN, cuBLAS and the CPU allocator say in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    said = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")
    return isinstance(error, RuntimeError) and any(words in text for words in said)
