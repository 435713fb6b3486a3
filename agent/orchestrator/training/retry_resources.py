"""What the next attempt of a row asks of the scheduler, after the ends that it has behind it. Pure.

Local launchers have none of it: there nothing is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.launch.base import SlurmSettings
from agent.launch.profile import Profile
from agent.launch.profile_checks import time_in_seconds
from agent.policy import Policy
from agent.store.events import AttemptEnded

#: Options of which a job has at most one, and what they are counted in.
MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
_NODES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,\[\]-]*")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a retry asks for that the profile does not."""

    memory: str | None = None
    """For the memory option that the profile has, e.g. "32768M"."""
    time: str | None = None
    exclude: tuple[str, ...] = ()

    def settings(self, profile: Profile) -> SlurmSettings:
        """The training's sbatch options with these in their places."""
        changed: dict[str, str] = {}
        given = profile.settings("train").directives
        if self.memory is not None:
            changed[next(name for name, _ in given if name in MEMORY)] = self.memory
        if self.time is not None:
            changed["time"] = self.time
        if self.exclude:
            changed["exclude"] = ",".join([*([profile.exclude] if profile.exclude else []), *self.exclude])
        options = [(name, changed.pop(name, value)) for name, value in given]
        return SlurmSettings(directives=(*options, *changed.items()))


def ask_for(past: Sequence[AttemptEnded], policy: Policy, profile: Profile, *, always: bool = False) -> Ask:
    """What the attempt after these ends asks for; `always`: also where that is what the profile says.

    Factors multiply, up to the profile's max_mem and max_time and never below what it asks for itself.
    """
    memory = time = 1.0
    nodes = []
    for ended in past:
        rule = policy.rules.get(ended.outcome)
        if rule is None:
            continue
        memory, time = memory * rule.memory_factor, time * rule.time_factor
        if rule.exclude_node and _NODES.fullmatch(ended.node):
            nodes.append(ended.node)
    return Ask(
        memory=_scaled_memory(profile, memory) if memory > 1 or always else None,
        time=_scaled_time(profile, time) if time > 1 or always else None,
        exclude=tuple(sorted(set(nodes))),
    )


def _scaled_memory(profile: Profile, factor: float) -> str | None:
    """None where the profile names no memory, or all of the node's."""
    options = dict(profile.settings("train").directives)
    name = next((option for option in MEMORY if option in options), None)
    base = _megabytes(options[name] or "") if name else 0.0
    if not base:
        return None
    wanted = base * factor
    if profile.max_mem is not None:
        parts = {"mem-per-cpu": profile.cpu_count, "mem-per-gpu": max(profile.gpu_count, 1)}.get(name or "", 1)
        wanted = min(wanted, _megabytes(profile.max_mem) / parts)
    return f"{math.ceil(max(wanted, base))}M"


def _megabytes(text: str) -> float:
    """Megabytes of sbatch's "16G"; 0 for "0" and for what is no amount."""
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text.strip().upper())
    return int(match[1]) * _UNITS[match[2] or "M"] if match else 0.0


def memory_of(ask: Ask, profile: Profile) -> str | None:
    """What an attempt asked for, as the profile words it where it is the profile's."""
    if ask.memory is not None:
        return ask.memory
    options = dict(profile.settings("train").directives)
    return next((options[name] for name in MEMORY if name in options), None)


def _scaled_time(profile: Profile, factor: float) -> str | None:
    base = profile.time_seconds
    if base is None:
        return None
    wanted = math.ceil(base * factor)
    if profile.max_time is not None:
        wanted = max(base, min(wanted, time_in_seconds(profile.max_time)))
    minutes, seconds = divmod(wanted, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02}:{minutes:02}:{seconds:02}"
