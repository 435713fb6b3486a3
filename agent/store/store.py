"""One study on disk: its configuration, journal, rounds and history. Resuming is opening it again."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.acceptance import Incumbent
from agent.budget import Ledger
from agent.errors import InvalidStudy, UsageError
from agent.ownership import kept_back
from agent.pasteable import roundtable
from agent.records import CandidateResult
from agent.store.disk import Disk, read_text, storage
from agent.store.events import (
    Charged,
    Placed,
    ReferenceWritten,
    Refunded,
    RoundBegun,
    RoundClosed,
    RoundDiscarded,
    RungBegun,
    SettingsGiven,
    Started,
    StudyBegun,
    Submitted,
)
from agent.store.journal import Journal
from agent.store.paths import RoundFolder, RoundPaths, StudyPaths
from agent.store.record import ConfirmationRecord, RoundRecord, RungRecord, read_confirmation, read_round, read_rung
from agent.store.steps import Steps
from agent.store.study import Settings, StudyConfig, load_settings, load_study
from agent.store.versions import Versions, sha256
from trainers.files import FileProblem, read_json_object

if TYPE_CHECKING:
    from agent.store.decision import CheckedProposals, ConfirmationDecision, Decision, Proposals

Clock = Callable[[], datetime]
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
_Version = tuple[Path, int, int]
"""A file, its modification time and size."""


class _Read(Protocol[T_co]):
    def __call__(self, raw: Mapping[str, Any], /, *, file: str) -> T_co: ...


def utc_now() -> datetime:
    """The clock of everyday use."""
    return datetime.now(UTC)


class Store:
    """Everything a study's processes share, through its folder."""

    def __init__(self, paths: StudyPaths, config: StudyConfig, disk: Disk, clock: Clock) -> None:
        self.paths = paths
        self.config = config
        self.disk = disk
        self.clock = clock
        self.journal = Journal(paths.journal, disk, clock)
        self.versions = Versions(paths, config, disk, self.journal)
        self._ledger: tuple[int, Ledger] | None = None
        self._rounds: dict[_Version, RoundRecord] = {}
        self._rungs: dict[_Version, RungRecord] = {}
        self._confirmations: dict[_Version, ConfirmationRecord] = {}

    @classmethod
    def create(
        cls,
        root: Path,
        config: StudyConfig,
        *,
        reference: str,
        trainer_file: str | None = None,
        warm_start: Mapping[str, Any] | None = None,
        disk: Disk | None = None,
        clock: Clock = utc_now,
    ) -> Store:
        """Begin a study in `root`: all first files at once, by one rename. Raises UsageError when it exists."""
        if root.exists():
            raise UsageError(f"{root} exists already; choose another --study or --output-dir")
        disk = disk or Disk()
        draft = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}.new")
        paths = StudyPaths(draft, config.slug)
        try:
            disk.make_folder(draft)
            disk.write(paths.study, config.to_text())
            disk.write(paths.reference, reference)
            if trainer_file is not None:
                disk.write(paths.trainer_file, trainer_file)
            if warm_start is not None:
                disk.write_json(paths.warm_start, warm_start)
            journal = Journal(paths.journal, disk, clock)
            journal.append(StudyBegun(sha256=sha256(config.to_text()), config=_plain(config)))
            journal.append(ReferenceWritten(sha256=sha256(reference), round=1, version=1, source="init"))
            journal.append(Placed(root=str(root.resolve()), given=str(root.absolute()), copied=False))
            try:
                draft.rename(root)
            except OSError as error:
                if root.exists():
                    raise UsageError(f"{root} was begun by another process just now; call again to go on") from error
                with storage(root):
                    raise
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return cls.open(root, disk=disk, clock=clock)

    @classmethod
    def open(cls, root: Path, *, disk: Disk | None = None, clock: Clock = utc_now) -> Store:
        """Open a study that exists. Raises UsageError when there is none, InvalidStudy when it was tampered with."""
        path = root / "study.yaml"
        if not path.exists():
            there = f"{root} is no study (it has no study.yaml)" if root.exists() else f"there is no study {root}"
            raise UsageError(f"{there}; `roundtable init` or `roundtable tune` with --task and --trainer begins one")
        config = load_study(path)
        store = cls(StudyPaths(root, config.slug), config, disk or Disk(), clock)
        begun = store.journal.last(StudyBegun)
        if begun is None or begun.sha256 != sha256(read_text(path)):
            message = "changed since the study began: put it back as it was, or start another --study"
            raise InvalidStudy.at(path, message)
        frozen = config.trainer_sha256
        if frozen is not None and sha256(read_text(store.paths.trainer_file)) != frozen:
            message = "changed since the study began: put it back as it was, or start another --study"
            raise InvalidStudy.at(store.paths.trainer_file, message)
        return store

    # -- how it is driven ---------------------------------------------------------------------------------------

    def settings(self) -> Settings:
        """How the study is driven; from the journal where settings.json is gone. Raises InvalidStudy."""
        last = self.journal.last(SettingsGiven)
        return load_settings(self.paths.settings, last.values if last is not None else None)

    def driven(self) -> bool:
        """Whether a call has said how the study is driven."""
        return self.paths.settings.exists() or self.journal.last(SettingsGiven) is not None

    def put_settings(self, settings: Settings) -> None:
        """Write the settings of this call; journaled when they differ from the last call's."""
        plain = settings.plain()
        last = self.journal.last(SettingsGiven)
        if last is None or {name: last.values.get(name) for name in plain} != plain:
            self.journal.append(SettingsGiven(values=plain))
        self.disk.write_json(self.paths.settings, plain)

    def command(self, command: str, *words: str | Path | int) -> str:
        """A `roundtable` command line about this study, to be pasted."""
        return roundtable(command, "--study", self.paths.root, *words)

    def start_command(self, *words: str) -> str:
        """The `roundtable start` that has this study driven as it was last, to be pasted."""
        last = self.journal.last(Started)
        return self.command("start", "--controller", last.controller if last is not None else "foreground", *words)

    def tune_command(self, *words: str | int) -> str:
        """The `roundtable tune` that goes on with this study as the last call had it, to be pasted."""
        asked = self.settings() if self.paths.settings.exists() else None
        wanted = (("--slurm", asked.slurm), ("--auto-train", asked.auto_train)) if asked is not None else ()
        switches = [name for name, is_on in wanted if is_on]
        root = self.paths.root
        place = ("--study", root.name, "--output-dir", root.parent)
        return roundtable("tune", "--task", self.config.task, *place, *switches, *words)

    # -- rounds -------------------------------------------------------------------------------------------------

    def closed(self, *, below: int | None = None) -> list[RoundPaths]:
        """The closed rounds, newest folder of each number, ascending; `below`: only earlier numbers."""
        rounds = [
            self.paths.round(folder) for folder in self.paths.newest() if below is None or folder.number < below
        ]
        return [paths for paths in rounds if paths.closed.exists()]

    def open_folder(self, kind: str = "round") -> RoundPaths | None:
        """The folder of this kind that is not closed yet, if there is one: a round that is run again comes before the
        next one, which was opened and has not begun."""
        for folder in self.paths.newest(kind):
            paths = self.paths.round(folder)
            if not paths.closed.exists():
                return paths
        return None

    def folder(self, name: str) -> RoundPaths:
        """The paths of a folder that the journal names."""
        found = RoundFolder.parse(self.paths.root / name)
        if found is None:
            message = "is no folder of a round: the journal was changed; restore it"
            raise InvalidStudy.at(self.paths.journal, message, where="folder", value=name)
        return self.paths.round(found)

    def rungs(self, paths: RoundPaths) -> list[RungBegun]:
        """What the journal has of a round's rungs, in their order: each as it was begun last."""
        begun = {one.rung: one for one in self.journal.of(RungBegun) if one.of == paths.root.name}
        return [begun[number] for number in sorted(begun)]

    def ledger(self) -> Ledger:
        """The study's hours of GPUs and CPUs. Added up once for each length of the journal."""
        if self._ledger is None or self._ledger[0] != len(self.journal):
            self._ledger = len(self.journal), Ledger(self.journal.of(Charged), self.journal.of(Refunded))
        return self._ledger[1]

    def open_folders(self) -> list[tuple[RoundPaths, str]]:
        """What is open, with its kind: the open round's open rung, the open round, an open confirmation."""
        found: list[tuple[RoundPaths, str]] = []
        if (paths := self.open_folder()) is not None:
            rungs = [(self.folder(one.folder), f"rung{one.rung}") for one in self.rungs(paths)]
            found = [rung for rung in rungs if not rung[0].over] + [(paths, "round")]
        if (paths := self.open_folder("confirm")) is not None:
            found.append((paths, "confirm"))
        return found

    def at_work(self, *, only: int | None = None) -> tuple[RoundPaths, str] | None:
        """The first of `open_folders`: what is trained now. only: of this number."""
        return next((one for one in self.open_folders() if only is None or one[0].number == only), None)

    def going(self) -> set[str]:
        """Names of the folders that are open."""
        return {paths.root.name for paths, _ in self.open_folders()}

    def next_number(self) -> int:
        """The number that the next new round gets: one more than the highest on disk and in the journal, which knows
        rounds whose folder is lost."""
        gone = {one.folder for one in self.journal.of(RoundDiscarded)}
        # A stopped round gave its number back.
        gone |= {f"round_{folder.number}_{folder.stamp}" for folder in self.paths.folders("stop")}
        begun = {one.folder for one in self.journal.of(RoundBegun, RoundClosed, Submitted)} - gone
        known = (RoundFolder.parse(self.paths.root / name) for name in begun)
        rounds = [folder.number for folder in known if folder is not None and folder.kind == "round"]
        return max((*(folder.number for folder in self.paths.folders()), *rounds), default=0) + 1

    def begin(self, number: int, kind: str = "round") -> RoundPaths:
        """Make the folder of a round (or a confirmation) with a name later than any earlier run of it."""
        stamp = self.journal.check_clock()
        # A stopped round has given its name away: the journal's calls are known by it.
        kinds = (kind, "stop") if kind == "round" else (kind,)
        earlier = [f.stamp for each in kinds for f in self.paths.folders(each) if f.number == number]
        while earlier and stamp.strftime("%Y%m%d_%H%M%S") <= max(earlier):
            stamp += timedelta(seconds=1)
        text = stamp.strftime("%Y%m%d_%H%M%S")
        folder = RoundFolder(kind, number, text, self.paths.root / f"{kind}_{number}_{text}")
        self.disk.make_folder(folder.path)
        # The journal, which is synced, names it next: a folder that a power cut has taken would have to be put back.
        self.disk.sync_folder(self.paths.root)
        if kind == "round":
            self.journal.append(RoundBegun(folder=folder.path.name, round=number))
        return self.paths.round(folder)

    def discard(self, paths: RoundPaths) -> None:
        """Remove the folder of a round that was begun and has no proposals: there is nothing in it to keep."""
        self.journal.append(RoundDiscarded(folder=paths.root.name, round=paths.number))
        with storage(paths.root):
            shutil.rmtree(paths.root)

    def stop(self, paths: RoundPaths) -> RoundPaths:
        """Keep the folder of a round that ended the study as stop_N_<timestamp>: its plan, and what was asked for."""
        target = paths.root.with_name(paths.root.name.replace("round_", "stop_", 1))
        with storage(paths.root):
            paths.root.rename(target)
        return RoundPaths(target, paths.slug, paths.number)

    def steps(self, paths: RoundPaths, order: tuple[str, ...]) -> Steps:
        return Steps(paths, self.paths.root, self.disk, order)

    def record(self, path: Path) -> dict[str, Any] | None:
        """One of the study's JSON files, such as incumbent.json; None when it is not there. Raises InvalidStudy."""
        return self.read(path) if path.exists() else None

    def read(self, path: Path) -> dict[str, Any]:
        """The same of a file that must be there. Raises InvalidStudy."""
        try:
            return read_json_object(path)
        except FileProblem as error:
            message = kept_back(path) or str(error)
            raise InvalidStudy.at(path, message) from error

    def incumbent(self) -> Incumbent | None:
        """The best configuration so far; None while there is none. Raises InvalidStudy."""
        return Incumbent.from_json(raw) if (raw := self.record(self.paths.incumbent)) is not None else None

    def round_record(self, paths: RoundPaths) -> RoundRecord:
        """round.json of a closed round. Raises InvalidStudy.

        Kept by modification time and size: one round reads the whole history half a dozen times, which would make a
        study of 200 rounds x 50 trials spend a minute on it.
        """
        return self._kept(self._rounds, paths.closed, read_round)

    def rung_record(self, paths: RoundPaths) -> RungRecord:
        """round.json of a closed rung. Raises InvalidStudy."""
        return self._kept(self._rungs, paths.closed, read_rung)

    def confirmation_record(self, paths: RoundPaths) -> ConfirmationRecord:
        """round.json of a closed confirmation, or of replicates. Raises InvalidStudy."""
        return self._kept(self._confirmations, paths.closed, read_confirmation)

    def _kept(self, kept: dict[_Version, T], path: Path, read: _Read[T]) -> T:
        with storage(path):
            stat = path.stat()
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in kept:
            try:
                raw = read_json_object(path)
            except FileProblem as error:
                message = f"cannot be used ({type(error).__name__}: {error}); restore the file"
                raise InvalidStudy.at(path, message) from error
            kept[key] = read(raw, file=str(path))
        return kept[key]

    def proposals(self, paths: RoundPaths) -> Proposals:
        """proposals.json. Raises InvalidStudy."""
        from agent.store.decision import read_proposals

        return read_proposals(self.read(paths.proposals), file=str(paths.proposals))

    def checked(self, paths: RoundPaths) -> CheckedProposals:
        """checked_hyperparameters.json. Raises InvalidStudy."""
        from agent.store.decision import read_checked

        return read_checked(self.read(paths.checked), file=str(paths.checked))

    def decision(self, paths: RoundPaths) -> Decision:
        """What a round, a rung or a confirmation trains. Raises InvalidStudy."""
        from agent.store.decision import read_decision

        return read_decision(self.read(paths.decision), file=str(paths.decision))

    def confirmation_decision(self, paths: RoundPaths) -> ConfirmationDecision:
        """The same of a confirmation, with what it is for. Raises InvalidStudy."""
        from agent.store.decision import read_confirmation_decision

        return read_confirmation_decision(self.read(paths.decision), file=str(paths.decision))

    def history(self, *, below: int | None = None) -> list[CandidateResult]:
        """What every candidate of the closed rounds gave, in order: the input of every proposer."""
        return [found for paths in self.closed(below=below) for found in self.round_record(paths).candidates]

    def screened(self, *, below: int | None = None) -> list[CandidateResult]:
        """What the rungs of the closed rounds gave of those that they sorted out, in order."""
        return [
            dataclasses.replace(found, candidate=f"rung {rung.rung} {found.candidate}", fidelity=rung.share)
            for paths in self.closed(below=below)
            for rung in self.round_record(paths).screened
            for found in rung.candidates
            if found.candidate not in rung.promoted
        ]


def _plain(record: StudyConfig) -> dict[str, Any]:
    """A record as JSON types (tuples become lists), so that what is written equals what is read back."""
    fields = dataclasses.asdict(record)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
