"""The test of one golden study, which several files share: each is a unit of work for parallel runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.golden.pack import read_archive
from tests.golden.record import ARCHIVES, BEGUN, CLOCK, differences, play
from tests.golden.studies import GOLDEN
from tests.golden.world import World

#: For every commit.
FIRST = ("local_finished", "slurm_open")


def recorded(chosen: Callable[[str], bool]) -> Any:
    """Parametrizes a test by (path of a release's archive, name of a study in it)."""
    paths = sorted(ARCHIVES.glob("*.json.xz"))
    found = [(path, name) for path in paths for name in read_archive(path) if chosen(name)]
    names = [f"{path.name.removesuffix('.json.xz')}-{name}" for path, name in found]
    return pytest.mark.parametrize(("path", "name"), found, ids=names)


def assert_goes_on(path: Path, name: str, folder: Path) -> None:
    """Unpack a study of an archive in a new world below `folder`, read it, go on with it, and compare everything."""
    kept = read_archive(path)[name]
    begun = {text: kept[text] for text in kept if text.startswith((BEGUN, CLOCK))}
    world = World(folder / "w", user="somebody-else", host="third-host", began=datetime(2029, 12, 31, 23, 58))
    lines = differences(kept, begun | play(name, begun, world))
    assert not lines, f"{GOLDEN[name].state}: where this is meant, see tests/golden/README.md\n{lines}"
