"""The GPUs that trials may have: this machine's for the local launcher, and what a profile asks of a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence

from agent.errors import InvalidProfile, Problem, UsageError
from agent.launch.profile import Kind, Profile, Resources
from agent.ownership import user_name
from trainers.registry import RegisteredTrainer
from trainers.visible import VARIABLE, Device, device_of, list_devices, processes_on_gpus, visible


def local_gpus() -> tuple[str, ...]:
    """This machine's GPUs that CUDA_VISIBLE_DEVICES leaves, as that variable names them; none without nvidia-smi."""
    return visible(os.environ.get(VARIABLE), list_devices())


def check_named(asked: Sequence[str]) -> None:
    """Raises UsageError for --gpus that are not there, or that CUDA_VISIBLE_DEVICES keeps for others."""
    devices = list_devices()
    left = visible(os.environ.get(VARIABLE), devices)
    allowed = {device_of(name, devices) for name in left}
    # Where nothing lists the machine's GPUs, a UUID may be right.
    unknown = [name for name in asked if device_of(name, devices) not in allowed and (devices or name.isdecimal())]
    if not unknown:
        return
    said = f"--gpus {','.join(unknown)}: "
    if os.environ.get(VARIABLE) is not None and devices:
        raise UsageError(
            f"{said}{VARIABLE}={os.environ[VARIABLE]} leaves {', '.join(left) or 'none'} of this machine's GPUs; "
            f"name these, or unset {VARIABLE}"
        )
    raise UsageError(f"{said}this machine has {', '.join(left) or 'no GPU'} (nvidia-smi -L)")


def none_left() -> str:
    """Why no GPU is handed out where the machine has some, or an empty string."""
    value = os.environ.get(VARIABLE)
    if value is None or local_gpus():
        return ""
    count = len(visible(None, list_devices()))
    return f"{VARIABLE}={value!r} leaves none of this machine's {count} GPUs: trials train on CPUs" if count else ""


def taken(named: Sequence[str]) -> str:
    """What to tell a person about those of these GPUs on which other people compute already; else an empty string.

    Nobody but a scheduler keeps two people from one GPU. A process that cannot be looked up (in another container) is
    taken for somebody else's; one's own studies and notebooks are one's own affair.
    """
    devices = list_devices() if named else ()
    others: dict[str, list[str]] = {}
    for uuid, pid in processes_on_gpus() if devices else ():
        owner = _owner(pid)
        if owner != os.getuid():
            who = f"process {pid}" + (f" of {user_name(owner)}" if owner is not None else "")
            others.setdefault(uuid, []).append(who)
    found = []
    for name in named:
        device = device_of(name, devices)
        if isinstance(device, Device) and (there := others.get(device.uuid) or others.get(device.parent)):
            found.append(f"{name} ({', '.join(there)})")
    if not found:
        return ""
    which = "GPU" if len(found) == 1 else "GPUs"
    return (
        f"{which} {', '.join(found)}: others compute there already, and trials are given it all the same; --gpus or "
        f"{VARIABLE} names others (nvidia-smi shows what is free)"
    )


def _owner(pid: int) -> int | None:
    """The user id of a process of this machine; None where it cannot be seen."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def silent_on_gpus(profile: Resources) -> bool:
    """Whether a profile leaves open if there is a GPU: `gpus: 0` says that there is none."""
    return profile.gpus is None and profile.gres is None


def unasked(profile: Profile, trainer: RegisteredTrainer) -> str:
    """What to tell a person whose trainer uses a GPU and whose profile says nothing of any; else an empty string."""
    if not trainer.uses_gpu or not silent_on_gpus(profile):
        return ""
    return (
        f"profile {profile.name}: asks for no GPU, so {trainer.name} trains on CPUs here; set `gpus: 1` in the "
        "profile (--profile FILE), or `gpus: 0` where CPUs are meant"
    )


def refuse_idle(profile: Profile, trainer: RegisteredTrainer) -> None:
    """Raises InvalidProfile where a task asks for more GPUs than its trainer uses: the others would stand idle."""
    most = trainer.most_gpus
    if most is None:
        return
    kinds: tuple[Kind, ...] = ("train", "eval")
    problems = []
    for kind in kinds:
        wanted = profile.resources(kind)
        if wanted.gpu_count <= most or (kind == "eval" and wanted.gpu_count == profile.gpu_count):
            continue
        name, value = ("gres", wanted.gres) if wanted.gres else ("gpus", str(wanted.gpus))
        where = name if kind == "train" else f"eval.{name}"
        lower = f"a `gres` of {most} GPU" if name == "gres" else f"`gpus: {most}`"
        idle = f"{trainer.name} trains on {most} GPU, and the others would stand idle"
        message = f"{idle}: set {lower}; trials train side by side"
        problems.append(Problem(file=f"profile {profile.name}", where=where, value=str(value), message=message))
    if problems:
        raise InvalidProfile(problems)
