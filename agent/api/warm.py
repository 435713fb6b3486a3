"""Reading the earlier studies of --warm-start. They are only read, once, when the new study begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.acceptance import rank
from agent.errors import UsageError
from agent.propose.warm_start import Earlier
from agent.propose.warm_start import warm_start as mapped
from agent.records import CandidateResult
from agent.reference import Reference
from agent.reference.keys import listed
from agent.store.store import Store
from agent.store.study import StudyConfig


def warm_start(folders: Sequence[Path], reference: Reference, config: StudyConfig) -> dict[str, Any]:
    """warm_start.json: what is tried first, from where, and what was left out and why.

    Raises UsageError for a folder that is no study, has no finished round or another objective, or where nothing of
    any of them fits.
    """
    stores = [_opened(folder, config) for folder in folders]
    names = [store.config.study for store in stores]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--warm-start: two studies are called {listed(twice)}: they could not be told apart")
    studies = [Earlier(name=s.config.study, metric=s.config.metric, best=_best(s)) for s in stores]
    found = mapped(reference, studies)
    left_out = [{"source": source, "why": why} for source, why in found.left_out]
    if not found.proposals:
        lines = [f"{entry['source']}: {entry['why']}" for entry in left_out[:10]]
        raise UsageError("\n".join(["--warm-start: no setting of these studies can be tried here", *lines]))
    return {
        "schema_version": 1,
        "studies": [
            {
                "study": store.config.study,
                "folder": str(store.paths.root),
                "rounds": len(store.closed()),
                "differences": _differences(store.config, config),
            }
            for store in stores
        ],
        "starts": [
            {"values": dict(p.values), "source": p.source, "reason": p.reason, "details": dict(p.details)}
            for p in found.proposals
        ],
        "left_out": left_out,
    }


def told(record: Mapping[str, Any]) -> Iterator[str]:
    """What a person is told of a study's warm start, a line each."""
    for study in record["studies"]:
        count = sum(start["source"].startswith(f"warm_start:{study['study']}/") for start in record["starts"])
        differs = f" ({'; '.join(study['differences'])})" if study["differences"] else ""
        yield f"--warm-start {study['study']}: {count} settings are tried after the default{differs}"
    for start in record["starts"]:
        for note in start["details"]["notes"]:
            yield f"{start['source']}: {note}"
    for entry in record["left_out"]:
        yield f"{entry['source']} is left out: {entry['why']}"


def check_warm_start(store: Store, folders: Sequence[Path]) -> None:
    """The same call again is fine; other studies come too late. Raises UsageError."""
    record = store.record(store.paths.warm_start)
    begun = [entry["study"] for entry in record["studies"]] if record is not None else []
    given = [folder.absolute().name for folder in folders]
    if begun != given:
        raise UsageError(
            f"--warm-start is for new studies: {store.paths.root} began with {listed(begun) or 'none'}; leave it "
            "out, or begin another --study"
        )


def _opened(folder: Path, config: StudyConfig) -> Store:
    said = f"--warm-start {folder}"
    try:
        store = Store.open(folder.absolute())
    except UsageError as error:
        if not (folder / "study.yaml").exists():
            what = "is no study (it has no study.yaml)" if folder.exists() else "there is no such folder"
            there = sorted(path.parent.name for path in folder.absolute().parent.glob("*/study.yaml"))
            message = f"{said}: {what}; studies beside it: {listed(there) or 'none'}"
            raise UsageError(message) from error
        raise
    if not store.closed():
        raise UsageError(f"{said}: has no finished round to learn from")
    mine = (config.metric, config.direction)
    if (theirs := (store.config.metric, store.config.direction)) != mine:
        raise UsageError(
            f"{said}: its objective is to {theirs[1]} {theirs[0]}, this study's to {mine[1]} {mine[0]}: what was "
            "best there need not be good here"
        )
    return store


def _best(store: Store) -> list[CandidateResult]:
    """The incumbent, then the others by their means; not the default that a confirmed incumbent beat."""
    held = store.incumbent()
    known = [o for o in rank(store.history(), store.config.objective) if o.complete and o.value is not None]
    if held is not None:
        known = [o for o in known if o.key != held.beaten]
        known.sort(key=lambda o: (o.round, o.candidate) != (held.round, held.candidate))
    return known


def _differences(other: StudyConfig, mine: StudyConfig) -> list[str]:
    """What else is not the same, for a person to judge."""
    names = ("trainer", "task", "epochs", "fold_count")
    return [
        f"{name}: {getattr(other, name)} there, {getattr(mine, name)} here"
        for name in names
        if getattr(other, name) != getattr(mine, name)
    ]
