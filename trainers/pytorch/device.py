"""Device, arithmetic and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from trainers.contract import OutOfMemory, TrainerError

T = TypeVar("T")


def prepare_device(gpus: int, *, cpus: int, trainer: str) -> torch.device:
    """The trial's device; the process's threads and cuDNN's choice of algorithms are set for it."""
    device = choose_device(gpus, trainer=trainer)
    torch.set_num_threads(max(1, cpus))
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # batches all have one shape; the fastest kernel pays off
    return device


def choose_device(gpus: int, *, trainer: str) -> torch.device:
    """The CPU for 0 GPUs, else the one GPU given. Raises TrainerError: no silent training on a CPU instead."""
    if gpus == 0:
        return torch.device("cpu")
    if gpus > 1:
        raise TrainerError(f"gpus = {gpus}: {trainer} trains on one GPU; set gpus to 1, and run trials side by side")
    if not torch.cuda.is_available():
        raise TrainerError(
            f"gpus = {gpus}, but PyTorch {torch.__version__} sees no GPU here; check the driver and "
            "CUDA_VISIBLE_DEVICES, or set gpus to 0"
        )
    return torch.device("cuda", 0)


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type in which convolutions and products run. float16 only where a GPU lacks bfloat16.

    precision: auto (mixed precision on a GPU, float32 on a CPU), float32 or bfloat16.
    """
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


def built_within_memory(build: Callable[[], T], *, remedy: str) -> T:
    """What `build` makes. Raises OutOfMemory, which names the remedy, where even that does not fit."""
    try:
        return build()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"the model does not fit into memory, whatever the batch; {remedy} ({error})") from error


def halving_batch(evaluate: Callable[[int], T], batch: int) -> T:
    """`evaluate(batch)`, with half the batch again and again while memory runs out."""
    while True:
        try:
            return evaluate(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or batch == 1:
                raise
        batch = max(1, batch // 2)
