"""A place for simulated studies, in memory where the machine has such a place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation import tasks

MEMORY = Path("/dev/shm")


@pytest.fixture
def home() -> Iterator[Path]:
    silent = tasks.silence()
    folder = Path(tempfile.mkdtemp(prefix="rt-sim-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield folder
    finally:
        silent()
        shutil.rmtree(folder, ignore_errors=True)
