"""Why tasks are pending, in words that help: what only takes patience, and what somebody has to act on. Pure.

Reasons: squeue(1), "JOB REASON CODES", and the strings of `job_reason_string` in SLURM 20.11 to 24.05; limits follow
one naming scheme (QOS..., Assoc..., MaxCpuPerAccount) and are told apart by what they bound.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.launch.base import State, TaskStatus
from agent.launch.states import compact


class Need(StrEnum):
    """What a pending reason asks of a person."""

    PATIENCE = "patience"
    ACTION = "action"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A pending reason, understood as far as it is known."""

    reason: str
    """As the scheduler words it."""
    need: Need
    text: str = ""
    """What it means and, for an action, what to do; empty where the reason is unknown or speaks for itself."""

    def __str__(self) -> str:
        return f"{self.reason} ({self.text})" if self.text else self.reason


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Tasks that are pending for one reason."""

    explanation: Explanation
    items: tuple[int, ...]

    @property
    def text(self) -> str:
        """One line: "12 rows pending: Priority (waits its turn)"."""
        return waiting_line(self.explanation, len(self.items), compact(self.items))


def waiting_line(
    explanation: Explanation, count: int, rows: str, jobs: Sequence[str] = (), cluster: str | None = None
) -> str:
    """One line about `count` rows; which ones (a compact list) is told where somebody has to look after them.

    jobs: their ids as `job_list` gives them, for the remedy; JOBID stays in it where they are not known. cluster:
    where they are, None for the one of slurm.conf.
    """
    which = f" ({rows})" if explanation.need is Need.ACTION else ""
    return f"{count} {'row' if count == 1 else 'rows'}{which} pending: {_with_ids(explanation, jobs, cluster)}"


def around_line(kind: str, job: str, explanation: Explanation, cluster: str | None = None) -> str:
    """One line about a job of a round that trains no row; its id stands in the remedy.

    kind: "prepare" or "eval".
    """
    what = {"prepare": "the preparation of data", "eval": "the evaluation"}[kind]
    return f"{what} (SLURM job {job}) is pending: {_with_ids(explanation, [job], cluster)}"


def _with_ids(explanation: Explanation, jobs: Sequence[str], cluster: str | None) -> str:
    """An explanation whose remedy can be pasted. Quoted: zsh takes brackets for a pattern of file names."""
    said = str(explanation)
    if cluster:
        said = said.replace("scontrol release", f"scontrol --clusters={shlex.quote(cluster)} release")
    return said.replace("JOBID", shlex.join(jobs)) if jobs else said


def job_list(tasks: Iterable[str]) -> list[str]:
    """Tasks ("123_4", "123_5", "124_0") as scontrol takes them, one word an array: "123_[4-5]", "124_0"."""
    found: dict[str, list[int]] = {}
    for task in tasks:
        job, _, index = task.partition("_")
        found.setdefault(job, []).extend([int(index)] if index else [])
    return [
        f"{job}_[{compact(indices)}]" if len(indices) > 1 else "_".join([job, *map(str, indices)])
        for job, indices in found.items()
    ]


_PATIENCE = {
    "AccountingPolicy": "an accounting limit; waits until others' or your own jobs end",
    "BeginTime": "its earliest start has not come: a requeued job waits two minutes or so",
    "BurstBufferResources": "waits for burst buffer space",
    "BurstBufferStageIn": "its data are being staged in",
    "Cleaning": "its earlier run is being cleaned up",
    "Dependency": "waits for earlier jobs to end",
    "FedJobLock": "waits for the federation's clusters to agree",
    "FrontEndDown": "waits for a front end node",
    "JobArrayTaskLimit": "waits for others of its array: the throttle, --parallel",
    "Licenses": "waits for a licence",
    "NodeDown": "waits for a node that is down",
    "PartitionDown": "its partition takes no jobs now; ask the administrators how long",
    "PartitionInactive": "its partition starts no jobs now; ask the administrators how long",
    "Priority": "waits its turn",
    "Prolog": "its prolog runs",
    "Reservation": "waits for its reservation to begin",
    "ReqNodeNotAvail": "nodes it may use are down, drained or reserved, for maintenance perhaps; it starts when they "
    "are back",
    "Resources": "next in line; waits for free resources",
    "SchedDefer": "the scheduler looks at it later",
    "WaitingForScheduling": "the scheduler has not looked at it yet",
}

_ACTION = {
    "AccountNotAllowed": "the partition does not take this account: change `account` or `partition` in the profile",
    "BadConstraints": "no node can ever satisfy what it asks: change constraint, cpus, mem or gpus in the profile",
    "DeadLine": "its deadline cannot be met: take `deadline` out of the profile",
    "DependencyNeverSatisfied": "what it waits for never happens now: `roundtable cancel`, then `roundtable retry`",
    "InvalidAccount": "the account is not valid: change `account` in the profile",
    "InvalidQOS": "the QOS is not valid: change `qos` in the profile",
    "JobHeldAdmin": "held by an administrator: ask them, only they can release it",
    "JobHeldUser": "held by a person: `scontrol release JOBID` lets it go",
    "JobHoldMaxRequeue": "requeued too often and held: see its logs, then `scontrol release JOBID`, or "
    "`roundtable cancel` and `roundtable retry`",
    "JobLaunchFailure": "could not be launched: see the node's state, then `scontrol release JOBID`",
    "NonZeroExitCode": "its earlier run failed: see its logs, then `roundtable cancel` and `roundtable retry`",
    "OutOfMemory": "ran out of memory: raise `mem` in the profile",
    "PartitionConfig": "the partition can never run it (nodes, cpus, memory or time): change the profile",
    "PartitionNodeLimit": "asks for more nodes than its partition has or gives: change `partition` in the profile",
    "PartitionTimeLimit": "asks for more time than its partition allows: lower `time` in the profile; "
    "`sinfo -o '%P %l'` shows the limits",
    "QOSNotAllowed": "the partition or account does not take this QOS: change `qos` in the profile",
    "ReservationDeleted": "its reservation is gone: take `reservation` out of the profile",
    "SystemFailure": "SLURM failed to start it: ask the administrators, then `scontrol release JOBID`",
    "TimeLimit": "used up its time limit: raise `time` in the profile",
}

#: Reasons that are whole sentences, by how they begin.
_SENTENCES = {
    "launch failed requeued held": (
        Need.ACTION,
        "could not be launched and is held: see the node's state, then `scontrol release JOBID`",
    ),
    "job requeued in held state": (Need.ACTION, "requeued and held: `scontrol release JOBID` lets it go"),
    "Nodes required for job are DOWN": (
        Need.PATIENCE,
        "starts when nodes are back or free of jobs with higher priority",
    ),
    "user env retrieval failed": (
        Need.ACTION,
        "its environment could not be read: ask the administrators, then `scontrol release JOBID`",
    ),
}

_LOWER = "ask for less in the profile (cpus, mem, gpus, time), or use another `qos`, `account` or `partition`"


def explain(reason: str) -> Explanation:
    """A pending reason as squeue prints it; one that is not known is given back as it stands, asking nothing."""
    reason = " ".join(reason.split())
    # "ReqNodeNotAvail, UnavailableNodes:n[1-3]" and its like: the code stands before the first comma or bracket.
    code = re.split(r"[,(]", reason, maxsplit=1)[0].strip()
    if code in _PATIENCE:
        return Explanation(reason=reason, need=Need.PATIENCE, text=_PATIENCE[code])
    if code in _ACTION:
        return Explanation(reason=reason, need=Need.ACTION, text=_ACTION[code])
    for begin, (need, text) in _SENTENCES.items():
        if reason.lower().startswith(begin.lower()):
            return Explanation(reason=reason, need=need, text=text)
    return _limit(reason, code) or Explanation(reason=reason, need=Need.PATIENCE)


def _limit(reason: str, code: str) -> Explanation | None:
    """A limit of a QOS, an association or an account; None for anything else.

    What one job asks for (PerJob, PerNode, a minimum, its wall time) does not change by waiting. What a group has
    used up in all (Minutes, Wall) comes back with a new period only. All else ends with jobs that run now.
    """
    match = re.fullmatch(r"(QOS|Assoc|Association|Max)([A-Z]\w*)", code)
    if match is None:
        return None
    owner = {"QOS": "the QOS", "Max": "the account"}.get(match[1], "your account (association)")
    bound = match[2]
    if re.search(r"PerJob|PerNode|PerLimit|^Min|MaxWall|MaxTimeLimit|^TimeLimit", bound):
        return Explanation(reason=reason, need=Need.ACTION, text=f"above what {owner} allows one job: {_LOWER}")
    if re.search(r"^UsageThreshold|^Grp(?!.*RunMin).*(Minutes|Wall)", bound):
        text = f"{owner} has used up its share of computing time: use another one in the profile, or ask for more"
        return Explanation(reason=reason, need=Need.ACTION, text=text)
    text = f"a limit of {owner} on what runs or waits at a time; starts when other jobs end"
    return Explanation(reason=reason, need=Need.PATIENCE, text=text)


def grouped(statuses: Mapping[int, TaskStatus]) -> list[Waiting]:
    """The pending tasks by reason: those that need action first, then the largest groups."""
    items: dict[str, list[int]] = {}
    for item, status in statuses.items():
        if status.state is State.PENDING and status.reason:
            items.setdefault(" ".join(status.reason.split()), []).append(item)
    found = [Waiting(explanation=explain(reason), items=tuple(sorted(group))) for reason, group in items.items()]
    return sorted(found, key=lambda w: (w.explanation.need is not Need.ACTION, -len(w.items), w.explanation.reason))
