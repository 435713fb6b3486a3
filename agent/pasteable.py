"""Commands that messages suggest, quoted so that they can be pasted into a shell as they stand. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path


def roundtable(command: str, *words: str | Path | int) -> str:
    """One `roundtable` command line: `roundtable retry --study '/data/my study'`.

    A Path is given in full: where the shell stands that it is pasted into is not known, and a relative one could be
    taken for a study's name.
    """
    return shlex.join(
        ["roundtable", command, *(str(word.absolute() if isinstance(word, Path) else word) for word in words)]
    )


def quoted(path: str | Path) -> str:
    """A path, or another single word, inside a command or a script line."""
    return shlex.quote(str(path))
