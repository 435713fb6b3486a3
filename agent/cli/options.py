"""Arguments of the command line, made from agent.options."""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from agent.model_roles import ROLES
from agent.options.kinds import Choice
from agent.options.option import REQUIRED, Option, options_of
from agent.options.study import PROVIDER
from agent.options.tables import options_for

R = TypeVar("R")

#: Commands whose options stand under headings.
GROUPED = ("init", "tune")

ACTIONS = {
    "check": "list every problem of a reference",
    "diff": "what differs between two references",
    "history": "the archived versions of a study's reference",
    "restore": "make an archived version current; the next round trains it",
}


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add a command's options, and those of its actions."""
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for option in options_for(command):
        group = option.group if command in GROUPED else ""
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        _add(groups[group], option, command)
    if command == "reference":
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for action, text in ACTIONS.items():
            add_options(actions.add_parser(action, help=text), f"reference {action}")


def record_of(record: type[R], parsed: argparse.Namespace, **instead: Any) -> R:
    """A record of a command's options; what the command does not have stays at its default. Raises UsageError.

    instead: values in place of what was parsed.
    """
    values = {}
    for name, option in options_of(record).items():
        if hasattr(parsed, name):
            value = getattr(parsed, name)
            values[name] = option.kind.gathered(value) if isinstance(value, list) else value
    return record(**(values | instead))


def _add(to: argparse._ActionsContainer, option: Option, command: str) -> None:
    kind = option.kind
    how: dict[str, Any] = {"default": _default(option), "help": _help(option, command)}
    if option.metavar is not None:
        how["metavar"] = option.metavar
    elif isinstance(kind, Choice):
        how["metavar"] = f"{{{','.join(kind.shipped)}}}"
    if kind.read is not None:
        how["type"] = kind.read
    if kind.bare is not None:
        how |= {"nargs": "?", "const": kind.bare}
    if option.positional:
        if option.default is not REQUIRED:
            how["nargs"] = "?"
        to.add_argument(*option.flags, **how)
        return
    how |= {"dest": option.name, "required": option.default is REQUIRED and not option.kept}
    if kind.action == "roles":
        for role, flag in zip(ROLES, option.flags, strict=True):
            to.add_argument(
                flag, **how | {"action": _RoleModel, "help": how["help"].format(role=role.replace("_", " "))}
            )
        return
    if option.flags:
        to.add_argument(*option.flags, **how | _ACTIONS.get(kind.action, {}))


def _default(option: Option) -> Any:
    """What is parsed where the option is not given; of one that the study keeps, nothing."""
    if option.kept or option.default is REQUIRED:
        return None
    return [] if option.kind.action == "append" and option.default == {} else option.default


def _help(option: Option, command: str) -> str:
    """argparse formats it with %, and shows nothing of an option without help."""
    if not option.help:
        return argparse.SUPPRESS
    otherwise = option.otherwise(command)
    return (option.help + (f" (default: {otherwise})" if otherwise else "")).replace("%", "%%")


class _RoleModel(argparse.Action):
    """--ROLE-model M, of any role."""

    def __call__(
        self, parser: argparse.ArgumentParser, parsed: argparse.Namespace, given: Any, flag: str | None = None
    ) -> None:
        assert flag is not None
        role = flag.removeprefix("--").removesuffix("-model").replace("-", "_")
        setattr(parsed, self.dest, getattr(parsed, self.dest) | {role: given})


class _Provider(argparse.Action):
    """--provider NAME, or `--provider scripted FILE`, whose file is an option of its own in Python."""

    def __call__(
        self, parser: argparse.ArgumentParser, parsed: argparse.Namespace, given: Any, flag: str | None = None
    ) -> None:
        name, *rest = given
        if not PROVIDER.known(name):
            import difflib

            near = difflib.get_close_matches(name, PROVIDER.names(), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise argparse.ArgumentError(self, f"{name!r}: {hint}must be one of {', '.join(PROVIDER.names())}")
        if name == "scripted" and (len(rest) != 1 or not rest[0].strip()):
            raise argparse.ArgumentError(self, "scripted needs a FILE: --provider scripted FILE (doc/agents.md)")
        if name != "scripted" and rest:
            raise argparse.ArgumentError(self, f"{' '.join(given)}: one name, or `scripted FILE`")
        parsed.provider = name
        parsed.script = rest[0] if rest else None


_ACTIONS: dict[str, dict[str, Any]] = {
    "flag": {"action": "store_true"},
    "switch": {"action": argparse.BooleanOptionalAction},
    "append": {"action": "append"},
    "provider": {"action": _Provider, "nargs": "+"},
}
