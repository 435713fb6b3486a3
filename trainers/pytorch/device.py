"""Device, arithmetic and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from trainers.contract import BadConfig, OutOfMemory, TrainerError

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

    precision: auto (mixed precision on a GPU, float32 on a CPU), float32 or bfloat16. Raises BadConfig for bfloat16
    on a GPU that only emulates it, slower than float32; torch's is_bf16_supported() says True of such a GPU.
    """
    if precision == "bfloat16" and device.type == "cuda" and not _has_bfloat16(device):
        major, minor = torch.cuda.get_device_capability(device)
        raise BadConfig(
            f"precision = 'bfloat16': {device_name(device)} (compute capability {major}.{minor}) has no bfloat16 "
            "arithmetic, which begins with 8.0 (Ampere); set precision to auto (float16 with loss scaling there) or "
            "float32, or ask for a newer GPU (gres or constraint in the profile)"
        )
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _has_bfloat16(device: torch.device) -> bool:
    """Whether this GPU computes in bfloat16 itself: NVIDIA's from compute capability 8.0 on, AMD's under ROCm."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def seed_leaves_open(device: torch.device) -> str:
    """What two trainings with one seed may still differ in on this device, for the summary."""
    if device.type != "cuda":
        return "the order of sums, where the number of threads, the processor or PyTorch's version differ"
    return (
        "the order of sums inside GPU kernels and cuDNN's choice among its algorithms, which each process measures "
        "anew: the last digits of a step, and what grows from them. The seed fixes the first weights, the order of "
        "cases, augmentation and dropout"
    )


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Context in which the model runs; does nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def precision_name(dtype: torch.dtype) -> str:
    """float32, bfloat16 or float16."""
    return str(dtype).removeprefix("torch.")


def build_scaler(
    device: torch.device, dtype: torch.dtype, state: Mapping[str, Any] | None = None
) -> torch.amp.GradScaler:
    """Loss scaling, active only for float16, whose gradients underflow without it; ready for a step.

    state: another scaler's state_dict(), whose scale it takes over; that of an inactive one is empty and leaves the
    first scale, 65,536.
    """
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    if state:
        scaler.load_state_dict(dict(state))
    return scaler


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: CUDA's own type, or what cuDNN, cuBLAS and the CPU allocator say in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    said = (
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "cublas_status_alloc_failed",
        "cudnn_status_alloc_failed",
    )
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
