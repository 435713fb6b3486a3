"""What an option's value may be: read from a command line, put into its usual form, judged.

A kind's `wanted` completes "NAME = VALUE: must be ...".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.model_roles import ROLES
from agent.options import readers

if TYPE_CHECKING:
    from trainers.plugins import Kind as Plugins


class Kind:
    """One kind of values."""

    def __init__(
        self,
        fits: Callable[[object], bool],
        wanted: str,
        *,
        read: Callable[[str], object] | None = None,
        action: str = "store",
        bare: object = None,
    ) -> None:
        """
        fits: whether a value in its usual form is one. read: makes it of the text of a command line; raises
        argparse.ArgumentTypeError. action: how it is collected there: "store", "flag" (given or not), "switch" (--x
        and --no-x), "append" (given again and again), "provider", "roles". bare: the value of an option that was
        given without one.
        """
        self.fits = fits
        self.wanted = wanted
        self.read = read
        self.action = action
        self.bare = bare

    def normal(self, value: object) -> object:
        """A value in its usual form; what cannot be brought into it as it is, to be judged."""
        return value

    def plain(self, value: object) -> object:
        """A value as JSON holds it."""
        return value

    def gathered(self, values: list[Any]) -> object:
        """The value of what was given again and again. Raises UsageError."""
        return values

    def problems(self, name: str, value: object) -> list[str]:
        """What is wrong with a value, a line each."""
        return [] if self.fits(value) else [f"{name} = {value!r}: must be {self.wanted}"]


class Choice(Kind):
    """One of some names: the shipped ones, and those that installed plug-ins bring."""

    def __init__(self, shipped: tuple[str, ...], *, plugins: Plugins | None = None, action: str = "store") -> None:
        """plugins: their kind; None where there are none."""
        super().__init__(self.known, "", read=self.chosen if action == "store" else None, action=action)
        self.shipped = shipped
        self._plugins = plugins

    def known(self, value: object) -> bool:
        """Whether it may be chosen. Plug-ins are looked for only where it is not a shipped one."""
        return isinstance(value, str) and (value in self.shipped or value in self.names())

    def names(self) -> tuple[str, ...]:
        """All that may be chosen."""
        if self._plugins is None:
            return self.shipped
        from trainers.plugins import names_of

        return (*self.shipped, *(name for name in names_of(self._plugins) if name not in self.shipped))

    def chosen(self, text: str) -> str:
        """The reader of a command line."""
        if not self.known(text):
            raise argparse.ArgumentTypeError(
                f"invalid choice: {text!r} (choose from {', '.join(map(repr, self.names()))})"
            )
        return text

    def problems(self, name: str, value: object) -> list[str]:
        return [] if self.known(value) else [f"{name} = {value!r}: must be one of {', '.join(self.names())}"]


class _Many(Kind):
    """A tuple; it may be given as a list."""

    def normal(self, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    def plain(self, value: object) -> object:
        return list(value) if isinstance(value, tuple) else value


class _Paths(Kind):
    """A path, or a tuple of them; they may be given as text."""

    def normal(self, value: object) -> object:
        if isinstance(value, (list, tuple)):
            return tuple(map(self.normal, value))
        return readers.path(value) if isinstance(value, str) and value else value

    def plain(self, value: object) -> object:
        return [str(each) for each in value] if isinstance(value, tuple) else value if value is None else str(value)


class _Bounds(_Many):
    """Texts that are given one by one; `none` alone takes all back."""

    def gathered(self, values: list[Any]) -> object:
        return () if values == ["none"] else tuple(values)


class _Data(Kind):
    """A mapping of names to values, given as pairs."""

    def gathered(self, values: list[Any]) -> object:
        made = dict(values)
        if len(made) < len(values):
            from agent.errors import UsageError

            raise UsageError("--data: a key stands twice")
        return made

    def problems(self, name: str, value: object) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{name} = {value!r}: must be {self.wanted}"]
        return [
            f"{name}[{key!r}] = {each!r}: must be a name (text) with a str, bool, int or finite float"
            for key, each in value.items()
            if not (_text(key) and self.fits(each))
        ]


class _Roles(Kind):
    """A mapping of roles to models."""

    def problems(self, name: str, value: object) -> list[str]:
        listed = ", ".join(ROLES)
        if not isinstance(value, Mapping):
            return [f"{name} = {value!r}: must be a mapping of roles to models, of {listed}"]
        return [
            f"{name}[{role!r}] = {model!r}: must be a model's name (text) for one of {listed}"
            for role, model in value.items()
            if role not in ROLES or not self.fits(model)
        ]


def _whole(low: int, high: float = float("inf")) -> Callable[[object], bool]:
    # True is an int to Python, but nobody means it as a count.
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _distinct(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    """Whether a value is a tuple of different, fitting things, at least one."""
    return lambda value: (
        isinstance(value, tuple) and value != () and all(map(fits, value)) and len(set(value)) == len(value)
    )


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _share(value: object) -> bool:
    return isinstance(value, (int, float)) and _positive(value) and value <= 1


def _path(value: object) -> bool:
    from pathlib import Path

    return isinstance(value, Path)


def _bool(value: object) -> bool:
    return isinstance(value, bool)


def _scalar(value: object) -> bool:
    """Whether JSON can hold it as one value."""
    return isinstance(value, (str, int)) or (isinstance(value, float) and abs(value) < float("inf"))


def count(low: int = 1, high: int | None = None) -> Kind:
    """A whole number from `low`, and up to `high`. The command line is told only that it is above 0."""
    upto = f" to {high}" if high is not None else ""
    return Kind(_whole(low, high or float("inf")), f"a whole number from {low}{upto}", read=readers.count)


TEXT = Kind(_text, "text, and not empty")
WORD = Kind(_text, "text, and not empty", read=readers.word)
PATH = _Paths(_path, "a path, as a Path or as text that is not empty", read=readers.path)
PATHS = _Paths(_distinct(_path), "a tuple of different paths of studies", read=readers.path, action="append")
COUNT = count()
FROM_0 = Kind(_whole(0), "a whole number from 0", read=readers.natural)
NUMBERS = _Many(
    _distinct(_whole(0)), "a tuple of different whole numbers from 0, such as (0, 1)", read=readers.numbers
)
NAMES = _Many(_distinct(_text), 'a tuple of different texts, such as ("0", "1")', read=readers.words)
BOUNDS = _Bounds(
    lambda value: value == () or _distinct(_text)(value),
    'a tuple of different texts, such as ("seconds<=600",); empty: none any more',
    action="append",
)
FLAG = Kind(_bool, "True or False", action="flag")
SWITCH = Kind(_bool, "True or False", action="switch")
HOURS = Kind(_positive, "a number of hours above 0", read=readers.amount)
SECONDS = Kind(_positive, "a number of seconds above 0", read=readers.seconds)
WATCH = Kind(_positive, "a number of seconds above 0", read=readers.seconds, bare=10.0)
MINUTES = Kind(_whole(1), "a whole number of minutes from 1", read=readers.minutes)
DOLLARS = Kind(_positive, "a number of dollars above 0", read=readers.amount)
SHARE = Kind(_share, "a share above 0 and at most 1", read=readers.share)
DATA = _Data(
    _scalar, 'a mapping of names to values, such as {"path": "images.npz"}', read=readers.pair, action="append"
)
ROLE_MODELS = _Roles(_text, "a mapping of roles to models", read=readers.word, action="roles")
