"""From an answer's text to data that is valid against its schema, or to problems that a repair turn can carry.

Nothing is altered, filled in or rounded: an answer is used as it stands or not at all.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

from agent.errors import LLMUnusable

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_PROBLEMS = 20
MAX_INTEGER = 2**63 - 1
SHOWN_CHARACTERS = 80

# A string, closed or not, or a bracket. Possessive: an unclosed string of backslashes costs linear time.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]', re.DOTALL)
# What begins like a JSON object, or like one in Python's or JavaScript's spelling; other braces are prose.
_OPENING = re.compile(r"""\{\s*(?:["'}]|\w+\s*:)""")


def parse_answer(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value in an answer, valid against the schema (JSON Schema 2020-12).

    The whole text, or the one object in it when text or a fence stands around it; the same object twice counts once.
    Refused: two different objects, an object that is cut off or not strict JSON (NaN, infinity, a name twice), more
    than 1 MiB, nesting beyond 32. Raises LLMUnusable, whose problems name path, value and what is allowed.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise LLMUnusable(["the answer holds half of a surrogate pair: send plain Unicode text"]) from None
    if size > MAX_BYTES:
        raise LLMUnusable([f"the answer has {size} bytes: at most {MAX_BYTES} are read, answer shorter"])
    data = _value(text)
    problems = list(islice(_problems(data, schema), MAX_PROBLEMS + 1))
    if problems:
        more = ["and more of the kind"] if len(problems) > MAX_PROBLEMS else []
        raise LLMUnusable(problems[:MAX_PROBLEMS] + more)
    return data


def _value(text: str) -> Any:
    _check_depth(text)
    stripped = text.strip()
    try:
        return _strict(stripped)
    except ValueError as error:
        whole = str(error)
    found: list[Any] = []
    for start, end in _objects(text):
        if end is None:
            raise LLMUnusable([f"the JSON object that begins at character {start} is never closed"])
        try:
            value = _strict(text[start:end])
        except ValueError as error:
            raise LLMUnusable([f"no strict JSON: {error}"]) from None
        # Compared as text: 1, 1.0 and true are equal in Python.
        if json.dumps(value, sort_keys=True) not in [json.dumps(other, sort_keys=True) for other in found]:
            found.append(value)
        if len(found) > 1:
            raise LLMUnusable(["the answer holds two different JSON objects: send exactly one, and nothing else"])
    if not found:
        raise LLMUnusable([f"the answer holds no JSON object: {whole}"])
    return found[0]


def _check_depth(text: str) -> None:
    depth = 0
    for match in _TOKEN.finditer(text):
        bracket = match[0]
        depth = (
            max(0, depth + (bracket in "{[") - (bracket in "}]")) if len(bracket) == 1 and bracket != '"' else depth
        )
        if depth > MAX_DEPTH:
            raise LLMUnusable([f"the answer is nested deeper than {MAX_DEPTH} levels: use the structure asked for"])


def _objects(text: str) -> Iterator[tuple[int, int | None]]:
    """Begin and end of every outermost object; end is None for one that is never closed. Linear in the text."""
    place = 0
    while (opening := _OPENING.search(text, place)) is not None:
        depth = 0
        for match in _TOKEN.finditer(text, opening.start()):
            depth += (match[0] == "{") - (match[0] == "}")
            if depth == 0 and match[0] == "}":
                place = match.end()
                yield opening.start(), place
                break
        else:
            yield opening.start(), None
            return


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
