"""Every exchange with a language model: recorded, charged, capped, anonymised, and never asked for twice.

`calls/NNN_<role>.json` holds one exchange as it was sent and as it came back, aliases and all; a failed one too. A
step that is done again (after a kill) or replayed finds its exchanges by their prompt's hash and asks nobody. Before
a call an intent goes to the journal: a call that was killed before its reply was saved may have been charged, and
counts with its worst case.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import errors
from agent.anonymise import Aliases, in_json
from agent.errors import (
    InvalidStudy,
    LLMCapReached,
    LLMError,
    LLMUnavailable,
    LLMUnusable,
    ReplayMismatch,
)
from agent.llm.base import LLM, Attempt, Reply, Request, Usage
from agent.orchestrator.deciding.nearest_exchange import mismatch
from agent.orchestrator.work import Models, Work
from agent.ownership import kept_back
from agent.roles.ask import Answer
from agent.store.events import AnswerFormatsLearnt, ModelCalled, ModelReplied
from agent.store.model_calls import model_calls
from trainers.files import FileProblem, read_json_object

if TYPE_CHECKING:
    from agent.llm.ledger import Ledger


ASK_AGAIN = "remove it to ask again"
"""What helps with an exchange that cannot be read; a replay has to say something else."""


@dataclass
class Calls:
    """One step's calls. Implements `agent.roles.ask.Ask`."""

    work: Work
    step: str
    models: Models
    aliases: Aliases
    _recorded: dict[str, deque[dict[str, Any]]] = field(init=False)

    def __post_init__(self) -> None:
        by_prompt: dict[str, list[dict[str, Any]]] = {}
        for record in exchanges(self.work.paths.calls):
            if record["step"] == self.step:
                by_prompt.setdefault(record["prompt_sha256"], []).append(record)
        self._recorded = {prompt: deque(self._standing(records)) for prompt, records in by_prompt.items()}

    def _standing(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What counts of the exchanges of one prompt: all but calls that a cap held back, which may be made after
        all. A replay takes one of those too, where it came last: nobody asked again after it."""
        final = [record for record in records if _final(record)]
        return [*final, records[-1]] if self.models.offline and not _final(records[-1]) else final

    def __call__(self, request: Request) -> Answer:
        if self.models.max_output_tokens is not None:
            request = replace(request, max_tokens=min(request.max_tokens, self.models.max_output_tokens))
        if request.schema is not None:
            request = replace(request, schema=self.aliases.hide_json(request.schema))
        waiting = self._recorded.get(request.sha256)
        record = waiting.popleft() if waiting else None
        if record is not None:
            self._check(request, record)
            self._charge(record)
        elif self.models.offline:
            raise ReplayMismatch(mismatch(request, self.step, exchanges(self.work.paths.calls)))
        else:
            record = self._made(request)
        return self._answer(request, record)

    def _made(self, request: Request) -> dict[str, Any]:
        """Ask the model, and leave the exchange on disk whatever came of it."""
        number, llm = self._next_number(), self.models.of(request.role)
        name = f"{number:03d}_{request.role}"
        record: dict[str, Any] = {
            "schema_version": 1,
            "call": name,
            "round": self.work.number,
            "step": self.step,
            "role": request.role,
            "provider": llm.provider,
            "model": llm.model,
            "at": self.work.store.clock().isoformat(),
            "prompt_sha256": request.sha256,
            "request": request.to_json(),
            "reply": None,
            "error": None,
        }
        started = time.monotonic()
        agent = {"gen_ai.agent.name": request.role}
        with self.models.tracer.span(f"invoke_agent {request.role}", "agent", agent) as span:
            try:
                self._intend(request, llm, name)
                reply = self._complete(llm, request)
                record["reply"] = reply.to_json()
            except LLMError as error:
                span.error(error)
                reply = error.reply
                record["error"] = self._told(error)
        record["seconds"] = round(time.monotonic() - started, 3)
        cost = None if reply is None else self.models.prices.cost(reply.usage, llm.provider, llm.model)
        record["cost_usd"] = cost
        # Cleaned before it is used, not only before it is written: what an error says goes into further files, and a
        # step that is done again has to see the same.
        record = self._clean(record)
        disk = self.work.store.disk
        disk.make_folder(self.work.paths.calls, private=True)
        disk.write_json(self.work.paths.calls / f"{name}.json", record, private=True)
        self._charge(record)
        self._say(record)
        return record

    def _complete(self, llm: LLM, request: Request) -> Reply:
        with self.models.tracer.chat(llm, request) as span:
            try:
                reply = llm.complete(request)
            except LLMError as error:
                span.error(error)
                raise
            finally:
                self._remember_formats()
            span.reply(reply)
        return reply

    def _intend(self, request: Request, llm: LLM, name: str) -> None:
        """Journal what may be charged. Raises LLMCapReached before that where a cap could be broken."""
        from agent.llm.ledger import worst_case

        worst = worst_case(request, llm.provider, llm.model, self.models.prices)
        self.ledger().check(worst, role=request.role, provider=llm.provider, model=llm.model)
        self.work.store.journal.append(
            ModelCalled(
                call=self._place(name),
                role=request.role,
                provider=llm.provider,
                model=llm.model,
                prompt_sha256=request.sha256,
                worst_tokens=worst.tokens,
                worst_cost=worst.cost,
            )
        )

    def ledger(self) -> Ledger:
        """What the study has spent so far."""
        from agent.llm.ledger import Ledger

        calls = model_calls(self.work.store.journal.of(ModelCalled, ModelReplied))
        return Ledger(calls, self.models.prices, max_cost=self.models.max_cost, max_tokens=self.models.max_tokens)

    def _charge(self, record: Mapping[str, Any]) -> None:
        """Journal what a call used, once; a record without that entry is one that a kill came after."""
        journal, place = self.work.store.journal, self._place(record["call"])
        intended = any(call.call == place for call in journal.of(ModelCalled))
        if self.models.offline or not intended:
            return
        reply = record["reply"] or (record["error"] or {}).get("reply") or {}
        journal.append_once(
            ModelReplied(
                call=place,
                usage=reply.get("usage") or asdict(Usage()),
                cost=record["cost_usd"],
                lost=_lost(record),
                error=record["error"] and record["error"]["kind"],
                usage_note=reply.get("usage_note") or "",
            ),
            key=("call",),
        )

    def _check(self, request: Request, record: Mapping[str, Any]) -> None:
        """A recorded answer is held against the schema like a fresh one: its file may have been edited since."""
        from agent.llm.answer import parse_answer

        if request.schema is None or record["error"] is not None:
            return
        try:
            parse_answer(json.dumps(record["reply"]["data"], ensure_ascii=False), request.schema)
        except LLMUnusable as error:
            raise _unreadable(self.work.paths.calls / f"{record['call']}.json", error) from error

    def _answer(self, request: Request, record: Mapping[str, Any]) -> Answer:
        if record["error"] is not None:
            raise _rebuilt(record["error"], self.aliases.reveal)
        from agent.llm.answer import without_reasoning

        reply = Reply.from_json(record["reply"])
        said = reply.text if request.schema is not None else without_reasoning(reply.text)
        return Answer(
            call=record["call"],
            prompt_sha256=record["prompt_sha256"],
            model=reply.model,
            text=in_json(said, self.aliases.reveal_json),
            data=self.aliases.reveal_json(reply.data),
            citations=reply.citations,
        )

    def _told(self, error: LLMError) -> dict[str, Any]:
        return {
            "kind": type(error).__name__,
            "message": str(error),
            "problems": list(error.problems) if isinstance(error, LLMUnusable) else None,
            "reply": error.reply.to_json() if error.reply is not None else None,
            "attempts": [attempt.to_json() for attempt in error.attempts],
        }

    def _clean(self, value: Any) -> Any:
        """The record without any key that an endpoint may have echoed."""
        if isinstance(value, str):
            return self.models.redact(value)
        if isinstance(value, Mapping):
            return {name: self._clean(entry) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(entry) for entry in value]
        return value

    def _say(self, record: Mapping[str, Any]) -> None:
        reply = record["reply"] or (record["error"] or {}).get("reply")
        usage = (reply or {}).get("usage") or {}
        tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
        # A call without tokens cost nothing, whatever a token costs.
        unknown = record["cost_usd"] is None and tokens
        cost = "price unknown" if unknown else f"${record['cost_usd'] or 0.0:.4f}"
        failed = "" if record["error"] is None else f": {record['error']['kind']}: {record['error']['message']}"
        line = f"call {record['call']} {record['provider']}/{record['model']}: {tokens:,} tokens, {cost}{failed}"
        self.work.log(self.models.redact(line))
        # A usage that cannot be is told; an endpoint without any (many local servers) is no news.
        if note := (reply or {}).get("usage_note", ""):
            tell = self.work.say if "the endpoint says" in note else self.work.log
            tell(self.models.redact(f"call {record['call']} {record['provider']}/{record['model']}: {note}"))

    def _next_number(self) -> int:
        folder = f"{self.work.paths.root.name}/calls/"
        made = (one.call for one in self.work.store.journal.of(ModelCalled))
        names = [call.removeprefix(folder) for call in made if call.startswith(folder)]
        names += [path.name for path in self.work.paths.calls.glob("*.json")]
        numbers = [name.partition("_")[0] for name in names]
        return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _place(self, name: str) -> str:
        return f"{self.work.paths.root.name}/calls/{name}"

    def _remember_formats(self) -> None:
        if self.models.answer_formats:
            learnt = AnswerFormatsLearnt(rungs=dict(self.models.answer_formats))
            self.work.store.journal.append_changed(learnt, key=("rungs",))


def exchanges(folder: Path) -> list[dict[str, Any]]:
    """Every recorded exchange of a round, in order. Raises InvalidStudy for a file that is none, and where they are
    another person's and not to be read."""
    found = []
    if folder.is_dir():
        _check_readable(folder)
    for path in sorted(folder.glob("*.json")):
        _check_readable(path)
        try:
            record: Any = read_json_object(path)
            found.append(_exchange(path.stem, {name: record[name] for name in _FIELDS}))
        except (FileProblem, KeyError, TypeError, ValueError) as error:
            raise _unreadable(path, error) from error
    return found


def _check_readable(path: Path) -> None:
    """Exchanges are their owner's alone. Without this, those of a colleague would be missed in silence (a folder that
    may not be listed) or be called broken."""
    if message := kept_back(path):
        raise InvalidStudy.at(path, message)


def _exchange(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record, if it is one of a call of this name. Raises KeyError, TypeError or ValueError."""
    error = record["error"]
    reply = Reply.from_json(record["reply"]) if error is None else _rebuilt(error).reply
    counts = asdict(reply.usage).values() if reply is not None else ()
    if record["call"] != name:
        raise ValueError(f"call is {record['call']!r}: must be {name}")
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"usage is {[*counts]}: must be whole numbers from 0")
    if not (_is_number(record["seconds"]) and (record["cost_usd"] is None or _is_number(record["cost_usd"]))):
        raise ValueError("seconds and cost_usd: must be numbers")
    return record


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unreadable(path: Path, error: Exception) -> InvalidStudy:
    message = f"cannot be used ({type(error).__name__}: {error}); {ASK_AGAIN}"
    return InvalidStudy.at(path, message)


_FIELDS = (
    "call",
    "step",
    "role",
    "provider",
    "model",
    "at",
    "seconds",
    "prompt_sha256",
    "request",
    "reply",
    "error",
    "cost_usd",
)


def _lost(record: Mapping[str, Any]) -> int:
    """Tries that ended without an answer after they were sent (time-out, connection cut): they may be charged too."""
    error = record["error"]
    attempts = list(error["attempts"] if error is not None else record["reply"]["attempts"])
    if error is not None and error["kind"] != LLMUnavailable.__name__:
        attempts = attempts[:-1]
    return sum(attempt.get("status") is None for attempt in attempts)


def _final(record: Mapping[str, Any]) -> bool:
    """Whether a record stands when the step is done again: a call that a cap held back may be made after all."""
    return record["error"] is None or record["error"]["kind"] != LLMCapReached.__name__


def _rebuilt(told: Mapping[str, Any], reveal: Callable[[str], str] = str) -> LLMError:
    """The error that a recorded exchange ended with. reveal: puts names back into what it says, which quotes the
    answer; its reply holds aliases, as it came. Raises ValueError for an error that is none of a language model."""
    kind = getattr(errors, str(told["kind"]), None)
    if not (isinstance(kind, type) and issubclass(kind, LLMError)):
        raise ValueError(f"{told['kind']!r} is no error of a language model")
    reply = Reply.from_json(told["reply"]) if told["reply"] is not None else None
    attempts = [Attempt.from_json(attempt) for attempt in told["attempts"]]
    if issubclass(kind, LLMUnusable):
        problems = [reveal(str(problem)) for problem in told["problems"] or [told["message"]]]
        return kind(problems, reply=reply, attempts=attempts)
    return kind(reveal(str(told["message"])), reply=reply, attempts=attempts)
