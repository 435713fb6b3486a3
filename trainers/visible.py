"""Which GPUs a process may use: CUDA_VISIBLE_DEVICES as CUDA reads it, and what a task was given.

Standard library only: the local launcher reads it on its machine, and each task where it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VARIABLE = "CUDA_VISIBLE_DEVICES"
_INDEX = re.compile(r"\+?(\d+)")
_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]+")
_LISTED = re.compile(r"GPU (\d+):.*?(?:\(UUID: ([^)\s]+)\))?\s*$")
_LISTED_MIG = re.compile(r"\s+MIG .*\(UUID: ([^)\s]+)\)\s*$")
#: nvidia-smi wakes a driver that nobody keeps awake, which takes seconds for each GPU.
LIST_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU, or a MIG instance of one."""

    index: int | None
    """As nvidia-smi numbers GPUs; None for a MIG instance."""
    uuid: str
    """GPU-... or MIG-...; empty where nvidia-smi tells none."""
    parent: str = ""
    """Of a MIG instance: the UUID of its GPU."""


def list_devices() -> tuple[Device, ...]:
    """This machine's GPUs and their MIG instances (nvidia-smi -L); none where there is no nvidia-smi or it fails."""
    # Imported here: a task without a GPU has no use for them, and a thousand short tasks pay for each import.
    import shutil
    import subprocess

    if shutil.which("nvidia-smi") is None:
        return ()
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=LIST_TIMEOUT_S)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ()
    return read_list(done.stdout) if done.returncode == 0 else ()


def processes_on_gpus() -> tuple[tuple[str, int], ...]:
    """(UUID of the GPU, process id) of what computes on this machine's GPUs; none where nvidia-smi does not tell.

    A process on an instance of a divided GPU is told with the instance's GPU, or with the instance (MIG-...).
    """
    import shutil
    import subprocess

    if shutil.which("nvidia-smi") is None:
        return ()
    asked = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=LIST_TIMEOUT_S)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ()
    found = re.findall(r"^\s*((?:GPU|MIG)-\S+?)\s*,\s*(\d+)\s*$", done.stdout, re.MULTILINE)
    return tuple((uuid, int(pid)) for uuid, pid in found) if done.returncode == 0 else ()


def read_list(text: str) -> tuple[Device, ...]:
    """What nvidia-smi -L prints; other lines of it are skipped."""
    found: list[Device] = []
    gpu = ""
    for line in text.splitlines():
        if match := _LISTED.match(line):
            gpu = match[2] or ""
            found.append(Device(index=int(match[1]), uuid=gpu))
        elif match := _LISTED_MIG.match(line):
            found.append(Device(index=None, uuid=match[1], parent=gpu))
    return tuple(found)


def names_in(value: str) -> tuple[str, ...]:
    """The devices that a value of CUDA_VISIBLE_DEVICES names, in order: indices and UUIDs (which may be abbreviated).

    As CUDA does, what follows a name that is none (-1, NoDevFiles, nothing) does not count, and a list that names a
    device twice names none.
    """
    found: list[str] = []
    for part in value.split(","):
        word = part.strip()
        if index := _INDEX.match(word):
            found.append(str(int(index[1])))
        elif _UUID.fullmatch(word):
            found.append(word)
        else:
            break
    return tuple(found) if len(set(found)) == len(found) else ()


def visible(value: str | None, devices: Sequence[Device]) -> tuple[str, ...]:
    """The names of the devices that CUDA_VISIBLE_DEVICES = `value` leaves of a machine's; None: it is not set.

    Each name may be handed on in CUDA_VISIBLE_DEVICES. Where GPUs are divided, these are the UUIDs of their MIG
    instances: an index would always mean a GPU's first one.
    """
    gpus = [device for device in devices if device.index is not None]
    if value is None:
        divided = {device.parent for device in devices if device.index is None}
        if not divided:
            return tuple(str(device.index) for device in gpus)
        return tuple(device.uuid for device in devices if device.uuid and device.uuid not in divided)
    found: dict[Device | str, str] = {}
    for name in names_in(value):
        device = device_of(name, devices)
        if device is None:
            break
        if device in found:
            return ()
        found[device] = name
    return tuple(found.values())


def device_of(name: str, devices: Sequence[Device]) -> Device | str | None:
    """The device that an index, a UUID or its unambiguous beginning means; None for none of this machine's.

    A MIG instance in the older spelling, MIG-GPU-UUID/INSTANCE/INSTANCE, of a GPU that is there, is its own name.
    """
    if name.isdecimal():
        return next((device for device in devices if device.index == int(name)), None)
    fitting = [device for device in devices if device.uuid.lower().startswith(name.lower())]
    if len(fitting) == 1:
        return fitting[0]
    old = re.fullmatch(r"MIG-(GPU-[0-9A-Za-z-]+)/\d+/\d+", name)
    return name if old and any(device.uuid == old[1] for device in devices) else None


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a task was given, for its log and its result."""

    asked: int
    visible: int | None
    """GPUs that CUDA will show; None where nothing tells."""
    granted: int | None
    """GPUs that SLURM says it gave; None outside SLURM."""
    words: str
    """One line for the log; empty where there is nothing to say."""
    fits: bool

    def plain(self) -> dict[str, object]:
        """As result.json has it."""
        return {"asked": self.asked, "visible": self.visible, "granted": self.granted}


def given_to_task(asked: int, environment: Mapping[str, str]) -> Given:
    """Compare the GPUs that a row asks for with those that it can see, and with what SLURM says it gave."""
    granted = _granted(environment)
    value = environment.get(VARIABLE)
    seen: int | None = None
    if value is not None:
        seen = len(names_in(value))
    elif asked and (devices := list_devices()):
        seen = len(visible(None, devices))
    facts = [f"{asked} asked for"]
    if granted is not None:
        facts.append(f"{granted} given by SLURM")
    facts.append("an unknown number visible" if seen is None else f"{seen} visible")
    where = [f"{name}={environment[name]}" for name in (VARIABLE, *_SLURM) if name in environment]
    facts[-1] += f" ({', '.join(where)})" if where else f" ({VARIABLE} is not set)"
    remedy = _remedy(asked, seen, granted)
    words = f"GPUs: {', '.join(facts)}{f': {remedy}' if remedy else ''}" if asked or remedy else ""
    return Given(asked=asked, visible=seen, granted=granted, words=words, fits=not remedy)


_SLURM = ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")


def _granted(environment: Mapping[str, str]) -> int | None:
    if "SLURM_JOB_ID" not in environment:
        return None
    count, *lists = (environment.get(name, "") for name in _SLURM)
    if count.isdecimal():
        return int(count)
    return next((len(text.split(",")) for text in lists if text), 0)


def _remedy(asked: int, seen: int | None, granted: int | None) -> str:
    """What is wrong and what to do; empty where the task has what it asked for."""
    if asked == 0:
        unused = granted and "SLURM gave what this row does not use: set `gpus` in the profile to train on it"
        return unused or ""
    if seen is not None and seen < asked:
        return (
            "fewer than asked for; `scontrol show job` tells what the job got; `gpus` or `gres` in the profile asks"
            if granted is not None
            else "fewer than asked for; `nvidia-smi -L` lists this machine's"
        )
    if granted is not None and seen is not None and seen > max(asked, granted):
        return (
            "more than asked for, because this cluster shows each job all of a node's GPUs; others may be training "
            "on them (ConstrainDevices in cgroup.conf, or File= in gres.conf, confines jobs)"
        )
    return ""
