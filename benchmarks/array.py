"""A round of rows that do nothing on a private real SLURM, beside a plain array of the same program in the same run.

    python benchmarks/array.py [--rows 500] [--parallel 50] [--poll 5]

Three ways, one after the other, of as many tasks with as many at a time (`--array=0-499%50`):

    plain    sbatch of a script that runs the program (tests/programs/noop.sh) in a folder of its own
    python   the same with `python -c pass` before it: what any tool written in Python pays for each task
    round    `tune` with the program as its trainer, in rounds of rows/5 candidates with five seeds

Wall seconds from the call of sbatch (plain, python) or its answer (round) to the last task's file, and of the round
also to the last summary of its evaluation job and to the end of `tune`, which looks every --poll seconds. plain is
run before and after; the ratios are to the mean of both. Target: the round with its evaluation at most twice as long.
Needs Debian's slurm-wlm, slurmdbd, munge and mariadb-server.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from child import ROOT, bare, bytecode, machine

sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from tests.cluster.config import ClusterConfig

PROGRAM = ROOT / "tests" / "programs" / "noop.sh"
SEEDS = 5
TARGET = 2.0
LIMIT_S = 1200.0


def plain(folder: Path, rows: int, parallel: int, *, first: str = "") -> float:
    """Seconds of an array of the program alone; `first` is a command before it."""
    folder.mkdir()
    script = folder / "plain.slurm"
    script.write_text(
        "#!/usr/bin/env bash\n"
        f"#SBATCH --array=0-{rows - 1}%{parallel}\n"
        f"#SBATCH --output={folder}/%a.log\n"
        "#SBATCH --export=ALL\n#SBATCH --nodes=1\n#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=1\n"
        f"{first}\n"
        f'out={folder}/$SLURM_ARRAY_TASK_ID\nmkdir "$out"\n'
        f'RT_MODE=good exec sh {PROGRAM} "$out" 0.5 0 0 {folder}/trained.log c00 1\n',
        encoding="utf-8",
    )
    begun = time.time()
    subprocess.run(["sbatch", str(script)], check=True, stdout=subprocess.DEVNULL)
    while len(done := list(folder.glob("*/summary.json"))) < rows:
        if time.time() - begun > LIMIT_S:
            raise SystemExit(f"{len(done)} of {rows} tasks ended within {LIMIT_S:g} s")
        time.sleep(0.5)
    return max(path.stat().st_mtime for path in done) - begun


def by_round(folder: Path, rows: int, parallel: int, poll_s: float) -> tuple[float, float, float]:
    """Seconds of a round to its last result, to its last summary, and of the whole call."""
    from agent.api import TuneOptions, tune
    from agent.store.events import Submitted

    folder.mkdir()
    profile = folder / "profile.yaml"
    profile.write_text(f"max_parallel: {parallel}\n", encoding="utf-8")
    called = time.time()
    outcome = tune(
        TuneOptions(
            task="array",
            trainer=str(PROGRAM.with_suffix(".yaml")),
            output_dir=folder / "runs",
            profile=profile,
            auto_train=True,
            launcher="sbatch",
            confirm="never",
            candidates=rows // SEEDS,
            seeds=tuple(range(SEEDS)),
            poll_s=poll_s,
            max_iterations=1,
            data={"log": str(folder / "trained.log")},
        )
    )
    ended = time.time()
    store = outcome.store
    (paths,) = store.closed()
    first = min(made.at.timestamp() for made in store.journal.of(Submitted))
    results = [path.stat().st_mtime for path in paths.root.glob("trials/*/attempt_1/result.json")]
    summaries = [path.stat().st_mtime for path in paths.root.glob("candidates/*/val_summary.json")]
    if (len(results), len(summaries)) != (rows, rows // SEEDS):
        raise SystemExit(f"{len(results)} results and {len(summaries)} summaries, not {rows} and {rows // SEEDS}")
    return max(results) - first, max(summaries) - first, ended - called


def main() -> int:
    from tests.cluster.cluster import Cluster
    from tests.cluster.config import ClusterConfig

    parser = argparse.ArgumentParser(description="A round of no-op rows beside a plain array.")
    parser.add_argument("--rows", type=int, default=500, help=f"tasks, a multiple of {SEEDS} (default 500)")
    parser.add_argument("--parallel", type=int, default=50, help="tasks at a time (default 50)")
    parser.add_argument("--poll", type=float, default=5.0, help="seconds between tune's looks (default 5)")
    options = parser.parse_args()
    if options.rows < SEEDS or options.rows % SEEDS:
        parser.error(f"--rows {options.rows}: must be a multiple of {SEEDS}")
    config = ClusterConfig(cpus=options.parallel)
    if problems := Cluster.missing(config):
        sys.exit("; ".join(problems))
    print(f"{machine()}; {options.rows} tasks, {options.parallel} at a time; wall seconds", flush=True)
    with bytecode() as environment:
        print(bare(environment), flush=True)
        # Jobs inherit it, as they would a person's.
        os.environ.clear()
        os.environ.update(environment)
        return _compare(config, options)


def _compare(config: ClusterConfig, options: argparse.Namespace) -> int:
    from tests.cluster.cluster import Cluster

    with tempfile.TemporaryDirectory() as name, Cluster(config) as cluster, cluster.exported():
        folder, shape = Path(name), (options.rows, options.parallel)
        before = plain(folder / "before", *shape)
        print(f"plain    {before:7.1f}", flush=True)
        python = plain(folder / "python", *shape, first=f"{sys.executable} -c pass")
        print(f"python   {python:7.1f}", flush=True)
        results, summaries, whole = by_round(folder / "round", *shape, options.poll)
        print(f"round    {results:7.1f}  with evaluation {summaries:.1f}  whole call {whole:.1f}", flush=True)
        after = plain(folder / "after", *shape)
        print(f"plain    {after:7.1f}", flush=True)
    base = (before + after) / 2
    ratio = summaries / base
    found = f"python {python / base:.2f}, round {results / base:.2f}, with its evaluation {ratio:.2f}"
    print(f"times plain: {found}, whole call {whole / base:.2f}")
    verdict = "MISSED" if ratio > TARGET else "met"
    print(f"target: the round with its evaluation at most {TARGET:g} times plain: {verdict}")
    return 1 if ratio > TARGET else 0


if __name__ == "__main__":
    sys.exit(main())
