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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import AmbiguousSubmission
from agent.launch.base import SlurmSettings, State
from agent.launch.doctor import trial
from agent.launch.doctor.disk import check_trial
from agent.launch.doctor.dry_run import header
from agent.launch.doctor.finding import Area, Asker, Finding, Level
from agent.launch.profile import Profile
from agent.launch.sbatch import refusal
from agent.launch.states import STATES, parse_elapsed, parse_submission
from trainers.registry import RegisteredTrainer

#: Asked for in place of the profile's time where that is longer: a short job starts sooner.
TIME_LIMIT_S = 600
#: How long a report may take to appear here after the job has ended (attribute caches of NFS).
REPORT_GRACE_S = 15.0

NO_FOLDER, NOT_WRITABLE, SETUP_FAILED, NO_PYTHON, NO_ROOT, NO_TRIAL, NO_IMPORT = range(41, 48)

_area = Area("node")


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
        lock = os.open(inside / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _submitted(asker, visit, inside, name, say, clock, sleep)
        finally:
            os.close(lock)
            # By name: it also reaches a job whose id never arrived here.
            asker.ask("scancel", "--name", name, "--user", str(os.getuid()))
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def _submitted(
    asker: Asker,
    visit: Visit,
    inside: Path,
    name: str,
    say: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> list[Finding]:
    looked = "a job through the profile"
    reply = asker.ask(
        "sbatch", "--parsable", text=node_script(visit, inside, name), patience_s=asker.submit_patience_s
    )
    parsed = parse_submission(reply.out) if reply.code == 0 else None
    if parsed is None and isinstance(refusal(reply, name), AmbiguousSubmission):
        said = f"sbatch gave no clear answer: {reply.words}; should the job run later, it ends at once"
        return [_area.warning(looked, said, "call again when the controller answers")]
    if parsed is None:
        ask = "see `sbatch --test-only` above, then call again"
        return [_area.problem(looked, f"sbatch did not take it: {reply.words}", ask)]
    job = parsed[0]
    say(f"job {job} submitted; waiting for it, {visit.wait_s:g} s at most")
    until = clock() + visit.wait_s
    shown: dict[str, str] = {}
    while True:
        answer = asker.ask("scontrol", "show", "job", "-o", job)
        if answer.code == 0:
            shown = dict(word.split("=", 1) for word in answer.out.split() if "=" in word)
            if STATES.get(shown.get("JobState", "")) is State.GONE:
                break
        elif "Invalid job id" in answer.words:
            break
        if clock() >= until:
            return [_late(looked, job, shown, answer.words, visit.wait_s)]
        sleep(visit.interval_s)
    report = _read(inside / "report.json", clock() + REPORT_GRACE_S, clock, sleep, shown)
    return outcome(visit, inside, shown, report, job)


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
        lines += [f"[ -d {root}/trainers ] || exit {NO_ROOT}", f"export PYTHONPATH={root}"]
    if visit.trainer is not None:
        modules = " ".join(map(q, visit.trainer.requires))
        probe = f"{python} -m trainers.job probe --trainer {q(visit.trainer.name)} {modules}"
        lines += ["cd /", f"{probe} >{folder}/probe.json || exit {NO_IMPORT}"]
    return header(SlurmSettings(directives=kept), *more) + "\n".join(lines) + "\n"


def _read(
    path: Path, until: float, clock: Callable[[], float], sleep: Callable[[float], None], shown: Mapping[str, str]
) -> dict[str, Any] | None:
    code = _exit_code(shown)
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


def _late(looked: str, job: str, shown: Mapping[str, str], words: str, wait_s: float) -> Finding:
    state = shown.get("JobState", "")
    why = f"{state} ({shown.get('Reason', '')})" if state else f"unknown ({words})"
    ask = "call again with a longer --wait, or at a quieter time; `squeue --start` estimates the start"
    return _area.warning(
        looked, f"job {job} was {why} after {wait_s:g} s and was cancelled: nodes were not seen", ask
    )


def outcome(
    visit: Visit, inside: Path, shown: Mapping[str, str], report: Mapping[str, Any] | None, job: str
) -> list[Finding]:
    """Findings on how the job ended and what it reported."""
    node = shown.get("NodeList", "")
    node = node if node and node != "(null)" else str((report or {}).get("host", "the node"))
    looked = f"a job through the profile ({job} on {node})"
    state, code = shown.get("JobState", "gone"), _exit_code(shown)
    tail = _tail(inside / "node.log")
    share = "use --output-dir on a filesystem that compute nodes share (home, project, scratch)"
    known = {
        NO_FOLDER: (f"the node does not see {visit.folder}", share),
        NOT_WRITABLE: (f"the node cannot write in {visit.folder}", f"{share}, mounted read-write on nodes"),
        SETUP_FAILED: (f"the profile's `setup` ended the script: {tail}", "mend `setup` in the profile"),
        NO_PYTHON: (
            f"the node does not see {visit.python}",
            "set `python` in the profile to a python on a shared filesystem",
        ),
        NO_TRIAL: (f"the node's python failed: {tail}", "run it on a node by hand: srun --pty bash"),
        NO_ROOT: (
            f"the node does not see Roundtable's checkout {visit.import_root}",
            "put the checkout on a shared filesystem, or install roundtable into the training environment",
        ),
        NO_IMPORT: (
            f"the node's python cannot import what the trainer needs: {_probe(inside) or tail}",
            "install it into the profile's `python` environment, or load its modules in `setup`",
        ),
    }
    findings = []
    if code in known:
        findings.append(_area.problem(looked, *known[code]))
    elif report is None:
        said = f"ended {state} {shown.get('ExitCode', '')} without a report {tail}".strip()
        ask = f"look at `scontrol show job {job}` or `sacct -j {job}`; nodes may not see {visit.folder}"
        return [_area.problem(looked, said, ask)]
    elif state not in ("COMPLETED", "gone"):
        ask = f"look at `scontrol show job {job}` or `sacct -j {job}`"
        findings.append(_area.warning(looked, f"reported, but ended {state} {shown.get('ExitCode', '')}", ask))
    else:
        imports = f", imports what {visit.trainer.name} needs" if visit.trainer is not None else ""
        took = parse_elapsed(shown.get("RunTime", "")) or 0.0
        said = f"sees the folder and {visit.python} ({report['python']}{imports}); took {took:g} s"
        findings.append(_area.ok(looked, said))
    return findings + _reported(report, node)


def _reported(report: Mapping[str, Any] | None, node: str) -> list[Finding]:
    if report is None:
        return []
    tried = check_trial(report, looked=f"writing from {node}", machine=node)
    findings = [each for each in tried if each.level is not Level.OK]
    if report.get("locked_elsewhere") is False:
        said = f"a lock held here is not seen on {node}; the lease's heartbeat guards instead"
        findings.append(
            _area.warning("flock between machines", said, "call Roundtable for one study from one machine only")
        )
    elif report.get("locked_elsewhere"):
        findings.append(_area.ok("flock between machines", f"a lock held here is seen on {node}"))
    return findings


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return " / ".join(line for line in lines[-3:] if line.strip())


def _probe(inside: Path) -> str:
    try:
        return "; ".join(json.loads((inside / "probe.json").read_text(encoding="utf-8"))["missing"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
