"""What orchestration adds to one local trial: from spawn to result, with a training that is over at once.

    python benchmarks/overhead.py [--trials 30] [--repeat 5]

The same script (benchmarks/trainer/train.sh, one awk), one trial at a time, four ways; and beside them the start of
Python, which every tool written in it pays for each trial:

    python       subprocess.run of `python -c pass`
    subprocess   subprocess.run of the script
    launcher     Roundtable's local launcher running the script itself: the queue alone
    trial        Roundtable's local launcher running a rendered round: the queue and the task entry (trainers.job),
                 which claims its row, checks manifest and reference, runs the program and writes a checked result
    submitit     submitit's local executor and CommandFunction; its result's file is looked for every 5 ms, as for the
                 others (its own result() looks once a second, which makes 1.2 s of each trial)

Wall seconds from the first submission to the last result, divided by the trials. CPU seconds are those of everything
that ran, detached processes included. The ways are run in turn, and ratios to subprocess and to python are medians of
those turns: `to python` is the figure that a busy machine changes least.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from child import ROOT, bytecode, machine

sys.path.insert(0, str(ROOT))

TRAINER = ROOT / "benchmarks" / "trainer" / "trainer.yaml"
SCRIPT = TRAINER.with_name("train.sh")
LOOK_S = 0.005
PR_SET_CHILD_SUBREAPER = 36


def _environment(folder: Path, seed: int) -> dict[str, str]:
    """What the script reads, and beyond that this process's variables."""
    folder.mkdir(parents=True)
    return dict(os.environ) | {"RT_X": "0.5", "RT_FOLD": "0", "RT_SEED": str(seed), "RT_OUT": str(folder)}


def by_subprocess(root: Path, trials: int) -> Callable[[], None]:
    def go() -> None:
        for seed in range(trials):
            subprocess.run(["sh", str(SCRIPT)], env=_environment(root / str(seed), seed), check=True)

    return go


def by_python(root: Path, trials: int) -> Callable[[], None]:
    def go() -> None:
        for _ in range(trials):
            subprocess.run([sys.executable, "-c", "pass"], check=True)

    return go


def by_submitit(root: Path, trials: int) -> Callable[[], None]:
    import submitit
    from submitit.core.utils import pickle_load
    from submitit.helpers import CommandFunction

    executor = submitit.LocalExecutor(folder=root / "jobs")
    executor.update_parameters(timeout_min=5)

    def go() -> None:
        for seed in range(trials):
            variables = _environment(root / str(seed), seed)
            job = executor.submit(CommandFunction(["sh", str(SCRIPT)], verbose=False, env=variables))
            while not job.paths.result_pickle.exists():
                time.sleep(LOOK_S)
            outcome, value = pickle_load(job.paths.result_pickle)
            if outcome != "success":
                raise SystemExit(f"submitit: {value}")

    return go


def by_launcher(root: Path, trials: int) -> Callable[[], None]:
    body = root / "body.sh"
    body.write_text(
        f'RT_X=0.5 RT_FOLD=0 RT_SEED="$1" RT_OUT="{root}/$1"\nexport RT_X RT_FOLD RT_SEED RT_OUT\n'
        f'mkdir "$RT_OUT"\nexec sh "{SCRIPT}"\n',
        encoding="utf-8",
    )
    (root / "logs").mkdir()
    return lambda: _queue(root, body, trials)


def by_trial(root: Path, trials: int) -> Callable[[], None]:
    from agent.api import TuneOptions, tune

    seeds = tuple(range(trials))
    options = TuneOptions(task="one", trainer=str(TRAINER), output_dir=root, launcher="local", seeds=seeds)
    paths = tune(options).store.open_folder()
    if paths is None:
        raise SystemExit("no round was rendered")

    def go() -> None:
        _queue(paths.root, paths.script("train"), trials)
        ended = [
            json.loads(path.read_text())["outcome"] for path in paths.root.glob("trials/*/attempt_1/result.json")
        ]
        if ended != ["ok"] * trials:
            raise SystemExit(f"{trials} trials were to end ok, but: {ended}")

    return go


def _queue(round_dir: Path, script: Path, trials: int) -> None:
    """Hand the items to one worker of the local launcher and wait until all are gone."""
    from agent.launch.base import Batch, State
    from agent.launch.local import LocalLauncher, LocalSettings

    launcher = LocalLauncher(LocalSettings(workers=1))
    batch = Batch(
        name="overhead",
        kind="train",
        round_dir=round_dir,
        script=script,
        array_script=script,
        items=tuple(range(trials)),
    )
    submission = launcher.submit(batch)
    while True:
        polled = launcher.poll([submission])
        if all(status.state is State.GONE for status in polled.values()):
            break
        time.sleep(LOOK_S)
    failed = {item: status.raw for (_, item), status in polled.items() if status.raw != "COMPLETED"}
    if failed:
        raise SystemExit(f"failed: {failed}")


WAYS = {
    "subprocess": by_subprocess,
    "python": by_python,
    "launcher": by_launcher,
    "trial": by_trial,
    "submitit": by_submitit,
}


def one(way: str, root: Path, trials: int) -> dict[str, float]:
    """Prepare, then run the trials; wall and CPU seconds of the running alone."""
    # A detached process becomes a child of this one when its starter has ended, so that its CPU time arrives here.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    go = WAYS[way](root, trials)
    cpu, begun = _cpu(), time.perf_counter()
    go()
    wall = time.perf_counter() - begun
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return {"wall": wall / trials, "cpu": (_cpu() - cpu) / trials}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> int:
    parser = argparse.ArgumentParser(description="Orchestration overhead of one local trial.")
    parser.add_argument("--trials", type=int, default=30, help="trials of a run, one at a time (default 30)")
    parser.add_argument("--repeat", type=int, default=5, help="turns, after one that fills caches (default 5)")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, root = options.one
        print(json.dumps(one(way, Path(root), options.trials)))
        return 0
    print(f"{machine()}; {options.trials} trials, median of {options.repeat} turns", flush=True)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with bytecode() as environment:
        for turn in range(options.repeat + 1):
            for way, runs in found.items():
                with tempfile.TemporaryDirectory() as root:
                    command = [sys.executable, __file__, "--trials", str(options.trials), "--one", way, root]
                    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                if turn:
                    runs.append(json.loads(done.stdout))
    print(f"{'way':<11} {'wall ms':>8} {'added ms':>9} {'ratio':>7} {'CPU ms':>8} {'ratio':>7} {'to python':>9}")
    base = found["subprocess"]
    for way, runs in found.items():
        wall, cpu = (1e3 * statistics.median(run[kind] for run in runs) for kind in ("wall", "cpu"))
        added = 1e3 * statistics.median(run["wall"] - bare["wall"] for run, bare in zip(runs, base, strict=True))
        ratios = [
            statistics.median(run[kind] / bare[kind] for run, bare in zip(runs, base, strict=True))
            for kind in ("wall", "cpu")
        ]
        starts = statistics.median(run["cpu"] / one["cpu"] for run, one in zip(runs, found["python"], strict=True))
        print(
            f"{way:<11} {wall:8.1f} {added:9.1f} {ratios[0]:6.1f}x {cpu:8.1f} {ratios[1]:6.1f}x {starts:8.1f}x",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
