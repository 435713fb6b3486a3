"""The profile against the cluster: what its tasks ask for beside what partitions and nodes offer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.errors import SubmissionRefused, SubmitLimit
from agent.launch.ask import Asker
from agent.launch.base import SlurmSettings
from agent.launch.doctor.finding import Area, Finding
from agent.launch.nodes import Gres, Nodes, Partitions, asked_gres
from agent.launch.options import quote_value
from agent.launch.profile import Resources
from agent.launch.profile_checks import megabytes
from agent.launch.sbatch import refusal
from agent.launch.states import parse_minutes

_area = Area("profile")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One kind of task, and the cluster that it is for."""

    wanted: Resources
    kind: str
    """train, eval or prepare, for messages."""
    partitions: Partitions
    nodes: Sequence[Nodes]
    """Of all partitions; empty where sinfo could not be asked."""
    config: Mapping[str, str]
    """`scontrol show config`."""
    uses_gpu: bool = False
    """The trainer is quicker with a GPU."""

    @property
    def mine(self) -> list[Nodes]:
        """The nodes of the partitions that a task may go to: those named, or the default."""
        named = self.wanted.partition.split(",") if self.wanted.partition is not None else self.defaults
        return [group for group in self.nodes if group.partition in named]

    @property
    def defaults(self) -> list[str]:
        return [name for name, each in self.partitions.items() if each.get("Default") == "YES"]


def check_request(request: Request) -> list[Finding]:
    """What the cluster offers for one kind of task."""
    wanted, looked = request.wanted, f"partition ({request.kind})"
    names, wrong = request.defaults, "none named, and the cluster has no default partition"
    if wanted.partition is not None:
        names = wanted.partition.split(",")
        wrong = ", ".join(name for name in names if name not in request.partitions)
        wrong = wrong and f"there is no {wrong}"
    elif names:
        wrong = ""
    if wrong:
        ask = f"set `partition` in the profile to one of {', '.join(request.partitions)}"
        return [_area.problem(looked, wrong, ask)]
    chosen = [request.partitions[name] for name in names]
    said = wanted.partition or f"none named: the default, {names[0]}"
    findings = list(_opened(wanted, looked, chosen)) or [_area.ok(looked, said)]
    findings.append(_time(request, chosen))
    if request.mine:
        for check in (_alive, _gpus, _size, _features):
            findings += check(request, request.mine)
    return [*findings, *_memory_default(request, chosen)]


def _opened(wanted: Resources, looked: str, chosen: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """Whether the partitions take jobs, and whose."""
    for each in chosen:
        name, state = each["PartitionName"], each.get("State", "UP")
        if state in ("DRAIN", "INACTIVE"):
            yield _area.problem(looked, f"{name} is {state}: it takes no jobs", "choose another `partition`, or wait")
        elif state != "UP":
            ask = "choose another `partition`, or wait until the site opens it"
            yield _area.warning(looked, f"{name} is {state}: jobs are taken but do not start", ask)
        for what, key, value in (("Accounts", "account", wanted.account), ("Qos", "qos", wanted.qos)):
            allowed, denied = each.get(f"Allow{what}", "ALL"), each.get(f"Deny{what}", "")
            only = f"{name} is for {key} {allowed} only"
            if value is not None and allowed != "ALL" and value not in allowed.split(","):
                ask = f"set `{key}` in the profile to one of these, or choose another `partition`"
                yield _area.problem(looked, f"{only}, not {value}", ask)
            elif value is not None and value in denied.split(","):
                ask = f"set another `{key}` in the profile, or choose another `partition`"
                yield _area.problem(looked, f"{name} denies {key} {value}", ask)
            elif value is None and allowed != "ALL":
                ask = f"set `{key}` in the profile, unless your default is one of them"
                yield _area.warning(looked, f"{only}; the profile names none", ask)


def _time(request: Request, chosen: Sequence[Mapping[str, str]]) -> Finding:
    looked, wanted_s = f"time ({request.kind})", request.wanted.time_seconds
    names = ",".join(each["PartitionName"] for each in chosen)
    most = _longest(parse_minutes(each.get("MaxTime", "UNLIMITED")) for each in chosen)
    if wanted_s is None:
        default = _longest(parse_minutes(each.get("DefaultTime", "NONE")) for each in chosen)
        given = most if default is None else default
        if given is None:
            said = f"none given, and {names} has no limit: nobody can tell a round's worst-case GPU-hours"
            return _area.warning(looked, said, "set `time` in the profile; short jobs also start earlier")
        ask = "set `time` in the profile, so that the budget is yours"
        return _area.warning(looked, f"none given: {names} gives {_span(given)}", ask)
    minutes = -(-wanted_s // 60)
    if most is None or minutes <= most:
        return _area.ok(looked, f"{_span(minutes)} of at most {_span(most)} in {names}")
    limits = {
        name: parse_minutes(each.get("MaxTime", "UNLIMITED"))
        for name, each in request.partitions.items()
        if each.get("State", "UP") == "UP"
    }
    longer = ", ".join(name for name, limit in limits.items() if limit is None or limit >= minutes)
    ask = f"set `time` to at most {_span(most)}" + (f", or `partition` to one of {longer}" if longer else "")
    # Measured: with EnforcePartLimits=NO even sbatch --test-only has nothing against it.
    taken = request.config.get("EnforcePartLimits", "NO") == "NO"
    waits = ": sbatch would take it, and it would never start" if taken else ""
    return _area.problem(looked, f"{_span(minutes)} is above the MaxTime of {names}, {_span(most)}{waits}", ask)


def _longest(limits: Iterable[int | None]) -> int | None:
    """Minutes; None, which is no limit, where one of them has none."""
    found = list(limits)
    return None if None in found else max(limit for limit in found if limit is not None)


def _span(minutes: int | None) -> str:
    if minutes is None:
        return "no limit"
    days, rest = divmod(minutes, 1440)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"


def _alive(request: Request, mine: Sequence[Nodes]) -> Iterator[Finding]:
    if not any(group.usable for group in mine):
        states = ", ".join(sorted({group.state for group in mine}))
        ask = "wait, or choose another `partition` (`sinfo -R` tells the reason)"
        yield _area.warning(f"nodes ({request.kind})", f"none can take a job now: {states}", ask)


def _gpus(request: Request, mine: Sequence[Nodes]) -> Iterator[Finding]:
    looked, asked = f"gpus ({request.kind})", asked_gres(request.wanted)
    if not asked:
        if request.uses_gpu and request.kind == "train" and any(group.holds(("gpu", "", 1)) for group in mine):
            said = "none asked for; the trainer uses one and the partition's nodes have some"
            yield _area.warning(looked, said, "set `gpus: 1` in the profile, unless CPU training is meant")
        return
    offers = {re.sub(r"\([^)]*\)", "", group.gres) for group in mine if group.gres != "(null)"} - {""}
    here = ", ".join(sorted(offers)) or "none"
    lacking = [item for item in asked if not any(group.holds(item) for group in mine)]
    if not lacking:
        yield _area.ok(looked, f"{_shown(asked)}: offered by {here}")
        return
    better = sorted({group.partition for group in request.nodes if all(map(group.holds, lacking))})
    ask = f"set `partition` to one of {', '.join(better)}" if better else "ask for what the nodes have"
    said = f"no node offers {_shown(lacking)}; they have {here}"
    if here == "none":
        said = f"{_shown(lacking)} asked for, but this partition's nodes offer none"
    yield _area.problem(looked, said, ask)


def _shown(items: Iterable[Gres]) -> str:
    return ",".join(f"{name}:{kind}:{count}" if kind else f"{name}:{count}" for name, kind, count in items)


def _size(request: Request, mine: Sequence[Nodes]) -> list[Finding]:
    wanted, kind, findings = request.wanted, request.kind, []
    cpus, memory = max(group.cpus for group in mine), max(group.memory_mb for group in mine)
    if wanted.cpu_count > cpus:
        said = f"{wanted.cpu_count} asked for; the largest node has {cpus}"
        findings.append(_area.problem(f"cpus ({kind})", said, f"set `cpus` to at most {cpus}"))
    if wanted.mem is not None and megabytes(wanted.mem) > memory:
        said = f"{wanted.mem} asked for; the largest node has {memory}M"
        findings.append(_area.problem(f"mem ({kind})", said, f"set `mem` to at most {memory}M"))
    asked = f"{wanted.cpu_count} CPU{'s' * (wanted.cpu_count != 1)}{f', {wanted.mem}' if wanted.mem else ''}"
    fits = _area.ok(f"cpus, mem ({kind})", f"{asked}; largest node {cpus} CPUs, {memory}M")
    return findings or [fits]


def _features(request: Request, mine: Sequence[Nodes]) -> Iterator[Finding]:
    constraint, looked = request.wanted.constraint, f"constraint ({request.kind})"
    # An expression such as [rack1*2&rack2*4] or a100&80gb: the names in it, which may begin with a digit, without
    # the counts of nodes; sbatch --test-only judges the rest.
    names = {word.partition("*")[0] for word in re.split(r"[\s&|,()\[\]{}!]+", constraint or "")} - {""}
    there = {feature for group in mine for feature in group.features}
    if unknown := ", ".join(sorted(names - there)):
        ask = f"set `constraint` to one of {', '.join(sorted(there))}" if there else "take `constraint` out"
        yield _area.problem(looked, f"no node of the partition has {unknown}", ask)
    elif constraint is not None:
        yield _area.ok(looked, f"{constraint}: known")


def _memory_default(request: Request, chosen: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """What a task gets that names no memory, where the cluster shares memory out."""
    wanted, looked = request.wanted, f"mem ({request.kind})"
    named = wanted.mem is not None or {"mem-per-cpu", "mem-per-gpu"} & (wanted.extra or {}).keys()
    if named or "MEMORY" not in request.config.get("SelectTypeParameters", "").upper():
        return
    for place in (*chosen, request.config):
        for name in ("DefMemPerCPU", "DefMemPerNode", "DefMemPerGPU"):
            value = place.get(name, "UNLIMITED")
            if value.isdigit() and int(value) > 0:
                yield _area.ok(looked, f"none given: {name} is {value}M; more than that ends OUT_OF_MEMORY")
                return
    said = "none given, and the cluster has no default: each task takes all of a node's memory and runs there alone"
    yield _area.warning(looked, said, "set `mem` in the profile")


# --- the profile's own directives, judged by `sbatch --test-only`: no job is made ---


def header(settings: SlurmSettings, *more: tuple[str, str | None]) -> str:
    """The #SBATCH lines, as a rendered script has them."""
    lines = [
        f"#SBATCH --{name}" + ("" if value is None else f"={quote_value(value)}")
        for name, value in (*more, *settings.directives)
    ]
    return "\n".join(["#!/usr/bin/env bash", *lines]) + "\n"


def check_dry_run(asker: Asker, settings: SlurmSettings, *, kind: str, array: str, alive: bool = True) -> Finding:
    """Whether the controller would take the job now.

    array: the indices, e.g. "0-7%4". alive: whether any of the nodes can take a job now.
    """
    looked = f"sbatch --test-only ({kind})"
    script = header(settings, ("job-name", f"doctor-{kind}"), ("array", array)) + "true\n"
    reply = asker.ask("sbatch", "--test-only", text=script, patience_s=3 * asker.patience_s)
    if reply.code == 0:
        start = re.search(r"to start at (\S+) using (\d+) processors on nodes? (\S+)", reply.err)
        said = f"would start at {start[1]} on {start[3]} (estimate)" if start else f"accepted: {reply.words}"
        return _area.ok(looked, said)
    error = refusal(reply, f"the {kind} array {array}")
    if isinstance(error, SubmitLimit):
        ask = "nothing has to change: submissions wait until some have ended"
        return _area.warning(looked, f"the cluster takes no more jobs of yours now: {reply.words}", ask)
    if not isinstance(error, SubmissionRefused):
        return _area.warning(looked, f"no answer: {reply.words}", "try again when the controller answers")
    if error.no_node and not alive:
        # Measured: with every node drained, --test-only refuses what sbatch would take and let wait.
        said = f"refused, as no node can take a job now: {reply.words}"
        return _area.warning(looked, said, "call again when nodes are back")
    ask = error.remedy or "change what is named in the profile, then call again"
    return _area.problem(looked, f"refused: {reply.words}", ask)
