"""Before anything is done with a study: is it where it was, and are its rounds there?

A moved study takes its open round's scripts along, which name the old place: they are rendered again. While tasks of
it may still run, they train in the old place, and nothing is done. A copy never acts on the original or its jobs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from agent.errors import InvalidStudy, Problem, StudyMoved
from agent.orchestrator.training.submissions import KINDS, MARKS, active, begun, submissions
from agent.orchestrator.work import Tools
from agent.store.paths import RoundFolder, RoundPaths
from agent.store.place import Elsewhere, before_copying, copied_from, elsewhere, place, placed, vanished
from agent.store.requests import open_requests, settle
from agent.store.store import Store

Render = Callable[[RoundPaths, str], bool]
"""Writes the scripts of an open round or rung (its paths and kind) anew; False where there are none yet."""


def check(store: Store, tools: Tools, render: Render, *, force: int | None = None) -> None:
    """Notice a study that was moved or copied, and round folders that are lost. The caller holds the lease.

    render: writes the scripts of an open round anew. force: the round that is run again, of which nothing is needed.
    Raises StudyMoved, InvalidStudy for a folder that is gone, SchedulerUnavailable where a moved study's tasks cannot
    be asked for.
    """
    check_there(store, force=force)
    open_now = [(paths, kind) for paths, kind in store.open_folders() if paths.number != force]
    handed_over = [paths for paths, _ in open_now if begun(store, paths, by_hand=False)]
    found = elsewhere(store)
    if found is None:
        if not placed(store):
            place(store, copied=False)
        for paths in handed_over:
            if not_ours(store, paths):
                raise StudyMoved(_copied_text(store, copied_from(store) or store.paths.root, paths))
        return
    if handed_over and found.copied:
        raise StudyMoved(_copied_text(store, found.root, handed_over[0]))
    if handed_over and active(store, handed_over[0], tools):
        raise StudyMoved(_moved_text(store, found, handed_over[0]))
    rendered = [paths for paths, kind in open_now if render(paths, kind)]
    if found.copied:
        for request in open_requests(store):  # they were meant for the original
            settle(store, request)
    place(store, copied=found.copied)
    again = "".join(f"; the scripts of {paths.label} are rendered again for this folder" for paths in rendered)
    tools.say(f"{found.describe(store.paths.root)}{again}")
    if rendered and not handed_over:
        tools.say(
            f"tasks that a person submitted from {found.root} train there: cancel them, and submit these scripts"
        )


def not_ours(store: Store, paths: RoundPaths) -> bool:
    """Whether what was submitted for a round's folder belongs to the study that this one was copied from."""
    marks = list(store.journal.of(*MARKS, folder=paths.root.name))
    return bool(marks) and before_copying(store, marks[-1])


def check_there(store: Store, *, force: int | None = None) -> None:
    """Raises InvalidStudy naming each round's folder that is gone, and what it may still have in a queue."""
    lost = vanished(store)
    open_now = store.at_work()
    if lost and lost[0].kind != "confirm" and lost[0].number == force:
        return  # the first of them is run again; the others are next
    if lost and open_now is not None and open_now[0].number < lost[0].number:
        return  # and goes on
    if lost:
        raise InvalidStudy(
            [Problem(file=str(one.path), where="folder", value="", message=_lost_text(store, one)) for one in lost]
        )


def check_ours(store: Store, paths: RoundPaths | None = None) -> None:
    """Raises StudyMoved where tasks or controllers that would be stopped belong to the folder that this is a copy of.

    paths: the open round that is meant; None: the controllers. Needs no lease.
    """
    found = elsewhere(store)
    if found is not None and found.copied:
        what = f"{paths.label} was submitted" if paths is not None else "its controllers were started"
        there = shlex.quote(str(found.root))
        raise StudyMoved(f"{found.describe(store.paths.root)}: {what} there; call again with --study {there}")
    if paths is not None and not_ours(store, paths):
        raise StudyMoved(_copied_text(store, copied_from(store) or store.paths.root, paths))


def jobs_of(store: Store, folder: RoundFolder) -> list[str]:
    """Ids of the jobs that were submitted for a folder, oldest first; also of one that is gone."""
    made = (one for kind in KINDS for _, one in submissions(store, store.paths.round(folder), kind))
    return [one.job_id for one in made if one.capabilities.cancel_command]


def _lost_text(store: Store, folder: RoundFolder) -> str:
    study = shlex.quote(str(store.paths.root))
    text = "is not there any more; put it back (from a backup)"
    if folder.kind == "round":
        text += f", or run the round again with --force-round {folder.number}"
    else:
        text += f", or begin another --study with --warm-start {study}"
    if jobs := jobs_of(store, folder):
        text += f"; jobs of it may still be in the queue: scancel {' '.join(jobs)}"
    return text


def _copied_text(store: Store, original: Path, paths: RoundPaths) -> str:
    there, number = shlex.quote(str(original)), paths.number
    return (
        f"{store.paths.root} is a copy of {original}: {paths.label} was submitted there, and its tasks train there. "
        f"Go on with --study {there}; or run the round again in this copy with `tune ... --force-round {number}`, or "
        "copy the study again when the round is closed"
    )


def _moved_text(store: Store, found: Elsewhere, paths: RoundPaths) -> str:
    here, there = shlex.quote(str(store.paths.root)), shlex.quote(str(found.root))
    folder = RoundFolder.parse(paths.root)
    jobs = jobs_of(store, folder) if folder is not None else []
    ended = f"end them (scancel {' '.join(jobs)})" if jobs else "wait until they have ended"
    return (
        f"{found.describe(store.paths.root)} while tasks of {paths.label} are in the queue, and they train in the "
        f"old place. Put it back (mv {here} {there}) or let the old name lead here (ln -s {here} {there}); or "
        f"{ended} and call again"
    )
