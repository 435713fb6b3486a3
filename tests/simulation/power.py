"""Power cuts: every change on disk of one study is recorded, and the study goes on from what a cut may leave of it.

    python -m tests.simulation.power [--every N]

A study is run again and again, each time with a cut behind another of its changes. What is lost then depends on the
filesystem:

    nothing      all that was asked for arrived: the same as a kill
    last         the newest rename, link or folder: what came behind the last fsync (ext4, XFS)
    look         all renames, links and folders of this look, although later appends to the journal were synced and
                 are there: no folder was synced, and nothing else makes a new name durable (btrfs' log tree; POSIX)
    torn         half of the newest appended line
    unsynced     the content of every file that was renamed or linked before it was synced: it is empty

What tasks wrote stays: they run on other machines.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation import tasks
from tests.simulation.programs import Killed
from tests.simulation.script import Fault, Script, Setting
from tests.simulation.world import Ended, World, fresh

LOSSES = ("nothing", "last", "look", "torn", "unsynced")


class PowerCut(Killed):
    """The machine is off."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change on disk."""

    kind: str
    """"name" (rename, link, folder, removal) or "line" (bytes appended to a file in place)."""
    path: Path
    undo: Callable[[], None]
    synced: bool = True
    """Whether the content that got this name was synced before."""
    look: int = 0


class Recorder:
    """Wraps the functions through which files change, counts, and cuts the power behind the change of this number."""

    def __init__(self, world: World, cut_at: int | None, loss: str) -> None:
        self._world = world
        self._cut_at = cut_at
        self._loss = loss
        self.changes: list[Change] = []
        self._synced: dict[str, bytes] = {}
        self._durable: set[int] = set()
        """Changes of names whose folder was synced since."""
        self.off = False

    # -- recording -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """While the block runs."""
        names = ("mkdir", "replace", "rename", "link", "unlink", "write", "fsync")
        real = {name: getattr(os, name) for name in names}
        self._real = real
        try:
            for name in names:
                setattr(os, name, self._wrapped(name, real[name]))
            yield
        finally:
            for name in names:
                setattr(os, name, real[name])

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        record: Callable[..., Callable[[], Change | None]] = getattr(self, f"_{name}")

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            quiet = self.off or kwargs or self._world.number == 0 or self._world.cluster.acting
            if quiet or not self._ours(args[0]):
                return real(*args, **kwargs)
            made = record(*args)
            result = real(*args, **kwargs)
            if (change := made()) is not None:
                self._add(change)
            return result

        return wrapper

    def _ours(self, place: int | str | Path) -> bool:
        """Whether it is a file of the study that outlives a look: locks and the lease do not."""
        path = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)
        return f"{path}/".startswith(f"{self._world.root}/") and "/lease" not in path and "/.lease" not in path

    def _add(self, change: Change) -> None:
        self.changes.append(change)
        if len(self.changes) == self._cut_at:
            self.off = True
            self._lose()
            raise PowerCut(f"behind change {self._cut_at}: {change.kind} {change.path.name}")

    def _name(self, path: Path, undo: Callable[[], None], *, synced: bool = True) -> Change:
        return Change(kind="name", path=path, undo=undo, synced=synced, look=self._world.number)

    def _mkdir(self, path: Any, mode: int = 0o777) -> Callable[[], Change | None]:
        def undo() -> None:
            with contextlib.suppress(OSError):
                os.rmdir(path)

        return lambda: self._name(Path(path), undo)

    def _replace(self, source: Any, target: Any) -> Callable[[], Change | None]:
        before = _content(target)
        content = _content(source)
        synced = content is None or self._synced.get(str(source)) == content
        return lambda: self._name(Path(target), lambda: _put(target, before), synced=synced)

    def _rename(self, source: Any, target: Any) -> Callable[[], Change | None]:
        if Path(source).is_dir():
            return lambda: self._name(Path(target), lambda: self._real["rename"](target, source))
        return self._replace(source, target)

    def _link(self, source: Any, target: Any) -> Callable[[], Change | None]:
        return self._replace(source, target)

    def _unlink(self, path: Any) -> Callable[[], Change | None]:
        before = _content(path)
        temporary = Path(path).name.endswith(".tmp")
        return lambda: None if temporary else self._name(Path(path), lambda: _put(path, before))

    def _write(self, descriptor: int, data: bytes) -> Callable[[], Change | None]:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        size = path.stat().st_size

        def undo() -> None:
            # The half of a line that reached the disk.
            os.truncate(path, size + len(data) // 2)

        return lambda: Change(kind="line", path=path, undo=undo, look=self._world.number)

    def _fsync(self, descriptor: int) -> Callable[[], Change | None]:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self._durable |= {number for number, one in enumerate(self.changes) if one.path.parent == path}
        else:
            self._synced[str(path)] = _content(path) or b""
        return lambda: None

    # -- what a cut leaves -----------------------------------------------------------------------------------------

    def _lose(self) -> None:
        """What the cut takes of what was done."""
        last, names = self.changes[-1], list(enumerate(self.changes))
        if self._loss == "unsynced":
            for change in self.changes:
                if not change.synced and change.path.exists():
                    change.path.write_bytes(b"")
        elif self._loss == "torn" and last.kind == "line":
            last.undo()
        elif self._loss in ("last", "look"):
            for number, change in reversed(names if self._loss == "look" else names[-1:]):
                if change.look == last.look and change.kind == "name" and number not in self._durable:
                    change.undo()


def _content(path: Any) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _put(path: Any, content: bytes | None) -> None:
    if content is None:
        Path(path).unlink(missing_ok=True)
    elif Path(path).parent.is_dir():
        Path(path).write_bytes(content)


# -- cuts ----------------------------------------------------------------------------------------------------------

#: One round with a retry in it, then a second one: every kind of file is written at least once.
STUDY = Script(
    seed=3,
    setting=Setting(rounds=2),
    faults=(
        Fault(where="row", at=(1, 1, 1), what="killed"),
        Fault(where="row", at=(2, 0, 1), what="late", seconds=45.0),
        Fault(where="person", at=(6,), what="cancel_row"),
    ),
)


def run_with_cut(home: Path, cut_at: int | None, loss: str, script: Script = STUDY) -> tuple[Ended, list[Change]]:
    """The study with a power cut behind a change of this number (None: none); how it ended, and its changes."""
    with fresh(home) as place:
        world = World(script, place)
        recorder = Recorder(world, cut_at, loss)
        with recorder.installed():
            ended = world.run()
        return ended, recorder.changes


def sweep(
    home: Path, *, every: int = 1, losses: tuple[str, ...] = LOSSES, first: int = 1
) -> Iterator[tuple[int, str, Ended]]:
    """Cuts behind every `every`-th change, each with every loss: what was cut, and how the study ended."""
    _, changes = run_with_cut(home, None, "nothing")
    for number in range(first, len(changes) + 1, every):
        for loss in losses:
            if loss == "torn" and changes[number - 1].kind != "line":
                continue
            if loss == "last" and changes[number - 1].kind != "name":
                continue
            yield number, loss, run_with_cut(home, number, loss)[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.power", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="cut behind every N-th change")
    parser.add_argument("--first", type=int, default=1, metavar="N")
    parser.add_argument("--loss", choices=LOSSES, help="only this kind of loss")
    parser.add_argument("--trace", action="store_true")
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="rt-power-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    silence = tasks.silence()
    counts: Counter[str] = Counter()
    failed = 0
    losses = (chosen.loss,) if chosen.loss else LOSSES
    for number, loss, ended in sweep(home, every=chosen.every, losses=losses, first=chosen.first):
        counts[loss] += 1
        if ended.wrong:
            failed += 1
            told = " / ".join(ended.wrong[0].strip().splitlines()[-3:])[:300]
            print(f"change {number}, {loss}: {told}")
            if chosen.trace:
                print("\n".join(ended.trace))
    silence()
    print(
        f"{sum(counts.values())} cuts ({', '.join(f'{n} {c}' for n, c in counts.items())}), {failed} studies failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
