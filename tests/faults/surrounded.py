"""`python -m tests.faults.surrounded JSON ARGUMENTS...`: roundtable as if called with these variables set.

They are set after python has started: some (PYTHONHOME, PYTHONPATH) could break this python itself, which is no fault
of what it hands on.
"""

from __future__ import annotations

import json
import os
import sys

from agent.__main__ import main

if __name__ == "__main__":
    os.environ.update(json.loads(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
