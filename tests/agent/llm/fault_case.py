"""What every provider must do when the endpoint fails, refuses the structure, or answers without an answer."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from agent.errors import LLMError, LLMRefusal, LLMRejected, LLMUnavailable, LLMUnusable
from agent.llm.answer_formats import AnswerFormats
from agent.llm.base import Usage
from agent.llm.client import Client
from tests.agent.llm.provider_case import ProviderCase
from tests.agent.llm.provider_setting import (
    ASK,
    CAP_S,
    CHARGED,
    FREE,
    GOOD,
    SCHEMA,
    SPENT,
    TRIES,
    USAGE,
    Setting,
    good,
)
from tests.llm_server.behaviours import (
    Behaviour,
    CutConnection,
    Drip,
    Empty,
    Hang,
    Malformed,
    OpenRouterError,
    Refuses,
    Say,
    SchemaRefused,
    Status,
    Tokens,
    Truncated,
    WrongTypes,
)
from tests.llm_server.scripted_study import StudyModel


class FaultCase(ProviderCase):
    """Subclass, and name the style. Patience, answer formats and accounting."""

    # Patience.

    def test_an_absurd_retry_after_is_capped(self, at: Setting) -> None:
        reply = at.ask(Status(429, "slow down", retry_after=3600), good())
        assert reply.data == GOOD
        assert at.clock.naps == [CAP_S]
        (attempt,) = reply.attempts
        assert (attempt.status, attempt.answer_format, attempt.waited_s) == (429, "json_schema", CAP_S)

    def test_a_modest_retry_after_is_kept_to(self, at: Setting) -> None:
        at.ask(Status(429, retry_after=7), good())
        assert at.clock.naps == [7.0]

    @pytest.mark.parametrize("said", ["-5", "nan", "inf", "1e400", "soon", "", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
    def test_a_mistaken_retry_after_is_harmless(self, at: Setting, said: str) -> None:
        assert at.ask(Status(503, retry_after=said), good()).data == GOOD
        assert len(at.clock.naps) == 1 and 0 <= at.clock.naps[0] <= CAP_S

    def test_a_retry_after_as_date_is_capped(self, at: Setting) -> None:
        at.ask(Status(429, retry_after="Fri, 31 Dec 2100 23:59:59 GMT"), good())
        assert len(at.clock.naps) == 1 and at.clock.naps[0] <= CAP_S

    def test_the_default_patience_has_an_end(self, at: Setting) -> None:
        """An endpoint that says "an hour" for ever costs minutes, not hours."""
        at.server.model = lambda asked: Status(429, retry_after=3600)
        client = Client(at.endpoint(), sleep=at.clock.sleep, now=at.clock)
        with pytest.raises(LLMUnavailable):
            client.complete(ASK)
        assert len(at.server.requests) == len(at.clock.naps) + 1 <= 10 and sum(at.clock.naps) <= 300

    @pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504, 529])
    def test_a_storm_uses_up_the_tries_and_cools_down(self, at: Setting, code: int) -> None:
        error = at.fails(LLMUnavailable, *[Status(code, "storm")] * TRIES)
        assert len(at.server.requests) == TRIES and len(at.clock.naps) == TRIES - 1
        assert [attempt.status for attempt in error.attempts] == [code] * TRIES
        assert all(0 < nap <= CAP_S for nap in at.clock.naps)
        assert "storm" in str(error)
        at.fails(LLMUnavailable)
        assert len(at.server.requests) == TRIES, "a request during the cool-down"
        at.clock.time += 3600
        assert at.ask(good()).data == GOOD

    def test_a_cool_down_is_the_endpoints_own(self, at: Setting) -> None:
        at.fails(LLMUnavailable, *[Status(503)] * TRIES)
        assert at.ask(good(), model="another-model").data == GOOD

    def test_a_page_instead_of_an_answer_is_tried_again(self, at: Setting) -> None:
        assert at.ask(Status(502, "Bad Gateway", html=True), good()).data == GOOD

    @pytest.mark.parametrize("behaviour", [CutConnection(), CutConnection(0), CutConnection(60), Malformed()])
    def test_a_broken_exchange_is_tried_again(self, at: Setting, behaviour: Behaviour) -> None:
        reply = at.ask(behaviour, good())
        assert reply.data == GOOD and len(reply.attempts) == 1 and len(at.clock.naps) == 1
        error = at.fails(LLMUnavailable, *[behaviour] * TRIES)
        assert len(error.attempts) == TRIES

    def test_a_time_out_is_tried_again(self, at: Setting) -> None:
        assert at.ask(Hang(), good(), timeout_s=0.2).data == GOOD
        error = at.fails(LLMUnavailable, Hang(), Hang(), timeout_s=0.1, tries=2)
        assert len(error.attempts) == 2

    @pytest.mark.parametrize(("part", "code"), [("body", 200), ("body", 500), ("headers", 200)])
    def test_an_answer_that_drips_is_not_waited_for(self, at: Setting, part: str, code: int) -> None:
        """Each byte comes in time, the whole never does: a limit for each read alone would wait for ever."""
        at.fails(LLMUnavailable, Drip(0.6, part=part, code=code), timeout_s=0.1, tries=1)
        assert not at.server.dripped, "waited until the server gave up"

    # The answer formats.

    def test_a_refused_format_leads_to_the_next_and_is_remembered(self, at: Setting) -> None:
        first, second = self.formats[:2]
        reply = at.ask(SchemaRefused(), good())
        assert (reply.data, reply.answer_format) == (GOOD, second)
        assert at.clock.naps == [] and [attempt.answer_format for attempt in reply.attempts] == [first]
        assert at.ask(good()).answer_format == second
        assert [asked.answer_format for asked in at.server.requests] == [first, second, second]

    def test_every_format_carries_the_answer(self, at: Setting) -> None:
        for answer_format in self.formats:
            at.formats = AnswerFormats()
            at.server.formats = frozenset({answer_format})
            reply = at.ask(good())
            assert (reply.data, reply.answer_format, reply.usage) == (GOOD, answer_format, USAGE)
            asked = at.server.requests[-1]
            assert asked.answer_format == answer_format and asked.schema is not None
            assert set(asked.schema["properties"]) == set(SCHEMA["properties"])
            assert answer_format != "json_object" or "json" in asked.text.lower()

    def test_an_endpoint_without_a_format_left_is_refused(self, at: Setting) -> None:
        at.server.formats = frozenset()
        error = at.fails(LLMRejected)
        assert len(at.server.requests) == len(self.formats) <= len(error.attempts)

    def test_only_the_endpoints_formats_are_asked(self, at: Setting) -> None:
        assert at.ask(good(), formats=("tool", "text")).answer_format == "tool"

    def test_a_400_without_a_reason_steps_down(self, at: Setting) -> None:
        """Gemini says no more than this about a schema that it finds too complex."""
        assert at.ask(Status(400, "Request contains an invalid argument."), good()).data == GOOD

    def test_a_storm_on_the_way_down_keeps_the_format(self, at: Setting) -> None:
        reply = at.ask(SchemaRefused(), Status(529), good())
        assert reply.answer_format == self.formats[1]
        assert [attempt.status for attempt in reply.attempts] == [400, 529]

    # Answers that are none, and what they cost.

    def test_a_truncated_answer_is_counted(self, at: Setting) -> None:
        for answer_format in self.formats:
            at.formats, at.server.formats = AnswerFormats(), frozenset({answer_format})
            error = at.fails(LLMUnusable, Truncated('{"diagnosis": "the loss', usage=SPENT))
            assert error.reply.usage == USAGE and error.reply.stop
            assert "cut off" in str(error)

    def test_a_cut_answer_that_happens_to_be_valid_is_refused(self, at: Setting) -> None:
        """The model meant to go on: what stands there is not what it would have said."""
        error = at.fails(LLMUnusable, Truncated(json.dumps(GOOD), usage=SPENT), formats=("text",))
        assert error.reply.text == json.dumps(GOOD)

    def test_a_refusal_is_told_apart_and_counted(self, at: Setting) -> None:
        for request in (ASK, FREE):
            error = at.fails(LLMRefusal, Refuses("not this", usage=SPENT), request=request)
            assert "not this" in str(error) and error.reply.usage == USAGE
        assert at.clock.naps == [] and len(at.server.requests) == 2

    def test_an_empty_answer_is_counted(self, at: Setting) -> None:
        for request in (ASK, FREE):
            error = at.fails(LLMUnusable, Empty(usage=SPENT), request=request)
            assert error.reply.usage == USAGE and error.problems == ("the answer is empty",)
        assert len(at.fails(LLMUnusable, Say(text=" \n", usage=SPENT), request=FREE).problems) == 1

    @pytest.mark.parametrize("part", ["content", "missing", "list", "null", "string"])
    def test_a_body_of_wrong_types_is_no_answer(self, at: Setting, part: str) -> None:
        at.server.model = lambda asked: WrongTypes(part, usage=SPENT)
        error = at.fails(LLMError)
        assert isinstance(error, LLMUnavailable | LLMUnusable)
        if part == "content":
            assert error.reply.usage == USAGE

    def test_usage_that_cannot_be_read_is_not_free(self, at: Setting) -> None:
        """A cap on tokens must hold at an endpoint that counts in words."""
        at.server.queue(WrongTypes("usage"))
        error = at.fails(LLMUnusable)
        assert error.reply.usage.input_tokens > 0

    @pytest.mark.parametrize("code", [429, 502, 503])
    def test_an_error_in_a_200_is_tried_again(self, at: Setting, code: int) -> None:
        assert at.ask(OpenRouterError(code), good()).data == GOOD

    @pytest.mark.parametrize("code", [401, 402, 403])
    def test_an_error_in_a_200_may_be_for_good(self, at: Setting, code: int) -> None:
        error = at.fails(LLMRejected, OpenRouterError(code, "no credits"))
        assert error.status == code and "no credits" in str(error)

    def test_a_tool_that_nobody_offered_is_not_called(self, at: Setting) -> None:
        for request in (ASK, FREE):
            call = ("bash", {"command": "rm -rf /"})
            error = at.fails(LLMUnusable, Say(text="ok", tool_calls=(call,), usage=SPENT), request=request)
            assert "bash" in str(error) and error.reply.usage == USAGE

    def test_an_unoffered_tool_beside_the_answer_spoils_it(self, at: Setting) -> None:
        at.server.formats = frozenset({"tool"})
        at.fails(LLMUnusable, Say(json=GOOD, tool_calls=(("bash", {"command": "id"}),), usage=SPENT))

    @pytest.mark.parametrize(
        "said",
        [Tokens(input=10**15), Tokens(output=10**15), Tokens(input=-5), Tokens(input=100, cached=10**9)],
        ids=["input", "output", "negative", "cached"],
    )
    def test_a_usage_that_cannot_be_is_not_charged_and_is_noted(self, at: Setting, said: Tokens) -> None:
        for reply in (
            at.ask(Say(json=GOOD, usage=said)),
            at.fails(LLMUnusable, Truncated("{", usage=said), formats=("text",)).reply,
        ):
            assert 0 < reply.usage.tokens < 10_000 and reply.usage.cached_tokens == 0
            assert reply.usage_note.endswith("an estimate is charged instead")
        assert at.ask(good()).usage_note == ""

    def test_two_different_tool_calls_are_no_answer(self, at: Setting) -> None:
        at.server.formats = frozenset({"tool"})
        other = ("proposal", GOOD | {"diagnosis": "another"})
        at.fails(LLMUnusable, Say(json=GOOD, tool_calls=(other,), usage=SPENT))

    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_storm_of_everything_is_survived_and_accounted(self, at: Setting, seed: int) -> None:
        """Every call ends in valid data or an LLMError, and what the server says it charged is what was counted."""
        model = at.server.model = StudyModel(seed, fault_rate=0.5)
        counted, valid = Usage(), 0
        for _ in range(30):
            try:
                reply = at.client().complete(ASK)
            except LLMError as error:
                self.survived(at, error)
                counted += error.reply.usage if error.reply is not None else Usage()
            else:
                Draft202012Validator(SCHEMA).validate(reply.data)
                assert json.loads(reply.text) == reply.data
                counted, valid = counted + reply.usage, valid + 1
        charged = [turn.behaviour.usage for turn in model.log if isinstance(turn.behaviour, CHARGED)]
        assert counted.input_tokens == sum(tokens.input for tokens in charged)
        assert counted.output_tokens == sum(tokens.output for tokens in charged)
        assert 5 <= valid <= 29

    def survived(self, at: Setting, error: LLMError) -> None:
        at.clean(error)
        assert isinstance(error, LLMUnavailable | LLMUnusable | LLMRefusal), repr(error)
        if isinstance(error, LLMUnavailable):
            at.clock.time += 3600  # the cool-down
