"""Who drives a study unattended: controller.json (a heartbeat), stop.json (the kill switch), and the journal's word.

Journal events, each with its `generation`, a number that only grows:

    controller_intent   a controller job is about to be submitted, under `name`
    controller          it was submitted as `job_id`; `after`: the job that it waits for
    controller_refused  for certain it was not submitted
    controller_began    a controller ticks from here on. One of a lower generation ends at its next look: that keeps
                        two controllers apart even where the scheduler, or a person, started one too many
    controller_ended    and why; `final`: no successor is to go on

Only whoever holds the study's lease writes the journal. The two files need no lease: status reads them, and stopping
must work while a controller is busy.
"""

from __future__ import annotations

import dataclasses
import getpass
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.store.disk import Disk, storage
from agent.store.events import (
    ControllerBegan,
    ControllerEnded,
    ControllerIntent,
    ControllerRefused,
    ControllerSubmitted,
)
from agent.store.place import before_copying
from agent.store.store import Store
from trainers.files import FileProblem, read_json_object

ControllerEvent = ControllerIntent | ControllerSubmitted | ControllerRefused | ControllerBegan | ControllerEnded

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One controller."""

    generation: int
    kind: str
    """"slurm" or "foreground"."""
    host: str
    pid: int
    started: int
    """Clock ticks from boot to the process's start: with `boot` it tells it from a later one of the same id."""
    boot: str
    job_id: str | None = None

    @property
    def words(self) -> str:
        where = f"SLURM job {self.job_id} on {self.host}" if self.job_id else f"process {self.pid} on {self.host}"
        return f"{where} (generation {self.generation})"


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A generation that was submitted, or ticks, and has not ended."""

    generation: int
    submitted: ControllerSubmitted | None = None
    """As a job; None for one in the foreground."""
    began: ControllerBegan | None = None


# -- the journal ------------------------------------------------------------------------------------------------


def events(store: Store) -> Iterator[ControllerEvent]:
    """Everything that the journal holds about this folder's controllers, oldest first."""
    found = store.journal.of(
        ControllerIntent, ControllerSubmitted, ControllerRefused, ControllerBegan, ControllerEnded
    )
    return (event for event in found if not before_copying(store, event))


def newest(store: Store, generation: int | None = None) -> ControllerEvent | None:
    """The last event about one generation; without a number, about the highest (a successor is known early)."""
    if generation is None:
        generation = max((event.generation for event in events(store)), default=0)
    found = [event for event in events(store) if event.generation == generation]
    return found[-1] if found else None


def submitted(store: Store, generation: int) -> ControllerSubmitted | None:
    """A generation's submission; None when nobody recorded one."""
    found = [event for event in store.journal.of(ControllerSubmitted) if event.generation == generation]
    return found[-1] if found else None


def began(store: Store, generation: int) -> ControllerBegan | None:
    """The event with which a generation began to tick."""
    found = [event for event in store.journal.of(ControllerBegan) if event.generation == generation]
    return found[-1] if found else None


def unended(store: Store) -> list[Controller]:
    """The newest two generations (a controller and its successor) that no final end has closed; newest last."""
    known: dict[int, Controller] = {}
    for event in events(store):
        one = known.get(event.generation, Controller(generation=event.generation))
        if isinstance(event, ControllerSubmitted):
            known[event.generation] = dataclasses.replace(one, submitted=event)
        elif isinstance(event, ControllerBegan):
            known[event.generation] = dataclasses.replace(one, began=event)
        elif isinstance(event, ControllerEnded):
            over = [g for g in known if g == event.generation or event.final]
            for generation in over:
                del known[generation]
    return [known[generation] for generation in sorted(known)][-2:]


# -- the files --------------------------------------------------------------------------------------------------


def heartbeat(path: Path) -> Json | None:
    """controller.json, or None where there is none that can be read."""
    try:
        return dict(read_json_object(path))
    except FileProblem:
        return None


def beat(disk: Disk, path: Path, me: Identity, **facts: object) -> None:
    """Write the heartbeat. Raises StorageError.

    facts: at, next_at (ISO 8601), state ("running" or "ended"), reason, trouble.
    """
    disk.write_json(path, dataclasses.asdict(me) | facts)


def request_stop(store: Store) -> Json:
    """Write the stop file. Needs no lease. Raises StorageError."""
    request = {"by": f"{user()}@{socket.gethostname()}", "at": store.clock().isoformat()}
    store.disk.write_json(store.paths.stop, request)
    return request


def stop_request(path: Path) -> Json | None:
    """The stop file. One that cannot be read stops as well: it is a kill switch, and `touch` makes one."""
    if not path.exists():
        return None
    return heartbeat(path) or {"by": "somebody", "at": None}


def withdraw_stop(store: Store) -> None:
    """Remove the stop file."""
    store.disk.boundary("before removing stop.json")
    with storage(store.paths.stop):
        store.paths.stop.unlink(missing_ok=True)


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in some containers
        return "somebody"
