"""`python -m tests.soak`: the soak by hand, on a private SLURM of its own."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.cluster import Cluster, ClusterError
from tests.soak.soak import CLUSTER, Soak, SoakFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with the faults of round N")
    parser.add_argument("--home", type=Path, help="where its files go, a folder that is not there yet; they stay")
    parser.add_argument("--quiet", action="store_true", help="the figures at the end alone")
    chosen = parser.parse_args()
    for name, least in (("rounds", 1), ("first", 1)):
        if getattr(chosen, name) < least:
            parser.error(f"--{name} {getattr(chosen, name)}: must be {least} or more")
    if chosen.home is not None and chosen.home.exists():
        parser.error(f"--home {chosen.home} exists: give a folder that is not there yet")
    # What ends it early still tells its figures; a shell's background job ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    home = (chosen.home or Path(tempfile.mkdtemp(prefix="rt-soak-")) / "soak").absolute()
    try:
        with Cluster(CLUSTER) as cluster:
            return _run(cluster, home, chosen)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2


def _run(cluster: Cluster, home: Path, chosen: argparse.Namespace) -> int:
    soak = Soak(cluster, home, seed=chosen.seed, first=chosen.first)
    code = 0
    try:
        for _ in range(chosen.rounds):
            plan = soak.round()
            if not chosen.quiet:
                took = soak.tally.seconds[-1]
                print(
                    f"{time.strftime('%H:%M:%S')} round {plan.number} ({took:.1f} s): {plan.describe()}", flush=True
                )
        soak.finish()
    except SoakFailed as error:
        print(error, file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    finally:
        soak.close()
    soak.count()
    print("\n".join([*soak.tally.lines(), f"files in {home}"]))
    return code


if __name__ == "__main__":
    sys.exit(main())
