"""How much memory images may take. Standard library only."""

from __future__ import annotations

import os

from trainers.contract import DataProblem

MEMORY_SHARE = 0.5
"""Images may fill this part of the host's memory; splitting holds a second copy for a moment."""


def host_memory() -> int:
    """Bytes of memory this process may count on: the machine's, or what SLURM granted the job."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    granted = os.environ.get("SLURM_MEM_PER_NODE", "")
    return min(physical, int(granted) * 2**20) if granted.isdigit() and int(granted) else physical


def refuse_oversize(needed: int, where: str) -> None:
    """Raise DataProblem where `needed` bytes of images exceed MEMORY_SHARE of the host's memory."""
    allowed = int(MEMORY_SHARE * host_memory())
    if needed > allowed:
        raise DataProblem(
            f"{where}: {needed / 2**30:.1f} GiB of images, but only {allowed / 2**30:.1f} GiB may be held in memory; "
            "use limit, a smaller size, or a job with more memory"
        )
