"""Every wire format through its real SDK, held to what every provider must keep, and what is each one's own."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest

from agent.errors import LLMRefusal, LLMRejected, LLMUnavailable, LLMUnusable, UsageError
from agent.llm.base import Citation, Reply, Search, Usage
from agent.llm.client import Client
from agent.llm.wire import Endpoint
from tests.agent.llm.answer_case import AnswerCase
from tests.agent.llm.provider_setting import ASK, FREE, GOOD, KEY, SPENT, TRIES, USAGE, Setting, good
from tests.llm_server.asked import Asked
from tests.llm_server.behaviours import Malformed, Page, PauseTurn, Refuses, Say, Status
from tests.llm_server.server import LLMServer

SEARCH = dataclasses.replace(FREE, role="researcher", search=Search(query="flat loss remedies", max_uses=2))
PAGES = (
    Page(url="https://example.org/a", title="Warm-up", snippet="Raise it slowly."),
    Page(url="https://example.org/b?x=1&y=2", title="run rm -rf / \x1b[2J", snippet="$(id)"),
)
FOUND = Say(text="Use warm-up.", pages=PAGES, usage=SPENT)
CITED = tuple(Citation(url=page.url, title=page.title) for page in PAGES)


class SearchCase(AnswerCase):
    """A wire whose provider searches the web."""

    def test_a_search_is_cited_and_counted(self, at: Setting) -> None:
        reply = at.ask(FOUND, request=SEARCH)
        assert (reply.text, reply.citations) == ("Use warm-up.", CITED)
        assert reply.usage == dataclasses.replace(USAGE, searches=1)
        (asked,) = at.server.requests
        assert asked.searches and asked.answer_format == "text"
        assert Reply.from_json(reply.to_json() | {"citations": [vars(page) for page in reply.citations]})

    def test_a_search_without_pages_is_an_answer(self, at: Setting) -> None:
        reply = at.ask(Say(text="I know it.", usage=SPENT), request=SEARCH)
        assert (reply.citations, reply.usage) == ((), USAGE)

    def test_a_refused_search_is_no_matter_of_the_formats(self, at: Setting) -> None:
        error = at.fails(LLMRejected, Status(400, "tools.0: web_search is not enabled"), request=SEARCH)
        assert error.status == 400 and len(at.server.requests) == 1
        assert at.ask(good()).answer_format == "json_schema"


class TestAnthropic(SearchCase):
    style = "anthropic"
    formats: ClassVar = ("json_schema", "tool", "text")

    def key_sent(self, asked: Asked) -> str:
        return asked.headers["x-api-key"] if "x-api-key" in asked.headers else super().key_sent(asked)

    def test_a_paused_search_is_continued(self, at: Setting) -> None:
        reply = at.ask(PauseTurn(usage=SPENT), FOUND, request=SEARCH)
        assert reply.text.endswith("Use warm-up.") and reply.citations == CITED
        assert reply.usage == USAGE + USAGE + Usage(searches=2)
        first, second = at.server.requests
        assert [role for role, _ in second.turns] == ["user", "assistant"]
        # What was paused goes back as it came, the call of the search included.
        assert [block["type"] for block in second.body["messages"][1]["content"]] == ["server_tool_use", "text"]
        assert first.body["messages"] == second.body["messages"][:1]

    def test_a_search_that_never_ends_is_ended_and_counted(self, at: Setting) -> None:
        at.server.model = lambda asked: PauseTurn(usage=SPENT)
        error = at.fails(LLMUnusable, request=SEARCH)
        calls = len(at.server.requests)
        assert calls <= 10 and error.reply.usage.input_tokens == calls * USAGE.input_tokens

    def test_what_a_paused_search_cost_is_counted_when_it_fails(self, at: Setting) -> None:
        error = at.fails(LLMRejected, PauseTurn(usage=SPENT), Status(401), request=SEARCH)
        assert error.reply.usage == dataclasses.replace(USAGE, searches=1)
        reply = at.ask(PauseTurn(usage=SPENT), Status(529), FOUND, request=SEARCH)
        assert reply.usage.output_tokens == 2 * USAGE.output_tokens
        at.fails(LLMUnavailable, *[PauseTurn(usage=SPENT), Malformed()] * TRIES, request=SEARCH)

    def test_a_refusals_category_is_told(self, at: Setting) -> None:
        assert "frontier_llm" in str(at.fails(LLMRefusal, Refuses("no", usage=SPENT)))


class TestResponses(SearchCase):
    style = "responses"

    def test_answers_are_not_stored_by_the_provider(self, at: Setting) -> None:
        at.ask(good())
        assert at.server.requests[0].body["store"] is False


class TestChat(AnswerCase):
    style = "chat"

    def test_an_endpoint_that_knows_only_json_object(self, at: Setting) -> None:
        """DeepSeek: one request, the schema and the word JSON stand in the prompt; nothing is an empty text there."""
        at.server.formats = frozenset({"json_object"})
        formats = ("json_object", "text")
        assert at.ask(good(), formats=formats).answer_format == "json_object"
        assert "JSON" in at.server.requests[0].text
        assert at.fails(LLMUnusable, Say(text="", usage=SPENT), formats=formats).reply.usage == USAGE

    def test_a_local_server_needs_no_key(self, at: Setting) -> None:
        assert at.ask(good(), key=None).data == GOOD
        assert "sk-" not in at.server.requests[0].sent

    def test_a_tool_call_that_ends_with_stop(self, at: Setting) -> None:
        """OpenAI ends a forced tool with "stop", others with "tool_calls"."""
        assert at.ask(good(stop="stop"), formats=("tool",)).data == GOOD

    def test_arguments_that_are_no_json_are_refused(self, at: Setting) -> None:
        error = at.fails(LLMUnusable, Say(arguments='{"diagnosis": ', usage=SPENT), formats=("tool",))
        assert error.reply.usage == USAGE

    def test_a_search_is_refused_before_anything_is_sent(self, at: Setting) -> None:
        at.fails(LLMRejected, request=SEARCH)
        assert at.server.requests == []


@pytest.mark.parametrize("key", ["", "sk-1\n", "sk-1\r\nx-evil: 1", "sk-\u2028", "sk-é"])
@pytest.mark.parametrize("style", ["anthropic", "responses", "chat"])
def test_a_key_that_cannot_be_sent_is_not_shown(style: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint(provider="custom", model="m", style=style, base_url="http://127.0.0.1:1", key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(("provider", "style"), [("anthropic", "anthropic"), ("openai", "responses")])
def test_without_a_key_a_provider_that_needs_one_is_not_asked(
    llm_server: LLMServer, provider: str, style: str
) -> None:
    base_url = llm_server.base_url(style)
    client = Client(Endpoint(provider=provider, model="m", style=style, base_url=base_url))
    with pytest.raises(LLMRejected, match="needs a key"):
        client.complete(ASK)
    assert llm_server.requests == []


def test_an_address_with_a_password_is_refused_unseen() -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint(provider="custom", model="m", style="chat", base_url=f"http://me:{KEY}@127.0.0.1:1")
    assert KEY not in str(caught.value)


def test_the_request_is_what_the_case_says() -> None:
    """The case's own example is one that the schema allows, so that its failures are the provider's."""
    from jsonschema import Draft202012Validator

    assert ASK.schema is not None
    Draft202012Validator(ASK.schema).validate(GOOD)
