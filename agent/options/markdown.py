"""Tables of options in Markdown: the marked sections of the documentation, each made from the options themselves.

<!-- options under: rounds -->       those under one heading of `tune --help`
<!-- options beside tune -->         those that `tune` does not have
<!-- options: --rungs --eta -->      these, in short
...
<!-- end of options -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agent.model_roles import ROLES
from agent.options.kinds import Choice
from agent.options.option import EVERY, Option, options_of
from agent.options.study import Call
from agent.options.tables import all_options

_SECTION = re.compile(
    r"(<!-- options(?: under: (?P<under>[^\n]+)| (?P<beside>beside tune)|: (?P<flags>[^\n]+)) -->\n)"
    r".*?(<!-- end of options -->)",
    re.S,
)


def filled(text: str) -> str:
    """A document with every marked section made anew. Raises ValueError for a section that no option is in."""
    return _SECTION.sub(lambda found: f"{found[1]}{_section(found)}{found[5]}", text)


def _section(found: re.Match[str]) -> str:
    if found["under"]:
        return _under(found["under"])
    if found["beside"]:
        return _beside()
    wanted = found["flags"].split()
    rows = [(_name(each), _default(each), _in_short(each)) for each in _shown() if set(each.flags) & set(wanted)]
    if len(rows) != len(wanted):
        raise ValueError(f"{found[1].strip()}: {len(rows)} options")
    return _table(("Option", "Default", "Meaning"), rows)


def _under(heading: str) -> str:
    rows = [
        (_name(each) + _elsewhere(each), _field(each), _default(each), each.scope, _meaning(each))
        for each in _shown()
        if each.group == heading
    ]
    if not rows:
        raise ValueError(f"no option stands under {heading}")
    return _table(("Option", "Field", "Default", "Holds", "Meaning"), rows)


def _beside() -> str:
    of_tune = options_of(Call).values()
    rows = [
        (_name(each), _commands(each), _default(each), _meaning(each))
        for each in _shown()
        if "tune" not in each.commands and each not in of_tune
    ]
    return _table(("Option", "Commands", "Default", "Meaning"), rows)


def _shown() -> list[Option]:
    return [option for option in all_options() if option.help]


def _name(option: Option) -> str:
    """As it is typed."""
    if not option.flags:
        return "(Python only)"
    flag = "--ROLE-model" if option.kind.action == "roles" else option.flags[0]
    value = option.metavar or ("|".join(option.kind.shipped) if isinstance(option.kind, Choice) else "")
    value = f"{value[0]} [{value[1]}]" if isinstance(value, tuple) else value
    value = f"[{value}]" if option.kind.bare is not None else value
    if option.positional:
        return f"`{value or flag}`"
    no = f", `--no-{flag[2:]}`" if option.kind.action == "switch" else ""
    return f"`{flag} {value}".rstrip() + f"`{no}"


def _field(option: Option) -> str:
    return f"`{option.name}`" if option in options_of(Call).values() else ""


def _elsewhere(option: Option) -> str:
    """Where it is shown, if not by `tune`."""
    return "" if "tune" in option.commands else f" ({_commands(option)})"


def _commands(option: Option) -> str:
    return "all" if option.commands == EVERY else ", ".join(f"`{name}`" for name in option.commands)


def _meaning(option: Option) -> str:
    """Its help, with links. Documents with tables stand in doc/."""
    text = option.help.format(role=f"role ({', '.join(ROLES)})") if option.kind.action == "roles" else option.help
    return re.sub(r"doc/([a-z-]+\.md)", r"[\1](\1)", text)


def _in_short(option: Option) -> str:
    """Its help in the guide that it refers to."""
    return re.sub(r" \(doc/[a-z-]+\.md\)", "", option.help)


def _default(option: Option) -> str:
    variables = " or ".join(f"`{name}`" for name in option.variables)
    return "; ".join(part for part in (variables, option.otherwise()) if part)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
