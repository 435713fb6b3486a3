from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainers.contract import StopFlag, Value

if importlib.util.find_spec("nnunetv2") is None:
    collect_ignore_glob = ["test_*.py"]  # the install without the extra nnunet


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The trainer sets nnU-Net's variables in its process; one test's must not reach the next."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("nnUNet_", "NNUNET_", "SLURM_MEM"))]:
        monkeypatch.delenv(name)
    yield
    for name in [name for name in os.environ if name.startswith(("nnUNet_", "NNUNET_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Value]:
    """--data of a small data set, planned and preprocessed once, with five folds; never changed."""
    from nnunet_cases import values, write_raw

    from trainers.nnunet.prepare import prepare_data

    root: Path = tmp_path_factory.mktemp("nnunet")
    write_raw(root / "raw", absent=(1, 4), test=1)
    data: dict[str, Value] = {"raw": str(root / "raw"), "preprocessed": str(root / "preprocessed")}
    assert prepare_data("Task601_Tiny", data, [values()], folds=5, cpus=1, stop=StopFlag())
    return data
