"""Hypothesis strategies: valid references of every shape, and values that a proposer might draw for them."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

from agent.reference.keys import (
    CHANGE,
    CONSTRAINT,
    HEADER,
    IMPACTS,
    OBJECTIVE,
    PARAMETER,
    misspelled,
    name_refusal,
)
from agent.reference.rounding import rounded

KNOWN = [HEADER, OBJECTIVE, CHANGE, CONSTRAINT, PARAMETER]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
some_texts = texts.filter(lambda text: bool(text.strip()))
choice_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
integers = st.integers(-(10**6), 10**6)
finite = st.floats(-1e6, 1e6, allow_nan=False)
scalars = st.one_of(choice_texts, integers, finite, st.booleans())
trees = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, finite, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
note_keys = st.one_of(
    texts.map(lambda text: "x_" + text),
    texts.filter(lambda key: not any(key in known or misspelled(key, known) for known in KNOWN)),
)
notes = st.dictionaries(note_keys, trees, max_size=2)
names = st.one_of(
    st.sampled_from(["learning_rate", "optimizer", "d_model", "n_heads", "match", "_private", "x"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
).filter(lambda name: name_refusal(name) is None)


def _key(value: object) -> tuple[bool, object]:
    return isinstance(value, bool), value


def shuffled(draw: st.DrawFn, entry: dict[str, Any]) -> dict[str, Any]:
    return dict(draw(st.permutations(list(entry.items()))))


@st.composite
def number_domains(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """type, low, high, and log or step."""
    entry: dict[str, Any] = {"type": kind}
    entry["log"] = log = draw(st.booleans())
    if kind == "int":
        low = draw(st.integers(1 if log else -1000, 1000))
        high = low + draw(st.integers(1, 10**5))
    else:
        low = draw(st.floats(1e-8, 10) if log else st.one_of(st.floats(-1e3, 1e3), st.integers(-9, 9)))
        high = low * draw(st.floats(1.5, 1e6)) if log else low + draw(st.one_of(st.floats(1e-3, 1e4), st.just(1)))
    entry |= {"low": low, "high": high}
    if not log:
        entry.pop("log") if draw(st.booleans()) else None
        if draw(st.booleans()):
            size = high - low
            entry["step"] = draw(st.integers(1, size)) if kind == "int" else size / draw(st.integers(1, 1000))
    return entry


def values_of(entry: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Valid values of a parameter as the file has it."""
    match entry["type"]:
        case "bool":
            return st.booleans()
        case "categorical":
            return st.sampled_from(entry["choices"])
    low, high, step = entry["low"], entry["high"], entry.get("step")
    if step is not None:
        steps = math.floor((high - low) / step)
        return st.integers(0, steps).map(lambda k: min(low + k * step, high))
    return st.integers(low, high) if entry["type"] == "int" else st.floats(low, high)


@st.composite
def conditions(draw: st.DrawFn, name: str, entry: dict[str, Any]) -> str:
    """A condition on one parent."""
    match entry["type"]:
        case "bool":
            return draw(st.sampled_from([name, f"not {name}", f"{name} == True"]))
        case "categorical":
            some = draw(st.lists(st.sampled_from(entry["choices"]), min_size=1, max_size=3))
            return draw(
                st.sampled_from([f"{name} == {some[0]!r}", f"{name} != {some[0]!r}", f"{name} in {[*some]!r}"])
            )
    bound = draw(values_of(entry))
    return f"{name} {draw(st.sampled_from(['<', '<=', '>', '>=', '==']))} {literal_of(entry, bound)!r}"


def literal_of(entry: dict[str, Any], value: Any) -> Any:
    """A number as conditions may have it: with more digits than values are compared with it is refused."""
    if entry["type"] != "float":
        return value
    return rounded(value, entry["low"], entry["high"], log=entry.get("log", False), step=entry.get("step"))


@st.composite
def parameters(draw: st.DrawFn, earlier: dict[str, dict[str, Any]]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["float", "int", "categorical", "bool"]))
    if kind in ("float", "int"):
        entry = draw(number_domains(kind))
    elif kind == "categorical":
        entry = {"type": kind, "choices": draw(st.lists(scalars, min_size=1, max_size=4, unique_by=_key))}
        entry["choices"] = _distinct(entry["choices"])
    else:
        entry = {"type": kind}
    entry["default"] = draw(values_of(entry))
    entry["description"] = draw(some_texts)
    optional = {
        "active_value": values_of(entry),
        "group": texts,
        "unit": texts,
        "impact": st.sampled_from(IMPACTS),
        "tune": st.booleans(),
    }
    for key in draw(st.sets(st.sampled_from(sorted(optional)), max_size=3)):
        entry[key] = draw(optional[key])
    parents = [name for name in earlier if len(repr(earlier[name].get("choices"))) < 150]
    if parents and draw(st.booleans()):
        chosen = draw(st.lists(st.sampled_from(parents), min_size=1, max_size=2))
        joint = draw(st.sampled_from([" and ", " or "]))
        entry["condition"] = joint.join(f"({draw(conditions(name, earlier[name]))})" for name in chosen)
    return shuffled(draw, entry | draw(notes))


def _distinct(choices: list[Any]) -> list[Any]:
    """Without numbers that JSON takes for equal (0.0 and -0.0)."""
    found: list[Any] = []
    for choice in choices:
        if not any(_key(choice) == _key(other) for other in found):
            found.append(choice)
    return found


@st.composite
def constraints(draw: st.DrawFn, entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Constraints that hold for the reference's own values; some of them not for others."""
    numbers = [name for name, entry in entries.items() if entry["type"] in ("float", "int")]
    found = []
    for name in draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=2)) if numbers else []:
        value = literal_of(entries[name], entries[name].get("active_value", entries[name]["default"]))
        other = draw(st.sampled_from(numbers))
        expression = draw(
            st.sampled_from([f"{name} <= {value!r}", f"min({name}, {other}) <= {name}", f"abs({name}) >= 0 <= 1"])
        )
        found.append(shuffled(draw, {"expression": expression, "message": draw(some_texts)} | draw(notes)))
    return found


@st.composite
def raw_references(draw: st.DrawFn) -> dict[str, Any]:
    """The JSON value of a valid reference: all types, conditions, constraints, unknown keys, any order."""
    entries: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        entries[name] = draw(parameters(entries))
    objective = {"metric": draw(some_texts), "direction": draw(st.sampled_from(["minimize", "maximize"]))}
    raw: dict[str, Any] = {
        "schema_version": 1,
        "trainer": draw(some_texts),
        "objective": shuffled(draw, objective | draw(notes)),
        "parameters": shuffled(draw, entries),
    }
    change = st.fixed_dictionaries(
        {"parameter": names, "old": st.none() | scalars, "new": scalars, "source": texts, "reason": texts}
    )
    optional = {
        "task": st.none() | some_texts,
        "round": st.integers(0, 99),
        "version": st.integers(1, 9),
        "parent_sha256": st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
        "source": texts,
        "changes": st.lists(change, max_size=2),
    }
    if draw(st.booleans()):
        raw["constraints"] = draw(constraints(entries))
    for key in draw(st.sets(st.sampled_from(sorted(optional)))):
        raw[key] = draw(optional[key])
    # As json.loads gives it: no object in it is shared.
    copied: dict[str, Any] = json.loads(json.dumps(shuffled(draw, raw | draw(notes))))
    return copied


@st.composite
def proposals(draw: st.DrawFn, raw: dict[str, Any]) -> dict[str, Any]:
    """Values inside their domains for some tunable parameters, active or not."""
    tunable = [name for name, entry in raw["parameters"].items() if entry.get("tune", True)]
    chosen = [name for name in tunable if draw(st.integers(0, 2))]
    return {name: draw(values_of(raw["parameters"][name])) for name in chosen}
