"""Inputs of outsiders that were once read wrongly: a folder beside the checkout, not a part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data() -> Path:
    """The folder of real data beside the project (or ROUNDTABLE_SHARED), read-only. Skips where it is missing."""
    folder = Path(os.environ.get("ROUNDTABLE_SHARED") or _DEFAULT)
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set ROUNDTABLE_SHARED to its folder)")
    return folder


def case(name: str) -> Path:
    """The folder of one case, by its number and name, as in `case("21-png16")`. Copy what is written to."""
    folder = shared_data() / "cases" / name
    if not folder.is_dir():
        pytest.skip(f"no case {name} in {folder.parent}")
    return folder
