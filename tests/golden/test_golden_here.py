"""Studies that earlier code has begun are read, and gone on with, as that code would have: byte for byte.

Those without a cluster.
"""

from __future__ import annotations

from pathlib import Path

from tests.golden.case import FIRST, assert_goes_on, recorded


@recorded(lambda name: not name.startswith("slurm") and name not in FIRST)
def test_a_study_is_read_and_gone_on_with_as_by_its_release(path: Path, name: str, tmp_path: Path) -> None:
    assert_goes_on(path, name, tmp_path)
