"""python -m agent.options FILE...: make the tables of options in these documents anew."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.options.markdown import filled
from trainers.files import write_atomic

if __name__ == "__main__":
    for name in sys.argv[1:]:
        write_atomic(Path(name), filled(Path(name).read_text(encoding="utf-8")))
