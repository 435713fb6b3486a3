"""Device, arithmetic and memory of the PyTorch trainers."""

from __future__ import annotations

import pytest
import torch

from trainers.contract import BadConfig, OutOfMemory, TrainerError
from trainers.pytorch.device import (
    build_scaler,
    built_within_memory,
    choose_device,
    choose_dtype,
    halving_batch,
    is_out_of_memory,
)

pytestmark = pytest.mark.train
CPU = torch.device("cpu")


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert choose_dtype("auto", CPU) is torch.float32
    assert choose_dtype("bfloat16", CPU) is torch.bfloat16
    assert choose_dtype("float32", gpu) is torch.float32
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, yes=supported: yes)
        assert choose_dtype("auto", gpu) is dtype


@pytest.mark.parametrize(
    ("name", "capability", "refused"),
    [
        ("Tesla V100-SXM2-32GB", (7, 0), True),
        ("NVIDIA GeForce RTX 2080 Ti", (7, 5), True),
        ("NVIDIA A100", (8, 0), False),
    ],
)
def test_bfloat16_is_refused_where_a_gpu_only_emulates_it(
    name: str, capability: tuple[int, int], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    gpu = torch.device("cuda", 0)
    if refused:
        with pytest.raises(
            BadConfig, match=rf"precision = 'bfloat16': {name} .*{capability[0]}\.{capability[1]}.*auto"
        ):
            choose_dtype("bfloat16", gpu)
    else:
        assert choose_dtype("bfloat16", gpu) is torch.bfloat16
    assert choose_dtype("bfloat16", CPU) is torch.bfloat16


def test_only_float16_scales_its_loss() -> None:
    assert build_scaler(CPU, torch.float16).is_enabled()
    assert not build_scaler(CPU, torch.bfloat16).is_enabled()
    assert not build_scaler(CPU, torch.float32).is_enabled()


def test_a_missing_gpu_is_said_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(0, trainer="informer") == CPU
    with pytest.raises(TrainerError, match="sees no GPU"):
        choose_device(1, trainer="informer")
    with pytest.raises(TrainerError, match="set gpus to 1"):
        choose_device(2, trainer="informer")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


OOM = torch.OutOfMemoryError("CUDA out of memory")


def test_an_evaluation_halves_its_batch_until_it_fits() -> None:
    tried: list[int] = []

    def evaluate(batch: int, fits: int = 5) -> int:
        tried.append(batch)
        if batch > fits:
            raise OOM
        return batch

    assert halving_batch(evaluate, 32) == 4 and tried == [32, 16, 8, 4]
    with pytest.raises(torch.OutOfMemoryError):
        halving_batch(lambda batch: evaluate(batch, fits=0), 2)
    with pytest.raises(ValueError):
        halving_batch(lambda batch: [][batch] if batch < 0 else int("x"), 2)


def test_a_model_that_does_not_fit_is_no_crash() -> None:
    def build() -> int:
        raise OOM

    with pytest.raises(OutOfMemory, match="whatever the batch; use a smaller width"):
        built_within_memory(build, remedy="use a smaller width")
    assert built_within_memory(lambda: 3, remedy="") == 3
