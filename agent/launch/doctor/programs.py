"""SLURM's programs: which are there, and of which version."""

from __future__ import annotations

import re

from agent.launch.catalogue import SLURM, capabilities_of
from agent.launch.doctor.finding import Area, Asker, Finding

NEEDED = capabilities_of("sbatch").programs
"""What every SLURM launcher needs; submitit needs srun too."""
HELPFUL = {
    "sinfo": "partitions and nodes cannot be compared with the profile",
    "sacctmgr": "your accounts, QOS and job limits cannot be read",
}
#: States and options are known for these (agent.launch.states).
OLDEST, NEWEST = (20, 11), (24, 5)

_area = Area("slurm")


def check_programs(asker: Asker, launcher: str, *, chosen: bool) -> tuple[list[Finding], bool]:
    """Findings, and whether SLURM can be asked further.

    launcher: its name. chosen: a person or the study said so; else it follows from what is
    there, and a machine without SLURM is one that runs locally.
    """
    present = [program for program in (*NEEDED, "srun") if asker.has(program)]
    if capabilities_of(launcher).system != SLURM:
        return [_without_slurm(launcher, present, chosen)], False
    missing = [program for program in NEEDED if program not in present]
    if missing:
        here = f"there are {', '.join(present)}" if present else "none of SLURM's programs is there"
        finding = _area.problem(
            "programs on PATH",
            f"missing: {', '.join(missing)} ({here}): only --launcher local works",
            "run this on a SLURM login node, load its module (module load slurm), or use --launcher local",
        )
        return [finding], False
    findings = []
    if "srun" not in present:
        said = "srun is missing: --launcher sbatch and local work, submitit does not"
        wrong = launcher == "submitit"
        finding = (_area.problem if wrong else _area.warning)("programs on PATH", said, "use --launcher sbatch")
        findings.append(finding)
    for program, loss in HELPFUL.items():
        if not asker.has(program):
            ask = f"load the module that brings {program}, or take these from the site's documents"
            findings.append(_area.warning(f"{program} on PATH", f"missing: {loss}", ask))
    replies = {program: asker.ask(program, "--version") for program in present}
    # Without any configuration even --version fails; the controller's finding says so, once.
    findings += check_versions({program: reply.words for program, reply in replies.items() if reply.code == 0})
    return findings, True


def _without_slurm(launcher: str, present: list[str], chosen: bool) -> Finding:
    if "sbatch" in present:
        said = f"--launcher {launcher}: SLURM is here and is not asked"
        return _area.ok("launcher", said, "name --launcher submitit or sbatch to check SLURM")
    why = "chosen" if chosen else "no SLURM on this machine"
    return _area.ok("launcher", f"{launcher} runs work (--launcher {launcher}: {why}); rounds need no scheduler")


def version_of(text: str) -> tuple[int, int] | None:
    """(22, 5) of "slurm-wlm 22.05.8"; None for anything else."""
    match = re.search(r"\bslurm\S*\s+(\d{2})\.(\d{1,2})\b", text)
    return (int(match[1]), int(match[2])) if match else None


def shown(version: tuple[int, int]) -> str:
    """22.05, as SLURM writes it."""
    return f"{version[0]}.{version[1]:02d}"


def check_versions(answers: dict[str, str]) -> list[Finding]:
    """What the programs answered to --version, by program."""
    if not answers:
        return []
    looked = f"versions of {', '.join(answers)}"
    versions = {program: version_of(text) for program, text in answers.items()}
    strange = [program for program, version in versions.items() if version is None]
    if strange:
        said = "; ".join(f"{program} says {answers[program]!r}" for program in strange)
        ask = (
            "look at `type " + strange[0] + "`: a wrapper, or another program of that name, may stand before SLURM's"
        )
        return [_area.warning(looked, f"no SLURM version: {said}", ask)]
    known = {version for version in versions.values() if version is not None}
    if len(known) > 1:
        said = ", ".join(f"{program} {shown(v)}" for program, v in versions.items() if v)
        return [_area.warning(looked, f"they differ: {said}", "load one SLURM module only")]
    (version,) = known
    if version < OLDEST:
        said = f"{shown(version)} is older than {shown(OLDEST)}: array notation and states may be misread"
        return [
            _area.warning(looked, said, "ask for a newer SLURM, or use `roundtable tune --slurm` and submit by hand")
        ]
    if version > NEWEST:
        said = f"{shown(version)} (states are known up to {shown(NEWEST)}; an unknown one counts as not finished)"
        return [_area.ok(looked, said)]
    return [_area.ok(looked, shown(version))]
