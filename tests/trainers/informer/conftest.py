from __future__ import annotations

from pathlib import Path

import pytest

try:
    import torch  # noqa: F401
except ImportError:
    # The install without the extra train: only what the login node runs is tested.
    collect_ignore_glob = ["test_informer_[!t]*.py", "test_informer_train.py"]


@pytest.fixture(scope="session")
def series_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small hourly series of three columns, never changed."""
    from informer_cases import write_csv

    return write_csv(tmp_path_factory.mktemp("series") / "small.csv")


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take half a second, more than the small trainings; where they are not the point they are left out."""
    monkeypatch.setattr("trainers.pytorch.curves.draw", lambda folder, history, best_epoch, panels: None)
