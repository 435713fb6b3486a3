"""What long studies cost: `status`, and the steps of the next round, at 1,000, 10,000 and 100,000 trials.

    python benchmarks/status.py [--trials 1000 10000 100000] [--repeat 3] [--no-steps]

Rounds of 50 trials, as 10 candidates x 5 folds and as 50 candidates x 1. CPU seconds are user and system of the
whole process, interpreter and imports included; memory is its peak. Then one more round of two candidates is tuned
for real, and the CPU seconds of each of its steps are shown (`assess` rewrites trials_summary.csv); its trials run in
processes of their own and do not count. The first step carries the interpreter and its imports.
Target: `status` over 200 rounds x 50 trials (10,000 trials) below 1 s CPU, with the cost growing linearly.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from child import ROOT, Usage, bytecode, machine, roundtable, run_child

PER_ROUND = 50
SHAPES = {"10 x 5": (10, 5), "50 x 1": (50, 1)}
TARGET_TRIALS, TARGET_S = 10_000, 1.0
#: What the first study would otherwise compile at its own cost.
WARM = "import jinja2, numpy, optuna; optuna.samplers.TPESampler()"
STEPS = ("analyse", "propose", "check", "apply", "render", "submit", "collect", "assess")


def one_round(root: Path) -> dict[str, float]:
    """Tune one further round of two trials in this process; CPU seconds of each step, and peak MB of the process."""
    sys.path.insert(0, str(ROOT))
    from agent.api import TuneOptions, tune

    seconds: dict[str, float] = {}
    last = time.process_time()

    def step(line: str) -> None:
        nonlocal last
        now = time.process_time()
        if line.startswith("step "):
            seconds[line.split()[1]] = now - last
            last = now

    options = TuneOptions(
        task=root.name, output_dir=root.parent, auto_train=True, launcher="local", candidates=2, confirm="never"
    )
    closed = tune(options, detail=step).closed
    if closed != 1:
        raise SystemExit(f"one round was to be closed, but: {closed}")
    return seconds | {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def least(argv: list[str], environment: dict[str, str], repeat: int) -> Usage:
    """The cheapest of some runs: other processes on the machine only ever add."""
    return min((run_child(argv, environment=environment) for _ in range(repeat)), key=lambda used: used.cpu)


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time and memory of status and steps on long studies.")
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, TARGET_TRIALS, 100_000])
    parser.add_argument("--repeat", type=int, default=3, help="runs a figure, the cheapest is shown (default 3)")
    parser.add_argument("--no-steps", action="store_true", help="status alone, without tuning one more round")
    parser.add_argument("--one-round", type=Path, metavar="STUDY", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_round is not None:
        print(json.dumps(one_round(options.one_round)))
        return 0
    print(f"{machine()}; the cheapest of {options.repeat} runs; CPU in seconds")
    print(f"{'trials':>7} {'rounds of':>9} {'status':>7} {'ms/1000':>8} {'MB':>5} {'--json':>7} {'MB':>5}", end="")
    print("".join(f" {name:>8}" for name in (*STEPS, "MB")) if not options.no_steps else "")
    missed = False
    with bytecode() as environment:
        run_child([sys.executable, "-c", WARM], environment=environment)
        for trials in options.trials:
            for shape, (candidates, folds) in SHAPES.items():
                missed |= _line(trials, shape, candidates, folds, environment, options)
    if TARGET_TRIALS in options.trials:
        print(f"target {TARGET_TRIALS} trials: status < {TARGET_S:.0f} s CPU: {'MISSED' if missed else 'met'}")
    return 1 if missed else 0


def _line(
    trials: int, shape: str, candidates: int, folds: int, environment: dict[str, str], options: argparse.Namespace
) -> bool:
    """Make a study, measure, print; whether the target was missed."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "long"
        # In processes of their own: a child's peak memory is never shown below that of its parent.
        make = [sys.executable, str(ROOT / "benchmarks" / "studies.py"), str(root)]
        subprocess.run([*make, str(trials // PER_ROUND), str(candidates), str(folds)], env=environment, check=True)
        argv = [*roundtable(), "status", "--study", str(root)]
        table, plain = (least([*argv, *extra], environment, options.repeat) for extra in ([], ["--json"]))
        line = f"{trials:7d} {shape:>9} {table.cpu:7.3f} {table.cpu / trials * 1e6:8.1f} {table.peak_mb:5.0f}"
        print(f"{line} {plain.cpu:7.3f} {plain.peak_mb:5.0f}", end="", flush=True)
        if not options.no_steps:
            again = [sys.executable, __file__, "--one-round", str(root)]
            done = subprocess.run(again, env=environment, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            print("".join(f" {found[name]:8.3f}" for name in STEPS) + f" {found['mb']:8.0f}", end="")
        print(flush=True)
    return trials == TARGET_TRIALS and table.cpu >= TARGET_S


if __name__ == "__main__":
    sys.exit(main())
