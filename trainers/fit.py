"""What a reference asks of a trainer, held against what the trainer can do and what the data leaves of it.

The hook `fit` of a trainer's registry entry is a module with

    def fit(space, *, task, data, folds, description) -> Fit

It is asked on the login node before a study begins and when a person's edit is taken over, so it trains nothing and
imports nothing heavy. space: parameter -> `Asked`. data: the options of --data, None where only the trainer itself is
asked. description: the frozen JSON of a trainer that a person brought as YAML, else None. It raises DataProblem where
the data cannot be read. Standard library only.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from trainers.contract import Value

CLOSE = 0.8
"""Likeness (difflib's ratio of folded spellings) from which another spelling is taken for what was meant."""
PREFIX = 4
"""Characters from which the beginning of an allowed text is taken for it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a reference says of one parameter."""

    type: str
    """float, int, categorical or bool."""
    choices: tuple[Value, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
    default: Value
    active_value: Value | None = None
    tuned: bool = True

    @property
    def value(self) -> Value:
        """What trains first."""
        return self.default if self.active_value is None else self.active_value

    @property
    def place(self) -> str:
        """The key that holds `value`."""
        return "default" if self.active_value is None else "active_value"

    def listed(self) -> list[tuple[str, Value]]:
        """(key, value) of everything that the reference would let be trained."""
        found: list[tuple[str, Value]] = [("choices", choice) for choice in self.choices]
        found += [(key, bound) for key, bound in (("low", self.low), ("high", self.high)) if bound is not None]
        found.append(("default", self.default))
        return found if self.active_value is None else [*found, ("active_value", self.active_value)]


Space = Mapping[str, Asked]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What the trainer cannot do at all, or not with this data although it is what trains first."""

    parameter: str
    key: str = ""
    """choices, low, high, default or active_value; empty: the parameter itself."""
    value: Value | None = None
    message: str


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the data takes away from a parameter; with neither choices nor high it is held still."""

    reason: str
    """A clause without names of the person's: people, proposers and language models read it."""
    choices: tuple[Value, ...] = ()
    """What is left."""
    high: int | float | None = None
    value: Value | None = None
    """What it is held at instead of a default that cannot be trained; None: its present value."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a reference and a trainer fit together."""

    refused: Sequence[Refusal] = ()
    limits: Mapping[str, Limit] = field(default_factory=dict)


class Ruling:
    """Gathers what the data rules out, for the parameters that the space has."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.refused: list[Refusal] = []
        self.limits: dict[str, Limit] = {}

    def refuse(self, name: str, key: str, value: Value, message: str) -> None:
        """Refuse one value for a reason of its own."""
        self.refused.append(Refusal(parameter=name, key=key, value=value, message=message))

    def leave_out(self, name: str, values: Collection[Value], reason: str) -> None:
        """Take away choices, none of which trains first."""
        self.only(name, lambda value: value not in values, reason, "give another")

    def only(self, name: str, stands: Callable[[Value], bool], reason: str, remedy: str) -> None:
        """Leave of a parameter the values that stand. The present value is refused where it does not, unless nobody
        chose it (it is the default) and a single choice stands.

        reason: why not the others, as a clause. remedy: what to do about a present value that does not stand.
        """
        asked = self._space.get(name)
        if asked is None:
            return
        left = tuple(choice for choice in asked.choices or (False, True) if stands(choice))
        if not stands(asked.value) and asked.active_value is None and asked.choices and len(left) == 1:
            self.limits[name] = Limit(reason=reason, value=left[0])
        elif not stands(asked.value):
            self.refuse(name, asked.place, asked.value, f"{reason}; {remedy}")
        elif asked.tuned and asked.type in ("categorical", "bool"):
            if len(left) < len(asked.choices or (False, True)):
                self.limits[name] = Limit(reason=reason, choices=left if len(left) > 1 else ())
        elif asked.tuned and not (stands_at(stands, asked.low) and stands_at(stands, asked.high)):
            self.limits[name] = Limit(reason=reason)

    def at_most(self, name: str, high: int, reason: str, remedy: str) -> None:
        """Bound a number from above; choices above it go. Refuses a present value above it, as `only` does."""

        def stands(value: Value) -> bool:
            return isinstance(value, str) or value <= high

        asked = self._space.get(name)
        self.only(name, stands, reason, remedy)
        narrowed = name in self.limits and asked is not None and asked.low is not None and asked.low < high
        if narrowed:
            self.limits[name] = Limit(reason=reason, high=high)

    def fit(self, refused: Sequence[Refusal] = ()) -> Fit:
        """All of it, behind what was refused before."""
        return Fit(refused=(*refused, *self.refused), limits=self.limits)


def stands_at(stands: Callable[[Value], bool], bound: int | float | None) -> bool:
    return bound is None or stands(bound)


def meant(text: object, allowed: Collection[str]) -> str | None:
    """The allowed text that is most likely meant by another spelling of it: capitals, separators, a slip, a part."""
    if not isinstance(text, str):
        return None
    folded, by_fold = _fold(text), {_fold(name): name for name in allowed}
    if folded in by_fold:
        return by_fold[folded]
    longer = [name for fold, name in by_fold.items() if len(folded) >= PREFIX and fold.startswith(folded)]
    if len(longer) == 1:
        return longer[0]
    near = difflib.get_close_matches(folded, by_fold, n=1, cutoff=CLOSE)
    return by_fold[near[0]] if near else None


def not_among(text: object, allowed: Collection[str]) -> str:
    """What a person is told of a text that is none of the allowed ones."""
    hint = meant(text, allowed)
    return f"allowed: {', '.join(allowed)}" + (f"; did you mean {hint}?" if hint else "")


def _fold(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
