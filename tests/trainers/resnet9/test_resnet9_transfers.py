"""How images reach a GPU: what is copied, through which memory. The GPU is the device "meta"."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainers.transfers import META, Transfers
from trainers.resnet9 import loop
from trainers.resnet9.augment import colour_jitter, cut_out, shift_and_mirror
from trainers.resnet9.config import Config
from trainers.resnet9.data import Part
from trainers.resnet9.metrics import Tally
from trainers.resnet9.model import build_model

pytestmark = pytest.mark.train


def test_a_step_copies_nothing_where_the_images_are_on_the_gpu() -> None:
    part = Part(
        images=torch.zeros(20, 8, 8, 3, dtype=torch.uint8, device=META),
        labels=torch.zeros(20, dtype=torch.int64, device=META),
    )
    model = build_model(Config(width=0.0625), image_channels=3, classes=3, seed=0, device=META)
    tally = Tally(3, META)
    chosen = torch.arange(8, device=META)
    with Transfers() as found:
        images, labels = loop.batch_of(part, chosen, META)
        shift_and_mirror(images, 0.125, True, None)
        x = cut_out(colour_jitter(images.float(), 0.2, None), 0.25, None)
        logits = model(x.permute(0, 3, 1, 2))
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
        tally.add(logits.detach(), labels)
    assert found == []


def test_images_in_the_hosts_memory_leave_it_through_page_locked_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch indexed out of a page-locked tensor lies in ordinary memory, and its copy waits."""
    real, locked = torch.empty, []

    def empty(*args: Any, pin_memory: bool = False, **named: Any) -> torch.Tensor:
        made = real(*args, **named)
        if pin_memory:
            locked.append(made.data_ptr())
        return made

    copied: list[tuple[int, bool, torch.Tensor]] = []

    def to(self: torch.Tensor, device: torch.device, *, non_blocking: bool = False) -> torch.Tensor:
        copied.append((self.data_ptr(), non_blocking, self.clone()))
        return real(self.shape, dtype=self.dtype, device=device)

    images = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8)
    part = Part(images=images, labels=torch.arange(20))
    chosen = torch.tensor([3, 1, 19])
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        patch.setattr(torch.Tensor, "to", to)
        there, labels = loop.batch_of(part, chosen, META)
    assert there.shape == (3, 8, 8, 3) and labels.shape == (3,)
    assert [(pointer, waits_not) for pointer, waits_not, _ in copied] == [(pointer, True) for pointer in locked]
    assert torch.equal(copied[0][2], images[chosen]) and copied[1][2].tolist() == [3, 1, 19]
    on_cpu = loop.batch_of(part, chosen, torch.device("cpu"))
    assert torch.equal(on_cpu[0], images[chosen]) and on_cpu[1].tolist() == [3, 1, 19]


@pytest.mark.parametrize(("free", "moved"), [(10**9, True), (100, False)])
def test_images_that_do_not_fit_the_gpu_stay_where_they_are(
    free: int, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(images=torch.zeros(20, 8, 8, 3, dtype=torch.uint8), labels=torch.arange(20))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**10))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self.clone())
    placed = loop.place(part, torch.device("cuda"))
    assert (placed is not part) is moved
