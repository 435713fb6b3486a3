"""The call path to a language model: cool-down, answer formats, retries, accounting, validation around one wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from agent.errors import LLMError, LLMRejected, LLMUnavailable, LLMUnusable
from agent.llm.answer import parse_answer, without_reasoning
from agent.llm.answer_formats import AnswerFormats
from agent.llm.base import Attempt, Citation, Reply, Request, Usage
from agent.llm.retry import CoolDown, RetryPolicy
from agent.llm.wire import Endpoint, SchemaRefused, Wire, make_wire


class Client:
    """One endpoint as an `LLM` (see agent.llm.base).

    Formats, policy and cool-down may be shared by the clients of all roles. An answer that cannot be used is raised,
    not asked for again: the role's repair turn does that, with the problems in it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        wire: Wire | None = None,
        formats: AnswerFormats | None = None,
        policy: RetryPolicy | None = None,
        cool_down: CoolDown | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """now: a monotonic clock in seconds. Raises UsageError where the endpoint's SDK is not installed."""
        self.endpoint = endpoint
        self._wire = wire if wire is not None else make_wire(endpoint)
        self._formats = formats if formats is not None else AnswerFormats()
        self._policy = policy if policy is not None else RetryPolicy()
        self._cool_down = cool_down if cool_down is not None else CoolDown(now=now)
        self._sleep = sleep
        self._now = now

    @property
    def provider(self) -> str:
        return self.endpoint.provider

    @property
    def model(self) -> str:
        return self.endpoint.model

    def complete(self, request: Request) -> Reply:
        """See `agent.llm.base.LLM.complete`."""
        self._cool_down.check(self.endpoint)
        spent = _Spent(self.endpoint)
        try:
            reply = spent.total(self._reached(request, spent))
            return self._judged(reply, request, spent)
        except LLMError as error:
            if error.reply is not None:
                error.reply = _cleaned(error.reply, self.endpoint)
            error.attempts = tuple(spent.attempts)
            raise

    def _reached(self, request: Request, spent: _Spent) -> Reply:
        """Asks until a reply is there, or patience ends or no answer format is left."""
        formats = self._formats.of(self.endpoint, request)
        place, failed, begun = 0, 0, self._now()
        while True:
            answer_format = formats[place]
            try:
                return self._wire.send(request, answer_format)
            except SchemaRefused as error:
                part = spent.note(error, answer_format)
                place += 1
                if place == len(formats):
                    raise LLMRejected(str(error), status=error.status, reply=part) from None
                self._formats.begin_at(self.endpoint, formats[place])
            except LLMUnavailable as error:
                failed += 1
                asked = getattr(error, "retry_after_s", None)
                wait = self._policy.wait_s(failed, elapsed_s=self._now() - begun, retry_after_s=asked)
                part = spent.note(error, answer_format, waited_s=wait or 0.0)
                if wait is None:
                    self._cool_down.begin(self.endpoint, str(error))
                    tries = "1 try" if failed == 1 else f"{failed} tries"
                    raise LLMUnavailable(f"{error}; {tries}", reply=part) from None
                self._sleep(wait)
            except LLMError as error:
                error.reply = spent.note(error, answer_format)
                raise

    def _judged(self, reply: Reply, request: Request, spent: _Spent) -> Reply:
        """The reply with its data, or LLMUnusable that holds it."""
        cleaned = _cleaned(reply, self.endpoint)
        try:
            if cleaned.text != reply.text:
                raise LLMUnusable(["the answer repeats the key or holds half of a surrogate pair"])
            if request.schema is None:
                if cleaned.text.strip() and not without_reasoning(cleaned.text):
                    raise LLMUnusable(["the answer holds nothing but reasoning"])
                return cleaned
            return replace(cleaned, data=parse_answer(cleaned.text, request.schema))
        except LLMUnusable as error:
            spent.attempts.append(Attempt(error=str(error), answer_format=reply.answer_format))
            error.reply = cleaned
            raise


class _Spent:
    """What one call has cost so far, and what failed in it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._usage = Usage()
        self.attempts: list[Attempt] = []

    def total(self, reply: Reply) -> Reply:
        """The reply with what the tries before it cost."""
        self._usage = self._usage + reply.usage
        return replace(reply, usage=self._usage, attempts=tuple(self.attempts))

    def note(self, error: LLMError, answer_format: str, *, waited_s: float = 0.0) -> Reply | None:
        """Notes a failed try; what had arrived, with the usage of all tries, or None while nothing was charged."""
        status = getattr(error, "status", None)
        self.attempts.append(Attempt(error=str(error), status=status, answer_format=answer_format, waited_s=waited_s))
        if error.reply is not None:
            return self.total(error.reply)
        if self._usage == Usage():
            return None
        return Reply(text="", usage=self._usage, provider=self._endpoint.provider, model=self._endpoint.model)


def _cleaned(reply: Reply, endpoint: Endpoint) -> Reply:
    """The reply fit to be kept in files: no key in it, and no half surrogates, which UTF-8 cannot hold."""

    def clean(text: str) -> str:
        return endpoint.redact(text).encode("utf-8", "replace").decode()

    return replace(
        reply,
        text=clean(reply.text),
        model=clean(reply.model),
        stop=clean(reply.stop),
        request_id=clean(reply.request_id),
        citations=tuple(Citation(url=clean(page.url), title=clean(page.title)) for page in reply.citations),
    )
