"""Programs in front of SLURM's own: each notes its call and hands on; sbatch may fail as a busy cluster's does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
#: What asks SLURM how things stand; the others change something, or (scontrol) are asked once a process.
QUERIES = ("squeue", "sacct")

_NOTE = """#!/bin/sh
here={here}
real={real}
printf '%s %s %s\\n' "$(date +%s.%N)" {program} "$*" >>"$here/calls.log"
"""
_HAND_ON = 'exec "$real" "$@"\n'
_SBATCH = """
lost() { echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1; }
refused() { echo "sbatch: error: Batch job submission failed: $1" >&2; exit 1; }
# --test-only submits nothing: no fault befalls it.
case " $* " in *" --test-only "*) exec "$real" "$@" ;; esac
number=$(($(cat "$here/count") + 1))
echo $number >"$here/count"
fault=$(cat "$here/fault.$number" 2>/dev/null)
[ -z "$fault" ] || echo "$fault" >>"$here/befallen.log"
case "$fault" in
    refused) refused "Invalid account or account/partition combination specified" ;;
    limit) echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; refused "Job violates accounting/QOS policy" ;;
    not_sent) refused "Munge encode failed: Failed to access the socket" ;;
    lost_before) lost ;;
    lost_after) "$real" "$@" >/dev/null 2>&1; lost ;;
    killed_before) kill -9 $$ ;;
    killed_after) "$real" "$@" >/dev/null 2>&1; kill -9 $$ ;;
    no_id) "$real" "$@" >/dev/null 2>&1; echo "welcome to the cluster"; exit 0 ;;
    late:*) (sleep "${fault#late:}"; exec "$real" "$@") >/dev/null 2>&1 </dev/null & lost ;;
    orphaned) "$real" "$@" >/dev/null 2>&1; kill -9 $PPID; exit 1 ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of one of SLURM's programs."""

    at: float
    """Seconds since the epoch."""
    program: str
    arguments: str


class Shims:
    """A folder for the front of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for program in PROGRAMS:
            real = shutil.which(program)
            if real is None:
                raise FileNotFoundError(f"{program} is not on PATH: apt-get install slurm-wlm")
            text = _NOTE.format(here=f"'{folder}'", real=f"'{real}'", program=program)
            path = folder / program
            path.write_text(text + (_SBATCH if program == "sbatch" else "") + _HAND_ON)
            path.chmod(0o755)
        self.plan(())

    def plan(self, faults: Sequence[str]) -> None:
        """What becomes of the next sbatch calls, in order; "" for nothing, and nothing befalls those after them."""
        for path in self.folder.glob("fault.*"):
            path.unlink()
        for number, fault in enumerate(faults, 1):
            if fault:
                (self.folder / f"fault.{number}").write_text(fault)
        (self.folder / "count").write_text("0\n")

    def befallen(self) -> list[str]:
        """The faults that sbatch calls have met so far."""
        path = self.folder / "befallen.log"
        return path.read_text().splitlines() if path.exists() else []

    def calls(self) -> list[Call]:
        """All calls so far, oldest first."""
        path = self.folder / "calls.log"
        lines = path.read_text().splitlines() if path.exists() else []
        fields = (line.split(" ", 2) for line in lines)
        return [Call(at=float(at), program=program, arguments=arguments) for at, program, arguments in fields]
