"""The ledger of hours: the same sums in any order, after any repetition, and caps that hold before a submission."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.budget import Caps, Charge, Ledger, Request, describe, duration, number, refund, worst_of
from agent.store.events import Charged, Event, Refunded, StudyBegun, line_of, read_event

HOUR = 3600


def charge(name: str, items: tuple[int, ...], *, limit_s: int | None = HOUR, gpus: int = 1, cpus: int = 2) -> Charged:
    request = Request(tasks=len(items), limit_s=limit_s, gpus=gpus, cpus=cpus)
    return Charged(
        name=name,
        folder="round_1_x",
        kind="train",
        items=items,
        rows=len(items),
        limit_s=limit_s,
        gpus=gpus,
        cpus=cpus,
        gpu_hours=request.worst("gpu"),
        cpu_hours=request.worst("cpu"),
    )


def refunded(
    charged: Charged, seconds: dict[int, float], held: Mapping[int, Mapping[str, float]] | None = None
) -> Refunded:
    back = refund(ledger_of(charged).charges[charged.name], seconds, held)
    return Refunded(
        folder=charged.folder,
        name=charged.name,
        seconds=back.seconds,
        held=back.held or None,
        gpu_hours=back.gpu_hours,
        cpu_hours=back.cpu_hours,
    )


def ledger_of(*events: Event) -> Ledger:
    return Ledger(
        [event for event in events if isinstance(event, Charged)],
        [event for event in events if isinstance(event, Refunded)],
    )


def from_disk(event: Event) -> Event:
    """As a later process reads it."""
    return read_event(json.loads(json.dumps(line_of(event))))


def test_line_34_the_worst_case_is_rows_times_limit_times_gpus() -> None:
    request = Request(tasks=20, limit_s=2 * HOUR, gpus=1, cpus=4)
    assert request.worst("gpu") == 40
    assert request.worst("cpu") == 160
    assert describe([request], "gpu") == "20 rows x 2 h x 1 GPU = at most 40 GPU-hours"
    evaluation = Request(tasks=4, limit_s=600, gpus=2, cpus=1)
    told = describe([request, evaluation], "gpu")
    assert told == "20 rows x 2 h x 1 GPU + 4 x 10 min x 2 GPUs = at most 41.33 GPU-hours"
    assert worst_of([request, evaluation], "gpu") == pytest.approx(41 + 1 / 3)


def test_without_a_limit_the_worst_case_is_unknown_but_no_gpu_is_no_gpu_hour() -> None:
    request = Request(tasks=3, limit_s=None, gpus=0, cpus=1)
    assert request.worst("gpu") == 0
    assert request.worst("cpu") is None
    assert describe([request], "cpu") == "3 rows x no time limit x 1 CPU = an unknown number of CPU-hours"


def test_what_a_site_allocated_beyond_the_request_is_charged() -> None:
    """A job of 2 CPUs and 1 GPU on a node of its own (8 CPUs, 4 GPUs) for half an hour."""
    entry = charge("a", (0, 1, 2))
    held = {0: {"cpu": 8 * 1800.0, "gpu": 4 * 1800.0}, 1: {"cpu": 8 * 900.0}, 9: {"cpu": 1.0}}
    back = refunded(entry, {0: 1800, 1: 900}, held)
    assert (back.gpu_hours, back.cpu_hours) == (pytest.approx(2 - 2.25), pytest.approx(4 - 4 - 2))
    told = from_disk(back)
    ledger = ledger_of(told, entry, told)
    # Where accounting does not tell, what was asked for counts.
    assert ledger.balance("gpu").spent == pytest.approx(2 + 0.25)
    assert ledger.balance("cpu").spent == pytest.approx(4 + 2)
    assert ledger.balance("cpu").committed == 2
    assert ledger.refusal([Request(tasks=1, limit_s=HOUR, gpus=0, cpus=1)], Caps(cpu=8.9)) is not None


def test_line_36_charged_in_full_then_refunded_row_by_row() -> None:
    entry = charge("a", (0, 1, 2), gpus=2)
    ledger = ledger_of(entry)
    assert ledger.balance("gpu").committed == 6
    assert ledger.balance("gpu").spent == 0
    back = refunded(entry, {0: 1800, 2: 900})
    assert back.gpu_hours == pytest.approx(4 - 1.5)
    assert back.cpu_hours == pytest.approx(4 - 1.5)
    ledger = ledger_of(entry, back)
    assert ledger.balance("gpu").spent == pytest.approx(1.5)
    assert ledger.balance("gpu").committed == 2
    assert ledger.unaccounted() == {"a": (1,)}


def test_runs_longer_than_declared_are_counted_all_the_same() -> None:
    """A requeued task begins its limit anew: three runs of an hour are three hours."""
    entry = charge("a", (0,))
    back = refunded(entry, {0: 3 * HOUR})
    assert back.gpu_hours == -2
    assert ledger_of(entry, back).balance("gpu").spent == 3


def test_rows_without_limit_are_counted_once_accounting_knows_them() -> None:
    entry = charge("a", (0, 1), limit_s=None)
    assert ledger_of(entry).balance("gpu").unknown == 2
    back = refunded(entry, {0: 1800})
    assert back.gpu_hours is None
    now = ledger_of(entry, back).balance("gpu")
    assert (now.spent, now.committed, now.unknown) == (0.5, 0, 1)


@pytest.mark.parametrize(
    ("tasks", "limit_s", "caps", "words"),
    [
        (10, HOUR, Caps(gpu=10), None),
        (10, HOUR, Caps(gpu=9.999), "10 rows x 1 h x 1 GPU = at most 10 GPU-hours, but 0 of 10 spent"),
        (10, HOUR, Caps(cpu=19), "--max-cpu-hours"),
        (10, None, Caps(gpu=1000), "set `time` in the cluster profile"),
        (10, None, Caps(), None),
    ],
)
def test_a_cap_refuses_what_could_exceed_it(tasks: int, limit_s: int | None, caps: Caps, words: str | None) -> None:
    reason = ledger_of().refusal([Request(tasks=tasks, limit_s=limit_s, gpus=1, cpus=2)], caps)
    assert reason is None if words is None else reason is not None and words in reason


def test_what_is_committed_counts_against_the_cap_and_a_refund_gives_it_back() -> None:
    entry, wanted = charge("a", (0, 1)), [Request(tasks=1, limit_s=HOUR, gpus=1, cpus=1)]
    refusal = ledger_of(entry).refusal(wanted, Caps(gpu=2.5))
    assert refusal is not None and "0 of 2.5 spent, 2 committed: 0.5 are left" in refusal
    assert ledger_of(entry, refunded(entry, {0: 60, 1: 60})).refusal(wanted, Caps(gpu=2.5)) is None


def test_unknown_rows_of_before_make_a_cap_unkeepable() -> None:
    reason = ledger_of(charge("a", (0,), limit_s=None)).refusal(
        [Request(tasks=1, limit_s=60, gpus=1, cpus=1)], Caps(gpu=100)
    )
    assert reason is not None and "1 tasks ran without a time limit" in reason


names = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def studies(draw: st.DrawFn) -> list[Event]:
    """Charges and refunds as a study makes them: rows of each submission refunded at most once, in parts."""
    entries: list[Event] = []
    for name in draw(st.lists(names, unique=True)):
        items = tuple(sorted(draw(st.sets(st.integers(0, 9), min_size=1))))
        limit = draw(st.one_of(st.none(), st.integers(60, 86400)))
        entry = charge(name, items, limit_s=limit, gpus=draw(st.integers(0, 8)), cpus=draw(st.integers(1, 64)))
        entries.append(entry)
        rest = list(items)
        while rest and draw(st.booleans()):
            part = rest[: draw(st.integers(1, len(rest)))]
            rest = rest[len(part) :]
            seconds = {item: draw(st.floats(0, 1e6, allow_nan=False)) for item in part}
            entries.append(refunded(entry, seconds))
    return entries


@given(studies(), st.randoms(use_true_random=False))
def test_any_order_any_repetition_and_json_give_the_same_ledger(entries: list[Event], chance: random.Random) -> None:
    shuffled = [*entries, *(entry for entry in entries if chance.random() < 0.5)]
    chance.shuffle(shuffled)
    once, again = ledger_of(*entries), ledger_of(StudyBegun(sha256="", config={}), *map(from_disk, shuffled))
    assert once.unaccounted() == again.unaccounted()
    for resource in ("gpu", "cpu"):
        one, other = once.balance(resource), again.balance(resource)
        assert one.unknown == other.unknown
        assert one.spent == pytest.approx(other.spent)
        assert one.committed == pytest.approx(other.committed)


@given(studies())
def test_a_killed_writer_leaves_a_ledger_that_never_promises_more_than_the_whole_one(
    entries: list[Event],
) -> None:
    """Cut anywhere: each row is either at its charge or at what it took, never both and never neither."""
    for cut in range(len(entries) + 1):
        ledger = ledger_of(*entries[:cut])
        for resource in ("gpu", "cpu"):
            spent = committed = 0.0
            for name, charged in ledger.charges.items():
                known = ledger.seconds(name)
                open_rows = ledger.unaccounted().get(name, ())
                assert sorted([*known, *open_rows]) == sorted(charged.items)
                per_row = charged.request.each(resource) / 3600
                spent += sum(known.values()) * per_row
                if charged.request.limit_s is not None:
                    committed += len(open_rows) * charged.request.limit_s * per_row
            now = ledger.balance(resource)
            assert now.spent == pytest.approx(spent)
            assert now.committed == pytest.approx(committed)


@given(studies())
def test_the_journaled_hours_are_what_the_ledger_gives_back(entries: list[Event]) -> None:
    """A person who adds up the journal's gpu_hours gets the ledger's total (where everything had a limit)."""
    limited = {event.name for event in entries if isinstance(event, Charged) and event.limit_s is not None}
    chosen = [event for event in entries if isinstance(event, Charged | Refunded) and event.name in limited]
    ledger = ledger_of(*chosen)
    for resource in ("gpu", "cpu"):
        declared = sum(charged.request.worst(resource) or 0.0 for charged in ledger.charges.values())
        back = sum(getattr(event, f"{resource}_hours") for event in chosen if isinstance(event, Refunded))
        assert ledger.balance(resource).total == pytest.approx(declared - back, abs=1e-6)


def test_a_refund_of_rows_that_were_never_charged_counts_nothing() -> None:
    stray = Refunded(folder="round_1_x", name="a", seconds={7: 1e9}, gpu_hours=0, cpu_hours=0)
    assert ledger_of(stray).balance("gpu").total == 0
    ledger = ledger_of(stray, charge("a", (0,)))
    assert ledger.balance("gpu").spent == 0
    assert ledger.unaccounted() == {"a": (0,)}


def test_a_request_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no request can be"):
        Request(tasks=1, limit_s=0, gpus=0, cpus=1)
    charged = Charge(name="a", items=(0,), request=Request(tasks=1, limit_s=60, gpus=0, cpus=1))
    assert refund(charged, {0: 60}).cpu_hours == 0


@pytest.mark.parametrize(("seconds", "words"), [(7200, "2 h"), (5400, "1.5 h"), (600, "10 min"), (100, "100 s")])
def test_durations_read_well(seconds: int, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("hours", "words"),
    [(40.0, "40"), (12.5, "12.5"), (1 / 3, "0.33"), (12345.6, "12,345.6"), (0.004, "under 0.01"), (0, "0")],
)
def test_hours_read_well(hours: float, words: str) -> None:
    assert number(hours) == words
