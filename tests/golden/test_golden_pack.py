"""Packing studies with placeholders, and what may not be in a recording."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.golden.pack import Place, Texts, filled, read_archive, with_placeholders, write_archive
from tests.golden.record import ARCHIVES
from tests.golden.studies import GOLDEN


def test_this_release_has_every_golden_study_and_all_of_them_are_small() -> None:
    assert set(read_archive(ARCHIVES / f"{version('roundtable')}.json.xz")) == set(GOLDEN)
    assert sum(path.stat().st_size for path in ARCHIVES.iterdir()) < 200_000


@pytest.mark.parametrize("path", sorted(ARCHIVES.glob("*.json.xz")), ids=lambda path: str(path.name))
def test_no_path_and_no_name_of_a_machine_is_in_a_recording(path: Path) -> None:
    places = {sys.prefix, str(Path.home()), os.getcwd(), str(Path(__file__).parents[2])}
    mine = {place for place in places if len(Path(place).parts) > 2}
    # A host that is called by a plain word, as containers are, cannot be told from the word.
    mine |= {name for name in [os.uname().nodename] if re.search(r"[0-9-]", name)}
    # Where studies are recorded, and the worlds' own people, hosts and times.
    told = {"/tmp", "/root", "/home", "/work", "/var", "/mnt", "u7golden", "h7golden", "golden-user", "gold12"}
    told |= {"2031-03", "20310304", "2032-11", "20321109"}
    found = [
        (name, word)
        for recording in read_archive(path).values()
        for name, text in recording.items()
        for word in mine | told
        if word in name or word in text
    ]
    assert found == []


def place(base: str, began: int) -> Place:
    return Place(base=Path(base), python="/opt/py/bin/python", checkout="/opt/co", user="me7", host="h9", began=began)


def study(at: Place, stamp: str, iso: str) -> Texts:
    """A study as it is at a place: a script, its hash, a job named after the folder, times of three forms."""
    folder = f"demo/round_1_{stamp}"
    script = f"#!/bin/bash\ncd {at.base}/{folder}\nexec {at.python}\n"
    job = hashlib.sha256(f"{at.base}/{folder}|train|2|0".encode()).hexdigest()[:10]
    old = hashlib.sha256(f"{at.base} as it was".encode()).hexdigest()
    entry = f'{{"at": "{iso}+00:00", "by": "me7@h9", "name": "rt-demo-r1-train-2-0-{job}", "was": "{old}"}}'
    step = f'{{"outputs": "{hashlib.sha256(script.encode()).hexdigest()}", "t": {at.began + 60}.0, "n": 1234567890}}'
    return {"demo/empty/": "", "demo/journal.jsonl": entry, f"{folder}/train.sh": script, f"{folder}/step.json": step}


def test_a_packed_study_is_born_anew_where_it_is_unpacked(tmp_path: Path) -> None:
    first, second = place("/data/a", 1930367160), place("/another/longer/place", 1800000000)
    was = ("demo/old", f"{first.base} as it was")
    texts = study(first, "20310304_050700", "2031-03-04T05:07:00")
    packed = with_placeholders(texts, first, [was])
    assert not any(word in f"{name}{text}" for name, text in packed.items() for word in ("/data", "me7", "2031"))
    write_archive(tmp_path / "one.json.xz", {"a": packed})
    write_archive(tmp_path / "two.json.xz", {"a": dict(reversed(packed.items()))})
    assert (tmp_path / "one.json.xz").read_bytes() == (tmp_path / "two.json.xz").read_bytes()
    again = filled(read_archive(tmp_path / "one.json.xz")["a"], second)
    assert {name: text for name, text in again.items() if not name.startswith(".was/")} == study(
        second, "20270115_080100", "2027-01-15T08:01:00"
    )


def test_a_host_with_a_short_form_is_refused() -> None:
    with pytest.raises(ValueError, match="short form"):
        Place(base=Path("/a"), python="/p", checkout="/c", user="u", host="h.example.org", began=1)


def test_what_could_not_be_given_back_is_refused() -> None:
    with pytest.raises(ValueError, match="stands in demo/x"):
        with_placeholders({"demo/x": "@{user}"}, place("/data/a", 1930367160))
    with pytest.raises(ValueError, match="quoted"):
        place("/data/a b", 1930367160)
