"""Record golden studies: `python -m tests.golden.record [NAME...]`, from the repository's root.

Without names, all of them. Each is recorded twice, in two places, at two times, by two people on two hosts: what
comes out must be the same. With `--expected` studies that were recorded before keep their beginning, and only what
they lead to is recorded again: for a change that is meant. The differences are printed, to be read.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from tests.golden.pack import (
    WAS,
    Texts,
    filled,
    read_archive,
    read_folder,
    text_with_placeholders,
    with_placeholders,
    write_archive,
    write_folder,
)
from tests.golden.studies import GOLDEN
from tests.golden.world import World, ask

ARCHIVES = Path(__file__).parent / "releases"
BEGUN, LATER = "begun/", "later/"
"""Where in a recording the study's files are as they are packed, and those that differ when it has gone on."""
CLOCK = "clock.txt"
"""Seconds from the beginning of the recording to that state."""


def here(folder: Path) -> World:
    return World(folder, user="u7golden", host="h7golden", began=datetime(2031, 3, 4, 5, 6))


def elsewhere(folder: Path) -> World:
    """Another place, whose names have other lengths."""
    away = folder / "somewhere" / "else"
    began = datetime(2032, 11, 9, 22, 59, 31)
    return World(away, user="another-golden-user", host="gold12-node", began=began, zone="Asia/Kolkata")


def packed(world: World) -> Texts:
    """The world's study as it stands."""
    return with_placeholders(read_folder(world.base), world.place, world.written)


def begin(name: str, world: World) -> Texts:
    """The study's files in the state that is packed."""
    with world.entered():
        GOLDEN[name].begin(world)
        after = int(world.clock.now) - world.place.began
        return _named(BEGUN, packed(world)) | {CLOCK: f"{after}\n"}


def play(name: str, begun: Mapping[str, str], world: World) -> Texts:
    """What the readers say of a study that is unpacked, and what it leads to: every file that differs by then.

    begun: as `begin` gives it.
    """
    unpack(begun, world)
    with world.entered():
        found = _named("read/", _said(ask(world), world))
        GOLDEN[name].go_on(world)
        later = packed(world)
        found |= _named("read_later/", _said(ask(world), world))
        texts = {"calls.txt": "".join(world.transcript), "submissions.txt": "\n".join(world.cluster.said)}
        found |= _said(texts, world)
    before = _below(BEGUN, begun)
    found |= _named(LATER, {text: later[text] for text in later if later[text] != before.get(text)})
    return found | {"gone.txt": "".join(f"{text}\n" for text in sorted(before.keys() - later.keys()))}


def unpack(begun: Mapping[str, str], world: World) -> None:
    """A study as if it had been begun in this world; its clock goes on from where the recording stood."""
    world.base.parent.mkdir(parents=True, exist_ok=True)
    texts = filled(_below(BEGUN, begun), world.place)
    write_folder(world.base, texts)
    # What is written over from now on, and what was before, may be named by its hash.
    world.written += [(re.sub(rf"^{re.escape(WAS)}[^/]*/", "", name), text) for name, text in texts.items()]
    world.clock.now = float(world.place.began + int(begun[CLOCK]))


def _said(texts: Mapping[str, str], world: World) -> Texts:
    beside = read_folder(world.base)
    return {name: text_with_placeholders(text, world.place, beside) for name, text in texts.items()}


def _below(where: str, texts: Mapping[str, str]) -> Texts:
    return {name.removeprefix(where): text for name, text in texts.items() if name.startswith(where)}


def _named(where: str, texts: Mapping[str, str]) -> Texts:
    return {f"{where}{name}": text for name, text in texts.items()}


def recording(name: str, folder: Path, *, begun: Mapping[str, str] | None = None) -> Texts:
    """A whole recording, made twice. begun: of an earlier one. Raises ValueError where the two are not the same."""
    made = []
    for place, make in (("here", here), ("elsewhere", elsewhere)):
        start = begin(name, make(folder / place / "begin")) if begun is None else dict(begun)
        made.append(start | play(name, start, make(folder / place / "play")))
    if lines := differences(*made):
        raise ValueError(f"{name}: two recordings differ:\n{lines}")
    return made[0]


def differences(old: Mapping[str, str], new: Mapping[str, str], *, most: int = 200) -> str:
    """Of two recordings or parts of them, as a unified diff; empty where they are the same."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            was, now = _lines(before), _lines(after)
            lines += [f"=== {name}: {'new' if before is None else 'gone' if after is None else 'differs'}"]
            if before is not None and after is not None:
                lines += list(difflib.unified_diff(was, now, "recorded", "now", lineterm="", n=1))
    more = [f"... {len(lines) - most} more lines"] if len(lines) > most else []
    return "\n".join([*(line[:400] for line in lines[:most]), *more])


def _lines(text: str | None) -> list[str]:
    return (text or "").split("\n")


def main(arguments: Iterable[str] | None = None) -> int:
    """The exit code of the program."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.record", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GOLDEN)}; all where none is given")
    parser.add_argument("--expected", action="store_true", help="keep the beginnings, also of other releases")
    parser.add_argument("--release", default=version("roundtable"), help="whose archive (this one's)")
    given = parser.parse_args(None if arguments is None else list(arguments))
    if unknown := [name for name in given.names if name not in GOLDEN]:
        parser.error(f"there is no golden study {', '.join(unknown)}")
    paths = sorted(ARCHIVES.glob("*.json.xz")) if given.expected else [ARCHIVES / f"{given.release}.json.xz"]
    for path in paths:
        recordings = read_archive(path) if path.exists() else {}
        for name in given.names or (recordings if given.expected else GOLDEN):
            if given.expected and name not in recordings:
                continue
            old = recordings.get(name, {})
            begun = {text: old[text] for text in old if text.startswith((BEGUN, CLOCK))} if given.expected else None
            folder = Path(tempfile.mkdtemp(prefix="golden-"))
            try:
                recordings[name] = recording(name, folder, begun=begun)
            finally:
                shutil.rmtree(folder)
            changed = differences(old, recordings[name]) if old else "new"
            sys.stdout.write(f"{path.name} {name}: {changed or 'as it was'}\n")
            write_archive(path, recordings)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
