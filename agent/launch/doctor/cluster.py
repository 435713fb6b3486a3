"""The controller, the accounting and the site's settings, read from their own answers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from agent.launch.commands import Reply
from agent.launch.doctor.finding import Area, Asker, Finding
from agent.launch.doctor.programs import shown, version_of
from agent.launch.states import parse_config

#: Under this a trainer that is cancelled has no time to save anything.
SHORT_KILL_WAIT_S = 5
LOST_WITHOUT_ACCOUNTING = (
    "an ended task is known only until squeue forgets it, then by its result and exit files; a host that ran out of "
    "memory looks like a crash, and GPU-hours stay at what was declared"
)

_area = Area("cluster")


def ask_config(asker: Asker) -> tuple[list[Finding], dict[str, str]]:
    """Whether a controller answers, and `scontrol show config`; empty where nothing more should be asked."""
    ping = asker.ask("scontrol", "ping")
    if not re.search(r"\bis\s+UP\b", ping.out):
        # Measured: frozen or killed, scontrol ping says DOWN with rc 1 (after 10 s and at once).
        words = _gist(ping)
        if "configuration source" in words:
            ask = "call from a login node, export SLURM_CONF=.../slurm.conf, or use --launcher local"
            said = f"SLURM's programs are here, but no cluster is set up: {words}"
            return [_area.problem("controller", said, ask)], {}
        ask = "wait until it answers, look at SLURM_CONF, or use --launcher local; nothing else was asked of SLURM"
        return [_area.problem("controller", f"does not answer (scontrol ping: {words})", ask)], {}
    reply = asker.ask("scontrol", "show", "config")
    config = parse_config(reply.out) if reply.code == 0 else {}
    if "ClusterName" not in config:
        ask = "run `scontrol show config` yourself; nothing else was asked of SLURM"
        said = f"`scontrol ping` is UP, but `scontrol show config` cannot be read: {reply.words}"
        return [_area.problem("controller", said, ask)], {}
    answers = [_area.ok("controller", f"answers; cluster {config['ClusterName']}")]
    return answers, config


def _gist(reply: Reply) -> str:
    """The line that says it: programs of SLURM print their last reason last, and a banner below a state."""
    state = next((line for line in reply.out.splitlines() if "slurmctld" in line.lower()), "")
    lines = [line for line in (reply.err or reply.out).splitlines() if line.strip()]
    return state or (lines[-1] if lines else reply.words)


def check_accounting(reply: Reply) -> list[Finding]:
    """What sacct's answer says about accounting. Line 25: without accounting sacct gives rc 1."""
    if reply.code == 0:
        return [_area.ok("accounting (sacct)", "answers")]
    if "accounting storage is disabled" in reply.words.lower():
        ask = "nothing has to change; where GPU-hours matter, ask the site for accounting (slurmdbd)"
        return [_area.warning("accounting (sacct)", f"is switched off: {LOST_WITHOUT_ACCOUNTING}", ask)]
    ask = "try again later; as long as it lasts, a submission whose answer was lost cannot be looked up"
    return [_area.warning("accounting (sacct)", f"does not answer now: {_gist(reply)}", ask)]


def check_config(
    config: Mapping[str, str],
    *,
    client: str = "",
    rows: int | None = None,
    cap: int | None = None,
    poll_s: float = 60.0,
    accounting: bool = True,
) -> list[Finding]:
    """Findings on `scontrol show config`.

    client: `sbatch --version`. rows: tasks of a round's training array. cap: the profile's max_array_size. poll_s:
    seconds between two questions to the scheduler. accounting: whether sacct answers.
    """
    findings = _versions(config, client)
    findings += _array(config, rows, cap)
    findings += _forgetting(config, poll_s, accounting)
    findings += _ending(config)
    return findings


def _versions(config: Mapping[str, str], client: str) -> list[Finding]:
    mine, theirs = version_of(client), version_of(f"slurm {config.get('SLURM_VERSION', '')}")
    if mine is None or theirs is None or mine <= theirs:
        return []
    said = f"programs are {shown(mine)}, the controller is {shown(theirs)}: SLURM supports older programs only"
    return [_area.warning("versions", said, "load the SLURM module of this cluster")]


def _array(config: Mapping[str, str], rows: int | None, cap: int | None) -> list[Finding]:
    text = config.get("MaxArraySize", "")
    if not text.isdigit():
        ask = "run `scontrol show config | grep MaxArraySize`; arrays are then not split"
        return [_area.warning("MaxArraySize", f"is {text or 'not told'}", ask)]
    size = int(text)
    if size < 2:
        ask = "use --launcher local here, or ask the site to allow arrays"
        return [_area.problem("MaxArraySize", f"is {size}: this cluster takes no job arrays", ask)]
    findings = []
    match = re.search(r"max_array_tasks=(\d+)", config.get("SchedulerParameters", ""))
    tasks = int(match[1]) if match else size
    limit = min(size, tasks, cap or size)
    if tasks < size and (cap is None or cap > tasks) and (rows is None or rows > tasks):
        said = f"{tasks}, less than MaxArraySize {size}: a longer array is refused"
        findings.append(_area.warning("max_array_tasks", said, f"set `max_array_size: {tasks}` in the profile"))
    parts = math.ceil(rows / limit) if rows else 1
    split = (
        ""
        if rows is None
        else f"; a round's {rows} rows fit in " + ("one array" if parts == 1 else f"{parts} arrays")
    )
    return [*findings, _area.ok("MaxArraySize", f"{size}{split}")]


def _forgetting(config: Mapping[str, str], poll_s: float, accounting: bool) -> list[Finding]:
    age = _seconds(config.get("MinJobAge", ""))
    if age is None:
        return []
    if not accounting and age < 2 * poll_s:
        said = (
            f"{age} s: without accounting, a task that ends may be forgotten before it is asked about ({poll_s:g} s)"
        )
        return [_area.warning("MinJobAge", said, f"give --poll {max(1, age // 3)}, or rely on the tasks' exit files")]
    return [_area.ok("MinJobAge", f"{age} s")]


def _ending(config: Mapping[str, str]) -> list[Finding]:
    findings = []
    wait = _seconds(config.get("KillWait", ""))
    if wait is not None and wait < SHORT_KILL_WAIT_S:
        said = f"{wait} s between SIGTERM and SIGKILL: a cancelled task may not finish its checkpoint"
        ask = "rely on checkpoints per epoch; before the time limit `signal_seconds` of the profile warns earlier"
        findings.append(_area.warning("KillWait", said, ask))
    elif wait is not None:
        findings.append(_area.ok("KillWait", f"{wait} s between SIGTERM and SIGKILL"))
    requeue = config.get("JobRequeue", "")
    if requeue:
        said = "requeues by default" if requeue == "1" else "does not requeue by default"
        findings.append(_area.ok("JobRequeue", f"the site {said}; Roundtable says on each submission what it wants"))
    mode, kind = config.get("PreemptMode", "OFF"), config.get("PreemptType", "preempt/none")
    if kind != "preempt/none" and mode != "OFF":
        findings.append(_area.ok("PreemptMode", f"{mode} ({kind}): tasks may be preempted; such an end is no score"))
    return findings


def _seconds(text: str) -> int | None:
    match = re.fullmatch(r"(\d+)(?: sec)?", text)
    return int(match[1]) if match else None


# --- what the person may use ---

ASSOC_FORMAT = "Account,Partition,QOS,MaxJobs,MaxSubmit"
QOS_FORMAT = "Name,MaxJobsPU,MaxSubmitPU"


def ask_limits(
    asker: Asker, config: Mapping[str, str], *, account: str | None, qos: str | None, rows: int | None
) -> list[Finding]:
    """Accounts, QOS and job limits of the person, asked of sacctmgr."""
    import os
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    cluster = config.get("ClusterName", "")
    assoc = asker.ask(
        "sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", f"cluster={cluster}", f"format={ASSOC_FORMAT}"
    )
    kinds = asker.ask("sacctmgr", "-n", "-P", "show", "qos", f"format={QOS_FORMAT}")
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
        return [_area.warning("accounts and limits (sacctmgr)", f"cannot be read: {_gist(assoc)}", ask)]
    lines = [line.split("|") for line in assoc.out.splitlines() if line.count("|") == 4]
    wrong = _area.problem if enforced else _area.warning
    ignored = "" if enforced else " (this cluster does not enforce it now)"
    if not lines:
        ask = "ask the site for an account"
        return [wrong("accounts and limits (sacctmgr)", f"no association for {user}{ignored}", ask)]
    accounts = sorted({line[0] for line in lines})
    findings = []
    if account is not None and account not in accounts:
        said = f"{account} is none of {user}'s accounts ({', '.join(accounts)}){ignored}"
        findings.append(wrong("account", said, f"set `account` in the profile to one of {', '.join(accounts)}"))
    usable = [line for line in lines if account is None or line[0] == account] or lines
    names = sorted({name for line in usable for name in line[2].split(",") if name})
    if qos is not None and names and qos not in names:
        said = f"{qos} is none of {user}'s QOS ({', '.join(names)}){ignored}"
        findings.append(wrong("qos", said, f"set `qos` in the profile to one of {', '.join(names)}"))
    limits = [line[3:] for line in usable] + [
        fields[1:]
        for fields in (line.split("|") for line in kinds.out.splitlines() if kinds.code == 0)
        if len(fields) == 3 and (fields[0] == qos if qos else fields[0] in names and len(names) == 1)
    ]
    return findings or _job_limits(limits, rows, accounts)


def _job_limits(limits: list[list[str]], rows: int | None, accounts: list[str]) -> list[Finding]:
    jobs, submit = (min((int(pair[i]) for pair in limits if pair[i].isdigit()), default=None) for i in (0, 1))
    told = [f"MaxJobs {jobs}"] * (jobs is not None) + [f"MaxSubmitJobs {submit}"] * (submit is not None)
    said = f"accounts {', '.join(accounts)}; " + (", ".join(told) or "no limit on jobs")
    looked = "accounts and limits (sacctmgr)"
    # Line 11: each array task counts as a job.
    if submit is not None and rows is not None and rows > submit:
        ask = (
            f"nothing has to change: the rest of a round's {rows} rows waits; fewer --candidates make rounds shorter"
        )
        return [_area.warning(looked, f"{said}: a round's {rows} rows are more than may be submitted at a time", ask)]
    return [_area.ok(looked, said)]
