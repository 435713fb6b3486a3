"""SLURM itself: its programs, its controller, accounting, the site's settings and limits, by their own answers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping

from agent.launch.ask import Asker
from agent.launch.catalogue import SLURM, capabilities_of
from agent.launch.commands import Reply
from agent.launch.doctor.finding import Area, Finding
from agent.launch.scheduler import no_accounting
from agent.launch.states import array_limits, parse_config

NEEDED = capabilities_of("sbatch").programs
"""What every SLURM launcher needs; submitit needs srun too."""
HELPFUL = {
    "sinfo": "partitions and nodes cannot be compared with the profile",
    "sacctmgr": "your accounts, QOS and job limits cannot be read",
}
#: States and options are known for these (agent.launch.states).
OLDEST, NEWEST = (20, 11), (24, 5)
#: Under this a trainer that is cancelled has no time to save anything.
SHORT_KILL_WAIT_S = 5
LOST_WITHOUT_ACCOUNTING = (
    "an ended task is known only until squeue forgets it, then by its result and exit files; a host that ran out of "
    "memory looks like a crash, and GPU-hours stay at what was declared"
)

_slurm, _cluster = Area("slurm"), Area("cluster")
_ACCOUNTS = "accounts and limits (sacctmgr)"


# --- programs ---


def check_programs(asker: Asker, launcher: str, *, chosen: bool) -> tuple[list[Finding], bool]:
    """Findings, and whether SLURM can be asked further.

    launcher: its name. chosen: a person or the study said so; else it follows from what is there, and a machine
    without SLURM is one that runs locally.
    """
    present = [program for program in (*NEEDED, "srun") if asker.has(program)]
    if capabilities_of(launcher).system != SLURM:
        return [_without_slurm(launcher, "sbatch" in present, chosen)], False
    missing = [program for program in NEEDED if program not in present]
    if missing:
        here = f"there are {', '.join(present)}" if present else "none of SLURM's programs is there"
        said = f"missing: {', '.join(missing)} ({here}): only --launcher local works"
        ask = "run this on a SLURM login node, load its module (module load slurm), or use --launcher local"
        return [_slurm.problem("programs on PATH", said, ask)], False
    findings = []
    if "srun" not in present:
        said = "srun is missing: --launcher sbatch and local work, submitit does not"
        judge = _slurm.problem if "srun" in capabilities_of(launcher).programs else _slurm.warning
        findings.append(judge("programs on PATH", said, "use --launcher sbatch"))
    for program in (program for program in HELPFUL if not asker.has(program)):
        ask = f"load the module that brings {program}, or take these from the site's documents"
        findings.append(_slurm.warning(f"{program} on PATH", f"missing: {HELPFUL[program]}", ask))
    replies = {program: asker.ask(program, "--version") for program in present}
    # Without any configuration even --version fails; the controller's finding says so, once.
    answers = {program: reply.words for program, reply in replies.items() if reply.code == 0}
    return findings + ([check_versions(answers)] if answers else []), True


def _without_slurm(launcher: str, slurm: bool, chosen: bool) -> Finding:
    if slurm:
        said = f"--launcher {launcher}: SLURM is here and is not asked"
        return _slurm.ok("launcher", said, "name --launcher submitit or sbatch to check SLURM")
    why = "chosen" if chosen else "no SLURM on this machine"
    return _slurm.ok("launcher", f"{launcher} runs work (--launcher {launcher}: {why}); rounds need no scheduler")


def version_of(text: str) -> tuple[int, int] | None:
    """(22, 5) of "slurm-wlm 22.05.8"; None for anything else."""
    match = re.search(r"\bslurm\S*\s+(\d{2})\.(\d{1,2})\b", text)
    return (int(match[1]), int(match[2])) if match else None


def shown(version: tuple[int, int]) -> str:
    """22.05, as SLURM writes it."""
    return f"{version[0]}.{version[1]:02d}"


def check_versions(answers: Mapping[str, str]) -> Finding:
    """What the programs answered to --version, by program."""
    looked = f"versions of {', '.join(answers)}"
    found = {program: version_of(text) for program, text in answers.items()}
    versions = {program: version for program, version in found.items() if version is not None}
    unknown = [program for program in answers if program not in versions]
    if unknown:
        said = "; ".join(f"{program} says {answers[program]!r}" for program in unknown)
        ask = f"look at `type {unknown[0]}`: a wrapper, or another program of that name, may stand before SLURM's"
        return _slurm.warning(looked, f"no SLURM version: {said}", ask)
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{program} {shown(version)}" for program, version in versions.items())
        return _slurm.warning(looked, f"they differ: {said}", "load one SLURM module only")
    said = shown(version := next(iter(versions.values())))
    if version < OLDEST:
        said += f" is older than {shown(OLDEST)}: array notation and states may be misread"
        ask = "ask for a newer SLURM, or use `roundtable tune --slurm` and submit by hand"
        return _slurm.warning(looked, said, ask)
    if version > NEWEST:
        said += f" (states are known up to {shown(NEWEST)}; an unknown one counts as not finished)"
    return _slurm.ok(looked, said)


# --- the controller, accounting and the site's settings ---


def ask_config(asker: Asker) -> tuple[Finding, dict[str, str]]:
    """Whether a controller answers, and `scontrol show config`; empty where nothing more should be asked."""
    ping = asker.ask("scontrol", "ping")
    if not re.search(r"\bis\s+UP\b", ping.out):
        # Measured: frozen or killed, scontrol ping says DOWN with rc 1 (after 10 s and at once).
        words = _gist(ping)
        said = f"does not answer (scontrol ping: {words})"
        ask = "wait until it answers, look at SLURM_CONF, or use --launcher local; nothing else was asked of SLURM"
        if "configuration source" in words:
            said = f"SLURM's programs are here, but no cluster is set up: {words}"
            ask = "call from a login node, export SLURM_CONF=.../slurm.conf, or use --launcher local"
        return _cluster.problem("controller", said, ask), {}
    reply = asker.ask("scontrol", "show", "config")
    config = parse_config(reply.out) if reply.code == 0 else {}
    if "ClusterName" not in config:
        ask = "run `scontrol show config` yourself; nothing else was asked of SLURM"
        said = f"`scontrol ping` is UP, but `scontrol show config` cannot be read: {reply.words}"
        return _cluster.problem("controller", said, ask), {}
    return _cluster.ok("controller", f"answers; cluster {config['ClusterName']}"), config


def _gist(reply: Reply) -> str:
    """The line that says it: programs of SLURM print their last reason last, and a banner below a state."""
    state = next((line for line in reply.out.splitlines() if "slurmctld" in line.lower()), "")
    lines = [line for line in (reply.err or reply.out).splitlines() if line.strip()]
    return state or (lines[-1] if lines else reply.words)


def check_accounting(reply: Reply) -> Finding:
    """What sacct's answer says about accounting. Line 25: without accounting sacct gives rc 1."""
    looked = "accounting (sacct)"
    if reply.code == 0:
        return _cluster.ok(looked, "answers")
    if no_accounting(reply):
        ask = "nothing has to change; where GPU-hours matter, ask the site for accounting (slurmdbd)"
        return _cluster.warning(looked, f"is switched off: {LOST_WITHOUT_ACCOUNTING}", ask)
    ask = "try again later; as long as it lasts, a submission whose answer was lost cannot be looked up"
    return _cluster.warning(looked, f"does not answer now: {_gist(reply)}", ask)


def check_config(
    config: Mapping[str, str],
    *,
    client: str = "",
    rows: int | None = None,
    cap: int | None = None,
    poll_s: float = 60.0,
    accounting: bool = True,
) -> Iterator[Finding]:
    """Findings on `scontrol show config`.

    client: `sbatch --version`. rows: tasks of a round's training array. cap: the profile's max_array_size. poll_s:
    seconds between two questions to the scheduler. accounting: whether sacct answers.
    """
    mine, theirs = version_of(client), version_of(f"slurm {config.get('SLURM_VERSION', '')}")
    if mine is not None and theirs is not None and mine > theirs:
        said = f"programs are {shown(mine)}, the controller is {shown(theirs)}: SLURM supports older programs only"
        yield _cluster.warning("versions", said, "load the SLURM module of this cluster")
    yield from _array(config, rows, cap)
    age, wait = _seconds(config, "MinJobAge"), _seconds(config, "KillWait")
    if age is not None and age < 2 * poll_s and not accounting:
        said = f"without accounting, a task that ends may be forgotten before it is asked about ({poll_s:g} s)"
        ask = f"give --poll {max(1, age // 3)}, or rely on the tasks' exit files"
        yield _cluster.warning("MinJobAge", f"{age} s: {said}", ask)
    elif age is not None:
        yield _cluster.ok("MinJobAge", f"{age} s")
    if wait is not None and wait < SHORT_KILL_WAIT_S:
        said = f"{wait} s between SIGTERM and SIGKILL: a cancelled task may not finish its checkpoint"
        ask = "rely on checkpoints per epoch; before the time limit `signal_seconds` of the profile warns earlier"
        yield _cluster.warning("KillWait", said, ask)
    elif wait is not None:
        yield _cluster.ok("KillWait", f"{wait} s between SIGTERM and SIGKILL")
    if requeue := config.get("JobRequeue", ""):
        said = "requeues by default" if requeue == "1" else "does not requeue by default"
        yield _cluster.ok("JobRequeue", f"the site {said}; Roundtable says on each submission what it wants")
    mode, kind = config.get("PreemptMode", "OFF"), config.get("PreemptType", "preempt/none")
    if kind != "preempt/none" and mode != "OFF":
        yield _cluster.ok("PreemptMode", f"{mode} ({kind}): tasks may be preempted; such an end is no score")


def _array(config: Mapping[str, str], rows: int | None, cap: int | None) -> Iterator[Finding]:
    size, tasks = array_limits(config)
    if size is None:
        ask = "run `scontrol show config | grep MaxArraySize`; arrays are then not split"
        yield _cluster.warning("MaxArraySize", f"is {config.get('MaxArraySize') or 'not told'}", ask)
        return
    if size < 2:
        ask = "use --launcher local here, or ask the site to allow arrays"
        yield _cluster.problem("MaxArraySize", f"is {size}: this cluster takes no job arrays", ask)
        return
    if tasks is not None and tasks < min(size, cap or size, rows or size):
        said = f"{tasks}, less than MaxArraySize {size}: a longer array is refused"
        yield _cluster.warning("max_array_tasks", said, f"set `max_array_size: {tasks}` in the profile")
    parts = math.ceil(rows / min(size, tasks or size, cap or size)) if rows else 1
    arrays = "one array" if parts == 1 else f"{parts} arrays"
    yield _cluster.ok(
        "MaxArraySize", f"{size}" + ("" if rows is None else f"; a round's {rows} rows fit in {arrays}")
    )


def _seconds(config: Mapping[str, str], name: str) -> int | None:
    match = re.fullmatch(r"(\d+)(?: sec)?", config.get(name, ""))
    return int(match[1]) if match else None


# --- what the person may use ---

ASSOC_FORMAT = "Account,Partition,QOS,MaxJobs,MaxSubmit"
QOS_FORMAT = "Name,MaxJobsPU,MaxSubmitPU"


def ask_limits(
    asker: Asker, config: Mapping[str, str], *, account: str | None, qos: str | None, rows: int | None
) -> list[Finding]:
    """Accounts, QOS and job limits of the person, asked of sacctmgr."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    show, cluster = ("sacctmgr", "-n", "-P", "show"), config.get("ClusterName", "")
    assoc = asker.ask(*show, "assoc", f"user={user}", f"cluster={cluster}", f"format={ASSOC_FORMAT}")
    kinds = asker.ask(*show, "qos", f"format={QOS_FORMAT}")
    enforced = "associations" in config.get("AccountingStorageEnforce", "")
    return check_limits(assoc, kinds, enforced=enforced, account=account, qos=qos, rows=rows, user=user)


def check_limits(
    assoc: Reply, kinds: Reply, *, enforced: bool, account: str | None, qos: str | None, rows: int | None, user: str
) -> list[Finding]:
    """Findings on `sacctmgr show assoc` (ASSOC_FORMAT) and `sacctmgr show qos` (QOS_FORMAT).

    enforced: the cluster refuses jobs without an association (AccountingStorageEnforce).
    """
    if assoc.code:
        ask = "ask the site which account, QOS and job limits you have"
        return [_cluster.warning(_ACCOUNTS, f"cannot be read: {_gist(assoc)}", ask)]
    lines = [line.split("|") for line in assoc.out.splitlines() if line.count("|") == 4]
    wrong = _cluster.problem if enforced else _cluster.warning
    ignored = "" if enforced else " (this cluster does not enforce it now)"
    if not lines:
        return [wrong(_ACCOUNTS, f"no association for {user}{ignored}", "ask the site for an account")]
    accounts = sorted({line[0] for line in lines})
    usable = [line for line in lines if account is None or line[0] == account] or lines
    names = sorted({name for line in usable for name in line[2].split(",") if name})
    findings = [
        wrong(
            what.lower(),
            f"{wanted} is none of {user}'s {what}{'' if what == 'QOS' else 's'} ({', '.join(there)}){ignored}",
            f"set `{what.lower()}` in the profile to one of {', '.join(there)}",
        )
        for what, wanted, there in (("account", account, accounts), ("QOS", qos, names))
        if wanted is not None and there and wanted not in there
    ]
    limits = [line[3:] for line in usable] + [
        fields[1:]
        for fields in (line.split("|") for line in kinds.out.splitlines() if kinds.code == 0)
        if len(fields) == 3 and (fields[0] == qos if qos else fields[0] in names and len(names) == 1)
    ]
    return findings or [_job_limits(limits, rows, accounts)]


def _job_limits(limits: list[list[str]], rows: int | None, accounts: list[str]) -> Finding:
    jobs, submit = (min((int(pair[i]) for pair in limits if pair[i].isdigit()), default=None) for i in (0, 1))
    told = [f"{name} {most}" for name, most in (("MaxJobs", jobs), ("MaxSubmitJobs", submit)) if most is not None]
    said = f"accounts {', '.join(accounts)}; " + (", ".join(told) or "no limit on jobs")
    # Line 11: each array task counts as a job.
    if submit is None or rows is None or rows <= submit:
        return _cluster.ok(_ACCOUNTS, said)
    ask = f"nothing has to change: the rest of a round's {rows} rows waits; fewer --candidates make rounds shorter"
    return _cluster.warning(_ACCOUNTS, f"{said}: a round's {rows} rows are more than may be submitted at a time", ask)
