"""The call path through the real SDKs, against a server on loopback: what is each wire format's own.

What every provider must keep is in provider_case.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from agent.errors import LLMError, LLMRefusal, LLMRejected, LLMUnavailable, LLMUnusable, UsageError
from agent.llm import openai_wire, wire
from agent.llm.base import Citation, Reply, Search, Usage
from agent.llm.client import Client
from agent.llm.exchange import BODY_BYTES, judged, kind_of, translated
from agent.llm.retry import RetryPolicy
from agent.llm.wire import SchemaRefused, TryAgain, make_wire
from tests.agent.llm.calls import KEY, SCHEMA, Clock, client, endpoint, reply, request
from tests.llm_server.behaviours import Malformed, Page, PauseTurn, Say, Status
from tests.llm_server.server import LLMServer

STYLES = ("anthropic", "responses", "chat")
PAGE = Page(url="https://example.org/lr", title="Learning rates")
SEARCH = {"schema": None, "search": Search(query="learning rate warm-up", max_uses=2)}
USAGE: dict[str, dict[str, int]] = {
    "anthropic": {"input_tokens": 7, "output_tokens": 3},
    "responses": {"input_tokens": 7, "output_tokens": 3},
    "chat": {"prompt_tokens": 7, "completion_tokens": 3},
}


@pytest.fixture
def server(no_ambient_llm: None) -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running
    assert (running.broken, running.unexpected, running.left) == ([], [], [])


def at(server: LLMServer, style: str, **changes: Any) -> Client:
    clock = Clock()
    own = endpoint(**({"style": style, "base_url": server.base_url(style)} | changes))
    return Client(own, policy=RetryPolicy(tries=2), sleep=clock.sleep, now=clock.now)


def raw(**body: Any) -> Malformed:
    """A body of our own making."""
    return Malformed(json.dumps(body).encode())


# What each format sends.


def test_anthropic_marks_the_system_prompt_for_the_cache(server: LLMServer) -> None:
    server.queue(Say(json={"answer": "yes"}))
    at(server, "anthropic").complete(request())
    body = server.requests[0].body
    assert body["system"] == [{"type": "text", "text": "You check.", "cache_control": {"type": "ephemeral"}}]
    assert body["output_config"]["format"]["schema"]["properties"] == {"answer": {"enum": ["yes", "no"]}}


def test_anthropic_forces_one_strict_tool(server: LLMServer) -> None:
    server.queue(Say(json={"answer": "no"}))
    found = at(server, "anthropic", formats=("tool",)).complete(request(schema_name="verdict"))
    body = server.requests[0].body
    assert body["tool_choice"] == {"type": "tool", "name": "verdict"}
    assert [(tool["name"], tool["strict"]) for tool in body["tools"]] == [("verdict", True)]
    assert (found.data, found.text) == ({"answer": "no"}, '{"answer": "no"}')


def test_openai_keeps_nothing_and_is_strict(server: LLMServer) -> None:
    server.queue(Say(json={"answer": "yes"}))
    at(server, "responses").complete(request())
    body = server.requests[0].body
    assert body["store"] is False
    wanted = {"type": "json_schema", "strict": True, "name": "answer", "schema": SCHEMA}
    assert body["text"]["format"] == wanted


def test_chat_sends_the_schema_as_it_is(server: LLMServer) -> None:
    server.queue(Say(json={"answer": "yes"}))
    at(server, "chat", extra_body={"provider": {"require_parameters": True}}).complete(request())
    body = server.requests[0].body
    assert body["response_format"]["json_schema"] == {"strict": True, "name": "answer", "schema": SCHEMA}
    assert body["provider"] == {"require_parameters": True}


@pytest.mark.parametrize("style", ["responses", "chat"])
def test_the_organisation_goes_to_openai_alone(
    server: LLMServer, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    server.queue(Say(json={"answer": "yes"}), Say(json={"answer": "yes"}))
    at(server, style).complete(request())
    monkeypatch.setattr(openai_wire, "BASE_URL", server.base_url(style))
    at(server, style, provider="openai", base_url=None).complete(request())
    sent = [(each.headers.get("openai-organization"), each.headers.get("openai-project")) for each in server.requests]
    assert sent == [(None, None), ("org-mine", "proj-mine")]


def test_the_default_address_is_the_makers_own(server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that a provider's own key goes to is written here, not in the environment."""
    from agent.llm import anthropic_wire

    assert (anthropic_wire.BASE_URL, openai_wire.BASE_URL) == (
        "https://api.anthropic.com",
        "https://api.openai.com/v1",
    )
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root)
    monkeypatch.setattr(anthropic_wire, "BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(LLMUnavailable):
        at(server, "anthropic", base_url=None).complete(request())
    assert server.requests == []


def test_local_servers_need_no_key_and_providers_do(server: LLMServer) -> None:
    server.queue(Say(json={"answer": "yes"}))
    at(server, "chat", provider="ollama", key=None).complete(request())
    for style, provider in (("anthropic", "anthropic"), ("responses", "openai")):
        with pytest.raises(LLMRejected, match=f"{provider} needs a key"):
            at(server, style, provider=provider, key=None).complete(request())
    assert len(server.requests) == 1


# Searching.


def test_anthropic_searches(server: LLMServer) -> None:
    server.queue(Say(text="Warm up.", pages=(PAGE,), searches=2))
    found = at(server, "anthropic").complete(request(**SEARCH))
    wanted = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}
    assert server.requests[0].body["tools"] == [wanted]
    assert (found.text, found.citations) == ("Warm up.", (Citation(url=PAGE.url, title=PAGE.title),))
    assert found.usage.searches == 2


def test_a_paused_search_is_continued_and_counted(server: LLMServer) -> None:
    server.queue(PauseTurn("Let me see. "), Say(text="Warm up.", pages=(PAGE,)))
    found = at(server, "anthropic").complete(request(**SEARCH))
    assert (found.text, found.usage) == (
        "Let me see. Warm up.",
        Usage(input_tokens=200, output_tokens=40, searches=2),
    )
    said = server.requests[1].body["messages"]
    assert [turn["role"] for turn in said] == ["user", "assistant"]
    assert {"type": "text", "text": "Let me see. ", "citations": None} in said[1]["content"]


def test_a_search_that_never_ends_is_cut_off(server: LLMServer) -> None:
    server.queue(PauseTurn(), times=5)
    with pytest.raises(LLMUnusable, match="pause_turn") as caught:
        at(server, "anthropic").complete(request(**SEARCH))
    assert caught.value.reply is not None
    assert caught.value.reply.usage.tokens == 5 * 120


def test_what_a_search_cost_before_it_broke_off_is_counted(server: LLMServer) -> None:
    server.queue(PauseTurn(), Status(529), PauseTurn(), Status(400, "no"))
    with pytest.raises(LLMRejected) as caught:
        at(server, "anthropic").complete(request(**SEARCH))
    assert caught.value.reply is not None
    assert caught.value.reply.usage.tokens == 2 * 120
    assert [attempt.status for attempt in caught.value.attempts] == [529, 400]


def test_openai_searches(server: LLMServer) -> None:
    server.queue(Say(text="Warm up.", pages=(PAGE, PAGE)))
    found = at(server, "responses").complete(request(**SEARCH))
    assert server.requests[0].body["tools"] == [{"type": "web_search", "search_context_size": "low"}]
    assert server.requests[0].body["max_tool_calls"] == 2
    assert found.citations == (Citation(url=PAGE.url, title=PAGE.title),)
    assert found.usage.searches == 1


def test_chat_cannot_search(server: LLMServer) -> None:
    with pytest.raises(LLMRejected, match="custom cannot search"):
        at(server, "chat").complete(request(**SEARCH))
    assert server.requests == []


# Foreign bodies.


def test_openai_failures_inside_a_response(server: LLMServer) -> None:
    def failed(code: str) -> Malformed:
        return raw(status="failed", error={"code": code, "message": "oh"}, output=[], usage=USAGE["responses"])

    server.queue(failed("server_error"), failed("invalid_prompt"))
    with pytest.raises(LLMRejected, match="oh") as caught:
        at(server, "responses").complete(request())
    assert [attempt.status for attempt in caught.value.attempts] == [500, 400]
    assert caught.value.reply is not None and caught.value.reply.usage.tokens == 20

    server.queue(failed("bio_policy"))
    with pytest.raises(LLMRefusal, match="bio_policy"):
        at(server, "responses").complete(request())


def test_openrouter_errors_inside_a_choice(server: LLMServer) -> None:
    broken = {"finish_reason": "error", "message": {}, "error": {"code": 502, "message": "upstream"}}
    server.queue(raw(choices=[broken], usage=USAGE["chat"]), Say(json={"answer": "yes"}))
    found = at(server, "chat").complete(request())
    assert found.attempts[0].status == 502
    assert found.usage.tokens == 130


def test_deepseeks_overload_is_tried_again(server: LLMServer) -> None:
    choice = {"finish_reason": "insufficient_system_resource", "message": {"content": '{"answer": "y'}}
    server.queue(raw(choices=[choice], usage=USAGE["chat"]), Say(json={"answer": "yes"}))
    assert at(server, "chat").complete(request()).attempts[0].status == 503


def test_content_in_parts_is_read(server: LLMServer) -> None:
    parts = [{"type": "text", "text": '{"answer"'}, {"type": "image"}, 7, {"type": "text", "text": ': "no"}'}]
    server.queue(raw(choices=[{"finish_reason": "stop", "message": {"content": parts}}], usage=USAGE["chat"]))
    assert at(server, "chat").complete(request()).data == {"answer": "no"}


@pytest.mark.parametrize(
    ("given", "said"),
    [('{"answer": "yes", "answer": "no"}', "more than once"), ('{"answer": NaN}', "NaN is no JSON")],
)
def test_a_tools_input_reaches_the_check_as_it_came(server: LLMServer, given: str, said: str) -> None:
    call = {"type": "tool_use", "name": "answer", "input": "HERE"}
    body = json.dumps({"content": [call], "stop_reason": "tool_use", "usage": USAGE["anthropic"]})
    server.queue(Malformed(body.replace('"HERE"', given).encode()))
    with pytest.raises(LLMUnusable, match=said) as caught:
        at(server, "anthropic", formats=("tool",)).complete(request())
    assert caught.value.reply is not None and caught.value.reply.usage.tokens == 10


def test_a_body_without_end_is_not_read_to_its_end(server: LLMServer) -> None:
    server.queue(Malformed(b" " * (BODY_BYTES + 1)))
    with pytest.raises(LLMUnusable, match="more than 16 MiB"):
        at(server, "chat", timeout_s=60.0).complete(request())


def test_half_a_surrogate_pair_does_not_reach_a_file(server: LLMServer) -> None:
    server.queue(raw(choices=[{"finish_reason": "stop", "message": {"content": "a\ud800"}}], usage=USAGE["chat"]))
    with pytest.raises(LLMUnusable, match="surrogate") as caught:
        at(server, "chat").complete(request(schema=None))
    assert caught.value.reply is not None and caught.value.reply.text == "a?"


def test_usage_that_is_not_told_is_estimated(server: LLMServer) -> None:
    server.queue(raw(choices=[{"finish_reason": "stop", "message": {"content": '{"answer": "no"}'}}]))
    usage = at(server, "chat").complete(request()).usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0


# Foreign exceptions.


def walked(root: type[BaseException]) -> Iterator[type[BaseException]]:
    for below in root.__subclasses__():
        yield below
        yield from walked(below)


def test_no_exception_of_an_sdk_is_left_unmapped() -> None:
    import anthropic
    import httpx
    import httpx2
    import openai

    makers = {module.__name__ for module in (anthropic, openai, httpx, httpx2)}
    foreign = {
        found
        for found in walked(Exception)
        if found.__module__.split(".")[0] in makers and not issubclass(found, Warning)
    }
    assert {"OverloadedError", "LengthFinishReasonError", "ReadTimeout"} <= {found.__name__ for found in foreign}
    assert [found for found in foreign if kind_of(found) is None] == []
    passing = {anthropic.APITimeoutError, openai.APIConnectionError, httpx2.RemoteProtocolError, httpx2.StreamClosed}
    assert {kind_of(found) for found in passing} == {LLMUnavailable}
    assert kind_of(json.JSONDecodeError) is LLMUnavailable


def test_exceptions_that_no_call_here_raises_are_translated_all_the_same() -> None:
    import anthropic
    import httpx2
    import openai

    sent = httpx2.Request("POST", "http://127.0.0.1:9/v1", headers={"authorization": f"Bearer {KEY}"})
    broken = httpx2.Response(200, request=sent)
    cases: list[tuple[Exception, type[LLMError]]] = [
        (anthropic.APITimeoutError(sent), TryAgain),
        (anthropic.APIResponseValidationError(broken, None), TryAgain),
        (anthropic.CredentialsError(f"bad {KEY}"), LLMRejected),
        (openai.OpenAIError("no credentials"), LLMRejected),
        (openai.ContentFilterFinishReasonError(), LLMRefusal),
        (httpx2.InvalidURL("http://"), LLMRejected),
        (TypeError(f"header {KEY}"), LLMRejected),
        (KeyError("new"), LLMRejected),
    ]
    for foreign, kind in cases:
        found = translated(foreign, endpoint(), "text")
        assert type(found) is kind, foreign
        assert KEY not in str(found) and type(foreign).__name__ in str(found)


@pytest.mark.parametrize(
    ("status", "words", "answer_format", "kind"),
    [
        (400, "response_format json_schema is not supported", "json_schema", SchemaRefused),
        (400, "output_config.format: Extra inputs are not permitted", "json_schema", SchemaRefused),
        (422, "Invalid schema for function 'answer'", "tool", SchemaRefused),
        (404, "No endpoints found that can handle the requested parameters", "json_schema", SchemaRefused),
        (400, "", "json_object", SchemaRefused),
        (400, "response_format json_schema is not supported", "text", LLMRejected),
        (400, "prompt is too long", "json_schema", LLMRejected),
        (404, "model: small", "json_schema", LLMRejected),
        (307, "elsewhere", "json_schema", LLMRejected),
        (429, "slow down", "json_schema", TryAgain),
        (429, "You exceeded your quota (insufficient_quota)", "json_schema", LLMRejected),
        (529, "overloaded", "json_schema", TryAgain),
    ],
)
def test_statuses(status: int, words: str, answer_format: str, kind: type[LLMError]) -> None:
    bodies: list[object] = [{"error": {"message": words, "code": None}}, [{"error": {"message": words}}], words]
    for body in bodies if words else [None, ""]:
        found = judged(status, body, endpoint=endpoint(), answer_format=answer_format, headers={"retry-after": "9"})
        assert type(found) is kind
        assert str(status) in str(found) and words in str(found)
        assert not isinstance(found, TryAgain) or found.retry_after_s == 9.0


def test_a_context_that_is_too_long_is_not_blamed_on_the_schema() -> None:
    body = {"error": {"message": "your messages and tools are too long", "code": "context_length_exceeded"}}
    found = judged(400, body, endpoint=endpoint(), answer_format="tool", headers={})
    assert type(found) is LLMRejected


@pytest.mark.parametrize("style", STYLES)
def test_a_printed_error_does_not_hold_the_key(server: LLMServer, style: str) -> None:
    server.queue(Status(401, "wrong key", echo_key=True))
    with pytest.raises(LLMRejected, match=r"\[key\]") as caught:
        at(server, style).complete(request())
    assert KEY not in "".join(traceback.format_exception(caught.value))


# The client itself.


def test_an_unusable_answer_is_not_asked_for_again() -> None:
    asked, own = client(reply('{"answer": "maybe"}'), reply())
    with pytest.raises(LLMUnusable, match='must be one of "yes", "no"') as caught:
        asked.complete(request())
    assert own.asked == ["json_schema"]
    error = caught.value
    assert error.reply is not None
    assert (error.reply.text, error.reply.data, error.reply.usage.tokens) == ('{"answer": "maybe"}', None, 11)
    assert [attempt.error for attempt in error.attempts] == [str(error)]


def test_usage_of_all_tries_is_in_the_error() -> None:
    cut = LLMUnusable(["the answer was cut off"], reply=reply("{", tokens=20))
    asked, _ = client(TryAgain("busy", reply=reply("", tokens=10)), cut)
    with pytest.raises(LLMUnusable) as caught:
        asked.complete(request())
    assert caught.value.reply is not None
    assert caught.value.reply.usage == Usage(input_tokens=30, output_tokens=2)
    assert len(caught.value.attempts) == 2


def test_an_answer_that_repeats_the_key_is_not_kept() -> None:
    page = Citation(url=f"https://example.org/?k={KEY}")
    asked, _ = client(reply(f"your key is {KEY}", citations=(page,), request_id=KEY))
    with pytest.raises(LLMUnusable, match="repeats the key") as caught:
        asked.complete(request(schema=None))
    assert isinstance(caught.value.reply, Reply)
    assert KEY not in json.dumps(caught.value.reply.to_json()) + str(caught.value)
    assert caught.value.reply.text == "your key is [key]"


def test_a_reply_survives_its_record() -> None:
    asked, _ = client(TryAgain("busy", status=503), reply())
    found = asked.complete(request())
    assert Reply.from_json(json.loads(json.dumps(found.to_json()))) == found


# Endpoints.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"style": "carrier-pigeon"}, "must be one of anthropic, responses, chat"),
        ({"formats": ("json_schema", "yaml")}, "must be of json_schema, tool, json_object, text"),
        ({"formats": ()}, "must be of"),
        ({"model": " "}, "needs a model's name"),
        ({"timeout_s": 0.0}, r"must be in \(0, 3600\]"),
        ({"timeout_s": float("nan")}, r"must be in \(0, 3600\]"),
        ({"base_url": "localhost:11434"}, "must begin with http"),
        ({"base_url": "file:///etc/passwd"}, "must begin with http"),
        ({"base_url": "http://[::1"}, "must begin with http"),
        ({"base_url": f"https://user:{KEY}@host/v1"}, "give the key as a key"),
        ({"base_url": f"https://host/v1?key={KEY}"}, "give the key as a key"),
        ({"key": f"{KEY}\n"}, "line end"),
        ({"key": f"{KEY}é"}, "beyond ASCII"),
        ({"key": ""}, "empty"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        endpoint(**changes)
    assert KEY not in str(caught.value)


def test_an_endpoint_does_not_show_its_key() -> None:
    own = endpoint()
    assert KEY not in repr(own) and KEY not in own.name
    assert own.shown(f"a\x1b[0m\n{KEY} " + "x" * 1000).startswith("a [0m [key] xxx")
    assert len(own.shown("x" * 1000)) == 300


def test_a_refused_key_is_told_with_where_it_came_from() -> None:
    found = judged(
        401, "invalid x-api-key", endpoint=endpoint(key_from="A_KEY in .env"), answer_format="text", headers={}
    )
    assert str(found) == "custom refuses the key (401 invalid x-api-key); it is A_KEY in .env"
    none = judged(401, None, endpoint=endpoint(key=None), answer_format="text", headers={})
    assert str(none) == "custom asks for a key (401); name its variable: --key-env"


@pytest.mark.parametrize("style", ["anthropic", "responses", "chat"])
def test_an_address_where_nobody_listens_is_told_in_plain_words(style: str) -> None:
    """Port 9 of this machine: nobody is asked."""
    asked = Client(endpoint(style=style), sleep=lambda seconds: None)
    told = "custom at http://127.0.0.1:9/v1 cannot be reached (connection refused); 4 tries"
    with pytest.raises(LLMUnavailable, match=f"^{re.escape(told)}$"):
        asked.complete(request())
    with pytest.raises(LLMUnavailable, match=r"\(last: cannot be reached \(connection refused\)\)$"):
        asked.complete(request())


@pytest.mark.parametrize(("style", "sdk"), [("anthropic", "anthropic"), ("responses", "openai"), ("chat", "openai")])
def test_a_missing_sdk_is_named_with_its_remedy(style: str, sdk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"{sdk} is not installed\): `\./uvw run --extra llm \.\.\.` or `pip"):
        make_wire(endpoint(style=style))


def test_no_sdk_is_imported_before_it_is_used() -> None:
    script = (
        "import sys\n"
        "from agent.llm.client import Client\n"
        "from agent.llm.wire import Endpoint\n"
        "for style in ('anthropic', 'responses', 'chat'):\n"
        "    Client(Endpoint(provider='custom', model='m', style=style, base_url='http://127.0.0.1:9', key='k'))\n"
        "print([name for name in ('anthropic', 'openai', 'httpx', 'httpx2', 'jsonschema') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
