"""New versions of a reference: new values, a study's first version, an edited or restored one.

Nothing is written here; each function gives a new record, whose text the store writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.errors import InvalidReference, Problem
from agent.reference.expression import Value, equal
from agent.reference.identity import config_key, key_of
from agent.reference.jsontext import is_text
from agent.reference.keys import HEADER, listed
from agent.reference.model import Parameter, Reference, show
from agent.reference.parse import parse_reference
from agent.reference.proposal import check_values
from agent.reference.template import put

Reasons = Mapping[str, str] | str
"""One reason for each parameter that has one, or one for all."""


@dataclass(frozen=True, kw_only=True)
class Successor:
    """A new version of a reference, as far as those who write it need it."""

    text: str
    """The canonical text."""
    effective: Mapping[str, Value]
    key: str
    """Its `config_key`."""

    @classmethod
    def of(cls, reference: Reference) -> Successor:
        """A reference as it stands."""
        return cls(text=reference.to_text(), effective=reference.effective(), key=config_key(reference))


def successor(
    reference: Reference,
    values: Mapping[str, Value],
    *,
    round: int,
    version: int,
    source: str,
    reasons: Reasons = "",
) -> Successor:
    """What `with_values` gives, without reading the new text again: a round has thousands of these.

    Raises as it does.
    """
    given = [source, *([reasons] if isinstance(reasons, str) else [*reasons, *reasons.values()])]
    problems = check_values(reference, dict(values))
    if problems or not all(map(is_text, given)) or (isinstance(reasons, Mapping) and reasons.keys() - values.keys()):
        # What is wrong, or odd enough to be read again.
        made = with_values(reference, values, round=round, version=version, source=source, reasons=reasons)
        return Successor.of(made)
    effective, settings = reference.effective(values), {}
    active: dict[str, Value | None] = dict.fromkeys(reference.parameters.keys() - effective.keys())
    for name, value in effective.items():
        parameter = reference.parameters[name]
        settings[name] = parameter.canonical(value)
        effective[name] = parameter.value
        if not equal(settings[name], reference.settings[name]):
            active[name] = effective[name] = settings[name]
    header: dict[str, object] = {
        "round": round,
        "version": version,
        "parent_sha256": reference.sha256,
        "source": source,
        "changes": _changes(reference, reference.parameters, effective, source, reasons),
    }
    ordered = {key: header[key] for key in HEADER if key in header}
    return Successor(text=reference.template.text(ordered, active), effective=effective, key=key_of(settings))


def with_values(
    reference: Reference,
    values: Mapping[str, Value],
    *,
    round: int,
    version: int,
    source: str,
    reasons: Reasons = "",
    parent_sha256: str | None = None,
) -> Reference:
    """The reference that trains with `values` over its own.

    An active_value is written where the value is not what stood there, removed where the parameter is now inactive,
    and left alone elsewhere, as are unknown keys and the order. parent_sha256: None means this reference's own.
    Raises InvalidReference for whatever `check_values` refuses, and for reasons of unknown parameters.
    """
    problems = check_values(reference, dict(values))
    if problems:
        raise InvalidReference(problems)
    effective = reference.effective(values)
    raw = reference.raw
    for name, entry in raw["parameters"].items():
        parameter = reference.parameters[name]
        if name not in effective:
            entry.pop("active_value", None)
            continue
        wanted = parameter.canonical(effective[name])
        if not equal(wanted, parameter.canonical(parameter.value)):
            raw["parameters"][name] = put(entry, {"active_value": wanted}, behind="default")
    return _successor(
        raw,
        parent=reference,
        parent_sha256=parent_sha256 or reference.sha256,
        round=round,
        version=version,
        source=source,
        reasons=reasons,
    )


def as_successor(
    reference: Reference, *, parent: Reference, round: int, version: int, source: str, reasons: Reasons = ""
) -> Reference:
    """`reference` as it stands, made the version after `parent`: a person's edit, or an earlier version restored.

    Its changes are the effective values that differ from the parent's. Raises InvalidReference as `with_values` does.
    """
    return _successor(
        reference.raw,
        parent=parent,
        parent_sha256=parent.sha256,
        round=round,
        version=version,
        source=source,
        reasons=reasons,
    )


def for_study(reference: Reference, *, task: str, source: str) -> Reference:
    """The first version of a study's own reference, made from a shipped or given one."""
    header: dict[str, object] = {
        "task": task,
        "round": 1,
        "version": 1,
        "parent_sha256": reference.sha256,
        "source": source,
        "changes": [],
    }
    return parse_reference(_with_header(reference.raw, header), file="reference")


def _successor(
    raw: dict[str, Any],
    *,
    parent: Reference,
    parent_sha256: str,
    round: int,
    version: int,
    source: str,
    reasons: Reasons,
) -> Reference:
    header: dict[str, object] = {
        "round": round,
        "version": version,
        "parent_sha256": parent_sha256,
        "source": source,
        "changes": [],
    }
    bare = parse_reference(_with_header(raw, header), file="reference")
    _check_reasons(bare, parent, reasons)
    header["changes"] = _changes(parent, bare.parameters, bare.effective(), source, reasons)
    return parse_reference(_with_header(raw, header), file="reference")


def _changes(
    old: Reference, parameters: Mapping[str, Parameter], after: Mapping[str, Value], source: str, reasons: Reasons
) -> list[dict[str, Any]]:
    """One entry for each parameter whose effective value differs; null stands for inactive or absent.

    parameters, after: of the new reference, and its effective values.
    """
    before = old.effective()
    found = []
    for name in [*parameters, *(name for name in old.parameters if name not in parameters)]:
        one, other = before.get(name), after.get(name)
        if one is None and other is None:
            continue
        if one is not None and other is not None and equal(one, other):
            continue
        given = reasons if isinstance(reasons, str) else reasons.get(name, "")
        reason = given or _consequence(parameters.get(name), active=other is not None, was_active=one is not None)
        found.append({"parameter": name, "old": one, "new": other, "source": source, "reason": reason})
    return found


def _consequence(parameter: Parameter | None, *, active: bool, was_active: bool) -> str:
    """The reason that a condition gives, where nobody gave one."""
    if parameter is None or parameter.condition is None or active == was_active:
        return ""
    return f"active now: {parameter.condition.text}" if active else f"inactive now: not ({parameter.condition.text})"


def _check_reasons(new: Reference, old: Reference, reasons: Reasons) -> None:
    if isinstance(reasons, str):
        return
    known = {**new.parameters, **old.parameters}
    message = f"a reason for an unknown parameter; parameters: {listed(known)}"
    problems = [
        Problem(file="reasons", where=name, value=show(reason), message=message)
        for name, reason in reasons.items()
        if name not in known
    ]
    if problems:
        raise InvalidReference(problems)


def _with_header(raw: dict[str, Any], header: Mapping[str, object]) -> dict[str, Any]:
    """`raw` with these header keys: in their place where they stand, else before the parameters."""
    ordered = {key: header[key] for key in HEADER if key in header}
    return put(raw, ordered, before="parameters")
