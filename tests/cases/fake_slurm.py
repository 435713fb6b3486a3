"""Stand-ins for SLURM's programs, for answers that a healthy cluster does not give."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PROGRAM = """#!{python} -IS
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
name = os.path.basename(__file__)
with open(os.path.join(here, name + ".calls"), "a") as calls:
    calls.write(json.dumps({{"argv": sys.argv[1:], "environment": dict(os.environ)}}) + "\\n")
with open(os.path.join(here, name + ".answer")) as file:
    answer = json.load(file)
time.sleep(answer["sleep"])
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


class FakeSlurm:
    """A folder of programs whose answers a test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun"):
            program = folder / name
            program.write_text(PROGRAM.format(python=sys.executable))
            program.chmod(0o755)
            self.answer(name)
        self.answer("scontrol", "MaxArraySize            = 1001\n")

    def answer(self, name: str, out: str = "", *, err: str = "", code: int = 0, sleep: float = 0) -> None:
        content = json.dumps({"out": out, "err": err, "code": code, "sleep": sleep})
        (self.folder / f"{name}.answer").write_text(content)

    def calls(self, name: str) -> list[list[str]]:
        return [call["argv"] for call in self._calls(name)]

    def environments(self, name: str) -> list[dict[str, str]]:
        return [call["environment"] for call in self._calls(name)]

    def _calls(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": f"{self.folder}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": "/root", **more}
