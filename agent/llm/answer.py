"""From an answer's text to data that is valid against its schema, or to problems that a repair turn can carry.

Nothing is altered, filled in or rounded: an answer is used as it stands or not at all.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NoReturn

from agent.errors import LLMUnusable

MAX_BYTES = 2**20
MAX_DEPTH = 32
_DEEPER = f"nested deeper than {MAX_DEPTH} levels"
MAX_PROBLEMS = 20
MAX_INTEGER = 2**63 - 1
MAX_UNCLOSED = 32
"""Braces of prose that are looked behind: each costs a look at the rest of the text."""
MAX_OBJECTS = 50
"""Objects of an answer that are looked at, from the last one back."""
SHOWN_CHARACTERS = 80

# A string, closed or not, or a bracket. Possessive: an unclosed string of backslashes costs linear time.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]', re.DOTALL)
# What begins like a JSON object, or like one in Python's or JavaScript's spelling; other braces are prose.
_OPENING = r"""\{\s*(?:["'}]|\w+\s*:)"""
# <think>, <thinking>, <reasoning> and their like, in the spellings of different models' templates.
_REASONED = (
    r"[<\[\u25c1]\|?\s?(?P<close>/|end_of_)?(?P<open>(?:\w{1,12}:)?(?:begin_of_)?"
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis))(?:\s[^<>\[\]]{0,100})?\|?[>\]\u25b7]"
)
_REASONING = re.compile(_REASONED, re.IGNORECASE)
_MARK = re.compile(rf"{_REASONED}|{_OPENING}", re.IGNORECASE)


def parse_answer(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value in an answer, valid against the schema (JSON Schema 2020-12).

    The whole text; or, where prose, fences or reasoning stand around it, the one object in it that is valid; in
    reasoning that never ends the last one. The same object twice counts once. Refused: two different valid objects; a
    last object that is cut off, or meant as the answer (it has a name of the schema's) and not valid; an object that
    is not strict JSON (NaN, infinity, a name twice), more than 1 MiB, nesting beyond 32. Raises LLMUnusable, whose
    problems name path, value and what is allowed.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise LLMUnusable(["the answer holds half of a surrogate pair: send plain Unicode text"]) from None
    if size > MAX_BYTES:
        raise LLMUnusable([f"the answer has {size} bytes: at most {MAX_BYTES} are read, answer shorter"])
    try:
        whole = text.strip().removeprefix("\ufeff")
        data = _strict(whole) if _depth(whole) <= MAX_DEPTH else _too_deep()
    except ValueError as error:
        return _chosen(_found(text), schema, str(error))
    if problems := _told(data, schema):
        raise LLMUnusable(problems)
    return data


def without_reasoning(text: str) -> str:
    """A free text without what the model marked as its reasoning: blocks from <think> to </think> and their like, and
    all that stands before a closing mark alone (some servers cut the opening one off). An unclosed block stays."""
    kept, place, closing = "", 0, _last_closing(text)
    while (mark := _REASONING.search(text, place)) is not None:
        if mark["close"]:
            kept = ""
            place = mark.end()
            continue
        if mark.end() > closing:
            break
        kept += text[place : mark.start()]
        place = _closed(text, mark.end())
    return (kept + text[place:]).strip()


def _chosen(found: Sequence[_Object], schema: Mapping[str, Any], whole: str) -> Any:
    """The last valid one. Raises LLMUnusable where none is, where a later one was meant, and where an earlier one,
    no draft in reasoning, is valid too and says something else: it may be somebody else's that was quoted."""
    names = "|".join(map(re.escape, schema.get("properties", {})))
    meant = re.compile(rf"""(?<![\w])["']?(?:{names})["']?\s*:""") if names else None
    problems: list[str] = []
    chosen: list[Any] = []
    for candidate in reversed(found[-MAX_OBJECTS:]):
        if chosen and candidate.draft:
            break
        value, wrong = candidate.read(schema)
        if not wrong:
            # Compared as text: 1, 1.0 and true are equal in Python.
            if chosen and json.dumps(value, sort_keys=True) != json.dumps(chosen[0], sort_keys=True):
                raise LLMUnusable(["the answer holds two different JSON objects: send exactly one, and nothing else"])
            chosen.append(value)
        elif not chosen and (candidate.cut_off or (meant is not None and meant.search(candidate.text))):
            problems = wrong
            break
        else:
            # Braces in prose, or an example: they say nothing against the answer beside them.
            problems = problems or wrong
    if not chosen:
        raise LLMUnusable(problems or [f"the answer holds no JSON object: {whole}"])
    return chosen[0]


def _told(data: Any, schema: Mapping[str, Any]) -> list[str]:
    problems = list(islice(_problems(data, schema), MAX_PROBLEMS + 1))
    more = ["and more of the kind"] if len(problems) > MAX_PROBLEMS else []
    return problems[:MAX_PROBLEMS] + more


@dataclass(frozen=True, kw_only=True)
class _Object:
    """What stands between two outermost braces."""

    text: str
    cut_off: str = ""
    """Why it has no end."""
    draft: bool = False
    """Whether it stands in reasoning that never ends."""

    def read(self, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
        """Its value, and what is wrong with it."""
        if self.cut_off:
            return None, [self.cut_off]
        try:
            value = _strict(self.text)
        except ValueError as error:
            return None, [f"no strict JSON: {error}"]
        return value, _told(value, schema)


def _found(text: str) -> list[_Object]:
    """Every outermost object outside of reasoning, in order. Linear in the text but for the braces of prose."""
    found: list[_Object] = []
    place = unclosed = 0
    reasoning = False
    closing = _last_closing(text)
    while (mark := _MARK.search(text, place)) is not None:
        if mark["close"]:
            # Reasoning whose opening mark was cut off: what was found so far are its drafts.
            found, place = [], mark.end()
        elif mark["open"]:
            # Reasoning that never ends: the answer, if there is one, stands in it.
            reasoning = mark.end() > closing
            place = mark.end() if reasoning else _closed(text, mark.end())
        else:
            one, place = _object(text, mark.start())
            unclosed += bool(one.cut_off)
            if not one.cut_off or place == len(text) or unclosed > MAX_UNCLOSED:
                found.append(replace(one, draft=reasoning))
            if unclosed > MAX_UNCLOSED:
                break
    return found


def _object(text: str, start: int) -> tuple[_Object, int]:
    """The object that begins there, and where to look on."""
    end, depth, deepest = None, 0, 0
    for match in _TOKEN.finditer(text, start):
        bracket = match[0]
        depth += (bracket in ("{", "[")) - (bracket in ("}", "]"))
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
        if depth <= 0 and bracket in ("}", "]"):
            end = match.end()
            break
    if deepest > MAX_DEPTH:
        why = f"the answer is {_DEEPER}: use the structure asked for"
        return _Object(text=text[start:], cut_off=why), len(text)
    inside = text[start:end]
    if end is None:
        why = f"the JSON object that begins at character {start} is never closed"
        return _Object(text=inside, cut_off=why), len(text) if _ends_early(inside) else start + 1
    return _Object(text=inside), end


def _depth(text: str) -> int:
    """How deep brackets are nested, strings aside."""
    depth = deepest = 0
    for match in _TOKEN.finditer(text):
        depth += (match[0] in ("{", "[")) - (match[0] in ("}", "]"))
        deepest = max(deepest, depth)
    return deepest


def _too_deep() -> NoReturn:
    raise ValueError(_DEEPER)


def _ends_early(text: str) -> bool:
    """Whether a text that begins as JSON is JSON as far as it goes; otherwise it is prose with a brace in it."""
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    return False


def _closed(text: str, place: int) -> int:
    """The end of the reasoning that is under way there; a closing mark has to follow."""
    return next(mark.end() for mark in _REASONING.finditer(text, place) if mark["close"])


def _last_closing(text: str) -> int:
    """Where the last mark begins that closes reasoning; 0 without one."""
    return max((mark.start() for mark in _REASONING.finditer(text) if mark["close"]), default=0)


def _strict(text: str) -> Any:
    """JSON as RFC 8259 has it, every name once, every number finite. Raises ValueError, saying where."""
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_float, parse_int=_integer
        )
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        near = _shown_text(text[error.pos : error.pos + 20])
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}, near {near!r}") from None
    except UnicodeEncodeError:
        raise ValueError("a string holds half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
        raise ValueError(f"an object holds {', '.join(_shown(name) for name in twice[:5])} more than once")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON: give a finite number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{_shown_text(digits)} is beyond the range of numbers")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(f"{_shown_text(digits)} is beyond the range of integers")
    return int(digits)


def _problems(data: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(data):
        yield from _explained(error)


def _explained(error: Any) -> Iterator[str]:
    """A validation error as lines: where, what stands there, what is allowed."""
    where = _path(error.absolute_path)
    value, allowed = error.instance, error.validator_value
    match error.validator:
        case "anyOf" | "oneOf":
            yield from _branch(error, where)
        case "enum":
            yield f"{where} = {_shown(value)}: must be one of {_listed(allowed)}"
        case "const":
            yield f"{where} = {_shown(value)}: must be {_shown(allowed)}"
        case "type":
            kinds = " or ".join([allowed] if isinstance(allowed, str) else allowed)
            yield f"{where} = {_shown(value)}: must be of type {kinds}, is {_kind(value)}"
        case "required":
            missing = [name for name in allowed if name not in value]
            # jsonschema reports each missing name by itself; its message begins with the name.
            name = next((name for name in missing if error.message.startswith(repr(name))), missing[0])
            yield f"{where}: {_shown(name)} is missing; must hold {_listed(allowed)}"
        case "additionalProperties":
            valid = list(error.schema.get("properties", {}))
            unknown = [name for name in value if name not in valid]
            yield f"{where}: {_listed(unknown[:5])} is no name here; valid names: {_listed(valid)}"
        case _:
            yield f"{where} = {_shown(value)}: {error.validator} must be {_shown(allowed)}"


def _branch(error: Any, where: str) -> Iterator[str]:
    """The problems of the one alternative that is meant: the one whose fixed names hold the value given."""
    branches: Sequence[Any] = error.validator_value
    instance = error.instance
    for name in _discriminators(branches) if isinstance(instance, Mapping) else []:
        if name not in instance:
            continue
        choices = [_choices(branch, name) for branch in branches]
        chosen = next((place for place, valid in enumerate(choices) if _among(instance[name], valid)), None)
        if chosen is None:
            valid = [value for values in choices for value in values]
            yield f"{_join(where, name)} = {_shown(instance[name])}: must be one of {_listed(valid)}"
        else:
            for part in error.context:
                if part.relative_schema_path[0] == chosen:
                    yield from _explained(part)
        return
    for name in _discriminators(branches) if isinstance(instance, Mapping) else []:
        yield f"{where}: {_shown(name)} is missing; it says which alternative is meant"
        return
    kinds = sorted({str(branch.get("type", "one of the alternatives")) for branch in branches})
    yield f"{where} = {_shown(instance)}: must be {' or '.join(kinds)} as the schema describes it"


def _discriminators(branches: Sequence[Any]) -> list[str]:
    """Names of properties whose value is fixed by name in every branch, and nowhere to the same value twice."""
    names = list(branches[0].get("properties", {})) if branches else []
    return [name for name in names if all(_choices(branch, name) for branch in branches)]


def _choices(branch: Mapping[str, Any], name: str) -> list[Any]:
    rule = branch.get("properties", {}).get(name, {})
    return [rule["const"]] if "const" in rule else list(rule.get("enum", []))


def _among(value: Any, valid: Iterable[Any]) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in valid)


def _path(parts: Iterable[Any]) -> str:
    text = ""
    for part in parts:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, str(part))
    return text or "the answer"


def _join(where: str, name: str) -> str:
    shown = _shown_text(name)
    return f"{where}.{shown}" if where and where != "the answer" else shown


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return "null" if value is None else names[type(value)]


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(_shown(value, 200) for value in values) or "none"


def _shown(value: Any, most: int = SHOWN_CHARACTERS) -> str:
    """A foreign value as JSON, shortened, on one line."""
    if isinstance(value, str):
        value = value[: 4 * most]  # no need to write out a megabyte first
    elif isinstance(value, Mapping | list):
        return f"an object of {len(value)}" if isinstance(value, Mapping) else f"an array of {len(value)}"
    return _shown_text(json.dumps(value, ensure_ascii=False), most)


def _shown_text(text: str, most: int = SHOWN_CHARACTERS) -> str:
    flat = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return flat if len(flat) <= most else flat[: most - 3] + "..."
