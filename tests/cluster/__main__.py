"""`python -m tests.cluster`: a private SLURM for work by hand, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tests.cluster.cluster import Cluster, ClusterError
from tests.cluster.config import ClusterConfig


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 2))
    parser.add_argument("--no-accounting", action="store_true", help="no MariaDB, no slurmdbd; sacct fails")
    parser.add_argument("--preemption", action="store_true", help="a partition `urgent` that requeues other jobs")
    parser.add_argument("--cgroup-memory", action="store_true", help="enforce --mem through cgroup v1")
    chosen = parser.parse_args()
    config = ClusterConfig(
        nodes=chosen.nodes,
        accounting=not chosen.no_accounting,
        preemption=chosen.preemption,
        cgroup_memory=chosen.cgroup_memory,
    )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with Cluster(config) as cluster:
            print(f"export SLURM_CONF={cluster.slurm_conf}", flush=True)
            print(f"logs: {cluster.state}/log; Ctrl-C ends the cluster", file=sys.stderr)
            ended.wait()
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
