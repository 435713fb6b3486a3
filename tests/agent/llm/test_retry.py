"""Waiting for an endpoint that fails, and leaving it alone afterwards. No test here sleeps."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from agent.errors import LLMRejected, LLMUnavailable
from agent.llm.base import Usage
from agent.llm.exchange import retry_after_s
from agent.llm.retry import CoolDown, RetryPolicy
from agent.llm.wire import TryAgain
from tests.agent.llm.calls import Clock, client, endpoint, reply, request


def test_waits_double_within_their_jitter() -> None:
    policy = RetryPolicy(rng=Random(3))
    for failed, most in ((1, 2.0), (2, 4.0), (3, 8.0)):
        drawn = {policy.wait_s(failed, elapsed_s=0.0) for _ in range(50)}
        assert len(drawn) == 50, "every wait is drawn anew"
        assert all(wait is not None and most / 2 <= wait <= most for wait in drawn)
    assert policy.wait_s(4, elapsed_s=0.0) is None


def test_the_same_generator_gives_the_same_waits() -> None:
    waits = [[RetryPolicy(rng=Random(7)).wait_s(n, elapsed_s=0.0) for n in (1, 2, 3)] for _ in range(2)]
    assert waits[0] == waits[1]


@pytest.mark.parametrize(("asked", "waited"), [(3600.0, 30.0), (12.0, 12.0), (29.9, 29.9)])
def test_what_the_endpoint_asks_for_is_capped(asked: float, waited: float) -> None:
    assert RetryPolicy().wait_s(1, elapsed_s=0.0, retry_after_s=asked) == waited


def test_no_try_begins_after_the_total_cap() -> None:
    assert RetryPolicy().wait_s(1, elapsed_s=65.0, retry_after_s=30.0) is None
    assert RetryPolicy().wait_s(1, elapsed_s=60.0, retry_after_s=30.0) == 30.0
    assert RetryPolicy().wait_s(1, elapsed_s=120.0) is None, "time-outs count too"


@pytest.mark.parametrize("changes", [{"tries": 0}, {"first_wait_s": -1.0}, {"total_cap_s": float("inf")}])
def test_a_policy_without_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**changes)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "17"}, 17.0),
        ({"retry-after": "1.5", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:40 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 40.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:40 GMT"}, None),
        ({"retry-after": "Wed, 99 Oct 99999 07:28:40 GMT", "date": "today"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_passing_failure_is_tried_again() -> None:
    clock = Clock()
    asked, wire = client(TryAgain("busy", status=529), TryAgain("busy", retry_after_s=3600.0), reply(), clock=clock)
    found = asked.complete(request())
    assert found.data == {"answer": "yes"}
    assert wire.asked == ["json_schema"] * 3
    assert 1.0 <= clock.slept[0] <= 2.0
    assert clock.slept[1] == 30.0
    assert [(each.status, each.waited_s) for each in found.attempts] == [(529, clock.slept[0]), (None, 30.0)]


def test_patience_ends_and_the_endpoint_cools_down() -> None:
    clock = Clock()
    shared = CoolDown(now=clock.now)
    asked, wire = client(*[TryAgain("busy", status=503)] * 4, reply(), clock=clock, cool_down=shared)
    with pytest.raises(LLMUnavailable, match=r"^busy; 4 tries$") as caught:
        asked.complete(request())
    assert len(caught.value.attempts) == 4
    assert [each.waited_s for each in caught.value.attempts] == [*clock.slept, 0.0]

    clock.time += 299.0
    other, untouched = client(reply(), clock=clock, cool_down=shared)
    with pytest.raises(LLMUnavailable, match=r"custom \(small\) failed to the last try .* 1 s \(last: busy\)$"):
        other.complete(request())
    assert untouched.asked == [], "another client of the same endpoint does not ask either"

    elsewhere, _ = client(reply(), clock=clock, cool_down=shared, endpoint=endpoint(model="large"))
    assert elsewhere.complete(request()).data == {"answer": "yes"}
    clock.time += 1.0
    assert asked.complete(request()).data == {"answer": "yes"}
    assert len(wire.asked) == 5


def test_a_refused_key_is_no_outage() -> None:
    clock = Clock()
    asked, wire = client(LLMRejected("no", status=401), reply(), clock=clock)
    with pytest.raises(LLMRejected) as caught:
        asked.complete(request())
    assert (caught.value.status, clock.slept, len(caught.value.attempts)) == (401, [], 1)
    assert asked.complete(request()).data == {"answer": "yes"}
    assert len(wire.asked) == 2


def test_a_slow_endpoint_is_not_asked_past_the_cap() -> None:
    clock = Clock()

    class Slow(TryAgain):
        def __init__(self) -> None:
            super().__init__("no whole answer within 120 s")

    class Wire:
        asked = 0

        def send(self, request: Any, answer_format: str) -> Any:
            self.asked += 1
            clock.time += 120.0
            raise Slow

    wire = Wire()
    asked, _ = client(clock=clock, wire=wire)
    with pytest.raises(LLMUnavailable, match=r"within 120 s; 1 try$"):
        asked.complete(request())
    assert (wire.asked, clock.slept) == (1, [])


def test_cool_down_outlives_the_process_and_a_clock_set_back() -> None:
    clock = Clock()
    kept: dict[str, float] = {}
    CoolDown(kept, now=clock.now, cool_down_s=60.0).begin(endpoint())
    again = CoolDown(kept, now=clock.now, cool_down_s=60.0)
    with pytest.raises(LLMUnavailable):
        again.check(endpoint())
    clock.time -= 1000.0
    again.check(endpoint())


def test_what_failed_tries_cost_is_counted() -> None:
    half = TryAgain("busy", reply=reply("half", tokens=5))
    asked, _ = client(half, reply(tokens=7))
    assert asked.complete(request()).usage == Usage(input_tokens=12, output_tokens=2)

    asked, _ = client(half, *[TryAgain("busy")] * 3)
    with pytest.raises(LLMUnavailable) as caught:
        asked.complete(request())
    assert caught.value.reply is not None
    assert caught.value.reply.usage == Usage(input_tokens=5, output_tokens=1)
