"""The study's reference file and its history: every rewrite archives first, archives never overwrite."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from agent.errors import InvalidReference, UsageError
from agent.reference import Reference, load_reference
from agent.store.disk import Disk, read_text
from agent.store.events import ReferenceRestored, ReferenceWritten
from agent.store.journal import Journal
from agent.store.paths import StudyPaths
from agent.store.study import StudyConfig
from trainers.layout import candidate_name

_ARCHIVED = re.compile(r"hyperparameter_reference_round_(?P<round>\d+)(?:_v(?P<version>\d+))?\.json")


class Versions:
    """Reads, rewrites, archives and restores runs/<study>/hyperparameter_reference.json."""

    def __init__(self, paths: StudyPaths, config: StudyConfig, disk: Disk, journal: Journal) -> None:
        self._paths = paths
        self._config = config
        self._disk = disk
        self._journal = journal

    def current(self) -> Reference:
        """The reference as it stands now, checked, and still of this study. Raises InvalidReference."""
        self._check_there()
        reference, config = load_reference(self._paths.reference), self._config
        frozen = {
            "trainer": (reference.trainer, config.trainer),
            "task": (reference.task, config.task),
            "objective.metric": (reference.objective.metric, config.metric),
            "objective.direction": (reference.objective.direction, config.direction),
        }
        problems = [
            (where, repr(found), f"the study began with {begun!r}; put it back, or begin another --study")
            for where, (found, begun) in frozen.items()
            if found != begun
        ]
        if problems:
            raise InvalidReference.of(self._paths.reference, problems)
        return reference

    def current_text(self) -> str:
        """The reference's text as it stands now. Raises InvalidReference where it is gone."""
        self._check_there()
        return read_text(self._paths.reference)

    def edited(self) -> bool:
        """Whether a person changed the file since Roundtable last wrote it."""
        return not self.is_last_written(self.current_text())

    def is_last_written(self, text: str) -> bool:
        """Whether this is the version that Roundtable wrote (or took over) last."""
        last = self._journal.last(ReferenceWritten)
        return last is not None and last.sha256 == sha256(text)

    def archive(self, text: str, round_number: int) -> Path:
        """Keep a version in history/ under the round it was trained with. The same bytes are kept once."""
        self._disk.make_folder(self._paths.history)
        version = 1
        while True:
            suffix = "" if version == 1 else f"_v{version}"
            path = self._paths.history / f"hyperparameter_reference_round_{round_number}{suffix}.json"
            if not path.exists():
                self._disk.write(path, text)
                return path
            if read_text(path) == text:
                return path
            version += 1

    def rewrite(self, text: str, *, round_number: int, version: int, source: str) -> None:
        """Make `text` the current reference. The version before must have been archived by the caller."""
        self._disk.write(self._paths.reference, text)
        self.journal_written(text, round_number=round_number, version=version, source=source)

    def journal_written(self, text: str, *, round_number: int, version: int, source: str) -> None:
        """Record the sha256 by which a later edit is recognised. Nothing when it is recorded already."""
        if not self.is_last_written(text):
            self._journal.append(
                ReferenceWritten(sha256=sha256(text), round=round_number, version=version, source=source)
            )

    def archived(self) -> list[Path]:
        """All earlier versions, by round and version."""
        found = []
        for path in self._paths.history.glob("*.json") if self._paths.history.is_dir() else ():
            match = _ARCHIVED.fullmatch(path.name)
            if match:
                found.append((int(match["round"]), int(match["version"] or 1), path))
        return [path for _, _, path in sorted(found)]

    def restore(self, name: str, describe: Callable[[Reference, Reference], str]) -> str:
        """Make an archived version current again; the present one is archived first. Returns what changed.

        It counts as a person's edit: the next round trains it. Raises UsageError naming the versions there are.
        """
        by_name = {path.stem.removeprefix("hyperparameter_reference_"): path for path in self.archived()}
        wanted = name.removesuffix(".json").removeprefix("hyperparameter_reference_")
        wanted = f"round_{wanted}" if wanted.isdecimal() else wanted
        if wanted not in by_name:
            known = ", ".join(by_name) or "none yet"
            raise UsageError(
                f"no archived reference {name!r} in {self._paths.history}; there are: {known}; `last` is the "
                "one that Roundtable wrote last"
            )
        return self.put_back(by_name[wanted], describe)

    def put_back(self, path: Path, describe: Callable[[Reference, Reference], str]) -> str:
        """Make another file's text the current reference; what stands there, if anything, is archived first.

        Returns what changed. Raises InvalidReference for a file that is none.
        """
        new, text = load_reference(path), read_text(path)
        old: Reference | None = None
        if self._paths.reference.exists():
            try:
                old = load_reference(self._paths.reference)
            except InvalidReference:
                pass  # what a person broke is kept all the same
            last = self._journal.last(ReferenceWritten)
            self.archive(self.current_text(), old.round if old is not None else last.round if last else new.round)
        self._disk.write(self._paths.reference, text)
        self._journal.append(ReferenceRestored(name=path.name, sha256=sha256(text)))
        return describe(old, new) if old is not None else f"{self._paths.reference}: put back from {path}"

    def last_written(self) -> Path | None:
        """Another file with the very text that Roundtable wrote (or took over) last; None where it has none."""
        rounds = [self._paths.round(folder) for folder in reversed(self._paths.folders())]
        copies = (path for paths in rounds for path in (paths.reference(candidate_name(0)), paths.before))
        for path in (*copies, *reversed(self.archived())):
            if path.exists() and self.is_last_written(read_text(path)):
                return path
        return None

    def _check_there(self) -> None:
        """Raises InvalidReference with what puts a reference back that is gone."""
        path = self._paths.reference
        if not path.exists():
            study = shlex.quote(str(path.parent))
            message = f"is gone; `roundtable reference restore --study {study} last` puts the last one back"
            raise InvalidReference.at(path, message)


def sha256(text: str) -> str:
    """sha256 of a file's text as it stands on disk."""
    return hashlib.sha256(text.encode()).hexdigest()
