"""What one option carries, and how classes that declare options become records.

    @declared(scope=STUDY, group="rounds", commands=("tune",))
    class Rounds(Generic[Unset]):
        candidates: int | Unset = option(COUNT, "candidates a round", default=1, metavar="K")

declares `candidates` once. In `class TuneOptions(Rounds[None])` under `call_record` it is None when a call leaves it
out; in `class Settings(Rounds[Never])` under `full_record` it is an int, by default 1. Type checkers see the same:
`int | None` there, `int` here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from agent.options.kinds import Kind

Unset = TypeVar("Unset", None, Never, covariant=True)
"""None where a call may leave an option out; Never where every option has its value."""
C = TypeVar("C")

FROZEN: Final = "for the study"
"""Fixed when it begins, so that rounds can be compared with each other."""
STUDY: Final = "until changed"
"""Kept with the study: a call that leaves it out leaves it as it is."""
CALL: Final = "for the call"

EVERY: Final = ("*",)
"""The commands of an option that all have."""

REQUIRED: Final = object()
"""The default of an option that has to be given."""


class Option:
    """One option of the command line, of a call in Python, of a study's settings, or of several of these."""

    def __init__(
        self,
        *,
        name: str,
        annotation: str,
        kind: Kind,
        help: str,
        default: object,
        flags: tuple[str, ...],
        metavar: str | tuple[str, str] | None,
        unless: str | None,
        variables: tuple[str, ...],
        scope: str,
        group: str,
        commands: tuple[str, ...],
    ) -> None:
        """See `option` and `declared`; annotation: the field's type."""
        self.name = name
        self.annotation = annotation
        self.kind = kind
        self.help = help
        self.default = default
        self.flags = flags
        self.metavar = metavar
        self.unless = unless
        self.variables = variables
        self.scope = scope
        self.group = group
        self.commands = commands

    @property
    def kept(self) -> bool:
        """Whether a call that leaves it out leaves what the study has."""
        return "Unset" in self.annotation

    @property
    def optional(self) -> bool:
        """Whether a call may have None."""
        return self.kept or self.default is None

    @property
    def positional(self) -> bool:
        """Whether it stands on the command line without a name."""
        return bool(self.flags) and not self.flags[0].startswith("-")

    def otherwise(self, command: str = "") -> str:
        """In words, what counts in a command when it is not given; "" where nothing does."""
        if self.kept and command == "start":
            return "the study's"
        if self.unless is not None:
            return self.unless
        if isinstance(self.default, bool):
            return ("yes" if self.default else "no") if self.kind.action == "switch" else ""
        return f"{self.default:g}" if isinstance(self.default, float) else _text(self.default)

    def problems(self, value: object) -> list[str]:
        """What keeps a value from being used in a call: field, value, and what is allowed."""
        return [] if value is None and self.optional else self.kind.problems(self.name, value)


def _text(default: object) -> str:
    return str(default) if isinstance(default, (str, int)) else ""


def option(
    kind: Kind,
    help: str,
    *,
    default: object = REQUIRED,
    flags: tuple[str, ...] | None = None,
    metavar: str | tuple[str, str] | None = None,
    unless: str | None = None,
    variables: tuple[str, ...] = (),
    scope: str | None = None,
    group: str | None = None,
    commands: tuple[str, ...] | None = None,
) -> Any:
    """A field of a class under `declared`.

    kind: what its values may be. help: what it does, for a person. default: what counts where nothing was ever said.
    flags: its names on the command line, by default the field's with dashes; () for none; one without dashes is a
    positional argument. unless: in words, what counts when it is not given, where that is not simply the default.
    variables: of the environment, looked at then. scope, group, commands: where they are not the class's.
    """

    def named(name: str, annotation: str, owner: tuple[str, str, tuple[str, ...]]) -> Option:
        return Option(
            name=name,
            annotation=annotation,
            kind=kind,
            help=help,
            default=default,
            flags=(f"--{name.replace('_', '-')}",) if flags is None else flags,
            metavar=metavar,
            unless=unless,
            variables=variables,
            scope=owner[0] if scope is None else scope,
            group=owner[1] if group is None else group,
            commands=owner[2] if commands is None else commands,
        )

    return named


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def declared(*, scope: str = CALL, group: str = "", commands: tuple[str, ...] = ()) -> Callable[[type[C]], type[C]]:
    """A class whose fields are all options.

    scope: how long they hold. group: their heading in --help. commands: those that show them, such as "tune".
    """

    def collect(cls: type[C]) -> type[C]:
        own = {}
        for name, annotation in vars(cls).get("__annotations__", {}).items():
            own[name] = getattr(cls, name)(name, annotation, (scope, group, commands))
            # Else it would be the default of a record's field.
            delattr(cls, name)
        cls.__options__ = own  # type: ignore[attr-defined]
        return cls

    return collect


def options_of(cls: type) -> dict[str, Option]:
    """The options that a class and the classes it is made of declare, in the order in which they stand there."""
    found: dict[str, Option] = {}
    for base in cls.__bases__:
        found |= options_of(base)
    own: Mapping[str, Option] = vars(cls).get("__options__", {})
    return {**found, **own}


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def call_record(cls: type[C]) -> type[C]:
    """A frozen dataclass of what a call gives: an option that the study keeps is None when it was not given."""
    return _record(cls, lambda option: None if option.kept else option.default, unset="None")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def full_record(cls: type[C]) -> type[C]:
    """A frozen dataclass in which every option has a value."""
    return _record(cls, lambda option: option.default, unset="Never")


def _record(cls: type[C], default_of: Callable[[Option], object], *, unset: str) -> type[C]:
    from dataclasses import dataclass, field

    annotations = {}
    for each in options_of(cls).values():
        annotations[each.name] = each.annotation.replace("Unset", unset)
        default, told = each.kind.normal(default_of(each)), {"option": each}
        if default is REQUIRED:
            setattr(cls, each.name, field(metadata=told))
        elif isinstance(default, dict):
            setattr(cls, each.name, field(default_factory=dict, metadata=told))
        else:
            setattr(cls, each.name, field(default=default, metadata=told))
    cls.__annotations__ = annotations | vars(cls).get("__annotations__", {})
    return dataclass(frozen=True, kw_only=True)(cls)


def given(record: object) -> dict[str, Any]:
    """The options of a call that the study keeps and that were given, by name."""
    kept = (each.name for each in options_of(type(record)).values() if each.kept)
    return {name: value for name in kept if (value := getattr(record, name)) is not None}


def settle(record: object) -> Iterator[str]:
    """Bring a new record's values into their usual form, such as Path and tuple; yields what is wrong with them."""
    for each in options_of(type(record)).values():
        value = each.kind.normal(getattr(record, each.name))
        object.__setattr__(record, each.name, value)
        yield from each.problems(value)
