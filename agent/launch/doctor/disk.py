"""The study's folder: which filesystem it is on, how much room there is, and what was tried in it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launch.doctor import trial
from agent.launch.doctor.finding import Area, Asker, Finding
from agent.launch.options import log_pattern
from agent.launch.profile_checks import unsafe_characters

#: Filesystems that other machines see. What is not here counts as this machine's own.
NETWORK = frozenset(
    (
        *("9p", "afs", "autofs", "beegfs", "ceph", "cifs", "dfuse", "fhgfs", "glusterfs", "gpfs", "lustre", "nfs"),
        *("nfs4", "orangefs", "panfs", "pvfs2", "quobyte", "smb3", "smbfs", "sshfs", "virtiofs", "wekafs"),
    )
)
PRIVATE = frozenset(("ramfs", "tmpfs", "overlay", "aufs", "squashfs"))
#: Usually a node's own disk, whatever it is.
NODE_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/scratch/local", "/local")
#: Room under which a round's checkpoints soon fill the disk, and under which nothing can be written.
LITTLE, NONE = 5 * 2**30, 100 * 2**20
FEW_INODES = 20_000
#: The journal and the scheduler's times are compared with this machine's clock; results come minutes apart.
MOST_SKEW_S = 5.0
TRIAL_S = 30.0

_area = Area("disk")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    point: str
    kind: str
    options: tuple[str, ...]

    @property
    def base_kind(self) -> str:
        """ "fuse.sshfs" is sshfs."""
        return self.kind.removeprefix("fuse.").removeprefix("fuseblk.")


def parse_mounts(text: str) -> list[Mount]:
    """Mounts in order (proc_pid_mountinfo(5)); spaces in paths are written as \\040."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        head, tail = left.split(), right.split()
        if dash and len(head) >= 6 and len(tail) >= 3:
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), head[4])
            mounts.append(Mount(point=point, kind=tail[0], options=(*head[5].split(","), *tail[2].split(","))))
    return mounts


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that a real path is on: the longest mount point above it, the later one where two are equal."""
    parts = path.parts
    above = [m for m in mounts if parts[: len(Path(m.point).parts)] == Path(m.point).parts]
    return max(enumerate(above), key=lambda pair: (len(Path(pair[1].point).parts), pair[0]))[1] if above else None


def check_place(folder: Path, mount: Mount | None, *, slurm: bool) -> list[Finding]:
    """Whether compute nodes can be expected to see the folder. folder: a real path. slurm: tasks run on nodes."""
    looked = f"filesystem of {folder}"
    findings = _name(folder) if slurm else []
    if mount is None:
        ask = "call from a machine with /proc, or make sure that compute nodes see the folder"
        return [*findings, _area.warning(looked, "unknown: no mount table", ask)] if slurm else findings
    said = f"{mount.kind} at {mount.point}"
    if not slurm:
        return [_area.ok(looked, f"{said}; local runs need no shared one")]
    own = next((place for place in NODE_FOLDERS if folder.is_relative_to(place)), None)
    ask = "use --output-dir on a filesystem that compute nodes share (home, project, scratch); --submit tries it"
    if own is not None and mount.base_kind not in NETWORK:
        findings.append(_area.warning(looked, f"{said}: {own} is usually each node's own", ask))
    elif mount.base_kind in PRIVATE:
        findings.append(_area.warning(looked, f"{said}: exists on this machine only", ask))
    elif mount.base_kind not in NETWORK:
        said += ": a local filesystem, which nodes see only where this machine exports it or is the node"
        findings.append(_area.warning(looked, said, ask))
    else:
        findings.append(_area.ok(looked, f"{said}: shared between machines"))
        findings += _locks(mount, looked)
    return findings


def _name(folder: Path) -> list[Finding]:
    """Whether scripts can hold the folder's name."""
    bad = unsafe_characters(str(folder))
    try:
        log_pattern(str(folder))
    except ValueError as error:
        bad = bad or str(error)
    return [_area.problem("folder's name", bad, "choose another --output-dir or --study")] if bad else []


def _locks(mount: Mount, looked: str) -> list[Finding]:
    local = {"nolock", "noflock", "localflock", "local_lock=all", "local_lock=flock"} & set(mount.options)
    if not local:
        return []
    said = f"mounted with {', '.join(sorted(local))}: a lock holds on one machine only"
    return [_area.warning(looked, said, "call Roundtable for one study from one machine only")]


def try_folder(asker: Asker, folder: Path) -> tuple[list[Finding], bool]:
    """Try writing, renaming, linking and locking in the folder, which must exist; and whether it may be written."""
    reply = asker.ask(sys.executable, "-IS", trial.__file__, str(folder), patience_s=TRIAL_S)
    looked = f"writing in {folder}"
    if reply.code == 124:
        ask = "a network filesystem that hangs: tell the site, or choose another --output-dir"
        return [_area.problem(looked, f"no answer within {TRIAL_S:g} s", ask)], False
    try:
        found = json.loads(reply.out)
    except ValueError:
        return [_area.problem(looked, reply.words, "choose another --output-dir")], False
    return check_trial(found, looked=looked), "write" not in found["failed"]


_NEEDED = {
    "write": "choose an --output-dir where you may write and your quota is not used up",
    "rename": "results are written and renamed: choose an --output-dir on an ordinary filesystem",
    "link": "tasks claim their row by a hard link: choose an --output-dir on a filesystem that has them",
}


def check_trial(found: Mapping[str, Any], *, looked: str, machine: str = "this machine") -> list[Finding]:
    """Findings on what `trial.py` reported from a machine."""
    failed = found["failed"]
    findings = [
        _area.problem(looked, f"{step} fails: {failed[step]}", _NEEDED[step]) for step in _NEEDED if step in failed
    ]
    if "lock" in failed:
        ask = "call Roundtable for one study from one machine and one shell at a time"
        said = f"flock fails: {failed['lock']}; two calls at a time would not see each other"
        findings.append(_area.problem(looked, said, ask))
    if not findings:
        findings.append(_area.ok(looked, "write, rename, link and flock work"))
    findings += _room(found, looked.replace("writing in", "room in"))
    skew = found.get("skew_s", 0.0)
    if abs(skew) > MOST_SKEW_S:
        which = "behind" if skew > 0 else "ahead of"
        said = f"the file server's is {abs(skew):.0f} s {which} {machine}'s"
        findings.append(_area.warning("clock", said, "tell the site: ages of files and of leases are misjudged"))
    elif "skew_s" in found:
        findings.append(_area.ok("clock", f"the file server's agrees within {MOST_SKEW_S:g} s"))
    return findings


def _room(found: Mapping[str, Any], looked: str) -> list[Finding]:
    free, inodes = found["free_bytes"], found["free_inodes"]
    quota = "a quota is not seen from here: `quota -s`, or the site's own command, tells it"
    said = f"{free / 2**30:.1f} GiB free"
    if free < NONE:
        return [_area.problem(looked, said, "free some space, or choose another --output-dir")]
    # Filesystems without a table of inodes (btrfs, some network ones) say 0 of 0.
    if found["inodes"] and inodes < FEW_INODES:
        ask = "remove small files, or choose another --output-dir: each trial leaves about 20 files"
        return [_area.warning(looked, f"{said}, but only {inodes} inodes", ask)]
    if free < LITTLE:
        return [_area.warning(looked, f"{said}; {quota}", "free some space: checkpoints of a round soon fill it")]
    return [_area.ok(looked, f"{said}; {quota}")]
