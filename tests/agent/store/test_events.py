"""The journal's events: one class each, the same lines on disk as ever, and what is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from agent.errors import InvalidStudy
from agent.records import Outcome
from agent.store.codec import UNSAID, FieldProblem, Record, decode, encode, omitted, others
from agent.store.disk import Disk
from agent.store.events import (
    CLASSES,
    AttemptEnded,
    Cancelled,
    Charged,
    Deferred,
    EnvironmentFault,
    Event,
    Intent,
    Paused,
    PolicyGiven,
    Refunded,
    RetryAsked,
    ScriptsTested,
    SettingsGiven,
    Submitted,
    Unknown,
    Wave,
    WaveGroup,
    line_of,
    read_event,
)
from agent.store.journal import Journal

NOW = datetime(2026, 12, 1, 8, 0, 0, 250000, tzinfo=UTC)

#: A line of each kind that has more than plain fields, as the version before typed events wrote it.
LINES = [
    '{"event": "intent", "name": "rt-a", "kind": "train", "folder": "round_1_x", "rows": 2, "items": [0, 3], '
    '"cluster": null, "limit_s": 600, "runs": 1, "gpus": 1, "cpus": 4}',
    '{"event": "submitted", "name": "rt-a", "folder": "round_1_x", "kind": "train", "attempt": 1, "launcher": '
    '"sbatch", "job_id": "17", "items": [0, 3], "tasks": ["17_0", "17_3"], "cluster": null, "submitted_at": '
    '1764576000.5, "adopted": false}',
    '{"event": "charge", "name": "rt-a", "folder": "round_1_x", "kind": "train", "items": [0, 3], "rows": 2, '
    '"runs": 1, "limit_s": 600, "gpus": 1, "cpus": 4, "gpu_hours": 0.333333333, "cpu_hours": 1.333333333}',
    '{"event": "refund", "folder": "round_1_x", "name": "rt-a", "seconds": {"0": 12.5, "3": 13}, "held": {"0": '
    '{"cpu": 50.0, "gpu": 12.5}}, "gpu_hours": null, "cpu_hours": 1.0}',
    '{"event": "refund", "folder": "round_1_x", "name": "rt-a", "seconds": {"0": 12.5}, "gpu_hours": 0.1, '
    '"cpu_hours": null}',
    '{"event": "outcome", "folder": "round_1_x", "row": 3, "attempt": 1, "outcome": "host_oom", "raw": '
    '"OUT_OF_MEMORY", "node": "n1", "exit_code": "0:125", "evidence": "größer", "memory": "16G"}',
    '{"event": "outcome", "folder": "round_1_x", "row": 0, "attempt": 1, "outcome": "launch_fail", "raw": "FAILED", '
    '"node": "n1", "exit_code": "1:0", "evidence": "", "memory": null, "environment": {"where": "python", "said": '
    '"no module", "remedy": "install it"}}',
    '{"event": "wave", "folder": "round_1_x", "attempt": 2, "groups": [{"rows": [3], "memory": "32768M", "time": '
    'null, "exclude": ["n1"]}, {"rows": [0, 1], "memory": null, "time": null, "exclude": []}], "candidates": [0]}',
    '{"event": "cancelled", "folder": "round_1_x", "round": 1, "rows": [3], "whole": false, "names": ["rt-a"], '
    '"who": "person", "by": "me@here", "request": "cancel_1"}',
    '{"event": "settings", "candidates": 2, "gpus": [], "llm": {"models": {}}}',
    '{"event": "confirmed", "folder": "confirm_1_x", "noise": null}',
    '{"event": "confirmed", "folder": "confirm_1_x", "gain": {"n": 3, "mean": 0.5}}',
    '{"event": "llm_reply", "call": "round_1_x/calls/001_judge", "usage": {"input_tokens": 3}, "cost": null, '
    '"lost": 0, "error": null}',
    '{"event": "controller", "kind": "slurm", "generation": 1, "name": "c", "job_id": "9", "cluster": null, "after": '
    'null, "submitted_at": "2026-11-30T10:00:00.123456+00:00", "adopted": false}',
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def _line(text: str, seq: int = 1) -> str:
    return json.dumps({"seq": seq, "at": NOW.isoformat(), **json.loads(text)}, ensure_ascii=False)


def _journal(path: Path, *lines: str) -> Journal:
    path.write_text("".join(f"{_line(line, seq)}\n" for seq, line in enumerate(lines, 1)), encoding="utf-8")
    return Journal(path, Disk(), lambda: NOW)


@pytest.mark.parametrize("text", LINES)
def test_a_line_is_read_and_written_again_byte_for_byte(text: str) -> None:
    line = _line(text)
    assert json.dumps(line_of(read_event(json.loads(line))), ensure_ascii=False) == line


def test_every_event_can_be_read_and_has_a_name_of_its_own() -> None:
    assert len(set(CLASSES.values())) == len(CLASSES)
    for name, cls in CLASSES.items():
        assert name == cls.NAME
        assert {"seq", "at"} <= get_type_hints(cls).keys()
        if cls is not SettingsGiven:  # whatever settings a version has
            with pytest.raises(FieldProblem, match="is missing"):
                decode(cls, {})


def test_an_appended_event_has_its_place_and_time_and_is_what_is_read_back(path: Path) -> None:
    journal = Journal(path, Disk(), lambda: NOW)
    fault = EnvironmentFault(where="python", said="no module", remedy="install it")
    written: list[Event] = [
        Paused(kind="starts", reason="why"),
        AttemptEnded(
            folder="round_1_x",
            row=0,
            attempt=1,
            outcome=Outcome.LAUNCH_FAIL,
            raw="FAILED",
            node="n1",
            exit_code="1:0",
            evidence="",
            memory=None,
            environment=fault,
        ),
        Wave(
            folder="round_1_x",
            attempt=2,
            groups=(WaveGroup(rows=(0,), memory=None, time=None, exclude=("n1",)),),
            candidates=(0,),
        ),
        Refunded(
            folder="round_1_x", name="a", seconds={3: 1.5}, held={3: {"cpu": 2.0}}, gpu_hours=None, cpu_hours=0.5
        ),
        SettingsGiven(values={"candidates": 2, "gpus": ["0"]}),
    ]
    appended = [journal.append(event) for event in written]
    assert [(event.seq, event.at) for event in appended] == [(place, NOW) for place in range(1, 6)]
    assert [type(event) for event in appended] == [type(event) for event in written]
    again = Journal(path, Disk(), lambda: NOW)
    assert list(again.events) == appended == list(journal.events)
    assert [event.changed(seq=0, at=written[0].at) for event in again.events] == written


def test_events_are_found_by_class_and_folder_in_their_order(path: Path) -> None:
    deferred = '{"event": "deferred", "name": "a", "folder": "%s", "rows": %d, "message": "full"}'
    refused = '{"event": "retry_asked", "folder": "%s", "round": 1, "rows": [%d], "source": "person"}'
    journal = _journal(path, deferred % ("x", 1), refused % ("y", 2), refused % ("x", 3), deferred % ("x", 4))
    assert [event.rows for event in journal.of(Deferred, RetryAsked)] == [1, (2,), (3,), 4]
    assert [event.seq for event in journal.of(RetryAsked, Deferred, folder="x")] == [1, 3, 4]
    assert [event.seq for event in journal.of(Deferred, folder="y")] == []
    last = journal.last(Deferred, RetryAsked, folder="y")
    assert last is not None and last.seq == 2
    assert journal.last(Cancelled) is None
    assert journal.folders == {"x", "y"}


def test_an_event_is_appended_once_for_its_key(path: Path) -> None:
    journal = Journal(path, Disk(), lambda: NOW)
    first = journal.append_once(ScriptsTested(folder="x", scripts=2, sha256="a"), key=("folder", "sha256"))
    again = journal.append_once(ScriptsTested(folder="x", scripts=3, sha256="a"), key=("folder", "sha256"))
    other = journal.append_once(ScriptsTested(folder="y", scripts=2, sha256="a"), key=("folder", "sha256"))
    assert (again, other.seq, len(journal)) == (first, 2, 2)


def test_an_event_is_appended_when_it_says_something_else_than_the_newest(path: Path) -> None:
    journal = Journal(path, Disk(), lambda: NOW)
    for sha256 in ("a", "a", "b", "a"):
        journal.append_changed(PolicyGiven(sha256=sha256, path="p"), key=("sha256",))
    assert [event.sha256 for event in journal.of(PolicyGiven)] == ["a", "b", "a"]


# -- other versions -------------------------------------------------------------------------------------------------


def test_lines_of_earlier_versions_have_the_fields_that_they_lack(path: Path) -> None:
    journal = _journal(
        path,
        '{"event": "intent", "name": "a", "kind": "train", "folder": "x", "rows": 4}',
        '{"event": "charge", "name": "a", "folder": "x", "kind": "train", "items": [0], "rows": 1, "limit_s": null, '
        '"gpus": 0, "cpus": 1, "gpu_hours": 0.0, "cpu_hours": null}',
        '{"event": "paused", "reason": "why"}',
        '{"event": "cancelled", "folder": "x", "round": 1, "rows": [], "whole": true, "names": [], "by": "me"}',
    )
    [intent], [charge] = journal.of(Intent), journal.of(Charged)
    assert (intent.items, intent.cluster, intent.gpus) == ((), UNSAID, None)
    assert charge.runs == 1
    assert [event.kind for event in journal.of(Paused)] == [""]
    assert [event.who for event in journal.of(Cancelled)] == ["person"]


def test_what_a_later_version_writes_is_kept_and_passed_over(path: Path) -> None:
    journal = _journal(
        path,
        '{"event": "paused", "kind": "starts", "reason": "why", "until": "tomorrow"}',
        '{"event": "teleported", "folder": "round_9_x", "rows": [1]}',
    )
    [pause] = journal.of(Paused)
    assert pause == Paused(seq=1, at=NOW, kind="starts", reason="why")
    there = journal.events[1]
    assert isinstance(there, Unknown)
    assert (there.seq, there.event, there.values) == (2, "teleported", {"folder": "round_9_x", "rows": [1]})
    assert json.dumps(line_of(there)) == path.read_text().splitlines()[1]
    assert journal.folders == {"round_9_x"}
    journal.append(Paused(kind="starts", reason="again"))
    assert [event.seq for event in journal.of(Paused)] == [1, 3]


# -- what is refused ------------------------------------------------------------------------------------------------

_SUBMITTED: dict[str, Any] = json.loads(LINES[1])
_WAVE: dict[str, Any] = json.loads(LINES[7])


@pytest.mark.parametrize(
    ("entry", "where", "value", "message"),
    [
        (_SUBMITTED | {"items": "0-3"}, "submitted.items", "'0-3'", "must be a list"),
        (_SUBMITTED | {"items": [0, "3"]}, "submitted.items[1]", "'3'", "must be a whole number"),
        (_SUBMITTED | {"attempt": True}, "submitted.attempt", "True", "must be a whole number"),
        (_SUBMITTED | {"adopted": 0}, "submitted.adopted", "0", "must be true or false"),
        (_SUBMITTED | {"submitted_at": None}, "submitted.submitted_at", "None", "must be a number"),
        (_SUBMITTED | {"cluster": 1}, "submitted.cluster", "1", "must be a text"),
        (
            {name: _SUBMITTED[name] for name in _SUBMITTED if name != "job_id"},
            "submitted.job_id",
            "''",
            "is missing",
        ),
        (_WAVE | {"groups": [{"rows": [1]}]}, "wave.groups[0].memory", "''", "is missing"),
        (_WAVE | {"groups": [[]]}, "wave.groups[0]", "[]", "must be an object"),
        (json.loads(LINES[5]) | {"outcome": "fine"}, "outcome.outcome", "'fine'", "must be one of ok, bad_config"),
        (json.loads(LINES[3]) | {"seconds": {"a": 1.0}}, "refund.seconds[a]", "'a'", "whole numbers as its keys"),
        (json.loads(LINES[13]) | {"submitted_at": "now"}, "controller.submitted_at", "'now'", "a time in ISO 8601"),
    ],
)
def test_an_edited_line_is_refused_with_its_place(
    path: Path, entry: dict[str, Any], where: str, value: str, message: str
) -> None:
    journal = _journal(path, LINES[0], json.dumps(entry))
    with pytest.raises(InvalidStudy, match="restore the file") as refused:
        list(journal.events)
    [problem] = refused.value.problems
    assert (problem.file, problem.where, problem.value) == (str(path), f"line 2, {where}", value)
    assert message in problem.message


def test_a_line_that_nobody_asks_for_costs_no_command_its_study(path: Path) -> None:
    journal = _journal(path, LINES[0], json.dumps(_SUBMITTED | {"items": "0-3"}))
    assert [event.name for event in journal.of(Intent)] == ["rt-a"]
    with pytest.raises(InvalidStudy):
        next(journal.of(Submitted))


def test_a_record_is_frozen_and_needs_its_fields() -> None:
    class Part(Record):
        name: str
        note: str = omitted(default="")
        more: dict[str, int] = others()

    part = Part(name="a", more={"b": 1})
    assert encode(part) == {"name": "a", "b": 1}
    assert decode(Part, {"name": "a", "b": 1}) == part != Part(name="a", note="x", more={"b": 1})
    with pytest.raises(AttributeError, match="frozen"):
        part.name = "b"  # type: ignore[misc]
    with pytest.raises(TypeError, match="needs name"):
        Part(more={})  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no size"):
        Part(name="a", more={}, size=3)  # type: ignore[call-arg]
