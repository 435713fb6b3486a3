"""Large rounds: the command that a person types, and of it rendering alone. CPU seconds and peak memory.

    python benchmarks/render.py [--rows 1000 10000 100000] [--repeat 3] [--folder /dev/shm] [--parts]

The command is `roundtable tune --task digits --slurm --candidates ROWS/5 --folds 0-4` on a study that is not there
yet, and the same command again, which looks for results; a process each, with its children. Target for 10,000 rows:
below 4 s CPU and 150 MB, with the cost growing linearly.

--parts: beside it what rendering, manifest and references take by themselves, in a process of its own each. Every
candidate has a reference text of its own there (the shipped ResNet-9 one with other active values). User and system
time stand apart, because system time is the file system's own: the same plain run took 0.05 s of it on a tmpfs and
2.6 s on a busy ext4 disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from benchmarks.child import Usage

FOLDS = 5
TARGET_ROWS, TARGET_SECONDS, TARGET_MB = 10_000, 4.0, 150.0
WRITERS = ("none", "plain", "atomic")


def measure(rows: int, writer: str, folder: Path) -> dict[str, float]:
    """Build, hash, render and (unless writer is none) write one round; user, system and wall seconds and peak MB."""
    from agent.launch.profile import Profile
    from agent.launch.render import render_round
    from agent.resources import shipped_reference
    from trainers.files import write_atomic
    from trainers.layout import RoundFiles, candidate_name
    from trainers.manifest import Manifest, Row

    def write(path: Path, text: str) -> None:
        if writer == "plain":
            path.write_text(text, encoding="utf-8")
        elif writer == "atomic":
            write_atomic(path, text)

    files = RoundFiles(folder / "round_1")
    started, clock = user_seconds(), time.perf_counter()
    reference = json.loads(shipped_reference("resnet9").read_text(encoding="utf-8"))
    candidates: dict[str, str] = {}
    for position in range(rows // FOLDS):
        name = candidate_name(position)
        reference["parameters"]["learning_rate"]["active_value"] = 1e-4 + position * 1e-6
        text = json.dumps(reference, indent=2, ensure_ascii=False) + "\n"
        candidates[name] = hashlib.sha256(text.encode()).hexdigest()
        if writer != "none":
            files.candidate(name).mkdir(parents=True)
            write(files.reference(name), text)
    referenced = user_seconds()
    manifest = Manifest(
        study="benchmark",
        task="digits",
        trainer="resnet9",
        round=1,
        objective="accuracy",
        direction="maximize",
        folds=FOLDS,
        epochs=8,
        data={},
        cpus=1,
        gpus=0,
        candidates=candidates,
        rows=tuple(
            Row(row=number, candidate=candidate_name(number // FOLDS), fold=number % FOLDS, seed=0)
            for number in range(rows)
        ),
    )
    files.root.mkdir(exist_ok=True)
    write(files.manifest, manifest.to_text())
    listed = user_seconds()
    rendered = render_round(
        files,
        slug="digits",
        round=1,
        manifest=manifest,
        profile=Profile(max_parallel=64),
        python=Path(sys.executable),
        import_root=ROOT,
    )
    for path, script in rendered.texts.items():
        write(path, script)
    ended = user_seconds()
    return {
        "references": referenced - started,
        "manifest": listed - referenced,
        "scripts": ended - listed,
        # Of the whole process, interpreter and imports included.
        "user": ended,
        "system": resource.getrusage(resource.RUSAGE_SELF).ru_stime,
        "wall": time.perf_counter() - clock,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def user_seconds() -> float:
    """User CPU time of this process since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def fresh(rows: int, writer: str, parent: Path | None) -> dict[str, float]:
    """`measure` in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        command = [sys.executable, __file__, "--one", str(rows), writer, folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def typed(rows: int, parent: Path | None, environment: Mapping[str, str]) -> tuple[Usage, Usage]:
    """What the command costs on a fresh study, and the same command again."""
    from benchmarks.child import roundtable, run_child

    with tempfile.TemporaryDirectory(dir=parent) as folder:
        options = ["--candidates", str(rows // FOLDS), "--folds", f"0-{FOLDS - 1}", "--output-dir", folder]
        command = [*roundtable(), "tune", "--task", "digits", "--trainer", "resnet9", "--slurm", *options]
        # The second ends with 3: the round is not complete.
        return run_child(command, environment=environment), run_child(command, environment=environment, expected=3)


def print_parts(rows: int, repeat: int, folder: Path | None) -> None:
    for writer in WRITERS:
        # The least of a few: other processes on the machine only ever add.
        one = min((fresh(rows, writer, folder) for _ in range(repeat)), key=lambda run: run["user"])
        parts = f"{one['references']:10.3f} {one['manifest']:9.3f} {one['scripts']:8.3f}"
        whole = f"{one['user']:8.3f} {one['system']:8.3f} {one['wall']:7.2f}"
        print(f"{rows:7d}  {writer:<6} {parts} {whole} {one['user'] / rows * 1e6:12.1f} {one['mb']:5.0f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, TARGET_ROWS, 100_000])
    parser.add_argument("--repeat", type=int, default=3, help="runs a line, the cheapest is shown (default 3)")
    parser.add_argument("--folder", type=Path, help="where rounds are written (default: the temporary folder)")
    parser.add_argument("--parts", action="store_true", help="also rendering, manifest and references by themselves")
    parser.add_argument("--one", nargs=3, metavar=("ROWS", "WRITER", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        rows, writer, folder = options.one
        print(json.dumps(measure(int(rows), writer, Path(folder))))
        return 0
    from benchmarks.child import bare, bytecode, machine

    print(machine())
    missed = False
    with bytecode() as environment:
        print(bare(environment), flush=True)
        print("roundtable tune --slurm on a fresh study, then the same command again, which looks for results")
        print(f"{'rows':>7} {'CPU s':>8} {'user':>7} {'system':>7} {'us/row':>7} {'MB':>5}   {'again':>7} {'MB':>5}")
        typed(FOLDS, options.folder, environment)  # compiles the modules
        for rows in options.rows:
            runs = [typed(rows, options.folder, environment) for _ in range(options.repeat)]
            one, again = min((run[0] for run in runs), key=_cpu), min((run[1] for run in runs), key=_cpu)
            figures = (
                f"{one.cpu:8.2f} {one.user:7.2f} {one.system:7.2f} {one.cpu / rows * 1e6:7.0f} {one.peak_mb:5.0f}"
            )
            print(f"{rows:7d} {figures}   {again.cpu:7.2f} {again.peak_mb:5.0f}", flush=True)
            if rows == TARGET_ROWS:
                missed = one.cpu >= TARGET_SECONDS or max(one.peak_mb, again.peak_mb) >= TARGET_MB
    if TARGET_ROWS in options.rows:
        verdict = "MISSED" if missed else "met"
        print(f"target {TARGET_ROWS} rows: < {TARGET_SECONDS} s CPU and < {TARGET_MB:.0f} MB: {verdict}")
    if options.parts:
        print(
            "User CPU seconds by part, then of the whole fresh process; write: none | plain | atomic (fsync + rename)"
        )
        header = f"{'rows':>7}  {'write':<6} {'references':>10} {'manifest':>9} {'scripts':>8}"
        print(f"{header} {'user':>8} {'system':>8} {'wall':>7} {'user us/row':>12} {'MB':>5}")
        for rows in options.rows:
            print_parts(rows, options.repeat, options.folder)
    return 1 if missed else 0


def _cpu(usage: Usage) -> float:
    return usage.cpu


if __name__ == "__main__":
    sys.exit(main())
