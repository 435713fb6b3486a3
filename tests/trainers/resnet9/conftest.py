from __future__ import annotations

from pathlib import Path

import pytest

try:
    import torch  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]  # the install without the extra train
else:

    @pytest.fixture(scope="session")
    def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A small data set with a test set, never changed."""
        from resnet9_cases import write_npz

        return write_npz(tmp_path_factory.mktemp("data") / "small.npz")

    @pytest.fixture
    def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
        """Plots take half a second, more than the small trainings; where they are not the point they are left out."""
        monkeypatch.setattr("trainers.resnet9.plots.draw", lambda folder, history, best_epoch: None)
