"""How many processes and threads nnU-Net may use: no more than the job has CPUs and memory for.

nnU-Net's own default is 8 spawned workers. Each imports torch and nnU-Net anew: measured, 12.6 s of CPU time and
550 MB. Where a job has few CPUs they are therefore threads of this process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from trainers.contract import TrainerError

POOLS, AUGMENTING = "nnUNet_def_n_proc", "nnUNet_n_proc_DA"
"""nnU-Net's variables: workers of its pools, workers that augment."""
THREADS_UP_TO = 2
"""CPUs up to which threads take the place of worker processes."""
AUGMENTATION_LIMIT = 12
"""nnU-Net's own default number of augmentation workers for one GPU."""
LEAST_MEMORY = 2 * 2**30
"""Bytes: torch and nnU-Net take 1 GiB before the first case is read."""
WORKER_MEMORY = 2**30
"""Bytes that one worker process needs with a case of moderate size."""

_WITH_POOLS = (
    "nnunetv2.preprocessing.preprocessors.default_preprocessor",
    "nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor",
    "nnunetv2.experiment_planning.verify_dataset_integrity",
    "nnunetv2.evaluation.evaluate_predictions",
    "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
)
"""nnU-Net's modules that spawn worker pools through their own name `multiprocessing`."""
_FORKS = "nnunetv2.utilities.utils"
"""The one that forks its pool, to compare lists of file names."""


def bound(cpus: int, *, gpu: bool) -> int:
    """Set nnU-Net's process counts in the environment, before it is imported, and return that of its pools.

    Raises TrainerError where the job has too little memory for any.
    """
    cpus = usable(cpus)
    memory = host_memory()
    if memory < LEAST_MEMORY:
        raise TrainerError(
            f"this job has {memory / 2**30:.1f} GiB of memory; nnU-Net needs at least {LEAST_MEMORY / 2**30:.0f} GiB "
            "before it reads a case: raise mem in the profile"
        )
    pools = max(1, min(cpus, 1 + (memory - LEAST_MEMORY) // WORKER_MEMORY))
    augmenting = min(AUGMENTATION_LIMIT, cpus - 1, pools) if gpu and cpus > THREADS_UP_TO else 0
    os.environ[POOLS] = str(pools)
    os.environ[AUGMENTING] = str(augmenting)
    if "nnunetv2.configuration" in sys.modules:  # read once at import; a process may run several trials
        sys.modules["nnunetv2.configuration"].default_num_processes = pools  # type: ignore[attr-defined]
    return pools


def usable(cpus: int) -> int:
    """CPUs that were asked for, but no more than this process may run on: a laptop has fewer than a cluster's job."""
    return max(1, min(cpus, len(os.sched_getaffinity(0))))


def torch_threads(cpus: int, *, gpu: bool) -> int:
    """Threads for PyTorch in this process: one beside a GPU, as in nnU-Net's own commands, since the CPUs belong to
    the augmentation's workers; else one a CPU."""
    return 1 if gpu else usable(cpus)


def host_memory() -> int:
    """Bytes that this process may use: the machine's, what SLURM granted, or its control group's limit."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    granted = os.environ.get("SLURM_MEM_PER_NODE", "")
    if granted.isdigit() and int(granted) > 0:
        found = min(found, int(granted) * 2**20)
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found = min(found, int(Path(name).read_text()))
    return found


class _Threads:
    """Stands where nnU-Net's modules look for `multiprocessing`."""

    TimeoutError = TimeoutError

    @staticmethod
    def get_context(method: str) -> type[_Threads]:
        return _Threads

    Pool = ThreadPool


@contextlib.contextmanager
def planning(cpus: int) -> Iterator[None]:
    """Within it nnU-Net may plan: it hands the number of augmentation workers to torch, which refuses 0 threads."""
    before = os.environ[AUGMENTING]
    os.environ[AUGMENTING] = str(max(1, cpus))
    try:
        yield
    finally:
        os.environ[AUGMENTING] = before


@contextlib.contextmanager
def pools_for(cpus: int) -> Iterator[None]:
    """Within it nnU-Net's pools are threads where the job has few CPUs; the one that it forks is, in any case.

    A forked worker inherits the handler by which this process notes SIGTERM, so that it outlives Pool.terminate(),
    which sends just that and waits for ever. Spawned workers inherit nothing.
    """
    places: list[tuple[Any, str, Any]] = [(importlib.import_module(_FORKS), "Pool", ThreadPool)]
    if cpus <= THREADS_UP_TO:
        places += [(importlib.import_module(name), "multiprocessing", _Threads) for name in _WITH_POOLS]
    before = [getattr(module, name) for module, name, _ in places]
    try:
        for module, name, threads in places:
            setattr(module, name, threads)
        yield
    finally:
        for (module, name, _), stock in zip(places, before, strict=True):
            setattr(module, name, stock)
