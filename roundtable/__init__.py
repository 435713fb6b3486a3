"""The name under which Roundtable is started: `roundtable`, `python -m roundtable`, and tasks of installed copies.

Roundtable's own packages are called `agent` and `trainers`, and so may be a person's. `ours` makes the two names mean
the folders beside this one, whatever stands in the working folder or in PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

PACKAGES = ("agent", "trainers")


def ours() -> None:
    """Have `import agent` and `import trainers` find Roundtable's, in this process, from now on.

    Raises ImportError where another package of that name was imported before, or where one of them is not installed
    beside this one.
    """
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    # First, and only until both are found: what stands beside them must not hide modules of the standard library.
    sys.path.insert(0, root)
    try:
        found = [import_module(name) for name in PACKAGES]
    finally:
        sys.path.remove(root)
    for package in found:
        where = os.path.dirname(os.path.realpath(package.__file__ or ""))
        if os.path.dirname(where) != root:
            raise ImportError(
                f"{where} was imported as {package.__name__}, which must be Roundtable's own, in {root}"
            )
