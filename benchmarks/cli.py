"""What a command costs before it does anything: CPU time as a multiple of `python -c pass`.

    python benchmarks/cli.py [--repeat 11]

User and system seconds of the whole process. Each run of a command stands beside a run of bare Python just before
it, and the ratio shown is the median of those pairs, so that a machine that slows down slows down both. Modules come
from their bytecode, as after an installation. Targets: `--help` at most 4x, `status` on a five-round study 15x.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from child import ROOT, Usage, bytecode, machine, roundtable, run_child

TARGETS = {"roundtable --help": 4.0, "roundtable status": 15.0}
TRAINER = ROOT / "benchmarks" / "trainer" / "trainer.yaml"
TABLE = "from rich.console import Console; from rich.table import Table; Console().print(Table('a'))"


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured, by the name it is shown under."""
    study = ["--study", str(folder / "five")]
    reference = str(folder / "five" / "hyperparameter_reference.json")
    return {
        "python -c 'import argparse'": [sys.executable, "-c", "import argparse"],
        "rich: one empty table": [sys.executable, "-c", TABLE],
        "roundtable --help": [*roundtable(), "--help"],
        "roundtable tune --help": [*roundtable(), "tune", "--help"],
        "roundtable status": [*roundtable(), "status", *study],
        "roundtable status --json": [*roundtable(), "status", "--json", *study],
        "roundtable trainers": [*roundtable(), "trainers"],
        "roundtable reference check": [*roundtable(), "reference", "check", reference],
    }


def make_study(folder: Path, environment: dict[str, str]) -> None:
    """Five real rounds of four candidates, through the local launcher, some seconds in all."""
    argv = [*roundtable(), "tune", "--task", "five", "--trainer", str(TRAINER), "--output-dir", str(folder)]
    rounds = ["--auto-train", "--launcher", "local", "--max-rounds", "5", "--candidates", "4", "--confirm", "never"]
    subprocess.run([*argv, *rounds, "--quiet"], env=environment, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time of commands as a multiple of bare Python.")
    parser.add_argument("--repeat", type=int, default=11, help="pairs of runs a command (default 11)")
    repeat: int = parser.parse_args().repeat
    bare = [sys.executable, "-c", "pass"]
    print(f"{machine()}; median of {repeat} pairs")
    print(f"{'command':<29} {'CPU ms':>7} {'bare ms':>8} {'ratio':>6} {'lowest':>7} {'highest':>8} {'target':>7}")
    missed = []
    with tempfile.TemporaryDirectory() as folder, bytecode() as environment:
        make_study(Path(folder), environment)
        for name, argv in commands(Path(folder)).items():
            run_child(argv, environment=environment)  # writes the bytecode
            pairs: list[tuple[Usage, Usage]] = []
            for _ in range(repeat):
                first = run_child(bare, environment=environment)
                pairs.append((first, run_child(argv, environment=environment)))
            ratios = [used.cpu / first.cpu for first, used in pairs]
            ratio = statistics.median(ratios)
            cpu, base = (1e3 * statistics.median(pair[side].cpu for pair in pairs) for side in (1, 0))
            target = TARGETS.get(name)
            shown = "" if target is None else f"{target:.0f}x"
            print(
                f"{name:<29} {cpu:7.1f} {base:8.1f} {ratio:5.1f}x {min(ratios):6.1f}x {max(ratios):7.1f}x {shown:>7}"
            )
            if target is not None and ratio > target:
                missed.append(name)
    print(f"targets missed: {', '.join(missed)}" if missed else "targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
