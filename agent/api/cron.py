"""The line that a person installs so that cron, or SLURM's scrontab, ticks a study."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from agent.errors import UsageError
from agent.launch.controller import scrontab_answers
from agent.launch.environment import KEPT
from agent.launch.profile_checks import unsafe_characters
from agent.launch.training import import_root
from agent.store.paths import StudyPaths

#: What cron searches for programs.
CRON_PATH = ("/usr/bin", "/bin")


def cron_lines(paths: StudyPaths, name: str, *, every_minutes: int) -> list[str]:
    """What to say: how to install the line, and the line, last. Nothing is installed.

    Raises UsageError for a period that cron cannot keep evenly and for a path that no crontab can hold.
    """
    when = schedule(every_minutes)
    if scrontab_answers():
        options = f"#SCRON --job-name={name} --time=00:10:00 --cpus-per-task=1 --open-mode=append"
        options += f" --output={paths.controller_log}"
        head = ["# add these two lines with `scrontab -e` (SLURM runs them, on whatever node is free):", options]
        return [*head, f"{when} {command(paths)}"]
    return [
        "# add this line with `crontab -e` on a machine whose cron may run for you:",
        # cron takes a bare % for a line break.
        f"{when} {command(paths)}".replace("%", "\\%"),
    ]


def schedule(minutes: int) -> str:
    """The five time fields of a crontab. Raises UsageError for a period that does not divide an hour or a day."""
    if minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    hours, rest = divmod(minutes, 60)
    if not rest and hours and 24 % hours == 0:
        return f"0 */{hours} * * *" if hours < 24 else "0 0 * * *"
    raise UsageError(
        f"--every {minutes}m: cron keeps periods that divide an hour or a day: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or "
        "30 minutes (10m), 1, 2, 3, 4, 6, 8, 12 or 24 hours (2h)"
    )


def command(paths: StudyPaths) -> str:
    """The shell command of one tick: quoted, in the folder of this call, where .env is."""
    where = Path.cwd()
    for path in (where, paths.root):
        if bad := unsafe_characters(str(path)):
            raise UsageError(f"{str(path)!r}: {bad}; no crontab can hold this path")
    tick = [sys.executable, "-P", "-m", "roundtable", "tick", "--study", str(paths.root), "--unattended"]
    if given := environment():
        tick = ["env", *given, *tick]
    return f"cd {shlex.quote(str(where))} && {shlex.join(tick)} >> {shlex.quote(str(paths.controller_log))} 2>&1"


def environment() -> list[str]:
    """NAME=VALUE of what a tick needs and cron's bare environment lacks."""
    found = [f"{name}={os.environ[name]}" for name in KEPT if name in os.environ]
    programs = [shutil.which(name) for name in ("sbatch", "srun")]
    folders = list(dict.fromkeys(str(Path(program).parent) for program in programs if program))
    if any(folder not in CRON_PATH for folder in folders):
        found.append("PATH=" + os.pathsep.join(dict.fromkeys((*folders, *CRON_PATH))))
    if (root := import_root()) is not None:
        found.append(f"PYTHONPATH={root}")
    return found
