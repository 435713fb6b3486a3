"""One thing that was looked at, what was found, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Foreign text beyond this says nothing more to a person.
MOST_CHARACTERS = 400


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Works, but something is lost, unsure or slower than it could be."""
    PROBLEM = "problem"
    """A study would be refused, wait for ever or lose results."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and what to change."""

    level: Level
    area: str
    """slurm, cluster, profile, disk, training, environment, permissions, agents or extras."""
    looked_at: str
    found: str
    change: str = ""
    """The remedy; never empty for a warning or a problem."""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not self.change:
            raise ValueError(f"{self.looked_at}: a {self.level} says what to change")
        for name in ("looked_at", "found", "change"):
            object.__setattr__(self, name, one_line(getattr(self, name)))


def one_line(text: str) -> str:
    """Text fit for a terminal: programs' answers and paths may hold escape sequences and line breaks."""
    flat = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return flat if len(flat) <= MOST_CHARACTERS else flat[: MOST_CHARACTERS - 3] + "..."


@dataclass(frozen=True)
class Area:
    """Makes the findings of one area."""

    name: str

    def ok(self, looked_at: str, found: str, change: str = "") -> Finding:
        return Finding(level=Level.OK, area=self.name, looked_at=looked_at, found=found, change=change)

    def warning(self, looked_at: str, found: str, change: str) -> Finding:
        return Finding(level=Level.WARNING, area=self.name, looked_at=looked_at, found=found, change=change)

    def problem(self, looked_at: str, found: str, change: str) -> Finding:
        return Finding(level=Level.PROBLEM, area=self.name, looked_at=looked_at, found=found, change=change)


def few(names: list[str], most: int) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
