"""From a round's last trial to the next round's submission on a private real SLURM, and how often SLURM is asked.

    python benchmarks/turnaround.py [--polls 1 10 60] [--rounds 4]

Studies of four no-op rows a round, each at another poll interval, driven by `tune` as a person would. Every program
of SLURM is called through a shim that notes it. Wall seconds:

    gap         from the end of the round's last trial (its result file) to sbatch's answer for the next round
    evaluated   the part of it until the round's last summary is written: SLURM's dependency, and the evaluation

On average a gap is half a poll interval longer than the evaluation: that is what asking seldom costs. Needs Debian's
slurm-wlm, slurmdbd, munge and mariadb-server.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from child import ROOT, machine

sys.path.insert(0, str(ROOT))

TRAINER = ROOT / "tests" / "programs" / "noop.yaml"
SLACK_S = 5.0
"""A gap may be so much longer than the evaluation and a poll interval: starting Python, sbatch, writing the round."""


def measure(folder: Path, poll_s: float, rounds: int) -> dict[str, Any]:
    """One study on the exported cluster: its gaps, their evaluated parts, and the calls by program."""
    from agent.api import TuneOptions, tune
    from agent.store.events import Submitted
    from tests.soak.shims import Shims

    folder.mkdir()
    shims = Shims(folder / "bin")
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{shims.folder}:{path}"
    try:
        outcome = tune(
            TuneOptions(
                task="turn",
                trainer=str(TRAINER),
                output_dir=folder / "runs",
                auto_train=True,
                launcher="sbatch",
                confirm="never",
                candidates=2,
                seeds=(0, 1),
                poll_s=poll_s,
                max_iterations=rounds,
                data={"log": str(folder / "trained.log")},
            )
        )
    finally:
        os.environ["PATH"] = path
    store = outcome.store
    submitted = {made.folder: made.at.timestamp() for made in reversed(list(store.journal.of(Submitted)))}
    gaps, evaluated = [], []
    closed = store.closed()
    for paths, following in itertools.pairwise(closed):
        ended = max(one.stat().st_mtime for one in paths.root.glob("trials/*/*/result.json"))
        summed = max(one.stat().st_mtime for one in paths.root.glob("candidates/*/val_summary.json"))
        gaps.append(submitted[following.root.name] - ended)
        evaluated.append(summed - ended)
    calls = [call.program for call in shims.calls()]
    spent = max(submitted.values()) - min(submitted.values())
    return {"gaps": gaps, "evaluated": evaluated, "calls": calls, "seconds": spent}


def main() -> int:
    from tests.cluster.cluster import Cluster

    parser = argparse.ArgumentParser(description="Seconds from a round's last trial to the next submission.")
    parser.add_argument("--polls", type=float, nargs="+", default=[1.0, 10.0, 60.0])
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    if problems := Cluster.missing():
        sys.exit("; ".join(problems))
    print(f"{machine()}; wall seconds")
    head = f"{'poll':>6} {'gaps':>4} {'median':>7} {'longest':>7} {'evaluated':>9}"
    print(f"{head} {'calls a round':>13}  of them")
    missed = False
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster, cluster.exported():
        for number, poll_s in enumerate(options.polls):
            found = measure(Path(folder) / str(number), poll_s, options.rounds)
            missed |= _line(poll_s, options.rounds, found)
    print(f"target: no gap over the evaluation + the poll interval + {SLACK_S:g} s: {'MISSED' if missed else 'met'}")
    return 1 if missed else 0


def _line(poll_s: float, rounds: int, found: dict[str, Any]) -> bool:
    """Print one study; whether a gap was too long."""
    gaps, evaluated, calls = found["gaps"], found["evaluated"], found["calls"]
    kinds = ", ".join(f"{name} {calls.count(name) / rounds:.1f}" for name in sorted(set(calls)))
    figures = f"{statistics.median(gaps):7.1f} {max(gaps):7.1f} {statistics.median(evaluated):9.1f}"
    print(f"{poll_s:6g} {len(gaps):4d} {figures} {len(calls) / rounds:13.1f}  {kinds}", flush=True)
    return any(gap > part + poll_s + SLACK_S for gap, part in zip(gaps, evaluated, strict=True))


if __name__ == "__main__":
    sys.exit(main())
