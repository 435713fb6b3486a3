"""A person's cancellations: files that ask for one, and what the journal says of those that were carried out.

Cancelling must work while another process holds the study's lease, for that is when it is needed; but only the holder
may write the journal. So whoever cancels leaves a request (requests/cancel_<id>.json, one file each, written whole),
stops the tasks, and whoever holds the lease next journals it. A request is removed once it is journaled and carried
out, so a kill in between only repeats what does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import InvalidStudy
from agent.store.disk import storage
from agent.store.events import Cancelled, Released, RetryAsked
from agent.store.paths import RoundPaths
from agent.store.store import Store
from trainers.files import FileProblem, read_json_object


@dataclass(frozen=True, kw_only=True)
class CancelRequest:
    """A person wants rows of an open round stopped."""

    path: Path
    folder: str
    """Name of the round's folder."""
    rows: tuple[int, ...] | None
    """None: the whole round, which then waits for a person."""
    by: str
    """user@host, for the journal."""

    @property
    def id(self) -> str:
        return self.path.stem


def ask_to_cancel(store: Store, paths: RoundPaths, rows: Iterable[int] | None) -> CancelRequest:
    """Leave a request. Needs no lease. Raises StorageError."""
    import socket
    import uuid

    path = store.paths.requests / f"cancel_{uuid.uuid4().hex[:12]}.json"
    by = f"{_user()}@{socket.gethostname()}"
    request = CancelRequest(
        path=path, folder=paths.root.name, rows=None if rows is None else tuple(sorted(rows)), by=by
    )
    store.disk.make_folder(path.parent)
    wanted = None if request.rows is None else list(request.rows)
    store.disk.write_json(path, {"folder": request.folder, "rows": wanted, "by": by, "at": store.clock().isoformat()})
    return request


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in some containers
        return "somebody"


def open_requests(store: Store) -> list[CancelRequest]:
    """All requests that nobody has carried out yet, those of a whole round first.

    Raises InvalidStudy for one that cannot be read.
    """
    found = []
    for path in sorted(store.paths.requests.glob("cancel_*.json")):
        try:
            raw: Any = read_json_object(path)
            rows = raw["rows"]
            if rows is not None and not (isinstance(rows, list) and all(type(row) is int for row in rows)):
                raise ValueError("rows must be a list of whole numbers or null")
            request = CancelRequest(
                path=path,
                folder=str(raw["folder"]),
                rows=None if rows is None else tuple(rows),
                by=str(raw["by"]),
            )
        except (FileProblem, KeyError, ValueError) as error:
            if not path.exists():
                continue
            message = f"cannot be used ({error}); remove it and call `{store.command('cancel')}` again"
            raise InvalidStudy.at(path, message) from error
        found.append(request)
    return sorted(found, key=lambda request: request.rows is not None)


def settle(store: Store, request: CancelRequest) -> None:
    """Remove a request that was carried out."""
    store.disk.boundary(f"before removing {request.path.name}")
    with storage(request.path):
        request.path.unlink(missing_ok=True)


def cancelled_rows(store: Store, paths: RoundPaths) -> set[int]:
    """Rows that a person cancelled and that nobody asked for again since: never retried by themselves."""
    found: set[int] = set()
    for event in store.journal.of(Cancelled, RetryAsked, folder=paths.root.name):
        found = found.union(event.rows) if isinstance(event, Cancelled) else found.difference(event.rows)
    return found


def cancelled_names(store: Store, paths: RoundPaths) -> set[str]:
    """Names of a round's submissions that were stopped because a person wanted it."""
    return {name for event in store.journal.of(Cancelled, folder=paths.root.name) for name in event.names}


def halted(store: Store, paths: RoundPaths) -> Cancelled | None:
    """The journal's event of a whole round's cancellation while it stands: nothing is done until a person retries
    the round or has it collected as it is."""
    last: Cancelled | None = None
    for event in store.journal.of(Cancelled, RetryAsked, Released, folder=paths.root.name):
        if not isinstance(event, Cancelled):
            last = None
        elif event.whole:
            last = event
    return last


def halted_text(store: Store, paths: RoundPaths) -> str:
    """What a person can do about a cancelled round."""
    event = halted(store, paths)
    how = f" with scancel ({event.by})" if event is not None and event.who == "scancel" else ""
    anew = f"`{store.tune_command('--force-round', paths.number)}` begins the round anew"
    if event is not None and not event.rows:
        return (
            f"the evaluation of {paths.label} was cancelled{how}: `{store.command('retry')}` or "
            f"`{store.command('collect')}` starts it again, and {anew}"
        )
    return (
        f"{paths.label} was cancelled{how}: `{store.command('retry')}` starts its missing rows again, "
        f"`{store.command('collect')}` closes it with what is there, and {anew}"
    )
