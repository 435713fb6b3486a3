"""Formats of structured answers: the next one when one is refused, and remembered."""

from __future__ import annotations

import pytest

from agent.errors import LLMRejected, LLMUnavailable
from agent.llm.answer_formats import AnswerFormats
from agent.llm.base import Search
from agent.llm.wire import SchemaRefused, TryAgain
from tests.agent.llm.calls import KEY, client, endpoint, reply, request


def refused(status: int = 400) -> SchemaRefused:
    return SchemaRefused("no such format", status=status)


def test_a_refused_format_is_left_and_not_tried_again() -> None:
    formats = AnswerFormats()
    asked, wire = client(refused(), refused(422), reply(answer_format="json_object"), reply(), formats=formats)
    found = asked.complete(request())
    assert wire.asked == ["json_schema", "tool", "json_object"]
    assert [(each.answer_format, each.status, each.waited_s) for each in found.attempts] == [
        ("json_schema", 400, 0.0),
        ("tool", 422, 0.0),
    ]
    asked.complete(request())
    assert wire.asked[3:] == ["json_object"]


def test_what_was_learnt_can_be_kept_and_belongs_to_one_model_at_one_address() -> None:
    kept: dict[str, str] = {}
    client(refused(), reply(), formats=AnswerFormats(kept))[0].complete(request())
    assert kept == {"custom|http://127.0.0.1:9/v1|small": "tool"}
    assert AnswerFormats(kept).known == kept
    assert KEY not in repr(kept)
    assert AnswerFormats(kept).of(endpoint(), request())[0] == "tool"
    for other in (endpoint(model="large"), endpoint(base_url="http://127.0.0.1:10/v1"), endpoint(provider="vllm")):
        assert AnswerFormats(kept).of(other, request()) == other.formats


def test_a_kept_format_that_the_endpoint_does_not_have_is_passed_over() -> None:
    own = endpoint(formats=("json_object", "text"))
    for answer_format in ("tool", "nonsense"):
        assert AnswerFormats({own.name: answer_format}).of(own, request()) == ("json_object", "text")


def test_an_endpoint_begins_where_its_formats_begin() -> None:
    asked, wire = client(reply(), endpoint=endpoint(formats=("json_object", "text")))
    asked.complete(request())
    assert wire.asked == ["json_object"]


def test_free_text_and_searches_need_no_format() -> None:
    for question in (request(schema=None), request(search=Search(query="words"))):
        asked, wire = client(reply())
        asked.complete(question)
        assert wire.asked == ["text"]


def test_below_the_last_format_there_is_a_refusal() -> None:
    asked, wire = client(*[refused()] * 4)
    with pytest.raises(LLMRejected, match="no such format") as caught:
        asked.complete(request())
    assert wire.asked == ["json_schema", "tool", "json_object", "text"]
    assert (caught.value.status, len(caught.value.attempts)) == (400, 4)


def test_going_down_costs_no_try() -> None:
    asked, wire = client(refused(), TryAgain("busy"), TryAgain("busy"), TryAgain("busy"), reply())
    assert asked.complete(request()).data == {"answer": "yes"}
    assert wire.asked == ["json_schema"] + ["tool"] * 4


def test_a_format_is_remembered_even_if_the_call_then_fails() -> None:
    formats = AnswerFormats()
    asked, _ = client(refused(), *[TryAgain("busy")] * 4, formats=formats)
    with pytest.raises(LLMUnavailable):
        asked.complete(request())
    assert formats.of(endpoint(), request())[0] == "tool"
