"""Who else may read what is private, and write what is run. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from agent.launch.doctor.finding import Area, Finding, few
from agent.ownership import group_name, other_readers, other_writers, user_name

_area = Area("permissions")


def check_permissions(folder: Path, *, study: bool, here: Path) -> list[Finding]:
    """Of `.env` in `here`, and of a study's folder or of the folder that studies are made in."""
    checks = [_dotenv(here / ".env"), _folder(folder, study=study)]
    if study:
        checks += [_private(folder), _rules(folder)]
    findings = []
    for check in checks:
        with contextlib.suppress(OSError):  # not there, or not to be looked at
            findings += list(check)
    return findings


def _dotenv(path: Path) -> Iterator[Finding]:
    owner, others = path.stat().st_uid, other_readers(path)
    if owner != os.geteuid():
        said = f"it belongs to {user_name(owner)}, and so do the keys and addresses in it"
        yield _area.warning(str(path), said, "call from a folder of your own, or export the variables")
    elif others:
        yield _area.warning(str(path), f"holds keys, and {others}", f"chmod 600 {shlex.quote(str(path))}")
    else:
        yield _area.ok(str(path), "only you may read it")


def _folder(folder: Path, *, study: bool) -> Iterator[Finding]:
    found, looked = folder.stat(), str(folder)
    others = other_writers(found)
    if found.st_mode & 0o002 and not found.st_mode & 0o1000:
        ask = f"chmod o-w {shlex.quote(looked)}"
        yield _area.warning(looked, "everybody may write to it, and replace what is in it", ask)
    elif not others:
        yield _area.ok(looked, "only you may write to it")
    elif found.st_mode & 0o020 and _umask() & 0o020:
        group = group_name(found.st_gid)
        said = f"the group {group} shares it, but what you write into it they could not go on with (umask)"
        yield _area.warning(looked, said, "umask 002")
    elif study and not os.access(folder, os.W_OK):
        yield _area.ok(looked, f"{others}; you may read it, and copy it to go on with it")
    else:
        yield _area.ok(looked, f"{others}: whoever may write to it can go on with what is in it")


def _private(root: Path) -> Iterator[Finding]:
    """aliases.json and the recorded exchanges with models: they tell what --anonymize keeps from a model."""
    exposed = []
    for path in (root / "aliases.json", *sorted(root.glob("*/calls"))):
        with contextlib.suppress(OSError):
            exposed += [path] if path.stat().st_uid == os.geteuid() and other_readers(path) else []
    if exposed:
        said = few([str(path.relative_to(root)) for path in exposed], 3)
        change = f"chmod -R go-rwx {' '.join(shlex.quote(str(path)) for path in exposed)}"
        yield _area.warning("exchanges with models", f"{said}: others may read them", change)


def _rules(root: Path) -> Iterator[Finding]:
    path = root / "acceptance.py"
    if others := other_writers(path.stat()) or other_writers(root.stat()):
        said = f"is code, and {others}: it is not run, so `tune` and `tick` refuse this study"
        yield _area.problem(str(path), said, "read it, then give --rules a table of numbers (YAML)")


def _umask() -> int:
    """This process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
