"""`python -m roundtable.job`: `trainers.job`, also where a profile's PYTHONPATH holds another package `trainers`."""

from __future__ import annotations

import sys

from roundtable import ours


def main() -> int:
    """Run one task; the return value is the process's exit code."""
    ours()
    from trainers.job import main as task

    return task()


if __name__ == "__main__":
    sys.exit(main())
