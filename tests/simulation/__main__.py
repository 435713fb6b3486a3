"""`python -m tests.simulation`: rounds under faults drawn from a seed, as fast as one CPU does them."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.simulation import tasks
from tests.simulation.script import draw
from tests.simulation.world import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.0, help="how many faults; 0 for none")
    parser.add_argument("--studies", type=int, help="at most so many")
    parser.add_argument("--keep-going", action="store_true", help="also behind the first study that fails")
    parser.add_argument("--trace", action="store_true", help="what happened in the studies that fail")
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="rt-sim-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    silence = tasks.silence()
    logging.getLogger("agent").setLevel(logging.ERROR)
    befallen: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    rounds = failed = 0
    seed, began = chosen.seed, time.process_time()
    while rounds < chosen.rounds and seed - chosen.seed != chosen.studies:
        ended = run(draw(seed, rate=chosen.rate), home)
        rounds += ended.rounds
        befallen += ended.befallen
        errors += ended.errors
        if ended.wrong:
            failed += 1
            print(f"seed {seed}: {brief(ended.wrong[0])}")
            if chosen.trace:
                print("\n".join(["", *ended.trace, "", *map(repr, ended.script.faults)]))
            if not chosen.keep_going:
                break
        seed += 1
    minutes = (time.process_time() - began) / 60
    silence()
    print(f"{rounds} rounds of {seed - chosen.seed} studies, {rounds / minutes:.0f} rounds a CPU-minute")
    for what, counts in (("faults", befallen), ("errors read", errors)):
        print(f"{what}: {sum(counts.values())} ({', '.join(f'{n} {c}' for n, c in counts.most_common())})")
    return 1 if failed else 0


def brief(wrong: str) -> str:
    """A line that tells what is wrong; of a traceback its last two."""
    return " / ".join(line.strip() for line in wrong.strip().splitlines()[-3:])[:400]


if __name__ == "__main__":
    sys.exit(main())
