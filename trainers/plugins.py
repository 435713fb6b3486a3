"""What installed distributions bring under entry points: trainers, proposers, launchers, providers (doc/plugins.md).

Entry points are looked at only where a name is not one of ours, or where a list is asked for: to read which
distributions are installed costs about as much as the rest of a command's start. Nothing that is broken in one
plug-in is noticed by a command that does not use it. Standard library only.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from trainers.contract import TrainerError

Kind = Literal["trainers", "proposers", "launchers", "providers"]

T = TypeVar("T")

#: A plug-in's name stands in files, messages and command lines.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class PluginProblem(TrainerError):
    """A plug-in that cannot be used: which distribution's, what is wrong, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One entry point of an installed distribution. Nothing of it was imported yet."""

    kind: Kind
    name: str
    target: str
    """Where the object is: "package.module:NAME"."""
    distribution: str
    version: str

    def __str__(self) -> str:
        where = f"entry point {group_of(self.kind)}: {self.name} = {self.target}"
        return f"{self.distribution} {self.version} ({where})"

    def load(self, wanted: type[T]) -> T:
        """The object, imported now. Raises PluginProblem."""
        try:
            found = imported(self.target)
        except (Exception, SystemExit) as error:
            raise self.problem(f"cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(found, wanted):
            raise self.problem(f"is a {type(found).__name__}, not a {wanted.__name__}")
        if getattr(found, "name", self.name) != self.name:
            raise self.problem(f"calls itself {getattr(found, 'name')!r}: both names must be the same")  # noqa: B009
        return found

    def problem(self, message: str) -> PluginProblem:
        """What is raised about this plug-in, with the remedy."""
        name = self.distribution
        remedy = f"update {name} (`uv pip install --upgrade {name}`), or remove it (`uv pip uninstall {name}`)"
        return PluginProblem(f"the plug-in of {self}: {message}; {remedy}")


def group_of(kind: Kind) -> str:
    """The entry points' group, as a distribution's pyproject.toml names it."""
    return f"roundtable.{kind}"


def imported(target: str) -> object:
    """The object at "package.module:NAME". Raises whatever the import raises, AttributeError, ValueError."""
    module, separator, name = target.partition(":")
    if not separator or not module or not name:
        raise ValueError(f"{target!r} is not package.module:NAME")
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def target_of(place: str) -> str:
    """Where `imported` finds what a person named as "package.module:NAME" or as "FILE.py:NAME".

    A file is imported as a module of its own name; what lies beside it can be imported too, after all else.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py"):
        return place
    path = os.path.abspath(file)
    module = f"{os.path.basename(path).removesuffix('.py')}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    if module not in sys.modules:
        _import_file(module, path)
    return f"{module}:{name}"


def _import_file(module: str, path: str) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(module, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    found = module_from_spec(spec)
    if os.path.dirname(path) not in sys.path:
        sys.path.append(os.path.dirname(path))
    sys.modules[module] = found
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[module]
        raise


def entry_at(place: str, wanted: type[T]) -> T:
    """The object that a person named by its place. Raises PluginProblem."""
    try:
        found = imported(target_of(place))
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}"
        raise PluginProblem(
            f"{place}: cannot be imported: {message}; name an importable package.module:NAME, or FILE.py:NAME"
        ) from error
    if not isinstance(found, wanted):
        raise PluginProblem(f"{place}: is a {type(found).__name__}, not a {wanted.__name__}")
    return found


@functools.cache
def plugins(kind: Kind) -> Mapping[str, tuple[Plugin, ...]]:
    """The plug-ins of a kind by name, in the names' order; several where distributions bring the same name.

    Only what is installed counts: what lies in the working folder, where `python -m` looks first, may be anybody's.
    """
    from importlib.metadata import distributions

    here = os.path.realpath(os.getcwd())
    path = [each for each in sys.path if os.path.isabs(each) and os.path.realpath(each) != here]
    seen: set[str] = set()
    found: dict[str, list[Plugin]] = {}
    for installed in distributions(path=path):
        # One that stands in two folders of the path is one, and the first counts.
        same = re.sub(r"[-_.]+", "-", installed.name).lower()
        if same in seen:
            continue
        seen.add(same)
        for entry in installed.entry_points.select(group=group_of(kind)):
            plugin = Plugin(
                kind=kind,
                name=entry.name,
                target=entry.value,
                distribution=installed.name,
                version=installed.version,
            )
            found.setdefault(entry.name, []).append(plugin)
    return {name: tuple(found[name]) for name in sorted(found)}


def names_of(kind: Kind) -> tuple[str, ...]:
    """The names that distributions bring, whether or not they can be used."""
    return tuple(plugins(kind))


@dataclass(frozen=True, kw_only=True)
class Found(Generic[T]):
    """A plug-in that was imported."""

    plugin: Plugin
    entry: T


def find(kind: Kind, name: str, wanted: type[T]) -> Found[T] | None:
    """The plug-in with this name, imported now; None where no distribution brings it.

    Raises PluginProblem for a broken one, and where two distributions bring the name.
    """
    there = plugins(kind).get(name, ())
    if not there:
        return None
    if len(there) > 1:
        both = " and ".join(str(plugin) for plugin in there)
        raise PluginProblem(f"{name} is brought twice, by {both}: remove one of them (`uv pip uninstall ...`)")
    if not NAME.fullmatch(name):
        raise there[0].problem("the name must be 1 to 64 letters, digits, _ and -, and begin with a letter")
    return Found(plugin=there[0], entry=there[0].load(wanted))
