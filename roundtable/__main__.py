"""`roundtable` and `python -m roundtable`."""

from __future__ import annotations

import os
import sys

from roundtable import ours


def main() -> int:
    """Run one command; the return value is the process's exit code."""
    ours()
    # `python -m` looks into the working folder first: a project's own yaml.py would be taken for a library.
    if not sys.flags.safe_path and sys.path and sys.path[0] == os.getcwd():
        del sys.path[0]
    from agent.__main__ import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
