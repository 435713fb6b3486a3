"""What rungs save and what they miss: the same nine candidates of ResNet-9 on digits, all in full and in three rungs.

    python benchmarks/rungs.py [--studies 5] [--epochs 9] [--candidates 9]

Each pair of studies has one seed, so the same proposals in its one round: the default and eight random draws. Epochs
are counted over all trainings, CPU seconds by the tasks themselves. "Missed" is how much better the best of all full
trainings is than the full training of what the rungs chose, in points of validation accuracy; beside it the standard
deviation of the nine, which choosing at random would miss about as much of.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from agent.api import TuneOptions, tune
from agent.store.store import Store


def study(root: Path, seed: int, given: argparse.Namespace, *, rungs: int) -> tuple[list[dict[str, Any]], int, float]:
    """One round: its candidates in full, the epochs trained in all, and the CPU seconds of the trainings."""
    tune(
        TuneOptions(
            task="digits",
            trainer="resnet9",
            study=f"s{seed}_{rungs}",
            output_dir=root,
            auto_train=True,
            launcher="local",
            confirm="never",
            candidates=given.candidates,
            epochs=given.epochs,
            seed=seed,
            seeds=(0,),
            rungs=rungs,
        )
    )
    store = Store.open(root / f"s{seed}_{rungs}")
    (paths,) = store.closed()
    record = store.round_record(paths)
    # (epochs in all, candidates) of each training wave; what goes on has trained some of them before.
    waves = [(rung.epochs, rung.candidates) for rung in record.screened]
    waves.append((given.epochs, record.candidates))
    epochs = before = 0
    for until, candidates in waves:
        epochs += len(candidates) * (until - before)
        before = until
    cpu = sum(c.costs.get("cpu_seconds", 0.0) for _, candidates in waves for c in candidates)
    return record.candidates, epochs, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--candidates", type=int, default=9)
    given = parser.parse_args()
    print(
        "| seed | epochs in full | in rungs | CPU-s in full | in rungs | best in full | chosen | missed | sd of all |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    misses, shares = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.studies):
            whole, epochs, cpu = study(Path(folder), seed, given, rungs=1)
            thinned, fewer, less = study(Path(folder), seed, given, rungs=3)
            values = {c.key: c.value for c in whole if c.value is not None}
            chosen = max((c for c in thinned if c.value is not None), key=lambda c: c.value)
            best, found = max(values.values()), values[chosen.key]
            spread = statistics.stdev(values.values())
            misses.append(best - found)
            shares.append(less / cpu)
            print(
                f"| {seed} | {epochs} | {fewer} | {cpu:.0f} | {less:.0f} | {best:.3f} | {found:.3f} | "
                f"{100 * (best - found):.1f} | {100 * spread:.1f} |",
                flush=True,
            )
    missed, share = 100 * statistics.mean(misses), statistics.mean(shares)
    print(f"\nmissed {missed:.1f} points on average, for {share:.2f} of the CPU seconds")


if __name__ == "__main__":
    main()
