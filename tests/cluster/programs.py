"""The programs a test cluster is made of: which are needed, where they are found, how each is called."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.config import ClusterConfig, StatePaths

PACKAGES = "apt-get install -y slurm-wlm slurmdbd munge mariadb-server"
# Debian keeps daemons in sbin, which a stripped PATH may lack.
DAEMON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scancel", "scontrol")
NEEDED_FOR_ACCOUNTING = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr", "sacct")
CGROUP_V1 = Path("/sys/fs/cgroup")


def find(program: str) -> str | None:
    """The program's path; None when it is not installed."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), DAEMON_PATH)))


def missing(config: ClusterConfig) -> list[str]:
    """What this machine lacks for such a cluster, each with its remedy; empty when it can start."""
    needed = (*NEEDED, *(NEEDED_FOR_ACCOUNTING if config.accounting else ()))
    absent = [program for program in needed if find(program) is None]
    problems = []
    if not sys.platform.startswith("linux"):
        problems.append("needs Linux")
    elif os.geteuid() != 0:
        problems.append("needs root: SLURM's daemons run as root")
    if absent:
        problems.append(f"needs a SLURM: {PACKAGES} (not found: {', '.join(absent)})")
    if config.cgroup_memory and not (CGROUP_V1 / "memory" / "cgroup.procs").exists():
        problems.append(
            f"needs cgroup v1's memory controller at {CGROUP_V1}/memory, which this kernel does not offer"
        )
    return problems


def munged(paths: StatePaths) -> Sequence[str]:
    return [
        "munged",
        "--foreground",
        # munged wants every directory above its socket open to all users; this one is for root alone.
        "--force",
        f"--socket={paths.munge_socket}",
        f"--key-file={paths.munge_key}",
        f"--pid-file={paths.root}/munged.pid",
        f"--seed-file={paths.root}/munged.seed",
        "--num-threads=4",
    ]


def mariadb_install(paths: StatePaths) -> Sequence[str]:
    return [
        "mariadb-install-db",
        "--no-defaults",
        "--user=root",
        f"--datadir={paths.database}",
        # Instead of 96 MB, since the database may lie in memory.
        "--innodb-log-file-size=8M",
        "--skip-test-db",
        "--skip-name-resolve",
        "--auth-root-authentication-method=socket",
        "--auth-root-socket-user=root",
    ]


def mariadbd(paths: StatePaths) -> Sequence[str]:
    return [
        "mariadbd",
        "--no-defaults",
        "--user=root",
        f"--datadir={paths.database}",
        f"--socket={paths.database_socket}",
        f"--pid-file={paths.root}/mariadbd.pid",
        "--innodb-log-file-size=8M",
        "--skip-networking",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-lock-wait-timeout=900",
        # Containers may forbid io_uring and limit AIO.
        "--innodb-use-native-aio=0",
    ]


def node_cgroups(config: ClusterConfig) -> list[Path]:
    """Where slurmd's cgroup/v1 plugin keeps steps: named after the node alone, not configurable in 22.05."""
    return [found for node in config.node_names for found in CGROUP_V1.glob(f"*/slurm_{node}")]


def remove_cgroups(config: ClusterConfig) -> None:
    """Removes the groups slurmd left; one that still holds a process stays."""
    for top in node_cgroups(config):
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                break
