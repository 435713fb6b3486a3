"""Replaying a round offline."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.store.paths import RoundFolder
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.orchestrator.replay import Replayed


def replay_round(path: Path) -> Replayed:
    """Do the agents' steps of runs/<study>/round_N_<timestamp> again, in a temporary folder, from its recordings.

    Raises UsageError for a path that is no decided round, ReplayMismatch where the prompts have changed.
    """
    from agent.api.wiring import offline_tools
    from agent.orchestrator.replay import replay

    path = path.absolute()
    folder = RoundFolder.parse(path)
    if folder is None or folder.kind != "round" or not path.is_dir():
        raise UsageError(f"{path}: is no round's folder (runs/<study>/round_N_<timestamp>)")
    store = Store.open(path.parent)
    with tempfile.TemporaryDirectory(prefix="roundtable-replay-") as scratch:
        return replay(store, store.paths.round(folder), offline_tools, Path(scratch))
