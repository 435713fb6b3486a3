"""Holding a reference against what its trainer can do and what its data leaves, before anything is trained.

What the trainer cannot do is refused. What the data takes away from a tuned parameter is written into the study's
reference, as a narrower domain or `tune: false` with the reason under `data_note`, so that people, proposers and
agents see the same space and nobody proposes what cannot train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.errors import InvalidReference, Problem, UsageError
from agent.reference import Parameter, Reference, parse_reference
from agent.reference.model import show
from trainers.contract import DataProblem, Value
from trainers.fit import Asked, Fit, Limit
from trainers.registry import RegisteredTrainer, fitter


@dataclass(frozen=True, kw_only=True)
class Setting:
    """For what a reference is meant."""

    trainer: RegisteredTrainer
    task: str = ""
    data: Mapping[str, Value] | None = None
    """The options of --data; None: only the trainer is asked."""
    folds: int = 1
    epochs: int | None = None
    """The study's own, which go before a hyperparameter of that meaning."""
    description: str | None = None
    """The frozen description of a trainer that was brought as YAML."""


def fitted(reference: Reference, setting: Setting, *, file: str) -> Reference:
    """The reference with what the data takes away taken out of it, for a study to begin with.

    file: what messages call the reference. Raises InvalidReference with everything that the trainer cannot do,
    UsageError where the data cannot be read.
    """
    reference = _without_notes(reference, file)
    limits = _asked(reference, setting, file).limits
    raw = reference.raw
    for name, limit in limits.items():
        narrower = {**raw["parameters"][name], **_narrower(reference.parameters[name], limit)}
        try:
            parse_reference({**raw, "parameters": {**raw["parameters"], name: narrower}}, file=file)
        except InvalidReference:  # a condition or constraint of the person's names what would go
            narrower = {**raw["parameters"][name], "tune": False, "data_note": limit.reason}
        raw["parameters"][name] = narrower
    return parse_reference(raw, file=file) if limits else reference


def check_fit(reference: Reference, setting: Setting, *, file: str) -> None:
    """Refuse a reference that a person edited where it asks for more than trainer and data can do.

    The file is the person's, so nothing is taken out of it. Raises as `fitted` does.
    """
    limits = _asked(reference, setting, file).limits
    problems = [_problem(file, name, "", None, _unlimited(limit)) for name, limit in limits.items()]
    if problems:
        raise InvalidReference(problems, _remedy(setting))


def noted(reference: Reference) -> list[str]:
    """What the data took away from a reference's space, a line for each parameter."""
    lines = []
    for name, parameter in reference.parameters.items():
        if parameter.data_note:
            how = f"only {parameter.allowed}" if parameter.tune else f"held still at {show(parameter.value)}"
            lines.append(f"with this data {name}: {how}, because {parameter.data_note}")
    return lines


def as_begun(reference: Reference, begun: Reference) -> Reference:
    """A given reference with what the data took away when the study began with it, for comparing the two."""
    raw = _without_notes(reference, "--hp-ref").raw
    for name, taken in begun.raw["parameters"].items():
        entry = raw["parameters"].get(name)
        if "data_note" not in taken or not isinstance(entry, dict):
            continue
        keys = _TAKEN if "active_value" in entry else (*_TAKEN, "active_value")
        entry |= {key: taken[key] for key in keys if key in taken}
    return parse_reference(raw, file="--hp-ref")


_TAKEN = ("tune", "choices", "high", "default", "data_note")
"""Keys of a parameter by which the data takes something away, whatever its value is."""


def _without_notes(reference: Reference, file: str) -> Reference:
    """A reference that comes from another study, without what that study's data took away as far as is known."""
    raw = reference.raw
    marked = [entry for entry in raw["parameters"].values() if "data_note" in entry]
    for entry in marked:
        del entry["data_note"]
        if entry.get("tune") is False:  # only what was tuned is ever held still
            del entry["tune"]
    return parse_reference(raw, file=file) if marked else reference


def _asked(reference: Reference, setting: Setting, file: str) -> Fit:
    """What the trainer says. Raises as `fitted` does."""
    ask = fitter(setting.trainer)
    found = Fit()
    if ask is not None:
        space = {name: _plain(parameter) for name, parameter in reference.parameters.items()}
        about = {"task": setting.task, "data": setting.data, "folds": setting.folds}
        try:
            found = ask(space, **about, description=setting.description)
        except DataProblem as error:
            raise UsageError(str(error)) from error
    problems = [_problem(file, r.parameter, r.key, r.value, r.message) for r in found.refused]
    problems += _objective_problems(reference, setting.trainer, file)
    if problems:
        raise InvalidReference(problems, _remedy(setting))
    own = setting.trainer.epochs_parameter
    if setting.epochs is not None and own in reference.tunable():
        reason = f"the study trains for {setting.epochs} epochs whatever it says (--epochs)"
        return replace(found, limits={**found.limits, own: Limit(reason=reason)})
    return found


def _remedy(setting: Setting) -> str:
    if setting.description is not None:
        return "Edit these places."
    return f"Edit these places; `roundtable trainers {setting.trainer.name}` lists what it can do."


def _plain(parameter: Parameter) -> Asked:
    return Asked(
        type=parameter.type,
        choices=parameter.choices,
        low=parameter.low,
        high=parameter.high,
        default=parameter.default,
        active_value=parameter.active_value,
        tuned=parameter.tune,
    )


def _objective_problems(reference: Reference, trainer: RegisteredTrainer, file: str) -> list[Problem]:
    metrics, asked = trainer.metrics, reference.objective
    if not metrics or metrics.get(asked.metric) == asked.direction:
        return []
    if asked.metric in metrics:
        message = f"{trainer.name} is to {metrics[asked.metric]} {asked.metric}"
        return [Problem(file=file, where="objective.direction", value=show(asked.direction), message=message)]
    message = f"{trainer.name} measures {', '.join(metrics)}"
    return [Problem(file=file, where="objective.metric", value=show(asked.metric), message=message)]


def _problem(file: str, name: str, key: str, value: Value | None, message: str) -> Problem:
    where = f"parameters.{name}.{key}" if key else f"parameters.{name}"
    return Problem(file=file, where=where, value="" if value is None else show(value), message=message)


def _narrower(parameter: Parameter, limit: Limit) -> dict[str, Any]:
    changes: dict[str, Any] = {"data_note": limit.reason}
    if limit.value is not None:
        changes["active_value"] = limit.value
    if limit.choices:
        changes["choices"] = list(limit.choices)
    elif limit.high is not None:
        changes["high"] = limit.high
    else:
        return changes | {"tune": False}
    domain_left = parameter.default in limit.choices if limit.choices else parameter.default <= limit.high  # type: ignore[operator]
    return changes if domain_left else changes | {"default": parameter.value}


def _unlimited(limit: Limit) -> str:
    if limit.value is not None:
        return f'{limit.reason}; set "active_value" to {show(limit.value)}'
    if limit.choices:
        return f'{limit.reason}; leave only the choices {", ".join(map(show, limit.choices))}, or set "tune" to false'
    if limit.high is not None:
        return f'{limit.reason}; set "high" to {show(limit.high)} or less, or "tune" to false'
    return f'{limit.reason}; set "tune" to false'
