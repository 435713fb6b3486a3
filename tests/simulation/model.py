"""A language model that answers every role of a study, well or not, at once or late, and is never asked twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from agent.errors import LLMRefusal, LLMUnavailable, LLMUnusable
from agent.llm.answer import parse_answer
from agent.llm.base import Reply, Request, Usage
from agent.llm.prices import load_prices
from agent.llm.trace import NullTracer
from agent.orchestrator.work import Models
from agent.resources import templates
from tests.llm_server.scripted_study import checked, sample, tuned
from tests.simulation.cluster import Cluster
from tests.simulation.script import Fault

LATE_S = 130.0
USELESS = ("I would raise x.", '{"diagnosis": NaN}', "{}", "")


class SimulatedModel:
    """An `agent.llm.base.LLM` for every role. A call takes seconds of the simulated time."""

    provider = model = "scripted"

    def __init__(self, cluster: Cluster, faults: Iterable[Fault]) -> None:
        kinds = list(faults)
        self._cluster = cluster
        self._faults = {one.at[0]: one for one in kinds if one.where == "model"}
        # What a process that died, or found no room, was told may have to be asked again.
        self._certain = not any(one.where in ("kill", "full", "shell", "person") for one in kinds)
        self._asked: Counter[tuple[str, str]] = Counter()
        self.calls = 0

    def complete(self, request: Request) -> Reply:
        """As the n-th call's fault says, else well."""
        self.calls += 1
        text = "\n".join([request.system, *(message.text for message in request.messages)])
        self._asked[request.role, text] += 1
        if self._certain and self._asked[request.role, text] > 1:
            self._cluster.wrong.append(f"{request.role} is asked the same again")
        fault = self._faults.get(self.calls)
        what = fault.what if fault is not None else ""
        if what:
            self._cluster.befallen[f"model {what}"] += 1
        self._cluster.advance(self._cluster.now + (LATE_S if what == "late" else 3.0))
        if what == "error":
            raise LLMUnavailable("the simulated endpoint is overloaded")
        draw = Random(f"{self._cluster.seed} {self.calls}")
        data = self._data(request, text, draw)
        reply = Reply(
            text="I agree." if data is None else "",
            usage=Usage(input_tokens=1000, output_tokens=200),
            provider=self.provider,
            model=self.model,
            answer_format="text" if request.schema is None else "json_schema",
            stop="end",
        )
        if what == "refusal":
            raise LLMRefusal("the simulated model would rather not", reply=reply)
        if what == "useless" and request.schema is not None:
            return self._useless(request, replace(reply, text=USELESS[self.calls % len(USELESS)]))
        if data is None or request.schema is None:
            return reply
        return replace(reply, data=parse_answer(json.dumps(data), request.schema))

    def _data(self, request: Request, text: str, draw: Random) -> dict[str, Any] | None:
        if request.schema is None:
            return None
        names = request.schema.get("properties", {})
        if "candidates" in names:
            return tuned(request.schema, text, draw)
        return checked(request.schema, ()) if "verdicts" in names else sample(request.schema, draw)

    @staticmethod
    def _useless(request: Request, reply: Reply) -> Reply:
        """Read as any answer is, which refuses it."""
        assert request.schema is not None
        try:
            return replace(reply, data=parse_answer(reply.text, request.schema))
        except LLMUnusable as error:
            raise LLMUnusable(error.problems, reply=reply) from error


def models(model: SimulatedModel) -> Models:
    """The study's models: one that plays every role."""
    return Models(
        of=lambda role: model,
        prices=load_prices(None),
        tracer=NullTracer(),
        prompts=(templates() / "prompts",),
    )
