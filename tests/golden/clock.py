"""A clock that moves only when somebody waits, in place of the machine's, for all of the product's modules."""

from __future__ import annotations

import datetime as datetime_module
import functools
import importlib
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any

import pytest

import agent

_REAL = datetime
_OURS = ("agent.", "trainers.")


class Clock:
    """Seconds since the epoch. `sleep` lets them pass, and tells whoever listens."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.passed: list[Callable[[], None]] = []
        """Called after each step of the clock."""

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.0)
        for told in self.passed:
            told()

    def _sleep_of(self, real: Callable[[float], None]) -> Callable[[float], None]:
        def sleep(seconds: float) -> None:
            # The standard library waits for real programs, which take their own time.
            ours = str(sys._getframe(1).f_globals.get("__name__", "")).startswith(_OURS)
            self.sleep(seconds) if ours else real(seconds)

        return sleep

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block `time.time`, `time.monotonic`, `time.sleep` and `datetime.now` are this clock's.

        Modules that took `datetime` by its name, and functions that have `time.time` as a default, are found and
        given it, so that nothing here depends on which of them there are.
        """
        _import_all()
        patch = pytest.MonkeyPatch()
        fake = _datetime_of(self)
        real = time.time
        try:
            _exchange(_REAL, fake)
            patch.setattr(datetime_module, "datetime", fake)
            for function, name in _defaults_that_are(real):
                patch.setitem(function.__kwdefaults__, name, self.time)
            patch.setattr(time, "time", self.time)
            patch.setattr(time, "monotonic", self.time)
            patch.setattr(time, "sleep", self._sleep_of(time.sleep))
            yield
        finally:
            patch.undo()
            _exchange(fake, _REAL)


def _datetime_of(clock: Clock) -> type[datetime]:
    """`datetime` with this clock's `now`; what it makes and what it is asked about are ordinary datetimes."""

    class Meta(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, _REAL)

    class Now(_REAL, metaclass=Meta):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return _REAL.fromtimestamp(clock.now, tz)

    for name in ("fromisoformat", "fromtimestamp", "strptime", "combine"):
        setattr(Now, name, getattr(_REAL, name))
    return Now


@functools.cache
def _import_all() -> None:
    """A module that is imported while another clock is in place would keep it in its functions' defaults."""
    for found in pkgutil.walk_packages(agent.__path__, "agent."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def _modules() -> Iterator[Any]:
    for name, module in list(sys.modules.items()):
        if name.startswith(_OURS) and module is not None:
            yield module


def _exchange(old: object, new: object) -> None:
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)


def _defaults_that_are(value: object) -> Iterator[tuple[Any, str]]:
    """(function, parameter) of the product's functions and methods whose keyword has this default."""
    for module in _modules():
        members = [member for member in vars(module).values() if getattr(member, "__module__", "") == module.__name__]
        found = [m for c in members if isinstance(c, type) for m in vars(c).values()]
        for each in (*members, *found):
            function = getattr(each, "__func__", each)
            for name, default in (getattr(function, "__kwdefaults__", None) or {}).items():
                if default is value:
                    yield function, name
