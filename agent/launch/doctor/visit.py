"""`--submit`: one tiny real job through the profile, which says what a compute node sees.

Its script travels with sbatch, so that it can tell, by its exit code, even that the node does not see the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import AmbiguousSubmission
from agent.launch.ask import Asker
from agent.launch.base import SlurmSettings, State
from agent.launch.doctor import trial
from agent.launch.doctor.disk import check_trial
from agent.launch.doctor.finding import Area, Finding, Level
from agent.launch.doctor.request import header
from agent.launch.profile import Profile
from agent.launch.sbatch import refusal
from agent.launch.states import STATES, parse_elapsed, parse_pairs, parse_submission
from agent.launch.training import probe_command
from trainers.registry import RegisteredTrainer

#: Asked for in place of the profile's time where that is longer: a short job starts sooner.
TIME_LIMIT_S = 600
#: How long a report may take to appear here after the job has ended (attribute caches of NFS).
REPORT_GRACE_S = 15.0

NO_FOLDER, NOT_WRITABLE, SETUP_FAILED, NO_PYTHON, NO_ROOT, NO_TRIAL, NO_IMPORT = range(41, 48)

_area, _LOOKED = Area("node"), "a job through the profile"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What the job looks for."""

    folder: Path
    """The study's folder, or the nearest one above it that exists; must be writable here."""
    profile: Profile
    python: Path
    import_root: Path | None
    trainer: RegisteredTrainer | None = None
    wait_s: float = 300.0
    """How long the job may wait and run before it is cancelled."""
    interval_s: float = 3.0


def visit_node(
    asker: Asker,
    visit: Visit,
    *,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Finding]:
    """Submit the job, wait for its end and tell what it saw. No job is left, however this ends."""
    inside = Path(tempfile.mkdtemp(prefix=".roundtable-doctor-", dir=visit.folder))
    name = f"roundtable-doctor-{secrets.token_hex(4)}"
    try:
        shutil.copyfile(trial.__file__, inside / "trial.py")
        with (inside / "lock").open("x") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                job = _submit(asker, node_script(visit, inside, name), name)
                if isinstance(job, Finding):
                    return [job]
                say(f"job {job} submitted; waiting for it, {visit.wait_s:g} s at most")
                shown = _ended(asker, visit, job, clock, sleep)
                if isinstance(shown, Finding):
                    return [shown]
                report = _read(inside / "report.json", _exit_code(shown), clock() + REPORT_GRACE_S, clock, sleep)
                return list(outcome(visit, inside, shown, report, job))
            finally:
                # By name: it also reaches a job whose id never arrived here.
                asker.ask("scancel", "--name", name, "--user", str(os.getuid()))
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def _submit(asker: Asker, script: str, name: str) -> str | Finding:
    """The job's id, or why there is none."""
    reply = asker.ask("sbatch", "--parsable", text=script, patience_s=asker.submit_patience_s)
    parsed = parse_submission(reply.out) if reply.code == 0 else None
    if parsed is not None:
        return parsed[0]
    if isinstance(refusal(reply, name), AmbiguousSubmission):
        said = f"sbatch gave no clear answer: {reply.words}; should the job run later, it ends at once"
        return _area.warning(_LOOKED, said, "call again when the controller answers")
    said = f"sbatch did not take it: {reply.words}"
    return _area.problem(_LOOKED, said, "see `sbatch --test-only` above, then call again")


def _ended(
    asker: Asker, visit: Visit, job: str, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Mapping[str, str] | Finding:
    """What scontrol shows of the job once it is over, nothing where it was forgotten; or that it took too long."""
    until = clock() + visit.wait_s
    shown: dict[str, str] = {}
    while True:
        answer = asker.ask("scontrol", "show", "job", "-o", job)
        shown = parse_pairs(answer.out) if answer.code == 0 else shown
        state = shown.get("JobState", "")
        if STATES.get(state) is State.GONE or (answer.code and "Invalid job id" in answer.words):
            return shown
        if clock() >= until:
            why = f"{state} ({shown.get('Reason', '')})" if state else f"unknown ({answer.words})"
            said = f"job {job} was {why} after {visit.wait_s:g} s and was cancelled: nodes were not seen"
            ask = "call again with a longer --wait, or at a quieter time; `squeue --start` estimates the start"
            return _area.warning(_LOOKED, said, ask)
        sleep(visit.interval_s)


def node_script(visit: Visit, inside: Path, name: str) -> str:
    """What runs on the node."""
    settings = visit.profile.settings("train")
    limit = visit.profile.time_seconds
    short = {"signal": None, "time": "10"} if limit is None or limit > TIME_LIMIT_S else {"signal": None}
    kept = tuple((key, value) for key, value in settings.directives if key not in short)
    more = [("job-name", name), ("output", "/dev/null"), ("chdir", "/"), ("export", "ALL")]
    more += [("time", "10")] if "time" in short and limit is not None else []
    q = shlex.quote
    python, folder = q(str(visit.python)), q(str(inside))
    lines = [
        f"cd -- {folder} || exit {NO_FOLDER}",
        f"touch reached && exec >node.log 2>&1 || exit {NOT_WRITABLE}",
        "unset PYTHONPATH PYTHONHOME",
        # A set-up line that ends the shell, or fails at a typo, must not pass for a missing python.
        f"trap 'exit {SETUP_FAILED}' EXIT",
        *visit.profile.setup,
        "trap - EXIT",
        *(f"export {key}={q(value)}" for key, value in visit.profile.env.items()),
        f"cd -- {folder} || exit {NO_FOLDER}",
        f"[ -x {python} ] || exit {NO_PYTHON}",
        f"{python} -IS trial.py {folder} --lock lock --report report.json || exit {NO_TRIAL}",
    ]
    if visit.import_root is not None:
        root = q(str(visit.import_root))
        lines += [
            f"[ -d {root}/trainers ] || exit {NO_ROOT}",
            f'export PYTHONPATH={root}${{PYTHONPATH:+":$PYTHONPATH"}}',
        ]
    if visit.trainer is not None:
        probe = shlex.join(probe_command(visit.python, visit.trainer, visit.import_root))
        lines += ["cd /", f"{probe} >{folder}/probe.json || exit {NO_IMPORT}"]
    return header(SlurmSettings(directives=kept), *more) + "\n".join(lines) + "\n"


def _read(
    path: Path, code: int | None, until: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> dict[str, Any] | None:
    """The report, for which NFS may take a while. code: the job's exit code."""
    while True:
        os.listdir(path.parent)  # makes NFS look again
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            # These ended before the report; nothing will come.
            if clock() >= until or code in (NO_FOLDER, NOT_WRITABLE, SETUP_FAILED, NO_PYTHON, NO_TRIAL):
                return None
        sleep(0.5)


def _exit_code(shown: Mapping[str, str]) -> int | None:
    match = re.fullmatch(r"(\d+):\d+", shown.get("ExitCode", ""))
    return int(match[1]) if match else None


def outcome(
    visit: Visit, inside: Path, shown: Mapping[str, str], report: Mapping[str, Any] | None, job: str
) -> Iterator[Finding]:
    """Findings on how the job ended and what it reported."""
    node = shown.get("NodeList", "")
    node = node if node and node != "(null)" else str((report or {}).get("host", "the node"))
    looked = f"{_LOOKED} ({job} on {node})"
    ended = f"ended {shown.get('JobState', 'gone')} {shown.get('ExitCode', '')}"
    ask = f"look at `scontrol show job {job}` or `sacct -j {job}`"
    known = _lacking(visit, inside).get(_exit_code(shown) or 0)
    if known is not None:
        yield _area.problem(looked, *known)
    elif report is None:
        said = f"{ended} without a report {_tail(inside)}".strip()
        yield _area.problem(looked, said, f"{ask}; nodes may not see {visit.folder}")
    elif shown.get("JobState", "gone") not in ("COMPLETED", "gone"):
        yield _area.warning(looked, f"reported, but {ended}", ask)
    else:
        imports = f", imports what {visit.trainer.name} needs" if visit.trainer is not None else ""
        took = parse_elapsed(shown.get("RunTime", "")) or 0.0
        yield _area.ok(looked, f"sees the folder and {visit.python} ({report['python']}{imports}); took {took:g} s")
    if report is None:
        return
    tried = check_trial(report, looked=f"writing from {node}", machine=node)
    yield from (finding for finding in tried if finding.level is not Level.OK)
    looked, seen = "flock between machines", report.get("locked_elsewhere")
    if seen:
        yield _area.ok(looked, f"a lock held here is seen on {node}")
    elif seen is False:
        said = f"a lock held here is not seen on {node}; the lease's heartbeat guards instead"
        yield _area.warning(looked, said, "call Roundtable for one study from one machine only")


def _lacking(visit: Visit, inside: Path) -> dict[int, tuple[str, str]]:
    """What each exit code of the script says, and what to change."""
    tail, node = _tail(inside), "the node does not see"
    share = "use --output-dir on a filesystem that compute nodes share (home, project, scratch)"
    checkout = "put the checkout on a shared filesystem, or install roundtable into the training environment"
    install = "install it into the profile's `python` environment, or load its modules in `setup`"
    missing = f"the node's python cannot import what the trainer needs: {_probe(inside) or tail}"
    python = "set `python` in the profile to a python on a shared filesystem"
    return {
        NO_FOLDER: (f"{node} {visit.folder}", share),
        NOT_WRITABLE: (f"the node cannot write in {visit.folder}", f"{share}, mounted read-write on nodes"),
        SETUP_FAILED: (f"the profile's `setup` ended the script: {tail}", "mend `setup` in the profile"),
        NO_PYTHON: (f"{node} {visit.python}", python),
        NO_TRIAL: (f"the node's python failed: {tail}", "run it on a node by hand: srun --pty bash"),
        NO_ROOT: (f"{node} Roundtable's checkout {visit.import_root}", checkout),
        NO_IMPORT: (missing, install),
    }


def _tail(inside: Path) -> str:
    """The last lines of the node's log."""
    try:
        lines = (inside / "node.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return " / ".join(line for line in lines[-3:] if line.strip())


def _probe(inside: Path) -> str:
    """The modules that the node's python could not import."""
    try:
        return "; ".join(json.loads((inside / "probe.json").read_text(encoding="utf-8"))["missing"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
