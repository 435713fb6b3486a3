"""Which launchers there are, and what each can do: asked by name, and without importing any of them.

Nobody outside this room compares a launcher's name. Whoever must know how tasks behave asks `Launcher.capabilities`,
or `capabilities_of` for the name in a study's settings, a journal or a submission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import UsageError
from agent.plugins import all_names, find_entry

SLURM = "slurm"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a launcher can do, and how its tasks behave. What is not said is the cautious answer."""

    system: str
    """Whose queue the tasks are in: "slurm", or the launcher's own name. Launchers of one system know each other's
    tasks and may be exchanged within a round."""
    programs: tuple[str, ...] = ()
    """Programs that must be on PATH."""
    array_scripts: bool = False
    """Rounds are rendered with array scripts (.slurm), which it submits or asks the scheduler about."""
    test_only: bool = False
    """`test_only` asks a scheduler: every script of a round is judged before the first is submitted."""
    clusters: bool = False
    """A profile's `cluster` chooses one of several, and so do variables of the shell (select.check_cluster)."""
    resource_requests: bool = False
    """Tasks get the memory, time and nodes that a batch asks for, so that a retry may ask for more."""
    time_limits: bool = False
    """Tasks are ended at the time limit that the profile names."""
    accounting: bool = False
    """It still knows how long a task took when everything on this machine that watched the task is gone."""
    cancel_command: str = ""
    """The scheduler's own command by which a person ends tasks, given their ids ("scancel"); empty: there is none."""
    claim_prefix: str = ""
    """What stands before a task's id where the task names itself in its claim ("slurm:"); empty: it does not know."""
    queue_folders: bool = False
    """A submission's id is the folder of its queue, round folder/launch/name, and moves with the study."""
    this_machine: bool = False
    """Tasks run on the machine that submits them: there are no nodes, and a claim names this host."""
    hands_out_gpus: bool = False
    """It chooses each task's GPUs, of those that the caller may use."""
    survives_caller: bool = False
    """Ctrl-C, or the end of the job that the caller runs in, leaves its tasks alone."""
    results_at_once: bool = False
    """What an ended task wrote is seen at once: no slow shared filesystem has to be waited for."""
    certain_find: bool = False
    """What `find` does not know was not submitted. A scheduler may still have a submission on its way."""
    cheap_polls: bool = False
    """`poll` asks no service that others share, so that a look may follow the last one after a second."""


@dataclass(frozen=True, kw_only=True)
class LauncherEntry:
    """A launcher that `--launcher` can name."""

    name: str
    capabilities: Capabilities
    factory: str
    """What makes the launcher from LaunchSettings (base.py): "package.module:CALLABLE", imported when needed."""


_SLURM_PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")


def _slurm(*programs: str) -> Capabilities:
    """Both SLURM launchers hand over to the one SLURM; they differ in how a job is described."""
    return Capabilities(
        system=SLURM,
        programs=(*_SLURM_PROGRAMS, *programs),
        array_scripts=True,
        test_only=True,
        clusters=True,
        resource_requests=True,
        time_limits=True,
        accounting=True,
        cancel_command="scancel",
        claim_prefix="slurm:",
        survives_caller=True,
    )


#: The shipped ones, in the order in which they are listed to a person.
SHIPPED: Mapping[str, LauncherEntry] = {
    entry.name: entry
    for entry in (
        LauncherEntry(name="submitit", capabilities=_slurm("srun"), factory="agent.launch.submitit:from_settings"),
        LauncherEntry(name="sbatch", capabilities=_slurm(), factory="agent.launch.sbatch:from_settings"),
        LauncherEntry(
            name="local",
            capabilities=Capabilities(
                system="local",
                queue_folders=True,
                this_machine=True,
                hands_out_gpus=True,
                results_at_once=True,
                certain_find=True,
                cheap_polls=True,
            ),
            factory="agent.launch.local:from_settings",
        ),
    )
}


def launcher_entry(name: str) -> LauncherEntry:
    """The launcher with this name. Raises UsageError for an unknown one, naming all; InvalidPlugin."""
    entry = find_entry("launchers", name, SHIPPED, LauncherEntry)
    if entry is None:
        raise UsageError(f"there is no launcher {name!r}: choose one of {', '.join(all_names('launchers', SHIPPED))}")
    return entry


def capabilities_of(name: str) -> Capabilities:
    """What the launcher with this name can do. Raises UsageError for an unknown one, naming all; InvalidPlugin."""
    return launcher_entry(name).capabilities
