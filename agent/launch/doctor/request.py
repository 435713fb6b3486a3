"""The profile against the cluster: what its tasks ask for beside what partitions and nodes offer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.launch.doctor.finding import Area, Finding
from agent.launch.profile import Resources
from agent.launch.profile_checks import megabytes
from agent.launch.states import parse_minutes

SINFO_FORMAT = "%R|%c|%m|%t|%D|%G|%f"
"""Partition, CPUs and MiB of a node, state, how many such nodes, generic resources, features."""

_UNUSABLE = ("down", "drain", "fail", "inval", "maint", "unk")
_area = Area("profile")


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Equal nodes of one partition, a line of `sinfo -h -e -o SINFO_FORMAT`."""

    partition: str
    cpus: int
    memory_mb: int
    state: str
    count: int
    gres: str
    features: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return not self.state.startswith(_UNUSABLE)


def parse_nodes(text: str) -> list[Nodes]:
    """Lines of another shape are left out."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|", 6)]
        if len(fields) != 7 or not all(field.rstrip("+").isdigit() for field in (fields[1], fields[2], fields[4])):
            continue
        cpus, memory, count = (int(fields[i].rstrip("+")) for i in (1, 2, 4))
        features = tuple(name for name in fields[6].split(",") if name not in ("", "(null)"))
        found.append(
            Nodes(
                partition=fields[0],
                cpus=cpus,
                memory_mb=memory,
                state=fields[3],
                count=count,
                gres=fields[5],
                features=features,
            )
        )
    return found


def parse_partitions(text: str) -> dict[str, dict[str, str]]:
    """`scontrol show partition -o` by partition: its settings by name."""
    found = {}
    for line in text.splitlines():
        pairs = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in pairs:
            found[pairs["PartitionName"]] = pairs
    return found


def gres_items(text: str) -> list[tuple[str, str, int]]:
    """(name, type or "", count) of a node's or a request's generic resources: "gpu:a100:4(S:0-1)" is gpu, a100, 4."""
    items = []
    for item in re.sub(r"\([^)]*\)", "", text).split(","):
        name, *rest = item.strip().split(":")
        if not name:
            continue
        count = int(rest.pop()) if rest and rest[-1].isdecimal() else 1
        items.append((name, ":".join(rest), count))
    return items


def fits(group: Nodes, wanted: Resources) -> bool:
    """Whether a node is large enough for a task and has the GPUs that it asks for, in use or not."""
    asked = gres_items(wanted.gres) if wanted.gres else ([("gpu", "", wanted.gpus)] if wanted.gpus else [])
    memory = megabytes(wanted.mem) if wanted.mem is not None else 0
    return (
        group.cpus >= wanted.cpu_count
        and group.memory_mb >= memory
        and all(_holds(group, item) for item in asked if item[0] == "gpu")
    )


def check_request(
    wanted: Resources,
    *,
    kind: str,
    partitions: Mapping[str, Mapping[str, str]],
    nodes: Sequence[Nodes],
    config: Mapping[str, str],
    uses_gpu: bool = False,
) -> list[Finding]:
    """What the cluster offers for one kind of task.

    kind: "train" or "eval", for messages. nodes: empty where sinfo could not be asked. uses_gpu: the trainer is
    quicker with a GPU.
    """
    chosen, findings = _chosen(wanted, kind, partitions)
    if not chosen:
        return findings
    mine = [group for group in nodes if group.partition in {each["PartitionName"] for each in chosen}]
    findings += _time(wanted, kind, chosen, partitions, config)
    if mine:
        findings += _alive(kind, mine)
        findings += _gpus(wanted, kind, mine, nodes, uses_gpu)
        findings += _size(wanted, kind, mine)
        findings += _features(wanted, kind, mine)
    findings += _memory_default(wanted, kind, chosen, config)
    return findings


def _chosen(
    wanted: Resources, kind: str, partitions: Mapping[str, Mapping[str, str]]
) -> tuple[list[Mapping[str, str]], list[Finding]]:
    """The partitions that a task may go to."""
    looked = f"partition ({kind})"
    if wanted.partition is None:
        default = [each for each in partitions.values() if each.get("Default") == "YES"]
        if not default:
            ask = f"set `partition` in the profile to one of {', '.join(partitions)}"
            return [], [_area.problem(looked, "none named, and the cluster has no default partition", ask)]
        return default, _opened(wanted, looked, default, f"none named: the default, {default[0]['PartitionName']}")
    names = wanted.partition.split(",")
    unknown = [name for name in names if name not in partitions]
    if unknown:
        ask = f"set `partition` in the profile to one of {', '.join(partitions)}"
        return [], [_area.problem(looked, f"there is no {', '.join(unknown)}", ask)]
    found = [partitions[name] for name in names]
    return found, _opened(wanted, looked, found, wanted.partition)


def _opened(wanted: Resources, looked: str, chosen: Sequence[Mapping[str, str]], said: str) -> list[Finding]:
    """Whether the partitions take jobs, and whose."""
    findings = []
    for each in chosen:
        name, state = each["PartitionName"], each.get("State", "UP")
        if state in ("DRAIN", "INACTIVE"):
            findings.append(
                _area.problem(looked, f"{name} is {state}: it takes no jobs", "choose another `partition`, or wait")
            )
        elif state != "UP":
            ask = "choose another `partition`, or wait until the site opens it"
            findings.append(_area.warning(looked, f"{name} is {state}: jobs are taken but do not start", ask))
        for what, value in (("Accounts", wanted.account), ("Qos", wanted.qos)):
            allowed = each.get(f"Allow{what}", "ALL")
            denied = each.get(f"Deny{what}", "")
            key = what.lower().removesuffix("s") if what == "Accounts" else "qos"
            if value is not None and allowed != "ALL" and value not in allowed.split(","):
                ask = f"set `{key}` in the profile to one of these, or choose another `partition`"
                findings.append(_area.problem(looked, f"{name} is for {key} {allowed} only, not {value}", ask))
            elif value is not None and value in denied.split(","):
                ask = f"set another `{key}` in the profile, or choose another `partition`"
                findings.append(_area.problem(looked, f"{name} denies {key} {value}", ask))
            elif value is None and allowed != "ALL":
                ask = f"set `{key}` in the profile, unless your default is one of them"
                findings.append(
                    _area.warning(looked, f"{name} is for {key} {allowed} only; the profile names none", ask)
                )
    return findings or [_area.ok(looked, said)]


def _time(
    wanted: Resources,
    kind: str,
    chosen: Sequence[Mapping[str, str]],
    partitions: Mapping[str, Mapping[str, str]],
    config: Mapping[str, str],
) -> list[Finding]:
    looked = f"time ({kind})"
    limits = [parse_minutes(each.get("MaxTime", "UNLIMITED")) for each in chosen]
    most = None if None in limits else max(limit for limit in limits if limit is not None)
    names = ",".join(each["PartitionName"] for each in chosen)
    if wanted.time_seconds is None:
        defaults = [parse_minutes(each.get("DefaultTime", "NONE")) for each in chosen]
        given = most if None in defaults else max(limit for limit in defaults if limit is not None)
        if given is None:
            said = f"none given, and {names} has no limit: nobody can tell a round's worst-case GPU-hours"
            return [_area.warning(looked, said, "set `time` in the profile; short jobs also start earlier")]
        said = f"none given: {names} gives {_span(given)}"
        return [_area.warning(looked, said, "set `time` in the profile, so that the budget is yours")]
    minutes = -(-wanted.time_seconds // 60)
    if most is None or minutes <= most:
        return [_area.ok(looked, f"{_span(minutes)} of at most {_span(most)} in {names}")]
    longer = [
        name
        for name, each in partitions.items()
        if each.get("State", "UP") == "UP"
        and ((limit := parse_minutes(each.get("MaxTime", "UNLIMITED"))) is None or limit >= minutes)
    ]
    ask = f"set `time` to at most {_span(most)}" + (f", or `partition` to one of {', '.join(longer)}" * bool(longer))
    # Measured: with EnforcePartLimits=NO even sbatch --test-only has nothing against it.
    waits = (
        "" if config.get("EnforcePartLimits", "NO") != "NO" else ": sbatch would take it, and it would never start"
    )
    return [_area.problem(looked, f"{_span(minutes)} is above the MaxTime of {names}, {_span(most)}{waits}", ask)]


def _span(minutes: int | None) -> str:
    if minutes is None:
        return "no limit"
    days, rest = divmod(minutes, 1440)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"


def _alive(kind: str, mine: Sequence[Nodes]) -> list[Finding]:
    if any(group.usable for group in mine):
        return []
    states = ", ".join(sorted({group.state for group in mine}))
    ask = "wait, or choose another `partition` (`sinfo -R` tells the reason)"
    return [_area.warning(f"nodes ({kind})", f"none can take a job now: {states}", ask)]


def _gpus(
    wanted: Resources, kind: str, mine: Sequence[Nodes], everywhere: Sequence[Nodes], uses_gpu: bool
) -> list[Finding]:
    looked = f"gpus ({kind})"
    asked = gres_items(wanted.gres) if wanted.gres else ([("gpu", "", wanted.gpus)] if wanted.gpus else [])
    if not asked:
        offered = any(_holds(group, ("gpu", "", 1)) for group in mine)
        if uses_gpu and offered and kind == "train":
            ask = "set `gpus: 1` in the profile, unless CPU training is meant"
            return [
                _area.warning(looked, "none asked for; the trainer uses one and the partition's nodes have some", ask)
            ]
        return []
    lacking = [item for item in asked if not any(_holds(group, item) for group in mine)]
    if not lacking:
        return [_area.ok(looked, f"{_shown(asked)}: offered by {_offers(mine)}")]
    better = sorted({group.partition for group in everywhere if all(_holds(group, item) for item in lacking)})
    here = _offers(mine)
    ask = f"set `partition` to one of {', '.join(better)}" if better else "ask for what the nodes have"
    if here == "none":
        return [_area.problem(looked, f"{_shown(lacking)} asked for, but this partition's nodes offer none", ask)]
    return [_area.problem(looked, f"no node offers {_shown(lacking)}; they have {here}", ask)]


def _holds(group: Nodes, item: tuple[str, str, int]) -> bool:
    name, kind, count = item
    there = sum(n for other, sort, n in gres_items(group.gres) if other == name and (not kind or sort == kind))
    return there >= count


def _shown(items: Iterable[tuple[str, str, int]]) -> str:
    return ",".join(f"{name}:{kind}:{count}" if kind else f"{name}:{count}" for name, kind, count in items)


def _offers(groups: Sequence[Nodes]) -> str:
    found = {re.sub(r"\([^)]*\)", "", group.gres) for group in groups if group.gres != "(null)"}
    return ", ".join(sorted(found - {""})) or "none"


def _size(wanted: Resources, kind: str, mine: Sequence[Nodes]) -> list[Finding]:
    findings = []
    cpus = max(group.cpus for group in mine)
    if wanted.cpu_count > cpus:
        said = f"{wanted.cpu_count} asked for; the largest node has {cpus}"
        findings.append(_area.problem(f"cpus ({kind})", said, f"set `cpus` to at most {cpus}"))
    memory = max(group.memory_mb for group in mine)
    if wanted.mem is not None and megabytes(wanted.mem) > memory:
        said = f"{wanted.mem} asked for; the largest node has {memory}M"
        findings.append(_area.problem(f"mem ({kind})", said, f"set `mem` to at most {memory}M"))
    if not findings:
        asked = (
            f"{wanted.cpu_count} CPU"
            + "s" * (wanted.cpu_count != 1)
            + (f", {wanted.mem}" if wanted.mem is not None else "")
        )
        findings.append(_area.ok(f"cpus, mem ({kind})", f"{asked}; largest node {cpus} CPUs, {memory}M"))
    return findings


def _features(wanted: Resources, kind: str, mine: Sequence[Nodes]) -> list[Finding]:
    if wanted.constraint is None:
        return []
    # An expression such as [rack1*2&rack2*4] or a100&80gb: the names in it, which may begin with a digit, without
    # the counts of nodes; sbatch --test-only judges the rest.
    words = re.split(r"[\s&|,()\[\]{}!]+", wanted.constraint)
    names = {name for word in words if (name := word.partition("*")[0])}
    there = {feature for group in mine for feature in group.features}
    unknown = sorted(names - there)
    looked = f"constraint ({kind})"
    if unknown:
        ask = f"set `constraint` to one of {', '.join(sorted(there))}" if there else "take `constraint` out"
        return [_area.problem(looked, f"no node of the partition has {', '.join(unknown)}", ask)]
    return [_area.ok(looked, f"{wanted.constraint}: known")]


def _memory_default(
    wanted: Resources, kind: str, chosen: Sequence[Mapping[str, str]], config: Mapping[str, str]
) -> list[Finding]:
    """What a task gets that names no memory."""
    extra = wanted.extra or {}
    if wanted.mem is not None or {"mem-per-cpu", "mem-per-gpu"} & extra.keys():
        return []
    if "MEMORY" not in config.get("SelectTypeParameters", "").upper():
        return []
    looked = f"mem ({kind})"
    names = ("DefMemPerCPU", "DefMemPerNode", "DefMemPerGPU")
    for place in (*chosen, config):
        for name in names:
            value = place.get(name, "UNLIMITED")
            if value.isdigit() and int(value) > 0:
                return [_area.ok(looked, f"none given: {name} is {value}M; more than that ends OUT_OF_MEMORY")]
    said = "none given, and the cluster has no default: each task takes all of a node's memory and runs there alone"
    return [_area.warning(looked, said, "set `mem` in the profile")]
