"""The study's folder: which filesystem it is on, how much room there is, and what was tried in it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launch.ask import Asker
from agent.launch.doctor import trial
from agent.launch.doctor.finding import Area, Finding
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
LOCAL_LOCKS = frozenset(("nolock", "noflock", "localflock", "local_lock=all", "local_lock=flock"))
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
    def shared(self) -> bool:
        """Whether other machines see it; "fuse.sshfs" is sshfs."""
        return self.kind.removeprefix("fuse.").removeprefix("fuseblk.") in NETWORK


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
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda mount: len(Path(mount.point).parts), default=None)


def check_place(folder: Path, mount: Mount | None, *, slurm: bool) -> Iterator[Finding]:
    """Whether compute nodes can be expected to see the folder. folder: a real path. slurm: tasks run on nodes."""
    looked = f"filesystem of {folder}"
    if slurm:
        yield from _name(folder)
    if mount is None:
        ask = "call from a machine with /proc, or make sure that compute nodes see the folder"
        yield from [_area.warning(looked, "unknown: no mount table", ask)] if slurm else []
        return
    said = f"{mount.kind} at {mount.point}"
    if not slurm:
        yield _area.ok(looked, f"{said}; local runs need no shared one")
        return
    if mount.shared:
        yield _area.ok(looked, f"{said}: shared between machines")
        if local := ", ".join(sorted(LOCAL_LOCKS & set(mount.options))):
            said = f"mounted with {local}: a lock holds on one machine only"
            yield _area.warning(looked, said, "call Roundtable for one study from one machine only")
        return
    why = "a local filesystem, which nodes see only where this machine exports it or is the node"
    if (own := next((place for place in NODE_FOLDERS if folder.is_relative_to(place)), None)) is not None:
        why = f"{own} is usually each node's own"
    elif mount.kind in PRIVATE:
        why = "exists on this machine only"
    ask = "use --output-dir on a filesystem that compute nodes share (home, project, scratch); --submit tries it"
    yield _area.warning(looked, f"{said}: {why}", ask)


def _name(folder: Path) -> Iterator[Finding]:
    """Whether scripts can hold the folder's name."""
    bad = unsafe_characters(str(folder))
    try:
        log_pattern(str(folder))
    except ValueError as error:
        bad = bad or str(error)
    if bad:
        yield _area.problem("folder's name", bad, "choose another --output-dir or --study")


def try_folder(asker: Asker, folder: Path) -> tuple[list[Finding], bool]:
    """Try writing, renaming, linking and locking in the folder, which must exist; and whether it may be written."""
    reply = asker.ask(sys.executable, "-IS", trial.__file__, str(folder), patience_s=TRIAL_S)
    looked, said, ask = f"writing in {folder}", reply.words, "choose another --output-dir"
    if reply.code == 124:
        said, ask = f"no answer within {TRIAL_S:g} s", f"a network filesystem that hangs: tell the site, or {ask}"
    else:
        try:
            found = json.loads(reply.out)
            return list(check_trial(found, looked=looked)), "write" not in found["failed"]
        except ValueError:
            pass  # the trial's error text tells
    return [_area.problem(looked, said, ask)], False


#: Step of a trial -> how its failure is told, and the remedy.
_FAILURES = {
    "write": ("write fails: {}", "choose an --output-dir where you may write and your quota is not used up"),
    "rename": (
        "rename fails: {}",
        "results are written and renamed: choose an --output-dir on an ordinary filesystem",
    ),
    "link": (
        "link fails: {}",
        "tasks claim their row by a hard link: choose an --output-dir on a filesystem that has them",
    ),
    "lock": (
        "flock fails: {}; two calls at a time would not see each other",
        "call Roundtable for one study from one machine and one shell at a time",
    ),
}


def check_trial(found: Mapping[str, Any], *, looked: str, machine: str = "this machine") -> Iterator[Finding]:
    """Findings on what `trial.py` reported from a machine."""
    for step, said in found["failed"].items():
        fails, ask = _FAILURES[step]
        yield _area.problem(looked, fails.format(said), ask)
    if not found["failed"]:
        yield _area.ok(looked, "write, rename, link and flock work")
    yield _room(found, looked.replace("writing in", "room in"))
    skew = found.get("skew_s", 0.0)
    if abs(skew) > MOST_SKEW_S:
        which = "behind" if skew > 0 else "ahead of"
        said = f"the file server's is {abs(skew):.0f} s {which} {machine}'s"
        yield _area.warning("clock", said, "tell the site: ages of files and of leases are misjudged")
    elif "skew_s" in found:
        yield _area.ok("clock", f"the file server's agrees within {MOST_SKEW_S:g} s")


def _room(found: Mapping[str, Any], looked: str) -> Finding:
    free, inodes = found["free_bytes"], found["free_inodes"]
    said = f"{free / 2**30:.1f} GiB free"
    if free < NONE:
        return _area.problem(looked, said, "free some space, or choose another --output-dir")
    # Filesystems without a table of inodes (btrfs, some network ones) say 0 of 0.
    if found["inodes"] and inodes < FEW_INODES:
        ask = "remove small files, or choose another --output-dir: each trial leaves about 20 files"
        return _area.warning(looked, f"{said}, but only {inodes} inodes", ask)
    said += "; a quota is not seen from here: `quota -s`, or the site's own command, tells it"
    if free < LITTLE:
        return _area.warning(looked, said, "free some space: checkpoints of a round soon fill it")
    return _area.ok(looked, said)
