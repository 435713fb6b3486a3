"""Lays out a cluster's state directory: ports, configuration files, keys and fake GPUs."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from tests.cluster import config as files
from tests.cluster.config import ClusterConfig, Host, Ports, StatePaths

MEMORY = Path("/dev/shm")
# In bytes. A database took 105 MB after 200 tasks; several clusters may stand at once.
MEMORY_NEEDED = 512 << 20


def reserve_ports(config: ClusterConfig) -> tuple[Ports, list[socket.socket]]:
    """Free ports of 127.0.0.1, and the sockets that keep them for as long as they are open.

    A socket that is bound but does not listen lets the daemon bind the same port beside it (Linux, both set
    SO_REUSEADDR), yet the port goes to nobody else: neither between choosing and starting, nor during a restart.
    """
    held: list[socket.socket] = []

    def reserve() -> int:
        reserved = socket.socket()
        held.append(reserved)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])

    return Ports(slurmctld=reserve(), slurmdbd=reserve(), slurmd=tuple(reserve() for _ in config.node_names)), held


def this_host() -> Host:
    full_name = socket.gethostname()
    try:
        address = socket.gethostbyname(full_name)
    except OSError:
        address = ""
    return Host(name=full_name.split(".")[0], is_loopback=address == "127.0.0.1")


def write_state(config: ClusterConfig, paths: StatePaths, ports: Ports) -> None:
    """Fills the empty directory `paths.root` with what the daemons need before they start."""
    host = this_host()
    for directory in paths.directories():
        directory.mkdir()
    if config.accounting:
        _make_database_directory(paths.database)
    _write_secret(paths.munge_key, os.urandom(128))
    # slurmdbd refuses a file that others can read.
    _write_secret(paths.slurmdbd_conf, files.slurmdbd_conf(paths, ports, host).encode())
    paths.slurm_conf.write_text(files.slurm_conf(config, paths, ports, host))
    paths.gres_conf.write_text(files.gres_conf(config, paths))
    paths.cgroup_conf.write_text(files.cgroup_conf(config))
    for node in config.node_names:
        for index in range(config.gpus):
            _make_device(paths.device(node, index))


def _make_database_directory(path: Path) -> None:
    """In memory where there is room: on a disk that others use, MariaDB's syncs take 4 s of a start, there 0.5 s.

    Only the database goes there: containers mount /dev/shm noexec, and slurmd runs job scripts from its spool.
    """
    try:
        room = os.statvfs(MEMORY)
        roomy = room.f_bavail * room.f_frsize >= MEMORY_NEEDED and os.access(MEMORY, os.W_OK)
    except OSError:
        roomy = False
    if roomy:
        path.symlink_to(tempfile.mkdtemp(prefix="rt-slurm-database-", dir=MEMORY))
    else:
        path.mkdir()


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _make_device(path: Path) -> None:
    """What slurmd counts as one GPU: a link to /dev/null, so it is harmless and needs no right to make devices.

    slurmd wants a character device behind the path: with a regular file CUDA_VISIBLE_DEVICES stays empty.
    """
    path.symlink_to("/dev/null")
