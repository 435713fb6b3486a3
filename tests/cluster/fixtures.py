"""Pytest fixtures; tests/conftest.py imports `slurm` from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig

REQUIRE = "ROUNDTABLE_REQUIRE_CLUSTER"


def require_cluster(config: ClusterConfig | None = None) -> None:
    """Skips the test where such a cluster cannot start; fails it when ROUNDTABLE_REQUIRE_CLUSTER=1."""
    if reasons := Cluster.missing(config):
        _decline(reasons)


def _decline(reasons: list[str]) -> NoReturn:
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but a test cluster cannot start: {'; '.join(reasons)}", pytrace=False)
    pytest.skip("; ".join(reasons))


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running private SLURM for the session, also through `os.environ`; `slurm.drain()` empties it."""
    require_cluster()
    if standing := os.environ.get("SLURM_CONF"):
        _decline([f"SLURM_CONF={standing} points to a cluster already; unset it to test on a private one"])
    with Cluster() as cluster, cluster.exported():
        yield cluster
