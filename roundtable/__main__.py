"""`roundtable` and `python -m roundtable`."""

from __future__ import annotations

import sys

from roundtable import ours


def main() -> int:
    """Run one command; the return value is the process's exit code."""
    ours()
    from agent.__main__ import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
