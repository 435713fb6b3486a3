"""What partitions and nodes offer, read from scontrol and sinfo, and whether a task fits there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.launch.ask import Asker
from agent.launch.profile import Resources
from agent.launch.profile_checks import gres_items, megabytes
from agent.launch.states import parse_pairs

Partitions = Mapping[str, Mapping[str, str]]
"""By name the settings of a partition, as scontrol names and writes them."""
Gres = tuple[str, str, int]
"""Name, type or "", and count of a generic resource."""

SINFO_FORMAT = "%R|%c|%m|%t|%D|%G|%f"
"""Partition, CPUs and MiB of a node, state, how many such nodes, generic resources, features."""
_NUMBER = r"\|\s*(?P<%s>\d+)\+*\s*"
_LINE = re.compile(
    rf"(?P<partition>[^|]*){_NUMBER % 'cpus'}{_NUMBER % 'memory'}\|(?P<state>[^|]*){_NUMBER % 'count'}"
    r"\|(?P<gres>[^|]*)\|(?P<features>.*)"
)
_UNUSABLE = ("down", "drain", "fail", "inval", "maint", "unk")


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

    def holds(self, item: Gres) -> bool:
        """Whether each has that many generic resources, in use or not."""
        name, kind, count = item
        there = sum(n for other, sort, n in gres_items(self.gres) if other == name and (not kind or sort == kind))
        return there >= count

    def fits(self, wanted: Resources) -> bool:
        """Whether each is large enough for a task and has the GPUs that it asks for, in use or not."""
        memory = megabytes(wanted.mem) if wanted.mem is not None else 0
        gpus = [item for item in asked_gres(wanted) if item[0] == "gpu"]
        return self.cpus >= wanted.cpu_count and self.memory_mb >= memory and all(map(self.holds, gpus))


def ask_nodes(asker: Asker) -> list[Nodes]:
    """All nodes; none where sinfo is missing or does not answer."""
    return parse_nodes(asker.ask("sinfo", "-h", "-e", "-o", SINFO_FORMAT).out)


def parse_nodes(text: str) -> list[Nodes]:
    """Lines of another shape are left out."""
    found = []
    for match in filter(None, map(_LINE.fullmatch, text.splitlines())):
        names = tuple(name for name in match["features"].strip().split(",") if name not in ("", "(null)"))
        partition, state, gres = (match[name].strip() for name in ("partition", "state", "gres"))
        cpus, memory, count = (int(match[name]) for name in ("cpus", "memory", "count"))
        group = Nodes(
            partition=partition, cpus=cpus, memory_mb=memory, state=state, count=count, gres=gres, features=names
        )
        found.append(group)
    return found


def parse_partitions(text: str) -> dict[str, dict[str, str]]:
    """`scontrol show partition -o` by partition: its settings by name."""
    found = [parse_pairs(line) for line in text.splitlines()]
    return {pairs["PartitionName"]: pairs for pairs in found if "PartitionName" in pairs}


def asked_gres(wanted: Resources) -> list[Gres]:
    """The generic resources that a task asks for."""
    return gres_items(wanted.gres) if wanted.gres else ([("gpu", "", wanted.gpus)] if wanted.gpus else [])
