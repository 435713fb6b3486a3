"""What watching a study costs: CPU seconds of a controller's look and of a cron tick, and of a day of either; the
memory of a tick; how often SLURM is asked.

    python benchmarks/unattended.py [--tasks 1000 10000] [--looks 10]

One round of TASKS rows is in flight behind fake SLURM programs (shell scripts that print a prepared queue); of the
rows none, half or all but one have a result on disk. CPU is user and system, squeue and sacct included. A day is
reckoned with the controller's own rule: a look every 60 s, and every 180 s at most where looks are dear
(agent/api/resident.py); cron ticks every 10 minutes. Targets for 1,000 tasks: resident below 60 s a day, cron below
180 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from child import ROOT, bytecode, machine, roundtable, run_child

sys.path.insert(0, str(ROOT))

TRAINER = ROOT / "benchmarks" / "trainer" / "trainer.yaml"
FOLDS = 5
TARGET_TASKS, RESIDENT_S, CRON_S = 1000, 60.0, 180.0
POLL_S, CRON_EVERY_S, DAY_S = 60.0, 600.0, 86_400.0
PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun")


def make(root: Path, programs: Path, tasks: int, finished: int) -> None:
    """A study whose round 1 has `tasks` rows in the queue, the first `finished` of them with a result."""
    from agent.api import TuneOptions
    from agent.api.begin import begin
    from agent.api.run import tick_once
    from agent.api.wiring import settings_for
    from agent.store.events import Submitted
    from agent.store.store import Store

    options = TuneOptions(
        task=root.name,
        trainer=str(TRAINER),
        output_dir=root.parent,
        auto_train=True,
        launcher="sbatch",
        candidates=tasks // FOLDS,
        folds=tuple(range(FOLDS)),
        max_iterations=2,
        confirm="never",
    )
    _programs(programs)
    store = begin(options)
    store.put_settings(settings_for(store, options, "sbatch"))
    tick_once(store)
    store = Store.open(root)
    _queue(programs, list(store.journal.of(Submitted)), finished)
    paths = store.open_folder()
    assert paths is not None
    _results(paths, store.config.metric, finished)


def _programs(folder: Path) -> None:
    folder.mkdir()
    answers = {"sbatch": "4242\n", "scontrol": "MaxArraySize = 1000001\n"}
    for name in PROGRAMS:
        (folder / f"{name}.out").write_text(answers.get(name, ""))
        (folder / name).write_text(f'#!/bin/sh\necho {name} >>"{folder}/calls"\nexec cat "{folder}/{name}.out"\n')
        (folder / name).chmod(0o755)


def _queue(folder: Path, submitted: Sequence[Any], finished: int) -> None:
    """squeue shows what runs and waits, sacct all of it."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    active, known = [], []
    for made in submitted:
        for item, task in zip(made.items, made.tasks, strict=True):
            train = made.kind == "train"
            state = "PENDING" if not train else "COMPLETED" if item < finished else "RUNNING"
            known.append(f"{task}|{state}|0:0|00:00:10|{at}|{at}|n1|{made.name}")
            if state != "COMPLETED":
                reason = "None" if train else "Dependency"
                active.append(f"{task}|{state}|{at}|0:10|n1|{reason}|{made.name}")
    (folder / "squeue.out").write_text("\n".join(active) + "\n")
    (folder / "sacct.out").write_text("\n".join(known) + "\n")


def _results(paths: Any, metric: str, finished: int) -> None:
    """result.json of the first rows, as their tasks write it."""
    from trainers.files import to_json
    from trainers.manifest import load_manifest

    manifest = load_manifest(paths.manifest)
    for row in manifest.rows[:finished]:
        folder = paths.attempt(row.candidate, row.fold, row.seed, 1)
        folder.root.mkdir(parents=True)
        result = {
            "schema_version": 1,
            "study": manifest.study,
            "round": manifest.round,
            "row": row.row,
            "candidate": row.candidate,
            "fold": row.fold,
            "seed": row.seed,
            "attempt": 1,
            "reference_sha256": manifest.candidates[row.candidate],
            "outcome": "ok",
            "metrics": {metric: 0.5, "loss": 1.0},
            "directions": {metric: manifest.direction, "loss": "minimize"},
            "costs": {"wall_seconds": 10.0, "cpu_seconds": 9.0, "gpu_seconds": 10.0},
        }
        folder.result.write_text(to_json(result))


def looks(root: Path, count: int) -> dict[str, float]:
    """CPU seconds of a resident controller: its first look with the imports, and the mean of the next ones."""
    import dataclasses

    from agent.api import resident
    from agent.store.control import Identity
    from agent.store.store import Store

    store = Store.open(root)
    # Every look is to ask the scheduler; the day is reckoned with POLL_S.
    store.put_settings(dataclasses.replace(store.settings(), poll_s=0.001))
    calls = _calls(root)
    me = Identity(generation=1, kind="foreground", host="here", pid=os.getpid(), started=0, boot="")
    controller = resident.Resident(root, me, say=lambda line: None)
    spent = []
    for _ in range(count + 1):
        before = resident._cpu_seconds()
        if (ending := controller._look()) is not None:
            raise SystemExit(f"the controller ended: {ending.reason}")
        controller._beat(store, next_in=POLL_S)
        spent.append(resident._cpu_seconds() - before)
        time.sleep(0.01)
    return {"first": spent[0], "look": sum(spent[1:]) / count, "calls": (_calls(root) - calls) / (count + 1)}


def _calls(root: Path) -> int:
    """Calls of SLURM's programs so far."""
    return len((root.parents[1] / "bin" / "calls").read_text().splitlines())


def wait_of(look: float) -> float:
    """Seconds between looks of so many CPU seconds: the controller's own rule."""
    from agent.api.resident import CPU_DAY_SHARE, LONGEST_WAIT

    return min(max(POLL_S, look * CPU_DAY_SHARE), LONGEST_WAIT * POLL_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time of watching a study, a look and a day.")
    parser.add_argument("--tasks", type=int, nargs="+", default=[TARGET_TASKS, 10_000])
    parser.add_argument("--looks", type=int, default=10)
    parser.add_argument("--resident", type=Path, metavar="STUDY", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident is not None:
        print(json.dumps(looks(options.resident, options.looks)))
        return 0
    print(f"{machine()}; CPU seconds")
    print(f"{'':30} resident {'':30} cron")
    head = f"{'tasks':>6} {'with a result':>13} {'first look':>10} {'look':>7} {'a day':>7} {'calls/h':>7}"
    print(f"{head} {'tick':>7} {'a day':>7} {'calls/h':>7} {'MB':>5}")
    missed = False
    with bytecode() as environment:
        for tasks in options.tasks:
            for finished in (0, tasks // 2, tasks - 1):
                missed |= _line(tasks, finished, environment, options.looks)
    if TARGET_TASKS in options.tasks:
        said = "MISSED" if missed else "met"
        print(f"target {TARGET_TASKS} tasks: resident < {RESIDENT_S:.0f} s, cron < {CRON_S:.0f} s a day: {said}")
    return 1 if missed else 0


def _line(tasks: int, finished: int, environment: dict[str, str], count: int) -> bool:
    """Make a study, measure, print; whether a target was missed."""
    with tempfile.TemporaryDirectory() as folder:
        root, programs = Path(folder) / "runs" / "watched", Path(folder) / "bin"
        environment = environment | {"PATH": f"{programs}:/usr/bin:/bin"}
        os.environ["PATH"] = environment["PATH"]
        make(root, programs, tasks, finished)
        run_child([*roundtable(), "tick", "--study", str(root)], environment=environment)
        before = _calls(root)
        ticks = [run_child([*roundtable(), "tick", "--study", str(root)], environment=environment) for _ in range(3)]
        calls = (_calls(root) - before) / len(ticks)
        argv = [sys.executable, __file__, "--resident", str(root), "--looks", str(count)]
        done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
    tick, peak = min(used.cpu for used in ticks), max(used.peak_mb for used in ticks)
    wait = wait_of(found["look"])
    resident, cron = found["first"] + found["look"] * DAY_S / wait, tick * DAY_S / CRON_EVERY_S
    watched = f"{found['first']:10.3f} {found['look']:7.4f} {resident:7.1f} {found['calls'] * 3600 / wait:7.0f}"
    ticked = f"{tick:7.3f} {cron:7.1f} {calls * 3600 / CRON_EVERY_S:7.0f} {peak:5.0f}"
    print(f"{tasks:6d} {finished:13d} {watched} {ticked}", flush=True)
    return tasks == TARGET_TASKS and (resident >= RESIDENT_S or cron >= CRON_S)


if __name__ == "__main__":
    sys.exit(main())
