"""What every provider must keep, whatever the endpoint does. A wire format joins with a subclass and its `style`.

The real SDK clients talk to a server on loopback (tests/llm_server). Every test ends with the same questions: does
the key stand anywhere it must not, was anything executed or written, did anything connect elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from typing import ClassVar

import pytest

from agent.errors import LLMError, LLMRejected, LLMUnusable
from agent.llm.base import Message
from tests.agent.llm.provider_setting import (
    ASK,
    FREE,
    GOOD,
    KEY,
    SPENT,
    TRIES,
    USAGE,
    Clock,
    Setting,
    good,
)
from tests.agent.llm.watch import Watch
from tests.llm_server.asked import Asked
from tests.llm_server.behaviours import (
    Malformed,
    Redirect,
    Say,
    Status,
)
from tests.llm_server.server import LLMServer


class ProviderCase:
    """Subclass, and name the style. What is sent, what is refused for good, where the key stands."""

    style: ClassVar[str]
    formats: ClassVar[tuple[str, ...]] = ("json_schema", "tool", "json_object", "text")
    """The formats that reach this wire."""

    @pytest.fixture
    def at(self, llm_server: LLMServer, caplog: pytest.LogCaptureFixture, watch: Watch) -> Iterator[Setting]:
        caplog.set_level(logging.DEBUG)
        setting = Setting(llm_server, self.style, Clock())
        with watch.port(llm_server.root):
            yield setting
        assert KEY not in caplog.text
        assert watch.seen == [], watch.seen

    def test_a_good_answer(self, at: Setting) -> None:
        reply = at.ask(good())
        assert (reply.data, json.loads(reply.text)) == (GOOD, GOOD)
        assert (reply.provider, reply.model, reply.answer_format) == ("custom", "model-x-2026-01-01", "json_schema")
        assert reply.usage == USAGE
        assert reply.request_id == "req_000001"
        assert reply.stop and reply.attempts == ()
        assert len(at.server.requests) == 1

    def test_what_is_sent(self, at: Setting) -> None:
        at.ask(good())
        (asked,) = at.server.requests
        assert (asked.model, asked.system, asked.turns) == ("model-x", "You tune.", (("user", "What next?"),))
        assert (asked.max_tokens, asked.answer_format, asked.searches) == (500, "json_schema", False)
        assert asked.schema is not None and set(asked.schema["properties"]) == {"diagnosis", "changes"}
        assert self.key_sent(asked) == KEY
        # Nowhere else: not in the address, not in the body.
        assert KEY not in asked.path + json.dumps(asked.body)

    def key_sent(self, asked: Asked) -> str:
        """The key as this wire carries it."""
        return asked.headers["authorization"].removeprefix("Bearer ")

    def test_free_text(self, at: Setting) -> None:
        said = "  Try lr 0.01.\n\n{not json}\r\n"
        reply = at.ask(Say(text=said, usage=SPENT), request=FREE)
        assert (reply.text, reply.data, reply.answer_format, reply.usage) == (said, None, "text", USAGE)

    def test_reasoning_around_an_answer(self, at: Setting) -> None:
        said = '<think>{lr: 0.1}? {"diagnosis": "no"}</think>\n```json\n' + json.dumps(GOOD) + "\n```"
        assert at.ask(Say(text=said, usage=SPENT)).data == GOOD
        assert at.ask(Say(text="<think>hm</think>Raise it.", usage=SPENT), request=FREE).text.endswith("Raise it.")
        error = at.fails(LLMUnusable, Say(text="<think>hm</think>", usage=SPENT), request=FREE)
        assert error.problems == ("the answer holds nothing but reasoning",) and error.reply.usage == USAGE

    def test_a_conversation_keeps_its_order(self, at: Setting) -> None:
        texts = ("What next?", '{"lr": 7}', "lr = 7: allowed: 0.0001 to 0.1")
        turns = tuple(("user", "assistant")[place % 2] for place in range(3))
        messages = tuple(Message(role=role, text=text) for role, text in zip(turns, texts, strict=True))
        at.ask(good(), request=dataclasses.replace(ASK, messages=messages))
        assert at.server.requests[0].turns == tuple(zip(turns, texts, strict=True))

    def test_the_endpoints_own_fields_are_sent(self, at: Setting) -> None:
        at.ask(good(), extra_body={"provider": {"require_parameters": True}})
        assert at.server.requests[0].body["provider"] == {"require_parameters": True}

    # What is refused for good: one request, no wait.

    @pytest.mark.parametrize("code", [401, 402, 403, 404, 413])
    def test_what_is_refused_is_asked_once(self, at: Setting, code: int) -> None:
        error = at.fails(LLMRejected, Status(code, "not you"))
        assert error.status == code and "not you" in str(error) and str(code) in str(error)
        assert at.clock.naps == [] and len(at.server.requests) == 1
        assert [attempt.status for attempt in error.attempts] == [code]

    def test_another_fault_of_the_request_is_asked_once(self, at: Setting) -> None:
        error = at.fails(LLMRejected, Status(400, "prompt is too long: 300000 > 200000"))
        assert error.status == 400 and len(at.server.requests) == 1

    def test_a_refused_key_does_not_cool_down(self, at: Setting) -> None:
        at.fails(LLMRejected, Status(401))
        assert at.ask(good()).data == GOOD

    @pytest.mark.parametrize("code", [400, 401, 403, 429, 500])
    def test_an_echoed_key_is_hidden(self, at: Setting, code: int) -> None:
        error = at.fails(LLMError, *[Status(code, "bad key", echo_key=True)] * (TRIES if code in (429, 500) else 1))
        assert "bad key" in str(error)

    @pytest.mark.parametrize("offset", [0, 150, 180, 195, 270, 290])
    @pytest.mark.parametrize("code", [200, 403, 502])
    def test_a_key_in_a_page_is_hidden_wherever_the_page_is_cut(self, at: Setting, offset: int, code: int) -> None:
        page = "<html>" + "x" * offset + KEY + "</html>"
        answer = Malformed(page.encode()) if code == 200 else Status(code, page, html=True)
        at.fails(LLMError, *[answer] * (1 if code == 403 else TRIES))

    def test_a_model_that_says_the_key_is_not_kept(self, at: Setting) -> None:
        error = at.fails(LLMUnusable, Say(json=GOOD | {"diagnosis": f"your key is {KEY}"}, usage=SPENT))
        assert error.reply.usage == USAGE

    def test_the_key_is_not_shown(self, at: Setting) -> None:
        client = at.client()
        assert KEY not in repr(client) + str(client) + repr(client.endpoint) + client.endpoint.name
        assert KEY not in json.dumps(dict(at.formats.known)) + json.dumps(dict(at.cool_down.until))

    def test_a_redirect_takes_the_key_nowhere(self, at: Setting) -> None:
        with LLMServer(model=lambda asked: good()) as other:
            at.server.model = lambda asked: Redirect(other.root)
            with pytest.raises(LLMError):
                at.client().complete(ASK)
            assert other.requests == []

    # The environment of the person who calls.

    def test_ambient_settings_have_no_effect(self, at: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
        with LLMServer(model=lambda asked: good()) as other:
            for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL"):
                monkeypatch.setenv(name, other.root)
            for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
                monkeypatch.setenv(name, "sk-ambient-secret")
            for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_ORGANIZATION_ID"):
                monkeypatch.setenv(name, "ambient-organisation")
            for name in ("ANTHROPIC_CUSTOM_HEADERS", "OPENAI_CUSTOM_HEADERS"):
                monkeypatch.setenv(name, "x-ambient-header: ambient-header\nauthorization: Bearer ambient-token")
            assert at.ask(good()).data == GOOD
            assert other.requests == []
        (asked,) = at.server.requests
        assert "ambient" not in asked.sent
        assert self.key_sent(asked) == KEY

    @pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_a_server_on_this_machine_is_reached_without_a_proxy(
        self, at: Setting, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        with LLMServer(model=lambda asked: good()) as proxy:
            monkeypatch.setenv(variable, proxy.root)
            assert at.ask(good()).data == GOOD
            assert proxy.requests == [] and len(at.server.requests) == 1

    def test_an_endpoint_without_a_key_gets_no_ambient_one(
        self, at: Setting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
            monkeypatch.setenv(name, "sk-ambient-secret")
        at.server.model = lambda asked: good()
        try:
            at.client(key=None).complete(ASK)
        except LLMRejected as error:
            assert "key" in str(error)
        assert all("ambient" not in asked.sent for asked in at.server.requests)
