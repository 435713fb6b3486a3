"""The catalogues of launchers, proposers and providers: the shipped entries, then what installed distributions bring.

`trainers.plugins` finds and imports them; here its problems become errors of this program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from agent.errors import InvalidPlugin

if TYPE_CHECKING:
    from trainers.plugins import Kind

T = TypeVar("T")


def find_entry(kind: Kind, name: str, shipped: Mapping[str, T], wanted: type[T]) -> T | None:
    """The entry with this name, a shipped one first; None where there is none.

    Raises InvalidPlugin for a broken plug-in of that name.
    """
    if name in shipped:
        return shipped[name]
    from trainers.plugins import PluginProblem, find

    try:
        found = find(kind, name, wanted)
    except PluginProblem as error:
        raise InvalidPlugin(str(error)) from error
    return None if found is None else found.entry


def all_names(kind: Kind, shipped: Mapping[str, object]) -> tuple[str, ...]:
    """Every name that may be given: the shipped ones, then those of plug-ins, whether or not they can be used."""
    from trainers.plugins import names_of

    return (*shipped, *(name for name in names_of(kind) if name not in shipped))
