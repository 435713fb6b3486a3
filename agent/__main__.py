"""`roundtable` and `python -m agent`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agent.cli.main import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the process's exit code."""
    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
