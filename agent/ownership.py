"""Who else could have written a file: code and keys in it are trusted only where nobody could."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path


def other_writers(found: os.stat_result) -> str:
    """Who but the person that calls could have written this file, or changed what is in this folder, in words ("it
    belongs to alice"); "" where nobody could.

    A group that has no member but its owner counts as nobody: where every user has such a group, the umask is 002.
    """
    if found.st_uid != os.geteuid():
        return f"it belongs to {user_name(found.st_uid)}"
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write to it"
    if found.st_mode & stat.S_IWGRP and not _private_group(found.st_gid, found.st_uid):
        return f"the group {group_name(found.st_gid)} may write to it"
    return ""


def other_readers(path: Path) -> str:
    """Who but the person that calls may read this file or list this folder, in words; "" where nobody may.

    Raises OSError where it cannot be looked at.
    """
    found = path.stat()
    if found.st_uid != os.geteuid():
        return f"it belongs to {user_name(found.st_uid)}"
    if found.st_mode & stat.S_IROTH:
        return "everybody may read it"
    if found.st_mode & stat.S_IRGRP and not _private_group(found.st_gid, found.st_uid):
        return f"the group {group_name(found.st_gid)} may read it"
    return ""


def user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container, or an account that was removed
        return f"user {number}"


def group_name(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _private_group(group: int, user: int) -> bool:
    """Whether a group is a user's own: named like them, their primary one, without another member. (Whether it is
    somebody's primary group too would take reading every account there is.)"""
    import grp
    import pwd

    try:
        account, found = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return account.pw_gid == group and found.gr_name == account.pw_name and {*found.gr_mem} <= {account.pw_name}


def kept_back(path: Path) -> str:
    """Why a file that is there cannot be read (or a folder listed), and what its owner can do; "" where it can."""
    folder = path.is_dir()
    if os.access(path, os.R_OK | (os.X_OK if folder else 0)):
        return ""
    change = f"chmod -R g+rwX {shlex.quote(str(path))}" if folder else f"chmod g+rw {shlex.quote(str(path))}"
    return f"only {user_name(path.stat().st_uid)} may read it, who can open it to the group: `{change}`"
