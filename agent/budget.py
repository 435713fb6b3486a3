"""Hours of GPUs and CPUs: what a submission may take at most, what is spent and what is committed. Pure.

The journal is the only memory. A charge is written once for each submission, with the most it may take; refunds when
its rows have ended, with the seconds that all runs of each row took together and the CPU- and GPU-seconds that they
were allocated where accounting tells: a site may allocate more than was asked for. Rows without a refund stay at
their declared charge. The ledger gives the same sums whatever the order of the entries and however often one is
repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

Resource = Literal["gpu", "cpu"]
RESOURCES: tuple[Resource, ...] = ("gpu", "cpu")

#: Sums of thousands of charges end within this of what they stand for.
_ROUNDING_H = 1e-6


@dataclass(frozen=True, kw_only=True)
class Request:
    """Tasks that each hold so much for so long at most."""

    tasks: int
    limit_s: int | None
    """Time limit of one run in seconds; None where there is none, so that nobody can say how long it takes."""
    gpus: int
    cpus: int
    runs: int = 1
    """How often a task may run: above 1 where it requeues itself at its time limit."""

    def __post_init__(self) -> None:
        least = min(self.tasks, self.gpus, self.cpus, self.runs - 1)
        if least < 0 or (self.limit_s is not None and self.limit_s <= 0):
            raise ValueError(f"no request can be {self}")

    def each(self, resource: Resource) -> int:
        """How many GPUs (CPUs) one task holds."""
        return self.gpus if resource == "gpu" else self.cpus

    def worst(self, resource: Resource) -> float | None:
        """The most hours that all tasks may take: tasks x runs x limit x GPUs (CPUs). None where that is unknown."""
        if self.each(resource) == 0 or self.tasks == 0:
            return 0.0
        return None if self.limit_s is None else self.tasks * self.runs * self.limit_s * self.each(resource) / 3600

    def used(self, resource: Resource, seconds: Iterable[float]) -> float:
        """The hours that tasks of this kind took, given each one's seconds."""
        return sum(seconds) * self.each(resource) / 3600


@dataclass(frozen=True, kw_only=True)
class Caps:
    """The most hours that a study may take; None: no cap."""

    gpu: float | None = None
    cpu: float | None = None

    def of(self, resource: Resource) -> float | None:
        return self.gpu if resource == "gpu" else self.cpu


class Charged(Protocol):
    """The journal's word of a charge."""

    @property
    def name(self) -> str: ...
    @property
    def items(self) -> tuple[int, ...]: ...
    @property
    def limit_s(self) -> int | None: ...
    @property
    def runs(self) -> int: ...
    @property
    def gpus(self) -> int: ...
    @property
    def cpus(self) -> int: ...


class Refunded(Protocol):
    """The journal's word of what rows of a submission took."""

    @property
    def name(self) -> str: ...
    @property
    def seconds(self) -> Mapping[int, float]: ...
    @property
    def held(self) -> Mapping[int, Mapping[str, float]] | None: ...


@dataclass(frozen=True, kw_only=True)
class Charge:
    """One submission as it was charged."""

    name: str
    items: tuple[int, ...]
    request: Request


@dataclass(frozen=True, kw_only=True)
class Refund:
    """What rows of a submission took, and the hours that come back; None where nothing was declared."""

    seconds: Mapping[int, float]
    held: Mapping[int, Mapping[str, float]]
    gpu_hours: float | None
    cpu_hours: float | None


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How one resource stands, in hours."""

    spent: float
    """Of rows that are accounted for."""
    committed: float
    """Of the other rows: the most that they may take."""
    unknown: int
    """Rows that are not accounted for and had no time limit: what they take is in neither sum."""

    @property
    def total(self) -> float:
        return self.spent + self.committed


class Ledger:
    """What a journal's charges and refunds add up to."""

    def __init__(self, charges: Iterable[Charged], refunds: Iterable[Refunded]) -> None:
        self._charges: dict[str, Charge] = {}
        self._seconds: dict[str, dict[int, float]] = {}
        self._held: dict[str, dict[int, dict[str, float]]] = {}
        for charged in charges:
            self._charges.setdefault(charged.name, _charge(charged))
        for refunded in refunds:
            known = self._seconds.setdefault(refunded.name, {})
            for item, seconds in refunded.seconds.items():
                known[item] = max(known.get(item, 0.0), seconds)
            # Journals of earlier versions do not say what was allocated.
            for item, held in (refunded.held or {}).items():
                mine = self._held.setdefault(refunded.name, {}).setdefault(item, {})
                mine.update({name: max(mine.get(name, 0.0), value) for name, value in held.items()})

    @property
    def charges(self) -> Mapping[str, Charge]:
        """Every charged submission by its name."""
        return self._charges

    def seconds(self, name: str) -> dict[int, float]:
        """The rows of a submission that are accounted for: item -> seconds of all its runs."""
        charged = self._charges.get(name)
        known = self._seconds.get(name, {})
        return {item: known[item] for item in charged.items if item in known} if charged else {}

    def unaccounted(self) -> dict[str, tuple[int, ...]]:
        """Submissions with rows that still stand at their declared charge, and those rows."""
        found = {}
        for name, charged in self._charges.items():
            known = self._seconds.get(name, {})
            if rest := tuple(item for item in charged.items if item not in known):
                found[name] = rest
        return found

    def balance(self, resource: Resource) -> Balance:
        spent = committed = 0.0
        unknown = 0
        for name, charged in self._charges.items():
            known = self.seconds(name)
            spent += _used(charged.request, resource, known, self._held.get(name, {}))
            rest = replace(charged.request, tasks=len(charged.items) - len(known))
            worst = rest.worst(resource)
            unknown += rest.tasks if worst is None else 0
            committed += worst or 0.0
        return Balance(spent=spent, committed=committed, unknown=unknown)

    def refusal(self, requests: Sequence[Request], caps: Caps) -> str | None:
        """Why these requests may not be submitted under the caps; None when they may."""
        for resource in RESOURCES:
            cap, option = caps.of(resource), f"--max-{resource}-hours"
            if cap is None:
                continue
            worst = worst_of(requests, resource)
            if worst is None:
                return (
                    f"the tasks have no time limit, so nobody can say how many {unit(resource)} they may take; with "
                    f"{option} {number(cap)} set `time` in the cluster profile (--profile)"
                )
            if worst == 0:
                continue
            now = self.balance(resource)
            if now.unknown:
                return (
                    f"{now.unknown} tasks ran without a time limit and accounting has not told what they took, so "
                    f"nobody can say whether {option} {number(cap)} is kept; cap another --study instead"
                )
            if now.total + worst > cap + _ROUNDING_H:
                left = max(0.0, cap - now.total)
                return (
                    f"{describe(requests, resource)}, but {standing(now, cap)}: {number(left)} are left; raise "
                    f"{option}, or lower `time` or `{resource}s` in the profile, or --candidates"
                )
        return None


def _charge(charged: Charged) -> Charge:
    request = Request(
        tasks=len(charged.items), limit_s=charged.limit_s, runs=charged.runs, gpus=charged.gpus, cpus=charged.cpus
    )
    return Charge(name=charged.name, items=charged.items, request=request)


def _used(
    request: Request, resource: Resource, seconds: Mapping[int, float], held: Mapping[int, Mapping[str, float]]
) -> float:
    """The hours that tasks took: what they were allocated where that is known, else what they asked for."""
    told = {item: held[item][resource] for item in seconds if resource in held.get(item, {})}
    rest = [value for item, value in seconds.items() if item not in told]
    return sum(told.values()) / 3600 + request.used(resource, rest)


def refund(
    charged: Charge, seconds: Mapping[int, float], held: Mapping[int, Mapping[str, float]] | None = None
) -> Refund:
    """For rows of this charge that are accounted for now.

    held: CPU- and GPU-seconds that they were allocated, where accounting tells. A row whose runs took longer than was
    declared (a requeue starts its limit anew), or that was allocated more, gives a negative refund.
    """
    known = {item: dict(each) for item, each in sorted((held or {}).items()) if item in seconds}
    rows = replace(charged.request, tasks=len(seconds))

    def back(resource: Resource) -> float | None:
        worst = rows.worst(resource)
        return None if worst is None else round(worst - _used(rows, resource, seconds, known), 9)

    return Refund(seconds=dict(sorted(seconds.items())), held=known, gpu_hours=back("gpu"), cpu_hours=back("cpu"))


def worst_of(requests: Sequence[Request], resource: Resource) -> float | None:
    """The most hours that several requests may take together; None as soon as one of them is unknown."""
    total = 0.0
    for request in requests:
        worst = request.worst(resource)
        if worst is None:
            return None
        total += worst
    return total


# -- in words -------------------------------------------------------------------------------------------------------


def describe(requests: Sequence[Request], resource: Resource) -> str:
    """ "20 rows x 2 h x 1 GPU + 4 x 10 min x 1 GPU = at most 40.67 GPU-hours"."""
    parts = []
    for position, request in enumerate(requests):
        each = request.each(resource)
        if each == 0:
            continue
        rows = f"{request.tasks} row{'s' if request.tasks > 1 else ''}" if position == 0 else str(request.tasks)
        limit = "no time limit" if request.limit_s is None else duration(request.limit_s)
        runs = f" x {request.runs} runs" if request.runs > 1 else ""
        parts.append(f"{rows}{runs} x {limit} x {each} {resource.upper()}{'s' if each > 1 else ''}")
    worst = worst_of(requests, resource)
    most = f"an unknown number of {unit(resource)}" if worst is None else f"at most {number(worst)} {unit(resource)}"
    return f"{' + '.join(parts) or 'nothing'} = {most}"


def standing(balance: Balance, cap: float | None) -> str:
    """ "12.5 of 100 spent, 8 committed"."""
    of = f" of {number(cap)}" if cap is not None else ""
    committed = f", {number(balance.committed)} committed" if balance.committed else ""
    return f"{number(balance.spent)}{of} spent{committed}"


def unit(resource: Resource) -> str:
    return f"{resource.upper()}-hours"


def number(hours: float) -> str:
    """Two decimals at most; a small amount is never shown as nothing."""
    if 0 < hours < 0.01:
        return "under 0.01"
    return f"{hours:,.2f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """The largest unit in which it is readable: 2 h, 1.5 h, 10 min, 90 s."""
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= size and (seconds * 4) % size == 0:
            return f"{number(seconds / size)} {name}"
    return f"{number(seconds)} s"
