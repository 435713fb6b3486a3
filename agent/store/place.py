"""Where a study lies, and whether it still lies there: folders are moved and copied, and round folders are lost.

Scripts and jobs name the study's folder, so they go on where it was. The journal knows the place (`placed`: `root`,
resolved, and `given`, as it was called), and every name under which something was submitted was made from it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.store.events import Event, Placed, RoundDiscarded
from agent.store.journal import first_line
from agent.store.paths import RoundFolder
from agent.store.store import Store
from trainers.files import read_regular


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The study was last worked on in another folder."""

    root: Path
    """That folder."""
    copied: bool
    """Whether it is still there: this one is a copy, and what runs belongs to the other."""

    def describe(self, here: Path) -> str:
        """In one line."""
        if self.copied:
            return f"{here} is a copy of {self.root}, which is still there"
        return f"{here} was moved here from {self.root}"


def elsewhere(store: Store) -> Elsewhere | None:
    """Where the study was last worked on, if not here; None where that is another name of this very folder, too."""
    here = store.paths.root
    if (known := _known(store)) is None or any(_same(path, here) for path in known):
        return None
    there = known[0]
    return Elsewhere(root=there, copied=_holds_the_same_study(there, store))


def place(store: Store, *, copied: bool) -> None:
    """Journal that the study lies here from now on. copied: its controllers and jobs so far are another folder's."""
    root = store.paths.root
    store.journal.append(Placed(root=str(root.resolve()), given=str(root.absolute()), copied=copied))


def placed(store: Store) -> bool:
    """Whether the journal knows the study's place; that of an earlier version may not."""
    return store.journal.last(Placed) is not None


def copied_from(store: Store) -> Path | None:
    """The folder that this study was last copied from; None where it was begun, or moved, here."""
    earlier: Path | None = None
    found: Path | None = None
    for one in store.journal.of(Placed):
        found = earlier if one.copied else found
        earlier = Path(one.root)
    return found


def before_copying(store: Store, event: Event) -> bool:
    """Whether an event of the journal is about what the folder did that this one was copied from."""
    copied = [one.seq for one in store.journal.of(Placed) if one.copied]
    return bool(copied) and event.seq < copied[-1]


def roots(store: Store) -> list[str]:
    """Every folder that the study has had, resolved, the present one first: submissions are named after them."""
    earlier = [one.root for one in store.journal.of(Placed)]
    return list(dict.fromkeys([str(store.paths.root.resolve()), *reversed(earlier), *_from_scripts(store)]))


def vanished(store: Store) -> list[RoundFolder]:
    """Folders of rounds, rungs of an open round and confirmations that the journal knows and that are gone.

    One that was replaced by a later run of its number is not read any more, and not missed.
    """
    root = store.paths.root
    gone = {one.folder for one in store.journal.of(RoundDiscarded)}
    known: dict[tuple[str, int], RoundFolder] = {}
    for name in store.journal.folders - gone:
        folder = RoundFolder.parse(root / name)
        if folder is not None and folder.kind != "stop":
            newest = known.get((folder.kind, folder.number))
            known[folder.kind, folder.number] = max(newest or folder, folder, key=lambda one: one.stamp)
    missing = [one for one in known.values() if not one.path.is_dir() and not _replaced(store, one)]
    open_now = {paths.number for paths in (store.open_folder(),) if paths is not None}
    return sorted(
        (one for one in missing if not one.kind.startswith("rung") or one.number in open_now),
        key=lambda one: (one.number, one.stamp),
    )


def _replaced(store: Store, folder: RoundFolder) -> bool:
    """Whether a later folder stands in its place, or it was kept as the one that ended the study."""
    stopped = folder.path.with_name(folder.path.name.replace("round_", "stop_", 1))
    later = (one.stamp for one in store.paths.folders(folder.kind) if one.number == folder.number)
    return stopped.is_dir() or any(stamp > folder.stamp for stamp in later)


def _known(store: Store) -> list[Path] | None:
    """The names of the folder that the study was last worked on in: resolved, and as it was called."""
    last = store.journal.last(Placed)
    if last is not None:
        return [Path(last.root), Path(last.given)]
    found = [Path(root) for root in _from_scripts(store)]
    return found or None


def _from_scripts(store: Store) -> Iterator[str]:
    """The place of a study of an earlier version, whose journal does not know it: as its newest scripts name it."""
    if placed(store):
        return
    for folder in reversed(store.paths.folders()):
        script = store.paths.round(folder).script("train")
        if not script.is_file():
            continue
        for line in read_regular(script).decode("utf-8", errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "export ROUNDTABLE_ROUND_DIR":
                yield str(Path(shlex.split(value)[0]).parent)
                return


def _same(known: Path, here: Path) -> bool:
    """Whether both are one folder: through links, and mounts that have two names."""
    try:
        return known.samefile(here)
    except OSError:
        return False


def _holds_the_same_study(root: Path, store: Store) -> bool:
    """Whether a study with this one's beginning lies there. What cannot be looked into counts as one that does."""
    begun = first_line(store.paths.journal)
    try:
        return first_line(root / store.paths.journal.name) == begun
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
