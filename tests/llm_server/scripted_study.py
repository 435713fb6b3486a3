"""Functions of the request that answer as the agents of a study would, and a seeded schedule of faults.

`StudyModel` plays every role at once: it sees from the schema of a request what is asked. What it proposes is drawn
from a seeded Random and from what stands in the request alone, so that a study repeats itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from tests.llm_server.asked import Asked
from tests.llm_server.behaviours import (
    Behaviour,
    CutConnection,
    Empty,
    Malformed,
    OpenRouterError,
    Page,
    Refuses,
    Say,
    Status,
    Tokens,
    Truncated,
)

PAGES = (
    Page(url="https://example.org/warmup", title="Warm-up", snippet="Raise the learning rate slowly at first."),
    Page(url="https://example.org/plateaus?a=1&b=2", title="Plateaus; rm -rf /", snippet="Lower it when it stalls."),
)
TALK = (
    "The loss is still falling at the end, so a higher learning rate is worth a trial.",
    "I would rather regularise: the gap between training and validation grows.",
    "Agreed on the first; change one thing at a time so that the effect can be told apart.",
)
FAULTS: tuple[Behaviour, ...] = (
    Status(529, "overloaded"),
    Status(500, "internal error"),
    Status(429, "slow down", retry_after=3600),
    OpenRouterError(502),
    CutConnection(60),
    Malformed(),
    Truncated('{"diagnosis": "the loss'),
    Refuses(),
    Empty(),
    Say(text="I would raise the learning rate."),
    Say(json={"diagnosis": "a shape that nobody asked for"}),
    Say(text='{"diagnosis": NaN}'),
    Say(text="ok", tool_calls=(("bash", {"command": "rm -rf /"}),)),
)
"""One of each kind; none of them waits."""

#: One line of a prompt's parameters: "lr = 0.001 (default 0.001): a number from 1e-05 to 0.1, log scale".
_DOMAIN = re.compile(
    r"^\W*(?P<name>[A-Za-z_][\w.]*) = .*?: an? (?:number|integer) from (?P<low>\S+) to (?P<high>[^\s,;]+)"
    r"(?P<log>, log scale)?(?: in steps of (?P<step>[^\s,;]+))?(?P<rest>.*)$",
    re.MULTILINE,
)
_CONDITIONAL = re.compile(r"^\W*([A-Za-z_][\w.]*) = .*; only while ", re.MULTILINE)
_CONSTRAINTS = re.compile(r"^# Constraints\n((?:- .*\n)*)", re.MULTILINE)
_COUNT = re.compile(r"[Ee]xactly (\d+)\b")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One answer of a `StudyModel`."""

    kind: str
    """tuner, checker, search, talk or other: what the request asked for."""
    behaviour: Behaviour
    fault: bool
    request: Asked


class StudyModel:
    """Answers as a whole study's agents. Use as `LLMServer.model`.

    seed: of what it proposes. fault_rate: share of requests that a fault answers, one of `faults` drawn with a seed
    of its own. blocks: candidates that the checker blocks, with a finding, whenever it sees them.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        fault_rate: float = 0.0,
        faults: Sequence[Behaviour] = FAULTS,
        blocks: Sequence[str] = (),
        usage: Tokens | None = None,
    ) -> None:
        self.log: list[Turn] = []
        self._draw = Random(f"answers {seed}")
        self._chance = Random(f"faults {seed}")
        self._fault_rate, self._faults, self._blocks = fault_rate, tuple(faults), tuple(blocks)
        self._usage = usage or Tokens(input=1000, output=200)

    def __call__(self, asked: Asked) -> Behaviour:
        kind = kind_of(asked)
        # Both are drawn for every request: a fault more or less does not change what is proposed.
        fault = self._chance.choice(self._faults) if self._chance.random() < self._fault_rate else None
        answer = self._answer(asked, kind)
        behaviour = fault or answer
        self.log.append(Turn(kind=kind, behaviour=behaviour, fault=fault is not None, request=asked))
        return behaviour

    def _answer(self, asked: Asked, kind: str) -> Behaviour:
        if kind == "search":
            lines = [f"- {page.snippet} ({page.url})" for page in PAGES]
            return Say(text="\n".join(lines), pages=PAGES, usage=self._usage)
        if kind == "talk":
            return Say(text=self._draw.choice(TALK), usage=self._usage)
        assert asked.schema is not None
        if kind == "tuner":
            return Say(json=tuned(asked.schema, asked.text, self._draw), usage=self._usage)
        if kind == "checker":
            return Say(json=checked(asked.schema, self._blocks), usage=self._usage)
        return Say(json=sample(asked.schema, self._draw), usage=self._usage)


def kind_of(asked: Asked) -> str:
    """What a request asks for: tuner, checker, search, talk or other."""
    if asked.searches:
        return "search"
    if asked.schema is None:
        return "talk"
    names = asked.schema["properties"]
    return "tuner" if "candidates" in names else "checker" if "verdicts" in names else "other"


def tuned(schema: Mapping[str, Any], text: str, draw: Random) -> dict[str, Any]:
    """Candidates in the form {diagnosis, candidates: [{changes, ...}]}, valid as far as the request tells the rules.

    text: the prompt, which shows the ranges; a number without a range stays as it is. Parameters with a condition, or
    that a constraint names, do too, unless there are no others. Each candidate changes one or two parameters.
    """
    candidates = schema["properties"]["candidates"]
    each = candidates["items"]
    forms = _forms(each["properties"]["changes"]["items"])
    ranges = {found["name"]: found for found in _DOMAIN.finditer(text)}
    constrained = set(re.findall(r"[A-Za-z_][\w.]*", " ".join(_CONSTRAINTS.findall(text))))
    fixed = set(_CONDITIONAL.findall(text)) | constrained
    drawers: dict[str, Callable[[], Any]] = {}
    for form in forms:
        value = form["properties"]["value"]
        for name in form["properties"]["parameter"]["enum"]:
            if value.get("type") in ("number", "integer") and "enum" not in value:
                if name in ranges:
                    drawers[name] = _number(ranges[name], value["type"] == "integer", draw)
            elif others := _others(value, _base(name, text)):
                drawers[name] = partial(draw.choice, others)
    free = sorted(drawers.keys() - fixed) or sorted(drawers)
    asked_for = _COUNT.search(candidates.get("description", "")) or _COUNT.search(text)
    made: list[dict[str, Any]] = []
    for _ in range(int(asked_for[1]) if asked_for else 1):
        for _ in range(20):  # a small space has no further one
            names = draw.sample(free, min(len(free), draw.choice((1, 2))))
            changes = [
                {"parameter": name, "value": drawers[name](), "reason": f"a trial of {name}"} for name in names
            ]
            if changes not in [other["changes"] for other in made]:
                break
        made.append(sample(each, draw) | {"changes": changes, "confidence": round(draw.uniform(0.2, 0.9), 2)})
    whole: dict[str, Any] = sample(schema, draw)
    return whole | {"candidates": made}


def checked(schema: Mapping[str, Any], blocks: Sequence[str] = ()) -> dict[str, Any]:
    """Verdicts in the form {verdicts: [{candidate, verdict, finding, parameter}]}: all pass but `blocks`."""
    each = schema["properties"]["verdicts"]["items"]["properties"]
    verdicts = [
        {
            "candidate": name,
            "verdict": "block" if name in blocks else "ok",
            "finding": "it repeats what diverged in the round before" if name in blocks else "",
            "parameter": each["parameter"]["enum"][0] if name in blocks else "none",
        }
        for name in each["candidate"]["enum"]
    ]
    return {"verdicts": verdicts}


def sample(schema: Mapping[str, Any], draw: Random, root: Mapping[str, Any] | None = None) -> Any:
    """A value that is valid against a schema of the kind that is sent to models: closed objects, enums, types."""
    root = schema if root is None else root
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return sample(root["$defs"][name], draw, root)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return sample(draw.choice(schema[several]), draw, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if kind == "object":
        return {name: sample(part, draw, root) for name, part in schema["properties"].items()}
    if kind == "array":
        return [sample(schema["items"], draw, root)]
    if kind == "string":
        return draw.choice(("learning rate warmup", "weight decay", "the curve is flat"))
    low, high = schema.get("minimum", 0), schema.get("maximum", 1)
    drawn = {"integer": lambda: draw.randint(low, high), "number": lambda: draw.uniform(low, high)}
    return drawn.get(kind, lambda: draw.choice((True, False)) if kind == "boolean" else None)()


def _forms(items: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(items.get("anyOf", items.get("oneOf", [items])))


def _number(found: re.Match[str], whole: bool, draw: Random) -> Callable[[], float | int]:
    low, high = float(found["low"]), float(found["high"])
    step = float(found["step"]) if found["step"] else None

    def drawn() -> float | int:
        if step is not None:
            steps = draw.randint(0, math.floor((high - low) / step + 1e-9))
            value = low + steps * step
        elif found["log"]:
            value = min(high, max(low, math.exp(draw.uniform(math.log(low), math.log(high)))))
        else:
            value = draw.uniform(low, high)
        return max(math.ceil(low), min(math.floor(high), round(value))) if whole else value

    return drawn


def _others(value: Mapping[str, Any], base: Any) -> list[Any]:
    """The choices, or the booleans, that the base does not have."""
    choices = [choice for form in _forms(value) for choice in form.get("enum", (True, False))]
    return [choice for choice in choices if (type(choice), choice) != (type(base), base)]


def _base(name: str, text: str) -> Any:
    """A parameter's present value, as the prompt's line of it shows it; None where it shows none."""
    found = re.search(rf"^\W*{re.escape(name)} = (.*?) \(default ", text, re.MULTILINE)
    try:
        return json.loads(found[1]) if found else None
    except ValueError:
        return None
