"""A folder with a study in it as texts with named placeholders, and back: in another place, at another time.

A study knows its folder, its user, its host, the python that trains, the checkout, and when things happened. All of
these are written as placeholders, and so is what was made from them: names of jobs are hashes of the study's folder,
and step records and the journal hold the sha256 of files in which placeholders stand.

    @{base}  @{beside}  @{python}  @{checkout}  @{user}  @{host}     as `Place` has them
    @{time+60}  @{said+60}  @{clock+60}     60 s after the recording began: 2031-03-04T05:07:00, 2031-03-04 05:07:00,
    @{stamp+60}  @{epoch+60}                05:07:00, 20310304_050700, 1930367220
    @{job FOLDER KIND ATTEMPT ARRAY}        the hash in the name of an array of jobs
    @{sha256 FILE}                          of a file of the same folder, as it is filled in
    @{sha256 .was/ID/FILE}                  of a file that was written over or removed since
"""

from __future__ import annotations

import hashlib
import itertools
import json
import lzma
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: Where a placeholder is whole; inner ones first.
_PLACEHOLDER = re.compile(r"@\{([^{}]*)\}")
_ISO = re.compile(r"\b(\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d)")
_CLOCK = re.compile(r"\b(\d\d):(\d\d):(\d\d)(?= UTC)")
_STAMP = re.compile(r"(?<![0-9A-Za-z])(\d{8}_\d{6})(?![0-9])")
_EPOCH = re.compile(r"(?<![0-9A-Za-z_.-])([12]\d{9})(?![0-9])")
_FOLDER = re.compile(r"(round|confirm|stop|rung[1-9])_\d+_\d{8}_\d{6}")
_FORMATS = {
    "time": "%Y-%m-%dT%H:%M:%S",
    "said": "%Y-%m-%d %H:%M:%S",
    "clock": "%H:%M:%S",
    "stamp": "%Y%m%d_%H%M%S",
}
_KINDS = ("prepare", "train", "eval")
#: A recording lasts at most this long; other numbers are no times of it.
_LONGEST_S = 90 * 86400

WAS = ".was/"
"""Below it: texts that are not in the folder any more, and whose hashes are."""

Texts = dict[str, str]
"""Path relative to the packed folder -> text; of an empty folder, its path with a slash at the end -> ""."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a study knows of where and when it is."""

    base: Path
    """The folder that holds the study and what belongs to it; absolute, without links. What lies beside it is not
    packed."""
    python: str
    checkout: str
    user: str
    host: str
    began: int
    """Seconds since the epoch."""

    def texts(self) -> list[tuple[str, str]]:
        """(placeholder, text), those that contain others first."""
        named = [
            ("base", str(self.base)),
            ("beside", str(self.base.parent)),
            ("python", self.python),
            ("checkout", self.checkout),
            ("user", self.user),
            ("host", self.host),
        ]
        return sorted(named, key=lambda one: -len(one[1]))

    def __post_init__(self) -> None:
        for _, text in self.texts():
            if not re.fullmatch(r"[A-Za-z0-9_./+-]+", text):
                raise ValueError(f"{text!r} would be quoted where it stands in scripts: choose another folder")
        if "." in self.host:
            raise ValueError(f"{self.host!r} has a short form, which studies know too: choose another host")


def read_folder(base: Path) -> Texts:
    """Every file below `base`, as it is. Raises ValueError for a link and for what is no text."""
    found: Texts = {}
    for folder, folders, names in os.walk(base):
        here = Path(folder)
        for name in sorted([*names, *folders]):
            if (here / name).is_symlink():
                raise ValueError(f"{here / name} is a link")
        for name in names:
            found[str((here / name).relative_to(base))] = (here / name).read_bytes().decode()
        if not names and not folders and here != base:
            found[f"{here.relative_to(base)}/"] = ""
    return dict(sorted(found.items()))


def write_folder(base: Path, texts: Mapping[str, str]) -> None:
    """The files of `texts` below a new folder."""
    base.mkdir()
    for name, text in texts.items():
        if name.startswith(WAS):
            continue
        path = base / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def with_placeholders(texts: Mapping[str, str], place: Place, written: Iterable[tuple[str, str]] = ()) -> Texts:
    """The texts, and their names, with placeholders.

    written: (name, text) of everything that was ever written, of which some is not there any more. Raises ValueError
    where `filled` would not give back what there is.
    """
    if used := [name for name, text in texts.items() if "@{" in name + text]:
        raise ValueError(f"@{{ stands in {used[0]}")
    jobs = _jobs(texts, place)

    def marked(text: str) -> str:
        return _with_jobs(_plain(text, place), jobs)

    was = {}
    for name, text in written:
        # What holds no placeholder has the same hash everywhere.
        if text != (plain := marked(text)):
            was[f"{WAS}{_sha256(plain)[:8]}/{marked(name)}"] = text
    named = was | {marked(name): text for name, text in texts.items()}
    # Those that are there count first. Of files that never change too: a name packs better than what it stands for.
    hashes = {_sha256(text): f"@{{sha256 {name}}}" for name, text in named.items() if text}
    made = {name: _with_hashes(marked(text), hashes) for name, text in named.items()}
    made = {name: text for name, text in made.items() if not name.startswith(WAS) or _used(name, made)}
    again = {name: text for name, text in filled(made, place).items() if not name.startswith(WAS)}
    if again != dict(texts):
        wrong = [name for name in again if again[name] != texts.get(name)]
        raise ValueError(f"not given back as it was: {wrong or sorted(again.keys() ^ texts.keys())}")
    return dict(sorted(made.items()))


def _used(name: str, made: Mapping[str, str]) -> bool:
    return any(f"@{{sha256 {name}}}" in text for text in made.values())


def filled(texts: Mapping[str, str], place: Place) -> Texts:
    """The texts as a study at this place would have them."""
    done: Texts = {}

    def text_of(name: str) -> str:
        if name not in done:
            done[name] = _fill(texts[raw[name]], place, lambda other: _sha256(text_of(other)))
        return done[name]

    raw = {_fill(name, place, lambda other: ""): name for name in texts}
    return {name: text_of(name) for name in raw}


def text_with_placeholders(text: str, place: Place, beside: Mapping[str, str]) -> str:
    """What a program said of the files `beside` it (as they are), with placeholders."""
    return _with_jobs(_plain(text, place), _jobs(beside, place))


def _fill(text: str, place: Place, sha256: Callable[[str], str]) -> str:
    named = dict(place.texts())

    def value(match: re.Match[str]) -> str:
        word, _, rest = match[1].partition(" ")
        if word in named:
            return named[word]
        if word == "sha256":
            return sha256(rest)
        if word == "job":
            return _job(place, *rest.split())
        kind, plus, seconds = word.partition("+")
        if not plus:
            raise ValueError(f"unknown placeholder {match[0]}")
        at = place.began + int(seconds)
        return datetime.fromtimestamp(at, UTC).strftime(_FORMATS[kind]) if kind != "epoch" else str(at)

    while "@{" in text:
        text = _PLACEHOLDER.sub(value, text)
    return text


def _plain(text: str, place: Place) -> str:
    """With all placeholders but those of hashes."""
    for name, value in place.texts():
        text = text.replace(value, f"@{{{name}}}")

    def put(kind: str, seconds: float, whole: str) -> str:
        after = int(seconds) - place.began
        return f"@{{{kind}+{after}}}" if 0 <= after <= _LONGEST_S else whole

    def iso(match: re.Match[str]) -> str:
        kind = "time" if match[2] == "T" else "said"
        return put(kind, datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp(), match[0])

    def clock(match: re.Match[str]) -> str:
        seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
        return f"@{{clock+{(seconds - place.began) % 86400}}}"

    def stamp(match: re.Match[str]) -> str:
        try:
            at = datetime.strptime(match[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return match[0]
        return put("stamp", at.timestamp(), match[0])

    text = _CLOCK.sub(clock, _ISO.sub(iso, text))
    text = re.sub(r"(?<=[a-z0-9]_)\d{8}_\d{6}(?![0-9])", lambda m: stamp(_STAMP.fullmatch(m[0]) or m), text)
    text = _STAMP.sub(stamp, text)
    return _EPOCH.sub(lambda match: put("epoch", int(match[1]), match[0]), text)


def _jobs(texts: Mapping[str, str], place: Place) -> dict[str, str]:
    """Hash -> its placeholder, of every array that the folders of rounds may have had."""
    folders = {
        match[0] for name in texts for match in [re.match(rf"[^/]+/{_FOLDER.pattern}", name)] if match is not None
    }
    found = {}
    for folder in sorted(folders):
        name = _plain(folder, place)
        for kind, attempt, array in itertools.product(_KINDS, range(1, 10), range(10)):
            made = _job(place, folder, kind, str(attempt), str(array))
            found[made] = f"@{{job {name} {kind} {attempt} {array}}}"
    return found


def _job(place: Place, folder: str, kind: str, attempt: str, array: str) -> str:
    """As orchestrator/training/submit.py names an array."""
    return _sha256(f"{place.base}/{folder}|{kind}|{attempt}|{array}")[:10]


def _with_jobs(text: str, jobs: Mapping[str, str]) -> str:
    return re.sub(r"(?<=-)[0-9a-f]{10}(?![0-9a-f])", lambda match: jobs.get(match[0], match[0]), text)


def _with_hashes(text: str, hashes: Mapping[str, str]) -> str:
    return re.sub(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", lambda match: hashes.get(match[0], match[0]), text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# -- archives -------------------------------------------------------------------------------------------------------


def write_archive(path: Path, recordings: Mapping[str, Mapping[str, str]]) -> None:
    """Recordings by name, as one packed JSON object: the same bytes whoever writes them when.

    A tar of the same texts is a fifth larger: its headers hold sizes and sums.
    """
    text = json.dumps(recordings, sort_keys=True, ensure_ascii=False, indent=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def read_archive(path: Path) -> dict[str, Texts]:
    """What `write_archive` was given."""
    found: dict[str, Texts] = json.loads(lzma.decompress(path.read_bytes()))
    return found
